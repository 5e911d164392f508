"""The identity of a local server, and the response to a request that it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import uuid4

from starlette.responses import Response

from .. import __version__
from ..errors import ApiError
from ..protocol.events import encode_error, error_event


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


def error_response(error: ApiError, request_id: str | None = None) -> Response:
    """An error with the documented body (API docs: api-errors): to a request, or to a WebSocket's handshake.

    request_id   None: a new one
    """
    request_id = request_id or str(uuid4())
    body = replace(error_event(error), request_id=request_id)
    extra = {"Retry-After": "1"} if error.status == 429 else {}
    headers = {"X-Request-Id": request_id, **extra}
    return Response(encode_error(body), error.status or 500, headers, "application/json")
