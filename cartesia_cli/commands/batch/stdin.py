"""stdin as an input: saved in a temporary file, because a pipe can be read only once, or read as it comes."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError, UsageError

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
