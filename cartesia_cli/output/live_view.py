"""The live view: a few rows at the bottom of a terminal that show a running session, redrawn in place."""

from __future__ import annotations

from typing import Any, TextIO

from .live_rows import LiveRows, LiveState
from .terminal_rows import TerminalRows

MIN_REDRAW_SECONDS = 1 / 12
"""Minimum time between two redraws."""


class LiveView(TerminalRows):
    """The rows of a session. Clear them before anything else is written: the next `draw` shows them again.

    colored   whether text may be dim, red or yellow
    options   those of TerminalRows
    """

    wraps_messages = True

    def __init__(self, stream: TextIO, *, colored: bool, **options: Any) -> None:
        super().__init__(stream, **options)
        self.renderer = LiveRows(stream.encoding or "utf-8", colored=colored)
        self._state: LiveState | None = None
        self._drawn = 0.0

    def draw(self, state: LiveState) -> None:
        """Show a state, unless the last redraw was less than MIN_REDRAW_SECONDS ago."""
        with self._lock:
            self._state, now = state, self._clock()
            is_early = self._shown is not None and now - self._drawn < MIN_REDRAW_SECONDS
            if is_early or not self.is_drawable():
                return
            size = self.size()
            self.replace_rows(self.renderer.rows(state, size.columns, size.lines), size)
            self._drawn = now

    def redraw(self) -> None:
        """Redraw after a message, if the session is waiting: no other update may follow soon."""
        if self._state is not None and self._state.wait is not None:
            self.draw(self._state)
