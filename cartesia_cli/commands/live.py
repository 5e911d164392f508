"""A live session from its source to its results: what `listen` and `stream-file` share.

Whatever ends a session, all that was heard is written before the error is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import typer

from ..errors import Exit
from ..output.console import Reporter
from ..output.frame_log import FrameLog
from ..output.live_rows import LiveState
from ..output.live_view import LiveView
from ..transcript import Segment
from .backend import RunningServer
from .job_control import job_control
from .live_session import Interaction, LiveSession, MakeSource, SessionConfig
from .matches import report_no_matches
from .wait_status import STARTING


@contextmanager
def live_view(reporter: Reporter) -> Iterator[LiveView]:
    """The live view of a session, from before its server is there until after its end; it says "starting" at first.

    Ctrl-Z leaves nothing of it on the terminal, and `fg` brings it back.
    """
    with reporter.live() as view, job_control(view.clear, view.restore):
        view.draw(LiveState(wait=STARTING))
        yield view


def run(
    config: SessionConfig,
    server: RunningServer,
    make: MakeSource,
    reporter: Reporter,
    view: LiveView,
    *,
    attend: Interaction = lambda controls: nullcontext(),
    on_segment: Callable[[Segment], None] | None = None,
) -> None:
    """One session, to its end. CliError for every end that is a failure; exit code 1 where --grep found nothing."""
    with ExitStack() as stack:
        tap: Callable[[str, str | bytes], None] = _nobody
        if config.stream_options.raw_events is not None:
            log = FrameLog(config.stream_options.raw_events, force=config.force, tell=reporter.say)
            tap = stack.enter_context(log).put
        performance = LiveSession(config, reporter, view, on_segment)
        try:
            asyncio.run(_unhurried(performance.run(server, make, tap, attend), reporter))
        except BaseException:
            if (trouble := performance.finish(local=server.local)) is not None:
                reporter.error(trouble)
            raise
        if (trouble := performance.finish(local=server.local)) is not None:
            raise trouble
        if config.layout.selection is not None and report_no_matches(
            performance.transcript(), config.layout.selection, reporter
        ):
            raise typer.Exit(Exit.FAILED)


class _Left(ThreadPoolExecutor):
    """Threads that nobody waits for at the end: the lookup of a name can't be given up, and may take a minute."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


async def _unhurried(session: Awaitable[None], reporter: Reporter) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Left())

    def show(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio would log it to stderr, with all that a server had sent."""
        if reporter.debug and isinstance(error := context.get("exception"), Exception):
            reporter.trace(error)

    loop.set_exception_handler(show)
    await session


def _nobody(direction: str, frame: str | bytes) -> None:
    """Whom frames are shown where nobody records them."""
