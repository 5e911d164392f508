"""Turns the inputs that a user names into files: searches folders, reads lists and manifests, expands globs.

URLs and pipes are saved later, by the job that needs them (see `workspace`); commands for local files refuse URLs.
Must never decide what is audio (`audio.probing` does), nor where results go (`output_plan` does).
"""

import fnmatch
import os
import re
import stat
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ...audio.probing import EXTENSIONS, is_recording
from ...audio.probing.formats import HEADERLESS_EXTENSIONS
from ...errors import InputError, UsageError
from ...record import Record
from ...remote_url import display_url, is_bucket_url, is_remote, result_path
from ...scale import MANIFEST_SUFFIXES
from ...transfer import RemoteState
from .stdin import STDIN, stdin_stream

DOWNLOAD_COMMANDS = {
    "http": "curl -sL '{url}'",
    "https": "curl -sL '{url}'",
    "ftp": "curl -s '{url}'",
    "s3": "aws s3 cp '{url}' -",
    "gs": "gcloud storage cat '{url}'",
    "az": "azcopy cp '{url}' --from-to BlobPipe",
}
"""URL scheme to the command that writes the resource to stdout."""

LIST_PREFIX = "@"
"""What comes before the name of a list of inputs, as in @list.txt."""


class Input(NamedTuple):
    """One input file.

    source          as the user named it, or as it was found; "-" is stdin
    path            where its bytes are
    relative_path   what results are named after: relative to the folder that was searched, or to the fixed part of a
                    glob; otherwise the file name
    origin          the URL or pipe from which it has to be saved: `path` doesn't exist before that. None: a local file
    time_range      offset and duration, in seconds, of the part that is meant; None: the whole recording
    fields          all fields of the line of a manifest that named it
    number          its position among the inputs of a run, from 0
    line            manifest and number of the line that named it, for messages; None: another name of it suffices
    remote_state    size and version of a remote recording, once a listing or its server has said them
    """

    source: str
    path: Path
    relative_path: Path
    origin: str | None = None
    time_range: tuple[float, float] | None = None
    fields: Mapping[str, Any] | None = None
    number: int = 0
    remote_state: RemoteState | None = None
    line: str | None = None


class UrlExpander(Protocol):
    """Finds the recordings that a URL stands for (`workspace`)."""

    def expand(self, url: str, *, keep_folders: bool = False) -> "Iterator[Input | InputError]":
        """The inputs at a URL.

        keep_folders   whether results are named after the host and the whole path, instead of the file
        """


class SeenNames:
    """A set of names in some 20 bytes each, because there may be a hundred thousand: a table of their hashes.

    With 64 bits, two of a million names have the same hash in one of 30 million runs.
    """

    def __init__(self) -> None:
        self._table, self._count = array("q", bytes(8 * 1024)), 0

    def add(self, name: object) -> bool:
        """Whether the name is new."""
        if 2 * self._count >= len(self._table):
            old, self._table = self._table, array("q", bytes(16 * len(self._table)))
            for value in old:
                self._table[self._slot(value)] = value
        value = hash(name) or 1  # 0 is a free slot
        slot = self._slot(value)
        is_new = self._table[slot] == 0
        self._table[slot] = value
        self._count += is_new
        return is_new

    def _slot(self, value: int) -> int:
        """Where a hash is, or would be."""
        mask = len(self._table) - 1
        slot = value & mask
        while self._table[slot] not in (0, value):
            slot = (slot + 1) & mask
        return slot


def find_inputs(
    arguments: Sequence[str],
    spooled: Path | None,
    *,
    files_from: str | None = None,
    expander: "UrlExpander | None" = None,
    headerless: bool = False,
    on_skip: Callable[[Path], object] = lambda path: None,
    on_repeat: Callable[[str], object] = lambda source: None,
    with_fields: bool = False,
    with_repeats: bool = False,
    command: str = "transcribe",
) -> Iterator[Input | InputError]:
    """Each input once, in the order of the arguments. An argument that stands for no input yields the error instead.

    An existing file whose name looks like a glob, a list or a URL is that file. Raises UsageError for a URL that can't
    be read.

    spooled      the content of stdin
    files_from   a list of further inputs; "-" is stdin
    expander     finds what URLs stand for; None: only local files are inputs, and no lists, manifests or pipes
    headerless   whether the recordings are samples without a header
    on_skip      called for each file of a searched folder that is not a recording
    on_repeat    called for each input that is left out because it was there before
    with_fields  whether recordings of a folder get the fields that its metadata files have for them
    with_repeats whether an input also counts where it is named again
    command      the one that reads them, for hints
    """
    for argument in arguments:
        check_not_url(argument, can_download=expander is not None, command=command)
    seen = SeenNames()
    for found in _expand_all(arguments, files_from, _Search(spooled, expander, headerless, on_skip, with_fields)):
        if isinstance(found, InputError) or seen.add(identity_of(found)) or with_repeats:
            yield found
        else:
            on_repeat(found.source)


def identity_of(item: Input) -> tuple[object, ...]:
    """Identifies an input: the same for all names of a file, and different for each part of a recording."""
    return item.origin or os.path.realpath(item.path), item.time_range


def match_url(text: str) -> re.Match[str] | None:
    """The beginning of a URL, of which group 1 is the scheme; None if the text is not a URL.

    A scheme has more than one letter here, because C:/ is a drive on Windows.
    """
    return re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text) if ":/" in text else None


def check_not_url(argument: str, *, can_download: bool = False, command: str = "transcribe") -> None:
    """Raises UsageError for a URL, unless a file has that name.

    command        the one that reads what is piped in instead
    can_download   whether URLs are allowed from which recordings can be downloaded
    """
    match = match_url(argument)
    if match is None or os.path.lexists(argument) or (can_download and is_remote(argument)):
        return
    if match[1].lower() == "file":
        raise UsageError(f"{argument} is a URL, not a file name", hint="name the file by its path")
    if can_download and is_remote(meant := argument.replace(":/", "://", 1)):
        raise UsageError(f"{argument} is a URL with a slash too few", hint=f"did you mean {meant}?")
    download = DOWNLOAD_COMMANDS.get(match[1].lower(), "…").format(url=argument)
    where = "recordings can't be read from there" if can_download else "inputs must be local files"
    raise UsageError(
        f"{argument} is a URL; {where}",
        hint=f"download it first, or pipe it in: {download} | cartesia-cli {command} -",
    )


def is_list(argument: str) -> bool:
    """Whether an argument names a list of inputs, as @list.txt does."""
    return argument.startswith(LIST_PREFIX) and len(argument) > 1 and not os.path.lexists(argument)


def is_pipe(argument: str) -> bool:
    """Whether an input is a named pipe, or what a shell makes of `<(command)`."""
    with suppress(OSError, ValueError):
        return stat.S_ISFIFO(os.stat(argument).st_mode)
    return False


def unreadable_error(name: str, error: OSError) -> InputError:
    """The error for a file that can't be read, with a hint."""
    hint = "check its permissions" if isinstance(error, PermissionError) else "check the spelling and the folder"
    return InputError(f"{name} can't be read: {error.strerror}", hint=hint)


def read_input(item: Input | InputError, max_bytes: int) -> bytes:
    """The content of an input. Raises InputError if it can't be read or is larger than `max_bytes`; one that was found
    instead of an input is raised, too.
    """
    if isinstance(item, InputError):
        raise item
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


def find_files(arguments: Sequence[str], spooled: Path | None, command: str) -> list[Input | InputError]:
    """The files that the arguments of a command for local files stand for. Folders aren't searched: they are errors."""
    folders = [argument for argument in arguments if os.path.isdir(argument)]
    files = find_inputs([argument for argument in arguments if argument not in folders], spooled, command=command)
    return [*map(folder_error, folders), *files]


def _has_wildcard(text: str) -> bool:
    return not frozenset("*?[").isdisjoint(text)


def is_folder_or_glob(argument: str) -> bool:
    """Whether an argument may stand for several files."""
    return os.path.isdir(argument) or (_has_wildcard(argument) and not os.path.lexists(argument))


def may_be_several(argument: str) -> bool:
    """Whether an argument may stand for several recordings: a folder, a glob, a manifest, a list or a bucket."""
    if is_remote(argument) and not os.path.lexists(argument):
        from ...scale.buckets import stands_for_several

        return is_bucket_url(argument) and stands_for_several(argument)
    return is_folder_or_glob(argument) or is_list(argument) or _is_manifest(Path(argument))


def _is_manifest(path: Path) -> bool:
    if path.suffix.lower() not in MANIFEST_SUFFIXES:
        return False  # start-up: nothing else of manifests is needed
    from ...scale.manifests import is_manifest

    return is_manifest(path)


def is_streamed(files_from: str | None) -> bool:
    """Whether a list of inputs may still be being written."""
    if files_from == STDIN:
        with suppress(OSError, ValueError, AttributeError):
            return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    return files_from is not None and is_pipe(files_from)


class _Search(Record):
    """How arguments are expanded: parameters of `find_inputs`."""

    spooled: Path | None
    expander: "UrlExpander | None"
    headerless: bool
    on_skip: Callable[[Path], object]
    with_fields: bool

    def is_remote(self, argument: str) -> bool:
        return self.expander is not None and is_remote(argument) and not os.path.lexists(argument)


def _expand_all(arguments: Sequence[str], files_from: str | None, search: _Search) -> Iterator[Input | InputError]:
    for argument in arguments:
        if search.expander is not None and is_list(argument):
            yield from _expand_list(argument.removeprefix(LIST_PREFIX), search)
        else:
            yield from _expand_argument(argument, search)
    if files_from is not None:
        yield from _expand_list(files_from, search)


def _expand_list(name: str, search: _Search) -> Iterator[Input | InputError]:
    """The inputs that a list names. An InputError if it can't be read, and for each name that can't be used."""
    from ...scale.input_lists import read_names

    try:
        with nullcontext(stdin_stream("a list of inputs")) if name == STDIN else open(name, "rb") as stream:
            for entry in read_names(stream, "the list on stdin" if name == STDIN else name):
                yield from _expand_entry(f"./{entry}" if entry == STDIN else entry, search)
    except OSError as error:
        yield unreadable_error(name, error)
    except InputError as error:
        yield error


def _expand_entry(entry: str, search: _Search) -> Iterator[Input | InputError]:
    """The inputs that an entry of a list stands for. Their results keep the folders of their names."""
    try:
        check_not_url(entry, can_download=True)
    except UsageError as error:
        yield InputError(error.message, hint=error.hint)
        return
    if search.expander is not None and search.is_remote(entry):
        yield from search.expander.expand(entry, keep_folders=True)
        return
    is_manifest = _is_manifest(Path(entry))  # whose recordings are named after their paths below its folder
    for found in _expand_argument(entry, search):
        if is_manifest or isinstance(found, InputError):
            yield found
        else:
            yield found._replace(relative_path=path_below(Path(), found.path))


def path_below(folder: Path, path: Path) -> Path:
    """The path of a file below a folder or, if it is elsewhere, its whole path without the root, so that results of
    files in different folders have different names.
    """
    above, absolute = Path(os.path.abspath(folder)), Path(os.path.abspath(path))
    try:
        return absolute.relative_to(above)
    except ValueError:
        return absolute.relative_to(absolute.anchor)


def _expand_argument(argument: str, search: _Search) -> Iterator[Input | InputError]:
    path = Path(argument)
    if argument == STDIN and search.spooled is not None:
        yield Input(STDIN, search.spooled, Path("stdin"))
    elif search.expander is not None and search.is_remote(argument):
        yield from search.expander.expand(argument)
    elif os.path.isdir(argument):
        found = _search_folder(argument, search.headerless, search.on_skip)
        yield from _with_metadata(argument, found) if search.with_fields else found
    elif is_folder_or_glob(argument):
        for item in _expand_glob(argument):
            yield from [item] if isinstance(item, InputError) else _expand_file(item, search)
    elif search.expander is not None and is_pipe(argument):
        yield Input(argument, path, Path(path.name), origin=argument)
    else:
        yield from _expand_file(Input(argument, path, Path(path.name)), search)


def _expand_file(item: Input, search: _Search) -> Iterator[Input | InputError]:
    """What a file stands for: itself, or the recordings that it lists."""
    if search.expander is None:  # a transcript may look like a manifest
        yield item
    elif _is_manifest(item.path):
        yield from _read_manifest(item.path, search)
    elif item.path.suffix.lower() in MANIFEST_SUFFIXES and item.path.is_file() and not is_recording(item.path):
        yield InputError(
            f"{item.source} is neither a recording nor a manifest: its first line has no audio_filepath or file_name",
            hint="docs/scale.md describes manifests; `cartesia-cli render` reads transcripts",
        )
    else:
        yield item


def _read_manifest(manifest: Path, search: _Search) -> Iterator[Input | InputError]:
    """The recordings that a manifest lists, and an InputError for each of its lines that can't be used."""
    from ...scale.manifests import name_of_part, path_of_part, read_manifest

    for entry in read_manifest(manifest):
        if isinstance(entry, InputError):
            yield entry
            continue
        name, time_range, origin = entry.location, entry.time_range, None
        if search.is_remote(name):
            source, origin = display_url(name), name
            path = relative = Path(result_path(name))
        else:
            source, path = name, Path(name)
            relative = path_below(manifest.parent, path)
        if time_range is not None:
            source, relative = name_of_part(source, time_range), path_of_part(relative, time_range)
        line = f"{manifest}, line {entry.number}"
        yield Input(source, path, relative, origin=origin, time_range=time_range, fields=entry.fields, line=line)


def _with_metadata(folder: str, found: Iterator[Input | InputError]) -> Iterator[Input | InputError]:
    """Give the recordings of a folder the fields of its metadata; an InputError for each line that can't be used."""
    from ...scale.manifests import FolderMetadata

    metadata = FolderMetadata(Path(folder))
    for item in found:
        yield item if isinstance(item, InputError) else item._replace(fields=metadata.fields(item.relative_path))
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
    """Whether a file in a searched folder is a recording, by its suffix or else by its first bytes; with `headerless`,
    whether it may be one without a header.
    """
    suffix = path.suffix.lower()
    if headerless:
        return suffix in HEADERLESS_EXTENSIONS or (suffix in EXTENSIONS and not is_recording(path))
    return suffix in EXTENSIONS or is_recording(path)


def _unsearchable_error(error: OSError) -> InputError:
    return InputError(f"{error.filename} can't be searched: {error.strerror}", hint="check its permissions")


def _expand_glob(pattern: str) -> Iterator[Input | InputError]:
    """Files that match a glob, sorted. `**` matches any number of folders, but no links to folders."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if _has_wildcard(part))
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
    if not _has_wildcard(first):
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
