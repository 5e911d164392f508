"""An event loop whose clock jumps to the next timer: hours take seconds, and the same ones under any load."""

from __future__ import annotations

import asyncio
import selectors


class _SkippingSelector(selectors.DefaultSelector):
    """A selector that never waits: if no file is ready, it advances its clock by the timeout instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "deadlock: nothing is ready, and no timer is set"
            self.now += timeout
        return ready


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time. Only for code that waits for nothing outside the process."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now
