"""What the local server sends in a realtime session, without a socket: audio and commands in, events out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.protocol.events import Delta, Event, TurnEnd
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.realtime import Close, Finalize, RealtimeOptions
from cartesia_cli.server import moonshine
from cartesia_cli.server.live_recognizer import LiveRecognizer
from cartesia_cli.server.live_word_times import LiveWordTimes
from cartesia_cli.server.responders import ManualResponder, Responder, TurnResponder
from cartesia_cli.server.word_times import TimeSpan

from .simulated_time import SimulatedTimeLoop
from .speech import say, silence


async def recognize(samples: Samples) -> Sequence[Word]:
    """A word for each half second of sound, begun halves included."""
    halves = [samples[at : at + RATE // 2] for at in range(0, len(samples), RATE // 2)]
    return [Word(f" w{n}", n / 2, n / 2 + 0.5) for n, half in enumerate(halves) if np.abs(half).max() > 0.01]


def manual(say: Callable[[Event], Awaitable[None]], *, timed: bool = False, **options: Any) -> ManualResponder:
    asked = RealtimeOptions(model="ink-whisper" if timed else "ink-2", **options)
    return ManualResponder(LiveRecognizer(recognize, 8.0, idle_buffer_seconds=8.0), say, asked, None)


def auto(say: Callable[[Event], Awaitable[None]]) -> TurnResponder:
    return TurnResponder(LiveRecognizer(recognize, 8.0), say, RealtimeOptions(model="ink-2"), None)


def timed(make: type[ManualResponder | TurnResponder]) -> Callable[[Callable[[Event], Awaitable[None]]], Responder]:
    """A responder whose client requested word times. Words that contain an odd number can't be aligned."""

    async def align(words: Sequence[str], samples: Samples) -> list[TimeSpan | None]:
        step = len(samples) / RATE / max(1, len(words))
        return [None if int(word[1:].strip(".")) % 2 else (n * step, (n + 1) * step) for n, word in enumerate(words)]

    def start(say: Callable[[Event], Awaitable[None]]) -> Responder:
        asked = RealtimeOptions(model="ink-2", word_timestamps=True)
        times = LiveWordTimes(align)
        if make is TurnResponder:
            return TurnResponder(LiveRecognizer(recognize_untimed, 8.0, times=times), say, asked, None)
        recognizer = LiveRecognizer(recognize_untimed, 8.0, idle_buffer_seconds=8.0, times=times)
        return ManualResponder(recognizer, say, asked, None)

    return start


def untimed(make: type[ManualResponder | TurnResponder]) -> Callable[[Callable[[Event], Awaitable[None]]], Responder]:
    """The same, if it didn't."""

    def start(say: Callable[[Event], Awaitable[None]]) -> Responder:
        asked = RealtimeOptions(model="ink-2")
        if make is TurnResponder:
            return TurnResponder(LiveRecognizer(recognize_untimed, 8.0), say, asked, None)
        recognizer = LiveRecognizer(recognize_untimed, 8.0, idle_buffer_seconds=8.0)
        return ManualResponder(recognizer, say, asked, None)

    return start


async def recognize_untimed(samples: Samples) -> Sequence[Word]:
    """The same words with a full stop at their end, and without times."""
    words = [Word(one.word) for one in await recognize(samples)]
    return words[:-1] + [Word(f"{one.word}.") for one in words[-1:]]


def said(
    make: Callable[[Callable[[Event], Awaitable[None]]], Responder], *steps: Samples | str, live: bool = False
) -> list[Event]:
    """What a responder sends for audio and to `finalize`, and to `close` in the end."""
    events: list[Event] = []

    async def note(event: Event) -> None:
        events.append(event)

    async def run() -> None:
        responder = make(note)
        for step in steps:
            if isinstance(step, str):
                await responder.execute(Finalize())
            else:
                await responder.push_audio(step, caught_up=live)
        await responder.execute(Close())

    asyncio.run(run())
    return events


def word(seconds: float = 0.25) -> Samples:
    """The loudest part of a short word, with no silence around it."""
    spoken = say("No.")
    at = int(np.argmax(np.convolve(spoken**2, np.ones(int(seconds * RATE)), "valid")))
    return spoken[at : at + int(seconds * RATE)]


@pytest.mark.parametrize("live", [False, True])
def test_word_at_the_end_of_the_audio_is_sent_at_close(live: bool) -> None:
    assert [event.kind for event in said(manual, word(), live=live)] == ["transcript"]
    turns = said(auto, word(), live=live)
    assert [event.kind for event in turns] == ["turn.start", "turn.update", "turn.end"]
    assert isinstance(turns[-1], TurnEnd) and turns[-1].transcript == "w0"


def test_last_word_is_sent_at_finalize() -> None:
    events = said(manual, word(), "finalize", silence(3), say("She counted the chairs twice."), silence(1))
    assert [event.kind for event in events] == ["transcript", "flush_done", "transcript"]
    assert isinstance(events[0], Delta) and events[0].text == "w0"


def test_silence_sends_no_events() -> None:
    assert said(manual, silence(0.2)) == said(auto, silence(0.2)) == said(manual) == said(auto) == []


@pytest.mark.parametrize(("language", "told"), [(None, "en"), ("fr", "fr")])
def test_ink_whisper_deltas_name_the_requested_language(language: str | None, told: str) -> None:
    (event,) = said(lambda note: manual(note, timed=True, language=language), word(), silence(2))
    assert isinstance(event, Delta) and event.language == told and event.words


def test_first_delta_has_no_leading_space() -> None:
    spoken = say("She counted the chairs twice.")
    first, second = (
        event for event in said(lambda note: manual(note, timed=True), spoken, "finalize", spoken)
        if isinstance(event, Delta)
    )  # fmt: skip
    for event in (first, second):
        assert event.words and "".join(one.word for one in event.words) == event.text
    assert (first.text[:2], second.text[:2]) == ("w0", " w")


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Longer than what is recognized at once."""
    return np.concatenate([say("The ferry leaves at seven in the morning, and comes back after dark.")] * 4)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("endpoint", [ManualResponder, TurnResponder])
def test_requested_word_times_change_no_event_and_are_those_of_the_text(
    endpoint: type[ManualResponder | TurnResponder], live: bool, speech: Samples
) -> None:
    steps = (word(), silence(2), speech, silence(2), speech[: 3 * RATE], *["finalize"][: endpoint is ManualResponder],
             speech[3 * RATE : 5 * RATE], silence(2))  # fmt: skip
    events = said(timed(endpoint), *steps, live=live)
    bare = [event._replace(words=None) if isinstance(event, Delta | TurnEnd) else event for event in events]
    assert [event for event in bare if event != Delta()] == said(untimed(endpoint), *steps, live=live)
    texts, words = "", list[Word]()
    for event in events:
        if isinstance(event, Delta | TurnEnd):
            texts += event.text if isinstance(event, Delta) else event.transcript
            words += event.words or ()
    assert texts and "".join(one.word for one in words) == texts
    times = [time for one in words for time in (one.start, one.end) if time is not None]
    assert len(times) == 2 * len(words) and times == sorted(times)
    assert {one.estimated for one in words if one.word.strip(" .w")} == {False, True}


def test_words_of_an_utterance_come_before_its_flush_done(speech: Samples) -> None:
    events = said(timed(ManualResponder), speech[: 3 * RATE], silence(0.5), "finalize", silence(3))
    flushed = [event.kind for event in events].index("flush_done")
    assert isinstance(event := events[flushed - 1], Delta) and event.words and not event.text
    assert not any(isinstance(event, Delta) for event in events[flushed:])


@pytest.mark.parametrize("options", [{"min_volume": 0.1}, {"max_silence_duration_secs": 0.2}])
def test_ink_2_ignores_silence_options_of_ink_whisper(options: dict[str, Any]) -> None:
    spoken = np.concatenate((say("She counted the chairs twice."), silence(0.5)))
    assert said(lambda note: manual(note, **options), spoken, spoken) == said(manual, spoken, spoken)


@pytest.mark.parametrize("ending", [[], ["finalize"]])
def test_min_volume_loses_no_words(ending: list[str]) -> None:
    spoken = say("She counted the chairs twice.")
    events = said(lambda note: manual(note, timed=True, min_volume=1.0), spoken, *ending)
    assert isinstance(events[0], Delta) and len(events[0].words or ()) >= len(spoken) / RATE


def test_missed_speech_before_an_onset_is_sent_before_it() -> None:
    """Threshold 0.3 of full scale: the first sentence is too soft for it, the second isn't."""
    spoken = say("She counted the chairs twice.")
    loud = spoken / np.abs(spoken).max()
    events = said(lambda note: manual(note, timed=True, min_volume=0.3), loud / 8, silence(1), loud)
    words = [one for event in events if isinstance(event, Delta) for one in event.words or ()]
    starts = [one.start for one in words if one.start is not None]
    assert starts == sorted(starts) and starts[0] < 1 and starts[-1] > len(spoken) / RATE + 1


async def test_steady_noise_is_not_recognized() -> None:
    heard: list[Samples] = []

    async def listen(samples: Samples) -> Sequence[Word]:
        heard.append(samples)
        return [Word(" you")]

    recognizer = LiveRecognizer(listen, 8.0, idle_buffer_seconds=8.0)
    recognizer.push(np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32))
    assert (await recognizer.recover_missed(), heard) == (("", ()), [])


@pytest.mark.parametrize(("probability", "text"), [(0.9, " so there"), (0.3, ""), (None, " so there")])
async def test_missed_speech_is_sent_if_probable_or_without_probabilities(probability: float | None, text: str) -> None:
    async def listen(samples: Samples) -> Sequence[Word]:
        return [Word(" so", probability=probability), Word(" there", probability=probability)]

    recognizer = LiveRecognizer(listen, 8.0, idle_buffer_seconds=8.0)
    recognizer.push(np.concatenate((silence(1), say("So there."))))
    assert (await recognizer.recover_missed()).text == text


def test_slow_engine_does_not_speculate_in_every_pause() -> None:
    """Four words with pauses, and an engine that takes as long as all of them: a result in each pause is too many."""
    hearings = 0

    async def slow(samples: Samples) -> Sequence[Word]:
        nonlocal hearings
        hearings += 1
        await asyncio.sleep(4.0)
        return await recognize(samples)

    async def run() -> int:
        async def note(event: Event) -> None:
            return

        options = RealtimeOptions(model="ink-whisper")
        responder = ManualResponder(LiveRecognizer(slow, 25.0, 25.0), note, options, None)
        await responder.push_audio(silence(0.5), caught_up=True)
        for _ in range(4):
            await responder.push_audio(np.concatenate((say("No."), silence(0.7))), caught_up=True)
        return hearings

    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        assert runner.run(run()) == 1


async def test_turn_update_is_sent_during_speech_without_stable_words() -> None:
    events: list[Event] = []

    async def note(event: Event) -> None:
        events.append(event)

    async def mumble(samples: Samples) -> Sequence[Word]:
        return [Word(f" m{len(samples)}")]

    responder = TurnResponder(LiveRecognizer(mumble, 8.0), note, RealtimeOptions(model="ink-2"), None)
    await responder.push_audio(say("She counted the chairs twice, and then once more."), caught_up=True)
    updates = [event for event in events if event.kind == "turn.update"]
    spoken = len(say("She counted the chairs twice, and then once more.")) / RATE
    assert len(updates) >= spoken / 0.7 - 1


@pytest.mark.engine
@pytest.mark.parametrize("sentence", ["Some people believe that the lake has no bottom at all.", "The ferry is late."])
def test_finalize_mid_word_adds_no_word(sentence: str) -> None:
    engine = moonshine.load()

    async def recognize(samples: Samples) -> Sequence[Word]:
        return engine.recognize([samples], "en")[0]

    def make(note: Callable[[Event], Awaitable[None]]) -> ManualResponder:
        options = RealtimeOptions(model="ink-2")
        return ManualResponder(LiveRecognizer(recognize, 8.0, 8.0), note, options, None)

    spoken, spelled = say(sentence), sentence.split()
    for at in range(RATE // 4, len(spoken), RATE // 3):
        events = said(make, silence(0.5), spoken[:at], "finalize", spoken[at:], silence(1.5))
        heard = "".join(event.text for event in events if isinstance(event, Delta)).split()
        assert len(heard) == len(spelled), f"finalize at {at / RATE:.2f} s: {heard}"
        wrong = [
            word for word, right in zip(heard, spelled, strict=True) if word.strip(".").lower() not in right.lower()
        ]
        assert len(wrong) <= 1, f"finalize at {at / RATE:.2f} s: {heard}"


def test_text_finalized_mid_speech_is_not_repeated_and_keeps_word_times() -> None:
    spoken = np.concatenate([word(0.5)] * 3)
    for cut in range(RATE // 5, len(spoken), RATE // 5):
        steps = spoken[:cut], "finalize", spoken[cut:], "finalize", silence(2)
        events = [e for e in said(lambda note: manual(note, timed=True), *steps) if isinstance(e, Delta)]
        words = [one for event in events for one in event.words or ()]
        assert [one.word.strip() for one in words] == ["w0", "w1", "w2"]
        assert all("".join(one.word for one in event.words or ()) == event.text for event in events)


def test_improbable_last_word_is_withheld_until_close_at_most() -> None:
    async def unsure(samples: Samples) -> Sequence[Word]:
        return [Word(" whole", probability=0.9), Word(" cut", probability=0.2)] if np.abs(samples).max() > 0.01 else []

    def make(note: Callable[[Event], Awaitable[None]]) -> ManualResponder:
        options = RealtimeOptions(model="ink-2")
        return ManualResponder(LiveRecognizer(unsure, 8.0, 8.0), note, options, None)

    events = said(make, word(0.5), "finalize")
    assert [event.text for event in events if isinstance(event, Delta)] == ["whole", " cut"]


@pytest.mark.parametrize(("probability", "kinds"), [
    (0.9, ["turn.start", "turn.update", "turn.eager_end", "turn.end"]),
    (0.4, ["turn.start", "turn.update", "turn.end"]),
])  # fmt: skip
def test_uncertain_text_is_sent_with_the_end_of_a_turn_only(probability: float, kinds: list[str]) -> None:
    async def hear(samples: Samples) -> Sequence[Word]:
        return [Word(" whole", probability=probability)]

    def make(note: Callable[[Event], Awaitable[None]]) -> TurnResponder:
        return TurnResponder(LiveRecognizer(hear, 8.0), note, RealtimeOptions(model="ink-2"), None)

    events = said(make, silence(0.5), word(), silence(2))
    assert [event.kind for event in events] == kinds
    assert isinstance(events[-1], TurnEnd) and events[-1].transcript == "whole"


@pytest.mark.parametrize(("pause", "is_joined"), [(0.7, True), (1.5, False)])
def test_speech_soon_after_finalize_is_recognized_with_the_words_before_it(pause: float, is_joined: bool) -> None:
    heard: list[int] = []

    async def noting(samples: Samples) -> Sequence[Word]:
        heard.append(len(samples))
        return await recognize(samples)

    def make(note: Callable[[Event], Awaitable[None]]) -> ManualResponder:
        options = RealtimeOptions(model="ink-2")
        return ManualResponder(LiveRecognizer(noting, 8.0, 8.0), note, options, None)

    first, second = word(0.5), word(0.5)
    events = said(make, silence(0.5), first, silence(0.6), "finalize", silence(pause - 0.6), second, silence(1.5))
    assert (heard[-1] > len(first) + len(second) + pause * RATE) == is_joined
    texts = [event.text for event in events if isinstance(event, Delta)]
    assert len(texts) == 2 and "".join(texts).split() == (["w0", "w2", "w3"] if is_joined else ["w0", "w0"])


def test_words_that_the_engine_times_keep_their_times_in_live_text() -> None:
    """As where Whisper answers for ink-2, in a language that Moonshine doesn't know."""

    async def align(words: Sequence[str], samples: Samples) -> list[TimeSpan | None]:
        assert not words
        return []

    async def taken() -> tuple[Word, ...]:
        times = LiveWordTimes(align)
        recognized = [Word(" Hello,", 2.1, 2.5), Word(" world", 2.6, 2.9, estimated=True)]
        times.add(" Hello, world", recognized, silence(1.0), 2.0)
        times.add(".", (), silence(1.0), 3.0)
        return await times.take()

    assert asyncio.run(taken()) == (Word("Hello,", 2.1, 2.5), Word(" world.", 2.6, 2.9, estimated=True))
