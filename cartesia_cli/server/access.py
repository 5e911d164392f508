"""Who may use the server: by the API key and version, the number of requests at once, and the Host and Origin headers;
and the response to a request that is refused.

The same for all routes. A page may send requests to any address; its own address is then in Origin. With a name whose
address changes after the page was loaded ("DNS rebinding"), the server can look like the page's own; that name is then
in Host. An IP address in Host can't have been rebound, since there was no name. Programs other than browsers send no
Origin.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError
from ..protocol.batch import api_error, excerpt
from ..protocol.constants import API_VERSION, is_api_version, is_loopback_host, parse_address
from ..protocol.events import encode_error, error_event

ANY_ORIGIN = "*"


class AccessControl:
    """Checks what every request must have, and counts those that are being answered.

    key            the API key that every request must have, or None
    concurrency    batch requests and realtime sessions together (API docs: concurrency-limits-and-timeouts)
    lenient        whether a request may leave out the API version
    """

    def __init__(self, key: str | None, concurrency: int, *, lenient: bool) -> None:
        self._key, self._free, self._lenient = key, concurrency, lenient

    def authorize(self, headers: Mapping[str, str], query: Mapping[str, str], *, is_websocket: bool = False) -> None:
        """Raises ApiError 401 without the key: Bearer as documented, the older X-API-Key, or a browser's access_token.

        ApiError 400 without an API version: in the header, or in the query of a WebSocket, where it takes precedence.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""  # case-insensitive (RFC 9110 11.1)
        key = bearer or headers.get("x-api-key", "") or query.get("access_token", "")
        if self._key is not None and not hmac.compare_digest(key.encode(), self._key.encode()):
            raise api_error(401, "Unauthorized", "The API key is missing or not valid.")
        version = query.get("cartesia_version") if is_websocket else None
        self.check_version(version or headers.get("cartesia-version") or "", is_websocket=is_websocket)

    def check_version(self, version: str, *, is_websocket: bool = False) -> None:
        """Raises ApiError 400 for what isn't an API version."""
        if is_api_version(version) or (self._lenient and not version):
            return
        places = "The header 'Cartesia-Version'" + (" or the parameter 'cartesia_version'" if is_websocket else "")
        message = f"{places} must name a version, such as {API_VERSION}"
        found = f", not {excerpt(version)}." if version else "; `serve --lenient` accepts requests without one."
        raise api_error(400, "Invalid API version" if version else "Missing API version", message + found)

    def check_capacity(self) -> None:
        """Raises ApiError 429 when no request could be admitted now: checked before a long body is received."""
        if self._free == 0:
            message = "You have exceeded your plan's concurrency limit."
            raise api_error(429, "Too many concurrent requests", message, "concurrency_limited")

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request for the length of the block. Raises ApiError 429 when there are too many."""
        self.check_capacity()
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginPolicy:
    """Who may use the server besides the programs and pages of this machine.

    hosts       names and addresses that a Host header may have, in lower case
    addresses   whether it may have any IP address: for a server that listens on more than loopback
    origins     as browsers send them in Origin (`https://app.example`, `null`), in lower case; ANY_ORIGIN for all
    """

    hosts: frozenset[str] = frozenset()
    addresses: bool = False
    origins: frozenset[str] = frozenset()

    def check(self, headers: Headers) -> None:
        """Raises ApiError 403 for a request that may come from a foreign page."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        for value in hosts:
            if not self._allows_host(value):
                message = f"Host {excerpt(value)} is not a name of this server; `serve --allow-host NAME` adds one."
                raise api_error(403, "Forbidden host", message)
        for value in origins:
            if not self._allows_origin(value, hosts):
                message = f"Pages of {excerpt(value)} may not use this server; `serve --allow-origin ORIGIN` lets them."
                raise api_error(403, "Forbidden origin", message)

    def _allows_host(self, value: str) -> bool:
        match = _HOST.fullmatch(value.lower())
        if match is None:
            return False
        host = match["host"].strip("[]")
        return is_loopback_host(host) or host in self.hosts or (self.addresses and parse_address(host) is not None)

    def _allows_origin(self, value: str, hosts: Sequence[str]) -> bool:
        origin = value.lower()
        if ANY_ORIGIN in self.origins or origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return is_loopback_host(name) or [parts.netloc] == [host.lower() for host in hosts]


class OriginCheck:
    """ASGI middleware that refuses what an OriginPolicy doesn't accept, HTTP and WebSocket alike."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._policy.check(Headers(scope=scope))
        except ApiError as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+(%[0-9a-z._~-]+)?\]|[^\[\]:/@\s]+)(:[0-9]{0,5})?")
"""A name or an address, and a port (RFC 9110 7.2)."""


def error_response(error: ApiError, request_id: str | None = None) -> Response:
    """An error with the documented body (API docs: api-errors): to a request, or to a WebSocket's handshake.

    request_id   None: a new one
    """
    request_id = request_id or str(uuid4())
    body = error_event(error)._replace(request_id=request_id)
    extra = {"Retry-After": "1"} if error.status == 429 else {}
    headers = {"X-Request-Id": request_id, **extra}
    return Response(encode_error(body), error.status or 500, headers, "application/json")
