"""stdin as an input: saved in a temporary file, because a pipe can be read only once, or read as it comes."""

import io
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...audio.probing.formats import sniff_head
from ...errors import InputError, UsageError
from ...protocol.constants import ENCODINGS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
"""How a user names it."""


@contextmanager
def spool_stdin(arguments: Sequence[str], what: str = "a recording") -> Iterator[Path | None]:
    """stdin as a temporary file, if an argument is "-": a pipe can be read only once. Deleted after the block. Raises
    the errors of `stdin_stream`, which explains `what`.
    """
    if STDIN not in arguments:
        yield None
        return
    import tempfile

    source = stdin_stream(what)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="cartesia-cli-stdin-"))
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
        except OSError as error:  # also if no temporary folder exists at all
            raise InputError(
                f"stdin can't be saved in a temporary file: {error.strerror}", hint="set TMPDIR to another folder"
            ) from error
        yield Path(file.name)


def stdin_stream(what: str = "a recording") -> BinaryIO:
    """The bytes of stdin. Raises InputError if it is closed, UsageError if it is a terminal. `what`: what it should
    be.
    """
    hint = f"pipe {what} in, or name a file"
    if sys.stdin is None:
        raise InputError("stdin is closed", hint=hint)
    if sys.stdin.buffer.isatty():
        raise UsageError(f"stdin is a terminal, not {what}", hint=hint)
    return sys.stdin.buffer


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
