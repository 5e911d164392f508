"""The realtime server of the tests, against a client of raw bytes, partly from RFC 6455, and against a library."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from . import realtime_server as realtime
from .fault_server import KEY, REQUEST_ID, SOON
from .realtime_server import (
    MANUAL,
    MANUAL_TEXT,
    PARTIAL,
    TURN_TEXTS,
    TURNS,
    Breach,
    RealtimeServer,
    Script,
    ServerConnection,
    Voice,
    among_strangers,
    in_pieces,
    manual,
    pack,
    transcript,
    turns,
    whispered,
)

QUERY = "model=ink-2&encoding=pcm_s16le&sample_rate=16000"
HEADERS = {"Authorization": f"Bearer {KEY}", "Cartesia-Version": "2026-08-14"}
TENTH = bytes(3200)
"""0.1 s of audio."""
PLAIN = f"{MANUAL}?{QUERY}"
HELLO = bytes.fromhex("818537fa213d7f9f4d5158")
"""RFC 6455 5.7: a single-frame masked text message."""


Changes = dict[str, str | None]


class Caller:
    """A client that says what it is told to, right or wrong."""

    def __init__(self, server: RealtimeServer, target: str, changes: Changes) -> None:
        """`changes`: headers that are other than they ought to be; None: left out."""
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=SOON)
        headers: Changes = {
            "Host": f"127.0.0.1:{server.port}",
            "Upgrade": "websocket",
            "Connection": "keep-alive, Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **HEADERS,
        }
        lines = [f"{name}: {value}" for name, value in (headers | changes).items() if value is not None]
        self.socket.sendall("\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode())
        self.file = self.socket.makefile("rb")

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        status = int(self.file.readline().split()[1])
        lines = iter(lambda: self.file.readline().decode().strip(), "")
        return status, dict(line.split(": ", 1) for line in lines)

    def frame(self) -> tuple[int, bytes]:
        """First byte and payload of a frame. Raises EOFError where the connection ends."""
        start = self.file.read(2)
        if len(start) < 2:
            raise EOFError
        assert not start[1] & 128, "servers don't mask"
        sizes = {126: ">H", 127: ">Q"}
        length = start[1]
        if length in sizes:
            (length,) = struct.unpack(sizes[length], self.file.read(struct.calcsize(sizes[length])))
        return start[0], self.file.read(length)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def calling(server: RealtimeServer, target: str = PLAIN, changes: Changes | None = None) -> Iterator[Caller]:
    caller = Caller(server, target, changes or {})
    try:
        yield caller
    finally:
        caller.close()


def listens(connection: ServerConnection) -> None:
    connection.accept()
    connection.hold()


def test_handshake_follows_rfc_6455() -> None:
    with RealtimeServer(listens) as server, calling(server) as caller:
        status, headers = caller.head()
        assert status == 101
        assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (headers["Upgrade"], headers["Connection"]) == ("websocket", "Upgrade")
        assert headers["X-Request-Id"] == REQUEST_ID


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": "keep-alive"},
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "c2hvcnQ="},
        {"Sec-WebSocket-Key": "not base64!"},
    ],
)
def test_invalid_handshake_is_refused_and_a_fault(changes: Changes) -> None:
    def once() -> None:
        with RealtimeServer(listens) as server, calling(server, PLAIN, changes) as caller:
            assert caller.head()[0] == 400

    with pytest.raises(Breach):
        once()


def test_client_frames_are_recorded_in_order() -> None:
    target = f"{MANUAL}?{QUERY}&keyterm=Ink%202&keyterm=a+b&empty="
    with RealtimeServer(listens) as server, calling(server, target) as caller:
        caller.head()
        caller.send(HELLO)  # no command of the endpoint
        caller.send(pack(1, b"finalize", mask=b"\x01\x02\x03\x04"))
        caller.send(pack(2, TENTH[:1600], fin=False, mask=b"\x05\x06\x07\x08"))
        caller.send(pack(9, b"are you there", mask=bytes(4)))
        caller.send(pack(0, TENTH[1600:], mask=b"\x09\x0a\x0b\x0c"))
        caller.send(pack(2, bytes(70_000), mask=b"abcd"))
        caller.send(pack(8, struct.pack(">H", 1000) + "tschüß".encode(), mask=b"efgh"))
        assert caller.frame()[0] == 0x81  # what is said to an unknown command
        assert caller.frame() == (0x8A, b"are you there")
        assert caller.frame() == (0x88, struct.pack(">H", 1000))
        with pytest.raises(EOFError):
            caller.frame()
        server.faults.clear()
    (call,) = server.records
    assert (call.path, call.query_string) == (MANUAL, f"{QUERY}&keyterm=Ink%202&keyterm=a+b&empty=")
    assert call.query[3:] == [("keyterm", "Ink 2"), ("keyterm", "a b"), ("empty", "")]
    assert call.header("authorization") == f"Bearer {KEY}"
    assert call.texts == ["Hello", "finalize"]
    assert call.commands == ["finalize"]
    assert call.audio == bytes(73_200) and call.seconds == pytest.approx(73_200 / 32_000)
    assert call.closed == (1000, "tschüß")
    assert [(frame.opcode, frame.fin) for frame in call.frames] == [
        (1, True), (1, True), (2, False), (9, True), (0, True), (2, True), (8, True),
    ]  # fmt: skip
    assert call.frames[1].mask == b"\x01\x02\x03\x04"
    assert call.payloads(9) == [b"are you there"]
    times = [frame.at for frame in call.frames]
    assert times == sorted(times) and call.began <= times[0]


def test_audio_seconds_follow_encoding_and_sample_rate() -> None:
    target = f"{MANUAL}?model=ink-2&encoding=pcm_f32le&sample_rate=8000"
    with RealtimeServer(listens) as server, calling(server, target) as caller:
        caller.head()
        caller.send(pack(2, bytes(8000), mask=b"abcd"))
    assert server.records[0].seconds == 0.25


@pytest.mark.parametrize(
    ("sent", "breach"),
    [
        (bytes.fromhex("810548656c6c6f"), "without a mask"),
        (bytes.fromhex("c18537fa213d7f9f4d5158"), "reserved bits 100"),
        (pack(3, b"", mask=b"abcd"), "opcode 3"),
        (pack(0, b"", mask=b"abcd"), "disorder"),
        (pack(1, b"a", fin=False, mask=b"abcd") + pack(1, b"b", mask=b"abcd"), "disorder"),
        (pack(9, b"", fin=False, mask=b"abcd"), "control frame"),
        (pack(9, bytes(126), mask=b"abcd"), "control frame"),
        (bytes.fromhex("82fe000100000000ff"), "a length of 1 in 2 bytes"),
        (bytes.fromhex("82ff000000000000000100000000ff"), "a length of 1 in 8 bytes"),
        (bytes.fromhex("82ff7fffffffffffffff00000000"), "a frame of 9223372036854775807 bytes"),
        (pack(1, b"\xff", mask=b"abcd"), "UTF-8"),
        (pack(8, b"\x03", mask=b"abcd"), "half a close code"),
        (pack(8, struct.pack(">H", 1005), mask=b"abcd"), "close code 1005"),
        (pack(8, struct.pack(">H", 1000) + b"\xff", mask=b"abcd"), "UTF-8"),
    ],
)
def test_rfc_violation_is_answered_and_a_fault(sent: bytes, breach: str) -> None:
    def once() -> None:
        with RealtimeServer(listens) as server, calling(server) as caller:
            caller.head()
            caller.send(sent)
            assert caller.frame() == (0x88, struct.pack(">H", 1002))

    with pytest.raises(Breach, match=breach):
        once()


def test_frame_after_the_close_frame_is_a_fault() -> None:
    def once() -> None:
        with RealtimeServer(listens) as server, calling(server) as caller:
            caller.head()
            caller.send(pack(8, mask=b"abcd"))
            assert caller.frame() == (0x88, b"")
            caller.send(pack(2, TENTH, mask=b"abcd"))
            server.wait(lambda server: server.faults)

    with pytest.raises(Breach, match="behind the close frame"):
        once()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (MANUAL, '"finalize"'),
        (MANUAL, "Finalize"),
        (MANUAL, '{"type":"close"}'),
        (TURNS, "close"),
        (TURNS, "finalize"),
        (TURNS, '{"type":"done"}'),
        (TURNS, '["close"]'),
        (TURNS, '"close"'),
    ],
)
def test_unknown_command_gets_an_error_and_is_a_fault(target: str, text: str) -> None:
    def once() -> None:
        with RealtimeServer(listens) as server, calling(server, f"{target}?{QUERY}") as caller:
            caller.head()
            caller.send(pack(1, text.encode(), mask=b"abcd"))
            said = json.loads(caller.frame()[1])
            assert (said["type"], said["status_code"]) == ("error", 400)

    with pytest.raises(AssertionError, match="not a command"):
        once()


def test_frames_of_all_sizes_are_encoded_as_in_rfc_6455() -> None:
    assert pack(1, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert pack(1, b"Hel", fin=False) + pack(0, b"lo") == bytes.fromhex("010348656c80026c6f")
    assert pack(1, b"Hello", mask=bytes.fromhex("37fa213d")) == HELLO
    assert pack(2, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert pack(2, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")


def test_text_is_fragmented_inside_a_character() -> None:
    def script(connection: ServerConnection) -> None:
        connection.accept()
        connection.say_in_pieces("ü", ping=True)
        connection.say_in_pieces("Größe", 3)
        connection.say_in_pieces("x")
        connection.close(1000)

    with RealtimeServer(script) as server, calling(server) as caller:
        caller.head()
        assert [caller.frame() for _ in range(3)] == [(0x01, b"\xc3"), (0x89, b"between"), (0x80, b"\xbc")]
        assert [caller.frame() for _ in range(2)] == [(0x01, b"Gr\xc3"), (0x80, b"\xb6\xc3\x9fe")]
        assert caller.frame() == (0x81, b"x")
        assert caller.frame() == (0x88, b"\x03\xe8")
        caller.send(pack(8, b"\x03\xe8", mask=b"abcd"))
        with pytest.raises(EOFError):
            caller.frame()
    assert server.records[0].closed == (1000, "")


def test_unanswered_close_frame_or_endless_wait_is_a_fault() -> None:
    def closes(connection: ServerConnection) -> None:
        connection.accept()
        connection.close()

    def waits(connection: ServerConnection) -> None:
        connection.accept()
        connection.until_audio(1.0)

    def once(script: Script) -> None:
        with RealtimeServer(script, patience=0.2) as server, calling(server) as caller:
            caller.head()
            server.wait(lambda server: server.faults)

    with pytest.raises(AssertionError, match="waited in vain for an answer to the close frame"):
        once(closes)
    with pytest.raises(AssertionError, match=r"waited in vain for 1\.0 s of audio"):
        once(waits)
    with pytest.raises(AssertionError, match="never gave up"):
        once(listens)


def test_drop_is_a_fin_and_reset_is_a_rst() -> None:
    with RealtimeServer(realtime.drops, realtime.resets) as server:
        with calling(server) as caller:
            caller.head()
            caller.send(pack(2, TENTH * 2, mask=b"abcd"))
            assert json.loads(caller.frame()[1])["text"] == PARTIAL
            with pytest.raises(EOFError):
                caller.frame()
        with calling(server) as caller:
            caller.head()
            caller.send(pack(2, TENTH * 2, mask=b"abcd"))
            assert json.loads(caller.frame()[1])["text"] == PARTIAL
            with pytest.raises(ConnectionResetError):
                caller.frame()


def test_server_that_stops_reading_answers_no_pings() -> None:
    with RealtimeServer(realtime.stops_reading, receive_buffer=4096) as server, calling(server) as caller:
        caller.head()
        caller.send(pack(2, TENTH * 2, mask=b"abcd"))
        caller.frame()
        caller.socket.settimeout(0.5)
        minutes = pack(9, b"?", mask=b"abcd") + pack(2, bytes(12 << 20), mask=b"abcd")
        with pytest.raises(TimeoutError):
            caller.send(minutes)
        with pytest.raises(TimeoutError):
            caller.frame()


def test_silent_server_keeps_reading() -> None:
    with RealtimeServer(realtime.falls_silent) as server, calling(server) as caller:
        caller.head()
        caller.send(pack(2, TENTH * 2, mask=b"abcd"))
        caller.frame()
        caller.send(pack(9, b"?", mask=b"abcd") + pack(8, mask=b"abcd"))
        caller.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            caller.frame()
    assert server.records[0].payloads(9) == [b"?"]
    assert server.records[0].closed == (1005, "")


def test_frames_sent_before_the_block_ends_are_recorded() -> None:
    with RealtimeServer(listens) as server, calling(server) as caller:
        caller.head()
        caller.send(pack(2, TENTH, mask=b"abcd") * 50)
    assert server.records[0].seconds == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("target", "changes", "status"),
    [
        (f"/stt?{QUERY}", {}, 404),
        (f"{MANUAL}?{QUERY}", {"Authorization": None}, 401),
        (f"{MANUAL}?{QUERY}", {"Cartesia-Version": None}, 400),
        (f"{MANUAL}?{QUERY}", {"Authorization": None, "X-API-Key": KEY}, 101),
        (f"{TURNS}?{QUERY}&access_token=x&cartesia_version=2026-03-01", {"Authorization": None}, 101),
    ],
)
def test_admit_checks_credentials_version_and_path(target: str, changes: Changes, status: int) -> None:
    script = turns() if target.startswith(TURNS) else manual()
    with RealtimeServer(script) as server, calling(server, target, changes) as caller:
        assert caller.head()[0] == status


@pytest.mark.parametrize("missing", ["model", "encoding", "sample_rate"])
def test_missing_parameter_is_an_error_event_after_the_upgrade(missing: str) -> None:
    query = "&".join(pair for pair in QUERY.split("&") if not pair.startswith(missing))
    with RealtimeServer(manual()) as server, calling(server, f"{MANUAL}?{query}") as caller:
        assert caller.head()[0] == 101
        said = json.loads(caller.frame()[1])
        assert (said["status_code"], said["message"]) == (400, f"invalid {missing}")
        assert caller.frame() == (0x88, struct.pack(">H", 1008))


# A library that many rely on finds nothing wrong with the ready scripts.


def dial(server: RealtimeServer, path: str, **options: Any) -> ClientConnection:
    connection: ClientConnection = connect(
        f"{server.ws_url}{path}?{QUERY}", additional_headers=HEADERS, proxy=None, **options
    )
    return connection


def exhaust(connection: ClientConnection, path: str, timeout: float = SOON) -> None:
    """A short session and whatever comes of it. Something has to end it, which is raised."""
    for _ in range(3):
        connection.send(TENTH)
    connection.send("close" if path == MANUAL else '{"type":"close"}')
    while True:
        connection.recv(timeout=timeout)


def listen(connection: ClientConnection) -> list[dict[str, Any]]:
    """All events until the connection is closed; what is none is left out."""
    events = []
    for message in connection:
        try:
            event = json.loads(message)
        except ValueError:
            continue
        if isinstance(event, dict) and "type" in event:
            events.append(event)
    return events


def manual_session(server: RealtimeServer) -> list[dict[str, Any]]:
    with dial(server, MANUAL) as connection:
        for _ in range(3):
            connection.send(TENTH)
        connection.send("finalize")
        connection.send(TENTH)
        connection.send("close")
        return listen(connection)


def turns_session(server: RealtimeServer) -> list[dict[str, Any]]:
    with dial(server, TURNS) as connection:
        for _ in range(3):
            connection.send(TENTH)
        connection.send('{"type":"close"}')
        return listen(connection)


def finals(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "transcript" and event["is_final"])


@pytest.mark.parametrize("voice", [ServerConnection.say, in_pieces, among_strangers, whispered])
@pytest.mark.parametrize("early", [False, True])
def test_manual_scripts_send_all_deltas_and_done(voice: Voice, early: bool) -> None:
    with RealtimeServer(manual(voice=voice, early=early)) as server:
        events = manual_session(server)
        assert finals(events) == MANUAL_TEXT
        kinds = [event["type"] for event in events if event["type"] != "brandnew"]
        assert kinds.count("flush_done") == 1 and kinds[-1] == "done"
        until_flush = finals(events[: [event["type"] for event in events].index("flush_done")])
        assert until_flush == (
            "Ink sends deltas and may break wor" if early else "Ink sends deltas and may break words."
        )
        (call,) = server.records
        server.wait(lambda server: call.gone.is_set())
        assert call.closed == (1000, "")
        assert call.commands == ["finalize", "close"]
        masks = {frame.mask for frame in call.frames if frame.opcode == 2}
        assert len(masks) == 4


@pytest.mark.parametrize("voice", [ServerConnection.say, in_pieces, among_strangers])
def test_turn_scripts_send_all_turn_events(voice: Voice) -> None:
    with RealtimeServer(turns(voice=voice)) as server:
        events = [event for event in turns_session(server) if event["type"] != "brandnew"]
        assert [event["transcript"] for event in events if event["type"] == "turn.end"] == list(TURN_TEXTS)
        kinds = [event["type"].removeprefix("turn.") for event in events]
        assert (
            kinds
            == (
                "connected start update update eager_end resume update eager_end end start end start update update end"
            ).split()
        )
        assert all(event["request_id"] == REQUEST_ID for event in events)


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        (realtime.closes(1001, "idle"), 1001, "idle"),
        (realtime.closes(1011), 1011, ""),
        (realtime.closes(None), 1005, ""),
        (realtime.closes_at_once(), 1008, "Invalid turn thresholds"),
        (realtime.fails_at_once(), 1008, ""),
        (realtime.fails(500), 1011, ""),
        (realtime.drops, 1006, ""),
        (realtime.resets, 1006, ""),
        (realtime.ends_unfinished(), 1000, ""),
        (realtime.fails_after_close(heard=True), 1000, ""),
        (realtime.fails_after_close(), 1000, ""),
        (realtime.sends_text_after_done, 1000, ""),
        (realtime.never_flushes, 1000, ""),
        (realtime.breaks_off(pack(1, b"x", mask=b"abcd")), 1002, None),
        (realtime.breaks_off(pack(1, b"\xff")), 1007, None),
        (realtime.breaks_off(pack(3, b"")), 1002, None),
        (realtime.then(lambda connection: connection.say(transcript("x" * (2 << 20)))), 1009, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [MANUAL, TURNS])
def test_faulty_ends_as_a_client_sees_them(path: str, script: Script, code: int, reason: str | None) -> None:
    with RealtimeServer(script) as server, dial(server, path) as connection:
        with pytest.raises(ConnectionClosed) as caught:
            exhaust(connection, path)
        error = caught.value
        close = error.rcvd if reason is not None else error.sent
        assert (close.code if close else 1006) == code
        assert reason is None or (close.reason if close else "") == reason


@pytest.mark.parametrize("body", [None, b"<html>Bad gateway</html>"])
def test_refused_handshake_has_status_and_body(body: bytes | None) -> None:
    with RealtimeServer(realtime.refuses(429, [("Retry-After", "3")], body, title="Too many")) as server:
        with pytest.raises(InvalidStatus) as caught, dial(server, MANUAL):
            pass
        response = caught.value.response
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "3"
        assert body in (None, response.body)
        assert body or json.loads(response.body or b"")["title"] == "Too many"


@pytest.mark.parametrize(
    "script",
    [
        realtime.never_answers,
        realtime.closes_unanswered,
        realtime.resets_unanswered,
        realtime.speaks_no_http,
        realtime.accepts_another_key,
    ],
)
def test_failed_handshake_raises_in_the_client(script: Callable[[ServerConnection], None]) -> None:
    expected = pytest.raises((InvalidHandshake, InvalidMessage, OSError, EOFError))
    with RealtimeServer(script) as server, expected:
        dial(server, MANUAL, open_timeout=0.5)


@pytest.mark.parametrize("script", [realtime.never_finishes, realtime.never_hangs_up])
@pytest.mark.parametrize("path", [MANUAL, TURNS])
def test_hanging_scripts_need_a_client_timeout(path: str, script: Script) -> None:
    impatience = pytest.raises((TimeoutError, ConnectionClosed))
    with RealtimeServer(script) as server, dial(server, path, close_timeout=0.3) as connection:
        with impatience:
            exhaust(connection, path, timeout=0.5)
        assert (server.records[0].closed is None) == (script is realtime.never_finishes)


def test_each_connection_runs_its_own_script() -> None:
    with RealtimeServer(realtime.closes(1012), manual()) as server:
        with dial(server, MANUAL) as connection:
            connection.send(TENTH * 2)
            with pytest.raises(ConnectionClosed):
                listen(connection)
        assert finals(manual_session(server)) == MANUAL_TEXT
        assert finals(manual_session(server)) == MANUAL_TEXT
        assert [call.number for call in server.records] == [0, 1, 2]


def test_random_bytes_for_a_handshake_do_not_crash() -> None:
    with RealtimeServer(listens) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as noisy:
            noisy.sendall(os.urandom(64).replace(b"\r", b""))
        assert not server.records
