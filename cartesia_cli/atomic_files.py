"""Writes a file whole or not at all: under a temporary name in the same directory, then moved into place.

Neither a full disk nor a kill leaves half a file, and an existing file stays until its replacement is complete.
Where the system has unnamed files (O_TMPFILE), the new file gets its name only when it is complete, so that a kill
leaves nothing. Symbolic links are followed. A device or a pipe can't be replaced, so it is written to.

Must never delete a file that it didn't create: a name doesn't prove who created a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import OutputError

TEMPORARY_NAME = r"\.cartesia-cli\.[0-9a-f]{8}\.tmp"
"""Pattern of the temporary files that a killed run may leave."""

COPY_BYTES = 1 << 20


def write_atomically(
    path: Path, data: bytes, *, mode: int = 0o666, durable: bool = True, replaces: bool = True
) -> None:
    """Make `data` the whole content of `path`; its directory is created if it is missing.

    mode       permissions of a new file, less the umask; a file that is replaced passes on its own
    durable    whether to wait until the disk has the data (fsync), so that it survives a power cut
    replaces   whether a file that exists is replaced; False: FileExistsError

    Raises OSError if it can't be written; an existing file is then unchanged.
    """
    target = Path(os.path.realpath(path))
    replaced = _mode(target)
    if replaced is not None and not stat.S_ISREG(replaced):
        target.write_bytes(data)
        return
    temporary = _temporary_name(target)
    if not _write_unnamed(temporary, data, mode, replaced, durable):
        with _new_file(temporary, mode) as file:
            _write(file, data, replaced, durable)
    _move(temporary, target, replaces=replaces)


@contextmanager
def replacing(path: Path, *, replaces: bool = True) -> Iterator[BinaryIO]:
    """A file whose content replaces that of `path` at the end of the block, unless the block fails. For content that is
    too large for memory.

    replaces   whether a file that exists is replaced; False: FileExistsError
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary_name(target)
    with _new_file(temporary, 0o666) as file:
        yield file
        _write(file, b"", _mode(target), durable=True)
    _move(temporary, target, replaces=replaces)


@contextmanager
def output_errors(path: Path, *, hint: str | None = None) -> Iterator[None]:
    """Raise OutputError for an OSError in the block, in which `path` is written."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or path}: can't be written: {error.strerror}", hint=hint) from error


def link_or_copy(source: Path, path: Path, *, overwrite: bool) -> None:
    """Make `path` hold what `source` holds: as a second name for it, or as a copy (mode 0600) on another file system.

    Raises FileExistsError if `path` exists and must not be overwritten; OSError if it can't be written.
    """
    target = Path(os.path.realpath(path))
    replaced = _mode(target)
    if not overwrite:
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(source, target)
    elif replaced is not None and not stat.S_ISREG(replaced):
        with source.open("rb") as held, target.open("wb") as device:
            _copy(held, device)
    else:
        temporary = _temporary_name(target)
        _link(source, temporary)
        _move(temporary, target)


def _mode(path: Path) -> int | None:
    """Type and permissions of an existing file, or None."""
    return path.stat().st_mode if path.exists() else None


def _temporary_name(target: Path) -> Path:
    """An unused name in the directory of the target, which is created if it is missing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".cartesia-cli.{os.urandom(4).hex()}.tmp")


def _move(temporary: Path, target: Path, *, replaces: bool = True) -> None:
    try:
        if not replaces:
            try:
                os.link(temporary, target)
                return
            except FileExistsError:
                raise
            except OSError as error:  # a file system without links
                if target.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)  # also where both are names of one file: then replacing does nothing


def _write_unnamed(path: Path, data: bytes, mode: int, replaced: int | None, durable: bool) -> bool:
    """Write a file that gets its name only when it is complete. False if the system can't, or something fails."""
    unnamed: int | None = getattr(os, "O_TMPFILE", None)
    if unnamed is None:
        return False
    try:
        with open(os.open(path.parent, os.O_WRONLY | unnamed, mode), "wb") as file:
            _write(file, data, replaced, durable)
            # Only with a directory's descriptor does Python follow the link, as it has to here; the path needs none.
            os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno(), follow_symlinks=True)
    except OSError:
        return False
    return True


@contextmanager
def _new_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A file under an unused name, which is deleted if the block fails."""
    binary: int = getattr(os, "O_BINARY", 0)  # Windows would turn line feeds into line breaks of its own
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, mode)
    try:
        with open(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(file: BinaryIO, data: bytes, replaced: int | None, durable: bool) -> None:
    if replaced is not None and os.name == "posix":
        os.chmod(file.fileno(), stat.S_IMODE(replaced))
    file.write(data)
    file.flush()
    if durable:
        os.fsync(file.fileno())


def _link(source: Path, path: Path) -> None:
    """Give a file a second name, or copy it. Raises OSError if both fail; no file is left then."""
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        with source.open("rb") as held, _new_file(path, 0o600) as new:
            _copy(held, new)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while block := source.read(COPY_BYTES):
        target.write(block)
    target.flush()
    if stat.S_ISREG(os.fstat(target.fileno()).st_mode):
        os.fsync(target.fileno())
