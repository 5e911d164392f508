"""Sends HTTP requests and reads their responses, over connections that another thread can abort.

Redirects are followed only where the key may go: to the same origin, with the same body. Responses are bounded in
size. Must never interpret anything else of a response: that is the caller's job.

Uses httpcore, on which httpx is built: importing httpx, too, would take an eighth of the time of a transcription.
"""

import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpcore

from .. import __version__
from ..errors import ApiError, ProtocolError
from ..protocol.constants import API_VERSION, Credential, is_unencrypted, request_headers, server_name
from ..record import Record
from .deadlines import CONNECT_TIMEOUT_SECONDS, UploadProgress
from .environment import PORTS, find_proxy, tls_context
from .http_errors import (
    HTTP_ERRORS,
    OTHER_SERVER,
    Peer,
    TunnelTrace,
    invalid_http_reason,
    shown_redirect_target,
    tunnel_problem,
)

MAX_BODY_BYTES = 64 << 20
"""Largest response body: a hundred hours of words with their times."""

MAX_REDIRECTS = 3

GZIP_MAGIC = b"\x1f\x8b"

DECOMPRESSION_STEP_BYTES = 1 << 12
"""How much of a compressed body is decompressed at once: where it is damaged, at most so much before it is lost."""

TIMEOUTS = {"connect": CONNECT_TIMEOUT_SECONDS, "pool": None, "write": None, "read": None}
"""`run_with_deadline` limits reads and writes: with a second timer for the same limit, chance would pick the error."""


class HttpRequest(Record):
    """What is sent, whatever the address.

    headers   besides those of every request; for a body in blocks, its Content-Length
    body      bytes, or blocks of them
    """

    method: str
    headers: Mapping[str, str] = {}
    body: bytes | Iterator[bytes] | None = None


BuildRequest = Callable[[UploadProgress], HttpRequest]
"""Makes a request. Called again for a redirect, because a body can be read only once."""


class HttpResponse(Record):
    """A response as it was received.

    body       decompressed, as far as that is possible; as it came if nothing of it can be
    complete   False: the connection ended before the body did, or the rest of it can't be read
    problem    why it can't be read; "" if the connection ended
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool
    problem: str = ""


class AbortHandle(TunnelTrace):
    """Aborts the connection of an exchange from another thread. Closing its socket would not wake a blocked read.

    It finds the socket as httpcore's trace callback. httpcore takes only one, so it is the TunnelTrace, too.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._aborted = False

    def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        super().__call__(name, info)
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._aborted:
                self.abort()

    def abort(self) -> None:
        self._aborted = True
        if self._socket is not None:
            try:
                # Not by SSLSocket's own method, which first removes the encryption: the thread could send audio then.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                return


class HttpClient:
    """Sends requests to one server. Thread-safe.

    base_url     checked by protocol.check_base_url
    credential   None for a server that asks for none

    Raises UsageError when the proxy or certificate settings of the environment are unusable.
    """

    def __init__(self, base_url: str, credential: Credential | None, api_version: str = API_VERSION) -> None:
        self._headers = {
            **request_headers(credential, api_version),
            "User-Agent": f"cartesia-cli/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        self._pool = _open_pool(base_url)
        self._has_tunnel = base_url.startswith("https:") and isinstance(self._pool, httpcore.HTTPProxy)

    def close(self) -> None:
        self._pool.close()

    def exchange(
        self, build: BuildRequest, address: str, progress: UploadProgress, abort_handle: AbortHandle
    ) -> HttpResponse:
        """Send a request and read the response, following same-origin redirects.

        address   URL

        Raises one of HTTP_ERRORS if no response arrives, ApiError for a redirect that must not be followed, and
        ProtocolError for a body that is too large.
        """
        for _ in range(MAX_REDIRECTS + 1):
            progress.restart()
            try:
                reply = self._exchange_once(build(progress), address, progress, abort_handle)
            except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError) as error:
                if self._has_tunnel and abort_handle.awaits_tunnel:
                    raise httpcore.ConnectError(tunnel_problem(error)) from error
                raise
            if reply.status not in (301, 302, 303, 307, 308):
                return reply
            address = _redirect_target(address, reply)
        raise ApiError(f"more than {MAX_REDIRECTS} redirects", hint="check the base URL", status=reply.status)

    def _exchange_once(
        self, request: HttpRequest, address: str, progress: UploadProgress, abort_handle: AbortHandle
    ) -> HttpResponse:
        url = _to_ascii(address)
        with self._pool.stream(
            request.method,
            url,
            headers=[("Host", _host_header(url)), *self._headers.items(), *request.headers.items()],
            content=request.body,
            extensions={"timeout": TIMEOUTS, "trace": abort_handle},
        ) as response:
            headers: dict[str, str] = {}
            for raw_name, raw_value in response.headers:
                name, value = raw_name.decode().lower(), raw_value.decode("utf-8", "replace")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            encoding = headers.get("content-encoding", "").strip().lower()
            return HttpResponse(response.status, headers, *_read_body(response.iter_stream(), encoding, progress))


def _open_pool(base_url: str) -> httpcore.ConnectionPool:
    """Connections to a server, one for each request: one kept idle between two files may be dead by then, which would
    look like a lost response. Raises UsageError for unusable settings of the environment.
    """
    settings: dict[str, Any] = {
        "ssl_context": tls_context(base_url), "max_connections": None, "max_keepalive_connections": 0
    }  # fmt: skip
    proxy = find_proxy(base_url)
    if proxy is None:
        return httpcore.ConnectionPool(**settings)
    parts = urlsplit(proxy.url)
    auth = None
    if parts.username is not None:
        auth = unquote(parts.username).encode(), unquote(parts.password or "").encode()
    return httpcore.HTTPProxy(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", auth, **settings)


def peer_of(base_url: str, credential: Credential | None) -> Peer:
    """The server at this address, as error messages describe it. Raises UsageError for a proxy that can't be used."""
    proxy = find_proxy(base_url)
    origin = None if proxy is None else proxy.origin
    return Peer(server_name(base_url, credential), credential, origin, is_unencrypted(base_url))


def _to_ascii(address: str) -> str:
    """A URL as it is sent: a host name in other scripts in IDNA, other characters percent-encoded."""
    parts = urlsplit(address)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    path, query = (quote(text, safe="!$%&'()*+,-./:;=?@[]_~") for text in (parts.path, parts.query))
    return f"{parts.scheme}://{host}{path or '/'}{'?' * bool(query)}{query}"


def _host_header(url: str) -> str:
    """The Host header for a URL (RFC 9110 7.2). httpcore's own lacks the brackets of an IPv6 address."""
    parts = urlsplit(url)
    return parts.netloc.removesuffix(f":{PORTS[parts.scheme]}")


def _read_body(blocks: Iterable[bytes], encoding: str, progress: UploadProgress) -> tuple[bytes, bool, str]:
    """The body of a response, and the last two fields of its HttpResponse. Raises ProtocolError if it is too large.

    encoding   the Content-Encoding header: some servers and proxies compress although they are asked not to
    """
    received, is_complete, problem = bytearray(), True, ""
    try:
        for block in blocks:
            progress.touch()
            received += block
            _check_size(received)
    except HTTP_ERRORS as error:
        is_complete, problem = False, invalid_http_reason(error) or ""
    body = bytes(received)
    for name in reversed(encoding.split(",")):  # the last one was applied last (RFC 9110 8.4)
        if (name := name.strip()) not in ("", "identity"):
            body, is_whole, unreadable = _decompress(body, name)
            is_complete, problem = is_complete and is_whole, problem or unreadable
    return body, is_complete, problem


def _check_size(body: bytearray) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise ProtocolError(f"the response is larger than {MAX_BODY_BYTES >> 20} MiB", hint="check the base URL")


def _decompress(packed: bytes, encoding: str) -> tuple[bytes, bool, str]:
    """A compressed body as far as it can be decompressed, or as it came if nothing can; and what `_read_body` returns.

    A gzip file may consist of several (RFC 1952 2.2).
    """
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return packed, False, f"the body is compressed with {encoding}"
    body, decoder, position = bytearray(), _decoder(packed, encoding), 0
    try:
        while position < len(packed):
            piece = packed[position : position + DECOMPRESSION_STEP_BYTES]
            body += decoder.decompress(piece, MAX_BODY_BYTES + 1)
            _check_size(body)
            position += len(piece) - len(decoder.unused_data)
            if decoder.eof:
                if not packed.startswith(GZIP_MAGIC, position):
                    break
                decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    except zlib.error:
        return bytes(body) or packed, False, f"the body is not valid {encoding}"
    return bytes(body), decoder.eof or not packed, ""


def _decoder(packed: bytes, encoding: str) -> "zlib._Decompress":
    """What decompresses a body. deflate is zlib's format (RFC 9110 8.4.1.2), but some servers leave out its header."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        decoder.copy().decompress(packed[:DECOMPRESSION_STEP_BYTES], MAX_BODY_BYTES + 1)
    except zlib.error:
        if encoding == "deflate":
            return zlib.decompressobj(-zlib.MAX_WBITS)
    return decoder


def _redirect_target(address: str, reply: HttpResponse) -> str:
    """Where a redirect leads. Raises ApiError unless the key and the body may go there: 307 and 308 within the same
    origin.
    """
    location = reply.headers.get("location", "")
    try:
        target = urljoin(address, location)
        here, there = urlsplit(address), urlsplit(target)
    except ValueError:
        location = ""
    hint = "check the base URL"
    if not location:
        what = "sent a redirect without a usable address"
    elif (here.scheme, here.netloc) != (there.scheme, there.netloc):
        what, hint = f"redirects to {shown_redirect_target(target)}", OTHER_SERVER if there.scheme in PORTS else hint
    elif reply.status not in (307, 308):
        what, hint = "sent a redirect that would drop the upload", "check the path of the base URL"
    else:
        return target
    raise ApiError(f"the server {what}", hint=hint, status=reply.status)
