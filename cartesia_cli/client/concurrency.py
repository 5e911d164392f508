"""Limits how many requests are in flight at once, and adapts that number to what the server accepts.

A server refuses more requests at once than an account may have (429 `concurrency_limited`; docs:
concurrency-limits-and-timeouts), and that number can't be asked for. So a refusal halves the limit, all requests wait
as long as the server asks, and the limit then grows by one each time as many requests as it allows have succeeded. This
is how TCP finds the capacity of a link (additive increase, multiplicative decrease: RFC 5681).

Thread-safe. Must never let more requests be in flight than the limit, nor let the limit exceed its maximum.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Stopped
from ..record import Record
from ..retry import backoff_seconds

GROWTH_AFTER_REFUSAL = 4
"""After the first refusal, the limit needs this many times as many successes for each step: it is near the maximum."""

FIRST_PAUSE_SECONDS = 1.0


class Slot(Record):
    """The permission to send one request.

    generation       how often the limit had been lowered when the request was sent
    waited_seconds   how long it took to get it
    """

    generation: int
    waited_seconds: float


class RetryPause(Record):
    """What a refusal leads to.

    seconds   how long no request may be sent
    lowered   whether this refusal has lowered the limit; otherwise an earlier one of the same moment has
    """

    seconds: float
    lowered: bool


class ConcurrencyLimit:
    """A number of requests that may be in flight at once.

    maximum   the number is never higher
    start     the number at first; None: the maximum
    """

    def __init__(self, maximum: int, start: int | None = None) -> None:
        self.maximum = maximum
        self._value = min(start or maximum, maximum)
        self._condition = threading.Condition(threading.RLock())
        self._in_flight = self._generation = 0
        self._successes = 0  # since the limit was changed
        self._fruitless = 0  # refusals since the last success that lowered the limit
        self._pause_ends = time.monotonic()
        self._closed = False

    @property
    def value(self) -> int:
        """How many requests may be in flight now."""
        return self._value

    def lower_maximum(self, maximum: int) -> None:
        """Allow no more than this many requests at once: there are no more left to send."""
        with self._condition:
            self.maximum = max(1, min(self.maximum, maximum))
            self._value = min(self._value, self.maximum)

    @property
    def pause_seconds(self) -> float:
        """How long no request may be sent from now on."""
        return max(0.0, self._pause_ends - time.monotonic())

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """Wait until a request may be sent; it is in flight until the end of the block. Raises Stopped after
        `close`.
        """
        began = time.monotonic()
        with self._condition:
            while not self._closed and (self._in_flight >= self._value or self.pause_seconds > 0):
                self._condition.wait(self.pause_seconds or None)
            if self._closed:
                raise Stopped
            self._in_flight += 1
            slot = Slot(self._generation, time.monotonic() - began)
        try:
            yield slot
        finally:
            with self._condition:
                self._in_flight -= 1
                self._condition.notify_all()

    def succeeded(self) -> None:
        """A request was answered: the limit may grow."""
        with self._condition:
            self._fruitless = 0
            self._successes += 1
            needed = self._value * (GROWTH_AFTER_REFUSAL if self._generation else 1)
            if self._successes >= needed and self._value < self.maximum:
                self._value += 1
                self._successes = 0
                self._condition.notify_all()

    def refused(self, slot: Slot, retry_after: float | None) -> RetryPause | None:
        """The request of a slot was refused because too many are in flight: lower the limit, and let all requests wait.

        None if it was alone, and no request has succeeded since the last refusal: then sending fewer doesn't help.

        retry_after   seconds that the server asks to wait, or None
        """
        with self._condition:
            if self._value == 1 and self._fruitless:
                return None
            lowered = slot.generation == self._generation  # otherwise it was sent before the limit was lowered
            if lowered:
                self._value = max(1, self._value // 2)
                self._generation += 1
                self._successes = 0
                self._fruitless += 1
            pause = max(retry_after or 0.0, backoff_seconds(max(1, self._fruitless), FIRST_PAUSE_SECONDS))
            self._pause_ends = max(self._pause_ends, time.monotonic() + pause)  # a longer one continues
            return RetryPause(self.pause_seconds, lowered)

    def wait(self, seconds: float) -> None:
        """Wait before another attempt. Raises Stopped at `close`, or if it was closed before."""
        with self._condition:
            if self._condition.wait_for(lambda: self._closed, seconds):
                raise Stopped

    def close(self) -> None:
        """Send nothing any more: waiting requests get Stopped."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
