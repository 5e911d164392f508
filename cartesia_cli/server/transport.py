"""What lies under a socket and ASGI hides: frames in pieces, ends without a goodbye, deafness.

Reaches into `connections.WebSocketConnection`: its `conn` (sans-I/O, of websockets) and its `transport` (of asyncio).
Must not know what is said.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Iterator

from starlette.types import Scope
from starlette.websockets import WebSocketDisconnect

from .connections import CONNECTION, WebSocketConnection


class Transport:
    """Under the socket whose ASGI `scope` it is given."""

    def __init__(self, scope: Scope) -> None:
        self._protocol: WebSocketConnection = scope["state"][CONNECTION]
        self._conn = self._protocol.conn
        self._transport: asyncio.Transport = self._protocol.transport

    def send_pieces(self, data: bytes, size: int, *, text: bool) -> None:
        """A message in frames of `size` bytes (RFC 6455 5.4). WebSocketDisconnect where nobody listens any more."""
        if self._transport.is_closing():
            raise WebSocketDisconnect(1006)
        first = self._conn.send_text if text else self._conn.send_binary
        for at, piece, is_last in _pieces(data, size):
            (self._conn.send_continuation if at else first)(piece, fin=is_last)
        self._transport.write(b"".join(self._conn.data_to_send()))

    def close_without_code(self) -> None:
        """Say goodbye, and not why."""
        self._conn.send_close()
        self._transport.write(b"".join(self._conn.data_to_send()))

    def reset(self) -> None:
        """End the connection with an RST instead of a FIN."""
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._transport.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def half_close(self) -> None:
        """Say nothing more, not even a close frame. What was said before arrives."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        """Read no more from the network, pings included, and send none of our own, which nobody would hear answered."""
        self._transport.pause_reading()
        self._protocol.is_deaf = True
        self._protocol.read_paused = False  # or it would read again as soon as a frame is fetched that it holds
        self._protocol.stop_keepalive()

    def resume_reading(self) -> None:
        """Read again."""
        self._protocol.is_deaf = False
        self._transport.resume_reading()

    @property
    def is_hung_up(self) -> bool:
        """Whether the other end has closed, as far as the system tells while nothing is read."""
        if self._transport.is_closing():
            return True
        if not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))


def _pieces(data: bytes, size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Where a piece begins, the piece, whether it is the last. No data are one piece, too."""
    for at in range(0, max(len(data), 1), size):
        yield at, data[at : at + size], at + size >= len(data)
