"""A live signal at one rate as the same at another, a fraction of a millisecond late.

A good resampler looks ahead: soxr's HQ holds back 21 ms of a microphone on average, and a word that somebody waits
for with it. This one is a plain polyphase filter of minimum phase: what it passes, it passes almost at once. Measured
by `benchmarks/capture.py`. It gives nothing back at the end of a stream, because it holds nothing worth having.
Pure: samples in, samples out. Must never be used for files, which have time for soxr's.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .pcm import RATE, Samples

FILTER_SAMPLES = 80
"""Of the filter, in samples of the lower rate: 5 ms at 16 kHz."""

CUTOFF = 0.92
"""Where the filter halves, as a share of the band: up to 7 kHz of 8 it takes 0.2 dB, from 8 kHz on 86."""

KAISER_BETA = 8.5
"""Of the Kaiser window: how far down aliases are, against how steep the filter is."""

MAX_PHASES = 640
"""Filters that are worth keeping: 11025 Hz needs that many, 44100 Hz 160, 48000 Hz one."""


def can_resample(rate: int, wanted: int = RATE) -> bool:
    """Whether the two rates have enough in common; all that sound cards are sold with do."""
    return rate > 0 and wanted // gcd(rate, wanted) <= MAX_PHASES


class LowLatencyResampler:
    """A stream of samples at `rate` as a stream at `wanted`, the same samples however it is cut into blocks.

    Any sample that `feed` gives belongs to the same moment as the last one that it was given, or to one before it.
    """

    def __init__(self, rate: int, wanted: int = RATE) -> None:
        """Rates in Hz. ValueError where `can_resample` says no."""
        if not can_resample(rate, wanted):
            raise ValueError(f"no filter from {rate} to {wanted} Hz")
        common = gcd(rate, wanted)
        self._phases, self._step = wanted // common, rate // common
        self._same = rate == wanted
        self._bank = filter_bank(rate, wanted)
        self._held: Samples = np.zeros(self._bank.shape[1] - 1, np.float32)
        self._next = 0
        """Of the next sample that is due: its place after the first new one, in samples / phases."""

    def resample(self, samples: Samples) -> Samples:
        if self._same or not samples.size:
            return samples
        known = np.concatenate((self._held, samples))
        windows = sliding_window_view(known, self._bank.shape[1])
        places = np.arange(self._next, len(samples) * self._phases, self._step)
        self._next += len(places) * self._step - len(samples) * self._phases
        self._held = known[len(samples) :]
        if self._phases == 1:
            result: Samples = windows[places] @ self._bank[0]
        else:
            result = np.vecdot(windows[places // self._phases], self._bank[places % self._phases])
        return result


def filter_bank(rate: int, wanted: int) -> NDArray[np.float32]:
    """The bank: for each place between two samples the weights of those before it, the latest last."""
    phases = wanted // gcd(rate, wanted)
    lower = min(rate, wanted)
    length = round(FILTER_SAMPLES * rate / lower)
    size = length * phases
    seconds = (np.arange(size) - (size - 1) / 2) / (rate * phases)
    weights = np.sinc(CUTOFF * lower * seconds) * np.kaiser(size, KAISER_BETA)
    weights = _minimum_phase(weights * phases / weights.sum())
    return np.ascontiguousarray(weights.reshape(length, phases).T[:, ::-1], np.float32)


def _minimum_phase(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter that is as loud at every frequency and has the least delay (Oppenheim and Schafer's cepstral way).

    Folding the cepstrum onto positive times moves every zero into the unit circle.
    """
    size = 1 << (8 * len(weights) - 1).bit_length()
    loudness = np.abs(np.fft.rfft(weights, size))
    cepstrum = np.fft.irfft(np.log(np.maximum(loudness, loudness.max() * 1e-7)), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    least: NDArray[np.float64] = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: len(weights)]
    return least
