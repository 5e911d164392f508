"""Takes the sound out of films, and out of containers that the API doesn't document, so that only that is uploaded.

    AAC                       copied into M4A
    Opus, Vorbis              copied into Ogg
    MP3, MP2, FLAC            copied into files of their own
    everything else           decoded to FLAC: 16 kHz, mono, as the recognizers hear it

Copying loses no quality and takes almost no time. Memory doesn't grow with the pictures, only by the index of the
sound: a few MB an hour. Must never send pictures, nor let the times of words depend on where in a film its sound
begins.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..transfer import new_file
from .decoders import (
    TOLERANCES,
    UNCHECKED,
    RangeReader,
    Warn,
    choose_track,
    open_ffmpeg,
    read_packets,
    start_time,
)
from .encoders import new_flac_file
from .files import Decoder
from .pcm import RATE
from .probing import MediaInfo, UploadEstimate, display_name, probe
from .probing.bounded_reader import open_regular_file

if TYPE_CHECKING:
    from av import AudioStream, Packet
    from av.container import InputContainer, OutputContainer

FLAC_BYTES_PER_SECOND = 17_000
"""Of speech at 16 kHz, about: 53 % of its samples. Silence takes less, loud noise up to 32,000."""

ESTIMATE_BYTES = 8 << 20
"""How much of a film is read to estimate the size of its sound, where it has no index of that."""

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of a disk, as opposed to those of a packet."""

MIN_GAP_SECONDS = 0.25
"""Differences between the times of packets up to this are taken for rounding, or for a duration that the codec leaves
open. Longer gaps are worth a warning; packets that begin further back can't be copied."""

MAX_UNDECODABLE_PACKETS = 50
"""If none of this many packets at the beginning can be decoded, a track is damaged or encrypted, and not copied."""


@dataclass(frozen=True, slots=True)
class CopyFormat:
    """The format of the file into which a track is copied.

    muxer        FFmpeg's name of it
    extension    of the file
    has_times    whether the file says when a packet is played, so that a player leaves out what comes before 0
    options      of the muxer
    """

    muxer: str
    extension: str
    has_times: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


OGG = CopyFormat("ogg", ".ogg", has_times=True)

COPY_FORMATS = {
    # The index first: a server may read the file as a stream.
    "aac": CopyFormat("ipod", ".m4a", has_times=True, options={"movflags": "faststart"}),
    "opus": OGG,
    "vorbis": OGG,
    # With a Xing header, decoders would drop the first 0.01 s.
    "mp3": CopyFormat("mp3", ".mp3", options={"write_xing": "0", "id3v2_version": "0"}),
    "mp2": CopyFormat("mp2", ".mpga"),
    "flac": CopyFormat("flac", ".flac"),
}
"""FFmpeg's name of a codec → the format into which its packets are copied. The API documents all of these."""


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """The sound of a recording in a file of its own, for an upload.

    path    of the file
    media   what probing would say of it
    video   whether the recording has pictures
    """

    path: Path
    media: MediaInfo
    video: bool


class _SampleClock:
    """Counts the times of packets in samples: exactly, where the container has rounded them, as Matroska does to
    milliseconds (in an M4A, every irregular length takes 8 bytes); and never backwards, where films were joined.

    start     what becomes 0, in units of the track; None: the time of the first packet
    samples   of all packets so far
    gaps      samples that are missing between them
    """

    def __init__(self, track: AudioStream, start: int | None) -> None:
        self.rate, self._start = track.codec_context.sample_rate or 1, start
        self._frame_samples = track.codec_context.frame_size  # 0: they vary
        self._unit = track.time_base or Fraction(1)
        self._next: int | None = None
        self._last: int | None = None
        self.samples = self.gaps = 0

    @property
    def end(self) -> float:
        """Where the last packet ends, in seconds of the film."""
        return float((self._start or 0) * self._unit) + (self._next or 0) / self.rate

    def stamp(self, packet: Packet[AudioStream]) -> None:
        """Change the times of the next packet. Raises _CannotCopy if it begins long before the previous one began."""
        if self._start is None:
            self._start = packet.pts or 0
        unit, tolerance = self._unit * self.rate, MIN_GAP_SECONDS * self.rate
        length = self._corrected(round((packet.duration or 0) * unit), self._frame_samples)
        if 0 < self._frame_samples < length - tolerance:  # a fragmented MP4 adds a gap to the packet before it
            length = self._frame_samples
        begins = packet.pts if packet.pts is not None else packet.dts
        at = (self._next or 0) if begins is None else round((begins - self._start) * unit)
        if self._next is not None and self._last is not None:
            at = self._corrected(at, self._next)
            if self._last - at > tolerance:
                raise _CannotCopy
            if at - self._next > tolerance:
                self.gaps += at - self._next
            at = max(at, self._last + 1)
        packet.time_base = Fraction(1, self.rate)
        packet.pts = packet.dts = self._last = at
        packet.duration = length
        self._next = at + length
        self.samples += length

    def _corrected(self, samples: int, expected: int) -> int:
        """The expected number of samples, if the unit of the track is too coarse to tell it from the given one."""
        return expected if abs(samples - expected) <= self._unit * self.rate else samples


class _CannotCopy(Exception):
    """The packets of a track don't fit into the file, or can't be decoded."""


def extract_soundtrack(path: Path, folder: Path, *, warn: Warn = lambda note: None) -> Soundtrack:
    """Write the sound of a recording to a new file in `folder`, which the caller deletes. Raises InputError if there is
    no sound that can be decoded, or the file can't be written.

    warn   called with a sentence for what is missing, and if there are several audio tracks
    """
    import av

    name = display_name(path)
    notes: list[str] = []  # held back: if the track can't be copied, decoding warns of the same
    video = False
    with open_regular_file(path, name) as (file, _):
        try:
            with open_ffmpeg(RangeReader(file)) as container:
                video = bool(container.streams.video)
                track = choose_track(container, name, notes.append)
                if copy_format := _copy_format(track):
                    soundtrack = _copy_track(container, track, copy_format, folder, name, notes.append)
                    for note in notes:
                        warn(note)
                    return soundtrack
        except (_CannotCopy, av.FFmpegError, ValueError):  # PyAV raises the last one for what a muxer doesn't take
            pass  # the decoders find out what is wrong, and decode what they can
    return _decode(path, folder, name, warn, video=video)


def sound_start(path: Path) -> float:
    """Seconds between the beginning of a film, which is that of its first track, and the beginning of its soundtrack.

    0 for a file that can't be read. Less than 0 if the soundtrack has something that players leave out. Assumes that
    tracks with a copy format are copied.
    """
    import av

    with (
        suppress(av.FFmpegError, InputError),
        open_regular_file(path, display_name(path)) as (file, _),
        open_ffmpeg(RangeReader(file)) as container,
    ):
        track = choose_track(container, display_name(path), lambda note: None)
        copy_format = _copy_format(track)
        if copy_format and not copy_format.has_times:
            start = next((packet.pts or 0 for packet in read_packets(container, track) if packet.size), 0)
        else:
            start = max(0, track.start_time or 0)
        return round(float(start * (track.time_base or 0)) - start_time(container), 6)
    return 0.0


def warn_of_tracks(path: Path, warn: Warn) -> None:
    """Say which one is decoded, if a recording has several audio tracks. Nothing of a file that can't be read."""
    import av

    name = display_name(path)
    with (
        suppress(av.FFmpegError, InputError),
        open_regular_file(path, name) as (file, _),
        open_ffmpeg(RangeReader(file)) as container,
    ):
        choose_track(container, name, warn)


def estimate_soundtrack(path: Path, media: MediaInfo) -> UploadEstimate:
    """What `extract_soundtrack` would write. `media`: of the recording. Raises InputError if it has no audio track."""
    import av

    name, duration = display_name(path), media.duration
    with (
        suppress(av.FFmpegError),
        open_regular_file(path, name) as (file, size),
        open_ffmpeg(RangeReader(file)) as container,
    ):
        track = choose_track(container, name, lambda note: None)
        duration = duration or _track_seconds(container, track)
        if copy_format := _copy_format(track):
            sound_bytes, is_whole = 0, True
            if len(track.index_entries) == track.frames > 0:
                sizes = [entry.size for entry in track.index_entries if entry.pos + entry.size <= size]
                return UploadEstimate(sum(sizes), len(sizes) == track.frames, duration, copy_format.extension)
            try:
                for packet in read_packets(container):
                    sound_bytes += packet.size if packet.stream.index == track.index else 0
                    if (read := file.tell()) >= ESTIMATE_BYTES:
                        return UploadEstimate(sound_bytes * size // read, False, duration, copy_format.extension)
            except av.FFmpegError:
                is_whole = False  # what comes before the damage is copied
            if sound_bytes:
                return UploadEstimate(sound_bytes, is_whole, duration, copy_format.extension)
    return estimate_flac(duration)


def estimate_flac(duration: float | None) -> UploadEstimate:
    """A recording that is decoded to FLAC. `duration`: in seconds, if it is known."""
    size = None if duration is None else int(duration * FLAC_BYTES_PER_SECOND)
    return UploadEstimate(size, False, duration, ".flac")


def _copy_format(track: AudioStream) -> CopyFormat | None:
    """The format in which a track can be copied. None: it has to be decoded."""
    # A codec without a decoder has no context.
    return COPY_FORMATS.get(track.codec_context.codec.canonical_name) if track.codec_context else None


def _copy_track(
    container: InputContainer, track: AudioStream, copy_format: CopyFormat, folder: Path, name: str, warn: Warn
) -> Soundtrack:
    """Copy the packets of a track into a file of its own. Raises _CannotCopy if that isn't possible."""
    import av
    from av.stream import Discard

    for stream in container.streams:
        if stream.index != track.index:
            stream.discard = Discard.all  # most demuxers then skip its packets in the file
    # Samples before 0 are left out only where the file says so.
    clock = _SampleClock(track, track.start_time if copy_format.has_times else None)
    with (
        new_file(folder, copy_format.extension, f"the sound of {name}") as (_, path),
        av.open(str(path), "w", format=copy_format.muxer, options=dict(copy_format.options)) as output,
    ):
        copy = output.add_stream_from_template(track)
        for packet in _decodable_packets(container, track, clock, warn):
            clock.stamp(packet)
            packet.stream = copy
            _mux(output, packet)
    if clock.gaps and TOLERANCES.get(container.format.name) is not UNCHECKED:
        warn(f"its sound has gaps of {clock.gaps / clock.rate:.2f} s: times after them may be too early")
    media = probe(path, name)
    if media.estimated:  # by the bit rate of the first frames
        media = media._replace(duration=clock.samples / clock.rate, estimated=False)
    return Soundtrack(path, media, video=bool(container.streams.video))


def _decode(path: Path, folder: Path, name: str, warn: Warn, *, video: bool) -> Soundtrack:
    """Decode a recording to FLAC."""
    with new_flac_file(folder, name) as (writer, sound):
        for samples in Decoder(rate=RATE, warn=warn).decode_file(path):
            writer.write(samples)
    media = MediaInfo("flac", sound.stat().st_size, writer.seconds)
    return Soundtrack(sound, media, video)


def _decodable_packets(
    container: InputContainer, track: AudioStream, clock: _SampleClock, warn: Warn
) -> Iterator[Packet[AudioStream]]:
    """The packets of a track, which `clock` counts; warns of damage. Raises _CannotCopy if none of the
    first MAX_UNDECODABLE_PACKETS is usable.
    """
    import av

    tried, is_decodable = 0, False
    try:
        for packet in read_packets(container, track):
            if not packet.size:  # the end
                continue
            if not is_decodable:
                tried += 1
                with suppress(av.FFmpegError):
                    is_decodable = bool(packet.decode())
                if not is_decodable and tried == MAX_UNDECODABLE_PACKETS:
                    break
            yield packet
    except av.FFmpegError as error:
        if not is_decodable:
            raise _CannotCopy from error
        end = clock.end - start_time(container)
        warn(f"it is damaged: nothing after {end:.2f} s can be read ({error.strerror})")
    if not is_decodable:
        raise _CannotCopy


def _mux(output: OutputContainer, packet: Packet[AudioStream]) -> None:
    import av

    try:
        output.mux(packet)
    except av.FFmpegError as error:
        if error.errno in DISK_ERRORS:
            raise OSError(error.errno, error.strerror) from error
        raise _CannotCopy from error  # such as times that go backwards


def _track_seconds(container: InputContainer, track: AudioStream) -> float | None:
    """Length of a track by the header."""
    import av

    if track.duration and track.time_base:
        return float(track.duration * track.time_base)
    return container.duration / av.time_base if container.duration else None
