"""Delivers the results of jobs that run at the same time in input order, each as soon as all before it are complete.

Results that have to wait are held in memory up to MAX_HELD_CHARACTERS, and beyond that in a temporary database on the
disk, so that one long recording at the beginning neither stops the others nor fills the memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...errors import OutputError

if TYPE_CHECKING:
    from ...scale.disk_table import DiskTable

MAX_HELD_CHARACTERS = 1 << 20
"""Of the results that wait in memory: jobs that run side by side rarely end in order, and a query takes as long as much
of a short job.
"""

STUCK_SECONDS = 1.0
"""How long to wait at the end for a thread that writes: the reader of a pipe, such as `less`, may have stopped."""


class OrderedOutput:
    """Takes the results of numbered jobs in any order, from any thread.

    write   writes a result
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: dict[int, str | None] = {}
        """The results that have to wait, by the numbers of their jobs. None: it is in the database."""
        self._held_characters = 0
        self._unheld: set[int] = set()
        """Those for whose texts there was no space."""
        self._next = 0
        self._is_broken = False

    @property
    def lost(self) -> set[int]:
        """The jobs whose results can't be written, because there was no space to hold them; or because writing one of
        them has failed, or doesn't end.
        """
        if not self._is_broken:
            return set(self._unheld)
        waiting = dict(self._waiting)  # without the lock, which may be held by a thread that writes
        return {number for number, text in waiting.items() if text != ""} | self._unheld | {self._next}

    def put(self, number: int, text: str) -> None:
        """The result of a job: every number from 0 on must come once. Raises what writing raises, for any result, and
        OutputError if it has to wait and there is no space for it.
        """
        with self._lock:
            if number != self._next or self._is_broken:
                self._waiting[number] = self._hold(number, text)
                return
            self._deliver(text)
            while self._next in self._waiting:
                self._deliver_waiting(self._next)

    def flush(self) -> None:
        """Deliver all results that wait for one that will not come, in order, unless an earlier one can't be written.
        Gives up after a moment if nobody reads what is being written.
        """
        if not self._lock.acquire(timeout=STUCK_SECONDS):
            return
        try:
            for number in [] if self._is_broken else sorted(self._waiting):
                self._deliver_waiting(number)
        finally:
            self._lock.release()

    def _deliver(self, text: str) -> None:
        self._is_broken = True
        if text:
            self._write(text)
        self._is_broken = False
        self._next += 1

    def _hold(self, number: int, text: str) -> str | None:
        """Returns the text if it is held in memory, or None if it is in the database now."""
        if self._held_characters + len(text) <= MAX_HELD_CHARACTERS:
            self._held_characters += len(text)
            return text
        self._execute("INSERT INTO result VALUES (?, ?)", number, text.encode("utf-8", "surrogatepass"))
        return None

    def _deliver_waiting(self, number: int) -> None:
        text = self._waiting.pop(number)
        if text is None:
            ((data,),) = self._execute("SELECT text FROM result WHERE number = ?", number)
            self._execute("DELETE FROM result WHERE number = ?", number)
            text = data.decode("utf-8", "surrogatepass")
        else:
            self._held_characters -= len(text)
        self._next = number
        self._deliver(text)

    @cached_property
    def _table(self) -> DiskTable:
        from ...scale.disk_table import DiskTable  # start-up: the result of a single recording waits for none

        return DiskTable("CREATE TABLE result (number INTEGER PRIMARY KEY, text BLOB)")

    def _execute(self, query: str, number: int, *values: bytes) -> list[Any]:
        try:
            return self._table.query(query, number, *values)
        except OutputError:
            self._unheld.add(number)
            raise
