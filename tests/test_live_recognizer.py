"""The ear of a live session: whatever is heard how often, in however many pieces, is said once and in order."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.server.engine import RecognizedWord
from cartesia_cli.server.live_recognizer import GLANCE_SECONDS, LiveRecognizer

WORD, SOUND = RATE * 6 // 10, RATE // 4
"""Samples of a word, and those of them that sound: a level of its own. The rest is quiet, long enough for a cut."""


def spoken(count: int) -> Samples:
    """Words 1 to `count`."""
    sound = np.repeat(np.arange(1, count + 1) / 1000, WORD).astype(np.float32)
    sound.reshape(-1, WORD)[:, SOUND:] = 0
    return sound


async def recognise(samples: Samples) -> tuple[RecognizedWord, ...]:
    """Words of which at least a third is there; in the middle of one at the end, another."""
    found: list[RecognizedWord] = []
    levels = np.rint(samples * 1000).astype(int)
    for level in dict.fromkeys(levels[levels > 0].tolist()):
        heard = int((levels == level).sum())
        if heard > SOUND // 3:
            found.append(RecognizedWord(f" {level}" if heard > SOUND // 2 else " hm"))
    return tuple(found)


@pytest.mark.parametrize("longest", [4.0, 7.3, 12.0])
@pytest.mark.parametrize("count", [3, 30, 100])
def test_every_word_of_a_long_utterance_is_said_once_and_in_order(longest: float, count: int) -> None:
    async def listen() -> tuple[str, list[str]]:
        ear, deltas, glanced = LiveRecognizer(recognise, longest), list[str](), 0
        ear.open(0.0)
        sound = spoken(count)
        for at in range(0, len(sound), RATE // 10):
            ear.push(sound[at : at + RATE // 10])
            if ear.is_full:
                deltas.append((await ear.cut())[0])
            elif ear.is_due:
                glanced += 1
                deltas.append(await ear.partial())
        assert glanced >= len(sound) / RATE / GLANCE_SECONDS / 2
        deltas.append((await ear.settle())[0])
        return ear.said, deltas

    said, deltas = asyncio.run(listen())
    assert said == "".join(f" {number}" for number in range(1, count + 1))
    assert "".join(deltas) == said
    if count == 100:
        assert max(map(len, deltas)) < 30  # it grows, and does not come all at once


def test_a_guess_is_the_answer_unless_the_speaker_goes_on() -> None:
    calls = 0

    async def counting(samples: Samples) -> tuple[RecognizedWord, ...]:
        nonlocal calls
        calls += 1
        return await recognise(samples)

    async def listen() -> tuple[str, str]:
        ear = LiveRecognizer(counting, 12.0)
        ear.open(0.0)
        sound = spoken(4)
        ear.push(sound[: 2 * WORD])
        await ear.speculate()
        ear.resume()
        ear.push(sound[2 * WORD :])
        await ear.speculate()
        before = calls
        ear.push(np.zeros(RATE // 2, np.float32))
        text, _ = await ear.settle(4 * WORD / RATE)
        assert calls == before
        return text, ear.said

    assert asyncio.run(listen()) == (" 1 2 3 4", " 1 2 3 4")


def test_word_times_count_from_the_start_of_the_stream() -> None:
    async def timed(samples: Samples) -> tuple[RecognizedWord, ...]:
        return (RecognizedWord(" x", 0.1, 0.2),)

    async def listen() -> tuple[RecognizedWord, ...]:
        ear = LiveRecognizer(timed, 12.0)
        ear.push(np.zeros(5 * RATE, np.float32))
        ear.open(4.6)
        ear.push(np.full(RATE, 0.1, np.float32))
        return (await ear.settle())[1]

    (word,) = asyncio.run(listen())
    assert word.start == pytest.approx(4.6, abs=0.01)
