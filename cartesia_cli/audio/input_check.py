"""What is wrong with the sound of a microphone, in words for whoever speaks into it: muted, faint, too loud.

Pure: samples in, sentences out. Must never change audio, nor know what it is used for.
"""

from __future__ import annotations

from collections import deque
from math import log10

import numpy as np

from .pcm import RATE, Samples

WINDOW_SECONDS = 0.1
"""Seconds that are judged at once."""

MUTED_SECONDS = 1.0

FAINT_DBFS = -50.0
"""dBFS. Speech is louder than that now and then, where the microphone is the right one."""

FAINT_SECONDS = 10.0
PAUSE_SECONDS = 60.0
"""Without a sound above FAINT: at the beginning, and once there was one. People do pause."""

CLIPPED_LEVEL = 0.99
"""Of full scale. Resampling takes the edge off flat tops."""

CLIPPED_SHARE = 0.01
"""Of a second."""

CLEAN_SECONDS = 3.0
"""Without a clipped sample, after which it was not too loud any more."""


class InputMonitor:
    """A stream of samples as complaints. Each is made once while its cause lasts, and again when it comes back."""

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
        """The next samples, any number of them, mono, -1..1: what is newly wrong, a sentence each."""
        known = np.concatenate((self._rest, samples))
        whole = len(known) - len(known) % self._size
        self._rest = known[whole:]
        return [text for window in known[:whole].reshape(-1, self._size) for text in self._check_window(window)]

    def _check_window(self, window: Samples) -> list[str]:
        found = []
        energy = float(np.vecdot(window, window)) / self._size
        if self._muted.update(energy == 0):
            found.append("the microphone gives nothing but zeros: is it muted, or is this program not allowed to hear?")
        if energy > 0:
            found += self._check_faint(energy)
        found += self._check_clipping(window)
        return found

    def _check_faint(self, energy: float) -> list[str]:
        """Zeros are left out: they are a complaint of their own."""
        if 10 * log10(energy) > FAINT_DBFS:
            self._faint = _Persistence(PAUSE_SECONDS)
            self._loudest = 0.0
            return []
        self._loudest = max(self._loudest, energy)
        if not self._faint.update(True):
            return []
        return [
            f"hardly a sound for {self._faint.seconds:.0f} s, nothing above {10 * log10(self._loudest):.0f} dBFS: "
            "is this the right microphone, and turned up?"
        ]

    def _check_clipping(self, window: Samples) -> list[str]:
        self._clipped.append(float(np.mean(np.abs(window) >= CLIPPED_LEVEL)))
        if self._clean.update(self._clipped[-1] == 0):
            self._too_loud = False
        share = sum(self._clipped) * WINDOW_SECONDS
        if self._too_loud or share < CLIPPED_SHARE:
            return []
        self._too_loud = True
        return [f"too loud: {share:.0%} of the last second is clipped at 0 dBFS: turn the microphone down"]


class _Persistence:
    """Whether something has now lasted for so many seconds; told once for each time that it does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._needed = round(seconds / WINDOW_SECONDS)
        self._windows = 0

    def update(self, is_so: bool) -> bool:
        self._windows = self._windows + 1 if is_so else 0
        return self._windows == self._needed
