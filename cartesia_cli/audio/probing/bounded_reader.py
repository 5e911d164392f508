"""Opens files for probing and reads them in a bounded number of small pieces; and what a format's reader answers.

A reader is a function from a BoundedReader to a ProbeResult. It may raise Undetermined where probing can't tell, or
NoAudio if there is provably none, which makes the file refused.

Must never read more than the bounds allow, whatever the bytes say; never open what could make it wait (a pipe, a
device); never put a file's name into a message as it is.
"""

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ...errors import InputError

MAX_READS = 2000
"""Most reads of one file. A real recording needs ten."""

SIGNATURE_BYTES = 4 << 10
"""Bytes read to recognize a format."""

WINDOW_BYTES = 64 << 10
"""Bytes read to find frames, or the last Ogg page, which has at most 65,307."""

MAX_SEARCH_BYTES = 1 << 20
"""Most bytes in one read."""


class Undetermined(Exception):
    """Probing can't tell, because the structure of the file leads nowhere or too far."""


class NoAudio(Exception):
    """The file provably contains no audio. The message says what it contains instead; its subject is "it"."""


class BoundedReader:
    """Reads small pieces of a file, at most MAX_READS of them, so that a walk through its structure always ends."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self._file = file
        self._base = 0
        self._position = 0
        self._reads_left = MAX_READS

    def skip_prefix(self, count: int) -> None:
        """Count offsets from `count` bytes further on, as if the file began there."""
        self._base += count
        self.size -= count

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes, or fewer where the file ends."""
        self._reads_left -= 1
        if self._reads_left < 0 or not 0 <= count <= MAX_SEARCH_BYTES:
            raise Undetermined
        if offset >= self.size:
            return b""
        self._file.seek(self._base + offset)
        return self._file.read(count)

    def read(self, count: int) -> bytes:
        """The next `count` bytes, or fewer where the file ends."""
        data = self.at(self._position, count)
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Go on reading there, which may be beyond the end."""
        self._position = position

    def tell(self) -> int:
        return self._position

    def unpack(self, form: str, offset: int) -> tuple[Any, ...]:
        """Values of a header, by a struct format. Raises NoAudio if the file ends inside it."""
        data = self.at(offset, struct.calcsize(form))
        try:
            return struct.unpack(form, data)
        except struct.error:
            raise NoAudio("it ends inside its header") from None


class ProbeResult(NamedTuple):
    """What the reader of a format finds out.

    duration    seconds of audio in the file, None if unknown
    declared    seconds that the header promises, if the file contains less, else None
    note        a warning in one sentence, or None
    estimated   whether the duration is an estimate by the bit rate
    video       whether there is a video track. Readers of containers that can't hold one, or that the API doesn't
                document, don't look
    """

    duration: float | None = None
    declared: float | None = None
    note: str | None = None
    estimated: bool = False
    video: bool = False


def proportional_duration(promised: float | None, held: int, whole: int, *, exact: bool = False) -> ProbeResult:
    """The duration that a header promises for `whole` bytes, in proportion to the `held` bytes in the file."""
    if promised is None or held >= whole:
        return ProbeResult(promised)
    there = promised * held / whole
    about, slack = ("", 0.01) if exact else ("about ", 0.1)
    if promised - there < slack:
        return ProbeResult(there)
    note = f"it was cut off: its header promises {promised:.2f} s of audio, and it holds {about}{there:.2f} s"
    return ProbeResult(there, promised, note)


@contextmanager
def open_regular_file(path: Path, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for the length of a block: the file and its size in bytes. `name` is what messages call it.

    Raises InputError for what isn't a regular file, and for every OSError in the block.
    """
    try:
        try:
            status = path.stat()  # first: opening a pipe would wait for a writer
        except ValueError as error:  # NUL, half a surrogate pair
            raise InputError(f"{name} can't be the name of a file") from error
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name} is a folder, not a recording", hint="name a recording in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name} is not a regular file", hint="read a pipe or a device through stdin: `-`")
        if status.st_size == 0:
            raise InputError(f"{name} is empty (0 bytes)", hint="was the recording cut off?")
        with path.open("rb", buffering=0) as file:
            yield file, status.st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{name} does not exist", hint="check the spelling and the folder") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read: permission denied", hint="check its permissions") from error
    except OSError as error:
        raise InputError(f"{name} can't be read: {error.strerror or error}") from error


def display_name(path: Path) -> str:
    """A file's name for messages: as it is, or in quotation marks where it could change what a terminal shows, or has
    spaces that a message would lose.
    """
    text = str(path)
    harmless = dict.fromkeys(map(ord, "\u00a0\u202f\u3000\u200c\u200d"))  # wide spaces and joiners are in some names
    keeps_spaces = not text.startswith(" ") and not text.endswith(" ") and "  " not in text
    return text if keeps_spaces and text.translate(harmless).isprintable() else repr(text)
