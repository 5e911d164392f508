"""Measures the latencies, the pacing and the cost of a live session.

    speech_to_finalize       the last speech was sent -> `finalize` was sent
    finalize_to_flush_done   `finalize` was sent -> its `flush_done`
    finalize_to_text         `finalize` was sent -> the last text that it brought
    onset_to_text            the first speech was sent -> the first text
    speech_to_turn_end       the last speech was sent -> `turn.end`
    eager_lead               `turn.eager_end` that was not taken back -> `turn.end`
    key_to_finalize          a key was pressed -> `finalize` was sent
    hangover_to_finalize     the sound that ended a hangover left the microphone -> `finalize` was sent

"Was sent" is when the frame with that sample had been handed to the socket. Which speech, command and text belong
together is the tracker's to say (`UtteranceTimes`): here they are only timed, counted and summarised. What was not
observed gives no figure, never a guess:

- where nobody was heard, neither by the endpointer nor by the server, a `finalize` or a turn counts for nothing
- where an utterance was cut off while somebody spoke (a cap, the end of the audio), there is no last speech,
  and what follows the cut has no onset
- where it is not certain which speech a turn was, or whose a text is, nothing is counted that depends on it
- a `finalize` without `flush_done` or `done` has no last text: perhaps it was still to come

Must never hold up the session, nor grow with it: everything but `report` takes the same short time, however
long a session is, and memory is bounded (by Percentiles and LISTED).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..audio.pcm import RATE
from ..audio.vad import VadEvent
from ..protocol import realtime_credits
from ..tracker import UtteranceTimes
from .percentiles import Percentiles, milliseconds

FIGURES = {
    "speech_to_finalize": ("stopped", "finalized"),
    "finalize_to_flush_done": ("finalized", "flushed"),
    "finalize_to_text": ("finalized", "last_text"),
    "onset_to_text": ("started", "first_text"),
    "speech_to_turn_end": ("stopped", "ended"),
    "eager_lead": ("eager_end", "ended"),
}
"""Between which two times of an utterance each figure lies."""

WAITS = ("key_to_finalize", "hangover_to_finalize")
"""Figures that are observed in one piece: from a key, or from the sound that ended a hangover, to the `finalize`."""

LISTED = 1000
"""Utterances that are reported one by one: the last ones."""


class LatencyRecorder:
    """Measures a session with `model`; shaped as `session.Witness`, and as what `audio.pacing` reports to.

    rate   16-bit samples a second
    """

    def __init__(self, model: str, rate: int = RATE) -> None:
        self._model, self._rate = model, rate
        self._bytes = 0
        self._latencies, self._lateness = {name: Percentiles() for name in (*FIGURES, *WAITS)}, Percentiles()
        self._utterances: deque[dict[str, Any]] = deque(maxlen=LISTED)
        self._gaps, self._lost = 0, 0.0

    @property
    def seconds(self) -> float:
        """Of audio that was sent, all told."""
        return self._bytes / (2 * self._rate)

    def audio_arrived(self, size: int) -> None:
        """So many bytes came from the source: nothing to measure."""

    def audio_sent(self, size: int) -> None:
        """So many bytes of 16-bit samples have just been handed to the socket."""
        self._bytes += size

    def vad_event(self, mark: VadEvent) -> None:
        """The endpointer heard something: the tracker says what that means."""

    def finalize_sent(self) -> None:
        """A `finalize` is about to be sent: the tracker says what for."""

    def rewound(self, at: float) -> None:
        """The connection was lost, audio from so many seconds on is sent again: what was waited for isn't reported."""

    def utterance_measured(self, times: UtteranceTimes) -> None:
        """An utterance, or a turn, is over."""
        figures = figures_of(times)
        for name, seconds in figures.items():
            self._latencies[name].add(seconds)
        if figures:
            bounds = {"start": times.start, "end": times.stop}
            self._utterances.append(
                {name: round(position, 3) for name, position in bounds.items() if position is not None}
                | {"latency_ms": {name: milliseconds(seconds) for name, seconds in figures.items()}}
            )

    def late(self, seconds: float) -> None:
        """A block left so long after its deadline."""
        self._lateness.add(seconds)

    def took(self, name: str, seconds: float) -> None:
        """Something else took so long: one of WAITS."""
        self._latencies[name].add(seconds)

    def gap(self, seconds: float) -> None:
        """All later deadlines were put off by so much."""
        self._gaps += 1
        self._lost += seconds

    def report(self) -> dict[str, Any]:
        """What was measured. Ready for JSON; what there is none of is left out.

        bytes, seconds, credits   what was sent, and its price at Cartesia
        latency_ms                figure to count, p50, p95, p99 and max in milliseconds
        pacing                    lateness_ms likewise, of blocks; drift_ms: the last one's lateness minus the
                                  first one's; gaps, and gap_seconds lost in them together
        utterances                the last LISTED: start and end in seconds of audio, latency_ms by figure
        """
        seconds = self.seconds
        report: dict[str, Any] = {
            "bytes": self._bytes,
            "seconds": round(seconds, 3),
            "credits": round(realtime_credits(self._model, seconds), 1),
            "latency_ms": {name: values.summary() for name, values in self._latencies.items() if values.count},
        }
        if self._lateness.count:
            report["pacing"] = {
                "lateness_ms": self._lateness.summary(),
                "drift_ms": milliseconds(self._lateness.last - self._lateness.first),
                "gaps": self._gaps,
                "gap_seconds": round(self._lost, 3),
            }
        return report | {"utterances": list(self._utterances)}


def figures_of(times: UtteranceTimes) -> dict[str, float]:
    """Seconds, of those that were observed at both ends. What came before it was waited for is no answer to it."""
    spans = ((name, getattr(times, since), getattr(times, to)) for name, (since, to) in FIGURES.items())
    return {name: to - since for name, since, to in spans if since is not None and to is not None and since <= to}
