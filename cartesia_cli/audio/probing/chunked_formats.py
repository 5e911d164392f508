"""Durations of formats that name the size of their samples in a header: WAV family, AIFF, AU, CAF, AVI, WMA.

The header also tells a file that was cut off from a complete one, where decoders just stop at the end of either. Must
never take a placeholder, which a writer into a pipe has left in the header, for a length.
"""

from __future__ import annotations

import struct
from typing import Any

from ..wav_header import ChunkLayout, chunks, is_streamed_length, read_wav_header
from .bounded_reader import WINDOW_BYTES, BoundedReader, NoAudio, ProbeResult, Undetermined, proportional_duration

AIFF_LAYOUT = ChunkLayout(">4sI")

CAF_LAYOUT = ChunkLayout(">4sQ", first=8, alignment=1)

SOX_AIFF_LENGTHS = range(0x7E000000, 0x80000000)
"""Lengths that sox leaves in an AIFF that it writes into a pipe, less the headers."""

AU_BITS = {1: 8, 2: 8, 3: 16, 4: 24, 5: 32, 6: 32, 7: 64, 23: 4, 25: 3, 26: 5, 27: 8}
"""Encoding → bits of a sample."""

ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""GUID of the object of an ASF file that names its size."""

ASF_BROADCAST_FLAG = 1
"""Says that nothing in the properties is valid yet."""

SIZE_TOLERANCE_BYTES = 1024
"""How far some writers are wrong about the size of the file."""


def measure_wav(reader: BoundedReader) -> ProbeResult:
    """By the bytes of samples, and how many there are in a second."""
    reader.seek(0)
    header = read_wav_header(reader, search_behind_data=True)
    if header is None:
        return ProbeResult()
    if header.data_start is None:
        if header.is_cut:
            raise NoAudio("it ends inside its header")
        if not _only_chunks(reader, header.layout, header.layout.first):
            return ProbeResult(note="it is damaged or was cut off: there are no samples where its header says")
        raise NoAudio("it consists of a header only")
    held = min(header.data_length, rest := reader.size - header.data_start)
    is_open = header.promised_bytes is None and header.data_length != rest
    if is_open:
        held = 0 if header.data_length == 0 and _only_chunks(reader, header.layout, header.data_start) else rest
    if held == 0:
        raise NoAudio("it consists of a header only")
    byte_rate = header.format.byte_rate if header.format else None
    if byte_rate is None:
        return ProbeResult(note="its header has no data rate: its duration is unknown")
    if is_open:
        seconds = held / byte_rate
        return ProbeResult(seconds, note=f"its header has no length (streamed file): it holds {seconds:.2f} s of audio")
    return proportional_duration(header.data_length / byte_rate, held, header.data_length, exact=True)


def _only_chunks(reader: BoundedReader, layout: ChunkLayout, at: int) -> bool:
    """Whether nothing but whole chunks lies between `at` and the end of the file."""
    reader.seek(at)
    for name, start, length in chunks(reader, layout):
        if not all(0x20 <= byte < 0x7F for byte in name) or start + length > reader.size:
            return False
        at = start + length
    return reader.size - at < struct.calcsize(layout.head)


def measure_aiff(reader: BoundedReader) -> ProbeResult:
    """By the number of frames in COMM, in proportion to the bytes of SSND that are there."""
    seconds, samples = None, None
    reader.seek(AIFF_LAYOUT.first)
    for name, start, length in chunks(reader, AIFF_LAYOUT):
        if name == b"COMM":
            frames, exponent, mantissa = _unpack(reader, ">2xI2xHQ", start)
            rate = mantissa * 2.0 ** (min(exponent, 0x4020) - 0x403E)  # a float of 80 bits
            seconds = frames / rate if rate else None
        elif name == b"SSND":
            samples = start, length
    return ProbeResult() if samples is None else _unless_streamed(reader, seconds, *samples)


def measure_au(reader: BoundedReader) -> ProbeResult:
    """By the length of the samples and the bytes in a second."""
    start, length, encoding, rate, channels = _unpack(reader, ">4x5I", 0)
    bits = AU_BITS.get(encoding, 0) * rate * channels
    return _unless_streamed(reader, length * 8 / bits if bits else None, start, length)


def measure_caf(reader: BoundedReader) -> ProbeResult:
    """By the packets, where all have the same size, else by the table of packets; in proportion to the data."""
    rate = seconds = samples = None
    reader.seek(CAF_LAYOUT.first)
    for name, start, length in chunks(reader, CAF_LAYOUT):
        if name == b"desc":
            rate, size, frames = _unpack(reader, ">d8xII", start)
        elif name == b"pakt":
            (valid,) = _unpack(reader, ">8xQ", start)
            seconds = valid / rate if rate else None
        elif name == b"data":
            samples = start, length
            if rate and size:
                seconds = (length - 4) / size * frames / rate
    return ProbeResult() if samples is None else _unless_streamed(reader, seconds, *samples)


def _unless_streamed(reader: BoundedReader, seconds: float | None, start: int, length: int) -> ProbeResult:
    if length in SOX_AIFF_LENGTHS or is_streamed_length(length):
        return ProbeResult()
    return proportional_duration(seconds, max(0, reader.size - start), length)


def measure_avi(reader: BoundedReader) -> ProbeResult:
    """By the size of the file, which is in its header."""
    (length,) = _unpack(reader, "<4xI", 0)
    return ProbeResult() if is_streamed_length(length) else _compare_file_size(reader, length + 8)


def measure_asf(reader: BoundedReader) -> ProbeResult:
    """By the size of the file, which is among its properties."""
    at = reader.at(0, WINDOW_BYTES).find(ASF_FILE_PROPERTIES)
    if at < 0:
        return ProbeResult()
    length, flags = _unpack(reader, "<Q40xI", at + 40)
    return ProbeResult() if flags & ASF_BROADCAST_FLAG else _compare_file_size(reader, length)


def _compare_file_size(reader: BoundedReader, length: int) -> ProbeResult:
    if length - reader.size < SIZE_TOLERANCE_BYTES:
        return ProbeResult()
    return ProbeResult(note=f"it was cut off: its header promises {length:,} bytes, and it holds {reader.size:,}")


def _unpack(reader: BoundedReader, form: str, offset: int) -> tuple[Any, ...]:
    """Values of a header. Where it is cut off, probing can't tell: a server may still find audio."""
    try:
        return reader.unpack(form, offset)
    except NoAudio:
        raise Undetermined from None
