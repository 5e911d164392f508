"""Locks on files, by which processes on one or several machines agree who does what: on some of their bytes, or whole.

Locks on bytes are POSIX record locks: the kernel releases them when their process ends, even by `kill -9`, and NFS
passes them on to its server. On Windows they are the locks of `msvcrt`, which behave the same on one machine.

Record locks belong to a process, so they must never be used between its threads, and the file must never be opened
elsewhere in the process: closing any descriptor of it would release all locks.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
import time
from io import FileIO
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

HELD_ELSEWHERE = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
"""What the system says of a lock that another process holds; the last only on Windows, after ten attempts."""

WAIT_SECONDS, POLL_SECONDS = 30.0, 0.005

LOCKED_BYTE = 1 << 62
"""What is locked on Windows: a byte that no file has, because nobody else can read one that is locked."""

FLOCK = {"linux": "hhqqi4x", "darwin": "qqihh"}
"""Layout of C's `struct flock` by platform."""


def lock_file(file: FileIO | BinaryIO, *, wait: bool = False, shared: bool = False) -> None:
    """Lock an opened file until it is closed, also by the end of the process. The process may open the same file again,
    and close that: the lock stays.

    wait     until others release it; otherwise OSError, with an error of HELD_ELSEWHERE
    shared   whether others may have such a lock at the same time, except on Windows

    Raises OSError if the file system has no locks.
    """
    if sys.platform == "win32":
        file.seek(LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


class RecordLocks:
    """The locks of one file. Raises OSError if it can't be opened.

    create   whether it is created if it is missing
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT if create else os.O_RDONLY, 0o666)
        self._mutex = threading.Lock()  # Windows locks at the file's position

    def acquire(self, offset: int, length: int = 1) -> bool:
        """Lock bytes; False if another process holds some of them. Raises OSError if the file system has no locks."""
        try:
            self._lock(offset, length)
        except OSError as error:
            if error.errno in HELD_ELSEWHERE:
                return False
            raise
        return True

    def wait(self, offset: int) -> None:
        """Lock a byte that others hold for moments only. Raises TimeoutError if one of them doesn't release it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.acquire(offset):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"another process has locked it for {WAIT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Release all locks."""
        os.close(self._file)

    if sys.platform == "win32":

        def _lock(self, offset: int, length: int) -> None:
            with self._mutex:
                os.lseek(self._file, offset, os.SEEK_SET)
                msvcrt.locking(self._file, msvcrt.LK_NBLCK, length)

        def release(self, offset: int, length: int = 1) -> None:
            """Unlock bytes."""
            with self._mutex:
                os.lseek(self._file, offset, os.SEEK_SET)
                msvcrt.locking(self._file, msvcrt.LK_UNLCK, length)

        def count_held(self, first: int, length: int) -> int | None:
            """None: this system can't tell how many bytes other processes hold locked."""
            return None

    else:

        def _lock(self, offset: int, length: int) -> None:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, offset)

        def release(self, offset: int, length: int = 1) -> None:
            """Unlock bytes. Raises OSError if the file system has no locks."""
            fcntl.lockf(self._file, fcntl.LOCK_UN, length, offset)

        def count_held(self, first: int, length: int) -> int | None:
            """How many of these bytes other processes hold locked; None if this system can't tell. Raises OSError if
            the file system has no locks.
            """
            if (layout := FLOCK.get(sys.platform)) is None:
                return None
            ranges, held = [(first, first + length)], 0
            while ranges:  # the system names one lock in a range, not always the first
                start, stop = ranges.pop()
                asked = struct.pack(layout, *_flock(fcntl.F_WRLCK, start, stop - start))
                kind, at, size = _fields(struct.unpack(layout, fcntl.fcntl(self._file, fcntl.F_GETLK, asked)))
                if kind != fcntl.F_UNLCK:
                    after = min(stop, at + size if size else stop)
                    held += after - max(start, at)
                    ranges += [rest for rest in ((start, at), (after, stop)) if rest[0] < rest[1]]
            return held


def _flock(kind: int, start: int, length: int) -> tuple[int, ...]:
    return (start, length, 0, kind, os.SEEK_SET) if sys.platform == "darwin" else (kind, os.SEEK_SET, start, length, 0)


def _fields(lock: tuple[int, ...]) -> tuple[int, int, int]:
    """Type, start and length; the latter is 0 up to the end of all files."""
    if sys.platform == "darwin":
        start, length, _, kind, _ = lock
    else:
        kind, _, start, length, _ = lock
    return kind, start, length
