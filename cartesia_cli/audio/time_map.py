"""Times in a recording, for a response to audio that was taken from it: a film's sound, or speech without its silences.

Pure: values in, values out. Times are seconds. Must never change the order of words, nor stretch one over what was cut
out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol.batch import BatchResponse
from ..protocol.json_fields import DetectedLanguage, Word


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the audio that was sent.

    start       in the audio that was sent
    recording   where it begins in the recording
    """

    start: float
    recording: float


@dataclass(frozen=True, slots=True)
class TimeMap:
    """Where the parts of the audio that was sent are in the recording. Ascending in both; the first starts at 0."""

    parts: Sequence[Part] = (Part(0.0, 0.0),)

    @classmethod
    def shift(cls, seconds: float) -> TimeMap:
        """The map of audio that begins `seconds` after its recording, or before it if negative."""
        return cls((Part(0.0, seconds),))

    def to_recording(self, seconds: float) -> float:
        """The time in the recording. At a cut, that after it."""
        part = self.parts[self._index(seconds)]
        return _not_negative(part.recording + seconds - part.start)

    def span_to_recording(self, start: float, end: float) -> tuple[float, float]:
        """Start and end in the recording. What lies on both sides of a cut is limited to the side of its middle:
        recognizers often put the beginning of a word into the pause before it.
        """
        index = self._index((start + end) / 2)
        part, rest = self.parts[index], self.parts[index + 1 :]
        first = max(start, part.start)
        last = max(first, min(end, rest[0].start) if rest else end)
        offset = part.recording - part.start
        return _not_negative(first + offset), _not_negative(last + offset)

    def restore(self, response: BatchResponse, duration: float | None = None) -> BatchResponse:
        """The response as if the whole recording, of `duration` seconds, had been sent."""
        words = None if response.words is None else tuple(map(self._restore_word, response.words))
        languages = None if response.languages is None else tuple(map(self._restore_language, response.languages))
        duration = response.duration if duration is None else duration
        return response._replace(words=words, languages=languages, duration=duration)

    def _index(self, seconds: float) -> int:
        return max(0, bisect_right(self.parts, seconds, key=lambda part: part.start) - 1)

    def _restore_language(self, heard: DetectedLanguage) -> DetectedLanguage:
        if heard.start is None or heard.end is None:
            return heard
        return heard._replace(start=self.to_recording(heard.start), end=self.to_recording(heard.end))

    def _restore_word(self, word: Word) -> Word:
        if word.start is None or word.end is None:
            return word._replace(start=None, end=None)  # as for all transcripts: both times or neither
        start, end = self.span_to_recording(word.start, word.end)
        return word._replace(start=start, end=end)


def _not_negative(seconds: float) -> float:
    """A time of at least 0, without the errors that sums of binary fractions have: 10.817, not 10.816999999999998."""
    return max(0.0, round(seconds, 6))
