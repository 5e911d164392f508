"""Trackers: whatever order events come in, the segments' texts joined are what the server sent for good."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.protocol.events import (
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
)
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.tracker import Acknowledged, Fact, ManualTracker, SpeechTimeline, Tracker, TurnTracker, UtteranceTimes
from cartesia_cli.transcript import Notice, Partial, Segment, Update

TrackerT = TypeVar("TrackerT", ManualTracker, TurnTracker)


def said(tracker: Tracker, event: Event, now: float | None = None) -> list[Update]:
    """What an event means to whoever reads; where no time is given, audio goes out in real time."""
    return updates_of(tracker.process(event, tracker.timeline.sent if now is None else now))


def updates_of(facts: Iterable[Fact]) -> list[Update]:
    return [fact for fact in facts if isinstance(fact, Partial | Segment | Notice)]


def reduced(tracker: Tracker, events: Iterable[Event]) -> list[Update]:
    updates = [update for event in events for update in said(tracker, event)]
    return updates + updates_of(tracker.settle_open(complete=True))


def segments(updates: Iterable[Update]) -> list[Segment]:
    return [update for update in updates if isinstance(update, Segment)]


def texts(updates: Iterable[Update]) -> list[str]:
    return [segment.text for segment in segments(updates)]


def tracking(machine: type[TrackerT]) -> tuple[TrackerT, SpeechTimeline]:
    timeline = SpeechTimeline()
    return machine(timeline), timeline


def after_an_utterance() -> tuple[ManualTracker, SpeechTimeline]:
    """Speech from 0.5 to 1.5 s, and a `finalize` at 2 s."""
    tracker, timeline = tracking(ManualTracker)
    timeline.speech_started(0.5)
    timeline.speech_stopped(1.5)
    timeline.sent = 2.0
    tracker.finalize_sent(timeline.sent)
    return tracker, timeline


def manual(*events: Event) -> list[Update]:
    return reduced(ManualTracker(SpeechTimeline()), events)


def auto(*events: Event) -> list[Update]:
    return reduced(TurnTracker(SpeechTimeline()), events)


def test_deltas_are_joined_verbatim_and_settled_by_flush_done() -> None:
    # The documentation's own example: words break across deltas and across a finalize.
    updates = manual(
        Delta(text="GPT sends"), Delta(text=" full transc"), Delta(text="ripts."), FlushDone(),
        Delta(text=" Ink sends"), Delta(text=" deltas and may break wor"), Delta(text="ds."), FlushDone(), Done(),
    )  # fmt: skip
    assert texts(updates) == ["GPT sends full transcripts.", " Ink sends deltas and may break words."]
    partials = [update.text for update in updates if isinstance(update, Partial)]
    assert partials[:3] == ["GPT sends", "GPT sends full transc", "GPT sends full transcripts."]


def test_delta_after_its_flush_done_is_not_lost() -> None:
    assert texts(manual(FlushDone(), Delta(text="Late."), Done())) == ["Late."]
    assert texts(manual(Delta(text="One"), FlushDone(), Delta(text=" two"))) == ["One", " two"]


def test_preview_delta_is_a_partial_and_not_settled() -> None:
    updates = manual(Delta(text="Hallo", is_final=False), Delta(text="Hello"), FlushDone(), Done())
    assert updates[:2] == [Partial(0.0, "Hallo"), Partial(0.0, "Hello")]
    assert texts(updates) == ["Hello"]


def test_spaces_alone_wait_for_their_text() -> None:
    assert texts(manual(Delta(text=" "), FlushDone(), Delta(text="word"), FlushDone())) == [" word"]
    assert texts(manual(Delta(text="word"), FlushDone(), Delta(text="\n"), Done())) == ["word", "\n"]


def test_empty_and_unknown_events_are_ignored() -> None:
    assert manual(Delta(text=""), Unknown(type="new"), Connected(), FlushDone(), Done()) == []


def test_server_word_times_take_precedence_over_the_audio() -> None:
    tracker = ManualTracker(SpeechTimeline())
    words = (Word("Hello", 0.5, 0.9), Word(" world!", 0.9, 1.4))
    updates = reduced(tracker, [Delta(text="Hello world!", words=words), FlushDone()])
    assert segments(updates) == [Segment(0.5, 1.4, "Hello world!", "server", words)]


def test_words_of_resent_audio_appear_once_with_session_times() -> None:
    tracker = ManualTracker(SpeechTimeline())
    tracker.rewind(10.0)
    heard = Delta(text="Hello", words=(Word("Hello", 0.5, 0.75),))
    list(said(tracker, heard))
    tracker.rewind(20.0)
    assert segments(reduced(tracker, [heard, FlushDone()])) == [
        Segment(20.5, 20.75, "Hello", "server", (Word("Hello", 20.5, 20.75),))
    ]


HELLO = Word("Hello", 0.5, 0.9), Word(" world!", 0.9, 1.4)


def test_words_may_come_after_their_text() -> None:
    deltas = [Delta(text="Hel"), Delta(text="lo wor"), Delta(text="ld!"), Delta(words=HELLO)]
    assert segments(manual(*deltas, FlushDone())) == [Segment(0.5, 1.4, "Hello world!", "server", HELLO)]
    more = [Delta(text=" And"), Delta(text=" more."), Delta(words=(Word(" And", 1.5, 1.7), Word(" more.", 1.7, 2.0)))]
    assert [word.word for word in segments(manual(*deltas, *more, FlushDone()))[0].words] == [
        "Hello", " world!", " And", " more.",
    ]  # fmt: skip


def test_text_after_the_last_words_leaves_the_segment_without_words() -> None:
    segment = segments(manual(Delta(text="Hello world!"), Delta(words=HELLO), Delta(text=" And."), FlushDone()))[0]
    assert (segment.text, segment.timing, segment.words) == ("Hello world! And.", "audio", ())


def test_words_that_come_after_their_segment_settled_are_ignored() -> None:
    first, second = segments(manual(Delta(text="Hello world!"), FlushDone(), Delta(words=HELLO), Delta(text=" And.")))
    assert first.words == second.words == ()


def test_turn_with_words_has_their_times() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.speech_started(0.4)
    timeline.advance(2.0, 2.0)
    timeline.speech_stopped(1.5)
    assert said(tracker, TurnEnd(transcript="Hello world!", words=HELLO)) == [
        Segment(0.5, 1.4, "Hello world!", "server", HELLO)
    ]


def test_turn_words_without_times_or_of_another_text_leave_the_times_of_the_audio() -> None:
    for words in ((Word("Hello"), Word("world!")), (Word("Goodbye", 0.1, 0.2),), (Word("Hello", 3.0, 2.0),)):
        assert segments(auto(TurnEnd(transcript="Hello world!", words=words)))[0].timing != "server"


def test_turn_words_count_from_the_start_of_their_connection() -> None:
    tracker = TurnTracker(SpeechTimeline())
    tracker.rewind(10.0)
    (segment,) = segments(reduced(tracker, [TurnEnd(transcript="Hello world!", words=HELLO)]))
    assert (segment.start, segment.end, segment.words[0]) == (10.5, 11.4, Word("Hello", 10.5, 10.9))


def test_part_of_a_resent_turn_that_is_new_keeps_its_word_times() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.advance(3.0, 3.0)
    list(said(tracker, TurnEnd(transcript="One two.", words=(Word("One", 0.5, 0.9), Word(" two.", 0.9, 1.4)))))
    tracker.rewind(0.0)
    timeline.rewind(0.0)
    timeline.advance(3.0, 6.0)
    spoken = (Word("One", 0.5, 0.9), Word(" two.", 0.9, 1.4), Word(" Three.", 1.6, 2.0))
    new = segments(reduced(tracker, [TurnEnd(transcript="One two. Three.", words=spoken)]))
    assert new == [Segment(1.6, 2.0, " Three.", "server", spoken[2:])]


@pytest.mark.parametrize("broken", [Word("x"), Word("x", 1.0), Word("x", 2.0, 1.0)])
def test_broken_word_times_are_not_labelled_as_the_servers(broken: Word) -> None:
    assert segments(manual(Delta(text="x", words=(broken,)), FlushDone()))[0].timing == "audio"


def test_text_after_its_flush_done_is_settled_at_once_with_the_times_of_its_speech() -> None:
    """The order of an old example: each text comes a little after the `flush_done` that should be behind it."""
    tracker, timeline = tracking(ManualTracker)
    came: list[Segment] = []
    for onset, text in ((0.5, "One."), (3.5, " Two.")):
        timeline.sent = onset + 0.1
        timeline.speech_started(onset)
        timeline.sent = onset + 1.5
        timeline.speech_stopped(onset + 1.0)
        tracker.finalize_sent(timeline.sent)
        came += segments(said(tracker, FlushDone()))
        timeline.sent += 0.2
        came += segments(said(tracker, Delta(text=text)))
        assert came[-1] == Segment(onset, onset + 1.0, text, "audio")
    tracker.finalize_sent(timeline.sent)
    assert segments(reduced(tracker, [FlushDone(), Done()])) == []


def test_second_text_after_flush_done_is_timed_at_the_end_of_its_utterance() -> None:
    tracker, _ = after_an_utterance()
    assert segments(reduced(tracker, [FlushDone(), Delta(text=" "), Delta(text="One."), Delta(text=" Two.")])) == [
        Segment(0.5, 1.5, " One.", "audio"),
        Segment(1.5, 1.5, " Two.", "estimated"),
    ]


@pytest.mark.parametrize(("speaks", "timing"), [(True, "audio"), (False, "estimated")])
def test_text_after_an_answered_flush_done_waits_for_the_next_utterance(speaks: bool, timing: str) -> None:
    tracker, timeline = after_an_utterance()
    timeline.sent = 2.2
    assert texts(said(tracker, Delta(text="One."))) == []
    assert texts(said(tracker, FlushDone())) == ["One."]
    if speaks:
        timeline.speech_started(2.1)
    timeline.sent = 2.6
    updates = reduced(tracker, [Delta(text=" Tw"), Delta(text="o.")])
    assert updates[:2] == [Partial(2.6, " Tw"), Partial(2.6, " Two.")]
    assert [(segment.text, segment.timing) for segment in segments(updates)] == [(" Two.", timing)]


@pytest.mark.parametrize("why", ["somebody speaks again", "another finalize waits", "it is long ago"])
def test_text_that_may_belong_to_the_next_utterance_waits_for_it(why: str) -> None:
    tracker, timeline = after_an_utterance()
    assert list(said(tracker, FlushDone())) == []
    timeline.sent = 2.5 if why != "it is long ago" else 13.5
    if why != "it is long ago":
        timeline.speech_started(2.3)
    if why == "another finalize waits":
        timeline.speech_stopped(2.4)
        tracker.finalize_sent(timeline.sent)
    assert list(said(tracker, Delta(text="One."))) == [Partial(timeline.sent, "One.")]
    timings = [segment.timing for segment in segments(reduced(tracker, [FlushDone(), Delta(text="x"), FlushDone()]))]
    assert timings[0] == ("audio" if why == "it is long ago" else "estimated")


def test_late_text_stays_settled_when_the_connection_is_lost() -> None:
    tracker = ManualTracker(SpeechTimeline())
    tracker.finalize_sent(0.0)
    assert texts(said(tracker, FlushDone())) == []
    assert texts(said(tracker, Delta(text="One."))) == ["One."]
    tracker.rewind(0.0)
    assert texts(reduced(tracker, [Delta(text=" Two.")])) == [" Two."]


def test_text_is_never_late_on_a_connection_without_answers() -> None:
    tracker = ManualTracker(SpeechTimeline())
    assert texts(said(tracker, FlushDone())) == []
    tracker.rewind(0.0)
    assert list(said(tracker, Delta(text="One."))) == [Partial(0.0, "One.")]


ONE_WORD = (Word("One", 0.5, 0.9),)


@pytest.mark.parametrize(
    "deltas",
    [
        [Delta(text="One", words=ONE_WORD), Delta(text=" two")],
        [Delta(text="One"), Delta(text=" two", words=(Word(" two", 1.0, 1.4),))],
        [
            Delta(text="One", words=ONE_WORD),
            Delta(text=" two", words=()),
            Delta(text=".", words=(Word(".", 1.4, 1.4),)),
        ],
    ],
)
def test_words_of_some_deltas_only_are_discarded(deltas: list[Delta]) -> None:
    tracker, timeline = tracking(ManualTracker)
    timeline.sent = 3.0
    text = "".join(delta.text for delta in deltas)
    assert segments(reduced(tracker, [*deltas, FlushDone()])) == [Segment(0.0, 3.0, text, "audio")]
    again = reduced(tracker, [Delta(text="One", words=ONE_WORD)])
    assert segments(again) == [Segment(0.5, 0.9, "One", "server", ONE_WORD)]


def test_spaces_need_no_words() -> None:
    deltas = [Delta(text=" "), Delta(text="One", words=ONE_WORD), Delta(text="", words=()), Delta(text="\n", words=())]
    assert segments(manual(*deltas, FlushDone()))[0].words == ONE_WORD


def test_language_of_a_delta_stays_with_its_segment() -> None:
    updates = manual(
        Delta(text="Hallo", language="de"), Delta(text="."), FlushDone(),
        Delta(text=" Hi.", language="en"), FlushDone(), Delta(text=" Bye."),
    )  # fmt: skip
    assert [segment.language for segment in segments(updates)] == ["de", "en", None]


def test_segment_times_are_the_speech_between_two_finalizes() -> None:
    tracker, timeline = tracking(ManualTracker)
    timeline.sent = 3.0
    timeline.speech_started(0.4)
    timeline.speech_stopped(2.1)
    tracker.finalize_sent(timeline.sent)
    timeline.sent = 5.0
    tracker.finalize_sent(timeline.sent)
    timeline.sent = 6.0  # answers come later than the audio
    updates = reduced(tracker, [Delta(text="a"), FlushDone(), Delta(text=" b"), FlushDone()])
    assert [(segment.start, segment.end) for segment in segments(updates)] == [(0.4, 2.1), (3.0, 5.0)]


UTTERANCES = {
    "speech across a finalize is divided there":
        "onset 1, sent 4, utterance 1 4, pause 5.5, sent 6, utterance 4 5.5, utterance 6 6",
    "all speech before a key is one utterance":
        "onset 1, pause 2, onset 3, sent 4, utterance 1 4, pause 4.5, sent 5, utterance 4 4.5",
    "speech that starts in the last frame of an utterance belongs to the next":
        "onset 1, pause 2, onset 2.55, sent 2.6, utterance 1 2, pause 3.5, sent 4, utterance 2.55 3.5",
    "speech detected before it was sent does not end before it starts": "sent 1, onset 1.05, utterance 1.05 1.05",
    "resent audio is not timed twice":  # the onset was confirmed, and doesn't come again
        "onset 1, pause 2, sent 3, rewind 1.5, pause 2, sent 3, utterance 1.5 2",
}  # fmt: skip
"""What happens at which second, and the utterance that ends then, from its start to its stop."""


@pytest.mark.parametrize("steps", UTTERANCES.values(), ids=UTTERANCES)
def test_utterance_is_the_speech_since_the_one_before(steps: str) -> None:
    timeline = SpeechTimeline()
    for step in steps.split(", "):
        name, *numbers = step.split()
        seconds = tuple(map(float, numbers))
        if name == "utterance":
            assert timeline.end_utterance() == seconds
        elif name == "sent":
            timeline.sent = seconds[0]
        else:
            report = {"onset": timeline.speech_started, "pause": timeline.speech_stopped, "rewind": timeline.rewind}
            report[name](*seconds)


WORDS = ["", " ", "a", " b", "\n", "c\u0301"]
LOST, ASKED = "lost", "asked"
STEPS = st.one_of(
    st.builds(Delta, text=st.sampled_from(WORDS), is_final=st.booleans()),
    st.sampled_from([FlushDone(), LOST, ASKED, Unknown(type="x")]),
)


def squeezed(text: str) -> str:
    """A text without its spaces: one is added between the texts of two connections."""
    return "".join(text.split())


def last(texts: Iterable[str]) -> str:
    """The last one that isn't empty."""
    return next((text for text in reversed([*texts]) if text), "")


@given(st.lists(STEPS, max_size=30), st.lists(st.sampled_from(["speech_started", "speech_stopped", ""]), max_size=30))
def test_segments_joined_are_the_deltas_joined_in_any_order_of_events(
    steps: list[Event | str], sounds: list[str]
) -> None:
    """What is open when a connection is lost is said again by the next one, or kept."""
    timeline, updates, settled, current, is_whole = SpeechTimeline(), list[Update](), "", "", True
    tracker = ManualTracker(timeline)
    for number, (step, sound) in enumerate(zip_longest(steps, sounds)):
        timeline.sent += 0.5
        if sound:
            getattr(timeline, sound)(timeline.sent + (number % 3 - 1) / 10)
        if step is LOST:
            at = timeline.sent - 0.5 * (number % 3)
            tracker.rewind(at)
            timeline.rewind(at)
            current, is_whole = "", False
        elif step is ASKED:
            tracker.finalize_sent(timeline.sent)
        elif isinstance(step, Event):
            current += step.text if isinstance(step, Delta) and step.is_final else ""
            updates += said(tracker, step)
            if (told := "".join(texts(updates))) != settled:
                assert told == settled + current or (not is_whole and squeezed(told) == squeezed(settled + current))
                settled, current = told, ""
            assert not (isinstance(step, FlushDone) and current.strip())
    updates += updates_of(tracker.settle_open(complete=is_whole))
    told = "".join(texts(updates))
    assert told == settled + current or (not is_whole and len(squeezed(told)) >= len(squeezed(settled + current)))
    assert all(0 <= update.start <= update.end for update in segments(updates))


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
def test_turn_tracker_settles_each_sequence_of_events(events: list[Event], expected: list[str]) -> None:
    assert texts(auto(*events)) == expected


def test_eager_ends_and_resumes_are_notices() -> None:
    updates = auto(START, eager("a"), RESUME, RESUME, end("a b"))
    assert [u.event for u in updates if isinstance(u, Notice)] == ["turn.eager_end", "turn.resume"]
    assert Partial(0.0, "a") in updates


def test_turn_times_come_from_the_detected_speech() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.sent = 2.0
    timeline.speech_started(1.2)
    list(said(tracker, START))
    timeline.speech_stopped(3.4)
    timeline.sent = 4.0
    assert list(said(tracker, end("Hey"))) == [Segment(1.2, 3.4, "Hey", "audio")]


def test_turn_that_ends_after_the_next_one_began_keeps_the_times_of_its_speech() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.sent = 1.2
    timeline.speech_started(1.0)
    list(said(tracker, START))
    timeline.sent = 2.3
    timeline.speech_stopped(2.0)
    timeline.sent = 3.0
    timeline.speech_started(2.9)
    timeline.sent = 3.2
    # So early in a session nobody knows how late this server is.
    assert list(said(tracker, end("One."))) == [Segment(1.0, 2.0, "One.", "estimated")]
    timeline.sent = 4.1
    timeline.speech_stopped(3.9)
    timeline.sent = 4.8
    assert reduced(tracker, [START, end(" Two.")]) == [Segment(2.9, 3.9, " Two.", "estimated")]


def test_speech_that_continues_when_a_turn_ends_is_divided_there() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.speech_started(1.0)
    timeline.advance(1.3, 1.3)
    assert said(tracker, START) == []
    timeline.speech_stopped(2.0)
    timeline.speech_started(3.0)
    for tenth in range(14, 61):
        timeline.advance(tenth / 10, tenth / 10)
    [segment] = segments(said(tracker, end("One. Two.")))
    assert segment.start == 1.0
    assert 5.5 < segment.end <= 6.0


def test_open_text_at_the_end_lasts_as_long_as_its_speech() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.speech_started(1.0)
    timeline.speech_stopped(2.0)
    timeline.speech_started(3.0)
    timeline.sent = 4.0
    assert reduced(tracker, [START, update("One. Two")])[-1] == Segment(1.0, 4.0, "One. Two", "audio")


TEXTS = st.sampled_from(["", "a", " b", "a b"])
EVENTS = st.one_of(
    st.sampled_from([START, RESUME, Connected(), Unknown(type="x")]),
    TEXTS.flatmap(lambda text: st.sampled_from([update(text), eager(text), end(text)])),
)


def turns(events: Iterable[Event]) -> list[str]:
    """What a session of the auto endpoint said for good: of each turn, its last text.

    A turn begins with its start, or behind the end of the one before it. An end that has neither a start nor a text
    before it and says what the last turn said is that one's, sent twice.
    """
    groups: list[list[Event]] = [[]]
    for event in events:
        if isinstance(event, TurnStart):
            groups.append([])
        groups[-1].append(event)
        if isinstance(event, TurnEnd):
            groups.append([])
    texts: list[str] = []
    for group in groups:
        text = last(event.transcript for event in group if isinstance(event, TurnUpdate | TurnEagerEnd | TurnEnd))
        began = any(isinstance(event, TurnStart | TurnUpdate | TurnEagerEnd) for event in group)
        if text and (began or texts[-1:] != [text]):
            texts.append(text)
    return texts


@given(st.lists(EVENTS, max_size=30))
def test_every_turn_is_settled_once_in_any_order_of_events(events: list[Event]) -> None:
    assert texts(auto(*events)) == turns(events)


PARTS = st.lists(st.one_of(TEXTS.map(update), TEXTS.map(eager), st.just(RESUME)), max_size=4)


@given(st.lists(st.tuples(st.lists(PARTS, max_size=2), PARTS, st.sampled_from(["x", " y"]), st.booleans())), PARTS)
def test_turns_cut_off_and_sent_again_are_settled_once(
    turns_said: list[tuple[list[list[Event]], list[Event], str, bool]], open_: list[Event]
) -> None:
    tracker, updates = TurnTracker(SpeechTimeline()), list[Update]()
    for attempts, parts, text, starts in turns_said:
        for attempt in attempts:  # each over a connection that is lost
            updates += [update for event in [START, *attempt] for update in said(tracker, event)]
            tracker.rewind(0.0)
        begun = [START] if starts or not any(isinstance(p, TurnUpdate | TurnEagerEnd) for p in parts) else []
        updates += [update for event in [*begun, *parts, end(text)] for update in said(tracker, event)]
    updates += [update for event in [START, *open_] for update in said(tracker, event)]
    tracker.rewind(0.0)  # and no other follows
    updates += updates_of(tracker.settle_open(complete=True))
    rest = last(event.transcript for event in open_ if isinstance(event, TurnUpdate | TurnEagerEnd))
    expected = [text for _, _, text, _ in turns_said] + [rest] * bool(rest)
    assert [text.strip() for text in texts(updates)] == [text.strip() for text in expected]


def test_turn_without_start_and_end_after_a_reconnect_is_settled() -> None:
    tracker = TurnTracker(SpeechTimeline())
    list(said(tracker, update("a")))
    tracker.rewind(0.0)
    assert texts(reduced(tracker, [update("a"), START, update(" b"), end(" b")])) == ["a", " b"]


@pytest.mark.parametrize("event", [Delta(text="Hal", is_final=False), Delta(text="")])
def test_event_without_final_text_keeps_open_text_of_a_lost_connection(event: Delta) -> None:
    tracker = ManualTracker(SpeechTimeline())
    list(said(tracker, Delta(text="Hello")))
    tracker.rewind(0.0)
    assert texts(reduced(tracker, [event])) == ["Hello"]


@pytest.mark.parametrize("machine", [ManualTracker, TurnTracker])
def test_open_text_is_dropped_when_catch_up_replaces_the_rest(machine: type[ManualTracker | TurnTracker]) -> None:
    tracker = machine(SpeechTimeline())
    for event in (Delta(text="a", words=(Word("a", 0.0, 1.0),)), START, update("a")):
        list(said(tracker, event))
    tracker.finalize_sent(0.0)
    assert list(tracker.replace_rest([])) == []
    assert list(tracker.settle_open(complete=True)) == []


def test_turn_whose_start_is_repeated_is_placed_where_it_began() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.speech_started(1.0)
    timeline.advance(1.2, 1.2)
    assert updates_of(tracker.process(START, 1.2)) == updates_of(tracker.process(START, 1.2)) == []
    timeline.advance(2.5, 2.5)
    timeline.speech_stopped(2.0)
    assert said(tracker, end("Hey"), 2.5) == [Segment(1.0, 2.0, "Hey", "audio")]


def test_sound_without_a_turn_within_the_longest_delay_is_assigned_to_none() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.speech_started(0.0)
    timeline.speech_stopped(0.3)
    for tenth in range(1, 206):
        timeline.advance(tenth / 10, tenth / 10)
        assert updates_of(tracker.advance(tenth / 10)) == []
        if tenth == 200:
            timeline.speech_started(20.0)
    assert said(tracker, START, 20.5) == []
    timeline.speech_stopped(20.4)
    assert said(tracker, end("Hey"), 20.8) == [Segment(20.0, 20.4, "Hey", "audio")]


def test_resent_turn_without_words_is_not_matched_with_earlier_text() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.advance(2.0, 2.0)
    assert texts(said(tracker, end("one two"))) == ["one two"]
    tracker.rewind(0.0)
    timeline.rewind(0.0)
    timeline.advance(2.0, 4.0)
    assert texts(said(tracker, end("…"))) == texts(said(tracker, end("one two"))) == []
    assert texts(reduced(tracker, [end("three")])) == [" three"]


@pytest.mark.parametrize("heard_again", ["", "Two."])
def test_session_may_not_end_while_skipped_audio_may_have_no_answer(heard_again: str) -> None:
    tracker, timeline = tracking(TurnTracker)
    facts: list[Fact] = []
    steps = {72: START, 80: end("One."), 282: START, 290: end("Two."), 292: START, 300: end("Three.")}
    for tenth in range(1, 301):
        timeline.advance(tenth / 10, tenth / 10)
        facts += tracker.advance(tenth / 10)
        if tenth in (70, 280, 290):
            timeline.speech_started(tenth / 10)
        elif tenth in (75, 285, 295):
            timeline.speech_stopped(tenth / 10)
        if tenth in steps:
            facts += tracker.process(steps[tenth], tenth / 10)
    position, acknowledged = 27.5, [fact.position for fact in facts if isinstance(fact, Acknowledged)]
    tracker.rewind(position, skips_audio=True)
    timeline.rewind(position)
    for tenth in range(276, 301):
        timeline.advance(tenth / 10, tenth / 10 + 3)
    if heard_again:
        assert texts(said(tracker, end(heard_again), 33.0)) == []
    assert not tracker.confirm_end() and tracker.resume_position == acknowledged[-1] < position
    tracker.rewind(tracker.resume_position)
    assert tracker.confirm_end()


def test_end_without_a_turn_and_text_answers_no_audio() -> None:
    tracker, timeline = tracking(TurnTracker)
    for tenth in range(1, 101):
        timeline.advance(tenth / 10, tenth / 10)
        if tenth in (10, 40, 70):
            timeline.speech_started(tenth / 10)
            timeline.speech_stopped(tenth / 10 + 0.5)
        if tenth == 60:
            said(tracker, end("One."))
    position = tracker.resume_position
    said(tracker, end(""))
    assert tracker.resume_position == position


@pytest.mark.parametrize("ends", [True, False])
def test_long_turn_that_begins_with_settled_words_settles_without_them(ends: bool) -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.advance(5.0, 5.0)
    updates = said(tracker, end("One two three."))
    tracker.rewind(0.0)
    timeline.rewind(0.0)
    for second in range(1, 31):
        timeline.advance(second, 5.0 + second)
        updates += updates_of(tracker.advance(5.0 + second))
        if second in (2, 29):
            updates += said(tracker, update("One two three, four five."))
    updates += said(tracker, end("")) if ends else []
    updates += updates_of(tracker.settle_open(complete=True))
    assert texts(updates) == ["One two three.", " four five."]


def test_start_of_speech_is_kept_as_long_as_the_speech_lasts() -> None:
    """A turn may be longer than what is kept of when audio was sent."""
    timeline = SpeechTimeline()
    timeline.speech_started(0.5)
    for tenth in range(1, 1201):
        timeline.advance(tenth / 10, tenth / 10)
    assert timeline.time_after(0.5) is None
    assert timeline.speech == UtteranceTimes(start=0.5, start_sent_at=0.6)


def times_of(facts: Iterable[Fact]) -> list[UtteranceTimes]:
    return [fact for fact in facts if isinstance(fact, UtteranceTimes)]


def test_utterance_is_reported_once_when_its_finalize_is_answered() -> None:
    tracker, timeline = tracking(ManualTracker)
    timeline.speech_started(0.5)
    timeline.advance(2.0, 2.0)
    timeline.speech_stopped(1.5)
    tracker.finalize_sent(2.1)
    expected = UtteranceTimes(0.5, 1.5, start_sent_at=2.0, stop_sent_at=2.0, finalized=2.1, flushed=2.4)
    assert times_of(tracker.process(FlushDone(), 2.4)) == [expected]
    assert times_of(tracker.process(Delta(text="late"), 2.5)) == times_of(tracker.advance(14.0)) == []
    assert times_of(tracker.settle_open(complete=True)) == []


def test_text_that_may_belong_to_another_utterance_is_not_a_last_text() -> None:
    """Two were finalized, and the first answer had no text: what comes next belongs to either of them."""
    tracker, timeline = tracking(ManualTracker)
    for start in (0.0, 2.0):
        timeline.speech_started(start)
        timeline.advance(start + 1.5, start + 1.5)
        timeline.speech_stopped(start + 1.0)
        tracker.finalize_sent(start + 1.5)
    facts = [fact for event in (FlushDone(), Delta(text="one"), FlushDone()) for fact in tracker.process(event, 4.0)]
    assert [(times.flushed, times.first_text, times.last_text) for times in times_of(facts)] == [(4.0, None, None)] * 2


def test_turn_that_starts_again_after_an_eager_end_has_no_eager_end() -> None:
    tracker, timeline = tracking(TurnTracker)
    timeline.advance(1.0, 1.0)
    for event in (START, eager(""), START):
        list(tracker.process(event, 1.0))
    (times,) = times_of(tracker.process(end("Hey"), 2.0))
    assert (times.eager_end, times.ended) == (None, 2.0)


LOST = "lost"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # a turn that repeats nothing and is over
        ([end("one two three"), LOST, end("four five"), LOST], ["one two three", " four five"]),
        ([end("one two three"), LOST, end("four five"), update(" six"), LOST], ["one two three", " four five six"]),
        ([end("one two three"), LOST, end("four five"), LOST, end("one two three")], ["one two three", " four five"]),
        ([end("one two three"), LOST, end("four five"), LOST, end("one two three"), end(" four five")],
         ["one two three", " four five"]),
        # open text, and another connection that gets less far
        ([end("one two three"), update(" four five"), LOST, update("one two three"), LOST],
         ["one two three", " four five"]),
        ([end("one two three"), update(" four five"), LOST, end("one two three"), update("four"), LOST],
         ["one two three", " four five"]),
        ([end("one two three"), update(" four five"), LOST, update("one two three four five six"), LOST],
         ["one two three", " four five six"]),
        # open text that says what was said before
        ([end("no"), update(" no"), LOST], ["no", " no"]),
        ([end("no"), update(" no"), LOST, end("no"), LOST], ["no", " no"]),
        ([end("no"), update(" no"), LOST, end("no"), end(" no")], ["no", " no"]),
    ],
)  # fmt: skip
def test_text_that_a_lost_connection_had_said_is_settled_if_no_other_says_it(
    events: list[Event | str], expected: list[str]
) -> None:
    (tracker, timeline), updates = tracking(TurnTracker), list[Update]()
    for event in events:
        if isinstance(event, str):
            tracker.rewind(0.0)
            timeline.rewind(0.0)
        else:
            timeline.sent += 1.0
            updates += said(tracker, event)
    updates += updates_of(tracker.settle_open(complete=False))
    assert texts(updates) == expected
