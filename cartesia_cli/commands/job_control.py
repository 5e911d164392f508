"""Ctrl-Z and `fg` around a session: what is to be done before the program stops, and once it goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def job_control(on_stop: Callable[[], None], on_continue: Callable[[], None]) -> Iterator[None]:
    """Call `on_stop` before Ctrl-Z stops the program and `on_continue` when it goes on, for the length of the block.

    Where Ctrl-Z is ignored it stays so. To be entered in the main thread; both are called by signal handlers.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        on_stop()
        installed = signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # The program was stopped, and goes on here; or wasn't, if no shell is there that could let it go on.
        signal.signal(number, installed)
        on_continue()

    def go_on(number: int, frame: FrameType | None) -> None:
        on_continue()

    before = {}
    for name, handler in (("SIGTSTP", stop), ("SIGCONT", go_on)):
        number = getattr(signal, name, None)  # Windows has neither
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
