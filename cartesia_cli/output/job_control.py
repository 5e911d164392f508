"""Takes away what is shown at the bottom of a terminal before Ctrl-Z suspends the program, and shows it after `fg`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
