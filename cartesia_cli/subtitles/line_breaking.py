"""Breaks the tokens of a cue into lines of similar width, where the sentence allows it.

Must not depend on times, nor decide which tokens make a cue.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from operator import add, sub

from .breaks import SENTENCE_END_COST, TORN_PHRASE_PENALTY, WITHIN_PHRASE_COST, TokenFeatures
from .profiles import Rules

# Costs of a line break within a cue, in points.
LINE_BREAK_SHARE = 0.5
"""Factor for the cost of a break (`break_costs`): a line break disturbs less than a change of cue."""
UNEVENNESS_PENALTY = 0.1
"""For the squared distance, in columns, from lines of equal width."""
MIXED_SENTENCES_PENALTY = 30.0
"""For a line break within a sentence that shares its cue with another one, and for each end of such a cue that is
within a sentence."""

LineBreaks = tuple[float, tuple[int, ...]]
"""A cost, and the positions of the tokens that begin another line."""

ONE_LINE: LineBreaks = (0.0, ())
IMPOSSIBLE: LineBreaks = (math.inf, ())


class LineBreaker:
    """Breaks any run of tokens of a text into lines.

    column_starts, column_ends   columns in one endless line of all tokens: where token k starts, where token k - 1 ends
    first_on_line                for each j the first i so that tokens i to j - 1 fit on one line
    first_in_cue                 the same for all lines of a cue, if they could break anywhere
    last_sentence_start          for each token the last one up to it, except the first, that begins a sentence; or 0
    """

    def __init__(
        self, features: Sequence[TokenFeatures], spaces: Sequence[bool], rules: Rules, costs: Sequence[float]
    ) -> None:
        self._count = rules.max_line_count
        self.last_sentence_start = [
            *accumulate((k if price == SENTENCE_END_COST else 0 for k, price in enumerate(costs)), max)
        ]
        self._line_costs = [
            LINE_BREAK_SHARE * price + (TORN_PHRASE_PENALTY if price == WITHIN_PHRASE_COST else 0) for price in costs
        ]
        self._mixed_line_costs = [
            cost + MIXED_SENTENCES_PENALTY if price != SENTENCE_END_COST else cost
            for cost, price in zip(self._line_costs, costs, strict=True)
        ]
        self._break_upper_lines = cache(self._break_into)
        widths = [token.columns for token in features]
        self.column_ends = [*accumulate(map(add, widths, spaces), initial=0)]
        self.column_starts = [*map(sub, self.column_ends[1:], widths)]
        self.first_on_line = self._first_within(rules.max_line_width)
        self.first_in_cue = self._first_within((rules.max_line_width + 1) * self._count - 1)
        if (most := rules.max_words_per_line) is not None:
            begun = accumulate(
                map(add, [token.spaces for token in features[1:]], spaces[1:]), initial=1 + features[0].spaces
            )
            words = [*begun]  # up to the end of each token
            firsts = [word - token.spaces for word, token in zip(words, features, strict=True)]
            self.first_on_line = [*map(max, self.first_on_line, _first_within_words(firsts, words, most))]
            self.first_in_cue = [*map(max, self.first_in_cue, _first_within_words(firsts, words, most * self._count))]

    def _first_within(self, columns: int) -> list[int]:
        """For each j the first i so that tokens i to j - 1 fit in `columns`; j - 1 if one alone is wider."""
        starts = self.column_starts
        return [0, *(bisect_left(starts, end - columns, 0, j) for j, end in enumerate(self.column_ends[1:]))]

    def break_lines(self, i: int, j: int) -> LineBreaks:
        """The cheapest way to set tokens i to j - 1 in as few lines as they need. IMPOSSIBLE leaves them in one."""
        if i >= self.first_on_line[j]:
            return ONE_LINE
        for lines in range(2, self._count + 1):
            found = self._break_into(i, j, lines)
            if found is not IMPOSSIBLE:
                return found
        return IMPOSSIBLE

    def _break_into(self, i: int, j: int, count: int) -> LineBreaks:
        """The cheapest way to set them in `count` lines, or fewer if what is above the last line needs fewer."""
        starts, first = self.column_starts, self.first_on_line
        line_costs = (
            self._mixed_line_costs if i < self.last_sentence_start[j - 1] else self._line_costs
        )  # a cue of two sentences breaks between them
        even_begin = self.column_ends[j] - (self.column_ends[j] - starts[i]) / count  # where the last line would begin
        best, price = IMPOSSIBLE, math.inf
        for m in range(max(first[j], i + 1), j):
            fits = i >= first[m]
            if count == 2 and not fits:
                break
            distance = even_begin - starts[m]
            total = line_costs[m] + UNEVENNESS_PENALTY * distance * distance
            if total < price:
                above = ONE_LINE if fits else self._break_upper_lines(i, m, count - 1)
                total += above[0]
                if total < price:
                    price, best = total, (total, (*above[1], m))
        return best


def _first_within_words(firsts: Sequence[int], words: Sequence[int], most: int) -> list[int]:
    """For each j the first i so that tokens i to j - 1 hold at most `most` words."""
    return [0, *(bisect_left(firsts, word - most + 1, 0, j) for j, word in enumerate(words))]
