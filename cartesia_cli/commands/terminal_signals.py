"""Signal handlers of a live session: Ctrl-C, SIGTERM and SIGHUP stop it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Interrupted
from ..session.interfaces import StopSignal

STOP_SIGNALS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__]


@contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[StopSignal]:
    """While the block runs, the first stop signal asks the session to finish, the second to end at once, and the third
    raises Interrupted. In another thread than the main one, signals have no effect.
    """
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield stop
        return
    loop = asyncio.get_running_loop()
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise Interrupted
        loop.call_soon_threadsafe(stop.interrupt)

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
