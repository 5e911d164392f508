"""The server of `edit`: a transcript's page and recording, and where the page saves corrections, on loopback.

Must never leave half a transcript, nor overwrite one that something else has changed meanwhile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from http import HTTPStatus
from io import BufferedIOBase
from mimetypes import guess_type
from pathlib import Path
from threading import Lock

from ..atomic_files import link_or_copy, write_atomically
from ..errors import InputError
from ..output import SaveTarget
from ..output.page_server import PageHandler, PageServer

PAGE, RECORDING, TRANSCRIPT = "", "recording", "transcript"
"""Paths below the token."""

MAX_BODY_BYTES = 256 << 20
"""Largest transcript that is saved: the largest that `render` reads."""

STALLED_SECONDS = 60.0
"""A client that sends or takes nothing for so long is dropped."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class SavedTranscript:
    """The file that is corrected. Its first content is kept beside it, as FILE.orig.

    path   the file
    read   the canonical content of a transcript that somebody sent; raises InputError if it isn't one that can be saved
    """

    def __init__(self, path: Path, read: Callable[[bytes], bytes]) -> None:
        self.path, self._read = path, read
        self.original = path.with_name(f"{path.name}.orig")
        self.saves = 0
        self._lock = Lock()

    def current(self) -> tuple[bytes, str]:
        """The content of the file, and its version. Raises OSError if it can't be read."""
        content = self.path.read_bytes()
        return content, _version(content)

    def save(self, sent: bytes, version: str) -> str:
        """Replace the file's content by a transcript, whole or not at all; returns the version it then has.

        version   the one that was corrected

        Raises InputError for what isn't a transcript, Changed if the file has another version now, OSError if it can't
        be written.
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


class EditServer(PageServer):
    """Serves the page of one transcript. Raises UsageError if the port is taken.

    transcript   the file
    recording    the recording, or None
    page         the page of a transcript's content, and where it saves; raises InputError if there is none
    on_error     as in PageServer
    """

    def __init__(
        self,
        port: int,
        transcript: SavedTranscript,
        recording: Path | None,
        page: Callable[[bytes, SaveTarget], str],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.transcript, self.recording, self.page = transcript, recording, page
        super().__init__(port, _Handler, on_error=on_error)


class _Handler(PageHandler):
    server: EditServer
    timeout = STALLED_SECONDS

    def do_GET(self) -> None:
        route = self.route()
        if route == PAGE:
            self._send_page()
        elif route == RECORDING and self.server.recording is not None:
            self._send_recording(self.server.recording)
        elif route is not None:
            self.answer(HTTPStatus.NOT_FOUND, "There is nothing here.")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        route = self.route()
        if route == TRANSCRIPT:
            self._save()
        elif route is not None:
            self.answer(HTTPStatus.NOT_FOUND, "Only the transcript can be saved.")

    def _save(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,18}", length) or "Transfer-Encoding" in self.headers:
            return self.answer(HTTPStatus.LENGTH_REQUIRED, "Not saved: the length of the transcript is missing.")
        if int(length) > MAX_BODY_BYTES:
            message = f"Not saved: the transcript is larger than {MAX_BODY_BYTES >> 20} MiB."
            return self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        version = self.headers.get("If-Match")
        if version is None:
            return self.answer(HTTPStatus.PRECONDITION_REQUIRED, "Not saved: If-Match is missing.")
        sent = self.rfile.read(int(length))
        if len(sent) < int(length):
            return self.answer(HTTPStatus.BAD_REQUEST, "Not saved: the transcript is not complete.")
        transcript = self.server.transcript
        try:
            saved = transcript.save(sent, version)
        except InputError as error:
            return self.answer(HTTPStatus.UNPROCESSABLE_ENTITY, f"Not saved: {error.message}.")
        except Changed:
            message = f"Not saved: {transcript.path.name} has been changed by something else. Download the corrections."
            return self.answer(HTTPStatus.CONFLICT, message)
        except OSError as error:
            message = f"Not saved: {transcript.path.name} can't be written: {error.strerror}."
            return self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        message = f"Saved in {transcript.path.name}; the original is in {transcript.original.name}."
        return self.answer(HTTPStatus.OK, message, {"ETag": saved})

    def _send_page(self) -> None:
        try:
            content, version = self.server.transcript.current()
            page = self.server.page(content, SaveTarget(TRANSCRIPT, version))
        except (InputError, OSError) as error:
            name = self.server.transcript.path.name
            return self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{name} can't be read any more: {error}")
        return self.answer(HTTPStatus.OK, page, {"Content-Type": "text/html; charset=utf-8"})

    def _send_recording(self, recording: Path) -> None:
        try:
            file = recording.open("rb")
        except OSError as error:
            return self.answer(HTTPStatus.NOT_FOUND, f"The recording can't be read: {error.strerror}.")
        with file:
            size = os.fstat(file.fileno()).st_size
            part = _part(self.headers.get("Range"), size)
            if part is None:
                return self.answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", {"Content-Range": f"bytes */{size}"})
            begin, end = part
            kind = guess_type(recording.name)[0] or "application/octet-stream"
            headers = {"Accept-Ranges": "bytes", "Content-Type": kind, "Content-Length": str(end - begin)}
            status = HTTPStatus.OK
            if "Range" in self.headers:
                status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {begin}-{end - 1}/{size}"
            self.begin(status, headers)
            if self.command != "HEAD":
                _copy(file, self.wfile, begin, end)


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
