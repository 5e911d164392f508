"""The routes of Cartesia's API, and the batch ones among them, answered by an offline engine.

Speaks `protocol` and nothing else: fields, nullability, status codes and error bodies are those of the
documentation, so that a client written against this server works against the real one. Must not know
which engine it has, nor touch the terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO
from uuid import uuid4

import anyio
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from .. import __version__
from ..audio.pcm import RATE
from ..errors import ApiError
from ..protocol import (
    AUTO,
    HTTP_ROUTES,
    MANUAL,
    MODELS,
    BatchOptions,
    BatchResponse,
    Error,
    Word,
    encode_batch,
    encode_error,
    refusal,
)
from .decoding import decoded_upload
from .engine import Engine
from .gate import CONCURRENCY, Gate
from .lane import Lane, hear
from .realtime import IDLE_SECONDS, Realtime, denial
from .windows import windows

MAX_BYTES = 2 << 30
"""Largest request body: 2 GiB, the last limit that Cartesia's documentation stated (2025)."""

DRAIN_BYTES = 8 << 20
DRAIN_SECONDS = 2

logger = logging.getLogger(__name__)

Progress = Callable[[float], None]


class Batch:
    """Answers `POST /stt` and its twin.

    engine         shared by all requests; waiting requests take turns in its lane, window by window
    gate           who may come in
    max_bytes      size of a request body before a 413
    on_progress    told the seconds of audio that are done, after each window of a request
    """

    def __init__(self, engine: Engine, lane: Lane, gate: Gate, *, max_bytes: int, on_progress: Progress | None) -> None:
        self._engine, self._lane, self._gate, self._max_bytes = engine, lane, gate, max_bytes
        self._on_progress = on_progress or (lambda seconds: None)

    async def __call__(self, request: Request) -> Response:
        body = _Body(request, self._max_bytes)
        try:
            self._gate.authorise(request.headers, request.query_params)
            with self._gate.admit():
                answer = await self._read(Request(request.scope, body.receive))
        except ApiError as error:
            await body.drain()
            return _refused(request, error)
        except HTTPException as error:  # a form that is none
            await body.drain()
            return _rejected(request, error)
        except Exception as error:
            logger.debug("transcribing failed", exc_info=True)
            return _error(request, 500, "Internal server error", f"{type(error).__name__}: {error}")
        return _json(200, encode_batch(answer), _id(request))

    async def _read(self, request: Request) -> BatchResponse:
        async with request.form() as form:
            fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise refusal(400, "Missing file", "The form field 'file' is required.")
            options = BatchOptions.parse(request.query_params, fields)
            return await self._transcribe(request, upload.file, options)

    async def _transcribe(self, request: Request, file: BinaryIO, options: BatchOptions) -> BatchResponse:
        language = options.language or "en"
        if options.model not in MODELS:
            message = "The model is not valid, make sure it is a valid model ID."
            raise refusal(400, "Invalid model", message, "model_not_found")
        if language not in self._engine.languages:
            message = f"{self._engine.name} doesn't know {language!r}; serve a multilingual model with --local-model."
            raise refusal(400, "Unsupported language", message)
        words: list[Word] = []
        heard = 0
        cut = windows(decoded_upload(file, options))
        while (window := await self._lane.do(next, cut, None)) is not None:
            if await request.is_disconnected():
                raise refusal(400, "Client closed request", "Nobody waits for the answer any more.")
            said = await self._lane.do(hear, self._engine, window, language)
            words += _settled(said, heard / RATE, len(window) / RATE, words)
            heard += len(window)
            self._on_progress(heard / RATE)
        return BatchResponse(
            text="".join(word.word for word in words).strip(),
            language=language,
            duration=round(heard / RATE, 3),
            words=tuple(Word(w.word.strip(), w.start, w.end) for w in words) if options.word_timestamps else None,
            request_id=_id(request),
        )


def create_app(
    engine: Engine,
    live: Engine | None = None,
    *,
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
    idle_seconds: float = IDLE_SECONDS,
    on_progress: Progress | None = None,
) -> Starlette:
    """The local server as an ASGI application; see Batch, Realtime and Gate for the parameters.

    `engine` answers for ink-whisper, which has word times; `live` for ink-2, which has none.
    """
    gate, lane = Gate(key, concurrency), Lane()
    batch = Batch(engine, lane, gate, max_bytes=max_bytes, on_progress=on_progress)
    timed = (engine, lane)
    realtime = Realtime(timed, timed if live is None else (live, Lane()), gate, idle_seconds=idle_seconds)

    async def transcribe(request: Request) -> Response:
        return await batch(request)

    async def manual(websocket: WebSocket) -> None:
        await realtime(websocket, MANUAL)

    async def auto(websocket: WebSocket) -> None:
        await realtime(websocket, AUTO)

    async def nowhere(websocket: WebSocket) -> None:
        await websocket.send_denial_response(denial(refusal(404, "Not found", "There is no such route."), str(uuid4())))

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _rejected(request, error)

    routes = [Route(path, transcribe, methods=["POST"]) for path in HTTP_ROUTES.values()]
    return Starlette(
        routes=[
            Route("/", _status, methods=["GET"]),
            *routes,
            WebSocketRoute(MANUAL.path, manual),
            WebSocketRoute(AUTO.path, auto),
            WebSocketRoute("/{nowhere:path}", nowhere),
        ],
        exception_handlers={HTTPException: unknown},
    )


async def _status(request: Request) -> Response:
    return _json(200, b'{"ok": true, "version": "%s"}' % __version__.encode(), _id(request))


def _refused(request: Request, error: ApiError) -> Response:
    title, _, message = error.message.partition(": ")
    return _error(request, error.status or 500, title, message, error.code)


def _rejected(request: Request, error: HTTPException) -> Response:
    return _error(request, error.status_code, "Request rejected", error.detail)


def _error(request: Request, status: int, title: str, message: str, code: str | None = None) -> Response:
    body = Error(error_code=code, title=title, message=message, request_id=_id(request))
    response = _json(status, encode_error(body), _id(request))
    if status == 429:
        response.headers["Retry-After"] = "1"
    return response


class _Body:
    """A request body on its way in: refused as soon as it is known to be too large."""

    def __init__(self, request: Request, limit: int) -> None:
        self._request, self._limit = request, limit
        self._size, self._ended = 0, False

    async def receive(self) -> Message:
        declared = self._request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()
        message = await self._request.receive()
        self._size += len(message.get("body", b""))
        self._ended = not message.get("more_body")
        if self._size > self._limit:
            raise self._too_large()
        return message

    async def drain(self) -> None:
        """Take in what the client is still sending, within reason: cut off at once, it might never read the answer."""
        size = 0
        with anyio.move_on_after(DRAIN_SECONDS):
            while not self._ended and size < DRAIN_BYTES:
                message = await self._request.receive()
                size += len(message.get("body", b""))
                self._ended = not message.get("more_body")

    def _too_large(self) -> ApiError:
        return refusal(413, "Payload too large", f"A request may have at most {self._limit} bytes.")


def _settled(said: Iterable[Word], offset: float, length: float, before: list[Word]) -> Iterator[Word]:
    """Words on the clock of the whole recording: in order, inside their window, to the millisecond."""
    latest = before[-1].end or 0.0 if before else 0.0
    for word in said:
        start = max(latest, min(offset + (word.start or 0.0), offset + length))
        latest = max(start, min(offset + (word.end or 0.0), offset + length))
        yield Word(word.word, round(start, 3), round(latest, 3))


def _id(request: Request) -> str:
    """One id for each request, made when first asked for."""
    if not hasattr(request.state, "id"):
        request.state.id = str(uuid4())
    return str(request.state.id)


def _json(status: int, body: bytes, request_id: str) -> Response:
    return Response(body, status, {"X-Request-Id": request_id}, "application/json")
