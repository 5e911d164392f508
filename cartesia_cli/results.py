"""The record of result files and the recordings that they were made from, by which a resumed run knows what is done.

An SQLite database in the user's state directory with a row for each file that was written: paths and hashes, but no
speech and no key. Rows are forgotten after MAX_AGE_DAYS. Any number of processes and threads may use it at once.

Must never fail a run: a database that can't be used counts as empty. So it needn't survive a power cut, and SQLite
doesn't wait for the disk, which would take longer than everything else that is done for a short recording.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .fingerprint import FileState, Fingerprint, file_state, fingerprint, untrusted

if TYPE_CHECKING:
    import sqlite3

STDIN = "-"
"""The source of a recording that came by stdin."""

MAX_AGE_DAYS = 400

SCHEMA = """
CREATE TABLE IF NOT EXISTS results_1 (
    file BLOB PRIMARY KEY, folder BLOB, digest TEXT, source BLOB, audio TEXT, state TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_1_folder ON results_1 (folder);
CREATE INDEX IF NOT EXISTS results_1_audio ON results_1 (audio);
"""

LATER_COLUMNS = ("options TEXT", "written REAL")
"""Columns that tables of earlier versions lack. Rows that were written then have NULL there."""

WRITTEN_INDEX = "CREATE INDEX IF NOT EXISTS results_1_written ON results_1 (written)"

COLUMNS = "file, digest, source, audio, state, options"

LOCK_SECONDS = 5.0
"""How long to wait for another process."""


class Result(NamedTuple):
    """A file that was written, and what it was made from.

    file     absolute path, links resolved
    digest   SHA-256 of what was written
    source   absolute path of the recording, links resolved; STDIN for stdin
    audio    SHA-256 of the recording
    state    of the recording when it was read
    request  what its content depends on besides the recording, in words; None if that isn't known
    name     of the recording, relative to the folder that was transcribed, with slashes; None if it isn't known
    """

    file: str
    digest: str
    source: str
    audio: str
    state: FileState
    request: str | None = None
    name: str | None = None

    def is_from(self, path: Path) -> bool:
        """Whether it was made from what a recording holds now. One that wasn't touched since is not read again."""
        with suppress(OSError):
            if file_state(path)[1:] == self.state[1:]:  # the device has another number on each machine
                return True
        found = fingerprint(path)
        return found is not None and found.digest == self.audio

    def is_unchanged(self) -> bool:
        """Whether the file still holds what was written."""
        found = fingerprint(Path(self.file))
        return found is not None and found.digest == self.digest


class Results:
    """The record of one user.

    path        of the database, which is created when it is first needed; None: nothing is read or recorded
    on_failure  called with a sentence, once, when the database can't be used
    """

    def __init__(self, path: Path | None, on_failure: Callable[[str], object] = lambda sentence: None) -> None:
        self._path, self._on_failure = path, on_failure
        self._connection: sqlite3.Connection | None = None
        self._is_pruned = False
        self._lock = threading.RLock()

    def find(self, files: Iterable[Path]) -> dict[str, Result]:
        """The results among these files, at most a few hundred, by their absolute paths."""
        names = [os.fsencode(os.path.realpath(file)) for file in files]
        marks = ", ".join("?" * len(names))
        found = self._select(f"SELECT {COLUMNS} FROM results_1 WHERE file IN ({marks})", names)
        return {result.file: result for result in found}

    def of_same_content(self, recording: Path, folder: Path) -> list[Result]:
        """The results in a folder of recordings with the same content. The recording is read only if there may be
        any.
        """
        name = os.fsencode(os.path.realpath(folder))
        if not self._execute("SELECT 1 FROM results_1 WHERE folder = ? LIMIT 1", [name]):
            return []
        audio = fingerprint(recording)
        query = f"SELECT {COLUMNS} FROM results_1 WHERE audio = ? AND folder = ?"
        return [] if audio is None else self._select(query, [audio.digest, name])

    def add(self, file: Path, digest: str, source: str, audio: Fingerprint, request: str | None = None) -> None:
        """Record a file that was written: its content's digest, and the recording's path (or STDIN), fingerprint and
        request (see Result).
        """
        written, made_from = os.path.realpath(file), source if source == STDIN else os.path.realpath(source)
        # Bytes, because not every name is UTF-8.
        names = [os.fsencode(name) for name in (written, os.path.dirname(written), made_from)]
        self._execute(
            "INSERT OR REPLACE INTO results_1 (file, folder, source, digest, audio, state, options, written) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*names, digest, audio.digest, json.dumps(audio.state), request, time.time()],
        )
        if not self._is_pruned:
            self._is_pruned = True
            self._prune(time.time())

    def _prune(self, now: float) -> None:
        """Forget what is too old. Rows of earlier versions have no time: theirs begins now."""
        self._execute("UPDATE results_1 SET written = ? WHERE written IS NULL", [now])
        self._execute("DELETE FROM results_1 WHERE written < ?", [now - MAX_AGE_DAYS * 86_400])

    def _select(self, query: str, values: Sequence[bytes | str]) -> list[Result]:
        return [
            Result(os.fsdecode(file), digest, os.fsdecode(source), audio, tuple(json.loads(state)), request)
            for file, digest, source, audio, state, request in self._execute(query, values)
        ]

    def _execute(self, query: str, values: Sequence[str | bytes | float | None]) -> list[Any]:
        with self._lock:
            if (connection := self._open()) is None:
                return []
            try:
                with connection:
                    return connection.execute(query, values).fetchall()
            except connection.Error as error:
                self._give_up(str(error))
                return []

    def _open(self) -> "sqlite3.Connection | None":
        if self._connection is not None or self._path is None:
            return self._connection
        doubt = untrusted(self._path.parent) or untrusted(self._path)
        if doubt is not None:
            self._give_up(doubt)
            return None
        import sqlite3  # start-up: a run whose results go to stdout doesn't need it

        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would let others read it
            self._connection = sqlite3.connect(self._path, timeout=LOCK_SECONDS, check_same_thread=False)
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.executescript(SCHEMA)
            for column in LATER_COLUMNS:
                with suppress(sqlite3.OperationalError):  # it is there
                    self._connection.execute(f"ALTER TABLE results_1 ADD COLUMN {column}")
            self._connection.execute(WRITTEN_INDEX)
        except (OSError, sqlite3.Error) as error:
            self._give_up(str(error))
        return self._connection

    def _give_up(self, reason: str) -> None:
        self._on_failure(f"{self._path} is not used: {reason}")
        self._path = self._connection = None
