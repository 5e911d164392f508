"""Recordings as streams of samples: files in any container, headerless samples, and what comes by a pipe.

    plain WAV                waves, as it comes: libsndfile and FFmpeg each take some kinds for silence or noise
    AIFF, AU, CAF            libsndfile (decoders)
    Ogg                      FFmpeg's libraries (decoders), each of the recordings that may be chained in it
    everything else          FFmpeg's libraries, from a file
    a pipe of those          kept in a temporary file first

The one decoder of the house: what is sent live and what the local server is sent are heard alike. Memory is
bounded: a block comes out before the next is read. Must never open anything but the file that it is given, never
print, and never leave out a part of a recording without a word, where a decoder notices that.
All of it is lazy: errors show when the first block is asked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..protocol import ENCODINGS
from .decoders import (
    MAX_READ_BYTES,
    SOUNDFILE_CONTAINERS,
    Frames,
    Pieces,
    RangeReader,
    Read,
    Warn,
    decode_chain,
    decode_ffmpeg,
    decode_soundfile,
    decode_wav,
    whole_frames,
)
from .pcm import RATE, Resampler, Samples, decode_pcm
from .probing import MediaInfo, display_name, probe
from .probing.bounded_reader import SEARCHED, BoundedReader, Undetermined, open_regular_file
from .probing.ogg_flac import find_chained_recordings
from .probing.sniff import sniff
from .wav_header import ALAW, MULAW, WavFormat, WavHeader, read_wav_header

OnFormat = Callable[[str, int], None]
"""Receives the encoding, and the rate in Hz, in which a recording can be sent as it is."""


def ignore_format(encoding: str, rate: int) -> None:
    """For those who asked for a rate."""


LINEAR_ENCODING, COMPANDED_ENCODINGS = "pcm_s16le", ("pcm_mulaw", "pcm_alaw")

MIN_BLOCK_SECONDS = 0.4
"""Seconds that a block of a file holds, but for the last."""

SUPPORTED_RATES = range(1000, 1_000_001)
"""Hz that a recording may have. Others would be blown up without bounds, or cost seconds of preparation."""

DECLARING_CONTAINERS = frozenset({"flac", "matroska", "webm", "mp3"})
"""Containers of which a look tells how many seconds their header promises, and a decoder doesn't know it better."""

STREAM_NAME = "the input"
"""What a stream is called in messages, since it has no name."""


def decode_file(
    path: Path,
    *,
    rate: int | None = RATE,
    channel: int | None = None,
    warn: Warn = lambda note: None,
    on_format: OnFormat = ignore_format,
) -> Iterator[Samples]:
    """A file as blocks of mono float32 at `rate` Hz: all channels averaged, or `channel` (from 1) alone.

    `rate` None: the rate at which the recording begins; `on_format` is called before the first block.
    `warn` hears, in a sentence, what only decoding shows: parts that are missing, and tracks that aren't heard. What
    a look tells is in `look(path).note`.
    InputError when it can't be decoded, has no audio, or has no such channel.
    """
    recording = probe(path)  # it says best what is no recording
    with open_regular_file(path, display_name(path)) as (file, _):
        promised = _expected_seconds(recording)
        yield from decode_open_file(
            file,
            display_name(path),
            path=path,
            promised=promised,
            rate=rate,
            channel=channel,
            warn=warn,
            on_format=on_format,
        )


def _expected_seconds(recording: MediaInfo) -> float | None:
    """Seconds that a decoder has to find, 0 where it mustn't be asked to, None where a look can't tell."""
    if recording.declared is not None or recording.estimated:
        return 0.0  # it was told, or is a guess
    return recording.duration if recording.container in DECLARING_CONTAINERS else None


def decode_open_file(
    file: BinaryIO,
    name: str = STREAM_NAME,
    *,
    path: Path | None = None,
    promised: float | None = None,
    rate: int | None = RATE,
    channel: int | None = None,
    warn: Warn = lambda note: None,
    on_format: OnFormat = ignore_format,
) -> Iterator[Samples]:
    """`decoded` for a file that is open and can be sought, from its beginning. `name` is what messages call it.

    `path`: where it lies, if it has a name. `promised`: seconds by a header, as of `unpacked`.
    """
    size = file.seek(0, os.SEEK_END)
    container = sniff(BoundedReader(file, size), trust_extension=False)
    pieces, encoding = None, LINEAR_ENCODING
    file.seek(0)
    if container in ("wav", "w64"):
        header = _wav_header(BoundedReader(file, size))
        if header and (plain := header.plain_format):
            file.seek(header.data_start or 0)
            # Probing has said what is missing at its end.
            pieces = decode_wav(plain, header.promised_bytes, file.read, warn=lambda note: None)
            encoding = _wav_encoding(plain, channel)
    elif container in SOUNDFILE_CONTAINERS:
        pieces = decode_soundfile(os.fsencode(path) if path else RangeReader(file), name, warn)
    elif container == "ogg":
        pieces = decode_chain([RangeReader(file, *link) for link in list(find_chained_recordings(file))], name, warn)
    if pieces is None:
        pieces = decode_ffmpeg(RangeReader(file), name, warn, promised)
    yield from _regrouped(
        _resampled(pieces, rate, channel, name, encoding, on_format), int((rate or RATE) * MIN_BLOCK_SECONDS)
    )
    if file.seek(0, os.SEEK_END) < size:
        warn("it became shorter while it was read: its end may be missing")


def decode_raw(
    stream: BinaryIO,
    encoding: str,
    sample_rate: int,
    name: str = STREAM_NAME,
    *,
    rate: int | None = RATE,
    channel: int | None = None,
    on_format: OnFormat = ignore_format,
) -> Iterator[Samples]:
    """Headerless mono samples as blocks at `rate` Hz, as they come; a partial last sample is dropped.

    `encoding` is one of ENCODINGS, `sample_rate` in Hz. InputError when there is no sample, a `channel` other than
    the only one is asked for, or reading fails.
    """
    blocks = whole_frames(_available_bytes(stream), ENCODINGS[encoding], sample_rate)
    pieces = ((sample_rate, decode_pcm(data, encoding).reshape(-1, 1)) for data in blocks)
    yield from _resampled(
        pieces, rate, channel, name, encoding if encoding in COMPANDED_ENCODINGS else LINEAR_ENCODING, on_format
    )


def decode_pipe(
    stream: BinaryIO,
    *,
    rate: int | None = RATE,
    channel: int | None = None,
    warn: Warn = lambda note: None,
    on_format: OnFormat = ignore_format,
) -> Iterator[Samples]:
    """`decoded` for what can be read only once: plain WAV as it comes, all else kept in a temporary file first.

    `warn` also hears what a look would have told, such as that a WAV was cut off. InputError as of `decoded`.
    """
    come = _available_bytes(stream)
    beginning = _Beginning(come)
    header = read_wav_header(beginning)
    if header and (plain := header.plain_format):
        pieces = decode_wav(plain, header.promised_bytes, come, warn)
        yield from _resampled(pieces, rate, channel, STREAM_NAME, _wav_encoding(plain, channel), on_format)
        return
    with _spooled(bytes(beginning.seen), come) as path:
        try:
            if note := probe(path, STREAM_NAME).note:
                warn(note)
            yield from decode_file(path, rate=rate, channel=channel, warn=warn, on_format=on_format)
        except InputError as error:
            raise InputError(error.message.replace(display_name(path), STREAM_NAME), hint=error.hint) from error


def _wav_header(reader: BoundedReader) -> WavHeader | None:
    """None for what is none, or too long a way to its samples."""
    try:
        return read_wav_header(reader)
    except Undetermined:
        return None


def _wav_encoding(wav_format: WavFormat, channel: int | None) -> str:
    """In which a WAV's samples can be sent as they are. An average of channels is none of its samples."""
    is_one = wav_format.channels == 1 or channel is not None
    return {ALAW: "pcm_alaw", MULAW: "pcm_mulaw"}.get(wav_format.codec, LINEAR_ENCODING) if is_one else LINEAR_ENCODING


def _resampled(
    pieces: Pieces, rate: int | None, channel: int | None, name: str, encoding: str, on_format: OnFormat
) -> Iterator[Samples]:
    """Pieces of any rate as mono blocks at `rate`, none of them empty. InputError when there is nothing at all."""
    heard = False
    for samples in _at_one_rate(pieces, rate, channel, name, lambda rate: on_format(encoding, rate)):
        if len(samples):
            heard = True
            yield samples.clip(-1, 1)  # a filter may overshoot what was within
    if not heard:
        raise InputError(f"{name} holds no audio", hint="does it play?")


def _at_one_rate(
    pieces: Pieces, rate: int | None, channel: int | None, name: str, on_rate: Callable[[int], None]
) -> Iterator[Samples]:
    resampler, source = None, 0
    for piece_rate, frames in pieces:
        if piece_rate not in SUPPORTED_RATES:
            raise InputError(f"{name} can't be decoded: no recording has {piece_rate} samples a second")
        if resampler is None:
            rate = rate or piece_rate
            on_rate(rate)
        if piece_rate != source:
            if resampler is not None:
                yield resampler.finish()
            resampler, source = Resampler(piece_rate, rate or piece_rate), piece_rate
        assert resampler is not None
        yield resampler.resample(_mono(frames, channel, name))
    if resampler is not None:
        yield resampler.finish()


def _regrouped(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
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


def _available_bytes(stream: BinaryIO) -> Read:
    """Reads that wait for the first byte only, where a stream can do that: a live one must not be held up."""
    read: Read = getattr(stream, "read1", stream.read)

    def come(count: int) -> bytes:
        try:
            return read(count)
        except OSError as error:
            raise InputError(f"{STREAM_NAME} can't be read: {error.strerror or error}") from error

    return come


class _Beginning:
    """The first bytes of a stream, at most SEARCHED of them, as a source for a parser; all that it read is kept."""

    def __init__(self, read: Read) -> None:
        self.seen = bytearray()
        self._read = read

    def read(self, count: int) -> bytes:
        start = len(self.seen)
        end = min(start + count, SEARCHED)
        while len(self.seen) < end and (data := self._read(end - len(self.seen))):
            self.seen += data
        return bytes(self.seen[start:])

    def seek(self, position: int) -> None:
        self.read(position - len(self.seen))

    def tell(self) -> int:
        return len(self.seen)


@contextmanager
def _spooled(seen: bytes, rest: Read) -> Iterator[Path]:
    """What was read of a stream, and all the rest of it, as a file for the length of the block."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cartesia-cli-"))
            path = Path(folder, "input")
            with path.open("wb") as file:
                file.write(seen)
                while data := rest(MAX_READ_BYTES):
                    file.write(data)
        except OSError as error:
            raise InputError(
                f"{STREAM_NAME} can't be kept in {tempfile.gettempdir()}: {error.strerror}",
                hint="TMPDIR names another place",
            ) from error
        yield path
