"""Finds the current lines of the journal files of a directory: by recording, by result, and by content.

Hashes of names lead to the places of lines, in a table on the disk; the lines themselves are read again when they are
needed. Of several lines about a recording, or about a result, the last one
counts. What isn't a whole line is skipped.

Not thread-safe. Must never raise: what can't be read counts as missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ..errors import OutputError
from . import name_hash
from .disk_table import DiskTable
from .journal_lines import RecordingOutcome, RunEvent, decode

FILE_NAME = re.compile(r"journal(?:\.(\d{1,7})-of-(\d{1,7}))?\.jsonl")

MAX_LINE = 1 << 20
"""Bytes of a line. Longer ones are not read."""

MIN_LINES = 1000
"""Smaller files aren't called outdated."""

LINES_AT_ONCE = 1000

OPEN_FILES = 16
"""Journal files that are kept open to read lines again."""

SCHEMA = """
PRAGMA cache_size = -4000;
PRAGMA journal_mode = OFF;
CREATE TABLE recording (key INTEGER PRIMARY KEY, place INTEGER, time INTEGER, audio INTEGER, bytes INTEGER);
CREATE INDEX recording_audio ON recording (audio);
CREATE INDEX recording_bytes ON recording (bytes);
CREATE TABLE file (key INTEGER PRIMARY KEY, place INTEGER, time INTEGER);
"""

ADD_RECORDING = """
INSERT INTO recording VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET place = excluded.place, time = excluded.time, audio = excluded.audio, bytes = excluded.bytes
WHERE excluded.time >= time
"""

ADD_FILE = """
INSERT INTO file VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET place = excluded.place, time = excluded.time
WHERE excluded.time >= time
"""

SIZE = 2
"""Index of the size in a file's state."""

FILE_BITS = 40
"""A place is a file's number, shifted by this, and the offset of a line in it."""

Kind = Literal["recording", "file"]
"""What is looked up: tables of the index."""


class JournalIndex:
    """Where the current lines are: hashes of names to places."""

    def __init__(self, folder: Path) -> None:
        self.events: list[RunEvent] = []
        self.runs: set[str] = set()
        """Those of which a line was read."""
        self._folder = folder
        self._inodes: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._open: dict[int, BinaryIO] = {}
        self._table: DiskTable | None = None
        with suppress(OutputError):
            self._table = DiskTable(SCHEMA)

    def files(self) -> list[str]:
        """The names of all journal files."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if FILE_NAME.fullmatch(name))
            return [name for name in names if (self._folder / name).is_file()]  # a pipe would never end
        except OSError:
            return []

    def has_grown(self, name: str) -> bool:
        """Whether a file has lines that weren't read yet. On NFS, the answer may be a minute old."""
        try:
            return (self._folder / name).stat().st_size > self._ends.get(name, 0)
        except OSError:
            return False

    def is_replaced(self) -> bool:
        """Whether a file that was read is another one by now: a run has removed outdated lines."""
        with suppress(OSError):
            return any((self._folder / name).stat().st_ino != inode for name, inode in self._inodes.items())
        return False

    def read(self, name: str, changed: set[int] | None = None, known_runs: Collection[str] = ()) -> None:
        """Read the lines of a file that weren't read yet.

        changed   gets the keys of the recordings in them, except those of the `known_runs`
        """
        try:
            with (self._folder / name).open("rb") as file:
                self._inodes.setdefault(name, os.fstat(file.fileno()).st_ino)
                lines = read_lines(file, self._ends.get(name, 0))
                while some := list(islice(lines, LINES_AT_ONCE)):
                    self._counts[name] = self._counts.get(name, 0) + len(some)
                    self._ends[name] = some[-1][0] + len(some[-1][1])
                    parsed = [(offset, found) for offset, line in some if (found := decode(line)) is not None]
                    self._add(name, parsed)
                    if changed is not None:
                        outcomes = (line for _, line in parsed if isinstance(line, RecordingOutcome))
                        changed |= {key_of(line.recording) for line in outcomes if line.run not in known_runs}
        except OSError:  # another user's, or gone
            pass

    def add_written(self, name: str, offset: int, length: int, line: RecordingOutcome | RunEvent) -> None:
        """Add a line that was just appended, so that it needn't be read."""
        self._add(name, [(offset, line)])
        if self._ends.get(name, 0) == offset:
            self._ends[name] = offset + length

    def _add(self, name: str, lines: Iterable[tuple[int, RecordingOutcome | RunEvent]]) -> None:
        """Lines of several files are ordered by time; those of one are in order, even if a clock was set back."""
        number = self._numbers.setdefault(name, len(self._numbers)) << FILE_BITS
        self._query("BEGIN")
        for offset, line in lines:
            self.runs.add(line.run)
            if isinstance(line, RunEvent):
                self.events.append(line)
                continue
            place, clock = number | offset, max(self._times.get(name, 0), int(line.time))
            self._times[name] = clock
            audio = key_of(line.audio) if line.audio is not None and line.files else None
            size = line.stat[SIZE] if line.stat is not None and audio is not None else None
            self._query(ADD_RECORDING, key_of(line.recording), place, clock, audio, size)
            for file in line.files:
                self._query(ADD_FILE, key_of(file), place, clock)
        self._query("COMMIT")

    def find(self, kind: Kind, name: str) -> RecordingOutcome | None:
        """The last line about the recording, or the result, with this name."""
        rows = self._query(f"SELECT place FROM {kind} WHERE key = ?", key_of(name))
        outcome = self._outcome_at(rows[0][0]) if rows else None
        names = () if outcome is None else (outcome.recording,) if kind == "recording" else outcome.files
        return outcome if name in names else None  # another's may have the same hash

    def with_audio(self, digest: str) -> list[RecordingOutcome]:
        """The recordings whose last line has this SHA-256 of their content."""
        rows = self._query("SELECT place FROM recording WHERE audio = ?", key_of(digest))
        found = (self._outcome_at(place) for (place,) in rows)
        return [outcome for outcome in found if outcome is not None and outcome.audio == digest]

    def has_size(self, size: int) -> bool:
        """Whether there is a recording of so many bytes."""
        return bool(self._query("SELECT 1 FROM recording WHERE bytes = ?", size))

    def current_outcomes(self) -> Iterator[tuple[RecordingOutcome, bool]]:
        """The lines that count, each with whether it is the last one of its recording, or only that of a result."""
        query = "SELECT place, 1 AS last FROM recording UNION ALL SELECT place, 0 FROM file"
        for place, last in self._query(f"SELECT place, MAX(last) FROM ({query}) GROUP BY place ORDER BY place"):
            if (outcome := self._outcome_at(place)) is not None:
                yield outcome, bool(last)

    @property
    def is_broken(self) -> bool:
        """Whether nothing is found any more, because there is no space for temporary files."""
        return self._table is None

    def offsets_in_outdated(self, name: str) -> set[int] | None:
        """Where the lines are that count, in a file that has been read and of which most lines don't count any more.
        None for another file, or if that isn't known.
        """
        total, number = self._counts.get(name, 0), self._numbers.get(name, -1)
        counted = self._query("SELECT COUNT(*) FROM recording WHERE place >> 40 = ?", number)
        if total < MIN_LINES or not counted or counted[0][0] * 2 >= total:
            return None
        query = "SELECT place FROM recording WHERE place >> 40 = ? UNION SELECT place FROM file WHERE place >> 40 = ?"
        found = {place & ((1 << FILE_BITS) - 1) for (place,) in self._query(query, number, number)}
        return None if self.is_broken or len(found) * 2 >= total else found

    def close(self) -> None:
        """Forget everything."""
        if self._table is not None:
            self._table.close()
            self._table = None
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _query(self, query: str, *values: int | None) -> list[Any]:
        if self._table is None:
            return []
        try:
            return self._table.query(query, *values)
        except OutputError:
            self.close()
            return []

    def _outcome_at(self, place: int) -> RecordingOutcome | None:
        number, offset = place >> FILE_BITS, place & ((1 << FILE_BITS) - 1)
        try:
            if number not in self._open:
                if len(self._open) >= OPEN_FILES:
                    self._open.pop(next(iter(self._open))).close()
                name = next(name for name, other in self._numbers.items() if other == number)
                self._open[number] = (self._folder / name).open("rb")
            self._open[number].seek(offset)
            line = decode(self._open[number].readline(MAX_LINE))
        except OSError:
            return None
        return line if isinstance(line, RecordingOutcome) else None


def read_lines(file: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file from an offset on, each with its offset. Overlong ones come in pieces."""
    file.seek(start)
    while (line := file.readline(MAX_LINE)).endswith(b"\n") or len(line) == MAX_LINE:
        yield start, line
        start += len(line)


def key_of(name: str) -> int:
    """The hash of a name as a number that SQLite can take: with a sign."""
    return name_hash(name) - (1 << 63)
