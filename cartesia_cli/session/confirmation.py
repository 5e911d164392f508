"""How much of what was sent has had its effect, so that after a lost connection only the rest is sent again.

    manual   an answer to `finalize` (`flush_done`) confirms all audio before that `finalize`, to the byte; where
             somebody spoke and no text came before it, as soon as that comes behind it, or LATE
    auto     `turn.end` confirms its turn. The events carry no times, so the place is looked for in the silence
             behind the last speech: too early, and a word is heard twice; too late, and one is lost
    both     silence in which nothing is open needs no confirmation

Places are bytes of audio. Must never send anything, nor read what an event says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

from ..audio.pcm import RATE
from ..audio.speech import Mark
from ..protocol import (
    Command,
    Delta,
    Event,
    Finalize,
    FlushDone,
    TurnEagerEnd,
    TurnEnd,
    TurnResume,
    TurnStart,
    TurnUpdate,
)
from .ledger import Ledger

SECOND = 2 * RATE
"""Bytes of a second of audio."""

LEAD = SECOND // 2
"""Silence before speech that is sent again with it: where speech begins is known to a few frames only."""

TAIL = SECOND // 8
"""Silence behind speech that is not sent again: a word fades, and what is left of it could be taken for one."""

ON_ITS_WAY = 1.0
"""Seconds: what was sent so shortly before an answer came may not have been heard yet. There and back, and some
thinking."""

LATE = SECOND
"""Audio that goes out while text may still come that belongs to an answer before it."""

PAUSE = SECOND // 4
"""Silence that may have ended a turn."""

IDLE = 2 * SECOND
"""Silence after which nothing is expected any more, and the most of it that is sent again."""

UNHEARD = 5 * SECOND
"""The same where we heard somebody and the server, in auto mode, nobody: it was noise."""

SPEAKING = 1 << 62
"""Where speech stops that goes on: behind everything."""

Entry = Mark | Command


class Confirmation:
    """Confirms what a ledger holds. `feed` it events, and tell it what was said and sent."""

    def __init__(self, ledger: Ledger[Entry], *, manual: bool, clock: Callable[[], float]) -> None:
        self._ledger, self._manual, self._clock = ledger, manual, clock
        self.rewind()

    def rewind(self) -> None:
        """The ledger is back at what is confirmed: everything from there on is said, and marked, again."""
        self._speech: deque[list[int]] = deque(maxlen=256)  # stretches: where each began and stopped; SPEAKING: not yet
        self._times: deque[tuple[float, int]] = deque()  # when the last frames went out, and where they ended
        self._began: int | None = None  # what had been heard, for certain, when the open turn began
        self._is_open = False  # something was said, or asked, that is not confirmed
        self._due = self._asked = 0  # answers that are to come, and where the last one was asked for
        self._has_text = False  # text came for good since the last answer
        self._waits: int | None = None  # the last answer, for its text: since so much had been sent

    def said(self, entry: Entry) -> None:
        """The sender came by an entry."""
        match entry:
            case Finalize():
                self._is_open, self._asked = True, self._ledger.sent
                self._due += 1
            case Mark(kind="onset"):
                self._is_open = True
                self._speech.append([_place(entry.speech), SPEAKING])
            case Mark() if self._speech:
                self._speech[-1][1] = SPEAKING if entry.kind == "resume" else _place(entry.speech)

    def sent(self) -> None:
        """The sender sent audio: what is silent and waits for nothing is confirmed by that."""
        now, place = self._clock(), self._ledger.sent
        self._times.append((now, place))
        while len(self._times) > 1 and self._times[1][0] <= now - ON_ITS_WAY:
            self._times.popleft()
        if self._waits is not None and place - self._waits >= LATE:
            self._answered()
        stopped = self._speech[-1][1] if self._speech else self._ledger.confirmed
        ignored = not self._manual and self._began is None
        if place - stopped >= (UNHEARD if self._is_open else IDLE) and (ignored or not self._is_open):
            self._is_open = False
            self._ledger.confirm(place - IDLE)

    def feed(self, event: Event) -> None:
        """What an event confirms."""
        match event:
            case FlushDone():
                if self._waits is not None:
                    self._answered()
                if self._due and not self._has_text and self._spoke_after(self._ledger.confirmed):
                    self._waits = self._ledger.sent
                else:
                    self._answered()
                self._due, self._has_text = max(0, self._due - 1), False
            case Delta():
                self._is_open = True
                if not event.is_final or not event.text.strip():
                    return
                if self._waits is None or self._due or self._spoke_after(self._asked):
                    self._has_text = True
                else:
                    self._answered()
            case TurnStart() | TurnUpdate() | TurnEagerEnd() | TurnResume():
                self._began = self._heard() if self._began is None else self._began
            case TurnEnd():
                self._ledger.confirm(self._seam())
                self._began = None
                self._is_open = self._spoke_after(self._ledger.confirmed)

    def _answered(self) -> None:
        """A `finalize` has had its answer, and its text."""
        self._waits = None
        if self._ledger.answered(lambda entry: isinstance(entry, Finalize)) is None:
            self._ledger.confirm(self._seam())  # the server's own idea
        self._is_open = self._spoke_after(self._ledger.confirmed)

    def _spoke_after(self, place: int) -> bool:
        return any(stopped > place for _, stopped in self._speech)

    def _heard(self) -> int:
        """How far the server has heard by now, for certain."""
        return self._times[0][1] if self._times else self._ledger.sent

    def _seam(self) -> int:
        """Where what has ended is over for certain, and what comes next has not begun.

        That is the first pause that may have been the last thing the server heard. Where the level of the sound
        knows of none, because it is noise or because what the server heard was too soft for us, it is right here.
        """
        sent, heard = self._ledger.sent, self._heard()
        speech = [stretch for stretch in self._speech if stretch[1] > self._ledger.confirmed]
        for (_, stopped), (onset, _) in pairwise([*speech, [sent, sent]]):
            is_next = onset >= heard and onset > (self._began or 0) and onset - stopped >= PAUSE
            if stopped < sent and (is_next or onset == sent):
                return max(min(stopped + TAIL, (stopped + onset) // 4 * 2), onset - LEAD)
        return sent


def _place(seconds: float) -> int:
    return 2 * round(seconds * RATE)
