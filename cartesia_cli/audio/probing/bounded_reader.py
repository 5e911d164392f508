"""A peek into a file: what the reader of a format is handed, and the three ways in which it may end.

A reader is a function from a Peek to a Held; instead it may raise Lost, which means that a look can't tell, or
Hollow, which makes the file refused. Whatever the bytes say, a Peek must never read more than its bounds allow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

PIECES = 2000
"""How many pieces of a file are read at most. A real recording needs ten."""

HEAD, WINDOW, SEARCHED = 4 << 10, 64 << 10, 1 << 20
"""Bytes read: to know a format; to find frames or the last page (at most 65,307 bytes long); at the very most."""


class Undetermined(Exception):
    """The structure leads nowhere, or too far: a look can't tell."""


class NoAudio(Exception):
    """There is provably no audio. The message goes on from "it": what there is instead."""


class BoundedReader:
    """A file read in pieces, at most PIECES of them: whoever walks by it can't walk for ever."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self._file = file
        self._base = 0
        self._left = PIECES

    def skip(self, count: int) -> None:
        """Count offsets from `count` bytes further on, as if the file began there."""
        self._base += count
        self.size -= count

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes, or fewer where the file ends."""
        self._left -= 1
        if self._left < 0 or not 0 <= count <= SEARCHED:
            raise Undetermined
        if offset >= self.size:
            return b""
        self._file.seek(self._base + offset)
        return self._file.read(count)

    def unpack(self, form: str, offset: int) -> tuple[Any, ...]:
        """Values of a header. A header that isn't all there is the end of the file."""
        data = self.at(offset, struct.calcsize(form))
        try:
            return struct.unpack(form, data)
        except struct.error:
            raise NoAudio("it ends inside its header") from None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Seconds held, seconds promised where that is more, and a note: the findings of one format's reader.

    estimated   whether the seconds are a guess by the bit rate, and nobody's promise
    """

    duration: float | None = None
    declared: float | None = None
    note: str | None = None
    estimated: bool = False


def in_proportion(promised: float | None, held: int, whole: int, *, exact: bool = False) -> ProbeResult:
    """The seconds that a header promises for `whole` bytes, in proportion to the bytes that are there."""
    if promised is None or held >= whole:
        return ProbeResult(promised)
    there = promised * held / whole
    about, slack = ("", 0.01) if exact else ("about ", 0.1)
    if promised - there < slack:
        return ProbeResult(there)
    note = f"it was cut off: its header promises {promised:.2f} s of audio, and it holds {about}{there:.2f} s"
    return ProbeResult(there, promised, note)
