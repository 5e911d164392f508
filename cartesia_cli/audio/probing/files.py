"""Files of this machine, opened to be looked at: whatever the system has against one becomes an InputError.

Must never open what can make it wait (a pipe, a device), and never put a name into a message as it is.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError


@contextmanager
def opened(path: Path, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file and its size in bytes. An OSError at any moment before it is closed counts as the system's word.

    `name`: what messages call it.
    """
    try:
        try:
            status = path.stat()  # before opening it: opening a pipe would wait for a writer
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
    """A file's name for a message: plain, or as Python writes it where it could play tricks on a terminal."""
    text = str(path)
    blanks = str.maketrans("\u00a0\u202f\u3000", "   ")  # printable for a person, if not for `isprintable`
    return text if text.translate(blanks).isprintable() else repr(text)
