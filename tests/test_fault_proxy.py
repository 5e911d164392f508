"""The fault proxy: each fault as both ends see it; without a fault it changes nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .fault_proxy import Direction, FaultProxy, Plan
from .fault_server import FaultServer, environment, write_wav
from .realtime_server import RealtimeServer, manual
from .test_client_faults import run as transcribe

SOON = 20.0
"""Seconds that what is bound to come may take, however busy the machine."""

A_WHILE = 0.3
"""Seconds in which nothing comes that would come at once."""


class Peer:
    """A server that sends what a test asks for, and keeps what it receives.

    got     all bytes of its connections, joined
    ended   how the last one ended: "FIN" or "RST"
    """

    def __init__(self, *, greeting: bytes = b"", echoes: bool = True) -> None:
        self.got = bytearray()
        self.ended = ""
        self.connections: list[socket.socket] = []
        self._greeting, self._echoes = greeting, echoes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.sendall(self._greeting)
            while data := connection.recv(1 << 16):
                self.got += data
                if self._echoes:
                    connection.sendall(data)
            self.ended = "FIN"
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = "RST"

    def wait(self, ended: str) -> None:
        until(lambda: self.ended == ended)


def until(so: Callable[[], object]) -> None:
    """Until something is so. Raises AssertionError if it doesn't become so."""
    ends = time.monotonic() + SOON
    while not so():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def peer() -> Iterator[Peer]:
    it = Peer()
    yield it
    it.close()


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=SOON)


def everything(end: socket.socket) -> bytes:
    """All that comes, up to the FIN. Raises ConnectionResetError where there is none."""
    got = bytearray()
    while data := end.recv(1 << 16):
        got += data
    return bytes(got)


def exactly(end: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count and (data := end.recv(count - len(got))):
        got += data
    return bytes(got)


def comes_nothing(end: socket.socket) -> bool:
    """Neither bytes nor an end of the connection."""
    end.settimeout(A_WHILE)
    try:
        end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(SOON)
    return False


DATA = bytes(range(256)) * 4096
"""One MiB."""


def test_proxy_without_faults_passes_data_and_ends(peer: Peer) -> None:
    with FaultProxy(peer.port) as proxy, connect(proxy) as client:

        def speak() -> None:
            client.sendall(DATA)
            client.shutdown(socket.SHUT_WR)

        threading.Thread(target=speak, daemon=True).start()
        assert everything(client) == DATA
        assert bytes(peer.got) == DATA
        peer.wait("FIN")
        assert proxy.links[0].passed == {"up": len(DATA), "down": len(DATA)}


def test_reset_is_passed_on(peer: Peer) -> None:
    with FaultProxy(peer.port) as proxy:
        client = connect(proxy)
        client.sendall(b"x")
        assert exactly(client, 1) == b"x"
        proxy.links[0].ending = "reset"
        with pytest.raises(ConnectionResetError):
            everything(client)
        peer.wait("RST")


def test_unreachable_server_closes_the_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with FaultProxy(taken.getsockname()[1]) as proxy, connect(proxy) as client:
            assert everything(client) == b""


@pytest.mark.parametrize(("way", "seconds"), [("up", 0.2), ("down", 0.2)])
def test_delay_does_not_limit_the_rate(peer: Peer, way: str, seconds: float) -> None:
    """A hundred bytes one after the other are together no later than one of them."""
    with FaultProxy(peer.port, Plan(**{way: Direction(delay=seconds)})) as proxy, connect(proxy) as client:
        began = time.monotonic()
        for number in range(100):
            client.sendall(bytes([number]))
            time.sleep(0.001)
        sent = time.monotonic()
        assert exactly(client, 1) == b"\x00"
        assert time.monotonic() - began >= seconds
        assert exactly(client, 99) == bytes(range(1, 100))
        assert time.monotonic() - sent < 100 * seconds


def test_rate_is_not_exceeded(peer: Peer) -> None:
    with FaultProxy(peer.port, Plan(down=Direction(rate=100_000, piece=1000))) as proxy, connect(proxy) as client:
        began = time.monotonic()
        client.sendall(DATA[:50_000])
        assert exactly(client, 50_000) == DATA[:50_000]
        assert time.monotonic() - began >= 0.5


def test_drip_passes_byte_by_byte(peer: Peer) -> None:
    with FaultProxy(peer.port, Plan(down=Direction(rate=40, piece=1))) as proxy, connect(proxy) as client:
        began = time.monotonic()
        client.sendall(b"drip drip drip")
        first = client.recv(100)
        assert len(first) < 14
        assert first + exactly(client, 14 - len(first)) == b"drip drip drip"
        assert time.monotonic() - began >= 14 / 40


def test_slow_link_blocks_the_sender(peer: Peer) -> None:
    with FaultProxy(peer.port, Plan(up=Direction(rate=1000, piece=100))) as proxy, connect(proxy) as client:
        client.settimeout(A_WHILE)
        with pytest.raises(TimeoutError):
            client.sendall(DATA * 64)


@pytest.mark.parametrize("after", [0, 1, 1000, 100_000])
def test_cut_after_n_bytes_at_both_ends(peer: Peer, after: int) -> None:
    with FaultProxy(peer.port, Plan(down=Direction(after=after, then="cut"))) as proxy, connect(proxy) as client:
        with suppress(OSError):
            client.sendall(DATA[:200_000])
        got = bytearray()
        with suppress(ConnectionResetError):  # where we had sent more than was read
            while data := client.recv(1 << 16):
                got += data
        assert bytes(got) == DATA[:after]
        until(lambda: peer.ended)


def test_cut_is_a_fin() -> None:
    peer = Peer(greeting=b"Hello, world!", echoes=False)
    with FaultProxy(peer.port, Plan(down=Direction(after=5, then="cut"))) as proxy, connect(proxy) as client:
        assert everything(client) == b"Hello"
        peer.wait("FIN")
    peer.close()


@pytest.mark.parametrize("after", [1, 1000])
def test_reset_is_a_rst_at_both_ends_after_all_data(peer: Peer, after: int) -> None:
    with FaultProxy(peer.port, Plan(down=Direction(after=after, then="reset"))) as proxy, connect(proxy) as client:
        client.sendall(DATA[:5000])
        assert exactly(client, after) == DATA[:after]
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        peer.wait("RST")


def test_half_close_keeps_the_other_direction() -> None:
    peer = Peer(greeting=b"Hello, world!", echoes=False)
    with FaultProxy(peer.port, Plan(down=Direction(after=5, then="half"))) as proxy, connect(proxy) as client:
        assert everything(client) == b"Hello"
        client.sendall(DATA)
        until(lambda: len(peer.got) == len(DATA))
        assert bytes(peer.got) == DATA
        client.shutdown(socket.SHUT_WR)
        peer.wait("FIN")
    peer.close()


def test_hole_swallows_everything(peer: Peer) -> None:
    with FaultProxy(peer.port, Plan(Direction(then="hole"), Direction(then="hole"))) as proxy, connect(proxy) as client:
        client.sendall(DATA * 16)
        assert comes_nothing(client)
        client.shutdown(socket.SHUT_WR)
        assert comes_nothing(client)
        assert (bytes(peer.got), peer.ended) == (b"", "")


def test_hole_hides_the_end_of_the_other_side(peer: Peer) -> None:
    with FaultProxy(peer.port, Plan(Direction(after=10, then="hole"), Direction(after=10, then="hole"))) as proxy:
        client = connect(proxy)
        client.sendall(DATA)
        assert exactly(client, 10) == DATA[:10]
        assert comes_nothing(client)
        client.close()
        time.sleep(A_WHILE)
        assert (bytes(peer.got), peer.ended) == (DATA[:10], "")


def test_stall_fills_the_buffers_and_loses_nothing() -> None:
    peer = Peer(echoes=False)
    with FaultProxy(peer.port, Plan(up=Direction(after=10, then="stall"))) as proxy, connect(proxy) as client:
        client.settimeout(A_WHILE)
        sent = 0
        with suppress(TimeoutError):
            while True:
                sent += client.send(DATA)
                assert sent < 256 << 20
        assert bytes(peer.got) == DATA[:10]
        proxy.change()
        until(lambda: len(peer.got) == sent)
    peer.close()


def test_garbage_is_inserted_once(peer: Peer) -> None:
    way = Direction(after=100, then="garbage", garbage=b"<!>")
    with FaultProxy(peer.port, Plan(down=way)) as proxy, connect(proxy) as client:
        for _ in range(3):
            client.sendall(DATA[:200])
        assert exactly(client, 603) == DATA[:100] + b"<!>" + DATA[100:200] + DATA[:200] * 2


def test_each_connection_has_its_plan_and_the_last_repeats(peer: Peer) -> None:
    cut = Plan(down=Direction(then="cut"))
    with FaultProxy(peer.port, cut, Plan(), cut) as proxy:
        for expected in (b"", b"x", b"", b""):
            with connect(proxy) as client:
                with suppress(OSError):
                    client.sendall(b"x")
                    client.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):
                    assert everything(client) == expected
        assert proxy.connections == 4


def test_connection_can_be_broken_and_healed(peer: Peer) -> None:
    with FaultProxy(peer.port) as proxy, connect(proxy) as client:
        client.sendall(b"one")
        assert exactly(client, 3) == b"one"
        proxy.change(up=Direction(then="hole"))
        time.sleep(A_WHILE)  # it is noticed
        client.sendall(b"two")
        assert comes_nothing(client)
        proxy.change(up=Direction(then="stall"))
        time.sleep(A_WHILE)
        client.sendall(b"three")
        assert comes_nothing(client)
        proxy.change()
        assert exactly(client, 5) == b"three"
        proxy.change(down=Direction(then="cut"))
        assert everything(client) == b""
        with connect(proxy) as other:
            assert everything(other) == b""
        assert proxy.connections == 2


def test_exit_closes_all_connections(peer: Peer) -> None:
    with FaultProxy(peer.port, Plan(Direction(then="hole"), Direction(then="stall"))) as proxy:
        client = connect(proxy)
        client.sendall(b"x")
        time.sleep(A_WHILE)
    with client, suppress(ConnectionResetError):
        assert everything(client) == b""
    until(lambda: peer.ended)


# In front of servers.


def test_uploads_and_sessions_pass_through_the_proxy(tmp_path: Path) -> None:
    import subprocess
    import sys

    wav = write_wav(tmp_path / "talk.wav", 5 << 20)
    with FaultServer("fine") as server, FaultProxy(server.port) as proxy:
        transcribe(tmp_path, proxy.base_url).succeeded()
        assert server.requests[0].part("file").content == wav.read_bytes()
    wav = write_wav(tmp_path / "talk.wav", 32044)
    with RealtimeServer(manual()) as realtime, FaultProxy(realtime.port) as proxy:
        command = [sys.executable, "-m", "cartesia_cli", "stream-file", str(wav), "--mode", "manual", "-q"]
        ended = subprocess.run(
            command, env=environment(tmp_path, proxy.base_url), capture_output=True, timeout=60, check=True
        )
        assert "Größe" in ended.stdout.decode()
        assert realtime.records[0].seconds == 1.0
        assert proxy.connections == 1
