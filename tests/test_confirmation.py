"""Where a session would go on after a lost connection, step by step: with a clock and a server that the test is."""

from __future__ import annotations

import pytest
from cartesia_cli.session.confirmation import SECOND, Confirmation

from cartesia_cli.audio.speech import Mark
from cartesia_cli.protocol import Command, Delta, Finalize, FlushDone, TurnEnd, TurnStart
from cartesia_cli.session.ledger import Ledger

CHUNK = SECOND // 10


class Desk:
    """A ledger whose audio goes out at `pace` times life."""

    def __init__(self, manual: bool, pace: float = 1.0) -> None:
        self.now, self.pace = 0.0, pace
        self.ledger: Ledger[Mark | Command] = Ledger(CHUNK)
        self.confirmation = Confirmation(self.ledger, manual=manual, clock=lambda: self.now)

    def send(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1 / self.pace
            self.ledger.write(bytes(CHUNK))
            self._take()

    def mark(self, kind: str, at: float) -> None:
        self.ledger.note(Mark(kind, at, at), cuts=False)  # type: ignore[arg-type]
        self._take()

    def finalize(self) -> None:
        self.ledger.note(Finalize())
        self._take()

    def _take(self) -> None:
        while (said := self.ledger.take()) is not None:
            if isinstance(said, bytes):
                self.confirmation.sent()
            else:
                self.confirmation.said(said)

    @property
    def confirmed(self) -> float:
        return self.ledger.confirmed / SECOND


def test_an_answer_to_finalize_confirms_to_the_byte() -> None:
    desk = Desk(manual=True)
    desk.send(1.0)
    desk.mark("onset", 0.3)
    desk.send(1.3)
    desk.finalize()
    desk.send(0.7)
    assert desk.confirmed == 0
    desk.confirmation.feed(Delta(text="x"))
    desk.confirmation.feed(FlushDone())
    assert desk.confirmed == pytest.approx(2.3)


@pytest.mark.parametrize(("pace", "late"), [(1.0, 0.0), (1.0, 0.9), (2.0, 0.1), (2.0, 0.9)])
def test_a_turn_is_confirmed_in_the_silence_behind_it_however_late_its_events_come(pace: float, late: float) -> None:
    """Speech from 0.5 to 0.9 and from 1.9 to 2.3 s; the server hears a turn's end after 0.4 s of silence."""
    desk = Desk(manual=False, pace=pace)
    ahead = round(late * pace, 1)  # what goes out while an answer is on its way
    happens = sorted([(0.6, "onset", 0.5), (1.1, "lull", 0.9), (1.3, "end", 0.9), (2.0, "onset", 1.9),
                      (2.5, "lull", 2.3), (0.6 + ahead, "start", 0), (1.3 + ahead, "stop", 0)])  # fmt: skip
    for at, what, speech in happens:
        desk.send(round(at - desk.ledger.written / SECOND, 1))
        if what == "start":
            desk.confirmation.feed(TurnStart())
        elif what == "stop":
            desk.confirmation.feed(TurnEnd(transcript="x"))
            assert 0.9 < desk.confirmed < 1.9
        else:
            desk.mark(what, speech)


def test_what_the_server_heard_and_we_did_not_is_confirmed_where_it_ends() -> None:
    desk = Desk(manual=False)
    desk.send(1.0)
    desk.confirmation.feed(TurnStart())
    desk.send(2.0)
    desk.confirmation.feed(TurnEnd(transcript="x"))
    assert desk.confirmed == pytest.approx(3.0)


def test_silence_needs_no_confirmation_but_speech_that_waits_for_an_answer_does() -> None:
    for manual in (True, False):
        desk = Desk(manual)
        desk.send(60.0)
        assert desk.confirmed == pytest.approx(58.0)
    desk = Desk(manual=True)
    desk.send(1.0)
    desk.mark("onset", 0.8)
    desk.send(0.5)
    desk.mark("end", 1.2)
    desk.send(60.0)
    assert desk.confirmed == 0


def spoken(desk: Desk) -> None:
    """A sentence from 0.3 to 0.9 s, and a `finalize` behind it."""
    desk.send(0.5)
    desk.mark("onset", 0.3)
    desk.send(0.7)
    desk.mark("end", 0.9)
    desk.finalize()


def test_an_answer_without_text_confirms_nothing_until_its_text_has_come() -> None:
    desk = Desk(manual=True)
    spoken(desk)
    desk.send(0.2)
    desk.confirmation.feed(FlushDone())
    desk.send(0.3)
    assert desk.confirmed == 0  # its text may be on its way, as an old example has it
    desk.confirmation.feed(Delta(text="One."))
    assert desk.confirmed == pytest.approx(1.2)


@pytest.mark.parametrize("event", [Delta(text=" \n"), Delta(text="On", is_final=False)])
def test_what_is_no_text_for_good_is_not_the_text_of_an_answer(event: Delta) -> None:
    desk = Desk(manual=True)
    spoken(desk)
    desk.confirmation.feed(event)
    desk.confirmation.feed(FlushDone())
    assert desk.confirmed == 0


def test_an_answer_whose_text_doesnt_come_confirms_after_a_while() -> None:
    desk = Desk(manual=True)
    spoken(desk)
    desk.confirmation.feed(FlushDone())
    desk.send(0.9)
    assert desk.confirmed == 0
    desk.send(0.3)
    assert desk.confirmed == pytest.approx(1.2)
    desk.send(60.0)
    assert desk.confirmed > 58.0


def test_text_that_may_be_of_the_next_utterance_confirms_no_answer_and_the_next_answer_does() -> None:
    desk = Desk(manual=True)
    spoken(desk)
    desk.confirmation.feed(FlushDone())
    desk.mark("onset", 1.3)
    desk.send(0.4)
    desk.finalize()
    desk.confirmation.feed(Delta(text="One."))
    assert desk.confirmed == 0
    desk.confirmation.feed(FlushDone())
    assert desk.confirmed == pytest.approx(1.6)
