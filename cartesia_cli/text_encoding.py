"""Decodes text files of unknown encoding, and joins surrogate pairs that were split.

Must never fail: what isn't Unicode is read as Windows-1252, which old subtitle editors write, or as damaged UTF-8, with
replacement characters, where most of it is UTF-8. The result says so, and the caller warns.
"""

import codecs
import re

from .record import Record

LEGACY, DAMAGED = "Windows-1252", "damaged UTF-8"

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""In this order, because that of UTF-16-LE begins that of UTF-32-LE."""

_UNDEFINED_IN_WINDOWS_1252 = {0xDC00 + byte: byte for byte in b"\x81\x8d\x8f\x90\x9d"}
"""Bytes as "surrogateescape" decodes them: they are read as in Latin-1."""

_SURROGATE = "[\ud800-\udfff]"


def join_surrogates(text: str) -> str:
    """`text` with each surrogate pair replaced by the character that it encodes; lone surrogates stay.

    JSON can contain lone surrogates, and a server that splits text by UTF-16 units sends a pair in two messages.
    """
    if text.isascii() or re.search(_SURROGATE, text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def replace_lone_surrogates(text: str) -> str:
    """`text` with its surrogate pairs joined, and U+FFFD for each surrogate that isn't half of a pair."""
    return text if text.isascii() else re.sub(_SURROGATE, "\ufffd", join_surrogates(text))


def ends_within_character(text: str) -> bool:
    """Whether a text ends with the first half of a surrogate pair."""
    return "\ud800" <= text[-1:] <= "\udbff"


class Decoded(Record):
    """The content of a text file.

    text       including a byte order mark of UTF-8
    encoding   its name, as messages show it
    line       number of the line with the first byte that isn't UTF-8, from 1
    is_sound   whether the encoding is certain and nothing was replaced
    """

    text: str
    encoding: str = "UTF-8"
    line: int = 1
    is_sound: bool = True


def decode_text(data: bytes) -> Decoded:
    """Decode UTF-8, UTF-16 or UTF-32, with or without a byte order mark, or else Windows-1252."""
    if mark := next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark)), None):
        text = data.decode(_BYTE_ORDER_MARKS[mark], "replace")
        return Decoded(text, _BYTE_ORDER_MARKS[mark].upper(), is_sound="\ufffd" not in text)
    if b"\0" in data and (wide := _decode_unmarked(data)) is not None:
        return wide
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        damaged = data.decode("utf-8", "replace")
        whole = sum(character > "\x7f" and character != "\ufffd" for character in damaged)
        if whole > damaged.count("\ufffd"):
            return Decoded(damaged, DAMAGED, line, is_sound=False)
        legacy = data.decode("cp1252", "surrogateescape").translate(_UNDEFINED_IN_WINDOWS_1252)
        return Decoded(legacy, LEGACY, line, is_sound=False)


def _decode_unmarked(data: bytes) -> Decoded | None:
    """UTF-16 or UTF-32 without a byte order mark. Subtitles and JSON contain ASCII, whose high bytes are zero."""
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and any(character in text for character in "\n\r {["):  # not so in the wrong byte order
            return Decoded(text, encoding[:6].upper())
    return None
