"""The server of `edit`: a transcript's page and recording, and where the page saves corrections, on loopback.

Everything is below a token that only the page's user has. Must never answer a page of another origin, and never leave
half a transcript, or one that somebody else has changed meanwhile overwritten.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from mimetypes import guess_type
from pathlib import Path
from threading import Lock

from ..atomic_files import link_or_copy, write_atomically
from ..errors import InputError, UsageError
from ..output import SaveTarget

PAGE, RECORDING, TRANSCRIPT = "", "recording", "transcript"
"""Paths below the token."""

MAX_BODY_BYTES = 256 << 20
"""Largest transcript that is saved: the largest that `render` reads."""

STALLED_SECONDS = 60.0
"""A client that sends or takes nothing for so long is dropped."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class SavedTranscript:
    """The file that is corrected. Its first content is kept beside it, as FILE.orig.

    path   the file
    read   the canonical content of a transcript that somebody sent; InputError if it isn't one that can be saved
    """

    def __init__(self, path: Path, read: Callable[[bytes], bytes]) -> None:
        self.path, self._read = path, read
        self.original = path.with_name(f"{path.name}.orig")
        self.saves = 0
        self._lock = Lock()

    def current(self) -> tuple[bytes, str]:
        """The content of the file, and its version. OSError if it can't be read."""
        content = self.path.read_bytes()
        return content, _version(content)

    def save(self, sent: bytes, version: str) -> str:
        """Replace the file's content by a transcript, whole or not at all; returns the version it then has.

        version   the one that was corrected

        InputError for what isn't a transcript, Changed if the file has another version now, OSError if it can't be
        written.
        """
        content = self._read(sent)
        with self._lock:
            try:
                _, found = self.current()
            except FileNotFoundError as error:
                raise Changed from error
            if found != version:
                raise Changed
            with suppress(FileExistsError):
                link_or_copy(self.path, self.original, overwrite=False)
            write_atomically(self.path, content)
            self.saves += 1
        return _version(content)

    def finish(self) -> None:
        """Wait until nothing is being saved; nothing is, from then on."""
        self._lock.acquire()


class Changed(Exception):
    """The file isn't any more what the corrections were made to."""


class EditServer(ThreadingHTTPServer):
    """Serves the page of one transcript. UsageError if the port is taken.

    transcript   the file
    recording    the recording, or None
    page         the page of a transcript's content, and where it saves; InputError if there is none
    on_error     called, in any thread, with what goes wrong unexpectedly
    """

    daemon_threads = True
    # On Windows, the option would let two programs have the same port.
    allow_reuse_address = os.name == "posix"

    def __init__(
        self,
        port: int,
        transcript: SavedTranscript,
        recording: Path | None,
        page: Callable[[bytes, SaveTarget], str],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.transcript, self.recording, self.page = transcript, recording, page
        self._on_error = on_error
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            message = f"port {port} can't be used: {error.strerror}"
            raise UsageError(message, hint="without --port, a free one is used") from error
        self.origin = f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"{self.origin}/{self.token}/"

    def server_bind(self) -> None:
        """Bind, without asking for the name of this machine, which may take long."""
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Report the current exception, unless the connection was dropped: a browser does that when somebody seeks."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self._on_error(error)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, whatever it is: then the connection is closed."""

    server: EditServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "cartesia-cli", ""
    timeout = STALLED_SECONDS

    def do_GET(self) -> None:
        route = self._route()
        if route == PAGE:
            self._send_page()
        elif route == RECORDING and self.server.recording is not None:
            self._send_recording(self.server.recording)
        elif route is not None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        route = self._route()
        if route == TRANSCRIPT:
            self._save()
        elif route is not None:
            self._refuse(HTTPStatus.NOT_FOUND, "Only the transcript can be saved.")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: it would repeat the token."""

    def _route(self) -> str | None:
        """The path below the token; None if the request is refused."""
        host, origin = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        port = self.server.server_port
        token, _, route = self.path.partition("?")[0].removeprefix("/").partition("/")
        if host not in ([f"127.0.0.1:{port}"], [f"localhost:{port}"]):
            self._refuse(HTTPStatus.FORBIDDEN, "This is not the address of this server.")
        elif origin not in ([], [f"http://{host[0]}"]):
            self._refuse(HTTPStatus.FORBIDDEN, "Pages of other servers may not use this one.")
        elif not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "Open the address that `cartesia-cli edit` has printed.")
        else:
            return route
        return None

    def _save(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,18}", length) or "Transfer-Encoding" in self.headers:
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "Not saved: the length of the transcript is missing.")
        if int(length) > MAX_BODY_BYTES:
            message = f"Not saved: the transcript is larger than {MAX_BODY_BYTES >> 20} MiB."
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        version = self.headers.get("If-Match")
        if version is None:
            return self._refuse(HTTPStatus.PRECONDITION_REQUIRED, "Not saved: If-Match is missing.")
        sent = self.rfile.read(int(length))
        if len(sent) < int(length):
            return self._refuse(HTTPStatus.BAD_REQUEST, "Not saved: the transcript is not complete.")
        transcript = self.server.transcript
        try:
            saved = transcript.save(sent, version)
        except InputError as error:
            return self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, f"Not saved: {error.message}.")
        except Changed:
            message = f"Not saved: {transcript.path.name} has been changed by something else. Download the corrections."
            return self._refuse(HTTPStatus.CONFLICT, message)
        except OSError as error:
            message = f"Not saved: {transcript.path.name} can't be written: {error.strerror}."
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        message = f"Saved in {transcript.path.name}; the original is in {transcript.original.name}."
        return self._send(HTTPStatus.OK, "text/plain; charset=utf-8", message.encode("utf-8", "replace"), ETag=saved)

    def _send_page(self) -> None:
        try:
            content, version = self.server.transcript.current()
            page = self.server.page(content, SaveTarget(TRANSCRIPT, version))
        except (InputError, OSError) as error:
            name = self.server.transcript.path.name
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{name} can't be read any more: {error}")
        return self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode("utf-8", "replace"))

    def _send_recording(self, recording: Path) -> None:
        try:
            file = recording.open("rb")
        except OSError as error:
            return self._refuse(HTTPStatus.NOT_FOUND, f"The recording can't be read: {error.strerror}.")
        with file:
            size = os.fstat(file.fileno()).st_size
            part = _part(self.headers.get("Range"), size)
            if part is None:
                return self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, Content_Range=f"bytes */{size}")
            begin, end = part
            kind = guess_type(recording.name)[0] or "application/octet-stream"
            facts = {"Accept_Ranges": "bytes", "Content_Type": kind}
            status = HTTPStatus.OK
            if "Range" in self.headers:
                status, facts["Content_Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {begin}-{end - 1}/{size}"
            self._begin(status, end - begin, **facts)
            if self.command != "HEAD":
                _copy(file, self.wfile, begin, end)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, "text/plain; charset=utf-8", message.encode("utf-8", "replace"))

    def _send(self, status: HTTPStatus, kind: str, body: bytes, **headers: str) -> None:
        self._begin(status, len(body), Content_Type=kind, **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: HTTPStatus, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers | {"Content-Length": str(length)}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True


def _version(content: bytes) -> str:
    """The entity tag of a content."""
    return f'"{sha256(content).hexdigest()}"'


def _part(wanted: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for (RFC 9110 14.1.2): the first, and the one behind the last.

    None if there are none; the whole file for what isn't a single range.
    """
    found = _RANGE.fullmatch(wanted or "")
    if found is None or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    return (begin, end) if begin < end else None


def _copy(source: BufferedIOBase, target: BufferedIOBase, begin: int, end: int) -> None:
    source.seek(begin)
    while begin < end and (block := source.read(min(1 << 18, end - begin))):
        target.write(block)
        begin += len(block)
