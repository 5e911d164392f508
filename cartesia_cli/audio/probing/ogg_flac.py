"""Ogg: pages of one or more streams, each stamped with the granules that are over at its end.

A look must never walk from page to page to the end: the first pages name the streams, and the last one stamps the
duration. Only who decodes a file looks through it, for other recordings that were appended.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from .bounded_reader import SEARCHED, WINDOW, BoundedReader, NoAudio, ProbeResult

CODECS: dict[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"\x01vorbis": lambda packet: (int.from_bytes(packet[12:16], "little"), 0),
    b"OpusHead": lambda packet: (48000, int.from_bytes(packet[10:12], "little")),
    b"\x7fFLAC": lambda packet: (int.from_bytes(packet[27:30]) >> 4, 0),
    b"Speex   ": lambda packet: (int.from_bytes(packet[36:40], "little"), 0),
}
"""How a stream's first packet begins → its granules a second, and how many of them precede the audio."""

PAGE_HEAD_BYTES = 27
"""Bytes of a page before its lacing values, which add up to the length of its body."""

MAX_PAGE_HEAD_BYTES = PAGE_HEAD_BYTES + 255
"""Bytes of a page before its body, at most."""

MAX_HEADERS_BYTES = 8192
"""Bytes: the headers of a stream take half as much. With no more than that and no stamp, there is no audio."""

FIRST_PAGE_FLAG, LAST_PAGE_FLAG = 2, 4
"""Flags of the pages that a stream begins and ends with."""

FIRST_PAGE = re.compile(rb"OggS\0[\x02\x03\x06\x07].{20}(.)", re.DOTALL)
"""A page that a stream begins with, up to its lacing values, and how many of these there are."""

MAX_CHAINED = 1000
"""Recordings in one file that are told from each other. More are hostile."""

NO_LAST_PAGE = "it was cut off or never closed: its last page is not marked as the last"


def measure_ogg(reader: BoundedReader) -> ProbeResult:
    """By the last stamp of the first stream whose codec is known."""
    clocks = _stream_clocks(reader)
    audio = next(((serial, *clock) for serial, clock in clocks.items() if clock and clock[0]), None)
    if audio is None:
        return ProbeResult()
    audio_serial, rate, preceding = audio
    tail = reader.at(max(0, reader.size - WINDOW), WINDOW)
    end = len(tail)
    note = None if _ends_with_last_page(tail) else NO_LAST_PAGE
    while (end := tail.rfind(b"OggS", 0, end)) >= 0:
        if len(tail) - end < PAGE_HEAD_BYTES:
            continue
        granule, serial = struct.unpack_from("<6xqI", tail, end)
        if serial not in clocks:
            return ProbeResult()  # another recording was appended
        if serial == audio_serial and granule > preceding:
            return ProbeResult((granule - preceding) / rate, note=note)
    if reader.size <= MAX_HEADERS_BYTES:
        raise NoAudio("it consists of a header only")
    return ProbeResult(note=note)  # stamped by a muxer that doesn't count


def _ends_with_last_page(tail: bytes) -> bool:
    """Whether the last page is there to its end, and says that it is the last."""
    page = tail[max(0, tail.rfind(b"OggS")) :].ljust(PAGE_HEAD_BYTES, b"\0")
    count = page[26]
    lacing = page[PAGE_HEAD_BYTES : PAGE_HEAD_BYTES + count]
    return bool(page[5] & LAST_PAGE_FLAG) and PAGE_HEAD_BYTES + count + sum(lacing) <= len(page)


def find_chained_recordings(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """First byte, and byte behind the last, of each of the recordings that were appended to each other.

    The first pages of streams that run side by side follow each other: there one recording begins.
    """
    start = at = behind = count = 0  # of this recording, of what is searched, the byte behind a first page
    file.seek(0)
    window = b""
    while True:
        data = file.read(SEARCHED)
        window += data
        sure = max(0, len(window) - MAX_PAGE_HEAD_BYTES) if data else len(window)
        for page in FIRST_PAGE.finditer(window):
            if page.start() >= sure:
                break
            if 0 < behind != at + page.start() and count < MAX_CHAINED:
                count += 1
                yield start, at + page.start()
                start = at + page.start()
            lacing = window[page.end() : page.end() + page[1][0]]
            behind = at + page.end() + len(lacing) + sum(lacing)
        window, at = window[sure:], at + sure
        if not data:
            break
    yield start, at


def _stream_clocks(reader: BoundedReader) -> dict[int, tuple[int, int] | None]:
    """Each stream's serial number → what CODECS makes of its first packet. All begin before any of them goes on."""
    clocks: dict[int, tuple[int, int] | None] = {}
    at = 0
    while True:
        magic, flags, serial, count = reader.unpack("<4sxB8xI8xB", at)
        if magic != b"OggS" or not flags & FIRST_PAGE_FLAG:
            return clocks
        body = at + PAGE_HEAD_BYTES + count
        packet = reader.at(body, 64)
        clocks[serial] = next((clock(packet) for name, clock in CODECS.items() if packet.startswith(name)), None)
        at = body + sum(reader.at(at + PAGE_HEAD_BYTES, count))
        if at >= reader.size:
            raise NoAudio("it consists of a header only")


def measure_flac(reader: BoundedReader) -> ProbeResult:
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
