"""Corrects the times of recognized words by forced alignment, where there is one, and by the loudness of the audio.

A recognizer's own times are off by a tenth of a second on average, and it stretches words over pauses. Loudness tells
where speech begins and ends, in any language. Pure; must never change, drop or reorder a word, only its times.
`benchmarks/word_times.py` measures what a change of the constants here does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

import numpy as np

from ..audio.pcm import RATE, Samples

TimeSpan = tuple[float, float]
"""Start and end, seconds."""

FRAME_SAMPLES, FRAME_SECONDS = RATE // 100, 0.01
"""The resolution of the limits of speech."""

LOUD_PERCENTILE, RANGE_DB = 98, 35
"""Frames belong to speech if they are at most 35 dB softer than the loudest 2 %."""

MAX_GAP_FRAMES = 15
"""Longest silence that belongs to speech: stop consonants are silent for a tenth of a second."""

MIN_SPEECH_FRAMES = 4
"""Shorter speech is a click."""

MAX_MOVE_SECONDS = 0.5
"""How far a word may be lengthened to where speech begins or ends: breath or noise may be there."""

MAX_ALIGNED_MOVE_SECONDS = 0.1
"""The same for times from an alignment, which are better."""

MAX_DISAGREEMENT_SECONDS = 0.5
"""How far the start of an aligned word may be from the recognized one."""

MAX_DISAGREEING_WORDS = 2
"""How many words in a row may be farther: a recognizer places one or two on the wrong side of a pause. If there are
more, the alignment is wrong.
"""

MAX_DISAGREEING_IN_NOISE = 1
"""The same in audio in which noise leaves no pauses: with 0, 5 of 100 starts in babble were off by 0.5 s or more
instead of 0.3 s, and with 2, by 0.5 s.
"""

MIN_WORD_SECONDS = 0.02
"""Least time for each of several words that were recognized where there is none for them."""


class WordSpan(NamedTuple):
    """When a word is said, in seconds. aligned: whether by an alignment; otherwise the times are less exact."""

    start: float
    end: float
    aligned: bool


def correct(recognized: Sequence[TimeSpan], aligned: Sequence[TimeSpan | None], samples: Samples) -> list[WordSpan]:
    """The times of words that were recognized in `samples`: in order, without overlaps.

    recognized   the recognizer's times, in order
    aligned      for each word the time of an alignment, or None where there is none
    """
    speech, duration = find_speech(samples), len(samples) / RATE
    spans = snap_to_speech(recognized, speech, duration, MAX_MOVE_SECONDS)
    tolerated = MAX_DISAGREEING_WORDS if len(speech) > 1 else MAX_DISAGREEING_IN_NOISE
    placed = _drop_disagreeing(aligned, recognized, tolerated)
    if any(placed):
        spans = snap_to_speech(_merge(placed, spans, duration), speech, duration, MAX_ALIGNED_MOVE_SECONDS)
    return [WordSpan(*span, found is not None) for span, found in zip(spans, placed, strict=True)]


def place(words: Sequence[str], aligned: Sequence[TimeSpan | None], samples: Samples) -> list[WordSpan]:
    """The times of words without times of a recognizer: in order, without overlaps.

    Words without an alignment share the speech between their neighbours by their lengths.
    """
    if not words:
        return []
    speech, duration = find_speech(samples), len(samples) / RATE
    spans = _merge(aligned, _spread(words, aligned, speech, duration), duration)
    spans = snap_to_speech(spans, speech, duration, MAX_ALIGNED_MOVE_SECONDS)
    return [WordSpan(*span, found is not None) for span, found in zip(spans, aligned, strict=True)]


def find_speech(samples: Samples) -> list[TimeSpan]:
    """The spans of a recording that are about as loud as its loudest parts, in order; none in digital silence."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = np.var(frames, axis=1) if len(frames) else np.zeros(0)
    if not power.any():
        return []
    loud = np.flatnonzero(power > np.percentile(power, LOUD_PERCENTILE) * 10 ** (-RANGE_DB / 10))
    parts = np.split(loud, np.flatnonzero(np.diff(loud) > MAX_GAP_FRAMES) + 1)
    limits = [(int(part[0]), int(part[-1]) + 1) for part in parts if part.size]
    return [(first * FRAME_SECONDS, end * FRAME_SECONDS) for first, end in limits if end - first >= MIN_SPEECH_FRAMES]


def snap_to_speech(
    spans: Sequence[TimeSpan], speech: Sequence[TimeSpan], duration: float, max_move: float
) -> list[TimeSpan]:
    """The spans of words, in order, moved into the spans of `speech`.

    A word goes to the one that holds most of it, or to the nearest. The first word there begins with it and the last
    one ends with it, if they are lengthened by at most `max_move` seconds for that; not at the limits of the audio,
    where nothing is known of a pause.
    """
    if not speech or not spans:
        return _separate(spans, 0.0, duration)
    nearest = [max(range(len(speech)), key=lambda k: _overlap(span, speech[k])) for span in spans]
    numbers = np.maximum.accumulate(nearest).tolist()  # words are in order
    snapped: list[TimeSpan] = []
    for number, group in groupby(zip(numbers, spans, strict=True), key=lambda pair: pair[0]):
        begin, end = speech[number]
        inside = [(_clip(start, begin, end), _clip(stop, begin, end)) for _, (start, stop) in group]
        if begin > 0 and inside[0][0] - begin <= max_move:
            inside[0] = begin, inside[0][1]
        if end < duration - FRAME_SECONDS and end - inside[-1][1] <= max_move:
            inside[-1] = inside[-1][0], end
        snapped += _separate(inside, begin, end)
    return snapped


def _drop_disagreeing(
    aligned: Sequence[TimeSpan | None], recognized: Sequence[TimeSpan], tolerated: int
) -> list[TimeSpan | None]:
    """`aligned` without words that are far from where they were recognized, more than `tolerated` in a row."""
    pairs = list(zip(aligned, recognized, strict=True))
    kept: list[TimeSpan | None] = []
    for is_far, group in groupby(pairs, key=lambda pair: _is_far(*pair)):
        row = [span for span, _ in group]
        kept += [None] * len(row) if is_far and len(row) > tolerated else row
    return kept


def _is_far(aligned: TimeSpan | None, recognized: TimeSpan) -> bool:
    return aligned is not None and abs(aligned[0] - recognized[0]) > MAX_DISAGREEMENT_SECONDS


def _merge(placed: Sequence[TimeSpan | None], others: Sequence[TimeSpan], duration: float) -> list[TimeSpan]:
    """The times of `placed`; where there is none, those of `others`, between their neighbours in `placed`."""
    earliest = [0.0]
    for span in placed:
        earliest.append(span[1] if span else earliest[-1])
    latest = [duration]
    for span in reversed(placed):
        latest.append(span[0] if span else latest[-1])
    limits = zip(earliest, reversed(latest[:-1]), strict=False)
    merged = [
        span or (_clip(start, *limit), _clip(end, *limit))
        for span, (start, end), limit in zip(placed, others, limits, strict=True)
    ]
    return _separate(merged, 0.0, duration)


def _spread(
    words: Sequence[str], aligned: Sequence[TimeSpan | None], speech: Sequence[TimeSpan], duration: float
) -> list[TimeSpan]:
    """Times of all words: those of `aligned`, and between them, as much speech for each word as it has characters."""
    spans: list[TimeSpan] = []
    for is_placed, group in groupby(zip(words, aligned, strict=True), key=lambda pair: pair[1] is not None):
        row = list(group)
        if is_placed:
            spans += [span for _, span in row if span is not None]
            continue
        begin = spans[-1][1] if spans else 0.0
        following = [span for span in aligned[len(spans) + len(row) :][:1] if span is not None]
        end = max(begin, following[0][0] if following else duration)
        parts = [(max(begin, start), min(end, stop)) for start, stop in speech if start < end and stop > begin]
        parts = parts or [(begin, end)]
        passed = [0.0, *accumulate(stop - start for start, stop in parts)]  # speech before each part
        sizes = [0.0, *accumulate(len(word) for word, _ in row)]
        marks = [passed[-1] * size / sizes[-1] for size in sizes]
        known = [mark for pair in pairwise(passed) for mark in pair], [time for part in parts for time in part]
        spans += list(pairwise(np.interp(marks, *known).tolist()))
    return spans


def _separate(spans: Sequence[TimeSpan], begin: float, end: float) -> list[TimeSpan]:
    """`spans` in order within `begin` and `end`, without overlaps; each at least MIN_WORD_SECONDS if all can be."""
    if not spans:
        return []
    starts, ends = np.array(spans, float).T
    least = min(MIN_WORD_SECONDS, (end - begin) / len(spans))
    steps = np.arange(len(spans)) * least
    starts = np.maximum(begin, np.maximum.accumulate(starts - steps)) + steps
    starts = np.minimum(starts, end - least * len(spans) + steps)
    ends = np.maximum(np.minimum(ends, np.append(starts[1:], end)), starts + least)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _overlap(one: TimeSpan, other: TimeSpan) -> float:
    """Seconds that two spans share; negative for the distance between them."""
    return min(one[1], other[1]) - max(one[0], other[0])


def _clip(time: float, earliest: float, latest: float) -> float:
    return max(earliest, min(time, latest))
