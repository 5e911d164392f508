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

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ..audio.pcm import RATE
from ..errors import ApiError
from ..protocol import (
    AUTO,
    HTTP_ROUTES,
    MANUAL,
    MODELS,
    BatchOptions,
    BatchResponse,
    Word,
    api_error,
    encode_batch,
    excerpt,
)
from .access import CONCURRENCY, AccessControl
from .decoding import decode_upload
from .engine import Engine
from .exchanges import AUDIO_SECONDS, OnExchange
from .executor import EngineExecutor, recognize
from .middleware import with_middleware
from .origins import OriginPolicy
from .realtime import IDLE_SECONDS, RealtimeEndpoint
from .responses import ServerIdentity, error_response, status_response
from .silence_split import split_at_silence
from .uploads import MAX_BYTES, Uploads

logger = logging.getLogger(__name__)

Progress = Callable[[float], None]


class BatchEndpoint:
    """Answers `POST /stt` and its twin.

    engine         shared by all requests; waiting requests take turns in its engine_executor, window by window
    access_control           who may come in
    uploads        how their bodies come in
    on_progress    told the seconds of audio that are done, after each window of a request
    """

    def __init__(
        self,
        engine: Engine,
        engine_executor: EngineExecutor,
        access_control: AccessControl,
        uploads: Uploads,
        *,
        on_progress: Progress | None,
    ) -> None:
        self._engine, self._executor, self._access, self._uploads = engine, engine_executor, access_control, uploads
        self._on_progress = on_progress or (lambda seconds: None)

    async def __call__(self, request: Request) -> Response:
        try:
            await self._uploads.check(request, self._access)
            async with self._uploads.form(request) as form:
                with self._access.admit():
                    answer = await self._read(request, form)
        except ApiError as error:
            return error_response(error, _id(request))
        except HTTPException as error:  # not a form
            return _rejected(request, error)
        except ClientDisconnect:
            return Response()
        except Exception as error:
            logger.debug("transcribing failed", exc_info=True)
            message = f"{type(error).__name__}: {error}"
            return error_response(api_error(500, "Internal server error", message), _id(request))
        return Response(encode_batch(answer), 200, {"X-Request-Id": _id(request)}, "application/json")

    async def _read(self, request: Request, form: FormData) -> BatchResponse:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise api_error(400, "Missing file", "The form field 'file' is required.")
        options = BatchOptions.parse(request.query_params, fields)
        return await self._transcribe(request, upload.file, options)

    async def _transcribe(self, request: Request, file: BinaryIO, options: BatchOptions) -> BatchResponse:
        language = options.language or "en"
        if options.model not in MODELS:
            message = "The model is not valid, make sure it is a valid model ID."
            raise api_error(400, "Invalid model", message, "model_not_found")
        if language not in self._engine.languages:
            message = (
                f"{self._engine.name} doesn't know {excerpt(language)}; serve a multilingual model with --local-model."
            )
            raise api_error(400, "Unsupported language", message)
        words: list[Word] = []
        heard = 0
        cut = split_at_silence(decode_upload(file, options))
        while (window := await self._executor.run(next, cut, None)) is not None:
            if await request.is_disconnected():
                raise api_error(400, "Client closed request", "Nobody waits for the answer any more.")
            said = await self._executor.run(recognize, self._engine, window, language)
            words += _settled(said, heard / RATE, len(window) / RATE, words)
            heard += len(window)
            setattr(request.state, AUDIO_SECONDS, heard / RATE)
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
    lenient: bool = False,
    max_bytes: int = MAX_BYTES,
    idle_seconds: float = IDLE_SECONDS,
    allowed: OriginPolicy | None = None,
    identity: ServerIdentity | None = None,
    on_exchange: OnExchange | None = None,
    on_progress: Progress | None = None,
) -> Starlette:
    """The local server as an ASGI application; see Batch, Realtime, Gate, Uploads and Allowed for the parameters.

    `engine` answers for ink-whisper, which has word times; `live` for ink-2, which has none. `on_exchange` is called
    for each request and session when it ends. Without `allowed`, only this machine's programs and pages are answered.
    """
    access_control, engine_executor = AccessControl(key, concurrency, lenient=lenient), EngineExecutor()
    batch = BatchEndpoint(
        engine,
        engine_executor,
        access_control,
        Uploads(max_bytes=max_bytes, concurrency=concurrency),
        on_progress=on_progress,
    )
    who = identity or ServerIdentity.of(engine.name, None, [live.name] if live else [])
    timed = (engine, engine_executor)
    live_lane = engine_executor if live is None else EngineExecutor()
    realtime = RealtimeEndpoint(timed, (live or engine, live_lane), access_control, idle_seconds=idle_seconds)

    async def status(request: Request) -> Response:
        return status_response(who, _id(request))

    async def transcribe(request: Request) -> Response:
        return await batch(request)

    async def manual(websocket: WebSocket) -> None:
        await realtime(websocket, MANUAL)

    async def auto(websocket: WebSocket) -> None:
        await realtime(websocket, AUTO)

    async def nowhere(websocket: WebSocket) -> None:
        error = api_error(404, "Not found", "There is no such route.")
        await websocket.send_denial_response(error_response(error, str(uuid4())))

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _rejected(request, error)

    routes = [Route(path, transcribe, methods=["POST"]) for path in HTTP_ROUTES.values()]
    app = with_middleware(
        on_exchange=on_exchange,
        allowed=allowed,
        routes=[
            Route("/", status, methods=["GET"]),
            *routes,
            WebSocketRoute(MANUAL.path, manual),
            WebSocketRoute(AUTO.path, auto),
            WebSocketRoute("/{nowhere:path}", nowhere),
        ],
        exception_handlers={HTTPException: unknown},
    )
    app.state.lanes = (engine_executor, live_lane)
    return app


def _rejected(request: Request, error: HTTPException) -> Response:
    return error_response(api_error(error.status_code, "Request rejected", error.detail), _id(request))


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
