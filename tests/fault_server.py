"""An HTTP/1.1 server that misbehaves on purpose, written on plain sockets and independent of the package's own code.

    with FaultServer(refuses(503), "fine") as server:    # the first connection is refused, the others are served
        ...                                              # a client connects to server.base_url
        server.requests[0].parts                         # what was received, parsed

Each connection gets the behaviour of its number; the last behaviour is also that of all that follow. A behaviour is a
name in BEHAVIOURS, or a function that gets the Exchange. Everything that waits here stops waiting when the server is
closed or the client has gone, so that no test is held up by what another leaves behind.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl

TEXT = "The quick brown fox."
REQUEST_ID = "2ff8af53-4d38-479d-8287-58940f01c701"
TRANSCRIPT = {
    "type": "transcript",
    "request_id": REQUEST_ID,
    "text": TEXT,
    "language": "en",
    "duration": 1.9,
    "words": [
        {"word": "The", "start": 0.0, "end": 0.2},
        {"word": "quick", "start": 0.2, "end": 0.6},
        {"word": "brown", "start": 0.6, "end": 1.1},
        {"word": "fox.", "start": 1.1, "end": 1.8},
    ],
}
"""The documented response."""

KEY = "sk_car_test_5up3r53cr3t"

MAX_HEAD_BYTES = 64 << 10
SOON = 20.0
"""Longest time in seconds that a test waits for something that must happen, however busy the machine."""

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """One part of a form.

    filename   as it is between its quotes, undecoded; None for a field
    """

    name: str
    filename: bytes | None
    headers: dict[str, str]
    content: bytes


@dataclass
class Request:
    """What one connection sent.

    number    of the connection, from 0
    whole     whether the whole body was received
    gone      set when the client has hung up
    """

    number: int
    method: str = ""
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True, strict_parsing="?" in self.target)

    def header(self, name: str) -> str | None:
        """The value of a header, None without it. It must not be there twice."""
        return only(name, [value for found, value in self.headers if found.lower() == name.lower()])

    @property
    def parts(self) -> list[Part]:
        return parse_form(self.header("Content-Type") or "", bytes(self.body))

    def part(self, name: str) -> Part:
        (only,) = (part for part in self.parts if part.name == name)
        return only


def only(name: str, values: list[str]) -> str | None:
    """The only value of a header or a parameter, None without it."""
    assert len(values) < 2, f"{name} was sent {len(values)} times"
    return values[0] if values else None


def read_head(connection: socket.socket) -> tuple[str, list[tuple[str, str]], bytes]:
    """Read the head of a request: its first line, its headers, and what has come after them."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(8192)
        if not block or len(data) > MAX_HEAD_BYTES:
            raise ConnectionError("no request")
        data += block
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines]
    return first, [(name, value.strip()) for name, _, value in fields], rest


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """A multipart/form-data body (RFC 7578, 2046 5.1.1) parsed strictly: AssertionError where it is not one."""
    found = re.fullmatch(r"multipart/form-data; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})", content_type)
    assert found, f"not a form: {content_type!r}"
    line = b"--" + found[1].encode()
    assert body.startswith(line + b"\r\n"), "no boundary at the start"
    assert body.endswith(b"\r\n" + line + b"--\r\n"), "no boundary at the end"
    inside = body[len(line) : -len(line) - 6]
    return [_parse_part(piece) for piece in inside.split(b"\r\n" + line)]


def _parse_part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    assert separator, f"a part without an end of its headers: {piece[:80]!r}"
    blank, *lines = head.split(b"\r\n")
    assert not blank, f"more than a boundary on its line: {blank[:80]!r}"
    headers = {}
    disposition = b""
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon, f"not a header: {line!r}"
        if name.lower() == b"content-disposition":
            disposition = value
        else:
            headers[name.decode("ascii").lower()] = value.decode("ascii")
    named = re.fullmatch(rb'form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)")?', disposition)
    assert named, f"not the disposition of a part: {disposition!r}"
    return Part(named[1].decode(), named[2], headers, content)


class Exchange:
    """One connection, and what a behaviour can do with it. Raises OSError where the client has gone."""

    def __init__(self, server: FaultServer, connection: socket.socket, number: int) -> None:
        self.server = server
        self.connection = connection
        self.got = Request(number)
        self._buffer = b""

    def head(self) -> Request:
        """Read the request line and the headers; from then on the request counts as received."""
        first, self.got.headers, self._buffer = read_head(self.connection)
        self.got.method, self.got.target, _ = first.split(" ")
        self.server.received(self.got)
        return self.got

    def body(self, limit: int | None = None) -> Request:
        """Read the body up to `limit` bytes, or up to its end."""
        announced = int(self.got.header("Content-Length") or 0)
        wanted = announced if limit is None else min(limit, announced)
        self.got.body += self._buffer
        self._buffer = b""
        while len(self.got.body) < wanted:
            block = self.connection.recv(min(1 << 18, wanted - len(self.got.body)))
            if not block:
                self.got.gone.set()
                raise ConnectionError("the client hung up")
            self.got.body += block
        self.got.whole = len(self.got.body) == announced
        self.server.noticed()
        return self.got

    def request(self) -> Request:
        self.head()
        return self.body()

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, status: int, body: bytes | str = b"", headers: Headers = (), *, length: int | None = None) -> None:
        """Send a whole response; `length`: another Content-Length than its own."""
        data = body.encode() if isinstance(body, str) else body
        self.send(head(status, [("Content-Length", str(len(data) if length is None else length)), *headers]) + data)

    def drip(self, data: bytes, pause: float = 0.2) -> None:
        """Send one byte at a time."""
        for i in range(len(data)):
            self.send(data[i : i + 1])
            self.pause(pause)

    def pause(self, seconds: float) -> None:
        if self.server.closing.wait(seconds):
            raise ConnectionError("the server is closed")

    def hold(self) -> None:
        """Send and read nothing more, until the client has hung up or the server is closed.

        What the client still sends stays in the buffers: only a reset, or an end with nothing before it, is noticed.
        """
        raw = self.connection
        raw.settimeout(0.1)
        while not self.server.closing.is_set():
            try:
                if not raw.recv(1, 0 if isinstance(raw, ssl.SSLSocket) else socket.MSG_PEEK):
                    break
                self.pause(0.1)
            except TimeoutError:
                continue
            except OSError:
                break
        self.got.gone.set()

    def reset(self) -> None:
        """End the connection with a RST instead of a FIN; what was sent and not yet read is lost."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Behaviour = Callable[[Exchange], None]


def write_wav(path: Path, size: int = 3244) -> Path:
    """Write a recording of silence of `size` bytes in all, as a sparse file."""
    form = (b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", size - 44)
    path.write_bytes(struct.pack("<4sI4s4sIHHIIHH4sI", *form))
    os.truncate(path, size)
    return path


def environment(home: Path, base_url: str, **changes: str | None) -> dict[str, str]:
    """The environment of a user with a key, without anything of the tests' own: no proxies, no other settings."""
    plain: dict[str, str | None] = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "LANG": "C.UTF-8",
        "CARTESIA_API_KEY": KEY,
        "CARTESIA_BASE_URL": base_url,
        "CARTESIA_TRANSCRIBE_JOBS": "1",  # so that requests come in the order of the inputs
    }
    return {name: value for name, value in (plain | changes).items() if value is not None}


def head(status: int, headers: Headers = ()) -> bytes:
    """A status line and headers, JSON unless they say otherwise."""
    lines = [f"HTTP/1.1 {status} Something", "Connection: close"]
    if not any(name.lower() == "content-type" for name, _ in headers):
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answers(body: bytes | str | object, headers: Headers = (), status: int = 200) -> Behaviour:
    """Read the whole request, then answer; a body that is not a text becomes JSON."""
    data = body if isinstance(body, bytes | str) else json.dumps(body)

    def behave(exchange: Exchange) -> None:
        exchange.request()
        exchange.answer(status, data, headers)

    return behave


def refusal(status: int, **changes: object) -> dict[str, object]:
    """The documented body of an error."""
    plain: dict[str, object] = {
        "error_code": None,
        "title": f"Title {status}",
        "message": f"Message {status}.",
        "request_id": REQUEST_ID,
    }
    return plain | changes


def refuses(status: int, headers: Headers = (), **changes: object) -> Behaviour:
    """Read the whole request, then refuse it in the documented way."""
    return answers(refusal(status, **changes), headers, status)


def fine(exchange: Exchange) -> None:
    exchange.request()
    exchange.answer(200, json.dumps(TRANSCRIPT))


def names_the_file(exchange: Exchange) -> None:
    """A transcript with the name of the file."""
    name = exchange.request().part("file").filename or b""
    exchange.answer(200, json.dumps({"text": f"words of {name.decode()}", "duration": 1.0}))


def accepts_and_closes(exchange: Exchange) -> None:
    exchange.connection.close()


def resets_before_reading(exchange: Exchange) -> None:
    # Not before the first bytes are there: a client may see an earlier reset as a connection that was never made.
    exchange.connection.recv(1, socket.MSG_PEEK)
    exchange.reset()


def resets_during_upload(exchange: Exchange) -> None:
    exchange.head()
    exchange.body(200_000)
    exchange.reset()


def closes_during_upload(exchange: Exchange) -> None:
    exchange.head()
    exchange.body(200_000)


def closes_after_upload(exchange: Exchange) -> None:
    exchange.request()


def resets_after_upload(exchange: Exchange) -> None:
    exchange.request()
    exchange.reset()


def resets_during_answer(exchange: Exchange) -> None:
    exchange.request()
    data = json.dumps(TRANSCRIPT)
    exchange.answer(200, data[: len(data) // 2], length=len(data))
    exchange.pause(0.2)  # so that what was sent is there to be read before the reset
    exchange.reset()


def closes_during_answer(exchange: Exchange) -> None:
    """Content-Length announces more than is sent."""
    exchange.request()
    data = json.dumps(TRANSCRIPT)
    exchange.answer(200, data[:-10], length=len(data))


def closes_behind_a_transcript(exchange: Exchange) -> None:
    """What is sent is valid JSON, but less than was announced."""
    exchange.request()
    data = json.dumps(TRANSCRIPT)
    exchange.answer(200, data, length=len(data) + 500)


def never_answers(exchange: Exchange) -> None:
    exchange.request()
    exchange.hold()


def stops_reading(exchange: Exchange) -> None:
    exchange.head()
    exchange.body(50_000)
    exchange.hold()


def reads_slowly(exchange: Exchange) -> None:
    """Read 3 MB a second at most: an upload that makes progress, slowly."""
    exchange.head()
    for got in range(65536, 1 << 40, 65536):
        exchange.body(got)
        exchange.pause(0.02)
        if exchange.got.whole:
            break
    exchange.answer(200, json.dumps(TRANSCRIPT))


def drips_headers(exchange: Exchange) -> None:
    exchange.request()
    exchange.drip(head(200, [("X-Padding", "x" * 200)]))


def drips_body(exchange: Exchange) -> None:
    exchange.request()
    data = json.dumps(TRANSCRIPT).encode()
    exchange.send(head(200, [("Content-Length", str(len(data)))]))
    exchange.drip(data)


def breaks_chunks(exchange: Exchange) -> None:
    exchange.request()
    data = json.dumps(TRANSCRIPT).encode()
    exchange.send(head(200, [("Transfer-Encoding", "chunked")]) + b"%x\r\n" % len(data) + data + b"\r\nnot a size\r\n")


def ends_inside_a_chunk(exchange: Exchange) -> None:
    exchange.request()
    data = json.dumps(TRANSCRIPT).encode()
    exchange.send(head(200, [("Transfer-Encoding", "chunked")]) + b"%x\r\n" % (len(data) + 99) + data)


def sends_chunks(exchange: Exchange) -> None:
    """A valid response in chunks."""
    exchange.request()
    exchange.send(head(200, [("Transfer-Encoding", "chunked")]))
    for byte in json.dumps(TRANSCRIPT).encode():
        exchange.send(b"1\r\n%c\r\n" % byte)
    exchange.send(b"0\r\n\r\n")


def closes_to_end_the_body(exchange: Exchange) -> None:
    """A valid response without a length, as in HTTP/1.0."""
    exchange.request()
    exchange.send(head(200) + json.dumps(TRANSCRIPT).encode())


def speaks_no_http(exchange: Exchange) -> None:
    exchange.request()
    exchange.send(b"220 mail.example ESMTP\r\n")


def breaks_headers(exchange: Exchange) -> None:
    exchange.request()
    exchange.send(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n")


def continues_noisily(exchange: Exchange) -> None:
    """Interim responses (RFC 9110 15.2) before the upload and after it."""
    exchange.head()
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
    exchange.body()
    exchange.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    exchange.answer(200, json.dumps(TRANSCRIPT))


def endless(exchange: Exchange) -> None:
    """Zeros for as long as the client reads; half a GiB at most."""
    exchange.request()
    exchange.send(head(200, [("Content-Length", str(512 << 20))]))
    block = bytes(1 << 20)
    for _ in range(512):
        exchange.send(block)


def bomb(exchange: Exchange) -> None:
    """A small response that is compressed twice and expands to 400 MiB."""
    exchange.request()
    exchange.answer(200, gzip.compress(_packed_zeros()), [("Content-Encoding", "gzip, gzip")])


def _packed_zeros() -> bytes:
    """400 MiB of zeros as one gzip stream without its end: one MiB is compressed, and the result repeated."""
    packer = zlib.compressobj(wbits=31)
    first, other = (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + other * 399


def early(status: int, *, drained: bool) -> Behaviour:
    """Refuse when the upload has just begun. `drained`: still read the rest, as careful servers do."""

    def behave(exchange: Exchange) -> None:
        exchange.head()
        exchange.body(65536)
        exchange.answer(status, json.dumps(refusal(status)))
        if drained:
            exchange.body()

    return behave


def early_transcript(exchange: Exchange) -> None:
    """A transcript of a recording most of which was never read."""
    exchange.head()
    exchange.body(65536)
    exchange.answer(200, json.dumps(TRANSCRIPT))


def tunnels(context: ssl.SSLContext) -> Behaviour:
    """A proxy that accepts CONNECT, and also the origin inside the tunnel."""

    def behave(exchange: Exchange) -> None:
        exchange.head()
        exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inside = context.wrap_socket(exchange.connection, server_side=True)
        origin = Exchange(exchange.server, inside, exchange.got.number)
        try:
            fine(origin)
        finally:
            inside.close()

    return behave


BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.__name__: behaviour
    for behaviour in (
        fine, names_the_file, sends_chunks, closes_to_end_the_body, continues_noisily,
        accepts_and_closes, resets_before_reading, resets_during_upload, closes_during_upload,
        closes_after_upload, resets_after_upload, resets_during_answer, closes_during_answer,
        closes_behind_a_transcript, never_answers, stops_reading, reads_slowly, drips_headers, drips_body,
        breaks_headers, breaks_chunks, ends_inside_a_chunk, speaks_no_http, endless, bomb, early_transcript,
    )
}  # fmt: skip


class FaultServer:
    """A listening socket with a thread for each connection.

    connections   how many there were
    requests      those whose whole head was received, in order
    faults        errors in a behaviour itself: a test's own mistakes
    """

    def __init__(self, *script: str | Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.script = [BEHAVIOURS[step] if isinstance(step, str) else step for step in script]
        self.tls = tls
        self.connections = 0
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, name=f"faults {self.port}", daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{'localhost' if self.tls else '127.0.0.1'}:{self.port}"

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()  # wakes `_listen`
        except OSError:
            return

    def received(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def noticed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait(self, until: Callable[[FaultServer], object]) -> None:
        """Wait until something is true. Raises AssertionError if it doesn't become true."""
        ends = time.monotonic() + SOON
        while not until(self):
            with self._changed:
                self._changed.wait(0.05)
            assert time.monotonic() < ends, "waited in vain"

    def _listen(self) -> None:
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                if self.closing.is_set():
                    connection.close()
                    return
                number, self.connections = self.connections, self.connections + 1
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(3 * SOON)
        exchange = Exchange(self, connection, number)
        try:
            with connection:
                if self.tls is not None:
                    exchange.connection = self.tls.wrap_socket(connection, server_side=True)
                with exchange.connection:
                    self.script[min(number, len(self.script) - 1)](exchange)
        except OSError:  # the client has gone, as it may
            exchange.got.gone.set()
        except BaseException as error:
            self.faults.append(error)
        finally:
            self.noticed()
