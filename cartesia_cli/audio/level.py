"""How loud a stream of samples is, frame by frame, and how loud it must be to stand out from the noise.

Pure: samples in, levels out. A level is the root mean square of a frame of 20 ms in dB below full scale (dBFS). Must
never decide where speech begins or ends: it has no memory of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import log10

import numpy as np

from .pcm import Samples

FRAME_SECONDS = 0.02

SILENCE = -90.0
"""dBFS. Whatever is quieter is digital silence, dither included: it tells nothing about the noise of a place."""

SMOOTHING = 0.35
"""Weight of a frame in the smoothed level. Noise flutters from frame to frame; the end of speech lasts."""

STRETCH = 15
STRETCHES = 13
"""Frames in a stretch, and the stretches by which noise is known: 0.3 s, 3.9 s."""

# What follows was tuned on the speech of synthesisers and of people, with pauses and without, in white, pink and brown
# noise, noise that comes and goes, babble and the clatter of keys. Higher thresholds end utterances too early in noise,
# lower ones too late in babble.

MARGIN = 3.0
SWING = 0.5
"""Speech begins so many dB above what noise reaches, and by this part of the noise's own swing higher ..."""

SHARE = 0.45
LEAST = 9.0
"""... but at this part of the way from the floor to the loudest sound, or so many dB above the floor, at the latest."""

RELEASE = 0.7
"""The part of its distance from the noise that speech may lose before it is over."""

DEPTH = 35.0
"""dB. What is so far below the loudest sound is breath or the tail of a word."""

QUIETEST = -70.0
"""dBFS. What is quieter is no speech, however quiet the place."""

PRESUMED = -55.0
"""dBFS. The noise to be presumed where a recording begins with speech."""

STEADY = 4.5
"""dB. What varies no more than this over the first stretch is noise."""


_NONE: Samples = np.zeros(0, np.float32)


class FrameLevels:
    """Samples as levels, one for each whole frame, dBFS; SILENCE at the least.

    A constant offset is no sound, nor is a slow drift: some microphones and sound cards have them. A frame's mean is
    taken out of its energy; of the lowest voices, at most 0.3 dB goes with it.
    """

    def __init__(self, rate: int) -> None:
        self.size = round(rate * FRAME_SECONDS)
        """Samples in a frame."""
        self.rest = _NONE
        """Samples that don't make a frame yet."""
        self._least = self.size * 10 ** (SILENCE / 10)
        self._even = np.full(self.size, self.size**-0.5, np.float32)

    def levels(self, samples: Samples) -> list[float]:
        """The next samples, any number of them."""
        size, least = self.size, self._least
        if len(self.rest):
            samples = np.concatenate([self.rest, samples])
            self.rest = _NONE
        if left := len(samples) % size:
            self.rest = samples[-left:].copy()  # the block is the caller's
            samples = samples[:-left]
        frames = samples.reshape(-1, size)
        means = np.vecdot(frames, self._even)
        levels = []  # a block has so few frames that a comprehension would take longer
        for energy in (np.vecdot(frames, frames) - means * means).tolist():
            levels.append(10.0 * log10(energy / size) if energy > least else SILENCE)  # noqa: PERF401
        return levels


class NoiseFloor:
    """Levels as a threshold for speech, by the last 3.9 s of sound in stretches of 0.3 s. All figures are dBFS.

    level       the last one, smoothed: what is to be held against the next two
    threshold   speech begins above it
    release     speech is over below it
    floor       the lowest of all: between syllables even restless speech falls back to the noise (minimum statistics,
                after Martin, IEEE Transactions on Speech and Audio Processing 9, 2001)

    The loudest level of the quietest stretch, the ceiling, is what noise reaches by itself; its distance from the floor
    is the noise's swing. The threshold lies above the ceiling, but not too far from the floor, since somebody may have
    spoken in all stretches. So it stays close to steady noise, where faint syllables are heard, and far above babble.
    """

    def __init__(self) -> None:
        self.floor = PRESUMED
        self.threshold = self.release = PRESUMED + LEAST
        self.level = SILENCE
        self._lows: deque[float] = deque(maxlen=STRETCHES)
        self._highs: deque[float] = deque(maxlen=STRETCHES)
        self._levels: list[float] = []
        self._sounding = 0

    def track(self, levels: Iterable[float]) -> Iterator[tuple[float, float]]:
        """The levels of the next frames, each with the smoothed one.

        A frame is heard when it is taken: the threshold is in step with it.
        """
        smooth, heard = self.level, self._levels
        for level in levels:
            if level > SILENCE:
                # Digital silence tells nothing, nor do the frames that border on it: they may be cut.
                if self._sounding > 1:
                    heard.append(smooth)
                    if len(heard) == STRETCH:
                        self._settle()
                else:
                    smooth = level  # nor is there anything before them to smooth them with
                    self._sounding += 1
            else:
                self._sounding = 0
            smooth += SMOOTHING * (level - smooth)
            self.level = smooth
            yield level, smooth

    @property
    def known(self) -> bool:
        """Whether it goes by what was heard, not by what is presumed."""
        return bool(self._lows)

    def _settle(self) -> None:
        """Judge by the stretches, now that another one is whole."""
        lowest, loudest = min(self._levels), max(self._levels)
        self._levels.clear()
        if not self.known and loudest - lowest > STEADY:  # speech, as if noise had gone before
            self._lows.append(min(lowest, PRESUMED))
            self._highs.append(PRESUMED)
        self._lows.append(lowest)
        self._highs.append(loudest)
        self.floor, ceiling, peak = min(self._lows), min(self._highs), max(self._highs)
        if peak - self.floor < LEAST:  # speech varies more: all this is noise
            ceiling = peak
        margin = MARGIN + SWING * (ceiling - self.floor)
        highest = self.floor + max(LEAST, SHARE * (peak - self.floor))
        self.threshold = max(min(ceiling + margin, highest), peak - DEPTH, QUIETEST)
        self.release = self.threshold - RELEASE * margin
