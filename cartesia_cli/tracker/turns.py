"""The tracker of the auto endpoint: a text replaces the one before it within a turn, and turns are joined verbatim.

Its events carry no times. Which speech belongs to a turn, and how much audio is acknowledged, follows from when an
event came and from how late this server is. That is measured: a turn can't have begun before its speech, and its speech
is the first that belongs to no earlier turn. Where another placement was possible, the turn's times are estimated and
its latency isn't measured (`Lateness`).

The state machine has rows for servers that omit events or send them twice (docs: stt/turns, and reports of other
clients). What was emitted is final, so no row drops it.

    state      event       then
    idle       start       speaking
    idle       update      speaking    the start was omitted
    idle       eager_end   eager       likewise
    idle       end         idle        settles the text, unless it repeats the last turn's
    any open   start       speaking    settles the text, if there is any: the end was omitted; otherwise a second start
    speaking   eager_end   eager
    eager      resume      speaking
    eager      update      speaking    the resume was omitted
    any open   end         idle        settles; an empty end keeps the last text
    others                             no change

While no turn is open, all audio that was sent LONGEST_LATENESS ago is acknowledged. A new connection resumes later than
that: before the last speech that was answered, judging by the measured lateness. If its first turn then repeats nothing
that was heard before, too much was taken for answered, and the session starts over at the acknowledged position. What
repeats is dropped: it is recognised by its words, which follow each other as they did before.
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
from .timeline import MAX_RESPONSE_SECONDS, SpeechSpan, SpeechTimeline, SpeechTimes

MIN_SILENCE_SECONDS = 0.1
"""The shortest silence that ends a turn."""

MIN_TURN_SECONDS = 0.1
"""Length of a turn of which nothing else is known."""

DELAY_JITTER_SECONDS = 0.3
"""Seconds by which the lateness of two answers of the same server usually differs."""

NOISE_DELAY_SECONDS = 2.0
"""Seconds beyond the usual lateness after which speech without an answer is taken for noise that began no turn."""

IN_FLIGHT_SECONDS = 0.05
"""The longest that audio is on its way before it counts as sent."""

MIN_MEASURED_TURNS = 4
"""Turns after which the lateness of a server is known, if it was the same each time."""

MAX_MEASURED_TURNS = 8
"""Turns over which lateness is measured: a server may become slower, or faster."""


class SettledTurn(NamedTuple):
    """A turn whose text was emitted.

    words         its words, folded for comparison
    start, stop   positions where its speech began and stopped, as far as is known
    extent        position of the sender when its end came: all its speech lies before that
    """

    words: tuple[str, ...]
    start: float
    stop: float
    sent_at_end: float


class TurnPlacement(NamedTuple):
    """Where the speech of a turn is: positions in seconds.

    speech   what was observed of it, to measure latencies by; nothing where its place is estimated
    """

    start: float
    stop: float
    timing: Timing
    speech: SpeechTimes


class EndedTurn(NamedTuple):
    """A turn that is over. times: what was observed of it; None: not even its end was."""

    segment: Segment
    times: UtteranceTimes | None


class ResponseDelay:
    """How late a server is, by the turns that were placed, and whether these could not have been placed otherwise.

    A wrong placement makes the next one wrong as well. Where there is only one span of speech to choose from, the turn
    is that span. Where there are several, the lateness has to be known: it was the same for some turns, none of which
    is doubtful.

    usual, longest   seconds; the least and the most that was measured of late; None, 0: nothing was
    """

    def __init__(self) -> None:
        self._delays: deque[float] = deque(maxlen=MAX_MEASURED_TURNS)
        self._turns_since_ambiguity = 0  # since a placement was doubtful
        self._is_unambiguous = True  # all of them, or all since that was acknowledged

    @property
    def shortest(self) -> float | None:
        return min(self._delays, default=None)

    @property
    def longest(self) -> float:
        return max(self._delays, default=0.0)

    def add(self, delay: float) -> None:
        """The next turn is so late, as it was placed."""
        self._delays.append(delay)
        self._turns_since_ambiguity += 1

    def mark_ambiguous(self) -> None:
        """A placement may have been wrong: so may those be that follow, until the lateness is known again."""
        self._turns_since_ambiguity, self._is_unambiguous = 0, False

    def reset(self) -> None:
        """All speech where turns were placed is acknowledged: none of it can be taken for that of a later turn."""
        self._is_unambiguous = True

    def is_certain(self, pace: float, *, is_only: bool, is_skipping: bool) -> bool:
        """Whether the turn that was added last is placed for certain.

        pace          seconds of audio sent a second
        is_only       there was no other speech
        is_skipping   speech before it was taken for noise
        """
        if self._turns_since_ambiguity:
            self._is_unambiguous = self._is_unambiguous and is_only
            is_steady = (max(self._delays) - min(self._delays)) * pace <= 2 * DELAY_JITTER_SECONDS
            is_known = is_steady and self._turns_since_ambiguity >= MIN_MEASURED_TURNS
            if not (is_known or is_only or (is_steady and not is_skipping)):
                self.mark_ambiguous()
            return is_known or self._is_unambiguous
        return False


@dataclass(slots=True)
class Replay:
    """What a new connection says about audio that an earlier one had been sent.

    words        settled before, and perhaps heard again
    expected     how many of them are probably not heard again, judging by where their turns are
    extent       position of the sender when the last of them settled: everything behind it is new
    is_safe      whether the audio begins where everything before it is acknowledged
    held         turns that are not known yet to be new
    is_matched   whether these repeat what was heard before, as far as they go
    """

    settled_words: list[str]
    expected_skips: range
    end: float
    skips_nothing: bool
    pending: list[EndedTurn]
    is_repeat: bool = False

    @property
    def text(self) -> str:
        """Of all turns that are held."""
        return "".join(turn.segment.text for turn in self.pending)


class TurnTracker:
    """Tracks a session of the auto endpoint (see `Tracker`)."""

    def __init__(self, timeline: SpeechTimeline) -> None:
        self.timeline = timeline
        # the open turn
        self._state = "idle"
        self._text = ""
        self._opened_at: float | None = None  # when its first event came
        self._first_text_at: float | None = None  # when its first text came
        self._eager_end_at: float | None = None  # when the eager end came that was not taken back
        # turns that are over
        self._last_turn_text = ""
        self._emitted_text, self._is_first = "", True  # the last one emitted; whether this connection emitted none yet
        self._turn_ended_at: float | None = None  # when the last turn of this connection ended
        self._settled: deque[SettledTurn] = deque()
        self._delay = ResponseDelay()
        # lost connections
        self._replay: Replay | None = None
        self._lost_text, self._lost_sent_at_end = "", 0.0  # the open text of a lost connection, until it is replaced
        self._has_new_text = False  # something new was heard since a connection was lost
        self._acknowledged = self._origin = 0.0

    @property
    def resume_position(self) -> float:
        if self._turn_ended_at is None or (self._replay is not None and not self._replay.is_repeat):
            return max(self._acknowledged, self._origin)
        timeline = self.timeline
        answered = timeline.position_at(self._turn_ended_at - self._delay.longest - DELAY_JITTER_SECONDS)
        position = timeline.quiet_before(timeline.speech_before(answered))
        return max(self._acknowledged, position) if self._settled_words_since(position)[0] else self._acknowledged

    @property
    def is_settled(self) -> bool:
        return False  # audio never pauses here

    @property
    def is_resume_uncertain(self) -> bool:
        return self._replay is not None and not self._replay.skips_nothing

    def start_over(self) -> None:
        self._origin = self._acknowledged

    def finalized(self, now: float) -> None:
        return  # there is no such command here

    def advance(self, now: float) -> Iterator[Fact]:
        replay = self._replay
        if replay is not None and self.timeline.position_at(now - MAX_RESPONSE_SECONDS) >= replay.end:
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
                yield self._update_text("speaking", text, now)
                self._eager_end_at = None
            case TurnEagerEnd(transcript=text):
                yield self._update_text("eager", text, now)
                self._eager_end_at = now if self._eager_end_at is None else self._eager_end_at
                yield Notice(self.timeline.sent, "turn.eager_end", "perhaps the end of a turn")
            case TurnResume() if self._state == "eager":
                self._state, self._eager_end_at = "speaking", None
                yield Notice(self.timeline.sent, "turn.resume", "the turn goes on")
            case TurnEnd(transcript=text) if self._state != "idle" or text != self._last_turn_text:
                self._set_text(text, now)
                yield from self._settle(now, is_end=True)
                self._turn_ended_at = now
                if self._replay is None:
                    yield from self._acknowledge(now)

    def rewind(self, position: float) -> None:
        if len(words_of(self._text)) >= len(words_of(self._lost_text)):
            self._lost_text, self._lost_sent_at_end = self._text, self.timeline.sent
        words, expected = self._settled_words_since(position)
        is_safe = position <= self._acknowledged
        extent = self._settled[-1].sent_at_end if words else position
        self._replay = Replay(words, expected, extent, is_safe, []) if words else None
        self._state, self._text, self._opened_at, self._turn_ended_at, self._last_turn_text = "idle", "", None, None, ""
        self._first_text_at = self._eager_end_at = None
        self._origin, self._has_new_text, self._is_first = position, False, True

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        heard, expected = self._settled_words_since(self.resume_position)
        again = repeated(heard, words_of("".join(part.text for part in segments)), expected)
        yield from drop_words(segments, again.length if again else 0)
        self._state, self._text, self._replay, self._lost_text = "idle", "", None, ""

    def end(self, *, complete: bool) -> Iterator[Fact]:
        if self._text:
            last = EndedTurn(Segment(*self.timeline.end_utterance(), self._text, "audio"), None)
            if self._replay is not None:
                self._replay.pending.append(last)
            else:
                yield from self._emit(last)
        self._state, self._text = "idle", ""
        if self._replay is not None:
            yield from self._release(self._replay)
        if self._lost_text and not (complete and self._has_new_text):
            said = [word for turn in self._settled for word in turn.words]
            again = repeated(said, words_of(self._lost_text))
            lost = Segment(*self.timeline.end_utterance(), self._lost_text, "estimated")
            yield from drop_words([lost], again.length if again else 0)
        self._lost_text = ""

    # The turn machine

    def _open(self, state: str, now: float) -> None:
        if self._state == "idle":
            self._opened_at = now
        self._state = state

    def _update_text(self, state: str, text: str, now: float) -> Partial:
        self._open(state, now)
        self._set_text(text, now)
        held = self._replay.text if self._replay else ""
        return Partial(self.timeline.sent, held + self._text)

    def _set_text(self, text: str, now: float) -> None:
        self._text = text or self._text
        if self._first_text_at is None and text.strip():
            self._first_text_at = now

    def _settle(self, now: float, *, is_end: bool) -> Iterator[Fact]:
        """The open turn is over. is_end: its end has just come; otherwise it was left out."""
        if self._text or self._state != "idle":
            place = self._locate(now)
            times = UtteranceTimes(*place.speech, first_text=self._first_text_at)
            if is_end:
                times = replace(times, eager_end=self._eager_end_at, ended=now)
            else:
                times = replace(times, stop=None, stopped=None)
            text, self._state, self._text = self._text, "idle", ""
            self._first_text_at = self._eager_end_at = None
            if text:
                self._last_turn_text = text
                yield from self._emit_unless_repeated(
                    EndedTurn(Segment(place.start, place.stop, text, place.timing), times)
                )

    # What was said before

    def _settled_words_since(self, position: float) -> tuple[list[str], range]:
        """Words that may be heard again in audio from `position` on, and how many of them probably are not."""
        turns = [turn for turn in self._settled if turn.sent_at_end > position]
        before = sum(len(turn.words) for turn in turns if turn.stop <= position)
        within = sum(len(turn.words) for turn in turns if turn.start < position < turn.stop)
        return [word for turn in turns for word in turn.words], range(before, before + within + 1)

    def _emit_unless_repeated(self, turn: EndedTurn) -> Iterator[Fact]:
        """A turn that is over is written, unless it repeats what was said before."""
        if self._replay is None:
            yield from self._emit(turn)
            return
        replay = self._replay
        replay.pending.append(turn)
        again = repeated(replay.settled_words, words_of(replay.text), replay.expected_skips)
        replay.is_repeat = again is not None
        if again is None and not replay.skips_nothing:
            self.start_over()
            yield StartOver()
        elif again is not None and again.reaches_end:
            yield from self._release(replay, again)

    def _release(self, replay: Replay, again: Repeat | None = None) -> Iterator[Fact]:
        """Write what is new in turns that were held: all that follows upon what repeats."""
        self._replay = None
        if again is None:
            again = repeated(replay.settled_words, words_of(replay.text), replay.expected_skips)
        new = [*drop_words([turn.segment for turn in replay.pending], again.length if again else 0)]
        for segment, turn in zip(new, replay.pending[len(replay.pending) - len(new) :], strict=True):
            yield from self._emit(EndedTurn(segment, turn.times if segment is turn.segment else None))

    def _emit(self, turn: EndedTurn) -> Iterator[Fact]:
        segment = turn.segment
        if self._is_first:  # of its connection
            segment = replace(segment, text=blank_between(self._emitted_text, segment.text) + segment.text)
        self._emitted_text, self._is_first = segment.text, False
        words, self._has_new_text = tuple(words_of(segment.text)), True
        if segment.end <= segment.start:
            segment = replace(segment, end=segment.start + MIN_TURN_SECONDS, timing="estimated")
        self._settled.append(SettledTurn(words, segment.start, segment.end, self.timeline.sent))
        if self._lost_text:
            again = repeated(words, words_of(self._lost_text))
            if again is not None:
                rest = _text_after(self._lost_text, again.length)
                self._lost_text = rest if words_of(rest) else ""
            elif self._lost_sent_at_end <= self.timeline.sent:
                self._lost_text = ""
        yield segment
        if turn.times is not None:
            yield turn.times

    # Which audio a turn is

    def _locate(self, now: float) -> TurnPlacement:
        """The speech of the open turn, which ends now. It is taken from what belongs to no turn yet."""
        timeline, began = self.timeline, self._opened_at if self._opened_at is not None else now
        self._opened_at = None
        spans = [*timeline.unassigned_spans()]
        # A server may notice speech before the endpointer does, in audio that is just being sent.
        candidates = [span for span in spans if (span.started or began) <= began + DELAY_JITTER_SECONDS]
        usual = self._delay.shortest
        if not candidates:  # nobody was heard here, or the start of the turn was left out
            start = timeline.assigned_until
            self._delay.mark_ambiguous()
            timeline.assigned_until = max(start, timeline.position_at(now - (usual or 0.0)))
            return TurnPlacement(start, timeline.assigned_until, "estimated", SpeechTimes())
        first, delay = self._first_span(candidates, began, usual)
        if (
            delay < -IN_FLIGHT_SECONDS
        ):  # it began before this was sent: its speech was taken for that of the turn before
            is_ambiguous, delay = True, usual or 0.0
        else:
            is_ambiguous, delay = False, max(delay, 0.0)
            self._delay.add(delay)
        reached = timeline.position_at(now - delay) - MIN_SILENCE_SECONDS  # what the end of the turn is about
        rest = spans[spans.index(first) :]
        stop, last = first.stop if first.stop is not None else max(first.start, reached), first
        for span in rest[1:]:
            if span.stop is not None and span.stop <= reached:
                stop, last = span.stop, span
            elif span.stop is None and span.start < reached:
                stop = reached
        pace = max(1.0, timeline.sent - timeline.position_at(now - 1.0))  # seconds of audio a second
        if any(
            stop <= span.start <= (span.stop or span.start) <= reached + DELAY_JITTER_SECONDS * pace for span in rest
        ):
            is_ambiguous = True  # it may have ended later
        timeline.assigned_until = stop
        if is_ambiguous:
            self._delay.mark_ambiguous()
        is_only, is_skipping = len(spans) == 1, first is not candidates[0]
        if not self._delay.is_certain(pace, is_only=is_only, is_skipping=is_skipping):
            return TurnPlacement(first.start, stop, "estimated", SpeechTimes())
        goes_on = any(span.start < reached for span in rest[rest.index(last) + 1 :])
        is_over = last.stop is not None and last.stop <= reached + DELAY_JITTER_SECONDS and not goes_on
        return TurnPlacement(first.start, stop, "audio", SpeechTimes.between(first, last if is_over else None))

    def _first_span(self, candidates: list[SpeechSpan], began: float, usual: float | None) -> tuple[SpeechSpan, float]:
        """The speech with which a turn begins whose first event came at `began`, and how late that is."""
        delays = [began - (span.started or began) for span in candidates]
        if usual is not None and delays[0] > usual + NOISE_DELAY_SECONDS:  # the first of them was noise, perhaps
            for span, delay in zip(candidates, delays, strict=True):
                if abs(delay - usual) <= DELAY_JITTER_SECONDS:
                    return span, delay
        return candidates[0], delays[0]

    def _acknowledge(self, now: float) -> Iterator[Fact]:
        """Whatever the server had to say of audio that was sent so long ago, it has said."""
        timeline = self.timeline
        position = timeline.quiet_before(timeline.position_at(now - MAX_RESPONSE_SECONDS))
        if position > self._acknowledged:
            self._acknowledged = position
            if timeline.assigned_until <= position:  # all that turns were placed at is answered
                timeline.assigned_until = position
                self._delay.reset()
            timeline.release(position)
            while self._settled and self._settled[0].sent_at_end <= position:
                self._settled.popleft()
            yield Acknowledged(position)


def drop_words(segments: Sequence[Segment], count: int) -> Iterator[Segment]:
    """Segments without their first `count` words. What is left of one that is cut has an estimated start."""
    for segment in segments:
        tokens = tokenize(segment.text)
        if 0 < count >= len(tokens):
            count -= len(tokens)
        elif count:
            share = tokens[count - 1].end / len(segment.text)
            start = segment.start + share * (segment.end - segment.start)
            words = segment.words[count:] if len(segment.words) == len(tokens) else ()
            yield replace(segment, start=start, text=_text_after(segment.text, count), timing="estimated", words=words)
            count = 0
        else:
            yield segment


def _text_after(text: str, count: int) -> str:
    """A text without its first words."""
    return text[tokenize(text)[count - 1].end :] if count else text
