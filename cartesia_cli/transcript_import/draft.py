"""Drafts: what an imported document says, before its times are checked; `to_transcript` checks them.

A draft is rejected if its times as a whole are out of order or in another unit than they claim to be. Otherwise it
becomes a Transcript, where single times that can't be true are estimated and labelled like missing ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from ..alignment import find_part_ends, has_words, is_covered_by, match_parts
from ..errors import InputError
from ..protocol.batch import BatchResponse
from ..protocol.json_fields import Word
from ..record import Record
from ..speakers import merge_speakers
from ..text_encoding import replace_lone_surrogates
from ..timestamps import CHARACTERS_PER_SECOND, MAX_SECONDS, far_limit, known_duration, rising_spans, to_ms
from ..transcript import (
    Notice,
    Segment,
    Transcript,
    from_batch,
    join_texts,
    plausible_segments,
    text_of_parts,
)
from .json_values import KNOWN_FORMATS

UNKNOWN = "unknown"
"""Model name if the document gives none."""

MAX_WORD_SECONDS = 30.0
"""If the median word is longer, the unit is wrong. In real speech the median is 0.3 s."""

MAX_SEGMENT_SECONDS = 600.0
"""The same for segments and cues; those of Whisper last 30 s at most."""

MIN_CHARACTERS_PER_SECOND, MAX_CHARACTERS_PER_SECOND = 0.03, 500.0
"""People say some 15 characters a second; a segment of music may have one in 30 s."""

MIN_SECONDS_FOR_RATE = 30.0
"""Seconds in all from which a rate that is too low is an error: a short recording may be mostly music."""

MIN_SPANS_FOR_RATE = 5
"""Words or segments from which a rate that is too high is an error: single short ones may be far off."""

SECONDS_HINT = "times of this shape must be in seconds, in order"

TimedSpan = tuple[float, float, str | None]
"""Start and end in seconds, and the speaker."""


class Draft(Record):
    """What a document says.

    text           None: joined from the segments, or else from the words
    words          None if it has none
    segments       their texts needn't be slices of the text; empty if it has none
    min_duration   seconds that the recording has at least, if the document says this and no duration
    is_ours        written by cartesia-cli itself, which has left out times that can't be true
    has_units      times carry their unit, as in 00:01:02.500 or "62.5s"
    """

    text: str | None
    words: tuple[Word, ...] | None = None
    segments: tuple[Segment, ...] = ()
    source: str | None = None
    model: str | None = None
    language: str | None = None
    duration: float | None = None
    min_duration: float | None = None
    request_id: str | None = None
    notices: tuple[Notice, ...] = ()
    is_ours: bool = False
    has_units: bool = False


def to_transcript(draft: Draft, source: str, prefix: str) -> Transcript:
    """The transcript of a draft. InputError, beginning with `prefix`, if its times as a whole can't be true."""
    _check_times(draft, prefix)
    words = draft.words and _fill_speakers(draft.words)
    parts = [segment.text for segment in draft.segments] or _spellings(words)
    text = join_texts(parts) if draft.text is None else text_of_parts(draft.text, parts)
    response = BatchResponse(text, draft.language, draft.duration, words, draft.request_id)
    transcript = from_batch(response, source=draft.source or source, model=draft.model or UNKNOWN)
    if not (draft.segments or draft.is_ours):
        return transcript
    segments = tuple(part._replace(text=replace_lone_surrogates(part.text)) for part in draft.segments)
    if not (draft.is_ours and "".join(segment.text for segment in segments) == transcript.text):
        segments = slice_text(transcript.text, segments)
    segments = plausible_segments(segments, transcript.duration)
    return _copy_speakers_to_words(transcript._replace(segments=segments, notices=draft.notices))


def _fill_speakers(words: Sequence[Word]) -> tuple[Word, ...]:
    """Give a word between two of one speaker the same speaker: programs leave it out where they found no time."""
    named = [k for k, word in enumerate(words) if word.speaker is not None]
    found = list(words)
    for before, after in pairwise(named):
        if words[before].speaker == words[after].speaker:
            for k in range(before + 1, after):
                found[k] = words[k]._replace(speaker=words[before].speaker)
    return tuple(found)


def _copy_speakers_to_words(transcript: Transcript) -> Transcript:
    """Give words that have no speaker that of their segment."""
    parts = transcript.segments
    if not transcript.words or not any(part.speaker for part in parts):
        return transcript
    speakers = [part.speaker for part, said in zip(parts, transcript.words_by_segment(), strict=True) for _ in said]
    named = zip(transcript.words, speakers, strict=True)
    return transcript._replace(words=tuple(word._replace(speaker=word.speaker or speaker) for word, speaker in named))


def slice_text(text: str, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments as slices of the text that together make up the text.

    Segments that aren't in the text are left out; text between them becomes additional segments, whose times are NaN.
    If none is in the text, it is a single segment over the times of all of them.
    """
    spellings = [segment.text for segment in segments]
    if not segments or not text.strip():
        return ()
    if is_covered_by(text, spellings) and (ends := find_part_ends(text, spellings)):
        cuts = pairwise([0, *ends[:-1], len(text)])
        return tuple(s._replace(text=text[a:b]) for s, (a, b) in zip(segments, cuts, strict=True))
    placed = [(s, p) for s, p in zip(segments, match_parts(text, spellings), strict=True) if p is not None]
    if not placed:
        return (Segment(segments[0].start, segments[-1].end, text, "estimated"),)
    ended: list[tuple[int, Segment | None]] = []  # where each ends, and what it is
    for k, (segment, place) in enumerate(placed):
        before = ended[-1][0] if ended else 0
        if has_words(text[before : place.start]) and not place.lacks_start:
            ended.append((text.rfind(text[before : place.start].rstrip()[-1], before, place.start) + 1, None))
        following = placed[k + 1][1].start if k + 1 < len(placed) else len(text)
        end = place.end
        if place.lacks_end and has_words(text[end:following]):
            end = end + len(text[end:following].rstrip())
        while end < following and not text[end].isspace() and not has_words(text[end]):
            end += 1
        ended.append((end, segment))
    if has_words(text[ended[-1][0] :]):
        ended.append((len(text), None))
    ended[-1] = (len(text), ended[-1][1])
    starts = [0, *(end for end, _ in ended)]
    return tuple(
        Segment(math.nan, math.nan, text[start:end], "estimated")
        if segment is None
        else segment._replace(text=text[start:end])
        for start, (end, segment) in zip(starts, ended, strict=False)
    )


def end_estimated(segment: Segment, following: float | None) -> Segment:
    """The segment with an end that is estimated from its start. `following`: when the next one begins, if it does."""
    end = segment.start + max(1, len(segment.text.strip())) / CHARACTERS_PER_SECOND
    latest = math.inf if following is None else following
    return segment._replace(end=max(segment.start, min(end, latest)), timing="estimated")


def merge_channels(channels: Sequence[tuple[str, Draft]], prefix: str) -> Draft:
    """Merges channels that were transcribed separately into one conversation, as `merge_speakers` does.

    Where there are several, the label of a channel is used as the speaker if none is given. InputError, beginning with
    `prefix`, if there are none.
    """
    if not channels:
        raise InputError(f"{prefix}no transcript: there are no results", hint=KNOWN_FORMATS)
    if len(channels) == 1:
        return channels[0][1]
    parts = []
    for label, draft in channels:
        text = draft.text if draft.text is not None else join_texts(_spellings(draft.words))
        response = BatchResponse(text=text, words=draft.words)
        part = from_batch(response, source="", model=UNKNOWN)
        parts.append((label, part._replace(segments=slice_text(part.text, draft.segments)) if draft.segments else part))
    merged = merge_speakers(parts)
    return Draft(merged.text, merged.words, merged.segments)


def _spellings(words: Iterable[Word] | None) -> list[str]:
    return [word.word for word in words or ()]


def _check_times(draft: Draft, prefix: str) -> None:
    """Raises InputError for times that are wrong as a whole: too late, out of order, in another unit, or too short."""
    words = _timed(draft.words or ())
    segments = _timed(part for part in draft.segments if part.timing != "estimated")
    spans = words or segments
    if not spans:
        return
    length = known_duration(draft.min_duration if draft.duration is None else draft.duration)
    problem = _late_times(max(max(start, end) for start, end, _ in (*words, *segments)), length)
    if problem is None:
        what = "words" if words else "segments"
        problem = _times_out_of_order(what, spans)
        if problem is None and not (draft.is_ours or draft.has_units):
            texts = [word.word for word in draft.words or ()] if words else [part.text for part in draft.segments]
            problem = _times_in_wrong_unit(what, spans, sum(map(len, texts)) / len(texts), length)
    if problem is not None:
        raise InputError(prefix + problem[0], hint=problem[1])


def _late_times(latest: float, length: float | None) -> tuple[str, str] | None:
    """What is wrong with times up to `latest` in a recording of `length` seconds, and a hint; None if nothing is."""
    limit = far_limit(length)
    if limit is None or length is None or latest <= limit:
        return None
    beyond = f"{latest - length:.10g} s beyond the end of a recording of {length:g} s"
    if latest > 100 * length:
        return f"times go up to {latest:.10g} s, {beyond}", "if these are milliseconds, divide them by 1000 first"
    return f"times go up to {latest:.10g} s, {beyond}", "if the duration is wrong, take it out of the file"


def _times_out_of_order(what: str, spans: Sequence[TimedSpan]) -> tuple[str, str] | None:
    """The same for times of which most begin before those that precede them."""
    starts: dict[str | None, list[tuple[int, int]]] = {}  # each with its place, since equal ones are in order
    for k, (start, _, speaker) in enumerate(spans):
        starts.setdefault(speaker, []).append((to_ms(min(start, MAX_SECONDS)), k))
    kept = sum(start is not None for own in starts.values() for start in rising_spans(own))  # several may talk at once
    if 2 * kept >= len(spans):
        return None
    return f"{len(spans) - kept} of {len(spans)} {what} begin before those that precede them", SECONDS_HINT


def _times_in_wrong_unit(
    what: str, spans: Sequence[TimedSpan], characters: float, length: float | None
) -> tuple[str, str] | None:
    """The same for spans that are too long or too short for speech of `characters` characters on average."""
    lengths = [end - start for start, end, _ in spans if end > start]
    if not lengths:
        return None
    middle = median(lengths)
    rate = characters / middle
    too_slow = middle > (MAX_WORD_SECONDS if what == "words" else MAX_SEGMENT_SECONDS) or (
        sum(lengths) > MIN_SECONDS_FOR_RATE and rate < MIN_CHARACTERS_PER_SECOND
    )
    is_whole = what == "segments" and len(lengths) == 1 and length is not None  # perhaps the recording with its silence
    if too_slow and not is_whole:
        return f"{what} last {middle:.10g} s in the median: are these milliseconds?", SECONDS_HINT
    if len(lengths) >= MIN_SPANS_FOR_RATE and rate > MAX_CHARACTERS_PER_SECOND:
        return f"{what} last {middle:.3g} s in the median, {rate:.0f} characters a second: too short", SECONDS_HINT
    return None


def _timed(parts: Iterable[Word | Segment]) -> list[TimedSpan]:
    """The spans of the parts that have both times, neither of them negative."""
    times = ((part.start, part.end, part.speaker) for part in parts)
    return [
        (start, end, who)
        for start, end, who in times
        if start is not None and end is not None and start >= 0 and end >= 0
    ]
