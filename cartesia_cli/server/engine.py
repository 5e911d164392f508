"""The seam between the server and a recogniser: an Engine is shared, an Utterance is private.

Whatever implements these few methods can answer the API. They are called off the event loop, one call
at a time for each engine; they may take seconds.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..audio.pcm import Samples
from ..protocol import Word


@dataclass(frozen=True, slots=True)
class RecognizedWord(Word):
    """A word as an engine heard it.

    odds   how sure it is of the word, 0 to 1; 0 where it can't tell
    """

    probability: float = 0.0


class Utterance(Protocol):
    """A stretch of speech on its way to text."""

    def push(self, samples: Samples) -> None:
        """More audio: 16 kHz, mono, float32 in -1..1."""

    def finish(self) -> Sequence[RecognizedWord]:
        """The words of all that was fed, spelt with their leading blanks, so that joining them gives the text.

        Times are seconds from the first sample fed, or None from an engine that tells none. No speech, no words.
        """


class Engine(Protocol):
    """A loaded recogniser."""

    @property
    def name(self) -> str:
        """As shown to people."""

    @property
    def languages(self) -> Container[str]:
        """The codes that it knows."""

    def start(self, language: str) -> Utterance:
        """A new utterance, independent of all others."""
