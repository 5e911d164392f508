"""Serves the text of a live session as a web page on loopback: captions for a second screen or streaming software.

The page is `player/live.html`, with its style and script in it. Text comes as server-sent events (WHATWG HTML 9.2):

    reset    {"lines": [...]}: all settled text that is kept, for a client that joins, or that has missed too much
    segment  {"text": ...}: one more settled line
    undo     {}: the last line is dropped
    partial  {"text": ...}: text that may still change, in place of the one before; its end only if it is long
    end      {}: the session has ended

Must never delay the session: `Captions` only stores what is new, and a thread for each client sends it. A slow client
skips partials, and one that takes nothing for SEND_SECONDS is disconnected; it reconnects and gets what it missed.
Must never use more memory for a longer session.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from itertools import islice
from socket import socket
from typing import Any, Self

from ..transcript import Partial, Segment, Update
from .page_server import PageHandler, PageServer
from .player_files import fill, policy, read
from .sanitize import one_line

MAX_LINES = 5000
"""Settled lines that are kept for clients that join: those of some ten hours of talk."""

MAX_CHANGES = 500
"""Changes of settled lines that a client may miss and get one by one; after more it gets all lines."""

MAX_PARTIAL_CHARS = 2000
"""Characters of a partial that are sent, from its end: an utterance may last for hours, and be sent at each word."""

MAX_CLIENTS = 50

SEND_SECONDS = 10.0
"""Seconds in which a client must send its request, and take what is sent."""

KEEP_ALIVE_SECONDS = 15.0
"""Seconds between comments that are sent while nothing is said: without them, a client that is gone isn't noticed."""

LAST_EVENTS_SECONDS = 1.0
"""Seconds in which clients get the last events before the server ends."""

RETRY_MS = 1000
"""After a lost connection, browsers wait for that long."""

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
"""A token that the user may choose."""


@dataclass(frozen=True, slots=True)
class Position:
    """How much a client has received.

    changes    number of changes of settled lines; None: nothing at all
    partials   number of partials
    """

    changes: int | None = None
    partials: int = -1


class Captions:
    """The text of one session: the latest settled lines, and the partial. Can be used from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines = deque[str](maxlen=MAX_LINES)
        self._changes = deque[str](maxlen=MAX_CHANGES)
        """The latest changes of the lines, as events; the newest has the number `_change_count`."""
        self._change_count = self._partial_count = 0
        self._partial = ""
        self._has_ended = False
        self._clients = 0
        self._session = secrets.token_hex(4)

    def update(self, update: Update) -> None:
        """Add what a session has heard. Notices are ignored."""
        match update:
            case Partial():
                with self._changed:
                    self._set_partial(_end_of(one_line(update.text)))
                    self._changed.notify_all()
            case Segment():
                text = one_line(update.text)
                with self._changed:
                    self._lines.append(text)
                    self._add_change("segment", {"text": text})
                    self._set_partial("")
                    self._changed.notify_all()

    def undo(self) -> None:
        """Drop the last line."""
        with self._changed:
            if self._lines:
                self._lines.pop()
                self._add_change("undo", {})
                self._changed.notify_all()

    def end(self, seconds: float) -> None:
        """End the session, and wait for up to `seconds` until all clients have got the last events."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._clients, seconds)

    def position(self, event_id: str) -> Position:
        """The position of a client that got the event with this ID last; of a new one if it isn't of this session."""
        session, _, number = event_id.partition("-")
        if session == self._session and number.isascii() and number.isdigit() and len(number) < 12:
            return Position(int(number))
        return Position()

    @contextmanager
    def client(self) -> Iterator[None]:
        """Count a client while the block runs: `end` waits for it."""
        with self._changed:
            self._clients += 1
        try:
            yield
        finally:
            with self._changed:
                self._clients -= 1
                self._changed.notify_all()

    def news(self, position: Position, seconds: float) -> tuple[str, Position, bool]:
        """Wait up to `seconds` for something that a client doesn't have.

        Returns the events, which may be none, the client's new position, and whether these are the last events.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or position != self._here, seconds)
            here, has_ended, partial = self._here, self._has_ended, self._partial
            missed = None if position.changes is None else self._change_count - position.changes
            lines = list[str]()
            if missed is None or not 0 <= missed <= len(self._changes):
                missed, lines = None, list(self._lines)
                events = list[str]()
            else:
                events = list(islice(self._changes, len(self._changes) - missed, None))
        if missed is None:
            events = [self._event("reset", {"lines": lines}, here.changes)]
        if position.partials != here.partials:
            events.append(self._event("partial", {"text": partial}))
        if has_ended:
            events.append(self._event("end", {}))
        return "".join(events), here, has_ended

    @property
    def _here(self) -> Position:
        return Position(self._change_count, self._partial_count)

    def _set_partial(self, text: str) -> None:
        if text != self._partial:
            self._partial = text
            self._partial_count += 1

    def _add_change(self, name: str, data: Mapping[str, Any]) -> None:
        self._change_count += 1
        self._changes.append(self._event(name, data, self._change_count))

    def _event(self, name: str, data: Mapping[str, Any], number: int | None = None) -> str:
        """An event; one with the number of a change has an ID, by which a client continues after it."""
        at = "" if number is None else f"id: {self._session}-{number}\n"
        return f"{at}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


class LivePage(PageServer):
    """Serves the page to up to MAX_CLIENTS connections at once, in threads of this process, for the length of a `with`
    block.

    port       port to listen on; 0: any. Raises OSError if it can't be used
    token      what the URL contains; None: a random one
    source     name of what is transcribed
    on_error   called, in any thread, with what goes wrong unexpectedly
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str | None = None,
        source: str = "",
        on_error: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.captions = Captions()
        self.page, self.policy = _page(source)
        self._slots = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(port, _Handler, token, on_error)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="serving captions", daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.captions.end(LAST_EVENTS_SECONDS)
        self.shutdown()
        self.server_close()

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:  # an answer would take time, and browsers try again without one, too
            self.shutdown_request(request)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()


class _Handler(PageHandler):
    server: LivePage
    timeout = SEND_SECONDS

    def do_GET(self) -> None:
        match self.route():
            case "":
                headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": self.server.policy}
                self.answer(HTTPStatus.OK, self.server.page, headers)
            case "events":
                self._stream(self.server.captions)
            case str():
                self.answer(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _stream(self, captions: Captions) -> None:
        position = captions.position(self.headers.get("Last-Event-ID", ""))
        with captions.client():
            self.begin(HTTPStatus.OK, {"Content-Type": "text/event-stream; charset=utf-8"})
            self.wfile.write(f"retry: {RETRY_MS}\n\n".encode())
            has_ended = False
            while not has_ended:
                events, position, has_ended = captions.news(position, KEEP_ALIVE_SECONDS)
                self.wfile.write((events or ":\n\n").encode())


def _page(source: str) -> tuple[str, str]:
    """The page, and its Content-Security-Policy."""
    style, script = read("live.css"), read("live.js")
    allowed = policy(style, script, "connect-src 'self'", "img-src data:", "frame-ancestors 'none'")
    title = f"{source}: live" if source else "live"
    return fill(read("live.html"), {"title": escape(one_line(title)), "style": style, "script": script}), allowed


def _end_of(text: str) -> str:
    """The end of a long text, from the beginning of a word if possible."""
    if len(text) <= MAX_PARTIAL_CHARS:
        return text
    end = text[-MAX_PARTIAL_CHARS:]
    return f"… {end.partition(' ')[2] or end}"
