"""A web server on loopback for a page of this program: `--page` of live sessions, and `edit`.

Everything is below a token, which only the page's user has. Must never answer another page, whatever its address is: a
foreign Host or Origin is refused (see `server/access.py`).
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError

HOST = "127.0.0.1"

HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Content-Type": "text/plain; charset=utf-8",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the URL has the token
    "X-Content-Type-Options": "nosniff",
}
"""Of each answer, unless it has others."""


class PageServer(ThreadingHTTPServer):
    """Serves a page, each request in a daemon thread. Raises UsageError if the port can't be used.

    token      None: a random one
    on_error   called, in any thread, with what goes wrong unexpectedly

    url        of the page
    """

    # On Windows, the option would let two programs have the same port.
    allow_reuse_address = os.name == "posix"

    def __init__(
        self,
        port: int,
        handler: type[PageHandler],
        token: str | None = None,
        on_error: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.token, self._on_error = token or secrets.token_urlsafe(24), on_error
        try:
            super().__init__((HOST, port), handler)
        except OSError as error:
            hint = "name another port, or none: then a free one is used"
            raise UsageError(f"port {port} of {HOST} can't be used: {error.strerror}", hint=hint) from error
        self.url = f"http://{HOST}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Bind, without the look-up of this machine's name in HTTPServer, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Report the current exception, unless a client hung up or is too slow: a browser hangs up when somebody
        seeks.
        """
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self._on_error(error)


class PageHandler(BaseHTTPRequestHandler):
    """Answers one request; then the connection is closed."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "cartesia-cli", ""

    def route(self) -> str | None:
        """The path below the token; None if the request was refused, or sent to the page."""
        parts = urlsplit(self.path)
        token, slash, route = parts.path.removeprefix("/").partition("/")
        if not self._is_own():
            self.answer(HTTPStatus.FORBIDDEN, "This page can be used at its own address only.")
        elif not compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self.answer(HTTPStatus.NOT_FOUND, "Open the address that cartesia-cli has printed.")
        elif not slash:
            query = f"?{parts.query}" if parts.query else ""
            self.answer(HTTPStatus.PERMANENT_REDIRECT, "", {"Location": f"/{token}/{query}"})
        else:
            return route
        return None

    def answer(self, status: HTTPStatus, body: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer: plain text, unless its headers say otherwise."""
        data = body.encode("utf-8", "replace")
        self.begin(status, {"Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def begin(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        """Send the beginning of an answer."""
        self.send_response(status)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: it would repeat the token."""

    def _is_own(self) -> bool:
        """Whether the request can't come from another page."""
        hosts = [host.lower() for host in self.headers.get_all("Host", [])]
        origins = [origin.lower() for origin in self.headers.get_all("Origin", [])]
        own = [[f"{name}:{self.server.server_port}"] for name in (HOST, "localhost")]
        return hosts in own and origins in ([], [f"http://{hosts[0]}"])
