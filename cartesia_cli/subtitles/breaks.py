"""What a break costs by its place in the sentence: nothing at its end, a lot between an article and its noun.

Must not know times, lines or cues.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise, repeat
from typing import NamedTuple

from ..alignment import UNSPACED as UNSPACED
from ..text_width import text_width
from ..transcript import CLOSERS, SENTENCE_ENDS
from .function_words import GRAMMARS, NO_GRAMMAR, Grammar

SENTENCE, CLAUSE, PHRASE, PLAIN, LOOSE, TORN, SPLIT = 0, 15, 30, 50, 140, 150, 600
"""Prices of a break, in points. LOOSE is one between characters that may belong to one word, or not."""
TEAR = 2000.0
"""What a break costs more than TORN where nothing but a rule of cues can be worth it."""
SNIPPET = 40
"""What a break costs more that cuts a single word off its sentence."""

CLAUSE_ENDS = tuple(",;:–—-،؛、，；：")
OPENERS = "«„“‘‹([{¿¡「『（【〈《"
SMALL_KANA = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々"

THAI_LEADING = frozenset("เแโใไເແໂໃໄ")
"""Vowels of Thai and Lao that are written before their consonant: a syllable begins with them."""
THAI_TRAILING = frozenset("ะาำๅๆฯະາຳໆຯ")


def joined(before: str, after: str) -> bool:
    """Whether a character must stay with the one before it."""
    return (
        "\u200d" in (before, after)
        or unicodedata.category(after)[0] == "M"
        or before in THAI_LEADING
        or after in THAI_TRAILING
    )


class TokenFeatures(NamedTuple):
    """What a piece shows of itself, whatever stands around it.

    columns, blanks    how wide it is, and how many blanks are in it
    word, head         as the grammars spell it, with the punctuation behind it and without
    sentence, clause   whether it ends one
    lower              whether it begins with a small letter
    name, number       whether it looks like one
    opens, closes      whether it must stay with what follows, or with what comes before
    elided             what stands before its apostrophe, with it: d', l', qu'
    unspaced           whether its script puts no blanks between words
    single             whether it is one character of such a script, which may be part of a word
    """

    columns: int
    blanks: int
    word: str
    head: str
    sentence: bool
    clause: bool
    lower: bool
    name: bool
    number: bool
    opens: bool
    closes: bool
    elided: str
    unspaced: bool
    single: bool


@lru_cache(maxsize=1 << 14)
def token_features(text: str) -> TokenFeatures:
    bare = not any(map(str.isalnum, text))
    inner = text.rstrip(CLOSERS + " ")
    initial = len(text) == 2 and text[0].isupper() and text[1] == "."
    unspaced = bool(UNSPACED.match(text))
    word = text.casefold().replace("’", "'").lstrip(OPENERS + "\"'") or text
    return TokenFeatures(
        columns=text_width(text),
        blanks=text.count(" "),
        word=word,
        head=word.rstrip(",;:.!?…" + CLOSERS),
        sentence=inner.endswith(SENTENCE_ENDS) and not initial,
        clause=inner.endswith(CLAUSE_ENDS),
        lower=text[0].islower(),
        name=text[0].isupper() and len(text) > 1 and not text.startswith(("I'", "I’")),
        number=text[0].isdigit() or text[-1].isdigit(),
        opens=bare and text[-1] in OPENERS,
        closes=text[0] in SMALL_KANA or (bare and text[-1] not in OPENERS and text[0] not in "-–—\"'"),
        elided=word[: word.find("'") + 1],
        unspaced=unspaced,
        single=unspaced and all(joined(*pair) for pair in pairwise(text)),
    )


def break_costs(features: Sequence[TokenFeatures], blanks: Sequence[bool], language: str | None) -> list[float]:
    """The price of a break before each piece, by what stands around it. Without a language it's taken for English.

    blanks   whether one parts each piece from the one before
    """
    grammar = GRAMMARS.get((language or "en").casefold().replace("_", "-").split("-")[0], NO_GRAMMAR)
    after = features[1:]
    found = [
        0.0,
        *map(_break_cost, [None, *features], features, after, [*after[1:], None], blanks[1:], repeat(grammar)),
    ]
    ends = [*(price == SENTENCE for price in found[1:]), True]  # of the pieces; a text begins like a sentence
    for k, price in enumerate(found):
        if price != SENTENCE and price < TORN and ((k > 1 and ends[k - 2]) or k == 1 or ends[k]):
            found[k] = price + SNIPPET
    return found


def _break_cost(
    ahead: TokenFeatures | None,
    before: TokenFeatures,
    after: TokenFeatures,
    beyond: TokenFeatures | None,
    blank: bool,
    grammar: Grammar,
) -> float:
    """The price of a break between two pieces, told by them and by one more on either side."""
    if before.opens or after.closes or not (blank or before.unspaced or after.unspaced):
        return SPLIT
    if before.word in grammar.leaders and not (
        before.word in grammar.trailers and after.word not in grammar.verbs and _governs(ahead, grammar)
    ):
        return PHRASE if after.head in grammar.openers else TORN
    if before.sentence:
        return CLAUSE if after.lower else SENTENCE
    if before.clause or (blank and before.unspaced and after.unspaced):  # a blank is punctuation there
        return CLAUSE
    if before.word in grammar.openers or before.word in grammar.links:
        return TORN
    if after.head in grammar.trailers and (beyond is None or beyond.word not in grammar.verbs):
        return TORN
    if (before.name and after.name) or (before.number and after.number):
        return TORN
    if not blank and before.unspaced and after.unspaced:
        return PLAIN if _parted(before, after) else LOOSE
    return PHRASE if after.head in grammar.openers or after.elided in grammar.openers else PLAIN


def _parted(before: TokenFeatures, after: TokenFeatures) -> bool:
    """Whether a word begins between two pieces without a blank: as far as somebody else found words, or can be seen."""
    if after.word[0] in THAI_LEADING or not (before.single and after.single):
        return True
    return _is_hiragana(before.word[-1]) and not _is_hiragana(after.word[0])


def _is_hiragana(char: str) -> bool:
    return "\u3040" <= char <= "\u309f"


def _governs(ahead: TokenFeatures | None, grammar: Grammar) -> bool:
    """Whether "it" or "you" behind this piece is its object, as in "told you", and not a subject, as in "when you"."""
    if ahead is None or ahead.sentence or ahead.clause:
        return False
    return not any(ahead.word in words for words in (grammar.openers, grammar.links, grammar.leaders))
