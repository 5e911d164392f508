"""HTTP responses that both servers have in common: the status page, the list of models, and errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from .. import __version__
from ..errors import ApiError
from ..protocol import Model, encode_error, encode_models, error_event


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """Which server this is: the same id means the same responses to the same requests.

    name    for people: `Whisper tiny.en`
    model   as `--local-model` names it, or None for the one that is installed with the program
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


def status_response(identity: ServerIdentity, request_id: str) -> Response:
    """The response to `GET /`: `ok` and `version` as in Cartesia's, and which server this is."""
    engine = {"name": identity.name, "model": identity.model, "id": identity.id}
    status = {"ok": True, "version": __version__, "server": "cartesia-cli", "engine": engine}
    return Response(json.dumps(status), 200, {"X-Request-Id": request_id}, "application/json")


def models_response(request: Request, models: Sequence[Model], request_id: str) -> Response:
    """The response to `GET /models`, for which no key is needed (docs: api-reference/models/list). All models
    transcribe: a list of those that speak is empty.
    """
    listed = models if request.query_params.get("capability", "stt") == "stt" else ()
    return Response(encode_models(listed), 200, {"X-Request-Id": request_id}, "application/json")


def error_response(error: ApiError, request_id: str | None = None) -> Response:
    """An error with the documented body (docs: api-errors): to a request, or to a WebSocket's handshake.

    request_id   None: a new one
    """
    request_id = request_id or str(uuid4())
    body = replace(error_event(error), request_id=request_id)
    extra = {"Retry-After": "1"} if error.status == 429 else {}
    headers = {"X-Request-Id": request_id, **extra}
    return Response(encode_error(body), error.status or 500, headers, "application/json")
