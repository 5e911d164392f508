"""Checks microphone audio for common problems (muted, too quiet, clipped) and words a warning for each.

Pure: samples in, sentences out. Must never change audio, nor know what it is used for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import log10

import numpy as np

from .pcm import RATE, Samples

WINDOW_SECONDS = 0.1
"""Length of audio that is checked at a time."""

MUTED_SECONDS = 1.0

FAINT_DBFS = -50.0
"""Speech into the right microphone is louder than that now and then."""

FAINT_SECONDS = 10.0
PAUSE_SECONDS = 60.0
"""Time without audio above FAINT_DBFS before a warning: at the beginning, and after some was heard (people pause)."""

CLIPPED_LEVEL = 0.99
"""Share of full scale that counts as clipped. Resampling rounds off flat tops."""

CLIPPED_SHARE = 0.01
"""Share of clipped samples in a second that is worth a warning."""

CLEAN_SECONDS = 3.0
"""Time without a clipped sample after which the next ones are reported again."""


class InputMonitor:
    """Turns a stream of samples into warnings. Each is given once while its cause lasts, and again when it recurs."""

    def __init__(self, rate: int = RATE) -> None:
        self._size = round(rate * WINDOW_SECONDS)
        self._rest: Samples = np.zeros(0, np.float32)
        self._muted = _Persistence(MUTED_SECONDS)
        self._faint = _Persistence(FAINT_SECONDS)
        self._clean = _Persistence(CLEAN_SECONDS)
        self._clipped: deque[float] = deque(maxlen=round(1.0 / WINDOW_SECONDS))
        self._too_loud = False
        self._loudest = 0.0

    def check(self, samples: Samples) -> list[str]:
        """Take the next samples (mono, -1..1, any number); returns a sentence for each new problem."""
        known = np.concatenate((self._rest, samples))
        whole = len(known) - len(known) % self._size
        self._rest = known[whole:]
        return [text for window in known[:whole].reshape(-1, self._size) for text in self._check_window(window)]

    def _check_window(self, window: Samples) -> Iterator[str]:
        energy = float(np.vecdot(window, window)) / self._size
        if self._muted.update(energy == 0):
            yield "the microphone delivers only zeros: is it muted, or does this program lack microphone permission?"
        if energy > 0:
            yield from self._check_faint(energy)
        yield from self._check_clipping(window)

    def _check_faint(self, energy: float) -> Iterator[str]:
        """Digital silence is left out: it has its own warning."""
        if 10 * log10(energy) > FAINT_DBFS:
            self._faint = _Persistence(PAUSE_SECONDS)
            self._loudest = 0.0
            return
        self._loudest = max(self._loudest, energy)
        if self._faint.update(True):
            yield (
                f"almost silent for {self._faint.seconds:.0f} s, nothing above {10 * log10(self._loudest):.0f} dBFS: "
                "is this the right microphone, and is its volume up?"
            )

    def _check_clipping(self, window: Samples) -> Iterator[str]:
        self._clipped.append(float(np.mean(np.abs(window) >= CLIPPED_LEVEL)))
        if self._clean.update(self._clipped[-1] == 0):
            self._too_loud = False
        share = sum(self._clipped) * WINDOW_SECONDS
        if share >= CLIPPED_SHARE and not self._too_loud:
            self._too_loud = True
            yield f"too loud: {share:.0%} of the last second is clipped at 0 dBFS: turn the microphone down"


class _Persistence:
    """Counts how long a condition has held, and reports once when a given time is reached."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._needed = round(seconds / WINDOW_SECONDS)
        self._windows = 0

    def update(self, holds: bool) -> bool:
        """Take the next window; whether the condition has just held long enough."""
        self._windows = self._windows + 1 if holds else 0
        return self._windows == self._needed
