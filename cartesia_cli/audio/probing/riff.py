"""The WAV family, which writes a file as chunks: RIFF, RIFX, RF64, BW64 and Sony's Wave64.

Tells how many bytes of samples a file holds, how many its header promises, and how many make a second.
Must never believe a figure that the bytes disprove: writers into a pipe leave any length in the header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .bounded_reader import BoundedReader, NoAudio, ProbeResult, in_proportion


@dataclass(frozen=True, slots=True)
class WavChunks:
    """What the chunks tell.

    byte_rate   bytes of samples a second, None where the file doesn't say
    held        bytes of samples in the file
    promised    bytes of samples by the header, None where it leaves that open
    """

    byte_rate: float | None
    held: int
    promised: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a member of the family writes its chunks.

    head      struct format of a chunk's head: name, length
    first     offset of the first chunk
    padding   chunks begin at multiples of so many bytes
    counted   bytes of its own head that a chunk's length counts
    """

    head: str
    first: int = 12
    padding: int = 2
    counted: int = 0


LAYOUTS = {
    b"RIFF": Layout("<4sI"),
    b"RF64": Layout("<4sI"),
    b"BW64": Layout("<4sI"),
    b"RIFX": Layout(">4sI"),
    b"riff": Layout("<4s12xQ", first=40, padding=8, counted=24),  # Wave64: a GUID begins with the name that it replaces
}

OPEN_LENGTHS = (
    range(1),  # GStreamer, and headers written before the first sample
    range(0x7FFFE000, 0x80000001),  # sox (0x7FFFF000 in whole blocks), arecord
    range(0xFFFFF000, 0x100000000),  # ffmpeg; RF64 whose ds64 is missing
    range(2**63 - 4096, 2**63),  # ffmpeg's Wave64
    range(2**64 - 4096, 2**64),
)
"""What writers that can't go back to their header (into a pipe, or cut off) leave as the length of the samples."""

SAMPLED = {0x0001, 0x0003, 0x0006, 0x0007}
"""PCM, float, A-law, mu-law: a block is one sample of each channel."""

ADPCM = {0x0002, 0x0011}
"""Microsoft, IMA: the format says how many samples a block holds."""

EXTENSIBLE = 0xFFFE


def measure(reader: BoundedReader) -> ProbeResult:
    """By the bytes of samples and how many of them make a second."""
    wave = _wave(reader)
    if wave is None:
        return ProbeResult(note="it is damaged or was cut off: no samples are found where its header points")
    if wave.held == 0:
        raise NoAudio("it consists of a header only")
    if wave.byte_rate is None:
        return ProbeResult(note="its header names no data rate, so that its duration is unknown")
    if wave.promised is None:
        seconds = wave.held / wave.byte_rate
        return ProbeResult(
            seconds, note=f"its header names no length, as in a pipe: it holds {seconds:.2f} s up to its end"
        )
    return in_proportion(wave.promised / wave.byte_rate, wave.held, wave.promised, exact=True)


def _wave(reader: BoundedReader) -> WavChunks | None:
    """The samples of a file. None when the chunks lead astray before any samples."""
    layout = LAYOUTS[reader.at(0, 4)]
    byte_rate = wide = samples = None
    for name, start, length in chunks(reader, layout, layout.first):
        if name == b"fmt ":
            byte_rate = _byte_rate(reader, start, length, layout.head[0])
        elif name == b"ds64":
            (wide,) = reader.unpack("<8xQ", start)
        elif name == b"data" and samples is None:
            promised = wide if wide is not None and length == 0xFFFFFFFF else length
            samples = _samples(reader, layout, start, promised)
        if byte_rate and samples:
            break
    if samples:
        return WavChunks(byte_rate, *samples)
    return WavChunks(byte_rate, 0, None) if _only_chunks(reader, layout, layout.first) else None


def _samples(reader: BoundedReader, layout: Layout, start: int, promised: int) -> tuple[int, int | None]:
    """Bytes that a data chunk really holds, and that its header promises."""
    rest = reader.size - start
    if promised == 0 and _only_chunks(reader, layout, start):
        return 0, 0
    if any(promised in lengths for lengths in OPEN_LENGTHS) and promised != rest:
        return rest, None
    return min(promised, rest), promised


def chunks(reader: BoundedReader, layout: Layout, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of each chunk; the last may promise more than the file holds."""
    head = struct.calcsize(layout.head)
    while at + head <= reader.size:
        name, length = reader.unpack(layout.head, at)
        start, length = at + head, max(0, length - layout.counted)
        yield name, start, length
        at, padding = start + length, -length % layout.padding
        # A writer that doesn't pad has put the next name there.
        if padding and not reader.at(at, padding).isalpha():
            at += padding


def _only_chunks(reader: BoundedReader, layout: Layout, at: int) -> bool:
    """Whether nothing but whole chunks lies between `at` and the end of the file."""
    for name, start, length in chunks(reader, layout, at):
        if not all(0x20 <= byte < 0x7F for byte in name) or start + length > reader.size:
            return False
        at = start + length
    return reader.size - at < struct.calcsize(layout.head)


def _byte_rate(reader: BoundedReader, start: int, length: int, order: str) -> float | None:
    """Bytes a second by a fmt chunk. Its own figure is the last resort: writers get it wrong unpunished."""
    codec, rate, average, block = reader.unpack(f"{order}H2xIIH", start)
    if codec == EXTENSIBLE and length >= 26:
        (codec,) = reader.unpack(f"{order}H", start + 24)
    figure = 0.0
    if codec in SAMPLED:
        figure = rate * block
    elif codec in ADPCM and length >= 20:
        (per_block,) = reader.unpack(f"{order}H", start + 18)
        figure = rate * block / per_block if per_block else 0.0
    return float(figure or average) or None
