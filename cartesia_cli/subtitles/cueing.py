"""Words and segments as cues.

Words come as they come: without times, out of order, on top of each other, or not at all. Whatever
comes, every word is shown once and in its turn, and no cue begins before the last one has ended.
In-times are those of the words; where there are none that can be true, they are estimated.

Pure: no files, no clock. Must never correct the text, and must not know where a transcript came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat, zip_longest
from typing import NamedTuple

from ..text_width import text_width
from ..timestamps import Span, interpolate_spans, plausible_spans
from ..transcript import Transcript
from .breaks import OPENING_MARKS, UNSPACED
from .profiles import STANDARD, Rules
from .segmentation import Token, duration_ms, segment, split_word
from .writers import CONTROLS, Cue, WordOffsets, srt, vtt

__all__ = ["Cue", "Rules", "cues", "srt", "vtt"]

_OPENING_PUNCTUATION = re.compile(r"(?:(?<!\S)(?:[^\w\s]+|[«„“‘‹(\[{¿¡]+\s+)|[「『（【〈《]+)\Z")
"""Punctuation that belongs to the word behind it: behind a blank, and touching that word or opening something."""


def cues(transcript: Transcript, rules: Rules = STANDARD) -> list[Cue]:
    """The cues of a transcript, in order and apart from each other.

    Times come from the words, or else from the segments. Without any, the text is spread over the
    duration; without even a duration, from 0 on at the rate of `timing`.
    """
    stretches = _split_tokens(_timed_texts(transcript), rules.max_line_width)
    spans = interpolate_spans([s.space_before + len(s.text) for s in stretches], [(s.start, s.end) for s in stretches],
                     transcript.duration)  # fmt: skip
    pieces = [Token(text, blank, *span) for (text, blank, *_), span in zip(stretches, spans, strict=True)]
    settings = segment(pieces, rules, transcript.language)
    shown: list[Cue] = []
    for setting, following in zip_longest(settings, settings[1:]):
        first, last = setting[0], setting[-1] - 1
        lines, marks = zip(*(_line_with_offsets(pieces, a, b) for a, b in pairwise(setting)), strict=True)
        start = max(pieces[first].start, shown[-1].end if shown else 0)
        next_start = None if following is None else pieces[following[0]].start
        end = _out_time(start, pieces[last].end, next_start, lines, rules)
        invented = [not stretches[k].is_measured or stretches[k].start is None for k in range(first, last + 1)]
        estimated = invented[0] or not stretches[last].is_measured or stretches[last].end is None
        shown.append(Cue(start, end, lines, estimated, marks, any(invented[1:])))
    return shown


def _line_with_offsets(pieces: Sequence[Token], first: int, behind: int) -> tuple[str, WordOffsets]:
    """The pieces from `first` on as a line, and where in it each word begins, and when."""
    text, marks = pieces[first].text, [(0, pieces[first].start)]
    for k in range(first + 1, behind):
        piece = pieces[k]
        text += " " * piece.space_before
        marks.append((len(text), piece.start))
        text += piece.text
    return text, tuple(marks)


def _out_time(start: int, spoken: int, next_start: int | None, lines: Sequence[str], rules: Rules) -> int:
    """When a cue goes: spoken and read to its end, unless the next cue comes first."""
    read = start + duration_ms(max(rules.min_cue, text_width(" ".join(lines)) / rules.max_cps))
    latest = min(spoken + duration_ms(rules.max_linger), start + duration_ms(rules.max_cue))
    end = min(max(spoken, read), latest)
    if next_start is not None:
        last_call = next_start - duration_ms(rules.min_gap)
        if last_call <= start:  # no room for a gap
            end = min(latest, next_start)
        elif end + duration_ms(max(rules.chain, rules.min_gap)) > next_start:
            end = min(latest, last_call)
    return max(end, start + 1)


class _TimedText(NamedTuple):
    """Text with the times that somebody gave it: a word, a segment, or a piece of one.

    blank        whether a blank parts it from the stretch before
    start, end   milliseconds, or None
    sure         whether these times are not estimates themselves
    """

    text: str
    space_before: bool
    start: int | None = None
    end: int | None = None
    is_measured: bool = True


def _timed_texts(transcript: Transcript) -> list[_TimedText]:
    """What was said, from the finest source that the transcript has."""
    text, words, segments = transcript.text, transcript.words or (), transcript.segments
    text = text if text.isprintable() else CONTROLS.sub("", text)
    told = plausible_spans(((word.start, word.end) for word in words), transcript.duration)
    spans = plausible_spans(((segment.start, segment.end) for segment in segments), transcript.duration)
    sure = [segment.timing != "estimated" for segment in segments]
    sources: tuple[tuple[list[str], Sequence[Span | None], Iterable[bool]], ...] = (
        ([word.word for word in words] if any(told) else [], told, repeat(True)),
        ([segment.text for segment in segments], spans, sure),
        ([word.word for word in words], [None] * len(words), repeat(True)),
        ([text], [None], repeat(True)),
    )
    return next((stretches for source in sources if (stretches := _add_spacing(*source, text))), [])


def _add_spacing(
    told: Iterable[str], spans: Iterable[Span | None], sure: Iterable[bool], text: str
) -> list[_TimedText]:
    """What was told with the blanks, and the text of nobody, that stand around it in the transcript.

    If not all of it is found there, in its order, then letters come from what was told alone: what the
    text has instead may be the same word, spelt differently, and would be shown twice.
    """
    spellings = [(word if word.isprintable() else CONTROLS.sub("", word)).strip() for word in told]
    places, end, agreed, missed = [], 0, True, 0
    for spelling in spellings:
        # Once they disagree, the text gives no more than blanks and punctuation: it isn't searched to its end.
        place = text.find(spelling, end, None if agreed else end + len(spelling) + min(64 + 2 * missed, 2000))
        if place < 0:
            agreed, missed = False, missed + len(spelling) + 1
        else:
            end, missed = place + len(spelling), 0
        places.append(place)

    stretches: list[_TimedText] = []
    end = 0  # where the stretch before ends in the text, -1 if it wasn't found
    for spelling, place, span, known in zip(spellings, places, spans, sure):  # noqa: B905  sure may be endless
        if not spelling:
            continue
        gap = text[end:place] if end >= 0 and place >= 0 else None
        start, until = span or (None, None)
        end = place + len(spelling) if place >= 0 else -1
        blank = gap != ""
        if gap == " ":  # as a rule
            stretches.append(_TimedText(spelling, True, start, until, known))
            continue
        if gap is None or not (agreed or _is_punctuation(gap)):
            blank = not (stretches and UNSPACED.match(stretches[-1].text[-1]) and UNSPACED.match(spelling))
        elif gap and not gap.isspace():
            opening = _OPENING_PUNCTUATION.search(text, max(place - len(gap), place - 8), place)
            stray = gap[: len(gap) - len(opening[0])] if opening else gap
            blank = stray[-1:].isspace()
            spelling = gap[len(stray) :] + spelling
            _attach_untimed(stray, stretches)
        stretches.append(_TimedText(spelling, blank, start, until, known))
    if stretches and end >= 0 and (agreed or _is_punctuation(text[end:])):
        _attach_untimed(text[end:], stretches)
    return stretches


def _attach_untimed(stray: str, stretches: list[_TimedText]) -> None:
    """Text of nobody stays with the word before it; words in it become words without times."""
    if not stray.strip():
        return
    if stretches:
        glued, *further = [stray.rstrip()] if _is_punctuation(stray) else re.split(r"\s", stray, maxsplit=1)
        stretches[-1] = stretches[-1]._replace(text=stretches[-1].text + glued)
    else:
        further = [stray]
    stretches += [_TimedText(rest.strip(), True) for rest in further if rest.strip()]


def _is_punctuation(text: str) -> bool:
    """Whether there is nothing to say in a text: punctuation and blanks only."""
    return not any(map(str.isalnum, text))


def _split_tokens(stretches: Iterable[_TimedText], line: int) -> list[_TimedText]:
    """Stretches cut at their blanks, and words wider than a line into crumbs."""
    pieces: list[_TimedText] = []
    for stretch in stretches:
        chunks = stretch.text.split()
        if len(chunks) == 1 and text_width(chunks[0]) <= line:
            pieces.append(stretch)
            continue
        parts: list[tuple[str, bool]] = []
        for chunk in chunks:
            if text_width(chunk) > line:
                parts += [(crumb, k == 0) for k, crumb in enumerate(split_word(chunk, line))]
            elif (
                parts
                and _is_punctuation(chunk)
                and chunk[-1] not in OPENING_MARKS
                and text_width(parts[-1][0] + chunk) < line
            ):
                parts[-1] = f"{parts[-1][0]} {chunk}", parts[-1][1]
            else:
                parts.append((chunk, True))
        for k, (text, blank) in enumerate(parts):
            start = stretch.start if k == 0 else None
            end = stretch.end if k == len(parts) - 1 else None
            pieces.append(_TimedText(text, blank if k else stretch.space_before, start, end, stretch.is_measured))
    return pieces
