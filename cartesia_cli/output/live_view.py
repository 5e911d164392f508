"""The live view: a few rows at the bottom of a terminal that show a running session, redrawn in place.

    My grandmother kept her letters in a blue box on the highest shelf, and a small
    dog slept under
    ● ON AIR 0:10, 31 credits  ▇▇▇▇▇▇▇·▏···  -28 dB, noise -64, ends in 0.6 s

Above is the text that isn't settled yet: wrapped, its end always visible. The last row is the status; parts of it that
don't fit are left out, the least important first. Must never show a row that is wider than the terminal, nor text of a
server that moves the cursor.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, TextIO

from ..record import Record
from ..text_width import character_width, wrap
from ..timestamps import clock_time
from .sanitize import can_encode, one_line, printable
from .status_row import DIM, RED, YELLOW, RowPart, drop_parts, first_fitting, single_columns, styled
from .terminal_rows import TerminalRows

MIN_REDRAW_SECONDS = 1 / 12
"""Minimum time between two redraws."""

MAX_TEXT_ROWS = 3
"""Rows of unsettled text."""

MIN_SHOWN_BEHIND_SECONDS = 2.0
"""A shorter backlog isn't shown."""

MAX_CHARACTERS_PER_COLUMN = 8
"""Characters of text that are examined for each column: more than fit in one without combining marks."""

MIN_LEVEL, MAX_LEVEL = -72.0, 0.0
"""dBFS at the ends of the level bar."""

BAR_COLUMNS = 12


class MicrophoneLevel(Record):
    """How loud a microphone is at one moment.

    level, noise, threshold   dBFS: of the sound, of the background, and from which on it is speech
    ends_in                   seconds of silence after which `finalize` is sent; 0: nothing is counted down now
    """

    level: float
    noise: float
    threshold: float
    ends_in: float = 0.0


class Wait(Record):
    """What a session waits for while no audio goes out.

    words     the same message from the longest to the shortest wording
    seconds   how long it has waited; None: not shown
    """

    words: tuple[str, ...]
    seconds: float | None = None


class LiveState(Record):
    """A live session at one moment.

    text             text that isn't settled yet
    elapsed          seconds of audio that were sent
    total            seconds of audio there will be; None: unknown
    speaking         whether speech is detected
    on_air           whether the microphone is sent; None: without a microphone
    resume_hint      how to switch the microphone on again
    credits          cost of the session so far; None: it is free
    unsent_seconds   seconds of audio not sent yet
    level            of the microphone; None: not shown
    wait             None: audio goes out
    languages        codes of the languages that were detected last
    prompt           a line that is being typed, shown in place of the status; empty: none
    """

    text: str = ""
    elapsed: float = 0.0
    total: float | None = None
    speaking: bool = False
    on_air: bool | None = None
    resume_hint: str = ""
    credits: float | None = None
    unsent_seconds: float = 0.0
    level: MicrophoneLevel | None = None
    wait: Wait | None = None
    languages: tuple[str, ...] = ()
    prompt: str = ""


class LiveRows:
    """Renders states for one terminal.

    encoding   of the terminal
    colored    whether text may be dim, red or yellow
    """

    def __init__(self, encoding: str, *, colored: bool) -> None:
        self._encoding, self._colored = encoding, colored
        self._ascii = not can_encode(encoding, "●○…▇▏·")
        self._silent, self._speaking, self._ellipsis = ("-", "*", "...") if self._ascii else ("○", "●", "…")
        self._full, self._stroke, self._empty = ("#", "|", ".") if self._ascii else ("▇", "▏", "·")  # of the level bar

    def rows(self, state: LiveState, columns: int, lines: int) -> list[str]:
        """At most MAX_TEXT_ROWS + 1 rows, and always one less than the terminal has lines."""
        width = max(columns - 1, 0)  # terminals differ in what they do after the last column
        text = self._text_rows(state.text, width, min(MAX_TEXT_ROWS, lines - 2))
        if state.prompt:
            last = self._prompt_row(state.prompt, width)
        else:
            last = first_fitting(self._candidates(state), width, colored=self._colored)
        return [*(styled(row, DIM, colored=self._colored) for row in text), last]

    def legend(self, *, counts_silence: bool, costs: bool) -> list[tuple[str, str]]:
        """The parts of the status row of a microphone, and what each means.

        counts_silence   whether silence ends utterances
        costs            whether it costs credits
        """
        return [
            (f"{self._speaking} {self._silent}", "speech, silence"),
            ("ON AIR", "the microphone is on"),
            ("PAUSED", "it is off"),
            *([("credits", "cost so far")] if costs else []),
            ("behind", "audio not sent yet"),
            (2 * self._full + 2 * self._empty, "level of the microphone"),
            (self._stroke, "louder than this is speech"),
            ("noise", "level of the background"),
            *([("ends in", "silence left to the end")] if counts_silence else []),
        ]

    def _text_rows(self, text: str, width: int, most: int) -> list[str]:
        """The last rows of a text, after an ellipsis if something is missing."""
        text_columns = width - len(self._ellipsis)
        if text_columns < 1 or most < 1:
            return []
        # Cut in steps, so that rows don't begin elsewhere with every letter.
        step = MAX_CHARACTERS_PER_COLUMN * MAX_TEXT_ROWS * width
        start = max(0, len(text) // step - 1) * step
        safe = one_line(text[start:]).encode(self._encoding, "replace").decode(self._encoding)
        rows = [_without_loose_marks(row) for row in wrap(safe, text_columns)]
        if not start and len(rows) <= most:
            return rows
        rows = rows[-most:]
        return [self._ellipsis + rows[0], *rows[1:]] if rows else []

    def _prompt_row(self, prompt: str, width: int) -> str:
        """As much of the end of a prompt, where the user is typing, as fits."""
        safe = printable(prompt, keep="").encode(self._encoding, "replace").decode(self._encoding)
        columns = [*accumulate(map(character_width, reversed(safe)))]
        return _without_loose_marks(safe[len(safe) - bisect_right(columns, width) :])

    def _candidates(self, state: LiveState) -> Iterator[list[RowPart]]:
        """Status rows, from the longest to the shortest."""
        if state.wait is None:
            yield from drop_parts(self._streaming_status(state))
            return
        for words in state.wait.words:
            yield self._waiting_status(state, state.wait, words)
        yield from drop_parts(self._waiting_status(state, state.wait, state.wait.words[-1]))

    def _waiting_status(self, state: LiveState, wait: Wait, words: str) -> list[RowPart]:
        time = "" if wait.seconds is None else f" {clock_time(wait.seconds)}"
        narrow = single_columns(words, self._encoding)
        return [RowPart(0, self._silent), *self._label(state, 3), RowPart(1, time), RowPart(2, f" {narrow}")]

    def _streaming_status(self, state: LiveState) -> list[RowPart]:
        parts = [RowPart(0, self._speaking if state.speaking else self._silent), *self._label(state, 1)]
        if state.on_air is False and state.resume_hint:
            parts.append(RowPart(5, f" ({state.resume_hint})"))
        parts.append(RowPart(2, f" {clock_time(state.elapsed)}"))
        if state.total is not None:
            left = max(int(state.total) - int(state.elapsed), 0)  # so that they add up
            parts += [RowPart(4, f" / {clock_time(state.total)}"), RowPart(7, f", {clock_time(left)} left")]
        if state.unsent_seconds >= MIN_SHOWN_BEHIND_SECONDS:
            parts.append(RowPart(3, f", {state.unsent_seconds:.0f} s behind"))
        if state.languages:
            parts.append(RowPart(6, f", {single_columns(' '.join(state.languages), self._encoding)}"))
        if state.credits is not None:
            parts.append(RowPart(6, f", {state.credits:,.0f} credits"))
        if state.level is not None:
            level = state.level
            parts += [
                RowPart(8, f"  {self._level_bar(level)}"),
                RowPart(9, f" {max(level.level, -99):4.0f} dB"),
                RowPart(11, f", noise {level.noise:.0f}"),
            ]
            if level.ends_in > 0:
                parts.append(RowPart(10, f", ends in {level.ends_in:.1f} s"))
        return parts

    def _level_bar(self, level: MicrophoneLevel) -> str:
        """A level in BAR_COLUMNS columns: filled up to the level, with a stroke at the threshold of speech."""
        filled, at = _filled_cells(level.level), min(_filled_cells(level.threshold), BAR_COLUMNS - 1)
        cells = self._full * filled + self._empty * (BAR_COLUMNS - filled)
        return cells if at < filled else cells[:at] + self._stroke + cells[at + 1 :]

    def _label(self, state: LiveState, rank: int) -> Iterable[RowPart]:
        if state.on_air is not None:
            yield RowPart(rank, " ON AIR" if state.on_air else " PAUSED", RED if state.on_air else YELLOW)


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


def _without_loose_marks(row: str) -> str:
    """A row without the combining marks at its start, which would combine with the end of the row above."""
    first = next((at for at, character in enumerate(row) if character_width(character)), len(row))
    return row[first:]


def _filled_cells(level: float) -> int:
    """How many cells a level fills."""
    share = (level - MIN_LEVEL) / (MAX_LEVEL - MIN_LEVEL)
    return max(0, min(BAR_COLUMNS, round(share * BAR_COLUMNS)))
