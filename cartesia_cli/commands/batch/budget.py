"""Keeps a run within the credits that its user allows, however many recordings are sent at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import CliError
from ...protocol.constants import batch_credits


class CreditLimitReached(CliError):
    """The next recording would cost more than what is left of the allowed credits."""

    type = "credits"
    stops_batch = True


class Reservation:
    """The price of a recording that is being sent.

    billed_seconds   audio of the response; 0 as long as there is none
    """

    def __init__(self) -> None:
        self.billed_seconds = 0.0


class Budget:
    """Credits that may be spent. Thread-safe.

    max_credits   None: as many as it takes
    spent         credits of the responses so far
    """

    def __init__(self, max_credits: float | None = None) -> None:
        self.max_credits, self.spent = max_credits, 0.0
        self._reserved = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, name: str, seconds: float) -> Iterator[Reservation]:
        """Set the price of a recording aside while the block sends it. Raises CreditLimitReached before that
        if it is more than what is left.
        """
        price = batch_credits(seconds)
        with self._lock:
            used = self.spent + self._reserved
            if self.max_credits is not None and used + price > self.max_credits:
                raise CreditLimitReached(
                    f"{name} would cost {price:.1f} credits: with the {used:.1f} that are spent or in progress, "
                    f"more than {self.max_credits:g}",
                    hint="raise --max-credits",
                )
            self._reserved += price
        reservation = Reservation()
        try:
            yield reservation
        finally:
            with self._lock:
                self._reserved -= price
                self.spent += batch_credits(reservation.billed_seconds)
