"""Long audio as windows that a recogniser can take one at a time, cut where it is quiet.

Bounded memory for a recording of any length: at most one window is held. Cut in a pause, no word is
lost or heard twice at a seam. Knows nothing of engines or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..audio.pcm import RATE, Samples

WINDOW_SECONDS = 30.0
"""Longest window: what Whisper hears at once. Word errors were the same up to 120 s; memory grows with it."""

FRAME = RATE // 50
"""20 ms, the grain in which loudness is measured."""

PAUSE_FRAMES = 15
"""A cut is made in the middle of the quietest 300 ms: longer than a stop consonant, as short as a comma."""


def split_at_silence(blocks: Iterable[Samples], longest: float = WINDOW_SECONDS) -> Iterator[Samples]:
    """`blocks` joined and cut into windows of at most `longest` seconds; together they are the whole audio."""
    limit = int(longest * RATE)
    held: list[Samples] = []
    size = 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size >= limit:
            joined = np.concatenate(held)
            while len(joined) >= limit:
                at = quietest(joined[:limit])
                yield joined[:at]
                joined = joined[at:]
            held, size = [joined], len(joined)
    if size:
        yield np.concatenate(held)


def quietest(samples: Samples) -> int:
    """The sample in the second half of `samples` around which it is quietest for 300 ms."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.convolve(np.mean(frames**2, axis=1), np.ones(PAUSE_FRAMES), "same")
    earliest, latest = len(power) // 2, max(len(power) // 2 + 1, len(power) - PAUSE_FRAMES)
    return (earliest + int(np.argmin(power[earliest:latest]))) * FRAME + FRAME // 2
