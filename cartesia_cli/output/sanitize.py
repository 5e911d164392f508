"""Makes text from servers and files safe for terminals, and for formats that depend on line breaks and tabs."""

from __future__ import annotations

import re

from ..text_encoding import join_surrogates

BIDI = "\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates, for a class of a regular expression: they show text in another order than it
has, up to the end of the line, ours included. Right-to-left text needs none of them, and no recognizer sends any."""

# Not compiled here: start-up. Most text is printable.
_UNSAFE = f"[\x00-\x1f\x7f-\x9f{BIDI}\ud800-\udfff]"


def printable(text: str, *, keep: str = "\n\t") -> str:
    """`text` with control characters, lone surrogates and bidirectional overrides replaced by U+FFFD.

    So no server or file name can move the cursor, or be displayed as something else. Characters in `keep` are kept, and
    so are other format characters, which emoji and some scripts need.
    """
    if text.isascii() and text.isprintable():
        return text
    text = join_surrogates(text)
    return re.sub(_UNSAFE, lambda found: found[0] if found[0] in keep else "�", text)


def one_line(text: str) -> str:
    """`text` with all its white space as single spaces, and nothing that moves the cursor."""
    return printable(" ".join(text.split()), keep="")


def can_encode(encoding: str, text: str) -> bool:
    """Whether `text` can be written in an encoding."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def title(source: str) -> str:
    """The name of a recording in results that are shared: without the folders of this machine, or "stdin"."""
    if source == "-":
        return "stdin"
    # A backslash separates folders in the paths of Windows only; elsewhere it belongs to the name.
    is_windows = re.match(r"[A-Za-z]:[/\\]|\\\\", source) is not None
    return re.split(r"[/\\]" if is_windows else "/", one_line(source))[-1]
