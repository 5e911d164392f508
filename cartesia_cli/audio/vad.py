"""Voice activity detection: where speech begins, pauses and ends in a stream of samples, by its level above the noise.

Pure: samples in, events out. Times are seconds of audio since the first sample; no clock is read. Must never filter,
delay or drop audio: it only reports.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from .level import FRAME_SECONDS as FRAME_SECONDS
from .level import SILENCE_DBFS, FrameLevels, NoiseFloor
from .pcm import RATE, Samples


@dataclass(frozen=True, slots=True)
class VadSettings:
    """When an utterance begins and ends.

    silence_ms              silence that ends an utterance
    threshold               level above which sound is speech, dBFS; None: adapts to the noise
    pause_ms                silence that is reported as a pause; at silence_ms or more, there are no pauses
    attack_ms               speech that begins or resumes an utterance; shorter sounds are clicks, and count as silence
    max_utterance_seconds   hard limit, since an utterance would never end in constant noise above a fixed threshold. In
                            the last fifth of this time, the first pause ends it, to avoid cutting a word
    """

    silence_ms: int = 600
    threshold: float | None = None
    pause_ms: int = 160
    attack_ms: int = 60
    max_utterance_seconds: float = 30.0


DEFAULT_SETTINGS = VadSettings()

EARLY_END_DIVISOR = 5
"""An utterance may end at a pause in the last 1/EARLY_END_DIVISOR of its maximum length."""

NOISY_FLOOR_DBFS = -50.0
"""Level of noise above which a detector decides what is speech, if there is one, and NOISY_CONTRAST_DB says so, too."""

NOISY_CONTRAST_DB = 26.0
"""How far speech must be above the noise to be told from it by its level."""

SPEECH_PROBABILITY = 0.5
"""Probability of a detector above which speech begins (Silero's own figure, as the next one)."""

RELEASE_PROBABILITY = 0.35
"""The probability at which it ends."""

Kind = Literal["onset", "pause", "resume", "end"]


@dataclass(frozen=True, slots=True)
class VadEvent:
    """A change of state. The Endpointer's order is: onset (pause resume)* [pause] end.

    at       when the change was detected, seconds of audio
    speech   where speech began (onset, resume) or stopped (pause, end), seconds of audio
    capped   whether this is an `end` because the utterance became too long; if that is in mid-speech, an onset follows
             at the same position
    """

    kind: Kind
    at: float
    speech: float
    capped: bool = False


def utterances(events: Iterable[VadEvent], until: float | None = None) -> list[tuple[float, float]]:
    """Utterances as (start, end) in seconds. One that has not ended gets `until` as its end; None leaves it out."""
    found, start = [], None
    for event in events:
        if event.kind == "onset":
            start = event.speech
        elif event.kind == "end" and start is not None:
            found.append((start, event.speech))
            start = None
    if start is not None and until is not None:
        found.append((start, until))
    return found


class VadStateMachine:
    """Turns frames, each speech or not, into events.

    settings        its times are rounded to whole frames, at least one; its threshold isn't used
    frame_seconds   length of a frame
    """

    def __init__(self, settings: VadSettings, frame_seconds: float) -> None:
        self.in_speech = False
        """Whether an utterance has begun and not ended."""
        self.silence = 0
        """Frames since speech stopped within an utterance. Clicks count as silence."""
        self.in_pause = False
        """Whether that silence has lasted long enough to be a pause."""
        self._frame_seconds = frame_seconds
        self.configure(settings)
        self.now = self._speech_run = self._may_end_at = self._must_end_at = 0

    def configure(self, settings: VadSettings) -> None:
        """Change the settings from now on; `max_utterance_seconds` from the next utterance on."""

        def frames(seconds: float) -> int:
            return max(1, round(seconds / self._frame_seconds))

        self._attack, self._pause = frames(settings.attack_ms / 1000), frames(settings.pause_ms / 1000)
        self._end_silence, self._longest = frames(settings.silence_ms / 1000), frames(settings.max_utterance_seconds)

    def update(self, speech: bool) -> Sequence[VadEvent]:
        """Take the next frame; returns the events at its end."""
        self.now += 1
        self._speech_run = self._speech_run + 1 if speech else 0
        if not self.in_speech:
            return () if self._speech_run < self._attack else [self._begin(self.now - self._speech_run)]
        if speech and not self.silence and self.now < self._must_end_at:
            return ()
        events = []
        if not speech or (self.silence and self._speech_run < self._attack):
            self.silence += 1
            if speech:
                pass  # might be a click: undecided until the sound has lasted `attack` frames
            elif self.silence >= self._end_silence:
                return [self._end()]
            elif self.silence >= self._pause:
                if self.now >= self._may_end_at:
                    return [self._end(capped=True)]
                if not self.in_pause:
                    self.in_pause = True
                    events.append(self._event("pause", self.now - self.silence))
        else:
            if self.in_pause:
                events.append(self._event("resume", self.now - self._speech_run))
            self.silence, self.in_pause = 0, False
        if self.now >= self._must_end_at:
            is_speaking = not self.silence
            events.append(self._end(capped=True))
            if is_speaking:
                events.append(self._begin(self.now))
        return events

    def _begin(self, frame: int) -> VadEvent:
        self.in_speech = True
        self._must_end_at = frame + self._longest
        self._may_end_at = self._must_end_at - self._longest // EARLY_END_DIVISOR
        return self._event("onset", frame)

    def _end(self, *, capped: bool = False) -> VadEvent:
        event = self._event("end", self.now - self.silence, capped)
        self.in_speech = False
        self.silence, self.in_pause = 0, False
        return event

    def _event(self, kind: Kind, frame: int, capped: bool = False) -> VadEvent:
        return VadEvent(kind, self.now * self._frame_seconds, frame * self._frame_seconds, capped)


class SpeechDetector(Protocol):
    """A network that tells speech from noise of the same level. The Endpointer asks it in loud noise."""

    def process(self, samples: Samples) -> list[float]:
        """Take the next samples; returns how likely the end of each complete frame of FRAME_SECONDS is speech."""


class Endpointer:
    """Finds where utterances begin and end in a stream of samples, however it is divided into blocks ("endpointing").

    In loud noise, the `detector` decides what is speech, if there is one and the threshold isn't fixed.

    Without a fixed threshold, the first 0.3 s of sound is classified only after it, when the noise is known; at the end
    of the audio, `finish` classifies what is left.
    """

    def __init__(
        self, settings: VadSettings = DEFAULT_SETTINGS, rate: int = RATE, detector: SpeechDetector | None = None
    ) -> None:
        self._detector = detector if settings.threshold is None else None
        self._probabilities: deque[float] = deque()  # of the frames that aren't classified yet
        self._levels, self._noise = FrameLevels(rate), NoiseFloor()
        self._frame_seconds = self._levels.frame_samples / rate
        self._machine = VadStateMachine(settings, self._frame_seconds)
        self._settings = settings
        self._fixed_threshold = settings.threshold
        self._rate = rate
        self._is_speech = False  # of the last classified frame
        self._undecided: list[tuple[float, float]] = []  # frames that wait until the noise is known

    def configure(self, settings: VadSettings) -> None:
        """Change the settings from now on. The threshold stays as it is."""
        self._settings = settings
        self._machine.configure(settings)

    @property
    def processed_seconds(self) -> float:
        """Seconds of audio taken so far."""
        frames = self._machine.now + len(self._undecided)
        return (frames * self._levels.frame_samples + self._levels.pending.size) / self._rate

    @property
    def level(self) -> float:
        """Smoothed level of the last frame, dBFS; SILENCE_DBFS at least."""
        return self._noise.level

    @property
    def floor(self) -> float:
        """Level of the noise, dBFS."""
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
        """Whether an utterance has begun and is in a pause, which may become its end."""
        return self._machine.in_pause

    @property
    def end_silence_left(self) -> float:
        """Seconds of silence until the utterance ends; 0 outside utterances."""
        left = self._settings.silence_ms / 1000 - self._machine.silence * self._frame_seconds
        return max(0.0, left) if self.in_speech else 0.0

    def process(self, samples: Samples) -> list[VadEvent]:
        """Take the next samples (mono, -1..1, any number); returns the events in them."""
        frames = self._noise.track(self._levels.levels(samples))
        if self._detector is not None:
            self._probabilities.extend(self._detector.process(samples))
        events: list[VadEvent] = []
        if self._fixed_threshold is None and not self._noise.is_measured:
            events = self._buffer_undecided(frames)
        return events + self._classify(frames)

    def finish(self) -> list[VadEvent]:
        """Classify the buffered frames, at the end of the audio or of an utterance: their events are detected now.

        No event is lost, repeated or invented, so an utterance may still be open. `process` may follow.
        """
        events = self._classify(self._undecided)
        self._undecided.clear()
        return [replace(event, at=self._machine.now * self._frame_seconds) for event in events]

    def _buffer_undecided(self, frames: Iterator[tuple[float, float]]) -> list[VadEvent]:
        """Keep frames until the noise is known or the first sound is over; then classify them all. Leaves the frames
        that follow once the noise is known.
        """
        events: list[VadEvent] = []
        for frame in frames:
            self._undecided.append(frame)
            if frame[0] > SILENCE_DBFS and not self._noise.is_measured:
                continue
            events += self.finish()
            if self._noise.is_measured:
                break
        return events

    def _classify(self, frames: Iterable[tuple[float, float]]) -> list[VadEvent]:
        """Classify frames, each given by its own level and the smoothed one, as speech or not."""
        events: list[VadEvent] = []
        noise, machine, fixed, is_speech = self._noise, self._machine, self._fixed_threshold, self._is_speech
        for level, smooth in frames:
            # Smoothing bridges gaps in speech, but also prolongs clicks, which must not begin or resume an utterance.
            if smooth < level or (machine.in_speech and not machine.silence):
                level = smooth
            probability = self._probabilities.popleft() if self._probabilities else None
            if probability is not None and noise.floor > NOISY_FLOOR_DBFS and noise.contrast < NOISY_CONTRAST_DB:
                is_speech = probability > (RELEASE_PROBABILITY if is_speech else SPEECH_PROBABILITY)
            else:
                is_speech = level > (fixed if fixed is not None else noise.release if is_speech else noise.threshold)
            if found := machine.update(is_speech):
                events += found
        self._is_speech = is_speech
        return events
