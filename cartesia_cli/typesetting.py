"""Where a cue ends and where a line breaks: the choices of a subtitler, made by optimisation.

Every break has a price in points: nothing at the end of a sentence, a lot between an article and its
noun. The cheapest way through the whole text is found by dynamic programming, as Knuth and Plass
break paragraphs; filling greedily would pay for every full cue with a bad one behind it.

Pieces go in, positions between them come out: this room decides, and changes nothing. It must not know
what a transcript is, and must never leave a piece out, however bad the times or narrow the lines.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, count, repeat
from operator import add, sub
from typing import NamedTuple

from .breaks import OPENERS as OPENERS
from .breaks import SENTENCE, TORN, joined, look, places
from .breaks import UNSPACED as UNSPACED
from .breaks import width as width
from .profiles import Rules as Rules


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


PAUSE = 0.05
"""What a break gets cheaper by for each millisecond of silence around it."""

# Prices of a cue, in points.
CUE = 40.0
"""For every cue: without it, a cue for each clause would be free."""
BARRED = 100.0
"""An end of a cue whose place costs more is there only if there is no other way, whatever the rules say."""
STRAY = 80.0
"""For a cue of a single piece."""
SCRAP = 1.0
"""For each column that a cue has less than half a line."""
TOO_FAST = 1000.0
"""For a cue that can't be read in time, or stays too short, however little is missing: rules come before looks."""
HURRY = 0.08
"""For each millisecond that is missing for reading speed or shortest stay. Linear, so that fast speech
costs the same however it is cut, and the other prices decide."""
WAIT = 60.0
"""For a second of silence within a cue, growing with its square: text that stands there before it's said."""
FULL_STOP = 20.0
"""For the end of a sentence within a cue."""
MIXED = 30.0
"""For the same, if the cue goes on with a sentence that it doesn't end, or begins with the rest of one."""
NEVER = 1e6
"""For the same, where every sentence begins a cue of its own."""

# Prices of a line break within a cue, in points.
LINE = 0.5
"""Share of the price of its place: the eye gets over a line break sooner than over a change of cue."""
TEAR = 2000.0
"""For a line break that tears what belongs together: it isn't done for the sake of rules, either."""
UNEVEN = 0.1
"""For the squared distance in columns from lines of equal width."""


def crumbs(word: str, line: int) -> list[str]:
    """A word wider than a line, in pieces of a twentieth of a line, or characters where these may be words.

    Marks and joiners stay with the character that they belong to, unless there are more than any script needs.
    """
    grain, pieces = max(1, line // 20), [word[:1]]
    for char in word[1:]:
        last = pieces[-1]
        small = width(last + char) <= grain and not UNSPACED.match(char)
        if small or (joined(last[-1], char) and len(last) < 16):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def milliseconds(seconds: float) -> int:
    """A duration of the rules. Rounded up, so that what is to last 5/6 s lasts that; float dust doesn't count."""
    return math.ceil(round(seconds * 1000, 3))


def compose(pieces: Sequence[Piece], rules: Rules, language: str | None) -> list[tuple[int, ...]]:
    """The cheapest way to break `pieces`: for each cue the positions where its lines begin, and where it ends.

    (3, 7, 12) is a cue with the pieces 3 to 6 in its first line and 7 to 11 in its second.
    """
    if not pieces:
        return []
    looks, blanks = [look(piece.text) for piece in pieces], [piece.blank for piece in pieces]
    place = places(looks, blanks, language)
    page = _Page([seen.columns for seen in looks], blanks, rules, place)
    begins, starts, spoken = page.begins, [piece.start for piece in pieces], [piece.end for piece in pieces]
    gap, linger, longest = milliseconds(rules.min_gap), milliseconds(rules.max_linger), milliseconds(rules.max_cue)
    shortest, pace, scrap = milliseconds(rules.min_cue), 1000 / rules.max_cps, rules.max_line_width // 2
    full_stop = NEVER if rules.sentences else FULL_STOP
    silences = [0, *map(sub, starts[1:], spoken)]
    # held[j] - held[i + 1]: the price of the breaks that a cue of the pieces i to j - 1 passes over.
    held = [0.0, *accumulate(map(_held, place, silences, repeat(full_stop))), 0.0]
    # For a cue that ends with each piece: when it goes at the latest, and the price of its end.
    latests = [min(last + linger, next_ - gap) for last, next_ in zip(spoken, starts[1:], strict=False)]
    endings = [CUE + max(0.0, at - PAUSE * silence) for at, silence in zip(place[1:], silences[1:], strict=True)]
    endings, latests = [*endings, CUE], [*latests, spoken[-1] + linger]
    _bar(endings, page.first, starts, spoken, longest)
    # What it costs to have the end of a sentence in a cue that begins or ends here.
    mixed = [MIXED if price != SENTENCE else 0.0 for price in place] + [0.0]
    columns = zip(page.ends[1:], page.first[1:], page.furthest[1:], strict=True)
    sounds = zip(spoken, latests, endings, page.stops, strict=True)

    # For the first j pieces: the lowest price, that without what held takes away again, where the last cue begins.
    best, bare, back = 0.0, [-held[1]], [0]
    low = 0
    for j, (end, one_line, furthest), (until, latest, ending, stop) in zip(count(1), columns, sounds):
        if furthest > low:
            low = furthest
        while low < j - 1 and until - starts[low] > longest:
            low += 1
        if ending == math.inf:
            best = math.inf
            bare.append(best)
            back.append(0)
            continue
        # Here the time goes: no calls but the one that can't be helped. First a piece alone, then one line, then more.
        wide, origin, passed = end - begins[j - 1], j - 1, held[j]
        bar = best + STRAY - passed
        if wide < scrap:
            bar += SCRAP * (scrap - wide)
        late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[j - 1]
        if late > 0:
            bar += TOO_FAST + HURRY * late
        if one_line < low:
            one_line = low
        for i in range(j - 2, one_line - 1, -1):
            if bare[i] < bar:
                wide = end - begins[i]
                price = bare[i] if wide >= scrap else bare[i] + SCRAP * (scrap - wide)
                late = (pace * wide if pace * wide > shortest else shortest) - latest + starts[i]
                if late > 0:
                    price += TOO_FAST + HURRY * late
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
                    price += TOO_FAST + HURRY * late
                if i < stop:
                    price += mixed[i] + mixed[j]
                if price < bar and (price := price + page.lines(i, j)[0]) < bar:
                    bar, origin = price, i
        best = bar + passed + ending
        bare.append(best - held[j + 1])
        back.append(origin)

    cues, j = [], len(pieces)
    while j:
        cues.append((back[j], *page.lines(back[j], j)[1], j))
        j = back[j]
    return cues[::-1]


def _bar(
    endings: list[float], first: Sequence[int], starts: Sequence[int], spoken: Sequence[int], longest: int
) -> None:
    """Rule out the ends of cues that cost more than BARRED, wherever one line without any is short enough."""
    opened = 0
    for j, ending in enumerate(endings, 1):
        if j < len(endings) and ending > CUE + BARRED:
            continue
        if first[j] <= opened and spoken[j - 1] - starts[opened] <= longest:
            endings[opened : j - 1] = [math.inf] * (j - 1 - opened)
        opened = j


Lines = tuple[float, tuple[int, ...]]
"""A price, and the positions where a line breaks."""

ONE_LINE: Lines = (0.0, ())
NO_WAY: Lines = (math.inf, ())


class _Page:
    """Lines within a cue.

    begins, ends   the columns of each piece if all were set in one endless line: of piece k, and of piece k - 1
    first          first[j]: the first piece with which all up to piece j - 1 fit on one line
    furthest       the same for all lines of a cue, if they could break anywhere
    stops          stops[j - 1]: the last piece but the first up to piece j - 1 that begins a sentence, 0 if none does
    """

    def __init__(self, widths: Sequence[int], blanks: Sequence[bool], rules: Rules, place: Sequence[float]) -> None:
        self._count = rules.max_line_count
        self.stops = [*accumulate((k if price == SENTENCE else 0 for k, price in enumerate(place)), max)]
        self._leads = [LINE * price + (TEAR if price == TORN else 0) for price in place]
        self._mixed = [
            lead + MIXED if price != SENTENCE else lead for lead, price in zip(self._leads, place, strict=True)
        ]
        self._above = cache(self._lines)
        self.ends = [*accumulate(map(add, widths, blanks), initial=0)]
        self.begins = [*map(sub, self.ends[1:], widths)]
        self.first = self._reaching(rules.max_line_width)
        self.furthest = self._reaching((rules.max_line_width + 1) * self._count - 1)
        if (most := rules.max_words_per_line) is not None:
            words = [*accumulate(blanks[1:], initial=1)]  # of which word each piece is
            self.first = [*map(max, self.first, _lately(words, most))]
            self.furthest = [*map(max, self.furthest, _lately(words, most * self._count))]
        # behind[i]: one more than the last m with first[m] <= i, to which a line that begins with piece i may go.
        self._behind = [bisect_right(self.first, i) for i in range(len(widths))]

    def _reaching(self, columns: int) -> list[int]:
        """For each j the first i so that the pieces i to j - 1 are no wider than this, j - 1 if none are."""
        begins = self.begins
        return [0, *(bisect_left(begins, end - columns, 0, j) for j, end in enumerate(self.ends[1:]))]

    def lines(self, i: int, j: int) -> Lines:
        """The cheapest way to set the pieces i to j - 1 in as few lines as they need. NO_WAY leaves them in one."""
        if i >= self.first[j]:
            return ONE_LINE
        for lines in range(2, self._count + 1):
            way = self._lines(i, j, lines)
            if way is not NO_WAY:
                return way
        return NO_WAY

    def _lines(self, i: int, j: int, count: int) -> Lines:
        """The cheapest way into `count` lines; fewer, where fewer are enough for what is above the last."""
        low = max(self.first[j], i + 1)
        high = j if count > 2 else min(j, self._behind[i])
        if low >= high:
            return NO_WAY
        begins, first = self.begins, self.first
        leads = self._mixed if i < self.stops[j - 1] else self._leads  # a cue of two sentences breaks between them
        even = self.ends[j] - (self.ends[j] - begins[i]) / count  # where the last line would begin
        best, price, above = NO_WAY, math.inf, ONE_LINE
        for m in range(low, high):
            off = even - begins[m]
            total = leads[m] + UNEVEN * off * off
            if total < price:
                if count > 2:
                    above = self._above(i, m, count - 1) if i < first[m] else ONE_LINE
                    total += above[0]
                if total < price:
                    price, best = total, (total, (*above[1], m))
        return best


def _lately(words: Sequence[int], most: int) -> list[int]:
    """For each j the first i so that the pieces i to j - 1 are of no more than `most` words."""
    return [0, *(bisect_left(words, word - most + 1, 0, j) for j, word in enumerate(words))]


def _held(place: float, silence: int, full_stop: float) -> float:
    """The price of passing over a break within a cue. Five seconds of silence are as bad as any longer."""
    seconds = min(silence, 5000) / 1000
    return WAIT * seconds * seconds + (full_stop if place == SENTENCE else 0.0)
