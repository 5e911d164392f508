"""What a file holds, as a hash of its bytes, and whether it is the user's own.

Must never take a file for read that was written to meanwhile.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

READ_BYTES = 1 << 20

State = tuple[int, ...]
"""What the system says of a file. The same before and after: nobody wrote to it in between."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The bytes of a file.

    digest   their SHA-256
    state    of the file while they were read
    """

    digest: str
    state: State

    def still_holds(self, path: Path) -> bool:
        """Whether nobody has written to the file since."""
        try:
            return file_state(path) == self.state
        except OSError:
            return False


def fingerprint(path: Path) -> Fingerprint | None:
    """None where a file can't be read, isn't a regular one, or is being written. A file is read once in a run, and
    again only if it has changed.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        return _fingerprint(path, file_state(path))
    except OSError:
        return None


def file_state(path: Path) -> State:
    """OSError where there is no file."""
    return _state(os.stat(path))


def is_own(status: os.stat_result) -> bool:
    """Whether a file or a folder belongs to this user."""
    return os.name != "posix" or status.st_uid == os.geteuid()


def distrust(path: Path) -> str | None:
    """Why what lies at `path` can't be relied on, in words: somebody else may have put it there. None where only this
    user can, or nothing is there yet.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if not is_own(status):
        return "it belongs to another user"
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o022:
        return "other users can write to it"
    return None


@cache
def _fingerprint(path: Path, state: State) -> Fingerprint | None:
    digest, block = sha256(), memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
        after = _state(os.fstat(file.fileno()))
    return Fingerprint(digest.hexdigest(), state) if after == state else None


def _state(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
