"""Where transcripts go: stdout, or files that are whole or not there at all.

A file is written beside its final place and then moved over it, so that neither a full disk nor a kill
leaves half a transcript, and a file that was there stays until its successor is complete. Where the system can do
that (O_TMPFILE), the file has no name until it is complete, so that a kill leaves nothing behind.
Must never delete a file but the one that this very call created: a name is no proof of whose a file is.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from ..errors import OutputError
from ..text_encoding import join_surrogates

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What the system says where no other file can be written, either."""


class StdoutClosed(Exception):
    """Whoever read our stdout wants no more of it: time to end quietly."""


def write_stdout(text: str, stream: BinaryIO | None = None) -> None:
    """UTF-8 to stdout, flushed. ReaderGone when nobody reads, OutputError when it can't be written."""
    if stream is None and sys.stdout is None:
        raise OutputError("stdout is closed", hint="-o writes to a file instead")
    out = stream or sys.stdout.buffer
    try:
        out.write(_encoded(text))
        out.flush()
    except OSError as error:
        _abandon(out)
        if isinstance(error, BrokenPipeError):
            raise StdoutClosed from error
        failure = OutputError(f"stdout can't be written: {error.strerror}", hint="-o writes to a file instead")
        failure.stops_batch = True
        raise failure from error


def write_file(path: Path, content: str | bytes) -> None:
    """`content` as the whole of `path`, replacing what was there. OutputError when it can't be."""
    data = content if isinstance(content, bytes) else _encoded(content)
    try:
        target = Path(os.path.realpath(path))
        previous = target.stat().st_mode if target.exists() else None
        if previous is not None and not stat.S_ISREG(previous):
            target.write_bytes(data)  # a device or a pipe has no place beside it
            return
        _replace(target, data, previous)
    except OSError as error:
        failure = OutputError(f"{path}: can't be written: {error.strerror}")
        failure.stops_batch = error.errno in FULL
        raise failure from error


def _abandon(out: BinaryIO) -> None:
    """What is still buffered goes nowhere: Python would try it again at exit, and complain again."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), out.fileno())


def _replace(target: Path, data: bytes, mode: int | None) -> None:
    import secrets

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".cartesia-cli.{secrets.token_hex(4)}.tmp")
    if not _write_unnamed(draft, data):
        _write_named(draft, data)
    try:
        if mode is not None:
            os.chmod(draft, stat.S_IMODE(mode))
        os.replace(draft, target)
    except BaseException:
        draft.unlink()
        raise


def _write_unnamed(draft: Path, data: bytes) -> bool:
    """Write a file that gets its name only when it is complete. False where the system can't, or something fails."""
    unnamed: int | None = getattr(os, "O_TMPFILE", None)
    if unnamed is None:
        return False
    try:
        with open(os.open(draft.parent, os.O_WRONLY | unnamed, 0o666), "wb") as file:
            _write(file, data)
            # Only with a folder's descriptor does Python follow the link, as it has to here; the path needs none.
            os.link(f"/proc/self/fd/{file.fileno()}", draft, src_dir_fd=file.fileno(), follow_symlinks=True)
    except OSError:
        return False
    return True


def _write_named(draft: Path, data: bytes) -> None:
    """Write a file under a name that nothing has yet. OSError where it can't be; then the file is gone."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            _write(file, data)
    except BaseException:
        draft.unlink()
        raise


def _write(file: BinaryIO, data: bytes) -> None:
    """All of it, onto the disk."""
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _encoded(text: str) -> bytes:
    """UTF-8; lone surrogates, which JSON can smuggle in, become question marks."""
    return join_surrogates(text).encode("utf-8", "replace")
