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
from .breaks import SENTENCE, TEAR, UNSPACED, break_costs, joined, token_features
from .line_breaking import MIXED, LineBreaker
from .profiles import Rules


class Piece(NamedTuple):
    """The smallest thing that a break may set apart: a word, or a crumb of a word wider than a line.

    text         not empty, no blanks at its ends
    blank        whether a blank parts it from the piece before
    start, end   milliseconds; over all pieces neither start nor end ever falls
    """

    text: str
    blank: bool
    start: int
    end: int


BARRED = 100.0
"""A cue that ends at a place that costs more does so; with a second of silence, nothing is torn."""
AROUND = 40
"""Pieces before and behind a cue that breaks a rule, among which better ends are looked for without regard to looks."""
PAUSE = 0.05
"""What a break gets cheaper by for each millisecond of silence around it."""

# Prices of a cue, in points.
CUE = 40.0
"""For every cue: without it, a cue for each clause would be free."""
STRAY = 80.0
"""For a cue of a single piece."""
SCRAP = 1.0
"""For each column that a cue has less than half a line."""
TOO_FAST = 1e5
"""For a cue that can't be read in time, and for one that stays too short, however little is missing: rules come
before looks, as the BBC's guidelines have it (3.10)."""
HURRY = 0.08
"""For each millisecond that is missing for reading speed or shortest stay. Linear, so that fast speech
costs the same however it is cut, and the other prices decide."""
WAIT = 60.0
"""For a second of silence within a cue, growing with its square: text that stands there before it's said."""
FULL_STOP = 20.0
"""For the end of a sentence within a cue."""
NEVER = 1e6
"""For the same, where every sentence begins a cue of its own."""


def split_word(word: str, line: int) -> list[str]:
    """A word wider than a line, in pieces of a twentieth of a line, or characters where these may be words.

    Marks and joiners stay with the character that they belong to, unless there are more than any script needs.
    """
    grain, pieces = max(1, line // 20), [word[:1]]
    for char in word[1:]:
        last = pieces[-1]
        small = text_width(last + char) <= grain and not UNSPACED.match(char)
        if small or (joined(last[-1], char) and len(last) < 16):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def milliseconds(seconds: float) -> int:
    """A duration of the rules. Rounded up, so that what is to last 5/6 s lasts that; float dust doesn't count."""
    return math.ceil(round(seconds * 1000, 3))


def segment(pieces: Sequence[Piece], rules: Rules, language: str | None) -> list[tuple[int, ...]]:
    """The cheapest way to break `pieces`: for each cue the positions where its lines begin, and where it ends.

    (3, 7, 12) is a cue with the pieces 3 to 6 in its first line and 7 to 11 in its second.
    """
    if not pieces:
        return []
    search = _Search(pieces, rules, language)
    search.run(1, len(pieces))
    if areas := search.unbar():
        search.mend(areas)
    return [(i, *search.breaker.lines(i, j)[1], j) for i, j in search.cues()]


class _Search:
    """The dynamic program. For the first j pieces of a text:

    bare   the lowest price of cues for them, without what `held` takes away again; infinite where no cue may end
    back   where the last of these cues begins
    """

    def __init__(self, pieces: Sequence[Piece], rules: Rules, language: str | None) -> None:
        features, blanks = [token_features(piece.text) for piece in pieces], [piece.blank for piece in pieces]
        place = break_costs(features, blanks, language)
        self.breaker = LineBreaker(features, blanks, rules, place)
        self.starts, self.spoken = [piece.start for piece in pieces], [piece.end for piece in pieces]
        self.longest, self.shortest = milliseconds(rules.max_cue), milliseconds(rules.min_cue)
        self.pace, self.scrap = 1000 / rules.max_cps, rules.max_line_width // 2
        silences = [0, *map(sub, self.starts[1:], self.spoken)]
        # held[j] - held[i + 1]: the price of the breaks that a cue of the pieces i to j - 1 passes over.
        full_stop = NEVER if rules.sentences else FULL_STOP
        self.held = [0.0, *accumulate(map(_held, place, silences, repeat(full_stop))), 0.0]
        self.bare, self.back = [-self.held[1]] + [math.inf] * len(pieces), [0] * (len(pieces) + 1)
        # What it costs to have the end of a sentence in a cue that begins or ends here.
        self.mixed = [MIXED if price != SENTENCE else 0.0 for price in place] + [0.0]
        # For a cue that ends with each piece: when it goes at the latest, where it begins at the earliest, the price
        # of its end, and whether that would tear what belongs together.
        gap, linger = milliseconds(rules.min_gap), milliseconds(rules.max_linger)
        self.latests = [
            min(last + linger, then - gap) for last, then in zip(self.spoken, self.starts[1:], strict=False)
        ]
        self.latests.append(self.spoken[-1] + linger)
        self.lows = [0, *self._lows()]
        endings = [at - PAUSE * silence for at, silence in zip(place[1:], silences[1:], strict=True)]
        self.endings = [*(CUE + (max(0.0, at) if at <= BARRED else at + TEAR) for at in endings), CUE]
        self.barred = self._bar()

    def run(self, first: int, last: int) -> None:
        """Find the best cues for the first j pieces, for each j from `first` to `last`, knowing those before."""
        breaker, held, bare, back, mixed = self.breaker, self.held, self.bare, self.back, self.mixed
        begins, starts, shortest, pace, scrap = breaker.begins, self.starts, self.shortest, self.pace, self.scrap
        part = slice(first - 1, last)
        columns = zip(
            breaker.ends[first : last + 1], breaker.first[first : last + 1], self.lows[first : last + 1], strict=True
        )
        sounds = zip(self.latests[part], self.endings[part], breaker.stops[part], self.barred[part], strict=True)
        for j, (end, one_line, low), (latest, ending, stop, barred) in zip(count(first), columns, sounds):
            if barred:
                bare[j] = math.inf
                continue
            # Here the time goes: no calls but the one that can't be helped. First a piece alone, one line, then more.
            wide, origin = end - begins[j - 1], j - 1
            bar = bare[j - 1] + STRAY
            if wide < scrap:
                bar += SCRAP * (scrap - wide)
            late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[j - 1]
            if late > 0:
                bar += HURRY * late + (TOO_FAST if late <= abs(pace * wide - shortest) else 2 * TOO_FAST)
            if one_line < low:
                one_line = low
            for i in range(j - 2, one_line - 1, -1):
                if bare[i] < bar:
                    wide = end - begins[i]
                    price = bare[i] if wide >= scrap else bare[i] + SCRAP * (scrap - wide)
                    late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[i]
                    if late > 0:
                        price += HURRY * late + (TOO_FAST if late <= abs(pace * wide - shortest) else 2 * TOO_FAST)
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
                        price += HURRY * late + (TOO_FAST if late <= abs(pace * wide - shortest) else 2 * TOO_FAST)
                    if i < stop:
                        price += mixed[i] + mixed[j]
                    if price < bar and (price := price + breaker.lines(i, j)[0]) < bar:
                        bar, origin = price, i
            bare[j], back[j] = bar + held[j] + ending - held[j + 1], origin

    def cues(self) -> list[tuple[int, int]]:
        """For each cue of the cheapest way its first piece, and the one behind its last."""
        found, j = [], len(self.starts)
        while j:
            found.append((self.back[j], j))
            j = self.back[j]
        return found[::-1]

    def unbar(self) -> list[tuple[int, int]]:
        """Open what is barred around each cue that breaks a rule; these areas, in order and apart."""
        areas: list[tuple[int, int]] = []
        for i, j in self.cues():
            reading = max(self.pace * (self.breaker.ends[j] - self.breaker.begins[i]), self.shortest)
            if reading > self.latests[j - 1] - self.starts[i]:
                first, last = max(1, i - AROUND), min(len(self.starts), j + AROUND)
                if areas and first <= areas[-1][1] + AROUND:
                    first = areas.pop()[0]
                areas.append((first, last))
        for first, last in areas:
            self.barred[first - 1 : last] = [False] * (last - first + 1)
        return areas

    def mend(self, areas: Sequence[tuple[int, int]]) -> None:
        """Run again where something was opened, and on until all prices have changed alike: so will all others."""
        before, size, change = self.bare[:], len(self.starts), 0.0
        for (j, last), (following, _) in pairwise((*areas, (size + 1, size + 1))):
            while j < following:
                self.run(j, last)
                j, window = last + 1, range(self.lows[last], last + 1)
                changes = [self.bare[k] - before[k] for k in window if before[k] < math.inf]
                if changes and min(changes) > max(changes) - 1e-3:
                    change = changes[0]
                    break
                last = min(last + AROUND, following - 1)
            self.bare[j:following] = [price + change for price in before[j:following]]

    def _lows(self) -> Iterator[int]:
        low = 0
        for j, (furthest, until) in enumerate(zip(self.breaker.furthest[1:], self.spoken, strict=True), 1):
            if furthest > low:
                low = furthest
            while low < j - 1 and until - self.starts[low] > self.longest:
                low += 1
            yield low

    def _bar(self) -> list[bool]:
        """Ends of cues that tear what belongs together, wherever one line without any is short enough.

        That is what makes a search fast; where it breaks a rule they are opened again.
        """
        barred, opened = [False] * len(self.endings), 0
        for j, ending in enumerate(self.endings, 1):
            if j < len(self.endings) and ending > TEAR:
                continue
            if self.breaker.first[j] <= opened and self.spoken[j - 1] - self.starts[opened] <= self.longest:
                barred[opened : j - 1] = [True] * (j - 1 - opened)
            opened = j
        return barred


def _held(place: float, silence: int, full_stop: float) -> float:
    """The price of passing over a break within a cue. Five seconds of silence are as bad as any longer."""
    seconds = min(silence, 5000) / 1000
    return WAIT * seconds * seconds + (full_stop if place == SENTENCE else 0.0)
