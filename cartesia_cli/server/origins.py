"""Which Host and Origin headers the local server accepts, so that foreign web pages can't use it.

A page may send requests to any address; its own address is then in Origin. With a name whose address changes after the
page was loaded ("DNS rebinding"), the server can look like the page's own; that name is then in Host. An IP address in
Host can't have been rebound, since there was no name. Programs other than browsers send no Origin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError
from ..protocol.batch import api_error, excerpt
from ..protocol.constants import is_loopback_host, parse_address
from .responses import error_response

ANY_ORIGIN = "*"


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
        """ApiError 403 for a request that may come from a foreign page."""
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
