"""How much audio is acknowledged, and where another connection would begin: step by step, with a clock of the test."""

from __future__ import annotations

import pytest

from cartesia_cli.protocol.events import Delta, Event, FlushDone, TurnEnd, TurnStart
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker
from cartesia_cli.tracker.timeline import MAX_RESPONSE_SECONDS

STEP = 0.1


class Connection:
    """Audio goes out at `speed` times real time, and events come when a test says so."""

    def __init__(self, manual: bool, speed: float = 1.0) -> None:
        self.now, self.speed = 0.0, speed
        self.timeline = SpeechTimeline()
        self.tracker = (ManualTracker if manual else TurnTracker)(self.timeline)

    def send(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP / self.speed
            self.timeline.advance(self.timeline.sent + STEP, self.now)
            list(self.tracker.advance(self.now))

    def receive(self, event: Event) -> None:
        list(self.tracker.process(event, self.now))

    @property
    def resume_position(self) -> float:
        return self.tracker.resume_position


def finalized_sentence() -> Connection:
    """A sentence from 0.3 to 0.9 s, and a `finalize` at 1.2 s."""
    connection = Connection(manual=True)
    connection.send(0.5)
    connection.timeline.speech_started(0.3)
    connection.send(0.7)
    connection.timeline.speech_stopped(0.9)
    connection.tracker.finalize_sent(connection.now)
    return connection


def test_an_answer_to_finalize_acknowledges_the_audio_before_it_to_the_sample() -> None:
    connection = finalized_sentence()
    connection.send(0.7)
    assert connection.resume_position == 0
    connection.receive(Delta(text="x"))
    connection.receive(FlushDone())
    assert connection.resume_position == pytest.approx(1.2)


@pytest.mark.parametrize(("speed", "late"), [(1.0, 0.0), (1.0, 0.9), (2.0, 0.1), (2.0, 0.9)])
def test_reconnect_resumes_in_the_pause_before_the_last_turn_at_any_delay(speed: float, late: float) -> None:
    """Speech from 0.5 to 0.9 and from 2.9 to 3.3 s; the server takes 0.4 s of silence for the end of a turn."""
    connection = Connection(manual=False, speed=speed)
    ahead = late * speed  # what goes out while an event is on its way
    happens = sorted([(0.6, "onset", 0.5), (1.1, "pause", 0.9), (3.0, "onset", 2.9), (3.5, "pause", 3.3),
                      (0.6 + ahead, "start", 0.0), (1.3 + ahead, "end", 0.0),
                      (3.0 + ahead, "start", 0.0), (3.7 + ahead, "end", 0.0)])  # fmt: skip
    ends = 0
    for at, what, position in happens:
        connection.send(at - connection.timeline.sent)
        match what:
            case "onset":
                connection.timeline.speech_started(position)
            case "pause":
                connection.timeline.speech_stopped(position)
            case "start":
                connection.receive(TurnStart())
            case "end":
                ends += 1
                connection.receive(TurnEnd(transcript=f"turn {ends}"))
                assert connection.resume_position <= (0.5 if ends == 1 else 2.9)
    assert connection.resume_position > 0.9


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_silence_is_acknowledged_once_a_server_had_time_to_say_something_of_it(manual: bool) -> None:
    connection = Connection(manual)
    connection.send(60.0)
    assert connection.resume_position == pytest.approx(60.0 - MAX_RESPONSE_SECONDS, abs=0.2)


def test_speech_that_no_finalize_covers_is_not_acknowledged() -> None:
    connection = Connection(manual=True)
    connection.send(1.0)
    connection.timeline.speech_started(0.8)
    connection.send(0.5)
    connection.timeline.speech_stopped(1.2)
    connection.send(60.0)
    assert connection.resume_position <= 0.8


def test_what_the_server_heard_and_we_did_not_is_not_sent_again() -> None:
    connection = Connection(manual=False)
    connection.send(1.0)
    connection.receive(TurnStart())
    connection.send(2.0)
    connection.receive(TurnEnd(transcript="x"))
    assert 2.5 <= connection.resume_position <= 3.0


def test_an_answer_without_text_acknowledges_nothing_until_its_text_has_come() -> None:
    connection = finalized_sentence()
    connection.send(0.2)
    connection.receive(FlushDone())
    connection.send(0.3)
    assert connection.resume_position == 0  # its text may be on its way, as an old example has it
    connection.receive(Delta(text="One."))
    assert connection.resume_position == pytest.approx(1.2)


@pytest.mark.parametrize("event", [Delta(text=" \n"), Delta(text="On", is_final=False)])
def test_spaces_and_previews_do_not_answer_a_finalize(event: Delta) -> None:
    connection = finalized_sentence()
    connection.receive(event)
    connection.receive(FlushDone())
    assert connection.resume_position == 0


def test_flush_done_without_text_acknowledges_after_a_while() -> None:
    connection = finalized_sentence()
    connection.receive(FlushDone())
    connection.send(MAX_RESPONSE_SECONDS - 0.5)
    assert connection.resume_position == 0
    connection.send(1.0)
    assert connection.resume_position >= 1.2
    connection.send(60.0)
    assert connection.resume_position > 58.0 - MAX_RESPONSE_SECONDS


def test_text_that_may_be_of_the_next_utterance_acknowledges_nothing_and_the_next_answer_does() -> None:
    connection = finalized_sentence()
    connection.receive(FlushDone())
    connection.timeline.speech_started(1.3)
    connection.send(0.4)
    connection.tracker.finalize_sent(connection.now)
    connection.receive(Delta(text="One."))
    assert connection.resume_position == 0
    connection.receive(FlushDone())
    assert connection.resume_position == pytest.approx(1.6)
