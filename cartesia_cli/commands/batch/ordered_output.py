"""Delivers the results of jobs that run at the same time in input order, each as soon as all before it are complete.

Results that have to wait are held in memory up to MAX_HELD_BYTES in all, and beyond that in a temporary file, so that
one long recording at the beginning neither stops the others nor fills the memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import IO

from ...errors import OutputError

MAX_HELD_BYTES = 4 << 20

STUCK_SECONDS = 1.0
"""How long to wait at the end for a thread that writes: the reader of a pipe, such as `less`, may have stopped."""


class OrderedOutput:
    """Takes the results of numbered jobs in any order, from any thread.

    write   writes a result
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._held: dict[int, tuple[int, int]] = {}
        """The results that have to wait: where each is in the temporary file, and its size."""
        self._next = 0
        self._is_broken = self._is_full = False

    @property
    def lost(self) -> set[int]:
        """The jobs whose results can't be written, because writing one of them has failed, or doesn't end; or because
        the temporary file is full.
        """
        if not (self._is_broken or self._is_full):
            return set()
        waiting = dict(self._held)  # without the lock, which may be held by a thread that writes
        held = {number for number, (_, size) in waiting.items() if size}
        return held | {self._next} if self._is_broken else held

    def put(self, number: int, text: str) -> None:
        """The result of a job: every number from 0 on must come once. Raises what writing raises, for any result, and
        OutputError if the temporary file can't be written; after that, no result that has waited is written.
        """
        with self._lock:
            if number != self._next or self._is_broken:
                self._hold(number, text)
                return
            self._deliver(text)
            while self._next in self._held and not self._is_full:
                self._deliver_held(self._next)

    def _deliver(self, text: str) -> None:
        self._is_broken = True
        if text:
            self._write(text)
        self._is_broken = False
        self._next += 1

    def flush(self) -> None:
        """Deliver all results that wait for one that will not come, in order, unless an earlier one can't be written.
        Gives up after a moment if nobody reads what is being written.
        """
        if not self._lock.acquire(timeout=STUCK_SECONDS):
            return
        try:
            for number in [] if self._is_broken or self._is_full else sorted(self._held):
                self._deliver_held(number)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Remove the temporary file."""
        if "_file" in vars(self):
            self._file.close()

    @cached_property
    def _file(self) -> IO[bytes]:
        """The temporary file of results that wait."""
        from tempfile import SpooledTemporaryFile  # start-up: the result of a single recording waits for none

        return SpooledTemporaryFile(MAX_HELD_BYTES, prefix="cartesia-cli-")

    def _hold(self, number: int, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        with self._file_errors():
            self._held[number] = self._file.seek(0, os.SEEK_END), len(data)
            self._file.write(data)

    def _deliver_held(self, number: int) -> None:
        offset, size = self._held[number]
        with self._file_errors():
            self._file.seek(offset)
            data = self._file.read(size)
        self._next = number
        del self._held[number]
        self._deliver(data.decode("utf-8", "surrogatepass"))

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        """After an error, what the temporary file holds can't be relied on."""
        try:
            yield
        except OSError as error:
            self._is_full = True
            raise OutputError(
                f"results that wait for others can't be saved in a temporary file: {error.strerror}",
                hint="set TMPDIR to another folder",
            ) from error
