"""Speech that a test can read back without an engine: numbers as tones, and a recogniser that counts on nothing else.

Number n is a tone of its own frequency, 0.3 s long, with silence around it. Whoever gets half of one hears nothing,
whoever gets it twice hears it twice: what reaches a server, and how often, can be told from its text alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cartesia_cli.audio.pcm import RATE, Samples

TONE, REST = 0.3, 0.9
LOWEST, STEP = 300, 25
FRAME = RATE // 50


def spoken(numbers: Sequence[int], rest: float = REST, noise: float = 0.0005) -> Samples:
    """0 to 199, each with silence behind it, and some before the first; over some noise, as rooms have it."""
    t = np.arange(round(TONE * RATE), dtype=np.float32) / RATE
    silence = np.zeros(round(rest * RATE), np.float32)
    parts = [silence]
    for number in numbers:
        parts += [0.4 * np.sin(2 * np.pi * (LOWEST + STEP * number) * t).astype(np.float32), silence]
    sound = np.concatenate(parts)
    hiss = np.random.default_rng(1).normal(0, noise, len(sound)) if noise else np.zeros(len(sound))
    return (sound + hiss).astype(np.float32)


class Recogniser:
    """Feed it 16-bit samples of one connection; it collects numbers.

    heard     numbers, in order; a tone of another length is heard as -1
    quiet     seconds of silence at the end
    within    whether a tone is under way
    """

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.quiet = 0.0
        self._rest = b""
        self._tone: list[Samples] = []

    @property
    def within(self) -> bool:
        return bool(self._tone)

    def feed(self, frame: bytes) -> None:
        data = self._rest + frame
        whole = len(data) // (2 * FRAME) * 2 * FRAME
        self._rest = data[whole:]
        for samples in np.frombuffer(data[:whole], np.int16).reshape(-1, FRAME).astype(np.float32) / 32768:
            if np.sqrt(np.mean(samples**2)) > 0.02:
                self._tone.append(samples)
                self.quiet = 0.0
                continue
            self.quiet += FRAME / RATE
            self._settle()

    def _settle(self) -> None:
        if not self._tone:
            return
        tone = np.concatenate(self._tone)
        self._tone = []
        if abs(len(tone) / RATE - TONE) > 0.05:
            self.heard.append(-1)
            return
        middle = tone[len(tone) // 4 : -len(tone) // 4]
        peak = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 16))) * RATE / (1 << 16)
        self.heard.append(round((peak - LOWEST) / STEP))
