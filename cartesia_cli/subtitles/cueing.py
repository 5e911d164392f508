"""Makes cues from the words and segments of a transcript.

Words may lack times, be out of order, overlap, or be missing altogether. In any case all words of the text are shown,
once and in their order, and no cue begins before the previous one has ended. Otherwise a cue begins when its first word
does, except where people talk at once (`_separate_turns`). Times that are missing or implausible are estimated.

Pure: no files, no clock. Must never correct the text, and must not know where a transcript came from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest
from typing import NamedTuple

from ..alignment import find_part_ends
from ..protocol.json_fields import Word
from ..speakers import speaker_label
from ..text_width import text_width
from ..timestamps import interpolate_spans
from ..transcript import CLAUSE_ENDS, OPENING_MARKS, SENTENCE_ENDS, Segment, Transcript, plausible_part_spans
from .profiles import STANDARD, Rules
from .segmentation import Token, ceil_ms, divide_into_cues, split_word
from .writers import CONTROLS, Cue, WordOffsets

_OPENING_PUNCTUATION = re.compile(r"(?:(?<!\S)(?:[^\w\s]+|[«„“‘‹(\[{¿¡]+\s+)|[「『（【〈《]+)\Z")
"""Punctuation that belongs to the word after it: after a space, and touching that word or opening something.
East Asian brackets anywhere."""

MAX_OPENING_CHARACTERS = 8
"""Characters before a word in which such punctuation is looked for: a long run of it would take long."""


def cues(transcript: Transcript, rules: Rules | None = None, *, labels: bool = False) -> list[Cue]:
    """The cues of a transcript, in order, without overlap. None has the words of two speakers.

    Times come from the words, or else from the segments. Without any, the text is spread over the
    duration; without even a duration, from 0 at CHARACTERS_PER_SECOND of `timestamps`.

    rules    None: the standard ones
    labels   whether the text of a cue begins with the name of its speaker where another one spoke before: for formats
             that have no other place for it
    """
    rules = rules or STANDARD
    texts = _timed_texts(transcript)
    if labels:
        texts = _add_labels(texts, rules.max_line_width)
    texts = _split_tokens(texts, rules.max_line_width)
    turns = [*_find_turns(texts)] if transcript.has_speakers else [(0, len(texts))]
    texts = _separate_turns(texts, turns, rules)
    spans = interpolate_spans([s.space_before + len(s.text) for s in texts], [(s.start, s.end) for s in texts],
                     transcript.duration)  # fmt: skip
    tokens = [Token(s.text, s.space_before, *span, s.label) for s, span in zip(texts, spans, strict=True)]
    divided: list[tuple[int, ...]] = []  # for each cue the positions where its lines begin, and where it ends
    for begin, stop in turns:
        until = tokens[stop].start if stop < len(tokens) else math.inf
        found = divide_into_cues(tokens[begin:stop], rules, transcript.language, until)
        divided += [tuple([begin + k for k in positions]) for positions in found] if begin else found
    shown: list[Cue] = []
    for positions, following in zip_longest(divided, divided[1:]):
        first, last = positions[0], positions[-1] - 1
        lines, marks = zip(*(_line_with_offsets(tokens, a, b) for a, b in pairwise(positions)), strict=True)
        start = max(tokens[first].start, shown[-1].end if shown else 0)
        next_start = None if following is None else tokens[following[0]].start
        end = _end_time(start, tokens[last].end, next_start, lines, rules)
        estimated = [not texts[k].is_measured or texts[k].start is None for k in range(first, last + 1)]
        is_estimated = estimated[0] or not texts[last].is_measured or texts[last].end is None
        shown.append(Cue(start, end, lines, is_estimated, marks, any(estimated[1:]), texts[first].speaker))
    return shown


def _line_with_offsets(tokens: Sequence[Token], first: int, end: int) -> tuple[str, WordOffsets]:
    """The tokens from `first` up to `end` as a line, with the offset and the time of each, in milliseconds."""
    text, marks = tokens[first].label + tokens[first].text, [(len(tokens[first].label), tokens[first].start)]
    for k in range(first + 1, end):
        token = tokens[k]
        text += " " * token.space_before
        marks.append((len(text), token.start))
        text += token.text
    return text, tuple(marks)


def _end_time(start: int, spoken: int, next_start: int | None, lines: Sequence[str], rules: Rules) -> int:
    """When a cue ends: when it has been spoken and can have been read, or a gap before the next cue, if that comes
    earlier or soon after (`chain`); at most `max_linger` after it was spoken, and `max_cue` after it began.
    """
    read = start + ceil_ms(max(rules.min_cue, text_width(" ".join(lines)) / rules.max_cps))
    latest = min(spoken + ceil_ms(rules.max_linger), start + ceil_ms(rules.max_cue))
    end = min(max(spoken, read), latest)
    if next_start is not None:
        latest_gap_start = next_start - ceil_ms(rules.min_gap)
        if latest_gap_start <= start:  # no time for a gap
            end = min(latest, next_start)
        elif end + ceil_ms(max(rules.chain, rules.min_gap)) > next_start:
            end = min(latest, latest_gap_start)
    return max(end, start + 1)


class _TimedText(NamedTuple):
    """Text with the times that its source gives: a word, a segment, or a part of one.

    space_before   whether a space separates it from the text before
    start, end     milliseconds, or None
    is_measured    whether these times are not estimates themselves
    speaker        who says it, if known
    label          the name that is shown before it, with the space after that
    """

    text: str
    space_before: bool
    start: int | None = None
    end: int | None = None
    is_measured: bool = True
    speaker: str | None = None
    label: str = ""


def _timed_texts(transcript: Transcript) -> list[_TimedText]:
    """The text, from the most detailed source of its times that makes it up: words, else segments, else none."""
    text, words, segments = CONTROLS.sub("", transcript.text), transcript.words or (), transcript.segments
    timed_words = words if any(plausible_part_spans(words, transcript.duration)) else ()
    sources: tuple[Sequence[Word | Segment], ...] = timed_words, segments, words, [Word(text)]
    return next((texts for parts in sources if (texts := _locate(parts, text, transcript.duration))), [])


def _locate(parts: Sequence[Word | Segment], text: str, duration: float | None) -> list[_TimedText]:
    """The parts of a text, with the spaces between them, and with punctuation that only the text has; none if they
    aren't all in the text, in order."""
    spellings = [CONTROLS.sub("", part.text if isinstance(part, Segment) else part.word).strip() for part in parts]
    texts: list[_TimedText] = []
    before = 0  # where the previous one ends in the text
    for part, spelling, end, span in zip(
        parts, spellings, find_part_ends(text, spellings) or (), plausible_part_spans(parts, duration), strict=False
    ):
        if not spelling:
            continue
        place = end - len(spelling)
        gap, before = text[before:place], end
        space_before = gap != ""
        if gap.strip():
            opening = _OPENING_PUNCTUATION.search(text, max(place - len(gap), place - MAX_OPENING_CHARACTERS), place)
            closing = gap.removesuffix(opening[0]) if opening else gap
            if not texts:  # whatever is before the first one belongs to it
                closing = ""
            space_before = closing[-1:].isspace()
            spelling = (gap[len(closing) :] + spelling).lstrip()
            _append(texts, closing)
        is_measured = not (isinstance(part, Segment) and part.timing == "estimated")
        start, until = span or (None, None)
        texts.append(_TimedText(spelling, space_before, start, until, is_measured, part.speaker))
    if texts:
        _append(texts, text[before:])
    return texts


def _append(texts: list[_TimedText], punctuation: str) -> None:
    """Add punctuation to the last text."""
    if punctuation.strip():
        texts[-1] = texts[-1]._replace(text=texts[-1].text + punctuation.rstrip())


def _is_punctuation(text: str) -> bool:
    """Whether a text has neither letters nor digits."""
    return not any(map(str.isalnum, text))


def _split_tokens(texts: Iterable[_TimedText], line_width: int) -> list[_TimedText]:
    """Divide texts at their spaces, and words wider than a line into parts."""
    tokens: list[_TimedText] = []
    for timed in texts:
        (first, _), *others = _split_text(timed.text, line_width, line_width - text_width(timed.label))
        tokens.append(timed._replace(text=first, end=None))
        tokens += [_TimedText(text, spaced, None, None, timed.is_measured, timed.speaker) for text, spaced in others]
        tokens[-1] = tokens[-1]._replace(end=timed.end)
    return tokens


def _split_text(text: str, line_width: int, first_width: int) -> list[tuple[str, bool]]:
    """The parts of a text, each with whether a space separates it from the one before. Punctuation between spaces, such
    as " ?", stays with the word before it.

    first_width   columns that the first part may take, beside a label
    """
    parts: list[tuple[str, bool]] = []
    for chunk in text.split():
        available = line_width if parts else first_width
        if text_width(chunk) > available:
            parts += [(part, k == 0) for k, part in enumerate(split_word(chunk, line_width))]
        elif (
            parts
            and _is_punctuation(chunk)
            and chunk[-1] not in OPENING_MARKS
            and text_width(parts[-1][0] + chunk) < (first_width if len(parts) == 1 else line_width)
        ):
            parts[-1] = f"{parts[-1][0]} {chunk}", parts[-1][1]
        else:
            parts.append((chunk, True))
    return parts


def _add_labels(texts: Sequence[_TimedText], line_width: int) -> list[_TimedText]:
    """The texts, of which the first of each turn has the name of its speaker. Half a line is left for the text."""
    speakers = [timed.speaker for timed in texts]
    return [
        timed if timed.speaker == before else timed._replace(label=speaker_label(timed.speaker, line_width // 2))
        for timed, before in zip(texts, [None, *speakers], strict=False)
    ]


def _find_turns(texts: Sequence[_TimedText]) -> Iterator[tuple[int, int]]:
    """The turns: for each the first text, and the one after its last."""
    firsts = [k for k in range(len(texts)) if k == 0 or texts[k].speaker != texts[k - 1].speaker]
    return pairwise([*firsts, len(texts)])


def _separate_turns(texts: list[_TimedText], turns: Sequence[tuple[int, int]], rules: Rules) -> list[_TimedText]:
    """The texts, with times at which no turn begins before the previous one ends, as far as both times are known.

    People talk at once, but subtitles show one turn after the other. A turn begins at its own time if the previous one
    can have been read by then. Otherwise it waits: at most until the previous one ends, and not so long that it can't
    be read before the turn after it begins. Times outside the turn that they belong to are moved to its edge.
    """
    if len(turns) < 2:
        return texts
    parts = [texts[first:stop] for first, stop in turns]
    starts = [next((timed.start for timed in part if timed.start is not None), None) for part in parts]
    ends = [max((timed.end for timed in part if timed.end is not None), default=None) for part in parts]
    separate: list[_TimedText] = []
    begin = 0  # of the turn, after those before it
    for k, part in enumerate(parts):
        next_start, start_after_next = (*starts[k + 1 : k + 3], None, None)[:2]
        limit, end = None, ends[k]
        if next_start is not None and end is not None:
            latest = min(end, _last_read_time(part, begin, rules))
            if start_after_next is not None:
                latest = min(latest, start_after_next - _reading_ms(parts[k + 1], rules))
            limit = max(begin, next_start, latest)
        edges = begin, math.inf if limit is None else limit
        separate += [timed._replace(start=_clip(timed.start, *edges), end=_clip(timed.end, *edges)) for timed in part]
        begin = begin if limit is None else limit
    return separate


def _clip(time: int | None, first: int, last: float) -> int | None:
    return None if time is None else max(first, int(min(time, last)))


def _last_read_time(turn: Sequence[_TimedText], begin: int, rules: Rules) -> int:
    """When the last cue of a turn can have been read, at the latest, milliseconds: it may begin with any clause from
    which the rest fits into a cue.
    """
    latest, available = begin, rules.max_line_width * rules.max_line_count
    for k in range(len(turn) - 1, -1, -1):
        timed = turn[k]
        available -= timed.space_before + text_width(timed.label + timed.text)
        if available < 0:
            break
        if k == 0 or turn[k - 1].text.endswith((*CLAUSE_ENDS, *SENTENCE_ENDS)):
            start = begin if timed.start is None else max(begin, timed.start)
            latest = max(latest, start + _reading_ms(turn[k:], rules))
    return latest


def _reading_ms(texts: Sequence[_TimedText], rules: Rules) -> int:
    """How long a cue of these texts is shown at least, with the gap after it, milliseconds."""
    columns = sum(timed.space_before + text_width(timed.label + timed.text) for timed in texts)
    return ceil_ms(max(rules.min_cue, columns / rules.max_cps) + rules.min_gap)
