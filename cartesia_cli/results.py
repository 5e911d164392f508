"""Which recording each result file was made from, so that a resumed run recognises what is finished.

An SQLite database in the user's state folder, a row for each file that was written: paths and hashes, no speech and
no key. Must never fail a run: where the database can't be used, nothing is known.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fingerprint import Fingerprint, State, distrust, file_state, fingerprint

STDIN = "-"
"""The source of what came by stdin."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS results_1 (
    file BLOB PRIMARY KEY, folder BLOB, digest TEXT, source BLOB, audio TEXT, state TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_1_folder ON results_1 (folder);
"""

COLUMNS = "file, digest, source, audio, state, options"

LATER_COLUMNS = ("options TEXT",)
"""Those that tables of earlier versions lack. What was written then has none."""

WAIT_SECONDS = 5.0
MOST_NAMES = 500
"""In one query: SQLite takes 999 parameters at least."""


@dataclass(frozen=True, slots=True)
class Result:
    """A file that was written, and what it was made from.

    file     absolute, links resolved
    digest   SHA-256 of what was written
    source   the recording likewise, or "-" for stdin
    audio    SHA-256 of the recording
    state    of the recording when that was taken
    options  what was asked for, in words; None where that isn't known
    """

    file: str
    digest: str
    source: str
    audio: str
    state: State
    options: str | None = None

    def is_of(self, path: Path) -> bool:
        """Whether it was made from what a recording holds now. A recording that wasn't touched is not read again."""
        with suppress(OSError):
            if file_state(path) == self.state:
                return True
        found = fingerprint(path)
        return found is not None and found.digest == self.audio

    def is_unchanged(self) -> bool:
        """Whether the file still holds what was written."""
        found = fingerprint(Path(self.file))
        return found is not None and found.digest == self.digest


class Results:
    """The results of this user.

    path       of the database, made when it is needed; None: nothing is known and nothing is remembered
    on_doubt   told in a sentence why the database isn't used
    """

    def __init__(self, path: Path | None, on_doubt: Callable[[str], object] = lambda sentence: None) -> None:
        self._path, self._on_doubt = path, on_doubt
        self._connection: sqlite3.Connection | None = None

    def of(self, files: Iterable[Path]) -> dict[str, Result]:
        """What is known of these files, by their absolute paths."""
        names = [os.fsencode(os.path.realpath(file)) for file in files]
        found: list[Result] = []
        for first in range(0, len(names), MOST_NAMES):
            some = names[first : first + MOST_NAMES]
            marks = ", ".join("?" * len(some))
            found += self._select(f"SELECT {COLUMNS} FROM results_1 WHERE file IN ({marks})", some)
        return {result.file: result for result in found}

    def in_folder(self, folder: Path) -> list[Result]:
        """All that were written into a folder."""
        return self._select(
            f"SELECT {COLUMNS} FROM results_1 WHERE folder = ?", [os.fsencode(os.path.realpath(folder))]
        )

    def add(self, file: Path, digest: str, source: str, audio: Fingerprint, options: str | None = None) -> None:
        """Remember a file that was written. `digest`: of what was written. `options`: see Result."""
        written, made_from = os.path.realpath(file), source if source == STDIN else os.path.realpath(source)
        # Bytes, because not every name is UTF-8.
        names = [os.fsencode(name) for name in (written, os.path.dirname(written), made_from)]
        self._execute(
            "INSERT OR REPLACE INTO results_1 (file, folder, source, digest, audio, state, options) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [*names, digest, audio.digest, json.dumps(audio.state), options],
        )

    def _select(self, query: str, values: Sequence[bytes]) -> list[Result]:
        return [
            Result(os.fsdecode(file), digest, os.fsdecode(source), audio, tuple(json.loads(state)), options)
            for file, digest, source, audio, state, options in self._execute(query, values)
        ]

    def _execute(self, query: str, values: Sequence[str | bytes | None]) -> list[Any]:
        if (connection := self._open()) is None:
            return []
        try:
            with connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(str(error))
            return []

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is not None or self._path is None:
            return self._connection
        doubt = distrust(self._path.parent) or distrust(self._path)
        if doubt is not None:
            self._give_up(doubt)
            return None
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would let others read it
            self._connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS)
            self._connection.executescript(SCHEMA)
            for column in LATER_COLUMNS:
                with suppress(sqlite3.OperationalError):  # it is there
                    self._connection.execute(f"ALTER TABLE results_1 ADD COLUMN {column}")
        except (OSError, sqlite3.Error) as error:
            self._give_up(str(error))
        return self._connection

    def _give_up(self, reason: str) -> None:
        self._on_doubt(f"{self._path} is not used: {reason}")
        self._path = self._connection = None
