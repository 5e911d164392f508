"""Requests and WebSocket sessions as they end: reported one by one, and answered properly where they are cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..protocol import api_error
from .connections import SHUTTING_DOWN
from .responses import error_response

AUDIO_SECONDS = "audio_seconds"
"""Where in a scope's `state` an application leaves how much audio a request had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request with its answer, or a whole WebSocket session.

    method          `WEBSOCKET` for a session, or an attempt at one
    path            percent-encoded and without the query, in which a key may be
    status          0 where the client left before there was an answer
    close_code      of a session
    audio_seconds   None where no audio was asked about
    seconds         from the end of the request's head to the end of the answer
    """

    method: str
    path: str
    status: int
    close_code: int | None
    audio_seconds: float | None
    seconds: float


OnExchange = Callable[[Exchange], None]


class ExchangeReports:
    """ASGI middleware: calls `on_exchange` at each end, and answers 503 to what is cancelled as the server stops."""

    def __init__(self, app: ASGIApp, on_exchange: OnExchange | None = None) -> None:
        self._app, self._on_exchange = app, on_exchange or (lambda exchange: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        watched = _Watched(receive, send)
        began = time.monotonic()
        try:
            await self._app(scope, watched.receive, watched.send)
        except asyncio.CancelledError:
            if scope["type"] == "http" and not watched.status:
                answer = error_response(api_error(503, "Service unavailable", SHUTTING_DOWN), str(uuid4()))
                await answer(scope, receive, watched.send)
            raise
        finally:
            is_http = scope["type"] == "http"
            self._on_exchange(
                Exchange(
                    method=scope["method"] if is_http else "WEBSOCKET",
                    path=scope["raw_path"].decode("ascii", "replace"),
                    status=watched.status,
                    close_code=watched.close_code if watched.status == 101 else None,
                    audio_seconds=scope.get("state", {}).get(AUDIO_SECONDS),
                    seconds=time.monotonic() - began,
                )
            )


class _Watched:
    """`receive` and `send` of one exchange, with a note of how it goes."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.status, self.close_code = 0, 1006

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.close_code = message.get("code", self.close_code)
        return message

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.accept":
                self.status = 101
            case "websocket.close":
                self.close_code = message.get("code", 1000)
        await self._send(message)
