"""Sound kept as a WAV file that can be played at any moment, whatever becomes of the program.

    RIFF | room for ds64 | fmt | a comment, if any | data: 16-bit mono

The header is right after every block; killed between the two, the block is lost and the file is whole. Beyond 4 GiB,
37 hours, it becomes RF64, for which the room is kept from the start (EBU Tech 3306): libsndfile, FFmpeg and this
program read it, Python's own `wave` doesn't. The files hold speech: nobody but their owner can read them.
Must never wait until a disk has it (fsync) while somebody speaks.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Protocol

from ..errors import OutputError
from .pcm import RATE
from .wav_header import read_wav_header

WIDTH = 2
"""Bytes of a sample."""

OPEN = 0xFFFFFFFF
"""What RF64 says where 32 bits are too few: ds64 has the figure."""

PLAIN = struct.calcsize("<4sI4s 4sI28x 4sI16x 4sI")
"""Bytes of a header without a comment."""

FMT_AT, COMMENT_AT = 48, PLAIN - struct.calcsize("<4sI")
"""Where fmt begins, and the comment between it and data."""

LONGEST_HEADER = 1 << 20
MAX_RATE = 1_000_000


class AudioSource(Protocol):
    """What can be kept: 16-bit mono blocks."""

    def frames(self) -> AsyncGenerator[bytes, None]: ...


class TeeSource:
    """A source that keeps what it gives, at `rate` Hz. What was in the file is gone."""

    def __init__(self, source: AudioSource, path: Path, rate: int = RATE) -> None:
        self._source, self._path, self._rate = source, path, rate

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The blocks of the source, each in the file before it is given. OutputError where it can't be written."""
        with _failing(self._path):
            file = opened(self._path, "wb")
        with file:
            with _failing(self._path):
                recording = WavWriter(file, rate=self._rate)
            async with aclosing(self._source.frames()) as blocks:
                async for block in blocks:
                    with _failing(self._path):
                        recording.write(block)
                    yield block


class WavWriter:
    """A WAV file while it grows.

    file      from `opened`, empty; closing it is up to whoever opened it
    comment   any text
    rate      Hz
    size      bytes of whole samples that the file holds

    OSError where a block can't be written: the file then ends with the one before, and takes no more.
    """

    def __init__(self, file: FileIO, comment: str = "", rate: int = RATE) -> None:
        self._file, self._comment, self.rate = file, comment, rate
        self._start = len(header(0, comment))
        self._given = 0
        self._put(0, header(0, comment, rate))

    @property
    def size(self) -> int:
        return self._given - self._given % WIDTH

    def write(self, block: bytes) -> None:
        """`block` may be of any length; half a sample waits for its other half."""
        try:
            self._put(self._start + self._given, block)
            size = self._given + len(block)
            self._put(0, header(size - size % WIDTH, self._comment, self.rate))
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._start + self.size)
            raise
        self._given = size

    def forget(self) -> None:
        """The comment is blotted out until the next block; the samples stay where they are. OSError as above."""
        if self._comment:
            length = self._start - PLAIN
            self._put(COMMENT_AT, struct.pack("<4sI", b"JUNK", length - 8) + bytes(length - 8))

    def remember(self) -> None:
        """The comment is there again. OSError as above."""
        self._put(0, header(self.size, self._comment, self.rate))

    def _put(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        while data:
            data = data[self._file.write(data) :]  # a disk that is almost full takes a part


def opened(path: Path, mode: str) -> FileIO:
    """A file to record into, "wb" or "xb", readable by its owner only. OSError where it can't be."""
    file = open(path, mode, buffering=0, opener=_private)  # noqa: SIM115  whoever asked closes it
    assert isinstance(file, FileIO)
    return file


def header(size: int, comment: str = "", rate: int = RATE) -> bytes:
    """Everything before the samples, of which there are `size` bytes. As long for one size as for another."""
    text = comment.encode("utf-8")
    text += bytes(2 - len(text) % 2) if text else b""  # ends in a zero, and padded
    info = struct.pack("<4sI4s4sI", b"LIST", 12 + len(text), b"INFO", b"ICMT", len(text)) + text if text else b""
    whole = PLAIN - 8 + len(info) + size
    if whole < OPEN:
        first, promised = struct.pack("<4sI4s4sI28x", b"RIFF", whole, b"WAVE", b"JUNK", 28), size
    else:
        sizes = struct.pack("<QQQI", whole, size, size // WIDTH, 0)
        first, promised = struct.pack("<4sI4s4sI", b"RF64", OPEN, b"WAVE", b"ds64", 28) + sizes, OPEN
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, WIDTH * rate, WIDTH, 8 * WIDTH)
    return first + fmt + info + struct.pack("<4sI", b"data", promised)


def read_back(path: Path) -> tuple[float, str]:
    """Seconds of sound, and the comment, of a file that a WavWriter left.

    The samples are counted by the size of the file: the header may be older. OSError where it can't be read,
    ValueError where it is another file.
    """
    with path.open("rb") as file:
        beginning, size = file.read(LONGEST_HEADER), os.fstat(file.fileno()).st_size
    wav = read_wav_header(BytesIO(beginning))
    if wav is None or wav.data_start is None or wav.format is None or not 0 < wav.format.rate <= MAX_RATE:
        raise ValueError(f"{path} was not recorded here")
    if beginning[FMT_AT:COMMENT_AT] != header(0, rate=wav.format.rate)[FMT_AT:COMMENT_AT]:
        raise ValueError(f"{path} was not recorded here")
    return max(0, size - wav.data_start) // WIDTH / wav.format.rate, _comment(beginning)


def _comment(beginning: bytes) -> str:
    """The text of the comment in the beginning of a file, "" where there is none."""
    name, length = struct.unpack_from("<4s12xI", beginning.ljust(COMMENT_AT + 20), COMMENT_AT)
    text = beginning[COMMENT_AT + 20 :][:length] if name == b"LIST" else b""
    return text.rstrip(b"\0").decode("utf-8", "replace")


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    if os.name == "posix" and stat.S_ISREG(os.fstat(descriptor).st_mode):
        with suppress(OSError):  # the file was there, and is somebody else's
            os.chmod(descriptor, 0o600)
    return descriptor


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from error
