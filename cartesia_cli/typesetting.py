"""Where a cue ends and where a line breaks: the choices of a subtitler, made by optimisation.

Every break has a price in points: nothing at the end of a sentence, a lot between an article and its
noun. The cheapest way through the whole text is found by dynamic programming, as Knuth and Plass
break paragraphs; filling greedily would pay for every full cue with a bad one behind it.

Pieces go in, positions between them come out: this room decides, and changes nothing. It must not know
what a transcript is, and must never leave a piece out, however bad the times or narrow the lines.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from .grammar import GRAMMARS, NO_GRAMMAR, Grammar
from .transcript import CLOSERS, SENTENCE_ENDS


@dataclass(frozen=True, slots=True)
class Rules:
    """What a good cue is. Lengths in columns (a wide character is two), times in seconds, speed in columns a second.

    What is a maximum is positive, nothing is negative.

    min_cue, max_cue   how long a cue should and may stay
    min_gap            between the out-time of a cue and the in-time of the next
    max_cps            reading speed
    max_linger         how long a cue may stay behind the end of its last word
    chain              a gap shorter than this is closed down to min_gap: a short flash of nothing disturbs
    """

    max_line_width: int = 42
    max_line_count: int = 2
    min_cue: float = 5 / 6
    max_cue: float = 7.0
    min_gap: float = 0.083
    max_cps: float = 20.0
    max_linger: float = 1.5
    chain: float = 0.5


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


# Prices of a break by its place, in points.
SENTENCE, CLAUSE, PHRASE, PLAIN, TORN, SPLIT = 0, 15, 30, 50, 150, 600
PAUSE = 0.05
"""What a break gets cheaper by for each millisecond of silence around it."""

# Prices of a cue, in points.
CUE = 40.0
"""For every cue: without it, a cue for each clause would be free."""
STRAY = 80.0
"""For a cue of a single piece."""
SCRAP = 1.0
"""For each column that a cue has less than half a line."""
HURRY = 0.08
"""For each millisecond that is missing for reading speed or shortest stay. Linear, so that fast speech
costs the same however it is cut, and the other prices decide."""
WAIT = 60.0
"""For a second of silence within a cue, growing with its square: text that stands there before it's said."""
FULL_STOP = 20.0
"""For the end of a sentence within a cue."""

# Prices of a line break within a cue, in points.
LINE = 0.5
"""Share of the price of its place: the eye gets over a line break sooner than over a change of cue."""
UNEVEN = 0.1
"""For the squared distance in columns from lines of equal width."""


UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
"""Characters of scripts that put no blanks between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""

CLAUSE_ENDS = tuple(",;:–—-،؛、，；：")
OPENERS = "«„“‘‹([{¿¡「『（【〈《"
SMALL_KANA = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々"


def width(text: str) -> int:
    """Columns that a text takes."""
    return len(text) if text.isascii() else len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def crumbs(word: str, line: int) -> list[str]:
    """A word wider than a line, in pieces of a twentieth of a line, or characters if they are wider.

    Marks and joiners stay with the character that they belong to, unless there are more than any script needs.
    """
    grain, pieces = max(1, line // 20), [word[:1]]
    for char in word[1:]:
        joined = "\u200d" in (char, pieces[-1][-1]) or unicodedata.category(char)[0] == "M"
        if (joined and len(pieces[-1]) < 16) or width(pieces[-1] + char) <= grain:
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
    place = _places(pieces, language)
    page = _Page(pieces, rules, place)
    begins, starts = page.begins, [piece.start for piece in pieces]
    silences = [0, *(after.start - before.end for before, after in pairwise(pieces))]
    # held[j] - held[i + 1]: the price of the breaks that a cue of the pieces i to j - 1 passes over.
    held = [0.0, *accumulate(map(_held, place, silences))]
    gap, linger, longest = milliseconds(rules.min_gap), milliseconds(rules.max_linger), milliseconds(rules.max_cue)
    shortest, pace = milliseconds(rules.min_cue), 1000 / rules.max_cps
    line = rules.max_line_width
    scrap, fullest = line // 2, (line + 1) * rules.max_line_count - 1

    best, back = [0.0], [0]  # for the first j pieces: the lowest price, and where the last cue of them begins
    low = 0
    for j in range(1, len(pieces) + 1):
        spoken = pieces[j - 1].end
        latest, ending = spoken + linger, CUE
        if j < len(pieces):
            latest = min(latest, starts[j] - gap)
            ending += max(0.0, place[j] - PAUSE * silences[j])
        while low < j - 1 and (page.columns(low, j) > fullest or spoken - starts[low] > longest):
            low += 1
        end, cheapest, origin = page.ends[j], math.inf, j - 1
        for i in range(j - 1, low - 1, -1):  # here the time goes: no calls but the one that can't be helped
            price = best[i] + (held[j] - held[i + 1] if i < j - 1 else STRAY)
            if price >= cheapest:
                continue
            columns = end - begins[i]
            if columns < scrap:
                price += SCRAP * (scrap - columns)
            reading = pace * columns if pace * columns > shortest else shortest
            if reading > latest - starts[i]:
                price += HURRY * (reading - latest + starts[i])
            if columns > line and price < cheapest and i < j - 1:
                price += page.lines(i, j)[0]
            if price < cheapest:
                cheapest, origin = price, i
        best.append(cheapest + ending)
        back.append(origin)

    cues, j = [], len(pieces)
    while j:
        cues.append((back[j], *page.lines(back[j], j)[1], j))
        j = back[j]
    return cues[::-1]


Lines = tuple[float, tuple[int, ...]]
"""A price, and the positions where a line breaks."""

ONE_LINE: Lines = (0.0, ())
NO_WAY: Lines = (math.inf, ())


class _Page:
    """Lines within a cue. `begins` and `ends` are the columns of each piece if all were set in one endless line."""

    def __init__(self, pieces: Sequence[Piece], rules: Rules, place: Sequence[float]) -> None:
        self.line, self.count, self.place = rules.max_line_width, rules.max_line_count, place
        self.begins: list[int] = []
        self.ends = [0]  # ends[j]: where piece j - 1 ends
        self._above = cache(self._lines)
        for piece in pieces:
            self.begins.append(self.ends[-1] + piece.blank)
            self.ends.append(self.begins[-1] + _look(piece.text).columns)

    def columns(self, i: int, j: int) -> int:
        """What the pieces i to j - 1 take in one line."""
        return self.ends[j] - self.begins[i]

    def lines(self, i: int, j: int) -> Lines:
        """The cheapest way to set the pieces i to j - 1 in as few lines as they need. NO_WAY leaves them in one."""
        for count in range(1, self.count + 1):
            way = self._lines(i, j, count)
            if way is not NO_WAY:
                return way
        return NO_WAY

    def _lines(self, i: int, j: int, count: int) -> Lines:
        columns, best = self.columns(i, j), NO_WAY
        if columns <= self.line:
            return ONE_LINE
        room = (count - 1) * (self.line + 1) - 1  # in the lines above the last
        for m in range(j - 1, i, -1) if room > 0 else ():
            last = self.ends[j] - self.begins[m]
            if last > self.line:
                break
            if self.ends[m] - self.begins[i] > room:
                continue
            price = LINE * self.place[m] + UNEVEN * (last - columns / count) ** 2
            if price < best[0]:
                above, breaks = ONE_LINE if count == 2 else self._above(i, m, count - 1)
                if above + price < best[0]:
                    best = above + price, (*breaks, m)
        return best


def _held(place: float, silence: int) -> float:
    """The price of passing over a break within a cue. Five seconds of silence are as bad as any longer."""
    seconds = min(silence, 5000) / 1000
    return WAIT * seconds * seconds + (FULL_STOP if place == SENTENCE else 0.0)


class _Look(NamedTuple):
    """What a piece shows of itself, whatever stands around it.

    word               as the grammars spell it
    sentence, clause   whether it ends one
    lower              whether it begins with a small letter
    name, number       whether it looks like one
    opens, closes      whether it must stay with what follows, or with what comes before
    unspaced           whether its script puts no blanks between words
    """

    columns: int
    word: str
    sentence: bool
    clause: bool
    lower: bool
    name: bool
    number: bool
    opens: bool
    closes: bool
    unspaced: bool


@lru_cache(maxsize=1 << 14)
def _look(text: str) -> _Look:
    bare = not any(map(str.isalnum, text))
    inner = text.rstrip(CLOSERS + " ")
    initial = len(text) == 2 and text[0].isupper() and text[1] == "."
    return _Look(
        columns=width(text),
        word=text.casefold().replace("’", "'"),
        sentence=inner.endswith(SENTENCE_ENDS) and not initial,
        clause=inner.endswith(CLAUSE_ENDS),
        lower=text[0].islower(),
        name=text[0].isupper() and len(text) > 1 and not text.startswith(("I'", "I’")),
        number=text[0].isdigit() or text[-1].isdigit(),
        opens=bare and text[-1] in OPENERS,
        closes=text[0] in SMALL_KANA or (bare and text[-1] not in OPENERS and text[0] not in "-–—\"'"),
        unspaced=bool(UNSPACED.match(text)),
    )


def _places(pieces: Sequence[Piece], language: str | None) -> list[float]:
    """The price of a break before each piece, by what stands around it. Without a language it's taken for English."""
    grammar = GRAMMARS.get((language or "en").casefold().replace("_", "-").split("-")[0], NO_GRAMMAR)
    looks = [_look(piece.text) for piece in pieces]
    ahead: _Look | None = None
    places = [0.0]
    for (before, after), piece in zip(pairwise(looks), pieces[1:], strict=True):
        places.append(_place(ahead, before, after, piece.blank, grammar))
        ahead = before
    return places[: len(pieces)]


def _place(ahead: _Look | None, before: _Look, after: _Look, blank: bool, grammar: Grammar) -> float:
    if before.opens or after.closes or not (blank or before.unspaced or after.unspaced):
        return SPLIT
    if before.word in grammar.leaders and not (before.word in grammar.trailers and _governs(ahead, grammar)):
        return PHRASE if after.word in grammar.openers else TORN
    if before.sentence:
        return CLAUSE if after.lower else SENTENCE
    if before.clause:
        return CLAUSE
    if before.word in grammar.openers or after.word in grammar.trailers:
        return TORN
    if (before.name and after.name) or (before.number and after.number):
        return TORN
    return PHRASE if after.word in grammar.openers else PLAIN


def _governs(ahead: _Look | None, grammar: Grammar) -> bool:
    """Whether "it" or "you" behind this piece is its object, as in "told you", and not a subject, as in "when you"."""
    if ahead is None or ahead.sentence or ahead.clause:
        return False
    return ahead.word not in grammar.openers and ahead.word not in grammar.leaders
