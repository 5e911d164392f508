"""A text stream that is a terminal: what is written to it is shown on an emulated screen."""

from __future__ import annotations

import io

import pyte


class Terminal(io.StringIO):
    """A text stream whose output is shown on an emulated screen, of six rows by default."""

    def __init__(self, width: int = 80, encoding: str = "utf-8", lines: int = 6) -> None:
        super().__init__()
        self.screen = pyte.Screen(width, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._encoding = encoding
        self.raw = b""

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.replace("\n", "\r\n").encode(self._encoding, "backslashreplace")
        self.raw += data
        self._stream.feed(data)
        return len(text)

    @property
    def rows(self) -> list[str]:
        """The rows of the screen without blank ones at the end."""
        rows = [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows
