"""Divides a text into cues and lines by dynamic programming, as Knuth and Plass break paragraphs.

Every break has a cost in points: nothing at the end of a sentence, a lot between an article and its noun. A cue costs
more if it can't be read in time, if it is too small, or if it continues through a pause. The division of the whole text
with the lowest cost is chosen; filling each cue as far as possible would often leave a bad one after it.

Takes tokens and returns positions between them. Must not know what a transcript is, and must never leave a token out,
however wrong the times or narrow the lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, repeat
from operator import sub
from typing import NamedTuple

from ..text_width import text_width
from .breaks import (
    SENTENCE_END_COST,
    TORN_PHRASE_PENALTY,
    UNSPACED,
    TokenFeatures,
    break_costs,
    must_stay_together,
    token_features,
)
from .line_breaking import MIXED_SENTENCES_PENALTY, LineBreaker
from .profiles import Rules


class Token(NamedTuple):
    """The smallest unit that is never divided: a word, or a part of a word wider than a line.

    text           not empty, no spaces at its ends
    space_before   whether a space separates it from the token before
    start, end     milliseconds; neither decreases from one token to the next
    label          who says it, with the space after that; "" if it isn't shown
    """

    text: str
    space_before: bool
    start: int
    end: int
    label: str = ""


MAX_UNTORN_COST = 100.0
"""A break that costs more tears a phrase apart. After a second of silence, only one within a word costs so much."""
PAUSE_DISCOUNT_PER_MS = 0.05
"""Points by which a break is cheaper for each millisecond of silence there."""

# Costs of a cue, in points.
CUE_COST = 40.0
"""For every cue: without it, a cue for each clause would be free."""
SINGLE_TOKEN_PENALTY = 80.0
"""For a cue of a single token."""
NARROW_CUE_PENALTY = 1.0
"""For each column by which a cue of one line is narrower than half a line."""
BROKEN_RULE_PENALTY = 1e5
"""For a cue that can't be read in time, and for one that is shown too briefly, however little is missing: rules come
before good breaks, as in the BBC's Subtitle Guidelines (3.10)."""
MISSING_TIME_PENALTY = 0.08
"""For each millisecond that is missing for reading speed or minimum duration. Linear, so that fast speech costs the
same however it is divided, and the other costs decide."""
SILENCE_PENALTY = 60.0
"""For a second of silence within a cue, growing with its square: text that is shown before it is said."""
INNER_SENTENCE_END_PENALTY = 20.0
"""For the end of a sentence within a cue."""
FORBIDDEN_PENALTY = 1e6
"""For the end of a sentence within a cue, if every sentence must begin a new one (`Rules.sentences`)."""


def split_word(word: str, line: int) -> list[str]:
    """Split a word wider than a line into parts of a twentieth of a line; into characters in scripts without spaces.

    Marks and joiners stay with the character that they belong to, up to a number that no script exceeds.
    """
    part_width, parts = max(1, line // 20), [word[:1]]
    for char in word[1:]:
        last = parts[-1]
        small = text_width(last + char) <= part_width and not UNSPACED.match(char)
        if small or (must_stay_together(last[-1], char) and len(last) < 16):
            parts[-1] += char
        else:
            parts.append(char)
    return parts


def ceil_ms(seconds: float) -> int:
    """Milliseconds, rounded up, so that a minimum of 5/6 s is kept."""
    return math.ceil(round(seconds * 1000, 3))


def divide_into_cues(
    tokens: Sequence[Token], rules: Rules, language: str | None, until: float = math.inf
) -> list[tuple[int, ...]]:
    """The cheapest division: for each cue the positions where its lines begin, and where it ends.

    (3, 7, 12) is a cue with tokens 3 to 6 in its first line and 7 to 11 in its second. `until`: when something else
    is said after these tokens, milliseconds.
    """
    if not tokens:
        return []
    features, spaces = [_features(token) for token in tokens], [token.space_before for token in tokens]
    costs = break_costs(features, spaces, language)
    breaker = LineBreaker(features, spaces, rules, costs)
    cue_starts = _find_cue_starts(tokens, rules, costs, breaker, until)
    cues, j = [], len(tokens)
    while j:
        i = cue_starts[j]
        cues.append((i, *breaker.break_lines(i, j)[1], j))
        j = i
    return cues[::-1]


def _find_cue_starts(
    tokens: Sequence[Token], rules: Rules, costs: Sequence[float], breaker: LineBreaker, until: float
) -> list[int]:
    """For each position j, where the last cue starts if the first j tokens are divided at the lowest cost.

    Position j is the one before token j; a cue (i, j) has tokens i to j - 1. The dynamic program finds the lowest cost
    for each j, given those for fewer tokens. Nearly all time is spent in its inner loop, which makes no calls that can
    be avoided.
    """
    starts, ends = [token.start for token in tokens], [token.end for token in tokens]
    silences = [0, *map(sub, starts[1:], ends)]
    shortest, ms_per_column, half_line = ceil_ms(rules.min_cue), 1000 / rules.max_cps, rules.max_line_width // 2
    gap, linger = ceil_ms(rules.min_gap), ceil_ms(rules.max_linger)
    # The latest time at which a cue may end, by its last token, milliseconds.
    latest_ends = [min(end + linger, then - gap) for end, then in zip(ends, [*starts[1:], until], strict=True)]
    end_costs = [*map(_end_cost, costs[1:], silences[1:]), CUE_COST]
    # Prefix sums: inner[j] - inner[i + 1] is the cost of not ending a cue (i, j) earlier.
    sentence_end = FORBIDDEN_PENALTY if rules.sentences else INNER_SENTENCE_END_PENALTY
    inner = [0.0, *accumulate(map(_inner_cost, costs, silences, repeat(sentence_end))), 0.0]
    # The cost, if a cue that starts or ends at this position holds the end of a sentence.
    mixed_costs = [*(MIXED_SENTENCES_PENALTY if cost != SENTENCE_END_COST else 0.0 for cost in costs), 0.0]
    limits = zip(
        breaker.column_ends[1:],
        breaker.first_on_line[1:],
        _earliest_starts(breaker.first_in_cue[1:], starts, ends, ceil_ms(rules.max_cue)),
        latest_ends,
        end_costs,
        breaker.last_sentence_start,
        strict=True,
    )
    column_starts, cue_starts = breaker.column_starts, [0]
    best = [-inner[1]]  # less inner[j + 1], which saves a subtraction below
    for j, (columns, one_line, earliest, latest, end_cost, last_sentence) in enumerate(limits, 1):
        lowest, cheapest_start = math.inf, j - 1
        for i in range(j - 1, earliest - 1, -1):  # from the shortest cue
            if best[i] < lowest:
                cost = best[i] if i < j - 1 else best[i] + SINGLE_TOKEN_PENALTY
                width = columns - column_starts[i]
                if width < half_line and i >= one_line:
                    cost += NARROW_CUE_PENALTY * (half_line - width)
                reading = ms_per_column * width
                missing = (reading if reading > shortest else shortest) - latest + starts[i]
                if missing > 0:
                    # If no more is missing than the difference of these two times, only one rule is broken.
                    cost += MISSING_TIME_PENALTY * missing + (
                        BROKEN_RULE_PENALTY if missing <= abs(reading - shortest) else 2 * BROKEN_RULE_PENALTY
                    )
                if i < last_sentence:
                    cost += mixed_costs[i] + mixed_costs[j]
                if i < one_line and cost < lowest:  # only a cue that is cheap so far is divided into lines
                    cost += breaker.break_lines(i, j)[0]
                if cost < lowest:
                    lowest, cheapest_start = cost, i
        best.append(lowest + inner[j] + end_cost - inner[j + 1])
        cue_starts.append(cheapest_start)
    return cue_starts


def _earliest_starts(
    first_in_cue: Sequence[int], starts: Sequence[int], ends: Sequence[int], longest: int
) -> Iterator[int]:
    """The earliest start of a cue that ends with each token, by its width and its duration in milliseconds."""
    earliest = 0
    for last, (first_fitting, end) in enumerate(zip(first_in_cue, ends, strict=True)):
        earliest = max(earliest, first_fitting)
        while earliest < last and end - starts[earliest] > longest:
            earliest += 1
        yield earliest


def _features(token: Token) -> TokenFeatures:
    """The features of a token; its width includes that of its label."""
    found, label = token_features(token.text), token.label
    if not label:
        return found
    return found._replace(columns=found.columns + text_width(label), spaces=found.spaces + label.count(" "))


def _end_cost(break_cost: float, silence: int) -> float:
    """The cost of ending a cue where a break has this cost, in a silence of `silence` milliseconds."""
    cost = break_cost - PAUSE_DISCOUNT_PER_MS * silence
    return CUE_COST + (max(0.0, cost) if cost <= MAX_UNTORN_COST else cost + TORN_PHRASE_PENALTY)


def _inner_cost(break_cost: float, silence: int, sentence_end: float) -> float:
    """The cost of a position within a cue. Silences of more than five seconds cost no more than those of five."""
    seconds = min(silence, 5000) / 1000
    return SILENCE_PENALTY * seconds * seconds + (sentence_end if break_cost == SENTENCE_END_COST else 0.0)
