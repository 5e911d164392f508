"""When to try again, and how long to wait before: pure but for the dice.

Safe to repeat: what never reached the server whole (no connection, an upload cut off) and what the
server itself put off (408, 429, 5xx; errors cost nothing, docs: pricing). Not safe: a request that the
server got and whose answer was lost. The audio may have been billed; only an explicit --retries allows it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 60.0
"""Seconds that a server may ask us to wait with Retry-After; beyond it the user decides."""

DEFAULT_RETRIES = 2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try again. `allowed` None: the default for what is safe, never for a lost answer.

    seconds   how long to go on trying, None for as long as tries are left
    """

    allowed: int | None = None
    seconds: float | None = None
    dice: Callable[[], float] = random.random

    def tries(self, *, lost: bool) -> int:
        """How many tries there may be in all. `lost`: the last one may have been served, and billed."""
        if self.allowed is None:
            return 1 if lost else 1 + DEFAULT_RETRIES
        return 1 + self.allowed

    def pause(self, tries: int, asked: float | None = None) -> float:
        """Seconds before the next try: doubling, with jitter so that many clients don't come back at once.

        asked   what the server asks for, or None; only ever more than our own, or a broken server is flooded
        """
        own = min(FIRST_PAUSE * 2.0 ** min(tries - 1, 10), LONGEST_PAUSE) * (0.5 + 0.5 * self.dice())
        return max(own, asked or 0.0)


def is_retryable_status(status: int) -> bool:
    """Whether a status says "later" rather than "no"."""
    return status in (408, 429) or status >= 500


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE]\d+)?", re.ASCII)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or an HTTP date (RFC 9110 10.2.3).

    Never negative nor NaN. None where there is no such header, or nonsense in it.
    """
    if not value:
        return None
    if _NUMBER.fullmatch(value.strip()):  # Python's float takes "1_0" and "inf", too
        return max(0.0, float(value))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
