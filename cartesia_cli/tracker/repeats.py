"""Recognizes text that is heard a second time because its audio was sent again over a new connection.

A recognizer isn't deterministic: a word may be spelled differently the second time, or its beginning may be missing. So
words are aligned as two overlapping reads of a sequence are: the end of what was heard with the beginning of what is
heard again. The first words of either may be missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from math import inf, log2
from typing import NamedTuple

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)*")
"""A word, or a character of a script that puts no spaces between words."""

MISMATCH_SCORE = -3.0
"""Score of a word that is missing or different on one side: minus the weight of a word with frequency 1/8."""

MIN_SIMILARITY, SIMILAR_SHARE = 0.6, 0.5
"""Similarity above which two words may be the same word, and the share of the weight that such a pair scores."""

OFFSET_COST = 2.0
"""Cost for each word by which the alignment starts away from where it is expected."""

MIN_SHARE = 0.2
"""The score that a repeat must reach, as a share of the weight of all its words."""


class FoldedWord(NamedTuple):
    """A word of a text. word: folded for comparison; end: index after it and its punctuation in the text."""

    word: str
    end: int


def tokenize(text: str) -> list[FoldedWord]:
    """The words of a text."""
    tokens = []
    for match in _TOKEN.finditer(text):
        end = match.end()
        while end < len(text) and not text[end].isspace() and not _TOKEN.match(text, end):
            end += 1
        tokens.append(FoldedWord(match.group().casefold(), end))
    return tokens


def words_of(text: str) -> list[str]:
    """The words of a text, folded."""
    return [token.word for token in tokenize(text)]


def text_after(text: str, count: int) -> str:
    """What follows the first `count` words of a text, one at least, and their punctuation."""
    return text[tokenize(text)[count - 1].end :]


class Repeat(NamedTuple):
    """How much of a text is a repeat.

    length        in words, from the first one on; at least 1
    reaches_end   whether that includes the last word that was heard before: whatever follows is new
    """

    length: int
    reaches_end: bool


def repeated(heard: Sequence[str], new: Sequence[str], expected: range | None = None) -> Repeat | None:
    """How many words at the beginning of `new` repeat words of `heard`, starting anywhere in it.

    None: it repeats nothing. Both are words folded for comparison. expected: how many words of `heard` are probably
    skipped, judging by the position of the audio. The rarer a word is in `heard`, the more it weighs: words said over
    and over, as in "no, no, no", say little about where they are, and then the position decides.
    """
    if not heard or not new:
        return None
    often = Counter(heard)
    weights = {word: log2((len(heard) + 1) / often.get(word, 1)) for word in {*heard, *new}}
    # scores[j]: the best alignment of new[:j] that ends at the word of `heard` under consideration
    start = _offset_cost(0, expected)
    scores = [start + MISMATCH_SCORE * j for j in range(len(new) + 1)]
    inside = -inf
    for number, word in enumerate(heard, 1):
        row = [_offset_cost(number, expected)]
        for j, other in enumerate(new, 1):
            row.append(
                max(
                    scores[j - 1] + _score(word, other, weights),
                    scores[j] + MISMATCH_SCORE,
                    row[j - 1] + MISMATCH_SCORE,
                )
            )
        scores = row
        if number < len(heard):
            inside = max(inside, scores[-1])
    # Of two counts with the same score, the larger: a word heard differently is likelier than a missed one.
    best, count = max((score, j) for j, score in enumerate(scores) if j)
    reaches_end = inside < best  # if in doubt, more repeated text is to come
    if not reaches_end:
        best, count = inside, len(new)
    enough = MIN_SHARE * sum(weights[word] for word in new[:count])
    return Repeat(count, reaches_end) if best >= enough else None


def _offset_cost(skipped: int, expected: range | None) -> float:
    if expected is None or skipped in expected:
        return 0.0
    return -OFFSET_COST * (expected.start - skipped if skipped < expected.start else skipped - expected.stop + 1)


def _score(word: str, other: str, weights: Mapping[str, float]) -> float:
    if word == other:
        return weights[word]
    if word.isdecimal() or other.isdecimal():
        return MISMATCH_SCORE
    is_alike = SequenceMatcher(None, word, other, autojunk=False).ratio() >= MIN_SIMILARITY
    return SIMILAR_SHARE * weights[word] if is_alike else MISMATCH_SCORE
