"""Where a cue breaks into lines: of like width, and where the sentence allows.

Must not know times, nor which pieces make a cue.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from operator import add, sub

from .breaks import SENTENCE, TEAR, TORN, TokenFeatures
from .profiles import Rules

# Prices of a line break within a cue, in points.
LINE = 0.5
"""Share of the price of its place: the eye gets over a line break sooner than over a change of cue."""
UNEVEN = 0.1
"""For the squared distance in columns from lines of equal width."""
MIXED = 30.0
"""For one within a sentence that shares the cue with another; and for a cue that doesn't begin or end with both."""

Lines = tuple[float, tuple[int, ...]]
"""A price, and the positions where a line breaks."""

ONE_LINE: Lines = (0.0, ())
NO_WAY: Lines = (math.inf, ())


class LineBreaker:
    """Lines within a cue.

    begins, ends   the columns of each piece if all were set in one endless line: of piece k, and of piece k - 1
    first          first[j]: the first piece with which all up to piece j - 1 fit on one line
    furthest       the same for all lines of a cue, if they could break anywhere
    stops          stops[j - 1]: the last piece but the first up to piece j - 1 that begins a sentence, 0 if none does
    """

    def __init__(
        self, features: Sequence[TokenFeatures], blanks: Sequence[bool], rules: Rules, place: Sequence[float]
    ) -> None:
        self._count = rules.max_line_count
        self.stops = [*accumulate((k if price == SENTENCE else 0 for k, price in enumerate(place)), max)]
        self._leads = [LINE * price + (TEAR if price == TORN else 0) for price in place]
        self._mixed = [
            lead + MIXED if price != SENTENCE else lead for lead, price in zip(self._leads, place, strict=True)
        ]
        self._above = cache(self._lines)
        widths = [look.columns for look in features]
        self.ends = [*accumulate(map(add, widths, blanks), initial=0)]
        self.begins = [*map(sub, self.ends[1:], widths)]
        self.first = self._reaching(rules.max_line_width)
        self.furthest = self._reaching((rules.max_line_width + 1) * self._count - 1)
        if (most := rules.max_words_per_line) is not None:
            begun = accumulate(
                map(add, [look.blanks for look in features[1:]], blanks[1:]), initial=1 + features[0].blanks
            )
            words = [*begun]  # up to the end of each piece
            firsts = [word - look.blanks for word, look in zip(words, features, strict=True)]
            self.first = [*map(max, self.first, _lately(firsts, words, most))]
            self.furthest = [*map(max, self.furthest, _lately(firsts, words, most * self._count))]
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


def _lately(firsts: Sequence[int], words: Sequence[int], most: int) -> list[int]:
    """For each j the first i so that the pieces i to j - 1 are of no more than `most` words."""
    return [0, *(bisect_left(firsts, word - most + 1, 0, j) for j, word in enumerate(words))]
