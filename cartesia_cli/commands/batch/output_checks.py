"""Checks, before anything is sent, that the files a run is going to write can be written.

Every command checks every output path here, so that one which can't be written is a usage error with the reason: their
options have `readable=False`, without which Typer would ask for permission to read them. Must never let a run overwrite
what this program can't have written: a recording, a document, any binary file.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import Literal

from ...audio.probing import EXTENSIONS as RECORDINGS
from ...audio.probing.bounded_reader import SIGNATURE_BYTES
from ...audio.probing.formats import sniff_head
from ...errors import UsageError
from ...output import EXTENSIONS as TRANSCRIPTS
from .inputs import match_url

Content = Literal["text", "wav"]

OTHER_PATH_HINT = "choose another path"
CONTROL_BYTES = rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]"
"""Bytes that no text has in any encoding except UTF-16, which begins with a byte order mark."""

DOCUMENT_SIGNATURES = (b"%PDF-", b"{\\rtf")
"""First bytes of documents that may look like text."""


def check_output(
    file: Path, *, force: bool, content: Content = "text", creates_folder: bool = True, appends: bool = False
) -> None:
    """Raises UsageError for a file that can't be written, or that would replace something that must not be lost.

    force            whether a file of the same kind may be replaced
    content          what is going to be written
    creates_folder   whether a missing folder is created
    appends          whether the file is appended to instead of replaced
    """
    try:
        _check_name(file, content)
        try:
            status = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            _check_folder(file, creates_folder)
            return
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{file} is a folder", hint="name a file in it")
        if not stat.S_ISREG(status.st_mode):
            return  # a device or pipe holds nothing that could be lost
        if not force and not appends:
            raise UsageError(f"{file} exists", hint="--force overwrites it")
        _check_same_kind(file, content)
        if not os.access(file, os.W_OK):
            denied = _read_only(file.absolute().parent) or "permission denied"
            raise UsageError(f"{file} can't be written: {denied}", hint=OTHER_PATH_HINT)
        if not appends:
            _check_folder(file, creates_folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, PermissionError):
            folder = next(parent for parent in file.absolute().parents if os.path.exists(parent))
            reason = "permission denied" if os.access(folder, os.X_OK) else f"no permission in {folder}"
        raise UsageError(f"{file} can't be written: {reason}", hint=OTHER_PATH_HINT) from error


def check_output_url(path: Path | None) -> None:
    """Raises UsageError for a URL as an output path, which would become a folder named `s3:`."""
    if path is not None and (match := match_url(str(path))) and not os.path.lexists(path):
        url = str(path).replace(":/", "://", 1)  # pathlib removes the second slash
        upload = f"write to stdout and upload that: … | aws s3 cp - '{url}'"
        raise UsageError(
            f"{url} is a URL; results can only be written to local files",
            hint=upload if match[1].lower() == "s3" else OTHER_PATH_HINT,
        )


def _check_name(file: Path, content: Content) -> None:
    """Raises UsageError for a URL, or a suffix that doesn't match what is going to be written."""
    check_output_url(file)
    ending = file.suffix.lower()
    if content == "text" and ending in RECORDINGS:
        raise UsageError(
            f"{file}: {ending} is the suffix of recordings, but text would be written", hint="choose another suffix"
        )
    if content == "wav" and ending != ".wav" and (ending in RECORDINGS or ending in TRANSCRIPTS):
        raise UsageError(f"{file}: audio is saved as WAV", hint="name a file that ends in .wav")


def _check_folder(file: Path, creates_folder: bool) -> None:
    """Raises UsageError for a file whose folder doesn't exist, or can't be written to."""
    folder = next(parent for parent in Path(os.path.abspath(file)).parents if os.path.lexists(parent))
    if not os.path.isdir(folder):
        raise UsageError(f"{file} can't be written: {folder} is not a folder", hint=OTHER_PATH_HINT)
    if not creates_folder and not os.path.isdir(file.parent) and os.access(folder, os.X_OK):
        raise UsageError(f"{file.parent} is not a folder", hint="create it first, or choose another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        denied = _read_only(folder) or f"no permission in {folder}"
        raise UsageError(f"{file} can't be written: {denied}", hint=OTHER_PATH_HINT)
    if (reason := _creation_problem(folder)) is not None:
        message = f"{file} can't be written: no file can be created in {folder}: {reason}"
        raise UsageError(message, hint=OTHER_PATH_HINT)


@cache
def _creation_problem(folder: Path) -> str | None:
    """Why no file can be created in a folder; None if one can. Permissions don't say so in all file systems."""
    from tempfile import TemporaryFile  # start-up: results often go to stdout

    try:
        with TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror


def _read_only(folder: Path) -> str | None:
    """That a folder is on a read-only file system; None if it isn't. What asks for permission doesn't tell the two
    apart."""
    if _creation_problem(folder) != os.strerror(errno.EROFS):
        return None
    return f"{folder} is on a read-only file system"


def _check_same_kind(file: Path, content: Content) -> None:
    """Raises UsageError for an existing file of another kind than what is going to be written."""
    with file.open("rb") as existing:
        head = existing.read(SIGNATURE_BYTES)
    kind, has_bom = sniff_head(head), head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = kind is None and (has_bom or not re.search(CONTROL_BYTES, head)) and not head.startswith(DOCUMENT_SIGNATURES)
    if not head or (kind == "wav" if content == "wav" else text):
        return
    what = "a recording" if kind else "a text" if text else "not a text file"
    raise UsageError(f"{file} is {what} and must not be overwritten", hint="choose another file")
