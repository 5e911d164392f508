"""Compares transcripts with what was really said: word and character error rates, and how certain they are.

Errors are counted by jiwer, after Whisper's text normalizer has removed what isn't an error: case, punctuation, and in
English also spellings, contractions and the way in which numbers are written. jiwer and the normalizer come with the
extra [eval], and are imported when a text is normalized or compared first.

Pure: texts and counts in, figures out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

from .errors import EngineError
from .protocol.languages import AUTO_LANGUAGE, primary_language

INSTALL_COMMAND = "pip install 'cartesia-cli[eval]'"

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
"""Languages that are written without spaces: each character counts as a word, as in Whisper's paper (appendix D)."""

UNSPACED_SCRIPTS = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "THAI", "LAO", "MYANMAR")
"""With what the Unicode names of their characters begin."""

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
"""Of the resamples, so that the same results have the same confidence interval."""

MIN_RESAMPLED = 2
"""Recordings that a confidence interval needs: of one alone, nothing can be drawn but itself."""


class Edit(NamedTuple):
    """A stretch of words that two texts have in common, or in which they differ.

    kind                    equal, substitute, insert or delete
    reference, hypothesis   its words, after normalization, joined by spaces; empty for an insertion or a deletion
    """

    kind: str
    reference: str
    hypothesis: str


class ErrorCounts(NamedTuple):
    """Errors of one or more transcripts.

    words, characters   of the references, after normalization; characters include the spaces between words
    character_errors    substitutions, insertions and deletions of characters
    """

    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0
    words: int = 0
    character_errors: int = 0
    characters: int = 0

    @property
    def errors(self) -> int:
        """Of words."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def wer(self) -> float | None:
        """Word error rate: errors per word of the references. None where words were heard and none was said."""
        return _rate(self.errors, self.words)

    @property
    def cer(self) -> float | None:
        """Character error rate, likewise."""
        return _rate(self.character_errors, self.characters)


class Comparison(NamedTuple):
    """What a transcript has wrong."""

    counts: ErrorCounts
    edits: tuple[Edit, ...]


class Normalizer(NamedTuple):
    """Removes from a text what is not an error, by Whisper's rules.

    name         english, or basic for all other languages
    words        a text with its words divided by single spaces
    characters   the text whose characters are compared; without spaces in languages that have none
    """

    name: str
    words: Callable[[str], str]
    characters: Callable[[str], str]


def load_normalizer(language: str | None) -> Normalizer:
    """The normalizer of a language; None is English. With AUTO_LANGUAGE, characters of UNSPACED_SCRIPTS are words.

    Raises EngineError if the extra isn't installed.
    """
    if missing := [name for name in ("jiwer", "whisper_normalizer") if find_spec(name) is None]:
        message = f"eval needs packages that are not installed ({', '.join(missing)})"
        raise EngineError(message, hint=INSTALL_COMMAND)
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    if language == AUTO_LANGUAGE:
        basic = BasicTextNormalizer()
        return Normalizer("basic", lambda text: " ".join(_words(basic(text))), lambda text: _joined(basic(text)))
    code = primary_language(language or "en")
    if code in UNSPACED_LANGUAGES:
        whole, divided = BasicTextNormalizer(), BasicTextNormalizer(split_letters=True)
        return Normalizer(
            "basic", lambda text: " ".join(divided(text).split()), lambda text: "".join(whole(text).split())
        )
    name, normalize = ("english", EnglishTextNormalizer()) if code == "en" else ("basic", BasicTextNormalizer())

    def squeezed(text: str) -> str:
        return " ".join(normalize(text).split())

    return Normalizer(name, squeezed, squeezed)


def _words(text: str) -> list[str]:
    """The words of a normalized text, and each character of the UNSPACED_SCRIPTS as one."""
    return "".join(f" {char} " if _is_unspaced(char) else char for char in text).split()


def _joined(text: str) -> str:
    """The words of a normalized text, with a space between two unless one of them is of the UNSPACED_SCRIPTS."""
    words = _words(text)
    pairs = zip(["", *words], words, strict=False)
    return "".join(
        word if not before or _is_unspaced(before[0]) or _is_unspaced(word[0]) else f" {word}" for before, word in pairs
    )


def _is_unspaced(char: str) -> bool:
    return not char.isascii() and unicodedata.name(char, "").startswith(UNSPACED_SCRIPTS)


def compare(reference: str, hypothesis: str, normalizer: Normalizer) -> Comparison:
    """The errors of a transcript, given what was said."""
    import jiwer

    words = jiwer.process_words([normalizer.words(reference)], [normalizer.words(hypothesis)])
    characters = jiwer.process_characters([normalizer.characters(reference)], [normalizer.characters(hypothesis)])
    said, heard = words.references[0], words.hypotheses[0]
    edits = tuple(
        Edit(
            chunk.type,
            " ".join(said[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in words.alignments[0]
    )
    counts = ErrorCounts(
        words.substitutions,
        words.insertions,
        words.deletions,
        len(said),
        characters.substitutions + characters.insertions + characters.deletions,
        len(characters.references[0]),
    )
    return Comparison(counts, edits)


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """The errors of several transcripts together."""
    return ErrorCounts(*map(sum, zip(*counts, strict=True)))


def confidence_interval(errors: Sequence[int], lengths: Sequence[int]) -> tuple[float, float] | None:
    """Between which rates the error rate is with a probability of 95 %, by a bootstrap over recordings.

    errors    of each recording
    lengths   words or characters of its reference

    Recordings are drawn with replacement, as many as there are, 2000 times; the interval is that of the percentiles of
    the pooled rates (Bisani and Ney, 2004). None for fewer than two recordings, or if nothing was said.
    """
    import numpy as np

    if len(errors) < MIN_RESAMPLED or not sum(lengths):
        return None
    random = np.random.default_rng(SEED)
    wrong, said = np.array(errors), np.array(lengths)
    rates = []
    for _ in range(RESAMPLES):  # one at a time: a matrix of all draws would grow with the recordings
        drawn = random.integers(0, len(errors), len(errors))
        if length := int(said[drawn].sum()):
            rates.append(int(wrong[drawn].sum()) / length)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(rates, (tail, 100 - tail))
    return float(low), float(high)


def _rate(errors: int, length: int) -> float | None:
    if not length:
        return None if errors else 0.0
    return errors / length
