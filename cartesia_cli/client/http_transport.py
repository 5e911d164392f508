"""One request and its answer over one connection, which can be hung up from outside.

Redirects are followed only where the key may go: to the same origin, with the same body. Answers are
bounded in size. What an answer means is not known here.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from .. import __version__
from ..errors import ApiError, ProtocolError, UsageError
from ..protocol import Credential, headers, is_loopback
from .deadlines import CONNECT_SECONDS, UploadProgress

MAX_BODY = 64 << 20
"""Bytes of an answer: a hundred hours of words with their times."""

MAX_REDIRECTS = 3

Build = Callable[[str], httpx.Request]
"""Makes the request for an address; called again for a redirect, since a body is read but once."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer as it came. `complete` False: the connection ended before the body did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class AbortHandle:
    """The connection of one exchange, so that it can be hung up from outside: closing alone wakes no reader."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._over = False

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """httpcore tells of each connection here (httpcore docs: extensions, trace)."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._over:
                self.abort()

    def abort(self) -> None:
        self._over = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def open_client(
    base_url: str, credential: Credential | None, transport: httpx.BaseTransport | None = None
) -> httpx.Client:
    """A client for one server. UsageError when the environment's proxy or certificates are no use."""
    # A connection kept idle between two files may be gone; a lost answer must mean what it says.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        if transport is None and is_loopback(base_url):
            # Past the proxies of the environment; certificates take a while to load, and plain http needs none.
            transport = httpx.HTTPTransport(verify=base_url.startswith("https:"), limits=limits)
        return httpx.Client(
            headers={
                **headers(credential),
                "User-Agent": f"cartesia-cli/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            limits=limits,
            transport=transport,
            event_hooks={"response": [_keep_location]},
        )
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        message = f"proxy or certificate settings of the environment: {error}"
        raise UsageError(message, hint="see HTTPS_PROXY and SSL_CERT_FILE") from error


def is_proxied(base_url: str) -> bool:
    """Whether the way to a server goes through a proxy of the environment."""
    parts, proxies = urlsplit(base_url), getproxies()
    if is_loopback(base_url) or proxy_bypass(parts.hostname or ""):
        return False
    return bool(proxies.get(parts.scheme) or proxies.get("all"))


def exchange(http: httpx.Client, build: Build, address: str, meter: UploadProgress, line: AbortHandle) -> HttpReply:
    """One request and its answer, same-origin redirects included. httpx.HTTPError when there is none."""
    for _ in range(MAX_REDIRECTS + 1):
        meter.restart()
        reply = _once(http, build(address), meter, line)
        if reply.status not in (301, 302, 303, 307, 308):
            return reply
        address = _redirected(address, reply)
    raise ApiError("the server redirects in a circle", hint="check the base URL", status=reply.status)


def _once(http: httpx.Client, request: httpx.Request, meter: UploadProgress, line: AbortHandle) -> HttpReply:
    # `supervise` has the watch, and hangs up: two clocks for one limit would make its outcome a matter of luck.
    request.extensions = {
        "timeout": {"connect": CONNECT_SECONDS, "pool": None, "write": None, "read": None},
        "trace": line.trace,
    }
    response = http.send(request, stream=True)
    body, complete = bytearray(), True
    try:
        if "," in response.headers.get("content-encoding", ""):
            raise ProtocolError("the answer is packed twice", hint="is it really Cartesia's API?")
        for block in response.iter_bytes():
            meter.touch()
            body += block
            if len(body) > MAX_BODY:
                raise ProtocolError(f"the answer is larger than {MAX_BODY >> 20} MiB", hint="check the base URL")
    except httpx.HTTPError:
        complete = False
    finally:
        response.close()
    return HttpReply(response.status_code, response.headers, bytes(body), complete)


def _keep_location(response: httpx.Response) -> None:
    """Hide where a redirect leads from httpx, which otherwise takes a malformed one for a lost connection."""
    if "location" in response.headers:
        response.headers["x-location"] = response.headers.pop("location")


def _redirected(address: str, reply: HttpReply) -> str:
    """Where a redirect leads, if the key and the body may go there: 307 and 308 within the same origin."""
    location = reply.headers.get("x-location", "")
    try:
        target = urljoin(address, location)
        here, there = urlsplit(address), urlsplit(target)
        httpx.URL(target)
    except (ValueError, httpx.InvalidURL):
        location = ""
    if not location:
        raise ApiError("the server redirects to nowhere", hint="check the base URL", status=reply.status)
    if reply.status not in (307, 308) or (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise ApiError(
            f"the server redirects to {there.scheme}://{there.netloc}",
            hint="the key is not sent there; if that is the right place, make it the base URL",
            status=reply.status,
        )
    return target
