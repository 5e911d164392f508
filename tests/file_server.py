"""An HTTP server for files that can misbehave as servers of recordings do: dropped connections, no ranges, pages.

with FileServer({"/talk.mp3": data}) as server:
    server.drop = lambda number: number % 3 == 0     # every third response ends in the middle
    ...                                              # a client gets server.url + "/talk.mp3"
    server.requests[0].headers
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from types import TracebackType
from urllib.parse import unquote


@dataclass
class Request:
    """A request that was received."""

    method: str
    path: str
    headers: Message


@dataclass
class FileServer:
    """Serves `files` (path to content) on a port of its own, from threads.

    headers    of every response, instead of or besides the usual ones; None takes one away
    drop       whether the response with this number, from 1, ends in the middle
    ranges     whether Range is honoured; "always" ignores If-Range, as broken servers do
    statuses   what the first requests get instead of a file, one after the other: status and headers
    password   "user:password" that is demanded
    """

    files: Mapping[str, bytes]
    headers: dict[str, str | None] = field(default_factory=dict)
    drop: Callable[[int], bool] = lambda number: False
    ranges: bool | str = True
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    password: str | None = None
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0

    def __enter__(self) -> FileServer:
        self._lock = threading.Lock()
        self._served = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.requests.append(Request(handler.command, handler.path, handler.headers))
            status, headers = self.statuses.pop(0) if self.statuses else (0, {})
        if self.password and handler.headers["Authorization"] != _basic(self.password):
            status, headers = 401, {"WWW-Authenticate": "Basic"}
        data = self.files.get(unquote(handler.path.partition("?")[0]))
        if status or data is None:
            _send(handler, status or 404, {"Content-Length": "0", **headers}, b"")
            return
        etag = f'"{sha256(data).hexdigest()[:16]}"'
        usual = {"Content-Type": _media_type(handler.path), "ETag": etag, "Accept-Ranges": "bytes"} | self.headers
        wanted, known = handler.headers["Range"], handler.headers["If-Range"]
        start, end, status = 0, len(data), 200
        if handler.headers["If-Match"] not in (None, usual["ETag"]):
            _send(handler, 412, {"Content-Length": "0"}, b"")
            return
        if wanted and self.ranges and (known in (None, usual["ETag"]) or self.ranges == "always"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end, status = int(first), int(last or len(data) - 1) + 1, 206
            usual["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        usual.setdefault("Content-Length", str(end - start))
        body = b"" if handler.command == "HEAD" else data[start:end]
        with self._lock:
            self._served += handler.command == "GET"
            if handler.command == "GET" and self.drop(self._served):
                body = body[: len(body) // 2]
                handler.close_connection = True
            self.sent_bytes += len(body)
        _send(handler, status, {name: value for name, value in usual.items() if value is not None}, body)


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.answer(self)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _send(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _basic(password: str) -> str:
    return f"Basic {base64.b64encode(password.encode()).decode()}"


def _media_type(path: str) -> str:
    return guess_type(path.partition("?")[0])[0] or "application/octet-stream"
