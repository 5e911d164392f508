"""Recordings through LiveKit's Cartesia plugin: prints the events of its streams.

Each file is an utterance (see asked.py). The plugin is given another address, and nothing else but a model:

    turns     ink-2, its default: the server says what a turn is
    whisper   ink-whisper: the manual endpoint, with `finalize` where a stream is flushed and word times

Run with the Python of `.venv-frameworks`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp
from asked import Asked, asked
from livekit import rtc
from livekit.agents import APIError, stt
from livekit.plugins import cartesia
from sound import RATE, Clock, aspoken

MODELS = {"turns": "ink-2", "whisper": "ink-whisper"}


def facts(event: stt.SpeechEvent) -> dict[str, Any]:
    """An event, and what its best alternative says."""
    known: dict[str, Any] = {"type": event.type.value, "request_id": event.request_id}
    if event.alternatives:
        best = event.alternatives[0]
        words = [
            {"word": str(word), "start": word.start_time, "end": word.end_time}
            for word in getattr(best, "words", None) or []
        ]
        known |= {"text": best.text, "start": best.start_time, "end": best.end_time, "words": words}
    return known


async def converse(ask: Asked, model: str) -> dict[str, Any]:
    events: list[dict[str, Any]] = []
    errors: list[str] = []
    async with aiohttp.ClientSession() as session:
        service = cartesia.STT(api_key=ask.key, base_url=ask.base_url, model=model, http_session=session)
        service.on("error", lambda error: errors.append(repr(error.error)))
        async with service.stream() as stream:

            async def speak() -> None:
                clock = Clock(ask.speed)
                for number, file in enumerate(ask.files, 1):
                    async for chunk in aspoken(file, clock):
                        stream.push_frame(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))
                    if model == "ink-whisper" and number < len(ask.files):
                        stream.flush()
                stream.end_input()  # which flushes, too

            async def listen() -> None:
                async for event in stream:
                    events.append(facts(event))  # noqa: PERF401 - what came before an error counts, too

            try:
                await asyncio.gather(speak(), listen())
            except APIError as error:
                errors.append(repr(error))
    finals = [event["text"] for event in events if event["type"] == "final_transcript"]
    return {"events": events, "finals": finals, "errors": errors}


async def main() -> None:
    ask, names = asked(MODELS)
    json.dump({name: await converse(ask, MODELS[name]) for name in names}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
