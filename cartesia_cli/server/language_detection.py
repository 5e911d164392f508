"""Which language is spoken in a recording, from what an engine hears in each of its windows.

Pure: values in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.batch import DEFAULT_LANGUAGE
from ..protocol.json_fields import DetectedLanguage

MIN_CONFIDENCE_TO_CHANGE = 0.7
"""Below it, a window counts as spoken in the language of the one before: it is likelier that a language goes on."""


@dataclass(slots=True)
class _Run:
    """Windows in succession that are in the same language.

    weight   seconds of those whose detection agrees with it
    total    the sum of their confidences, each multiplied by its seconds
    """

    language: str
    start: float
    end: float
    weight: float
    total: float


class SpokenLanguages:
    """The languages of one recording: `add` is called for each of its windows, in order."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._end = 0.0

    def add(self, heard: DetectedLanguage | None, seconds: float) -> str:
        """The language in which to recognize the next window.

        heard     what the engine hears in it; None if nobody speaks
        seconds   how long it is
        """
        last = self._runs[-1] if self._runs else None
        start, self._end = self._end, self._end + seconds
        if heard is None:
            return last.language if last else DEFAULT_LANGUAGE
        confidence = heard.confidence or 0.0
        if last is None or (heard.language != last.language and confidence >= MIN_CONFIDENCE_TO_CHANGE):
            self._runs.append(_Run(heard.language, start, self._end, seconds, seconds * confidence))
            return heard.language
        last.end = self._end
        if heard.language == last.language:
            last.weight += seconds
            last.total += seconds * confidence
        return last.language

    @property
    def spans(self) -> tuple[DetectedLanguage, ...]:
        """The languages in order, each with the time for which it was spoken; empty if nobody spoke."""
        return tuple(
            DetectedLanguage(run.language, round(run.total / run.weight, 3), round(run.start, 3), round(run.end, 3))
            for run in self._runs
        )

    @property
    def main(self) -> str | None:
        """The language that was spoken longest; None if nobody spoke."""
        seconds: dict[str, float] = {}
        for run in self._runs:
            seconds[run.language] = seconds.get(run.language, 0.0) + run.end - run.start
        return max(seconds, key=seconds.__getitem__, default=None)
