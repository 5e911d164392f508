"""The decoders of others, libsndfile and FFmpeg: what each makes of an open file, piece by piece.

Must never print, nor let them print; never follow a file to others; never pass over damage without a word,
where they notice it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import InputError
from .waves import Frames

if TYPE_CHECKING:
    import soundfile

Warn = Callable[[str], object]

Pieces = Iterator[tuple[int, Frames]]
"""Rates in Hz and samples. The rate may change on the way: chained Ogg, MPEG frames."""

BLOCK = 0.5
"""Seconds that are read at once."""

LARGEST = 4 << 20
"""Bytes of a read, however many channels there are."""

FARTHEST = 1 << 43
"""Bytes: no recording is longer. File systems differ in what is nowhere, and in memory everything is somewhere."""

PERCEPTIBLE = 0.1
"""Seconds of damage worth a word. Less than that is missing from many files that were cut somewhere."""

SNDFILE = frozenset({"flac", "aiff", "au", "caf"})
"""What libsndfile reads sample for sample. Of WAV it takes a size of 0 for no samples, as pipes write it."""


class Nameless:
    """A file for a decoder: without a name to draw conclusions from, and with a plain -1 for a seek to nowhere.

    A header can say such a place; an exception would be printed on stderr.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence) if offset < FARTHEST else -1
        except (OSError, OverflowError, ValueError):
            return -1


def sounded(source: Nameless | bytes, name: str, warn: Warn) -> Pieces | None:
    """A file by libsndfile; None where that can't open it and FFmpeg may do better.

    By its path where it has one: while libsndfile calls back, a Ctrl-C would be lost.
    """
    import soundfile

    try:
        return _sounded(soundfile.SoundFile(source), name, warn)
    except soundfile.SoundFileError:
        return None


def _sounded(sound: soundfile.SoundFile, name: str, warn: Warn) -> Pieces:
    """What the header promises and the file does not give is told."""
    import soundfile

    heard, rate = 0, sound.samplerate
    most = max(1, min(int(rate * BLOCK), LARGEST // 4 // sound.channels))
    with sound:
        try:
            while len(frames := sound.read(most, dtype="float32", always_2d=True)):
                heard += len(frames)
                yield rate, frames
        except soundfile.SoundFileError as error:
            if not heard:
                raise InputError(f"{name} can't be decoded: {error}", hint="does it play?") from error
        known = sound.frames < 1 << 62  # more is libsndfile's word for a length that the header leaves open
        if heard and known and (sound.frames - heard) / rate >= PERCEPTIBLE:
            warn(f"it is damaged: nothing behind {heard / rate:.2f} s can be decoded")


def unpacked(file: Nameless, name: str, warn: Warn) -> Pieces:
    """The first audio track of any container, by FFmpeg. A damaged packet costs its own milliseconds."""
    import av

    lost = heard = 0.0
    fault: av.FFmpegError | None = None
    try:
        # A playlist may name other files and hosts. FFmpeg must not follow it there.
        options = {"protocol_whitelist": "none"}
        with av.open(file, mode="r", metadata_errors="replace", options=options) as container:
            if not container.streams.audio:
                raise InputError(f"{name} has no audio track")
            packed_kind: tuple[object, ...] = ()
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:  # of any kind: to AAC, damage is "operation not permitted"
                    fault, lost = error, lost + float((packet.duration or 0) * (packet.time_base or 0))
                    continue
                for frame in frames:
                    kind = frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.rate
                    if kind != packed_kind:
                        packed_kind, packer = kind, av.AudioResampler(format="flt")
                    # Packed, since PyAV reads no more than eight planes and crashes behind them. The channels are
                    # kept and mixed by us: FFmpeg has no downmix for layouts without a name.
                    for packed in packer.resample(frame):
                        heard += packed.samples / packed.rate
                        samples = packed.to_ndarray().astype(np.float32, copy=False)
                        yield packed.rate, samples.reshape(-1, packed.layout.nb_channels)
        if fault is not None and not heard:
            raise fault
    except av.FFmpegError as error:
        if not heard:
            raise InputError(f"{name} can't be decoded: {error.strerror}", hint="does it play?") from error
        warn(f"it is damaged: nothing behind {heard:.2f} s can be decoded ({error.strerror})")
    if lost >= PERCEPTIBLE:
        warn(f"it is damaged: {lost:.2f} s of it can't be decoded and were left out")
