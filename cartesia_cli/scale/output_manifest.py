"""Writes a NeMo manifest with the transcript of each recording, for runs with any number of recordings.

Recordings are finished in any order, and the manifest lists them in the order of the inputs. Until all are done, lines
are appended to a partial file in the order in which they come, so that a run that is killed loses none of them: the
next one with `--resume` finds them there. The manifest itself is written at the end, whole or not at all.

The partial file is locked from the time when it is opened, so that no two runs write the same manifest. The lock is one
of the opened file (`flock`), not of the process: a search of the folder for recordings opens and closes the file, too,
which would release a record lock.

Must never keep the text of more than one recording in memory.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from ..atomic_files import output_errors, replacing
from ..errors import OutputError, UsageError
from .manifests import NEMO_PATH, LineIndex
from .record_locks import HELD_ELSEWHERE

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

TEXT = "pred_text"
"""NeMo's name for what a model recognized; `text` is what was really said."""

ABSENT = -1

LOCKED_BYTE = 1 << 40
"""What is locked on Windows: a byte that no manifest has, because nobody else can read one that is locked."""


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
    folder, path = os.path.abspath(manifest.parent), os.path.abspath(location)
    if given is not None and (os.path.isabs(given) or os.path.abspath(os.path.join(folder, given)) == path):
        return given
    return os.path.relpath(path, folder) if Path(path).is_relative_to(folder) else path


class OutputManifest:
    """The manifest of a run. Any thread may use it.

    path     of the manifest
    resume   whether lines of earlier runs may be used: those of the manifest, and those in a partial file of a run that
             was killed. Otherwise both files are replaced: the partial one by the first line, the manifest at the end
    force    whether a manifest that appears after it was opened is replaced, too

    Raises UsageError if another run is writing it; OutputError if a file can't be read or written, or if another
    program writes, replaces or removes the partial file.
    """

    def __init__(self, path: Path, *, resume: bool, force: bool = False) -> None:
        self._path, self._partial = path, partial_path(path)
        self._lock = Lock()
        self._offsets = array("q")
        """Of the lines in the partial file, by the numbers of their recordings; ABSENT for one without a line."""
        self._replaces_partial = not resume
        """Whether the lines in the partial file are of no use: they stay until there is one of this run."""
        with output_errors(path), ExitStack() as stack:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = stack.enter_context(_open_locked(self._partial, path))
            files = [file for file in (self._partial, path) if resume and file.exists()]
            self._earlier = [_EarlierLines(stack.enter_context(file.open("rb"))) for file in files]
            self.has_other_lines = path in files and self._earlier[-1].has_others
            """Whether a manifest of an earlier run has lines that are not results."""
            self._size = self._file.seek(0, os.SEEK_END)
            self._replaces_manifest = force or path.exists()
            self._stack = stack.pop_all()

    def __enter__(self) -> OutputManifest:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the files. Unless the manifest was finished, the partial file stays, if it has any lines."""
        with self._lock, self._stack, output_errors(self._partial):
            if not self._file.closed and not self._size and _is_at(self._file, self._partial):
                self._remove_partial()

    @property
    def has_lines(self) -> bool:
        """Whether the partial file has lines that this run, or one that it continues, has written."""
        return bool(self._size) and not self._replaces_partial and _is_at(self._file, self._partial)

    def earlier(self, audio: str, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The line of a recording in an earlier run (see `describe_result`), or None."""
        key = _key(describe_result(audio, None, "", fields))
        with self._lock, output_errors(self._path):
            return next(filter(None, (lines.find(key) for lines in self._earlier)), None)

    def add(self, number: int, line: str) -> None:
        """Write the line of the recording with this number, in the order of the inputs, as soon as it is done."""
        with self._lock, output_errors(self._partial):
            self._check_unchanged()
            if self._replaces_partial:
                self._file.truncate(self._file.seek(0))
                self._replaces_partial, self._size = False, 0
            missing = number + 1 - len(self._offsets)
            self._offsets.extend([ABSENT] * missing)
            # The line break before it ends a line of which a killed run has written only a part.
            start = b"\n" if self._file.tell() else b""
            self._offsets[number] = self._file.tell() + len(start)
            try:
                self._file.write(start + line.rstrip("\n").encode("utf-8", "replace"))
                self._file.flush()
            except OSError:  # a full disk may have taken a part of it
                self._size = os.fstat(self._file.fileno()).st_size
                raise
            self._size = self._file.tell()

    def finish(self) -> int:
        """Put the manifest into place, with all lines that were added, and delete the partial file. Returns their
        number. Raises OutputError if another program has created the manifest meanwhile: then the partial file stays.
        """
        count = 0
        with self._lock, output_errors(self._path):
            self._check_unchanged()
            try:
                with replacing(self._path, replaces=self._replaces_manifest) as file:
                    for offset in self._offsets:
                        if offset != ABSENT:
                            self._file.seek(offset)
                            file.write(self._file.readline().rstrip(b"\n") + b"\n")
                            count += 1
            except FileExistsError as error:
                hint = "rename it, and run the command again with --resume: what is done is not sent again"
                raise OutputError(f"{self._path} exists by now", hint=hint) from error
            self._remove_partial()
        return count

    def _check_unchanged(self) -> None:
        """Raises OutputError if another program has written, replaced or removed the partial file, which locks don't
        prevent everywhere.
        """
        if not _is_at(self._file, self._partial) or os.fstat(self._file.fileno()).st_size != self._size:
            error = OutputError(
                f"{self._partial} was changed or removed by another program while this run was writing it",
                hint="run the command again with a manifest of another name",
            )
            error.stops_batch = True  # no other line could be written, either
            raise error

    def _remove_partial(self) -> None:
        if sys.platform == "win32":
            self._file.close()  # no open file can be removed there
        self._partial.unlink()
        self._size = 0
        self._file.close()  # only now: it releases the lock, and then another run may have the partial file


class _EarlierLines:
    """The lines of a file that an earlier run wrote, of which only an index is kept in memory.

    has_others   whether the file has lines that can't be used
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.has_others = False
        self._index = LineIndex(self._lines())

    def find(self, key: str) -> Mapping[str, Any] | None:
        offset = self._index.find(key)
        if offset is None:
            return None
        self._file.seek(offset)
        line = _parse(self._file.readline())
        return line if line is not None and _key(line) == key else None

    def _lines(self) -> Iterator[tuple[str, int]]:
        offset = 0
        for line in self._file:
            if (document := _parse(line)) is not None:
                yield _key(document), offset
            elif line.strip():
                self.has_others = True
            offset += len(line)


def _open_locked(partial: Path, path: Path) -> BinaryIO:
    """Open the partial file of a manifest, which is created if it is missing, and lock it until it is closed."""
    while True:
        file = partial.open("a+b")
        try:
            if not _lock(file):
                raise UsageError(
                    f"another run is writing {path}", hint="wait until it has ended, or name another manifest"
                )
            if _is_at(file, partial):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # the other run has ended, and removed it, after it was opened here


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed, also by the end of the process. False if somebody else has locked it; True, too,
    if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            file.seek(LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD_ELSEWHERE
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether a path is that of an opened file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _parse(line: bytes) -> Mapping[str, Any] | None:
    """A line of an earlier manifest. None if it can't be used, because its run was killed while it wrote it."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get(TEXT), str) else None


def _key(line: Mapping[str, Any]) -> str:
    """What identifies a recording: its path and, if only a part of it is meant, the times of that."""
    offset = line.get("offset")
    return json.dumps([line.get(NEMO_PATH), offset, None if offset is None else line.get("duration")])
