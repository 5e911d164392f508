"""How long an HTTP exchange may take, and the loop that ends it.

A timeout for each read never ends an exchange with a server that sends a byte every half second. So the exchange runs
in a thread, while the caller's thread watches two limits: the time for the whole, and the time since anything moved.
For the same reason Ctrl-C works at once: the caller's thread never blocks outside Python.
"""

import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import NamedTuple, Protocol, TypeVar

from ..daemon_thread import start_daemon_thread
from ..errors import NetworkError

T = TypeVar("T")

TICK_SECONDS = 0.1
CONNECT_TIMEOUT_SECONDS = 10.0

MIN_UPLOAD_BYTES_PER_SECOND = 125_000
"""The slowest uplink that is supported: one megabit per second."""

MIN_AUDIO_BYTES_PER_SECOND = 2_000
"""The most compressed speech: from the size of a file, it gives the longest duration that the recording might have."""


class Deadlines(NamedTuple):
    """Limits of one request, all in seconds.

    total      for everything: connecting, upload, waiting, retries
    stall      for a connection or an upload that doesn't move
    response   for the server's work, once it has the whole file
    """

    total: float
    stall: float = 60.0
    response: float = 60.0

    @classmethod
    def of(cls, seconds: float) -> "Deadlines":
        """The same limit for everything, and for each part of it."""
        return cls(seconds, seconds, seconds)

    @classmethod
    def for_audio(cls, size: int, seconds: float | None, *, speed: float = 2.0) -> "Deadlines":
        """Limits that grow with the file.

        size      bytes
        seconds   of audio, or None if unknown
        speed     seconds of audio that the slowest acceptable server transcribes in one second
        """
        transcribing = (size / MIN_AUDIO_BYTES_PER_SECOND if seconds is None else seconds) / speed
        return cls(total=180.0 + size / MIN_UPLOAD_BYTES_PER_SECOND + transcribing, response=60.0 + transcribing)


class DeadlineExceeded(NetworkError):
    """An exchange took too long. `final`: the total time is used up, so another attempt is impossible."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message, hint="allow more time")
        self.final = final


class UploadProgress:
    """How far an exchange has got: written by its thread, read by the thread that watches it.

    size, sent      bytes of the file
    last_activity   when anything was last sent or received, on the given clock
    """

    def __init__(self, size: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self.sent = 0
        self._clock = clock
        self.last_activity = clock()

    def advance(self, count: int) -> None:
        self.sent += count
        self.touch()

    def touch(self) -> None:
        self.last_activity = self._clock()

    def restart(self) -> None:
        self.sent = 0
        self.touch()

    @property
    def uploaded(self) -> bool:
        return self.sent >= self.size


class ProgressCallback(Protocol):
    """Called every TICK_SECONDS while a request is under way. What it raises ends the exchange."""

    def __call__(self, progress: UploadProgress, /) -> object: ...


def run_with_deadline(
    work: Callable[[], T],
    progress: UploadProgress,
    deadlines: Deadlines,
    end_time: float,
    on_progress: ProgressCallback,
    abort: Callable[[], object],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Run `work` in a thread until it is done, until `end_time` on the clock, or until nothing moves any more.

    Raises DeadlineExceeded at a limit. Whatever is raised before `work` is done, `abort` is called, which must end it
    soon: nobody waits for the thread, and its result is ignored.
    """
    future = start_daemon_thread(work, "exchange")
    try:
        while not wait({future}, timeout=TICK_SECONDS).done:
            now = clock()
            if now > end_time:
                raise DeadlineExceeded(f"no complete response within {deadlines.total:g} s", final=True)
            limit = deadlines.response if progress.uploaded else deadlines.stall
            if now - progress.last_activity > limit:
                what = "no response" if progress.uploaded else "the upload did not move"
                raise DeadlineExceeded(f"{what} for {limit:g} s", final=False)
            on_progress(progress)
    except BaseException:
        abort()
        raise
    return future.result()
