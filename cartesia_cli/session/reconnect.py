"""Decides whether a lost connection is replaced, how soon, and how fast the backlog is sent then.

After progress, a lost connection is replaced after a short delay, FIRST_DELAY_SECONDS on average. Without progress in
between, the delay doubles each time, and after a few attempts the session fails. This module never connects itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import CliError, NetworkError
from ..retry import backoff_seconds, is_retryable_status, random_fraction

MAX_ATTEMPTS = 5
"""Connections in a row that may make no progress."""

WORKING_LOSS_WEIGHT = 0.1
"""Weight of a lost connection that worked but made no progress; one that didn't work counts as 1."""

WORKING_SECONDS = 1.0
"""Seconds after which a connection counts as working, even if the server has answered nothing."""

FIRST_DELAY_SECONDS = 0.25
"""Average wait before the first attempt; doubled each time, as `retry` says."""


class ReconnectPolicy:
    """Counts lost connections.

    tries    lost connections in a row that are replaced; 0: none
    jitter   random numbers from 0 to 1
    """

    def __init__(self, tries: int = MAX_ATTEMPTS, jitter: Callable[[], float] = random_fraction) -> None:
        self._tries, self._jitter = tries, jitter
        self._losses = 0.0
        self._reached = -1

    def next_delay(self, reached: int, *, worked: bool = False) -> float | None:
        """Seconds to wait before the next connection, jittered so that many clients don't return at once; None: give
        up.

        reached   how far the session got: any number that grows with its progress
        worked    whether the server answered any audio, or took it for WORKING_SECONDS
        """
        self._losses = 1.0 if reached > self._reached else self._losses + (WORKING_LOSS_WEIGHT if worked else 1.0)
        self._reached = max(self._reached, reached)
        if self._losses > self._tries:
            return None
        return backoff_seconds(self._losses, FIRST_DELAY_SECONDS) * (0.5 + self._jitter())


CATCH_UP_SPEED = 2.0
"""Maximum speed, as a multiple of real time. The documentation allows only real time (API docs: stt, "in real time"). A
session with a backlog tries twice that, and goes back to real time if the connection is lost again."""

RETRY_FAST_AFTER_SECONDS = 60.0
"""Seconds of audio after which a session that went back tries again: otherwise it would never catch up."""

BURST_SECONDS = 1.0
"""Seconds of overdue audio that may be sent without waiting."""


class RateLimiter:
    """Limits how fast audio is sent.

    source_pace   speed of the source, as a multiple of real time
    pace          the highest speed at which audio may be sent, likewise
    """

    def __init__(self, source_pace: float = 1.0) -> None:
        self._source_pace, self.pace, self._due = source_pace, source_pace * CATCH_UP_SPEED, -math.inf
        self._sent = 0.0  # seconds of audio since the pace changed

    def wait(self, now: float, seconds: float) -> float:
        """Seconds to wait before sending `seconds` more of audio, which count as sent; 0 or less: none."""
        self._sent += seconds
        if self._sent >= RETRY_FAST_AFTER_SECONDS:
            self.pace = self._source_pace * CATCH_UP_SPEED
        self._due = max(self._due, now - BURST_SECONDS) + seconds / self.pace
        return self._due - now

    def restart(self, now: float) -> None:
        """A new connection starts: it sends no burst, so that its answers show the response delay of the server."""
        self._due = now

    def slow_down(self) -> None:
        """A connection was lost while catching up: perhaps the endpoint doesn't accept that speed. If it was lost
        at the pace of the source, that was not the reason, and the next one may catch up again.
        """
        self.pace = self._source_pace if self.pace > self._source_pace else self._source_pace * CATCH_UP_SPEED
        self._sent = 0.0


def reconnect_failed(lost: NetworkError, error: CliError) -> CliError:
    """The error of a session whose connection was lost and could not be replaced: a network error, unless the server
    refused for good.
    """
    message = f"{lost.message}, and no other connection could be made: {error.message}"
    if error.status is None or is_retryable_status(error.status):
        return NetworkError(message, hint=error.hint, status=error.status, request_id=error.request_id)
    error.message = message
    return error
