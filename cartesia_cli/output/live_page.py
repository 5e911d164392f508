"""Serves the text of a live session as a web page on loopback: captions for a second screen or streaming software.

The page is `player/live.html`, with its style and script in it. Text comes as server-sent events (WHATWG HTML 9.2):

    reset    {"lines": [...]}: all settled text that is kept, for a client that joins or has missed more than that, and
             when a line was dropped
    segment  {"text": ...}: one more settled line
    partial  {"text": ...}: text that may still change, in place of the one before; of a long one the end only
    end      {}: the session has ended

Must never delay the session: `Captions` only stores what is new, and a thread for each client sends it. A slow client
skips partials, and one that takes nothing for SEND_SECONDS is disconnected; it reconnects and gets all lines.
Must never use more memory for a longer session.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from http import HTTPStatus
from typing import Any, NamedTuple, Self

from ..transcript import Notice, Segment, Update
from .page_server import PageHandler, PageServer
from .player_files import fill, policy, read
from .sanitize import one_line

MAX_LINES = 5000
"""Settled lines that are kept for clients that join: those of some ten hours of talk."""

MAX_PARTIAL_CHARS = 2000
"""Characters of a partial that are sent, from its end: an utterance may last for hours, and be sent at each word."""

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


class Position(NamedTuple):
    """How much a client has received.

    undos      how many lines had been dropped by then; -1: it has nothing at all
    lines      number of settled lines, including those
    partials   number of partials
    """

    undos: int = -1
    lines: int = 0
    partials: int = -1


class Captions:
    """The text of one session: the latest settled lines, and the partial. Can be used from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines = deque[str](maxlen=MAX_LINES)
        self._partial = ""
        self._latest = Position(undos=0, partials=0)
        self._has_ended = False
        self._clients = 0

    def update(self, update: Update) -> None:
        """Add what a session has heard. Notices are ignored."""
        if isinstance(update, Notice):
            return
        text, is_settled = one_line(update.text), isinstance(update, Segment)
        partial = "" if is_settled else _end_of(text)
        with self._changed:
            if is_settled:
                self._lines.append(text)
            undos, lines, partials = self._latest
            self._latest = Position(undos, lines + is_settled, partials + (partial != self._partial))
            self._partial = partial
            self._changed.notify_all()

    def undo(self) -> None:
        """Drop the last line."""
        with self._changed:
            if self._lines:
                self._lines.pop()
                self._latest = self._latest._replace(undos=self._latest.undos + 1)
                self._changed.notify_all()

    def end(self, seconds: float) -> None:
        """End the session, and wait for up to `seconds` until all clients have got the last events."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._clients, seconds)

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

    def wait_for_events(self, position: Position, seconds: float) -> tuple[str, Position, bool]:
        """Wait up to `seconds` for something that a client doesn't have.

        Returns the events, which may be none, the client's new position, and whether these are the last events.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or position != self._latest, seconds)
            latest, has_ended, partial, lines = self._latest, self._has_ended, self._partial, list(self._lines)
        missed = latest.lines - position.lines
        if latest.undos != position.undos or missed > len(lines):
            events = [_event("reset", {"lines": lines})]
        else:
            events = [_event("segment", {"text": text}) for text in lines[len(lines) - missed :]]
        if position.partials != latest.partials:
            events.append(_event("partial", {"text": partial}))
        if has_ended:
            events.append(_event("end", {}))
        return "".join(events), latest, has_ended


class LivePage(PageServer):
    """Serves the page, in threads of this process, for the length of a `with` block.

    port       port to listen on; 0: any. Raises UsageError if it can't be used
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
        style, script = read("live.css"), read("live.js")
        title = f"{source}: live" if source else "live"
        self.page = fill(read("live.html"), {"title": escape(one_line(title)), "style": style, "script": script})
        self.policy = policy(style, script, "connect-src 'self'", "img-src data:", "frame-ancestors 'none'")
        super().__init__(port, _Handler, token, on_error)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="serving captions", daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.captions.end(LAST_EVENTS_SECONDS)
        self.shutdown()
        self.server_close()


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
            case str():  # None has been answered
                self.answer(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _stream(self, captions: Captions) -> None:
        with captions.client():
            self.begin(HTTPStatus.OK, {"Content-Type": "text/event-stream; charset=utf-8"})
            self.wfile.write(f"retry: {RETRY_MS}\n\n".encode())
            position, has_ended = Position(), False
            while not has_ended:
                events, position, has_ended = captions.wait_for_events(position, KEEP_ALIVE_SECONDS)
                self.wfile.write((events or ":\n\n").encode())


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _end_of(text: str) -> str:
    """The end of a long text, from the beginning of a word if possible."""
    if len(text) <= MAX_PARTIAL_CHARS:
        return text
    end = text[-MAX_PARTIAL_CHARS:]
    return f"… {end.partition(' ')[2] or end}"
