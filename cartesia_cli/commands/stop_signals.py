"""Signals that end a live session: the first asks it to finish, the second to be gone, the third doesn't ask."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Interrupted
from ..session.interfaces import StopSignal

STOPS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__]


@contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[StopSignal]:
    """Ctrl-C and SIGTERM ask the session to stop for the length of the block; the third time they don't ask."""
    loop = asyncio.get_running_loop()
    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise Interrupted
        loop.call_soon_threadsafe(stop.request)

    before = {number: signal.signal(number, ask) for number in STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
