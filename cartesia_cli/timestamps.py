"""Interpolates missing or implausible timestamps from character counts; rounds and formats times.

`plausible_spans` decides which of the given times can be true: usually all of them. `interpolate_spans` fills in the
others. Both give the same result if implausible times are removed beforehand, so a transcript that was saved without
them is timed as before.

Pure. Plausible times must be returned unchanged, except for an end that lies after the next start.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate, pairwise
from operator import le

CHARACTERS_PER_SECOND = 15
"""The speaking rate that is assumed if no times are known."""

MAX_SECONDS = 3_600_000
"""A thousand hours. Anything later, including infinity and NaN, can't be a time of a recording."""

DURATION_TOLERANCE_MS = 1000
"""How far words may end after the recording: its duration and their times are measured by different programs."""

FAR_SECONDS = 30.0
"""Times this far after the end of a recording, or as far as it is long if that is more, can't be true. Whisper, which
processes 30 s at a time, may place an end this late, and durations may be wrong, but not by more than half."""

Span = tuple[int, int]
"""Start and end, milliseconds."""


def to_ms(seconds: float) -> int:
    """A time in milliseconds: the same before and after it was rounded to three decimals. Must not be negative."""
    return int(round(seconds, 3) * 1000 + 0.5)


def clock_time(seconds: float) -> str:
    """A time for people: 1:03, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def known_duration(duration: float | None) -> float | None:
    """A duration in seconds, or None if no recording can have it."""
    return None if duration is None or not 0 <= duration < MAX_SECONDS else duration + 0.0  # no -0.0


def far_limit(duration: float | None) -> float | None:
    """The latest time, in seconds, that a recording can have; None if its duration isn't known."""
    length = known_duration(duration)
    return None if length is None else length + max(FAR_SECONDS, length)


def plausible_spans(times: Iterable[tuple[float | None, float | None]], duration: float | None) -> list[Span | None]:
    """The spans, given in seconds, that can be true together; None in place of the others.

    A plausible span has both times, and the end isn't before the start. It ends after 0, since programs write 0 to 0
    for unknown times. It begins after the previous one, or with it if it ends later, and ends within the recording.
    As many as possible are kept of those that contradict each other, so that an outlier costs only itself. If most end
    after the recording, `duration` is assumed to be wrong, up to the limit of `far_limit`.
    """
    latest_end = min(MAX_SECONDS, far_limit(duration) or MAX_SECONDS)
    spans: list[Span | None] = []
    for start, end in times:
        if start is None or end is None or not 0 <= start <= end < latest_end:
            spans.append(None)
        else:
            span = to_ms(start), to_ms(end)
            spans.append(span if span > (0, 0) else None)
    spans = rising_spans(spans)
    limit = _length_ms(duration)
    if limit is None:
        return spans
    late = {k for k, span in enumerate(spans) if span is not None and span[1] > limit + DURATION_TOLERANCE_MS}
    if late and 2 * len(late) <= sum(span is not None for span in spans):
        spans = [None if k in late else span for k, span in enumerate(spans)]
    return spans


def plausible_spans_by_speaker(
    times: Sequence[tuple[float | None, float | None]], speakers: Sequence[Hashable], duration: float | None
) -> list[Span | None]:
    """`plausible_spans` of each speaker: several may speak at once, so only the times of one have to rise."""
    if len(set(speakers)) < 2:
        return plausible_spans(times, duration)
    places: dict[Hashable, list[int]] = {}
    for k, speaker in enumerate(speakers):
        places.setdefault(speaker, []).append(k)
    spans: list[Span | None] = [None] * len(times)
    for own in places.values():
        for k, span in zip(own, plausible_spans([times[k] for k in own], duration), strict=True):
            spans[k] = span
    return spans


def rising_spans(spans: Sequence[Span | None]) -> list[Span | None]:
    """A longest strictly increasing subsequence of the spans, and None in place of the others (patience sorting)."""
    lowest: list[Span] = []  # for every length, the lowest span that an increasing run of it can end with, and where
    places: list[int] = []
    before: dict[int, int] = {}  # place: the one before it in its run
    for k, span in enumerate(spans):
        if span is None:
            continue
        length = bisect_left(lowest, span)
        if length == len(lowest):
            lowest.append(span)
            places.append(k)
        elif span < lowest[length]:
            lowest[length], places[length] = span, k
        else:
            continue
        before[k] = places[length - 1] if length else -1
    kept: list[Span | None] = [None] * len(spans)
    k = places[-1] if places else -1
    while k >= 0:
        kept[k] = spans[k]
        k = before[k]
    return kept


def interpolate_spans(
    lengths: Sequence[int], given: Sequence[tuple[int | None, int | None]], duration: float | None
) -> list[Span]:
    """A span for each text: neither starts nor ends ever decrease, and no end lies after the next start.

    lengths    characters of each text
    given      known starts and ends, in milliseconds; starts don't decrease
    duration   of the recording, seconds

    Unknown times are interpolated by characters between the known ones around them, and extrapolated at
    CHARACTERS_PER_SECOND within the recording. Where nothing is known, all texts are spread over the duration.
    """
    if not lengths:
        return []
    starts, ends = zip(*given, strict=True)
    if None not in starts and None not in ends and all(map(le, ends, starts[1:])):
        return [*zip(starts, ends, strict=True)]  # the usual case
    passed = list(accumulate(lengths, initial=0))  # the position of mark number k is passed[(k + 1) // 2]
    marks, final, limit = _clip_known(given), 2 * len(lengths) - 1, _length_ms(duration)
    known = [k for k, mark in enumerate(marks) if mark >= 0]
    if not known:
        marks[0], marks[final] = 0, _estimated_ms(passed[-1]) if limit is None else limit
        known = [0, final]
    first, last = known[0], known[-1]
    if first > 0:
        marks[0] = max(0, marks[first] - _estimated_ms(passed[(first + 1) // 2]))
        known.insert(0, 0)
    if last < final:
        end = marks[last] + _estimated_ms(passed[-1] - passed[(last + 1) // 2])
        marks[final] = end if limit is None or limit < marks[last] else min(end, limit)
        known.append(final)
    if len(known) <= final:
        for a, b in pairwise(known):
            start, origin = marks[a], passed[(a + 1) // 2]
            rise, whole = marks[b] - start, passed[(b + 1) // 2] - origin
            for k in range(a + 1, b):
                marks[k] = start + (rise * (passed[(k + 1) // 2] - origin) // whole if whole else 0)
    return list(zip(marks[::2], marks[1::2], strict=True))


def _clip_known(given: Sequence[tuple[int | None, int | None]]) -> list[int]:
    """Known times in one list: 2k is the start of text k, 2k + 1 its end, but no later than the next known start.

    -1 stands for an unknown time.
    """
    marks = [-1] * (2 * len(given))
    ceiling = MAX_SECONDS * 1000
    for k in range(len(given) - 1, -1, -1):
        start, end = given[k]
        if end is not None:
            marks[2 * k + 1] = ceiling = min(end, ceiling)
        if start is not None:
            marks[2 * k] = ceiling = min(start, ceiling)
    return marks


def _length_ms(duration: float | None) -> int | None:
    """The duration in milliseconds, None if it isn't known."""
    return None if duration is None or not 0.001 <= duration < MAX_SECONDS else to_ms(duration)


def _estimated_ms(characters: int) -> int:
    """Estimated time to say this many characters, in milliseconds."""
    return characters * 1000 // CHARACTERS_PER_SECOND
