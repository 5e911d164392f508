"""Parses headers of the WAV family: RIFF, RIFX (big-endian), RF64 and BW64 (64-bit sizes), Sony's Wave64.

One parser for all readers of WAV files: probing (files of any size, in a few small reads), decoding (files and pipes),
and the recovery of recordings that a crash cut off. It needs no numpy, since probing comes before every upload, and
reads forward only, since a pipe can't go back.

    RIFF size WAVE | fmt  length, format | LIST length, … | data length, samples | …

Must never trust a length more than the bytes: programs that write into a pipe leave any number in the header. Must
never read more of a chunk than it needs, however long the chunk says it is.
"""

import struct
from collections.abc import Iterator
from typing import Protocol

from ..record import Record

PCM, MICROSOFT_ADPCM, FLOAT, ALAW, MULAW, IMA_ADPCM, EXTENSIBLE = 0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0xFFFE
"""Codecs (mmreg.h, WAVE_FORMAT_…). EXTENSIBLE: the codec is in an extension of the chunk."""

SAMPLE_SIZES = {PCM: (1, 2, 3, 4, 8), FLOAT: (2, 4, 8), ALAW: (1,), MULAW: (1,)}
"""Uncompressed codec → possible sizes of a sample in bytes."""

MAX_FORMAT_BYTES = 64
"""How much of a fmt or ds64 chunk is read; nothing after that is needed."""

MAX_POSITION = 1 << 62
"""Bytes. All files are shorter, and no source can seek further; a hostile chunk may say that it is 2^64 long."""

RF64_LENGTH = 0xFFFFFFFF
"""Length of a data chunk whose real length is in ds64."""

STREAMED_LENGTHS = (
    range(1),  # GStreamer, and headers written before the first sample
    range(0x7FFFE000, 0x80000001),  # sox (0x7FFFF000 in whole blocks), arecord
    range(0xFFFFF000, 0x100000000),  # ffmpeg; RF64 without ds64
    range(2**63 - 4096, 2**63),  # ffmpeg's Wave64
    range(2**64 - 4096, 2**64),
)
"""Lengths left by writers that couldn't go back to their header: they wrote into a pipe, or were killed."""


class ByteSource(Protocol):
    """Bytes that are read forward. Binary files are such sources, and so is `BoundedReader`."""

    def read(self, count: int, /) -> bytes:
        """`count` bytes; fewer only at the end."""

    def seek(self, position: int, /) -> object:
        """Go on at `position`, never before what was read. It may be beyond the end."""

    def tell(self) -> int: ...


class ChunkLayout(Record):
    """How a format of the RIFF kind writes its chunks.

    head              struct format of what a chunk begins with: name, length
    first             offset of the first chunk, bytes
    alignment         chunks begin at multiples of this many bytes
    counted_head      bytes of its own head that a chunk's length includes
    """

    head: str
    first: int = 12
    alignment: int = 2
    counted_head: int = 0


LAYOUTS = {
    b"RIFF": ChunkLayout("<4sI"),
    b"RF64": ChunkLayout("<4sI"),
    b"BW64": ChunkLayout("<4sI"),
    b"RIFX": ChunkLayout(">4sI"),
    b"riff": ChunkLayout("<4s12xQ", first=40, alignment=8, counted_head=24),  # Wave64: names are GUIDs
}
"""First four bytes of a file of the family → its layout."""


class WavFormat(Record):
    """A fmt chunk.

    codec               PCM, FLOAT …; for EXTENSIBLE the codec in it
    byte_order          of samples: "<" or ">"
    channels            0 or more
    rate                Hz; 0 if the header is wrong
    bits                of a sample
    block_bytes         the smallest unit that can be decoded, by the header
    bytes_per_second    by the header
    block_samples       samples of each channel in a block of ADPCM; 0 if the header doesn't say
    """

    codec: int
    byte_order: str
    channels: int
    rate: int
    bits: int
    block_bytes: int
    bytes_per_second: int
    block_samples: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of an uncompressed sample; 0 for compressed ones, and for those that can't be decoded."""
        # The size of blocks is wrong more often than the bits, except where 24 bits lie in 32.
        size = 1 if self.codec in (ALAW, MULAW) else -(-self.bits // 8)
        if size == 3 and self.block_bytes == 4 * self.channels:
            size = 4
        return size if size in SAMPLE_SIZES.get(self.codec, ()) and self.channels and self.rate else 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed sample of each channel."""
        return self.sample_bytes * self.channels

    @property
    def byte_rate(self) -> float | None:
        """Bytes of samples in a second. The header's own figure is the last resort: often it is wrong."""
        figure = 0.0
        if self.codec in SAMPLE_SIZES:
            figure = self.rate * self.block_bytes
        elif self.codec in (MICROSOFT_ADPCM, IMA_ADPCM) and self.block_samples:
            figure = self.rate * self.block_bytes / self.block_samples
        return float(figure or self.bytes_per_second) or None


class WavHeader(Record):
    """What a file says about its samples.

    layout          of its chunks
    format          None without a usable fmt chunk
    data_start      offset of the first sample; None if the data chunk is missing
    data_length     bytes of samples by the header, which may be a placeholder
    is_cut          whether the file ends inside a fmt or ds64 chunk
    """

    layout: ChunkLayout
    format: WavFormat | None
    data_start: int | None
    data_length: int
    is_cut: bool

    @property
    def promised_bytes(self) -> int | None:
        """Bytes of samples by the header; None if that is a placeholder: then they last to the end."""
        return None if is_streamed_length(self.data_length) else self.data_length

    @property
    def plain_format(self) -> WavFormat | None:
        """The format, where uncompressed samples follow that we can decode ourselves."""
        is_plain = self.data_start is not None and self.format is not None and self.format.sample_bytes
        return self.format if is_plain else None


def read_wav_header(source: ByteSource, *, search_behind_data: bool = False) -> WavHeader | None:
    """The header of a WAV, from the beginning of `source`; None for other files. Leaves `source` at the first sample.

    search_behind_data   whether to look for a fmt chunk after the samples, too, which leaves `source` anywhere
    """
    layout = LAYOUTS.get(source.read(4))
    if layout is None:
        return None
    source.seek(layout.first)
    wav_format, wide_length, is_cut = None, None, False
    data_start, data_length = None, 0
    for name, start, length in chunks(source, layout):
        if name == b"data" and data_start is None:
            data_start = start
            data_length = wide_length if wide_length is not None and length == RF64_LENGTH else length
        elif name in (b"fmt ", b"ds64"):
            wanted = min(length, MAX_FORMAT_BYTES)
            body = source.read(wanted)
            is_cut = len(body) < wanted
            if name == b"fmt ":
                wav_format = _parse_format(body, layout.head[0])
            elif len(body) >= 16:
                (wide_length,) = struct.unpack_from("<8xQ", body)
        if data_start is not None and (wav_format is not None or not search_behind_data):
            break
    return WavHeader(layout, wav_format, data_start, data_length, is_cut)


def chunks(source: ByteSource, layout: ChunkLayout) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset of the body and its length in bytes, for each chunk from where `source` is.

    While a chunk is handled, `source` is at its body and may be read up to its end. The last chunk may say that it is
    longer than what is left.
    """
    size = struct.calcsize(layout.head)
    padding = b""
    while len(head := padding + source.read(size - len(padding))) == size:
        name, length = struct.unpack(layout.head, head)
        start, length = source.tell(), max(0, length - layout.counted_head)
        yield name, start, length
        source.seek(min(start + length, MAX_POSITION))
        gap = -length % layout.alignment
        padding = source.read(gap) if gap else b""
        if not padding.isalpha():  # letters are the start of the next name: the writer doesn't pad
            padding = b""


def is_streamed_length(length: int) -> bool:
    """Whether a length is a placeholder that says nothing."""
    return any(length in lengths for lengths in STREAMED_LENGTHS)


def _parse_format(body: bytes, byte_order: str) -> WavFormat | None:
    """The body of a fmt chunk; None if it is too short."""
    if len(body) < 14:
        return None
    codec, channels, rate, bytes_per_second, block_bytes, bits = struct.unpack(
        f"{byte_order}HHIIHH", body[:16].ljust(16, b"\0")
    )
    if codec == EXTENSIBLE and len(body) >= 26:
        (codec,) = struct.unpack_from(f"{byte_order}H", body, 24)
    block_samples = struct.unpack_from(f"{byte_order}H", body, 18)[0] if len(body) >= 20 else 0
    return WavFormat(codec, byte_order, channels, rate, bits, block_bytes, bytes_per_second, block_samples)
