"""Locates the speech of a turn in the audio, for an endpoint whose events carry no times.

When an event comes, the server has heard the audio that was sent one response delay ago. The endpointer says where in
the audio there was speech. From both follows which speech a turn was:

- It starts with the earliest speech that isn't assigned to a previous turn and was sent before the turn's first event.
  Speech that has waited NOISE_DELAY_SECONDS longer than the shortest delay is skipped as noise, if later speech fits.
- The time from that speech to the first event is the response delay, which is measured again with each turn.
- It stops with the last speech that ended before the audio the server had heard when the turn's end came.

If another placement was possible as well, the placement is ambiguous: the turn's times are then marked as estimated,
and its latencies aren't measured (`ResponseDelay`).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..transcript import Timing
from .timeline import SpeechSpan, SpeechTimeline, UtteranceTimes

MIN_SILENCE_SECONDS = 0.1
"""The shortest silence that ends a turn."""

DELAY_JITTER_SECONDS = 0.3
"""Typical jitter of a server's response delay."""

NOISE_DELAY_SECONDS = 2.0
"""Speech that is unanswered this much longer than the shortest delay is regarded as noise that started no turn."""

IN_FLIGHT_SECONDS = 0.05
"""The longest time that audio is under way before it counts as sent."""

MIN_MEASURED_TURNS = 4
"""Turns with the same response delay after which that delay counts as known."""

MAX_MEASURED_TURNS = 8
"""Turns over which the response delay is measured: a server may become slower or faster."""


class TurnPlacement(NamedTuple):
    """Where the speech of a turn is: positions in seconds.

    speech   what was observed of it, to measure latencies by; empty if the placement is estimated
    """

    start: float
    stop: float
    timing: Timing
    speech: UtteranceTimes


class ResponseDelay:
    """The response delay of a server, measured on the turns placed so far, and whether their placement is certain.

    A wrong placement makes the next one wrong as well. A turn is placed for certain if there was only one span of
    speech to choose from, for it and for all turns since the last reset. It is certain, too, if the delay is known: it
    was the same for MIN_MEASURED_TURNS turns, none of them ambiguous.

    shortest, longest   seconds, over the last MAX_MEASURED_TURNS turns; None and 0 before any
    """

    def __init__(self) -> None:
        self._delays: deque[float] = deque(maxlen=MAX_MEASURED_TURNS)
        self._turns_since_ambiguity = 0
        self._is_unambiguous = True  # no turn was ambiguous since the last reset

    @property
    def shortest(self) -> float | None:
        return min(self._delays, default=None)

    @property
    def longest(self) -> float:
        return max(self._delays, default=0.0)

    def add(self, delay: float) -> None:
        """Record the delay measured on the next turn."""
        self._delays.append(delay)
        self._turns_since_ambiguity += 1

    def mark_ambiguous(self) -> None:
        """A placement may have been wrong, and so may the next ones, until the delay is known again."""
        self._turns_since_ambiguity, self._is_unambiguous = 0, False

    def reset_ambiguity(self) -> None:
        """All speech placed so far is acknowledged: none of it can be confused with that of a later turn."""
        self._is_unambiguous = True

    def judge_last_turn(self, pace: float, *, is_only: bool, is_skipping: bool) -> bool:
        """Decide whether the turn that was added last is placed for certain. If it may be misplaced, so may the next.

        pace          seconds of audio sent per second
        is_only       there was no other speech
        is_skipping   speech before it was skipped as noise
        """
        self._is_unambiguous = self._is_unambiguous and is_only
        is_steady = (max(self._delays) - min(self._delays)) * pace <= 2 * DELAY_JITTER_SECONDS
        is_known = is_steady and self._turns_since_ambiguity >= MIN_MEASURED_TURNS
        if not (is_known or is_only or (is_steady and not is_skipping)):
            self.mark_ambiguous()
        return is_known or self._is_unambiguous


def place_turn(timeline: SpeechTimeline, delay: ResponseDelay, opened_at: float, now: float) -> TurnPlacement:
    """Find the speech of a turn whose first event came at `opened_at` and which ends now.

    Assigns that speech to the turn (`SpeechTimeline.assigned_until`) and measures the delay.
    """
    spans = [*timeline.unassigned_spans()]
    # A server may notice speech before the endpointer does, in audio that is just being sent.
    candidates = [span for span in spans if _response_delay(span, opened_at) >= -DELAY_JITTER_SECONDS]
    shortest = delay.shortest
    if not candidates:  # the endpointer heard no speech here, or the start of the turn was omitted
        start = timeline.assigned_until
        delay.mark_ambiguous()
        timeline.assigned_until = max(start, timeline.position_at(now - (shortest or 0.0)))
        return TurnPlacement(start, timeline.assigned_until, "estimated", UtteranceTimes())
    first, measured = _find_first(candidates, opened_at, shortest)
    # If the turn began before this speech was sent, its own speech was assigned to the previous turn.
    is_ambiguous = measured < -IN_FLIGHT_SECONDS
    if is_ambiguous:
        measured = shortest or 0.0
    else:
        measured = max(measured, 0.0)
        delay.add(measured)
    heard_until = timeline.position_at(now - measured) - MIN_SILENCE_SECONDS  # the server's position at the end
    rest = spans[spans.index(first) :]
    stop, last = _find_stop(rest, heard_until)
    timeline.assigned_until = stop
    pace = max(1.0, timeline.sent - timeline.position_at(now - 1.0))  # seconds of audio per second
    latest = heard_until + DELAY_JITTER_SECONDS * pace
    if any(stop <= span.start and (span.stop or span.start) <= latest for span in rest):
        is_ambiguous = True  # the turn may have ended with that span instead
    if is_ambiguous:
        delay.mark_ambiguous()
    is_only, is_skipping = len(spans) == 1, first is not candidates[0]
    if is_ambiguous or not delay.judge_last_turn(pace, is_only=is_only, is_skipping=is_skipping):
        return TurnPlacement(first.start, stop, "estimated", UtteranceTimes())
    goes_on = any(span.start < heard_until for span in rest[rest.index(last) + 1 :])
    is_over = last.stop is not None and last.stop <= heard_until + DELAY_JITTER_SECONDS and not goes_on
    return TurnPlacement(first.start, stop, "audio", UtteranceTimes.of_speech(first, last if is_over else None))


def _response_delay(span: SpeechSpan, opened_at: float) -> float:
    """Seconds from sending a span's first sample to the first event of a turn. 0 if the send log has no time for that
    sample, because it is only just being sent or was sent too long ago.
    """
    return 0.0 if span.start_sent_at is None else opened_at - span.start_sent_at


def _find_first(candidates: list[SpeechSpan], opened_at: float, shortest: float | None) -> tuple[SpeechSpan, float]:
    """The span that starts a turn first reported at `opened_at`, and the delay from that span to the report."""
    delays = [_response_delay(span, opened_at) for span in candidates]
    if shortest is not None and delays[0] > shortest + NOISE_DELAY_SECONDS:  # the first of them may have been noise
        for span, delay in zip(candidates, delays, strict=True):
            if abs(delay - shortest) <= DELAY_JITTER_SECONDS:
                return span, delay
    return candidates[0], delays[0]


def _find_stop(spans: list[SpeechSpan], heard_until: float) -> tuple[float, SpeechSpan]:
    """Where a turn stops that starts with the first of these spans, and the last span that is entirely in it.

    heard_until   position up to which the server had heard speech when it ended the turn
    """
    last = spans[0]
    stop = max(last.start, heard_until) if last.stop is None else last.stop
    for span in spans[1:]:
        if span.stop is not None and span.stop <= heard_until:
            stop, last = span.stop, span
        elif span.stop is None and span.start < heard_until:
            stop = heard_until  # in the middle of it
    return stop, last
