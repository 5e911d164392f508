"""What the user named, as files to read: folders searched, globs expanded, stdin spooled.

Must never decide what is audio (`audio.containers` does), nor where results go (`destinations` does).
"""

from __future__ import annotations

import glob
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..audio.containers import EXTENSIONS
from ..audio.containers.recognition import SIGNATURES
from ..errors import InputError, UsageError
from ..protocol import ENCODINGS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Input:
    """One recording to be transcribed.

    source   as the user named it, or as it was found; "-" is stdin
    path     where its bytes are
    below    its name for results: relative to the folder that was searched, otherwise the bare name
    """

    source: str
    path: Path
    below: Path


def gather(arguments: Sequence[str], spooled: Path | None) -> Iterator[Input | InputError]:
    """Each input once, in the order of the arguments; what can't be found, as the error that says so.

    A file that has the name of a glob is that file. `spooled` holds what came by stdin.
    """
    seen: set[str] = set()
    for argument in arguments:
        for found in _expand(argument, spooled):
            if isinstance(found, Input):
                real = os.path.realpath(found.path)
                if real in seen:
                    continue
                seen.add(real)
            yield found


def is_search(argument: str) -> bool:
    """Whether an argument stands for any number of files."""
    return os.path.isdir(argument) or (glob.has_magic(argument) and not os.path.lexists(argument))


@contextmanager
def spool(arguments: Sequence[str], stream: BinaryIO | None = None) -> Iterator[Path | None]:
    """stdin as a file for the length of the block, if an argument is "-": a pipe can be read only once."""
    if STDIN not in arguments:
        yield None
        return
    source = piped(stream)
    with tempfile.NamedTemporaryFile(prefix="cartesia-cli-stdin-") as file:
        try:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
        except OSError as error:
            raise InputError(
                f"stdin can't be kept in {tempfile.gettempdir()}: {error.strerror}", hint="TMPDIR names another place"
            ) from error
        yield Path(file.name)


def piped(stream: BinaryIO | None = None) -> BinaryIO:
    """stdin, or what stands for it. InputError where it is closed, UsageError where nobody pipes anything into it."""
    hint = "pipe a recording in, or name a file"
    if stream is None and sys.stdin is None:
        raise InputError("stdin is closed", hint=hint)
    source = stream or sys.stdin.buffer
    if source.isatty():
        raise UsageError("stdin is the terminal: there is no audio in it", hint=hint)
    return source


class Headerless(io.RawIOBase):
    """Samples without a header, passed on as they come. What a look tells of a file is told of them, too."""

    def __init__(self, stream: BinaryIO, encoding: str, warn: Callable[[str], object]) -> None:
        self._stream, self._encoding, self._warn, self._size = stream, encoding, warn, 0

    def readable(self) -> bool:
        return True

    def readinto(self, room: WriteableBuffer) -> int:
        whole = memoryview(room)
        data = getattr(self._stream, "read1", self._stream.read)(len(whole))
        whole[: len(data)] = data
        if not self._size and (found := SIGNATURES.match(data)):
            told = f"looks like {found.lastgroup}, not like headerless {self._encoding}, and is transcribed as noise"
            self._warn(told)
        self._size += len(data)
        width = ENCODINGS[self._encoding]
        if not data and (left_over := self._size % width):
            self._warn(f"ends inside a sample of {self._encoding}: {left_over} of {width} bytes")
        return len(data)


def _expand(argument: str, spooled: Path | None) -> Iterator[Input | InputError]:
    if argument == STDIN and spooled is not None:
        yield Input(STDIN, spooled, Path("stdin"))
    elif os.path.isdir(argument):
        files = list(_search(argument))
        if not files:
            yield InputError(
                f"no audio in the folder {argument!r}",
                hint=f"looked for {' '.join(sorted(EXTENSIONS))}, subfolders included",
            )
        yield from (Input(str(file), file, file.relative_to(argument)) for file in files)
    elif is_search(argument):
        matches = sorted(match for match in glob.glob(argument, recursive=True) if os.path.isfile(match))
        if not matches:
            yield InputError(f"no file matches {argument!r}")
        yield from (Input(match, Path(match), Path(Path(match).name)) for match in matches)
    else:
        yield Input(argument, Path(argument), Path(Path(argument).name))


def _search(folder: str) -> Iterator[Path]:
    """Recordings in a folder and below it by their suffix, sorted; hidden files and folders stay hidden."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in EXTENSIONS and not name.startswith("."):
                yield Path(parent, name)
