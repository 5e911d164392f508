"""Durations of MP4 (nested boxes) and of Matroska and WebM (nested EBML elements) by their headers.

Must never descend into a box that it doesn't need, nor report that a file has no audio if a box of an unknown kind
could contain some.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from math import isfinite

from .bounded_reader import MAX_SEARCH_BYTES, BoundedReader, NoAudio, ProbeResult, Undetermined, proportional_duration

Boxes = Iterator[tuple[bytes, int, int]]
"""Kind, and start and end offset of the body; the end may lie beyond the end of the file."""

Spans = Iterator[tuple[int, int]]
"""Start and end offsets of bodies."""


def _find(
    walk: Callable[[BoundedReader, int, int], Boxes], reader: BoundedReader, start: int, end: int, *path: bytes
) -> Spans:
    """The bodies of the boxes between `start` and `end` that a path of kinds leads to."""
    for kind, first, last in walk(reader, start, end):
        if kind == path[0] and len(path) == 1:
            yield first, last
        elif kind == path[0]:
            yield from _find(walk, reader, first, min(last, end), *path[1:])


# MP4 -------------------------------------------------------------------------------------------------------

VIDEO_HANDLER = b"vide"

SILENT_HANDLERS = {VIDEO_HANDLER, b"subt", b"text", b"sbtl", b"clcp", b"tmcd", b"hint", b"meta", b"pict"}
"""Handlers of tracks without audio."""

OUTER_BOXES = frozenset(b"ftyp styp free skip wide pdin moov moof mfra sidx ssix mdat meta udta uuid emsg prft".split())
"""Known boxes at the top level. If there is another one, the audio may be inside it."""


def measure_mp4(reader: BoundedReader) -> ProbeResult:
    """By the header of the movie, in proportion to the media data in the file."""
    promised, indexed, held, whole, video = None, False, 0, 0, False
    boxes = _mp4_boxes(reader, 0, reader.size)
    for kind, start, end in boxes:
        if kind not in OUTER_BOXES or (end > reader.size and kind != b"mdat"):
            raise Undetermined
        if kind == b"moov":
            handlers, indexed = _handlers(reader, start, end), True
            promised, video = _movie_seconds(reader, start, end), VIDEO_HANDLER in handlers
        elif kind in (b"mdat", b"moof") and end > start:
            held, whole, indexed = min(end, reader.size) - start, end - start, indexed or kind == b"moof"
        if indexed and whole:
            break
    if not held:
        raise NoAudio("it consists of a header only")
    if not indexed:
        raise NoAudio("its index (moov) is missing, so nothing in it can be found")
    if promised is None and any(end > reader.size for _, _, end in boxes):
        return ProbeResult(note="it was cut off: its last part is incomplete", video=video)
    return proportional_duration(promised, held, whole)._replace(video=video)


def _mp4_boxes(reader: BoundedReader, at: int, end: int) -> Boxes:
    while at + 8 <= end:
        size, kind = reader.unpack(">I4s", at)
        start = at + 8
        if size == 1:
            (size,) = reader.unpack(">Q", start)
            start += 8
        elif size == 0 and kind == b"mdat":
            size = end - at
        if at + size < start:
            raise Undetermined
        yield kind, start, at + size
        at += size


def _handlers(reader: BoundedReader, start: int, end: int) -> set[bytes]:
    """The handlers of the tracks of a movie. Raises NoAudio if none of them can be one of audio."""
    tracks = _find(_mp4_boxes, reader, start, end, b"trak", b"mdia", b"hdlr")
    handlers = {reader.unpack("8x4s", at)[0] for at, _ in tracks}
    if handlers and handlers <= SILENT_HANDLERS:
        raise NoAudio("it has no audio track")
    return handlers


def _movie_seconds(reader: BoundedReader, start: int, end: int) -> float | None:
    """Seconds by the header of a movie; None for fragmented ones, which it doesn't count."""
    if any(_find(_mp4_boxes, reader, start, end, b"mvex")):
        return None
    for at, _ in _find(_mp4_boxes, reader, start, end, b"mvhd"):
        (version,) = reader.unpack("B", at)
        scale, units = reader.unpack(">20xIQ" if version == 1 else ">12xII", at)
        unknown = (1 << (64 if version == 1 else 32)) - 1  # ISO 14496-12, 8.2.2
        return units / scale if scale and units != unknown else None
    return None


# Matroska --------------------------------------------------------------------------------------------------

SEGMENT, INFO, TRACKS, CLUSTER = (bytes.fromhex(text) for text in ("18538067", "1549a966", "1654ae6b", "1f43b675"))
SCALE, DURATION, TRACK, TRACK_TYPE = (bytes.fromhex(text) for text in ("2ad7b1", "4489", "ae", "83"))
"""Identifiers of elements."""

DEFAULT_SCALE_NS = 1_000_000
"""Nanoseconds in a unit of DURATION if SCALE is missing."""

AUDIO_TRACK_TYPES, VIDEO_TRACK_TYPES = {2, 3}, {1, 3}
"""Track types: video, audio, and audio with video."""


def measure_matroska(reader: BoundedReader) -> ProbeResult:
    """By the duration of the segment, in proportion to its bytes in the file."""
    start, end = next(_find(_elements, reader, 0, reader.size, SEGMENT), (reader.size, reader.size))
    parts = {}
    for kind, first, last in _elements(reader, start, min(end, reader.size)):
        parts[kind] = first, min(last, reader.size)
        if kind == CLUSTER:
            break
    if CLUSTER not in parts and reader.size <= MAX_SEARCH_BYTES and CLUSTER not in reader.at(0, MAX_SEARCH_BYTES):
        raise NoAudio("it consists of a header only")
    tracks = _find(_elements, reader, *parts.get(TRACKS, (0, 0)), TRACK, TRACK_TYPE)
    types = {int.from_bytes(_value(reader, first, last)) for first, last in tracks}
    if types and not types & AUDIO_TRACK_TYPES:
        raise NoAudio("it has no audio track")
    seconds = _segment_seconds(reader, *parts.get(INFO, (0, 0)))
    result = proportional_duration(seconds, reader.size - start, end - start)
    return result._replace(video=bool(types & VIDEO_TRACK_TYPES))


def _elements(reader: BoundedReader, at: int, end: int) -> Boxes:
    """EBML elements: an identifier, a length and a body. In live streams, outer elements have no length."""
    while at < end:
        head = reader.at(at, 12)
        name = head[: _number_bytes(head)]
        width = _number_bytes(head[len(name) :])
        length, limit = int.from_bytes(head[len(name) : len(name) + width]), 1 << 7 * width
        start = at + len(name) + width
        at = end if length % limit == limit - 1 else start + length % limit
        yield name, start, at


def _number_bytes(number: bytes) -> int:
    """Length of a variable-length number: one more than its leading zero bits."""
    if not number or not number[0]:
        raise Undetermined
    return 9 - number[0].bit_length()


def _value(reader: BoundedReader, first: int, last: int) -> bytes:
    """The body of an element that is a number, of at most 8 bytes."""
    return reader.at(first, min(last - first, 8))


def _segment_seconds(reader: BoundedReader, start: int, end: int) -> float | None:
    """Seconds by the Info element of a segment."""
    info = {kind: _value(reader, first, last) for kind, first, last in _elements(reader, start, end)}
    form = {4: ">f", 8: ">d"}.get(len(info.get(DURATION, b"")))
    if form is None:
        return None
    (units,) = struct.unpack(form, info[DURATION])
    scale = int.from_bytes(info[SCALE]) if SCALE in info else DEFAULT_SCALE_NS
    seconds = float(units) * scale / 1e9
    return seconds if isfinite(seconds) else None
