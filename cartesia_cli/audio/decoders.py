"""Decodes open files piece by piece: uncompressed WAV directly, other formats with libsndfile or FFmpeg's libraries.

Must never print, nor let a library print; never open other files that a file refers to; never skip damage without a
warning, if a decoder notices it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .pcm import decode_pcm
from .probing.bounded_reader import proportional_duration
from .wav_header import ALAW, FLOAT, MULAW, WavFormat

if TYPE_CHECKING:
    import soundfile
    from av import AudioStream, Packet
    from av.container import InputContainer

Frames = NDArray[np.float32]
"""Samples of shape (frames, channels)."""

Read = Callable[[int], bytes]
"""Reads the next bytes of a stream, up to the given number; none at its end."""

Warn = Callable[[str], object]

Pieces = Iterator[tuple[int, Frames]]
"""Rate in Hz and samples of each piece. The rate may change in a stream: chained Ogg, MPEG frames."""

BLOCK_SECONDS = 0.5
"""Length of audio that is read at a time."""

MAX_READ_BYTES = 4 << 20
"""Largest read, however many channels there are."""

MAX_FILE_BYTES = 1 << 43
"""Longer than any recording. Seeking further fails on some file systems and works on others, and in memory."""

MIN_REPORTED_SECONDS = 0.1
"""Damage that is worth a warning. Less than that is missing from many files that were edited."""

DURATION_IN_HEADER = frozenset({"flv", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wv", "ape"})
"""FFmpeg's names of formats whose duration is in the header. Others may be estimated by the bit rate."""

DEFAULT_TOLERANCE = 0.25, 0.01
"""Seconds, and share of the whole, that may be missing: encoders begin early, clocks drift, silence isn't stored."""

UNCHECKED = inf, 0.0

TOLERANCES = {"flac": (0.02, 0.0), "mpegts": UNCHECKED, "mpeg": UNCHECKED}
"""Tolerances of FLAC, where every sample has a timestamp, and of MPEG streams, where clocks jump."""

SOUNDFILE_CONTAINERS = frozenset({"aiff", "au", "caf"})
"""Containers that libsndfile decodes best. It stops at damage in FLAC and misses the end of a streamed one, and takes
the size 0 in a streamed WAV for no samples."""


class RangeReader:
    """A range of an open file, for a decoder, which can't see its name.

    A damaged header can name an impossible position: `seek` returns -1 then, since decoders print exceptions on stderr.
    """

    def __init__(self, file: BinaryIO, start: int = 0, end: int = MAX_FILE_BYTES) -> None:
        self._file, self._start = file, start
        self._end = min(end, file.seek(0, os.SEEK_END))
        file.seek(start)

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if count < 0 else min(count, left))

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset >= MAX_FILE_BYTES:
            return -1
        base = {os.SEEK_SET: self._start, os.SEEK_END: self._end}.get(whence, 0)
        try:
            return self._file.seek(base + offset, 1 if whence == 1 else 0) - self._start
        except (OSError, OverflowError, ValueError):
            return -1


def decode_wav(wav_format: WavFormat, promised: int | None, read: Read, warn: Warn) -> Pieces:
    """Decode the uncompressed samples after the header of a WAV, as they arrive.

    Neither library decodes all of them: libsndfile finds no samples where the header has no length; FFmpeg decodes RIFX
    and 24 bits in 32 to noise, and waits for 64 KiB of a pipe. `promised`: bytes by the header, None: up to the end.
    """
    received = 0
    for data in whole_frames(read, wav_format.frame_bytes, wav_format.rate, promised):
        received += len(data)
        yield wav_format.rate, wav_frames(wav_format, data)
    if promised is not None:
        seconds = promised / (wav_format.rate * wav_format.frame_bytes)
        if note := proportional_duration(seconds, received, promised, exact=True).note:
            warn(note)


def wav_frames(wav_format: WavFormat, data: bytes) -> Frames:
    """Decode bytes of whole uncompressed frames to samples, full scale at 1; floats may have any value."""
    order, size = wav_format.byte_order, wav_format.sample_bytes
    if wav_format.codec in (ALAW, MULAW):
        samples = decode_pcm(data, "pcm_alaw" if wav_format.codec == ALAW else "pcm_mulaw")
    elif wav_format.codec == FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):  # values too large for 32 bits become infinite
            samples = np.frombuffer(data, f"{order}f{size}").astype(np.float32)
    elif size == 1:  # unsigned, unlike wider ones
        samples = np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    else:
        if size == 3:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, slice(1, 4) if order == "<" else slice(0, 3)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            data, size = padded.tobytes(), 4
        samples = (np.frombuffer(data, f"{order}i{size}") / 2.0 ** (8 * size - 1)).astype(np.float32)
    return samples.reshape(-1, wav_format.channels)


def whole_frames(read: Read, frame: int, rate: int, promised: int | None = None) -> Iterator[bytes]:
    """Whole frames of `frame` bytes as `read` returns them, at most half a second; a partial last frame is dropped."""
    most = max(1, min(int(rate * BLOCK_SECONDS), MAX_READ_BYTES // frame)) * frame
    left = sys.maxsize if promised is None else promised
    rest = b""
    while left and (data := read(min(most, left))):
        left -= len(data)
        data = rest + data
        whole = len(data) - len(data) % frame
        rest = data[whole:]
        if whole:
            yield data[:whole]


def decode_soundfile(source: RangeReader | bytes, name: str, warn: Warn) -> Pieces | None:
    """Decode a file by libsndfile; None if that can't open it and FFmpeg may do better.

    `source` is a path if possible: Ctrl-C would be lost in a callback from libsndfile.
    """
    import soundfile

    try:
        return _read_soundfile(soundfile.SoundFile(source), name, warn)
    except soundfile.SoundFileError:
        return None


def _read_soundfile(sound: soundfile.SoundFile, name: str, warn: Warn) -> Pieces:
    """Warns if the header promises more than the file contains."""
    import soundfile

    count, rate = 0, sound.samplerate
    most = max(1, min(int(rate * BLOCK_SECONDS), MAX_READ_BYTES // 4 // sound.channels))
    with sound:
        try:
            while len(frames := sound.read(most, dtype="float32", always_2d=True)):
                count += len(frames)
                yield rate, frames
        except soundfile.SoundFileError as error:
            if not count:
                raise InputError(f"{name} can't be decoded: {error}", hint="does it play?") from error
        known = sound.frames < 1 << 62  # libsndfile returns more where the header has no length
        if count and known and (sound.frames - count) / rate >= MIN_REPORTED_SECONDS:
            warn(f"it is damaged: nothing after {count / rate:.2f} s can be decoded")


def decode_chain(files: Sequence[RangeReader], name: str, warn: Warn) -> Pieces:
    """Decode recordings that were appended to each other; FFmpeg would read on only where all have the same format."""
    has_samples, faults = False, list[InputError]()
    for number, file in enumerate(files, 1):
        prefix = f"in recording {number} of {len(files)}: " if len(files) > 1 else ""

        def warn_of_part(note: str, prefix: str = prefix) -> None:
            warn(prefix + note)

        try:
            for piece in decode_ffmpeg(file, name, warn_of_part):
                has_samples = True
                yield piece
        except InputError as error:
            faults.append(error)
    if faults and not has_samples:
        raise faults[0]
    if faults:
        warn(f"{len(faults)} of the {len(files)} recordings in it can't be decoded and were left out")


def decode_ffmpeg(file: RangeReader, name: str, warn: Warn, promised: float | None = None) -> Pieces:
    """Decode the default audio track of any container by FFmpeg. Of a damaged packet, only its own time is lost.

    `promised`: seconds by the header; None: ask FFmpeg; 0: don't check.
    """
    import av

    coverage, tolerance = _Coverage(), UNCHECKED
    fault: av.FFmpegError | None = None
    try:
        with open_ffmpeg(file) as container:
            track, begin = choose_track(container, name, warn), start_time(container)
            # Without it, a damaged frame is a burst of noise. A codec without a decoder has no context.
            if getattr(track.codec_context, "name", None) == "flac":
                track.codec_context.options = {"err_detect": "crccheck+explode"}
            packed_kind: tuple[object, ...] = ()
            for packet in read_packets(container):  # of all tracks: a video may be longer than its audio
                unit = float(packet.time_base or 0)
                length = (packet.duration or 0) * unit
                is_ours = packet.stream.index == track.index
                if packet.pts is not None:
                    coverage.add_packet(packet.pts * unit, packet.pts * unit + length, is_ours)
                if not is_ours:
                    continue
                try:
                    frames = cast("list[av.AudioFrame]", packet.decode())
                except av.FFmpegError as error:  # of any kind: damage in AAC is "operation not permitted"
                    fault, coverage.lost = error, coverage.lost + length
                    continue
                for frame in frames:
                    kind = frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.rate
                    if kind != packed_kind:
                        packed_kind, packer = kind, av.AudioResampler(format="flt")
                    # Packed, because PyAV reads at most eight planes and crashes beyond. We mix the channels: FFmpeg
                    # has no downmix for layouts without a name.
                    for packed in packer.resample(frame):
                        coverage.decoded += packed.samples / packed.rate
                        samples = packed.to_ndarray().astype(np.float32, copy=False)
                        yield packed.rate, samples.reshape(-1, packed.layout.nb_channels)
            tolerance = TOLERANCES.get(container.format.name, DEFAULT_TOLERANCE)
            if promised is None and container.format.name in DURATION_IN_HEADER:
                # That of the track first: chapters of an MP4 may last longer than its audio.
                own = (track.start_time or 0) + (track.duration or 0)
                promised = (
                    float(own * (track.time_base or 0)) if track.duration else (container.duration or 0) / av.time_base
                )
        if fault is not None and not coverage.decoded:
            raise fault
    except av.FFmpegError as error:
        if not coverage.decoded:
            raise InputError(f"{name} can't be decoded: {error.strerror}", hint="does it play?") from error
        end = max(coverage.decoded, coverage.end - begin)
        warn(f"it is damaged: nothing after {end:.2f} s can be decoded ({error.strerror})")
    for note in coverage.warnings(promised or 0, tolerance):
        warn(note)


def open_ffmpeg(file: RangeReader) -> InputContainer:
    """A container that FFmpeg reads, to be closed by the caller. Raises av.FFmpegError if it can't be opened."""
    import av

    file.seek(0)
    # A playlist may name other files and hosts. FFmpeg must not follow it there.
    return av.open(file, mode="r", metadata_errors="replace", options={"protocol_whitelist": "none"})


def choose_track(container: InputContainer, name: str, warn: Warn) -> AudioStream:
    """Choose the audio track to decode: the default one. If its codec has no decoder, the first track that can be
    decoded, preferably in the same language. Warns if there are several tracks; raises InputError if there is none.
    """
    tracks = container.streams.audio
    if not tracks:
        raise InputError(f"{name} has no audio track")
    default = cast("AudioStream", container.streams.best("audio") or tracks[0])
    track, why = default, ""
    if default.codec_context is None:
        decodable = [one for one in tracks if one.codec_context is not None]
        decodable.sort(key=lambda one: one.language != default.language)
        if decodable:
            track = decodable[0]
            why = f"; there is no decoder for {_track_name(default, tracks)}, the default"
    if len(tracks) > 1:
        used = _track_name(track, tracks, with_language=bool(why))
        warn(f"it has {len(tracks)} audio tracks: only {used} is used{why}")
    return track


def _track_name(track: AudioStream, tracks: Sequence[AudioStream], *, with_language: bool = True) -> str:
    number = [one.index for one in tracks].index(track.index) + 1
    return f"track {number}" + (f" ({track.language})" if with_language and track.language else "")


def start_time(container: InputContainer) -> float:
    """Timestamp of the beginning of a recording, which is that of its first track, in seconds."""
    import av

    return max(0.0, (container.start_time or 0) / av.time_base)


def read_packets(container: InputContainer, track: AudioStream | None = None) -> Iterator[Packet[Any]]:
    """The packets of a track, or of all tracks; those of tracks that begin in the middle of a file are left out."""
    with suppress(IndexError):  # PyAV raises it at the end of a file with such a track
        yield from container.demux(*([] if track is None else [track]))


@dataclass(slots=True)
class _Coverage:
    """How much of a recording was decoded, and how much is missing. All in seconds.

    decoded      samples
    lost         packets that can't be decoded
    start        timestamp of the first packet of the track; what is before 0 was trimmed
    end          timestamp of its end
    end_of_all   timestamp of the end of all tracks
    """

    decoded: float = 0.0
    lost: float = 0.0
    start: float = inf
    end: float = -inf
    end_of_all: float = 0.0

    def add_packet(self, begin: float, end: float, is_ours: bool) -> None:
        self.end_of_all = max(self.end_of_all, end)
        if is_ours:
            self.start, self.end = min(self.start, max(begin, 0.0)), max(self.end, end)

    def warnings(self, promised: float, tolerance: tuple[float, float]) -> Iterator[str]:
        """Sentences about what is missing: in damaged packets, of the duration by the header, and between packets."""
        if not self.decoded:
            return
        least, share = tolerance
        if self.lost >= min(least, MIN_REPORTED_SECONDS):
            yield f"it is damaged: {self.lost:.2f} s of it can't be decoded and were left out"
        spans, known = self.end - self.start, self.decoded + self.lost
        if promised - max(self.end_of_all, known) > max(least, share * promised):
            found = f"only {self.decoded:.2f} s of audio were found"
            yield f"it was cut off: its header promises {promised:.2f} s, but {found}"
        elif spans - known > max(least, share * spans):
            yield f"it has gaps: it spans {spans:.2f} s, of which {self.decoded:.2f} s contain audio"
