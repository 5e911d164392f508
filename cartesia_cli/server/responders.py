"""What the local server says in a live session: deltas on the manual endpoint, turns on the auto endpoint.

Audio goes in, block by block; events come out. Both hear where somebody speaks with the one endpointer.
The legal order of events is that of `protocol.events`. Must never wait for a clock: the audio is the clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import log2, log10
from typing import Protocol

from ..audio.pcm import RATE, Samples
from ..audio.vad import Endpointer, VadEvent, VadSettings
from ..protocol import (
    TURN_DEFAULTS,
    Delta,
    Event,
    FlushDone,
    RealtimeOptions,
    TurnConfig,
    TurnEagerEnd,
    TurnEnd,
    TurnResume,
    TurnStart,
    TurnUpdate,
    Word,
    api_error,
)
from .live_recognizer import LiveRecognizer

Say = Callable[[Event], Awaitable[None]]

STEP = RATE // 10
"""Samples that are heard at a time, whatever a client sends in one frame."""

SILENCE_SECONDS = 1.2
"""Silence that ends an utterance on the manual endpoint when no `finalize` came: later than any client's own."""

HALF_LIFE = 0.4
"""Seconds of silence in which the likelihood that a turn goes on halves: a stand-in for the real service's model."""

ATTACK_HALF_LIFE = 0.03
"""Seconds of speech in which the doubt that a turn has begun halves."""


class Responder(Protocol):
    """Either kind."""

    async def audio(self, samples: Samples, *, live: bool) -> None:
        """More audio. `live`: nothing waits behind it, so that there is time for a look at what is being said."""

    async def close(self) -> None:
        """No more audio: say the rest."""


class ManualResponder:
    """The manual endpoint: text since the last delta, settled at `finalize` or after a long silence.

    ear        the utterances
    is_timed   ink-whisper: words with times, and whole utterances at once; otherwise text alone, as it grows
    """

    def __init__(self, recognizer: LiveRecognizer, say: Say, options: RealtimeOptions, *, is_timed: bool) -> None:
        self._recognizer, self._say, self._is_timed, self._language = (
            recognizer,
            say,
            is_timed,
            options.language or "en",
        )
        silence, threshold = SILENCE_SECONDS, None
        if is_timed and options.max_silence_duration_secs is not None:
            silence = options.max_silence_duration_secs
        if is_timed and options.min_volume:
            threshold = 20 * log10(options.min_volume)
        self._endpointer = Endpointer(
            VadSettings(silence_ms=max(200, int(silence * 1000)), threshold=threshold, max_utterance_seconds=3600.0)
        )
        self._settled = 0.0
        self._begun = False

    async def audio(self, samples: Samples, *, live: bool) -> None:
        for at in range(0, len(samples), STEP):
            await self._step(samples[at : at + STEP], live=live)

    async def finalize(self) -> None:
        """The client wants the text of all that it sent; in mid-speech, the utterance goes on."""
        await self._notice_rest()
        if self._endpointer.in_speech and not self._endpointer.in_pause:
            await self._delta(*await self._recognizer.flush())
        else:
            await self._settle(None)
        await self._say(FlushDone())

    async def close(self) -> None:
        await self._notice_rest()
        await self._settle(None)

    async def _step(self, samples: Samples, *, live: bool) -> None:
        recognizer = self._recognizer
        recognizer.push(samples)
        await self._heed(self._endpointer.process(samples), live=live)
        if recognizer.is_open and recognizer.is_full:
            await self._delta(*await recognizer.cut())
        elif live and recognizer.is_due and not self._is_timed and self._endpointer.in_speech:
            await self._delta(await recognizer.partial(), ())

    async def _notice_rest(self) -> None:
        """Heed what the endpointer held back, and say what was overlooked."""
        await self._heed(self._endpointer.finish(), live=False)
        if not self._recognizer.is_open:
            await self._delta(*await self._recognizer.recover_missed())

    async def _heed(self, marks: list[VadEvent], *, live: bool) -> None:
        recognizer = self._recognizer
        for mark in marks:
            match mark.kind:
                case "onset":
                    if not recognizer.is_open:
                        await self._delta(*await recognizer.recover_missed(mark.speech))
                    recognizer.open(mark.speech)
                case "pause" if live and recognizer.is_rested:
                    await recognizer.speculate()
                case "resume" if not recognizer.is_open:  # since a `finalize` in the pause
                    recognizer.open(mark.speech)
                case "resume":
                    recognizer.resume()
                case "end":
                    await self._settle(mark)

    async def _settle(self, end: VadEvent | None) -> None:
        if self._recognizer.is_open:
            await self._delta(*await self._recognizer.settle(end.speech if end else None))

    async def _delta(self, text: str, words: tuple[Word, ...]) -> None:
        if not self._begun:
            text, words = text.lstrip(), tuple(replace(word, word=word.word.lstrip()) for word in words[:1]) + words[1:]
        if not text:
            return
        self._begun = True
        if not self._is_timed:
            await self._say(Delta(text=text))
            return
        heard = self._endpointer.processed_seconds
        duration = round(heard - self._settled, 3)
        await self._say(Delta(text=text, words=words, duration=duration, language=self._language))
        self._settled = heard


class TurnResponder:
    """The auto endpoint: the turn machine, on energy and silence instead of a model of conversation."""

    def __init__(self, recognizer: LiveRecognizer, say: Say, options: RealtimeOptions) -> None:
        self._recognizer, self._say = recognizer, say
        self._turn = _merged(TURN_DEFAULTS, options.turn)
        self._endpointer = Endpointer(_endpointing(self._turn))
        self._eager = self._begun = False
        self._told = ""

    async def audio(self, samples: Samples, *, live: bool) -> None:
        for at in range(0, len(samples), STEP):
            await self._step(samples[at : at + STEP], live=live)

    def configure(self, turn: TurnConfig) -> None:
        """Change turn detection. ApiError where thresholds are out of order."""
        self._turn = _merged(self._turn, turn)
        self._endpointer.configure(_endpointing(self._turn))

    async def close(self) -> None:
        await self._heed(self._endpointer.finish())
        if self._recognizer.is_open:
            await self._end(None)

    async def _step(self, samples: Samples, *, live: bool) -> None:
        recognizer = self._recognizer
        recognizer.push(samples)
        await self._heed(self._endpointer.process(samples))
        if self._eager or not recognizer.is_open:
            return
        if recognizer.is_full:
            await recognizer.cut()
            await self._update()
        elif live and recognizer.is_due:
            await recognizer.partial()
            await self._update()

    async def _heed(self, marks: list[VadEvent]) -> None:
        recognizer = self._recognizer
        for mark in marks:
            match mark.kind:
                case "onset":
                    recognizer.open(mark.speech)
                    await self._say(TurnStart())
                case "pause":
                    await recognizer.speculate()
                    recognizer.commit()
                    if text := self._text():
                        await self._update()
                        await self._say(TurnEagerEnd(transcript=text))
                        self._eager = True
                case "resume":
                    recognizer.resume()
                    await self._resume()
                case "end":
                    await self._end(mark)

    async def _end(self, mark: VadEvent | None) -> None:
        await self._recognizer.settle(mark.speech if mark else None)
        text = self._text()
        if text != self._told and not self._eager:  # nothing may stand between an eager end and the end
            await self._update()
        await self._say(TurnEnd(transcript=text))
        self._begun = self._begun or bool(text)
        self._eager, self._told = False, ""

    async def _update(self) -> None:
        """The text so far. Also where it hasn't grown, or is empty: it says that the speaker is still being heard."""
        self._told = self._text()
        await self._say(TurnUpdate(transcript=self._told))

    async def _resume(self) -> None:
        if self._eager:
            self._eager = False
            await self._say(TurnResume())

    def _text(self) -> str:
        """The turn up to now. The blank that joins it to the turn before it is part of it; the first has none."""
        return self._recognizer.said if self._begun else self._recognizer.said.lstrip()


def _merged(old: TurnConfig, new: TurnConfig) -> TurnConfig:
    """`new` where it says something, else `old`. ApiError unless start > eager end > end (turns)."""
    merged = TurnConfig(**(old.wire() | new.wire()))
    start, eager, end = merged.start_threshold, merged.eager_end_threshold, merged.end_threshold
    assert start is not None and eager is not None and end is not None
    if not 1 > start > eager > end > 0 or (merged.end_timeout_ms or 0) < 0:
        raise api_error(
            400, "Invalid turn thresholds", "start_threshold > eager_end_threshold > end_threshold is needed."
        )
    return merged


def _endpointing(turn: TurnConfig) -> VadSettings:
    """Thresholds of a likelihood as lengths of speech and silence, by its half-lives."""
    start, eager, end, timeout = (
        turn.start_threshold or 0, turn.eager_end_threshold or 0, turn.end_threshold or 0, turn.end_timeout_ms or 0
    )  # fmt: skip
    silence = min(HALF_LIFE * -log2(end), timeout / 1000)
    return VadSettings(
        attack_ms=round(ATTACK_HALF_LIFE * -log2(1 - start) * 1000),
        pause_ms=round(min(HALF_LIFE * -log2(eager), silence - 0.02) * 1000),
        silence_ms=round(silence * 1000),
        max_utterance_seconds=3600.0,
    )
