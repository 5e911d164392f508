"""Events of a live session as updates: what is being said, what is settled, what else is worth knowing.

One reducer a dialect, both machines with `feed`. Their law: the segments' texts joined are, character for
character, what the server sent for good. Must never strip, add a blank or drop what was received, whatever
order events come in; and must not know how they came.

Times are the server's where it sends any. Otherwise they are those of the audio: where in what was sent
somebody spoke, which the endpointer tells the AudioClock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .protocol import (
    Delta,
    Done,
    Event,
    FlushDone,
    TurnEagerEnd,
    TurnEnd,
    TurnResume,
    TurnStart,
    TurnUpdate,
    Word,
)
from .transcript import Notice, Partial, Segment, Timing, Update, moved

WORD = 0.2
"""Seconds in which nobody says a word: who began to speak no longer ago has said nothing yet."""

LAG = 2.0
"""Seconds that the end of a turn may come late: who began to speak no longer ago began the next one."""


@dataclass(slots=True)
class Stretch:
    """Speech between two silences, seconds. stop: None while it goes on."""

    start: float
    stop: float | None = None


class AudioClock:
    """Seconds of audio sent, and the stretches of them in which somebody spoke."""

    def __init__(self) -> None:
        self.sent = 0.0
        self._spoken: list[Stretch] = []
        self._taken = 0.0

    def onset(self, at: float) -> None:
        """Speech began at so many seconds."""
        self._spoken.append(Stretch(at))

    def pause(self, at: float) -> None:
        """Speech stopped, perhaps for good."""
        if self._spoken:
            self._spoken[-1].stop = at
        elif at > self._taken:  # it was going on when the last utterance was cut off
            self._spoken.append(Stretch(self._taken, at))

    def resume(self) -> None:
        """It had not."""
        if self._spoken:
            self._spoken[-1].stop = None

    def rewind(self, at: float) -> None:
        """Audio from so many seconds on will be sent again."""
        self.sent = self._taken = at
        self._spoken.clear()

    def take(self, lag: float = WORD) -> tuple[float, float]:
        """Where speech began and ended in the audio since the last call; all of that audio where none was heard.

        Who is still speaking is cut off here. But after a silence, who began no more than `lag` seconds ago
        belongs to what comes next as a whole.
        """
        first, self._taken = self._taken, self.sent
        spoken, self._spoken = self._spoken, []
        if not spoken:
            return first, self.sent
        if spoken[-1].stop is None:
            begins = len(spoken) > 1 and self.sent - spoken[-1].start <= lag
            self._spoken.append(spoken.pop() if begins else Stretch(self.sent))
        start, stop = spoken[0].start, spoken[-1].stop
        return start, max(start, self.sent if stop is None else stop)


class Reducer(Protocol):
    """Either reducer."""

    def finalized(self) -> None:
        """A `finalize` has been sent."""

    def feed(self, event: Event) -> Iterator[Update]:
        """What an event means."""

    def rewind(self, at: float) -> None:
        """The connection was lost: audio from so many seconds on goes to another one, whose times begin there.

        What is open will come again; until it does, it is kept: perhaps there is no other connection.
        """

    def forget(self) -> None:
        """What is open has come by another way, and is settled."""

    def end(self) -> Iterator[Update]:
        """The session is over, well or not: what was open is settled."""


class ManualReducer:
    """Deltas of the manual endpoint: joined verbatim, settled at `flush_done` (docs: stt/common-pitfalls).

    A delta that comes after the `flush_done` it belongs to opens the next segment: no text is lost by the
    order that an old example of the documentation shows.
    """

    def __init__(self, clock: AudioClock) -> None:
        self._clock = clock
        self._open = ""
        self._words: list[Word] = []
        self._due: deque[tuple[float, float]] = deque()
        self._origin = 0.0  # of the connection's times
        self._is_stale = False  # what is open came by a connection that was lost

    def finalized(self) -> None:
        self._due.append(self._clock.take())

    def rewind(self, at: float) -> None:
        self._origin, self._is_stale = at, True
        self._due.clear()

    def forget(self) -> None:
        self._open, self._words = "", []
        self._due.clear()

    def feed(self, event: Event) -> Iterator[Update]:
        match event:
            case Delta(is_final=True):
                if self._is_stale and event.text:
                    self._open, self._words, self._is_stale = "", [], False
                self._open += event.text
                self._words += [moved(word, self._origin) for word in event.words or ()]
                if event.text:
                    yield Partial(self._clock.sent, self._open)
            case Delta():
                yield Partial(self._clock.sent, ("" if self._is_stale else self._open) + event.text)
            case FlushDone():
                span = self._due.popleft() if self._due else self._clock.take()
                yield from self._settle(span)
            case Done():
                yield from self.end()

    def end(self) -> Iterator[Update]:
        if self._open:
            yield from self._settle(self._due[0] if self._due else self._clock.take(), whole=True)

    def _settle(self, span: tuple[float, float], *, whole: bool = False) -> Iterator[Segment]:
        """The open text as a segment. Blanks alone wait for the text that they belong to, unless there is none."""
        if not self._open or (self._open.isspace() and not whole):
            return
        timing: Timing = "audio"
        if (times := _bounds(self._words)) is not None:
            span, timing = times, "server"
        segment = Segment(*span, self._open, timing, tuple(self._words))
        self._open, self._words, self._is_stale = "", [], False
        yield segment


class AutoReducer:
    """Turns of the auto endpoint: within a turn texts replace each other, across turns they join verbatim.

    The turn machine, with rows for servers that leave events out or send them twice (docs: stt/turns, and
    what other clients met): what was emitted is final, so no row drops it.

        state      event       then
        idle       start       speaking
        idle       update      speaking    a start was left out
        idle       eager_end   eager       likewise
        idle       end         idle        settles a text that is not the last one repeated
        any open   start       speaking    settles: the end was left out
        speaking   eager_end   eager
        eager      resume      speaking
        eager      update      speaking    a resume was left out
        any open   end         idle        settles; an empty end keeps the last text
        others                             no change
    """

    def __init__(self, clock: AudioClock) -> None:
        self._clock = clock
        self._state = "idle"
        self._open = ""
        self._last = ""
        self._is_stale = False  # what is open came by a connection that was lost

    def rewind(self, at: float) -> None:
        self._state, self._is_stale = "idle", True

    def forget(self) -> None:
        self._state, self._open = "idle", ""

    def finalized(self) -> None:
        return  # there is no such command here

    def feed(self, event: Event) -> Iterator[Update]:
        match event:
            case TurnStart():
                if not self._is_stale:  # otherwise this is the same turn again
                    yield from self._settle(LAG)
                self._state, self._is_stale = "speaking", False
            case TurnUpdate(transcript=text):
                yield self._grown("speaking", text)
            case TurnEagerEnd(transcript=text):
                yield self._grown("eager", text)
                yield Notice(self._clock.sent, "turn.eager_end", "perhaps the end of a turn")
            case TurnResume() if self._state == "eager":
                self._state = "speaking"
                yield Notice(self._clock.sent, "turn.resume", "the turn goes on")
            case TurnEnd(transcript=text) if self._state != "idle" or text != self._last:
                self._open = text or self._open
                yield from self._settle(LAG)

    def end(self) -> Iterator[Update]:
        return self._settle(WORD)

    def _grown(self, state: str, text: str) -> Partial:
        self._state = state
        if text:
            self._open, self._is_stale = text, False
        return Partial(self._clock.sent, self._open)

    def _settle(self, lag: float) -> Iterator[Segment]:
        if self._open or self._state != "idle":
            span = self._clock.take(lag)
            if self._open:
                yield Segment(*span, self._open, "audio")
                self._last = self._open
        self._state, self._open, self._is_stale = "idle", "", False


def _bounds(words: list[Word]) -> tuple[float, float] | None:
    """First start and last end, if every word has both and none ends before it starts."""
    times = [(word.start, word.end) for word in words]
    if not times or any(start is None or end is None or end < start for start, end in times):
        return None
    starts, ends = [start for start, _ in times if start is not None], [end for _, end in times if end is not None]
    return min(starts), max(ends)
