"""Divides a text into cues and lines by dynamic programming, as Knuth and Plass break paragraphs.

Every break has a cost in points: nothing at the end of a sentence, a lot between an article and its noun. A cue costs
more if it can't be read in time, if it is too small, or if it continues through a pause. The division of the whole text
with the lowest cost is chosen; filling each cue as far as possible would often leave a bad one after it.

For speed, cues at first may not end within a phrase where they can avoid it (`blocked`). Where the result breaks a
rule, such as the reading speed, the neighbourhood is searched again with all ends allowed (`repair`).

Takes tokens and returns positions between them. Must not know what a transcript is, and must never leave a token out,
however wrong the times or narrow the lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, pairwise, repeat
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
"""A break that costs more tears a phrase apart, and is blocked at first. After a second of silence, only a break within
a word costs that much."""
REPAIR_TOKENS = 40
"""How many tokens before and after a cue that breaks a rule are searched again, with no end blocked."""
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


def duration_ms(seconds: float) -> int:
    """A duration of the rules in milliseconds, rounded up so that a minimum of 5/6 s is kept."""
    return math.ceil(round(seconds * 1000, 3))


def segment(
    tokens: Sequence[Token], rules: Rules, language: str | None, until: float = math.inf
) -> list[tuple[int, ...]]:
    """The cheapest division: for each cue the positions where its lines begin, and where it ends.

    (3, 7, 12) is a cue with tokens 3 to 6 in its first line and 7 to 11 in its second. `until`: when something else
    is said after these tokens, milliseconds.
    """
    if not tokens:
        return []
    search = _Search(tokens, rules, language, until)
    search.run(1, len(tokens))
    if areas := search.unblock_around_violations():
        search.repair(areas)
    return [(i, *search.breaker.break_lines(i, j)[1], j) for i, j in search.cues()]


class _Search:
    """The dynamic program. Position j is the one before token j; a cue (i, j) has tokens i to j - 1.

    The results, for each position j:

    best              the lowest cost of cues for the first j tokens, less inner_costs[j + 1]; infinite where no cue may
                      end. The subtraction saves one in the inner loop, where a cue (i, j) costs less by
                      inner_costs[i + 1].
    cue_start         where the last of these cues starts

    What they are computed from:

    inner_costs       prefix sums: inner_costs[j] - inner_costs[i + 1] is the cost of not ending a cue (i, j) earlier
    mixed_costs       the cost, if a cue that starts or ends at this position holds the end of a sentence
    earliest_starts   the earliest start of a cue that ends at this position, by its width and duration

    For each token, if a cue ends with it:

    latest_ends       the latest time at which the cue may end, milliseconds
    end_costs         CUE_COST and the cost of the break there
    blocked           whether it may not end there, since it would tear a phrase apart
    """

    def __init__(self, tokens: Sequence[Token], rules: Rules, language: str | None, until: float) -> None:
        features, spaces = [token_features(token.text) for token in tokens], [token.space_before for token in tokens]
        for k, token in enumerate(tokens):
            if token.label:
                features[k] = _add_label(features[k], token.label)
        costs = break_costs(features, spaces, language)
        self.breaker = LineBreaker(features, spaces, rules, costs)
        self.starts, self.ends = [token.start for token in tokens], [token.end for token in tokens]
        self.longest, self.shortest = duration_ms(rules.max_cue), duration_ms(rules.min_cue)
        self.ms_per_column, self.half_line = 1000 / rules.max_cps, rules.max_line_width // 2
        silences = [0, *map(sub, self.starts[1:], self.ends)]
        sentence_end = FORBIDDEN_PENALTY if rules.sentences else INNER_SENTENCE_END_PENALTY
        self.inner_costs = [0.0, *accumulate(map(_inner_cost, costs, silences, repeat(sentence_end))), 0.0]
        self.best, self.cue_start = [-self.inner_costs[1]] + [math.inf] * len(tokens), [0] * (len(tokens) + 1)
        self.mixed_costs = [MIXED_SENTENCES_PENALTY if cost != SENTENCE_END_COST else 0.0 for cost in costs] + [0.0]
        gap, linger = duration_ms(rules.min_gap), duration_ms(rules.max_linger)
        self.latest_ends = [
            min(last + linger, then - gap) for last, then in zip(self.ends, [*self.starts[1:], until], strict=True)
        ]
        self.earliest_starts = [0, *self._find_earliest_starts()]
        endings = [
            cost - PAUSE_DISCOUNT_PER_MS * silence for cost, silence in zip(costs[1:], silences[1:], strict=True)
        ]
        self.end_costs = [
            *(
                CUE_COST + (max(0.0, cost) if cost <= MAX_UNTORN_COST else cost + TORN_PHRASE_PENALTY)
                for cost in endings
            ),
            CUE_COST,
        ]
        self.blocked = self._find_blocked_ends()

    def run(self, first: int, last: int) -> None:
        """Find the best cues for the first j tokens, for each j from `first` to `last`, given those for fewer.

        Nearly all time is spent in the inner loop, so it makes no calls that can be avoided.
        """
        breaker, inner, best, cue_start = self.breaker, self.inner_costs, self.best, self.cue_start
        mixed_costs, column_starts, starts = self.mixed_costs, breaker.column_starts, self.starts
        shortest, ms_per_column, half_line = self.shortest, self.ms_per_column, self.half_line
        part = slice(first - 1, last)
        line_limits = zip(
            breaker.column_ends[first : last + 1],
            breaker.first_on_line[first : last + 1],
            self.earliest_starts[first : last + 1],
            strict=True,
        )
        end_limits = zip(
            self.latest_ends[part],
            self.end_costs[part],
            breaker.last_sentence_start[part],
            self.blocked[part],
            strict=True,
        )
        for j, (columns, one_line, earliest), (latest, end_cost, last_sentence, blocked) in zip(
            count(first), line_limits, end_limits
        ):
            if blocked:
                best[j] = math.inf
                continue
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
            best[j], cue_start[j] = lowest + inner[j] + end_cost - inner[j + 1], cheapest_start

    def cues(self) -> list[tuple[int, int]]:
        """The cues of the cheapest division: for each its first token, and the one after its last."""
        found, j = [], len(self.starts)
        while j:
            found.append((self.cue_start[j], j))
            j = self.cue_start[j]
        return found[::-1]

    def unblock_around_violations(self) -> list[tuple[int, int]]:
        """Allow all ends of cues near each cue that breaks a rule. Returns these areas, in order, without overlap."""
        areas: list[tuple[int, int]] = []
        for i, j in self.cues():
            reading = max(
                self.ms_per_column * (self.breaker.column_ends[j] - self.breaker.column_starts[i]), self.shortest
            )
            if reading > self.latest_ends[j - 1] - self.starts[i]:
                first, last = max(1, i - REPAIR_TOKENS), min(len(self.starts), j + REPAIR_TOKENS)
                if areas and first <= areas[-1][1] + REPAIR_TOKENS:
                    first = areas.pop()[0]
                areas.append((first, last))
        for first, last in areas:
            self.blocked[first - 1 : last] = [False] * (last - first + 1)
        return areas

    def repair(self, areas: Sequence[tuple[int, int]]) -> None:
        """Search these areas again.

        Each search continues beyond its area until all costs that later ones depend on have changed by the same amount:
        then all later costs change by it, too, and no later cue changes.
        """
        before, size, change = self.best[:], len(self.starts), 0.0
        for (j, last), (following, _) in pairwise((*areas, (size + 1, size + 1))):
            while j < following:
                self.run(j, last)
                j, window = last + 1, range(self.earliest_starts[last], last + 1)
                changes = [self.best[k] - before[k] for k in window if before[k] < math.inf]
                if changes and min(changes) > max(changes) - 1e-3:
                    change = changes[0]
                    break
                last = min(last + REPAIR_TOKENS, following - 1)
            self.best[j:following] = [cost + change for cost in before[j:following]]

    def _find_earliest_starts(self) -> Iterator[int]:
        earliest = 0
        for j, (first_fitting, end) in enumerate(zip(self.breaker.first_in_cue[1:], self.ends, strict=True), 1):
            if first_fitting > earliest:
                earliest = first_fitting
            while earliest < j - 1 and end - self.starts[earliest] > self.longest:
                earliest += 1
            yield earliest

    def _find_blocked_ends(self) -> list[bool]:
        """Which ends of cues are ruled out: those that tear a phrase apart, if one line can hold all text between the
        other ends around them.

        This makes the search fast. `unblock_around_violations` allows them again where a rule would be broken.
        """
        blocked, previous = [False] * len(self.end_costs), 0
        for j, ending in enumerate(self.end_costs, 1):
            if j < len(self.end_costs) and ending > TORN_PHRASE_PENALTY:
                continue
            if self.breaker.first_on_line[j] <= previous and self.ends[j - 1] - self.starts[previous] <= self.longest:
                blocked[previous : j - 1] = [True] * (j - 1 - previous)
            previous = j
        return blocked


def _add_label(features: TokenFeatures, label: str) -> TokenFeatures:
    """The features of a token that takes as much room as it does together with its label."""
    return features._replace(columns=features.columns + text_width(label), spaces=features.spaces + label.count(" "))


def _inner_cost(break_cost: float, silence: int, sentence_end: float) -> float:
    """The cost of a position within a cue. Silences of more than five seconds cost no more than those of five."""
    seconds = min(silence, 5000) / 1000
    return SILENCE_PENALTY * seconds * seconds + (sentence_end if break_cost == SENTENCE_END_COST else 0.0)
