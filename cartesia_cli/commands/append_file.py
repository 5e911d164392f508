"""The file of `--append`: a line for each segment, at the end of whatever is there, and taken back if it is undone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..output.characters import printable


class _Line(NamedTuple):
    """A line as it was written. `start`: its offset in the file, in bytes."""

    start: int
    data: bytes


class AppendFile:
    """Lines at the end of a file. Must never change a byte that it didn't write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[_Line | None] = []
        """One for each text; None where nothing was written for it."""

    def add(self, text: str) -> None:
        """One more line, at once; none for a blank text. OSError when it can't be written."""
        self._lines.append(None)
        if not (line := printable(text).strip()):
            return
        data = f"{line}\n".encode("utf-8", "replace")
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            self._lines[-1] = _Line(file.tell() - len(data) if file.seekable() else 0, data)

    def take_back(self) -> bool:
        """Remove the line of the newest text; False where it has to stay, as it is no longer the end of the file."""
        line = self._lines.pop() if self._lines else None
        if line is None:
            return True
        try:
            with self.path.open("r+b") as file:
                file.seek(line.start)
                if file.read(len(line.data) + 1) != line.data:
                    return False
                file.truncate(line.start)
        except (OSError, ValueError):  # a pipe, or a file that is gone
            return False
        return True
