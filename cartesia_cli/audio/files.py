"""Recordings as streams of samples: files in any container, headerless samples, and what comes by a pipe.

    plain WAV                waves, as it comes: libsndfile and FFmpeg each take some kinds for silence or noise
    FLAC, AIFF, AU, CAF      libsndfile
    everything else          FFmpeg's libraries, from a file
    a pipe of those          kept in a temporary file first

Memory is bounded: a block comes out before the next is read. Must never open anything but the file that it is
given, and never leave out a part of a recording without a word, where a decoder notices that.
All of it is lazy: errors show when the first block is asked for.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import InputError
from ..protocol import ENCODINGS
from .containers import look, shown
from .containers.files import opened
from .containers.looking import UNDOCUMENTED
from .containers.peek import SEARCHED, in_proportion
from .pcm import RATE, Resampler, Samples, decode_pcm
from .waves import Frames, Wave, read_header

if TYPE_CHECKING:
    import soundfile

Warn = Callable[[str], object]
Read = Callable[[int], bytes]

Pieces = Iterator[tuple[int, Samples]]
"""Mono samples and their rate in Hz, which may change on the way: chained Ogg, MPEG frames."""

BLOCK, LEAST = 0.5, 0.4
"""Seconds that are read at once, and that a block of a file holds, but for the last."""

LARGEST = 4 << 20
"""Bytes of a read, however many channels there are."""

RATES = range(1000, 1_000_001)
"""Hz that a recording may have. Others would be blown up without bounds, or cost seconds of preparation."""

PERCEPTIBLE = 0.1
"""Seconds of damage worth a word. Less than that is missing from many files that were cut somewhere."""

SNDFILE = frozenset({"flac", "aiff", "au", "caf"})
"""What libsndfile reads sample for sample. Of WAV it takes a size of 0 for no samples, as pipes write it."""

INPUT = "the input"
"""What a stream is called in messages, since it has no name."""


def decoded(
    path: Path, *, rate: int = RATE, channel: int | None = None, warn: Warn = lambda note: None
) -> Iterator[Samples]:
    """A file as blocks of mono float32 at `rate` Hz: all channels averaged, or `channel` (from 1) alone.

    `warn` hears, in a sentence, what only decoding shows: damaged parts. What a look tells is in `look(path).note`.
    InputError when it can't be decoded, has no audio, or has no such channel.
    """
    name, container = shown(path), look(path).container
    with opened(path) as (file, size):
        wave = None
        if container == "wav":
            wave = read_header(_all_of(file.read), lambda count: file.seek(min(file.tell() + count, size)))
        if wave is not None:
            pieces = _plain(wave, file.read, channel, name)
        elif container in SNDFILE and (sound := _sound(path)) is not None:
            pieces = _sounded(sound, channel, name, warn)
        else:
            file.seek(0)
            pieces = _unpacked(_Nameless(file), channel, name, warn)
        yield from _gathered(_resampled(pieces, rate, name), int(rate * LEAST))


def decoded_raw(stream: BinaryIO, encoding: str, sample_rate: int, *, rate: int = RATE) -> Iterator[Samples]:
    """Headerless mono samples as blocks at `rate` Hz, as they come; a partial last sample is dropped.

    `encoding` is one of ENCODINGS, `sample_rate` in Hz. InputError when there is no sample, or reading fails.
    """
    blocks = _whole(_as_they_come(stream), ENCODINGS[encoding], sample_rate)
    yield from _resampled(((sample_rate, decode_pcm(data, encoding)) for data in blocks), rate, INPUT)


def decoded_pipe(
    stream: BinaryIO, *, rate: int = RATE, channel: int | None = None, warn: Warn = lambda note: None
) -> Iterator[Samples]:
    """`decoded` for what can be read only once: plain WAV as it comes, all else kept in a temporary file first.

    `warn` also hears what a look would have told, such as that a WAV was cut off. InputError as of `decoded`.
    """
    seen, come = bytearray(), _as_they_come(stream)

    def header(count: int) -> bytes:
        data = _all_of(come)(min(count, SEARCHED - len(seen)))
        seen.extend(data)
        return data

    wave = read_header(header, header)
    if wave is not None:
        yield from _resampled(_plain(wave, come, channel, INPUT, warn), rate, INPUT)
        return
    with _kept(bytes(seen), come) as path:
        try:
            note = look(path).note
            if note and note != UNDOCUMENTED:  # nothing is sent as it is here
                warn(note)
            yield from decoded(path, rate=rate, channel=channel, warn=warn)
        except InputError as error:
            raise InputError(error.message.replace(shown(path), INPUT), hint=error.hint) from error


def _plain(wave: Wave, read: Read, channel: int | None, name: str, warn: Warn = lambda note: None) -> Pieces:
    """The samples behind the header of a WAV."""
    held = 0
    for data in _whole(read, wave.frame, wave.rate, wave.promised):
        held += len(data)
        yield wave.rate, _mono(wave.decode(data), channel, name)
    if wave.promised is not None:
        seconds = wave.promised / (wave.rate * wave.frame)
        if note := in_proportion(seconds, held, wave.promised, exact=True).note:
            warn(note)


class _Nameless:
    """A file for PyAV: without a name to draw conclusions from, and with a plain -1 for a seek to nowhere.

    A header can say such a place; an exception would be printed on stderr.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError):
            return -1


def _sound(path: Path) -> soundfile.SoundFile | None:
    """A file that libsndfile can open; None where FFmpeg may do better."""
    import soundfile

    try:
        return soundfile.SoundFile(os.fsencode(path))
    except soundfile.SoundFileError:
        return None


def _sounded(sound: soundfile.SoundFile, channel: int | None, name: str, warn: Warn) -> Pieces:
    """A file of libsndfile's, block by block. What its header promises and it does not give is told."""
    import soundfile

    heard, rate = 0, sound.samplerate
    most = max(1, min(int(rate * BLOCK), LARGEST // 4 // sound.channels))
    with sound:
        try:
            while len(frames := sound.read(most, dtype="float32", always_2d=True)):
                heard += len(frames)
                yield rate, _mono(frames, channel, name)
        except soundfile.SoundFileError as error:
            if not heard:
                raise InputError(f"{name} can't be decoded: {error}", hint="does it play?") from error
        known = sound.frames < 1 << 62  # more is libsndfile's word for a length that the header leaves open
        if heard and known and (sound.frames - heard) / rate >= PERCEPTIBLE:
            warn(f"it is damaged: nothing behind {heard / rate:.2f} s can be decoded")


def _unpacked(file: _Nameless, channel: int | None, name: str, warn: Warn) -> Pieces:
    """The first audio track of a container, frame by frame. A damaged packet costs its own milliseconds."""
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
                    # kept and mixed here: FFmpeg has no downmix for layouts without a name.
                    for packed in packer.resample(frame):
                        heard += packed.samples / packed.rate
                        shape = -1, packed.layout.nb_channels
                        yield packed.rate, _mono(packed.to_ndarray().astype(np.float32).reshape(shape), channel, name)
        if fault is not None and not heard:
            raise fault
    except av.FFmpegError as error:
        if not heard:
            raise InputError(f"{name} can't be decoded: {error.strerror}", hint="does it play?") from error
        warn(f"it is damaged: nothing behind {heard:.2f} s can be decoded ({error.strerror})")
    if lost >= PERCEPTIBLE:
        warn(f"it is damaged: {lost:.2f} s of it can't be decoded and were left out")


def _resampled(pieces: Pieces, rate: int, name: str) -> Iterator[Samples]:
    """Pieces of any rate as blocks at `rate`, none of them empty. InputError when there is nothing at all."""
    heard = False
    for samples in _at_one_rate(pieces, rate, name):
        if len(samples):
            heard = True
            yield samples.clip(-1, 1)  # a filter may overshoot what was within
    if not heard:
        raise InputError(f"{name} holds no audio", hint="does it play?")


def _at_one_rate(pieces: Pieces, rate: int, name: str) -> Iterator[Samples]:
    resampler, source = Resampler(rate, rate), rate
    for piece_rate, samples in pieces:
        if piece_rate not in RATES:
            raise InputError(f"{name} can't be decoded: no recording has {piece_rate} samples a second")
        if piece_rate != source:
            yield resampler.finish()
            resampler, source = Resampler(piece_rate, rate), piece_rate
        yield resampler.feed(samples)
    yield resampler.finish()


def _gathered(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Blocks of at least `size` samples, but for the last."""
    held: list[Samples] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= size:
            yield np.concatenate(held)
            held.clear()
    if held:
        yield np.concatenate(held)


def _mono(frames: Frames, channel: int | None, name: str) -> Samples:
    """One channel, or the average of all; what is no number becomes silence."""
    count = frames.shape[1]
    if channel is not None and not 1 <= channel <= count:
        has = "1 channel" if count == 1 else f"{count} channels"
        raise InputError(f"{name} has {has}: there is no channel {channel}", hint="they are counted from 1")
    one = frames if channel is None else frames[:, channel - 1 : channel]
    clean = np.nan_to_num(one, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1)
    mixed: Samples = clean.mean(axis=1, dtype=np.float32)
    return mixed


def _whole(read: Read, frame: int, rate: int, promised: int | None = None) -> Iterator[bytes]:
    """Whole frames of so many bytes, as `read` gives them, half a second at most; what is left over is dropped."""
    most = max(1, min(int(rate * BLOCK), LARGEST // frame)) * frame
    left = sys.maxsize if promised is None else promised
    rest = b""
    while left and (data := read(min(most, left))):
        left -= len(data)
        data = rest + data
        whole = len(data) - len(data) % frame
        rest = data[whole:]
        if whole:
            yield data[:whole]


def _as_they_come(stream: BinaryIO) -> Read:
    """Reads that wait for the first byte only, where a stream can do that: a live one must not be held up."""
    read: Read = getattr(stream, "read1", stream.read)

    def come(count: int) -> bytes:
        try:
            return read(count)
        except OSError as error:
            raise InputError(f"{INPUT} can't be read: {error.strerror or error}") from error

    return come


def _all_of(read: Read) -> Read:
    """Reads that go on until all is there, or the end."""

    def whole(count: int) -> bytes:
        data = b""
        while len(data) < count and (more := read(count - len(data))):
            data += more
        return data

    return whole


@contextmanager
def _kept(seen: bytes, rest: Read) -> Iterator[Path]:
    """What was read of a stream, and all the rest of it, as a file for the length of the block."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cartesia-cli-"))
            path = Path(folder, "input")
            with path.open("wb") as file:
                file.write(seen)
                while data := rest(LARGEST):
                    file.write(data)
        except OSError as error:
            raise InputError(
                f"{INPUT} can't be kept in {tempfile.gettempdir()}: {error.strerror}", hint="TMPDIR names another place"
            ) from error
        yield path
