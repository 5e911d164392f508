"""Where transcripts go: stdout, or files that are whole or not there at all.

A file is written beside its final place and then moved over it, so that neither a full disk nor a kill
leaves half a transcript, and a file that was there stays until its successor is complete.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from ..errors import OutputError
from ..text_encoding import join_surrogates

DRAFT = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
STALE_SECONDS = 86_400.0


class ReaderGone(Exception):
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
            raise ReaderGone from error
        raise OutputError(f"stdout can't be written: {error.strerror}", hint="-o writes to a file instead") from error


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
        raise OutputError(f"{path}: can't be written: {error.strerror}") from error


def _abandon(out: BinaryIO) -> None:
    """What is still buffered goes nowhere: Python would try it again at exit, and complain again."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), out.fileno())


def _replace(target: Path, data: bytes, mode: int | None) -> None:
    import secrets

    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if mode is not None:
            os.chmod(draft, stat.S_IMODE(mode))
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@cache
def _sweep(folder: Path) -> None:
    """Take away drafts that a kill left behind, once in a run: a day later nobody finishes them."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if DRAFT.fullmatch(entry.name) and entry.stat().st_mtime < time.time() - STALE_SECONDS:
                os.unlink(entry)


def _encoded(text: str) -> bytes:
    """UTF-8; lone surrogates, which JSON can smuggle in, become question marks."""
    return join_surrogates(text).encode("utf-8", "replace")
