"""What the local server says in a live session, without a socket: audio and commands in, events out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.protocol import Delta, Event, RealtimeOptions, TurnEnd
from cartesia_cli.server.conversation import Auto, Conversation, Manual
from cartesia_cli.server.ear import Ear
from cartesia_cli.server.engine import Heard

from .speech import say, silence


async def recognise(samples: Samples) -> Sequence[Heard]:
    """A word for each half second of sound, begun halves included."""
    halves = [samples[at : at + RATE // 2] for at in range(0, len(samples), RATE // 2)]
    return [Heard(f" w{n}", n / 2, n / 2 + 0.5) for n, half in enumerate(halves) if np.abs(half).max() > 0.01]


def manual(say: Callable[[Event], Awaitable[None]], *, timed: bool = False, language: str | None = None) -> Manual:
    options = RealtimeOptions(model="ink-whisper" if timed else "ink-2", language=language)
    return Manual(Ear(recognise, 8.0), say, options, is_timed=timed)


def auto(say: Callable[[Event], Awaitable[None]]) -> Auto:
    return Auto(Ear(recognise, 8.0), say, RealtimeOptions(model="ink-2"))


def said(
    make: Callable[[Callable[[Event], Awaitable[None]]], Conversation], *steps: Samples | str, live: bool = False
) -> list[Event]:
    """What a conversation says to audio and to `finalize`, and to `close` in the end."""
    events: list[Event] = []

    async def note(event: Event) -> None:
        events.append(event)

    async def run() -> None:
        conversation = make(note)
        for step in steps:
            if isinstance(step, str):
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
