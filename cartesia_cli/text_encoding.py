"""Which encoding the bytes of a text file are in, and the text; and surrogate pairs whose halves came apart.

Must never fail: what isn't Unicode is read as Windows-1252, which old subtitle editors write, and where most of it is
UTF-8, as that with its damaged characters replaced. The caller says so.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

LEGACY, DAMAGED = "Windows-1252", "damaged UTF-8"

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; that of UTF-16-LE is the beginning of that of UTF-32-LE."""


_SURROGATE = re.compile("[\ud800-\udfff]")


def join_surrogates(text: str) -> str:
    """`text` in which two halves of a surrogate pair that follow each other are the character that they stand for.

    JSON can hold half a character, and a server that cuts text by UTF-16 sends its halves in two messages.
    """
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def ends_within_character(text: str) -> bool:
    """Whether the last of a text is the first half of a surrogate pair."""
    return "\ud800" <= text[-1:] <= "\udbff"


class Decoded(NamedTuple):
    """A text file.

    text       a byte order mark of UTF-8 included
    encoding   its name for people
    line       with the first byte that isn't UTF-8, from 1
    is_sound   whether all of it is Unicode: no guess, and nothing replaced
    """

    text: str
    encoding: str = "UTF-8"
    line: int = 1
    is_sound: bool = True


def decode_text(data: bytes) -> Decoded:
    """UTF-8, or UTF-16 or UTF-32 with or without a byte order mark, or else Windows-1252."""
    if mark := next((mark for mark in _MARKS if data.startswith(mark)), None):
        text = data.decode(_MARKS[mark], "replace")
        return Decoded(text, _MARKS[mark].upper(), is_sound="\ufffd" not in text)
    if b"\0" in data and (wide := _without_mark(data)) is not None:
        return wide
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        damaged = data.decode("utf-8", "replace")
        whole = sum(character > "\x7f" and character != "\ufffd" for character in damaged)
        if whole > damaged.count("\ufffd"):
            return Decoded(damaged, DAMAGED, line, is_sound=False)
        return Decoded(_legacy(data), LEGACY, line, is_sound=False)


def _without_mark(data: bytes) -> Decoded | None:
    """UTF-16 or UTF-32 without a mark. Texts with times or braces have ASCII in them, whose high bytes are zero."""
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and any(character in text for character in "\n\r {["):  # not so in the wrong byte order
            return Decoded(text, encoding[:6].upper())
    return None


def _legacy(data: bytes) -> str:
    """Windows-1252, with the five bytes that it leaves undefined as in Latin-1."""
    return "".join(map(_LEGACY_CHARACTERS.__getitem__, data))


def _legacy_character(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


_LEGACY_CHARACTERS = [_legacy_character(byte) for byte in range(256)]
