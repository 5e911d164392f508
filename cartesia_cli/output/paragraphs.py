"""Divides a transcript into turns and paragraphs, and writes Markdown.

A turn ends where another speaker begins; a paragraph also ends at a pause that is long for the recording, or when it
gets too long. Must never change the text: turns and paragraphs are slices of it, and joined they are the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from statistics import median
from typing import NamedTuple

from ..speakers import display_name
from ..subtitles.breaks import UNSPACED
from ..timestamps import clock_time
from ..transcript import CLOSING_MARKS, OPENING_MARKS, SENTENCE_ENDS, TextSpan, Transcript
from . import Layout
from .sanitize import one_line, title

TYPICAL_PAUSES = 0.5, 0.5, 0.5
"""Seconds between sentences that are added to the measured ones: a few pauses say little about a recording."""
PARAGRAPH_PAUSE_FACTOR = 2.0
"""A pause between paragraphs is this many times longer than the median pause between sentences..."""
MID_SENTENCE_FACTOR = 2.0
"""...and longer again by this factor within a sentence, where the recognizer may have missed a full stop."""
MIN_PAUSE_SECONDS = 0.6
"""A shorter pause never ends a paragraph."""

MAX_CHARACTERS, MIN_CHARACTERS = 1000, 300
"""Of a paragraph: a longer one is divided at its best pause, into parts that are not shorter."""

STAMP_INTERVAL_SECONDS = 30
"""Minimum time between two time stamps."""

_MARKUP = re.compile(r"[\\`*\[\]<#~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|\A[-+=>|]")
_LIST = re.compile(r"\A(\d+)([.)])")
"""What CommonMark, or GitHub's dialect of it, which has formulas between $, may take for something else."""


class Paragraph(NamedTuple):
    """A slice of the text, when it starts, in seconds, and who says it; None if that isn't known."""

    start: float | None
    text: str
    speaker: str | None = None


class _Break(NamedTuple):
    """A position where a paragraph may end.

    cut        offset in the text
    sentence   whether a sentence ends here
    pause      seconds; 0 if it is unknown
    start      seconds, of what follows
    turn       whether another speaker says what follows
    speaker    who that is
    """

    cut: int
    sentence: bool
    pause: float
    start: float | None
    turn: bool = False
    speaker: str | None = None


def md(transcript: Transcript, layout: Layout) -> str:
    """The source as a heading, a line of facts, and paragraphs, with a time stamp at most every 30 s, and the name of
    each speaker who begins."""
    facts = [*recording_facts(transcript), *["times are estimated"] * transcript.has_estimated_segments]
    blocks = [f"# {_escape(title(transcript.source))}", " · ".join(map(_escape, facts))]
    blocks += [f"*{clock_time(notice.at)} {_escape(notice.message)}*" for notice in transcript.notices]
    stamped = None
    for name, (start, text, _) in named(paragraphs(transcript)):
        block = f"**{_escape(name)}:** {_escape(text)}" if name else _escape(text)
        if start is not None and (stamped is None or start - stamped >= STAMP_INTERVAL_SECONDS):
            block, stamped = f"**{clock_time(start)}** {block}", start
        blocks.append(block)
    return "\n\n".join(block for block in blocks if block) + "\n"


def recording_facts(transcript: Transcript) -> list[str]:
    """How long the recording is, its language, and the model, as far as they are known."""
    duration = "" if transcript.duration is None else clock_time(transcript.duration)
    facts = (duration, transcript.language, transcript.model)
    return [fact for fact in facts if fact]


def paragraphs(transcript: Transcript) -> list[Paragraph]:
    """The text in paragraphs, none of them only white space. Times are those of the words, or else of the segments."""
    first, *breaks = _possible_breaks(transcript)
    return _divide_at(transcript.text, [first, *_choose_breaks(breaks, len(transcript.text))])


def turns(transcript: Transcript) -> list[Paragraph]:
    """The text in turns, none of them only white space: a single one if nobody is known to say any of it."""
    first, *breaks = _possible_breaks(transcript)
    return _divide_at(transcript.text, [first, *(each for each in breaks if each.turn)])


def named(parts: Iterable[Paragraph]) -> Iterator[tuple[str, Paragraph]]:
    """Each part with the name of its speaker, to be shown before it; "" if it is the speaker of the part above."""
    before = None
    for part in parts:
        yield display_name(part.speaker) if part.speaker != before else "", part
        before = part.speaker


def paragraph_pause(pauses: Iterable[float]) -> float:
    """The shortest pause, in seconds, that separates paragraphs, given the pauses between sentences."""
    return max(
        MIN_PAUSE_SECONDS, PARAGRAPH_PAUSE_FACTOR * median((*TYPICAL_PAUSES, *(pause for pause in pauses if pause > 0)))
    )


def _divide_at(text: str, breaks: Iterable[_Break]) -> list[Paragraph]:
    """The text divided at these breaks, the first of which is at its beginning."""
    begin, *further = breaks
    found = []
    for each in [*further, _Break(len(text), True, 0, None)]:
        if text[begin.cut : each.cut].strip():
            found.append(Paragraph(begin.start, text[begin.cut : each.cut], begin.speaker))
            begin = each
    return found


def _possible_breaks(transcript: Transcript) -> list[_Break]:
    """The beginning of the text, and the breaks between its words, or else between its segments."""
    words = transcript.words or ()
    is_known = any(word.start is not None or word.speaker is not None for word in words)
    places = transcript.word_spans() if is_known else []
    if places:
        breaks = [*_breaks_between(transcript.text, places)]
    else:
        places = transcript.segment_spans()
        breaks = [each._replace(sentence=True) for each in _breaks_between(transcript.text, places)]
    first = places[0] if places else TextSpan(0, 0, None, None, None)
    return [_Break(0, True, 0, first.start, speaker=first.speaker), *breaks]


def _breaks_between(text: str, places: Sequence[TextSpan]) -> Iterator[_Break]:
    for before, after in pairwise(places):
        cut = _find_cut(text, before.text_end, after.text_start)
        turn = after.speaker != before.speaker
        if cut is not None or turn:
            cut = after.text_start if cut is None else cut
            unknown = before.end is None or after.start is None
            pause = 0.0 if unknown else round((after.start or 0.0) - (before.end or 0.0), 3)
            said = text[before.text_start : cut].rstrip().rstrip(CLOSING_MARKS)
            yield _Break(cut, said.endswith(SENTENCE_ENDS), pause, after.start, turn, after.speaker)


def _find_cut(text: str, last: int, first: int) -> int | None:
    """Where to cut between a word that ends at `last` and one that begins at `first`; None within a word."""
    space = re.search(r"\s", text[last - 1 : first + 1])
    if space:
        return last - 1 + space.start()
    cut = first
    while cut > last and text[cut - 1] in OPENING_MARKS:
        cut -= 1
    around = text[cut - 1 : cut + 1]
    return cut if any(map(UNSPACED.match, around)) else None


def _choose_breaks(breaks: Sequence[_Break], end: int) -> Iterator[_Break]:
    """The breaks to make, in order, in a text of `end` characters."""
    least = paragraph_pause(each.pause for each in breaks if each.sentence and not each.turn)
    begin = done = 0
    for i, each in enumerate(breaks):
        if each.turn or each.pause >= least * (1 if each.sentence else MID_SENTENCE_FACTOR):
            yield from _divide(breaks[done:i], begin, each.cut)
            yield each
            begin, done = each.cut, i + 1
    yield from _divide(breaks[done:], begin, end)


def _divide(breaks: Sequence[_Break], begin: int, end: int) -> Iterator[_Break]:
    """The breaks that a paragraph from `begin` to `end` needs because of its length."""
    cut = attrgetter("cut")
    while end - begin > MAX_CHARACTERS:
        first = bisect_left(breaks, begin + MIN_CHARACTERS, key=cut)
        near = breaks[first : bisect_right(breaks, min(begin + MAX_CHARACTERS, end - MIN_CHARACTERS), key=cut)]
        if not near:
            near = breaks[(i := bisect_right(breaks, begin + MAX_CHARACTERS, key=cut)) : i + 1]
        if not near:
            return
        best = max(near, key=lambda each: (each.sentence, each.pause, each.cut))
        yield best
        begin = best.cut


def _escape(text: str) -> str:
    """A text as one line of Markdown that shows it."""
    return _LIST.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", one_line(text)))
