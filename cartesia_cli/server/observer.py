"""What is reported of models while they are loaded, and of the server while it runs: progress, and what has ended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..protocol.batch import api_error
from .access import error_response
from .connections import SHUTTING_DOWN

RECORDING_HEADER = "Cartesia-CLI-Recording"
"""Header in which a client of this program names the recording of a batch request, to follow how much of it is done,
and to be told which word times are estimates. Not part of the API: it is only sent to a server in the same process,
or to a `serve` of the same user that was found by its socket.
"""

AUDIO_SECONDS = "audio_seconds"
"""Key in a scope's `state` under which an endpoint leaves how much audio a request had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request with its response, or a whole WebSocket session.

    method          `WEBSOCKET` for a session or a refused handshake
    path            percent-encoded and without the query, which may contain a key
    status          0 if the client left before there was a response
    close_code      of a session; None for a request
    audio_seconds   None if no audio was received
    seconds         from the end of the request's head to the end of the response
    """

    method: str
    path: str
    status: int
    close_code: int | None
    audio_seconds: float | None
    seconds: float


class ModelObserver(Protocol):
    """Receives reports of a model that is being loaded. Its methods must return at once."""

    def model_download_started(self, model: str) -> None:
        """A named model is about to be downloaded from Hugging Face, for the first time on this machine."""

    def gpu_used(self, model: str) -> None:
        """A model is on the GPU."""

    def gpu_failed(self, model: str, reason: str) -> None:
        """There is a GPU, but a model can't be used there: the CPU does the work."""


class ServerObserver(Protocol):
    """Receives reports of a server. Its methods are called from the server's thread and must return at once."""

    def audio_recognized(self, recording: str, seconds: float) -> None:
        """Report how much of the recording of a batch request is done: called after each of its windows.

        recording   the request's RECORDING_HEADER, or empty
        """

    def exchange_ended(self, exchange: Exchange) -> None:
        """A request was answered, or a WebSocket was closed or refused."""


class SilentObserver:
    """A ModelObserver and a ServerObserver that ignores all reports."""

    def model_download_started(self, model: str) -> None:
        """Nothing."""

    def gpu_used(self, model: str) -> None:
        """Nothing."""

    def gpu_failed(self, model: str, reason: str) -> None:
        """Nothing."""

    def audio_recognized(self, recording: str, seconds: float) -> None:
        """Nothing."""

    def exchange_ended(self, exchange: Exchange) -> None:
        """Nothing."""


class ExchangeObserver:
    """ASGI middleware: reports each exchange at its end, and answers 503 to those cancelled by a shutdown."""

    def __init__(self, app: ASGIApp, observer: ServerObserver) -> None:
        self._app, self._observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel = _ObservedChannel(receive, send)
        started = time.monotonic()
        try:
            await self._app(scope, channel.receive, channel.send)
        except asyncio.CancelledError:
            if scope["type"] == "http" and not channel.status:
                response = error_response(api_error(503, "Service unavailable", SHUTTING_DOWN))
                await response(scope, receive, channel.send)
            raise
        finally:
            is_http = scope["type"] == "http"
            self._observer.exchange_ended(
                Exchange(
                    method=scope["method"] if is_http else "WEBSOCKET",
                    path=scope["raw_path"].decode("ascii", "replace"),
                    status=channel.status,
                    close_code=channel.close_code if channel.status == 101 else None,
                    audio_seconds=scope.get("state", {}).get(AUDIO_SECONDS),
                    seconds=time.monotonic() - started,
                )
            )


class _ObservedChannel:
    """The `receive` and `send` of one exchange; remembers its status and close code."""

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
