"""Writes a NeMo manifest with the transcript of each recording, for runs with any number of recordings.

Recordings are finished in any order, and the manifest lists them in the order of the inputs. Until all are done, lines
are appended to a partial file in the order in which they come, so that a run that is killed loses none of them: the
next one with `--resume` finds them there. The manifest itself is written at the end, whole or not at all. Lines of
earlier runs about other recordings come first.

The partial file is locked from the time when it is opened, so that no two runs write the same manifest. The lock is one
of the opened file (`flock`), not of the process: a search of the folder for recordings opens and closes the file, too,
which would release a record lock.

Must never keep the text of more than one recording in memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from ..atomic_files import output_errors, replacing
from ..errors import OutputError, UsageError
from ..file_locks import HELD_ELSEWHERE, lock_file
from .disk_table import DiskTable
from .manifests import NEMO_PATH

TEXT = "pred_text"
"""NeMo's name for what a model recognized; `text` is what was really said."""

SCHEMA = """
CREATE TABLE line (recording TEXT PRIMARY KEY, number INTEGER, is_partial INTEGER, offset INTEGER, size INTEGER)
"""
"""Where the line about each recording is: in the partial file or in the manifest. `number` is that of the recording
in this run, or NULL.
"""

ABSENT = -1


def partial_path(path: Path) -> Path:
    """Where the lines of a manifest are until it is complete."""
    return path.with_name(path.name + ".part")


def describe_result(audio: str, duration: float | None, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the manifest: the fields that the recording came with, unchanged and in their order, and its text.

    audio      its path or URL
    duration   as it was measured, in seconds; used if the fields have none
    fields     of the manifest that it was listed in
    """
    given = fields.get("duration")
    known = given if isinstance(given, (int, float)) and not isinstance(given, bool) else duration
    facts = {NEMO_PATH: audio} | ({} if known is None else {"duration": known})
    listed = fields if NEMO_PATH in fields else facts | dict(fields)
    return {**listed, **facts, TEXT: text}


def audio_path(location: str, given: str | None, manifest: Path) -> str:
    """The path of a recording in a manifest: as it was given if that means the same there; otherwise relative to the
    manifest's folder if the recording is below it, and absolute if not.

    location   the path from the working directory
    given      its path in the manifest that it was listed in, or None
    """
    if given is not None and os.path.isabs(given):
        return given
    folder, path = os.path.abspath(manifest.parent), os.path.abspath(location)
    if given is not None and os.path.abspath(os.path.join(folder, given)) == path:
        return given
    return os.path.relpath(path, folder) if Path(path).is_relative_to(folder) else path


class OutputManifest:
    """The manifest of a run. Any thread may use it.

    path     of the manifest
    resume   whether lines of earlier runs are kept: those of the manifest, and those in a partial file of a run that
             was killed. Otherwise both files are replaced: the partial one by the first line, the manifest at the end
    force    whether files of earlier runs may be replaced
    dry_run  whether only lines of earlier runs are looked up: nothing is written or locked

    Raises UsageError if another run is writing it, or if files of earlier runs must not be replaced, or if the partial
    file isn't one; OutputError if a file can't be read or written, or if another program writes, replaces or removes
    the partial file.
    """

    def __init__(self, path: Path, *, resume: bool, force: bool = False, dry_run: bool = False) -> None:
        self._path, self._partial = path, partial_path(path)
        self._lock = Lock()
        self._lines = DiskTable(SCHEMA)
        self._replaces_partial = not resume
        """Whether the lines in the partial file are of no use: they stay until there is one of this run."""
        self._dry_run = dry_run
        with output_errors(path):
            if dry_run:
                self._file: BinaryIO = (self._partial if self._partial.exists() else Path(os.devnull)).open("rb")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _open_locked(self._partial, path)
            self._former = self._file
            self._replaces_manifest = force or (resume and path.exists())
            try:
                if resume and path.exists():
                    self._former = path.open("rb")
                    hint = "name another manifest, or replace it by --force instead of --resume"
                    self._index_lines(self._former, path, hint, is_partial=False)
                hint = "rename it, or name another manifest"  # only this program's own lines may be lost
                self._index_lines(self._file, self._partial, hint, is_partial=True)
                self._size = self._file.seek(0, os.SEEK_END)
                if self._size and not (resume or force):
                    hint = "--resume continues it, --force starts anew"
                    raise UsageError(f"{self._partial} is left of a run that was stopped", hint=hint)
                if not resume:
                    self._lines.query("DELETE FROM line")
            except BaseException:
                self._close()
                raise

    def __enter__(self) -> OutputManifest:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the files. Unless the manifest was finished, the partial file stays, if it has any lines."""
        with self._lock, output_errors(self._partial):
            self._close()

    @property
    def has_lines(self) -> bool:
        """Whether the partial file has lines that this run, or one that it continues, has written."""
        return not (self._replaces_partial or self._file.closed) and _size_at(self._file, self._partial) > 0

    def earlier(self, audio: str, duration: float | None, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The line of a recording in an earlier run (see `describe_result`), or None."""
        recording = _identity(describe_result(audio, duration, "", fields))
        with self._lock, output_errors(self._path):
            query = "SELECT is_partial, offset, size FROM line WHERE recording = ? AND number IS NULL"
            found = self._lines.query(query, recording)
            return _parse(self._read_line(*found[0])) if found else None

    def forget_earlier(self, audio: str, duration: float | None, fields: Mapping[str, Any]) -> None:
        """Leave the line of a recording in an earlier run out, unless this run adds one."""
        recording = _identity(describe_result(audio, duration, "", fields))
        with self._lock:
            self._lines.query("DELETE FROM line WHERE recording = ? AND number IS NULL", recording)

    def add(self, number: int, line: str) -> None:
        """Write the line of the recording with this number, in the order of the inputs, as soon as it is done."""
        with self._lock, output_errors(self._partial):
            self._check_unchanged()
            if self._replaces_partial:
                self._file.truncate(0)
                self._replaces_partial, self._size = False, 0
            # The line break before it ends a line of which a killed run has written only a part.
            start = b"\n" if self._size else b""
            data = line.rstrip("\n").encode("utf-8", "replace")
            try:
                self._file.write(start + data)
                self._file.flush()
            finally:  # a full disk may have taken a part of it
                self._size = os.fstat(self._file.fileno()).st_size
            row = _identity(json.loads(line)), number, self._size - len(data), len(data)
            self._lines.query("REPLACE INTO line VALUES (?, ?, TRUE, ?, ?)", *row)

    def finish(self) -> int:
        """Put the manifest into place, with all lines, and delete the partial file. Returns the number of lines. Raises
        OutputError if another program has created the manifest meanwhile: then the partial file stays.
        """
        count = 0
        with self._lock, output_errors(self._path):
            self._check_unchanged()
            locations = self._lines.iterate("SELECT is_partial, offset, size FROM line ORDER BY number, rowid")
            try:
                with replacing(self._path, replaces=self._replaces_manifest) as file:
                    for location in locations:
                        file.write(self._read_line(*location).rstrip(b"\n") + b"\n")
                        count += 1
            except FileExistsError as error:
                hint = "rename it, and run the command again with --resume: what is done is not sent again"
                raise OutputError(f"{self._path} exists by now", hint=hint) from error
            self._close(is_finished=True)
        return count

    def _index_lines(self, file: BinaryIO, path: Path, hint: str, *, is_partial: bool) -> None:
        """Index the lines of earlier runs: of several about a recording, the last one counts. Raises UsageError for a
        file with other lines, except what a killed run has left of one in the partial file.
        """
        file.seek(0)
        offset = 0
        for line in file:
            if (document := _parse(line)) is not None:
                row = _identity(document), is_partial, offset, len(line)
                self._lines.query("REPLACE INTO line VALUES (?, NULL, ?, ?, ?)", *row)
            elif line.strip() and not (is_partial and _is_torn(line)):
                raise UsageError(f"{path} has lines that are not results, and must not be overwritten", hint=hint)
            offset += len(line)

    def _read_line(self, is_partial: int, offset: int, size: int) -> bytes:
        file = self._file if is_partial else self._former
        file.seek(offset)
        return file.read(size)

    def _check_unchanged(self) -> None:
        """Raises OutputError if another program has written, replaced or removed the partial file, which locks don't
        prevent everywhere: its lines may not be where they were written.
        """
        if _size_at(self._file, self._partial) != self._size:
            error = OutputError(
                f"{self._partial} was changed or removed by another program while this run was writing it",
                hint="run the command again with a manifest of another name",
            )
            error.stops_batch = True  # no other line could be written, either
            raise error

    def _close(self, *, is_finished: bool = False) -> None:
        """Close the files. The partial one is removed when it isn't needed any more, unless another program has
        replaced it.
        """
        size = ABSENT if self._dry_run or self._file.closed else _size_at(self._file, self._partial)
        if size == 0 or (is_finished and size != ABSENT):
            if sys.platform == "win32":
                self._file.close()  # no open file can be removed there
            self._partial.unlink()
        self._file.close()  # only now: it releases the lock, and then another run may have the partial file
        self._former.close()


def _open_locked(partial: Path, path: Path) -> BinaryIO:
    """Open the partial file of a manifest, which is created if it is missing, and lock it until it is closed."""
    while True:
        file = partial.open("a+b")
        try:
            try:
                lock_file(file)
            except OSError as error:  # of another kind where the file system has no locks
                if error.errno in HELD_ELSEWHERE:
                    hint = "wait until it has ended, or name another manifest"
                    raise UsageError(f"another run is writing {path}", hint=hint) from error
            if _size_at(file, partial) != ABSENT:
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the other run has ended, and removed it, after it was opened here


def _size_at(file: BinaryIO, path: Path) -> int:
    """The size of an opened file; ABSENT if it isn't at this path any more."""
    try:
        status = os.fstat(file.fileno())
        return status.st_size if os.path.samestat(status, path.stat()) else ABSENT
    except FileNotFoundError:
        return ABSENT


def _parse(line: bytes) -> Mapping[str, Any] | None:
    """A line of an earlier manifest. None if it can't be used, because its run was killed while it wrote it."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get(TEXT), str) else None


def _is_torn(line: bytes) -> bool:
    """Whether a line may be the start of a JSON object, perhaps before zeros, which a power cut leaves."""
    start = line.strip(b"\0\n")
    if not start.startswith(b"{"):
        return not start
    try:
        json.loads(start)
    except (ValueError, RecursionError):
        return True
    return False


def _identity(line: Mapping[str, Any]) -> str:
    """What identifies a recording: its path and, if only a part of it is meant, the times of that."""
    offset = line.get("offset")
    return json.dumps([line.get(NEMO_PATH), offset, None if offset is None else line.get("duration")])
