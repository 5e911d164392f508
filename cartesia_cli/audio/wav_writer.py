"""Writes WAV files that are complete after every block, so that even a killed program leaves a file that plays.

    RIFF | JUNK, reserved for ds64 | fmt | LIST with a comment, if any | data: 16-bit mono

The header is rewritten after every block. A program that is killed between the two loses that block, and the file is
still valid. Beyond 4 GiB (37 hours) the file becomes RF64, for which the header reserves space (EBU Tech 3306):
libsndfile, FFmpeg and this program read that, Python's `wave` doesn't. Files contain speech, so only their owner can
read them.

Must never wait for the disk (fsync) during speech.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Protocol

from ..atomic_files import output_errors
from ..errors import OutputError
from .pcm import RATE, AudioBlock
from .wav_header import RF64_LENGTH, read_wav_header

BYTES_PER_SAMPLE = 2
"""Bytes of a sample."""

HEADER_BYTES = struct.calcsize("<4sI4s 4sI28x 4sI16x 4sI")
"""Bytes of a header without a comment."""

FORMAT_OFFSET, COMMENT_OFFSET = 48, HEADER_BYTES - struct.calcsize("<4sI")
"""Offsets of the fmt chunk, and of the comment between it and data. Bytes."""

MAX_HEADER_BYTES = 1 << 20
MAX_SAMPLE_RATE = 1_000_000


class AudioSource(Protocol):
    """A stream of audio: blocks of 16-bit mono samples."""

    def blocks(self) -> AsyncGenerator[AudioBlock, None]: ...


class TeeSource:
    """A source that also writes every block of another one to a file, at `rate` Hz.

    replaces     whether a file that exists is replaced
    on_failure   called with the error if the file can't be begun or a block can't be written: the file ends there, and
                 the source continues

    was_opened   whether the file has been begun: not before the first block is asked for
    has_failed   whether the file couldn't be begun, or a block couldn't be written
    """

    def __init__(
        self,
        source: AudioSource,
        path: Path,
        rate: int = RATE,
        *,
        replaces: bool = True,
        on_failure: Callable[[OutputError], None] = lambda error: None,
    ) -> None:
        self._source, self._path, self._rate, self._replaces = source, path, rate, replaces
        self._on_failure = on_failure
        self.was_opened = self.has_failed = False

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """The blocks of the source, each yielded after it was written."""
        with ExitStack() as files:
            recording = self._begin(files)
            async with aclosing(self._source.blocks()) as blocks:
                async for block in blocks:
                    if recording is not None and not self.has_failed:
                        with self._reports_failure():
                            recording.write(block.pcm)
                    yield block

    def _begin(self, files: ExitStack) -> WavWriter | None:
        """The file with its header, which `files` close. None if it can't be begun: it isn't left behind empty then."""
        with self._reports_failure():
            may_open = self._replaces or not self._path.is_file()  # a device exists, and is written to
            file = files.enter_context(open_private(self._path, "wb" if may_open else "xb"))
            try:
                recording = WavWriter(file, rate=self._rate)
            except OSError:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    self._path.unlink(missing_ok=True)
                raise
            self.was_opened = True
            return recording
        return None

    @contextmanager
    def _reports_failure(self) -> Iterator[None]:
        try:
            with output_errors(self._path):
                yield
        except OutputError as error:
            self.has_failed = True
            self._on_failure(error)


class WavWriter:
    """A WAV file that is being written.

    file      from `open_private`, empty; the caller closes it
    comment   any text
    rate      Hz
    size      bytes of whole samples in the file

    Raises OSError if a block can't be written: the file then ends with the block before it, and must not be written
    again.
    """

    def __init__(self, file: FileIO, comment: str = "", rate: int = RATE) -> None:
        self._file, self._comment, self.rate = file, comment, rate
        self._data_offset = len(encode_header(0, comment))
        self._data_bytes = 0
        self._write_at(0, encode_header(0, comment, rate))

    @property
    def size(self) -> int:
        return self._data_bytes - self._data_bytes % BYTES_PER_SAMPLE

    def write(self, block: bytes) -> int:
        """Append 16-bit samples, and return the byte of the audio where they begin.

        A block may end inside a sample; the next one continues it.
        """
        position = self._data_bytes
        try:
            self._write_at(self._data_offset + position, block)
            size = position + len(block)
            self._write_at(0, encode_header(size - size % BYTES_PER_SAMPLE, self._comment, self.rate))
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._data_offset + self.size)
            raise
        self._data_bytes = size
        return position

    def read(self, position: int, size: int) -> bytes:
        """`size` bytes of audio from byte `position` on. Raises OSError if they can't be read."""
        self._file.seek(self._data_offset + position)
        if len(data := self._file.read(size)) < size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data

    def hide_comment(self) -> None:
        """Overwrite the comment until the next block is written. The samples stay where they are. Raises OSError as
        above.
        """
        if self._comment:
            length = self._data_offset - HEADER_BYTES
            self._write_at(COMMENT_OFFSET, struct.pack("<4sI", b"JUNK", length - 8) + bytes(length - 8))

    def restore_comment(self) -> None:
        """Write the comment again. Raises OSError as above."""
        self._write_at(0, encode_header(self.size, self._comment, self.rate))

    def _write_at(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        while data:
            data = data[self._file.write(data) :]  # a disk that is almost full takes a part


def open_private(path: Path, mode: str) -> FileIO:
    """A file to record into, readable by its owner only. `mode`: "wb" or "x+b". Raises OSError if it can't be
    opened.
    """
    file = open(path, mode, buffering=0, opener=_open_for_owner)  # noqa: SIM115  the caller closes it
    assert isinstance(file, FileIO)
    return file


def encode_header(size: int, comment: str = "", rate: int = RATE) -> bytes:
    """Everything before `size` bytes of samples. Its own length doesn't depend on `size`."""
    text = comment.encode("utf-8")
    text += bytes(2 - len(text) % 2) if text else b""  # ends in a zero, and padded
    info = struct.pack("<4sI4s4sI", b"LIST", 12 + len(text), b"INFO", b"ICMT", len(text)) + text if text else b""
    whole = HEADER_BYTES - 8 + len(info) + size
    if whole < RF64_LENGTH:
        first, promised = struct.pack("<4sI4s4sI28x", b"RIFF", whole, b"WAVE", b"JUNK", 28), size
    else:
        sizes = struct.pack("<QQQI", whole, size, size // BYTES_PER_SAMPLE, 0)
        first, promised = struct.pack("<4sI4s4sI", b"RF64", RF64_LENGTH, b"WAVE", b"ds64", 28) + sizes, RF64_LENGTH
    fmt = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, BYTES_PER_SAMPLE * rate, BYTES_PER_SAMPLE, 8 * BYTES_PER_SAMPLE
    )
    return first + fmt + info + struct.pack("<4sI", b"data", promised)


def read_back(path: Path) -> tuple[float, str]:
    """Seconds of audio, and the comment, in a file that a WavWriter wrote.

    The samples are counted by the size of the file: the header may be older. Raises OSError if it can't be read,
    ValueError if it is another file.
    """
    with path.open("rb") as file:
        beginning, size = file.read(MAX_HEADER_BYTES), os.fstat(file.fileno()).st_size
    wav = read_wav_header(BytesIO(beginning))
    if wav is None or wav.data_start is None or wav.format is None or not 0 < wav.format.rate <= MAX_SAMPLE_RATE:
        raise ValueError(f"{path} was not recorded here")
    if beginning[FORMAT_OFFSET:COMMENT_OFFSET] != encode_header(0, rate=wav.format.rate)[FORMAT_OFFSET:COMMENT_OFFSET]:
        raise ValueError(f"{path} was not recorded here")
    return max(0, size - wav.data_start) // BYTES_PER_SAMPLE / wav.format.rate, _comment(beginning)


def _comment(beginning: bytes) -> str:
    """The text of the comment at the beginning of a file; "" without one."""
    name, length = struct.unpack_from("<4s12xI", beginning.ljust(COMMENT_OFFSET + 20), COMMENT_OFFSET)
    text = beginning[COMMENT_OFFSET + 20 :][:length] if name == b"LIST" else b""
    return text.rstrip(b"\0").decode("utf-8", "replace")


def _open_for_owner(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    if os.name == "posix" and stat.S_ISREG(os.fstat(descriptor).st_mode):
        with suppress(OSError):  # an existing file may belong to another user
            os.chmod(descriptor, 0o600)
    return descriptor
