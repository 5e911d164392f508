"""A TCP proxy on loopback that fails as networks do, in front of any server.

    with FaultProxy(server.port, Plan(down=Direction(after=500, then="reset")), Plan()) as proxy:
        ...                                        # of the connections to proxy.base_url, the first fails
        proxy.change(down=Direction(then="hole"))  # from now on nothing comes back, on all connections
        proxy.change()                             # no more faults; connections that still exist go on

What fault after `after` bytes of a direction:

    cut        both ends get a FIN
    reset      both ends get a RST
    half       the receiving end gets a FIN; the other direction goes on
    hole       everything is read and discarded, the end of the connection too: half open
    stall      nothing is read any more, so that buffers fill; after `change`, all of it is passed on
    garbage    other bytes are inserted, once

It doesn't interpret what passes: HTTP, WebSocket and TLS are all the same to it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

TICK_SECONDS = 0.02
"""How often a change is looked for."""

SETTLE_SECONDS = 0.05
"""Time for what was passed on to arrive before a reset, which would overtake it."""

BLOCK_BYTES = 1 << 16
MAX_BUFFERED_BYTES = 1 << 18
"""Bytes that may be buffered: beyond them the sender has to wait, as at a real bottleneck."""

FaultKind = Literal["cut", "reset", "half", "hole", "stall", "garbage"]


@dataclass(frozen=True)
class Direction:
    """What fault to the bytes of one direction.

    delay     seconds by which each byte is delayed
    rate      bytes a second; None: unlimited
    piece     bytes that are passed on at once
    after     bytes that pass before `then` fault
    then      the fault, see above; None: none
    garbage   what is inserted
    """

    delay: float = 0.0
    rate: float | None = None
    piece: int = BLOCK_BYTES
    after: int = 0
    then: FaultKind | None = None
    garbage: bytes = b"\x00\xff\x13garbage\r\n\r\n"


@dataclass(frozen=True)
class Plan:
    """Both directions of a connection: `up` from the client to the server, `down` back."""

    up: Direction = Direction()
    down: Direction = Direction()


class Link:
    """One connection. `plan` may be changed at any time; `passed` counts the bytes that were passed on, up and down."""

    def __init__(self, plan: Plan, client: socket.socket) -> None:
        self.plan, self.client, self.server = plan, client, socket.socket()
        self.passed = {"up": 0, "down": 0}
        self.ending: FaultKind | None = None

    def run(self, port: int) -> None:
        """Pass bytes on until both directions have ended, or the link is cut or reset."""
        try:
            self.server.connect(("127.0.0.1", port))
            for end in (self.client, self.server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._forward, args=("down", self.server, self.client), daemon=True)
            back.start()
            self._forward("up", self.client, self.server)
            back.join()
        except OSError:  # no server: the client's connection is closed
            pass
        for end in (self.client, self.server):
            if self.ending == "reset":
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _forward(self, name: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            _Forwarder(self, name, source, sink).run()
        except OSError:  # one end was reset or has gone: so is the other
            self.ending = self.ending or "reset"


class _Forwarder:
    """One direction of one link."""

    def __init__(self, link: Link, name: str, source: socket.socket, sink: socket.socket) -> None:
        self._link, self._name, self._source, self._sink = link, name, source, sink
        self._buffer: deque[tuple[float, bytes]] = deque()  # when each piece is due, and the piece
        self._due = 0.0
        self._ended = False
        self._done: Direction | None = None

    def run(self) -> None:
        while self._link.ending is None:
            direction: Direction = getattr(self._link.plan, self._name)
            is_due = self._link.passed[self._name] >= direction.after and direction is not self._done
            fault = direction.then if is_due else None
            if fault in ("cut", "reset"):
                time.sleep(SETTLE_SECONDS)
                self._link.ending = fault
            elif fault == "garbage":
                self._buffer.appendleft((0.0, direction.garbage))
                self._done = direction
            elif fault in ("half", "hole"):
                if fault == "half":
                    self._sink.shutdown(socket.SHUT_WR)
                self._discard(direction)
                if fault == "half" and self._ended:
                    return
            elif fault == "stall":
                time.sleep(TICK_SECONDS)
            elif self._ended and not self._buffer:
                return self._sink.shutdown(socket.SHUT_WR)
            else:
                self._step(direction)

    def _step(self, direction: Direction) -> None:
        """Read if the buffer isn't full, and pass on what is due; wait a moment for either."""
        due = self._buffer[0][0] - time.monotonic() if self._buffer else TICK_SECONDS
        may_read = not self._ended and sum(len(data) for _, data in self._buffer) < MAX_BUFFERED_BYTES
        ready = select.select(
            [self._source] if may_read else [],
            [self._sink] if self._buffer and due <= 0 else [],
            [],
            min(due, TICK_SECONDS) if due > 0 else TICK_SECONDS,
        )
        if ready[0]:
            data = self._source.recv(BLOCK_BYTES)
            self._ended = not data
            for start in range(0, len(data), direction.piece):
                piece = data[start : start + direction.piece]
                self._due = max(self._due, time.monotonic()) + (len(piece) / direction.rate if direction.rate else 0.0)
                self._buffer.append((self._due + direction.delay, piece))
        if ready[1]:
            at, data = self._buffer.popleft()
            limited = direction.then is not None and direction is not self._done
            sent = self._sink.send(data[: direction.after - self._link.passed[self._name]] if limited else data)
            self._link.passed[self._name] += sent
            if sent < len(data):
                self._buffer.appendleft((at, data[sent:]))

    def _discard(self, direction: Direction) -> None:
        """Read and discard everything, ends included, until the plan changes."""
        self._buffer.clear()
        while getattr(self._link.plan, self._name) is direction and self._link.ending is None:
            if self._ended and direction.then == "half":
                return
            if self._ended:
                time.sleep(TICK_SECONDS)
            elif select.select([self._source], [], [], TICK_SECONDS)[0]:
                try:
                    self._ended = not self._source.recv(BLOCK_BYTES)
                except OSError:
                    self._ended = True


class FaultProxy:
    """A listening socket in front of a loopback port, with two threads for each connection.

    plans   of the first connections; the last one also of all that follow
    links   all connections so far, in order
    """

    def __init__(self, port: int, *plans: Plan) -> None:
        self.plans = plans or (Plan(),)
        self.links: list[Link] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self._listener.settimeout(TICK_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._listen, name=f"proxy {self.port}", daemon=True)]
        self._threads[0].start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self.links)

    def change(self, up: Direction | None = None, down: Direction | None = None) -> None:
        """Use other directions from now on, on existing connections, too. Without arguments: no more faults."""
        plan = Plan(up or Direction(), down or Direction())
        self.plans = (plan,)
        for link in self.links:
            link.plan = plan

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closing.set()
        for link in self.links:
            link.ending = link.ending or "cut"
        for thread in self._threads:
            thread.join(5.0)

    def _listen(self) -> None:
        with self._listener:
            while not self._closing.is_set():
                try:
                    client, _ = self._listener.accept()
                except TimeoutError:
                    continue
                link = Link(self.plans[min(len(self.links), len(self.plans) - 1)], client)
                self.links.append(link)
                thread = threading.Thread(target=link.run, args=(self._target,), daemon=True)
                self._threads.append(thread)
                thread.start()
