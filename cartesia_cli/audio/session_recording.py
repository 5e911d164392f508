"""What a microphone gives, kept on disk from its first sample until a transcript is safe.

    source ─► a task of its own ─► file ─► inbox ─► frames()
                                           30 s, drops the oldest

The file is written whether or not anybody takes the blocks: a session that hangs in a dead connection still records.
It stays when the program is killed, and whoever comes later finds it. That its owner is still there is told by a
lock, which no kill can leave behind. Must never end a session: no room, no file, one word about it, and on it goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

from ..atomic_files import link_or_copy
from ..errors import InputError, OutputError
from .pcm import RATE
from .wav_writer import BYTES_PER_SAMPLE, AudioSource, WavWriter, open_private, read_back

NAME = "%Y%m%dT%H%M%S.%fZ.wav"
"""Of a file: when its first block came, in UTC, so that names sort by time in every zone."""

INBOX = 30.0
"""Seconds that are kept for a session that doesn't take them."""

FAR = 1 << 62
"""Where a lock lies on Windows, where others couldn't read what is locked."""


@dataclass(frozen=True, slots=True)
class OrphanedRecording:
    """A recording whose owner is gone.

    path      where it lies
    started   when its first block came, UTC
    seconds   how long it is, more than 0
    asked     what its session was to do, as it told its spool; empty where that can't be read
    """

    path: Path
    started: datetime
    seconds: float
    asked: Mapping[str, Any]

    def remove(self) -> None:
        """It is no longer needed. OutputError where it can't be removed."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: can't be removed: {error.strerror}") from error


class SessionRecording:
    """A source that keeps what it gives, until `discard` or `keep` is called; without them, as after a crash, too.

    source       a microphone
    folder       for the files; made where it is missing
    rate         Hz of the source
    asked        goes into the file for whoever finds it: JSON values
    on_trouble   told in a sentence, once of each kind, of what costs sound and goes on nevertheless

    path         the file; None before the first block, and where there could be none
    dropped      seconds that nobody took in time; they are in the file
    """

    def __init__(
        self,
        source: AudioSource,
        folder: Path,
        *,
        rate: int = RATE,
        asked: Mapping[str, Any] | None = None,
        on_trouble: Callable[[str], None] = lambda sentence: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path: Path | None = None
        self.dropped = 0.0
        self._source, self._folder, self._on_trouble, self._now = source, folder, on_trouble, now
        self._comment = json.dumps(asked) if asked else ""
        self._rate, self._bytes_per_second = rate, BYTES_PER_SAMPLE * rate
        self._file: FileIO | None = None
        self._recording: WavWriter | None = None
        self._over = False
        self._inbox: deque[bytes] = deque()
        self._waiting = 0
        self._news = asyncio.Event()

    @property
    def seconds(self) -> float:
        """In the file."""
        return 0.0 if self._recording is None else self._recording.size / self._bytes_per_second

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The blocks of the source, each in the file before it is given. Raises what the source raised, after them."""
        listening = asyncio.create_task(self._listen())
        listening.add_done_callback(lambda task: self._news.set())
        try:
            while True:
                while self._inbox:
                    block = self._inbox.popleft()
                    self._waiting -= len(block)
                    yield block
                if listening.done():
                    listening.result()
                    return
                self._news.clear()
                await self._news.wait()
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            if not listening.cancelled():
                listening.exception()  # asyncio complains of unread ones

    def discard(self) -> None:
        """After a clean end: the file goes. Whether it can be removed is not worth a word."""
        self._close()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self.path = self._recording = None

    def keep(self, target: Path | None = None, *, force: bool = False) -> Path | None:
        """The file stays where it is, to be found by `left_behind`; or it moves to `target`, and tells no more what
        was asked. Where it is then; None where there is nothing to keep. OutputError where `target` can't be written,
        or exists and there is no `force`: the file then stays, ours until we end or keep it otherwise.
        """
        if self.path is None or not self.seconds:
            self.discard()
            return None
        if target is None:
            self._close()
            return self.path
        try:
            if self._file is not None and self._recording is not None:
                self._recording.hide_comment()
                os.fsync(self._file.fileno())
            link_or_copy(self.path, target, overwrite=force)
        except OSError as error:
            if self._recording is not None:
                with suppress(OSError):
                    self._recording.restore_comment()
            reason = "it exists" if isinstance(error, FileExistsError) else error.strerror
            raise OutputError(
                f"{target}: can't be written: {reason}", hint=f"the recording is kept: {self.path}"
            ) from error
        self.discard()  # not before: unlocked, it would be taken for left behind
        return target

    async def _listen(self) -> None:
        async with aclosing(self._source.frames()) as blocks:
            async for block in blocks:
                self._write(block)
                self._hand_over(block)

    def _write(self, block: bytes) -> None:
        if self._over:
            return
        try:
            if self._recording is None:
                self._recording = self._begin()
            self._recording.write(block)
        except OSError as error:
            self._over = True
            what = f"the recording ends after {self.seconds:.1f} s" if self.seconds else "nothing is recorded"
            where = self.path or self._folder
            if not self.seconds:
                self.discard()
            self._on_trouble(f"{what}: {where}: {error.strerror}")

    def _begin(self) -> WavWriter:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        moment = self._now().astimezone(UTC)
        while self._file is None:
            path = self._folder / moment.strftime(NAME)
            try:
                self._file = open_private(path, "xb")
            except FileExistsError:
                moment += timedelta(microseconds=1)
        self.path = path
        _lock(self._file, owner=True)
        return WavWriter(self._file, self._comment, self._rate)

    def _hand_over(self, block: bytes) -> None:
        self._inbox.append(block)
        self._waiting += len(block)
        while self._waiting > INBOX * self._bytes_per_second and len(self._inbox) > 1:
            if not self.dropped:
                self._on_trouble(f"sound is lost to the transcript: nobody took it for {INBOX:.0f} s")
            lost = len(self._inbox.popleft())
            self._waiting -= lost
            self.dropped += lost / self._bytes_per_second
        self._news.set()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def find_orphans(folder: Path) -> list[OrphanedRecording]:
    """What is in `folder` and has no owner any more, oldest first. InputError where that can't be seen."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: can't be read: {error.strerror}") from error
    found = (_look(path) for path in paths)
    return [recording for recording in found if recording is not None]


def _look(path: Path) -> OrphanedRecording | None:
    """None for files that aren't ours to tell of: others, locked ones, empty ones."""
    try:
        started = datetime.strptime(path.name, NAME).replace(tzinfo=UTC)
        with FileIO(path) as file:
            if not _lock(file, owner=False):
                return None
        seconds, comment = read_back(path)
    except (OSError, ValueError):
        return None
    try:
        asked = json.loads(comment or "{}")
    except ValueError:
        asked = {}
    return OrphanedRecording(path, started, seconds, asked if isinstance(asked, dict) else {}) if seconds else None


def _lock(file: FileIO, *, owner: bool) -> bool:
    """Whether the file is locked now, until it is closed; one who only looks doesn't wait, and locks out no other.

    Where a file system knows no locks, nobody's file is taken for left behind.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if owner else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX if owner else fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
