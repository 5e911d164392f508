"""Measures a session that somebody attends: it knows of microphones and keys, and keeps the view moving."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ..audio.pcm import RATE
from ..audio.vad import VadEvent
from ..stats import LatencyRecorder


class LiveMetrics(LatencyRecorder):
    """Tells whenever audio comes in, as the clock of the view must not stand still.

    captured      when the newest sound left a microphone, by time.monotonic(); None: there is none
    last_speech   seconds of audio at which somebody spoke last, as far as is known; None before that
    """

    def __init__(
        self,
        model: str,
        chunk: int,
        captured: Callable[[], float] | None,
        moved: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        rate: int = RATE,
    ) -> None:
        super().__init__(model, rate)
        self._clock, self._rate, self._chunk, self._captured, self._tell = clock, rate, chunk, captured, moved
        self._over: float | None = None
        self._came = self._position = 0  # samples from the source, and of the sender
        self._asked: deque[tuple[int, float]] = deque()  # where each key's `finalize` stands, and when it was pressed
        self.last_speech: float | None = None

    def finalize_requested(self) -> None:
        """Somebody wants a `finalize`."""
        self._asked.append((self._came, self._clock()))

    def audio_arrived(self, size: int) -> None:
        self._came += size // 2
        self._tell()

    def audio_sent(self, size: int) -> None:
        super().audio_sent(size)
        self._position += size // 2
        if self._captured is not None and size == self._chunk:  # one that is cut short waits for nothing
            self.late(self._clock() - self._captured())

    def vad_event(self, mark: VadEvent) -> None:
        self.last_speech = mark.speech
        if mark.kind == "end" and self._captured is not None:
            self._over = self._captured()

    def rewound(self, at: float) -> None:
        self._position = round(at * self._rate)
        self._asked.clear()
        self._over = None

    def finalize_sent(self) -> None:
        now = self._clock()
        while self._asked and self._asked[0][0] < self._position:  # it never went out
            self._asked.popleft()
        if self._asked and self._asked[0][0] == self._position:
            self.took("key_to_finalize", now - self._asked.popleft()[1])
        elif self._over is not None:
            self.took("hangover_to_finalize", now - self._over)
        self._over = None
