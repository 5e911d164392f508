"""The live view: one line of a terminal that shows a session going on, drawn again and again in place.

    ● 0:12 / 1:03, 0:51 left …and the words that are being said, their end always in view

    ○ 0:03 waiting for the last words; Ctrl-C again ends at once

It makes way for everything else: `clear`, write, and the next `draw` puts it back. It draws when it is told
something, with no timer and no thread, and leaves the state of the terminal alone: no cursor hidden, no other
screen. Must never write more than one row, nor anything of a server's that moves the cursor.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from .characters import one_line

PERIOD = 1 / 12
"""Seconds between two drawings, at the least."""

TEXT_ROOM = 24
"""Columns that the text has at least, or half a row where that is less, before the time is told in detail."""

WORTH_TELLING = 2.0
"""Seconds that a session is behind: less of it is nobody's worry."""

FALLBACK_WIDTH = 80
EMOJI = "\ufe0f"
ERASE = "\033[J"
"""To the end of the screen: a terminal that was made narrower has folded the line into two."""
EMPTY = "\033[K"
"""The row alone, first: where the view is all there is on the screen, tmux keeps in its history what is erased."""
DIM, PLAIN = "\033[2m", "\033[0m"


class LiveView:
    """One line at the foot of `stream`.

    total     seconds of audio there will be, or None where nobody knows
    colored   whether the text may be dim
    meter     a few columns about the microphone, before the text, where there is room for them
    lag       tells how many seconds of audio are still to be sent; shown where they are more than WORTH_TELLING
    awaited   tells what is waited for, from most to fewest words; while it is the same, for how long stands before it,
              instead of the mark and the times of audio that goes out. Nothing: for nothing
    active    whether anybody sees it: if not, every call is allowed and does nothing
    width     tells the columns of the terminal, each time anew
    """

    def __init__(
        self,
        stream: TextIO,
        total: float | None,
        *,
        colored: bool,
        active: bool = True,
        clock: Callable[[], float] = time.monotonic,
        width: Callable[[], int] | None = None,
    ) -> None:
        self._stream, self._total, self._colored, self._clock = stream, total, colored, clock
        self._width = width or (lambda: columns(stream))
        self.active = active
        self.meter: Callable[[bool], str] = lambda plain: ""
        self.lag: Callable[[], float] = lambda: 0.0
        self.awaited: Callable[[], Sequence[str]] = tuple
        self._told: Sequence[str] = ()
        self._since = 0.0
        self._encoding = stream.encoding or "utf-8"
        self._is_rich = takes(self._encoding, "●○…▇▏·")
        self._marks, self._ellipsis = (("○", "●"), "…") if self._is_rich else (("-", "*"), "...")
        self._text = ""
        self._shown: str | None = None
        self._drawn = 0.0

    def draw(self, position: float, speaking: bool) -> None:
        """So many seconds of audio have been sent, and whether somebody speaks in the last of them."""
        if not self.active:
            return
        now = self._clock()
        if self._shown is not None and now - self._drawn < PERIOD:
            return
        told = self.awaited()
        if told[-1:] != self._told[-1:]:
            self._since = now
        self._told = told
        room = max(self._width() - 1, 0)  # terminals differ in what they do after the last column
        line = self._line(now - self._since if told else position, speaking, room)
        if line != self._shown:
            self._write(f"\r{line}{ERASE}\r")  # the ^C that a terminal shows must not begin another row
        self._shown, self._drawn = line, now

    def partial(self, text: str) -> None:
        """What is being said, for the next `draw`; "" once it is settled."""
        self._text = text

    def clear(self) -> None:
        """Make way: the line is gone, the cursor at its beginning. The next `draw` puts it back."""
        if self._shown is not None:
            self._shown = None
            self._write(f"\r{EMPTY}{ERASE}")

    def close(self) -> None:
        """Gone for good."""
        self.clear()
        self.active = False

    def _line(self, seconds: float, speaking: bool, room: int) -> str:
        """Mark, time and text in `room` columns; `seconds` of audio, or of waiting."""
        mark, share = self._marks[speaking and not self._told], 0 if self._told else min(TEXT_ROOM, room // 2)
        heads = (f"{mark} {told}" for told in self._times(seconds))
        head = next((head for head in heads if len(head) + share <= room), "")
        meter = "" if self._told else self.meter(not self._is_rich)
        if len(head) + len(meter) + share <= room:
            head += meter
        text = fit(self._safe(room), room - len(head), self._ellipsis)
        return head + (f"{DIM}{text}{PLAIN}" if self._colored and text else text)

    def _times(self, seconds: float) -> Iterator[str]:
        """How far it is, from the most to the least."""
        elapsed, lag = clock_time(seconds), self.lag()
        if self._told:
            yield from (f"{elapsed} {told} " for told in self._told)
        elif lag >= WORTH_TELLING:
            yield f"{elapsed}, {lag:.0f} s behind "
        if self._total is not None and not self._told:
            whole = f"{elapsed} / {clock_time(self._total)}"
            yield f"{whole}, {clock_time(max(int(self._total) - int(seconds), 0))} left "  # they add up
            yield f"{whole} "
        yield f"{elapsed} "
        yield ""

    def _safe(self, room: int) -> str:
        """As much of the end of the text as may matter, without what a terminal obeys or the stream can't take."""
        text = one_line(self._text[-8 * room - 1 :])
        return text.encode(self._encoding, "replace").decode(self._encoding)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone: no reason to fail, nor to try again
            self.active = False


def fit(text: str, room: int, ellipsis: str = "…") -> str:
    """The end of `text` in at most `room` columns, behind an ellipsis where something is missing."""
    start, left = len(text), room
    while start and left >= cells(text[start - 1]):
        start -= 1
        left -= cells(text[start])
    mark = ellipsis if start else ""
    while start < len(text) and (left < len(mark) or not cells(text[start])):  # nor a mark on what is not there
        left += cells(text[start])
        start += 1
    return mark + text[start:] if left >= len(mark) else ""


def cells(character: str) -> int:
    """Columns that a terminal gives a character, at the most: too few would break the line, too many do no harm."""
    if character == EMOJI:
        return 1  # it makes the one before it wide, in some terminals
    match unicodedata.category(character):
        case "Mn" | "Me":
            return 0
        case "Cn":  # younger than our tables: an emoji, as a rule
            return 2
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clock_time(seconds: float) -> str:
    """1:03, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def columns(stream: TextIO) -> int:
    """How wide a terminal is. The standard library's own function looks at stdout, which may be a file."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or FALLBACK_WIDTH
    except (OSError, ValueError):
        return FALLBACK_WIDTH


def takes(encoding: str, text: str) -> bool:
    """Whether `text` can be written in an encoding."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
