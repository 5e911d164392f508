"""Finds the current lines of the journal files of a directory: by recording, by result, and by content.

A table on the disk maps hashes of names to the locations of lines; the lines themselves are read again when they are
needed. Of several lines about a recording, or about a result, the last one counts. What isn't a whole line is skipped.

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

FILE_NAME_PATTERN = re.compile(r"journal(?:\.(\d{1,7})-of-(\d{1,7}))?\.jsonl")

MAX_LINE = 1 << 20
"""Bytes of a line. Longer ones are skipped."""

MIN_LINES_TO_COMPACT = 1000
"""Smaller files never count as mostly outdated."""

LINES_AT_ONCE = 1000

OPEN_FILES = 16
"""Journal files that are kept open to read lines again."""

SCHEMA = """
PRAGMA cache_size = -4000;
PRAGMA journal_mode = OFF;
CREATE TABLE recording (key INTEGER PRIMARY KEY, location INTEGER, time INTEGER);
CREATE TABLE result (key INTEGER PRIMARY KEY, location INTEGER, time INTEGER, audio INTEGER, bytes INTEGER);
CREATE INDEX result_audio ON result (audio);
CREATE INDEX result_bytes ON result (bytes);
"""

ADD_RECORDING = """
INSERT INTO recording VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
SET location = excluded.location, time = excluded.time
WHERE excluded.time >= time
"""

ADD_RESULT = """
INSERT INTO result VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET location = excluded.location, time = excluded.time, audio = excluded.audio, bytes = excluded.bytes
WHERE excluded.time >= time
"""

OFFSET_BITS = 40
"""The location of a line is its offset in a journal file, in as many bits, below the number of that file."""

Kind = Literal["recording", "result"]
"""What is looked up: tables of the index."""


class JournalIndex:
    """Where the current lines are, by hashes of names."""

    def __init__(self, folder: Path) -> None:
        self.events: list[RunEvent] = []
        self.runs: set[str] = set()
        """Runs of which a line was read."""
        self._folder = folder
        self._inodes: dict[str, int] = {}
        self._file_numbers: dict[str, int] = {}
        self._ends: dict[str, int] = {}  # of what was read
        self._last_times: dict[str, int] = {}
        self._line_counts: dict[str, int] = {}
        self._open_files: dict[int, BinaryIO] = {}
        self._table: DiskTable | None = None
        with suppress(OutputError):
            self._table = DiskTable(SCHEMA)

    def journal_files(self) -> list[str]:
        """The names of all journal files."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if FILE_NAME_PATTERN.fullmatch(name))
            return [name for name in names if (self._folder / name).is_file()]  # a pipe would never end
        except OSError:
            return []

    def has_grown(self, name: str) -> bool:
        """Whether a file has lines that weren't read yet. On NFS, the answer may be a minute old."""
        try:
            return (self._folder / name).stat().st_size > self._ends.get(name, 0)
        except OSError:
            return False

    def has_replaced_file(self) -> bool:
        """Whether a file that was read is another one by now: a run has removed outdated lines."""
        for name, inode in self._inodes.items():
            with suppress(OSError):  # it is gone
                if (self._folder / name).stat().st_ino != inode:
                    return True
        return False

    def read(self, name: str, changed: set[int] | None = None, known_runs: Collection[str] = ()) -> None:
        """Read the lines of a file that weren't read yet.

        changed   gets the keys of the recordings in them, except those of the `known_runs`
        """
        try:
            with (self._folder / name).open("rb") as file:
                self._inodes.setdefault(name, os.fstat(file.fileno()).st_ino)
                lines = read_lines(file, self._ends.get(name, 0))
                while chunk := list(islice(lines, LINES_AT_ONCE)):
                    self._line_counts[name] = self._line_counts.get(name, 0) + len(chunk)
                    self._ends[name] = chunk[-1][0] + len(chunk[-1][1])
                    parsed = [(offset, found) for offset, line in chunk if (found := decode(line)) is not None]
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
        """Add lines to the table, each with its offset. Of several about the same name, the one with the latest time
        counts; in one file, each counts as no earlier than those before it, even if a clock was set back.
        """
        number = self._file_numbers.setdefault(name, len(self._file_numbers))
        self._query("BEGIN")
        for offset, line in lines:
            self.runs.add(line.run)
            if isinstance(line, RunEvent):
                self.events.append(line)
                continue
            location, time = number << OFFSET_BITS | offset, max(self._last_times.get(name, 0), int(line.time))
            self._last_times[name] = time
            self._query(ADD_RECORDING, key_of(line.recording), location, time)
            audio = None if line.audio is None else key_of(line.audio)
            size = None
            if line.stat is not None:
                _device, _inode, size, *_times = line.stat
            for result in line.files:
                self._query(ADD_RESULT, key_of(result), location, time, audio, size)
        self._query("COMMIT")

    def find(self, kind: Kind, name: str) -> RecordingOutcome | None:
        """The last line about the recording, or the result, with this name."""
        rows = self._query(f"SELECT location FROM {kind} WHERE key = ?", key_of(name))
        outcome = self._outcome_at(rows[0][0]) if rows else None
        names = () if outcome is None else (outcome.recording,) if kind == "recording" else outcome.files
        return outcome if name in names else None  # another's may have the same hash

    def results_of(self, digest: str) -> list[tuple[str, RecordingOutcome]]:
        """The results of recordings whose content has this SHA-256, each with the last line about it."""
        rows = self._query("SELECT key, location FROM result WHERE audio = ?", key_of(digest))
        found = [(key, self._outcome_at(location)) for key, location in rows]
        return [
            (name, outcome)
            for key, outcome in found
            if outcome is not None and outcome.audio == digest
            for name in outcome.files
            if key_of(name) == key
        ]

    def has_size(self, size: int) -> bool:
        """Whether there is a result of a recording of `size` bytes."""
        return bool(self._query("SELECT 1 FROM result WHERE bytes = ? LIMIT 1", size))

    def current_outcomes(self) -> Iterator[tuple[RecordingOutcome, bool]]:
        """The lines that count, each with whether it is the last one of its recording, or only that of a result."""
        query = "SELECT location, 1 AS last FROM recording UNION ALL SELECT location, 0 FROM result"
        query = f"SELECT location, MAX(last) FROM ({query}) GROUP BY location ORDER BY location"
        for location, last in self._query(query):
            if (outcome := self._outcome_at(location)) is not None:
                yield outcome, bool(last)

    @property
    def is_broken(self) -> bool:
        """Whether nothing is found any more, because there is no space for temporary files."""
        return self._table is None

    def is_mostly_outdated(self, name: str) -> bool:
        """Whether most lines of a file that has been read don't count any more. False if that can't be found out."""
        total = self._line_counts.get(name, 0)
        if total < MIN_LINES_TO_COMPACT:
            return False
        # First without the lines that only count for a result: that is quick.
        query = f"SELECT COUNT(*) FROM recording WHERE location >> {OFFSET_BITS} = ?"
        ((of_recordings,),) = self._query(query, self._file_numbers.get(name, -1)) or [(total,)]
        current = self.current_offsets(name) if of_recordings * 2 < total else None
        return current is not None and len(current) * 2 < total

    def current_offsets(self, name: str) -> set[int] | None:
        """Where the lines are that count, in a file that has been read. None if that can't be found out."""
        in_file = f"WHERE location >> {OFFSET_BITS} = ?"
        query = f"SELECT location FROM recording {in_file} UNION SELECT location FROM result {in_file}"
        number = self._file_numbers.get(name, -1)
        offsets = {_offset(location) for (location,) in self._query(query, number, number)}
        return None if self.is_broken else offsets

    def close(self) -> None:
        """Close the table and the open files; nothing is found any more."""
        if self._table is not None:
            self._table.close()
            self._table = None
        for file in self._open_files.values():
            file.close()
        self._open_files.clear()

    def _query(self, query: str, *values: int | None) -> list[Any]:
        if self._table is None:
            return []
        try:
            return self._table.query(query, *values)
        except OutputError:
            self.close()
            return []

    def _outcome_at(self, location: int) -> RecordingOutcome | None:
        number = location >> OFFSET_BITS
        try:
            if number not in self._open_files:
                if len(self._open_files) >= OPEN_FILES:
                    self._open_files.pop(next(iter(self._open_files))).close()
                name = next(name for name, other in self._file_numbers.items() if other == number)
                self._open_files[number] = (self._folder / name).open("rb")
            file = self._open_files[number]
            file.seek(_offset(location))
            line = decode(file.readline(MAX_LINE))
        except OSError:
            return None
        return line if isinstance(line, RecordingOutcome) else None


def read_lines(file: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file from an offset on, each with its offset. Overlong ones come in pieces."""
    file.seek(start)
    while (line := file.readline(MAX_LINE)).endswith(b"\n") or len(line) == MAX_LINE:
        yield start, line
        start += len(line)


def _offset(location: int) -> int:
    return location & ((1 << OFFSET_BITS) - 1)


def key_of(name: str) -> int:
    """The hash of a name as a number that SQLite can take: with a sign."""
    return name_hash(name) - (1 << 63)
