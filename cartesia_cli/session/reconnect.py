"""Whether a connection that was lost is worth another one, how soon, and how fast the new one is caught up with.

A loss after which something had been achieved is answered at once. One that follows another without anything
between them waits longer each time, and a few of them are enough. Must never connect by itself.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from ..errors import CliError, NetworkError

MAX_ATTEMPTS = 5
"""Connections in a row that may come to nothing."""

BACKOFF_SHARE = 0.1
"""What a connection counts that got no further, but worked: it was lost too soon to answer what it was sent."""

WORKING_SECONDS = 1.0
"""Seconds after which a connection has shown that it works, whether or not the server has answered anything."""

PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds before the first of them, on the average; doubled each time, up to this."""


class ReconnectPolicy:
    """Counts losses. `tries` 0: no loss is worth anything."""

    def __init__(self, tries: int = MAX_ATTEMPTS, dice: Callable[[], float] = random.random) -> None:
        self._tries, self._dice = tries, dice
        self._losses = 0.0
        self._reached = -1

    def next_delay(self, reached: int, *, worked: bool = False) -> float | None:
        """Seconds to wait before the next connection, jittered so that many don't come back at once; None: give up.

        reached   how far the session had come: anything that grows with what it achieves
        worked    whether the server said anything of the audio, or took it for WORKS seconds
        """
        self._losses = 1.0 if reached > self._reached else self._losses + (BACKOFF_SHARE if worked else 1.0)
        self._reached = max(self._reached, reached)
        if self._losses > self._tries:
            return None
        pause: float = min(PAUSE * 2.0 ** (self._losses - 1), LONGEST_PAUSE)
        return pause * (0.5 + self._dice())


CATCH_UP_SPEED = 2.0
"""Seconds of audio a second at most. The documentation allows one and knows no exception (docs: stt, "in real time");
who is behind after a lost connection tries two, and one if that connection is lost as well."""

TRUST = 60.0
"""Seconds of audio after which it is tried again: who stayed slow for good would stay behind for good."""

LEAD_SECONDS = 1.0
"""Seconds of audio that may go out at once, however late they are."""


class RateLimiter:
    """How much audio may go out, and when.

    pace   seconds of audio a second at most; `usual`: what the source gives
    """

    def __init__(self, usual: float = 1.0) -> None:
        self._usual, self.pace, self._due = usual, usual * CATCH_UP_SPEED, -math.inf
        self._gone = 0.0  # since the pace was changed

    def wait(self, now: float, seconds: float) -> float:
        """How long to wait before so much more audio goes out; it counts as gone."""
        self._gone += seconds
        if self._gone >= TRUST:
            self.pace = self._usual * CATCH_UP_SPEED
        self._due = max(self._due, now - LEAD_SECONDS) + seconds / self.pace
        return self._due - now

    def restart(self, now: float) -> None:
        """Another connection begins: nothing goes out at once, or nobody could tell by its answers how late it is."""
        self._due = now

    def slow_down(self) -> None:
        """A connection was lost while it caught up: perhaps the endpoint doesn't take so much. Where it was lost at the
        usual pace, that is not why, and the next one may catch up again.
        """
        self.pace = self._usual if self.pace > self._usual else self._usual * CATCH_UP_SPEED
        self._gone = 0.0


def reconnect_failed(lost: NetworkError, error: CliError) -> CliError:
    """The end of a session whose connection was lost and could not be made again: a matter of the network, still,
    unless the server says that it never will be.
    """
    message = f"{lost.message}, and no other connection could be made: {error.message}"
    if error.status is None or error.status in (408, 429) or error.status >= 500:
        return NetworkError(message, hint=error.hint, status=error.status, request_id=error.request_id)
    error.message = message
    return error
