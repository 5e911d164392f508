"""Text of strangers made safe for a terminal and for formats that live from line breaks and tabs."""

from __future__ import annotations

import unicodedata


def printable(text: str, *, keep: str = "\n\t") -> str:
    """`text` with control characters and lone surrogates as U+FFFD: no server or file name moves the cursor.

    Kept are the characters in `keep`, and format characters, which right-to-left text and emoji need.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cs") else "�" for c in text)


def one_line(text: str) -> str:
    """`text` with all its white space as single blanks, and nothing that moves the cursor."""
    return printable(" ".join(text.split()), keep="")
