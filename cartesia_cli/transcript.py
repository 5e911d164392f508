"""What a transcript is: words, segments, and the JSON document that the user gets.

Text is sacred: nothing here strips, joins with blanks or corrects. Segments are slices of the text,
so that all of them joined give it back, character for character. Every time says where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .protocol import BatchResponse, Word

Timing = Literal["server", "audio", "estimated"]

PAUSE_SECONDS = 1.0
"""Silence between two words that ends a segment even without punctuation."""

SENTENCE_ENDS = tuple(".?!…。？！")
CLOSERS = "\"'”’»)]」』"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a transcript, as a rule a sentence.

    start, end   seconds from the start of the audio
    text         a verbatim slice of the transcript
    timing       server: the API said so; audio: from the audio's own clock; estimated: interpolated
    """

    start: float
    end: float
    text: str
    timing: Timing

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"start": round(self.start, 3), "end": round(self.end, 3), "text": self.text, "timing": self.timing}


@dataclass(frozen=True, slots=True)
class Partial:
    """What is being said in a live session, not settled yet: each replaces the one before it.

    at     seconds of audio sent when it came
    text   the whole of the open segment up to now, verbatim
    """

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a live session that is no text: `turn.eager_end`, `turn.resume`, a gap, a silence.

    at        seconds of audio sent when it came
    event     a word for programs
    message   a sentence for people
    """

    at: float
    event: str
    message: str


Update = Partial | Segment | Notice


@dataclass(frozen=True, slots=True)
class Transcript:
    """One recording as text.

    source     the input as the user named it; "-" is stdin
    model      what was asked for
    duration   seconds of audio, or None where neither the server nor the file tells
    words      None when they were not asked for
    """

    source: str
    model: str
    text: str
    language: str | None = None
    duration: float | None = None
    request_id: str | None = None
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] | None = None

    def document(self, *, words: bool = True) -> dict[str, Any]:
        """The JSON document: optional members are left out, never null."""
        facts = {
            "source": self.source,
            "model": self.model,
            "language": self.language,
            "duration": self.duration,
            "request_id": self.request_id,
            "text": self.text,
            "segments": [segment.document() for segment in self.segments],
            "words": [_word(word) for word in self.words] if words and self.words is not None else None,
        }
        return {name: value for name, value in facts.items() if value is not None}


def from_batch(response: BatchResponse, *, source: str, model: str, measured: float | None = None) -> Transcript:
    """A batch response as a transcript. `measured`: seconds of audio by the file itself, where it tells."""
    duration = response.duration if response.duration is not None else measured
    return Transcript(
        source=source,
        model=model,
        text=response.text,
        language=response.language,
        duration=duration,
        request_id=response.request_id,
        segments=tuple(_segments(response, duration)),
        words=response.words,
    )


def _word(word: Word) -> dict[str, Any]:
    facts = {"word": word.word, "start": word.start, "end": word.end}
    return {name: value for name, value in facts.items() if value is not None}


def _segments(response: BatchResponse, duration: float | None) -> Iterator[Segment]:
    """Sentences where there are word times, otherwise the whole text from 0 to the duration."""
    text, words = response.text, response.words or ()
    cuts = _cuts(text, words)
    if cuts is None:
        if text.strip() and duration is not None:
            timing: Timing = "audio" if response.duration is None else "server"
            yield Segment(0.0, duration, text, timing)
        return
    at = 0
    for first, last, cut in cuts:
        start, end = words[first].start, words[last].end
        assert start is not None and end is not None
        yield Segment(start, max(start, end), text[at:cut], "server")
        at = cut


def _cuts(text: str, words: Sequence[Word]) -> list[tuple[int, int, int]] | None:
    """Where to cut `text`: (first word, last word, offset behind it) for each segment.

    None when the words can't all be found in the text in their order, or one has no times: then no
    slice of the text could be given times honestly.
    """
    ends, at = [], 0
    for word in words:
        spelt = word.word.strip()
        found = text.find(spelt, at)
        if found < 0 or word.start is None or word.end is None:
            return None
        at = found + len(spelt)
        ends.append(at)
    cuts, first = [], 0
    for i, word in enumerate(words):
        following = words[i + 1] if i + 1 < len(words) else None
        if following is None:
            cuts.append((first, i, len(text)))
        elif _ends_sentence(word.word) or (following.start or 0) - (word.end or 0) >= PAUSE_SECONDS:
            cuts.append((first, i, ends[i]))
            first = i + 1
    return cuts or None


def _ends_sentence(word: str) -> bool:
    return word.strip().rstrip(CLOSERS).endswith(SENTENCE_ENDS)
