"""Recognises text that is heard a second time, because its audio was sent to another connection again.

A recogniser doesn't always hear the same: the second time a word may be spelt otherwise, or have lost its beginning.
So words are aligned, as two reads of the same sequence are: the end of what was heard with the beginning of what is
heard again, where the first words of either may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)*")
"""A word, or a character of a script that writes no blanks between words."""

SAME, ALIKE, OTHER = 2.0, 1.0, -1.0
"""Scores of two words at the same place, and of a word that only one side has (OTHER)."""

ALIKE_RATIO = 0.6


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


def repeated(heard: Sequence[str], again: Sequence[str]) -> Repeat | None:
    """How many words at the beginning of `again` repeat words of `heard`, which they may enter anywhere.

    None: `again` doesn't repeat anything of it. Both are folded words (`Token.word`).
    """
    if not heard or not again:
        return None
    # scores[j]: the best alignment of again[:j] that ends at the word of `heard` under consideration
    scores = [OTHER * j for j in range(len(again) + 1)]
    inside = 0.0
    for number, word in enumerate(heard, 1):
        row = [0.0]
        for j, other in enumerate(again, 1):
            row.append(max(scores[j - 1] + _score(word, other), scores[j] + OTHER, row[j - 1] + OTHER))
        scores = row
        if number < len(heard):
            inside = max(inside, scores[-1])
    # Of two counts with the same score the larger: a word that is heard otherwise is likelier than one that is missed.
    best, count = max((score, j) for j, score in enumerate(scores))
    if inside >= best:  # in doubt, there is more to come that repeats
        best, count, reaches_end = inside, len(again), False
    else:
        reaches_end = True
    return Repeat(count, reaches_end) if count and best >= max(1.0, count / 2) else None


def _score(word: str, other: str) -> float:
    if word == other:
        return SAME
    if word.isdecimal() or other.isdecimal():
        return OTHER
    return ALIKE if SequenceMatcher(None, word, other, autojunk=False).ratio() >= ALIKE_RATIO else OTHER
