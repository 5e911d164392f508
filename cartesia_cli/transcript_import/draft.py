"""Drafts: what an imported document says, before its times are checked; `to_transcript` checks them.

A draft is rejected if its times as a whole are out of order or in another unit than they claim to be. Otherwise it
becomes a Transcript, where single times that can't be true are estimated and labelled like missing ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ..alignment import find_part_ends, has_words, is_covered_by, match_parts
from ..errors import InputError
from ..protocol.batch import BatchResponse
from ..protocol.json_fields import Word
from ..speakers import merge_speakers
from ..timestamps import MAX_SECONDS, far_limit, known_duration, rising_spans, to_ms
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

MIN_SPANS_FOR_RATE = 5
"""Words or segments from which a rate that is too high is an error: single short ones may be far off."""


@dataclass(frozen=True, slots=True)
class Draft:
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


def to_transcript(draft: Draft, source: str, place: str) -> Transcript:
    """The transcript of a draft. InputError, beginning with `place`, if its times as a whole can't be true."""
    _check_times(draft, place)
    words = draft.words and _fill_speakers(draft.words)
    parts = [segment.text for segment in draft.segments] or _spellings(words)
    text = join_texts(parts) if draft.text is None else text_of_parts(draft.text, parts)
    response = BatchResponse(text, draft.language, draft.duration, words, draft.request_id)
    transcript = from_batch(response, source=draft.source or source, model=draft.model or UNKNOWN)
    if not (draft.segments or draft.is_ours):
        return transcript
    segments = draft.segments
    if not (draft.is_ours and "".join(segment.text for segment in segments) == transcript.text):
        segments = slice_text(transcript.text, segments)
    segments = plausible_segments(segments, transcript.duration)
    return _name_words(transcript._replace(segments=segments, notices=draft.notices))


def _fill_speakers(words: Sequence[Word]) -> tuple[Word, ...]:
    """Words, of which one between two of a speaker has that speaker, too: programs leave it out where they found no
    time."""
    named = [k for k, word in enumerate(words) if word.speaker is not None]
    found = list(words)
    for before, after in pairwise(named):
        if words[before].speaker == words[after].speaker:
            for k in range(before + 1, after):
                found[k] = words[k]._replace(speaker=words[before].speaker)
    return tuple(found)


def _name_words(transcript: Transcript) -> Transcript:
    """The transcript, whose words have the speakers of their segments if they have none."""
    parts = transcript.segments
    if not transcript.words or not any(part.speaker for part in parts):
        return transcript
    speakers = [part.speaker for part, said in zip(parts, transcript.words_by_segment(), strict=True) for _ in said]
    named = zip(transcript.words, speakers, strict=True)
    return transcript._replace(words=tuple(word._replace(speaker=word.speaker or speaker) for word, speaker in named))


def slice_text(text: str, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments as slices of the text that together make up the text.

    Segments that aren't in the text are left out; text between them becomes additional segments, whose times are NaN.
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


def interleave(channels: Sequence[tuple[str, Draft]], place: str) -> Draft:
    """Merges channels that were transcribed separately into one conversation, as `merge_speakers` does.

    A channel's label is used as the speaker if none is given. InputError, beginning with `place`, if there are none.
    """
    if not channels:
        raise InputError(f"{place}no transcript: there are no results", hint=KNOWN_FORMATS)
    if len(channels) == 1:
        return channels[0][1]
    parts = []
    for label, draft in channels:
        text = draft.text if draft.text is not None else join_texts(_spellings(draft.words))
        response = BatchResponse(text=text, words=draft.words)
        parts.append((label, from_batch(response, source="", model=UNKNOWN)))
    merged = merge_speakers(parts)
    return Draft(merged.text, merged.words, merged.segments)


def _spellings(words: Iterable[Word] | None) -> list[str]:
    return [word.word for word in words or ()]


def _check_times(draft: Draft, place: str) -> None:
    """Raises InputError for times that are wrong as a whole: too late, out of order, or in another unit."""
    words = _timed(draft.words or ())
    segments = _timed(part for part in draft.segments if part.timing != "estimated")
    what, spans = ("words", words) if words else ("segments", segments)
    if not spans:
        return
    latest = max(max(start, end) for start, end, _ in (*words, *segments))
    length = known_duration(draft.min_duration if draft.duration is None else draft.duration)
    limit = far_limit(length)
    if limit is not None and latest > limit:
        assert length is not None
        raise _implausible(
            place,
            f"times go up to {latest:.10g} s, {latest - length:.10g} s beyond the end of a recording of {length:g} s",
            "if these are milliseconds, divide them by 1000 first"
            if latest > 100 * length
            else "if the duration is wrong, take it out of the file",
        )
    starts: dict[str | None, list[tuple[int, int]]] = {}  # each with its place, since equal ones are in order
    for k, (start, _, speaker) in enumerate(spans):
        starts.setdefault(speaker, []).append((to_ms(min(start, MAX_SECONDS)), k))
    kept = sum(start is not None for own in starts.values() for start in rising_spans(own))  # several may talk at once
    if 2 * kept < len(spans):
        raise _implausible(place, f"{len(spans) - kept} of {len(spans)} {what} begin before those that precede them")
    if draft.is_ours or draft.has_units:
        return
    lengths = [end - start for start, end, _ in spans if end > start]
    if not lengths:
        return
    texts = [word.word for word in draft.words or ()] if words else [segment.text for segment in draft.segments]
    middle = median(lengths)
    rate = sum(map(len, texts)) / len(texts) / middle
    too_slow = middle > (MAX_WORD_SECONDS if words else MAX_SEGMENT_SECONDS) or (
        sum(lengths) > MAX_WORD_SECONDS and rate < MIN_CHARACTERS_PER_SECOND
    )
    if not words and len(lengths) == 1 and length is not None:
        too_slow = False  # a single segment may be the whole recording, silence included
    if too_slow:
        raise _implausible(place, f"{what} last {middle:.10g} s in the median: are these milliseconds?")
    if len(lengths) >= MIN_SPANS_FOR_RATE and rate > MAX_CHARACTERS_PER_SECOND:
        raise _implausible(
            place, f"{what} last {middle:.3g} s in the median, {rate:.0f} characters a second: too short"
        )


def _implausible(place: str, what: str, hint: str = "times of this shape must be in seconds, in order") -> InputError:
    return InputError(f"{place}{what}", hint=hint)


def _timed(parts: Iterable[Word | Segment]) -> list[tuple[float, float, str | None]]:
    """Start, end and speaker of the parts that have both times, neither of them negative."""
    times = ((part.start, part.end, part.speaker) for part in parts)
    return [
        (start, end, who) for start, end, who in times if start is not None and end is not None and start >= 0 <= end
    ]
