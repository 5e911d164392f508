"""Resamples live audio with a delay of a fraction of a millisecond.

A high-quality resampler looks ahead: soxr's HQ holds back 21 ms of a microphone on average, and delays every word by
that. This one is a polyphase filter of minimum phase, which passes audio almost at once (benchmarks/capture.py). At the
end of a stream there is nothing to flush.

Pure: samples in, samples out. Must never be used for files, where there is time for soxr's better filter.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .pcm import RATE, Samples

FILTER_SAMPLES = 80
"""Length of the filter in samples of the lower rate: 5 ms at 16 kHz."""

CUTOFF = 0.92
"""Cutoff of the filter, as a share of the lower Nyquist frequency: 0.2 dB down at 7 kHz of 8, 86 dB from 8 kHz on."""

KAISER_BETA = 8.5
"""Trades stop-band attenuation against steepness."""

MAX_PHASES = 640
"""Largest number of phases in the filter bank: 11025 Hz needs that many, 44100 Hz 160, 48000 Hz one."""


def can_resample(rate: int, target_rate: int = RATE) -> bool:
    """Whether a filter bank of bounded size converts between the two rates (Hz), as for all rates of sound cards."""
    return rate > 0 and target_rate // gcd(rate, target_rate) <= MAX_PHASES


class LowLatencyResampler:
    """Converts a stream from one rate to another; the result doesn't depend on how the stream is cut into blocks.

    Every sample that `resample` returns is at most as late in time as the last one that it was given.
    """

    def __init__(self, rate: int, target_rate: int = RATE) -> None:
        """Rates in Hz. Raises ValueError if `can_resample` is false."""
        if not can_resample(rate, target_rate):
            raise ValueError(f"no filter from {rate} to {target_rate} Hz")
        common = gcd(rate, target_rate)
        self._phases, self._step = target_rate // common, rate // common
        self._same = rate == target_rate
        self._bank = filter_bank(rate, target_rate)
        self._held: Samples = np.zeros(self._bank.shape[1] - 1, np.float32)
        self._next = 0
        """Position of the next output sample after the first new input sample, in 1/phases of an input sample."""

    def resample(self, samples: Samples) -> Samples:
        if self._same or not samples.size:
            return samples
        known = np.concatenate((self._held, samples))
        windows = sliding_window_view(known, self._bank.shape[1])
        positions = np.arange(self._next, len(samples) * self._phases, self._step)
        self._next += len(positions) * self._step - len(samples) * self._phases
        self._held = known[len(samples) :]
        if self._phases == 1:
            result: Samples = windows[positions] @ self._bank[0]
        else:
            result = np.vecdot(windows[positions // self._phases], self._bank[positions % self._phases])
        return result


def filter_bank(rate: int, target_rate: int) -> NDArray[np.float32]:
    """Weights by phase (position between two input samples), shape (phases, length): of the latest sample last."""
    phases = target_rate // gcd(rate, target_rate)
    lower = min(rate, target_rate)
    length = round(FILTER_SAMPLES * rate / lower)
    size = length * phases
    seconds = (np.arange(size) - (size - 1) / 2) / (rate * phases)
    weights = np.sinc(CUTOFF * lower * seconds) * np.kaiser(size, KAISER_BETA)
    weights = _minimum_phase(weights * phases / weights.sum())
    return np.ascontiguousarray(weights.reshape(length, phases).T[:, ::-1], np.float32)


def _minimum_phase(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter with the same magnitude response and the least delay (homomorphic method of Oppenheim and Schafer).

    Folding the cepstrum onto positive times moves every zero into the unit circle.
    """
    size = 1 << (8 * len(weights) - 1).bit_length()
    magnitude = np.abs(np.fft.rfft(weights, size))
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, magnitude.max() * 1e-7)), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    minimum: NDArray[np.float64] = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: len(weights)]
    return minimum
