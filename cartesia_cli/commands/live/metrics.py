"""Latency measurements of an interactive session: also of the microphone and of keys that send `finalize`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ...audio.vad import VadEvent
from ...protocol import ENCODINGS, RealtimeOptions
from ...session.latency import LatencyRecorder
from ...session.time_line import TimeLine


class LiveMetrics(LatencyRecorder):
    """A latency recorder that also measures capture and key latencies, and calls `on_audio` for every block.

    captured      returns when the newest audio left the microphone, in seconds of time.monotonic(); None for a file
    last_speech   position in the audio of the latest known speech, in seconds; None before any
    time_line     when audio was sent, and what else happened
    """

    def __init__(
        self,
        options: RealtimeOptions,
        frame_bytes: int,
        captured: Callable[[], float] | None,
        on_audio: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(options.model, options.sample_rate)
        self._encoding, self._frame_bytes = options.encoding, frame_bytes
        self._clock, self._captured, self._on_audio = clock, captured, on_audio
        self._speech_ended: float | None = None
        self._samples_in = self._samples_sent = 0  # samples from the source, and samples sent
        self._requests: deque[tuple[int, float]] = deque()  # position of each key's `finalize`, and when it was pressed
        self.last_speech: float | None = None
        self.time_line = TimeLine(clock)

    def report(self) -> dict[str, Any]:
        """What was measured, as LatencyRecorder has it, and the following.

        encoding, sample_rate    of what was sent
        bytes, bits_per_second   in that encoding
        timeline                 as in TimeLine
        """
        bytes_per_second = self._rate * ENCODINGS[self._encoding]
        return super().report() | {
            "encoding": self._encoding,
            "sample_rate": self._rate,
            "bytes": round(self.seconds * bytes_per_second),
            "bits_per_second": 8 * bytes_per_second,
            "timeline": self.time_line.report(),
        }

    def finalize_requested(self) -> None:
        """The user asked for a `finalize`."""
        self._requests.append((self._samples_in, self._clock()))

    def audio_arrived(self, size: int) -> None:
        self._samples_in += size // 2
        self._on_audio()

    def audio_sent(self, size: int) -> None:
        super().audio_sent(size)
        self.time_line.audio_sent(size / (2 * self._rate))
        self._samples_sent += size // 2
        if self._captured is not None and size == self._frame_bytes:  # a shorter one was not waited for
            self.late(self._clock() - self._captured())

    def vad_event(self, event: VadEvent) -> None:
        self.last_speech = event.speech
        if event.kind == "end" and self._captured is not None:
            self._speech_ended = self._captured()

    def rewound(self, position: float) -> None:
        self._samples_sent = round(position * self._rate)
        self._requests.clear()
        self._speech_ended = None

    def finalize_sent(self) -> None:
        now = self._clock()
        while self._requests and self._requests[0][0] < self._samples_sent:  # it was never sent
            self._requests.popleft()
        if self._requests and self._requests[0][0] == self._samples_sent:
            self.took("key_to_finalize", now - self._requests.popleft()[1])
        elif self._speech_ended is not None:
            self.took("hangover_to_finalize", now - self._speech_ended)
        self._speech_ended = None
