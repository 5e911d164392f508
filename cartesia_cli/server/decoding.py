"""An uploaded file as a stream of samples for the recogniser: any container, any rate, any channels.

Bounded memory: blocks come out as they are decoded. What can't be decoded is refused with a 400.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np

from ..audio.pcm import RATE, Resampler, Samples, decode_pcm, whole_samples
from ..protocol import refusal

READ_BYTES = 1 << 20

NO_PLAYLISTS = {"protocol_whitelist": "none"}
"""FFmpeg takes a text for a playlist, too, and would open the files of this machine that it names."""


def decode_container(file: BinaryIO) -> Iterator[Samples]:
    """Blocks of 16 kHz mono from a container; its channels are averaged. ApiError 400 if there is no audio in it."""
    try:
        with av.open(file, mode="r", metadata_errors="replace", options=NO_PLAYLISTS) as container:
            if not container.streams.audio:
                raise refusal(400, "Invalid audio", "The file has no audio track.")
            # The layout is kept and averaged here: FFmpeg has no downmix for layouts without a name. Packed,
            # since PyAV reads no more than eight planes and finds nothing behind them.
            resampler = av.AudioResampler(format="flt", rate=RATE)
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue  # a damaged packet costs its own milliseconds, not the recording
                for frame in frames:
                    yield from map(_mono, resampler.resample(frame))
            yield from map(_mono, resampler.resample(None))
    except av.FFmpegError as error:
        raise refusal(400, "Invalid audio", f"The file can't be decoded: {error.strerror}.") from error


def decode_raw(file: BinaryIO, encoding: str, sample_rate: int) -> Iterator[Samples]:
    """Blocks of 16 kHz mono from headerless PCM; a partial last sample is dropped."""
    resampler = Resampler(sample_rate)
    rest = b""
    while data := file.read(READ_BYTES):
        data = rest + data
        whole = whole_samples(data, encoding)
        rest = data[whole:]
        yield resampler.feed(decode_pcm(data[:whole], encoding))
    yield resampler.finish()


def _mono(frame: av.AudioFrame) -> Samples:
    packed = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    samples: Samples = np.nan_to_num(packed.mean(axis=1, dtype=np.float32))
    return samples
