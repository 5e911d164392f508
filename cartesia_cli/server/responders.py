"""What the local server sends in a realtime session: deltas on the manual endpoint, turns on the auto endpoint.

Audio and commands in, events out. Both responders detect speech with the endpointer of `audio.vad` and recognize it
with a LiveRecognizer. The order of events is that of `protocol.events`. Must never wait for a clock: time is counted in
audio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import log2, log10
from typing import Protocol

from ..audio.pcm import RATE, Samples
from ..audio.vad import Endpointer, SpeechDetector, VadEvent, VadSettings
from ..protocol.batch import api_error
from ..protocol.constants import is_whisper
from ..protocol.events import Delta, Event, FlushDone, TurnEagerEnd, TurnEnd, TurnResume, TurnStart, TurnUpdate
from ..protocol.json_fields import Word
from ..protocol.realtime import (
    TURN_DEFAULTS,
    Command,
    Config,
    Finalize,
    RealtimeOptions,
    TurnConfig,
    turn_order_problem,
)
from .live_recognizer import LiveRecognizer

SendEvent = Callable[[Event], Awaitable[None]]

STEP_SAMPLES = RATE // 10
"""Samples that are processed at a time, whatever a client sends in one frame."""

MANUAL_SILENCE_SECONDS = 1.2
"""Silence that ends an utterance on the manual endpoint without a `finalize`: more than clients usually wait."""

MIN_SILENCE_MS = 200
"""Shortest silence that a client may request for the end of an utterance."""

LONGEST_UTTERANCE_SECONDS = 3600.0
"""Effectively unlimited for the endpointer: the recognizer cuts long utterances itself."""

TURN_HALF_LIFE_SECONDS = 0.4
"""Half-life of the probability that the turn continues, during silence: a stand-in for the real service's model."""

ONSET_HALF_LIFE_SECONDS = 0.03
"""Half-life of the probability that no turn has begun, during speech."""


class Responder(Protocol):
    """Turns the audio and commands of a realtime session into events."""

    async def push_audio(self, samples: Samples, *, caught_up: bool) -> None:
        """Process more audio, 16 kHz mono. `caught_up`: nothing is queued after it, so there is time for partials."""

    async def execute(self, command: Command) -> None:
        """Carry out a command of this responder's endpoint. Raises ApiError for values that it refuses."""


class ManualResponder:
    """The manual endpoint: text since the last delta, at `finalize` or after a long silence.

    ink-whisper gets words with times, and each utterance as a whole; other models get text alone, as it grows, and its
    timed words after it, in a delta without text.

    recognizer   recognizes the utterances
    detector     tells speech from loud noise; None: nothing does
    """

    def __init__(
        self, recognizer: LiveRecognizer, send: SendEvent, options: RealtimeOptions, detector: SpeechDetector | None
    ) -> None:
        self._recognizer, self._send = recognizer, send
        self._has_word_times = has_word_times = is_whisper(options.model)
        self._marks_estimates = options.word_timestamps  # whether words have `estimated`, which isn't in the API
        self._language = options.language or "en"
        silence, threshold = MANUAL_SILENCE_SECONDS, None
        if has_word_times and options.max_silence_duration_secs is not None:
            silence = options.max_silence_duration_secs
        if has_word_times and options.min_volume:
            threshold = 20 * log10(options.min_volume)
        self._endpointer = Endpointer(
            VadSettings(
                silence_ms=max(MIN_SILENCE_MS, int(silence * 1000)),
                threshold=threshold,
                max_utterance_seconds=LONGEST_UTTERANCE_SECONDS,
            ),
            detector=detector,
        )
        self._sent_until = 0.0  # seconds of audio
        self._has_sent_text = False

    async def push_audio(self, samples: Samples, *, caught_up: bool) -> None:
        for at in range(0, len(samples), STEP_SAMPLES):
            await self._process(samples[at : at + STEP_SAMPLES], caught_up=caught_up)

    async def execute(self, command: Command) -> None:
        """Send the text of all audio received so far. A `config` changes nothing here.

        After `finalize` the utterance goes on, unless silence ends it: with the words before it, those after it are
        recognized better. With word times, a pause ends it.
        """
        if isinstance(command, Config):
            return
        await self._process_rest()
        if not isinstance(command, Finalize):
            await self._settle(None)
            await self._send_word_times()
            return
        if self._endpointer.in_speech and not (self._has_word_times and self._endpointer.in_pause):
            await self._send_delta(*await self._recognizer.flush())
        else:
            await self._settle(None)
        await self._send_word_times()
        await self._send(FlushDone())

    async def _process(self, samples: Samples, *, caught_up: bool) -> None:
        recognizer = self._recognizer
        recognizer.push(samples)
        await self._handle_vad_events(self._endpointer.process(samples), caught_up=caught_up)
        if recognizer.is_open and recognizer.is_too_long:
            await self._send_delta(*await recognizer.cut())
        elif caught_up and recognizer.is_partial_due and not self._has_word_times and self._endpointer.in_speech:
            await self._send_delta(await recognizer.recognize_partial(), ())

    async def _process_rest(self) -> None:
        """Handle what the endpointer buffered, and send any speech that it missed."""
        await self._handle_vad_events(self._endpointer.finish(), caught_up=False)
        if not self._recognizer.is_open:
            await self._send_delta(*await self._recognizer.recover_missed())

    async def _handle_vad_events(self, events: list[VadEvent], *, caught_up: bool) -> None:
        recognizer = self._recognizer
        for event in events:
            match event.kind:
                case "onset":
                    await self._send_delta(*await recognizer.recover_missed(event.speech))
                    recognizer.open(event.speech)
                case "pause" if caught_up and recognizer.may_speculate:
                    await recognizer.speculate()
                case "resume" if not recognizer.is_open:  # since a `finalize` in the pause
                    recognizer.open(event.speech)
                case "resume":
                    recognizer.resume(event.speech)
                case "end":
                    await self._settle(event)
                    await self._send_word_times()

    async def _settle(self, end: VadEvent | None) -> None:
        if self._recognizer.is_open:
            await self._send_delta(*await self._recognizer.settle(end.speech if end else None))

    async def _send_word_times(self) -> None:
        if words := await self._recognizer.take_timed_words():
            await self._send(Delta(words=words))

    async def _send_delta(self, text: str, words: tuple[Word, ...]) -> None:
        if not self._has_sent_text:
            text, words = text.lstrip(), tuple(word._replace(word=word.word.lstrip()) for word in words[:1]) + words[1:]
        if not text:
            return
        self._has_sent_text = True
        if not self._has_word_times:
            await self._send(Delta(text=text))
            return
        processed = self._endpointer.processed_seconds
        duration = round(processed - self._sent_until, 3)
        words = tuple(word._replace(estimated=word.estimated and self._marks_estimates) for word in words)
        await self._send(Delta(text=text, words=words, duration=duration, language=self._language))
        self._sent_until = processed


class TurnResponder:
    """The auto endpoint: turns, found by level and silence instead of the real service's model of conversation.

    recognizer   recognizes the turns; its timed words are sent with the end of a turn
    detector     tells speech from loud noise; None: nothing does
    """

    def __init__(
        self, recognizer: LiveRecognizer, send: SendEvent, options: RealtimeOptions, detector: SpeechDetector | None
    ) -> None:
        self._recognizer, self._send = recognizer, send
        self._turn = _merge_turn_config(TURN_DEFAULTS, options.turn)
        self._endpointer = Endpointer(_vad_settings(self._turn), detector=detector)
        self._is_eager = False  # whether an eager end was sent, and neither a resume nor the end since
        self._has_sent_text = False
        self._last_update = ""

    async def push_audio(self, samples: Samples, *, caught_up: bool) -> None:
        for at in range(0, len(samples), STEP_SAMPLES):
            await self._process(samples[at : at + STEP_SAMPLES], caught_up=caught_up)

    async def execute(self, command: Command) -> None:
        """Change turn detection, or at `close` end the turn. Raises ApiError if thresholds are out of order."""
        if isinstance(command, Config):
            self._turn = _merge_turn_config(self._turn, command.turn)
            self._endpointer.configure(_vad_settings(self._turn))
            return
        await self._handle_vad_events(self._endpointer.finish())
        if self._recognizer.is_open:
            await self._end(None)

    async def _process(self, samples: Samples, *, caught_up: bool) -> None:
        recognizer = self._recognizer
        recognizer.push(samples)
        await self._handle_vad_events(self._endpointer.process(samples))
        if self._is_eager or not recognizer.is_open:
            return
        if recognizer.is_too_long:
            await recognizer.cut()
            await self._send_update()
        elif caught_up and recognizer.is_partial_due:
            await recognizer.recognize_partial()
            await self._send_update()

    async def _handle_vad_events(self, events: list[VadEvent]) -> None:
        recognizer = self._recognizer
        for event in events:
            match event.kind:
                case "onset":
                    recognizer.open(event.speech)
                    await self._send(TurnStart())
                case "pause":
                    await recognizer.speculate()
                    if recognizer.commit() and (text := self._text()):
                        await self._send_update()
                        await self._send(TurnEagerEnd(transcript=text))
                        self._is_eager = True
                case "resume":
                    recognizer.resume(event.speech)
                    if self._is_eager:
                        self._is_eager = False
                        await self._send(TurnResume())
                case "end":
                    await self._end(event)

    async def _end(self, event: VadEvent | None) -> None:
        await self._recognizer.settle(event.speech if event else None)
        text = self._text()
        if text != self._last_update and not self._is_eager:  # an eager end is followed by a resume or the end
            await self._send_update()
        words = await self._recognizer.take_timed_words()
        await self._send(TurnEnd(transcript=text, words=words or None))
        self._has_sent_text = self._has_sent_text or bool(text)
        self._is_eager, self._last_update = False, ""

    async def _send_update(self) -> None:
        """Send the text so far, even if unchanged or empty, as a sign of ongoing speech."""
        self._last_update = self._text()
        await self._send(TurnUpdate(transcript=self._last_update))

    def _text(self) -> str:
        """The turn's text so far, with the space that separates it from the previous turn; the first turn has none."""
        return self._recognizer.text if self._has_sent_text else self._recognizer.text.lstrip()


def _merge_turn_config(old: TurnConfig, new: TurnConfig) -> TurnConfig:
    """`new` where it has a value, else `old`. Raises ApiError if thresholds are out of order."""
    merged = old.merged(new)
    if (problem := turn_order_problem(merged)) is not None:
        raise api_error(400, "Invalid turn thresholds", f"{problem}.")
    return merged


def _vad_settings(turn: TurnConfig) -> VadSettings:
    """Convert probability thresholds to durations of speech and silence, using the half-lives above."""
    start, eager, end, timeout = (
        turn.start_threshold or 0, turn.eager_end_threshold or 0, turn.end_threshold or 0, turn.end_timeout_ms or 0
    )  # fmt: skip
    silence = min(TURN_HALF_LIFE_SECONDS * -log2(end), timeout / 1000)
    return VadSettings(
        attack_ms=round(ONSET_HALF_LIFE_SECONDS * -log2(1 - start) * 1000),
        pause_ms=round(min(TURN_HALF_LIFE_SECONDS * -log2(eager), silence - 0.02) * 1000),
        silence_ms=round(silence * 1000),
        max_utterance_seconds=LONGEST_UTTERANCE_SECONDS,
    )
