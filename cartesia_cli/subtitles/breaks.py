"""Computes the cost of a break from its position in the sentence: none at its end, a lot between an article and a noun.

The texts on both sides decide. Must not depend on times, lines or cues.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise, repeat
from typing import NamedTuple

from ..alignment import UNSPACED_CHARACTER
from ..protocol.languages import primary_language
from ..text_width import text_width
from ..transcript import CLAUSE_ENDS, CLOSING_MARKS, OPENING_MARKS, SENTENCE_ENDS
from .function_words import GRAMMARS, NO_GRAMMAR, Grammar

UNSPACED = re.compile(UNSPACED_CHARACTER)

# Costs of a break by its position in the sentence, in points.
SENTENCE_END_COST = 0
CLAUSE_END_COST = 15
PHRASE_START_COST = 30
WORD_COST = 50
AMBIGUOUS_COST = 140
"""Between characters that may belong to one word, in scripts without spaces."""
WITHIN_PHRASE_COST = 150
"""Between words that belong together, such as an article and its noun."""
WITHIN_WORD_COST = 600

TORN_PHRASE_PENALTY = 2000.0
"""Added to the cost of a break within a phrase, so that one is made only where a rule would be broken otherwise."""
LONE_WORD_PENALTY = 40
"""Added if a break cuts a single word off its sentence."""

SMALL_KANA = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々"

THAI_LEADING = frozenset("เแโใไເແໂໃໄ")
"""Vowels of Thai and Lao that are written before their consonant: a syllable begins with them."""
THAI_TRAILING = frozenset("ะาำๅๆฯະາຳໆຯ")


def must_stay_together(before: str, after: str) -> bool:
    """Whether a character must stay with the one before it."""
    return (
        "\u200d" in (before, after)
        or unicodedata.category(after)[0] == "M"
        or before in THAI_LEADING
        or after in THAI_TRAILING
    )


class TokenFeatures(NamedTuple):
    """What the text of a token says on its own, without its neighbours.

    columns, spaces             how wide it is, and how many spaces are in it
    word, bare_word             as `function_words` spells it, with the punctuation after it and without
    ends_sentence, ends_clause  whether it ends with such punctuation
    is_lowercase                whether it begins with a small letter
    is_name, is_number          whether it looks like one
    is_opening, is_closing      whether it is punctuation that must stay with what follows, or with what precedes
    elision                     its beginning up to an apostrophe: d', l', qu'
    is_unspaced                 whether its script puts no spaces between words
    is_single                   whether it is one character of such a script, which may be part of a word
    """

    columns: int
    spaces: int
    word: str
    bare_word: str
    ends_sentence: bool
    ends_clause: bool
    is_lowercase: bool
    is_name: bool
    is_number: bool
    is_opening: bool
    is_closing: bool
    elision: str
    is_unspaced: bool
    is_single: bool


@lru_cache(maxsize=1 << 14)
def token_features(text: str) -> TokenFeatures:
    bare = not any(map(str.isalnum, text))
    inner = text.rstrip(CLOSING_MARKS + " ")
    initial = len(text) == 2 and text[0].isupper() and text[1] == "."
    unspaced = bool(UNSPACED.match(text))
    word = text.casefold().replace("’", "'").lstrip(OPENING_MARKS + "\"'") or text
    return TokenFeatures(
        columns=text_width(text),
        spaces=text.count(" "),
        word=word,
        bare_word=word.rstrip(",;:.!?…" + CLOSING_MARKS),
        ends_sentence=inner.endswith(SENTENCE_ENDS) and not initial,
        ends_clause=inner.endswith(CLAUSE_ENDS),
        is_lowercase=text[0].islower(),
        is_name=text[0].isupper() and len(text) > 1 and not text.startswith(("I'", "I’")),
        is_number=text[0].isdigit() or text[-1].isdigit(),
        is_opening=bare and text[-1] in OPENING_MARKS,
        is_closing=text[0] in SMALL_KANA or (bare and text[-1] not in OPENING_MARKS and text[0] not in "-–—\"'"),
        elision=word[: word.find("'") + 1],
        is_unspaced=unspaced,
        is_single=unspaced and all(must_stay_together(*pair) for pair in pairwise(text)),
    )


def break_costs(features: Sequence[TokenFeatures], spaces: Sequence[bool], language: str | None) -> list[float]:
    """The cost of a break before each token, in points. Without a language, English is assumed.

    spaces   whether a space separates each token from the one before
    """
    grammar = GRAMMARS.get(primary_language(language or "en"), NO_GRAMMAR)
    after = features[1:]
    found = [
        0.0,
        *map(_break_cost, [None, *features], features, after, [*after[1:], None], spaces[1:], repeat(grammar)),
    ]
    ends = [*(price == SENTENCE_END_COST for price in found[1:]), True]  # of the tokens; a text begins like a sentence
    for k, price in enumerate(found):
        if price != SENTENCE_END_COST and price < WITHIN_PHRASE_COST and ((k > 1 and ends[k - 2]) or k == 1 or ends[k]):
            found[k] = price + LONE_WORD_PENALTY
    return found


def _break_cost(
    earlier: TokenFeatures | None,
    before: TokenFeatures,
    after: TokenFeatures,
    later: TokenFeatures | None,
    spaced: bool,
    grammar: Grammar,
) -> float:
    """The cost of a break between `before` and `after`, given one more token on either side."""
    if before.is_opening or after.is_closing or not (spaced or before.is_unspaced or after.is_unspaced):
        return WITHIN_WORD_COST
    if before.word in grammar.leaders and not (
        before.word in grammar.trailers and after.word not in grammar.verbs and _takes_object(earlier, grammar)
    ):
        return PHRASE_START_COST if after.bare_word in grammar.openers else WITHIN_PHRASE_COST
    if before.ends_sentence:
        return CLAUSE_END_COST if after.is_lowercase else SENTENCE_END_COST
    if before.ends_clause or (spaced and before.is_unspaced and after.is_unspaced):  # a space is punctuation there
        return CLAUSE_END_COST
    if before.word in grammar.openers or before.word in grammar.links:
        return WITHIN_PHRASE_COST
    if after.bare_word in grammar.trailers and (later is None or later.word not in grammar.verbs):
        return WITHIN_PHRASE_COST
    if (before.is_name and after.is_name) or (before.is_number and after.is_number):
        return WITHIN_PHRASE_COST
    if not spaced and before.is_unspaced and after.is_unspaced:
        return WORD_COST if _starts_word(before, after) else AMBIGUOUS_COST
    return PHRASE_START_COST if after.bare_word in grammar.openers or after.elision in grammar.openers else WORD_COST


def _starts_word(before: TokenFeatures, after: TokenFeatures) -> bool:
    """Whether a word begins with `after`, which no space separates from `before`.

    The source of the tokens has found the words, if one token is longer than a character.
    """
    if after.word[0] in THAI_LEADING or not (before.is_single and after.is_single):
        return True
    return _is_hiragana(before.word[-1]) and not _is_hiragana(after.word[0])


def _is_hiragana(char: str) -> bool:
    return "\u3040" <= char <= "\u309f"


def _takes_object(earlier: TokenFeatures | None, grammar: Grammar) -> bool:
    """Whether "it" or "you" after this token is its object, as in "told you", and not a subject, as in "when you"."""
    if earlier is None or earlier.ends_sentence or earlier.ends_clause:
        return False
    return not any(earlier.word in words for words in (grammar.openers, grammar.links, grammar.leaders))
