"""Whether a connection that was lost is worth another one, and how soon.

A loss after which something had been achieved is answered at once. One that follows another without anything
between them waits longer each time, and a few of them are enough. Must never connect by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable

TRIES = 5
"""Connections in a row that may come to nothing."""

PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds before the first of them, on the average; doubled each time, up to this."""


class Lifeline:
    """Counts losses. `tries` 0: no loss is worth anything."""

    def __init__(self, tries: int = TRIES, dice: Callable[[], float] = random.random) -> None:
        self._tries, self._dice = tries, dice
        self._losses = 0
        self._reached = -1

    def lost(self, reached: int) -> float | None:
        """Seconds to wait before the next connection, jittered so that many don't come back at once; None: give up.

        reached   how far the session had come: anything that grows with what it achieves
        """
        self._losses = 1 if reached > self._reached else self._losses + 1
        self._reached = max(self._reached, reached)
        if self._losses > self._tries:
            return None
        pause: float = min(PAUSE * 2.0 ** (self._losses - 1), LONGEST_PAUSE)
        return pause * (0.5 + self._dice())
