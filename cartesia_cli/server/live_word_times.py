"""Times of the words of live text, which an engine recognizes without them.

Text comes in pieces, each with the audio in which it was said; its words are aligned to that audio in the background.
Nothing waits for it until the words are taken. Must never change the text: the words of all pieces, joined, are that of
all pieces.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..alignment import covering_words, has_words
from ..audio.pcm import RATE, Samples
from ..protocol.json_fields import Word
from ..transcript import TEXT_WORD
from .word_times import TimeSpan, WordSpan, place

Align = Callable[[Sequence[str], Samples], Awaitable[Sequence[TimeSpan | None]]]
"""Aligns words off the event loop: when each is said, in seconds; None for words that can't be placed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of text, and when its words are said.

    beginning   punctuation that belongs to the last word of the piece before
    words       the others, with the spaces before them, and their times if the engine has some
    spans       their times since the beginning of the session's audio
    """

    beginning: str
    words: Sequence[Word]
    spans: asyncio.Task[list[WordSpan]]


class LiveWordTimes:
    """Collects the pieces of a session's text, and times their words."""

    def __init__(self, align: Align) -> None:
        self._align = align
        self._pieces: list[Piece] = []  # not taken yet
        self._last: Piece | None = None
        self._prepared: Piece | None = None
        self._loading = asyncio.ensure_future(align([], np.zeros(0, np.float32)))
        """Loads the aligner, so that the first words don't have to wait for that."""

    def prepare(self, text: str, recognized: Sequence[Word], samples: Samples, offset: float) -> None:
        """Begin with what will probably be added next; see `add`."""
        self._prepared = self._begin(*self._split(text, recognized), samples, offset)

    def add(self, text: str, recognized: Sequence[Word], samples: Samples, offset: float) -> None:
        """Add a piece of text.

        recognized   the engine's words in `samples`; those with times keep them
        samples      audio in which the text was said, and perhaps text of the piece before
        offset       where it begins, in seconds
        """
        prepared, self._prepared = self._prepared, None
        beginning, words = self._split(text, recognized)
        if prepared is not None and _key(prepared.words) == _key(words):
            self._last = Piece(beginning, words, prepared.spans)
        elif text:
            self._last = self._begin(beginning, words, samples, offset)
        else:
            return
        self._pieces.append(self._last)

    async def take(self) -> tuple[Word, ...]:
        """The words of all pieces since they were taken the last time, with their times."""
        pieces, self._pieces = self._pieces, []
        words: list[Word] = []
        for piece in pieces:
            if piece.beginning and words:
                words[-1] = words[-1]._replace(word=words[-1].word + piece.beginning)
            words += [
                Word(word.word, round(span.start, 3), round(span.end, 3), estimated=not span.aligned)
                for word, span in zip(piece.words, await piece.spans, strict=True)
            ]
        return tuple(words)

    def _split(self, text: str, recognized: Sequence[Word]) -> tuple[str, Sequence[Word]]:
        """The beginning and the words of a piece."""
        words: Sequence[Word] = [Word(word) for word in TEXT_WORD.findall(text)]
        beginning = ""
        if self._last is not None and words and not (words[0].word[0].isspace() or has_words(words[0].word)):
            beginning, words = words[0].word, words[1:]
        if any(word.start is not None for word in recognized):
            words = covering_words(text[len(beginning) :], recognized) or words
        if self._last is None and words:  # the first word of a session has no space
            words = [words[0]._replace(word=words[0].word.lstrip()), *words[1:]]
        return beginning, words

    def _begin(self, beginning: str, words: Sequence[Word], samples: Samples, offset: float) -> Piece:
        return Piece(beginning, words, asyncio.ensure_future(self._time(words, samples, offset, self._last)))

    async def _time(
        self, words: Sequence[Word], samples: Samples, offset: float, before: Piece | None
    ) -> list[WordSpan]:
        texts = [word.word.strip() for word in words]
        known = [None if w.start is None or w.end is None else (w.start - offset, w.end - offset) for w in words]
        if any(known):
            placed = zip(words, place(texts, known, samples), strict=True)
            spans = [span._replace(aligned=span.aligned and not word.estimated) for word, span in placed]
        else:
            earlier = await before.spans if before else []
            skipped = max(0, int(((earlier[-1].end if earlier else 0.0) - offset) * RATE))
            samples, offset = samples[skipped:], offset + skipped / RATE
            spans = place(texts, await self._align(texts, samples), samples)
        return [WordSpan(span.start + offset, span.end + offset, span.aligned) for span in spans]


def _key(words: Sequence[Word]) -> list[str]:
    """What the times of words depend on: not on punctuation and case."""
    return [re.sub(r"\W", "", word.word).casefold() for word in words]
