"""Where words and segments stand in the text of their transcript.

Whatever is written from the text, cut at these places, is the text. Must never take a place for found that isn't.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..protocol import Word
from ..timestamps import LATEST
from ..transcript import Segment, Transcript


class TextSpan(NamedTuple):
    """A word or a segment in the text.

    first, last   offset of its first character, and the one behind its last
    start, end    seconds, or None
    """

    first: int
    last: int
    start: float | None
    end: float | None


def word_spans(text: str, words: Sequence[Word]) -> list[TextSpan]:
    """The places of all words, blank ones aside; none if one can't be found behind the one before it."""
    places, at = [], 0
    for word in words:
        if spelt := word.word.strip():
            first = text.find(spelt, at)
            if first < 0:
                return []
            at = first + len(spelt)
            places.append(TextSpan(first, at, known_time(word.start), known_time(word.end)))
    return places


def segment_spans(text: str, segments: Sequence[Segment]) -> list[TextSpan]:
    """The places of all segments, with the blanks at their seams, empty ones aside; none if they aren't the text."""
    places, at = [], 0
    for segment in segments:
        if segment.text:
            places.append(TextSpan(at, at + len(segment.text), known_time(segment.start), known_time(segment.end)))
            at += len(segment.text)
    return places if "".join(segment.text for segment in segments) == text else []


def known_time(seconds: float | None) -> float | None:
    """A time, or None where it can't be one."""
    return None if seconds is None or not abs(seconds) < LATEST else seconds


def milliseconds(seconds: float | None) -> int | None:
    """Likewise, in whole milliseconds."""
    return None if (time := known_time(seconds)) is None else round(round(time, 3) * 1000)


def is_estimated(transcript: Transcript) -> bool:
    """Whether some times are known to be guessed."""
    return any(segment.timing == "estimated" for segment in transcript.segments)
