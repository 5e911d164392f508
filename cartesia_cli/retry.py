"""When a failed request is worth another attempt, and how long to wait before it.

Safe to repeat: what never reached the server whole (no connection, an interrupted upload) and what the server itself
postponed (408, 429, 5xx; errors cost nothing, API docs: pricing). Not safe: a request that the server received and
whose response was lost. The audio may have been billed, so only an explicit number of retries allows it.

Pure except for the jitter. Must never sleep or send anything.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from .record import Record

MAX_RETRY_AFTER_SECONDS = 60.0
"""The longest Retry-After that is respected; a longer one ends the attempts, and the user decides."""

DEFAULT_RETRIES = 2
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 8.0


def backoff_seconds(failures: float, first_seconds: float) -> float:
    """The delay after this many failures in a row, without jitter: it doubles each time, up to MAX_DELAY_SECONDS."""
    return float(min(first_seconds * 2.0 ** min(failures - 1, 10), MAX_DELAY_SECONDS))


def random_fraction() -> float:
    """A random number from 0 to 1."""
    from random import random  # start-up: few requests are repeated

    return random()


class RetryPolicy(Record):
    """How often a request is attempted.

    max_retries   attempts after the first. None: DEFAULT_RETRIES if a repeat is safe, none if it might be billed
    max_seconds   how long to go on trying; None: as long as retries are left
    jitter        returns a random number from 0 to 1
    """

    max_retries: int | None = None
    max_seconds: float | None = None
    jitter: Callable[[], float] = random_fraction

    def max_attempts(self, *, maybe_billed: bool) -> int:
        """The number of attempts, the first included. `maybe_billed`: the server may have served the last one."""
        if self.max_retries is None:
            return 1 if maybe_billed else 1 + DEFAULT_RETRIES
        return 1 + self.max_retries

    def delay(self, attempts: int, retry_after: float | None = None) -> float:
        """Seconds to wait after this many failed attempts, with jitter so that many clients don't return at once.

        retry_after   seconds that the server asks for, or None. It can only lengthen the delay: a server that asks
                      for too little must not be flooded.
        """
        own = backoff_seconds(attempts, FIRST_DELAY_SECONDS) * (0.5 + 0.5 * self.jitter())
        return max(own, retry_after or 0.0)


def is_retryable_status(status: int) -> bool:
    """Whether an HTTP status means "later" rather than "no"."""
    return status in (408, 429) or status >= 500


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for: a number, or an HTTP date (RFC 9110 10.2.3).

    Never negative nor NaN. None if the header is missing or malformed.
    """
    if not value:
        return None
    # Python's float takes "1_0" and "inf", too.
    if re.fullmatch(r"-?\d+(?:\.\d+)?(?:[eE]\d+)?", value.strip(), re.ASCII):
        return max(0.0, float(value))
    from email.utils import parsedate_to_datetime  # start-up: few responses have a date here

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
