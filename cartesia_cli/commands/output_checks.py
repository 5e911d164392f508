"""Checks of the files that a run is going to write, made before anything is sent.

Every command checks every output path here, so that a place that can't be written is a usage error with the reason in
it. Must never let a run overwrite what it could not have written itself: a recording, a document, any binary file.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path
from typing import Literal

from ..audio.probing import EXTENSIONS as RECORDINGS
from ..audio.probing.bounded_reader import SIGNATURE_BYTES
from ..audio.probing.sniff import sniff_head
from ..errors import UsageError
from ..output import EXTENSIONS as TRANSCRIPTS
from .inputs import URL

Content = Literal["text", "wav"]

OTHER_PATH_HINT = "name another place"
CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that texts don't have, whatever their encoding, but for UTF-16, which begins with a mark."""

DOCUMENT_SIGNATURES = (b"%PDF-", b"{\\rtf")
"""How documents begin that may look like text for a while."""


def check_output(
    file: Path, *, force: bool, content: Content = "text", creates_folder: bool = True, appends: bool = False
) -> None:
    """UsageError where a file can't be written, or would replace what must stay.

    force          whether a file of the same kind may be replaced
    content        what will be in it
    makes_folder   whether its folder is made where there is none
    appends        whether it is opened to be continued, and not replaced
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
            return  # a device or a pipe holds nothing that could be lost
        if not force and not appends:
            raise UsageError(f"{file} exists", hint="--force overwrites it")
        _check_same_kind(file, content)
        if not os.access(file, os.W_OK):
            raise UsageError(f"{file} can't be written: permission denied", hint=OTHER_PATH_HINT)
        if not appends:
            _check_folder(file, creates_folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, PermissionError):
            folder = next(parent for parent in file.absolute().parents if os.path.exists(parent))
            reason = "permission denied" if os.access(folder, os.X_OK) else f"no permission in {folder}"
        raise UsageError(f"{file} can't be written: {reason}", hint=OTHER_PATH_HINT) from error


def check_output_url(path: Path | None) -> None:
    """UsageError for a URL where results should go: it would become a folder named `s3:`."""
    if path is not None and (match := URL.match(str(path))) and not os.path.lexists(path):
        url = str(path).replace(":/", "://", 1)  # pathlib has taken the second slash away
        upload = f"write to stdout and upload that: … | aws s3 cp - '{url}'"
        raise UsageError(
            f"{url} is a URL: results are written to files of this machine",
            hint=upload if match[1].lower() == "s3" else OTHER_PATH_HINT,
        )


def _check_name(file: Path, content: Content) -> None:
    """UsageError for a name that promises something else than what will be in the file."""
    check_output_url(file)
    ending = file.suffix.lower()
    if content == "text" and ending in RECORDINGS:
        raise UsageError(
            f"{file}: {ending} is the ending of recordings, and this would be text", hint="name another file"
        )
    if content == "wav" and ending != ".wav" and (ending in RECORDINGS or ending in TRANSCRIPTS):
        raise UsageError(f"{file}: the audio is kept as WAV", hint="name a file that ends in .wav")


def _check_folder(file: Path, creates_folder: bool) -> None:
    """UsageError where the folder of a file isn't there, or takes no files."""
    folder = next(parent for parent in Path(os.path.abspath(file)).parents if os.path.lexists(parent))
    if not os.path.isdir(folder):
        raise UsageError(f"{file} can't be written: {folder} is not a folder", hint=OTHER_PATH_HINT)
    if not creates_folder and not os.path.isdir(file.parent) and os.access(folder, os.X_OK):
        raise UsageError(f"{file.parent} is not a folder", hint="make it first, or name another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{file} can't be written: no permission in {folder}", hint=OTHER_PATH_HINT)


def _check_same_kind(file: Path, content: Content) -> None:
    """UsageError where the file that is there is of another kind than what will be in it."""
    with file.open("rb") as held:
        head = held.read(SIGNATURE_BYTES)
    kind, marked = sniff_head(head), head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = kind is None and (marked or not CONTROL_BYTES.search(head)) and not head.startswith(DOCUMENT_SIGNATURES)
    if not head or (kind == "wav" if content == "wav" else text):
        return
    what = "a recording" if kind else "a text" if text else "not a text file"
    raise UsageError(f"{file} is {what}: it is not overwritten", hint="name another file")
