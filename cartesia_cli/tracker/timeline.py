"""Which audio of a live session was sent when, and where in it there was speech.

The sender reports its position, the endpointer where speech starts and stops. Positions are seconds of audio from the
start of the session, times are seconds of a clock. After a lost connection, audio is sent again: the position goes
back, and everything after it is reported once more. What a paused microphone hears isn't sent: the time of the session
then runs ahead of the positions (`session_time`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

MAX_RESPONSE_SECONDS = 11.0
"""Seconds within which a server answers audio: up to 10 s of delay, and the time to detect speech or its end."""

LOG_RESOLUTION_SECONDS = 0.01
"""Minimum time between two entries of the send log: audio may be sent a thousand times faster than real time."""

LEAD_SECONDS = 0.5
"""Seconds of silence sent again before speech: where it starts is known to within a few frames only."""

TAIL_SECONDS = 0.125
"""Seconds of silence after speech that are not sent again: the end of a fading word could be recognized as a word."""

NEW_SPEECH_SECONDS = 0.2
"""Shorter than a word: speech that started less than this many seconds ago belongs to the next utterance."""

POSITION_TOLERANCE_SECONDS = 1e-5
"""Maximum difference in seconds between two positions of the same sample, which are computed in different ways."""

MAX_SPANS = 1000
"""Unanswered spans that are kept apart; if there are more, the oldest are joined."""


@dataclass(slots=True)
class SpeechSpan:
    """Speech between two pauses.

    start, stop                   positions; stop is None while it goes on
    start_sent_at, stop_sent_at   when its first and its last sample were sent; None: not yet, or too long ago
    start_is_cut, stop_is_cut     whether it is part of longer speech that was cut there
    """

    start: float
    stop: float | None = None
    start_sent_at: float | None = None
    stop_sent_at: float | None = None
    start_is_cut: bool = False
    stop_is_cut: bool = False


class UtteranceTimes(NamedTuple):
    """What was observed of an utterance or turn. None: not observed, or uncertain.

    start, stop                   positions at which its speech started and stopped, seconds

    The others are times, in seconds of the clock:

    start_sent_at, stop_sent_at   the first sample of its speech was sent, and the last one
    finalized                     its `finalize` was sent
    flushed                       its `flush_done` came
    first_text                    its first text came, final or not
    last_text                     its last text came
    eager_end                     its `turn.eager_end` came, unless a `turn.resume` followed
    ended                         its `turn.end` came
    """

    start: float | None = None
    stop: float | None = None
    start_sent_at: float | None = None
    stop_sent_at: float | None = None
    finalized: float | None = None
    flushed: float | None = None
    first_text: float | None = None
    last_text: float | None = None
    eager_end: float | None = None
    ended: float | None = None

    @classmethod
    def of_speech(cls, first: SpeechSpan, last: SpeechSpan | None) -> UtteranceTimes:
        """Those of speech that starts with the first span and stops with the last one, if that is known."""
        times = cls() if first.start_is_cut else cls(start=first.start, start_sent_at=first.start_sent_at)
        if last is None or last.stop is None or last.stop_is_cut:
            return times
        return times._replace(stop=last.stop, stop_sent_at=last.stop_sent_at)


class SpeechTimeline:
    """Positions of speech in the audio, and when that audio was sent. `sent`: position of the sender."""

    def __init__(self) -> None:
        self.sent = 0.0
        self.spans: list[SpeechSpan] = []
        """In order, without those that were released."""
        self.assigned_until = 0.0
        """Everything before this position is assigned to utterances that are over."""
        self._start = 0.0  # position where this connection started
        self._log_start = 0.0  # audio before this position has no entry in the send log any more
        self._times: list[float] = []
        self._positions: list[float] = []
        self._gaps: list[tuple[float, float]] = []  # positions, and all seconds skipped up to there

    @property
    def elapsed(self) -> float:
        """Time of the session at the position of the sender."""
        return self.session_time(self.sent)

    def skip(self, position: float, seconds: float) -> None:
        """`seconds` passed without audio at `position`, the end of all audio so far."""
        before = self._gaps[-1][1] if self._gaps else 0.0
        if self._gaps and self._gaps[-1][0] == position:
            self._gaps.pop()
        self._gaps.append((position, before + seconds))

    def session_time(self, position: float, *, before_gap: bool = False) -> float:
        """The time of the session at a position. before_gap: before any time that was skipped there."""
        find = bisect_left if before_gap else bisect_right
        index = find(self._gaps, position, key=lambda gap: gap[0])
        return position + (self._gaps[index - 1][1] if index else 0.0)

    def advance(self, position: float, now: float) -> None:
        """Audio up to `position` has just been sent."""
        before, self.sent = self.sent, position
        for span in reversed(self.spans):
            if span.stop is not None and span.stop < before - POSITION_TOLERANCE_SECONDS:
                break
            if before <= span.start + POSITION_TOLERANCE_SECONDS < position:
                span.start_sent_at = now
            if span.stop is not None and before < span.stop - POSITION_TOLERANCE_SECONDS <= position:
                span.stop_sent_at = now
        times = self._times
        if times and now - times[-1] < LOG_RESOLUTION_SECONDS:
            self._positions[-1] = position
            return
        times.append(now)
        self._positions.append(position)
        if len(times) > 256 and times[len(times) // 2] < now - 2 * MAX_RESPONSE_SECONDS:
            half = len(times) // 2
            self._log_start = self._positions[half - 1]
            del times[:half], self._positions[:half]

    def speech_started(self, position: float) -> None:
        """Speech started at `position`. Does nothing while speech goes on."""
        if self.is_speaking:
            return
        last = self.spans[-1] if self.spans else None
        goes_on = last is not None and last.stop_is_cut and last.stop == position
        is_cut, position = position < self._start or goes_on, max(position, self._start)
        self.spans.append(SpeechSpan(position, start_sent_at=self.time_after(position), start_is_cut=is_cut))
        if len(self.spans) > MAX_SPANS:
            joined = self.spans.pop(1)
            self.spans[0] = replace(
                self.spans[0],
                stop=joined.stop,
                stop_sent_at=joined.stop_sent_at,
                stop_is_cut=joined.stop_is_cut,
            )

    def speech_stopped(self, position: float, *, is_cut: bool = False) -> None:
        """Speech stopped at `position`, perhaps for good. is_cut: it continues, but is divided there."""
        if not self.spans:
            if position <= self.assigned_until:
                return
            # It was going on at the start of the audio that is sent again.
            sent_at = self.time_after(self.assigned_until)
            self.spans.append(SpeechSpan(self.assigned_until, start_sent_at=sent_at, start_is_cut=True))
        last = self.spans[-1]
        if last.stop != position or last.stop_sent_at is None:
            last.stop, last.stop_sent_at = position, self.time_before(position)
        last.stop_is_cut = is_cut

    def rewind(self, position: float) -> None:
        """Audio from `position` on is sent again. Speech that spans `position` continues there."""
        self.sent = self.assigned_until = self._start = self._log_start = position
        self.spans = [
            SpeechSpan(position, start_is_cut=True)
            for span in self.spans
            if span.start < position < (span.stop or position + 1)
        ][:1]
        self._times.clear()
        self._positions.clear()

    def release(self, position: float) -> None:
        """Forget speech before `position`, except the last span before it, which `speech_before` needs."""
        while len(self.spans) > 1 and self.spans[1].stop is not None and self.spans[1].stop <= position:
            del self.spans[0]

    def position_at(self, time: float) -> float:
        """The position of the sender at `time`, on this connection. For a time before the send log begins, the position
        where the connection started, which is a lower bound.
        """
        index = bisect_right(self._times, time)
        return self._positions[index - 1] if index else self._start

    def time_after(self, position: float) -> float | None:
        """When the audio right after `position` was sent. None: not yet, or too long ago."""
        return self._time_at(bisect_right(self._positions, position + POSITION_TOLERANCE_SECONDS), position)

    def time_before(self, position: float) -> float | None:
        """When the audio right before `position` was sent. None: not yet, or too long ago."""
        return self._time_at(
            bisect_left(self._positions, position - POSITION_TOLERANCE_SECONDS),
            position - 2 * POSITION_TOLERANCE_SECONDS,
        )

    def _time_at(self, index: int, position: float) -> float | None:
        is_known = position >= self._log_start - POSITION_TOLERANCE_SECONDS and index < len(self._times)
        return self._times[index] if is_known else None

    def unassigned_spans(self) -> Iterator[SpeechSpan]:
        """Speech that isn't assigned to an utterance yet."""
        for span in self.spans:
            if span.start >= self.assigned_until:
                yield span
            elif span.stop is None or span.stop > self.assigned_until:
                sent_at = self.time_after(self.assigned_until)
                yield replace(span, start=self.assigned_until, start_sent_at=sent_at, start_is_cut=True)

    @property
    def all_speech_assigned(self) -> bool:
        """Whether all speech so far is assigned to utterances that are over."""
        return next(self.unassigned_spans(), None) is None

    @property
    def is_speaking(self) -> bool:
        """Whether speech is going on."""
        return bool(self.spans) and self.spans[-1].stop is None

    @property
    def speech(self) -> UtteranceTimes:
        """What was observed of the speech that `end_utterance` would return now."""
        spans = self._spans_until_now()
        return UtteranceTimes.of_speech(spans[0], spans[-1]) if spans else UtteranceTimes()

    def end_utterance(self) -> tuple[float, float]:
        """End the utterance: where speech started and stopped in the audio since the last one, or all that audio if
        there was no speech.

        Speech that goes on is divided here, unless it has just started after a pause.
        """
        first, open_, spans = self.assigned_until, [*self.unassigned_spans()], self._spans_until_now()
        self.assigned_until = open_[-1].start if len(spans) < len(open_) else self.sent
        if not spans:
            return first, self.sent
        start, stop = spans[0].start, spans[-1].stop
        return start, max(start, self.sent if stop is None else stop)

    def _spans_until_now(self) -> list[SpeechSpan]:
        spans = [*self.unassigned_spans()]
        if len(spans) > 1 and spans[-1].stop is None and self.sent - spans[-1].start <= NEW_SPEECH_SECONDS:
            spans.pop()
        return spans

    def speech_before(self, position: float) -> float:
        """Where the last speech started that started before `position`; `position` if there is none."""
        return max((span.start for span in self.spans if span.start < position), default=position)

    def quiet_before(self, position: float) -> float:
        """The last position up to `position` from which audio can be sent without cutting into speech.

        It lies in a pause, LEAD_SECONDS before the next speech, or in the middle of a shorter pause.
        """
        found = self._start  # the latest such position before the next span
        stopped = self._start
        for span in self.spans:
            latest = max(span.start - LEAD_SECONDS, (stopped + span.start) / 2)
            if position < min(stopped + TAIL_SECONDS, latest):
                return found
            found = min(position, latest)
            if span.stop is None:
                return found
            stopped = span.stop
        return position if position >= stopped + TAIL_SECONDS or not self.spans else found
