"""The journal of an output directory: what became of each recording, whoever transcribed it and on which machine.

`--output-dir DIR` keeps it in `DIR/.cartesia-cli`: a file of lines (see `journal_lines`) that runs append to,
`journal.jsonl`, and one of its own for each shard, such as `journal.3-of-8.jsonl`. All of them are read, so a run knows
what runs with other shards have done. Of several lines about a recording, or about a result, the last one counts.

- A line is appended by one write under a lock, and ends with a line feed. What a killed process or a power cut leaves
  of one is ignored, and closed by the next line.
- A recording is claimed before work on it begins, so that no two runs transcribe it at the same time, where the file
  system has locks. The claim is a record lock (see `file_locks`): it ends with its process. After a claim, lines that
  others have appended since are read.
- A file of which more than half is outdated, and that isn't small, is rewritten when a run begins, if no other run uses
  the directory. Of the events of runs, those of the last one are kept.

Must never fail a run: a journal that can't be used is reported; results that aren't in it are found by their files.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..atomic_files import write_atomically
from ..file_locks import RecordLocks
from . import name_hash
from .journal_index import FILE_NAME_PATTERN, JournalIndex, key_of, read_lines
from .journal_lines import RecordingOutcome, RunEvent, decode, encode
from .shards import Shard

FOLDER = ".cartesia-cli"

LOCK_NAME = "lock"
"""A file that stays empty: single bytes beyond its end are locked, each range of them for one purpose. The byte that
stands for a name is a hash of it (`_lock_byte`): two names may share one.
"""

OPENING = 0
"""Locked while a run begins: it may rewrite its file then."""

RUNS = range(1, 1 << 31)
"""Each run locks one of these until it ends."""

APPENDING = range(1 << 31, 1 << 32)
"""One for each journal file, locked while a line is appended."""

CLAIMS = range(1 << 32, 1 << 40)
"""One for each recording, locked while it is in progress."""


class Journal:
    """The journal of one output directory, and one run that uses it. May be used by several threads. What other runs
    have written is read when it is opened; nothing is created before `start`.

    For each recording: `claim`, then `outcome_elsewhere`, in case another run has just done it; the work; `add`, and
    only then `release`.

    directory   where results go; need not exist yet
    shard       of the run; None if it has all recordings
    on_failure  called with a sentence if the journal can't be read or written
    on_detail   called with a sentence if the file system has no locks: then nothing is claimed

    run         random name of the run
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
        self._own_name = file_name(shard)  # of the file that this run appends to
        self._on_failure, self._on_detail = on_failure, on_detail
        self._index = JournalIndex(self._folder)
        self._locks: RecordLocks | None = None
        self._claimed: set[str] = set()
        self._changed: set[int] = set()  # recordings (`key_of`) about which other runs have appended lines
        self._mutex = threading.RLock()
        self._added_early: list[RecordingOutcome] = []  # before `start`
        self._is_started = self._writable = False
        self._read_all()
        self._check_index()

    def start(self, *, command: str | None = None, folder: str | None = None) -> None:
        """Begin a run: append that it has started, and what was added before. What others have appended since the
        journal was opened is reported by `outcome_elsewhere`.

        command   shell command that completes this run
        folder    working directory for it
        """
        with self._mutex:
            try:
                self._create()
                self._register_run()
                self._writable = True
            except OSError as error:
                self._stop_writing(error)
            self._is_started = True
            self._read_all(self._changed)
            self._check_index()
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
        for outcome in self._added_early:
            self._append(outcome)
        self._added_early.clear()

    def record_input_count(self, inputs: int, skipped: int) -> None:
        """Append how many recordings the run has, once all are found, and how many of them were done before."""
        self._append(RunEvent(self.run, "inputs", time.time(), inputs=inputs, skipped=skipped))

    def finish(self, *, stopped: bool = False) -> None:
        """Append that the run has ended, and release its claims."""
        self._append(RunEvent(self.run, "stopped" if stopped else "finished", time.time()))
        self.close()

    def close(self) -> None:
        """Stop reading and writing, and release the locks."""
        with self._mutex:
            self._writable = False
            self._index.close()
            if self._locks is not None:
                self._locks.close()
                self._locks = None

    def add(self, outcome: RecordingOutcome) -> None:
        """Append the outcome of a recording, or keep it until `start`. `time` is filled in, and `run` unless it is that
        of an earlier run, whose outcome counts again.
        """
        complete = replace(outcome, run=outcome.run or self.run, time=time.time())
        if self._is_started:
            self._append(complete)
        else:
            self._added_early.append(complete)

    def outcome(self, recording: str) -> RecordingOutcome | None:
        """The latest outcome of a recording; None if there is none."""
        with self._mutex:
            return self._index.find("recording", recording)

    def find_results(self, files: Iterable[Path]) -> dict[str, RecordingOutcome]:
        """Which of these files are results, by their absolute paths, links resolved: each with the outcome that names
        it.
        """
        found: dict[str, RecordingOutcome] = {}
        for file in files:
            real = os.path.realpath(file)
            name = self.relative(real)
            if name is None:
                continue
            with self._mutex:
                outcome = self._index.find("result", name)
            if outcome is not None:
                found[real] = outcome
        return found

    def results_of(self, digest: str) -> list[tuple[str, RecordingOutcome]]:
        """The results, as they are named in the journal, of recordings whose content had this SHA-256; each with the
        outcome that names it.
        """
        with self._mutex:
            return self._index.results_of(digest)

    def has_size(self, size: int) -> bool:
        """Whether there are results of a recording of `size` bytes: otherwise its content needn't be compared."""
        with self._mutex:
            return self._index.has_size(size)

    def outcomes(self) -> Iterator[RecordingOutcome]:
        """The latest outcome of each recording."""
        return (outcome for outcome, is_last in self.current_outcomes() if is_last)

    def current_outcomes(self) -> Iterator[tuple[RecordingOutcome, bool]]:
        """The outcomes that count, each with whether it is the latest of its recording, or only that of a result."""
        with self._mutex:
            yield from self._index.current_outcomes()

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
                if self._locks is not None and not self._locks.acquire(_lock_byte(CLAIMS, recording)):
                    return False
            except OSError as error:
                self._give_up_locks(error)
            self._claimed.add(recording)
            self._refresh()
            return True

    def release(self, recording: str) -> None:
        """Give up a claim. What became of the recording must have been added before."""
        with self._mutex:
            self._claimed.discard(recording)
            with suppress(OSError):
                if self._locks is not None:
                    self._locks.release(_lock_byte(CLAIMS, recording))

    def outcome_elsewhere(self, recording: str) -> RecordingOutcome | None:
        """The outcome of a recording that another run has added since the journal was opened; None if there is none."""
        with self._mutex:
            if key_of(recording) not in self._changed:
                return None
        found = self.outcome(recording)
        return found if found is not None and found.run != self.run else None

    def count_claimed(self) -> int | None:
        """How many recordings other processes are working on, as far as locks of other machines are seen here; None if
        this system can't tell.
        """
        return self._count_locked(CLAIMS.start, len(CLAIMS))

    def is_running(self, run: str) -> bool | None:
        """Whether the process of a run is alive; None if this system can't tell."""
        count = self._count_locked(_lock_byte(RUNS, run), 1)
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

    def _create(self) -> None:
        """Create the journal's files. The group may write to them if it may write results."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in (self._folder / LOCK_NAME, self._folder / self._own_name):
            if path.exists() and not path.is_file():
                raise OSError(errno.EINVAL, f"{path.name} is not a regular file")
            path.open("ab").close()
        if self.directory.stat().st_mode & stat.S_IWGRP:
            for path in (self._folder, self._folder / LOCK_NAME, self._folder / self._own_name):
                with suppress(OSError):  # another user's: they have done it
                    path.chmod(path.stat().st_mode | stat.S_IWGRP)

    def _register_run(self) -> None:
        """Lock the byte of this run. If no other run has locked one, this run's file may be rewritten first."""
        self._locks = RecordLocks(self._folder / LOCK_NAME)
        try:
            self._locks.wait(OPENING)
            if self._locks.acquire(RUNS.start, len(RUNS)):
                with suppress(OSError):  # such as a full disk: the outdated lines stay
                    self._compact()
                self._locks.release(RUNS.start, len(RUNS))
            self._locks.acquire(_lock_byte(RUNS, self.run))
            self._locks.release(OPENING)
        except OSError as error:
            self._give_up_locks(error)

    def _compact(self) -> None:
        """Rewrite this run's file without outdated lines, if they are more than half of it."""
        self._read_all(self._changed)
        current = (
            self._index.current_offsets(self._own_name) if self._index.is_mostly_outdated(self._own_name) else None
        )
        if current is None:
            return
        kept: list[bytes] = []
        events: dict[str, list[bytes]] = {}
        last_run = ""
        with (self._folder / self._own_name).open("rb") as file:
            for offset, line in read_lines(file, 0):
                if offset in current:
                    kept.append(line)
                elif isinstance(parsed := decode(line), RunEvent):
                    last_run = parsed.run
                    events.setdefault(last_run, []).append(line)
        write_atomically(self._folder / self._own_name, b"".join([*kept, *events.get(last_run, [])]))
        self._read_anew()

    def _read_anew(self, changed: set[int] | None = None) -> None:
        """Read all files from the start, because one was rewritten.

        changed   gets the recordings of which runs have written that weren't known when the files were last read
        """
        known_runs = self._index.runs
        self._index.close()
        self._index = JournalIndex(self._folder)
        for name in self._index.journal_files():
            self._index.read(name, changed, known_runs)

    def _read_all(self, changed: set[int] | None = None) -> None:
        if self._index.has_replaced_file():
            self._read_anew(changed)
        for name in self._index.journal_files():
            self._index.read(name, changed)

    def _refresh(self) -> None:
        """Read what others have appended. The other shards of the same array have other recordings."""
        for name in self._index.journal_files():
            parts = FILE_NAME_PATTERN.fullmatch(name)
            is_sibling = parts is not None and self.shard is not None and parts[2] == str(self.shard.total)
            if name == self._own_name or (not is_sibling and self._index.has_grown(name)):
                self._index.read(name, self._changed)

    def _append(self, line: RecordingOutcome | RunEvent) -> None:
        with self._mutex:
            if not self._writable:
                return
            try:
                data = encode(line)
                self._index.add_written(self._own_name, self._write(data), len(data), line)
            except OSError as error:
                self._stop_writing(error)

    def _write(self, line: bytes) -> int:
        """Append a line to this run's file. Returns its offset. Raises OSError if it can't be written; nothing is left
        then.

        The file is opened and closed each time, because that is when NFS exchanges its content with the server.
        """
        byte = _lock_byte(APPENDING, self._own_name)
        if self._locks is not None:
            self._locks.wait(byte)
        try:
            with (self._folder / self._own_name).open("a+b", buffering=0) as file:
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

    def _give_up_locks(self, error: OSError) -> None:
        """Do without locks from now on. Recordings that are claimed can then be claimed by other runs, too."""
        if self._locks is not None:
            self._locks.close()
            self._locks = None
        self._on_detail(
            f"{self.directory}: locks can't be used ({error.strerror or error}): "
            "another run there may transcribe the same recordings"
        )

    def _check_index(self) -> None:
        """Report that the index has no space."""
        if self._index.is_broken:
            self._on_failure(f"{self._folder}: the journal can't be read: no space for temporary files")

    def _stop_writing(self, error: OSError) -> None:
        self._writable = False
        self._on_failure(f"{self._folder}: the journal can't be written: {error.strerror or error}")


def file_name(shard: Shard | None) -> str:
    """The name of the journal file of a shard, or of runs with all recordings."""
    return "journal.jsonl" if shard is None else f"journal.{shard.number}-of-{shard.total}.jsonl"


def _lock_byte(byte_range: range, name: str) -> int:
    """The byte of a range that stands for a name."""
    return byte_range[name_hash(name) % len(byte_range)]
