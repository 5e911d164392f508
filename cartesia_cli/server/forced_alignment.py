"""Corrects the word times of an engine: by loudness, and for English by forced alignment with PocketSphinx as well.

Only times change: words and their order are those of the engine. PocketSphinx's acoustic model and dictionary come with
the package; nothing is downloaded. Results depend on the arguments only, not on what was aligned before. PocketSphinx
holds the interpreter's lock during a whole alignment, 15 ms for a second of audio: other threads stand still. What a
change of the constants here does is measured by `benchmarks/word_times.py`.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from collections.abc import Sequence
from itertools import zip_longest

from ..audio.pcm import RATE, Samples
from ..protocol.json_fields import Word
from .engine import amplify_quiet
from .spoken_form import pronounce, spell_out
from .word_times import TimeSpan, correct

logger = logging.getLogger(__name__)

LANGUAGE = "en"
"""The only language of the acoustic model."""

FRAMES_PER_SECOND = 100

START_DELAY_SECONDS, END_DELAY_SECONDS = 0.025, 0.01
"""What is added to starts and ends. A frame is named by its beginning but describes the sound 13 ms later, and to the
model, the transition between two words belongs to the second one.
"""

MIN_SECONDS = 0.05
"""Shorter audio has no word, and without a sample the decoder raises IndexError."""

BEAM = 1e-60
"""How much less likely than the best a path may be: with the defaults, 1e-48 and 7e-29, more paths end before the text
does.
"""

PAUSE_PROBABILITY = 0.05
"""Probability of a pause after a word. With the default, a tenth of it, more paths end early in noise."""

MAX_ADDED_WORDS = 10_000
"""Unknown words that are added to a dictionary, about a megabyte, before it is loaded again without them."""

MAX_ATTEMPTS = 3
"""Alignments of a text at most: one of the whole, and others of what is left when one has ended early."""

FILLER = re.compile(r"[<\[].*")
"""Silence and noise in a result: `<sil>`, `[NOISE]`."""


class Aligner:
    """A loaded acoustic model. Must be used by one thread at a time."""

    def __init__(self) -> None:
        self._load()

    def _load(self) -> None:
        import pocketsphinx

        self._added: set[str] = set()
        self._decoder = pocketsphinx.Decoder(
            lm=None, loglevel="FATAL", beam=BEAM, wbeam=BEAM, pbeam=BEAM, silprob=PAUSE_PROBABILITY
        )

    def align(self, words: Sequence[str], samples: Samples) -> list[TimeSpan | None]:
        """When each word is said, in seconds; None for words that can't be placed. `samples`: 16 kHz, at most 30 s."""
        if len(self._added) >= MAX_ADDED_WORDS:
            self._load()
        spoken = [self._add_unknown(spell_out(*pair)) for pair in zip_longest(words, words[1:], fillvalue="")]
        found = self._place([word for parts in spoken for word in parts], samples)
        spans: list[TimeSpan | None] = []
        for parts in spoken:
            own, found = found[: len(parts)], found[len(parts) :]
            is_placed = parts and len(own) == len(parts)
            spans.append((own[0][0] + START_DELAY_SECONDS, own[-1][1] + END_DELAY_SECONDS) if is_placed else None)
        return spans

    def _add_unknown(self, words: Sequence[str]) -> list[str]:
        """The words that can be pronounced. Those that the dictionary lacks are added to it."""
        known = []
        for word in words:
            if self._decoder.lookup_word(word) is None:
                sounds = pronounce(word, self._look_up)
                if not sounds:
                    continue
                self._decoder.add_word(word, sounds, False)
                self._added.add(word)
            known.append(word)
        return known

    def _look_up(self, word: str) -> str | None:
        """The sounds of a word in the dictionary as it was loaded, or None."""
        return None if word in self._added else self._decoder.lookup_word(word)

    def _place(self, words: Sequence[str], samples: Samples) -> list[TimeSpan]:
        """The spans of `words`, from the first on: of fewer than all if the text doesn't fit the audio."""
        placed: list[TimeSpan] = []
        offset = 0.0
        for _ in range(MAX_ATTEMPTS):
            found = self._decode(words[len(placed) :], samples[int(offset * RATE) :])
            if len(placed) + len(found) < len(words):  # in noise, the path may stay in silence from some word on
                found = found[:-1]  # the last one is unsure
            placed += [(start + offset, end + offset) for start, end in found]
            if not found or len(placed) == len(words):
                break
            offset = placed[-1][1]
        return placed

    def _decode(self, words: Sequence[str], samples: Samples) -> list[TimeSpan]:
        """The same by one alignment. All `words` must be in the dictionary."""
        if not words or len(samples) < MIN_SECONDS * RATE:
            return []
        decoder = self._decoder
        decoder.set_align_text(" ".join(words))
        # So that the result doesn't depend on what was decoded before: without a reset, the limits of a few words moved
        # by a frame; and the cepstral mean is that of this audio only if it comes in one piece.
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw((amplify_quiet(samples) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        segments = [segment for segment in decoder.seg() or () if not FILLER.match(segment.word)]
        return [(s.start_frame / FRAMES_PER_SECOND, (s.end_frame + 1) / FRAMES_PER_SECOND) for s in segments]


class WordAligner:
    """Aligns words in any thread: each has an `Aligner` of its own, loaded when it is first needed (0.2 s)."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self._is_installed = importlib.util.find_spec("pocketsphinx") is not None

    def supports(self, language: str) -> bool:
        """Whether words in this language can be aligned."""
        return language == LANGUAGE and self._is_installed

    def align(self, words: Sequence[str], samples: Samples, language: str) -> list[TimeSpan | None]:
        """As `Aligner.align`; None for all words if the language isn't supported, or if the alignment fails."""
        if self.supports(language):
            try:
                aligner: Aligner = getattr(self._threads, "aligner", None) or Aligner()
                self._threads.aligner = aligner
                return aligner.align(words, samples)
            except Exception:  # a transcript must not be lost for its times
                logger.debug("alignment failed", exc_info=True)
                self._threads.aligner = None  # it may be in the middle of an utterance
        return [None] * len(words)

    def correct_times(self, recognized: Sequence[Word], samples: Samples, language: str) -> tuple[Word, ...]:
        """Words that were recognized in `samples`, with corrected times. In a language that is supported, words that
        couldn't be aligned are `estimated`.

        If any word has no times, all are returned unchanged.
        """
        words = tuple(recognized)
        times = [(word.start, word.end) for word in words if word.start is not None and word.end is not None]
        if not times or len(times) < len(words):
            return words
        aligned = self.align([word.word for word in words], samples, language)
        corrected = zip(words, correct(times, aligned, samples), strict=True)
        expected = self.supports(language)
        return tuple(
            word._replace(start=span.start, end=span.end, estimated=expected and not span.aligned)
            for word, span in corrected
        )
