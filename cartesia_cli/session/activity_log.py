"""Records when things happened in a live session: audio sent, partials, settled text, lost connections.

Memory is bounded: what happened is counted in equal steps of time, which get longer with the session.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..transcript import Notice, Partial, Segment, Update

FIRST_STEP_SECONDS = 0.25
MAX_STEPS = 2000
"""When there are as many, each two become one."""

MAX_OUTAGES = 1000


class ActivityLog:
    """What happened when, in seconds since the recorder was made. `clock` returns seconds."""

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


def _halved(values: list[float]) -> list[float]:
    return [sum(values[at : at + 2]) for at in range(0, len(values), 2)]
