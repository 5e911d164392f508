"""Lengths of containers that others write: AIFF, AU and CAF in seconds, AVI and WMA in bytes.

So that one that was cut off is told from a whole one: decoders stop at the end of either without a word. Must never
take the length for a promise that a writer into a pipe has left in the header.
"""

from __future__ import annotations

from typing import Any

from .bounded_reader import WINDOW, BoundedReader, NoAudio, ProbeResult, Undetermined, in_proportion
from .riff import OPEN_LENGTHS, Layout, chunks

BIG_ENDIAN = Layout(">4sI")

CORE_AUDIO = Layout(">4sQ", first=8, padding=1)

SOX = range(0x7E000000, 0x80000000)
"""What sox leaves in an AIFF that it writes into a pipe, less the headers."""

AU_BITS = {1: 8, 2: 8, 3: 16, 4: 24, 5: 32, 6: 32, 7: 64, 23: 4, 25: 3, 26: 5, 27: 8}
"""Encoding → bits of a sample."""

PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""GUID of ASF's file properties."""

BROADCAST = 1
"""Flag of ASF: nothing in the properties is valid yet."""

STRAY = 1024
"""Bytes by which some writers are wrong about the size of the file."""


def measure_aiff(reader: BoundedReader) -> ProbeResult:
    """By the frames of COMM, in proportion to the bytes of SSND that are there."""
    seconds, samples = None, None
    for name, start, length in chunks(reader, BIG_ENDIAN, BIG_ENDIAN.first):
        if name == b"COMM":
            frames, exponent, mantissa = _unpacked(reader, ">2xI2xHQ", start)
            rate = mantissa * 2.0 ** (min(exponent, 0x4020) - 0x403E)  # a float of 80 bits
            seconds = frames / rate if rate else None
        elif name == b"SSND":
            samples = start, length
    return ProbeResult() if samples is None else _there(reader, seconds, *samples)


def measure_au(reader: BoundedReader) -> ProbeResult:
    """By the size of the samples and what a second of them takes."""
    start, length, encoding, rate, channels = _unpacked(reader, ">4x5I", 0)
    bits = AU_BITS.get(encoding, 0) * rate * channels
    return _there(reader, length * 8 / bits if bits else None, start, length)


def measure_caf(reader: BoundedReader) -> ProbeResult:
    """By the packets, where all are alike, else by the table of packets; in proportion to the data that are there."""
    rate = seconds = samples = None
    for name, start, length in chunks(reader, CORE_AUDIO, CORE_AUDIO.first):
        if name == b"desc":
            rate, size, frames = _unpacked(reader, ">d8xII", start)
        elif name == b"pakt":
            (valid,) = _unpacked(reader, ">8xQ", start)
            seconds = valid / rate if rate else None
        elif name == b"data":
            samples = start, length
            if rate and size:
                seconds = (length - 4) / size * frames / rate
    return ProbeResult() if samples is None else _there(reader, seconds, *samples)


def _there(reader: BoundedReader, seconds: float | None, start: int, length: int) -> ProbeResult:
    if length in SOX or any(length in lengths for lengths in OPEN_LENGTHS):
        return ProbeResult()
    return in_proportion(seconds, max(0, reader.size - start), length)


def measure_avi(reader: BoundedReader) -> ProbeResult:
    """By the size of the file."""
    (length,) = _unpacked(reader, "<4xI", 0)
    return ProbeResult() if any(length in lengths for lengths in OPEN_LENGTHS) else _whole(reader, length + 8)


def measure_asf(reader: BoundedReader) -> ProbeResult:
    """By the size of the file, which the properties tell."""
    at = reader.at(0, WINDOW).find(PROPERTIES)
    if at < 0:
        return ProbeResult()
    length, flags = _unpacked(reader, "<Q40xI", at + 40)
    return ProbeResult() if flags & BROADCAST else _whole(reader, length)


def _whole(reader: BoundedReader, length: int) -> ProbeResult:
    if length - reader.size < STRAY:
        return ProbeResult()
    return ProbeResult(note=f"it was cut off: its header promises {length:,} bytes, and it holds {reader.size:,}")


def _unpacked(reader: BoundedReader, form: str, offset: int) -> tuple[Any, ...]:
    """Values of a header. One that isn't all there says nothing of what a server may find."""
    try:
        return reader.unpack(form, offset)
    except NoAudio:
        raise Undetermined from None
