"""The live view: a few rows at the bottom of a terminal that show a running session, redrawn in place.

To print something else, call `clear` and write; the next `draw` shows the rows again. It has no timer and no thread,
and the terminal's state isn't changed: no hidden cursor, no alternate screen. The cursor stays at the
start of the first row, so that all rows are below it even if a narrower terminal wraps them. Must never leave one of
its rows in the terminal's history.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from .live_rows import LiveRows, LiveState

MIN_REDRAW_SECONDS = 1 / 12
"""Minimum time between two redraws."""

FALLBACK_SIZE = os.terminal_size((80, 24))

TO_THE_END = "\033[J"
REST_OF_ROW = "\033[K"
ERASE = f"\r {TO_THE_END}\r{REST_OF_ROW}"
"""A space first: tmux moves what is erased from the first column of the screen into its history."""


class LiveView:
    """The rows at the bottom of the terminal `stream`.

    colored   whether text may be dim, red or yellow
    active    whether it is shown; if not, all methods do nothing
    size      returns the current size of the terminal
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        colored: bool,
        active: bool = True,
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], os.terminal_size] | None = None,
    ) -> None:
        self._stream, self._clock = stream, clock
        self._size = size or (lambda: terminal_size(stream))
        self.active = active
        self.renderer = LiveRows(stream.encoding or "utf-8", colored=colored)
        self._state: LiveState | None = None
        self._shown: tuple[list[str], os.terminal_size] | None = None
        self._drawn = 0.0

    def draw(self, state: LiveState) -> None:
        """Show a state, unless the last redraw was less than MIN_REDRAW_SECONDS ago."""
        self._state, now = state, self._clock()
        if not self.active or (self._shown is not None and now - self._drawn < MIN_REDRAW_SECONDS):
            return
        if not _is_in_foreground(self._stream):
            self._shown = None  # the terminal is the shell's: what is on it now isn't ours to erase
            return
        size = self._size()
        rows = self.renderer.rows(state, size.columns, size.lines)
        if (rows, size) != self._shown:
            up = f"\033[{len(rows) - 1}A" if len(rows) > 1 else ""
            joined = f"{REST_OF_ROW}\r\n".join(rows)
            self._write(f"\r{joined}{TO_THE_END}{up}\r")  # the ^C that a terminal shows must not begin another row
        self._shown, self._drawn = (rows, size), now

    def clear(self) -> None:
        """Erase the rows, and leave the cursor where they began. The next `draw` shows them again."""
        if self._shown is not None:
            self._shown = None
            self._write(ERASE)

    def redraw_wait(self) -> None:
        """Redraw after a message, if the session is waiting: no other update may follow soon."""
        if self._state is not None and self._state.wait is not None:
            self.draw(self._state)

    def restore(self) -> None:
        """Draw next at the cursor: the program was suspended, and others have used the terminal."""
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


def _is_in_foreground(stream: TextIO) -> bool:
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # not the terminal of our session: we can't be in its background
        return True
