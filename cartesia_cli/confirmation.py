"""How much of what was sent has had its effect, so that after a lost connection only the rest is sent again.

    manual   an answer to `finalize` (`flush_done`) confirms all audio before that `finalize`, to the byte
    auto     `turn.end` confirms its turn. The events carry no times, so the place is looked for in the silence
             behind the last speech: too early, and a word is heard twice; too late, and one is lost
    both     silence in which nothing is open needs no confirmation

Pure: places in bytes of audio go in and out. Must never send anything, nor read what an event says.
"""

from __future__ import annotations

from .audio.pcm import RATE
from .audio.speech import Mark
from .ledger import Ledger
from .protocol import (
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

SECOND = 2 * RATE
"""Bytes of a second of audio."""

LEAD = SECOND // 2
"""Silence before speech that is sent again with it: where speech begins is known to a few frames only."""

TAIL = SECOND // 8
"""Silence behind speech that is not sent again: a word fades, and what is left of it could be taken for one."""

IN_FLIGHT = SECOND
"""What may have been sent and not yet been heard when an answer comes: the way there and back, and some thinking."""

IDLE = 2 * SECOND
"""Silence after which nothing is expected any more, and the most of it that is sent again."""

UNHEARD = 5 * SECOND
"""The same where we heard somebody and the server, in auto mode, nobody: it was noise."""

Entry = Mark | Command


class Confirmation:
    """Confirms what a ledger holds. `feed` it events, and tell it what was said.

    Until it's confirmed, where the last speech was is known by what the endpointer marked in what was sent.
    """

    def __init__(self, ledger: Ledger[Entry], *, manual: bool) -> None:
        self._ledger, self._manual = ledger, manual
        self.rewind()

    def rewind(self) -> None:
        """The ledger is back at what is confirmed: everything from there on is said, and marked, again."""
        self._onset: int | None = None  # of speech that goes on
        self._stopped: int | None = None  # where the last speech ended
        self._began: int | None = None  # what had been sent when the open turn began
        self._is_open = False  # something was said, or asked, that is not confirmed

    def said(self, entry: Entry) -> None:
        """The sender came by an entry."""
        match entry:
            case Finalize():
                self._is_open = True
            case Mark(kind="onset" | "resume"):
                self._is_open, self._onset = True, _place(entry.speech)
            case Mark():
                self._onset, self._stopped = None, _place(entry.speech)

    def sent(self) -> None:
        """The sender sent audio: what is silent and waits for nothing is confirmed by that."""
        heard = not self._manual and self._began is None
        if self._onset is None and (heard or not self._is_open):
            quiet = UNHEARD if self._is_open else IDLE
            if self._ledger.sent - (self._stopped or self._ledger.confirmed) >= quiet:
                self._is_open = False
                self._ledger.confirm(self._ledger.sent - IDLE)

    def feed(self, event: Event) -> None:
        """What an event confirms."""
        match event:
            case FlushDone():
                if self._ledger.answered(lambda entry: isinstance(entry, Finalize)) is None:
                    self._ledger.confirm(self._seam())  # the server's own idea
                self._is_open = self._onset is not None or (self._stopped or 0) > self._ledger.confirmed
            case Delta():
                self._is_open = True
            case TurnStart() | TurnUpdate() | TurnEagerEnd() | TurnResume():
                self._began = self._ledger.sent if self._began is None else self._began
            case TurnEnd():
                self._ledger.confirm(self._seam())
                self._began = None
                self._is_open = self._onset is not None

    def _seam(self) -> int:
        """Where what has ended is over for certain and what comes has not begun."""
        sent, onset, stopped = self._ledger.sent, self._onset, self._stopped
        if onset is None:
            if stopped is None or stopped <= self._ledger.confirmed:
                return sent  # what the server heard was too soft for us
            return _between(stopped, sent)
        if sent - onset > IN_FLIGHT or (self._began is not None and onset < self._began):
            return sent  # the speech that has just ended seems to go on: that is noise
        return _between(self._ledger.confirmed if stopped is None else stopped, onset)


def _between(before: int, after: int) -> int:
    """A place in the silence between two stretches of speech, nearer to the second."""
    return max(min(before + TAIL, (before + after) // 4 * 2), after - LEAD)


def _place(seconds: float) -> int:
    return 2 * round(seconds * RATE)
