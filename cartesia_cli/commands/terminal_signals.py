"""Signal handlers of a live session: Ctrl-C, SIGTERM and SIGHUP stop it, Ctrl-Z suspends it and `fg` resumes it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Interrupted
from ..session.interfaces import StopSignal

STOP_SIGNALS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__]


@contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[StopSignal]:
    """While the block runs, the first stop signal asks the session to finish, the second to end at once, and the third
    raises Interrupted.
    """
    loop = asyncio.get_running_loop()
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise Interrupted
        loop.call_soon_threadsafe(stop.request)

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def job_control(on_stop: Callable[[], None], on_continue: Callable[[], None]) -> Iterator[None]:
    """While the block runs, call `on_stop` before Ctrl-Z suspends the program and `on_continue` after it resumes.

    Where Ctrl-Z is ignored it stays ignored. Must be entered in the main thread; both are called by signal handlers.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        on_stop()
        installed = signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Execution resumes here; without a job-control shell the program was never suspended.
        signal.signal(number, installed)
        on_continue()

    def resume(number: int, frame: FrameType | None) -> None:
        on_continue()

    before = {}
    for name, handler in (("SIGTSTP", stop), ("SIGCONT", resume)):
        number = getattr(signal, name, None)  # Windows has neither
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
