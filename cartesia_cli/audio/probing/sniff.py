"""Recognizes the container of a file by its own bytes, and files that certainly aren't recordings.

Must never go by a file's name, except to give it the benefit of the doubt, and never refuse what only looks strange.
"""

from __future__ import annotations

import codecs
import re

from ...errors import InputError
from .bounded_reader import SIGNATURE_BYTES, WINDOW_BYTES, BoundedReader
from .formats import DOCUMENTED_EXTENSIONS, FORMATS

MAX_ID3_TAGS = 8
"""ID3v2 tags at the beginning of a file. One is usual, two occur."""

DOCUMENTED_FORMATS = ", ".join(sorted(extension[1:] for extension in DOCUMENTED_EXTENSIONS))

NOT_AUDIO = (
    (rb"\s*<(!doctype html|html|head|body)", "an HTML page (did a download save an error page?)"),
    (rb"version https://git-lfs", "a Git LFS pointer (fetch the file with `git lfs pull`)"),
    (rb"%PDF-", "a PDF document"),
    (rb"PK(\x03\x04|\x05\x06)", "a ZIP archive or an office document"),
    (rb"\x89PNG\r\n", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"RIFF.{4}WEBP", "a WebP image"),
    (rb"\x1f\x8b\x08", "a gzip archive"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (rb"Rar!\x1a\x07", "a RAR archive"),
    (rb"MThd", "a MIDI file, which contains notes, not sound"),
)
"""First bytes of files that end up among recordings by mistake, and what to call them."""


def sniff(reader: BoundedReader, *, trust_extension: bool) -> str | None:
    """The container, a key of FORMATS, by the bytes after ID3v2 tags; None if unknown.

    `trust_extension`: whether the file is named like a recording, so that frames may be searched for.
    """
    tagged = _skip_id3(reader)
    if found := sniff_head(reader.at(0, SIGNATURE_BYTES)):
        return found
    from .mpeg import find_frames  # start-up: most recordings are found by their first bytes

    # Other data may contain three frames by chance: they are searched for only where there is a reason.
    run = find_frames(reader.at(0, WINDOW_BYTES), reader.size, reach=WINDOW_BYTES if tagged or trust_extension else 1)
    return run[0].container if run else "mp3" if tagged else None


def sniff_head(head: bytes) -> str | None:
    """The container, a key of FORMATS, by the first bytes alone; None if unknown."""
    signatures = ((name, kind.signature) for name, kind in FORMATS.items() if kind.signature)
    return next((name for name, signature in signatures if re.match(signature, head, re.DOTALL)), None)


def may_be_recording(head: bytes) -> bool:
    """Whether a file that begins like this is worth probing, if its name doesn't say what it is."""
    frame_or_tag = rb"ID3[\x02-\x04]|\xff[\xe0-\xfd\xff]"  # \xff\xfe is how UTF-16 begins
    return sniff_head(head) is not None or re.match(frame_or_tag, head) is not None


def _skip_id3(reader: BoundedReader) -> bool:
    """Skip the ID3v2 tags at the beginning; whether there were any. Their sizes are in bytes of 7 bits."""
    for tags in range(MAX_ID3_TAGS):
        head = re.match(rb"ID3[\x02-\x04].(.)([\0-\x7f]{4})", reader.at(0, 10), re.DOTALL)
        if not head:
            return tags > 0
        footer = 10 if head[1][0] & 0x10 else 0
        length = 10 + int("".join(f"{byte:07b}" for byte in head[2]), 2) + footer
        if length > reader.size:  # damaged or cut off: there may still be frames
            return True
        reader.skip_prefix(length)
    return True


def reject_other_files(name: str, head: bytes, *, trust_extension: bool) -> None:
    """Raise InputError for files that aren't recordings. `trust_extension`: whether the file is named like one."""
    what = next((what for pattern, what in NOT_AUDIO if re.match(pattern, head, re.DOTALL | re.IGNORECASE)), None)
    if what is None and _is_text(head):
        what = "text"
    if what is None and not trust_extension:
        what = f"an unknown format ({head[:8].hex(' ')})"
    if what:
        formats = f"a recording is one of {DOCUMENTED_FORMATS}"
        headerless = "" if what == "text" else "; headerless samples need an encoding and a sample rate"
        raise InputError(f"{name} is not a recording: it begins like {what}", hint=formats + headerless)


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be incomplete
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text)
