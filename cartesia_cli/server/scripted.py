"""The scripted endpoints: the same routes as those of the engines, played from a Script.

They recognize nothing: they are for tests of clients. Deterministic: the same requests get the same
responses, ids included; only `wait` and `stall` depend on a clock. Must not know the notation of scripts.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from typing import BinaryIO

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from ..audio.pcm import RATE
from ..errors import ApiError
from ..protocol.batch import BatchOptions, BatchResponse, api_error, encode_batch
from ..protocol.json_fields import Word
from ..protocol.realtime import Endpoint
from .access import AccessControl, error_response
from .batch import decode_upload, parse_form
from .script import Script, ScriptedReply, Step
from .script_player import HandshakeRefused, ScriptPlayer
from .uploads import Uploads

ERROR_CODES = {402: "quota_exceeded", 429: "concurrency_limited"}
"""The `error_code` of a status (API docs: api-errors)."""


class ScriptedBatchEndpoint:
    """Answers batch requests from the steps for their number."""

    def __init__(self, script: Script, access: AccessControl, uploads: Uploads) -> None:
        self._script, self._access, self._uploads, self._numbers = script, access, uploads, count(1)

    async def answer(self, request: Request) -> Response:
        """The response of the script, or the documented error."""
        request_id = request_id_of("http")
        try:
            await self._uploads.check(request, self._access)
            number = next(self._numbers)
            request_id = request_id_of("http", number)
            steps = self._script.for_number(number).steps
            step = next((step for step in steps if step.on == "batch"), None)
            # Without a step of its own, the response is the texts, and comes when the last of them would.
            seconds = step.wait + step.stall if step else sum(one.wait for one in steps if one.text is not None)
            reply = step.reply if step else None
            response = await self._respond(request, reply or ScriptedReply(200), steps, request_id)
            with self._access.admit():
                await _wait(request, seconds)
            return response
        except ApiError as error:
            return error_response(error, request_id)
        except ClientDisconnect:
            return Response()

    async def _respond(
        self, request: Request, reply: ScriptedReply, steps: tuple[Step, ...], request_id: str
    ) -> Response:
        if reply.status != 200 or reply.body is not None:
            await self._uploads.discard(request)
            return _scripted_response(reply, request_id)
        async with self._uploads.form(request) as form:
            file, options = parse_form(request, form)
            length = await asyncio.to_thread(_length, file, options)
        response = Response(_transcript(steps, options, request_id, length), media_type="application/json")
        response.headers.update({"X-Request-Id": request_id} | dict(reply.headers))
        return response


class ScriptedRealtimeEndpoint:
    """Answers both realtime endpoints: each socket gets a ScriptPlayer with the steps for its number."""

    def __init__(self, script: Script, access: AccessControl, *, idle_seconds: float) -> None:
        self._script, self._access, self._idle_seconds, self._numbers = script, access, idle_seconds, count(1)

    async def answer(self, websocket: WebSocket, endpoint: Endpoint) -> None:
        """A whole session, or the refusal of its handshake."""
        request_id = request_id_of("websocket")
        try:
            self._access.authorize(websocket.headers, websocket.query_params, is_websocket=True)
            with self._access.admit():
                number = next(self._numbers)
                request_id = request_id_of("websocket", number)
                script = self._script.for_number(number)
                await ScriptPlayer(websocket, endpoint, request_id, self._idle_seconds, script).run()
        except HandshakeRefused as refused:
            await websocket.send_denial_response(_scripted_response(refused.reply, request_id))
        except ApiError as error:
            await websocket.send_denial_response(error_response(error, request_id))


def request_id_of(kind: str, number: int = 0) -> str:
    """The id of a request (`http`) or a session (`websocket`): the same in every run. 0: of those without a number."""
    return f"00000000-0000-4000-{'9' if kind == 'http' else '8'}000-{number:012d}"


async def _wait(request: Request, seconds: float) -> None:
    """Let time pass, or the client leave."""
    if seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if math.isinf(seconds) else seconds):
                await request.receive()  # its body is complete: nothing comes but the end


def _scripted_response(reply: ScriptedReply, request_id: str) -> Response:
    """The HTTP response of a step; what the script leaves out is as documented."""
    body = reply.body
    if body is None:
        title = http.client.responses.get(reply.status, "Error")
        error = api_error(reply.status, title, "This response is scripted.", ERROR_CODES.get(reply.status))
        response = error_response(error, request_id)
    elif isinstance(body, str):
        response = Response(body, reply.status, {"X-Request-Id": request_id}, "text/plain")
    else:
        if isinstance(body, dict):
            body = body if "request_id" in body else {**body, "request_id": request_id}
        response = Response(json.dumps(body), reply.status, {"X-Request-Id": request_id}, "application/json")
    response.headers.update(reply.headers)
    return response


def _length(file: BinaryIO, options: BatchOptions) -> float:
    """Seconds of audio in an upload; 0 if it isn't a recording, which tests may send, too."""
    try:
        return sum(map(len, decode_upload(file, options))) / RATE
    except ApiError:
        return 0.0


def _transcript(steps: Iterable[Step], options: BatchOptions, request_id: str, length: float) -> bytes:
    """All texts as the body of a batch response to a recording of `length` seconds."""
    # Steps that react to a command have no time: they come last.
    timed = sorted(steps, key=lambda step: step.on != "audio")
    texts = [(step.at, step.text) for step in timed if step.text is not None]
    return encode_batch(
        BatchResponse(
            text="".join(text for _, text in texts).strip(),
            language=options.language or "en",
            duration=max([round(length, 3), *(at for at, _ in texts)]),
            words=tuple(_spread_words(texts)) if options.word_timestamps else None,
            request_id=request_id,
        )
    )


def _spread_words(texts: Iterable[tuple[float, str]]) -> Iterator[Word]:
    """The words of each text, spread evenly between the time of the previous text and its own."""
    start = 0.0
    for at, text in texts:
        end, words = max(at, start), text.split()
        for n, word in enumerate(words):
            length = (end - start) / len(words)
            yield Word(word, round(start + n * length, 3), round(start + (n + 1) * length, 3))
        start = end
