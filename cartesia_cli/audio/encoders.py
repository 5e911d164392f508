"""Encodes mono samples with FFmpeg's libraries: into FLAC for uploads, without loss and at about half the size of WAV,
and into the Opus that pages with a player carry.

`cut_segment` writes the part of a recording that a line of a manifest names: it begins and ends at exactly the samples
that were named. Must never hold more than a block of samples.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from ..errors import InputError
from ..transfer import new_file
from .files import Decoder
from .pcm import RATE, Samples, encode_s16le
from .probing import display_name

if TYPE_CHECKING:
    from av import AudioStream

END_TOLERANCE_SECONDS = 0.1
"""How far a segment may reach beyond the end of its recording: manifests round durations."""

OPUS_RATE = 48_000
OPUS_OPTIONS = {"application": "voip", "b": "32000"}
"""Clear speech; some 15 MB an hour."""

OPUS_TYPE = "audio/webm; codecs=opus"


class SoundWriter:
    """A file of mono samples that is being encoded.

    muxer, codec, options   as FFmpeg names them
    rate                    Hz
    samples                 how many were written so far
    """

    def __init__(
        self, file: BinaryIO, muxer: str, codec: str, rate: int, options: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        import av

        self._container = av.open(file, "w", format=muxer)
        stream = self._container.add_stream(codec, rate=rate, layout="mono", options=dict(options))
        self._stream = cast("AudioStream", stream)
        self.rate, self.samples = rate, 0

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def write(self, samples: Samples) -> None:
        """Append samples, -1..1."""
        if not len(samples):
            return
        import av

        pcm = np.frombuffer(encode_s16le(samples), "<i2")
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts = self.rate, self.samples
        self._container.mux(self._stream.encode(frame))
        self.samples += len(samples)

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


@contextmanager
def new_flac_file(folder: Path, name: str, rate: int = RATE) -> Iterator[tuple[SoundWriter, Path]]:
    """A new FLAC file in `folder` that is complete after the block. It is deleted if the block fails. Samples that came
    from 16 bits are stored unchanged. Raises InputError if it can't be written.

    rate   Hz
    name   of the recording, for messages
    """
    with new_file(folder, ".flac", f"the sound of {name}") as (file, path):
        writer = SoundWriter(file, "flac", "flac", rate)
        yield writer, path
        writer.close()


def cut_segment(path: Path, offset: float, duration: float, folder: Path) -> Path:
    """Write the part of a recording that begins at `offset` seconds and lasts `duration` seconds to a new FLAC file in
    `folder`, which the caller deletes: mono, 16 bits, at the rate of the recording. `duration` may be infinite.

    Raises InputError if the recording can't be decoded, ends before the segment does, or the file can't be written.
    """
    name = display_name(path)
    decoder = Decoder(rate=None, start=offset)
    blocks = decoder.decode_file(path)
    first = next(blocks)
    _, rate = decoder.own_format
    wanted = sys.maxsize if duration == inf else round((offset + duration) * rate) - round(offset * rate)
    with new_flac_file(folder, name, rate) as (writer, segment):
        for block in chain([first], blocks):
            writer.write(block[: wanted - writer.samples])
            if writer.samples == wanted:
                break
        if duration < inf and wanted - writer.samples > END_TOLERANCE_SECONDS * rate:
            raise InputError(
                f"{name} has no segment from {offset:.2f} to {offset + duration:.2f} s: it ends at "
                f"{offset + writer.seconds:.2f} s",
                hint="are offset and duration of the manifest in seconds?",
            )
    return segment


def opus(blocks: Iterable[Samples], max_bytes: int) -> bytes | None:
    """A recording, as blocks at OPUS_RATE, as Opus in WebM, mono; None if it would take more than `max_bytes`."""
    target = io.BytesIO()
    with closing(SoundWriter(target, "webm", "libopus", OPUS_RATE, OPUS_OPTIONS)) as writer:
        for samples in blocks:
            writer.write(samples)
            if target.tell() > max_bytes:
                return None
    return target.getvalue() if target.tell() <= max_bytes else None
