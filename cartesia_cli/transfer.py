"""What all downloads of recordings share, whether by HTTP, from a bucket or from a web page.

Each of them saves the recording in a new file in a temporary folder, reports its progress, and fails in the same words.
How large something is, is said in the same words everywhere.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .errors import InputError
from .record import Record

MAX_REASON_CHARS = 200
"""Of what a server or a library says, in a message."""


TransferProgress = Callable[[int, int | None], object]
"""Called while a recording is downloaded, with the bytes received and the size, which may be unknown. What it raises
ends that."""


class RemoteState(NamedTuple):
    """What is known of a remote recording without its content.

    bytes     its size; None if the server doesn't say
    version   its ETag or modification time, which change when the content does; None without both
    """

    bytes: int | None
    version: str | None

    def to_numbers(self) -> tuple[int, ...] | None:
        """What changes when the content does, in the order of fingerprint.FileState: only size and a number for the
        version aren't 0. None if the version is unknown.
        """
        if self.version is None:
            return None
        from hashlib import sha256  # start-up: it loads OpenSSL

        return 0, 0, self.bytes or 0, int(sha256(self.version.encode()).hexdigest()[:12], 16), 0


class DownloadedFile(Record):
    """A recording that was saved in a file. `bytes` is what was received; `version` as in RemoteState."""

    path: Path
    bytes: int
    version: str | None = None


@contextmanager
def new_file(folder: Path, suffix: str, name: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in this folder, which is deleted if the block fails. Raises InputError for an OSError: it can't be
    written.

    name   of the recording, for messages
    """
    import tempfile  # start-up: few recordings are downloaded

    try:
        descriptor, path = tempfile.mkstemp(suffix=suffix, dir=folder)
        try:
            with open(descriptor, "wb") as file:
                yield file, Path(path)
        except BaseException:
            os.unlink(path)
            raise
    except OSError as error:
        raise unsaved_error(name, error) from error


def unsaved_error(name: str, error: OSError) -> InputError:
    message = f"{name} can't be saved in a temporary file: {error.strerror}"
    return InputError(message, hint="set TMPDIR to a folder with more space")


def too_large_error(name: str, max_bytes: int) -> InputError:
    return InputError(f"{name} is larger than {max_bytes / 1e6:.1f} MB", hint="download it yourself, and cut it")


def short_reason(text: str) -> str:
    """What a server or a library says, fit for a message: one line, not too long, and nothing that moves the cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_REASON_CHARS]


def size_text(count: int) -> str:
    """A number of bytes for a sentence, such as "1.2 GB"."""
    value, units = float(count), iter(("bytes", "kB", "MB", "GB"))
    unit = next(units)
    while value >= 999.5 and (larger := next(units, None)):
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 9.95 else f"{value:.1f} {unit}"
