"""Words and segments as cues, and cues as SubRip (.srt) and WebVTT (.vtt) text.

Words come as they come: without times, out of order, on top of each other, or not at all. Whatever
comes, every word is shown once and in its turn, and no cue begins before the last one has ended.
In-times are those of the words; where there are none, they are estimated.

Pure: no files, no clock. Must never correct the text, and must not know where a transcript came from.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from typing import NamedTuple

from .protocol import Word
from .transcript import Transcript
from .typesetting import OPENERS, UNSPACED, Piece, Rules, compose, crumbs, milliseconds, width

__all__ = ["Cue", "Rules", "cues", "srt", "vtt"]

SPEAKING_RATE = 15
"""Characters a second: how fast words are taken to be spoken where nothing else tells."""

LATEST = 3_600_000
"""Seconds, a thousand hours: what claims to be later, infinities and NaN included, is no time of a recording."""

STANDARD = Rules()

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_ARROW = re.compile(r"-{2,}>")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_OPENING = re.compile(r"(?:(?<!\S)(?:[^\w\s]+|[«„“‘‹(\[{¿¡]+\s+)|[「『（【〈《]+)\Z")
"""Punctuation that belongs to the word behind it: behind a blank, and touching that word or opening something."""


@dataclass(frozen=True, slots=True)
class Cue:
    """What stands on the screen for a while.

    start, end   in-time and out-time, in milliseconds
    lines        from top to bottom, none of them empty
    """

    start: int
    end: int
    lines: tuple[str, ...]


def cues(transcript: Transcript, rules: Rules = STANDARD) -> list[Cue]:
    """The cues of a transcript, in order and apart from each other.

    Times come from the words, or else from the segments. Without any, the text is spread over the
    duration; without even a duration, from 0 on at SPEAKING_RATE.
    """
    pieces = _timed(_pieces(_stretches(transcript), rules.max_line_width), _time(transcript.duration) or None)
    settings = compose(pieces, rules, transcript.language)
    shown: list[Cue] = []
    for setting, following in zip_longest(settings, settings[1:]):
        lines = tuple(_line(pieces[first:last]) for first, last in pairwise(setting))
        start = max(pieces[setting[0]].start, shown[-1].end if shown else 0)
        spoken = pieces[setting[-1] - 1].end
        next_start = None if following is None else pieces[following[0]].start
        shown.append(Cue(start, _out_time(start, spoken, next_start, lines, rules), lines))
    return shown


def srt(cues: Iterable[Cue]) -> str:
    """Cues as a SubRip file. SubRip has no escapes: an arrow in the text loses a dash."""
    blocks: list[str] = []
    for cue in cues:
        if lines := [text for line in cue.lines if (text := _ARROW.sub("->", _tidy(line)))]:
            times = f"{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}"
            blocks.append("\n".join([str(len(blocks) + 1), times, *lines, ""]))
    return "\n".join(blocks)


def vtt(cues: Iterable[Cue], notes: Iterable[str] = ()) -> str:
    """Cues as a WebVTT file. `notes` are comments at its head, which no player shows."""
    blocks = ["WEBVTT\n"]
    blocks += [f"NOTE {text}\n" for note in notes if (text := _ARROW.sub("->", _tidy(note)))]
    for cue in cues:
        if lines := [text for line in cue.lines if (text := _tidy(line).translate(_ENTITIES))]:
            times = f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}"
            blocks.append("\n".join([times, *lines, ""]))
    return "\n".join(blocks)


def _clock(time: int, point: str) -> str:
    seconds, thousandths = divmod(time, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{thousandths:03}"


def _tidy(text: str) -> str:
    """A text as one line of characters that UTF-8 can write and a screen can show."""
    return _SURROGATES.sub("\ufffd", " ".join(_CONTROLS.sub("", text).split()))


def _line(pieces: Sequence[Piece]) -> str:
    return "".join(" " * piece.blank + piece.text for piece in pieces).strip()


def _out_time(start: int, spoken: int, next_start: int | None, lines: Sequence[str], rules: Rules) -> int:
    """When a cue goes: spoken and read to its end, unless the next cue comes first."""
    read = start + milliseconds(max(rules.min_cue, width(" ".join(lines)) / rules.max_cps))
    latest = min(spoken + milliseconds(rules.max_linger), start + milliseconds(rules.max_cue))
    end = min(max(spoken, read), latest)
    if next_start is not None:
        last_call = next_start - milliseconds(rules.min_gap)
        if last_call <= start:  # no room for a gap
            end = min(latest, next_start)
        elif end + milliseconds(rules.chain) > next_start:
            end = min(latest, last_call)
    return max(end, start + 1)


class _Stretch(NamedTuple):
    """Text with the times that somebody gave it: a word, a segment, or a piece of one.

    blank        whether a blank parts it from the stretch before
    start, end   milliseconds, or None
    """

    text: str
    blank: bool
    start: int | None = None
    end: int | None = None


def _time(seconds: float | None) -> int | None:
    """A time of the transcript in milliseconds, None where it is none; nothing is before the audio."""
    return None if seconds is None or not abs(seconds) < LATEST else max(0, round(seconds * 1000))


def _stretches(transcript: Transcript) -> list[_Stretch]:
    """What was said, from the finest source that the transcript has."""
    text, words = _CONTROLS.sub("", transcript.text), transcript.words or ()
    segments = [Word(segment.text, segment.start, segment.end) for segment in transcript.segments]
    timed = words if any(word.start is not None for word in words) else ()
    sources: tuple[Sequence[Word], ...] = (timed, segments, words, [Word(text)])
    return next((stretches for source in sources if (stretches := _spaced(source, text))), [])


def _spaced(words: Iterable[Word], text: str) -> list[_Stretch]:
    """Words with the blanks, and the text of nobody, that stand around them in the transcript.

    If not every word is found there, in its order, then letters come from the words alone: what the
    text has instead may be the same word, spelt differently, and would be shown twice.
    """
    spelt = [(spelling, word) for word in words if (spelling := _CONTROLS.sub("", word.word).strip())]
    places, end = [], 0
    for spelling, _ in spelt:
        places.append(text.find(spelling, end))
        end = places[-1] + len(spelling) if places[-1] >= 0 else end
    agreed = -1 not in places

    stretches: list[_Stretch] = []
    end = 0  # where the word before ends in the text, -1 if it wasn't found
    for (spelling, word), place in zip(spelt, places, strict=True):
        gap = text[end:place] if end >= 0 and place >= 0 else None
        end = place + len(spelling) if place >= 0 else -1
        if gap is None or not (agreed or _is_bare(gap)):
            blank = not (stretches and UNSPACED.match(stretches[-1].text[-1]) and UNSPACED.match(spelling))
        elif not gap.strip():
            blank = gap != ""
        else:
            opening = _OPENING.search(text, max(place - len(gap), place - 8), place)
            stray = gap[: len(gap) - len(opening[0])] if opening else gap
            blank = stray[-1:].isspace()
            spelling = gap[len(stray) :] + spelling
            _keep(stray, stretches)
        stretches.append(_Stretch(spelling, blank, _time(word.start), _time(word.end)))
    if stretches and end >= 0 and (agreed or _is_bare(text[end:])):
        _keep(text[end:], stretches)
    return stretches


def _keep(stray: str, stretches: list[_Stretch]) -> None:
    """Text of nobody stays with the word before it; words in it become words without times."""
    if not stray.strip():
        return
    if stretches:
        glued, *further = [stray.rstrip()] if _is_bare(stray) else re.split(r"\s", stray, maxsplit=1)
        stretches[-1] = stretches[-1]._replace(text=stretches[-1].text + glued)
    else:
        further = [stray]
    stretches += [_Stretch(rest.strip(), True) for rest in further if rest.strip()]


def _is_bare(text: str) -> bool:
    """Whether there is nothing to say in a text: punctuation and blanks only."""
    return not any(map(str.isalnum, text))


def _pieces(stretches: Iterable[_Stretch], line: int) -> list[_Stretch]:
    """Stretches cut at their blanks, and words wider than a line into crumbs."""
    pieces: list[_Stretch] = []
    for stretch in stretches:
        parts: list[tuple[str, bool]] = []
        for chunk in stretch.text.split():
            if width(chunk) > line:
                parts += [(crumb, k == 0) for k, crumb in enumerate(crumbs(chunk, line))]
            elif parts and _is_bare(chunk) and chunk[-1] not in OPENERS and width(parts[-1][0] + chunk) < line:
                parts[-1] = f"{parts[-1][0]} {chunk}", parts[-1][1]
            else:
                parts.append((chunk, True))
        for k, (text, blank) in enumerate(parts):
            start = stretch.start if k == 0 else None
            end = stretch.end if k == len(parts) - 1 else None
            pieces.append(_Stretch(text, blank if k else stretch.blank, start, end))
    return pieces


def _timed(pieces: Sequence[_Stretch], duration: int | None) -> list[Piece]:
    """Pieces with times that never fall. Given times stay if they fit; the others follow from the characters between.

    Every piece has two marks on the clock: number 2k is the start of piece k, number 2k + 1 its end.
    """
    if not pieces:
        return []
    spoken = list(accumulate((piece.blank + len(piece.text) for piece in pieces), initial=0))
    marks, final = _given(pieces), 2 * len(pieces) - 1
    if not marks:
        marks = {0: 0, final: duration or _nominal(spoken[-1])}
    first, last = min(marks), max(marks)
    marks.setdefault(0, max(0, marks[first] - _nominal(spoken[(first + 1) // 2])))
    if last < final:
        end = marks[last] + _nominal(spoken[-1] - spoken[(last + 1) // 2])
        marks[final] = end if duration is None else max(marks[last], min(end, duration))
    for a, b in pairwise(sorted(marks)):
        for k in range(a + 1, b):
            passed, whole = (spoken[(mark + 1) // 2] - spoken[(a + 1) // 2] for mark in (k, b))
            marks[k] = marks[a] + (marks[b] - marks[a]) * passed // whole
    return [Piece(piece.text, piece.blank, marks[2 * k], marks[2 * k + 1]) for k, piece in enumerate(pieces)]


def _nominal(characters: int) -> int:
    """Milliseconds that so many characters are taken to last."""
    return characters * 1000 // SPEAKING_RATE


def _given(pieces: Sequence[_Stretch]) -> dict[int, int]:
    """The marks whose given times fit together: as many starts as can rise, and the ends that leave them so."""
    marks = {2 * k: start for k, start in _rising([piece.start for piece in pieces])}
    ceilings, ceiling = [math.inf] * len(pieces), math.inf
    for k in range(len(pieces) - 1, -1, -1):
        ceilings[k], ceiling = ceiling, marks.get(2 * k, ceiling)
    floor = 0
    for k, piece in enumerate(pieces):
        started = 2 * k in marks
        floor = marks.get(2 * k, floor)
        if piece.end is None or piece.end < floor or (not started and not floor < piece.end <= ceilings[k]):
            continue
        marks[2 * k + 1] = floor = int(min(piece.end, ceilings[k]))
    return marks


def _rising(times: Sequence[int | None]) -> list[tuple[int, int]]:
    """The longest strictly rising run among `times`, with their positions: a stray time costs only itself."""
    lowest: list[int] = []  # for every length, the lowest time that a run of it can end with, and where
    places: list[int] = []
    steps: dict[int, tuple[int, int]] = {}  # position: time, position before it in its run
    for k, time in enumerate(times):
        if time is None:
            continue
        length = bisect_left(lowest, time)
        if length == len(lowest):
            lowest.append(time)
            places.append(k)
        elif time < lowest[length]:
            lowest[length], places[length] = time, k
        else:
            continue
        steps[k] = time, places[length - 1] if length else -1
    run, k = [], places[-1] if places else -1
    while k >= 0:
        run.append((k, steps[k][0]))
        k = steps[k][1]
    return run[::-1]
