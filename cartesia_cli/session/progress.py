"""How far a session is: what went out and what came in, told to all who keep count of it.

    ledger         what there is to say
    confirmation   how much of it has had its effect
    reducer        what came of it, on its clock
    witness        whoever watches
    write          whoever reads

Must never wait, nor know over which connection anything goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..audio.pcm import RATE
from ..audio.speech import Mark
from ..protocol import Close, Command, Event, Finalize
from ..reducers import AudioClock, Reducer
from ..transcript import Notice, Partial, Segment, Update
from .confirmation import Confirmation, Entry
from .ledger import Ledger
from .parties import Witness

BYTES_A_SECOND = 2 * RATE


class Progress:
    """Keeps everybody's count.

    speech    whether somebody was heard here
    text      whether somebody was heard there: any text came that is more than blanks
    settled   when text was settled last, or everything was asked for; seconds by `now`
    """

    def __init__(
        self,
        ledger: Ledger[Entry],
        reducer: Reducer,
        clock: AudioClock,
        *,
        manual: bool,
        now: Callable[[], float],
        write: Callable[[Update], None],
        witness: Witness,
    ) -> None:
        self._ledger, self._reducer, self._clock, self._now = ledger, reducer, clock, now
        self._confirmation = Confirmation(ledger, manual=manual, clock=now)
        self._write, self._witness = write, witness
        self.speech = self.text = False
        self.settled = 0.0

    def came(self, block: bytes) -> None:
        """The source gave a block."""
        self._ledger.write(block)
        self._witness.came(len(block))

    def sent(self, frame: bytes) -> None:
        """A frame of the ledger went out."""
        self._clock.sent = self._ledger.sent / BYTES_A_SECOND
        self._witness.sent(len(frame))
        self._confirmation.sent()

    def reached(self, entry: Mark | Command) -> None:
        """An entry of the ledger is next: everything before it went out."""
        self._confirmation.said(entry)
        match entry:
            case Mark():
                self._witness.marked(entry)
                self._hear(entry)
            case Finalize():
                self._reducer.finalized()
                self._witness.finalized()
            case Close():
                self.settled = self._now()

    def heard(self, event: Event) -> None:
        """An event came in."""
        self._witness.heard(event)
        self.put(self._reducer.feed(event))
        self._confirmation.feed(event)

    def rewind(self) -> None:
        """The connection was lost: back to what is not confirmed."""
        at = self._ledger.confirmed / BYTES_A_SECOND
        again = max(0.0, self._clock.sent - at)
        self._keep_forgotten()
        self._ledger.rewind()
        self._confirmation.rewind()
        self._clock.rewind(at)
        self._reducer.rewind(at)
        self._witness.rewound(at)
        self.tell("reconnected", f"connected again: {again:.1f} s of audio are sent again")

    def jump(self, segments: Iterable[Segment]) -> None:
        """All that was not confirmed has come by another way."""
        self._keep_forgotten()
        self._reducer.forget()
        self._clock.sent = self._ledger.written / BYTES_A_SECOND
        self.put(segments)

    def end(self) -> None:
        """Nothing more will come: what is open is settled."""
        self.put(self._reducer.end())

    def tell(self, event: str, message: str) -> None:
        """Something that happened, for whoever reads."""
        self._write(Notice(self._clock.sent, event, message))

    def put(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self.text = self.text or (isinstance(update, Partial | Segment) and bool(update.text.strip()))
            if isinstance(update, Segment):
                self.settled = self._now()
            self._write(update)

    def _keep_forgotten(self) -> None:
        """What was heard of audio that was given up will not come again."""
        if self._ledger.forgotten:
            self.end()

    def _hear(self, mark: Mark) -> None:
        match mark.kind:
            case "onset":
                self.speech = True
                self._clock.onset(mark.speech)
            case "resume":
                self._clock.resume()
            case "lull" | "end":
                self._clock.pause(mark.speech)
