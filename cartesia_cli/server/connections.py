"""uvicorn's connections, with limits on time and memory: no client can hold on to the server.

    the head of a request not complete within HEAD_SECONDS     status 408
    more than MAX_IDLE_CONNECTIONS without a request           the one that has been idle longest is closed
    output that the client doesn't read for WRITE_SECONDS      the connection is aborted
    pongs that the client doesn't read                         nothing more is read from it until it does
    a message in empty fragments without an end                one buffer, not a list
    many small pieces at once                                  after READ_BYTES, other connections take their turn

Bodies are limited in `uploads`, frames in `realtime`. What scripts do that ASGI can't express is here, too.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ..protocol.batch import api_error
from .access import error_response

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent

HEAD_SECONDS = 10.0
WRITE_SECONDS = 20.0
MAX_IDLE_CONNECTIONS = 128

READ_BYTES = 16 << 10
"""What is read from a connection before another one's turn. Chunks or frames of one byte take as long to parse as
large ones: with asyncio's 256 KiB, eight clients that sent them kept all others waiting for half a minute.
"""

CONNECTION_KEY = "connection"
"""Key in a scope's `state` under which a WebSocket endpoint finds its WebSocketConnection."""

SHUTTING_DOWN = "The server was stopped before the request was done."


class _UnreadOutput:
    """How long a client has not read what was written to it."""

    def __init__(self) -> None:
        self._size, self._since = 0, 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float) -> bool:
        """Whether output was pending in every call for WRITE_SECONDS, and never less than in the call before."""
        size = transport.get_write_buffer_size()
        if size == 0 or size < self._size or self._size == 0:
            self._since = now
        self._size = size
        return size > 0 and now - self._since > WRITE_SECONDS


class HttpConnection(H11Protocol):
    """An HTTP/1.1 connection; one that is upgraded becomes a WebSocketConnection."""

    idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        cast("Any", transport).max_size = READ_BYTES  # an undocumented attribute of asyncio's transports
        self._output = _UnreadOutput()
        self.idle_since = self.loop.time()
        idle = [other for other in self.connections if isinstance(other, HttpConnection) and other.is_idle]
        if len(idle) > MAX_IDLE_CONNECTIONS:
            min(idle, key=lambda other: other.idle_since).transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered: none has been received yet, or not its whole head."""
        return self.cycle is None or self.cycle.response_complete

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def enforce_time_limits(self, now: float) -> None:
        if self._output.is_stuck(self.transport, now):
            self.transport.abort()
        elif self.is_idle and now - self.idle_since > HEAD_SECONDS and not self.transport.is_closing():
            message = f"The head of the request was not complete after {HEAD_SECONDS:g} s."
            self._refuse(408, "Request timeout", message)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Bad request", msg)

    def _refuse(self, status: int, title: str, message: str) -> None:
        """Answer without the application, as far as HTTP still allows it, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = error_response(api_error(status, title, message))
            headers = [*response.raw_headers, (b"connection", b"close")]
            head = h11.Response(status_code=status, headers=headers, reason=title.encode())
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket connection."""

    _is_stalled = False  # by a script: then nothing may resume reading but the script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._output = _UnreadOutput()
        self._fragments = bytearray()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope.setdefault("state", {})[CONNECTION_KEY] = self

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # h11 accepted the head and websockets doesn't: it may have prepared an answer.
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._write_pending()
            self.transport.close()

    def _write_pending(self) -> None:
        self.transport.write(b"".join(self.conn.data_to_send()))

    def enforce_time_limits(self, now: float) -> None:
        if self._output.is_stuck(self.transport, now):
            self.transport.abort()

    # While the client doesn't read, nothing more is read from it: each ping would add a pong to the output.

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused and not self._is_stalled:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    def keepalive_timeout(self) -> None:
        """Handle a missing pong. It may be queued after frames that the application hasn't read: ping again later."""
        if self.read_paused:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def handle_cont(self, event: Any) -> None:
        """Collect the fragments of a message after the first in one buffer. None begins before another is complete."""
        self._fragments += event.data
        if event.fin:
            self.frames.append(bytes(self._fragments))
            self._fragments.clear()
            self.send_receive_event_to_app()

    def send_500_response(self) -> None:
        """Answer a handshake that the application has not answered, because a shutdown cancelled it."""
        if self.initial_response or self.handshake_complete:
            return
        refusal = error_response(api_error(503, "Service unavailable", SHUTTING_DOWN))
        response = self.conn.reject(503, bytes(refusal.body).decode())
        for name, value in refusal.headers.items():
            response.headers.pop(name, None)
            response.headers[name] = value
        self.conn.send_response(response)
        self._write_pending()

    # What only scripts do.

    def send_split(self, frame: str | bytes, size: int) -> None:
        """Send a message in frames of `size` bytes (RFC 6455 5.4)."""
        data = frame.encode() if isinstance(frame, str) else frame
        send: Any = self.conn.send_text if isinstance(frame, str) else self.conn.send_binary
        for at in range(0, max(len(data), 1), size):  # empty data is one piece, too
            send(data[at : at + size], fin=at + size >= len(data))
            send = self.conn.send_continuation
        self._write_pending()

    def close_without_code(self) -> None:
        """Send a close frame without a code."""
        self.conn.send_close()
        self._write_pending()

    def reset(self) -> None:
        """End the connection with an RST instead of a FIN."""
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def half_close(self) -> None:
        """Send nothing more, not even a close frame. What was sent before arrives."""
        if not self.transport.is_closing():
            self.transport.write_eof()

    def stall(self) -> None:
        """Read nothing more, pings included, and send no pings, since no pong would be read."""
        self.transport.pause_reading()
        self._is_stalled = True
        self.read_paused = False  # or it would read again when a buffered frame is received
        self.stop_keepalive()

    def end_stall(self) -> None:
        """Read again."""
        self._is_stalled = False
        self.transport.resume_reading()

    @property
    def is_closed_by_peer(self) -> bool:
        """Whether the client has closed, as far as the system tells while nothing is read."""
        if self.transport.is_closing():
            return True
        if not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))
