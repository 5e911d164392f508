"""What audio was sent when in a live session, and where in it somebody spoke.

The sender reports how far it is, the endpointer where speech begins and stops. Positions are seconds of audio from the
start of the session, times are seconds of a clock. After a lost connection audio is sent again: then the position goes
back, and everything behind it is reported anew. What a paused microphone hears is not sent: then the time of the
session runs ahead of the positions (`session_time`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_LATENESS = 11.0
"""Seconds within which a server is trusted to answer audio: an answer may be 10 s late, and the detection of speech or
of its end takes its time, too."""

RESOLUTION = 0.01
"""Seconds between two entries of the send log at least: audio may go out a thousand times faster than it plays."""

LEAD = 0.5
"""Seconds of silence before speech that are sent again with it: where speech begins is known to a few frames only."""

TAIL = 0.125
"""Seconds of silence behind speech that are not sent again: a word fades, and what is left could be taken for one."""

NEW_SPEECH = 0.2
"""Seconds in which nobody says a word: speech that began no longer ago belongs to the next utterance."""


@dataclass(slots=True)
class SpeechSpan:
    """Speech between two pauses. start, stop: positions; stop is None while it goes on."""

    start: float
    stop: float | None = None


class SpeechTimeline:
    """Positions of speech in the audio sent, and the times at which that was sent. `sent`: position of the sender."""

    def __init__(self) -> None:
        self.sent = 0.0
        self.spans: list[SpeechSpan] = []
        """In order, but for those before `release`."""
        self.taken = 0.0
        """What lies before this position belongs to utterances that are over."""
        self._began = 0.0
        self._times: list[float] = []
        self._positions: list[float] = []
        self._gaps: list[tuple[float, float]] = []  # positions, and seconds skipped there and before, all told

    @property
    def elapsed(self) -> float:
        """Time of the session at the position of the sender."""
        return self.session_time(self.sent)

    def skip(self, position: float, seconds: float) -> None:
        """At `position`, the last that there is, so many seconds passed without audio."""
        before = self._gaps[-1][1] if self._gaps else 0.0
        if self._gaps and self._gaps[-1][0] == position:
            self._gaps.pop()
        self._gaps.append((position, before + seconds))

    def session_time(self, position: float, *, before_gap: bool = False) -> float:
        """The time of the session at a position. before_gap: where time was skipped right there, before that."""
        find = bisect_left if before_gap else bisect_right
        index = find(self._gaps, position, key=lambda gap: gap[0])
        return position + (self._gaps[index - 1][1] if index else 0.0)

    def advance(self, position: float, now: float) -> None:
        """Audio up to `position` has just been sent."""
        self.sent = position
        times = self._times
        if times and now - times[-1] < RESOLUTION:
            self._positions[-1] = position
            return
        times.append(now)
        self._positions.append(position)
        if len(times) > 256 and times[len(times) // 2] < now - 2 * LONGEST_LATENESS:
            half = len(times) // 2
            del times[:half], self._positions[:half]

    def onset(self, position: float) -> None:
        """Speech began. Nothing happens where it goes on."""
        if not self.is_speaking:
            self.spans.append(SpeechSpan(position))

    def pause(self, position: float) -> None:
        """Speech stopped, perhaps for good."""
        if self.spans:
            self.spans[-1].stop = position
        elif position > self.taken:  # it was going on where the audio was sent from
            self.spans.append(SpeechSpan(self.taken, position))

    def rewind(self, position: float) -> None:
        """Audio from `position` on is sent again. Speech that was going on there goes on there."""
        self.sent = self.taken = self._began = position
        self.spans = [
            SpeechSpan(position) for span in self.spans if span.start < position < (span.stop or position + 1)
        ][:1]
        self._times.clear()
        self._positions.clear()

    def release(self, position: float) -> None:
        """Forget speech before `position`, except the last span that stopped there."""
        while len(self.spans) > 1 and self.spans[1].stop is not None and self.spans[1].stop <= position:
            del self.spans[0]

    def position_at(self, time: float) -> float:
        """How much had been sent at `time`, on this connection."""
        index = bisect_right(self._times, time)
        return self._positions[index - 1] if index else self._began

    def time_of(self, position: float) -> float | None:
        """When the audio just before `position` was sent. None: not yet."""
        index = bisect_left(self._positions, position)
        return self._times[index] if index < len(self._times) else None

    def untaken(self) -> Iterator[SpeechSpan]:
        """Speech of utterances that are not over."""
        for span in self.spans:
            if span.stop is None or span.stop > self.taken:
                yield SpeechSpan(max(span.start, self.taken), span.stop)

    @property
    def is_quiet(self) -> bool:
        """Whether nobody was heard in the audio that belongs to no utterance yet."""
        return next(self.untaken(), None) is None

    @property
    def is_speaking(self) -> bool:
        """Whether speech is going on."""
        return bool(self.spans) and self.spans[-1].stop is None

    def take(self) -> tuple[float, float]:
        """Where speech began and stopped in the audio since the last utterance; all of it where none was heard.

        The utterance is over here: speech that goes on is divided, unless it has only just begun behind a pause.
        """
        first, spans = self.taken, [*self.untaken()]
        self.taken = self.sent
        if not spans:
            return first, self.sent
        if spans[-1].stop is None and len(spans) > 1 and self.sent - spans[-1].start <= NEW_SPEECH:
            self.taken = spans.pop().start
        start, stop = spans[0].start, spans[-1].stop
        return start, max(start, self.sent if stop is None else stop)

    def speech_before(self, position: float) -> float:
        """Where the last speech began that began before `position`; there, where there is none."""
        return max((span.start for span in self.spans if span.start < position), default=position)

    def quiet_before(self, position: float) -> float:
        """The last position up to `position` from which audio can be sent without cutting into speech.

        That is in a pause, LEAD before the next speech, or in the middle of a shorter pause.
        """
        found, stopped = self._began, self._began
        for span in self.spans:
            latest = max(span.start - LEAD, (stopped + span.start) / 2)
            if position < min(stopped + TAIL, latest):
                return found
            found = min(position, latest)
            if span.stop is None:
                return found
            stopped = span.stop
        return position if position >= stopped + TAIL or not self.spans else found
