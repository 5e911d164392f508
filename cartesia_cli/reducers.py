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
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

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
from .text_encoding import ends_within_character, join_surrogates
from .timing import LATEST
from .transcript import Notice, Partial, Segment, Timing, Update, moved

WORD = 0.2
"""Seconds in which nobody says a word: who began to speak no longer ago has said nothing yet."""

LAG = 2.0
"""Seconds that the end of a turn may come late: who began to speak no longer ago began the next one."""

LATE = 1.0
"""Seconds in which text belongs to a `flush_done` that came before it. An old example of the documentation has
them in this order; what comes later is rather something that the endpointer did not hear."""


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

    @property
    def is_quiet(self) -> bool:
        """Whether nobody was heard in the audio since the last `take`."""
        return not self._spoken

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


@dataclass(slots=True)
class Said:
    """What was said for good, and is not settled.

    words      those that came with it; None once some of it came without: the others would be taken for all
    timing     what times are that are not those of the words
    language   as the server told it last
    """

    text: str = ""
    words: list[Word] | None = field(default_factory=list)
    timing: Timing = "audio"
    language: str | None = None

    def add(self, delta: Delta, origin: float) -> None:
        """`origin`: when the times of its words begin, seconds."""
        self.text = join_surrogates(self.text + delta.text)
        self.language = delta.language or self.language
        if delta.text.strip() and not delta.words:
            self.words = None
        elif self.words is not None:
            self.words += [moved(word, origin) for word in delta.words or ()]


class Answer(NamedTuple):
    """A `flush_done`, and what times text is told that comes behind it.

    at             seconds of audio sent when it came
    span, timing   those of its segment; None where its text came before it
    """

    at: float
    span: tuple[float, float] | None
    timing: Timing


class ManualReducer:
    """Deltas of the manual endpoint: joined verbatim, settled at `flush_done` (docs: stt/common-pitfalls).

    What comes behind a `flush_done` that nothing came before, as an old example of the documentation shows, is its
    text, if nobody has spoken since and no other one is due: it is settled at once. Where this can't be known, text
    waits for what is said next, and its time is called a guess.
    """

    def __init__(self, clock: AudioClock) -> None:
        self._clock = clock
        self._open = Said()
        self._due: deque[tuple[float, float]] = deque()
        self._answer: Answer | None = None
        self._origin = 0.0  # of the connection's times
        self._is_stale = False  # what is open came by a connection that was lost

    def finalized(self) -> None:
        self._due.append(self._clock.take())

    def rewind(self, at: float) -> None:
        self._origin, self._is_stale, self._answer = at, True, None
        self._due.clear()

    def forget(self) -> None:
        self._open, self._answer = Said(), None
        self._due.clear()

    def feed(self, event: Event) -> Iterator[Update]:
        match event:
            case Delta(is_final=True):
                if self._is_stale and event.text:
                    self._open, self._is_stale = Said(), False
                self._open.add(event, self._origin)
                if event.text:
                    yield from self._grown()
            case Delta():
                yield self._partial(("" if self._is_stale else self._open.text) + event.text)
            case FlushDone():
                span = self._due.popleft() if self._due else self._clock.take()
                settled = [*self._settle(span)]
                self._answer = Answer(self._clock.sent, None if settled else span, "estimated" if settled else "audio")
                yield from settled
            case Done():
                yield from self.end()

    def end(self) -> Iterator[Update]:
        if self._open.text:
            yield from self._settle(self._due[0] if self._due else self._clock.take(), whole=True)

    def _grown(self) -> Iterator[Update]:
        answer = self._answer
        if answer is not None and self._clock.sent - answer.at <= LATE:
            is_late = self._clock.is_quiet and not self._due
            if is_late and answer.span is not None:
                self._open.timing = answer.timing
                for segment in self._settle(answer.span):
                    self._answer = answer._replace(span=(answer.span[1],) * 2, timing="estimated")
                    yield segment
                return
            if is_late or answer.timing == "audio":
                self._open.timing = "estimated"
        yield self._partial(self._open.text)

    def _partial(self, text: str) -> Partial:
        """What is being said. Half a character, whose other half has not come, is not shown."""
        text = join_surrogates(text)
        return Partial(self._clock.sent, text[:-1] if ends_within_character(text) else text)

    def _settle(self, span: tuple[float, float], *, whole: bool = False) -> Iterator[Segment]:
        """The open text as a segment. Blanks alone, and half a character at its end, wait for the text that they belong
        to, unless there is none.
        """
        said = self._open
        if not said.text or (said.text.isspace() and not whole):
            return
        timing = said.timing
        if (times := _bounds(said.words or [])) is not None:
            span, timing = times, "server"
        half = said.text[-1:] if ends_within_character(said.text) and not whole else ""
        self._open, self._is_stale = Said(half), False
        if text := said.text.removesuffix(half):
            yield Segment(*span, text, timing, tuple(said.words or ()), said.language)


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
    """First start and last end, if every word has both, they can be times, and none ends before it starts."""
    times = [(word.start, word.end) for word in words]
    if not times or any(start is None or end is None or not 0 <= start <= end < LATEST for start, end in times):
        return None
    starts, ends = [start for start, _ in times if start is not None], [end for _, end in times if end is not None]
    return min(starts), max(ends)
