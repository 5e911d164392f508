"""Connections of the local server that no client can hold on to: uvicorn's own, with limits on time and memory.

    a request's head that isn't complete in HEAD_SECONDS     status 408
    more than WAITING_CONNECTIONS without a request          the one that has waited longest is closed
    output that the client doesn't read for WRITE_SECONDS    the connection is aborted, on its way to be closed or not
    pongs that the client doesn't read                       nothing more is read from it until it has
    a message in fragments of no size, without an end        one buffer, not a list
    many small pieces at once                                READ_BYTES are parsed, then it is the others' turn

What an application is given is limited elsewhere: bodies in `uploads`, frames in `realtime`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from ..protocol import Error, encode_error

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent

HEAD_SECONDS = 10.0
WRITE_SECONDS = 20.0
WAITING_CONNECTIONS = 128

READ_BYTES = 16 << 10
"""What is read from a connection before the next one's turn. Chunks or frames of one byte take as long to parse as
large ones: with asyncio's 256 KiB, eight clients that send them kept everybody else waiting for half a minute.
"""

CONNECTION = "connection"
"""Where in the `state` of its scope an application finds a WebSocketConnection."""

SHUTTING_DOWN = "The server was stopped before the request was done."


def check_all(state: ServerState, now: float) -> None:
    """Close the connections that are out of time; to be called about once a second."""
    for connection in list(state.connections):
        if isinstance(connection, HttpConnection | WebSocketConnection):
            connection.check(now)


class _UnreadOutput:
    """How long a client has read nothing of what was written to it."""

    def __init__(self) -> None:
        self._size, self._since = 0, 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float) -> bool:
        """Whether there was output at every look for WRITE_SECONDS, and never less than at the one before."""
        size = transport.get_write_buffer_size()
        if size == 0 or size < self._size or self._size == 0:
            self._since = now
        self._size = size
        return size > 0 and now - self._since > WRITE_SECONDS


class HttpConnection(H11Protocol):
    """An HTTP/1.1 connection; one that becomes a WebSocket is handed on."""

    waiting_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        cast("Any", transport).max_size = READ_BYTES  # an attribute of asyncio's sockets that no document names
        self._output = _UnreadOutput()
        self.waiting_since = self.loop.time()
        waiting = [other for other in self.connections if isinstance(other, HttpConnection) and other.is_waiting]
        if len(waiting) > WAITING_CONNECTIONS:
            min(waiting, key=lambda other: other.waiting_since).transport.abort()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered: none has come yet, or not its whole head."""
        return self.cycle is None or self.cycle.response_complete

    def on_response_complete(self) -> None:
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def check(self, now: float) -> None:
        if self._output.is_stuck(self.transport, now):
            self.transport.abort()
        elif self.is_waiting and now - self.waiting_since > HEAD_SECONDS and not self.transport.is_closing():
            message = f"The head of the request was not complete after {HEAD_SECONDS:g} s."
            self._refuse(408, "Request timeout", message)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Bad request", msg)

    def _refuse(self, status: int, title: str, message: str) -> None:
        """Answer without the application, as far as HTTP allows it now, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body, headers = _error(title, message)
            response = h11.Response(status_code=status, headers=headers, reason=title.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket.

    is_deaf   nothing may be read, whatever becomes of the output: a script wants it so
    """

    is_deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._output = _UnreadOutput()
        self._fragments = bytearray()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope.setdefault("state", {})[CONNECTION] = self

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The head was good enough for h11, and isn't for websockets, which has written an answer or none.
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def check(self, now: float) -> None:
        if self._output.is_stuck(self.transport, now):
            self.transport.abort()

    # Output that isn't read: pongs are written for whatever comes in, so nothing more may come in.

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused and not self.is_deaf:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    def keepalive_timeout(self) -> None:
        """No pong came. Where frames wait for the application, the pong may be behind them: ask again later."""
        if self.read_paused:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    # Fragments

    def handle_text(self, event: Any) -> None:
        self._fragments.clear()
        super().handle_text(event)

    def handle_bytes(self, event: Any) -> None:
        self._fragments.clear()
        super().handle_bytes(event)

    def handle_cont(self, event: Any) -> None:
        self._fragments += event.data
        if event.fin:
            self.frames.append(bytes(self._fragments))
            self._fragments.clear()
            self.send_receive_event_to_app()

    def send_500_response(self) -> None:
        """The answer to a handshake that the application leaves open: it is cancelled as the server ends."""
        if self.initial_response or self.handshake_complete:
            return
        body, headers = _error("Service unavailable", SHUTTING_DOWN)
        response = self.conn.reject(503, body.decode())
        for name, value in headers:
            response.headers.pop(name.decode(), None)
            response.headers[name.decode()] = value.decode()
        self.conn.send_response(response)
        self.transport.write(b"".join(self.conn.data_to_send()))


def _error(title: str, message: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of an answer to which the application has not come."""
    request_id = str(uuid4())
    body = encode_error(Error(title=title, message=message, request_id=request_id))
    return body, [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
        (b"X-Request-Id", request_id.encode()),
    ]
