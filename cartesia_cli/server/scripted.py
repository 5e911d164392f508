"""The scripted server: all routes of the API, played from a `script` against the audio that has come.

Needs no engine and hears nothing: for tests, and for people who build clients. Deterministic: the same frames in
give the same frames out, ids included; only `wait` and `stall` look at a clock. Must not know how scripts are spelt.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import count

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ..errors import ApiError
from ..protocol import AUTO, HTTP_ROUTES, MANUAL, BatchOptions, BatchResponse, Endpoint, Word, api_error, encode_batch
from .access import CONCURRENCY, AccessControl
from .exchanges import AUDIO_SECONDS, OnExchange
from .middleware import with_middleware
from .origins import OriginPolicy
from .realtime import IDLE_SECONDS
from .responses import ServerIdentity, error_response, status_response
from .script import Script, ScriptedReply, Step
from .script_player import Refused, ScriptPlayer
from .transport import Transport
from .uploads import MAX_BYTES, Uploads

CODES = {402: "quota_exceeded", 429: "concurrency_limited"}
"""The `error_code` of a status (docs: api-errors)."""


def create_app(
    script: Script,
    *,
    key: str | None = None,
    concurrency: int = CONCURRENCY,
    lenient: bool = False,
    max_bytes: int = MAX_BYTES,
    idle_seconds: float = IDLE_SECONDS,
    allowed: OriginPolicy | None = None,
    identity: ServerIdentity | None = None,
    on_exchange: OnExchange | None = None,
) -> Starlette:
    """The scripted server as an ASGI application, for `running`; parameters as of `app.create_app`."""
    access_control = AccessControl(key, concurrency, lenient=lenient)
    batch, numbers = (
        _ScriptedBatch(script, access_control, Uploads(max_bytes=max_bytes, concurrency=concurrency)),
        count(1),
    )
    who = identity or ServerIdentity.of("script", None, ())

    async def status(request: Request) -> Response:
        return status_response(who, _id("9", 0))

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_response(api_error(error.status_code, "Request rejected", error.detail), _id("9", 0))

    async def nowhere(websocket: WebSocket) -> None:
        error = api_error(404, "Not found", "There is no such route.")
        await websocket.send_denial_response(error_response(error, _id("8", 0)))

    return with_middleware(
        on_exchange=on_exchange,
        allowed=allowed,
        routes=[
            Route("/", status, methods=["GET"]),
            *(Route(path, batch.answer, methods=["POST"]) for path in HTTP_ROUTES.values()),
            *(
                WebSocketRoute(endpoint.path, _ScriptedSocket(script, access_control, endpoint, numbers, idle_seconds))
                for endpoint in (MANUAL, AUTO)
            ),
            WebSocketRoute("/{nowhere:path}", nowhere),
        ],
        exception_handlers={HTTPException: unknown},
    )


class _ScriptedBatch:
    """Answers `POST /stt` and its twin."""

    def __init__(self, script: Script, access_control: AccessControl, uploads: Uploads) -> None:
        self._script, self._access, self._uploads, self._numbers = script, access_control, uploads, count(1)

    async def answer(self, request: Request) -> Response:
        request_id = _id("9", 0)
        try:
            await self._uploads.check(request, self._access)
            number = next(self._numbers)
            request_id = _id("9", number)
            steps = self._script.of(number)
            step = next((step for step in steps if step.on == "batch"), Step())
            response = await self._response(request, step.reply or ScriptedReply(200), steps, request_id)
            with self._access.admit():
                await _wait(request, step.wait + step.stall)
            return response
        except ApiError as error:
            return error_response(error, request_id)
        except ClientDisconnect:
            return Response()

    async def _response(
        self, request: Request, reply: ScriptedReply, steps: tuple[Step, ...], request_id: str
    ) -> Response:
        if reply.status != 200 or reply.body is not None:
            await self._uploads.discard(request)
            return _reply(reply, request_id)
        async with self._uploads.form(request) as form:
            body = _hear(form, request.query_params, steps, request_id)
        response = Response(body, media_type="application/json")
        response.headers.update({"X-Request-Id": request_id} | dict(reply.headers))
        return response


async def _wait(request: Request, seconds: float) -> None:
    """Let time pass, or the client leave."""
    if seconds:
        gone = asyncio.create_task(_disconnected(request))
        await asyncio.wait({gone}, timeout=None if math.isinf(seconds) else seconds)
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _ScriptedSocket:
    """A realtime route, as an ASGI application: what lies under a socket can't be had from Starlette's own."""

    def __init__(
        self, script: Script, access_control: AccessControl, endpoint: Endpoint, numbers: Iterator[int], idle: float
    ) -> None:
        self._script, self._access, self._endpoint, self._numbers, self._idle = (
            script,
            access_control,
            endpoint,
            numbers,
            idle,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        request_id = _id("8", 0)
        try:
            self._access.authorise(websocket.headers, websocket.query_params, is_websocket=True)
            with self._access.admit():
                number = next(self._numbers)
                request_id = _id("8", number)
                play = ScriptPlayer(websocket, Transport(scope), self._endpoint, request_id, self._idle)
                try:
                    await play.run(self._script.of(number), self._script.recorded)
                finally:
                    setattr(websocket.state, AUDIO_SECONDS, play.audio_seconds)
        except Refused as refused:
            await websocket.send_denial_response(_reply(refused.reply, request_id))
        except ApiError as error:
            await websocket.send_denial_response(error_response(error, request_id))


def _reply(reply: ScriptedReply, request_id: str) -> Response:
    """A scripted HTTP answer; what it leaves out is as documented."""
    body = reply.body
    if body is None:
        title = _PHRASES.get(reply.status, "Error")
        response = error_response(
            api_error(reply.status, title, "So the script says.", CODES.get(reply.status)), request_id
        )
    elif isinstance(body, str):
        response = Response(body, reply.status, {"X-Request-Id": request_id}, "text/plain")
    else:
        if isinstance(body, dict):
            body = body if "request_id" in body else {**body, "request_id": request_id}
        response = Response(json.dumps(body), reply.status, {"X-Request-Id": request_id}, "application/json")
    response.headers.update(reply.headers)
    return response


_PHRASES = {int(status): status.phrase for status in HTTPStatus}


def _hear(form: FormData, query: Mapping[str, str], steps: Iterable[Step], request_id: str) -> bytes:
    """All texts as the 200 of a batch request. ApiError for a request that the reference rules out."""
    if not isinstance(form.get("file"), UploadFile):
        raise api_error(400, "Missing file", "The form field 'file' is required.")
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    options = BatchOptions.parse(query, fields)
    # Those that wait for a command have no time: they come last.
    texts = [
        (step.at, step.text) for step in sorted(steps, key=lambda step: step.on != "audio") if step.text is not None
    ]
    return encode_batch(
        BatchResponse(
            text="".join(text for _, text in texts).strip(),
            language=options.language or "en",
            duration=max((at for at, _ in texts), default=0.0),
            words=tuple(_words(texts)) if options.word_timestamps else None,
            request_id=request_id,
        )
    )


def _words(texts: Iterable[tuple[float, str]]) -> Iterator[Word]:
    """The words of each text, evenly between the text before it and its own time."""
    start = 0.0
    for at, text in texts:
        end, words = max(at, start), text.split()
        for n, word in enumerate(words):
            length = (end - start) / len(words)
            yield Word(word, round(start + n * length, 3), round(start + (n + 1) * length, 3))
        start = end


def _id(kind: str, number: int) -> str:
    """The id of a socket ("8") or a batch request ("9"): the same in every run."""
    return f"00000000-0000-4000-{kind}000-{number:012d}"
