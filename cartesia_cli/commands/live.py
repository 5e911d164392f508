"""A live session from its source to its results: what `listen` and `stream-file` share.

Whatever ends a session, all that was heard is written before the error is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import Any

from ..output.frames import FrameLog
from ..output.talk import Talk
from ..transcript import Segment
from .backend import Server
from .performance import Attend, MakeSource, Order, Performance


def run(
    order: Order,
    server: Server,
    make: MakeSource,
    talk: Talk,
    *,
    attend: Attend = lambda controls: nullcontext(),
    on_segment: Callable[[Segment], None] = lambda segment: None,
    show_meter: bool = False,
) -> None:
    """One session, to its end. CliError for every end that is a failure."""
    with ExitStack() as stack:
        tap: Callable[[str, str | bytes], None] = _nobody
        if order.sending.raw_events is not None:
            log = FrameLog(order.sending.raw_events, force=order.force, tell=talk.say)
            tap = stack.enter_context(log).put
        performance = Performance(order, talk, stack.enter_context(talk.live(order.seconds)), on_segment)
        if show_meter:
            performance.show_meter()
        try:
            asyncio.run(_unhurried(performance.run(server, make, tap, attend), talk))
        except BaseException:
            if (trouble := performance.finish(local=server.local)) is not None:
                talk.error(trouble)
            raise
        if (trouble := performance.finish(local=server.local)) is not None:
            raise trouble


class _Left(ThreadPoolExecutor):
    """Threads that nobody waits for at the end: the lookup of a name can't be given up, and may take a minute."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


async def _unhurried(session: Awaitable[None], talk: Talk) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Left())

    def show(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio would log it to stderr, with all that a server had sent."""
        if talk.debug and isinstance(error := context.get("exception"), Exception):
            talk.trace(error)

    loop.set_exception_handler(show)
    await session


def _nobody(direction: str, frame: str | bytes) -> None:
    """Whom frames are shown where nobody records them."""
