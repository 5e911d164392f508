"""Sends a second of speech to an endpoint and waits for its transcript, to find out whether that works and how fast.

Each costs what so much audio costs. No attempt is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from ..protocol.batch import BatchOptions
from ..protocol.constants import API_VERSION, BATCH_MODEL, Credential
from ..protocol.events import Delta, TurnEnd
from ..protocol.realtime import AUTO, Close, Endpoint, RealtimeOptions
from ..record import Record
from ..retry import RetryPolicy
from .batch import BatchClient
from .deadlines import Deadlines
from .realtime import connect
from .upload import Upload

REALTIME_MODEL = "ink-2"

BLOCK_SECONDS = 0.1


class RoundTrip(Record):
    """How long an endpoint took. All in seconds.

    handshake    until the session was open; None for a batch request
    transcript   after the end of the audio, or for a batch request from its beginning
    """

    handshake: float | None
    transcript: float
    text: str


def batch_round_trip(
    base_url: str,
    credential: Credential | None,
    endpoint: str,
    recording: Path,
    *,
    api_version: str = API_VERSION,
    seconds: float,
) -> RoundTrip:
    """Upload a WAV file. `endpoint`: a key of HTTP_ROUTES. Errors as in `BatchClient.transcribe`."""
    began = time.monotonic()
    with BatchClient(base_url, credential, retry=RetryPolicy(0), api_version=api_version) as client:
        response = client.transcribe(
            Upload(recording, recording.name, "audio/wav"),
            BatchOptions(model=BATCH_MODEL),
            endpoint=endpoint,
            deadlines=Deadlines.uniform(seconds),
        )
    return RoundTrip(None, time.monotonic() - began, response.text)


async def realtime_round_trip(
    base_url: str,
    credential: Credential | None,
    endpoint: Endpoint,
    blocks: Sequence[bytes],
    *,
    api_version: str = API_VERSION,
    seconds: float,
) -> RoundTrip:
    """Hold a session with blocks of BLOCK_SECONDS, pcm_s16le at 16 kHz, sent in real time.

    Errors are those of `connect` and of the connection; raises TimeoutError if it takes longer than `seconds`.
    """
    began = time.monotonic()
    ended = began
    text = ""
    async with asyncio.timeout(seconds):
        async with connect(
            base_url, credential, endpoint, RealtimeOptions(model=REALTIME_MODEL), retry=RetryPolicy(0),
            open_timeout=seconds, api_version=api_version,
        ) as connection:  # fmt: skip
            opened = time.monotonic()

            async def send() -> None:
                nonlocal ended
                for block in blocks:
                    await connection.send(block)
                    await asyncio.sleep(BLOCK_SECONDS)
                ended = time.monotonic()
                await connection.send_command(Close())

            sending = asyncio.create_task(send())
            try:
                async for event in connection:
                    if endpoint is AUTO and isinstance(event, TurnEnd):
                        text += event.transcript
                    elif isinstance(event, Delta) and event.is_final:
                        text += event.text
                await sending
            finally:
                sending.cancel()
    return RoundTrip(opened - began, time.monotonic() - ended, text)
