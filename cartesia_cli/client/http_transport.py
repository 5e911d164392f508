"""Sends one HTTP request and reads its response, over a connection that another thread can abort.

Redirects are followed only where the key may go: to the same origin, with the same body. Responses are bounded in
size. Must never interpret a response: that is the caller's job.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from .. import __version__
from ..errors import ApiError, ProtocolError, UsageError
from ..protocol import API_VERSION, Credential, is_loopback, request_headers
from .deadlines import CONNECT_TIMEOUT_SECONDS, UploadProgress
from .http_errors import OTHER_SERVER

MAX_BODY_BYTES = 64 << 20
"""Largest response body: a hundred hours of words with their times."""

MAX_REDIRECTS = 3


class BuildRequest(Protocol):
    """Makes the request for an address. Called again for a redirect, because a body can be read only once."""

    def __call__(self, address: str, /) -> httpx.Request: ...


class HttpReply(NamedTuple):
    """A response as it was received. `complete` False: the connection ended before the body did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class AbortHandle:
    """Aborts the connection of an exchange from another thread. Closing its socket would not wake a blocked read."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._aborted = False

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """httpcore reports each new connection here (httpcore docs: extensions, trace)."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._aborted:
                self.abort()

    def abort(self) -> None:
        self._aborted = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def open_client(
    base_url: str,
    credential: Credential | None,
    transport: httpx.BaseTransport | None = None,
    api_version: str = API_VERSION,
) -> httpx.Client:
    """A client for one server. UsageError when the proxy or certificate settings of the environment are unusable."""
    # A connection kept idle between two files may be dead by then, which would look like a lost response.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        if transport is None and is_loopback(base_url):
            # Bypasses proxies of the environment. Loading certificates is slow, and plain http needs none.
            transport = httpx.HTTPTransport(verify=base_url.startswith("https:"), limits=limits)
        return httpx.Client(
            headers={
                **request_headers(credential, api_version),
                "User-Agent": f"cartesia-cli/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            limits=limits,
            transport=transport,
            event_hooks={"response": [_hide_location]},
        )
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise environment_error(str(error)) from error


def environment_error(reason: str) -> UsageError:
    """The error for proxy or certificate settings with which no request can be sent."""
    message = f"proxy or certificate settings of the environment: {reason}"
    return UsageError(message, hint="see HTTPS_PROXY and SSL_CERT_FILE")


def is_proxied(base_url: str) -> bool:
    """Whether requests to a server go through a proxy of the environment."""
    parts, proxies = urlsplit(base_url), getproxies()
    if is_loopback(base_url) or proxy_bypass(parts.hostname or ""):
        return False
    return bool(proxies.get(parts.scheme) or proxies.get("all"))


def find_proxy(base_url: str) -> str | None:
    """The proxy that requests to a server go through, as a URL, which may contain a password; None without one.

    For WebSockets, too: websockets alone would ignore ALL_PROXY, and proxies without a scheme.
    """
    if not is_proxied(base_url):
        return None
    proxies = getproxies()
    found = proxies.get(urlsplit(base_url).scheme) or proxies["all"]
    return found if "://" in found else f"http://{found}"


def exchange(
    http: httpx.Client, build: BuildRequest, address: str, progress: UploadProgress, abort_handle: AbortHandle
) -> HttpReply:
    """Send a request and read the response, following same-origin redirects. httpx.HTTPError without a response."""
    for _ in range(MAX_REDIRECTS + 1):
        progress.restart()
        reply = _exchange_once(http, build(address), progress, abort_handle)
        if reply.status not in (301, 302, 303, 307, 308):
            return reply
        address = _redirect_target(address, reply)
    raise ApiError(f"more than {MAX_REDIRECTS} redirects", hint="check the base URL", status=reply.status)


def _exchange_once(
    http: httpx.Client, request: httpx.Request, progress: UploadProgress, abort_handle: AbortHandle
) -> HttpReply:
    # `run_with_deadline` limits reads and writes: with a second timer for the same limit, chance would pick the error.
    request.extensions = {
        "timeout": {"connect": CONNECT_TIMEOUT_SECONDS, "pool": None, "write": None, "read": None},
        "trace": abort_handle.trace,
    }
    response = http.send(request, stream=True)
    body, complete = bytearray(), True
    try:
        if "," in response.headers.get("content-encoding", ""):
            raise ProtocolError("the answer is compressed twice", hint="is it really Cartesia's API?")
        for block in response.iter_bytes():
            progress.touch()
            body += block
            if len(body) > MAX_BODY_BYTES:
                raise ProtocolError(f"the answer is larger than {MAX_BODY_BYTES >> 20} MiB", hint="check the base URL")
    except httpx.HTTPError:
        complete = False
    finally:
        response.close()
    return HttpReply(response.status_code, response.headers, bytes(body), complete)


def _hide_location(response: httpx.Response) -> None:
    """Hide the target of a redirect from httpx, which would report a malformed one as a lost connection."""
    if "location" in response.headers:
        response.headers["x-location"] = response.headers.pop("location")


def _redirect_target(address: str, reply: HttpReply) -> str:
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
    if (here.scheme, here.netloc) == (there.scheme, there.netloc):
        if reply.status not in (307, 308):
            raise ApiError(
                "the server sent a redirect that would drop the upload",
                hint="check the path of the base URL",
                status=reply.status,
            )
    else:
        raise ApiError(
            f"the server redirects to {there.scheme}://{there.netloc}",
            hint=OTHER_SERVER,
            status=reply.status,
        )
    return target
