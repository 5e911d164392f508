"""Keeps copies of a recording from being sent side by side: the second waits for the response to the first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SameRequests:
    """Requests that jobs are making. Thread-safe."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._condition = threading.Condition()

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Make a request in the block while no other job makes the same one. Yields whether one has done so meanwhile:
        then its response may be in the cache.

        name   what the response depends on
        """
        with self._condition:
            has_waited = name in self._names
            while name in self._names:
                self._condition.wait()
            self._names.add(name)
        try:
            yield has_waited
        finally:
            with self._condition:
                self._names.remove(name)
                self._condition.notify_all()
