"""Durations of Ogg (Vorbis, Opus, Speex, FLAC) by the timestamp of its last page, and of FLAC by its STREAMINFO.

An Ogg file consists of pages of one or more streams, each with a timestamp in granules. Must never walk through all
pages for a duration: the first ones name the streams, the last one has the time. `find_chained_recordings`, for
decoding only, reads the whole file, since recordings may have been appended to each other. Frames of FLAC are never
counted: that would need decoding.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from .bounded_reader import MAX_SEARCH_BYTES, WINDOW_BYTES, BoundedReader, NoAudio, ProbeResult

CODECS: dict[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"\x01vorbis": lambda packet: (int.from_bytes(packet[12:16], "little"), 0),
    b"OpusHead": lambda packet: (48000, int.from_bytes(packet[10:12], "little")),
    b"\x7fFLAC": lambda packet: (int.from_bytes(packet[27:30]) >> 4, 0),
    b"Speex   ": lambda packet: (int.from_bytes(packet[36:40], "little"), 0),
}
"""First bytes of a stream → function from its first packet to granules per second, and granules before the audio."""

VIDEO_CODECS = (b"\x80theora", b"\x01video", b"BBCD\0", b"OVP80")
"""First bytes of a stream of pictures: Theora, any video in OGM, Dirac, VP8."""

PAGE_HEAD_BYTES = 27
"""Size of a page's head before its lacing values, which add up to the length of its body."""

MAX_PAGE_HEAD_BYTES = PAGE_HEAD_BYTES + 255
"""Largest size of everything in a page before its body."""

MAX_HEADERS_BYTES = 8192
"""Headers of a stream take half as much. A file of no more than that, without a timestamp, has no audio."""

FIRST_PAGE_FLAG, LAST_PAGE_FLAG = 2, 4
"""Flags of the first and the last page of a stream."""

FIRST_PAGE = rb"(?s)OggS\0[\x02\x03\x06\x07].{20}(.)"
"""The first page of a stream up to its lacing values, and how many of these there are."""

MAX_CHAINED = 1000
"""Recordings in one file, at most: more would be a hostile file."""

NO_LAST_PAGE = "it was cut off or never closed: its last page is not marked as the last"


def measure_ogg(reader: BoundedReader) -> ProbeResult:
    """By the last timestamp of the first stream whose codec is known."""
    packets = _first_packets(reader)
    video = any(packet.startswith(VIDEO_CODECS) for packet in packets.values())
    clocks = {serial: _clock(packet) for serial, packet in packets.items()}
    audio = next(((serial, *clock) for serial, clock in clocks.items() if clock and clock[0]), None)
    if audio is None:
        return ProbeResult(video=video)
    audio_serial, rate, preceding = audio
    tail = reader.at(max(0, reader.size - WINDOW_BYTES), WINDOW_BYTES)
    end = len(tail)
    note = None if _ends_with_last_page(tail) else NO_LAST_PAGE
    while (end := tail.rfind(b"OggS", 0, end)) >= 0:
        if len(tail) - end < PAGE_HEAD_BYTES:
            continue
        granule, serial = struct.unpack_from("<6xqI", tail, end)
        if serial not in clocks:
            return ProbeResult(video=video)  # another recording was appended
        if serial == audio_serial and granule > preceding:
            return ProbeResult((granule - preceding) / rate, note=note, video=video)
    if reader.size <= MAX_HEADERS_BYTES:
        raise NoAudio("it consists of a header only")
    return ProbeResult(note=note, video=video)  # a muxer that writes no timestamps


def _ends_with_last_page(tail: bytes) -> bool:
    """Whether the last page is complete and flagged as the last."""
    page = tail[max(0, tail.rfind(b"OggS")) :].ljust(PAGE_HEAD_BYTES, b"\0")
    count = page[26]
    lacing = page[PAGE_HEAD_BYTES : PAGE_HEAD_BYTES + count]
    return bool(page[5] & LAST_PAGE_FLAG) and PAGE_HEAD_BYTES + count + sum(lacing) <= len(page)


def find_chained_recordings(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Start and end offsets of each of the recordings that were appended to each other.

    A recording begins at a group of first pages, one for each of its parallel streams.
    """
    start = at = page_end = count = 0  # offsets of this recording, the window, the end of a first page
    file.seek(0)
    window = b""
    while True:
        data = file.read(MAX_SEARCH_BYTES)
        window += data
        searchable = max(0, len(window) - MAX_PAGE_HEAD_BYTES) if data else len(window)
        for page in re.finditer(FIRST_PAGE, window):
            if page.start() >= searchable:
                break
            if 0 < page_end != at + page.start() and count < MAX_CHAINED:
                count += 1
                yield start, at + page.start()
                start = at + page.start()
            lacing = window[page.end() : page.end() + page[1][0]]
            page_end = at + page.end() + len(lacing) + sum(lacing)
        window, at = window[searchable:], at + searchable
        if not data:
            break
    yield start, at


def _clock(packet: bytes) -> tuple[int, int] | None:
    """The result of CODECS for the first packet of a stream; None if its codec is unknown."""
    return next((clock(packet) for name, clock in CODECS.items() if packet.startswith(name)), None)


def _first_packets(reader: BoundedReader) -> dict[int, bytes]:
    """Serial number of each stream → the beginning of its first packet. All first pages come first."""
    packets: dict[int, bytes] = {}
    at = 0
    while True:
        magic, flags, serial, count = reader.unpack("<4sxB8xI8xB", at)
        if magic != b"OggS" or not flags & FIRST_PAGE_FLAG:
            return packets
        body = at + PAGE_HEAD_BYTES + count
        packets[serial] = reader.at(body, 64)
        at = body + sum(reader.at(at + PAGE_HEAD_BYTES, count))
        if at >= reader.size:
            raise NoAudio("it consists of a header only")


def measure_flac(reader: BoundedReader) -> ProbeResult:
    """By the number of samples in STREAMINFO."""
    (info,) = reader.unpack(">Q", 18)
    at, last = 4, False
    while not last:
        (head,) = reader.unpack(">I", at)
        at, last = at + 4 + (head & 0xFFFFFF), bool(head >> 31)
    if at >= reader.size:
        raise NoAudio("it consists of a header only")
    rate, samples = info >> 44, info & (1 << 36) - 1
    return ProbeResult(samples / rate if rate and samples else None)
