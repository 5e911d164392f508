"""The file of `--append`: a line for each segment, at the end of whatever is there, and taken back if it is undone.

A line that can't be written waits for the next one: by then there may be room on the disk again. Must never change a
byte that it didn't write, write a line twice, or end a session.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError, UsageError
from ..output.sanitize import printable


def check_appending(path: Path) -> None:
    """UsageError where a file can't be opened to be continued. Nothing is changed: one that isn't there is made and
    removed, as a file system may refuse what permissions allow.
    """
    real = Path(os.path.realpath(path))
    is_new = not real.exists()
    if not is_new and not real.is_file():  # opening a pipe would wait for its reader
        return
    try:
        real.open("ab").close()
        if is_new:
            real.unlink()
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}", hint="name another place") from error


def _ends_within_line(path: Path) -> bool:
    """Whether a file has a last line without an end. Nobody knows of a pipe, or of one that may not be read."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
    except OSError:
        return False


@dataclass(slots=True, eq=False)
class _Line:
    """A line and how much of it is in the file.

    start     where it begins in the file, in bytes
    written   bytes of it that are there
    """

    data: bytes
    start: int = 0
    written: int = 0


class AppendFile:
    """Lines at the end of a file, which is opened for each: it may be moved away in the meantime.

    warn   called with a sentence, once, when a line can't be written
    """

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda sentence: None) -> None:
        self.path, self._warn = path, warn
        self._warned = False
        self._lines: list[_Line | None] = []
        """One for each text; None where there is nothing to write for it."""
        self._waiting: list[_Line] = []
        """Those that aren't written, in their order."""

    def add(self, text: str) -> None:
        """One more line, at once; none for a blank text."""
        if not (line := printable(text).strip()):
            self._lines.append(None)
            return
        new = _Line(f"{line}\n".encode("utf-8", "replace"))
        self._lines.append(new)
        self._waiting.append(new)
        if (trouble := self.flush()) is not None and not self._warned:
            self._warned = True
            self._warn(f"{trouble.message}; the session goes on")

    def flush(self) -> OutputError | None:
        """Write what waits; the reason where it can't be written."""
        if not self._waiting:
            return None
        try:
            with self.path.open("ab", buffering=0) as file:
                while self._waiting:
                    line = self._waiting[0]
                    if not line.written:
                        if _ends_within_line(self.path):
                            file.write(b"\n")
                        line.start = file.tell() if file.seekable() else 0
                    line.written += file.write(line.data[line.written :]) or 0
                    if line.written == len(line.data):
                        del self._waiting[0]
        except OSError as error:
            missing = f"{len(self._waiting)} lines are" if len(self._waiting) > 1 else "1 line is"
            return OutputError(
                f"{self.path}: can't be written: {error.strerror}",
                hint=f"{missing} missing there; --append names another file",
            )
        return None

    def take_back(self) -> bool:
        """Remove the line of the newest text; False where something follows it in the file: it stays."""
        line = self._lines.pop() if self._lines else None
        if line is None:
            return True
        if line in self._waiting:
            self._waiting.remove(line)
        if not line.written:
            return True
        try:
            with self.path.open("r+b") as file:
                file.seek(line.start)
                if file.read(len(line.data) + 1) != line.data[: line.written]:
                    return False
                file.truncate(line.start)
        except (OSError, ValueError):  # a pipe, or a file that is gone
            return False
        return True
