"""Measures the latencies, the pacing and the cost of a live session.

    speech_to_finalize       the last speech was sent -> `finalize` was sent
    finalize_to_flush_done   `finalize` was sent -> its `flush_done`
    finalize_to_text         `finalize` was sent -> the last text that it brought
    onset_to_text            the first speech was sent -> the first text
    speech_to_turn_end       the last speech was sent -> `turn.end`
    eager_lead               `turn.eager_end` that was not taken back -> `turn.end`
    key_to_finalize          a key was pressed -> `finalize` was sent
    hangover_to_finalize     the silence that ended an utterance left the microphone -> `finalize` was sent

"Was sent" is when the frame with that sample had been handed to the socket. Which speech, command and text belong
together is decided by the tracker (`UtteranceTimes`); here they are only timed, counted and summarized. Figures
are never estimated:

- if neither the endpointer nor the server detected speech, a `finalize` or a turn isn't counted
- if an utterance was cut off during speech (a cap, the end of the audio), there is no last speech,
  and what follows the cut has no onset
- if it is uncertain which speech a turn or a text belongs to, nothing is counted that depends on it
- a `finalize` without `flush_done` or `done` has no last text: it may still have been to come; nor has text that comes
  after its `flush_done` latencies

Must never delay the session or grow with it: every method but `report` takes constant time, and memory is bounded.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Any

from ..audio.vad import VadEvent
from ..protocol.constants import ENCODINGS, realtime_credits
from ..protocol.realtime import RealtimeOptions
from ..tracker import UtteranceTimes
from ..transcript import Notice, Partial, Segment, Update
from .interfaces import SessionObserver

FIGURES = {
    "speech_to_finalize": ("stop_sent_at", "finalized"),
    "finalize_to_flush_done": ("finalized", "flushed"),
    "finalize_to_text": ("finalized", "last_text"),
    "onset_to_text": ("start_sent_at", "first_text"),
    "speech_to_turn_end": ("stop_sent_at", "ended"),
    "eager_lead": ("eager_end", "ended"),
}
"""The two times of an utterance (`UtteranceTimes`) between which each figure lies."""

WAITS = ("key_to_finalize", "hangover_to_finalize")
"""Figures that are measured as a whole: from a key, or from the end of an utterance, to the `finalize`."""

MAX_LISTED = 1000
"""Utterances that are reported one by one: the last ones."""

MAX_VALUES = 1 << 16
"""Values of one figure that are kept, 512 KiB. An even number, so that after halving they are still evenly spaced."""

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

FIRST_STEP_SECONDS = 0.25
"""Of the time line."""

MAX_STEPS = 2000
"""When there are as many, each two become one."""

MAX_OUTAGES = 1000


class LatencyRecorder(SessionObserver):
    """Measures a session, as its `SessionObserver` and as what `audio.pacing` reports to.

    frame_bytes   of 16-bit audio in a message
    captured      returns when the newest audio left the microphone, in seconds of `clock`; None for a file
    on_audio      called for every block from the source

    last_speech   position in the audio of the latest known speech, in seconds; None before any
    activity_log  when audio was sent, and what else happened
    """

    def __init__(
        self,
        options: RealtimeOptions,
        frame_bytes: int,
        *,
        captured: Callable[[], float] | None = None,
        on_audio: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options, self._frame_bytes = options, frame_bytes
        self._captured, self._on_audio, self._clock = captured, on_audio, clock
        self._bytes = 0
        self._samples_in = self._samples_sent = 0  # positions: of the source, and of the sender
        self._requests: deque[tuple[int, float]] = deque()  # position of each key's `finalize`, and when it was pressed
        self._speech_ended: float | None = None  # when the silence that ended an utterance left the microphone
        self._latencies, self._lateness = {name: Percentiles() for name in (*FIGURES, *WAITS)}, Percentiles()
        self._utterances: deque[dict[str, Any]] = deque(maxlen=MAX_LISTED)
        self._gaps, self._lost_seconds = 0, 0.0
        self.last_speech: float | None = None
        self.activity_log = ActivityLog(clock)

    @property
    def sent_seconds(self) -> float:
        """Length of all audio that was sent, including what was sent again."""
        return self._bytes / (2 * self._options.sample_rate)

    def finalize_requested(self) -> None:
        """The user asked for a `finalize`."""
        self._requests.append((self._samples_in, self._clock()))

    def audio_arrived(self, size: int) -> None:
        self._samples_in += size // 2
        self._on_audio()

    def audio_sent(self, size: int) -> None:
        self._bytes += size
        self._samples_sent += size // 2
        self.activity_log.audio_sent(size / (2 * self._options.sample_rate))
        if self._captured is not None and size == self._frame_bytes:  # a shorter one was not waited for
            self.late(self._clock() - self._captured())

    def vad_event(self, event: VadEvent) -> None:
        self.last_speech = event.speech
        if event.kind == "end" and self._captured is not None:
            self._speech_ended = self._captured()

    def rewound(self, position: float) -> None:
        self._samples_sent = round(position * self._options.sample_rate)
        self._requests.clear()
        self._speech_ended = None

    def finalize_sent(self) -> None:
        now = self._clock()
        while self._requests and self._requests[0][0] < self._samples_sent:  # it was never sent
            self._requests.popleft()
        if self._requests and self._requests[0][0] == self._samples_sent:
            self._latencies["key_to_finalize"].add(now - self._requests.popleft()[1])
        elif self._speech_ended is not None:
            self._latencies["hangover_to_finalize"].add(now - self._speech_ended)
        self._speech_ended = None

    def utterance_measured(self, times: UtteranceTimes) -> None:
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
        """A block was sent this many seconds after its deadline."""
        self._lateness.add(seconds)

    def gap(self, seconds: float) -> None:
        """All later deadlines were postponed by this many seconds."""
        self._gaps += 1
        self._lost_seconds += seconds

    def report(self) -> dict[str, Any]:
        """What was measured, ready for JSON. What was not observed is left out.

        bytes, seconds, credits   what was sent, in the encoding of the connection, and its price at Cartesia
        latency_ms                by figure: count, p50, p95, p99 and max in milliseconds
        pacing                    lateness_ms likewise, of blocks; drift_ms: the last one's lateness minus the
                                  first one's; gaps, and the gap_seconds lost in them together
        utterances                the last MAX_LISTED: start and end in seconds of audio, latency_ms by figure
        encoding, sample_rate     of what was sent, and bits_per_second
        timeline                  as in ActivityLog
        """
        options, seconds = self._options, self.sent_seconds
        bytes_per_second = options.sample_rate * ENCODINGS[options.encoding]
        report: dict[str, Any] = {
            "bytes": round(seconds * bytes_per_second),
            "seconds": round(seconds, 3),
            "credits": round(realtime_credits(options.model, seconds), 1),
            "latency_ms": {name: values.summary() for name, values in self._latencies.items() if values.count},
        }
        if self._lateness.count:
            report["pacing"] = {
                "lateness_ms": self._lateness.summary(),
                "drift_ms": milliseconds(self._lateness.last - self._lateness.first),
                "gaps": self._gaps,
                "gap_seconds": round(self._lost_seconds, 3),
            }
        return report | {
            "utterances": list(self._utterances),
            "encoding": options.encoding,
            "sample_rate": options.sample_rate,
            "bits_per_second": 8 * bytes_per_second,
            "timeline": self.activity_log.report(),
        }


class ActivityLog:
    """When audio was sent, partials came, text settled and connections were lost, in seconds since this was made.

    Memory is bounded: what happened is counted in equal steps of time, which get longer with the session. `clock`
    returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._step = FIRST_STEP_SECONDS
        self._lanes: dict[str, list[float]] = {"sent": [], "partials": [], "finals": []}
        self._outages: list[list[float | None]] = []

    @property
    def elapsed(self) -> float:
        return self._clock() - self._began

    def audio_sent(self, seconds: float) -> None:
        """So much audio was sent just now."""
        self._add("sent", seconds)

    def updated(self, update: Update) -> None:
        """The transcript was updated just now."""
        match update:
            case Partial():
                self._add("partials", 1)
            case Segment(text=text) if text.strip():
                self._add("finals", 1)
            case Notice(event="connection_lost") if len(self._outages) < MAX_OUTAGES:
                self._outages.append([round(self.elapsed, 3), None])
            case Notice(event="reconnected") if self._outages and self._outages[-1][1] is None:
                self._outages[-1][1] = round(self.elapsed, 3)

    def report(self) -> dict[str, Any]:
        """What happened, ready for JSON.

        seconds    how long the session has lasted
        step       seconds of a step
        sent, partials, finals   for each step: seconds of audio, and how many partials and settled segments came
        outages    begin and end of each lost connection; no end if it wasn't replaced
        """
        seconds = round(self.elapsed, 3)
        outages = [[begin] if end is None else [begin, end] for begin, end in self._outages]
        lanes = {name: [round(value, 3) for value in values] for name, values in self._lanes.items()}
        return {"seconds": seconds, "step": self._step, **lanes, "outages": outages}

    def _add(self, lane: str, amount: float) -> None:
        at = self.elapsed
        while at >= MAX_STEPS * self._step:
            self._step *= 2
            self._lanes = {name: _halved(values) for name, values in self._lanes.items()}
        values, place = self._lanes[lane], int(at / self._step)
        values.extend([0.0] * (place + 1 - len(values)))
        values[place] += amount


class Percentiles:
    """The values of one figure: how many, their percentiles and their maximum, in bounded memory.

    Takes seconds, gives milliseconds. The first MAX_VALUES are all kept, so that percentiles are exact for as many
    utterances, or 1.8 hours of frames of 100 ms; from then on every second value is kept, then every fourth. Counts
    and maxima are always exact. Each percentile is a value that was observed (nearest rank).
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = self._max = 0.0
        self._values = array("d")
        self._stride = 1

    def add(self, seconds: float) -> None:
        if not self.count:
            self.first = self._max = seconds
        self.last, self._max = seconds, max(self._max, seconds)
        if self.count % self._stride == 0:
            self._values.append(seconds)
        if len(self._values) == MAX_VALUES:
            self._values = self._values[::2]
            self._stride *= 2
        self.count += 1

    def summary(self) -> dict[str, float]:
        """count, p50, p95, p99 and max; where not all values are kept, also `sampled`: how many percentiles are of."""
        ordered = sorted(self._values)
        shares = {name: milliseconds(ordered[ceil(len(ordered) * share) - 1]) for name, share in SHARES.items()}
        sampled = {} if self._stride == 1 else {"sampled": len(ordered)}
        return {"count": self.count, **shares, "max": milliseconds(self._max), **sampled}


def figures_of(times: UtteranceTimes) -> dict[str, float]:
    """Seconds by figure, for those observed at both ends. Negative intervals are dropped."""
    spans = ((name, getattr(times, since), getattr(times, to)) for name, (since, to) in FIGURES.items())
    return {name: to - since for name, since, to in spans if since is not None and to is not None and since <= to}


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _halved(values: list[float]) -> list[float]:
    return [sum(values[at : at + 2]) for at in range(0, len(values), 2)]
