"""Where speech begins and ends in a stream of samples, told by its level above the noise.

Pure: samples in, marks out. Seconds are seconds of audio, counted from the first sample ever fed; there is no clock.
Must never filter, hold back or drop audio: it only says what it heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .level import FRAME_SECONDS as FRAME_SECONDS
from .level import SILENCE, FrameLevels, NoiseFloor
from .pcm import RATE, Samples


@dataclass(frozen=True, slots=True)
class VadSettings:
    """When an utterance is over.

    silence_ms        silence that ends an utterance, milliseconds
    threshold         level that is speech, dBFS; None: what stands out from the noise
    lull_ms           silence after which speech may be over, milliseconds; no less than silence_ms: no lulls
    attack_ms         speech that it takes to begin or resume, milliseconds; a shorter sound is a click, and silence
    longest_seconds   an utterance is ended then, whatever is heard: above a fixed threshold, noise never ends. In the
                      last fifth of this time the first lull ends it, so that no word is cut where there is a choice
    """

    silence_ms: int = 600
    threshold: float | None = None
    lull_ms: int = 160
    attack_ms: int = 60
    longest_seconds: float = 30.0


DEFAULTS = VadSettings()

LAST = 5
"""The part of the longest utterance, one in so many, in which it waits for a lull to be ended in."""

Kind = Literal["onset", "lull", "resume", "end"]


@dataclass(frozen=True, slots=True)
class VadEvent:
    """Something that was noticed. The order is: onset (lull resume)* [lull] end.

    at       when it was decided, seconds of audio
    speech   onset, resume: where speech began; lull, end: where it stopped. Seconds
    capped   an `end` because the utterance became too long. Where no lull came, an onset follows in the same place
    """

    kind: Kind
    at: float
    speech: float
    capped: bool = False


def utterances(marks: Iterable[VadEvent], until: float | None = None) -> list[tuple[float, float]]:
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


class VadStateMachine:
    """Frames that are speech or not, as marks. Knows nothing of sound. All arguments but `unit` are frames, 1 or more.

    attack     speech that it takes to begin or resume
    lull       silence that makes a lull
    hangover   silence that makes an end
    longest    an utterance that has lasted this long is ended; in the last fifth of it by the first lull
    unit       seconds in a frame
    """

    def __init__(self, attack: int, lull: int, hangover: int, longest: int, unit: float = 1.0) -> None:
        self.in_speech = False
        """Whether an utterance has begun and not ended."""
        self.silence = 0
        """Frames since speech stopped within an utterance. Clicks are silence."""
        self.in_lull = False
        """Whether that silence has lasted so long that it is a lull."""
        self._unit = unit
        self.configure(attack, lull, hangover, longest)
        self.now = self._run = self._late = self._latest = 0

    def configure(self, attack: int, lull: int, hangover: int, longest: int) -> None:
        """Other figures from now on; `longest` from the next utterance on."""
        self._attack, self._lull, self._hangover, self._longest = attack, lull, hangover, longest

    def update(self, speech: bool) -> Sequence[VadEvent]:
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
            if speech:
                pass  # the beginning of speech, or a click: what this silence is, is known when the sound is over
            elif self.silence >= self._hangover:
                return [self._end()]
            elif self.silence >= self._lull:
                if self.now >= self._late:
                    return [self._end(capped=True)]
                if not self.in_lull:
                    self.in_lull = True
                    marks.append(self._mark("lull", self.now - self.silence))
        else:
            if self.in_lull:
                marks.append(self._mark("resume", self.now - self._run))
            self.silence, self.in_lull = 0, False
        if self.now >= self._latest:
            went_on = not self.silence
            marks.append(self._end(capped=True))
            if went_on:
                marks.append(self._begin(self.now))
        return marks

    def _begin(self, frame: int) -> VadEvent:
        self.in_speech = True
        self._latest = frame + self._longest
        self._late = self._latest - self._longest // LAST
        return self._mark("onset", frame)

    def _end(self, *, capped: bool = False) -> VadEvent:
        mark = self._mark("end", self.now - self.silence, capped)
        self.in_speech = False
        self.silence, self.in_lull = 0, False
        return mark

    def _mark(self, kind: Kind, frame: int, capped: bool = False) -> VadEvent:
        return VadEvent(kind, self.now * self._unit, frame * self._unit, capped)


class Endpointer:
    """A stream of samples as marks, the same ones however it is cut into blocks.

    With no fixed threshold, the first third of a second of sound is judged when it is over, since noise is not known
    before; at the end of the audio, `finish` has it judged.
    """

    def __init__(self, settings: VadSettings = DEFAULTS, rate: int = RATE) -> None:
        self._meter, self._noise = FrameLevels(rate), NoiseFloor()
        self._unit = self._meter.size / rate
        self._automaton = VadStateMachine(*self._figures(settings), unit=self._unit)
        self._settings = settings
        self._fixed = settings.threshold
        self._rate = rate
        self._loud = False
        self._held: list[tuple[float, float]] | None = [] if self._fixed is None else None

    def configure(self, settings: VadSettings) -> None:
        """Other settings from now on. Whether the threshold is fixed stays as it was."""
        self._settings = settings
        self._automaton.configure(*self._figures(settings))
        if self._fixed is not None:
            self._fixed = settings.threshold if settings.threshold is not None else self._fixed

    def _figures(self, settings: VadSettings) -> tuple[int, int, int, int]:
        """Attack, lull, hangover and longest, in frames."""
        seconds = (
            settings.attack_ms / 1000, settings.lull_ms / 1000, settings.silence_ms / 1000, settings.longest_seconds
        )  # fmt: skip
        attack, lull, hangover, longest = (max(1, round(length / self._unit)) for length in seconds)
        return attack, lull, hangover, longest

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
    def in_pause(self) -> bool:
        """Whether an utterance has begun and is in a lull: its end, or a pause."""
        return self._automaton.in_lull

    @property
    def hangover_left(self) -> float:
        """Seconds of silence that would end the utterance; 0 where there is none."""
        left = self._settings.silence_ms / 1000 - self._automaton.silence * self._unit
        return max(0.0, left) if self.in_speech else 0.0

    def process(self, samples: Samples) -> list[VadEvent]:
        """The next samples, any number of them, mono, -1..1: what was noticed in them."""
        frames = self._noise.track(self._meter.levels(samples))
        if self._held is None:
            return self._judge(frames)
        return self._hold(self._held, frames) + self._judge(frames)

    def finish(self) -> list[VadEvent]:
        """The audio is over, or somebody knows that the utterance is: what was noticed in what is held back.

        No mark is lost, and none comes twice; nothing is made up, so an utterance may still go on. `feed` may follow.
        """
        return [] if self._held is None else self._release(self._held)

    def _hold(self, held: list[tuple[float, float]], frames: Iterable[tuple[float, float]]) -> list[VadEvent]:
        """Keep frames until noise is known or the first sound is over; then judge them all."""
        marks: list[VadEvent] = []
        for frame in frames:
            held.append(frame)
            if frame[0] > SILENCE and not self._noise.known:
                continue
            marks += self._release(held)
            if self._noise.known:
                self._held = None
                break
        return marks

    def _release(self, held: list[tuple[float, float]]) -> list[VadEvent]:
        """Judge what was held, now."""
        marks = self._judge(held)
        held.clear()
        return [replace(mark, at=self._automaton.now * self._unit) for mark in marks]

    def _judge(self, frames: Iterable[tuple[float, float]]) -> list[VadEvent]:
        """Frames as their own level and the smoothed one."""
        marks: list[VadEvent] = []
        noise, automaton, fixed, loud = self._noise, self._automaton, self._fixed, self._loud
        for level, smooth in frames:
            # Smoothing bridges gaps in speech. It draws clicks out as well, which may not begin or resume by that.
            if smooth < level or (automaton.in_speech and not automaton.silence):
                level = smooth
            loud = level > (fixed if fixed is not None else noise.release if loud else noise.threshold)
            if found := automaton.update(loud):
                marks += found
        self._loud = loud
        return marks
