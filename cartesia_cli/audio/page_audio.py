"""What a page with a player needs of a recording: its waveform, and a small copy to carry in the page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .files import decode_file
from .pcm import RATE, Samples, divide_into_rows

MIN_PEAK_SECONDS = 0.05
MAX_PEAKS = 8000
"""As many as a wide screen has columns, several times over."""

OPUS_RATE = 48_000
OPUS_BITS_PER_SECOND = 32_000
"""Clear speech; some 15 MB an hour."""

OPUS_TYPE = "audio/webm; codecs=opus"

FRAME_SAMPLES = OPUS_RATE // 50


def peaks(blocks: Iterable[Samples]) -> tuple[bytes, float]:
    """The waveform of 16 kHz samples: the loudest, 0 to 255, of each stretch, and the seconds of a stretch.

    The stretches are longer in a longer recording, so that there are never more than MAX_PEAKS.
    """
    size = int(MIN_PEAK_SECONDS * RATE)
    loudest = np.concatenate(
        [np.zeros(0, np.float32), *(np.abs(rows).max(axis=1) for rows in divide_into_rows(blocks, size))]
    )
    while len(loudest) > MAX_PEAKS:
        loudest, size = np.maximum.reduceat(loudest, np.arange(0, len(loudest), 2)), 2 * size
    return (np.clip(loudest, 0, 1) * 255).astype(np.uint8).tobytes(), size / RATE


def opus(path: Path, max_bytes: int) -> bytes | None:
    """A recording as Opus in WebM, mono; None if it would take more than `max_bytes`.

    Raises InputError if it can't be decoded.
    """
    import av

    target, at = io.BytesIO(), 0
    with av.open(target, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=OPUS_RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = OPUS_BITS_PER_SECOND
        for rows in divide_into_rows(decode_file(path, rate=OPUS_RATE), FRAME_SAMPLES):
            for samples in rows:
                frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = OPUS_RATE, at
                at += len(samples)
                output.mux(stream.encode(frame))
            if target.tell() > max_bytes:
                return None
        output.mux(stream.encode(None))
    return target.getvalue() if target.tell() <= max_bytes else None
