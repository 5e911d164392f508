"""The journal of an output directory: what became of each recording, whoever transcribed it and on which machine.

`--output-dir DIR` keeps it in `DIR/.cartesia-cli`: a file of lines (see `journal_lines`) that runs append to,
`journal.jsonl`, and one of its own for each shard, such as `journal.3-of-8.jsonl`. All of them are read, so a run knows
what runs with other shards have done. Of several lines about a recording, or about a result, the last one counts.

- A line is appended by one write under a lock, and ends with a line feed. What a killed process or a power cut leaves
  of one is ignored, and closed by the next line.
- Only hashes and offsets are kept of the lines, in a temporary file: they are read again when they are needed.
- A recording is claimed before work on it begins, so that two runs never do the same one. The claim is a record lock
  (see `record_locks`): it ends with its process. After a claim, lines that others have appended since are read.
- A file of which more than half is outdated is rewritten when a run begins, if no other run uses the directory.

Must never fail a run: a journal that can't be written is reported, once; results that aren't in it are found by their
files.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from ..atomic_files import write_atomically
from .journal_lines import Entry, RunEvent, decode, encode
from .record_locks import RecordLocks
from .shards import Shard

if TYPE_CHECKING:
    import sqlite3

FOLDER = ".cartesia-cli"

FILE_NAME = re.compile(r"journal(?:\.(\d{1,7})-of-(\d{1,7}))?\.jsonl")

LOCK_NAME = "lock"

MAX_LINE = 1 << 20
"""Bytes of a line. Longer ones are not read."""

MIN_COMPACTED_LINES = 1000

LINES_AT_ONCE = 1000

OPEN_FILES = 16
"""Journal files that are kept open to read lines again."""

OPENING = 0
"""The byte that is locked while a run begins, which may rewrite its file."""

RUNS = range(1, 1 << 31)
"""Bytes of running runs: each locks one until it ends."""

APPENDING = range(1 << 31, 1 << 32)
"""Bytes of journal files: a file's byte is locked while a line is appended."""

CLAIMS = range(1 << 32, 1 << 40)
"""Bytes of recordings that are in work."""

SCHEMA = """
PRAGMA cache_size = -4000;
PRAGMA journal_mode = OFF;
CREATE TABLE recording (key INTEGER PRIMARY KEY, place INTEGER, time INTEGER);
CREATE TABLE file (key INTEGER PRIMARY KEY, place INTEGER, time INTEGER);
CREATE TABLE audio (key INTEGER, place INTEGER, PRIMARY KEY (key, place)) WITHOUT ROWID;
CREATE TABLE size (bytes INTEGER PRIMARY KEY);
"""

INSERT = """
INSERT INTO {} VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET place = excluded.place, time = excluded.time
WHERE excluded.time >= time
"""

SIZE = 2
"""Index of the size in a file's state."""

FILE_BITS = 40
"""A place is a file's number, shifted by this, and the offset of a line in it."""

Kind = Literal["recording", "file"]
"""What is looked up: tables of the index."""


class Journal:
    """The journal of one output directory, and one run that uses it. May be used by several threads.

    directory   where results go; need not exist yet
    shard       of the run; None if it has all recordings
    on_failure  called with a sentence, once, if the journal can't be written
    on_detail   called with a sentence if the file system has no locks: then nothing is claimed
    """

    def __init__(
        self,
        directory: Path,
        shard: Shard | None = None,
        *,
        on_failure: Callable[[str], object] = lambda sentence: None,
        on_detail: Callable[[str], object] = lambda sentence: None,
    ) -> None:
        self.directory = Path(os.path.realpath(directory))
        self.shard = shard
        self.run = os.urandom(4).hex()
        self._folder = self.directory / FOLDER
        self._own = file_name(shard)
        self._on_failure, self._on_detail = on_failure, on_detail
        self._index = _Index(self._folder)
        self._locks: RecordLocks | None = None
        self._claimed: set[str] = set()
        self._changed: set[int] = set()
        self._mutex = threading.RLock()
        self._early: list[Entry] = []
        self._is_read = self._is_started = self._writable = False

    def read(self) -> None:
        """Read what earlier runs have written, without a run of one's own. Nothing is created."""
        with self._mutex:
            for name in self._index.files():
                self._index.read(name)
            self._is_read = True

    def start(self, *, command: str | None = None, folder: str | None = None) -> None:
        """Begin a run: append that it has started, and what was added before. What others have appended since `read`
        counts as news of them.

        command   that does what is left of it
        folder    in which that command is to be entered
        """
        with self._mutex:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._enter()
                self._writable = True
            except OSError as error:
                self._give_up(error)
            self._is_started = True
            for name in self._index.files():
                self._index.read(name, self._changed if self._is_read else None)
            self._is_read = True
        self._append(
            RunEvent(
                self.run,
                "started",
                time.time(),
                host=socket.gethostname(),
                pid=os.getpid(),
                shard=str(self.shard) if self.shard else None,
                command=command,
                folder=folder,
            )
        )
        for entry in self._early:
            self._append(entry)
        self._early.clear()

    def count_inputs(self, inputs: int, skipped: int) -> None:
        """Append how many recordings the run has, once all are found, and how many of them were done before."""
        self._append(RunEvent(self.run, "inputs", time.time(), inputs=inputs, skipped=skipped))

    def finish(self, *, stopped: bool = False) -> None:
        """Append that the run has ended, and release its claims."""
        self._append(RunEvent(self.run, "stopped" if stopped else "finished", time.time()))
        self.close()

    def close(self) -> None:
        with self._mutex:
            self._writable = False
            self._index.close()
            if self._locks is not None:
                self._locks.close()
                self._locks = None

    def add(self, entry: Entry) -> None:
        """Append how a recording ended; before `start`, that is kept until then. `run` and `time` are filled in."""
        complete = replace(entry, run=self.run, time=time.time())
        if self._is_started:
            self._append(complete)
        else:
            self._early.append(complete)

    def entry(self, recording: str) -> Entry | None:
        """How a recording ended last. None if it never did."""
        with self._mutex:
            found = self._index.find("recording", recording)
        return found if found is not None and found.recording == recording else None

    def find(self, files: Iterable[Path]) -> dict[str, Entry]:
        """Which of these files are results, by their absolute paths, links resolved: each with its recording."""
        found: dict[str, Entry] = {}
        for file in files:
            real = os.path.realpath(file)
            name = self.relative(real)
            if name is None:
                continue
            with self._mutex:
                entry = self._index.find("file", name)
            if entry is not None and name in entry.files:
                found[real] = entry
        return found

    def with_audio(self, digest: str) -> list[Entry]:
        """Recordings that had this content when they were last transcribed: their SHA-256."""
        with self._mutex:
            entries = self._index.with_audio(digest)
        return [entry for entry in entries if entry.audio == digest]

    def has_size(self, size: int) -> bool:
        """Whether a recording of so many bytes was transcribed: otherwise its content needn't be compared."""
        with self._mutex:
            return self._index.has_size(size)

    def entries(self) -> Iterator[Entry]:
        """How each recording ended last."""
        with self._mutex:
            yield from self._index.entries()

    def events(self) -> list[RunEvent]:
        """What happened to runs, in the order of time."""
        with self._mutex:
            return sorted(self._index.events, key=lambda event: event.time)

    def relative(self, file: str) -> str | None:
        """The name of a file in this directory, with slashes; None if it is elsewhere."""
        path = Path(file)
        return path.relative_to(self.directory).as_posix() if path.is_relative_to(self.directory) else None

    def claim(self, recording: str) -> bool:
        """Reserve a recording for this run until `release`. False if another run, or another thread, has it now."""
        with self._mutex:
            if recording in self._claimed:
                return False
            try:
                if self._locks is not None and not self._locks.acquire(_byte(CLAIMS, recording)):
                    return False
            except OSError as error:
                self._no_locks(error)
            self._claimed.add(recording)
            self._refresh()
            return True

    def release(self, recording: str) -> None:
        """Give up a claim. What became of the recording must have been added before."""
        with self._mutex:
            self._claimed.discard(recording)
            with suppress(OSError):
                if self._locks is not None:
                    self._locks.release(_byte(CLAIMS, recording))

    def ended_elsewhere(self, recording: str) -> Entry | None:
        """How a recording ended in another run since this one has started. None if it didn't."""
        with self._mutex:
            if _key(recording) not in self._changed:
                return None
        found = self.entry(recording)
        return found if found is not None and found.run != self.run else None

    def count_claimed(self) -> int | None:
        """How many recordings other processes are working on, as far as locks of other machines are seen here; None if
        this system can't tell.
        """
        return self._count_locked(CLAIMS.start, len(CLAIMS))

    def is_running(self, run: str) -> bool | None:
        """Whether the process of a run is alive; None if this system can't tell."""
        count = self._count_locked(_byte(RUNS, run), 1)
        return None if count is None else count > 0

    def _count_locked(self, first: int, length: int) -> int | None:
        try:
            locks = self._locks or RecordLocks(self._folder / LOCK_NAME, create=False)
        except FileNotFoundError:
            return 0
        except OSError:
            return None
        try:
            return locks.count_held(first, length)
        except OSError:
            return None
        finally:
            if locks is not self._locks:
                locks.close()

    def _enter(self) -> None:
        """Lock the byte of this run. While no other run does, the own file may be rewritten."""
        self._locks = RecordLocks(self._folder / LOCK_NAME)
        try:
            self._locks.wait(OPENING)
            if self._locks.acquire(RUNS.start, len(RUNS)):
                self._compact()
                self._locks.release(RUNS.start, len(RUNS))
            self._locks.acquire(_byte(RUNS, self.run))
            self._locks.release(OPENING)
        except OSError as error:
            self._no_locks(error)

    def _compact(self) -> None:
        """Rewrite the own file without outdated lines, if they are more than half of it."""
        lines = self._index.read(self._own)
        if lines < MIN_COMPACTED_LINES or self._index.count_recordings() * 2 > lines:
            return
        current = self._index.places()
        if len(current) * 2 > lines:
            return
        last = self._index.events[-1].run if self._index.events else None
        kept: list[bytes] = []
        with (self._folder / self._own).open("rb") as file:
            for offset, line in _lines(file, 0):
                parsed = decode(line) if offset not in current else None
                if offset in current or (isinstance(parsed, RunEvent) and parsed.run == last):
                    kept.append(line)
        write_atomically(self._folder / self._own, b"".join(kept))
        self._index.close()
        self._index, self._is_read = _Index(self._folder), False

    def _refresh(self) -> None:
        """Read what others have appended. The other shards of the same array have other recordings."""
        for name in self._index.files():
            parts = FILE_NAME.fullmatch(name)
            is_sibling = parts is not None and self.shard is not None and parts[2] == str(self.shard.total)
            if name == self._own or (not is_sibling and self._index.has_grown(name)):
                self._index.read(name, self._changed)

    def _append(self, line: Entry | RunEvent) -> None:
        with self._mutex:
            if not self._writable:
                return
            try:
                data = encode(line)
                self._index.add_written(self._own, self._write(data), len(data), line)
            except OSError as error:
                self._give_up(error)

    def _write(self, line: bytes) -> int:
        """Append a line to the own file. Returns its offset. OSError if it can't be written; nothing is left then.

        The file is opened and closed each time, because that is when NFS exchanges its content with the server.
        """
        byte = _byte(APPENDING, self._own)
        if self._locks is not None:
            self._locks.wait(byte)
        try:
            with (self._folder / self._own).open("a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                torn = end > 0 and file.read(1) != b"\n"
                data = b"\n" + line if torn else line
                try:
                    if (written := file.write(data)) != len(data):
                        raise OSError(f"{written} of {len(data)} bytes written")
                except OSError:
                    with suppress(OSError):
                        file.truncate(end)
                    raise
            return end + torn
        finally:
            if self._locks is not None:
                self._locks.release(byte)

    def _no_locks(self, error: OSError) -> None:
        if self._locks is not None:
            self._locks.close()
            self._locks = None
        self._on_detail(
            f"{self.directory}: locks can't be used ({error.strerror}): "
            "another run there may transcribe the same recordings"
        )

    def _give_up(self, error: OSError) -> None:
        self._writable = False
        self._on_failure(f"{self._folder}: the journal can't be written: {error.strerror or error}")


class _Index:
    """Where the current lines are: hashes of names to places, in a temporary database, of which SQLite keeps 4 MB in
    memory.
    """

    def __init__(self, folder: Path) -> None:
        import sqlite3  # start-up: only runs with --output-dir need it

        self.events: list[RunEvent] = []
        self._folder = folder
        self._numbers: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._open: dict[int, BinaryIO] = {}
        self._table: sqlite3.Connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table.executescript(SCHEMA)

    def files(self) -> list[str]:
        """The names of all journal files."""
        try:
            return sorted(name for name in os.listdir(self._folder) if FILE_NAME.fullmatch(name))
        except OSError:
            return []

    def has_grown(self, name: str) -> bool:
        """Whether a file has lines that weren't read yet. On NFS, this may be told up to a minute late."""
        try:
            return (self._folder / name).stat().st_size > self._ends.get(name, 0)
        except OSError:
            return False

    def read(self, name: str, changed: set[int] | None = None) -> int:
        """Read the lines of a file that weren't read yet. Returns their number.

        changed   gets the keys of the recordings in them
        """
        count = 0
        try:
            with (self._folder / name).open("rb") as file:
                lines = _lines(file, self._ends.get(name, 0))
                while some := list(islice(lines, LINES_AT_ONCE)):
                    count += len(some)
                    self._ends[name] = some[-1][0] + len(some[-1][1])
                    parsed = [(offset, found) for offset, line in some if (found := decode(line)) is not None]
                    self._add(name, parsed)
                    if changed is not None:
                        changed |= {_key(line.recording) for _, line in parsed if isinstance(line, Entry)}
        except OSError:  # another user's, or gone
            pass
        return count

    def add_written(self, name: str, offset: int, length: int, line: Entry | RunEvent) -> None:
        """Add a line that was just appended, so that it needn't be read."""
        self._add(name, [(offset, line)])
        if self._ends.get(name, 0) == offset:
            self._ends[name] = offset + length

    def _add(self, name: str, lines: Iterable[tuple[int, Entry | RunEvent]]) -> None:
        """Lines of several files are ordered by time; those of one are in order, even if a clock was set back."""
        number = self._numbers.setdefault(name, len(self._numbers)) << FILE_BITS
        clock = self._times.get(name, 0)
        recordings: list[tuple[int, int, int]] = []
        files: list[tuple[int, int, int]] = []
        audio: list[tuple[int, int]] = []
        sizes: list[tuple[int]] = []
        for offset, line in lines:
            if isinstance(line, RunEvent):
                self.events.append(line)
                continue
            place = number | offset
            clock = max(clock, int(line.time))
            recordings.append((_key(line.recording), place, clock))
            files += ((_key(file), place, clock) for file in line.files)
            if line.audio is not None and line.files:
                audio.append((_key(line.audio), place))
                if line.stat is not None:
                    sizes.append((line.stat[SIZE],))
        self._times[name] = clock
        self._table.execute("BEGIN")
        self._table.executemany(INSERT.format("recording"), recordings)
        self._table.executemany(INSERT.format("file"), files)
        self._table.executemany("INSERT OR IGNORE INTO audio VALUES (?, ?)", audio)
        self._table.executemany("INSERT OR IGNORE INTO size VALUES (?)", sizes)
        self._table.execute("COMMIT")

    def find(self, kind: Kind, name: str) -> Entry | None:
        """The last line that has this key. It may be another's with the same hash."""
        row = self._table.execute(f"SELECT place FROM {kind} WHERE key = ?", (_key(name),)).fetchone()
        return None if row is None else self._entry_at(row[0])

    def with_audio(self, digest: str) -> list[Entry]:
        rows = self._table.execute("SELECT place FROM audio WHERE key = ?", (_key(digest),)).fetchall()
        found = ((place, self._entry_at(place)) for (place,) in rows)
        return [entry for place, entry in found if entry is not None and self._is_latest(place, entry)]

    def has_size(self, size: int) -> bool:
        return self._table.execute("SELECT 1 FROM size WHERE bytes = ?", (size,)).fetchone() is not None

    def entries(self) -> Iterator[Entry]:
        for (place,) in self._table.execute("SELECT place FROM recording ORDER BY place"):
            if (entry := self._entry_at(place)) is not None:
                yield entry

    def count_recordings(self) -> int:
        row: tuple[int] = self._table.execute("SELECT COUNT(*) FROM recording").fetchone()
        return row[0]

    def places(self) -> set[int]:
        """The places of all lines that count."""
        return {place for (place,) in self._table.execute("SELECT place FROM recording UNION SELECT place FROM file")}

    def close(self) -> None:
        self._table.close()
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _is_latest(self, place: int, entry: Entry) -> bool:
        key = _key(entry.recording)
        row: tuple[int] | None = self._table.execute("SELECT place FROM recording WHERE key = ?", (key,)).fetchone()
        return row == (place,)

    def _entry_at(self, place: int) -> Entry | None:
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
        return line if isinstance(line, Entry) else None


def file_name(shard: Shard | None) -> str:
    """The name of the journal file of a shard, or of runs with all recordings."""
    return "journal.jsonl" if shard is None else f"journal.{shard.number}-of-{shard.total}.jsonl"


def _lines(file: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file from an offset on, each with its offset. Overlong ones come in pieces."""
    file.seek(start)
    while (line := file.readline(MAX_LINE)).endswith(b"\n") or len(line) == MAX_LINE:
        yield start, line
        start += len(line)


def _key(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _byte(bytes_: range, name: str) -> int:
    """The byte of a range that stands for a name."""
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return bytes_[int.from_bytes(digest, "big") % len(bytes_)]
