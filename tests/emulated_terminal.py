"""Emulated terminals: of a text stream, and of a program on a pseudo-terminal."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

from .fork_server import default_signals

TIMEOUT_SECONDS = 60.0


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


class ProgramScreen:
    """A program on a pseudo-terminal, with an emulated screen of 24 lines.

    raw         all bytes that it has written
    has_ended   whether the program has
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], *, cwd: Path | None = None, columns: int = 80
    ) -> None:
        self.program = pexpect.spawn(
            command[0], command[1:], env=environment, cwd=cwd, timeout=TIMEOUT_SECONDS, dimensions=(24, columns),
            preexec_fn=default_signals,
        )  # fmt: skip
        self._screen = pyte.HistoryScreen(columns, 24, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self.raw, self.has_ended = b"", False

    @property
    def rows(self) -> list[str]:
        """The rows of the scrollback and the screen, without blank ones."""
        above = ["".join(row[x].data for x in range(self._screen.columns)) for row in self._screen.history.top]
        return [row.rstrip() for row in (*above, *self._screen.display) if row.strip()]

    def wait(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the rows meet a condition. Returns them."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition(self.rows):
            assert time.monotonic() < deadline and not self.has_ended, self.rows
            self._update()
        return self.rows

    def wait_for(self, *texts: str) -> list[str]:
        """Wait until each text is in a row. Returns all rows."""
        return self.wait(lambda rows: all(any(text in row for row in rows) for text in texts))

    def end(self) -> list[str]:
        """Wait for the end of the program. Returns the rows."""
        while not self.has_ended:
            self._update()
        self.program.close()
        return self.rows

    def _update(self) -> None:
        try:
            data = self.program.read_nonblocking(1 << 16, timeout=0.05)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            self.has_ended = True
            return
        self.raw += data
        self._stream.feed(data)
