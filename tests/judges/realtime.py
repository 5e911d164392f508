"""Recordings through the WebSockets of the official SDK: prints what was heard, and how it ended.

Each file is an utterance (see asked.py). The sessions have the shapes that the documentation shows (examples
stt-manual-finalize-websocket and stt-auto-finalize-websocket, guide migrate-from-openai-realtime):

    manual          the utterance, `finalize`, events until `flush_done`; at the end `close`, events until the end
    async manual    a sender that does the same, and a receiver beside it
    manual at once  all audio without a pause, `finalize` and `close`, and only then the events
    auto            a sender in a thread, JSON `close` at the end, events until the end
    async auto      the same, with a receiver beside the sender
    auto config     language hints in the handshake, then `config` twice, of which the second has to be refused

Run with the Python of `.venv-judges`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import cartesia
from asked import Asked, asked
from sound import RATE, Clock, aspoken, chunks, spoken
from websockets.exceptions import ConnectionClosedError, InvalidStatus

AUDIO = {"model": "ink-2", "encoding": "pcm_s16le", "sample_rate": RATE}

Hear = Callable[[Any], None]
Session = Callable[[Asked, Hear], int]
"""Holds a session, hands on its events, and returns the code that it was closed with."""


def close_code(connection: Any) -> int:
    """The one thing for which no public name exists: to the SDK, 1001 is as good an end as 1000."""
    code: int = connection._connection.protocol.close_code
    return code


def manual(ask: Asked, hear: Hear) -> int:
    client = cartesia.Cartesia(api_key=ask.key, base_url=ask.base_url)
    with client.stt.manual_finalize.websocket(**AUDIO) as connection:
        clock = Clock(ask.speed)
        for file in ask.files:
            for chunk in spoken(file, clock):
                connection.send_raw(chunk)
            connection.send("finalize")
            for event in connection:
                hear(event)
                if event.type in ("flush_done", "error"):
                    break
        connection.send("close")
        for event in connection:
            hear(event)
        return close_code(connection)


def manual_at_once(ask: Asked, hear: Hear) -> int:
    client = cartesia.Cartesia(api_key=ask.key, base_url=ask.base_url)
    with client.stt.manual_finalize.websocket(**AUDIO) as connection:
        for file in ask.files:
            for chunk in chunks(file):
                connection.send_raw(chunk)
        connection.send("finalize")
        connection.send("close")
        for event in connection:
            hear(event)
        return close_code(connection)


async def _async_manual(ask: Asked, hear: Hear) -> int:
    async with (
        cartesia.AsyncCartesia(api_key=ask.key, base_url=ask.base_url) as client,
        client.stt.manual_finalize.websocket(**AUDIO) as connection,
    ):

        async def send_audio() -> None:
            clock = Clock(ask.speed)
            for file in ask.files:
                async for chunk in aspoken(file, clock):
                    await connection.send_raw(chunk)
                await connection.send("finalize")
            await connection.send("close")

        async def receive() -> None:
            async for event in connection:
                hear(event)

        await asyncio.gather(send_audio(), receive())
        return close_code(connection)


def auto(ask: Asked, hear: Hear) -> int:
    client = cartesia.Cartesia(api_key=ask.key, base_url=ask.base_url)
    with client.stt.auto_finalize.websocket(**AUDIO) as connection:

        def send_audio() -> None:
            clock = Clock(ask.speed)
            for file in ask.files:
                for chunk in spoken(file, clock):
                    connection.send_raw(chunk)
            connection.send({"type": "close"})

        sender = threading.Thread(target=send_audio, daemon=True)
        sender.start()
        for event in connection:
            hear(event)
        sender.join()
        return close_code(connection)


async def _async_auto(ask: Asked, hear: Hear) -> int:
    async with (
        cartesia.AsyncCartesia(api_key=ask.key, base_url=ask.base_url) as client,
        client.stt.auto_finalize.websocket(**AUDIO) as connection,
    ):

        async def send_audio() -> None:
            clock = Clock(ask.speed)
            for file in ask.files:
                async for chunk in aspoken(file, clock):
                    await connection.send_raw(chunk)
            await connection.send({"type": "close"})

        async def receive() -> None:
            async for event in connection:
                hear(event)

        await asyncio.gather(send_audio(), receive())
        return close_code(connection)


def auto_config(ask: Asked, hear: Hear) -> int:
    client = cartesia.Cartesia(api_key=ask.key, base_url=ask.base_url)
    audio = AUDIO | {"model": "ink-preview"}
    with client.stt.auto_finalize.websocket(**audio, extra_query={"language_hint": "en"}) as connection:
        connection.send({"type": "config", "language_hints": ["en", "de"], "keyterms": ["river"]})
        connection.send({"type": "config", "language_hints": ["en"] * 7})
        for file in ask.files:
            for chunk in chunks(file):
                connection.send_raw(chunk)
        connection.send({"type": "close"})
        for event in connection:
            hear(event)
        return close_code(connection)


SESSIONS: dict[str, Session] = {
    "manual": manual,
    "async manual": lambda ask, hear: asyncio.run(_async_manual(ask, hear)),
    "manual at once": manual_at_once,
    "auto": auto,
    "auto config": auto_config,
    "async auto": lambda ask, hear: asyncio.run(_async_auto(ask, hear)),
}


def outcome(session: Session, ask: Asked) -> dict[str, Any]:
    """What the SDK made of it all, and what the documentation says is the transcript.

    A refusal, and a close frame with an error code, are exceptions of websockets: the SDK lets them through.
    """
    events: list[Any] = []
    end: dict[str, Any]
    try:
        end = {"close_code": session(ask, events.append)}
    except InvalidStatus as error:
        body = error.response.body or b"null"
        return {"refused": error.response.status_code, "body": json.loads(body)}
    except ConnectionClosedError as error:
        end = {"close_code": error.rcvd.code if error.rcvd else 1006, "raised": str(error)}
    return {
        "events": [{"class": type(event).__name__, **event.to_dict()} for event in events],
        "text": "".join(event.text for event in events if event.type == "transcript" and event.is_final),
        "turns": [event.transcript for event in events if event.type == "turn.end"],
        **end,
    }


if __name__ == "__main__":
    ask, names = asked(SESSIONS)
    json.dump({name: outcome(SESSIONS[name], ask) for name in names}, sys.stdout)
