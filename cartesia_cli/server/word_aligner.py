"""Corrects the word times of an engine: by forced alignment for English, and by loudness for all languages.

Only times change: words and their order are those of the engine.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..audio.pcm import Samples
from .engine import RecognizedWord
from .word_times import Span, correct

if TYPE_CHECKING:
    from .forced_alignment import Aligner

logger = logging.getLogger(__name__)

ALIGNED_LANGUAGE = "en"
"""The only language of the alignment's model."""


class WordAligner:
    """Aligns words in any thread: each has an `Aligner` of its own, loaded when it is first needed (0.2 s)."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self._is_installed = importlib.util.find_spec("pocketsphinx") is not None

    def supports(self, language: str) -> bool:
        """Whether words in this language can be aligned."""
        return language == ALIGNED_LANGUAGE and self._is_installed

    def align(self, words: Sequence[str], samples: Samples, language: str) -> list[Span | None]:
        """When each word is said, in seconds; None for words that can't be placed."""
        if self.supports(language):
            try:
                return self._aligner().align(words, samples)
            except (ImportError, RuntimeError):  # a transcript must not be lost for its times
                logger.debug("alignment failed", exc_info=True)
                self._threads = threading.local()  # the aligner may be in the middle of an utterance
        return [None] * len(words)

    def correct_times(
        self, recognized: Sequence[RecognizedWord], samples: Samples, language: str
    ) -> tuple[RecognizedWord, ...]:
        """Words that were recognized in `samples`, with corrected times; those that can't be aligned are `estimated`.

        Words without times stay so.
        """
        words = tuple(recognized)
        times = [(word.start, word.end) for word in words if word.start is not None and word.end is not None]
        if not times or len(times) < len(words):
            return words
        aligned = self.align([word.word for word in words], samples, language)
        corrected = zip(words, correct(times, aligned, samples), strict=True)
        expected = self.supports(language)
        return tuple(
            replace(word, start=span.start, end=span.end, estimated=expected and not span.aligned)
            for word, span in corrected
        )

    def _aligner(self) -> Aligner:
        from .forced_alignment import Aligner

        if not hasattr(self._threads, "aligner"):
            self._threads.aligner = Aligner()
        aligner: Aligner = self._threads.aligner
        return aligner
