"""A TCP proxy on loopback that does to connections what networks do to them, in front of any server.

    with FaultProxy(server.port, Plan(down=Way(after=500, then="reset")), Plan()) as proxy:
        ...                                    # a client goes to proxy.address; its second connection is left alone
        proxy.change(down=Way(then="hole"))    # from now on nothing comes back, on all connections
        proxy.change()                         # healed, and those that live go on

What happens behind `after` bytes of a way:

    cut        both ends get a FIN
    reset      both ends get a RST
    half       the end that was being sent to gets a FIN; the other way goes on
    hole       what comes is taken and thrown away, the end of it too: half open
    stall      nothing is taken any more, so that buffers fill; healed, all of it goes on its way
    garbage    other bytes are slipped in, once

It knows nothing of what passes: HTTP, WebSocket and TLS are all the same to it.
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

TICK = 0.02
"""Seconds after which a change is noticed."""

SETTLE = 0.05
"""Seconds for what was passed on to arrive before a reset, which would overtake it."""

BLOCK = 1 << 16
HELD = 1 << 18
"""Bytes that may be on their way: behind them the sender waits, as in front of a real bottleneck."""

Then = Literal["cut", "reset", "half", "hole", "stall", "garbage"]


@dataclass(frozen=True)
class Way:
    """What happens to the bytes of one direction.

    delay     seconds by which each of them is late
    rate      bytes a second, None: as many as come
    piece     bytes that are passed on at once; few of them, at a low rate, are a drip
    after     bytes of the connection that pass before `then` happens
    then      what happens, see above; None: nothing
    garbage   what is slipped in
    """

    delay: float = 0.0
    rate: float | None = None
    piece: int = BLOCK
    after: int = 0
    then: Then | None = None
    garbage: bytes = b"\x00\xff\x13garbage\r\n\r\n"


@dataclass(frozen=True)
class Plan:
    """Both ways of a connection: `up` from the client to the server, `down` back."""

    up: Way = Way()
    down: Way = Way()


class Link:
    """One connection. `plan` may be changed at any time; `passed` counts the bytes that were passed on, up and down."""

    def __init__(self, plan: Plan, client: socket.socket) -> None:
        self.plan, self.client, self.server = plan, client, socket.socket()
        self.passed = {"up": 0, "down": 0}
        self.ending: Then | None = None

    def run(self, port: int) -> None:
        """Until both ways have ended, or the link is cut or reset."""
        try:
            self.server.connect(("127.0.0.1", port))
            for end in (self.client, self.server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._carry, args=("down", self.server, self.client), daemon=True)
            back.start()
            self._carry("up", self.client, self.server)
            back.join()
        except OSError:  # there is no server: the client sees the connection end
            pass
        for end in (self.client, self.server):
            if self.ending == "reset":
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _carry(self, name: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            _Carrier(self, name, source, sink).run()
        except OSError:  # one end was reset, or is gone: the other learns it
            self.ending = self.ending or "reset"


class _Carrier:
    """One way of one link."""

    def __init__(self, link: Link, name: str, source: socket.socket, sink: socket.socket) -> None:
        self._link, self._name, self._source, self._sink = link, name, source, sink
        self._waiting: deque[tuple[float, bytes]] = deque()  # when it is due, and what
        self._due = 0.0
        self._ended = False
        self._done: Way | None = None

    def run(self) -> None:
        while self._link.ending is None:
            way: Way = getattr(self._link.plan, self._name)
            happens = way.then if self._link.passed[self._name] >= way.after and way is not self._done else None
            if happens in ("cut", "reset"):
                time.sleep(SETTLE)
                self._link.ending = happens
            elif happens == "garbage":
                self._waiting.appendleft((0.0, way.garbage))
                self._done = way
            elif happens in ("half", "hole"):
                if happens == "half":
                    self._sink.shutdown(socket.SHUT_WR)
                self._swallow(way)
                if happens == "half" and self._ended:
                    return
            elif happens == "stall":
                time.sleep(TICK)
            elif self._ended and not self._waiting:
                return self._sink.shutdown(socket.SHUT_WR)
            else:
                self._step(way)

    def _step(self, way: Way) -> None:
        """Take what has come, if there is room, and pass on what is due; wait a moment for either."""
        due = self._waiting[0][0] - time.monotonic() if self._waiting else TICK
        room = not self._ended and sum(len(data) for _, data in self._waiting) < HELD
        ready = select.select(
            [self._source] if room else [],
            [self._sink] if self._waiting and due <= 0 else [],
            [],
            min(due, TICK) if due > 0 else TICK,
        )
        if ready[0]:
            data = self._source.recv(BLOCK)
            self._ended = not data
            for start in range(0, len(data), way.piece):
                piece = data[start : start + way.piece]
                self._due = max(self._due, time.monotonic()) + (len(piece) / way.rate if way.rate else 0.0)
                self._waiting.append((self._due + way.delay, piece))
        if ready[1]:
            at, data = self._waiting.popleft()
            limited = way.then is not None and way is not self._done
            sent = self._sink.send(data[: way.after - self._link.passed[self._name]] if limited else data)
            self._link.passed[self._name] += sent
            if sent < len(data):
                self._waiting.appendleft((at, data[sent:]))

    def _swallow(self, way: Way) -> None:
        """As long as it lasts, what comes is gone, and so is whoever hangs up."""
        self._waiting.clear()
        while getattr(self._link.plan, self._name) is way and self._link.ending is None:
            if self._ended and way.then == "half":
                return
            if self._ended:
                time.sleep(TICK)
            elif select.select([self._source], [], [], TICK)[0]:
                try:
                    self._ended = not self._source.recv(BLOCK)
                except OSError:
                    self._ended = True


class FaultProxy:
    """A listening socket in front of a loopback port, with two threads for each connection.

    plans   of the first connections; the last one meets all that follow
    links   all connections that there were, in that order
    """

    def __init__(self, port: int, *plans: Plan) -> None:
        self.plans = plans or (Plan(),)
        self.links: list[Link] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self._listener.settimeout(TICK)
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

    def change(self, up: Way | None = None, down: Way | None = None) -> None:
        """From now on, on all connections, those to come included. Without anything: nothing happens any more."""
        plan = Plan(up or Way(), down or Way())
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
