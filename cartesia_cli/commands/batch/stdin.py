"""stdin as an input: saved in a temporary file, because a pipe can be read only once, or read as it comes."""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...audio.probing.sniff import sniff_head
from ...errors import InputError, UsageError
from ...protocol import ENCODINGS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
"""How a user names it."""


@contextmanager
def spool_stdin(arguments: Sequence[str], stream: BinaryIO | None = None) -> Iterator[Path | None]:
    """stdin as a temporary file, if an argument is "-": a pipe can be read only once. Deleted after the block."""
    if STDIN not in arguments:
        yield None
        return
    source = stdin_stream(stream)
    with _temporary_file() as file:
        try:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
        except OSError as error:
            raise _spool_error(error) from error
        yield Path(file.name)


def _temporary_file() -> "tempfile._TemporaryFileWrapper[bytes]":
    try:
        return tempfile.NamedTemporaryFile(prefix="cartesia-cli-stdin-")
    except OSError as error:  # also if no temporary folder exists at all
        raise _spool_error(error) from error


def _spool_error(error: OSError) -> InputError:
    return InputError(
        f"stdin can't be saved in a temporary file: {error.strerror}", hint="set TMPDIR to another folder"
    )


def stdin_stream(stream: BinaryIO | None = None, what: str = "a recording") -> BinaryIO:
    """stdin, or a substitute. Raises InputError if it is closed, UsageError if it is a terminal. `what`: what it should
    be.
    """
    hint = f"pipe {what} in, or name a file"
    if stream is None and sys.stdin is None:
        raise InputError("stdin is closed", hint=hint)
    source = stream or sys.stdin.buffer
    if source.isatty():
        raise UsageError(f"stdin is a terminal, not {what}", hint=hint)
    return source


class HeaderlessReader(io.RawIOBase):
    """A stream of headerless samples. Warns if they look like a file with a header, or end inside a sample."""

    def __init__(self, stream: BinaryIO, encoding: str, warn: Callable[[str], object]) -> None:
        self._stream, self._encoding, self._warn, self._size = stream, encoding, warn, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        data = getattr(self._stream, "read1", self._stream.read)(len(view))
        view[: len(data)] = data
        if not self._size and (found := sniff_head(data)):
            self._warn(f"looks like {found}, not like headerless {self._encoding}; it will be transcribed as noise")
        self._size += len(data)
        width = ENCODINGS[self._encoding]
        if not data and (left_over := self._size % width):
            self._warn(f"ends inside a sample of {self._encoding}: {left_over} of {width} bytes")
        return len(data)
