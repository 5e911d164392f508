"""Where speech begins and ends in a stream of samples, told by its level above the noise.

Pure: samples in, marks out. Seconds are seconds of audio, counted from the first sample ever fed; there is no clock.
Must never filter, hold back or drop audio: it only says what it heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .level import FRAME_SECONDS as FRAME_SECONDS
from .level import SILENCE_DBFS, FrameLevels, NoiseFloor
from .pcm import RATE, Samples


@dataclass(frozen=True, slots=True)
class VadSettings:
    """When an utterance is over.

    silence_ms        silence that ends an utterance, milliseconds
    threshold         level that is speech, dBFS; None: what stands out from the noise
    lull_ms           silence after which speech may be over, milliseconds; no less than silence_ms: no pauses
    attack_ms         speech that it takes to begin or resume, milliseconds; a shorter sound is a click, and silence
    longest_seconds   an utterance is ended then, whatever is heard: above a fixed threshold, noise never ends. In the
                      last fifth of this time the first pause ends it, so that no word is cut where there is a choice
    """

    silence_ms: int = 600
    threshold: float | None = None
    pause_ms: int = 160
    attack_ms: int = 60
    max_utterance_seconds: float = 30.0


DEFAULT_SETTINGS = VadSettings()

EARLY_END_FRACTION = 5
"""The part of the longest utterance, one in so many, in which it waits for a pause to be ended in."""

Kind = Literal["onset", "pause", "resume", "end"]


@dataclass(frozen=True, slots=True)
class VadEvent:
    """Something that was noticed. The order is: onset (pause resume)* [pause] end.

    at       when it was decided, seconds of audio
    speech   onset, resume: where speech began; pause, end: where it stopped. Seconds
    capped   an `end` because the utterance became too long. Where no pause came, an onset follows in the same place
    """

    kind: Kind
    at: float
    speech: float
    capped: bool = False


def utterances(events: Iterable[VadEvent], until: float | None = None) -> list[tuple[float, float]]:
    """Utterances as (beginning, end) in seconds. One that has not ended lasts `until` then; None: it is left out."""
    found, begun = [], None
    for mark in events:
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
    pause       silence that makes a pause
    hangover   silence that makes an end
    longest    an utterance that has lasted this long is ended; in the last fifth of it by the first pause
    unit       seconds in a frame
    """

    def __init__(self, attack: int, pause: int, hangover: int, longest: int, frame_seconds: float = 1.0) -> None:
        self.in_speech = False
        """Whether an utterance has begun and not ended."""
        self.silence = 0
        """Frames since speech stopped within an utterance. Clicks are silence."""
        self.in_pause = False
        """Whether that silence has lasted so long that it is a pause."""
        self._frame_seconds = frame_seconds
        self.configure(attack, pause, hangover, longest)
        self.now = self._speech_run = self._may_end_at = self._must_end_at = 0

    def configure(self, attack: int, pause: int, hangover: int, longest: int) -> None:
        """Other figures from now on; `longest` from the next utterance on."""
        self._attack, self._pause, self._hangover, self._longest = attack, pause, hangover, longest

    def update(self, speech: bool) -> Sequence[VadEvent]:
        """The next frame: what was noticed at its end."""
        self.now += 1
        self._speech_run = self._speech_run + 1 if speech else 0
        if not self.in_speech:
            return () if self._speech_run < self._attack else [self._begin(self.now - self._speech_run)]
        if speech and not self.silence and self.now < self._must_end_at:
            return ()
        marks = []
        if not speech or (self.silence and self._speech_run < self._attack):
            self.silence += 1
            if speech:
                pass  # the beginning of speech, or a click: what this silence is, is known when the sound is over
            elif self.silence >= self._hangover:
                return [self._end()]
            elif self.silence >= self._pause:
                if self.now >= self._may_end_at:
                    return [self._end(capped=True)]
                if not self.in_pause:
                    self.in_pause = True
                    marks.append(self._event("pause", self.now - self.silence))
        else:
            if self.in_pause:
                marks.append(self._event("resume", self.now - self._speech_run))
            self.silence, self.in_pause = 0, False
        if self.now >= self._must_end_at:
            went_on = not self.silence
            marks.append(self._end(capped=True))
            if went_on:
                marks.append(self._begin(self.now))
        return marks

    def _begin(self, frame: int) -> VadEvent:
        self.in_speech = True
        self._must_end_at = frame + self._longest
        self._may_end_at = self._must_end_at - self._longest // EARLY_END_FRACTION
        return self._event("onset", frame)

    def _end(self, *, capped: bool = False) -> VadEvent:
        mark = self._event("end", self.now - self.silence, capped)
        self.in_speech = False
        self.silence, self.in_pause = 0, False
        return mark

    def _event(self, kind: Kind, frame: int, capped: bool = False) -> VadEvent:
        return VadEvent(kind, self.now * self._frame_seconds, frame * self._frame_seconds, capped)


class Endpointer:
    """A stream of samples as marks, the same ones however it is cut into blocks.

    With no fixed threshold, the first third of a second of sound is judged when it is over, since noise is not known
    before; at the end of the audio, `finish` has it judged.
    """

    def __init__(self, settings: VadSettings = DEFAULT_SETTINGS, rate: int = RATE) -> None:
        self._levels, self._noise = FrameLevels(rate), NoiseFloor()
        self._frame_seconds = self._levels.frame_samples / rate
        self._machine = VadStateMachine(*self._frame_counts(settings), frame_seconds=self._frame_seconds)
        self._settings = settings
        self._fixed_threshold = settings.threshold
        self._rate = rate
        self._is_loud = False
        self._undecided: list[tuple[float, float]] | None = [] if self._fixed_threshold is None else None

    def configure(self, settings: VadSettings) -> None:
        """Other settings from now on. Whether the threshold is fixed stays as it was."""
        self._settings = settings
        self._machine.configure(*self._frame_counts(settings))
        if self._fixed_threshold is not None:
            self._fixed_threshold = settings.threshold if settings.threshold is not None else self._fixed_threshold

    def _frame_counts(self, settings: VadSettings) -> tuple[int, int, int, int]:
        """Attack, pause, hangover and longest, in frames."""
        seconds = (
            settings.attack_ms / 1000,
            settings.pause_ms / 1000,
            settings.silence_ms / 1000,
            settings.max_utterance_seconds,
        )
        attack, pause, hangover, longest = (max(1, round(length / self._frame_seconds)) for length in seconds)
        return attack, pause, hangover, longest

    @property
    def processed_seconds(self) -> float:
        """Seconds fed."""
        held = len(self._undecided) if self._undecided else 0
        return ((self._machine.now + held) * self._levels.frame_samples + self._levels.pending.size) / self._rate

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
        return self._noise.threshold if self._fixed_threshold is None else self._fixed_threshold

    @property
    def in_speech(self) -> bool:
        """Whether an utterance has begun and not ended."""
        return self._machine.in_speech

    @property
    def in_pause(self) -> bool:
        """Whether an utterance has begun and is in a pause: its end, or a pause."""
        return self._machine.in_pause

    @property
    def hangover_left(self) -> float:
        """Seconds of silence that would end the utterance; 0 where there is none."""
        left = self._settings.silence_ms / 1000 - self._machine.silence * self._frame_seconds
        return max(0.0, left) if self.in_speech else 0.0

    def process(self, samples: Samples) -> list[VadEvent]:
        """The next samples, any number of them, mono, -1..1: what was noticed in them."""
        frames = self._noise.track(self._levels.levels(samples))
        if self._undecided is None:
            return self._judge(frames)
        return self._buffer_undecided(self._undecided, frames) + self._judge(frames)

    def finish(self) -> list[VadEvent]:
        """The audio is over, or somebody knows that the utterance is: what was noticed in what is held back.

        No mark is lost, and none comes twice; nothing is made up, so an utterance may still go on. `feed` may follow.
        """
        return [] if self._undecided is None else self._judge_undecided(self._undecided)

    def _buffer_undecided(
        self, held: list[tuple[float, float]], frames: Iterable[tuple[float, float]]
    ) -> list[VadEvent]:
        """Keep frames until noise is known or the first sound is over; then judge them all."""
        marks: list[VadEvent] = []
        for frame in frames:
            held.append(frame)
            if frame[0] > SILENCE_DBFS and not self._noise.is_measured:
                continue
            marks += self._judge_undecided(held)
            if self._noise.is_measured:
                self._undecided = None
                break
        return marks

    def _judge_undecided(self, held: list[tuple[float, float]]) -> list[VadEvent]:
        """Judge what was held, now."""
        marks = self._judge(held)
        held.clear()
        return [replace(mark, at=self._machine.now * self._frame_seconds) for mark in marks]

    def _judge(self, frames: Iterable[tuple[float, float]]) -> list[VadEvent]:
        """Frames as their own level and the smoothed one."""
        marks: list[VadEvent] = []
        noise, automaton, fixed, loud = self._noise, self._machine, self._fixed_threshold, self._is_loud
        for level, smooth in frames:
            # Smoothing bridges gaps in speech. It draws clicks out as well, which may not begin or resume by that.
            if smooth < level or (automaton.in_speech and not automaton.silence):
                level = smooth
            loud = level > (fixed if fixed is not None else noise.release if loud else noise.threshold)
            if found := automaton.update(loud):
                marks += found
        self._is_loud = loud
        return marks
