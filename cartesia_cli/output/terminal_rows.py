"""Rows at the bottom of a terminal that are redrawn in place: the live view of a session, the progress of a batch.

To print something else, call `clear` and write; then show the rows again. There is no timer and no thread here, and the
terminal's state isn't changed: no hidden cursor, no alternate screen. The cursor stays at the start of the first row,
so that all rows are below it even if a narrower terminal wraps them. Must never leave one of its rows in the
terminal's history.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

FALLBACK_SIZE = os.terminal_size((80, 24))

TO_THE_END = "\033[J"
REST_OF_ROW = "\033[K"
ERASE = f"\r {TO_THE_END}\r{REST_OF_ROW}"
"""A space first: tmux moves what is erased from the first column of the screen into its history."""


class TerminalRows:
    """The rows at the bottom of the terminal `stream`.

    lock             held by whoever writes to the terminal; reentrant
    active           whether they are shown; if not, all methods do nothing
    size             returns the current size of the terminal
    wraps_messages   whether messages above the rows are wrapped at words
    """

    wraps_messages = False

    def __init__(
        self,
        stream: TextIO,
        *,
        lock: AbstractContextManager[object] | None = None,
        active: bool = True,
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], os.terminal_size] | None = None,
    ) -> None:
        self._stream, self._lock, self._clock = stream, lock or nullcontext(), clock
        self.size = size or (lambda: terminal_size(stream))
        self.active = active
        self._shown: tuple[Sequence[str], os.terminal_size] | None = None

    def is_drawable(self) -> bool:
        """Whether rows may be shown now: not in the background, where the terminal is the shell's."""
        if not self.active:
            return False
        if is_in_foreground(self._stream):
            return True
        self._shown = None  # what is on the terminal now isn't ours to erase
        return False

    def replace_rows(self, rows: Sequence[str], size: os.terminal_size) -> None:
        """Replace the rows by these, none of which may be wider than a terminal of this size."""
        if self.active and (rows, size) != self._shown:
            up = f"\033[{len(rows) - 1}A" if len(rows) > 1 else ""
            joined = f"{REST_OF_ROW}\r\n".join(rows)
            self._write(f"\r{joined}{TO_THE_END}{up}\r")  # the ^C that a terminal shows must not begin another row
            self._shown = (rows, size)

    def clear(self) -> None:
        """Erase the rows, and leave the cursor where they began."""
        if self._shown is not None:
            self._shown = None
            self._write(ERASE)

    def redraw(self) -> None:
        """Show the rows again, after something else was written: subclasses know them."""

    def suspend(self) -> None:
        """Erase the rows: Ctrl-Z is about to suspend the program."""
        with self._lock:
            self.clear()

    def resume(self) -> None:
        """Draw next at the cursor: others have used the terminal."""
        self._shown = None

    def close(self) -> None:
        """Erase the rows for the last time."""
        self.clear()
        self.active = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except RuntimeError:  # called by a signal in the middle of another write
            pass
        except (OSError, ValueError):  # the terminal is gone: no reason to fail, nor to try again
            self.active = False


def terminal_size(stream: TextIO) -> os.terminal_size:
    """The size of a terminal. The standard library's function looks at stdout, which may be a file."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return FALLBACK_SIZE
    return os.terminal_size((size.columns or FALLBACK_SIZE.columns, size.lines or FALLBACK_SIZE.lines))


def is_same_terminal(one: TextIO, other: TextIO) -> bool:
    """Whether two streams are the same terminal, under whatever name."""
    try:
        if not (one.isatty() and other.isatty()):
            return False
        if os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev:
            return True
        # /dev/tty is another device, but only the terminal of our session knows its foreground.
        return os.tcgetpgrp(one.fileno()) == os.tcgetpgrp(other.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def is_in_foreground(stream: TextIO) -> bool:
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # not the terminal of our session: we can't be in its background
        return True
