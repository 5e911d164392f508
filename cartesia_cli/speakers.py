"""Conversations: merges the transcripts of a recording's channels, and names speakers for readers.

Pure. Must never change a word of a channel, nor their order: merging puts its sentences among those of the others; only
white space between sentences may change.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import attrgetter, itemgetter

from .alignment import find_word_ends
from .protocol.json_fields import Word
from .text_width import shorten
from .transcript import CLAUSE_ENDS, TEXT_WORD, Segment, Transcript, blank_between, from_segments

INTERRUPTED_PAUSE_SECONDS = 0.3
"""A silence in which a sentence may be divided, as after a comma, if somebody else says something meanwhile."""

MIN_PART_SECONDS = 2.0
"""How far apart the parts of a divided sentence start at least: people who talk at once aren't interleaved by single
words."""

_SPACE = re.compile(r"\s")
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def display_name(speaker: str | None) -> str:
    """The name of a speaker in running text: one line without control characters; "" if it isn't known.

    Services number people, or give them a letter: these are shown as "Speaker 0".
    """
    name = " ".join(_HIDDEN.sub(" ", speaker or "").split())
    return f"Speaker {name}" if name.isdecimal() or (len(name) == 1 and name.isascii()) else name


def speaker_label(speaker: str | None, columns: int) -> str:
    """What stands before the words of a speaker in subtitles, at most `columns` wide: "Anna: ", or ""."""
    name = display_name(speaker)
    return f"{shorten(name, columns - 2)}: " if name and columns > 2 else ""


def merge_speakers(channels: Sequence[tuple[str, Transcript]], *, duration: float | None = None) -> Transcript:
    """The conversation on a recording whose channels were transcribed one by one.

    channels   name of the speaker on each, all different, and its transcript, with times of the whole recording
    duration   of the recording, seconds; None: that of the longest transcript

    Segments are sentences, in the order in which they begin. A sentence is only divided for somebody who says
    something within it, between two clauses or in a pause, and into parts that start at least MIN_PART_SECONDS apart.
    The text is that of the segments joined; where neither of two adjacent ones has a space between them, the second
    begins with one (except in scripts without spaces), and so does its first word if other words do.

    A channel without word times has its own segments; if that is a single one, it is labelled as estimated. Speakers
    that a channel names itself are kept, with the name of the channel if another one has them, too.

    Other facts: `source` and `model` are those of the first channel, `language` that of the longest text (of
    most of the text, if its segments name theirs), and `request_id` is kept if all have the same.
    """
    parts = [part for _, part in channels]
    if duration is None:
        duration = max((part.duration for part in parts if part.duration is not None), default=None)
    sentences = [_sentences(part) for part in _name_speakers(channels)]
    segments = _add_spaces(_in_order(_divide_sentences(sentences)), parts)
    request_ids = {part.request_id for part in parts}
    return from_segments(
        segments,
        source=parts[0].source,
        model=parts[0].model,
        language=max(parts, key=lambda part: len(part.text)).language,
        duration=duration,
        request_id=request_ids.pop() if len(request_ids) == 1 else None,
        notices=sorted((notice for part in parts for notice in part.notices), key=attrgetter("at")),
    )


def _name_speakers(channels: Sequence[tuple[str, Transcript]]) -> Iterator[Transcript]:
    """The transcripts, with the name of the channel as the speaker of what has none, and at least one segment each,
    unless there is no text."""
    counts = Counter(speaker for _, part in channels for speaker in _speakers_of(part))
    latest = max((segment.end for _, part in channels for segment in part.segments), default=0.0)
    for name, part in channels:
        names = {None: name} | {
            speaker: speaker if counts[speaker] == 1 else f"{name}, {display_name(speaker)}"
            for speaker in _speakers_of(part)
        }
        words = part.words and tuple(word._replace(speaker=names[word.speaker]) for word in part.words)
        segments = tuple(segment._replace(speaker=names[segment.speaker]) for segment in part.segments)
        if not segments and part.text.strip():
            # Without its length, nobody knows when: after everything else.
            start, end = (latest, latest) if part.duration is None else (0.0, part.duration)
            segments = (Segment(start, end, part.text, "estimated", speaker=name),)
        yield part._replace(words=words, segments=segments)


def _speakers_of(part: Transcript) -> set[str]:
    """The speakers that a transcript names."""
    named = {word.speaker for word in part.words or ()} | {segment.speaker for segment in part.segments}
    return {speaker for speaker in named if speaker is not None}


def _sentences(channel: Transcript) -> list[Segment]:
    """The segments of a channel that aren't blank, with their words."""
    segments, own = channel.segments, channel.words_by_segment()
    if len(segments) == 1 and all(word.start is None for word in own[0]):
        segments = (segments[0]._replace(timing="estimated"),)
    return [each._replace(words=words) for each, words in zip(segments, own, strict=True) if each.text.strip()]


def _divide_sentences(channels: Sequence[Sequence[Segment]]) -> Iterator[list[Segment]]:
    """The sentences of each channel, divided where somebody on another one says something within them."""
    for channel in channels:
        others = sorted((s.start, s.end) for other in channels if other is not channel for s in other)
        starts = [start for start, _ in others]
        divided: list[Segment] = []
        for sentence in channel:
            first, last = bisect_right(starts, sentence.start), bisect_left(starts, sentence.end)
            divided += _divide(sentence, [start for start, end in others[first:last] if end <= sentence.end])
        yield divided


def _divide(sentence: Segment, interjections: Sequence[float]) -> list[Segment]:
    """A sentence, or its parts: after each of these times, in seconds, another one begins as soon as it can."""
    words, firsts, latest = sentence.words, [0], sentence.start
    for time in interjections:
        if time > latest or len(firsts) == 1:
            earliest = max(time, latest + MIN_PART_SECONDS)
            later = range(firsts[-1] + 1, len(words))
            found = (k for k in later if _may_divide(words[k - 1], words[k], earliest, sentence.end - MIN_PART_SECONDS))
            if (k := next(found, None)) is not None:
                firsts.append(k)
                latest = words[k].start or latest
    ends = find_word_ends(sentence.text, words)
    if len(firsts) == 1 or ends is None:
        return [sentence]
    cuts = [0]
    for k in firsts[1:]:
        space = _SPACE.search(sentence.text, ends[k - 1])
        begin = ends[k] - len(words[k].word.strip())
        cuts.append(begin if space is None else min(begin, space.start()))
    parts: list[Segment] = []
    for (first, last), (cut, end) in zip(pairwise([*firsts, len(words)]), pairwise([*cuts, None]), strict=True):
        own = words[first:last]
        start = sentence.start if first == 0 else own[0].start
        until = sentence.end if last == len(words) else own[-1].end
        assert start is not None and until is not None
        parts.append(sentence._replace(start=start, end=max(start, until), text=sentence.text[cut:end], words=own))
    return parts


def _may_divide(before: Word, after: Word, earliest: float, latest: float) -> bool:
    """Whether a part of a sentence may begin with `after`, between two times in seconds."""
    if before.end is None or after.start is None or not earliest <= after.start <= latest:
        return False
    return after.start - before.end >= INTERRUPTED_PAUSE_SECONDS or before.word.rstrip().endswith(CLAUSE_ENDS)


def _in_order(channels: Iterable[Sequence[Segment]]) -> list[Segment]:
    """What all channels say, by the time at which it begins. Nothing goes before what its own channel says earlier."""
    timed: list[tuple[float, Segment]] = []
    for channel in channels:
        timed += zip(accumulate((part.start for part in channel), max), channel, strict=True)
    return [part for _, part in sorted(timed, key=itemgetter(0))]


def _add_spaces(segments: Sequence[Segment], channels: Sequence[Transcript]) -> tuple[Segment, ...]:
    """The segments with the spaces that separate them. Without words, if other channels have them, they get those."""
    has_words = any(channel.words for channel in channels)
    spaced = any(word.word[:1].isspace() for channel in channels for word in (channel.words or ())[1:])
    found: list[Segment] = []
    for segment in segments:
        space = blank_between(found[-1].text if found else "", segment.text)
        words = segment.words
        if has_words and not words:
            spellings = TEXT_WORD.findall(segment.text) if spaced else segment.text.split()
            words = tuple(Word(spelling, speaker=segment.speaker) for spelling in spellings)
        if space and spaced and words:
            words = (words[0]._replace(word=space + words[0].word), *words[1:])
        found.append(segment._replace(text=space + segment.text, words=words))
    return tuple(found)
