"""One utterance of a live session at a time: its audio, and what has been made of it so far.

The recogniser hears the growing utterance every GLANCE_SECONDS, and once more where speech seems to have
stopped: if it really has, that hearing is the answer, ready before anybody asks for it. Must not know what
an event is, nor who decides where utterances end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np

from ..audio.pcm import RATE, Samples
from .engine import RecognizedWord
from .silence_split import FRAME, quietest
from .stable_text import StableText

Recognise = Callable[[Samples], Awaitable[Sequence[RecognizedWord]]]
"""Samples to words, off the event loop."""

GLANCE_SECONDS = 0.4
"""Audio between two hearings of an utterance that goes on."""

BEFORE, BEHIND = int(0.1 * RATE), int(0.3 * RATE)
"""Samples before an onset and behind the end of speech that belong to an utterance: soft sounds are there. With
0.2 s before the onset instead of 0.1, Moonshine made half as many word errors again.
"""

KEPT_SECONDS = 0.8
"""Audio held while nobody speaks: an onset is known only some time after it."""

PROMINENT, CLEAR = 4.0, 0.6
"""What was taken for no speech is heard where its loudest tenth stands out by so many dB from its softest, and counts
where the words are so sure on the average: noise alone has neither.
"""

WHOLE = 0.5
"""How likely a last word is that is over. In mid-word, Moonshine said an invented one half as often with this."""


class LiveRecognizer:
    """Hears utterances. Positions are samples since the first one ever fed.

    recognise   the recogniser
    longest     seconds of audio that it hears at once; longer utterances are heard in pieces, cut where it is quiet
    kept        seconds of audio that are held while nobody speaks
    """

    def __init__(self, recognise: Recognise, longest: float, kept: float = KEPT_SECONDS) -> None:
        self._recognise, self._longest, self._kept = recognise, int(longest * RATE), int(kept * RATE)
        self._text = StableText()
        self._held: list[Samples] = []
        self._start = self._end = 0
        self._glanced = self._guessed = 0
        self._took = 0.0
        self._guess: tuple[RecognizedWord, ...] | None = None
        self.is_open = False

    def push(self, samples: Samples) -> None:
        self._held.append(samples)
        self._end += len(samples)
        if not self.is_open:
            self._forget(self._end - self._kept)

    def open(self, speech: float) -> None:
        """An utterance began at so many seconds."""
        self._forget(int(speech * RATE) - BEFORE)
        self._text = StableText()
        self._guess = None
        self._glanced = self._guessed = self._start
        self.is_open = True

    @property
    def is_due(self) -> bool:
        """Whether it is time for another glance: not so often that hearing takes all the time there is."""
        return self.is_open and self._end - self._glanced >= max(GLANCE_SECONDS, 1.3 * self._took) * RATE

    @property
    def is_rested(self) -> bool:
        """The same of a guess."""
        return self.is_open and self._end - self._guessed >= 1.3 * self._took * RATE

    @property
    def is_full(self) -> bool:
        return self._end - self._start > self._longest

    @property
    def said(self) -> str:
        """The text of the utterance so far: each value begins with the one before."""
        return self._text.said

    async def partial(self) -> str:
        """What is new in the utterance and certain enough to be said."""
        words = await self._hear(self._end)
        return self._text.update(_spelt(words), [word.probability for word in words])

    async def speculate(self) -> str:
        """Hear it as if it were over, and keep that; the words up to here."""
        self._guessed = self._end
        self._guess = await self._hear(self._end)
        return "".join(_spelt(self._guess))

    def commit(self) -> str:
        """Say what was guessed; the utterance may still go on."""
        return self._text.pause(_spelt(self._guess or ()))

    def resume(self) -> None:
        """It wasn't over."""
        self._guess = None

    async def cut(self) -> tuple[str, tuple[RecognizedWord, ...]]:
        """Settle the first part of an utterance that has grown too long; it goes on behind a quiet place."""
        at = self._start + quietest(self._audio(self._end))
        self._guess = None
        words = await self._hear(at)
        self._forget(at)
        already = self._text.already(_spelt(words))
        return self._text.cut(_spelt(words)), words[already:]

    async def recover_missed(self, onset: float | None = None) -> tuple[str, tuple[RecognizedWord, ...]]:
        """What was said since the last utterance without being taken for speech, up to the next `onset`, in seconds."""
        end = self._end if onset is None else int(onset * RATE) - BEFORE
        words = await self._hear(end) if _stands_out(self._audio(end)) else ()
        odds = [word.probability for word in words if word.probability]
        self._forget(end)
        if odds and sum(odds) < CLEAR * len(odds):
            return "", ()
        return "".join(_spelt(words)), words

    async def settle(self, speech: float | None = None) -> tuple[str, tuple[RecognizedWord, ...]]:
        """The rest of the utterance's text, and the words of it; `speech`: where it ended, in seconds."""
        end = self._end if speech is None else min(self._end, int(speech * RATE) + BEHIND)
        words = await self._hear(end) if self._guess is None else self._guess
        self._guess, self.is_open = None, False
        self._forget(end)
        already = self._text.already(_spelt(words))
        return self._text.settle(_spelt(words)), words[already:]

    async def flush(self) -> tuple[str, tuple[RecognizedWord, ...]]:
        """What was said up to now, in mid-speech: its text that is new, and the words of it.

        The rest of the utterance is heard together with this part, since audio that begins within a word is heard as
        another word. So is a last word that is unlikely: it is one that was cut.
        """
        self._guess = None
        words = await self._hear(self._end)
        if words and 0 < words[-1].probability < WHOLE:
            words = words[:-1]
        already = self._text.already(_spelt(words))
        return self._text.flush(_spelt(words)), words[already:]

    def _audio(self, end: int) -> Samples:
        return np.concatenate([*self._held, np.zeros(0, np.float32)])[: max(0, end - self._start)]

    async def _hear(self, end: int) -> tuple[RecognizedWord, ...]:
        loop = asyncio.get_running_loop()
        began, offset = loop.time(), self._start / RATE
        self._glanced = self._end
        audio = self._audio(end)
        words = await self._recognise(audio) if len(audio) else ()  # nothing is nothing: it need not wait its turn
        self._took = loop.time() - began
        return tuple(_moved(word, offset) for word in words)

    def _forget(self, before: int) -> None:
        """Let go of audio that is older."""
        while self._held and self._start + len(self._held[0]) <= before:
            self._start += len(self._held.pop(0))
        if self._held and self._start < before:
            self._held[0] = self._held[0][before - self._start :]
            self._start = before


def _stands_out(samples: Samples) -> bool:
    """Whether anything in it is louder than the rest, for long enough to be a sound."""
    if len(samples) < BEHIND:
        return False
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    soft, loud = np.percentile(10 * np.log10(np.mean(frames**2, axis=1) + 1e-10), [10, 90])
    return bool(loud - soft > PROMINENT)


def _moved(word: RecognizedWord, offset: float) -> RecognizedWord:
    if word.start is None or word.end is None:
        return word
    return replace(word, start=round(word.start + offset, 3), end=round(word.end + offset, 3))


def _spelt(words: tuple[RecognizedWord, ...]) -> list[str]:
    return [word.word for word in words]
