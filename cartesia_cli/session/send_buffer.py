"""What a session has to send, in order: audio and the markers between it, kept until it is acknowledged.

A writer appends, a sender takes the next item, and acknowledged audio is forgotten. For a new connection the sender
goes back to where the session resumes, never to before what is acknowledged. Offsets are bytes of audio from the
start of the session, the only measure of time here, and always even: they lie between samples.

Never waits for anything but the disk, and doesn't know why something counts as acknowledged. Must never end a session:
the oldest audio is dropped if the disk is full, if there is more than MAX_HELD_BYTES, or if it can't be read back. The
first time, that is reported.
"""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from ..audio.pcm import RATE, AudioBlock, AudioStore
from ..audio.vad import VadEvent
from ..protocol.realtime import Command, Config, Finalize

MAX_MEMORY_BYTES = 2 << 20
"""At most these bytes are held in memory, a minute at 16 kHz; older audio is on disk."""

MAX_HELD_BYTES = 512 << 20
"""At most these bytes are kept in all, 4.6 hours at 16 kHz, so that the disk isn't filled. Audio in the recording
of the session counts, too."""

FILE_BYTES = 64 << 20
"""Size of a temporary file. Each is deleted as a whole once its audio is acknowledged."""

READ_BYTES = 1 << 16

Marker = VadEvent | Command
"""What is sent, or noticed by the endpointer, at an offset in the audio."""


class SendBuffer:
    """Audio, and markers at offsets in it. A Config that was not taken stays when the audio before it is dropped.

    rate           samples per second
    frame_bytes    of audio in an item; fewer only before a marker that cuts
    on_warning     called with a message, once, when audio was dropped that was not acknowledged
    written        end of all audio so far
    sent           offset of the sender
    acknowledged   offset before which nothing is kept: it is acknowledged, or was dropped without that
    dropped        bytes that were dropped without being acknowledged, since the last acknowledgement or rewind
    changed        set when something was appended, or is to be sent again
    """

    def __init__(
        self,
        frame_bytes: int,
        *,
        memory: int = MAX_MEMORY_BYTES,
        rate: int = RATE,
        on_warning: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._bytes_per_second = 2 * rate
        self._frame_bytes, self._memory_limit, self._on_warning = frame_bytes, memory, on_warning
        self._has_reported = False
        self.written = self.sent = self.acknowledged = self.dropped = 0
        self.changed = asyncio.Event()
        self._markers: deque[tuple[int, Marker, bool]] = deque()  # offset, marker, whether it cuts frames
        self._next = 0  # index of the first marker that has not been taken
        self._audio = _HeldAudio(memory)

    def seconds(self, size: int) -> float:
        """The length of `size` bytes of audio."""
        return size / self._bytes_per_second

    def offset(self, seconds: float) -> int:
        """The offset of the sample at a time."""
        return 2 * round(seconds * self._bytes_per_second / 2)

    def write(self, block: AudioBlock) -> None:
        """Append audio."""
        size = len(block.pcm)
        self._make_room(size, MAX_HELD_BYTES, "there is too much of it")
        try:
            self._audio.append(block)
        except OSError as error:
            self._make_room(size, self._memory_limit, error.strerror or str(error))
            self._audio.append(block)
        self.written += size
        self.changed.set()

    def add_marker(self, marker: Marker, *, cuts: bool = True) -> None:
        """Append a marker after all audio so far.

        cuts   whether the frame before it is cut short, so that it follows exactly that audio; otherwise it is taken
               up to a frame earlier: before the frame in which its offset lies
        """
        self._markers.append((self.written, marker, cuts))
        self.changed.set()

    @property
    def has_more(self) -> bool:
        """Whether there is anything to take."""
        return self._next < len(self._markers) or self.written - self.sent >= self._frame_bytes

    def next_item(self) -> bytes | Marker | None:
        """Take the next frame or marker. None: there is none yet; wait for `changed`."""
        size = self._frame_bytes
        if self._next < len(self._markers):
            offset, marker, cuts = self._markers[self._next]
            if offset - self.sent < (1 if cuts else self._frame_bytes):
                self._next += 1
                return marker
            size = min(size, offset - self.sent)
        if size > self.written - self.sent:
            self.changed.clear()
            return None
        try:
            frame = self._audio.read(self.sent, size)
        except OSError as error:
            self._drop_oldest(self._audio.memory_start - self.acknowledged, error.strerror or str(error))
            return self.next_item()
        self.sent += size
        return frame

    def rewind(self, offset: int = 0) -> None:
        """Send again from `offset` on, or from what is not acknowledged, if that is later."""
        self.sent, self.dropped = max(offset, self.acknowledged), 0
        self._next = sum(at < self.sent for at, _, _ in self._markers)
        self.changed.set()

    def acknowledge(self, offset: int) -> None:
        """Drop what was sent before `offset`, with the markers before it: it is not needed any more."""
        if (offset := min(offset, self.sent)) > self.acknowledged:
            self.acknowledged, self.dropped = offset, 0
        self._drop_acknowledged()

    def acknowledge_finalize(self) -> None:
        """Acknowledge the first Finalize that was taken, and everything before it."""
        for index in range(self._next):
            offset, marker, _ = self._markers[index]
            if isinstance(marker, Finalize):
                for _ in range(index + 1):
                    self._drop_marker()
                self.acknowledge(offset)
                return

    def unacknowledged(self, offset: int = 0) -> Iterator[bytes]:
        """All audio from `offset` on, or from what is not acknowledged on, if that is later. Raises OSError if it
        can't be read. Nothing may be written meanwhile: that could drop what is still to be read.
        """
        for at in range(max(offset, self.acknowledged), self.written, READ_BYTES):
            yield self._audio.read(at, min(READ_BYTES, self.written - at))

    def close(self) -> None:
        self._audio.close()

    def _drop_acknowledged(self) -> None:
        while self._markers and self._markers[0][0] < self.acknowledged:
            self._drop_marker()
        self._audio.drop(self.acknowledged)

    def _drop_marker(self) -> None:
        self._markers.popleft()
        self._next = max(0, self._next - 1)

    def _make_room(self, size: int, limit: int, reason: str) -> None:
        """Drop the oldest audio if `size` more bytes don't fit in `limit`. Drops an eighth of the limit more, so that
        this isn't needed for each block.
        """
        excess = self.written + size - self.acknowledged - limit
        if excess > 0:
            self._drop_oldest(excess + limit // 8, reason)

    def _drop_oldest(self, size: int, reason: str) -> None:
        """Drop the oldest `size` bytes, sent or not, rounded up to whole samples, and the markers among them."""
        size = min(size + size % 2, self.written - self.acknowledged)
        self.dropped += size
        self.acknowledged += size
        self.sent = max(self.sent, self.acknowledged)
        untaken = [marker for at, marker, _ in [*self._markers][self._next :] if at < self.acknowledged]
        self._drop_acknowledged()
        kept = [(self.acknowledged, marker, True) for marker in untaken if isinstance(marker, Config)]
        self._markers.extendleft(reversed(kept))
        if not self._has_reported:
            self._has_reported = True
            left = self.seconds(self.written - self.acknowledged)
            self._on_warning(f"keeping only the last {left:.0f} s of unacknowledged audio: {reason}")


class _StoredRun(NamedTuple):
    """Audio that is contiguous in a store, in the same order as in the session.

    start   offset of its first byte in the session; it ends where the next run starts
    store   where it can be read again; None: only in this buffer, in memory or a temporary file
    shift   what to add to an offset in the session to get the one in the store
    """

    start: int
    store: AudioStore | None
    shift: int


class _HeldAudio:
    """Audio by its offset in the session. The oldest may be dropped; only the newest `memory` bytes are in memory.

    Older audio is read from the store that has it already, the recording of the session. Audio that no store has is
    moved to temporary files.

    memory_start   offset from which all audio is in memory
    """

    def __init__(self, memory: int) -> None:
        self._limit = memory
        self._memory = bytearray()
        self.memory_start = self._end = 0
        self._runs = [_StoredRun(0, None, 0)]
        self._files: dict[int, IO[bytes]] = {}  # by their number, counted from the start of the session

    def append(self, block: AudioBlock) -> None:
        """Raises OSError if the disk is full; nothing has changed then."""
        if len(self._memory) + len(block.pcm) > self._limit:
            self._move_to_disk(len(self._memory) - self._limit // 2)
        run = _StoredRun(self._end, block.store, block.position - self._end if block.store else 0)
        if (run.store, run.shift) != (self._runs[-1].store, self._runs[-1].shift):
            if self._runs[-1].start == self._end:  # it is empty
                self._runs.pop()
            self._runs.append(run)
        self._memory += block.pcm
        self._end += len(block.pcm)

    def read(self, offset: int, size: int) -> bytes:
        """Raises OSError if a store or a file can't be read, or has less than `size` bytes."""
        parts = []
        for start, end, run in self._pieces(offset, min(offset + size, self.memory_start)):
            if run.store is not None:
                parts.append(run.store.read(start + run.shift, end - start))
            else:
                file = self._files[start // FILE_BYTES]
                file.seek(start % FILE_BYTES)
                parts.append(file.read(end - start))
        start = max(offset, self.memory_start) - self.memory_start
        parts.append(bytes(self._memory[start : max(start, offset + size - self.memory_start)]))
        if len(data := b"".join(parts)) < size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data

    def drop(self, offset: int) -> None:
        """Forget what is before `offset`."""
        if offset > self.memory_start:
            del self._memory[: offset - self.memory_start]
            self.memory_start = offset
        while len(self._runs) > 1 and self._runs[1].start <= offset:
            del self._runs[0]
        for number in [number for number in self._files if (number + 1) * FILE_BYTES <= offset]:
            self._files.pop(number).close()
        if offset >= self.memory_start:
            self.close()  # nothing is left in the files

    def close(self) -> None:
        """Delete the temporary files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _move_to_disk(self, size: int) -> None:
        """Free the oldest bytes of the memory."""
        if size <= 0:
            return
        first = self.memory_start
        for start, end, run in self._pieces(first, first + size):
            if run.store is None:
                number = start // FILE_BYTES
                if number not in self._files:
                    self._files[number] = _temporary_file()
                self._files[number].seek(start % FILE_BYTES)
                _write_all(self._files[number], self._memory[start - first : end - first])
        del self._memory[:size]
        self.memory_start += size

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, _StoredRun]]:
        """Pieces of the audio from `start` to `end`, each in one run and one temporary file."""
        index = bisect_right(self._runs, start, key=lambda run: run.start) - 1
        while start < end:
            run = self._runs[index]
            stop = min(end, (start // FILE_BYTES + 1) * FILE_BYTES)
            if index + 1 < len(self._runs) and self._runs[index + 1].start <= stop:
                index += 1
                stop = self._runs[index].start
            yield start, stop, run
            start = stop


def _temporary_file() -> IO[bytes]:
    """An unbuffered file: a buffer would report a full disk too late."""
    return TemporaryFile(buffering=0)


def _write_all(file: IO[bytes], data: bytearray) -> None:
    while data:
        data = data[file.write(data) :]  # a disk that is almost full takes a part
