"""Installs signal handlers for the length of a block: those of a session, and those of Ctrl-Z and `fg`.

What is shown at the bottom of a terminal is taken away before Ctrl-Z suspends the program, and shown again after `fg`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

SignalHandler = Callable[[int, FrameType | None], None]


@contextmanager
def job_control(on_stop: Callable[[], None], on_continue: Callable[[], None]) -> Iterator[None]:
    """While the block runs, call `on_stop` before Ctrl-Z suspends the program and `on_continue` after it resumes.

    In blocks within each other, the inner one stops first and continues last. Where Ctrl-Z is ignored it stays ignored.
    Must be entered in the main thread; both are called by signal handlers.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        on_stop()
        if callable(outer := before["SIGTSTP"]):
            outer(number, frame)
        else:
            installed = signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            # Execution resumes here; without a job-control shell the program was never suspended.
            signal.signal(number, installed)
        on_continue()

    def resume(number: int, frame: FrameType | None) -> None:
        if callable(outer := before["SIGCONT"]):
            outer(number, frame)
        on_continue()

    handlers: dict[str, SignalHandler] = {"SIGTSTP": stop, "SIGCONT": resume}
    before = {name: signal.getsignal(signal.Signals[name]) for name in _known(handlers)}
    with signal_handlers({name: handlers[name] for name, outer in before.items() if outer is not signal.SIG_IGN}):
        yield


@contextmanager
def signal_handlers(handlers: Mapping[str, SignalHandler]) -> Iterator[None]:
    """Install signal handlers, by name, while the block runs. Signals unknown to the system are skipped."""
    before = {name: signal.signal(signal.Signals[name], handlers[name]) for name in _known(handlers)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(signal.Signals[name], handler)


def is_ignored(name: str) -> bool:
    """Whether a signal is ignored, as SIGHUP is under nohup. False if the system doesn't have it."""
    return any(signal.getsignal(signal.Signals[known]) is signal.SIG_IGN for known in _known([name]))


def _known(names: Iterable[str]) -> list[str]:
    """The signals that this system has."""
    return [name for name in names if name in signal.Signals.__members__]
