"""What C libraries print to stderr by themselves, kept off the screen while they are at work.

PortAudio, ALSA and JACK tell of every device that isn't there, and PortAudio's own thread of one that is unplugged, at
any moment. They all write by C's `stderr`, and Python never does: so that is pointed elsewhere, and file descriptor 2,
on which other threads draw, stays as it is. Must never lose a word of our own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def suppressed() -> Iterator[None]:
    """No chatter while the block runs. Elsewhere than with glibc, whose `stderr` can be set, they may still talk."""
    stderr = _stderr()
    if stderr is None:
        yield
        return
    stderr.turn(1)
    try:
        yield
    finally:
        stderr.turn(-1)


class _Stderr:
    """C's `stderr`, and how many want it quiet. A stream is never closed: some thread may be writing to it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        self._variable = ctypes.c_void_p.in_dll(libc, "stderr")
        self._theirs, self._nowhere = self._variable.value, libc.fopen(os.fsencode(os.devnull), b"w")
        self._wishes, self._lock = 0, threading.Lock()

    def turn(self, more: int) -> None:
        with self._lock:
            self._wishes += more
            self._variable.value = self._nowhere if self._wishes and self._nowhere else self._theirs


@cache
def _stderr() -> _Stderr | None:
    try:
        return _Stderr() if platform.libc_ver()[0] == "glibc" else None
    except (AttributeError, OSError, ValueError):
        return None
