"""Replaces the API key in whatever is shown: errors, notices, logs, tracebacks.

Must never be applied to a transcript: accepted text stays as it came, even if the key is spoken.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable
from functools import cached_property

PLACEHOLDER = "[the key]"

SHORTEST_SECRET = 8
"""Characters. A shorter key may be an ordinary word, such as "test" for a local server. It is replaced only where it
stands alone, and not at all in names of files: otherwise messages would become unreadable."""

LONGEST_EXCERPT = 300
"""Characters of a server's text that are quoted in a message."""

INVISIBLE = (
    r"(?:(?:[\x1b\ufffd]\[|\x9b)[0-9;?]{0,8}[A-Za-z]"  # colours and cursor moves, also as `printable` leaves them
    r"|\\{1,4}(?:[nrtbf]|u(?:00[01][0-9a-f]|007f|00ad|200[b-f]|202[89a-e]|206[0-9a-f]|feff))"
    r"|[\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffd])+"
)
"""What may stand between two characters of a key and isn't visible or is white space, also escaped as in JSON."""

DIVIDER = f"(?:{INVISIBLE})?"

LONGEST_ESCAPE = 9
"""Characters that stand for one character of a key at most: four backslashes and `u0041`."""


class Redactor:
    """Replaces secrets in text, also where they are escaped as in JSON or a URL, encoded in base64, or interrupted by
    invisible characters.
    """

    def __init__(self, *secrets: str) -> None:
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        self._reach = LONGEST_ESCAPE * max(map(len, self._secrets), default=0)

    def redact(self, text: str) -> str:
        """`text` with a placeholder for each secret."""
        if not self._secrets:
            return text
        text = self._pattern.sub(PLACEHOLDER, text)
        # Interrupted secrets are rare, and to compile their pattern takes as long as a short command does otherwise.
        if self._pattern.search(re.sub(_INVISIBLE, "", text)) and self._interrupted:
            text = self._interrupted.sub(PLACEHOLDER, text)
        return text

    def excerpt(self, text: str, limit: int = LONGEST_EXCERPT) -> str:
        """The beginning of `text`, redacted, on one line and at most `limit` characters long."""
        head = text[: 4 * limit + self._reach]
        line = self.redact(" ".join(head.split()))
        if len(head) < len(text) and self._reach:
            line = line[: -self._reach]  # a secret may have been cut in two
        return line if len(line) <= limit and len(head) == len(text) else f"{line[:limit]}…"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(spelling for secret in self._secrets for spelling in _spellings(secret)))

    @cached_property
    def _interrupted(self) -> re.Pattern[str] | None:
        spellings = [f"(?i:{DIVIDER.join(_letters(secret))})" for secret in self._secrets if is_long(secret)]
        return re.compile("|".join(spellings)) if spellings else None


def is_long(secret: str) -> bool:
    """Whether a secret is too long to be an ordinary word."""
    return len(secret) >= SHORTEST_SECRET


def _spellings(secret: str) -> Iterable[str]:
    """Regular expressions for the encodings in which a secret may appear."""
    if not is_long(secret):
        yield rf"(?<![\w-]){re.escape(secret)}(?![\w-])"
        return
    yield f"(?i:{''.join(_letters(secret))})"
    for before in range(3):  # base64 encodes a text in three ways, depending on its position
        encoded = b2a_base64(b"\0" * before + secret.encode(), newline=False).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(secret)) % 3 else 0)]
        yield re.escape(whole).replace(r"\+", "[-+]").replace("/", "[/_]")


def _letters(secret: str) -> list[str]:
    return [rf"(?:\\{{0,4}}(?:{re.escape(c)}|u{ord(c):04x})|%{ord(c):02x})" for c in secret]


_INVISIBLE = f"(?i:{INVISIBLE})"
