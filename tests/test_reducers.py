"""Reducers: whatever order events come in, the segments' texts joined are what the server sent for good."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.protocol import (
    Connected,
    Delta,
    Done,
    Event,
    FlushDone,
    TurnEagerEnd,
    TurnEnd,
    TurnResume,
    TurnStart,
    TurnUpdate,
    Unknown,
    Word,
)
from cartesia_cli.reducers import AudioClock, AutoReducer, ManualReducer, Reducer
from cartesia_cli.transcript import Notice, Partial, Segment, Update


def reduced(reducer: Reducer, events: Iterable[Event]) -> list[Update]:
    updates = [update for event in events for update in reducer.feed(event)]
    return updates + list(reducer.end())


def texts(updates: Iterable[Update]) -> list[str]:
    return [update.text for update in updates if isinstance(update, Segment)]


def manual(*events: Event) -> list[Update]:
    return reduced(ManualReducer(AudioClock()), events)


def auto(*events: Event) -> list[Update]:
    return reduced(AutoReducer(AudioClock()), events)


def test_deltas_are_joined_verbatim_and_settled_when_the_flush_is_done() -> None:
    # The documentation's own example: words break across deltas and across a finalize.
    updates = manual(
        Delta(text="GPT sends"), Delta(text=" full transc"), Delta(text="ripts."), FlushDone(),
        Delta(text=" Ink sends"), Delta(text=" deltas and may break wor"), Delta(text="ds."), FlushDone(), Done(),
    )  # fmt: skip
    assert texts(updates) == ["GPT sends full transcripts.", " Ink sends deltas and may break words."]
    partials = [update.text for update in updates if isinstance(update, Partial)]
    assert partials[:3] == ["GPT sends", "GPT sends full transc", "GPT sends full transcripts."]


def test_a_delta_behind_its_flush_done_is_not_lost() -> None:
    assert texts(manual(FlushDone(), Delta(text="Late."), Done())) == ["Late."]
    assert texts(manual(Delta(text="One"), FlushDone(), Delta(text=" two"))) == ["One", " two"]


def test_a_preview_is_shown_and_not_kept() -> None:
    updates = manual(Delta(text="Hallo", is_final=False), Delta(text="Hello"), FlushDone(), Done())
    assert updates[:2] == [Partial(0.0, "Hallo"), Partial(0.0, "Hello")]
    assert texts(updates) == ["Hello"]


def test_blanks_alone_wait_for_their_text() -> None:
    assert texts(manual(Delta(text=" "), FlushDone(), Delta(text="word"), FlushDone())) == [" word"]
    assert texts(manual(Delta(text="word"), FlushDone(), Delta(text="\n"), Done())) == ["word", "\n"]


def test_empty_and_unknown_events_change_nothing() -> None:
    assert manual(Delta(text=""), Unknown(type="new"), Connected(), FlushDone(), Done()) == []


def test_word_times_of_the_server_go_before_those_of_the_audio() -> None:
    reducer = ManualReducer(AudioClock())
    words = (Word("Hello", 0.5, 0.9), Word(" world!", 0.9, 1.4))
    updates = reduced(reducer, [Delta(text="Hello world!", words=words), FlushDone(), Delta(text=" Bye"), FlushDone()])
    assert [update for update in updates if isinstance(update, Segment)] == [
        Segment(0.5, 1.4, "Hello world!", "server"),
        Segment(0.0, 0.0, " Bye", "audio"),
    ]
    assert tuple(reducer.words) == words


def test_the_words_of_a_segment_are_there_when_it_is_told() -> None:
    reducer = ManualReducer(AudioClock())
    word = Word("Hello", 0.5, 0.9)
    list(reducer.feed(Delta(text="Hello", words=(word,))))
    for update in reducer.feed(FlushDone()):
        assert isinstance(update, Segment)
        assert reducer.words == [word]


@pytest.mark.parametrize("broken", [Word("x"), Word("x", 1.0), Word("x", 2.0, 1.0)])
def test_broken_word_times_are_not_called_the_servers(broken: Word) -> None:
    segments = [u for u in manual(Delta(text="x", words=(broken,)), FlushDone()) if isinstance(u, Segment)]
    assert segments[0].timing == "audio"


def test_times_are_where_somebody_spoke_between_two_finalizes() -> None:
    clock = AudioClock()
    reducer = ManualReducer(clock)
    clock.sent = 3.0
    clock.onset(0.4)
    clock.pause(2.1)
    reducer.finalized()
    clock.sent = 5.0
    reducer.finalized()
    clock.sent = 6.0  # answers come later than the audio
    updates = reduced(reducer, [Delta(text="a"), FlushDone(), Delta(text=" b"), FlushDone()])
    assert [(u.start, u.end) for u in updates if isinstance(u, Segment)] == [(0.4, 2.1), (3.0, 5.0)]


def test_speech_that_runs_on_over_a_finalize_is_divided_there() -> None:
    clock = AudioClock()
    clock.onset(1.0)
    clock.sent = 4.0
    assert clock.take() == (1.0, 4.0)
    clock.pause(5.5)
    clock.sent = 6.0
    assert clock.take() == (4.0, 5.5)
    assert clock.take() == (6.0, 6.0)


@given(st.lists(st.one_of(st.text(max_size=8).map(lambda text: Delta(text=text)), st.just(FlushDone()))))
def test_segments_of_any_deltas_joined_are_the_deltas_joined(events: list[Event]) -> None:
    sent = "".join(event.text for event in events if isinstance(event, Delta))
    assert "".join(texts(manual(*events, Done()))) == sent


START, RESUME = TurnStart(), TurnResume()


def update(text: str) -> TurnUpdate:
    return TurnUpdate(transcript=text)


def eager(text: str) -> TurnEagerEnd:
    return TurnEagerEnd(transcript=text)


def end(text: str) -> TurnEnd:
    return TurnEnd(transcript=text)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # as documented
        ([Connected(), START, update("Hey"), update("Hey you"), end("Hey you."), START, end(" Bye.")],
         ["Hey you.", " Bye."]),
        ([START, update("a"), eager("a b"), RESUME, update("a b c"), eager("a b c"), end("a b c")], ["a b c"]),
        # a start, an end, or a resume left out
        ([update("a"), end("a")], ["a"]),
        ([end("a")], ["a"]),
        ([eager("a"), end("a")], ["a"]),
        ([START, update("a"), START, update(" b"), end(" b")], ["a", " b"]),
        ([START, eager("a"), START, end(" b")], ["a", " b"]),
        ([START, eager("a"), update("a b"), end("a b")], ["a b"]),
        # an empty end keeps what was said for good; an empty turn is none
        ([START, update("a"), end("")], ["a"]),
        ([START, end(""), START, end("a")], ["a"]),
        ([START, update("a"), update(""), end("")], ["a"]),
        # an end that is sent twice, and a turn that says the same again
        ([START, end("a"), end("a")], ["a"]),
        ([START, end(" a"), START, end(" a")], [" a", " a"]),
        # resumes of nothing
        ([RESUME, START, RESUME, update("a"), end("a"), RESUME], ["a"]),
        # the socket dropped in mid-turn
        ([START, update("a"), update("a b")], ["a b"]),
        ([START], []),
    ],
)  # fmt: skip
def test_the_turn_machine(events: list[Event], expected: list[str]) -> None:
    assert texts(auto(*events)) == expected


def test_eager_ends_and_resumes_are_told() -> None:
    updates = auto(START, eager("a"), RESUME, RESUME, end("a b"))
    assert [u.event for u in updates if isinstance(u, Notice)] == ["turn.eager_end", "turn.resume"]
    assert Partial(0.0, "a") in updates


def test_turn_times_come_from_the_audio() -> None:
    clock = AudioClock()
    reducer = AutoReducer(clock)
    clock.sent = 2.0
    clock.onset(1.2)
    list(reducer.feed(START))
    clock.pause(3.4)
    clock.sent = 4.0
    assert list(reducer.feed(end("Hey"))) == [Segment(1.2, 3.4, "Hey", "audio")]


EVENTS = st.one_of(
    st.sampled_from([START, RESUME, Connected(), Unknown(type="x")]),
    st.text(max_size=4).flatmap(lambda text: st.sampled_from([update(text), eager(text), end(text)])),
)


@given(st.lists(EVENTS, max_size=30))
def test_no_order_of_events_breaks_the_machine_or_loses_a_definitive_text(events: list[Event]) -> None:
    settled = texts(auto(*events))
    last = None
    for event in events:
        if isinstance(event, TurnEnd) and event.transcript and event.transcript != last:
            assert event.transcript in settled
            last = event.transcript
