"""What a session has to say, in order: audio, and what stands at certain places in it, kept until it is confirmed.

A writer adds to the end, a sender takes from its own place, and what has been confirmed is let go of. After a lost
connection the sender goes back to what is not confirmed, so that nothing is said twice to the same effect and
nothing is left out. Places are bytes of audio from the start of the session: its one clock.

Must never wait, nor know who sends or why something counts as confirmed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Generic, TypeVar

MEMORY = 2 << 20
"""Bytes that are held in memory, a minute of 16 kHz; beyond it they are on disk."""

LIMIT = 512 << 20
"""Bytes that are held at all, 4.6 hours: a disk is not ours alone."""

Entry = TypeVar("Entry")


class Ledger(Generic[Entry]):
    """Audio and entries.

    chunk       bytes of audio that are taken at once; less only where an entry or the end stands in the way
    written     where the next byte will be
    sent        where the sender is
    confirmed   what lies before is never asked for again
    forgotten   bytes that had to be given up before they were confirmed: there were too many
    news        set whenever there is something more to take
    """

    def __init__(self, chunk: int, *, memory: int = MEMORY, limit: int = LIMIT) -> None:
        self.chunk, self._memory, self._limit = chunk, memory, limit
        self.written = self.sent = self.confirmed = self.forgotten = 0
        self.news = asyncio.Event()
        self._entries: deque[tuple[int, Entry, bool]] = deque()
        self._next = 0  # of the entries, the first that has not been taken
        self._audio = _Tape(memory)

    def write(self, block: bytes) -> None:
        """Audio at the end."""
        self._audio.append(block)
        self.written += len(block)
        if (excess := self.written - self.confirmed - self._limit) > 0:
            self._give_up(excess + self._limit // 8)
        self.news.set()

    def note(self, entry: Entry, *, cuts: bool = True) -> None:
        """Something that stands behind all the audio there is.

        It is taken at once when that has been taken, in a chunk that is cut short for it; without `cuts`, before the
        chunk in which it stands.
        """
        self._entries.append((self.written, entry, cuts))
        self.news.set()

    def take(self) -> bytes | Entry | None:
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

    def rewind(self) -> None:
        """Back to what is not confirmed."""
        self.sent, self._next = self.confirmed, 0
        self.news.set()

    def confirm(self, place: int) -> None:
        """All that was sent before `place` has had its effect, with the entries that stand before it."""
        self.confirmed = max(self.confirmed, min(place, self.sent))
        while self._next and self._entries[0][0] < self.confirmed:
            self._forget()
        self._audio.drop(self.confirmed)

    def answered(self, is_question: Callable[[Entry], bool]) -> int | None:
        """The first question that was taken has had its answer: it is confirmed, with all before it. Its place."""
        for k in range(self._next):
            place, entry, _ = self._entries[k]
            if is_question(entry):
                for _ in range(k + 1):
                    self._forget()
                self.confirm(place)
                return place
        return None

    def rest(self) -> Iterator[bytes]:
        """All audio that is not confirmed."""
        for at in range(self.confirmed, self.written, 1 << 16):
            yield self._audio.read(at, min(1 << 16, self.written - at))

    def close(self) -> None:
        self._audio.close()

    def _forget(self) -> None:
        self._entries.popleft()
        self._next = max(0, self._next - 1)

    def _give_up(self, size: int) -> None:
        """What is oldest, whether it was sent or not."""
        self.forgotten += size
        self.confirmed += size
        self.sent = max(self.sent, self.confirmed)
        while self._entries and self._entries[0][0] < self.confirmed:
            self._forget()
        self._audio.drop(self.confirmed)


class _Tape:
    """Bytes by their place from the very start, of which the first may be dropped."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._file = SpooledTemporaryFile(max_size=memory)  # noqa: SIM115 - closed by close()
        self._start = self._end = 0

    def append(self, block: bytes) -> None:
        self._file.seek(self._end - self._start)
        self._file.write(block)
        self._end += len(block)

    def read(self, place: int, size: int) -> bytes:
        self._file.seek(place - self._start)
        return self._file.read(size)

    def drop(self, place: int) -> None:
        """Forget what lies before; the room is given back once it is half of what is held, so that each byte is
        moved no more than once on the average."""
        if place - self._start < max(self._end - place, self._memory // 4):
            return
        rest = SpooledTemporaryFile(max_size=self._memory)  # noqa: SIM115
        for at in range(place, self._end, 1 << 16):
            rest.write(self.read(at, min(1 << 16, self._end - at)))
        self._file.close()
        self._file, self._start = rest, place

    def close(self) -> None:
        self._file.close()
