"""Measures audio levels frame by frame, tracks the noise floor, and derives the threshold above which sound is speech.

`peaks` is the waveform that a page shows.

Pure: samples in, levels out. A level is the root mean square of a frame of 20 ms in dB below full scale (dBFS). Must
never decide where speech begins or ends: `vad` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import log10

import numpy as np

from .pcm import RATE, Samples, divide_into_rows

FRAME_SECONDS = 0.02

SILENCE_DBFS = -90.0
"""The lowest level. Anything quieter is digital silence or dither, and says nothing about background noise."""

SMOOTHING_WEIGHT = 0.35
"""Weight of a frame in the smoothed level. Noise fluctuates from frame to frame; the end of speech lasts."""

WINDOW_FRAMES = 15
MAX_WINDOWS = 13
"""Frames in a window (0.3 s), and windows by which noise is estimated (3.9 s)."""

# The following were tuned on synthetic and human speech, with pauses and without, in white, pink and brown noise, noise
# that comes and goes, babble and keyboard noise. Higher thresholds end utterances too early in noise, lower ones too
# late in babble.

MARGIN_DB = 3.0
SWING_SHARE = 0.5
"""Speech begins MARGIN_DB plus this share of the noise's own range above what noise reaches ..."""

MAX_RANGE_SHARE = 0.45
MIN_RANGE_DB = 9.0
"""... but at most at this share of the range from floor to loudest sound, or MIN_RANGE_DB above the floor."""

RELEASE_SHARE = 0.7
"""Share of its margin above the noise that speech may lose before it is over."""

MAX_DEPTH_DB = 35.0
"""Sound this far below the loudest is breath or the tail of a word."""

MIN_THRESHOLD_DBFS = -70.0
"""Sound below this level isn't speech, however quiet the background."""

DEFAULT_NOISE_DBFS = -55.0
"""Assumed noise of a recording that begins with speech."""

STEADY_NOISE_DB = 4.5
"""Sound that varies no more than this over the first window is noise."""


MIN_PEAK_SECONDS = 0.05
MAX_PEAKS = 8000
"""Peaks of a waveform: as many as a wide screen has columns, several times over."""


_NONE: Samples = np.zeros(0, np.float32)


class FrameLevels:
    """Turns samples into levels, one for each whole frame, in dBFS; SILENCE_DBFS at least.

    The mean of a frame is subtracted, because some microphones and sound cards add a constant offset or a slow drift.
    That takes at most 0.3 dB from the lowest voices.
    """

    def __init__(self, rate: int) -> None:
        self.frame_samples = round(rate * FRAME_SECONDS)
        """Samples in a frame."""
        self.pending = _NONE
        """Samples of a frame that isn't complete yet."""
        self._silence_energy = self.frame_samples * 10 ** (SILENCE_DBFS / 10)
        self._mean_weights = np.full(self.frame_samples, self.frame_samples**-0.5, np.float32)

    def levels(self, samples: Samples) -> list[float]:
        """Take the next samples, any number; returns the levels of the frames that are complete."""
        size, silence_energy = self.frame_samples, self._silence_energy
        if len(self.pending):
            samples = np.concatenate([self.pending, samples])
            self.pending = _NONE
        if left := len(samples) % size:
            self.pending = samples[-left:].copy()  # the caller may overwrite the block
            samples = samples[:-left]
        frames = samples.reshape(-1, size)
        means = np.vecdot(frames, self._mean_weights)
        levels = []  # with so few frames, a comprehension would be slower
        for energy in (np.vecdot(frames, frames) - means * means).tolist():
            levels.append(10.0 * log10(energy / size) if energy > silence_energy else SILENCE_DBFS)  # noqa: PERF401
        return levels


class NoiseFloor:
    """Derives the thresholds for speech from the last 3.9 s of sound, in windows of 0.3 s. All figures are dBFS.

    level       the last level, smoothed; compared with the next two
    threshold   speech begins above it
    release     speech is over below it
    contrast    range from the floor to the loudest level, in dB
    floor       the lowest level: between syllables, even fast speech falls back to the noise (minimum statistics, after
                Martin, IEEE Transactions on Speech and Audio Processing 9, 2001)

    The loudest level of the quietest window, the ceiling, is what noise reaches by itself; its distance from the floor
    is the range of the noise. The threshold lies above the ceiling, but not too far from the floor, since there may be
    speech in all windows. So it is close to steady noise, where faint syllables matter, and far above babble.
    """

    def __init__(self) -> None:
        self.floor, self.contrast = DEFAULT_NOISE_DBFS, MIN_RANGE_DB
        self.threshold = self.release = DEFAULT_NOISE_DBFS + MIN_RANGE_DB
        self.level = SILENCE_DBFS
        self._lows: deque[float] = deque(maxlen=MAX_WINDOWS)
        self._highs: deque[float] = deque(maxlen=MAX_WINDOWS)
        self._window: list[float] = []
        self._frames_since_silence = 0

    def track(self, levels: Iterable[float]) -> Iterator[tuple[float, float]]:
        """Yields the levels of the next frames, each with the smoothed one.

        The thresholds are updated frame by frame, in step with what is yielded.
        """
        smooth, window = self.level, self._window
        for level in levels:
            if level > SILENCE_DBFS:
                # Digital silence says nothing, nor do the frames next to it, which may be cut.
                if self._frames_since_silence > 1:
                    window.append(smooth)
                    if len(window) == WINDOW_FRAMES:
                        self._update_thresholds()
                else:
                    smooth = level  # nothing before it to smooth it with
                    self._frames_since_silence += 1
            else:
                self._frames_since_silence = 0
            smooth += SMOOTHING_WEIGHT * (level - smooth)
            self.level = smooth
            yield level, smooth

    @property
    def is_measured(self) -> bool:
        """Whether the thresholds are based on measured noise rather than on DEFAULT_NOISE_DBFS."""
        return bool(self._lows)

    def _update_thresholds(self) -> None:
        """Recompute the thresholds, with another complete window."""
        lowest, loudest = min(self._window), max(self._window)
        self._window.clear()
        if not self.is_measured and loudest - lowest > STEADY_NOISE_DB:  # speech: assume that noise came before it
            self._lows.append(min(lowest, DEFAULT_NOISE_DBFS))
            self._highs.append(DEFAULT_NOISE_DBFS)
        self._lows.append(lowest)
        self._highs.append(loudest)
        self.floor, ceiling, peak = min(self._lows), min(self._highs), max(self._highs)
        self.contrast = peak - self.floor
        if self.contrast < MIN_RANGE_DB:  # all of this is noise: speech varies more
            ceiling = peak
        margin = MARGIN_DB + SWING_SHARE * (ceiling - self.floor)
        highest = self.floor + max(MIN_RANGE_DB, MAX_RANGE_SHARE * (peak - self.floor))
        self.threshold = max(min(ceiling + margin, highest), peak - MAX_DEPTH_DB, MIN_THRESHOLD_DBFS)
        self.release = self.threshold - RELEASE_SHARE * margin


def peaks(blocks: Iterable[Samples]) -> tuple[bytes, float]:
    """The waveform of 16 kHz samples: the loudest, 0 to 255, of each stretch, and the seconds of a stretch.

    The stretches are longer in a longer recording, so that there are never more than MAX_PEAKS.
    """
    size = int(MIN_PEAK_SECONDS * RATE)
    loudest = np.concatenate(
        [np.zeros(0, np.float32), *(np.abs(rows).max(axis=1) for rows in divide_into_rows(blocks, size))]
    )
    while len(loudest) > MAX_PEAKS:
        loudest, size = np.maximum.reduceat(loudest, np.arange(0, len(loudest), 2)), 2 * size
    return (np.clip(loudest, 0, 1) * 255).astype(np.uint8).tobytes(), size / RATE
