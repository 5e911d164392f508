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

SILENCE_DBFS = -90.0
"""dBFS. Whatever is quieter is digital silence, dither included: it tells nothing about the noise of a place."""

SMOOTHING_WEIGHT = 0.35
"""Weight of a frame in the smoothed level. Noise flutters from frame to frame; the end of speech lasts."""

WINDOW_FRAMES = 15
MAX_WINDOWS = 13
"""Frames in a stretch, and the stretches by which noise is known: 0.3 s, 3.9 s."""

# What follows was tuned on the speech of synthesisers and of people, with pauses and without, in white, pink and brown
# noise, noise that comes and goes, babble and the clatter of keys. Higher thresholds end utterances too early in noise,
# lower ones too late in babble.

MARGIN_DB = 3.0
SWING_SHARE = 0.5
"""Speech begins so many dB above what noise reaches, and by this part of the noise's own swing higher ..."""

MAX_RANGE_SHARE = 0.45
MIN_RANGE_DB = 9.0
"""... but at this part of the way from the floor to the loudest sound, or so many dB above the floor, at the latest."""

RELEASE_SHARE = 0.7
"""The part of its distance from the noise that speech may lose before it is over."""

MAX_DEPTH_DB = 35.0
"""dB. What is so far below the loudest sound is breath or the tail of a word."""

MIN_THRESHOLD_DBFS = -70.0
"""dBFS. What is quieter is no speech, however quiet the place."""

DEFAULT_NOISE_DBFS = -55.0
"""dBFS. The noise to be presumed where a recording begins with speech."""

STEADY_NOISE_DB = 4.5
"""dB. What varies no more than this over the first stretch is noise."""


_NONE: Samples = np.zeros(0, np.float32)


class FrameLevels:
    """Samples as levels, one for each whole frame, dBFS; SILENCE at the least.

    A constant offset is no sound, nor is a slow drift: some microphones and sound cards have them. A frame's mean is
    taken out of its energy; of the lowest voices, at most 0.3 dB goes with it.
    """

    def __init__(self, rate: int) -> None:
        self.frame_samples = round(rate * FRAME_SECONDS)
        """Samples in a frame."""
        self.pending = _NONE
        """Samples that don't make a frame yet."""
        self._silence_energy = self.frame_samples * 10 ** (SILENCE_DBFS / 10)
        self._mean_weights = np.full(self.frame_samples, self.frame_samples**-0.5, np.float32)

    def levels(self, samples: Samples) -> list[float]:
        """The next samples, any number of them."""
        size, least = self.frame_samples, self._silence_energy
        if len(self.pending):
            samples = np.concatenate([self.pending, samples])
            self.pending = _NONE
        if left := len(samples) % size:
            self.pending = samples[-left:].copy()  # the block is the caller's
            samples = samples[:-left]
        frames = samples.reshape(-1, size)
        means = np.vecdot(frames, self._mean_weights)
        levels = []  # a block has so few frames that a comprehension would take longer
        for energy in (np.vecdot(frames, frames) - means * means).tolist():
            levels.append(10.0 * log10(energy / size) if energy > least else SILENCE_DBFS)  # noqa: PERF401
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
        self.floor = DEFAULT_NOISE_DBFS
        self.threshold = self.release = DEFAULT_NOISE_DBFS + MIN_RANGE_DB
        self.level = SILENCE_DBFS
        self._lows: deque[float] = deque(maxlen=MAX_WINDOWS)
        self._highs: deque[float] = deque(maxlen=MAX_WINDOWS)
        self._window: list[float] = []
        self._frames_since_silence = 0

    def track(self, levels: Iterable[float]) -> Iterator[tuple[float, float]]:
        """The levels of the next frames, each with the smoothed one.

        A frame is heard when it is taken: the threshold is in step with it.
        """
        smooth, heard = self.level, self._window
        for level in levels:
            if level > SILENCE_DBFS:
                # Digital silence tells nothing, nor do the frames that border on it: they may be cut.
                if self._frames_since_silence > 1:
                    heard.append(smooth)
                    if len(heard) == WINDOW_FRAMES:
                        self._update_thresholds()
                else:
                    smooth = level  # nor is there anything before them to smooth them with
                    self._frames_since_silence += 1
            else:
                self._frames_since_silence = 0
            smooth += SMOOTHING_WEIGHT * (level - smooth)
            self.level = smooth
            yield level, smooth

    @property
    def is_measured(self) -> bool:
        """Whether it goes by what was heard, not by what is presumed."""
        return bool(self._lows)

    def _update_thresholds(self) -> None:
        """Judge by the stretches, now that another one is whole."""
        lowest, loudest = min(self._window), max(self._window)
        self._window.clear()
        if not self.is_measured and loudest - lowest > STEADY_NOISE_DB:  # speech, as if noise had gone before
            self._lows.append(min(lowest, DEFAULT_NOISE_DBFS))
            self._highs.append(DEFAULT_NOISE_DBFS)
        self._lows.append(lowest)
        self._highs.append(loudest)
        self.floor, ceiling, peak = min(self._lows), min(self._highs), max(self._highs)
        if peak - self.floor < MIN_RANGE_DB:  # speech varies more: all this is noise
            ceiling = peak
        margin = MARGIN_DB + SWING_SHARE * (ceiling - self.floor)
        highest = self.floor + max(MIN_RANGE_DB, MAX_RANGE_SHARE * (peak - self.floor))
        self.threshold = max(min(ceiling + margin, highest), peak - MAX_DEPTH_DB, MIN_THRESHOLD_DBFS)
        self.release = self.threshold - RELEASE_SHARE * margin
