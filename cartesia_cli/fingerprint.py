"""Identifies files by a hash of their bytes, and checks whether another user could have placed them.

Must never return the hash of a file that was written to while it was read.
"""

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

READ_BYTES = 1 << 18

CACHED_FILES = 2048
"""Fingerprints that are kept in memory."""

FileState = tuple[int, ...]
"""Device, inode, size, and times (ns) of modification and change: unchanged as long as the file isn't written to. All
but the first are the same on all machines that mount the same file system.
"""


class Fingerprint(NamedTuple):
    """Identifies the bytes of a file.

    digest   SHA-256, in hexadecimal digits
    state    of the file when they were read
    """

    digest: str
    state: FileState

    def is_current(self, path: Path) -> bool:
        """Whether the file wasn't written to, replaced or removed since."""
        try:
            return file_state(path) == self.state
        except OSError:
            return False


def fingerprint(path: Path) -> Fingerprint | None:
    """The fingerprint of a file. None if it can't be read, isn't a regular file, or is being written.

    A file is read again only if its state has changed, or after CACHED_FILES others.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        return _read(path, file_state(path))
    except OSError:
        return None


def file_state(path: Path) -> FileState:
    """The state of a file. Raises OSError if the file doesn't exist."""
    return _state(os.stat(path))


def is_own(status: os.stat_result) -> bool:
    """Whether a file or a folder belongs to this user."""
    return os.name != "posix" or status.st_uid == os.geteuid()


def untrusted(path: Path) -> str | None:
    """Why a file or a directory can't be trusted, in words: another user may have written to it. None if only this
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


@lru_cache(CACHED_FILES)
def _read(path: Path, state: FileState) -> Fingerprint | None:
    from hashlib import sha256  # start-up: it loads OpenSSL

    _device, _inode, size, *_times = state
    digest, block = sha256(), memoryview(bytearray(min(READ_BYTES, size + 1)))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
        after = _state(os.fstat(file.fileno()))
    return Fingerprint(digest.hexdigest(), state) if after == state else None


def _state(status: os.stat_result) -> FileState:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
