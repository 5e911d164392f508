"""Where a cue ends and where a line breaks: the choices of a subtitler, made by optimisation.

Every break has a price in points: nothing at the end of a sentence, a lot between an article and its
noun. The cheapest way through the whole text is found by dynamic programming, as Knuth and Plass
break paragraphs; filling greedily would pay for every full cue with a bad one behind it.

Pieces go in, positions between them come out: this room decides, and changes nothing. It must not know
what a transcript is, and must never leave a piece out, however bad the times or narrow the lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, pairwise, repeat
from operator import sub
from typing import NamedTuple

from ..text_width import text_width
from .breaks import SENTENCE_END_COST, TORN_PHRASE_PENALTY, UNSPACED, break_costs, must_stay_together, token_features
from .line_breaking import MIXED_SENTENCES_PENALTY, LineBreaker
from .profiles import Rules


class Token(NamedTuple):
    """The smallest thing that a break may set apart: a word, or a crumb of a word wider than a line.

    text         not empty, no blanks at its ends
    blank        whether a blank parts it from the piece before
    start, end   milliseconds; over all pieces neither start nor end ever falls
    """

    text: str
    space_before: bool
    start: int
    end: int


MAX_UNTORN_COST = 100.0
"""A cue that ends at a place that costs more does so; with a second of silence, nothing is torn."""
REPAIR_TOKENS = 40
"""Pieces before and behind a cue that breaks a rule, among which better ends are looked for without regard to looks."""
PAUSE_DISCOUNT_PER_MS = 0.05
"""What a break gets cheaper by for each millisecond of silence around it."""

# Prices of a cue, in points.
CUE_COST = 40.0
"""For every cue: without it, a cue for each clause would be free."""
SINGLE_TOKEN_PENALTY = 80.0
"""For a cue of a single piece."""
NARROW_CUE_PENALTY = 1.0
"""For each column that a cue has less than half a line."""
BROKEN_RULE_PENALTY = 1e5
"""For a cue that can't be read in time, and for one that stays too short, however little is missing: rules come
before looks, as the BBC's guidelines have it (3.10)."""
MISSING_TIME_PENALTY = 0.08
"""For each millisecond that is missing for reading speed or shortest stay. Linear, so that fast speech
costs the same however it is cut, and the other prices decide."""
SILENCE_PENALTY = 60.0
"""For a second of silence within a cue, growing with its square: text that stands there before it's said."""
INNER_SENTENCE_END_PENALTY = 20.0
"""For the end of a sentence within a cue."""
FORBIDDEN_PENALTY = 1e6
"""For the same, where every sentence begins a cue of its own."""


def split_word(word: str, line: int) -> list[str]:
    """A word wider than a line, in pieces of a twentieth of a line, or characters where these may be words.

    Marks and joiners stay with the character that they belong to, unless there are more than any script needs.
    """
    grain, pieces = max(1, line // 20), [word[:1]]
    for char in word[1:]:
        last = pieces[-1]
        small = text_width(last + char) <= grain and not UNSPACED.match(char)
        if small or (must_stay_together(last[-1], char) and len(last) < 16):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def duration_ms(seconds: float) -> int:
    """A duration of the rules. Rounded up, so that what is to last 5/6 s lasts that; float dust doesn't count."""
    return math.ceil(round(seconds * 1000, 3))


def segment(pieces: Sequence[Token], rules: Rules, language: str | None) -> list[tuple[int, ...]]:
    """The cheapest way to break `pieces`: for each cue the positions where its lines begin, and where it ends.

    (3, 7, 12) is a cue with the pieces 3 to 6 in its first line and 7 to 11 in its second.
    """
    if not pieces:
        return []
    search = _Search(pieces, rules, language)
    search.run(1, len(pieces))
    if areas := search.unblock_around_violations():
        search.repair(areas)
    return [(i, *search.breaker.break_lines(i, j)[1], j) for i, j in search.cues()]


class _Search:
    """The dynamic program. For the first j pieces of a text:

    bare   the lowest price of cues for them, without what `held` takes away again; infinite where no cue may end
    back   where the last of these cues begins
    """

    def __init__(self, pieces: Sequence[Token], rules: Rules, language: str | None) -> None:
        features, blanks = [token_features(piece.text) for piece in pieces], [piece.space_before for piece in pieces]
        place = break_costs(features, blanks, language)
        self.breaker = LineBreaker(features, blanks, rules, place)
        self.starts, self.ends = [piece.start for piece in pieces], [piece.end for piece in pieces]
        self.longest, self.shortest = duration_ms(rules.max_cue), duration_ms(rules.min_cue)
        self.ms_per_column, self.half_line = 1000 / rules.max_cps, rules.max_line_width // 2
        silences = [0, *map(sub, self.starts[1:], self.ends)]
        # held[j] - held[i + 1]: the price of the breaks that a cue of the pieces i to j - 1 passes over.
        full_stop = FORBIDDEN_PENALTY if rules.sentences else INNER_SENTENCE_END_PENALTY
        self.inner_costs = [0.0, *accumulate(map(_inner_cost, place, silences, repeat(full_stop))), 0.0]
        self.best, self.cue_start = [-self.inner_costs[1]] + [math.inf] * len(pieces), [0] * (len(pieces) + 1)
        # What it costs to have the end of a sentence in a cue that begins or ends here.
        self.mixed_costs = [MIXED_SENTENCES_PENALTY if price != SENTENCE_END_COST else 0.0 for price in place] + [0.0]
        # For a cue that ends with each piece: when it goes at the latest, where it begins at the earliest, the price
        # of its end, and whether that would tear what belongs together.
        gap, linger = duration_ms(rules.min_gap), duration_ms(rules.max_linger)
        self.latest_ends = [
            min(last + linger, then - gap) for last, then in zip(self.ends, self.starts[1:], strict=False)
        ]
        self.latest_ends.append(self.ends[-1] + linger)
        self.earliest_starts = [0, *self._find_earliest_starts()]
        endings = [at - PAUSE_DISCOUNT_PER_MS * silence for at, silence in zip(place[1:], silences[1:], strict=True)]
        self.end_costs = [
            *(CUE_COST + (max(0.0, at) if at <= MAX_UNTORN_COST else at + TORN_PHRASE_PENALTY) for at in endings),
            CUE_COST,
        ]
        self.blocked = self._find_blocked_ends()

    def run(self, first: int, last: int) -> None:
        """Find the best cues for the first j pieces, for each j from `first` to `last`, knowing those before."""
        breaker, held, bare, back, mixed = self.breaker, self.inner_costs, self.best, self.cue_start, self.mixed_costs
        begins, starts, shortest, pace, scrap = (
            breaker.begins,
            self.starts,
            self.shortest,
            self.ms_per_column,
            self.half_line,
        )
        part = slice(first - 1, last)
        columns = zip(
            breaker.ends[first : last + 1],
            breaker.first_on_line[first : last + 1],
            self.earliest_starts[first : last + 1],
            strict=True,
        )
        sounds = zip(
            self.latest_ends[part],
            self.end_costs[part],
            breaker.last_sentence_start[part],
            self.blocked[part],
            strict=True,
        )
        for j, (end, one_line, low), (latest, ending, stop, barred) in zip(count(first), columns, sounds):
            if barred:
                bare[j] = math.inf
                continue
            # Here the time goes: no calls but the one that can't be helped. First a piece alone, one line, then more.
            wide, origin = end - begins[j - 1], j - 1
            bar = bare[j - 1] + SINGLE_TOKEN_PENALTY
            if wide < scrap:
                bar += NARROW_CUE_PENALTY * (scrap - wide)
            late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[j - 1]
            if late > 0:
                bar += MISSING_TIME_PENALTY * late + (
                    BROKEN_RULE_PENALTY if late <= abs(pace * wide - shortest) else 2 * BROKEN_RULE_PENALTY
                )
            if one_line < low:
                one_line = low
            for i in range(j - 2, one_line - 1, -1):
                if bare[i] < bar:
                    wide = end - begins[i]
                    price = bare[i] if wide >= scrap else bare[i] + NARROW_CUE_PENALTY * (scrap - wide)
                    late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[i]
                    if late > 0:
                        price += MISSING_TIME_PENALTY * late + (
                            BROKEN_RULE_PENALTY if late <= abs(pace * wide - shortest) else 2 * BROKEN_RULE_PENALTY
                        )
                    if i < stop:
                        price += mixed[i] + mixed[j]
                    if price < bar:
                        bar, origin = price, i
            for i in range(one_line - 1, low - 1, -1):
                if bare[i] < bar:
                    wide = end - begins[i]
                    price = bare[i]
                    late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[i]
                    if late > 0:
                        price += MISSING_TIME_PENALTY * late + (
                            BROKEN_RULE_PENALTY if late <= abs(pace * wide - shortest) else 2 * BROKEN_RULE_PENALTY
                        )
                    if i < stop:
                        price += mixed[i] + mixed[j]
                    if price < bar and (price := price + breaker.break_lines(i, j)[0]) < bar:
                        bar, origin = price, i
            bare[j], back[j] = bar + held[j] + ending - held[j + 1], origin

    def cues(self) -> list[tuple[int, int]]:
        """For each cue of the cheapest way its first piece, and the one behind its last."""
        found, j = [], len(self.starts)
        while j:
            found.append((self.cue_start[j], j))
            j = self.cue_start[j]
        return found[::-1]

    def unblock_around_violations(self) -> list[tuple[int, int]]:
        """Open what is barred around each cue that breaks a rule; these areas, in order and apart."""
        areas: list[tuple[int, int]] = []
        for i, j in self.cues():
            reading = max(self.ms_per_column * (self.breaker.ends[j] - self.breaker.begins[i]), self.shortest)
            if reading > self.latest_ends[j - 1] - self.starts[i]:
                first, last = max(1, i - REPAIR_TOKENS), min(len(self.starts), j + REPAIR_TOKENS)
                if areas and first <= areas[-1][1] + REPAIR_TOKENS:
                    first = areas.pop()[0]
                areas.append((first, last))
        for first, last in areas:
            self.blocked[first - 1 : last] = [False] * (last - first + 1)
        return areas

    def repair(self, areas: Sequence[tuple[int, int]]) -> None:
        """Run again where something was opened, and on until all prices have changed alike: so will all others."""
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
            self.best[j:following] = [price + change for price in before[j:following]]

    def _find_earliest_starts(self) -> Iterator[int]:
        low = 0
        for j, (furthest, until) in enumerate(zip(self.breaker.first_in_cue[1:], self.ends, strict=True), 1):
            if furthest > low:
                low = furthest
            while low < j - 1 and until - self.starts[low] > self.longest:
                low += 1
            yield low

    def _find_blocked_ends(self) -> list[bool]:
        """Ends of cues that tear what belongs together, wherever one line without any is short enough.

        That is what makes a search fast; where it breaks a rule they are opened again.
        """
        barred, opened = [False] * len(self.end_costs), 0
        for j, ending in enumerate(self.end_costs, 1):
            if j < len(self.end_costs) and ending > TORN_PHRASE_PENALTY:
                continue
            if self.breaker.first_on_line[j] <= opened and self.ends[j - 1] - self.starts[opened] <= self.longest:
                barred[opened : j - 1] = [True] * (j - 1 - opened)
            opened = j
        return barred


def _inner_cost(place: float, silence: int, full_stop: float) -> float:
    """The price of passing over a break within a cue. Five seconds of silence are as bad as any longer."""
    seconds = min(silence, 5000) / 1000
    return SILENCE_PENALTY * seconds * seconds + (full_stop if place == SENTENCE_END_COST else 0.0)
