"""What a live session has fallen behind with, through the batch endpoint: minutes of audio in seconds."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..audio.wav_writer import BYTES_PER_SAMPLE, encode_header
from ..client import BatchClient, Deadlines, RetryPolicy, Upload
from ..output.console import Reporter
from ..protocol import BatchOptions, RealtimeOptions
from ..session.interfaces import CatchUp
from ..transcript import Segment, blank_between, from_batch
from .backend import MIN_LOCAL_SPEED, RunningServer

MODEL = "ink-whisper"
"""Of the batch endpoint, whatever the session asked for (docs: api-reference/stt/transcribe)."""

T = TypeVar("T")


def batch_catch_up(
    server: RunningServer, options: RealtimeOptions, reporter: Reporter, text: Callable[[], str]
) -> CatchUp:
    """A way to catch up with a server that has a batch endpoint, too. `text`: what has settled in the session."""

    async def catch_up(audio: Iterable[bytes], at: float) -> list[Segment]:
        with tempfile.NamedTemporaryFile(prefix="cartesia-cli-", suffix=".wav") as file:  # nobody else can read it
            file.write(encode_header(0, rate=options.sample_rate))
            size = sum(file.write(block) for block in audio)
            file.seek(0)
            file.write(encode_header(size, rate=options.sample_rate))
            file.flush()
            seconds = size / (BYTES_PER_SAMPLE * options.sample_rate)
            reporter.info(f"{seconds:.0f} s of audio are left: they go through the batch endpoint, at once")
            found = await _beside(lambda: _transcribed(Path(file.name), seconds))
        return _joined(text(), [segment.shifted(at) for segment in found])

    def _transcribed(path: Path, seconds: float) -> Iterable[Segment]:
        asked = BatchOptions(model=MODEL, language=options.language, word_timestamps=True)
        speed = {"speed": MIN_LOCAL_SPEED} if server.local else {}
        with BatchClient(server.base_url, server.credential, retry=RetryPolicy(), tell=reporter.info) as client:
            response = client.transcribe(
                Upload(path, "rest.wav", "audio/wav", "the rest"),
                asked,
                deadlines=Deadlines.for_audio(path.stat().st_size, seconds, **speed),
            )
        return from_batch(response, source="", model=MODEL, measured_duration=seconds).segments

    return catch_up


def _joined(text: str, segments: list[Segment]) -> list[Segment]:
    """Segments behind a text. Nobody sent this seam: batch answers begin without the blank that live texts bring."""
    if segments:
        segments[0] = replace(segments[0], text=blank_between(text, segments[0].text) + segments[0].text)
    return segments


async def _beside(work: Callable[[], T]) -> T:
    """The result of `work`, which runs in a thread that nobody waits for once its result isn't wanted any more."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is gone, and whoever asked with it
            return

    threading.Thread(target=run, name="batch", daemon=True).start()
    return await done
