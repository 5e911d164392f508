"""Recognition of live speech: the audio of one utterance at a time, and its text so far.

The caller asks for a partial result of the growing utterance about every PARTIAL_INTERVAL_SECONDS, and for another one
where speech seems to have ended: if it has, that result is the final one, ready before it is needed. Knows nothing of
events, nor of how the start and end of utterances are found. `benchmarks/live_text.py` measures what a change of the
constants does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..audio.pcm import RATE, Samples
from ..protocol.json_fields import Word
from ..transcript import TEXT_WORD
from .engine import FRAME_SAMPLES, find_quietest
from .live_word_times import LiveWordTimes
from .stable_text import StableText, count_covered

Recognize = Callable[[Samples], Awaitable[Sequence[Word]]]
"""Recognizes samples off the event loop: `EngineExecutor.recognize` for one language."""

RecognizeAfter = Callable[[Sequence[str], Samples], Awaitable[Sequence[Word]]]
"""Recognizes samples that begin with the given words; returns those after them: see `ContinuingEngine`."""

PARTIAL_INTERVAL_SECONDS = 0.4
"""Least audio between two partial results of an utterance."""

AUDIO_PER_RECOGNITION = 1.3
"""Least audio between two results, in seconds for each second that the last one took, its wait for other sessions
included: with less, recognition would fall behind.
"""

LEAD_IN_SAMPLES = int(0.1 * RATE)
"""Samples before an onset that belong to the utterance: soft sounds are there. With 0.2 s, Moonshine made 1.5 times as
many word errors.
"""

TAIL_SAMPLES = int(0.3 * RATE)
"""Samples after the end of speech that belong to the utterance: soft sounds are there, too."""

IDLE_BUFFER_SECONDS = 0.8
"""Audio that is held during silence: an onset is known only some time after it."""

MIN_MISSED_SAMPLES = int(0.3 * RATE)
"""Shortest audio without detected speech that is recognized, if it has MIN_CONTRAST_DB, too."""

MIN_CONTRAST_DB = 4.0
"""How far the loudest tenth of such audio must exceed its softest tenth. Noise alone doesn't."""

MIN_MEAN_PROBABILITY = 0.6
"""Mean probability from which the words in such audio count: those that are recognized in noise alone stay below it.
Here and below, an unknown probability is never too low.
"""

MIN_LAST_PROBABILITY = 0.5
"""If the last word is less likely, the audio probably ended within it: it is left for later. With this limit, Moonshine
invented half as many words there.
"""

MIN_COMMIT_PROBABILITY = 0.6
"""Text with a less likely word is not committed in a pause, where speech may go on: with more audio, two of three such
words became others.
"""

MIN_PART_SECONDS = 2.0
"""Shortest first part of an utterance that is too long."""

MAX_CONTEXT_SECONDS = 8.0
"""Longest earlier audio that is recognized again together with what follows. Words are less often misheard then: in
white noise, 36 % without earlier audio, 30 % with limits of 5 and 8 s, 25 % with these. Known words take hardly any
time.
"""

MAX_WITH_CONTEXT_SECONDS = 12.0
"""Longest audio that is recognized together: the earlier one and what follows."""


class NewText(NamedTuple):
    """Text that was not returned before, and its words."""

    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in an utterance.

    end     where the audio after it begins, in samples since the first one
    words   the words before it in the audio that is held, as they were recognized in the pause
    """

    end: int
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """What was said before an utterance or a part of one, however long ago: its audio, and its words."""

    audio: Samples
    words: Sequence[str]


class LiveRecognizer:
    """Recognizes utterances one after the other. Times are seconds since the first sample that was ever pushed.

    `push` adds audio, `open` begins an utterance. These recognize what there is:

    recognize_partial   during speech: returns new text that is certain enough
    speculate           in a pause: keeps the result, since the utterance may be over
    flush               at a `finalize`: returns all new text up to now; the utterance goes on
    cut                 when `is_too_long`: returns the rest of the text of its first part; the second one goes on
    settle              at the end of the utterance: returns the rest of its text
    recover_missed      between utterances: returns the text of speech that wasn't detected

    After `speculate`, `commit` adds what it kept to `text`, if it is certain enough, and `resume` has to be called if
    speech goes on.

    recognize             recognizes samples
    recognize_after       the same after known words; None with an engine that can't
    longest_seconds       audio that is recognized at once; longer utterances have to be cut
    idle_buffer_seconds   audio that is held during silence
    times                 times the words of all text that is returned, for `take_timed_words`; None: they aren't timed
    has_partials          False with an engine that is too slow for them: `is_partial_due` is never true
    is_open               whether there is an utterance
    """

    def __init__(
        self,
        recognize: Recognize,
        longest_seconds: float,
        idle_buffer_seconds: float = IDLE_BUFFER_SECONDS,
        times: LiveWordTimes | None = None,
        *,
        recognize_after: RecognizeAfter | None = None,
        has_partials: bool = True,
    ) -> None:
        self._recognize, self._recognize_after, self._has_partials = recognize, recognize_after, has_partials
        self._longest, self._idle_buffer = int(longest_seconds * RATE), int(idle_buffer_seconds * RATE)
        self._text = StableText()
        self._times, self._timed_length = times, 0  # characters of the text that were passed to `times`
        self._blocks: list[Samples] = []
        self._start = self._end = 0  # of the blocks, in samples since the first one
        self._recognized_at = self._speculated_at = 0
        self._recognition_seconds = 0.0
        self._speculation: tuple[Word, ...] | None = None
        self._pauses: list[Pause] = []  # in the audio that is held
        self._context: Context | None = None
        self.is_open = False

    def push(self, samples: Samples) -> None:
        """Add audio, in an utterance or between two."""
        self._blocks.append(samples)
        self._end += len(samples)
        if not self.is_open:
            self._discard_before(self._end - self._idle_buffer)

    def open(self, onset: float) -> None:
        """Begin an utterance, whose speech began at `onset`. The one before must have been settled."""
        self._discard_before(int(onset * RATE) - LEAD_IN_SAMPLES)
        self._text, self._timed_length = StableText(), 0
        self._speculation = None
        self._pauses.clear()
        self._recognized_at = self._speculated_at = self._start
        self.is_open = True

    @property
    def is_partial_due(self) -> bool:
        """Whether it is time for another partial result."""
        interval = max(PARTIAL_INTERVAL_SECONDS, AUDIO_PER_RECOGNITION * self._recognition_seconds)
        return self._has_partials and self.is_open and self._end - self._recognized_at >= interval * RATE

    @property
    def may_speculate(self) -> bool:
        """Whether it isn't too early for another speculation: see AUDIO_PER_RECOGNITION."""
        return (
            self.is_open and self._end - self._speculated_at >= AUDIO_PER_RECOGNITION * self._recognition_seconds * RATE
        )

    @property
    def is_too_long(self) -> bool:
        """Whether there is more audio than can be recognized at once."""
        return self._end - self._start > self._longest

    @property
    def text(self) -> str:
        """The text of the utterance that was returned or committed so far: each value begins with the one before."""
        return self._text.text

    async def recognize_partial(self) -> str:
        """Recognize the utterance so far; returns the new text that is certain enough."""
        words = await self._recognize_until(self._end, in_context=True)
        return self._text.update(_texts(words), self._recognized_at, [word.probability for word in words])

    async def speculate(self) -> None:
        """Recognize the utterance as if it were over, and keep the result for `commit` or `settle`."""
        self._speculated_at = self._end
        words = self._speculation = await self._recognize_until(self._end, in_context=True)
        if self._times is not None:
            rest = "".join(_texts(words[self._text.count_emitted(_texts(words)) :]))
            text = self._text.text[self._timed_length :] + rest
            self._times.prepare(text, words, self._audio(self._end), self._start / RATE)

    def commit(self) -> bool:
        """Add what was speculated to `text`; the utterance may still go on. False, and nothing is added, if a new word
        is too uncertain.
        """
        words = self._speculation or ()
        new = words[self._text.count_emitted(_texts(words)) :]
        if any(_is_less_likely(word, MIN_COMMIT_PROBABILITY) for word in new):
            return False
        self._text.pause(_texts(words), self._speculated_at)
        return True

    def resume(self, onset: float) -> None:
        """Go on after a pause, since speech resumed at `onset`: what was speculated wasn't all of the utterance."""
        if self._speculation is not None:
            self._pauses.append(Pause(int(onset * RATE) - LEAD_IN_SAMPLES, self._speculation))
        self._speculation = None

    async def cut(self) -> NewText:
        """End the first part of an utterance that is too long; returns the rest of its text.

        The second part begins after a pause or, if there was none, where it is quietest.
        """
        self._speculation = None
        at, words = await self._choose_cut()
        self._keep_context(words, at)
        new = self._emit(self._text.cut, words, at)
        self._pauses = [
            Pause(pause.end, pause.words[count_covered(_texts(words), _texts(pause.words)) :])
            for pause in self._pauses
            if pause.end > at
        ]
        self._discard_before(at)
        return new

    async def _choose_cut(self) -> tuple[int, tuple[Word, ...]]:
        """The sample at which the second part of an utterance that is too long begins, and the words before it."""
        middle, earliest = (self._start + self._end) // 2, self._start + int(MIN_PART_SECONDS * RATE)
        pauses = [pause for pause in self._pauses if pause.end >= earliest]
        if pauses:
            pause = next((pause for pause in pauses if pause.end >= middle), pauses[-1])
            return pause.end, pause.words
        at = self._start + find_quietest(self._audio(self._end))
        return at, await self._recognize_until(at)

    async def recover_missed(self, onset: float | None = None) -> NewText:
        """Recognize speech that was missed since the last utterance, up to the next `onset`."""
        end = self._end if onset is None else int(onset * RATE) - LEAD_IN_SAMPLES
        words = await self._recognize_until(end) if _has_contrast(self._audio(end)) else ()
        probabilities = [word.probability for word in words if word.probability is not None]
        audio, offset = self._audio(end), self._start / RATE
        self._discard_before(end)
        if probabilities and sum(probabilities) < MIN_MEAN_PROBABILITY * len(probabilities):
            return NewText("", ())
        text = "".join(_texts(words))
        if self._times is not None:
            self._times.add(text, words, audio, offset)
        return NewText(text, words)

    async def settle(self, offset: float | None = None) -> NewText:
        """End the utterance, whose speech ended at `offset` or with the audio; returns the rest of its text."""
        end = self._end if offset is None else min(self._end, int(offset * RATE) + TAIL_SAMPLES)
        words = await self._recognize_until(end, in_context=True) if self._speculation is None else self._speculation
        self._speculation, self.is_open = None, False
        self._keep_context(words, end)
        new = self._emit(self._text.settle, words, end)
        self._discard_before(end)
        return new

    async def flush(self) -> NewText:
        """Recognize the utterance up to now, in a pause or in mid-speech; returns the new text. The utterance goes on.

        Its rest is recognized together with this part, since audio that begins within a word is recognized as another
        word. So is an unlikely last word, which is not returned.
        """
        words = self._speculation
        if words is None:
            words = await self._recognize_until(self._end, in_context=True)
            if words and _is_less_likely(words[-1], MIN_LAST_PROBABILITY):
                words = words[:-1]
        return self._emit(self._text.flush, words, self._end)

    async def take_timed_words(self) -> tuple[Word, ...]:
        """The words of the text since they were taken the last time, with times; none if they aren't timed."""
        return () if self._times is None else await self._times.take()

    def _keep_context(self, words: tuple[Word, ...], end: int) -> None:
        """Keep what ends at the sample `end`, or what of it is after a pause, to recognize the next audio with it."""
        self._context = None
        for pause in [Pause(self._start, ()), *self._pauses]:  # as if one preceded the first word
            texts = _texts(words[count_covered(_texts(pause.words), _texts(words)) :])
            if texts and end - pause.end <= MAX_CONTEXT_SECONDS * RATE:
                self._context = Context(self._audio(end)[pause.end - self._start :], texts)
                return

    def _emit(self, emit: Callable[[Sequence[str]], str], words: tuple[Word, ...], end: int) -> NewText:
        """What `emit`, a method of `_text`, emits of words that end at the sample `end`. Begins to time them, too."""
        emitted = self._text.count_emitted(_texts(words))
        new = emit(_texts(words))
        if self._times is not None:
            text = self._text.text[self._timed_length :]
            if beyond := self._text.beyond:  # words that are said after `end`
                text = "".join(TEXT_WORD.findall(text)[:-beyond])
            self._timed_length += len(text)
            self._times.add(text, words, self._audio(end), self._start / RATE)
        return NewText(new, words[emitted:])

    def _audio(self, end: int) -> Samples:
        """What is held of the audio before the sample `end`."""
        return np.concatenate([*self._blocks, np.zeros(0, np.float32)])[: max(0, end - self._start)]

    async def _recognize_until(self, end: int, *, in_context: bool = False) -> tuple[Word, ...]:
        """The words of the audio up to the sample `end`, with times in the whole stream.

        in_context   whether to recognize it together with the context, directly after it, if both aren't too long
        """
        loop = asyncio.get_running_loop()
        started, start = loop.time(), self._start
        self._recognized_at = self._end
        audio = self._audio(end)
        words: Sequence[Word] = ()
        before, longest = self._context if in_context else None, MAX_WITH_CONTEXT_SECONDS * RATE
        if before and self._recognize_after and 0 < len(audio) <= longest - len(before.audio):
            words = await self._recognize_after(before.words, np.concatenate([before.audio, audio]))
            start -= len(before.audio)
        if not words and len(audio):  # no audio needn't wait for the engine
            words, start = await self._recognize(audio), self._start
        self._recognition_seconds = loop.time() - started
        return tuple(_shift_word(word, start / RATE) for word in words)

    def _discard_before(self, position: int) -> None:
        """Drop audio that is older than this sample."""
        while self._blocks and self._start + len(self._blocks[0]) <= position:
            self._start += len(self._blocks.pop(0))
        if self._blocks and self._start < position:
            self._blocks[0] = self._blocks[0][position - self._start :]
            self._start = position


def _has_contrast(samples: Samples) -> bool:
    """Whether the loudest tenth of the frames is MIN_CONTRAST_DB above the softest tenth; False of shorter audio than
    MIN_MISSED_SAMPLES.
    """
    if len(samples) < MIN_MISSED_SAMPLES:
        return False
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    soft, loud = np.percentile(10 * np.log10(np.mean(frames**2, axis=1) + 1e-10), [10, 90])
    return bool(loud - soft > MIN_CONTRAST_DB)


def _is_less_likely(word: Word, probability: float) -> bool:
    return word.probability is not None and word.probability < probability


def _shift_word(word: Word, offset: float) -> Word:
    if word.start is None or word.end is None:
        return word
    return word._replace(start=round(word.start + offset, 3), end=round(word.end + offset, 3))


def _texts(words: Sequence[Word]) -> list[str]:
    return [word.word for word in words]
