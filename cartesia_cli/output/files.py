"""Writes transcripts to stdout or to files, as UTF-8, and turns what goes wrong into errors with a hint.

Files are written whole or not at all (see `atomic_files`).
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

from ..errors import OutputError
from ..text_encoding import join_surrogates

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errors that writing any other file would run into, too."""

STDOUT_HINT = "-o writes to a file instead"


class StdoutClosed(Exception):
    """The reader of stdout has closed it, as `head` does: the program ends quietly."""


def write_stdout(text: str, stream: BinaryIO | None = None) -> None:
    """Write to stdout, and flush. Raises StdoutClosed if its reader is gone, OutputError if it can't be written."""
    if stream is None and sys.stdout is None:
        raise OutputError("stdout is closed", hint=STDOUT_HINT)
    out = stream or sys.stdout.buffer
    try:
        out.write(_encoded(text))
        out.flush()
    except OSError as error:
        _abandon(out)
        if isinstance(error, BrokenPipeError):
            raise StdoutClosed from error
        failure = OutputError(f"stdout can't be written: {error.strerror}", hint=STDOUT_HINT)
        failure.stops_batch = True
        raise failure from error


def write_json(document: object) -> None:
    """Write a document to stdout, as `--json` does."""
    from .text_json import to_json

    write_stdout(to_json(document, indent=2))


def write_file(path: Path, content: str | bytes, *, replaces: bool = True) -> None:
    """Make `content` the whole content of a file. Raises OutputError if that fails.

    replaces   whether a file that exists is replaced; False: it may have appeared since that was checked, and stays
    """
    from ..atomic_files import write_atomically  # start-up: results often go to stdout

    try:
        write_atomically(path, content if isinstance(content, bytes) else _encoded(content), replaces=replaces)
    except FileExistsError as error:
        raise OutputError(f"{path} exists by now", hint="--force overwrites it") from error
    except OSError as error:
        failure = OutputError(f"{path}: can't be written: {error.strerror}")
        failure.stops_batch = error.errno in FULL
        raise failure from error


def _abandon(out: BinaryIO) -> None:
    """Discard what is still buffered: Python would try to write it again at exit, and report another error."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), out.fileno())


def _encoded(text: str) -> bytes:
    """UTF-8. Lone surrogates, which JSON can contain, become question marks."""
    return join_surrogates(text).encode("utf-8", "replace")
