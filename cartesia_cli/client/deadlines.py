"""How long an HTTP exchange may take, and the loop that ends it.

A timeout for each read never ends an exchange with a server that sends a byte every half second. So the exchange runs
in a thread, while the caller's thread watches the limits: for the whole, and since the last activity. Ctrl-C works at
once, too, because the caller's thread never waits for longer than TICK_SECONDS.
"""

import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import TypeVar

from ..daemon_thread import start_daemon_thread
from ..errors import NetworkError
from ..record import Record

T = TypeVar("T")

TICK_SECONDS = 0.1
"""How often the limits are checked, and `on_progress` is called."""

STALL_SECONDS = 60.0
"""Longest time without activity, unless a server is at work on a long recording."""

CONNECT_TIMEOUT_SECONDS = 10.0

MIN_UPLOAD_BYTES_PER_SECOND = 125_000
"""The slowest uplink that is supported: one megabit per second."""

MIN_AUDIO_BYTES_PER_SECOND = 2_000
"""Assumed of a recording whose duration is unknown: few are compressed more."""


class Deadlines(Record):
    """Limits of one call, retries included, all in seconds.

    total      for all attempts, and the pauses between them
    stall      for connecting, and for a pause of the upload
    response   longest wait for any part of the response's body after the upload
    """

    total: float
    stall: float = STALL_SECONDS
    response: float = STALL_SECONDS

    @classmethod
    def uniform(cls, limit: float) -> "Deadlines":
        """The same limit for the whole and for each part."""
        return cls(limit, limit, limit)

    @classmethod
    def for_audio(cls, size: int, duration: float | None, *, speed: float = 2.0) -> "Deadlines":
        """Limits for a recording: `total` and `response` grow with it.

        size       bytes
        duration   seconds of audio, or None if unknown
        speed      seconds of audio that the slowest acceptable server transcribes in one second
        """
        uploading = size / MIN_UPLOAD_BYTES_PER_SECOND
        transcribing = (size / MIN_AUDIO_BYTES_PER_SECOND if duration is None else duration) / speed
        # STALL_SECONDS each for the connection, the upload and the response.
        return cls(total=3 * STALL_SECONDS + uploading + transcribing, response=STALL_SECONDS + transcribing)


class DeadlineExceeded(NetworkError):
    """An exchange took too long. `final`: the total time is used up, so another attempt is impossible."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message, hint="allow more time")
        self.final = final


class UploadProgress:
    """How far an exchange has got: written by its thread, read by the thread that watches it.

    size, sent      bytes of the file, and how many of them were handed to the socket
    last_activity   when part of the file was last sent, or of a response's body received, on the given clock
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
        """Whether the whole file was handed to the socket: from the start, if there is none."""
        return self.sent >= self.size


ProgressCallback = Callable[[UploadProgress], object]
"""Called every TICK_SECONDS while a request is under way. What it raises ends the exchange."""


def run_with_deadline(
    work: Callable[[], T],
    progress: UploadProgress,
    deadlines: Deadlines,
    end_time: float,
    on_progress: ProgressCallback,
    abort: Callable[[], object],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Run `work` in a thread, and return its result. Raises DeadlineExceeded at a limit, and what `on_progress` raises.

    end_time   when `deadlines.total` is used up, on `clock`
    abort      called if anything is raised before `work` is done, which it must then end soon: nobody waits for the
               thread, and its result is ignored
    """
    future = start_daemon_thread(work, "exchange")
    try:
        while not wait({future}, timeout=TICK_SECONDS).done:
            now = clock()
            if now > end_time:
                raise DeadlineExceeded(f"no complete response within {deadlines.total:g} s", final=True)
            limit = deadlines.response if progress.uploaded else deadlines.stall
            if now - progress.last_activity > limit:
                what = "no response" if progress.uploaded else "the upload stalled"
                raise DeadlineExceeded(f"{what} for {limit:g} s", final=False)
            on_progress(progress)
    except BaseException:
        abort()
        raise
    return future.result()
