"""A realtime server that runs a script: RFC 6455 on plain sockets, independent of the package's own code.

    def script(connection: ServerConnection) -> None:
        connection.admit()                          # the handshake, as Cartesia checks it
        connection.until_audio(1.0)                 # seconds, by the encoding and rate of the query
        connection.say(transcript("Hello wor"))
        connection.until_command("finalize")
        connection.say(transcript("ld."))
        connection.say(flush_done())
        connection.drop()                           # the connection ends without a close frame

    with RealtimeServer(script, manual()) as server:    # the first connection runs `script`, all others `manual`
        ...                                             # a client connects to server.base_url
    server.records[0].commands                          # what was received, frame by frame

Each connection has a thread for its script and another one that reads, so that pings and close frames are answered and
frames have the time of their arrival, whatever the script waits for. Nothing waits forever: a script that waits in
vain, a client that violates the RFC, and an unknown command are `faults`, and the first of them is raised at the end of
the block.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from urllib.parse import parse_qsl

from .fault_server import REQUEST_ID, SOON, Headers, head, only, read_head, refusal

MANUAL = "/stt/websocket"
TURNS = "/stt/turns/websocket"
WIDTHS = {"pcm_s16le": 2, "pcm_s32le": 4, "pcm_f16le": 2, "pcm_f32le": 4, "pcm_mulaw": 1, "pcm_alaw": 1}
"""Encoding to bytes a sample."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
MAX_FRAME_BYTES = 16 << 20
MAX_CALL_SECONDS = 6 * SOON
"""Time after which a connection is ended, whatever its script and its client wait for."""
TICK_SECONDS = 0.02

Event = dict[str, object]


class Breach(AssertionError):
    """The client violated RFC 6455."""


@dataclass(frozen=True)
class Frame:
    """One frame of the client.

    at        when its last byte was read, seconds of the monotonic clock
    mask      the four bytes; None where the client sent it unmasked
    payload   unmasked
    """

    at: float
    opcode: int
    fin: bool
    mask: bytes | None
    payload: bytes


@dataclass
class ConnectionRecord:
    """What one connection sent.

    number     of the connection, from 0
    began      when its handshake had been read, seconds of the monotonic clock
    frames     all of them, in order
    texts      text messages, whole
    commands   what they mean to the endpoint: finalize, close, done; close, config
    audio      the payloads of all binary messages, joined
    closed     code and reason of the client's close frame; code 1005 where it named none
    gone       set when the client has hung up
    """

    number: int
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    began: float = 0.0
    frames: list[Frame] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    closed: tuple[int, str] | None = None
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query_string(self) -> str:
        return self.target.partition("?")[2]

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query_string, keep_blank_values=True, strict_parsing=bool(self.query_string))

    def parameter(self, name: str) -> str | None:
        """The value of a query parameter, None without it. It must not be there twice."""
        return only(name, [value for found, value in self.query if found == name])

    def header(self, name: str) -> str | None:
        """The value of a header, None without it. It must not be there twice."""
        return only(name, [value for found, value in self.headers if found.lower() == name.lower()])

    @property
    def seconds(self) -> float:
        """How much audio came, by the encoding and rate that the query promised."""
        width = WIDTHS.get(self.parameter("encoding") or "", 2)
        return len(self.audio) / width / int(self.parameter("sample_rate") or 16000)

    @property
    def finished(self) -> bool:
        """Whether the client has announced the end of its audio."""
        return "close" in self.commands or "done" in self.commands

    def payloads(self, opcode: int) -> list[bytes]:
        return [frame.payload for frame in self.frames if frame.opcode == opcode]


class ServerConnection:
    """One connection, and what a script can do with it. Raises OSError where the client has gone.

    reads           False: the reader stops, as in a server that hangs; pings are then not answered, either
    answers_pings   False: pings are read, but not answered
    answers_close   False: the client's close frame is read, but not answered
    """

    def __init__(self, server: RealtimeServer, connection: socket.socket, record: ConnectionRecord) -> None:
        self.record = record
        self.reads = self.answers_pings = self.answers_close = True
        self._server = server
        self._connection = connection
        self._buffer = bytearray()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._reader: threading.Thread | None = None
        self._stopped = False
        self._closing = False
        self._taken = 0
        self._heard_at = time.monotonic()
        self._message: tuple[int, bytearray] | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)

    # the handshake

    def handshake(self) -> None:
        """Read the request. Breach where it isn't an opening handshake (RFC 6455 4.2.1)."""
        first, self.record.headers, rest = read_head(self._connection)
        self._buffer += rest
        method, self.record.target, version = first.split(" ")
        self.record.began = self._heard_at = time.monotonic()
        self._server.called(self.record)
        header = self.record.header
        _must(method == "GET" and version == "HTTP/1.1", first)
        _must(bool(header("Host")), "no Host")
        _must((header("Upgrade") or "").lower() == "websocket", "no upgrade to websocket")
        _must("upgrade" in re.split(r"\s*,\s*", (header("Connection") or "").lower()), "no Connection: Upgrade")
        _must(header("Sec-WebSocket-Version") == "13", "not version 13")
        try:
            nonce = base64.b64decode(header("Sec-WebSocket-Key") or "", validate=True)
        except binascii.Error:
            nonce = b""
        _must(len(nonce) == 16, "a key that isn't 16 bytes")

    def accept(self, headers: Headers = (), first: Event | None = None) -> None:
        """Switch protocols. `headers` may replace the ordinary ones; `first` goes out in the same segment."""
        digest = hashlib.sha1(((self.record.header("Sec-WebSocket-Key") or "") + GUID).encode()).digest()
        answer = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
            "X-Request-Id": REQUEST_ID,
        } | dict(headers)
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in answer.items()), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (b"" if first is None else pack(TEXT, _wire(first))))
        self._start_reading()

    def admit(self, first: Event | None = None) -> None:
        """Accept and refuse what Cartesia does; a refusal ends the script."""
        record = self.record
        bearer = (record.header("Authorization") or "").partition("Bearer ")[2]
        version = record.parameter("cartesia_version") or record.header("Cartesia-Version") or ""
        if record.path not in (MANUAL, TURNS):
            self.refuse(404)
        elif not (bearer or record.header("X-API-Key") or record.parameter("access_token")):
            self.refuse(401)
        elif not re.fullmatch(r"20\d\d-\d\d-\d\d", version):
            self.refuse(400, refusal(400, message="Cartesia-Version is required."))
        else:
            # Invalid values are only seen after the upgrade: an error event, then the end.
            bad = [name for name in ("model", "encoding", "sample_rate") if not record.parameter(name)]
            bad += [] if (record.parameter("encoding") or "pcm_s16le") in WIDTHS else ["encoding"]
            bad += [] if (record.parameter("sample_rate") or "16000").isdecimal() else ["sample_rate"]
            if not bad:
                return self.accept(first=first)
            self.accept(first=error(400, message=f"invalid {bad[0]}"))
            self.close(1008)
        raise ConnectionError("refused")

    def refuse(self, status: int, body: Event | bytes | None = None, headers: Headers = ()) -> None:
        """An HTTP answer instead of 101, in the documented shape unless a body is given."""
        data = body if isinstance(body, bytes) else json.dumps(body or refusal(status)).encode()
        self.send(head(status, [("Content-Length", str(len(data))), *headers]) + data)

    # speaking

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        with self._sending:
            self._connection.sendall(data)

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.send(pack(opcode, payload, fin=fin))

    def say(self, message: Event | str | bytes) -> None:
        """Send a text frame: an event, any text, or any bytes."""
        self.frame(TEXT, _wire(message))

    def say_in_pieces(self, message: Event | str | bytes, *cuts: int, ping: bool = False) -> None:
        """Send a text message in frames that end at `cuts`, or at every byte. `ping`: with a ping between them."""
        data = _wire(message)
        ends = [*(cuts or range(1, len(data))), len(data)]
        for start, end in zip([0, *ends], ends, strict=False):
            self.frame(CONTINUATION if start else TEXT, data[start:end], fin=end == len(data))
            if ping and end < len(data):
                self.frame(PING, b"between")

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame and wait for the client's. None: a frame without a code."""
        self._closing = True
        self.frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason.encode())
        self._wait(lambda: self.record.closed is not None or self.record.gone.is_set(), "an answer to the close frame")

    def drop(self) -> None:
        """End the connection with a FIN and no close frame."""
        self._closing = True
        self._connection.shutdown(socket.SHUT_WR)
        self._wait(self.record.gone.is_set, "the client to hang up")

    def reset(self) -> None:
        """End the connection with a RST; what was sent and not yet read is lost."""
        self._stop()  # a socket that is being read from is not closed by closing it
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()
        self.record.gone.set()

    # waiting

    def until_audio(self, seconds: float) -> bool:
        """Wait until this much audio was received. False if the client has ended its audio before."""
        seconds -= 1e-6  # three times 0.1 is more than 0.3
        self._wait(lambda: self.record.seconds >= seconds or self.record.finished, f"{seconds:.1f} s of audio")
        return self.record.seconds >= seconds

    def until_command(self, *wanted: str) -> str:
        """Wait for the next command that is one of these, or any; others before it are skipped."""
        found: list[str] = []

        def came() -> bool:
            while not found and self._taken < len(self.record.commands):
                command = self.record.commands[self._taken]
                self._taken += 1
                if not wanted or command in wanted:
                    found.append(command)
            return bool(found)

        self._wait(came, " or ".join(wanted) or "a command")
        return found[0]

    def until(self, so: Callable[[ConnectionRecord], object], what: str = "something else") -> None:
        self._wait(lambda: so(self.record), what)

    def pause(self, seconds: float) -> None:
        if self._server.closing.wait(seconds):
            raise ConnectionError("the server is closed")

    def hold(self) -> None:
        """Send nothing more until the client has gone: it has to give up by itself.

        Where `reads` is False, its end may be behind data that isn't read, and is then not noticed.
        """
        if self._reader is None:
            self._start_reading()
        ends = time.monotonic() + 3 * self._server.patience
        while not (self.record.gone.is_set() or self._closed_by_client()):
            self.pause(TICK_SECONDS)
            if time.monotonic() > ends:
                assert not self.reads, "the client never gave up"
                return

    def end(self) -> None:
        """Close the connection after the script, with a FIN where close frames were exchanged."""
        with suppress(OSError):
            if self._reader is not None and self.record.closed is not None:
                self._connection.shutdown(socket.SHUT_WR)
                self._reader.join(1.0)  # nothing may come any more
            elif self._reader is not None and self._server.closing.is_set():
                self._reader.join(1.0)  # it reads what has already come, and ends
        self._stop()
        self._selector.close()
        self._connection.close()
        self.record.gone.set()

    def _closed_by_client(self) -> bool:
        return self.record.closed is not None and self.answers_close and not self._closing

    def _wait(self, so: Callable[[], object], what: str) -> None:
        """Wait until something is true. Raises AssertionError after too long a silence, OSError where the client has
        gone.
        """
        asked = time.monotonic()
        while not so():
            now = time.monotonic()
            if self._server.closing.is_set():
                raise ConnectionError("the server is closed")
            if self.record.gone.is_set() or self._closed_by_client():
                raise ConnectionError("the client has gone")
            deadline = min(max(self._heard_at, asked) + self._server.patience, self.record.began + MAX_CALL_SECONDS)
            assert now < deadline, f"connection {self.record.number} waited in vain for {what}"
            with self._changed:
                self._changed.wait(TICK_SECONDS)

    # reading

    def _start_reading(self) -> None:
        self._reader = threading.Thread(target=self._read, name=f"reader {self.record.number}", daemon=True)
        self._reader.start()

    def _stop(self) -> None:
        self._stopped = True
        if self._reader is not None:
            self._reader.join()

    def _read(self) -> None:
        try:
            while True:
                self._take(self._read_frame())
                with self._changed:
                    self._changed.notify_all()
        except OSError:
            pass
        except Breach as breach:
            self._server.blame(breach)
            with suppress(OSError):
                self.frame(CLOSE, struct.pack(">H", 1002))
        finally:
            self.record.gone.set()

    def _bytes(self, count: int) -> bytes:
        """The next bytes; while the server is being closed, only those that were received already."""
        while len(self._buffer) < count:
            closing = self._server.closing.is_set()
            if self._stopped:
                raise ConnectionError("the script is over")
            ready = self._selector.select(0 if closing else TICK_SECONDS)
            if not (self.reads or closing):  # it may have changed a moment ago
                time.sleep(TICK_SECONDS)
            elif ready:
                block = self._connection.recv(1 << 16)
                if not block:
                    raise ConnectionError("the client hung up")
                self._buffer += block
            elif closing:
                raise ConnectionError("the server is closed")
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _read_frame(self) -> Frame:
        """RFC 6455 5.2."""
        first, second = self._bytes(2)
        length = second & 127
        if length > 125:
            size, least = (2, 126) if length == 126 else (8, 1 << 16)
            length = int.from_bytes(self._bytes(size), "big")
            _must(length >= least, f"a length of {length} in {size} bytes")
            _must(length <= MAX_FRAME_BYTES, f"a frame of {length} bytes")
        mask = self._bytes(4) if second & 128 else None
        payload = self._bytes(length)
        if mask is not None:
            payload = unmask(payload, mask)
        frame = Frame(time.monotonic(), first & 15, bool(first & 128), mask, payload)
        self.record.frames.append(frame)
        _must(mask is not None, "a frame without a mask")
        _must(not first & 0x70, f"reserved bits {first >> 4 & 7:03b}")
        _must(self.record.closed is None, "a frame behind the close frame")
        return frame

    def _take(self, frame: Frame) -> None:
        opcode, payload = frame.opcode, frame.payload
        if opcode in (CLOSE, PING, PONG):
            _must(frame.fin and len(payload) < 126, "a control frame in pieces, or too long")
            if opcode == CLOSE:
                self._take_close(payload)
            elif opcode == PING and self.answers_pings:
                self.frame(PONG, payload)
            return
        _must(opcode in (CONTINUATION, TEXT, BINARY), f"opcode {opcode}")
        _must((opcode == CONTINUATION) == (self._message is not None), "pieces of messages in disorder")
        kind, whole = self._message or (opcode, bytearray())
        whole += payload
        self._message = None if frame.fin else (kind, whole)
        self._heard_at = frame.at
        if frame.fin and kind == BINARY:
            self.record.audio += whole
        elif frame.fin:
            self._take_text(_decode(whole))

    def _take_text(self, text: str) -> None:
        self.record.texts.append(text)
        command = _command(self.record.path, text)
        if command is not None:
            self.record.commands.append(command)
            return
        self._server.blame(AssertionError(f"not a command of {self.record.path}: {text!r}"))
        self.say(error(400, title="Unrecognized message type"))

    def _take_close(self, payload: bytes) -> None:
        """RFC 6455 5.5.1, 7.4."""
        _must(len(payload) != 1, "half a close code")
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        allowed = code in range(1000, 1004) or code in range(1007, 1015) or code in range(3000, 5000)
        _must(allowed or not payload, f"close code {code}")
        self.record.closed = code, _decode(payload[2:])
        if self.answers_close and not self._closing:
            self.frame(CLOSE, payload[:2])


def _must(so: bool, otherwise: str) -> None:
    if not so:
        raise Breach(otherwise)


def _decode(data: bytes | bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Breach(f"text that isn't UTF-8: {bytes(data)!r}") from error


def _command(path: str, text: str) -> str | None:
    """The command in a text message; None: not a command. Bare words on the manual endpoint, JSON on the other, and
    `config` is JSON on both.
    """
    if path == MANUAL and text in ("finalize", "close", "done"):
        return text
    try:
        command = json.loads(text)["type"]
    except (ValueError, TypeError, LookupError):
        return None
    return command if command == "config" or (command == "close" and path != MANUAL) else None


def _wire(message: Event | str | bytes) -> bytes:
    text = json.dumps(message, ensure_ascii=False) if isinstance(message, dict) else message
    return text.encode() if isinstance(text, str) else text


def pack(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = None) -> bytes:
    """A frame (RFC 6455 5.2). Only clients mask; a server that does breaks the rule."""
    length, masked = len(payload), 0 if mask is None else 128
    if length < 126:
        size = bytes([masked | length])
    elif length < 1 << 16:
        size = bytes([masked | 126]) + struct.pack(">H", length)
    else:
        size = bytes([masked | 127]) + struct.pack(">Q", length)
    first = bytes([(128 if fin else 0) | opcode])
    return first + size + (payload if mask is None else mask + unmask(payload, mask))


def unmask(data: bytes, mask: bytes) -> bytes:
    """RFC 6455 5.3; it undoes itself."""
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")


class RealtimeServer:
    """A listening socket with two threads for each connection.

    calls    those whose whole handshake was received, in order
    faults   errors in a script, and violations by a client
    """

    def __init__(self, *scripts: Script, receive_buffer: int | None = None, patience: float = SOON) -> None:
        """The last script is also that of all connections that follow.

        receive_buffer   bytes; a small one is soon full
        patience         seconds that a script waits for a client that sends neither audio nor text
        """
        self.scripts = scripts
        self.patience = patience
        self.records: list[ConnectionRecord] = []
        self.faults: list[BaseException] = []
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.settimeout(TICK_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._listen)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> RealtimeServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if error is None and self.faults:
            raise self.faults[0]

    def close(self) -> None:
        """Read what was received already, then end all connections."""
        self.closing.set()
        for thread in self._threads:
            thread.join(2.0)
        for connection in self._connections:
            with suppress(OSError):  # where a script is stuck in sending
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOON)

    def called(self, record: ConnectionRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def blame(self, fault: BaseException) -> None:
        self.faults.append(fault)

    def wait(self, until: Callable[[RealtimeServer], object]) -> None:
        """Wait until something is true. Raises AssertionError if it doesn't become true."""
        ends = time.monotonic() + SOON
        while not until(self):
            with self._changed:
                self._changed.wait(TICK_SECONDS)
            assert time.monotonic() < ends, "waited in vain"

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=f"realtime {self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with self._listener:
            number = 0
            while not self.closing.is_set():
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                self._connections.append(connection)
                self._start(self._serve, connection, number)
                number += 1

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(3 * SOON)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = ServerConnection(self, connection, ConnectionRecord(number))
        try:
            try:
                client.handshake()
            except Breach:
                client.refuse(400)
                raise
            self.scripts[min(number, len(self.scripts) - 1)](client)
        except OSError:  # the client has gone, as it may
            pass
        except BaseException as error:
            self.blame(error)
        finally:
            client.end()


Script = Callable[[ServerConnection], None]
Voice = Callable[[ServerConnection, Event], None]
"""How a script says its events."""


# Events as the documentation has them.


def transcript(text: str, **more: object) -> Event:
    return {"type": "transcript", "is_final": True, "text": text, "request_id": REQUEST_ID} | more


def flush_done() -> Event:
    return {"type": "flush_done", "request_id": REQUEST_ID}


def done() -> Event:
    return {"type": "done", "request_id": REQUEST_ID}


def connected() -> Event:
    return {"type": "connected", "request_id": REQUEST_ID}


def turn(kind: str, text: str | None = None) -> Event:
    """`turn.start` and `turn.resume` have no text."""
    event: Event = {"type": f"turn.{kind}", "request_id": REQUEST_ID}
    return event if text is None else event | {"transcript": text}


def error(status: int, **changes: object) -> Event:
    return {"type": "error", "status_code": status} | refusal(status, **changes)


# Sessions that end as they should.

UTTERANCES = (("Ink sends", " deltas and may break wor", "ds."), ("", " Größe", "", " und na", "ïve 🎙", "."))
"""Deltas up to each `finalize`."""
MANUAL_TEXT = "Ink sends deltas and may break words. Größe und naïve 🎙."

_HELP = "Hey can you help me with something?"
EVENTS = (
    turn("start"), turn("update", "Hey can"), turn("update", "Hey can you help"), turn("eager_end", "Hey can you help"),
    turn("resume"), turn("update", _HELP), turn("eager_end", _HELP), turn("end", _HELP),
    turn("start"), turn("end", ""),
    turn("start"), turn("update", " Größe"), turn("update", " Größe und naïve 🎙."), turn("end", " Größe und naïve 🎙."),
)  # fmt: skip
TURN_TEXTS = (_HELP, "", " Größe und naïve 🎙.")


def manual(
    utterances: Sequence[Sequence[str]] = UTTERANCES, voice: Voice = ServerConnection.say, *, early: bool = False
) -> Script:
    """An utterance for each `finalize`, and with `close` those that are left; the first delta comes unasked.

    `early`: `flush_done` before the last delta, as in an old example.
    """

    def script(connection: ServerConnection) -> None:
        connection.admit()
        rest = [list(utterance) for utterance in utterances]
        if rest and connection.until_audio(0.1):
            voice(connection, transcript(rest[0].pop(0)))
        while connection.until_command() == "finalize":
            deltas = rest.pop(0) if rest else []
            behind = deltas[-1:] if early else []
            for delta in deltas[: len(deltas) - len(behind)]:
                voice(connection, transcript(delta))
            voice(connection, flush_done())
            for delta in behind:
                voice(connection, transcript(delta))
        for delta in (delta for deltas in rest for delta in deltas):
            voice(connection, transcript(delta))
        voice(connection, done())
        connection.close()

    return script


def turns(events: Iterable[Event] = EVENTS, voice: Voice = ServerConnection.say) -> Script:
    """An event for each 0.1 s of audio, and with `close` those that are left; then 1000, and no `done`."""

    def script(connection: ServerConnection) -> None:
        connection.admit(first=connected())
        for number, event in enumerate(events, 1):
            connection.until_audio(0.1 * number)
            voice(connection, event)
        connection.until_command("close")
        connection.close()

    return script


def in_pieces(connection: ServerConnection, event: Event) -> None:
    """A frame for every byte, characters and all, with pings between them."""
    connection.say_in_pieces(event, ping=True)


def among_strangers(connection: ServerConnection, event: Event) -> None:
    """Unknown fields, events and frames, which must not end a session."""
    connection.say({"type": "brandnew", "text": "not to be heard", "transcript": "not to be heard"})
    connection.say(event | {"turn_id": 7, "confidence": None, "later": {"text": ["deep"]}})
    connection.say("no JSON")
    connection.say('["no object"]')
    connection.say({"text": "no type", "transcript": "no type"})
    connection.frame(BINARY, b"\x00\xff")


def whispered(connection: ServerConnection, event: Event) -> None:
    """Ink-whisper as it was documented in 2025: previews, word times, durations, a language."""
    if event["type"] != "transcript":
        return connection.say(event)
    text = str(event["text"])
    words = [
        {"word": word, "start": 0.1 * i, "end": 0.1 * i + 0.1} for i, word in enumerate(re.findall(r"\s*\S+", text))
    ]
    connection.say(event | {"is_final": False, "text": text[: len(text) // 2], "duration": 0.1, "words": words[:1]})
    connection.say(event | {"duration": 0.1 * len(words), "words": words, "language": "en"})


# Faults before the first event.


def refuses(status: int, headers: Headers = (), body: bytes | None = None, **changes: object) -> Script:
    """No upgrade, but an error in the documented shape, or with another body."""
    return lambda connection: connection.refuse(status, body or refusal(status, **changes), headers)


def never_answers(connection: ServerConnection) -> None:
    connection.hold()


def closes_unanswered(connection: ServerConnection) -> None:
    """The connection ends instead of an answer to the handshake: the script is over."""


def resets_unanswered(connection: ServerConnection) -> None:
    connection.reset()


def speaks_no_http(connection: ServerConnection) -> None:
    connection.send(b"220 mail.example ESMTP\r\n")
    connection.hold()


def accepts_another_key(connection: ServerConnection) -> None:
    """A cached 101, or that of a server which knows nothing of WebSockets."""
    connection.accept([("Sec-WebSocket-Accept", base64.b64encode(bytes(20)).decode())])
    connection.hold()


def fails_at_once(status: int = 400, code: int = 1008, **changes: object) -> Script:
    """Invalid values are only seen after the upgrade (as third parties observed): an error event, and the end."""

    def script(connection: ServerConnection) -> None:
        connection.accept(first=error(status, **changes))
        connection.close(code)

    return script


def closes_at_once(code: int | None = 1008, reason: str = "Invalid turn thresholds") -> Script:
    def script(connection: ServerConnection) -> None:
        connection.accept()
        connection.close(code, reason)

    return script


# Faults in the middle.

PARTIAL = "Hello wor"
"""The text that `begin` sends, which ends within a word."""


def open_up(connection: ServerConnection) -> None:
    connection.admit(first=connected() if connection.record.path == TURNS else None)


def begin(connection: ServerConnection, seconds: float = 0.2, **changes: bool) -> None:
    """Receive this much audio, set attributes of the connection, and send PARTIAL: then the changes apply."""
    open_up(connection)
    connection.until_audio(seconds)
    for name, value in changes.items():
        setattr(connection, name, value)
    if connection.record.path == TURNS:
        connection.say(turn("start"))
        connection.say(turn("update", PARTIAL))
    else:
        connection.say(transcript(PARTIAL))


def then(act: Script, seconds: float = 0.2) -> Script:
    """Begin well, then do this."""

    def script(connection: ServerConnection) -> None:
        begin(connection, seconds)
        act(connection)

    return script


def closes(code: int | None, reason: str = "", seconds: float = 0.2) -> Script:
    return then(lambda connection: connection.close(code, reason), seconds)


def fails(status: int, code: int = 1011, **changes: object) -> Script:
    """An error event, and the end."""

    def act(connection: ServerConnection) -> None:
        connection.say(error(status, **changes))
        connection.close(code)

    return then(act)


def breaks_off(data: bytes) -> Script:
    """Bytes that no server may send: the client has to end the connection."""

    def act(connection: ServerConnection) -> None:
        connection.send(data)
        connection.hold()

    return then(act)


def drops(connection: ServerConnection) -> None:
    begin(connection)
    connection.drop()


def resets(connection: ServerConnection) -> None:
    begin(connection)
    connection.pause(0.2)  # so that what was sent is there to be read before the reset
    connection.reset()


def stops_reading(connection: ServerConnection) -> None:
    begin(connection, reads=False)
    connection.hold()


def falls_silent(connection: ServerConnection) -> None:
    """Read everything and answer nothing, neither pings nor a close frame, as on a half-open connection."""
    begin(connection, answers_pings=False, answers_close=False)
    connection.hold()


# Faults at the end.


def never_finishes(connection: ServerConnection) -> None:
    """No `done` and no close frame, however long the client waits."""
    begin(connection)
    connection.until_command("close", "done")
    connection.hold()


def never_flushes(connection: ServerConnection) -> None:
    """No `flush_done`; but `close` is answered."""
    begin(connection)
    connection.until_command("close", "done")
    connection.say(done())
    connection.close()


def ends_unfinished(code: int | None = 1000, reason: str = "") -> Script:
    """`close` is answered by a close frame alone: no `done`, and no `turn.end`."""

    def act(connection: ServerConnection) -> None:
        connection.until_command("close", "done")
        connection.close(code, reason)

    return then(act)


def sends_text_after_done(connection: ServerConnection) -> None:
    begin(connection)
    connection.until_command("close", "done")
    connection.say(done())
    connection.say(transcript(" not to be heard"))
    connection.close()


def fails_after_close(status: int = 500, *, heard: bool = False) -> Script:
    """An error as the end, as some clients get that close after hardly any audio. `heard`: there was text before."""

    def script(connection: ServerConnection) -> None:
        (begin if heard else open_up)(connection)
        connection.until_command("close", "done")
        connection.say(error(status))
        connection.close()

    return script


def never_hangs_up(connection: ServerConnection) -> None:
    """Everything is as it should be, but the TCP connection stays open after the close frames."""
    begin(connection)
    connection.until_command("close", "done")
    connection.say(turn("end", PARTIAL) if connection.record.path == TURNS else done())
    connection.close()
    connection.hold()
