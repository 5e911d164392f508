"""The waveform of a page, and the copy of a recording that it can carry."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from cartesia_cli.audio.encoders import OPUS_RATE, opus
from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.level import MAX_PEAKS, peaks
from cartesia_cli.audio.pcm import RATE
from tests import golden


@pytest.mark.parametrize("seconds", [0.0, 0.03, 10.0, 1000.0])
def test_waveform_has_the_loudest_sample_of_each_stretch(seconds: float) -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-1, 1, int(seconds * RATE)).astype(np.float32) * np.float32(0.9)
    samples[len(samples) // 3 : len(samples) // 2] = 0
    cuts = np.sort(rng.integers(0, len(samples) + 1, 50))
    found, step = peaks(np.split(samples, cuts))
    size = round(step * RATE)
    assert len(found) == -(-len(samples) // size) <= MAX_PEAKS
    expected = [int(np.abs(samples[at : at + size]).max() * np.float32(255)) for at in range(0, len(samples), size)]
    assert list(found) == expected


def test_copy_is_opus_of_the_same_length_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(golden.SAMPLE)
    copied = opus(Decoder(rate=OPUS_RATE).decode_file(path), 1 << 20)
    assert copied is not None and len(copied) < len(golden.SAMPLE) / 4
    with av.open(io.BytesIO(copied)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "libopus" or "opus" in stream.codec_context.name
        last = max(packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None)
    assert float(last) == pytest.approx(10.8, abs=0.1)
    assert opus(Decoder(rate=OPUS_RATE).decode_file(path), 10_000) is None
