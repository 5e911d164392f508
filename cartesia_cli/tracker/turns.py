"""The tracker of Cartesia's auto endpoint: makes segments of `turn.*` events, and drops repeated text.

Within a turn, each text replaces the one before it, unless it is empty; the turns of a connection are joined verbatim.
The events drive this state machine, which also covers servers that omit or repeat some (Cartesia's documentation:
stt/turns). No transition takes settled text back.

    state      event       then
    idle       start       speaking
    idle       update      speaking    the start was omitted
    idle       eager_end   eager       the start was omitted
    idle       end         idle        settles its text, unless that is empty or the text of the last turn
    any open   start       speaking    closes the turn if it has text: the end was omitted; otherwise a second start
    speaking   update      speaking
    speaking   eager_end   eager
    eager      eager_end   eager
    eager      resume      speaking
    eager      update      speaking    the resume was omitted
    any open   end         idle        closes the turn; an empty end keeps the last text
    others                             ignored

The text of a turn that is closed settles, unless it has to be held (see Repeats).

Times. Cartesia's events carry none. When a turn ends, `placement` finds its speech in the audio: it is the earliest
speech not assigned to a previous turn, and the delay of the server tells where it stops. If `turn.end` has word times,
the segment has those. `now` and what is named `_at` are times of the clock, `start`, `stop` and what is named `sent` or
`position` are positions in the audio, both in seconds.

Acknowledged audio. While no turn is open or held, the audio that was sent MAX_RESPONSE_SECONDS ago is acknowledged, up
to its last pause: it is never sent again. A new connection usually resumes later than that. It is sent the last speech
that was answered, judging by the measured delay, once more: from its words follows whether anything was skipped
(`resume_position`).

Repeats. Audio that is sent again gives text that was settled before. Turns of a new connection are therefore held
(`Replay`) and compared, word by word, with the turns settled after the position it resumed at (`repeats`):

- The held turns repeat settled words, up to the last one: what follows is new, and settles.
- They repeat settled words, but end before the last one: they are held until the next turn ends.
- They repeat nothing: the resume position was too optimistic if it skipped audio that wasn't acknowledged. The session
  then starts over at the acknowledged position. If it skipped nothing, they are held.
- The audio of all settled turns was sent again MAX_RESPONSE_SECONDS ago, and no turn is open, or the session ends: the
  held turns settle, without the part that repeats.

The new text of a lost connection, held or open, is kept too (`_lost_text`), in case the next connection doesn't get as
far: it settles at the end unless something replaced it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..alignment import covering_words, find_word_ends
from ..protocol.events import Event, TurnEagerEnd, TurnEnd, TurnResume, TurnStart, TurnUpdate
from ..protocol.json_fields import DetectedLanguage, Word
from ..transcript import (
    Notice,
    Partial,
    Segment,
    Timing,
    blank_between,
    ranked,
    shifted_word,
    time_range,
)
from .facts import Acknowledged, Fact, StartOver
from .placement import DELAY_JITTER_SECONDS, ResponseDelay, place_turn
from .repeats import Repeat, repeated, text_after, tokenize, words_of
from .timeline import MAX_RESPONSE_SECONDS, SpeechTimeline, UtteranceTimes

MIN_TURN_SECONDS = 0.1
"""Length given to a turn whose end, as far as it is known, isn't after its start."""


class SettledTurn(NamedTuple):
    """A turn whose text has settled, kept to recognize it when a new connection repeats it.

    words               its words, folded for comparison
    start, stop         where its speech began and stopped, as far as is known
    sent_when_settled   position of the sender when it settled: all its speech lies before that
    """

    words: tuple[str, ...]
    start: float
    stop: float
    sent_when_settled: float


TurnState = Literal["idle", "speaking", "eager"]
"""Whether a turn is going on. "eager": it may be over."""


@dataclass(slots=True)
class OpenTurn:
    """The turn that is going on, if there is one.

    state           "idle": there is none
    opened_at       when its first event came
    first_text_at   when its first text came
    eager_end_at    when its eager end came, unless it resumed
    """

    state: TurnState = "idle"
    text: str = ""
    languages: tuple[DetectedLanguage, ...] = ()
    opened_at: float | None = None
    first_text_at: float | None = None
    eager_end_at: float | None = None

    def update(self, event: TurnUpdate | TurnEagerEnd | TurnEnd, now: float) -> None:
        """Take the text and the languages of an event."""
        self.text = event.transcript or self.text
        self.languages = event.languages or self.languages
        if self.first_text_at is None and event.transcript.strip():
            self.first_text_at = now

    def segment(self, start: float, end: float, timing: Timing) -> Segment:
        """The turn as a segment."""
        languages = ranked(self.languages)
        spoken = languages[0].language if languages else None
        return Segment(start, end, self.text, timing, language=spoken, languages=languages)


class EndedTurn(NamedTuple):
    """A turn that is over.

    times   what was observed of it; None if it was open when the session ended, or if part of it repeats settled words
    """

    segment: Segment
    times: UtteranceTimes | None


@dataclass(slots=True)
class Replay:
    """Turns received after a reconnect, held until it is known how much of them repeats settled words.

    settled_words    words, settled before, that the resent audio may repeat
    expected_skips   how many of the first of them it may skip, judging by where their turns are
    settled_sent     position of the sender when the last of them settled: everything after it is new
    skips_audio      whether unacknowledged audio was left out when audio was sent again
    pending          turns that may be repeats
    is_repeat        whether the pending turns repeat settled words, as far as they go
    """

    settled_words: list[str]
    expected_skips: range
    settled_sent: float
    skips_audio: bool
    pending: list[EndedTurn]
    is_repeat: bool = False

    @property
    def text(self) -> str:
        """The text of all pending turns."""
        return "".join(turn.segment.text for turn in self.pending)

    def repeat(self, open_text: str = "") -> Repeat | None:
        """How much of the pending turns, and of the open text after them, repeats settled words."""
        return repeated(self.settled_words, words_of(self.text + open_text), self.expected_skips)

    def new_text(self, open_text: str) -> str:
        """The text of the pending turns and the open text after them, without the part that repeats."""
        text, repeat = self.text + open_text, self.repeat(open_text)
        return text if repeat is None else text_after(text, repeat.length)


class TurnTracker:
    """Tracks a session of the auto endpoint (see `Tracker`)."""

    def __init__(self, timeline: SpeechTimeline) -> None:
        self.timeline = timeline
        self._open = OpenTurn()
        # turns that are over
        self._last_turn_text = ""  # as it was received, to recognize a `turn.end` that comes twice
        self._settled_text = ""  # of the last segment, without what was repeated
        self._is_first = True  # whether no turn of this connection has settled yet
        self._turn_ended_at: float | None = None  # when the last turn of this connection ended
        self._settled: deque[SettledTurn] = deque()
        self._delay = ResponseDelay()
        # lost connections
        self._replay: Replay | None = None
        self._lost_text = ""  # the new text of a lost connection, until it is replaced
        self._sent_when_lost = 0.0  # position of the sender when that connection was lost
        self._has_new_text = False  # whether a turn has settled since a connection was lost
        self._acknowledged = 0.0
        self._fallback_position = 0.0  # where to resume if no turn has ended yet, or what is held repeats nothing
        self._connection_start = 0.0  # the position where this connection began: word times count from there

    @property
    def resume_position(self) -> float:
        if self._turn_ended_at is None or (self._replay is not None and not self._replay.is_repeat):
            return max(self._acknowledged, self._fallback_position)
        timeline = self.timeline
        answered = timeline.position_at(self._turn_ended_at - self._delay.longest - DELAY_JITTER_SECONDS)
        position = timeline.quiet_before(timeline.speech_before(answered))
        # Without settled words to compare with, nothing would tell whether audio was skipped that has no text.
        return max(self._acknowledged, position) if self._settled_words_since(position)[0] else self._acknowledged

    @property
    def may_be_idle(self) -> bool:
        return False

    def confirm_end(self) -> bool:
        if self._replay is None or not self._replay.skips_audio:
            return True
        self._fallback_position, self._turn_ended_at = self._acknowledged, None
        return False

    def finalize_sent(self, now: float) -> None:
        return  # this endpoint has no `finalize`

    def advance(self, now: float) -> Iterator[Fact]:
        if self._open.state != "idle":  # the open turn may still repeat settled words
            return
        replay = self._replay
        if replay is not None and self.timeline.position_at(now - MAX_RESPONSE_SECONDS) >= replay.settled_sent:
            yield from self._settle_held(replay)
        if self._replay is None:
            yield from self._acknowledge(now)

    def process(self, event: Event, now: float) -> Iterator[Fact]:
        match event:
            case TurnStart():
                if self._open.text:
                    yield from self._close_turn(now, is_end=False)
                self._open_turn("speaking", now)
                self._open.eager_end_at = None
            case TurnUpdate():
                yield self._update_turn("speaking", event, now)
                self._open.eager_end_at = None
            case TurnEagerEnd():
                yield self._update_turn("eager", event, now)
                self._open.eager_end_at = now if self._open.eager_end_at is None else self._open.eager_end_at
                yield Notice(self.timeline.sent, "turn.eager_end", "perhaps the end of a turn")
            case TurnResume() if self._open.state == "eager":
                self._open.state, self._open.eager_end_at = "speaking", None
                yield Notice(self.timeline.sent, "turn.resume", "the turn continues")
            case TurnEnd(transcript=text) if self._open.state != "idle" or text not in ("", self._last_turn_text):
                self._open.update(event, now)
                yield from self._close_turn(now, is_end=True, words=event.words or ())
                self._turn_ended_at = now
                if self._replay is None:
                    yield from self._acknowledge(now)

    def rewind(self, position: float, *, skips_audio: bool = False) -> None:
        new_text = self._open.text if self._replay is None else self._replay.new_text(self._open.text)
        if len(words_of(new_text)) >= len(words_of(self._lost_text)):  # the longer one got further
            self._lost_text, self._sent_when_lost = new_text, self.timeline.sent
        words, expected_skips = self._settled_words_since(position)
        settled_sent = self._settled[-1].sent_when_settled if words else position
        self._replay = Replay(words, expected_skips, settled_sent, skips_audio, []) if words else None
        self._open, self._turn_ended_at, self._last_turn_text = OpenTurn(), None, ""
        self._fallback_position, self._has_new_text, self._is_first = position, False, True
        self._connection_start = position

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        heard, expected = self._settled_words_since(self.resume_position)
        repeat = repeated(heard, words_of("".join(segment.text for segment in segments)), expected)
        yield from drop_words(segments, repeat.length if repeat else 0)
        self._open, self._replay, self._lost_text = OpenTurn(), None, ""

    def settle_open(self, *, complete: bool) -> Iterator[Fact]:
        if self._open.text:
            last = EndedTurn(self._open.segment(*self.timeline.end_utterance(), "audio"), None)
            if self._replay is not None:
                self._replay.pending.append(last)
            else:
                yield from self._settle(last)
        self._open = OpenTurn()
        if self._replay is not None:
            yield from self._settle_held(self._replay)
        if self._lost_text and not (complete and self._has_new_text):
            text = blank_between(self._settled_text, self._lost_text) + self._lost_text
            yield Segment(*self.timeline.end_utterance(), text, "estimated")
        self._lost_text = ""

    # The state machine

    def _open_turn(self, state: TurnState, now: float) -> None:
        if self._open.state == "idle":
            self._open.opened_at = now
        self._open.state = state

    def _update_turn(self, state: TurnState, event: TurnUpdate | TurnEagerEnd, now: float) -> Partial:
        self._open_turn(state, now)
        self._open.update(event, now)
        pending = self._replay.text if self._replay else ""
        return Partial(self.timeline.sent, pending + self._open.text, self._open.languages)

    def _close_turn(self, now: float, *, is_end: bool, words: Sequence[Word] = ()) -> Iterator[Fact]:
        """End the open turn. is_end: its `turn.end` has just come; otherwise it was omitted."""
        turn, self._open = self._open, OpenTurn()
        opened_at = now if turn.opened_at is None else turn.opened_at
        placement = place_turn(self.timeline, self._delay, opened_at, now)
        times = placement.speech._replace(first_text=turn.first_text_at)
        if is_end:
            times = times._replace(eager_end=turn.eager_end_at, ended=now)
        else:
            times = times._replace(stop=None, stop_sent_at=None)
        segment = turn.segment(placement.start, placement.stop, placement.timing)
        if segment.text:
            self._last_turn_text = segment.text
            yield from self._settle_unless_repeated(EndedTurn(self._with_words(segment, words), times))

    def _with_words(self, segment: Segment, words: Sequence[Word]) -> Segment:
        """A segment with the words that the server sent with it, and with their times if it has them."""
        said = covering_words(segment.text, [shifted_word(word, self._connection_start) for word in words])
        if not words or said is None:
            return segment
        times = time_range(said)
        if times is None:
            return segment._replace(words=said)
        return segment._replace(start=times[0], end=times[1], timing="server", words=said)

    # Repeats after a reconnect

    def _settled_words_since(self, position: float) -> tuple[list[str], range]:
        """Settled words that audio from `position` on may repeat, and how many of them it probably skips."""
        turns = [turn for turn in self._settled if turn.sent_when_settled > position]
        before = sum(len(turn.words) for turn in turns if turn.stop <= position)
        within = sum(len(turn.words) for turn in turns if turn.start < position < turn.stop)
        return [word for turn in turns for word in turn.words], range(before, before + within + 1)

    def _settle_unless_repeated(self, turn: EndedTurn) -> Iterator[Fact]:
        """Settle a turn that is over, unless it repeats what was settled before."""
        if self._replay is None:
            yield from self._settle(turn)
            return
        replay = self._replay
        replay.pending.append(turn)
        repeat = replay.repeat()
        replay.is_repeat = repeat is not None
        if repeat is None and replay.skips_audio:
            self._fallback_position = self._acknowledged
            yield StartOver()
        elif repeat is not None and repeat.reaches_end:
            yield from self._settle_held(replay, repeat)

    def _settle_held(self, replay: Replay, repeat: Repeat | None = None) -> Iterator[Fact]:
        """Settle the pending turns without the part that repeats. repeat: that part, if it is known."""
        self._replay = None
        repeat = repeat or replay.repeat()
        new = [*drop_words([turn.segment for turn in replay.pending], repeat.length if repeat else 0)]
        for segment, turn in zip(new, replay.pending[len(replay.pending) - len(new) :], strict=True):
            yield from self._settle(EndedTurn(segment, turn.times if segment is turn.segment else None))

    def _settle(self, turn: EndedTurn) -> Iterator[Fact]:
        segment = turn.segment
        if self._is_first:  # of its connection
            segment = segment._replace(text=blank_between(self._settled_text, segment.text) + segment.text)
        self._settled_text, self._is_first = segment.text, False
        words, self._has_new_text = tuple(words_of(segment.text)), True
        if segment.end <= segment.start:
            segment = segment._replace(end=segment.start + MIN_TURN_SECONDS, timing="estimated")
        self._settled.append(SettledTurn(words, segment.start, segment.end, self.timeline.sent))
        if self._lost_text:
            repeat = repeated(words, words_of(self._lost_text))
            if repeat is not None:
                rest = text_after(self._lost_text, repeat.length)
                self._lost_text = rest if words_of(rest) else ""
            elif self._sent_when_lost <= self.timeline.sent:
                self._lost_text = ""
        yield segment
        if turn.times is not None:
            yield turn.times

    def _acknowledge(self, now: float) -> Iterator[Fact]:
        """Acknowledge audio sent MAX_RESPONSE_SECONDS ago, up to its last pause: it will get no further answer."""
        timeline = self.timeline
        position = timeline.quiet_before(timeline.position_at(now - MAX_RESPONSE_SECONDS))
        if position > self._acknowledged:
            self._acknowledged = position
            if timeline.assigned_until <= position:  # all speech assigned to turns is answered
                timeline.assigned_until = position
                self._delay.reset_ambiguity()
            timeline.release(position)
            while self._settled and self._settled[0].sent_when_settled <= position:
                self._settled.popleft()
            yield Acknowledged(position)


def drop_words(segments: Sequence[Segment], count: int) -> Iterator[Segment]:
    """Segments without the first `count` words of all of them: the first segments are dropped, and the next one is
    shortened. Its start is estimated, unless its words have times.
    """
    for segment in segments:
        tokens = tokenize(segment.text)
        if count and count >= len(tokens):
            count -= len(tokens)
        elif count:
            at = tokens[count - 1].end
            words = segment.words[bisect_right(find_word_ends(segment.text, segment.words) or [], at) :]
            share = at / len(segment.text)
            start = segment.start + share * (segment.end - segment.start)
            rest = segment._replace(start=start, text=segment.text[at:], timing="estimated", words=words)
            if (times := time_range(words)) is not None:
                rest = rest._replace(start=times[0], end=times[1], timing=segment.timing)
            yield rest
            count = 0
        else:
            yield segment
