"""Recognises text that is heard a second time, because its audio was sent to another connection again.

A recogniser doesn't always hear the same: the second time a word may be spelt otherwise, or have lost its beginning.
So words are aligned, as two reads of the same sequence are: the end of what was heard with the beginning of what is
heard again, where the first words of either may be missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from math import inf, log2
from typing import NamedTuple

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)*")
"""A word, or a character of a script that writes no blanks between words."""

OTHER = -3.0
"""Score of a word that only one side has, or has otherwise: as much as a word that was heard once in eight counts."""

ALIKE_RATIO, ALIKE_SHARE = 0.6, 0.5
"""How alike words have to be that may be one word heard twice, and the part of its weight that this counts."""

STRAY = 2.0
"""What it costs, a word, to enter from where it is not expected."""

ENOUGH = 0.2
"""The part of the weight of all words that has to be found again."""


class Token(NamedTuple):
    """A word of a text. word: folded for comparison; end: index behind it in the text, punctuation included."""

    word: str
    end: int


def tokenize(text: str) -> list[Token]:
    """The words of a text."""
    tokens = []
    for match in _TOKEN.finditer(text):
        end = match.end()
        while end < len(text) and not text[end].isspace() and not _TOKEN.match(text, end):
            end += 1
        tokens.append(Token(match.group().casefold(), end))
    return tokens


def words_of(text: str) -> list[str]:
    """The words of a text, folded."""
    return [token.word for token in tokenize(text)]


class Repeat(NamedTuple):
    """How much of a text is a repeat.

    length        in words, from the first one on
    reaches_end   whether the last word of what was heard before is among them: whatever follows is new
    """

    length: int
    reaches_end: bool


def repeated(heard: Sequence[str], again: Sequence[str], expected: range | None = None) -> Repeat | None:
    """How many words at the beginning of `again` repeat words of `heard`, which they may enter anywhere.

    None: `again` doesn't repeat anything of it. Both are folded words (`Token.word`). expected: how many words of
    `heard` are probably skipped, by the place of the audio. A word weighs the more the rarer it is in `heard`, for what
    is said over and over, as in "no, no, no", says little about where it is: then the place decides.
    """
    if not heard or not again:
        return None
    often = Counter(heard)
    weights = {word: log2((len(heard) + 1) / often.get(word, 1)) for word in {*heard, *again}}
    # scores[j]: the best alignment of again[:j] that ends at the word of `heard` under consideration
    start = _stray(0, expected)
    scores = [start + OTHER * j for j in range(len(again) + 1)]
    inside = -inf
    for number, word in enumerate(heard, 1):
        row = [_stray(number, expected)]
        for j, other in enumerate(again, 1):
            row.append(max(scores[j - 1] + _score(word, other, weights), scores[j] + OTHER, row[j - 1] + OTHER))
        scores = row
        if number < len(heard):
            inside = max(inside, scores[-1])
    # Of two counts with the same score the larger: a word that is heard otherwise is likelier than one that is missed.
    best, count = max((score, j) for j, score in enumerate(scores) if j)
    reaches_end = inside < best  # in doubt, there is more to come that repeats
    if not reaches_end:
        best, count = inside, len(again)
    enough = ENOUGH * sum(weights[word] for word in again[:count])
    return Repeat(count, reaches_end) if best >= enough else None


def _stray(skipped: int, expected: range | None) -> float:
    if expected is None or skipped in expected:
        return 0.0
    return -STRAY * (expected.start - skipped if skipped < expected.start else skipped - expected.stop + 1)


def _score(word: str, other: str, weights: Mapping[str, float]) -> float:
    if word == other:
        return weights[word]
    if word.isdecimal() or other.isdecimal():
        return OTHER
    is_alike = SequenceMatcher(None, word, other, autojunk=False).ratio() >= ALIKE_RATIO
    return ALIKE_SHARE * weights[word] if is_alike else OTHER
