"""Sends the rest of a live session's audio to the batch endpoint, which transcribes minutes of audio in seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from ...audio.wav_writer import BYTES_PER_SAMPLE, encode_header
from ...client import BatchClient, Upload
from ...daemon_thread import start_daemon_thread_async
from ...errors import OutputError
from ...output.console import Reporter
from ...protocol.batch import BatchOptions
from ...protocol.constants import BATCH_MODEL
from ...protocol.realtime import RealtimeOptions
from ...session.interfaces import TranscribeRest
from ...transcript import Segment, blank_between, from_batch
from ..backend import Backend, ChosenServer
from ..local_extra import LocalServerObserver


def batch_catch_up(
    server: ChosenServer, options: RealtimeOptions, reporter: Reporter, text: Callable[[], str]
) -> TranscribeRest:
    """Returns what transcribes the rest of a session over the batch endpoint of its server.

    text   what has settled in the session so far
    """

    async def transcribe_rest(audio: Iterable[bytes], at: float) -> list[Segment]:
        with ExitStack() as stack:
            try:
                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="cartesia-cli-", suffix=".wav"))
                file.write(encode_header(0, rate=options.sample_rate))
                size = sum(file.write(block) for block in audio)
                file.seek(0)
                file.write(encode_header(size, rate=options.sample_rate))
                file.flush()
            except OSError as error:
                raise OutputError(
                    f"the rest of the audio can't be copied to a temporary file: {error.strerror}"
                ) from error
            seconds = size / (BYTES_PER_SAMPLE * options.sample_rate)
            reporter.info(f"{seconds:.0f} s of audio are left: they go through the batch endpoint, at once")
            segments = await start_daemon_thread_async(lambda: transcribe(Path(file.name), seconds), "batch")
        moved = [segment.shifted(at) for segment in segments]
        if moved:  # live text contains the spaces between segments, a batch response doesn't
            moved[0] = moved[0]._replace(text=blank_between(text(), moved[0].text) + moved[0].text)
        return moved

    def transcribe(path: Path, seconds: float) -> Iterable[Segment]:
        asked = BatchOptions(model=BATCH_MODEL, language=options.language, word_timestamps=True)
        with BatchClient(
            server.base_url, server.credential, on_retry=reporter.info, api_version=server.api_version
        ) as client:
            backend = Backend(client, LocalServerObserver(reporter), local=server.local)
            response = client.transcribe(
                Upload(path, "rest.wav", "audio/wav", "the rest"),
                asked,
                deadlines=backend.deadlines(path.stat().st_size, seconds, None),
                headers=backend.track_recording().headers,
            )
        return from_batch(response, source="", model=BATCH_MODEL, measured_duration=seconds).segments

    return transcribe_rest
