"""The file of `--append`: one line per segment at the end of the file, removed again if the segment is dropped.

A line that can't be written is retried with the next one: the disk may have space again by then. Must never change a
byte that it didn't write, write a line twice, or end a session.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import OutputError
from ...output.sanitize import printable


def _ends_within_line(path: Path) -> bool:
    """Whether the last line of a file has no line break. False for a FIFO and for a file that can't be read."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
    except OSError:
        return False


@dataclass(slots=True, eq=False)
class _AppendedLine:
    """A line, and how much of it has been written.

    start     offset in the file, in bytes
    written   bytes written so far
    """

    data: bytes
    start: int = 0
    written: int = 0


class AppendFile:
    """Appends lines to a file, which is opened anew for each line because it may be moved in between.

    warn   called once with a message when a line can't be written
    """

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda sentence: None) -> None:
        self.path, self._warn = path, warn
        self._warned = False
        self._lines: list[_AppendedLine | None] = []
        """One entry for each text; None for one of white space only."""
        self._pending: list[_AppendedLine] = []
        """Lines not yet written, in order."""

    def add(self, text: str) -> None:
        """Write one more line; nothing for text of white space only."""
        if not (line := printable(text).strip()):
            self._lines.append(None)
            return
        new = _AppendedLine(f"{line}\n".encode("utf-8", "replace"))
        self._lines.append(new)
        self._pending.append(new)
        if (error := self.flush()) is not None and not self._warned:
            self._warned = True
            self._warn(f"{error.message}; the session continues")

    def flush(self) -> OutputError | None:
        """Write pending lines; returns the error if that fails."""
        if not self._pending:
            return None
        try:
            with self.path.open("ab", buffering=0) as file:
                while self._pending:
                    line = self._pending[0]
                    if not line.written:
                        if _ends_within_line(self.path):
                            file.write(b"\n")
                        line.start = file.tell() if file.seekable() else 0
                    line.written += file.write(line.data[line.written :]) or 0
                    if line.written == len(line.data):
                        del self._pending[0]
        except OSError as error:
            missing = f"{len(self._pending)} lines are" if len(self._pending) > 1 else "1 line is"
            return OutputError(
                f"{self.path}: can't be written: {error.strerror}",
                hint=f"{missing} missing there; --append names another file",
            )
        return None

    def undo(self) -> bool:
        """Remove the newest line. Returns False, leaving it, if something follows it in the file."""
        line = self._lines.pop() if self._lines else None
        if line is None:
            return True
        if line in self._pending:
            self._pending.remove(line)
        if not line.written:
            return True
        try:
            with self.path.open("r+b") as file:
                file.seek(line.start)
                if file.read(len(line.data) + 1) != line.data[: line.written]:
                    return False
                file.truncate(line.start)
        except (OSError, ValueError):  # a FIFO, or a file that is gone
            return False
        return True
