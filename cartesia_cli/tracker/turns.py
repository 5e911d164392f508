"""The tracker of the auto endpoint: texts replace each other within a turn, and join verbatim across turns.

Its events carry no times. Which speech a turn is, and how much audio is acknowledged, follows from when an event came,
and from how late this server is. That is measured: a turn can't have begun before its speech, and the speech of a turn
is the first that belongs to no turn before it.

The turn machine has rows for servers that leave events out or send them twice (docs: stt/turns, and what other clients
met). What was emitted is final, so no row drops it.

    state      event       then
    idle       start       speaking
    idle       update      speaking    a start was left out
    idle       eager_end   eager       likewise
    idle       end         idle        settles a text that is not the last one repeated
    any open   start       speaking    settles what has a text: the end was left out; without one, it is the same start
    speaking   eager_end   eager
    eager      resume      speaking
    eager      update      speaking    a resume was left out
    any open   end         idle        settles; an empty end keeps the last text
    others                             no change

Acknowledged is, while no turn is open, all audio that was sent LONGEST_LATENESS ago. A lost connection is resumed later
than that: before the last speech that was answered, by the lateness that was measured. If its first turn then repeats
nothing that was said before, too much was taken for answered, and the session starts over where it is acknowledged.
What repeats is dropped: it is recognised by its words, which follow upon each other as they did before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..protocol import Event, TurnEagerEnd, TurnEnd, TurnResume, TurnStart, TurnUpdate
from ..transcript import Notice, Partial, Segment, Timing, blank_between
from .facts import Acknowledged, Fact, StartOver, UtteranceTimes
from .repeats import Repeat, repeated, tokenize, words_of
from .timeline import LONGEST_LATENESS, SpeechSpan, SpeechTimeline, SpeechTimes

SHORTEST_SILENCE = 0.1
"""Seconds of silence that it takes at least to end a turn."""

SHORTEST_TURN = 0.1
"""Seconds that a turn lasts of which nothing else is known."""

SLACK = 0.3
"""Seconds by which the lateness of two answers of the same server differs as a rule."""

UNANSWERED = 2.0
"""Seconds by which speech would have to be answered later than usual to be taken for noise that began no turn."""

IN_FLIGHT = 0.05
"""Seconds for which audio may be on its way before it counts as sent."""

ENOUGH = 4
"""Turns after which lateness that was the same each time is known."""

MEASURED = 8
"""Turns over which lateness is measured: a server may become slower, or faster."""


class SettledTurn(NamedTuple):
    """A turn whose text was written.

    words         folded
    start, stop   positions where it began and was over, as well as these are known
    extent        position up to which audio had been sent when its end came: it was over before that, for certain
    """

    words: tuple[str, ...]
    start: float
    stop: float
    extent: float


@dataclass(frozen=True, slots=True)
class TurnPlace:
    """The speech that a turn is: positions in seconds, how well they are known, and what of it is known for certain."""

    start: float
    stop: float
    timing: Timing
    speech: SpeechTimes


class EndedTurn(NamedTuple):
    """A turn that is over. times: what was observed of it; None: not even its end was."""

    segment: Segment
    times: UtteranceTimes | None


class Certainty:
    """Whether turns can't have been placed otherwise: only then they are measured.

    One that is placed wrongly leads to the next one's being placed wrongly, too. Where there is one speech to choose
    from, a turn is that. Where there are several, it has to be known how late this server is.
    """

    def __init__(self) -> None:
        self._delays: deque[float] | None = deque(maxlen=MEASURED)  # None: a turn was perhaps placed wrongly
        self._had_no_choice = True

    def lose(self) -> None:
        """From here on nothing is certain."""
        self._delays = None

    def placed(self, delay: float, *, is_only: bool, is_skipping: bool) -> bool:
        """Whether a turn that is so late is certain. is_skipping: what was said before it was taken for noise."""
        if self._delays is None:
            return False
        self._delays.append(delay)
        self._had_no_choice = self._had_no_choice and is_only
        is_steady = max(self._delays) - min(self._delays) <= 2 * SLACK
        is_confirmed = is_steady and len(self._delays) >= ENOUGH
        if not (is_confirmed or is_only or (is_steady and not is_skipping)):
            self.lose()
        return is_confirmed or self._had_no_choice


@dataclass(slots=True)
class Replay:
    """What a connection says of audio that was sent to another one before.

    words       of what was settled before, and may be heard again
    expected    how many of them are not heard again, as far as is known where turns are
    extent      seconds of audio that had been sent when the last of it was settled: all that lies behind is new
    is_safe     whether the audio begins where everything before is acknowledged
    held        turns that are not known yet to be new
    is_matched  whether they repeat what was said before, as far as they go
    """

    words: list[str]
    expected: range
    extent: float
    is_safe: bool
    held: list[EndedTurn]
    is_matched: bool = False

    @property
    def text(self) -> str:
        """Of all turns that are held."""
        return "".join(turn.segment.text for turn in self.held)


class TurnTracker:
    """Tracks a session of the auto endpoint (see `Tracker`)."""

    def __init__(self, timeline: SpeechTimeline) -> None:
        self.timeline = timeline
        self._state = "idle"
        self._text = ""
        self._last = ""  # the text of the last turn
        self._written_text, self._is_first = "", True  # the last one written; whether this connection has written none
        self._began: float | None = None  # when the open turn's first event came
        self._first_text: float | None = None  # when its first text came
        self._eager: float | None = None  # when the end of it came that was not taken back yet
        self._answered: float | None = None  # when a turn of this connection ended last
        self._delays: deque[float] = deque(maxlen=MEASURED)
        self._steady = 0  # turns since one had to have begun before its speech
        self._is_sure = True  # the last turn was placed without a doubt
        self._certainty = Certainty()
        self._settled: deque[SettledTurn] = deque()
        self._replay: Replay | None = None
        self._lost, self._lost_extent = "", 0.0  # the open text of a lost connection, until it is replaced
        self._is_replaced = False  # something new was said since a connection was lost
        self._acknowledged = self._origin = 0.0

    @property
    def resume_position(self) -> float:
        if self._answered is None or (self._replay is not None and not self._replay.is_matched):
            return max(self._acknowledged, self._origin)
        timeline = self.timeline
        answered = timeline.position_at(self._answered - max(self._delays, default=0.0) - SLACK)
        position = timeline.quiet_before(timeline.speech_before(answered))
        return max(self._acknowledged, position) if self._heard_since(position)[0] else self._acknowledged

    @property
    def is_settled(self) -> bool:
        return False  # audio never pauses here

    @property
    def is_doubtful(self) -> bool:
        return self._replay is not None and not self._replay.is_safe

    def start_over(self) -> None:
        self._origin = self._acknowledged

    def finalized(self, now: float) -> None:
        return  # there is no such command here

    def advance(self, now: float) -> Iterator[Fact]:
        replay = self._replay
        if replay is not None and self.timeline.position_at(now - LONGEST_LATENESS) >= replay.extent:
            yield from self._release(replay)
        if self._state == "idle" and self._replay is None:
            yield from self._acknowledge(now)

    def process(self, event: Event, now: float) -> Iterator[Fact]:
        match event:
            case TurnStart():
                if self._text:
                    yield from self._settle(now, is_end=False)
                self._open("speaking", now)
            case TurnUpdate(transcript=text):
                yield self._grown("speaking", text, now)
                self._eager = None
            case TurnEagerEnd(transcript=text):
                yield self._grown("eager", text, now)
                self._eager = now if self._eager is None else self._eager
                yield Notice(self.timeline.sent, "turn.eager_end", "perhaps the end of a turn")
            case TurnResume() if self._state == "eager":
                self._state, self._eager = "speaking", None
                yield Notice(self.timeline.sent, "turn.resume", "the turn goes on")
            case TurnEnd(transcript=text) if self._state != "idle" or text != self._last:
                self._say(text, now)
                yield from self._settle(now, is_end=True)
                self._answered = now
                if self._replay is None:
                    yield from self._acknowledge(now)

    def rewind(self, position: float) -> None:
        if len(words_of(self._text)) >= len(words_of(self._lost)):
            self._lost, self._lost_extent = self._text, self.timeline.sent
        words, expected = self._heard_since(position)
        is_safe = position <= self._acknowledged
        extent = self._settled[-1].extent if words else position
        self._replay = Replay(words, expected, extent, is_safe, []) if words else None
        self._state, self._text, self._began, self._answered, self._last = "idle", "", None, None, ""
        self._first_text = self._eager = None
        self._origin, self._is_replaced, self._is_first = position, False, True

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        heard, expected = self._heard_since(self.resume_position)
        again = repeated(heard, words_of("".join(part.text for part in segments)), expected)
        yield from without_first(segments, again.length if again else 0)
        self._state, self._text, self._replay, self._lost = "idle", "", None, ""

    def end(self, *, complete: bool) -> Iterator[Fact]:
        if self._text:
            last = EndedTurn(Segment(*self.timeline.take(), self._text, "audio"), None)
            if self._replay is not None:
                self._replay.held.append(last)
            else:
                yield from self._new(last)
        self._state, self._text = "idle", ""
        if self._replay is not None:
            yield from self._release(self._replay)
        if self._lost and not (complete and self._is_replaced):
            said = [word for turn in self._settled for word in turn.words]
            again = repeated(said, words_of(self._lost))
            lost = Segment(*self.timeline.take(), self._lost, "estimated")
            yield from without_first([lost], again.length if again else 0)
        self._lost = ""

    # The turn machine

    def _open(self, state: str, now: float) -> None:
        if self._state == "idle":
            self._began = now
        self._state = state

    def _grown(self, state: str, text: str, now: float) -> Partial:
        self._open(state, now)
        self._say(text, now)
        held = self._replay.text if self._replay else ""
        return Partial(self.timeline.sent, held + self._text)

    def _say(self, text: str, now: float) -> None:
        self._text = text or self._text
        if self._first_text is None and text.strip():
            self._first_text = now

    def _settle(self, now: float, *, is_end: bool) -> Iterator[Fact]:
        """The open turn is over. is_end: its end has just come; otherwise it was left out."""
        if self._text or self._state != "idle":
            place = self._place(now)
            times = UtteranceTimes(*place.speech, first_text=self._first_text)
            if is_end:
                times = replace(times, eager_end=self._eager, ended=now)
            else:
                times = replace(times, stop=None, stopped=None)
            text, self._state, self._text = self._text, "idle", ""
            self._first_text = self._eager = None
            if text:
                self._last = text
                yield from self._written(EndedTurn(Segment(place.start, place.stop, text, place.timing), times))

    # What was said before

    def _heard_since(self, position: float) -> tuple[list[str], range]:
        """Words that may be heard again in audio from `position` on, and how many of them probably are not."""
        turns = [turn for turn in self._settled if turn.extent > position]
        before = sum(len(turn.words) for turn in turns if turn.stop <= position)
        within = sum(len(turn.words) for turn in turns if turn.start < position < turn.stop)
        return [word for turn in turns for word in turn.words], range(before, before + within + 1)

    def _written(self, turn: EndedTurn) -> Iterator[Fact]:
        """A turn that is over is written, unless it repeats what was said before."""
        if self._replay is None:
            yield from self._new(turn)
            return
        replay = self._replay
        replay.held.append(turn)
        again = repeated(replay.words, words_of(replay.text), replay.expected)
        replay.is_matched = again is not None
        if again is None and not replay.is_safe:
            self.start_over()
            yield StartOver()
        elif again is not None and again.reaches_end:
            yield from self._release(replay, again)

    def _release(self, replay: Replay, again: Repeat | None = None) -> Iterator[Fact]:
        """Write what is new in turns that were held: all that follows upon what repeats."""
        self._replay = None
        if again is None:
            again = repeated(replay.words, words_of(replay.text), replay.expected)
        new = [*without_first([turn.segment for turn in replay.held], again.length if again else 0)]
        for segment, turn in zip(new, replay.held[len(replay.held) - len(new) :], strict=True):
            yield from self._new(EndedTurn(segment, turn.times if segment is turn.segment else None))

    def _new(self, turn: EndedTurn) -> Iterator[Fact]:
        segment = turn.segment
        if self._is_first:  # of its connection
            segment = replace(segment, text=blank_between(self._written_text, segment.text) + segment.text)
        self._written_text, self._is_first = segment.text, False
        words, self._is_replaced = tuple(words_of(segment.text)), True
        if segment.end <= segment.start:
            segment = replace(segment, end=segment.start + SHORTEST_TURN, timing="estimated")
        self._settled.append(SettledTurn(words, segment.start, segment.end, self.timeline.sent))
        if self._lost:
            again = repeated(words, words_of(self._lost))
            if again is not None:
                rest = _cut(self._lost, again.length)
                self._lost = rest if words_of(rest) else ""
            elif self._lost_extent <= self.timeline.sent:
                self._lost = ""
        yield segment
        if turn.times is not None:
            yield turn.times

    # Which audio a turn is

    def _place(self, now: float) -> TurnPlace:
        """The speech of the open turn, which ends now. It is taken from what belongs to no turn yet."""
        timeline, began = self.timeline, self._began if self._began is not None else now
        self._began = None
        spans = [*timeline.untaken()]
        # A server may notice speech before the endpointer does, in audio that is just being sent.
        candidates = [span for span in spans if (span.started or began) <= began + SLACK]
        usual = min(self._delays, default=None)
        if not candidates:  # nobody was heard here, or the start of the turn was left out
            start, self._steady, self._is_sure = timeline.taken, 0, False
            self._certainty.lose()
            timeline.taken = max(start, timeline.position_at(now - (usual or 0.0)))
            return TurnPlace(start, timeline.taken, "estimated", SpeechTimes())
        first, delay = self._first(candidates, began, usual)
        if delay < -IN_FLIGHT:  # it began before this was sent: its speech was taken for that of the turn before
            self._steady, delay = 0, usual or 0.0
        else:
            delay = max(delay, 0.0)
            self._delays.append(delay)
            self._steady += 1
        reached = timeline.position_at(now - delay) - SHORTEST_SILENCE  # what the end of the turn is about
        rest = spans[spans.index(first) :]
        stop, last = first.stop if first.stop is not None else max(first.start, reached), first
        for span in rest[1:]:
            if span.stop is not None and span.stop <= reached:
                stop, last = span.stop, span
            elif span.stop is None and span.start < reached:
                stop = reached
        pace = max(1.0, timeline.sent - timeline.position_at(now - 1.0))  # seconds of audio a second
        if any(stop <= span.start <= (span.stop or span.start) <= reached + SLACK * pace for span in rest):
            self._steady = 0  # it may have ended later
        # Where lateness varies, speech may be taken for that of another turn, unless there is only one to choose from.
        is_steady = self._steady >= ENOUGH and (max(self._delays) - min(self._delays)) * pace <= 2 * SLACK
        self._is_sure = is_steady or (self._steady > 0 and self._is_sure and len(spans) == 1)
        timeline.taken = stop
        if self._steady == 0:
            self._certainty.lose()
        is_only, is_skipping = len(candidates) == 1 and last is first, first is not candidates[0]
        is_certain = self._certainty.placed(delay, is_only=is_only, is_skipping=is_skipping)
        if not (self._is_sure and is_certain):
            return TurnPlace(first.start, stop, "audio" if self._is_sure else "estimated", SpeechTimes())
        goes_on = any(span.start < reached for span in rest[rest.index(last) + 1 :])
        is_over = last.stop is not None and last.stop <= reached + SLACK and not goes_on
        return TurnPlace(first.start, stop, "audio", SpeechTimes.between(first, last if is_over else None))

    def _first(self, candidates: list[SpeechSpan], began: float, usual: float | None) -> tuple[SpeechSpan, float]:
        """The speech with which a turn begins whose first event came at `began`, and how late that is."""
        delays = [began - (span.started or began) for span in candidates]
        if usual is not None and delays[0] > usual + UNANSWERED:  # the first of them was noise, perhaps
            for span, delay in zip(candidates, delays, strict=True):
                if abs(delay - usual) <= SLACK:
                    return span, delay
        return candidates[0], delays[0]

    def _acknowledge(self, now: float) -> Iterator[Fact]:
        """Whatever the server had to say of audio that was sent so long ago, it has said."""
        timeline = self.timeline
        position = timeline.quiet_before(timeline.position_at(now - LONGEST_LATENESS))
        if position > self._acknowledged:
            self._acknowledged = position
            if timeline.taken <= position:  # all that turns were placed at is answered
                timeline.taken, self._certainty = position, Certainty()
            timeline.release(position)
            while self._settled and self._settled[0].extent <= position:
                self._settled.popleft()
            yield Acknowledged(position)


def without_first(segments: Sequence[Segment], count: int) -> Iterator[Segment]:
    """Segments without their first `count` words. What is left of one that is cut has an estimated start."""
    for segment in segments:
        tokens = tokenize(segment.text)
        if 0 < count >= len(tokens):
            count -= len(tokens)
        elif count:
            share = tokens[count - 1].end / len(segment.text)
            start = segment.start + share * (segment.end - segment.start)
            words = segment.words[count:] if len(segment.words) == len(tokens) else ()
            yield replace(segment, start=start, text=_cut(segment.text, count), timing="estimated", words=words)
            count = 0
        else:
            yield segment


def _cut(text: str, count: int) -> str:
    """A text without its first words."""
    return text[tokenize(text)[count - 1].end :] if count else text
