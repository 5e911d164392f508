"""`cartesia-cli serve` under attack: it answers other clients, stays within its memory, and ends on Ctrl-C."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import cartesia_cli

from .memory import peak_so_far, reset_peak

SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"
VERSION = {"Cartesia-Version": "2026-03-01"}
MANUAL = "/stt/websocket?model=ink-2&encoding=pcm_s16le&sample_rate=16000"
SOON = 120.0 if "coverage" in sys.modules else 30.0
MIB = 1 << 20
GROWTH_KIB = 200 << 10


@dataclass(frozen=True)
class Served:
    """A running `cartesia-cli serve`."""

    process: subprocess.Popen[bytes]
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SOON)

    def ask(self, head: str, *headers: str, body: bytes = b"") -> socket.socket:
        """A connection on which a request was sent."""
        connection = self.connect()
        lines = [f"{head} HTTP/1.1", "Host: localhost", "Cartesia-Version: 2026-03-01", *headers]
        with suppress(OSError):  # refused in the middle of it: the answer tells why
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return connection

    def open_websocket(self, path: str = MANUAL) -> tuple[int, socket.socket]:
        """Status of the handshake, and the connection."""
        connection = self.ask(f"GET {path}", *UPGRADE)
        return status(connection), connection

    def transcript(self) -> str:
        """What a well-behaved client gets."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=2 * SOON) as client:
            files = {"file": SAMPLE.read_bytes()[: 3 * 32_000]}  # three seconds are enough
            answer = client.post("/stt", data={"model": "ink-whisper"}, files=files, headers=VERSION)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["text"])

    def is_answering(self) -> bool:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=SOON) as client:
            return client.get("/").json()["ok"] is True


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


def status(connection: socket.socket) -> int:
    """Of the answer that comes next; 0 where none does."""
    head = b""
    with suppress(ConnectionError):
        while b"\r\n\r\n" not in head and (data := connection.recv(1)):
            head += data
    return int(head.split()[1]) if head else 0


def frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame of RFC 6455 from a client, masked with zeros."""
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack(">H", size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + bytes(4) + data


@contextmanager
def served(environment: dict[str, str], *options: str) -> Iterator[Served]:
    """The installed program; after the block, Ctrl-C has to end it, whatever is open."""
    command = [sys.executable, "-m", "cartesia_cli", "serve", "--port", "0", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            said = process.stdout.readline().decode()
            assert said.startswith("export CARTESIA_BASE_URL=http://127.0.0.1:"), process.stderr.read().decode()
            yield Served(process, int(said.strip().rpartition(":")[2]))
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=SOON)
            assert process.returncode == 0
            assert len(stderr.splitlines()) == 1, stderr  # who answers, and where
        finally:
            process.kill()


# Each leaves its connections open for as long as the stack is.


def half_sent_heads(server: Served, stack: ExitStack) -> None:
    for _ in range(300):
        stack.enter_context(server.connect()).sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX")


def trickling_bodies(server: Served, stack: ExitStack) -> None:
    headers = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {MIB}")
    connections = [stack.enter_context(server.ask("POST /stt", *headers, body=b"--x\r\n")) for _ in range(80)]
    over = threading.Event()
    stack.callback(over.set)

    def trickle() -> None:
        while not over.wait(0.5):
            for connection in connections:
                with suppress(OSError):
                    connection.send(b"x")

    threading.Thread(target=trickle, daemon=True).start()


def many_large_fields(server: Served, stack: ExitStack) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="%d"\r\n\r\n' + b"x" * (MIB - 100) + b"\r\n"
    body = b"".join(part % n for n in range(40)) + b"--x--\r\n"
    headers = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}")
    for _ in range(4):
        assert status(stack.enter_context(server.ask("POST /stt", *headers, body=body))) in (0, 400)


def many_files(server: Served, stack: ExitStack) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n\r\n' + b"x" * (MIB - 100) + b"\r\n"
    body = b"".join(part % n for n in range(40)) + b"--x--\r\n"
    headers = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}")
    for _ in range(4):
        assert status(stack.enter_context(server.ask("POST /stt", *headers, body=body))) in (0, 400)


def flood(connection: socket.socket, data: bytes, size: int) -> None:
    """Send it again and again, so many bytes in all, or until the other end takes no more for a while."""
    connection.settimeout(0.5)
    with suppress(OSError):
        for _ in range(size // len(data)):
            connection.sendall(data)


def pings_whose_pongs_are_not_read(server: Served, stack: ExitStack) -> None:
    handshake, connection = server.open_websocket()
    stack.enter_context(connection)
    assert handshake == 101
    flood(connection, frame(9, b"x" * 125) * 500, 50 * MIB)


def fragments_of_nothing(server: Served, stack: ExitStack) -> None:
    handshake, connection = server.open_websocket()
    stack.enter_context(connection)
    assert handshake == 101
    connection.sendall(frame(2, b"xx", fin=False))
    flood(connection, frame(0, fin=False) * 5000, 2 * MIB)


def large_messages_at_a_low_rate(server: Served, stack: ExitStack) -> None:
    query = MANUAL.replace("pcm_s16le", "pcm_alaw").replace("16000", "1000")
    for _ in range(2):
        handshake, connection = server.open_websocket(query)
        stack.enter_context(connection)
        assert handshake == 101
        flood(connection, frame(2, bytes(60_000), fin=False) + 30 * frame(0, bytes(60_000), fin=False), 2 * MIB)
        flood(connection, frame(0), 6)


def requests_whose_answers_are_not_read(server: Served, stack: ExitStack) -> None:
    for _ in range(3):
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        flood(stack.enter_context(server.connect()), request * 1000, 4 * MIB)


def chunks_of_one_byte(server: Served, stack: ExitStack) -> None:
    headers = ("Content-Type: multipart/form-data; boundary=x", "Transfer-Encoding: chunked")
    for _ in range(8):
        connection = stack.enter_context(server.ask("POST /stt", *headers))
        thread = threading.Thread(target=flood, args=(connection, b"1\r\nx\r\n" * 20_000, 2 * MIB), daemon=True)
        thread.start()
        stack.callback(thread.join)


def absurd_parameters(server: Served, stack: ExitStack) -> None:
    for rate in ("000100000000000000", "0016000999", "9" * 4400):
        handshake, connection = server.open_websocket(MANUAL.replace("16000", rate))
        stack.enter_context(connection)
        assert handshake == 400


def broken_requests(server: Served, stack: ExitStack) -> None:
    form = "Content-Type: multipart/form-data; boundary=x"
    for body in (b"--x\r\n\xd1: \r\n", b"--x\ra", b"--xa\r\n", b"--x\r\nA: b\r\n\xc1"):
        headers = (form, f"Content-Length: {len(body)}")
        assert status(stack.enter_context(server.ask("POST /stt", *headers, body=body))) == 400
    for head in ("GET", "GET / HTTP/9", "\x1b[2J"):
        assert status(stack.enter_context(server.ask(head))) == 400


HOSTILE: list[Callable[[Served, ExitStack], None]] = [
    absurd_parameters,
    broken_requests,
    half_sent_heads,
    trickling_bodies,
    many_large_fields,
    many_files,
    pings_whose_pongs_are_not_read,
    fragments_of_nothing,
    large_messages_at_a_low_rate,
    requests_whose_answers_are_not_read,
    chunks_of_one_byte,
]


@pytest.mark.waits
def test_server_survives_hostile_clients_with_bounded_memory_and_exits(environment: dict[str, str]) -> None:
    with ExitStack() as stack, served(environment) as server:
        text = server.transcript()
        before = reset_peak(server.process.pid)
        for attack in HOSTILE:
            attack(server, stack)
            assert server.is_answering(), attack.__name__
            grown = peak_so_far(server.process.pid) - before
            assert grown < GROWTH_KIB, attack.__name__
        assert server.transcript() == text
        assert peak_so_far(server.process.pid) - before < GROWTH_KIB
