"""The decoders of others, libsndfile and FFmpeg: what each makes of an open file, piece by piece.

Must never print, nor let them print; never follow a file to others; never pass over damage without a word,
where they notice it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .pcm import decode_pcm
from .probing.bounded_reader import proportional_duration
from .wav_header import ALAW, FLOAT, MULAW, WavFormat

if TYPE_CHECKING:
    import soundfile

Frames = NDArray[np.float32]
"""Samples of shape (frames, channels)."""

Read = Callable[[int], bytes]
"""The next bytes of a stream, up to so many; none at its end."""

Warn = Callable[[str], object]

Pieces = Iterator[tuple[int, Frames]]
"""Rates in Hz and samples. The rate may change on the way: chained Ogg, MPEG frames."""

BLOCK_SECONDS = 0.5
"""Seconds that are read at once."""

MAX_READ_BYTES = 4 << 20
"""Bytes of a read, however many channels there are."""

MAX_FILE_BYTES = 1 << 43
"""Bytes: no recording is longer. File systems differ in what is nowhere, and in memory everything is somewhere."""

MIN_REPORTED_SECONDS = 0.1
"""Seconds of damage worth a word. Less than that is missing from many files that were cut somewhere."""

DURATION_IN_HEADER = frozenset({"flv", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wv", "ape"})
"""Of these FFmpeg reads the duration from headers. Of others it may be a guess by the bit rate."""

DEFAULT_TOLERANCE = 0.25, 0.01
"""Seconds and share of the whole that may be missing: encoders begin early, clocks drift, silence isn't stored."""

UNCHECKED = inf, 0.0

TOLERANCES = {"flac": (0.02, 0.0), "mpegts": UNCHECKED, "mpeg": UNCHECKED}
"""The same where every sample is stamped, and no frame is as short; and where clocks jump, as in joined broadcasts."""

SOUNDFILE_CONTAINERS = frozenset({"aiff", "au", "caf"})
"""What libsndfile reads sample for sample. Of FLAC it gives nothing up behind damage, nor the end of a live one; of WAV
it takes a size of 0 for no samples, as pipes write it."""


class RangeReader:
    """A file, or a span of its bytes, for a decoder: without a name to draw conclusions from.

    A header can name a place that is nowhere: a seek there gives a plain -1, as an exception would be printed on
    stderr.
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
        base = {os.SEEK_SET: self._start, os.SEEK_END: self._end}.get(whence, 0)
        try:
            return (
                self._file.seek(base + offset, 1 if whence == 1 else 0) - self._start if offset < MAX_FILE_BYTES else -1
            )
        except (OSError, OverflowError, ValueError):
            return -1


def decode_wav(wav_format: WavFormat, promised: int | None, read: Read, warn: Warn) -> Pieces:
    """The uncompressed samples behind the header of a WAV, as they come.

    Decoded here since neither of the others reads all of them rightly: libsndfile finds nothing in a stream whose
    header has no length; FFmpeg makes noise of RIFX and of 24 bits in 32, and wants 64 KiB of a pipe before the first
    sample. `promised`: bytes by the header, None where they last to the end.
    """
    held = 0
    for data in whole_frames(read, wav_format.frame_bytes, wav_format.rate, promised):
        held += len(data)
        yield wav_format.rate, wav_frames(wav_format, data)
    if promised is not None:
        seconds = promised / (wav_format.rate * wav_format.frame_bytes)
        if note := proportional_duration(seconds, held, promised, exact=True).note:
            warn(note)


def wav_frames(wav_format: WavFormat, data: bytes) -> Frames:
    """Bytes of whole uncompressed frames as samples, full scale at 1; floats may be anything."""
    return _wav_samples(wav_format, data).reshape(-1, wav_format.channels)


def _wav_samples(wav_format: WavFormat, data: bytes) -> NDArray[np.float32]:
    order, size = wav_format.byte_order, wav_format.sample_bytes
    if wav_format.codec in (ALAW, MULAW):
        return decode_pcm(data, "pcm_alaw" if wav_format.codec == ALAW else "pcm_mulaw")
    if wav_format.codec == FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for 32 bits becomes infinite
            return np.frombuffer(data, f"{order}f{size}").astype(np.float32)
    if size == 1:  # the only ones without a sign
        return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    if size == 3:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, slice(1, 4) if order == "<" else slice(0, 3)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, size = padded.tobytes(), 4
    return (np.frombuffer(data, f"{order}i{size}") / 2.0 ** (8 * size - 1)).astype(np.float32)


def whole_frames(read: Read, frame: int, rate: int, promised: int | None = None) -> Iterator[bytes]:
    """Whole frames of so many bytes, as `read` gives them, half a second at most; what is left over is dropped."""
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
    """A file by libsndfile; None where that can't open it and FFmpeg may do better.

    By its path where it has one: while libsndfile calls back, a Ctrl-C would be lost.
    """
    import soundfile

    try:
        return _read_soundfile(soundfile.SoundFile(source), name, warn)
    except soundfile.SoundFileError:
        return None


def _read_soundfile(sound: soundfile.SoundFile, name: str, warn: Warn) -> Pieces:
    """What the header promises and the file does not give is told."""
    import soundfile

    heard, rate = 0, sound.samplerate
    most = max(1, min(int(rate * BLOCK_SECONDS), MAX_READ_BYTES // 4 // sound.channels))
    with sound:
        try:
            while len(frames := sound.read(most, dtype="float32", always_2d=True)):
                heard += len(frames)
                yield rate, frames
        except soundfile.SoundFileError as error:
            if not heard:
                raise InputError(f"{name} can't be decoded: {error}", hint="does it play?") from error
        known = sound.frames < 1 << 62  # more is libsndfile's word for a length that the header leaves open
        if heard and known and (sound.frames - heard) / rate >= MIN_REPORTED_SECONDS:
            warn(f"it is damaged: nothing behind {heard / rate:.2f} s can be decoded")


def decode_chain(files: Sequence[RangeReader], name: str, warn: Warn) -> Pieces:
    """Recordings that were appended to each other, which FFmpeg takes for one only where all are of a kind."""
    heard, faults = False, list[InputError]()
    for number, file in enumerate(files, 1):
        place = f"in recording {number} of {len(files)}: " if len(files) > 1 else ""

        def told(note: str, place: str = place) -> None:
            warn(place + note)

        try:
            for piece in decode_ffmpeg(file, name, told):
                heard = True
                yield piece
        except InputError as error:
            faults.append(error)
    if faults and not heard:
        raise faults[0]
    if faults:
        warn(f"{len(faults)} of the {len(files)} recordings in it can't be decoded and were left out")


def decode_ffmpeg(file: RangeReader, name: str, warn: Warn, promised: float | None = None) -> Pieces:
    """The audio track of any container that is meant to be played, by FFmpeg. A damaged packet costs its own time.

    `promised`: seconds by the header, which FFmpeg is asked for where it is None; 0 where nobody must be held to it.
    """
    import av

    file.seek(0)
    account, slack = _Coverage(), UNCHECKED
    fault: av.FFmpegError | None = None
    try:
        # A playlist may name other files and hosts. FFmpeg must not follow it there.
        options = {"protocol_whitelist": "none"}
        with av.open(file, mode="r", metadata_errors="replace", options=options) as container:
            tracks = container.streams.audio
            if not tracks:
                raise InputError(f"{name} has no audio track")
            track = container.streams.best("audio") or tracks[0]
            if len(tracks) > 1:
                chosen = [one.index for one in tracks].index(track.index) + 1
                warn(f"it has {len(tracks)} audio tracks: track {chosen} is heard, and no other")
            # Or else a damaged frame comes as a burst of noise. What FFmpeg has no decoder for has no context.
            if getattr(track.codec_context, "name", None) == "flac":
                track.codec_context.options = {"err_detect": "crccheck+explode"}
            packed_kind: tuple[object, ...] = ()
            for packet in container.demux():  # the others, too: a film may go on without sound
                unit = float(packet.time_base or 0)
                length = (packet.duration or 0) * unit
                ours = packet.stream.index == track.index
                if packet.pts is not None:
                    account.add_packet(packet.pts * unit, packet.pts * unit + length, ours)
                if not ours:
                    continue
                try:
                    frames = cast("list[av.AudioFrame]", packet.decode())
                except av.FFmpegError as error:  # of any kind: to AAC, damage is "operation not permitted"
                    fault, account.lost = error, account.lost + length
                    continue
                for frame in frames:
                    kind = frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.rate
                    if kind != packed_kind:
                        packed_kind, packer = kind, av.AudioResampler(format="flt")
                    # Packed, since PyAV reads no more than eight planes and crashes behind them. The channels are
                    # kept and mixed by us: FFmpeg has no downmix for layouts without a name.
                    for packed in packer.resample(frame):
                        account.decoded += packed.samples / packed.rate
                        samples = packed.to_ndarray().astype(np.float32, copy=False)
                        yield packed.rate, samples.reshape(-1, packed.layout.nb_channels)
            slack = TOLERANCES.get(container.format.name, DEFAULT_TOLERANCE)
            if promised is None and container.format.name in DURATION_IN_HEADER:
                # The track's own first: chapters of an MP4 may go on behind its sound.
                own = (track.start_time or 0) + (track.duration or 0)
                promised = (
                    float(own * (track.time_base or 0)) if track.duration else (container.duration or 0) / av.time_base
                )
        if fault is not None and not account.decoded:
            raise fault
    except av.FFmpegError as error:
        if not account.decoded:
            raise InputError(f"{name} can't be decoded: {error.strerror}", hint="does it play?") from error
        warn(f"it is damaged: nothing behind {account.decoded:.2f} s can be decoded ({error.strerror})")
    for note in account.warnings(promised or 0, slack):
        warn(note)


@dataclass(slots=True)
class _Coverage:
    """What of a recording is there, and what isn't. All in seconds.

    heard    of samples
    lost     of packets that can't be decoded
    begun    time stamp of the first packet of the track; what is before 0 was trimmed
    ended    time stamp of its end
    reached  time stamp of the end of all tracks
    """

    decoded: float = 0.0
    lost: float = 0.0
    start: float = inf
    end: float = -inf
    end_of_all: float = 0.0

    def add_packet(self, begin: float, end: float, ours: bool) -> None:
        self.end_of_all = max(self.end_of_all, end)
        if ours:
            self.start, self.end = min(self.start, max(begin, 0.0)), max(self.end, end)

    def warnings(self, promised: float, slack: tuple[float, float]) -> Iterator[str]:
        """What is missing of the seconds that a header promises, within, and between packets."""
        if not self.decoded:
            return
        least, share = slack
        if self.lost >= min(least, MIN_REPORTED_SECONDS):
            yield f"it is damaged: {self.lost:.2f} s of it can't be decoded and were left out"
        spans, known = self.end - self.start, self.decoded + self.lost
        if promised - max(self.end_of_all, known) > max(least, share * promised):
            yield f"it was cut off: its header promises {promised:.2f} s, and {self.decoded:.2f} s of audio were found"
        elif spans - known > max(least, share * spans):
            yield f"it has gaps: it spans {spans:.2f} s, and {self.decoded:.2f} s of it can be heard"
