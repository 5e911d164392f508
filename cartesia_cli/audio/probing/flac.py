"""FLAC: metadata blocks, of which the first (STREAMINFO) counts the samples, and frames behind them.

Must never count the frames: how many there are can't be told without decoding them.
"""

from __future__ import annotations

from .bounded_reader import BoundedReader, NoAudio, ProbeResult


def measure(reader: BoundedReader) -> ProbeResult:
    """By the samples that STREAMINFO counts."""
    (info,) = reader.unpack(">Q", 18)
    at, last = 4, False
    while not last:
        (head,) = reader.unpack(">I", at)
        at, last = at + 4 + (head & 0xFFFFFF), bool(head >> 31)
    if at >= reader.size:
        raise NoAudio("it consists of a header only")
    rate, samples = info >> 44, info & (1 << 36) - 1
    return ProbeResult(samples / rate if rate and samples else None)
