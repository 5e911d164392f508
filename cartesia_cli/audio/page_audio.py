"""What a page with a player needs of a recording: its waveform, and a small copy to carry in the page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np

from .files import decode_file
from .flac_writer import SoundWriter
from .pcm import RATE, Samples, divide_into_rows

MIN_PEAK_SECONDS = 0.05
MAX_PEAKS = 8000
"""As many as a wide screen has columns, several times over."""

OPUS_RATE = 48_000
OPUS_OPTIONS = {"application": "voip", "b": "32000"}
"""Clear speech; some 15 MB an hour."""

OPUS_TYPE = "audio/webm; codecs=opus"


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
    target = io.BytesIO()
    with closing(SoundWriter(target, "webm", "libopus", OPUS_RATE, OPUS_OPTIONS)) as writer:
        for samples in decode_file(path, rate=OPUS_RATE):
            writer.write(samples)
            if target.tell() > max_bytes:
                return None
    return target.getvalue() if target.tell() <= max_bytes else None
