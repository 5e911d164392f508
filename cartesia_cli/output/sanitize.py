"""Text of strangers made safe for a terminal and for formats that live from line breaks and tabs; how wide it is."""

from __future__ import annotations

import re

from ..text_encoding import join_surrogates

BIDI = "\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates, for a class of a regular expression: they show text in another order than it
has, up to the end of the line, ours included. Right-to-left text needs none of them, and no recogniser sends any."""

_UNSAFE = re.compile(f"[\x00-\x1f\x7f-\x9f{BIDI}\ud800-\udfff]")


def printable(text: str, *, keep: str = "\n\t") -> str:
    """`text` with control characters, lone surrogates and what turns its order as U+FFFD.

    So no server or file name moves the cursor, or passes for something else. Kept are the characters in `keep`, and
    the other format characters, which emoji and some scripts need.
    """
    if text.isascii() and text.isprintable():
        return text
    text = join_surrogates(text)
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else "�", text)


def one_line(text: str) -> str:
    """`text` with all its white space as single blanks, and nothing that moves the cursor."""
    return printable(" ".join(text.split()), keep="")


def can_encode(encoding: str, text: str) -> bool:
    """Whether `text` can be written in an encoding."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def title(source: str) -> str:
    """What a result that is handed on calls its recording: a name without the folders of this machine, or stdin."""
    if source == "-":
        return "stdin"
    # A backslash parts folders in the paths of Windows only; elsewhere it belongs to the name.
    is_windows = re.match(r"[A-Za-z]:[/\\]|\\\\", source) is not None
    return re.split(r"[/\\]" if is_windows else "/", one_line(source))[-1]
