"""The scripted server, through a WebSocket library over a real port, and through the program."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import cartesia_cli
from cartesia_cli.errors import UsageError
from cartesia_cli.output.frame_log import FrameLog
from cartesia_cli.protocol.constants import build_url
from cartesia_cli.protocol.realtime import AUTO, MANUAL, Close, Endpoint, RealtimeOptions, encode_command
from cartesia_cli.server.app import ServerConfig, create_scripted_app
from cartesia_cli.server.runner import serve_in_background
from cartesia_cli.server.script import Script, parse_script
from tests.conftest import Run

SOON = 20.0
"""Seconds in which everything that comes at all has come."""

OPTIONS = RealtimeOptions(model="ink-2")
VERSION = {"Cartesia-Version": "2026-03-01"}
CLOSE = {dialect.name: encode_command(dialect, Close()) for dialect in (MANUAL, AUTO)}
HELLO: list[dict[str, Any]] = [{"at": 1, "text": "Hello"}, {"at": 2.5, "text": " wörld."}]

Step = dict[str, Any]
Heard = list[dict[str, Any]]


def audio(seconds: float) -> bytes:
    return bytes(2 * round(seconds * OPTIONS.sample_rate))


@contextmanager
def playing(script: list[Any] | Script, **options: Any) -> Iterator[str]:
    """The address of a server that plays it."""
    script = script if isinstance(script, Script) else parse_script("\n".join(map(json.dumps, script)))
    with serve_in_background(create_scripted_app(script, ServerConfig(**options))) as server:
        yield server


def call(base_url: str, dialect: Endpoint = MANUAL, **how: Any) -> ClientConnection:
    address = build_url(base_url, dialect.path, OPTIONS.query(dialect), websocket=True)
    how["additional_headers"] = VERSION | how.get("additional_headers", {})
    return connect(address, **{"proxy": None, "compression": None, "open_timeout": SOON, "ping_interval": None} | how)


def event(line: ClientConnection) -> dict[str, Any]:
    """The next one, without its request id."""
    wire: dict[str, Any] = json.loads(line.recv(SOON))
    wire.pop("request_id")
    return wire


def rest(line: ClientConnection) -> tuple[Heard, int, str]:
    """All events up to the end, its code and its reason."""
    events = []
    try:
        while True:
            events.append(event(line))
    except ConnectionClosed as closed:
        return events, closed.rcvd.code if closed.rcvd else 1006, closed.rcvd.reason if closed.rcvd else ""


def said(script: list[Any] | Script, *frames: bytes | str, dialect: Endpoint = MANUAL) -> tuple[Heard, int, str]:
    """What a session of its own, with these frames, hears."""
    with playing(script) as base_url, call(base_url, dialect) as line:
        with suppress(ConnectionClosed):  # the end may come before all is sent
            for frame in frames:
                line.send(frame)
        return rest(line)


def delta(text: str) -> dict[str, Any]:
    return {"type": "transcript", "is_final": True, "text": text}


def turn(text: str) -> Heard:
    return [
        {"type": "turn.start"}, {"type": "turn.update", "transcript": text}, {"type": "turn.end", "transcript": text}
    ]  # fmt: skip


FLUSHED, DONE, CONNECTED = {"type": "flush_done"}, {"type": "done"}, {"type": "connected"}

# A script that says what it hears.


def test_texts_on_the_manual_endpoint() -> None:
    heard = said(HELLO, audio(1), audio(1), "finalize", audio(1), "finalize", "close")
    assert heard == ([delta("Hello"), FLUSHED, delta(" wörld."), FLUSHED, DONE], 1000, "")


def test_texts_on_the_auto_endpoint() -> None:
    heard = said(HELLO, audio(3), '{"type": "config", "turn": {}}', CLOSE["auto"], dialect=AUTO)
    assert heard == ([CONNECTED, *turn("Hello"), *turn(" wörld.")], 1000, "")


def test_texts_of_command_steps_come_last_in_batch() -> None:
    with playing([{"on": "finalize", "text": " Bye."}, *HELLO]) as base_url:
        answer = httpx.post(f"{base_url}/stt", **BATCH, trust_env=False).json()  # type: ignore[arg-type]
    assert (answer["text"], answer["duration"]) == ("Hello wörld. Bye.", 2.5)


@pytest.mark.parametrize("route", ["/stt", "/audio/transcriptions"])
def test_texts_in_batch_responses(route: str) -> None:
    with playing(HELLO) as base_url:
        data = {"model": "ink-whisper", "timestamp_granularities[]": "word", "language": "de"}
        answer = httpx.post(base_url + route, data=data, files={"file": b"any"}, headers=VERSION, trust_env=False)
        assert answer.status_code == 200
        body = answer.json()
        assert answer.headers["x-request-id"] == body.pop("request_id")
        assert body == {
            "type": "transcript", "text": "Hello wörld.", "language": "de", "duration": 2.5,
            "words": [{"word": "Hello", "start": 0.0, "end": 1.0}, {"word": "wörld.", "start": 1.0, "end": 2.5}],
        }  # fmt: skip
        refused = httpx.post(base_url + route, data=data, headers=VERSION, trust_env=False)
        assert (refused.status_code, refused.json()["title"]) == (400, "Missing file")


def test_batch_response_waits_for_the_texts_and_has_the_length_of_the_recording() -> None:
    with playing([{"at": 0.5, "text": "Hi", "wait": 0.4}, {"on": "finalize", "wait": 9}]) as base_url:
        began = time.monotonic()
        files = {"file": (Path(cartesia_cli.__file__).parent / "sample.wav").read_bytes()}
        answer = httpx.post(f"{base_url}/stt", **(BATCH | {"files": files}), trust_env=False).json()  # type: ignore[arg-type]
    assert (answer["text"], answer["duration"]) == ("Hi", 10.809)
    assert 0.4 <= time.monotonic() - began < 9


def test_other_routes_answer_as_with_an_engine() -> None:
    with playing([]) as base_url, httpx.Client(base_url=base_url, trust_env=False) as client:
        assert client.get("/").json()["ok"] is True
        assert client.get("/nowhere").json()["title"] == "Request rejected"
        with pytest.raises(InvalidStatus) as refused:
            connect(base_url.replace("http", "ws") + "/nowhere", proxy=None)
        assert refused.value.response.status_code == 404


def test_steps_beyond_the_received_audio_are_not_sent() -> None:
    assert said(HELLO, audio(2.4), "close") == ([delta("Hello"), DONE], 1000, "")


@pytest.mark.parametrize("size", [2, 3199, 3200, 40001, 200_000])
def test_frame_sizes_of_audio_do_not_matter(size: int) -> None:
    data = audio(2.5)
    script = [{"at": n / 20, "say": {"type": "tick", "n": n}} for n in range(60)]
    frames = [data[at : at + size] for at in range(0, len(data), size)] if size > 2 else [data[:2], data[2:]]
    heard, _, _ = said(script, *frames, "close")
    assert [wire["n"] for wire in heard[:-1]] == list(range(51))


def test_event_is_sent_when_its_audio_was_received() -> None:
    with playing([{"at": 0.5, "text": "now"}]) as base_url, call(base_url) as line:
        line.send(audio(0.5)[:-2])
        line.send("what?")
        assert event(line)["status_code"] == 400
        line.send(bytes(2))
        assert event(line) == delta("now")


def test_step_times_follow_encoding_and_sample_rate() -> None:
    options = RealtimeOptions(model="ink-2", encoding="pcm_mulaw", sample_rate=8000)
    with playing(HELLO) as base_url:
        address = build_url(base_url, MANUAL.path, options.query(MANUAL), websocket=True)
        with connect(address, proxy=None, additional_headers=VERSION) as line:
            line.send(bytes(7999))
            line.send("?")
            assert event(line)["type"] == "error"
            line.send(bytes(1))
            assert event(line) == delta("Hello")


def test_steps_are_ordered_by_time_then_by_position() -> None:
    script = [{"at": 2, "text": "c"}, {"at": 1, "text": "a"}, {"text": "0"}, {"at": 1, "text": "b"}]
    heard, _, _ = said(script, audio(2), "close")
    assert "".join(wire.get("text", "") for wire in heard) == "0abc"


def test_command_steps_run_before_the_servers_own_answer() -> None:
    script = [
        {"on": "finalize", "text": "each"},
        {"on": "finalize", "nth": 2, "text": "second"},
        {"on": "close", "text": "last"},
        {"on": "unknown", "say": {"type": "huh"}, "answer": False},
    ]
    heard = said(script, "finalize", "finalize", "pardon?", "finalize", "close")
    assert heard[0] == [
        delta("each"), FLUSHED, delta("each"), delta("second"), FLUSHED, {"type": "huh"}, delta("each"), FLUSHED,
        delta("last"), DONE,
    ]  # fmt: skip


def test_steps_on_config_and_open() -> None:
    script = [{"on": "config", "text": "ok"}, {"on": "open", "say": {"type": "welcome"}}, {"text": "start"}]
    heard = said(script, '{"type": "config", "turn": {}}', CLOSE["auto"], dialect=AUTO)
    assert heard[0] == [{"type": "welcome"}, CONNECTED, *turn("start"), *turn("ok")]


CONFIG = '{"type": "config", "language_hints": ["de"]}'


@pytest.mark.parametrize("dialect", [MANUAL, AUTO], ids=lambda dialect: dialect.name)
def test_a_config_that_ink_2_does_not_take_is_refused_and_the_session_goes_on(dialect: Endpoint) -> None:
    heard, code, _ = said([{"at": 1, "text": "x"}], CONFIG, audio(1), CLOSE[dialect.name], dialect=dialect)
    (refused,) = [wire for wire in heard if wire["type"] == "error"]
    assert (refused["status_code"], refused["title"]) == (400, "Invalid language hints")
    assert any(wire["type"] in ("transcript", "turn.end") for wire in heard)
    assert code == 1000


def test_a_script_refuses_every_config() -> None:
    refusal = {"type": "error", "status_code": 400, "title": "Invalid config", "message": "no"}
    script = [{"on": "config", "answer": False, "say": refusal}]
    heard, _, _ = said(script, '{"type": "config", "keyterms": ["x"]}', '{"type": "config", "turn": 1}', "close")
    assert heard == [refusal, refusal, DONE]


@pytest.mark.parametrize("dialect", [MANUAL, AUTO], ids=lambda dialect: dialect.name)
def test_language_hints_that_ink_2_does_not_take_get_an_error_event_and_1008(dialect: Endpoint) -> None:
    options = RealtimeOptions(model="ink-2", language_hints=("de",))
    with playing([]) as base_url:
        address = build_url(base_url, dialect.path, options.query(dialect), websocket=True)
        with connect(address, proxy=None, additional_headers=VERSION) as line:
            assert event(line)["title"] == "Invalid language hints"
            with pytest.raises(ConnectionClosed) as closed:
                line.recv(SOON)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


def test_command_of_the_other_endpoint_gets_error_400() -> None:
    heard, code, _ = said([], "finalize", CLOSE["auto"], dialect=AUTO)
    assert (heard[1]["type"], heard[1]["status_code"], heard[1]["title"]) == ("error", 400, "Unrecognized message type")
    assert code == 1000


def test_request_ids_are_deterministic_and_differ_between_sockets() -> None:
    def ids() -> list[tuple[str, str]]:
        with playing([{"text": "x"}]) as base_url:
            found = []
            for _ in range(2):
                with call(base_url) as line:
                    assert line.response
                    found.append((json.loads(line.recv(SOON))["request_id"], line.response.headers["x-request-id"]))
            return found

    first = ids()
    assert first == ids()
    assert all(one == other for one, other in first)
    assert len(set(first)) == 2
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first[0][0])


STEPS = st.one_of(
    st.fixed_dictionaries(
        {"at": st.integers(0, 4).map(lambda n: n / 2), "text": st.text(st.characters(exclude_categories=["Cs"]))}
    ),
    st.fixed_dictionaries(
        {"on": st.sampled_from(["finalize", "unknown", "open", "close"]), "say": st.just({"type": "x", "n": 1})},
        optional={"answer": st.booleans(), "times": st.integers(1, 3), "split": st.integers(1, 9)},
    ),
    st.fixed_dictionaries({"at": st.integers(0, 4), "drop": st.sampled_from([1000, 1001, 1008, 4000])}),
)


@settings(max_examples=20)
@given(st.lists(STEPS, max_size=6), st.lists(st.sampled_from([audio(0.5), "finalize", "?", "close"]), max_size=8))
def test_same_frames_in_give_same_frames_out(script: list[Step], frames: list[bytes | str]) -> None:
    def play() -> tuple[list[str | bytes], int]:
        heard: list[str | bytes] = []
        try:
            with playing([*script, {"on": "close", "drop": 1001}]) as base_url, call(base_url) as line:
                with suppress(ConnectionClosed):
                    for frame in [*frames, "close"]:
                        line.send(frame)
                while True:
                    heard.append(line.recv(SOON))
        except ConnectionClosed as closed:
            assert closed.rcvd
            return heard, closed.rcvd.code

    assert play() == play()


# Frames that no well-behaved server sends.


def test_frames_are_sent_as_written() -> None:
    odd = {"type": "turn.end", "request_id": None, "turn_id": 7}
    script = [{"say": ["not JSON", odd, {"no": "type"}, '{"type":']}, {"binary": b64encode(b"\0\xff").decode()}]
    with playing(script) as base_url, call(base_url) as line:
        frames = [line.recv(SOON) for _ in range(5)]
    assert frames[0] == "not JSON"
    assert json.loads(frames[1]) == odd
    assert set(json.loads(frames[2])) == {"no", "request_id"}
    assert frames[3:] == ['{"type":', b"\0\xff"]


def test_times_repeats_an_event() -> None:
    heard, _, _ = said([{"at": 1, "text": "Hi", "times": 2}], audio(1), CLOSE["auto"], dialect=AUTO)
    assert heard == [CONNECTED, *turn("Hi"), *turn("Hi")]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_split_sends_frames_that_cut_characters(size: int) -> None:
    text = "smörgåsbord 😀 東京"
    script = [{"text": text, "split": size}, {"say": text, "split": size}, {"binary": "AAECAw==", "split": size}]
    with playing(script) as base_url, call(base_url) as line:
        pieces = list(line.recv_streaming(decode=False))
        assert json.loads(b"".join(pieces))["text"] == text
        assert {len(piece) for piece in pieces[:-1]} <= {size}
        assert line.recv(SOON) == text
        binary = list(line.recv_streaming())
        assert b"".join(binary) == b"\0\1\2\3"  # type: ignore[arg-type]
        assert len(binary) == -(-4 // size)

    def is_whole(piece: bytes) -> bool:
        try:
            return bool(piece.decode()) or True
        except UnicodeDecodeError:
            return False

    assert all(map(is_whole, pieces)) == (size == 1000)


def test_lone_surrogate_is_sent_as_an_escape() -> None:
    with playing(parse_script(r'{"say": {"type": "x", "text": "\ud83d"}}')) as base_url, call(base_url) as line:
        frame = line.recv(SOON)
        assert isinstance(frame, str)
        assert r'"\ud83d"' in frame


def test_error_event_followed_by_a_close() -> None:
    error = {"type": "error", "status_code": 500, "title": "Oops", "message": "Sorry", "error_code": None}
    heard = said([{"at": 1, "say": error, "drop": {"code": 1011, "reason": "sørry"}}], audio(2))
    assert heard == ([error], 1011, "sørry")


@pytest.mark.parametrize("dialect", [MANUAL, AUTO])
def test_close_can_stay_unanswered(dialect: Endpoint) -> None:
    with playing([{"on": "close", "answer": False}]) as base_url, call(base_url, dialect) as line:
        line.send(CLOSE[dialect.name])
        line.send("still there?")
        answers = [event(line)["type"] for _ in range(1 + (dialect is AUTO))]
        assert answers == ["connected", "error"][dialect is MANUAL :]


def test_done_can_be_omitted_or_sent_without_a_close() -> None:
    assert said([{"on": "close", "drop": 1000}], "close") == ([], 1000, "")
    with playing([{"on": "close", "say": DONE, "answer": False}]) as base_url, call(base_url) as line:
        line.send("close")
        assert event(line) == DONE
        line.send("?")
        assert event(line)["type"] == "error"


def test_flush_done_before_the_text_and_late() -> None:
    script = [
        {"on": "finalize", "nth": 1, "say": [FLUSHED, delta("late")], "answer": False},
        {"on": "finalize", "nth": 2, "wait": 0.05},
    ]
    assert said(script, "finalize", "finalize", "close")[0] == [FLUSHED, delta("late"), FLUSHED, DONE]


def test_wait_still_receives_frames_and_answers_pings() -> None:
    with playing([{"on": "finalize", "wait": 600}]) as base_url, call(base_url) as line:
        line.send("finalize")
        for _ in range(50):
            line.send(bytes(1 << 20))  # more than fits between two sockets
        assert line.ping().wait(SOON)
        with pytest.raises(TimeoutError):
            line.recv(0.2)


# Ends.


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1008, 1011, 1012, 1013, 4321])
def test_drop_closes_with_any_code(code: int) -> None:
    assert said([{"at": 1, "drop": code}, *HELLO], *[audio(0.5)] * 4) == ([], code, "")


def test_drop_1006_ends_after_everything_that_was_sent() -> None:
    script = [{"at": 1, "text": "x" * 100_000, "times": 5}, {"at": 1, "drop": 1006}]
    with playing(script) as base_url, call(base_url) as line:
        for _ in range(15):
            line.send(audio(0.1))
        heard, code, _ = rest(line)
    assert (len(heard), code) == (5, 1006)


def knock(base_url: str) -> socket.socket:
    """A handshake by hand, its answer still to come."""
    port = int(base_url.rpartition(":")[2])
    hand = socket.create_connection(("127.0.0.1", port), timeout=SOON)
    path = build_url("", MANUAL.path, OPTIONS.query(MANUAL))
    hand.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Cartesia-Version: 2026-03-01\r\n\r\n".encode()
    )
    return hand


def everything(hand: socket.socket) -> bytes:
    return b"".join(iter(lambda: hand.recv(65536), b""))


def test_drop_1006_is_a_fin_and_reset_is_a_rst() -> None:
    with playing([{"drop": 1006}]) as base_url, knock(base_url) as hand:
        assert everything(hand).endswith(b"\r\n\r\n")
    with playing([{"drop": "reset"}]) as base_url, knock(base_url) as hand, pytest.raises(ConnectionResetError):
        everything(hand)


def test_client_that_does_not_hang_up_is_aborted() -> None:
    with playing([{"connection": 1, "drop": 1006}], concurrency=1) as base_url, knock(base_url) as hand:
        everything(hand)
        with eventually(base_url) as line:
            line.send("close")
            assert rest(line)[0] == [DONE]


# Stalls.


@contextmanager
def eventually(base_url: str) -> Iterator[ClientConnection]:
    """A socket as soon as there is a place for one."""
    while True:
        try:
            line = call(base_url)
            break
        except InvalidStatus as refused:
            assert refused.response.status_code == 429
            time.sleep(0.05)
    with line:
        yield line


def test_stalled_socket_answers_neither_commands_nor_pings() -> None:
    script = [{"at": 1, "text": "well"}, {"at": 1, "stall": True}]
    with playing(script) as base_url, call(base_url, close_timeout=0.1) as line:
        line.send(audio(1))
        assert event(line) == delta("well")
        line.send("finalize")
        assert not line.ping().wait(0.3)
        with pytest.raises(TimeoutError):
            line.recv(0.1)


def test_stalled_socket_stops_reading_during_a_flood() -> None:
    def flood() -> None:
        with suppress(ConnectionClosed, OSError):
            for size, times in ((1 << 13, 2000), (1 << 20, 64)):
                for _ in range(times):
                    line.send(bytes(size))

    with playing([{"at": 1, "wait": 0.05, "stall": True}]) as base_url, call(base_url, close_timeout=0.1) as line:
        flooding = threading.Thread(target=flood, daemon=True)
        flooding.start()
        flooding.join(1.5)  # 80 MB are soon read, and more than fits between two sockets
        assert flooding.is_alive()
        line.socket.shutdown(socket.SHUT_RDWR)
        flooding.join(SOON)


def test_session_continues_after_a_stall() -> None:
    with playing([{"at": 1, "stall": 0.3}, *HELLO]) as base_url, call(base_url) as line:
        for _ in range(30):
            line.send(audio(0.1))
        line.send("finalize")
        assert line.ping().wait(SOON)
        line.send("close")
        assert rest(line) == ([delta("Hello"), delta(" wörld."), FLUSHED, DONE], 1000, "")


def test_stalled_socket_frees_its_slot_when_the_client_leaves() -> None:
    with playing([{"connection": 1, "stall": True}], concurrency=1) as base_url:
        with knock(base_url) as hand:
            hand.recv(1)
            with pytest.raises(InvalidStatus):
                call(base_url)
        with eventually(base_url) as line:
            line.send("close")
            assert rest(line)[0] == [DONE]


def test_server_with_stalled_sockets_can_be_stopped() -> None:
    script = [{"connection": 2, "on": "handshake", "stall": True}, {"text": "well"}, {"stall": True}]
    with playing(script) as base_url, call(base_url, close_timeout=0.1) as line:
        assert event(line) == delta("well")
        hand = knock(base_url)
    head, _, body = everything(hand).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert json.loads(body)["title"] == "Service unavailable"
    hand.close()


# The handshake.


@pytest.mark.parametrize(
    ("refuse", "status", "code", "retry_after"),
    [
        (401, 401, None, None), (402, 402, "quota_exceeded", None), (403, 403, None, None), (500, 500, None, None),
        (429, 429, "concurrency_limited", "1"),
        ({"status": 429, "headers": {"retry-after": 7}}, 429, "concurrency_limited", "7"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dialect", [MANUAL, AUTO])
def test_refuse_sends_the_documented_body(
    refuse: Any, status: int, code: str | None, retry_after: str | None, dialect: Endpoint
) -> None:
    with playing([{"refuse": refuse}]) as base_url, pytest.raises(InvalidStatus) as refused:
        call(base_url, dialect)
    response = refused.value.response
    assert response.status_code == status
    assert response.headers.get("Retry-After") == retry_after
    body = json.loads(response.body or b"")
    assert set(body) == {"error_code", "title", "message", "request_id"}
    assert (body["error_code"], body["request_id"]) == (code, response.headers["X-Request-Id"])


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ("Gone: fishing\n", b"Gone: fishing\n", "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
        ({"request_id": "r", "error": "ö"}, json.dumps({"request_id": "r", "error": "ö"}).encode(), "application/json"),
        ([1], b"[1]", "application/json"),
    ],
)
def test_refuse_sends_any_body(body: Any, sent: bytes, content_type: str) -> None:
    script = [{"refuse": {"status": 503, "body": body, "headers": {"X-Mood": "bad"}}}]
    with playing(script) as base_url, pytest.raises(InvalidStatus) as refused:
        call(base_url)
    response = refused.value.response
    assert (response.status_code, response.body) == (503, sent)
    assert (response.headers["Content-Type"], response.headers["X-Mood"]) == (content_type, "bad")


def test_refuse_on_a_range_of_connections() -> None:
    script = [
        {"connection": "1-2", "refuse": 503}, {"connection": 3, "text": "third"}, {"connection": "4-", "text": "later"},
        {"text": "all"},
    ]  # fmt: skip
    with playing(script) as base_url:
        for dialect in (MANUAL, AUTO):
            with pytest.raises(InvalidStatus):
                call(base_url, dialect)
        heard = []
        for _ in range(3):
            with call(base_url) as line:
                line.send("close")
                heard.append("".join(wire.get("text", "") for wire in rest(line)[0]))
    assert heard == ["thirdall", "laterall", "laterall"]


def test_each_socket_plays_the_script_from_the_start() -> None:
    with playing(HELLO) as base_url, call(base_url) as one, call(base_url, AUTO) as other:
        one.send(audio(1))
        assert event(one) == delta("Hello")
        other.send(audio(1))
        assert [event(other) for _ in range(4)] == [CONNECTED, *turn("Hello")]
        one.send(audio(2))
        assert event(one) == delta(" wörld.")


@pytest.mark.parametrize("step", [{"stall": True}, {"wait": 600}])
def test_stalled_handshake_frees_its_slot_when_the_client_leaves(step: Step) -> None:
    with playing([{"on": "handshake", "connection": 1, **step}], concurrency=1) as base_url:
        with pytest.raises(TimeoutError):
            call(base_url, open_timeout=0.3)
        with eventually(base_url) as line:
            line.send("close")
            assert rest(line)[0] == [DONE]


@pytest.mark.parametrize("step", [{"stall": 0.05}, {"wait": 0.05}])
def test_slow_handshake_succeeds(step: Step) -> None:
    assert said([{"on": "handshake", **step}, {"text": "here"}], "close")[0] == [delta("here"), DONE]


@pytest.mark.parametrize("end", [1006, "reset"])
def test_drop_during_the_handshake(end: Any) -> None:
    with (
        playing([{"on": "handshake", "drop": end}]) as base_url,
        pytest.raises((InvalidMessage, EOFError, ConnectionResetError)),
    ):
        call(base_url)
    with playing([{"on": "handshake", "drop": end}]) as base_url, knock(base_url) as hand:
        try:
            assert (everything(hand), end) == (b"", 1006)
        except ConnectionResetError:
            assert end == "reset"


def test_invalid_query_is_refused_as_with_an_engine() -> None:
    with playing([]) as base_url, pytest.raises(InvalidStatus) as refused:
        connect(base_url.replace("http", "ws") + MANUAL.path + "?model=ink-2", proxy=None, additional_headers=VERSION)
    assert json.loads(refused.value.response.body or b"")["title"] == "Invalid encoding"


def test_scripted_server_checks_key_and_concurrency() -> None:
    with playing([], key="sk_x", concurrency=1) as base_url:
        for how, status in [({}, 401), ({"additional_headers": {"Authorization": "Bearer sk_y"}}, 401)]:
            with pytest.raises(InvalidStatus) as refused:
                call(base_url, **how)
            assert refused.value.response.status_code == status
        headers = VERSION | {"Authorization": "Bearer sk_x"}
        with call(base_url, additional_headers=headers) as line:
            with pytest.raises(InvalidStatus) as refused:
                call(base_url, additional_headers=headers)
            assert refused.value.response.status_code == 429
            assert httpx.post(f"{base_url}/stt", headers=headers, trust_env=False).status_code == 429
            assert httpx.post(f"{base_url}/stt", trust_env=False).status_code == 401
            line.send("close")
            # Who was not let in is not counted.
            assert json.loads(line.recv(SOON))["request_id"].endswith("-000000000001")


# Batch.

BATCH = {"data": {"model": "ink-whisper"}, "files": {"file": b"any"}, "headers": VERSION}


def test_batch_steps_answer_requests_by_number() -> None:
    html = {"status": 502, "body": "<html>", "headers": {"Content-Type": "text/html"}}
    script = [
        {"request": 1, "batch": {"status": 429, "headers": {"Retry-After": "0.1"}}},
        {"request": 2, "batch": html},
        {"request": 3, "batch": {"body": {"text": "mine", "words": None}}},
        {"request": "4-5", "wait": 0.01, "batch": 500},
        *HELLO,
    ]
    with playing(script) as base_url:
        answers = [httpx.post(f"{base_url}/stt", **BATCH, trust_env=False) for _ in range(6)]  # type: ignore[arg-type]
    assert [answer.status_code for answer in answers] == [429, 502, 200, 500, 500, 200]
    assert answers[0].headers["retry-after"] == "0.1"
    assert answers[0].json()["error_code"] == "concurrency_limited"
    assert (answers[1].text, answers[1].headers["content-type"]) == ("<html>", "text/html")
    assert answers[2].json() == {"text": "mine", "words": None, "request_id": answers[2].headers["x-request-id"]}
    assert answers[5].json()["text"] == "Hello wörld."


def test_first_matching_batch_step_is_used_and_may_add_headers() -> None:
    script = [{"request": 1, "batch": {"headers": {"X-Warm": "yes"}}}, {"batch": 503}, *HELLO]
    with playing(script) as base_url:
        answers = [httpx.post(f"{base_url}/stt", **BATCH, trust_env=False) for _ in range(3)]  # type: ignore[arg-type]
    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert answers[0].headers["x-warm"] == "yes"
    assert answers[0].json()["text"] == "Hello wörld."


def test_stalled_batch_request_frees_its_slot_when_the_client_leaves() -> None:
    with playing([{"request": 1, "batch": {}, "stall": True}], concurrency=1) as base_url:
        address = f"{base_url}/stt"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address, **BATCH, timeout=0.3, trust_env=False)  # type: ignore[arg-type]
        while (answer := httpx.post(address, **BATCH, trust_env=False)).status_code == 429:  # type: ignore[arg-type]
            time.sleep(0.05)
        assert answer.status_code == 200


# Recordings.

WAY: list[bytes | str] = [audio(0.6), audio(0.6), "finalize", audio(1.5), "finalize", "close"]


def record(file: Path, dialect: Endpoint, way: list[bytes | str]) -> list[str | bytes]:
    """A session with a script, recorded as `stream-file` does it. What was received."""
    script = [*HELLO, {"on": "finalize", "nth": 2, "binary": "AAE="}, {"on": "finalize", "text": "!"}]
    clock = iter(range(1000))
    heard: list[str | bytes] = []
    with playing(script) as base_url, call(base_url, dialect) as line:
        address = build_url(base_url + "/v1", dialect.path, OPTIONS.query(dialect), websocket=True)
        with FrameLog(file, force=False, clock=lambda: next(clock)) as log:
            log.put("open", {"url": address, "version": "2026-03-01"})
            for frame in way:
                log.put("sent", frame)
                line.send(frame)
                line.send("?")  # until it is answered, everything before it is, too; not part of the recording
                with suppress(ConnectionClosed):
                    while '"error"' not in str(answer := line.recv(SOON)):
                        log.put("received", answer)
                        heard.append(answer)
    return heard


def replay(file: Path, dialect: Endpoint, way: list[bytes | str]) -> tuple[list[str | bytes], int]:
    heard: list[str | bytes] = []
    with playing(parse_script(file.read_text("utf-8"))) as base_url, call(base_url, dialect) as line:
        try:
            for frame in way:
                line.send(frame)
            while True:
                heard.append(line.recv(SOON))
        except ConnectionClosed as closed:
            return heard, closed.rcvd.code if closed.rcvd else 1006


def test_recording_is_replayed_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "talk.ndjson"
    heard = record(file, MANUAL, WAY)
    assert len(heard) == 8
    assert replay(file, MANUAL, WAY) == (heard, 1000)
    sliced = [bytes(n) for n in (1, 38399, 3, 50_000)] + ["finalize", audio(0.5), audio(1), "finalize", "close"]
    assert replay(file, MANUAL, sliced) == (heard, 1000)  # type: ignore[arg-type]


def test_recording_waits_for_audio_and_commands(tmp_path: Path) -> None:
    file = tmp_path / "talk.ndjson"
    heard = record(file, MANUAL, WAY)
    with playing(parse_script(file.read_text("utf-8"))) as base_url, call(base_url) as line:
        line.send(audio(3))
        assert line.recv(SOON) == heard[0]
        with pytest.raises(TimeoutError):
            line.recv(0.2)
        line.send("finalize")
        assert [line.recv(SOON) for _ in range(3)] == heard[1:4]
        line.send("close")
        assert [line.recv(SOON) for _ in range(4)] == heard[4:]


def test_recording_closed_early_sends_the_rest(tmp_path: Path) -> None:
    heard = record(tmp_path / "talk.ndjson", MANUAL, WAY)
    assert replay(tmp_path / "talk.ndjson", MANUAL, ["close"]) == (heard, 1000)


def test_recording_of_the_auto_endpoint(tmp_path: Path) -> None:
    way = [audio(1.2), audio(1.5), CLOSE["auto"]]
    heard = record(tmp_path / "turns.ndjson", AUTO, way)
    assert len(heard) == 7
    assert replay(tmp_path / "turns.ndjson", AUTO, way) == (heard, 1000)
    with pytest.raises(InvalidStatus, match="404"):
        replay(tmp_path / "turns.ndjson", MANUAL, way)


OPEN: Step = {"event": "open", "url": "wss://x/v1/stt/websocket?encoding=pcm_s16le&sample_rate=16000"}
SECOND: Step = {"event": "sent", "audio": b64encode(audio(1)).decode()}


def heard_frame(text: str) -> Step:
    return {"event": "received", "text": json.dumps(delta(text) | {"request_id": "r"})}


def test_each_connection_of_a_recording_is_replayed_to_the_next_socket() -> None:
    script = [
        OPEN, {"event": "refused", "status": 503, "headers": {"retry-after": "7"}, "body": "busy"},
        OPEN, {"event": "refused", "reason": "x hung up before it answered"},
        OPEN, SECOND, heard_frame("one"), SECOND, {"event": "close", "code": 1011, "reason": "sørry"},
        OPEN, SECOND, {"event": "sent", "text": "finalize"}, heard_frame("two"), {"event": "close", "code": 1006},
        OPEN, heard_frame("three"), {"event": "close", "code": 1006, "reason": "Connection reset by peer"},
        OPEN, SECOND, heard_frame("four"), SECOND, {"event": "sent", "text": "close"}, heard_frame("five"),
    ]  # fmt: skip
    with playing(script) as base_url:
        with pytest.raises(InvalidStatus) as refused:
            call(base_url)
        response = refused.value.response
        assert (response.status_code, response.headers["Retry-After"], response.body) == (503, "7", b"busy")
        with pytest.raises((InvalidMessage, EOFError)):
            call(base_url)
        with call(base_url) as line:
            line.send(audio(1.5))
            assert event(line) == delta("one")
            line.send(audio(0.5))
            assert rest(line) == ([], 1011, "sørry")
        with call(base_url) as line:
            line.send(audio(1))
            with pytest.raises(TimeoutError):
                line.recv(0.2)
            line.send("finalize")
            assert rest(line) == ([delta("two")], 1006, "")
        with call(base_url) as line:
            assert rest(line) == ([delta("three")], 1006, "")
        for _ in range(2):  # who comes after the last hears what the last one heard
            with call(base_url) as line:
                line.send(audio(1))
                assert event(line) == delta("four")
                line.send("close")
                assert rest(line) == ([delta("five")], 1000, "")


def test_recording_without_closes_is_replayed_to_every_socket() -> None:
    """Such as were made before ends were recorded: one `open`, and no more of it."""
    with playing([OPEN, SECOND, heard_frame("one")]) as base_url:
        for _ in range(3):
            with call(base_url) as line:
                line.send(audio(1))
                line.send("close")
                assert rest(line) == ([delta("one")], 1000, "")


# What is written.


def test_parse_accepts_lines_lists_comments_and_blank_lines() -> None:
    lines = '\n# two words\n{"at": 1, "text": "Hello"}\n\n{"at": 2.5,\n "text": " wörld."} # done\n'
    as_list = '# one\n[{"at": 1, "text": "Hello"}, # two\n {"at": 2.5, "text": " wörld."}, ]\n# three'
    assert (
        parse_script(lines)
        == parse_script(as_list)
        == parse_script(json.dumps(HELLO))
        == parse_script("".join(map(json.dumps, HELLO)))
    )
    assert parse_script("") == parse_script(" # nothing\n") == parse_script("[]") == Script()


RECORDED = '{"event": "open", "url": "ws://x/?encoding=pcm_s16le&sample_rate=9"}'


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"at": 1, "text": "x"}\n{"at": 1,', 2, "invalid JSON: Expecting property name"),
        ("\n\nhello", 3, "invalid JSON: Expecting value"),
        ('{"text": "x"}\n7', 2, "a step is an object, not 7"),
        ('[{"text": "x"},\n\n{"text": "y"}', 3, "expected a comma or ]"),
        ('[{"text": "x"}\n{"text": "y"}]', 1, "expected a comma or ]"),
        ('[{"text": "x"},\n', 2, "the list is not closed"),
        ("\n[", 2, "the list is not closed"),
        ('[\n]\n{"text": "x"}', 2, "unexpected text after the list"),
        ('[{"text": "x"}] x', 1, "unexpected text after the list"),
        ('[{"text": "x"}]]', 1, "unexpected text after the list"),
        ('[{"text": "x"},\n\n{"text": "y"},\n7]', 4, "a step is an object, not 7"),
        ('[{"text": "x"},\n,]', 2, "invalid JSON: Expecting value"),
        ('{"text": "x"},,]]', 1, "invalid JSON: Expecting value"),
        ('[[{"text": "x"}]]', 1, "a step is an object, not "),
        ("[" * 100_000, 1, "invalid JSON"),
        ('{"say": ' + "[" * 100_000, 1, "invalid JSON"),
        ('\n{"at": ' + "9" * 5000 + ', "text": "x"}', 2, "invalid JSON"),
        ('{"txt": "x"}', 1, "unknown key 'txt'; known keys: at, on, "),
        ('{"at": "soon", "text": "x"}', 1, "'at' must be a number of seconds, 0 or more, not \"soon\""),
        ('{"at": NaN, "text": "x"}', 1, "'at' must be a number"),
        ('{"at": -1, "text": "x"}', 1, "'at' must be a number"),
        ('{"at": true, "text": "x"}', 1, "'at' must be a number"),
        ('{"wait": 1e999}', 1, "'wait' must be a number"),
        ('{"on": "flush", "text": "x"}', 1, "'on' must be one of handshake, open, finalize, close, config, unknown"),
        ('{"on": [], "text": "x"}', 1, "'on' must be one of handshake"),
        ('{"on": "close", "at": 1, "text": "x"}', 1, "'at' can't be combined with 'close'"),
        ('{"nth": 1, "text": "x"}', 1, "'nth' can't be combined with 'audio'"),
        ('{"on": "close", "nth": 0, "text": "x"}', 1, "'nth' must be a whole number, 1 or more"),
        ('{"on": "open", "nth": 1, "text": "x"}', 1, "'nth' can't be combined with 'open'"),
        ('{"answer": false}', 1, "'answer' can't be combined with 'audio'"),
        ('{"on": "close", "answer": 0}', 1, "'answer' must be true or false"),
        ('{"connection": "0-2", "text": "x"}', 1, "'connection' must be a whole number, 1 or more, or a range"),
        ('{"connection": 1.5, "text": "x"}', 1, "'connection' must be a whole number"),
        ('{"request": 1, "text": "x"}', 1, "'request' can't be combined with 'audio'"),
        ('{"connection": 1, "batch": 500}', 1, "'connection' can't be combined with 'batch'"),
        ('{"refuse": 500, "text": "x"}', 1, "'text' can't be combined with 'refuse'"),
        ('{"on": "handshake", "text": "x"}', 1, "'text' can't be combined with 'handshake'"),
        ('{"on": "handshake", "drop": 1000}', 1, "before the handshake, "),
        ('{"stall": "long"}', 1, "'stall' must be a number"),
        ('{"text": 5}', 1, "'text' must be a string, not 5"),
        (r'{"text": "\ud800"}', 1, "'text' must be a string"),
        ('{"say": 5}', 1, "'say' must be a string"),
        ('{"say": [{"type": "x"}, null]}', 1, "'say' must be a string"),
        ('{"binary": "€"}', 1, "'binary' must be base64"),
        ('{"binary": [1]}', 1, "'binary' must be base64"),
        ('{"drop": 1015}', 1, "'drop' must be a close code"),
        ('{"connection": "3-2", "drop": 1000}', 1, "'connection' must be a whole number"),
        ('{"drop": true}', 1, "'drop' must be a close code"),
        ('{"drop": {"code": 1000, "reason": "' + "ö" * 62 + '"}}', 1, "'drop' must be a close code"),
        ('{"drop": {"code": 1000, "why": ""}}', 1, "'drop' must be a close code"),
        ('{"refuse": 101}', 1, "'refuse' must be a status from 200 to 599"),
        ('{"refuse": {"status": 500, "header": {}}}', 1, "'refuse' must be a status"),
        ('{"refuse": {"status": 500, "headers": {"A": "b\\r\\nC: d"}}}', 1, "'refuse' has a header that HTTP"),
        ('{"refuse": {"status": 500, "headers": {"A b": "c"}}}', 1, "a header that HTTP doesn't allow"),
        ('{"batch": "500"}', 1, "'batch' must be a status"),
        ('{"times": 2, "drop": 1000}', 1, "'times' and 'split' need 'text', 'say' or 'binary'"),
        ('{"text": "x", "times": 0}', 1, "'times' must be a whole number"),
        ('{"at": 1}', 1, "this step does nothing"),
        ('{"on": "finalize", "nth": 2}', 1, "this step does nothing"),
        ('{"event": "open", "url": "ws://x/stt/websocket"}', 1, "the recording has no valid URL"),
        ('{"event": "open"}', 1, "the recording has no valid URL"),
        (
            '{"event": "open", "url": "ws://x/?encoding=pcm_s16le&sample_rate=9"}\n{"event": "sent"}',
            2,
            "not a frame of a",
        ),
        ('{"event": "open", "url": "ws://x/?encoding=pcm_s16le&sample_rate=0"}', 1, "the recording has no valid URL"),
        (f'{RECORDED}\n\n{{"event": "sent", "audio": "?"}}', 3, "'audio' must be base64"),
        (f'{RECORDED}\n{{"event": "heard", "text": "x"}}', 2, "not a line of a recording"),
        (f'{RECORDED}\n{{"event": ["close"]}}', 2, "not a line of a recording"),
        (f'{RECORDED}\n{{"event": "close"}}', 2, "'close' must be a close code"),
        (f'{RECORDED}\n{{"event": "close", "code": 1004}}', 2, "'close' must be a close code"),
        (f'{RECORDED}\n{{"event": "refused", "status": 101}}', 2, "'refused' must be a status from 200 to 599"),
    ],
)
def test_parse_errors_name_the_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_script(text, "bad.ndjson")
    assert told.value.message.startswith(f"bad.ndjson, line {line}: ")
    assert reason in told.value.message
    assert len(told.value.message) < 300


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(
        ["close", "finalize", "open", "handshake", "1-2", "2-", "AA==", "reset", 1000, 1006, 404, 1, 0.5, "sent",
         "refused"]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["code", "reason", "status", "headers", "body", "type"]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
KEYS = (
    "at on nth connection request wait stall text say binary drop refuse batch times split answer event url audio "
    "code reason status headers body"
).split()


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), max_size=3))
def test_parse_of_any_steps_is_a_script_or_a_usage_error(steps: list[Step]) -> None:
    for text in (json.dumps(steps), "\n".join(map(json.dumps, steps))):
        try:
            script = parse_script(text)
        except UsageError as error:
            assert re.match(r"script, line \d+: ", error.message)
        else:
            assert len(script.steps) <= len(steps)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), max_size=3))
def test_parse_of_any_recording_is_a_script_or_a_usage_error(lines: list[Step]) -> None:
    try:
        script = parse_script("\n".join(map(json.dumps, [OPEN, *lines])))
    except UsageError as error:
        assert re.match(r"script, line \d+: ", error.message)
    else:
        assert script.recorded_endpoint is MANUAL and len(script.steps) <= len(lines)


@given(st.text(st.sampled_from('{}[],:"# \n\\1aé'), max_size=30))
def test_parse_of_any_text_raises_nothing_but_usage_errors(text: str) -> None:
    with suppress(UsageError):
        parse_script(text)


# The program.


def test_scripted_server_imports_no_engine() -> None:
    script = (
        "import sys; from cartesia_cli.server import app, runner, script; "
        "print({'faster_whisper', 'ctranslate2', 'onnxruntime', 'moonshine_voice'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@contextmanager
def program(environment: dict[str, str], *arguments: object) -> Iterator[str]:
    """`cartesia-cli serve` with these arguments, up to Ctrl-C. Its address."""
    command = [sys.executable, "-m", "cartesia_cli", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        try:
            line = process.stdout.readline().decode()
            assert line.startswith("export CARTESIA_BASE_URL=http://127.0.0.1:"), process.stderr.read().decode()
            assert str(arguments[-1]) in process.stderr.readline().decode()
            yield line.strip().partition("=")[2]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(SOON) == 0


def test_serve_plays_a_script(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "flaky.ndjson"
    file.write_text('\ufeff# a server with a cold\n{"connection": 1, "refuse": 503}\n{"at": 1, "text": "Achoo ö"}\n')
    with program(environment, "--script", file) as base_url:
        with pytest.raises(InvalidStatus):
            call(base_url)
        with call(base_url) as line:
            line.send(audio(1))
            line.send("close")
            assert rest(line) == ([delta("Achoo ö"), DONE], 1000, "")
        assert httpx.post(f"{base_url}/stt", **BATCH, trust_env=False).json()["text"] == "Achoo ö"  # type: ignore[arg-type]


def test_serve_script_with_require_key(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text("[]")
    with program(environment | {"CARTESIA_API_KEY": "sk_x"}, "--require-key", "--script", file) as base_url:
        with pytest.raises(InvalidStatus):
            call(base_url)
        with call(base_url, additional_headers={"Authorization": "Bearer sk_x"}) as line:
            line.send("close")
            assert rest(line) == ([DONE], 1000, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "x"}\n{"at": "x"}\n', b"bad.ndjson, line 2: 'at' must be a number of seconds"),
        (b"RIFF\xff\xfe", b"bad.ndjson is not UTF-8 text"),
        (None, b"bad.ndjson can't be read: No such file or directory"),
    ],
)
def test_invalid_script_is_a_usage_error_before_the_server_starts(
    run: Run, tmp_path: Path, content: bytes | None, message: bytes
) -> None:
    if content is not None:
        (tmp_path / "bad.ndjson").write_bytes(content)
    done = run("serve", "--port", "0", "--script", "bad.ndjson")
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr


def told(stderr: bytes) -> list[str]:
    """What was said, without the port and how long was waited."""
    return re.sub(r":\d+|\d+\.\d s", "", stderr.decode()).splitlines()


@pytest.mark.waits
@pytest.mark.parametrize("ends", ["well", "after trouble", "badly"])
@pytest.mark.parametrize("dialect", [MANUAL, AUTO])
def test_recording_of_stream_file_is_replayed_to_stream_file(
    run: Run, environment: dict[str, str], tmp_path: Path, dialect: Endpoint, ends: str
) -> None:
    key = "sk_car_test_5up3r53cr3t"
    data = audio(2.5)
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16,
                         b"data", len(data))  # fmt: skip
    (tmp_path / "talk.wav").write_bytes(header + data)
    script: list[Step] = [
        {"at": 0.5, "text": "One,", "connection": 1},
        {"at": 0.5, "text": " twö.", "connection": "2-"},
    ]
    if ends != "well":
        trouble = {"status": 503, "headers": {"Retry-After": "0.1"}, "body": {"title": "Busy", "message": f"No {key}."}}
        script += [
            {"connection": 1, "at": 1.2, "drop": {"code": 1011, "reason": f"worker {key} died"}},
            {"connection": 2, "refuse": trouble},
            {"connection": "3-", "on": "close", "say": {"type": "x", "note": key}},
        ]
    if ends == "badly":
        script.append({"connection": 3, "at": 0.8, "drop": {"code": 1008, "reason": "enough"}})
    (tmp_path / "script.ndjson").write_text("\n".join(map(json.dumps, script)), "utf-8")
    (tmp_path / "one.ndjson").touch(0o644)
    heard = []
    for file, log in (("script.ndjson", "one.ndjson"), ("one.ndjson", "two.ndjson")):
        with program(environment, "--script", tmp_path / file) as base_url:
            done = run("stream-file", "talk.wav", "--mode", dialect.name, "--speed", "2",
                       "--raw-events", log, "--force",
                       env={"CARTESIA_BASE_URL": base_url, "CARTESIA_API_KEY": key})  # fmt: skip
        heard.append((done.returncode, done.stdout, told(done.stderr)))
        assert (tmp_path / log).stat().st_mode & 0o777 == 0o600
        assert key not in (tmp_path / log).read_text() + done.stderr.decode()
    assert heard[0] == heard[1]
    status, text, said = heard[0]
    assert status == (5 if ends == "badly" else 0)
    assert ("One," if ends == "well" else "twö.") in text.decode()
    assert [start for start in ("127", "error") for line in said if line.startswith(start)] == {
        "well": [], "after trouble": ["127", "127"], "badly": ["127", "127", "error"]
    }[ends]  # fmt: skip
