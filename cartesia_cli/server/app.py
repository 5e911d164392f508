"""The local server as an ASGI application: Cartesia's routes, answered by engines or from a script.

A request goes through:      `_build_app` (routes) → `BatchEndpoint` → `EngineExecutor` → `Engine`
and a WebSocket session:     `_build_app` (routes) → `RealtimeEndpoint` → `RealtimeSession` → `ManualResponder` or
                             `TurnResponder` → `LiveRecognizer` → `EngineExecutor` → `Engine`
With a script:               `_build_app` (routes) → `ScriptedBatchEndpoint`, or `ScriptedRealtimeEndpoint` →
                             `ScriptPlayer`

Speaks `protocol` and nothing else: fields, nullability, status codes and error bodies are those of the documentation,
so that a client that works with this server works with the real one. Must not touch the terminal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from .. import __version__
from ..errors import ApiError
from ..protocol.batch import api_error
from ..protocol.constants import HTTP_ROUTES, MODELS, is_whisper
from ..protocol.languages import LANGUAGES
from ..protocol.models import BATCH, MODELS_AT_RELEASE, MODELS_PATH, STREAM, Model, encode_models
from ..protocol.realtime import AUTO, MANUAL, Endpoint
from .access import AccessControl, OriginCheck, OriginPolicy, error_response
from .batch import BatchEndpoint
from .engine import Engine, EngineExecutor
from .observer import ExchangeObserver, ServerObserver, SilentObserver
from .packaged_models import WHISPER_MODELS, identify_folder
from .realtime import IDLE_SECONDS, RealtimeEndpoint
from .script import Script
from .scripted import ScriptedBatchEndpoint, ScriptedRealtimeEndpoint, request_id_of
from .uploads import Uploads

DEFAULT_CONCURRENCY = 8
"""Requests and sessions at once before a 429: Cartesia's free plan (API docs: concurrency-limits-and-timeouts)."""

MAX_BODY_BYTES = 2 << 30
"""Largest request body: 2 GiB, the last limit that Cartesia's documentation stated (2025)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """Which server this is: the same id means the same responses to the same requests.

    name    for people: `Whisper tiny.en`
    model   as `--local-model` names it; None for a script, and for a server with Moonshine alone
    id      differs wherever engine, weights, script or program differ
    """

    name: str
    model: str | None
    id: str

    @classmethod
    def of(cls, name: str, model: str | None, parts: Iterable[str]) -> ServerIdentity:
        """`parts`: everything else that decides what is answered, besides the program itself."""
        digest = hashlib.sha256("\0".join((__version__, name, model or "", *parts)).encode())
        return cls(name=name, model=model, id=digest.hexdigest()[:32])


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What can be chosen about a server, whatever answers in it.

    key            the API key that every request must have, or None
    concurrency    batch requests and realtime sessions at once before a 429
    lenient        whether a request may leave out the API version
    max_bytes      size of a request body before a 413
    idle_seconds   time without a frame after which a session is closed
    origins        which Host and Origin headers are accepted: by default, those of this machine
    identity       what `GET /` says; by default, derived from what answers
    observer       receives what happens
    """

    key: str | None = field(default=None, repr=False)
    concurrency: int = DEFAULT_CONCURRENCY
    lenient: bool = False
    max_bytes: int = MAX_BODY_BYTES
    idle_seconds: float = IDLE_SECONDS
    origins: OriginPolicy = field(default_factory=OriginPolicy)
    identity: ServerIdentity | None = None
    observer: ServerObserver = field(default_factory=SilentObserver)

    def access_control(self) -> AccessControl:
        return AccessControl(self.key, self.concurrency, lenient=self.lenient)

    def uploads(self) -> Uploads:
        return Uploads(max_bytes=self.max_bytes, concurrency=self.concurrency)


def create_app(engine: Engine, live: Engine | None = None, config: ServerConfig | None = None) -> Starlette:
    """The server that recognizes speech.

    engine   for recordings and ink-whisper: has word times
    live     for the other models, which have no word times: quick enough for text that grows; None: `engine`, too
    """
    executor = EngineExecutor(engine)
    return share_engines(executor, executor if live is None else EngineExecutor(live), config or ServerConfig())


def share_engines(executor: EngineExecutor, live_executor: EngineExecutor, config: ServerConfig) -> Starlette:
    """A server with the engines of these executors, which other servers may use at the same time."""
    access = config.access_control()
    engine, live = executor.engine, None if live_executor is executor else live_executor.engine
    identity = config.identity or identify_engines(None, engine, live)
    app = _build_app(
        BatchEndpoint(executor, access, config.uploads(), config.observer).answer,
        RealtimeEndpoint(executor, live_executor, access, idle_seconds=config.idle_seconds).answer,
        config,
        list_models(engine, live or engine),
        identity=identity,
        new_id=lambda kind: str(uuid4()),
    )
    app.state.executors, app.state.identity = (executor, live_executor), identity
    return app


def create_scripted_app(script: Script, config: ServerConfig | None = None) -> Starlette:
    """The server that plays a script instead of recognizing speech; needs no engine."""
    config = config or ServerConfig()
    access = config.access_control()
    return _build_app(
        ScriptedBatchEndpoint(script, access, config.uploads()).answer,
        ScriptedRealtimeEndpoint(script, access, idle_seconds=config.idle_seconds).answer,
        config,
        MODELS_AT_RELEASE,
        identity=config.identity or ServerIdentity.of("script", None, ()),
        new_id=request_id_of,
    )


def list_models(engine: Engine, live: Engine) -> tuple[Model, ...]:
    """The models that `GET /models` lists, with the languages that these engines recognize. All are for both modes."""
    # What the live engine doesn't know is recognized by the other one.
    every = tuple(code for code in LANGUAGES if code in engine.languages or code in live.languages)
    own = tuple(code for code in LANGUAGES if code in engine.languages)
    return tuple(Model(model, (STREAM, BATCH), own if is_whisper(model) else every) for model in MODELS)


def identify_engines(model: str | None, engine: Engine, live: Engine | None) -> ServerIdentity:
    """Which engines answer, with which weights. Those in a folder may be replaced: their sizes and dates are included.

    model   what the user named: a folder, a name, or None
    """
    parts = [*([live.name] if live is not None else []), *identify_folder(model)]
    model = model or next((one.name for one in WHISPER_MODELS if one.title == engine.name), None)
    return ServerIdentity.of(engine.name if live is None else f"{engine.name} (live: {live.name})", model, parts)


def _build_app(
    answer_batch: Callable[[Request], Awaitable[Response]],
    answer_realtime: Callable[[WebSocket, Endpoint], Awaitable[None]],
    config: ServerConfig,
    listed: Sequence[Model],
    *,
    identity: ServerIdentity,
    new_id: Callable[[str], str],
) -> Starlette:
    """The routes and what surrounds them, for either server.

    listed   what `GET /models` says
    new_id   makes the id of a request that no endpoint answers, from its kind: `http` or `websocket`
    """
    access = config.access_control()

    def respond(body: str | bytes) -> Response:
        return Response(body, 200, {"X-Request-Id": new_id("http")}, "application/json")

    async def status(request: Request) -> Response:
        """`ok` and `version` as in Cartesia's, and which server this is."""
        about = {"ok": True, "version": __version__, "server": "cartesia-cli", "engine": asdict(identity)}
        return respond(json.dumps(about))

    async def voices(request: Request) -> Response:
        """None: clients ask for them to find out whether a key is accepted."""
        access.authorize(request.headers, request.query_params)
        return JSONResponse({"data": [], "has_more": False})

    async def models(request: Request) -> Response:
        """The models, for which no key is needed (API docs: api-reference/models/list). All of them transcribe."""
        access.check_version(request.headers.get("cartesia-version", ""))
        return respond(encode_models(listed if request.query_params.get("capability", "stt") == "stt" else ()))

    async def not_found(websocket: WebSocket) -> None:
        error = api_error(404, "Not found", "This route does not exist.")
        await websocket.send_denial_response(error_response(error, new_id("websocket")))

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            error = api_error(error.status_code, "Request rejected", error.detail)
        assert isinstance(error, ApiError)
        return error_response(error, new_id("http"))

    return Starlette(
        routes=[
            Route("/", status, methods=["GET"]),
            Route("/voices", voices, methods=["GET"]),
            Route(MODELS_PATH, models, methods=["GET"]),
            *(Route(path, answer_batch, methods=["POST"]) for path in HTTP_ROUTES.values()),
            WebSocketRoute(MANUAL.path, lambda websocket: answer_realtime(websocket, MANUAL)),
            WebSocketRoute(AUTO.path, lambda websocket: answer_realtime(websocket, AUTO)),
            WebSocketRoute("/{path:path}", not_found),
        ],
        exception_handlers={ApiError: refused, HTTPException: refused},
        middleware=[
            Middleware(ExchangeObserver, config.observer),
            Middleware(OriginCheck, config.origins),
            # The page of an origin that was accepted may read the response.
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["X-Request-Id"],
                allow_private_network=True,
            ),
        ],
    )
