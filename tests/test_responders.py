"""What the local server says in a live session, without a socket: audio and commands in, events out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.protocol import Delta, Event, RealtimeOptions, TurnEnd
from cartesia_cli.server import moonshine
from cartesia_cli.server.engine import RecognizedWord
from cartesia_cli.server.live_recognizer import LiveRecognizer
from cartesia_cli.server.responders import ManualResponder, Responder, TurnResponder

from .hurried import Hurried
from .speech import say, silence


async def recognise(samples: Samples) -> Sequence[RecognizedWord]:
    """A word for each half second of sound, begun halves included."""
    halves = [samples[at : at + RATE // 2] for at in range(0, len(samples), RATE // 2)]
    return [RecognizedWord(f" w{n}", n / 2, n / 2 + 0.5) for n, half in enumerate(halves) if np.abs(half).max() > 0.01]


def manual(say: Callable[[Event], Awaitable[None]], *, timed: bool = False, **options: Any) -> ManualResponder:
    asked = RealtimeOptions(model="ink-whisper" if timed else "ink-2", **options)
    return ManualResponder(LiveRecognizer(recognise, 8.0, kept=8.0), say, asked, is_timed=timed)


def auto(say: Callable[[Event], Awaitable[None]]) -> TurnResponder:
    return TurnResponder(LiveRecognizer(recognise, 8.0), say, RealtimeOptions(model="ink-2"))


def said(
    make: Callable[[Callable[[Event], Awaitable[None]]], Responder], *steps: Samples | str, live: bool = False
) -> list[Event]:
    """What a conversation says to audio and to `finalize`, and to `close` in the end."""
    events: list[Event] = []

    async def note(event: Event) -> None:
        events.append(event)

    async def run() -> None:
        conversation = make(note)
        for step in steps:
            if isinstance(step, str):
                assert isinstance(conversation, ManualResponder)
                await conversation.finalize()
            else:
                await conversation.audio(step, live=live)
        await conversation.close()

    asyncio.run(run())
    return events


def word(seconds: float = 0.25) -> Samples:
    """The loudest part of a short word, with no silence around it."""
    spoken = say("No.")
    at = int(np.argmax(np.convolve(spoken**2, np.ones(int(seconds * RATE)), "valid")))
    return spoken[at : at + int(seconds * RATE)]


@pytest.mark.parametrize("live", [False, True])
def test_a_word_that_the_audio_ends_in_is_said_at_the_close(live: bool) -> None:
    assert [event.kind for event in said(manual, word(), live=live)] == ["transcript"]
    turns = said(auto, word(), live=live)
    assert [event.kind for event in turns] == ["turn.start", "turn.update", "turn.end"]
    assert isinstance(turns[-1], TurnEnd) and turns[-1].transcript == "w0"


def test_a_word_that_was_just_said_is_there_at_a_finalize() -> None:
    events = said(manual, word(), "finalize", silence(3), say("She counted the chairs twice."), silence(1))
    assert [event.kind for event in events] == ["transcript", "flush_done", "transcript"]
    assert isinstance(events[0], Delta) and events[0].text == "w0"


def test_nothing_is_said_of_silence() -> None:
    assert said(manual, silence(0.2)) == said(auto, silence(0.2)) == said(manual) == said(auto) == []


@pytest.mark.parametrize(("language", "told"), [(None, "en"), ("fr", "fr")])
def test_ink_whisper_tells_the_language_that_was_asked_for(language: str | None, told: str) -> None:
    (event,) = said(lambda note: manual(note, timed=True, language=language), word(), silence(2))
    assert isinstance(event, Delta) and event.language == told and event.words


def test_the_first_text_begins_without_a_blank_and_so_does_its_first_word() -> None:
    spoken = say("She counted the chairs twice.")
    first, second = (
        event for event in said(lambda note: manual(note, timed=True), spoken, "finalize", spoken)
        if isinstance(event, Delta)
    )  # fmt: skip
    for event in (first, second):
        assert event.words and "".join(one.word for one in event.words) == event.text
    assert (first.text[:2], second.text[:2]) == ("w0", " w")


@pytest.mark.parametrize("options", [{"min_volume": 0.1}, {"max_silence_duration_secs": 0.2}])
def test_what_ink_whisper_takes_for_silence_is_no_matter_for_ink_2(options: dict[str, Any]) -> None:
    spoken = np.concatenate((say("She counted the chairs twice."), silence(0.5)))
    assert said(lambda note: manual(note, **options), spoken, spoken) == said(manual, spoken, spoken)


@pytest.mark.parametrize("ending", [[], ["finalize"]])
def test_no_volume_that_counts_as_silence_keeps_words_from_being_said(ending: list[str]) -> None:
    spoken = say("She counted the chairs twice.")
    events = said(lambda note: manual(note, timed=True, min_volume=1.0), spoken, *ending)
    assert isinstance(events[0], Delta) and len(events[0].words or ()) >= len(spoken) / RATE


def test_what_was_taken_for_noise_before_speech_is_said_before_it() -> None:
    """Threshold 0.3 of full scale: the first sentence is too soft for it, the second isn't."""
    spoken = say("She counted the chairs twice.")
    loud = spoken / np.abs(spoken).max()
    events = said(lambda note: manual(note, timed=True, min_volume=0.3), loud / 8, silence(1), loud)
    words = [one for event in events if isinstance(event, Delta) for one in event.words or ()]
    starts = [one.start for one in words if one.start is not None]
    assert starts == sorted(starts) and starts[0] < 1 and starts[-1] > len(spoken) / RATE + 1


def test_steady_noise_is_not_even_heard() -> None:
    heard: list[Samples] = []

    async def listen(samples: Samples) -> Sequence[RecognizedWord]:
        heard.append(samples)
        return [RecognizedWord(" you")]

    async def run() -> tuple[str, tuple[RecognizedWord, ...]]:
        ear = LiveRecognizer(listen, 8.0, kept=8.0)
        ear.push(np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32))
        return await ear.recover_missed()

    assert (asyncio.run(run()), heard) == (("", ()), [])


@pytest.mark.parametrize(("odds", "text"), [(0.9, " so there"), (0.3, ""), (0.0, " so there")])
def test_what_was_overlooked_is_said_if_the_recogniser_is_sure_or_can_t_tell(odds: float, text: str) -> None:
    async def listen(samples: Samples) -> Sequence[RecognizedWord]:
        return [RecognizedWord(" so", probability=odds), RecognizedWord(" there", probability=odds)]

    async def run() -> str:
        ear = LiveRecognizer(listen, 8.0, kept=8.0)
        ear.push(np.concatenate((silence(1), say("So there."))))
        return (await ear.recover_missed())[0]

    assert asyncio.run(run()) == text


def test_a_slow_recogniser_is_not_asked_at_every_pause() -> None:
    """Four words a pause apart, each hearing as long as all of them: with one at each pause, work would pile up."""
    hearings = 0

    async def slow(samples: Samples) -> Sequence[RecognizedWord]:
        nonlocal hearings
        hearings += 1
        await asyncio.sleep(4.0)
        return await recognise(samples)

    async def run() -> int:
        async def note(event: Event) -> None:
            return

        options = RealtimeOptions(model="ink-whisper")
        conversation = ManualResponder(LiveRecognizer(slow, 25.0, kept=25.0), note, options, is_timed=True)
        await conversation.audio(silence(0.5), live=True)
        for _ in range(4):
            await conversation.audio(np.concatenate((say("No."), silence(0.7))), live=True)
        return hearings

    with asyncio.Runner(loop_factory=Hurried) as runner:
        assert runner.run(run()) == 1


def test_an_update_comes_while_somebody_speaks_even_where_no_word_is_certain_yet() -> None:
    async def run() -> list[Event]:
        events: list[Event] = []

        async def note(event: Event) -> None:
            events.append(event)

        async def mumble(samples: Samples) -> Sequence[RecognizedWord]:
            return [RecognizedWord(f" m{len(samples)}")]

        conversation = TurnResponder(LiveRecognizer(mumble, 8.0), note, RealtimeOptions(model="ink-2"))
        await conversation.audio(say("She counted the chairs twice, and then once more."), live=True)
        return events

    updates = [event for event in asyncio.run(run()) if event.kind == "turn.update"]
    spoken = len(say("She counted the chairs twice, and then once more.")) / RATE
    assert len(updates) >= spoken / 0.7 - 1


@pytest.mark.engine
@pytest.mark.parametrize("sentence", ["Some people believe that the lake has no bottom at all.", "The ferry is late."])
def test_finalize_in_mid_word_adds_no_word(sentence: str) -> None:
    engine = moonshine.load()

    async def recognise(samples: Samples) -> Sequence[RecognizedWord]:
        utterance = engine.start("en")
        utterance.push(samples)
        return utterance.finish()

    def make(note: Callable[[Event], Awaitable[None]]) -> ManualResponder:
        return ManualResponder(
            LiveRecognizer(recognise, 8.0, kept=8.0), note, RealtimeOptions(model="ink-2"), is_timed=False
        )

    spoken, spelt = say(sentence), sentence.split()
    for at in range(RATE // 4, len(spoken), RATE // 3):
        events = said(make, silence(0.5), spoken[:at], "finalize", spoken[at:], silence(1.5))
        heard = "".join(event.text for event in events if isinstance(event, Delta)).split()
        assert len(heard) == len(spelt), f"finalize at {at / RATE:.2f} s: {heard}"
        wrong = [word for word, right in zip(heard, spelt, strict=True) if word.strip(".").lower() not in right.lower()]
        assert len(wrong) <= 1, f"finalize at {at / RATE:.2f} s: {heard}"


def test_what_was_finalized_in_mid_speech_is_not_said_again_and_words_have_their_times() -> None:
    spoken = np.concatenate([word(0.5)] * 3)
    for cut in range(RATE // 5, len(spoken), RATE // 5):
        steps = spoken[:cut], "finalize", spoken[cut:], "finalize", silence(2)
        events = [e for e in said(lambda note: manual(note, timed=True), *steps) if isinstance(e, Delta)]
        words = [one for event in events for one in event.words or ()]
        assert [one.word.strip() for one in words] == ["w0", "w1", "w2"]
        assert all("".join(one.word for one in event.words or ()) == event.text for event in events)


def test_a_cut_word_that_is_unlikely_waits_for_its_rest_but_not_beyond_the_close() -> None:
    async def unsure(samples: Samples) -> Sequence[RecognizedWord]:
        return (
            [RecognizedWord(" whole", probability=0.9), RecognizedWord(" cut", probability=0.2)]
            if np.abs(samples).max() > 0.01
            else []
        )

    def make(note: Callable[[Event], Awaitable[None]]) -> ManualResponder:
        return ManualResponder(
            LiveRecognizer(unsure, 8.0, kept=8.0), note, RealtimeOptions(model="ink-2"), is_timed=False
        )

    events = said(make, word(0.5), "finalize")
    assert [event.text for event in events if isinstance(event, Delta)] == ["whole", " cut"]
