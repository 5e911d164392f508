"""Records what a microphone hears in a WAV file, from its first sample until the transcript is safe.

The file survives a crash: its header is brought up to date after every block, and a later run finds it
(`find_orphans`). A lock, which the system releases if the process is killed, says that its owner is still running.
During the session it also holds the audio that the server has not acknowledged (`SessionRecording.read`). Must never
end a session: if the disk is full, it reports that once, and passes the audio on.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

from ..atomic_files import link_or_copy
from ..errors import InputError, OutputError
from ..file_locks import lock_file
from .pcm import RATE, AudioBlock
from .wav_writer import BYTES_PER_SAMPLE, AudioSource, WavWriter, open_private, read_back

FILE_NAME_FORMAT = "%Y%m%dT%H%M%S.%fZ.wav"
"""Name of a recording, for `strftime`: when its first block came, in UTC, so that names sort by time in every zone."""


@dataclass(frozen=True, slots=True)
class OrphanedRecording:
    """A recording whose session ended without a transcript, and whose process is gone.

    started           when its first block came, UTC
    seconds           length, more than 0
    session_options   those that are needed to transcribe it; empty if they can't be read
    """

    path: Path
    started: datetime
    seconds: float
    session_options: Mapping[str, Any]

    def remove(self) -> None:
        """Delete the file. Raises OutputError if that fails."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: can't be removed: {error.strerror}") from error


class SessionRecording:
    """A source that records the blocks of another source, and an `AudioStore` of what it recorded.

    The file stays on disk until `discard` or `keep` is called, also after a crash.

    source            a microphone
    folder            for the file; created if missing
    rate              Hz of the source
    session_options   stored in the file for `find_orphans`: JSON values
    on_warning        called with a sentence, once, when recording fails; the session continues

    path              the file; None before the first block, and where none could be created
    """

    def __init__(
        self,
        source: AudioSource,
        folder: Path,
        *,
        rate: int = RATE,
        session_options: Mapping[str, Any] | None = None,
        on_warning: Callable[[str], None] = lambda sentence: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path: Path | None = None
        self._source, self._folder, self._on_warning, self._now = source, folder, on_warning, now
        self._comment = json.dumps(session_options) if session_options else ""
        self._rate, self._bytes_per_second = rate, BYTES_PER_SAMPLE * rate
        self._file: FileIO | None = None
        self._writer: WavWriter | None = None
        self._has_failed = False

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return 0.0 if self._writer is None else self._writer.size / self._bytes_per_second

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """The blocks of the source, each on disk before it is yielded, and readable there (`AudioBlock.store`)."""
        async with aclosing(self._source.blocks()) as blocks:
            async for block in blocks:
                yield self._record(block)

    def read(self, position: int, size: int) -> bytes:
        """`size` recorded bytes from byte `position` on. Raises OSError if they can't be read."""
        assert self._writer is not None
        return self._writer.read(position, size)

    def discard(self) -> None:
        """Delete the recording, if there is one. A file that can't be deleted is not reported."""
        self._close()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self.path = self._writer = None

    def keep(self, target: Path | None = None, *, force: bool = False) -> Path | None:
        """Keep the recording, and return where it is; None if nothing was recorded.

        Without `target` it stays where it is, for `find_orphans`. Otherwise it moves there, without the options of
        the session. Raises OutputError if `target` can't be written, or exists and `force` is not set: the recording
        then stays locked until this process ends or calls `keep` or `discard` again.
        """
        if self.path is None or not self.seconds:
            self.discard()
            return None
        if target is None:
            self._close()
            return self.path
        assert self._file is not None and self._writer is not None
        try:
            with wrap_copy_errors(self.path, target):
                self._writer.hide_comment()
                os.fsync(self._file.fileno())
                link_or_copy(self.path, target, overwrite=force)
        except OutputError:
            with suppress(OSError):
                self._writer.restore_comment()
            raise
        self.discard()  # last: unlocked, it would look orphaned
        return target

    def _record(self, block: AudioBlock) -> AudioBlock:
        """The block with its place in the file; unchanged if it could not be written."""
        if self._has_failed:
            return block
        try:
            if self._writer is None:
                self._writer = self._create()
            position = self._writer.write(block.pcm)
        except OSError as error:
            self._has_failed = True
            what = f"the recording ends after {self.seconds:.1f} s" if self.seconds else "nothing is recorded"
            where = self.path or self._folder
            if not self.seconds:
                self.discard()
            self._on_warning(f"{what}: {where}: {error.strerror}")
            return block
        return replace(block, store=self, position=position)

    def _create(self) -> WavWriter:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        started = self._now().astimezone(UTC)
        while self._file is None:
            path = self._folder / started.strftime(FILE_NAME_FORMAT)
            try:
                self._file = open_private(path, "x+b")
            except FileExistsError:
                started += timedelta(microseconds=1)
        self.path = path
        with suppress(OSError):  # a file system without locks
            lock_file(self._file, wait=True)
        return WavWriter(self._file, self._comment, self._rate)

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


@contextmanager
def wrap_copy_errors(recording: Path, target: Path) -> Iterator[None]:
    """Raise OutputError for an OSError in the block, in which a recording is copied to `target`."""
    try:
        yield
    except OSError as error:
        reason = "it exists" if isinstance(error, FileExistsError) else error.strerror
        hint = f"the recording is kept: {recording}"
        raise OutputError(f"{target}: can't be written: {reason}", hint=hint) from error


def find_orphans(folder: Path) -> list[OrphanedRecording]:
    """Recordings in `folder` whose process is gone, oldest first. Raises InputError if the folder can't be read."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: can't be read: {error.strerror}") from error
    found = (_orphan(path) for path in paths)
    return [recording for recording in found if recording is not None]


def _orphan(path: Path) -> OrphanedRecording | None:
    """The recording in a file; None if it is something else, still locked, or empty."""
    try:
        started = datetime.strptime(path.name, FILE_NAME_FORMAT).replace(tzinfo=UTC)
        with FileIO(path) as file:
            lock_file(file, shared=True)  # without locks, nothing counts as orphaned
        seconds, comment = read_back(path)
    except (OSError, ValueError):
        return None
    if not seconds:
        return None
    try:
        options = json.loads(comment or "{}")
    except ValueError:
        options = {}
    return OrphanedRecording(path, started, seconds, options if isinstance(options, dict) else {})
