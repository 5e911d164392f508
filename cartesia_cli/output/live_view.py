"""The live view at the foot of a terminal: a few rows that show a session going on, drawn again and again in place.

It makes way for everything else: `clear`, write, and the next `draw` puts it back. It draws when it is told to, with
no timer and no thread, and leaves the state of the terminal alone: no cursor hidden, no other screen. The cursor
rests at the start of its first row, so that whatever becomes of the rows, all of them are below it: a terminal that
is made narrower folds each into several. Must never leave a row of its own in the terminal's history.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from .live_rows import LiveRows, LiveState

MIN_REDRAW_SECONDS = 1 / 12
"""Seconds between two drawings, at the least."""

FALLBACK_SIZE = os.terminal_size((80, 24))

TO_THE_END = "\033[J"
REST_OF_ROW = "\033[K"
ERASE = f"\r {TO_THE_END}\r{REST_OF_ROW}"
"""A blank first: tmux takes what is erased from the very first column of the screen on into its history."""


class LiveView:
    """The rows at the foot of `stream`.

    colored   whether text may be dim, red or yellow
    active    whether anybody sees it: if not, every call is allowed and does nothing
    size      tells the size of the terminal, each time anew
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
        """Show a state: now, or, where the last one was drawn just before, one of those that follow."""
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
        """Make way: the rows are gone, the cursor at their beginning. The next `draw` puts them back."""
        if self._shown is not None:
            self._shown = None
            self._write(ERASE)

    def redraw_wait(self) -> None:
        """Show again what is waited for, if anything is: a sentence stands above it, and nothing else may come soon."""
        if self._state is not None and self._state.wait is not None:
            self.draw(self._state)

    def restore(self) -> None:
        """Have the next `draw` begin where the cursor is: the program was stopped, and others used the terminal."""
        self._shown = None

    def close(self) -> None:
        """Gone for good."""
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
    """How large a terminal is. The standard library's own function looks at stdout, which may be a file."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return FALLBACK_SIZE
    return os.terminal_size((size.columns or FALLBACK_SIZE.columns, size.lines or FALLBACK_SIZE.lines))


def is_same_terminal(one: TextIO, other: TextIO) -> bool:
    """Whether two streams are the same terminal, by whichever of its names."""
    try:
        if not (one.isatty() and other.isatty()):
            return False
        if os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev:
            return True
        # /dev/tty is another device, but only the terminal of our session tells its foreground.
        return os.tcgetpgrp(one.fileno()) == os.tcgetpgrp(other.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def _is_in_foreground(stream: TextIO) -> bool:
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # not the terminal of our session: there is no background
        return True
