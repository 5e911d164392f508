"""How long an exchange may take, and the watch that ends it.

A timeout for each read never ends on a server that sends a byte every half second. So the exchange
runs in a thread of its own while this one watches two clocks: the whole, and the time since anything
moved. Ctrl-C is answered at once for the same reason: nothing here blocks outside Python.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import NetworkError

T = TypeVar("T")

TICK_SECONDS = 0.1
CONNECT_SECONDS = 10.0

SLOWEST_UPLOAD = 125_000
"""Bytes a second: one megabit, the slowest uplink that is waited for."""

SMALLEST_AUDIO = 2_000
"""Bytes a second of the most compressed speech: how long a recording might be when nothing tells."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Deadlines, all in seconds.

    total      for everything: connecting, upload, waiting, retries
    stall      for a connection or an upload that does not move
    silence    for the server's thinking, once it has the file
    """

    total: float
    stall: float = 60.0
    silence: float = 60.0

    @classmethod
    def for_audio(cls, size: int, seconds: float | None, *, speed: float = 2.0) -> Deadlines:
        """Deadlines that grow with the file.

        size      bytes
        seconds   of audio, or None if unknown
        speed     seconds of audio that the slowest acceptable server transcribes in one
        """
        thinking = (size / SMALLEST_AUDIO if seconds is None else seconds) / speed
        return cls(total=180.0 + size / SLOWEST_UPLOAD + thinking, silence=60.0 + thinking)


class DeadlineExceeded(NetworkError):
    """The watch ended the exchange. `final`: nothing may follow, the whole time is over."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message, hint="--timeout SECONDS waits longer")
        self.final = final


class UploadProgress:
    """Where an exchange stands: written by its thread, read by the one that watches.

    size, sent   bytes of the file
    """

    def __init__(self, size: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self.sent = 0
        self._clock = clock
        self.moved = clock()

    def advance(self, count: int) -> None:
        self.sent += count
        self.touch()

    def touch(self) -> None:
        self.moved = self._clock()

    def restart(self) -> None:
        self.sent = 0
        self.touch()

    @property
    def uploaded(self) -> bool:
        return self.sent >= self.size


def run_with_deadline(
    work: Callable[[], T],
    meter: UploadProgress,
    deadlines: Deadlines,
    ends: float,
    watch: Callable[[UploadProgress], None],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Run `work` in a thread until it is done, until `ends` on the clock, or until nothing moves any more.

    `watch` is called every tick. NetworkError at a deadline; the thread is then left to its own
    timeouts, and what it may still bring is not awaited.
    """
    done = threading.Event()
    outcome: list[T | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)
        done.set()

    threading.Thread(target=run, name="exchange", daemon=True).start()
    while not done.wait(TICK_SECONDS):
        now = clock()
        if now > ends:
            raise DeadlineExceeded(f"no complete answer within {deadlines.total:g} s", final=True)
        limit = deadlines.silence if meter.uploaded else deadlines.stall
        if now - meter.moved > limit:
            what = "no answer" if meter.uploaded else "the upload did not move"
            raise DeadlineExceeded(f"{what} for {limit:g} s", final=False)
        watch(meter)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
