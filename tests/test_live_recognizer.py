"""Recognition of live speech: each word is emitted once and in order, however often its audio is recognized."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.server.live_recognizer import PARTIAL_INTERVAL_SECONDS, LiveRecognizer
from tests.simulated_time import SimulatedTimeLoop

WORD, SOUND = RATE * 6 // 10, RATE // 4
"""Samples of a word, and those of them that sound: a level of its own. The rest is quiet, long enough for a cut."""


def spoken(count: int) -> Samples:
    """Words 1 to `count`."""
    sound = np.repeat(np.arange(1, count + 1) / 1000, WORD).astype(np.float32)
    sound.reshape(-1, WORD)[:, SOUND:] = 0
    return sound


async def recognize(samples: Samples) -> tuple[Word, ...]:
    """Words of which at least a third is there; in the middle of one at the end, another."""
    found: list[Word] = []
    levels = np.rint(samples * 1000).astype(int)
    for level in dict.fromkeys(levels[levels > 0].tolist()):
        heard = int((levels == level).sum())
        if heard > SOUND // 3:
            found.append(Word(f" {level}" if heard > SOUND // 2 else " hm"))
    return tuple(found)


@pytest.mark.parametrize("longest", [4.0, 7.3, 12.0])
@pytest.mark.parametrize("count", [3, 30, 100])
async def test_words_of_a_long_utterance_are_emitted_once_in_order(longest: float, count: int) -> None:
    recognizer, deltas, glanced = LiveRecognizer(recognize, longest), list[str](), 0
    recognizer.open(0.0)
    sound = spoken(count)
    for at in range(0, len(sound), RATE // 10):
        recognizer.push(sound[at : at + RATE // 10])
        if recognizer.is_too_long:
            deltas.append((await recognizer.cut()).text)
        elif recognizer.is_partial_due:
            glanced += 1
            deltas.append(await recognizer.recognize_partial())
    assert glanced >= len(sound) / RATE / PARTIAL_INTERVAL_SECONDS / 2
    deltas.append((await recognizer.settle()).text)
    said = recognizer.text
    assert said == "".join(f" {number}" for number in range(1, count + 1))
    assert "".join(deltas) == said
    if count == 100:
        assert max(map(len, deltas)) < 30  # it grows, and does not come all at once


@pytest.mark.parametrize(("recognition_seconds", "latest"), [(0.1, 2.0), (0.6, 2.5), (1.2, 3.3)])
def test_first_text_waits_for_audio_and_not_for_a_number_of_results(recognition_seconds: float, latest: float) -> None:
    """A slow engine has fewer results in the same time."""

    async def slowly(samples: Samples) -> tuple[Word, ...]:
        await asyncio.sleep(recognition_seconds)
        return await recognize(samples)

    async def first_text_at() -> float:
        recognizer, sound = LiveRecognizer(slowly, 12.0), spoken(10)
        recognizer.open(0.0)
        for at in range(0, len(sound), RATE // 10):
            recognizer.push(sound[at : at + RATE // 10])
            if recognizer.is_partial_due and await recognizer.recognize_partial():
                return (at + RATE // 10) / RATE
        raise AssertionError

    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        assert runner.run(first_text_at()) <= latest


async def test_speculation_is_reused_unless_speech_resumes() -> None:
    calls = 0

    async def counting(samples: Samples) -> tuple[Word, ...]:
        nonlocal calls
        calls += 1
        return await recognize(samples)

    recognizer = LiveRecognizer(counting, 12.0)
    recognizer.open(0.0)
    sound = spoken(4)
    recognizer.push(sound[: 2 * WORD])
    await recognizer.speculate()
    recognizer.resume(2 * WORD / RATE)
    recognizer.push(sound[2 * WORD :])
    await recognizer.speculate()
    before = calls
    recognizer.push(np.zeros(RATE // 2, np.float32))
    text, _ = await recognizer.settle(4 * WORD / RATE)
    assert calls == before
    assert (text, recognizer.text) == (" 1 2 3 4", " 1 2 3 4")


async def test_word_times_count_from_stream_start() -> None:
    async def timed(samples: Samples) -> tuple[Word, ...]:
        return (Word(" x", 0.1, 0.2),)

    recognizer = LiveRecognizer(timed, 12.0)
    recognizer.push(np.zeros(5 * RATE, np.float32))
    recognizer.open(4.6)
    recognizer.push(np.full(RATE, 0.1, np.float32))
    (word,) = (await recognizer.settle()).words
    assert word.start == pytest.approx(4.6, abs=0.01)


async def test_long_utterance_is_cut_in_a_pause_without_another_recognition() -> None:
    lengths: list[int] = []

    async def noting(samples: Samples) -> tuple[Word, ...]:
        lengths.append(len(samples))
        return await recognize(samples)

    recognizer, sound = LiveRecognizer(noting, 5.0), spoken(10)
    recognizer.open(0.0)
    recognizer.push(sound[: 5 * WORD])
    await recognizer.speculate()
    recognizer.resume(5 * WORD / RATE)
    recognizer.push(sound[5 * WORD :])
    assert recognizer.is_too_long
    text, _ = await recognizer.cut()
    assert (text, len(lengths)) == (" 1 2 3 4 5", 1)
    assert text + (await recognizer.settle()).text == " 1 2 3 4 5 6 7 8 9 10"
    assert lengths[-1] == pytest.approx(5 * WORD, abs=RATE // 5)  # the second part alone


def test_uncertain_text_is_not_emitted_in_a_pause() -> None:
    async def listen(probability: float | None) -> tuple[bool, str, str]:
        async def unsure(samples: Samples) -> tuple[Word, ...]:
            return (Word(" ensure", probability=probability), Word(" the", probability=0.9))

        recognizer = LiveRecognizer(unsure, 8.0)
        recognizer.open(0.0)
        recognizer.push(spoken(2))
        await recognizer.speculate()
        return recognizer.commit(), recognizer.text, (await recognizer.settle()).text

    assert asyncio.run(listen(0.4)) == (False, "", " ensure the")
    assert asyncio.run(listen(0.9)) == (True, " ensure the", "")
    assert asyncio.run(listen(None)) == (True, " ensure the", "")  # an engine without probabilities


def settled_texts(*seconds: float, after: Sequence[str]) -> tuple[list[str], list[tuple[Sequence[str], float]]]:
    """Texts of utterances that long, and what was recognized after known words: these, and the seconds of audio.

    after   what is recognized after known words
    """
    calls: list[tuple[Sequence[str], float]] = []

    async def hear(samples: Samples) -> tuple[Word, ...]:
        return (Word(" alone"),)

    async def hear_after(known: Sequence[str], samples: Samples) -> tuple[Word, ...]:
        calls.append((known, len(samples) / RATE))
        return tuple(map(Word, after))

    async def listen() -> list[str]:
        recognizer, texts, position = LiveRecognizer(hear, 8.0, recognize_after=hear_after), [], 0.0
        for length in seconds:
            recognizer.open(position)
            recognizer.push(np.full(int(length * RATE), 0.1, np.float32))
            texts.append((await recognizer.settle()).text)
            recognizer.push(np.zeros(RATE, np.float32))
            position += length + 1
        return texts

    return asyncio.run(listen()), calls


def test_utterance_is_recognized_with_the_one_before_it() -> None:
    texts, calls = settled_texts(1.5, 2, after=[" Please", " wait."])
    assert texts == [" alone", " Please wait."]
    assert calls == [([" alone"], 3.6)]  # 0.1 s before the second one


def test_utterance_in_which_nothing_is_recognized_after_the_one_before_is_recognized_alone() -> None:
    assert settled_texts(1.5, 2, after=[])[0] == [" alone", " alone"]


def test_long_utterances_are_not_recognized_together() -> None:
    assert settled_texts(9, 1, after=[" after"]) == ([" alone", " alone"], [])
    assert settled_texts(6, 7, after=[" after"]) == ([" alone", " alone"], [])


async def test_only_the_part_after_a_pause_of_a_long_utterance_is_recognized_with_the_next_one() -> None:
    calls: list[tuple[Sequence[str], float]] = []

    async def hear(samples: Samples) -> tuple[Word, ...]:
        return tuple(map(Word, [" first", " part,", " second"][: len(samples) // (3 * RATE)]))

    async def hear_after(known: Sequence[str], samples: Samples) -> tuple[Word, ...]:
        calls.append((known, len(samples) / RATE))
        return (Word(" next"),)

    recognizer = LiveRecognizer(hear, 8.0, recognize_after=hear_after)
    recognizer.open(0.0)
    recognizer.push(np.full(7 * RATE, 0.1, np.float32))
    await recognizer.speculate()
    recognizer.resume(7.1)
    recognizer.push(np.full(2 * RATE, 0.1, np.float32))
    await recognizer.settle()
    recognizer.open(9.0)
    recognizer.push(np.full(RATE, 0.1, np.float32))
    assert (await recognizer.settle()).text == " next"
    assert calls == [([" second"], 3.0)]


async def test_words_recognized_after_others_have_times_in_the_whole_stream() -> None:
    async def hear(samples: Samples) -> tuple[Word, ...]:
        return (Word(" one", 0.5, 1.0),)

    async def hear_after(known: Sequence[str], samples: Samples) -> tuple[Word, ...]:
        return (Word(" two", 2.5, 3.0),)

    recognizer = LiveRecognizer(hear, 8.0, recognize_after=hear_after)
    for silence, onset in ((0.0, 0.0), (10.1, 12.1)):
        recognizer.push(np.zeros(round(silence * RATE), np.float32))
        recognizer.open(onset)
        recognizer.push(np.full(2 * RATE, 0.1, np.float32))
        _, (word,) = await recognizer.settle()
    assert (word.word, word.start, word.end) == (" two", 12.5, 13.0)
