"""Words with their times: as a table for people, as TSV and CSV for programs.

Drawn by hand: rich takes 1.9 s for the ten thousand words of an hour.
"""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Iterator
from itertools import pairwise

from ..protocol import Word
from ..transcript import Transcript
from . import Layout
from .characters import one_line

HEADER = ("#", "start", "end", "length", "gap", "word")


def table(transcript: Transcript, layout: Layout) -> str:
    """Number, start, end, length and gap to the next word in seconds, and the word; a dash where there is no time."""
    rows = list(_rows(_timed(transcript)))
    widths = [max(len(row[column]) for row in [HEADER, *rows]) for column in range(5)]
    rule = "  ".join("-" * width for width in widths) + "  ----"
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row[:5], widths, strict=True)) + f"  {row[5]}"
             for row in [HEADER, *rows]]  # fmt: skip
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def tsv(transcript: Transcript, layout: Layout) -> str:
    """Start and end in milliseconds and the text, a line a word, with a header: the columns of whisper's TSV."""
    lines = [f"{_ms(w.start)}\t{_ms(w.end)}\t{one_line(w.word)}" for w in _timed(transcript)]
    return "\n".join(["start\tend\ttext", *lines]) + "\n"


def csv(transcript: Transcript, layout: Layout) -> str:
    """Number, start and end in seconds, and the word, quoted as RFC 4180 has it."""
    buffer = io.StringIO()
    rows = csv_module.writer(buffer)
    rows.writerow(("number", "start", "end", "word"))
    for number, word in enumerate(_timed(transcript), 1):
        rows.writerow((number, _seconds(word.start, ""), _seconds(word.end, ""), one_line(word.word)))
    return buffer.getvalue()


def _timed(transcript: Transcript) -> tuple[Word, ...]:
    """The words; where the server sent none, the segments take their rows, so that nothing is missing."""
    if transcript.words is not None:
        return transcript.words
    return tuple(Word(segment.text, segment.start, segment.end) for segment in transcript.segments)


def _rows(words: tuple[Word, ...]) -> Iterator[tuple[str, ...]]:
    for number, (word, following) in enumerate(pairwise((*words, None)), 1):
        assert word is not None
        length = _difference(word.start, word.end)
        gap = _difference(word.end, following.start) if following else None
        times = (_seconds(value) for value in (word.start, word.end, length, gap))
        yield (str(number), *times, one_line(word.word))


def _difference(earlier: float | None, later: float | None) -> float | None:
    return None if earlier is None or later is None else later - earlier


def _seconds(value: float | None, missing: str = "-") -> str:
    return missing if value is None else f"{round(value, 3) + 0.0:.3f}"


def _ms(value: float | None) -> str:
    return "" if value is None else str(round(value * 1000))
