"""The official SDKs as they come from the registry, under one roof: what each script here asks, it asks all four.

Run with the Python of `.venv-judges`, never with that of the package: `cartesia` wants older websockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import cartesia
import openai

PATIENCE = 300.0
"""Seconds that a client waits for an answer: their own 60 are short for a busy machine without a GPU."""

VERSION = {"Cartesia-Version": "2026-03-01"}
"""What Cartesia's API wants with every request, and only Cartesia's own SDK sends by itself."""

Transcribe = Callable[..., Any]

ASK = {"model": "ink-whisper", "language": "en", "timestamp_granularities": ["word"]}
"""What a script asks for unless it is after something else."""


def _cartesia(base_url: str, **options: Any) -> Transcribe:
    return cartesia.Cartesia(base_url=base_url, timeout=PATIENCE, **options).stt.transcribe


def _openai(base_url: str, **options: Any) -> Transcribe:
    return openai.OpenAI(
        base_url=base_url, default_headers=VERSION, timeout=PATIENCE, **options
    ).audio.transcriptions.create


SYNC: dict[str, Callable[..., Transcribe]] = {"cartesia": _cartesia, "openai": _openai}
"""Name to what makes the method that transcribes, given an address and the client's options."""


@asynccontextmanager
async def _async_cartesia(base_url: str, **options: Any) -> AsyncIterator[Transcribe]:
    async with cartesia.AsyncCartesia(base_url=base_url, timeout=PATIENCE, **options) as client:
        yield client.stt.transcribe


@asynccontextmanager
async def _async_openai(base_url: str, **options: Any) -> AsyncIterator[Transcribe]:
    async with openai.AsyncOpenAI(base_url=base_url, default_headers=VERSION, timeout=PATIENCE, **options) as client:
        yield client.audio.transcriptions.create


ASYNC = {"async cartesia": _async_cartesia, "async openai": _async_openai}

NAMES = (*SYNC, *ASYNC)


def transcribe(sdk: str, base_url: str, *, ask: dict[str, Any], **options: Any) -> Any:
    """One request through one SDK, in its own way; what it returns or raises is the SDK's."""
    if sdk in SYNC:
        return SYNC[sdk](base_url, **options)(**ask)

    async def one() -> Any:
        async with ASYNC[sdk](base_url, **options) as method:
            return await method(**ask)

    return asyncio.run(one())


def facts(answer: Any) -> dict[str, Any]:
    """A transcript as the SDK's object has it, attribute by attribute.

    OpenAI's type knows the text alone; what else the server says stays with it as extra attributes,
    of which the words are plain dictionaries.
    """
    words = [word if isinstance(word, dict) else word.model_dump() for word in answer.words]
    plain = ("text", "type", "language", "duration", "request_id")
    return {"class": type(answer).__name__, "words": words} | {name: getattr(answer, name) for name in plain}
