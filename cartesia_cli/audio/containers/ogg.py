"""Ogg: pages of one or more streams, each stamped with the granules that are over at its end.

Must never walk from page to page to the end: the first pages name the streams, and the last one stamps the duration.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from .peek import WINDOW, Held, Hollow, Peek

CODECS: dict[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"\x01vorbis": lambda packet: (int.from_bytes(packet[12:16], "little"), 0),
    b"OpusHead": lambda packet: (48000, int.from_bytes(packet[10:12], "little")),
    b"\x7fFLAC": lambda packet: (int.from_bytes(packet[27:30]) >> 4, 0),
    b"Speex   ": lambda packet: (int.from_bytes(packet[36:40], "little"), 0),
}
"""How a stream's first packet begins → its granules a second, and how many of them precede the audio."""

PAGE_HEAD = 27
"""Bytes of a page before its lacing values, which add up to the length of its body."""

HEADERS = 8192
"""Bytes: the headers of a stream take half as much. With no more than that and no stamp, there is no audio."""

FIRST = 2
"""Flag of the page that a stream begins with."""


def measure(peek: Peek) -> Held:
    """By the last stamp of the first stream whose codec is known."""
    clocks = _clocks(peek)
    audio = next(((serial, *clock) for serial, clock in clocks.items() if clock and clock[0]), None)
    if audio is None:
        return Held()
    audio_serial, rate, preceding = audio
    tail = peek.at(max(0, peek.size - WINDOW), WINDOW)
    end = len(tail)
    while (end := tail.rfind(b"OggS", 0, end)) >= 0:
        if len(tail) - end < PAGE_HEAD:
            continue
        granule, serial = struct.unpack_from("<6xqI", tail, end)
        if serial not in clocks:
            return Held()  # another recording was appended
        if serial == audio_serial and granule > preceding:
            return Held((granule - preceding) / rate)
    if peek.size <= HEADERS:
        raise Hollow("it consists of a header only")
    return Held()  # stamped by a muxer that doesn't count


def _clocks(peek: Peek) -> dict[int, tuple[int, int] | None]:
    """Each stream's serial number → what CODECS makes of its first packet. All begin before any of them goes on."""
    clocks: dict[int, tuple[int, int] | None] = {}
    at = 0
    while True:
        magic, flags, serial, count = peek.unpack("<4sxB8xI8xB", at)
        if magic != b"OggS" or not flags & FIRST:
            return clocks
        body = at + PAGE_HEAD + count
        packet = peek.at(body, 64)
        clocks[serial] = next((clock(packet) for name, clock in CODECS.items() if packet.startswith(name)), None)
        at = body + sum(peek.at(at + PAGE_HEAD, count))
        if at >= peek.size:
            raise Hollow("it consists of a header only")
