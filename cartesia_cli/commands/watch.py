"""The instrument of a session that somebody attends: it knows of microphones and keys, and keeps the view moving."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ..audio.speech import Mark
from ..stats import Instrument


class Watch(Instrument):
    """Tells whenever audio comes in, as the clock of the view must not stand still.

    captured      when the newest sound left a microphone, by time.monotonic(); None: there is none
    last_speech   seconds of audio at which somebody spoke last, as far as is known
    """

    def __init__(self, model: str, chunk: int, captured: Callable[[], float] | None, moved: Callable[[], None]) -> None:
        super().__init__(model)
        self._chunk, self._captured, self._tell = chunk, captured, moved
        self._over: float | None = None
        self._asked: deque[float] = deque()
        self.last_speech = 0.0

    def asked(self) -> None:
        """Somebody wants a `finalize`."""
        self._asked.append(time.monotonic())

    def came(self, size: int) -> None:
        self._tell()

    def sent(self, size: int) -> None:
        super().sent(size)
        if self._captured is not None and size == self._chunk:  # one that is cut short waits for nothing
            self.late(time.monotonic() - self._captured())

    def marked(self, mark: Mark) -> None:
        super().marked(mark)
        self.last_speech = mark.speech
        if mark.kind == "end" and self._captured is not None:
            self._over = self._captured()

    def finalized(self) -> None:
        super().finalized()
        now = time.monotonic()
        if self._asked:
            self.took("key_to_finalize", now - self._asked.popleft())
        elif self._over is not None:
            self.took("hangover_to_finalize", now - self._over)
        self._over = None
