"""Where speech begins and ends in a stream of samples, told by its level above the noise.

Pure: samples in, marks out. Seconds are seconds of audio, counted from the first sample ever fed; there is no clock.
Must never filter, hold back or drop audio: it only says what it heard.

    Meter        samples -> a level for each frame of 20 ms
    NoiseFloor   levels -> the level from which on a frame is speech
    Automaton    speech or not, frame by frame -> onset, lull, resume, end
    Endpointer   the three together
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log10
from typing import Literal

import numpy as np

from .pcm import RATE, Samples

FRAME_SECONDS = 0.02

SILENCE = -90.0
"""dBFS. Whatever is quieter is digital silence, dither included: it tells nothing about the noise of a place."""

SMOOTHING = 0.3
"""Weight of a frame in the smoothed level. Noise flutters from frame to frame; the end of speech lasts."""

STRETCH = 20
STRETCHES = 10
"""Frames in a stretch, and the stretches by which noise is known: 4 seconds."""

MARGIN = 4.0
"""dB. Speech begins so far above what noise reaches by itself. This and the next three: see NoiseFloor."""

SHARE = 0.55
"""Speech begins no higher than this part of the way from the noise to the loudest sound ..."""

LEAST = 10.0
"""... or this many dB above the noise, whichever is more."""

RELEASE = 2.0
"""dB that speech may fall below where it begins before it is over."""

DEPTH = 35.0
"""dB. What is so far below the loudest sound is breath or a tail, not speech."""

QUIETEST = -70.0
"""dBFS. What is quieter is no speech, however quiet the place."""

PRESUMED = -50.0
"""dBFS. The noise to be presumed where a recording begins with speech."""

STEADY = 5.0
"""dB. What varies less than this over the first stretch is noise, not speech."""


@dataclass(frozen=True, slots=True)
class Endpointing:
    """When an utterance is over.

    silence_ms        silence that ends an utterance, milliseconds
    threshold         level that is speech, dBFS; None: what stands out from the noise
    lull_ms           silence after which speech may be over, milliseconds; no less than silence_ms: no lulls
    attack_ms         speech that it takes to begin or resume, milliseconds; a shorter sound is a click, and silence
    longest_seconds   an utterance is ended then, whatever is heard: above a fixed threshold, noise never ends
    """

    silence_ms: int = 600
    threshold: float | None = None
    lull_ms: int = 160
    attack_ms: int = 60
    longest_seconds: float = 30.0


DEFAULTS = Endpointing()

Kind = Literal["onset", "lull", "resume", "end"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was noticed. The order is: onset (lull resume)* [lull] end.

    at       when it was decided, seconds of audio
    speech   onset, resume: where speech began; lull, end: where it stopped. Seconds
    capped   an `end` because the utterance became too long. Where speech went on, an onset follows in the same place
    """

    kind: Kind
    at: float
    speech: float
    capped: bool = False


def utterances(marks: Iterable[Mark], until: float | None = None) -> list[tuple[float, float]]:
    """Utterances as (beginning, end) in seconds. One that has not ended lasts `until` then; None: it is left out."""
    found, begun = [], None
    for mark in marks:
        if mark.kind == "onset":
            begun = mark.speech
        elif mark.kind == "end" and begun is not None:
            found.append((begun, mark.speech))
            begun = None
    if begun is not None and until is not None:
        found.append((begun, until))
    return found


class Automaton:
    """Frames that are speech or not, as marks. Knows nothing of sound. All arguments but `unit` are frames, 1 or more.

    attack     speech that it takes to begin or resume
    lull       silence that makes a lull
    hangover   silence that makes an end
    longest    an utterance that has lasted this long is ended
    unit       seconds in a frame
    """

    def __init__(self, attack: int, lull: int, hangover: int, longest: int, unit: float = 1.0) -> None:
        self.in_speech = False
        """Whether an utterance has begun and not ended."""
        self.silence = 0
        """Frames since speech stopped within an utterance. Clicks are silence."""
        self._attack, self._lull, self._hangover, self._longest = attack, lull, hangover, longest
        self._unit = unit
        self.now = self._run = self._latest = 0

    def feed(self, speech: bool) -> Sequence[Mark]:
        """The next frame: what was noticed at its end."""
        self.now += 1
        self._run = self._run + 1 if speech else 0
        if not self.in_speech:
            return () if self._run < self._attack else [self._begin(self.now - self._run)]
        if speech and not self.silence and self.now < self._latest:
            return ()
        marks = []
        if not speech or (self.silence and self._run < self._attack):
            self.silence += 1
            if self.silence == self._hangover:
                return [self._end()]
            if self.silence == self._lull:
                marks.append(self._mark("lull", self.now - self.silence))
        else:
            if self.silence >= self._lull:
                marks.append(self._mark("resume", self.now - self._run))
            self.silence = 0
        if self.now >= self._latest:
            went_on = not self.silence
            marks.append(self._end(capped=True))
            if went_on:
                marks.append(self._begin(self.now))
        return marks

    def _begin(self, frame: int) -> Mark:
        self.in_speech = True
        self._latest = frame + self._longest
        return self._mark("onset", frame)

    def _end(self, *, capped: bool = False) -> Mark:
        mark = self._mark("end", self.now - self.silence, capped)
        self.in_speech = False
        self.silence = 0
        return mark

    def _mark(self, kind: Kind, frame: int, capped: bool = False) -> Mark:
        return Mark(kind, self.now * self._unit, frame * self._unit, capped)


_NONE: Samples = np.zeros(0, np.float32)


class Meter:
    """Samples as levels, one for each whole frame, dBFS; SILENCE at the least."""

    def __init__(self, rate: int) -> None:
        self.size = round(rate * FRAME_SECONDS)
        """Samples in a frame."""
        self.rest = _NONE
        """Samples that don't make a frame yet."""
        self._least = self.size * 10 ** (SILENCE / 10)

    def feed(self, samples: Samples) -> list[float]:
        size, least = self.size, self._least
        if self.rest.size:
            samples = np.concatenate([self.rest, samples])
            self.rest = _NONE
        if left := samples.size % size:
            self.rest = samples[-left:].copy()  # the block is the caller's
            samples = samples[:-left]
        frames = samples.reshape(-1, size)
        energies = np.vecdot(frames, frames).tolist()
        return [10.0 * log10(energy / size) if energy > least else SILENCE for energy in energies]


class NoiseFloor:
    """How loud speech must be to stand out, by three figures of the last 4 seconds in stretches of 0.4 s. All dBFS.

    floor       the lowest level: between syllables even restless speech falls back to the noise
                (minimum statistics, after Martin, IEEE Transactions on Speech and Audio Processing 9, 2001)
    ceiling     the loudest level of the quietest stretch: what noise reaches by itself, if nobody spoke in it
    peak        the loudest level
    threshold   MARGIN above the ceiling; but, as somebody may have spoken, no higher than SHARE of the way from floor
                to peak, or LEAST above the floor

    So it stays close above steady noise, where faint syllables are heard, and far above babble, which is not.
    """

    def __init__(self) -> None:
        self.floor = PRESUMED
        self.threshold = PRESUMED + MARGIN
        self.level = SILENCE
        """The smoothed level of the last frame."""
        self._stretches: deque[tuple[float, float]] = deque(maxlen=STRETCHES)
        self._levels: list[float] = []
        self._sounding = 0

    def feed(self, level: float) -> float:
        """The next frame; its level, smoothed."""
        if level > SILENCE:
            # Digital silence tells nothing, nor do the frames that border on it: they may be cut.
            if self._sounding > 1:
                self._levels.append(self.level)
                if len(self._levels) == STRETCH:
                    self.settle()
            elif not self._sounding:
                self.level = level  # nothing before it to smooth it with
            self._sounding += 1
        else:
            self._sounding = 0
        self.level += SMOOTHING * (level - self.level)
        return self.level

    def settle(self) -> None:
        """Judge by what was heard up to now, whole stretch or not."""
        if not self._levels:
            return
        lowest, loudest = min(self._levels), max(self._levels)
        self._levels.clear()
        if not self._stretches and loudest - lowest > STEADY:
            self._stretches.append((min(lowest, PRESUMED), PRESUMED))
        self._stretches.append((lowest, loudest))
        lows, highs = zip(*self._stretches, strict=True)
        self.floor, ceiling, peak = min(lows), min(highs), max(highs)
        highest = self.floor + max(LEAST, SHARE * (peak - self.floor))
        self.threshold = max(min(ceiling + MARGIN, highest), peak - DEPTH, QUIETEST)


class Endpointer:
    """A stream of samples as marks, the same ones however it is cut into blocks.

    The first 0.4 s of sound are judged together, when they are over: noise is not known before.
    """

    def __init__(self, settings: Endpointing = DEFAULTS, rate: int = RATE) -> None:
        self._meter, self._noise = Meter(rate), NoiseFloor()
        self._unit = self._meter.size / rate
        self._hangover = self._frames(settings.silence_ms / 1000)
        self._automaton = Automaton(
            attack=self._frames(settings.attack_ms / 1000),
            lull=self._frames(settings.lull_ms / 1000),
            hangover=self._hangover,
            longest=self._frames(settings.longest_seconds),
            unit=self._unit,
        )
        self._fixed = settings.threshold
        self._rate = rate
        self._loud = False
        self._held: list[tuple[float, float]] | None = [] if self._fixed is None else None

    def _frames(self, seconds: float) -> int:
        return max(1, round(seconds / self._unit))

    @property
    def heard(self) -> float:
        """Seconds fed."""
        held = len(self._held) if self._held else 0
        return ((self._automaton.now + held) * self._meter.size + self._meter.rest.size) / self._rate

    @property
    def level(self) -> float:
        """Of the last frame, smoothed, dBFS: what is held against the threshold. SILENCE at the least."""
        return self._noise.level

    @property
    def floor(self) -> float:
        """The noise, dBFS."""
        return self._noise.floor

    @property
    def threshold(self) -> float:
        """The level at which speech begins, dBFS."""
        return self._noise.threshold if self._fixed is None else self._fixed

    @property
    def in_speech(self) -> bool:
        """Whether an utterance has begun and not ended."""
        return self._automaton.in_speech

    @property
    def hangover_left(self) -> float:
        """Seconds of silence that would end the utterance; 0 where there is none."""
        return (self._hangover - self._automaton.silence) * self._unit if self.in_speech else 0.0

    def feed(self, samples: Samples) -> list[Mark]:
        """The next samples, any number of them, mono, -1..1: what was noticed in them."""
        marks: list[Mark] = []
        for level in self._meter.feed(samples):
            smooth = self._noise.feed(level)
            if self._held is not None:
                marks += self._hold(self._held, level, smooth)
            elif found := self._judge(level, smooth):
                marks += found
        return marks

    def _hold(self, held: list[tuple[float, float]], level: float, smooth: float) -> Sequence[Mark]:
        """Keep the frame until the first stretch of sound is whole; then judge all of it."""
        if not held and level == SILENCE:
            return self._judge(level, smooth)
        held.append((level, smooth))
        if len(held) < STRETCH:
            return ()
        self._held = None
        self._noise.settle()
        found = [mark for pair in held for mark in self._judge(*pair)]
        return [replace(mark, at=self._automaton.now * self._unit) for mark in found]

    def _judge(self, level: float, smooth: float) -> Sequence[Mark]:
        # Smoothing draws a click out: it must not begin an utterance by that.
        heard = smooth if smooth < level or self._automaton.in_speech else level
        threshold = self._noise.threshold if self._fixed is None else self._fixed
        self._loud = heard > (threshold - RELEASE if self._loud else threshold)
        return self._automaton.feed(self._loud)
