"""What a session has to say, in order: audio, and what stands at certain places in it, kept until it is confirmed.

A writer adds to the end, a sender takes from its own place, and what has been confirmed is let go of. After a lost
connection the sender goes back to what is not confirmed, so that nothing is said twice to the same effect and
nothing is left out. Places are bytes of audio from the start of the session: its one clock.

Must never wait, nor know who sends or why something counts as confirmed. Must never end a session: where a disk
has no room, what is oldest is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Generic, TypeVar

from ..audio.pcm import RATE

MAX_MEMORY_BYTES = 2 << 20
"""Bytes that are held in memory, a minute of 16 kHz; beyond it they are on disk."""

MAX_DISK_BYTES = 512 << 20
"""Bytes that are held at all, 4.6 hours: a disk is not ours alone."""

Entry = TypeVar("Entry")


class SendBuffer(Generic[Entry]):
    """Audio and entries.

    on_trouble  told in a sentence, once, when something was given up
    rate        samples a second
    chunk       bytes of audio that are taken at once; less only where an entry or the end stands in the way
    written     where the next byte will be
    sent        where the sender is
    confirmed   what lies before is never asked for again
    forgotten   bytes that had to be given up, there were too many, since anything was confirmed or begun again
    news        set whenever there is something more to take
    """

    def __init__(
        self,
        chunk: int,
        *,
        memory: int = MAX_MEMORY_BYTES,
        limit: int = MAX_DISK_BYTES,
        rate: int = RATE,
        on_trouble: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._bytes_per_second = 2 * rate
        self.chunk, self._memory, self._limit, self._on_trouble = chunk, memory, limit, on_trouble
        self._is_troubled = False
        self.written = self.sent = self.confirmed = self.forgotten = 0
        self.news = asyncio.Event()
        self._entries: deque[tuple[int, Entry, bool]] = deque()
        self._next = 0  # of the entries, the first that has not been taken
        self._audio = _AudioStore(memory)

    def seconds(self, size: int) -> float:
        """How long so many bytes of audio are."""
        return size / self._bytes_per_second

    def position(self, seconds: float) -> int:
        """Where the sample at a time is."""
        return 2 * round(seconds * self._bytes_per_second / 2)

    def write(self, block: bytes) -> None:
        """Audio at the end."""
        self._make_room(len(block), self._limit, "there is too much of it")
        try:
            self._audio.append(block)
        except OSError as error:
            self._make_room(len(block), self._memory, error.strerror or str(error))
            self._audio.withdraw(self.confirmed)
            self._audio.append(block)
        self.written += len(block)
        self.news.set()

    def add_marker(self, entry: Entry, *, cuts: bool = True) -> None:
        """Something that stands behind all the audio there is.

        It is taken at once when that has been taken, in a chunk that is cut short for it; without `cuts`, before the
        chunk in which it stands.
        """
        self._entries.append((self.written, entry, cuts))
        self.news.set()

    @property
    def has_more(self) -> bool:
        """Whether there is anything to take."""
        return self._next < len(self._entries) or self.written - self.sent >= self.chunk

    def next_item(self) -> bytes | Entry | None:
        """The next thing to say. None: there is nothing, or not yet a chunk of it; `news` tells when."""
        size = self.chunk
        if self._next < len(self._entries):
            place, entry, cuts = self._entries[self._next]
            if place - self.sent < (1 if cuts else self.chunk):
                self._next += 1
                return entry
            size = min(size, place - self.sent)
        if size > self.written - self.sent:
            self.news.clear()
            return None
        self.sent += size
        return self._audio.read(self.sent - size, size)

    def rewind(self, place: int = 0) -> None:
        """Back to `place`, or to what is not confirmed, if that is behind it."""
        self.sent, self.forgotten = max(place, self.confirmed), 0
        self._next = sum(at < self.sent for at, _, _ in self._entries)
        self.news.set()

    def acknowledge(self, place: int) -> None:
        """All that was sent before `place` has had its effect, with the entries that stand before it."""
        if (place := min(place, self.sent)) > self.confirmed:
            self.confirmed, self.forgotten = place, 0
        while self._next and self._entries[0][0] < self.confirmed:
            self._discard_acknowledged()
        self._audio.drop(self.confirmed)

    def ack_first(self, is_question: Callable[[Entry], bool]) -> int | None:
        """The first question that was taken has had its answer: it is confirmed, with all before it. Its place."""
        for k in range(self._next):
            place, entry, _ = self._entries[k]
            if is_question(entry):
                for _ in range(k + 1):
                    self._discard_acknowledged()
                self.acknowledge(place)
                return place
        return None

    def unacknowledged(self, place: int = 0) -> Iterator[bytes]:
        """All audio from `place` on, or from what is not confirmed on, if that is behind it."""
        for at in range(max(place, self.confirmed), self.written, 1 << 16):
            yield self._audio.read(at, min(1 << 16, self.written - at))

    def close(self) -> None:
        self._audio.close()

    def _discard_acknowledged(self) -> None:
        self._entries.popleft()
        self._next = max(0, self._next - 1)

    def _make_room(self, size: int, limit: int, reason: str) -> None:
        """For so many bytes more. What is oldest is given up, whether it was sent or not, and some of what follows."""
        excess = self.written + size - self.confirmed - limit
        if excess <= 0:
            return
        excess = min(excess + limit // 8, self.written - self.confirmed)
        self.forgotten += excess
        self.confirmed += excess
        self.sent = max(self.sent, self.confirmed)
        while self._entries and self._entries[0][0] < self.confirmed:
            self._discard_acknowledged()
        self._audio.drop(self.confirmed)
        if not self._is_troubled:
            self._is_troubled = True
            kept = self.seconds(self.written - self.confirmed)
            self._on_trouble(f"of audio that waits for an answer only the last {kept:.0f} s can be kept: {reason}")


class _AudioStore:
    """Bytes by their place from the very start, of which the first may be dropped; more than `memory` are on disk.

    Nothing is ever half written: what raises an OSError has changed nothing.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._file: IO[bytes] = BytesIO()
        self._start = self._end = 0

    def append(self, block: bytes) -> None:
        """OSError where a disk has no room for it."""
        if self._end + len(block) - self._start > self._memory and isinstance(self._file, BytesIO):
            self._move(self._start, _on_disk())
        self._file.seek(self._end - self._start)
        _write(self._file, block)
        self._end += len(block)

    def read(self, place: int, size: int) -> bytes:
        self._file.seek(place - self._start)
        return self._file.read(size)

    def drop(self, place: int) -> None:
        """Forget what lies before; the room is given back once it is half of what is held, so that each byte is
        moved no more than once on the average."""
        if place - self._start < max(self._end - place, self._memory // 4):
            return
        with suppress(OSError):  # then later, perhaps
            self._move(place, BytesIO() if self._end - place <= self._memory else _on_disk())

    def withdraw(self, place: int) -> None:
        """Into memory, all that lies behind."""
        self._move(place, BytesIO())

    def _move(self, place: int, room: IO[bytes]) -> None:
        try:
            for at in range(place, self._end, 1 << 16):
                _write(room, self.read(at, min(1 << 16, self._end - at)))
        except OSError:
            room.close()
            raise
        self._file.close()
        self._file, self._start = room, place

    def close(self) -> None:
        self._file.close()


def _on_disk() -> IO[bytes]:
    """A file without a buffer, which would tell of a full disk when it is too late."""
    return TemporaryFile(buffering=0)


def _write(file: IO[bytes], data: bytes) -> None:
    while data:
        data = data[file.write(data) :]  # a disk that is almost full takes a part
