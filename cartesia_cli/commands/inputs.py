"""Turns the inputs that a user names into files: searches folders, expands globs, spools stdin, refuses URLs.

Must never decide what is audio (`audio.probing` does), nor where results go (`output_plan` does).
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
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..audio.probing import EXTENSIONS, HEADERLESS_EXTENSIONS, is_recording
from ..audio.probing.sniff import sniff_head
from ..errors import InputError, UsageError
from ..protocol import ENCODINGS
from ..scale.manifests import SUFFIXES as MANIFEST_SUFFIXES
from ..scale.manifests import FolderMetadata, is_manifest, read_manifest, result_path, segment_source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"

URL = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
"""The beginning of a URL. A scheme has more than one letter here, because C:/ is a drive on Windows."""

DOWNLOAD_COMMANDS = {
    "http": "curl -sL '{url}'",
    "https": "curl -sL '{url}'",
    "ftp": "curl -s '{url}'",
    "s3": "aws s3 cp '{url}' -",
    "gs": "gcloud storage cat '{url}'",
    "az": "azcopy cp '{url}' --from-to BlobPipe",
}
"""URL scheme to the command that writes the resource to stdout."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input file.

    source          as the user named it, or as it was found; "-" is stdin
    path            where its bytes are
    relative_path   what results are named after: relative to the folder that was searched, or to the fixed part of a
                    glob; otherwise the file name
    remote          the URL that it has to be fetched from: then `path` is no file yet
    segment         offset and duration, in seconds, of the part that is meant; None: the whole recording
    fields          all fields of the line of a manifest that named it
    number          its position among the inputs, from 0, if that is needed
    """

    source: str
    path: Path
    relative_path: Path
    remote: str | None = None
    segment: tuple[float, float] | None = None
    fields: Mapping[str, Any] | None = None
    number: int = 0


class SeenNames:
    """A set of names in some 20 bytes each, because there may be a hundred thousand: a table of their hashes.

    With 64 bits, two of a million names have the same hash in one of 30 million runs.
    """

    def __init__(self) -> None:
        self._table, self._count = array("q", bytes(8 * 1024)), 0

    def add(self, name: object) -> bool:
        """Whether the name is new."""
        if 2 * self._count >= len(self._table):
            former, self._table = self._table, array("q", bytes(16 * len(self._table)))
            for value in former:
                self._table[self._place(value)] = value
        value = hash(name) or 1
        place = self._place(value)
        is_new = self._table[place] == 0
        self._table[place] = value
        self._count += is_new
        return is_new

    def _place(self, value: int) -> int:
        """Where a hash is, or would be."""
        mask = len(self._table) - 1
        place = value & mask
        while self._table[place] not in (0, value):
            place = (place + 1) & mask
        return place


def find_inputs(
    arguments: Sequence[str],
    spooled: Path | None,
    *,
    headerless: bool = False,
    on_skip: Callable[[Path], object] = lambda path: None,
    with_fields: bool = False,
) -> Iterator[Input | InputError]:
    """Each input once, in the order of the arguments. An argument that stands for no input yields the error instead.

    An existing file whose name looks like a glob is that file. UsageError for a URL.

    spooled      the content of stdin
    headerless   whether the recordings are samples without a header
    on_skip      called for each file of a searched folder that is not a recording
    with_fields  whether recordings of a folder get the fields that its metadata files have for them
    """
    for argument in arguments:
        check_not_url(argument)
    seen = SeenNames()
    for argument in arguments:
        for found in _expand_argument(argument, spooled, headerless, on_skip, with_fields):
            if isinstance(found, Input) and not seen.add((os.path.realpath(found.path), found.segment)):
                continue
            yield found


def check_not_url(argument: str) -> None:
    """UsageError for a URL, unless a file has that name."""
    match = URL.match(argument)
    if match is None or os.path.lexists(argument):
        return
    if match[1].lower() == "file":
        raise UsageError(f"{argument} is a URL, not a file name", hint="name the file by its path")
    download = DOWNLOAD_COMMANDS.get(match[1].lower(), "…").format(url=argument)
    raise UsageError(
        f"{argument} is a URL; inputs must be local files",
        hint=f"download it first, or pipe it in: {download} | cartesia-cli transcribe -",
    )


def unreadable_error(name: str, error: OSError) -> InputError:
    """The error for a file that can't be read, with a hint."""
    hint = "check its permissions" if isinstance(error, PermissionError) else "check the spelling and the folder"
    return InputError(f"{name} can't be read: {error.strerror}", hint=hint)


def read_input(item: Input, max_bytes: int) -> bytes:
    """The content of an input. InputError if it can't be read, or is larger than `max_bytes`."""
    try:
        with item.path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise unreadable_error(item.source, error) from error
    if len(data) > max_bytes:
        raise InputError(f"{item.source} is too large", hint=f"the limit is {max_bytes >> 20} MiB")
    return data


def folder_error(name: str) -> InputError:
    """The error for a folder given instead of a file."""
    return InputError(f"{name} is a folder", hint="name the files in it, or a quoted glob")


def is_folder_or_glob(argument: str) -> bool:
    """Whether an argument may stand for several files."""
    return os.path.isdir(argument) or (glob.has_magic(argument) and not os.path.lexists(argument))


def may_be_several(argument: str) -> bool:
    """Whether an argument may stand for several recordings: a folder, a glob or a manifest."""
    return is_folder_or_glob(argument) or is_manifest(Path(argument))


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


def _temporary_file() -> tempfile._TemporaryFileWrapper[bytes]:
    try:
        return tempfile.NamedTemporaryFile(prefix="cartesia-cli-stdin-")
    except OSError as error:  # also if no temporary folder exists at all
        raise _spool_error(error) from error


def _spool_error(error: OSError) -> InputError:
    return InputError(
        f"stdin can't be saved in a temporary file: {error.strerror}", hint="set TMPDIR to another folder"
    )


def stdin_stream(stream: BinaryIO | None = None) -> BinaryIO:
    """stdin, or a substitute. InputError if it is closed, UsageError if it is a terminal."""
    hint = "pipe a recording in, or name a file"
    if stream is None and sys.stdin is None:
        raise InputError("stdin is closed", hint=hint)
    source = stream or sys.stdin.buffer
    if source.isatty():
        raise UsageError("stdin is a terminal, not a recording", hint=hint)
    return source


class HeaderlessReader(io.RawIOBase):
    """A stream of headerless samples. Warns if they look like a file with a header, or end inside a sample."""

    def __init__(self, stream: BinaryIO, encoding: str, warn: Callable[[str], object]) -> None:
        self._stream, self._encoding, self._warn, self._size = stream, encoding, warn, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
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


def _expand_argument(
    argument: str, spooled: Path | None, headerless: bool, on_skip: Callable[[Path], object], with_fields: bool
) -> Iterator[Input | InputError]:
    if argument == STDIN and spooled is not None:
        yield Input(STDIN, spooled, Path("stdin"))
    elif os.path.isdir(argument):
        found = _search_folder(argument, headerless, on_skip)
        yield from _with_metadata(argument, found) if with_fields else found
    elif is_folder_or_glob(argument):
        for item in _expand_glob(argument):
            yield from [item] if isinstance(item, InputError) else _expand_file(item)
    else:
        yield from _expand_file(Input(argument, Path(argument), Path(Path(argument).name)))


def _expand_file(item: Input) -> Iterator[Input | InputError]:
    """What a file stands for: itself, or the recordings that it lists."""
    if is_manifest(item.path):
        yield from _read_manifest(item.path)
    elif item.path.suffix.lower() in MANIFEST_SUFFIXES and item.path.is_file() and not is_recording(item.path):
        yield InputError(
            f"{item.source} is neither a recording nor a manifest: its first line has no audio_filepath or file_name",
            hint="docs/scale.md describes manifests; `cartesia-cli render` reads transcripts",
        )
    else:
        yield item


def _read_manifest(manifest: Path) -> Iterator[Input | InputError]:
    """The recordings that a manifest lists, and an InputError for each of its lines that can't be used."""
    for entry in read_manifest(manifest):
        if isinstance(entry, InputError):
            yield entry
            continue
        name, segment = entry.location, entry.segment
        source = name if segment is None else segment_source(name, segment)
        yield Input(source, Path(name), result_path(name, manifest, segment), segment=segment, fields=entry.fields)


def _with_metadata(folder: str, found: Iterator[Input | InputError]) -> Iterator[Input | InputError]:
    """Give the recordings of a folder the fields of its metadata; an InputError for each line that can't be used."""
    metadata = FolderMetadata(Path(folder))
    for item in found:
        yield item if isinstance(item, InputError) else replace(item, fields=metadata.fields(item.relative_path))
        yield from metadata.errors
        metadata.errors.clear()


def _search_folder(folder: str, headerless: bool, on_skip: Callable[[Path], object]) -> Iterator[Input | InputError]:
    """Recordings in a folder and its subfolders, sorted, without hidden ones. An InputError for each folder that can't
    be read, and one if no recording is found. Links to folders aren't followed.
    """
    denied: list[OSError] = []
    found = skipped = 0
    for parent, folders, names in os.walk(folder, onerror=denied.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names.sort(reverse=True)
        while names:  # it is emptied, because Path keeps all parts of living names in a table of its own
            if (name := names.pop()).startswith("."):
                continue
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
    """Whether a file in a searched folder is a recording: by its suffix, or else by its first bytes."""
    ending = path.suffix.lower()
    if headerless:
        return ending in HEADERLESS_EXTENSIONS or (ending in EXTENSIONS and not is_recording(path))
    return ending in EXTENSIONS or is_recording(path)


def _unsearchable_error(error: OSError) -> InputError:
    return InputError(f"{error.filename} can't be searched: {error.strerror}", hint="check its permissions")


def _expand_glob(pattern: str) -> Iterator[Input | InputError]:
    """Files that match a glob, sorted. `**` matches any number of folders, and follows no links."""
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
    """Paths below a folder that match the parts of a glob. Only parts that begin with a dot match hidden names."""
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
    except OSError:  # missing, or not a folder
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
