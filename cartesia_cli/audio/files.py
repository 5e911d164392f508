"""Decodes recordings into mono samples: files in any container, headerless samples, and pipes.

    uncompressed WAV         decoders.decode_wav, as it arrives
    AIFF, AU, CAF            libsndfile
    Ogg                      FFmpeg's libraries, for each recording that is chained in it
    everything else          FFmpeg's libraries, from a file
    a pipe of those          saved to a temporary file first

`stream-file`, `vad` and the local server decode by this module, so that they all get the same samples. Memory is
bounded: a block is yielded before the next is read. Decoding is lazy: errors are raised when the first block is asked
for.

Must never open anything but the given file, never print, and never leave out a part of a recording without a warning,
where a decoder notices.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..protocol.constants import ENCODINGS
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
from .probing.bounded_reader import MAX_SEARCH_BYTES, BoundedReader, Undetermined, open_regular_file
from .probing.formats import sniff, sniff_head
from .probing.ogg_flac import find_chained_recordings
from .wav_header import ALAW, MULAW, WavFormat, read_wav_header

LINEAR_ENCODING, COMPANDED_ENCODINGS = "pcm_s16le", ("pcm_mulaw", "pcm_alaw")

MIN_BLOCK_SECONDS = 0.4
"""Length of the blocks of a file, except the last."""

SUPPORTED_RATES = range(1000, 1_000_001)
"""Hz. Lower rates would multiply the samples without bounds, higher ones cost seconds of preparation."""

DECLARING_CONTAINERS = frozenset({"flac", "matroska", "webm", "mp3"})
"""Containers whose header names a duration that probing reads and that decoders don't know better."""

STREAM_NAME = "the input"
"""What messages call a stream, which has no name."""


@dataclass(slots=True, kw_only=True)
class Decoder:
    """Decodes recordings into blocks of mono float32 samples, -1..1.

    Methods raise InputError if a recording can't be decoded, has no audio, or has no such channel.

    rate        Hz of the blocks; None: the rate at which the recording begins
    channel     the one to decode, counted from 1; None: the average of all
    start       seconds to leave out at the beginning of a file, to the sample; in WAV they aren't even read
    warn        called with a sentence for what only decoding shows: missing parts, tracks that are left out. What
                probing shows is in `probe(path).note`

    own_format   encoding and rate (Hz) in which the recording can be sent without loss; set with its first block
    """

    rate: int | None = RATE
    channel: int | None = None
    start: float = 0.0
    warn: Warn = lambda note: None
    own_format: tuple[str, int] = field(init=False, repr=False)

    def decode_file(self, path: Path, name: str | None = None) -> Iterator[Samples]:
        """Decode a file in any container. `name`: what messages call it; None: as its path."""
        name = name or display_name(path)
        recording = probe(path, name)  # has the best messages for what is not a recording
        with open_regular_file(path, name) as (file, size):
            pieces, encoding = self._open_pieces(file, size, name, path, _expected_seconds(recording))
            yield from _regrouped(self._resampled(pieces, name, encoding), self.rate or RATE)
            if file.seek(0, os.SEEK_END) < size:
                self.warn("it became shorter while it was read: its end may be missing")

    def decode_open_file(self, file: BinaryIO, name: str = STREAM_NAME) -> Iterator[Samples]:
        """As `decode_file`, for a seekable file that is open, from its beginning. `name`: what messages call it."""
        pieces, encoding = self._open_pieces(file, file.seek(0, os.SEEK_END), name)
        yield from _regrouped(self._resampled(pieces, name, encoding), self.rate or RATE)

    def decode_channels(self, path: Path) -> Iterator[Frames]:
        """Decode a file into blocks of all its channels, at 16 kHz, of shape (channels, samples).

        Raises InputError also if their number changes in it.
        """
        name, recording = display_name(path), probe(path)
        with open_regular_file(path, name) as (file, size):
            pieces, _ = self._open_pieces(file, size, name, path, _expected_seconds(recording))
            usable = ((piece_rate, _usable(frames)) for piece_rate, frames in pieces)
            for _, frames in _at_one_rate(usable, RATE, name):
                yield frames.T.clip(-1, 1)  # the filter may overshoot

    def decode_raw(
        self, stream: BinaryIO, encoding: str, sample_rate: int, name: str = STREAM_NAME, *, probes: bool = False
    ) -> Iterator[Samples]:
        """Decode headerless mono samples as they arrive; a partial last sample is dropped.

        `encoding` is one of ENCODINGS, `sample_rate` in Hz; `probes`: whether `warn` also gets what probing would have
        reported. Raises InputError also if reading fails.
        """
        read = _available_bytes(stream)
        blocks = whole_frames(self._probed(read, encoding) if probes else read, ENCODINGS[encoding], sample_rate)
        pieces = ((sample_rate, decode_pcm(data, encoding).reshape(-1, 1)) for data in blocks)
        yield from self._resampled(pieces, name, encoding if encoding in COMPANDED_ENCODINGS else LINEAR_ENCODING)

    def _probed(self, read: Read, encoding: str) -> Read:
        """A read that warns if headerless samples look like a file with a header, or end inside a sample."""
        size, width = 0, ENCODINGS[encoding]

        def read_probed(count: int) -> bytes:
            nonlocal size
            data = read(count)
            if not size and (found := sniff_head(data)):
                self.warn(f"looks like {found}, not like headerless {encoding}: all its bytes are taken for samples")
            size += len(data)
            if not data and (left_over := size % width):
                self.warn(f"ends inside a sample of {encoding}: {left_over} of {width} bytes")
            return data

        return read_probed

    def decode_pipe(self, stream: BinaryIO) -> Iterator[Samples]:
        """As `decode_file`, for a stream that can't seek: uncompressed WAV as it arrives, others from a temporary file.

        `warn` also gets what probing would have reported, such as a WAV that was cut off.
        """
        read = _available_bytes(stream)
        beginning = _Beginning(read)
        header = read_wav_header(beginning)
        if header and (plain := header.plain_format):
            pieces = decode_wav(plain, header.promised_bytes, read, self.warn)
            yield from self._resampled(pieces, STREAM_NAME, self._wav_encoding(plain))
            return
        with _spooled(bytes(beginning.seen), read) as path:
            if note := probe(path, STREAM_NAME).note:
                self.warn(note)
            yield from self.decode_file(path, STREAM_NAME)

    def _open_pieces(
        self, file: BinaryIO, size: int, name: str, path: Path | None = None, promised: float | None = None
    ) -> tuple[Pieces, str]:
        """The samples of a file of `size` bytes from `start` on, by the decoder for its format, and the encoding that
        keeps them.

        path       of the file, where it has one
        promised   seconds that the header names, as in `decode_ffmpeg`
        """
        container = sniff(BoundedReader(file, size), trust_extension=False)
        file.seek(0)
        if container in ("wav", "w64"):
            header = None
            with suppress(Undetermined):  # too many chunks come before the samples
                header = read_wav_header(BoundedReader(file, size))
            if header and (plain := header.plain_format):
                skipped = round(self.start * plain.rate) * plain.frame_bytes
                promised_bytes = header.promised_bytes
                file.seek(min((header.data_start or 0) + skipped, size))
                left = None if promised_bytes is None else max(0, promised_bytes - skipped)
                # Probing has reported what is missing at its end.
                return decode_wav(plain, left, file.read, warn=lambda note: None), self._wav_encoding(plain)
        pieces: Pieces | None = None
        if container in SOUNDFILE_CONTAINERS:
            pieces = decode_soundfile(os.fsencode(path) if path else RangeReader(file), name, self.warn)
        elif container == "ogg":
            chain = [RangeReader(file, *link) for link in list(find_chained_recordings(file))]
            pieces = decode_chain(chain, name, self.warn)
        pieces = pieces or decode_ffmpeg(RangeReader(file), name, self.warn, promised)
        return _skip(pieces, self.start), LINEAR_ENCODING

    def _wav_encoding(self, wav_format: WavFormat) -> str:
        """The encoding that keeps the samples of a WAV as they are: an average of channels isn't one of them."""
        if wav_format.channels > 1 and self.channel is None:
            return LINEAR_ENCODING
        return {ALAW: "pcm_alaw", MULAW: "pcm_mulaw"}.get(wav_format.codec, LINEAR_ENCODING)

    def _resampled(self, pieces: Pieces, name: str, encoding: str) -> Iterator[Samples]:
        """Turn pieces of any rate into mono blocks at one rate, none of them empty. Raises InputError if there are no
        samples.
        """
        mono = ((piece_rate, _mono(frames, self.channel, name)) for piece_rate, frames in pieces)
        has_samples = False
        for found_rate, frames in _at_one_rate(mono, self.rate, name):
            self.own_format = encoding, found_rate
            if len(frames):
                has_samples = True
                yield frames[:, 0].clip(-1, 1)  # the filter may overshoot
        if not has_samples and self.start:
            raise InputError(f"{name} holds no audio after {self.start:.2f} s")
        if not has_samples:
            raise InputError(f"{name} holds no audio", hint="does it play?")


def _expected_seconds(recording: MediaInfo) -> float | None:
    """Seconds that decoding should find: 0 to skip the check, None if only the decoder knows."""
    if recording.declared is not None or recording.estimated:
        return 0.0  # reported by probing already, or an estimate
    return recording.duration if recording.container in DECLARING_CONTAINERS else None


def _skip(pieces: Pieces, start: float) -> Pieces:
    """The samples from `start` seconds on."""
    left = start
    for rate, frames in pieces:
        count = min(round(left * rate), len(frames))
        left = max(0.0, left - count / rate)
        if count < len(frames):
            yield rate, frames[count:]


def _at_one_rate(pieces: Pieces, rate: int | None, name: str) -> Pieces:
    """Resample pieces to `rate` (None: that of the first one). Raises InputError if the number of channels changes."""
    resampler, source, channels = None, 0, 0
    for piece_rate, frames in pieces:
        if piece_rate not in SUPPORTED_RATES:
            raise InputError(f"{name} can't be decoded: unsupported sample rate of {piece_rate} Hz")
        rate, channels = rate or piece_rate, channels or frames.shape[1]
        if frames.shape[1] != channels:
            raise InputError(f"{name} has {channels} channels at its beginning and {frames.shape[1]} later")
        if resampler is None or piece_rate != source:
            if resampler is not None:
                yield rate, resampler.finish()
            resampler, source = Resampler(piece_rate, rate, channels), piece_rate
        yield rate, resampler.resample(frames)
    if rate is not None and resampler is not None:
        yield rate, resampler.finish()


def _regrouped(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Join blocks of this rate until they last at least MIN_BLOCK_SECONDS; the last may be shorter."""
    held: list[Samples] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= int(rate * MIN_BLOCK_SECONDS):
            yield np.concatenate(held)
            held.clear()
    if held:
        yield np.concatenate(held)


def _mono(frames: Frames, channel: int | None, name: str) -> Frames:
    """One channel, or the average of all."""
    count = frames.shape[1]
    if channel is not None and not 1 <= channel <= count:
        has = "1 channel" if count == 1 else f"{count} channels"
        raise InputError(f"{name} has {has}: channel {channel} does not exist", hint="channels are counted from 1")
    one = frames if channel is None else frames[:, channel - 1 : channel]
    mixed: Frames = _usable(one).mean(axis=1, dtype=np.float32, keepdims=True)
    return mixed


def _usable(frames: Frames) -> Frames:
    """Samples within -1..1; NaN and infinity become silence."""
    return np.nan_to_num(frames, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1)


def _available_bytes(stream: BinaryIO) -> Read:
    """A read that waits only for the first byte, where the stream supports that: live audio must not be delayed."""
    read: Read = getattr(stream, "read1", stream.read)

    def read_available(count: int) -> bytes:
        try:
            return read(count)
        except OSError as error:
            raise InputError(f"{STREAM_NAME} can't be read: {error.strerror or error}") from error

    return read_available


class _Beginning:
    """The first MAX_SEARCH_BYTES of a stream as a ByteSource; keeps everything that was read."""

    def __init__(self, read: Read) -> None:
        self.seen = bytearray()
        self._read = read

    def read(self, count: int) -> bytes:
        start = len(self.seen)
        end = min(start + count, MAX_SEARCH_BYTES)
        while len(self.seen) < end and (data := self._read(end - len(self.seen))):
            self.seen += data
        return bytes(self.seen[start:])

    def seek(self, position: int) -> None:
        self.read(position - len(self.seen))

    def tell(self) -> int:
        return len(self.seen)


@contextmanager
def _spooled(seen: bytes, rest: Read) -> Iterator[Path]:
    """A temporary file with what was read of a stream and all the rest of it, while the block runs."""
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
                f"{STREAM_NAME} can't be saved in {tempfile.gettempdir()}: {error.strerror}",
                hint="set TMPDIR to another folder",
            ) from error
        yield path
