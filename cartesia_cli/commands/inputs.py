"""What the user named, as files to read: folders searched, globs expanded, stdin spooled, URLs refused.

Must never decide what is audio (`audio.containers` does), nor where results go (`destinations` does).
"""

from __future__ import annotations

import fnmatch
import glob
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..audio.probing import EXTENSIONS, HEADERLESS_EXTENSIONS, is_recording
from ..audio.probing.sniff import sniff_head
from ..errors import InputError, UsageError
from ..protocol import ENCODINGS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"

URL = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
"""How a URL begins. A scheme has more than one letter here: C:/ is a drive of Windows."""

DOWNLOAD_COMMANDS = {
    "http": "curl -sL '{url}'",
    "https": "curl -sL '{url}'",
    "ftp": "curl -s '{url}'",
    "s3": "aws s3 cp '{url}' -",
    "gs": "gcloud storage cat '{url}'",
    "az": "azcopy cp '{url}' --from-to BlobPipe",
}
"""Scheme of a URL → the command that writes what is there to stdout."""


@dataclass(frozen=True, slots=True)
class Input:
    """One recording to be transcribed.

    source   as the user named it, or as it was found; "-" is stdin
    path     where its bytes are
    below    its name for results: relative to the folder that was searched, or where a glob begins; otherwise the
             bare name
    """

    source: str
    path: Path
    relative_path: Path


def find_inputs(
    arguments: Sequence[str],
    spooled: Path | None,
    *,
    headerless: bool = False,
    on_skip: Callable[[Path], object] = lambda path: None,
) -> Iterator[Input | InputError]:
    """Each input once, in the order of the arguments; what can't be found, as the error that says so.

    A file that has the name of a glob is that file. UsageError for a URL.

    spooled      holds what came by stdin
    headerless   whether the recordings are samples without a header
    on_skip      called for each file of a searched folder that is not a recording
    """
    for argument in arguments:
        check_not_url(argument)
    seen: set[str] = set()
    for argument in arguments:
        for found in _expand_argument(argument, spooled, headerless, on_skip):
            if isinstance(found, Input):
                real = os.path.realpath(found.path)
                if real in seen:
                    continue
                seen.add(real)
            yield found


def check_not_url(argument: str) -> None:
    """UsageError for a URL, unless a file is called like this."""
    match = URL.match(argument)
    if match is None or os.path.lexists(argument):
        return
    if match[1].lower() == "file":
        raise UsageError(f"{argument} is a URL, not a file name", hint="name the file by its path")
    download = DOWNLOAD_COMMANDS.get(match[1].lower(), "…").format(url=argument)
    raise UsageError(
        f"{argument} is a URL: inputs are files of this machine",
        hint=f"download it first, or pipe it in: {download} | cartesia-cli transcribe -",
    )


def unreadable_error(name: str, error: OSError) -> InputError:
    """The error of a file that can't be read, with what to do about it."""
    hint = "check its permissions" if isinstance(error, PermissionError) else "check the spelling and the folder"
    return InputError(f"{name} can't be read: {error.strerror}", hint=hint)


def is_folder_or_glob(argument: str) -> bool:
    """Whether an argument stands for any number of files."""
    return os.path.isdir(argument) or (glob.has_magic(argument) and not os.path.lexists(argument))


@contextmanager
def spool_stdin(arguments: Sequence[str], stream: BinaryIO | None = None) -> Iterator[Path | None]:
    """stdin as a file for the length of the block, if an argument is "-": a pipe can be read only once."""
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


def _temporary_file() -> tempfile._TemporaryFileWrapper[bytes]:
    try:
        return tempfile.NamedTemporaryFile(prefix="cartesia-cli-stdin-")
    except OSError as error:  # also where there is no folder for such files at all
        raise _spool_error(error) from error


def _spool_error(error: OSError) -> InputError:
    return InputError(f"stdin can't be kept in a temporary file: {error.strerror}", hint="TMPDIR names another folder")


def stdin_stream(stream: BinaryIO | None = None) -> BinaryIO:
    """stdin, or what stands for it. InputError where it is closed, UsageError where nobody pipes anything into it."""
    hint = "pipe a recording in, or name a file"
    if stream is None and sys.stdin is None:
        raise InputError("stdin is closed", hint=hint)
    source = stream or sys.stdin.buffer
    if source.isatty():
        raise UsageError("stdin is the terminal: there is no audio in it", hint=hint)
    return source


class HeaderlessReader(io.RawIOBase):
    """Samples without a header, passed on as they come. What a look tells of a file is told of them, too."""

    def __init__(self, stream: BinaryIO, encoding: str, warn: Callable[[str], object]) -> None:
        self._stream, self._encoding, self._warn, self._size = stream, encoding, warn, 0

    def readable(self) -> bool:
        return True

    def readinto(self, room: WriteableBuffer) -> int:
        whole = memoryview(room)
        data = getattr(self._stream, "read1", self._stream.read)(len(whole))
        whole[: len(data)] = data
        if not self._size and (found := sniff_head(data)):
            told = f"looks like {found}, not like headerless {self._encoding}, and is transcribed as noise"
            self._warn(told)
        self._size += len(data)
        width = ENCODINGS[self._encoding]
        if not data and (left_over := self._size % width):
            self._warn(f"ends inside a sample of {self._encoding}: {left_over} of {width} bytes")
        return len(data)


def _expand_argument(
    argument: str, spooled: Path | None, headerless: bool, on_skip: Callable[[Path], object]
) -> Iterator[Input | InputError]:
    if argument == STDIN and spooled is not None:
        yield Input(STDIN, spooled, Path("stdin"))
    elif os.path.isdir(argument):
        yield from _search_folder(argument, headerless, on_skip)
    elif is_folder_or_glob(argument):
        yield from _expand_glob(argument)
    else:
        yield Input(argument, Path(argument), Path(Path(argument).name))


def _search_folder(folder: str, headerless: bool, on_skip: Callable[[Path], object]) -> Iterator[Input | InputError]:
    """Recordings in a folder and the folders in it, sorted; hidden files and folders stay hidden.

    Links to folders aren't followed. What can't be read is an InputError in its place.
    """
    denied: list[OSError] = []
    found = skipped = 0
    for parent, folders, names in os.walk(folder, onerror=denied.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent, name)
            if _is_wanted(path, headerless):
                found += 1
                yield Input(str(path), path, path.relative_to(folder))
            else:
                skipped += 1
                on_skip(path)
    yield from map(_unsearchable_error, denied)
    if not found and not denied:
        looked = f"{skipped} {'file is not a recording' if skipped == 1 else 'files are not recordings'}"
        hint = "-v names them" if skipped and not headerless else "hidden files and folders are not searched"
        yield InputError(f"no audio in the folder {folder!r}" + (f": {looked}" if skipped else ""), hint=hint)


def _is_wanted(path: Path, headerless: bool) -> bool:
    """Whether a search takes a file: by its ending, or else by its first bytes."""
    ending = path.suffix.lower()
    if headerless:
        return ending in HEADERLESS_EXTENSIONS or (ending in EXTENSIONS and not is_recording(path))
    return ending in EXTENSIONS or is_recording(path)


def _unsearchable_error(error: OSError) -> InputError:
    return InputError(f"{error.filename} can't be searched: {error.strerror}", hint="check its permissions")


def _expand_glob(pattern: str) -> Iterator[Input | InputError]:
    """Files that match a glob, sorted; `**` stands for any number of folders, of which no links are followed."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base, denied = Path(*parts[:fixed]), list[OSError]()
    paths = sorted({path for path in _walk_glob(base, parts[fixed:], denied) if _is_file(path, denied)})
    yield from (Input(str(path), path, path.relative_to(base)) for path in paths)
    yield from map(_unsearchable_error, denied)
    if not paths and not denied:
        yield InputError(f"no file matches {pattern!r}", hint="check the spelling and the folder")


def _is_file(path: Path, denied: list[OSError]) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if isinstance(error, PermissionError):
            denied.append(error)
        return False


def _walk_glob(folder: Path, parts: Sequence[str], denied: list[OSError]) -> Iterator[Path]:
    """What matches the parts of a glob below a folder. Hidden names are matched by parts that begin with a dot."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if not glob.has_magic(first):
        yield from _walk_glob(folder / first, rest, denied)
        return
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".") or first.startswith(".")]
    except PermissionError as error:
        denied.append(error)
        return
    except OSError:  # not there, or not a folder
        return
    if first == "**":
        rest = rest[1:] if rest[:1] == ("**",) else rest
        yield from _walk_glob(folder, rest, denied)
    for entry in entries:
        if first == "**":
            if entry.is_dir(follow_symlinks=False):
                yield from _walk_glob(folder / entry.name, parts, denied)
            elif not rest:
                yield folder / entry.name
        elif fnmatch.fnmatch(entry.name, first):
            yield from _walk_glob(folder / entry.name, rest, denied)
