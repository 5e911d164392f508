"""A recording to try things on: the one that comes along, or one that Cartesia speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ..client import Deadlines
from ..errors import UsageError
from ..output.console import Reporter
from ..output.files import write_file
from .backend import Backend, BackendConfig

SAMPLE = Path(__file__).parent.parent / "sample.wav"

VOICE = {"mode": "id", "id": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"}
"""The voice of the documentation's own example (docs: the batch example)."""


def synthesize_sample(
    words: Sequence[str], choice: BackendConfig, connect: Callable[[], Backend], reporter: Reporter
) -> Path:
    """The sample's path; with words, a new recording of them beside the user, made by Cartesia's text to speech."""
    if not words:
        return SAMPLE
    if choice.base_url is None:
        raise UsageError(
            "speaking a text of yours needs Cartesia's API", hint="set CARTESIA_API_KEY; --sample alone needs none"
        )
    request = {
        "model_id": "sonic-latest",
        "transcript": " ".join(words),
        "voice": VOICE,
        "output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 16000},
        "language": "en",
    }
    path = Path(f"stt_sample_{datetime.now():%Y%m%d_%H%M%S}.wav")
    write_file(path, connect().client.synthesize(request, deadlines=Deadlines(total=120.0)))
    reporter.info(f"saved the sample as {path}")
    return path
