"""Access to the local server: Host, Origin, key, version, and parameters out of bounds."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets import http11
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import cartesia_cli
from cartesia_cli.commands.serve import parse_host
from cartesia_cli.errors import ApiError
from cartesia_cli.protocol.batch import parse_sample_rate
from cartesia_cli.protocol.realtime import AUTO, MANUAL, RealtimeOptions, decode_command
from cartesia_cli.server import connections, uploads
from cartesia_cli.server.access import OriginPolicy
from cartesia_cli.server.app import ServerConfig, create_scripted_app
from cartesia_cli.server.observer import Exchange, SilentObserver
from cartesia_cli.server.runner import base_url, bind, bind_loopback, serve_in_background
from cartesia_cli.server.script import parse_script

VERSION = {"Cartesia-Version": "2026-03-01"}
QUERY = "model=ink-2&encoding=pcm_s16le&sample_rate=16000"
FORM: dict[str, Any] = {"data": {"model": "ink-whisper"}, "files": {"file": b"any"}}
SOON = 20.0


@contextmanager
def serving(*steps: dict[str, Any], **options: Any) -> Iterator[httpx.Client]:
    script = parse_script("\n".join(map(json.dumps, steps or [{"text": "Hello"}])))
    with (
        serve_in_background(create_scripted_app(script, ServerConfig(**options))) as server,
        httpx.Client(base_url=server, trust_env=False, timeout=SOON) as client,
    ):
        yield client


def dial(client: httpx.Client, query: str = QUERY, path: str = MANUAL.path, **headers: str) -> ClientConnection:
    address = str(client.base_url).replace("http", "ws").rstrip("/")
    return connect(f"{address}{path}?{query}", proxy=None, additional_headers=headers, origin=None)


def refused(client: httpx.Client, query: str = QUERY, **headers: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as error:
        dial(client, query, **headers)
    return error.value.response.status_code, json.loads(error.value.response.body or b"")


@pytest.mark.parametrize("text", ["1000", "8000", "16000", "016000", "384000"])
def test_parse_sample_rate_returns_the_checked_number(text: str) -> None:
    assert parse_sample_rate(text, required=True) == int(text)


@pytest.mark.parametrize(
    "text",
    [
        "000100000000000000",
        "0016000999",
        "1600000000000",
        "9" * 4400,
        "0" * 4400 + "16000",
        "384001",
        "999",
        "-16000",
        "+16000",
        "16e3",
        "16_000",
        " 16000",
        "16000.0",
        "\u0661\u0666\u0660\u0660\u0660",
        "\u00b2\u00b2\u00b2\u00b2",
        "nan",
    ],
)
def test_implausible_sample_rate_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as error:
        parse_sample_rate(text, required=True)
    assert error.value.status == 400
    assert len(error.value.message) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", "000100000000000000"),
        ("sample_rate", "9" * 4400),
        ("sample_rate", "0"),
        ("max_silence_duration_secs", "1e999"),
        ("max_silence_duration_secs", "nan"),
        ("max_silence_duration_secs", "1_0"),
        ("max_silence_duration_secs", "\u0661"),
        ("min_volume", "-1e-300000"),
        ("min_volume", "inf"),
        ("keyterm", "x" * 1201),
        ("encoding", "x" * 4000),
        ("model", "x" * 4000),
    ],
)
def test_parameter_out_of_bounds_is_refused_and_the_next_client_served(name: str, value: str) -> None:
    query = "&".join(part for part in QUERY.split("&") if not part.startswith(f"{name}="))
    with serving() as client:
        status, body = refused(client, f"{query}&{name}={value}", **VERSION)
        assert status == 400
        assert len(body["message"]) < 200
        with dial(client, **VERSION) as line:
            line.send("close")
            assert json.loads(line.recv(SOON))["type"] == "transcript"


def test_batch_rate_fields_and_files_are_bounded() -> None:
    with serving() as client:
        many = {f"field{n}": "x" for n in range(100)}
        for request in (
            FORM | {"params": {"encoding": "pcm_s16le", "sample_rate": "000100000000000000"}},
            FORM | {"params": {"encoding": "pcm_s16le", "sample_rate": "9" * 4400}},
            FORM | {"data": FORM["data"] | many},
            FORM | {"data": FORM["data"] | {"language": "x" * 5000}},
            FORM | {"files": [("file", b"any"), ("file", b"any")]},
        ):
            answer = client.post("/stt", headers=VERSION, **request)
            assert (answer.status_code, answer.json()["error_code"]) == (400, None)
            assert len(answer.text) < 500
        assert client.post("/stt", headers=VERSION, **FORM).status_code == 200


@pytest.mark.parametrize("query", [QUERY + "&x=" + "y" * 20_000, QUERY + "&x=" + "y" * 15_800])
def test_too_long_handshake_is_answered(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is too long for h11, the second one for websockets, with its own limit."""
    monkeypatch.setattr(http11, "MAX_LINE_LENGTH", 8192)
    with serving() as client, pytest.raises(InvalidStatus) as error:
        dial(client, query, **VERSION)
    assert error.value.response.status_code in (400, 414, 431)


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"config","turn":' * 5000,
        "[" * 100_000,
        '{"type":"config","turn":{"start_threshold":NaN}}',
        '{"type":"config","turn":{"end_timeout_ms":%s}}' % ("9" * 5000),
        '{"type":"config","turn":{"end_threshold":1e999}}',
        '{"type":"close", "x": "%s"}' % ("y" * 20_000),
    ],
)
def test_command_out_of_bounds_gets_error_400(frame: str) -> None:
    with pytest.raises(ApiError) as error:
        decode_command(AUTO, frame)
    assert error.value.status == 400
    assert len(error.value.message) < 200


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:1", True),
        ("127.0.0.2", True),
        ("[::1]:8000", True),
        ("[::ffff:127.0.0.1]:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.5", False),
        ("[2001:db8::1]", False),
        ("127.0.0.1@evil.example", False),
        ("", False),
        ("[evil]", False),
    ],
)
def test_only_loopback_hosts_are_accepted_by_default(host: str, is_answered: bool) -> None:
    with serving() as client:
        for path in ("/", "/nowhere"):
            answer = client.get(path, headers={"Host": host})
            assert (answer.status_code != 403) is is_answered
        if not is_answered:
            assert client.post("/stt", headers=VERSION | {"Host": host}, **FORM).status_code == 403


def test_websocket_with_foreign_host_is_refused() -> None:
    with serving() as client, socket.create_connection((client.base_url.host, client.base_url.port)) as hand:
        hand.sendall(
            f"GET {MANUAL.path}?{QUERY} HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Cartesia-Version: 2026-03-01\r\n\r\n".encode()
        )
        head, _, body = b"".join(iter(lambda: hand.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403")
    assert json.loads(body)["title"] == "Forbidden host"


@pytest.mark.parametrize(
    ("origin", "is_answered"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:5173", True),
        ("https://app.example", True),
        ("HTTPS://APP.example", True),
        ("https://evil.example", False),
        ("https://app.example.evil.example", False),
        ("http://app.example", False),
        ("https://app.example:444", False),
        ("null", False),
        ("file://", False),
        ("http://localhost.evil.example", False),
        ("http://[", False),
        ("chrome-extension://localhost", False),
        ("", False),
    ],
)
def test_foreign_origins_are_refused(origin: str, is_answered: bool) -> None:
    with serving(origins=OriginPolicy(origins=frozenset({"https://app.example"}))) as client:
        answer = client.post("/stt", headers=VERSION | {"Origin": origin}, **FORM)
        assert answer.status_code == (200 if is_answered else 403)
        assert ("access-control-allow-origin" in answer.headers) is is_answered
        if is_answered:
            with dial(client, **VERSION, Origin=origin) as line:
                line.send("close")
        else:
            assert refused(client, **VERSION, Origin=origin)[0] == 403


def test_cors_preflight_of_an_allowed_origin() -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "cartesia-version, authorization",
    }
    with serving(origins=OriginPolicy(origins=frozenset({"https://app.example"}))) as client:
        preflight = client.options("/stt", headers=asked)
        assert preflight.status_code == 200
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        assert client.options("/stt", headers=asked | {"Origin": "https://evil.example"}).status_code == 403


def test_open_server_accepts_any_address_and_given_host_names() -> None:
    allowed = OriginPolicy(addresses=True, hosts=frozenset({"mybox.local"}))
    with serving(origins=allowed) as client:
        for host, status in (
            ("192.168.1.5:8000", 200),
            ("[fe80::1]", 200),
            ("mybox.local:8000", 200),
            ("mybox", 403),
            ("evil.example", 403),
        ):
            assert client.get("/", headers={"Host": host}).status_code == status
        # A page from the server's own address has the same origin; one from another address hasn't.
        same = {"Host": "192.168.1.5:8000", "Origin": "http://192.168.1.5:8000"}
        assert client.get("/", headers=same).status_code == 200
        assert client.get("/", headers=same | {"Origin": "http://192.168.1.6:8000"}).status_code == 403


@pytest.mark.parametrize("version", [None, "", "2026", "today", "2026-02-30", "2026-3-1", "2026-03-01x"])
def test_request_without_version_is_refused_on_every_route(version: str | None) -> None:
    headers = {} if version is None else {"Cartesia-Version": version}
    with serving() as client:
        for path in ("/stt", "/audio/transcriptions"):
            answer = client.post(path, headers=headers, params={"cartesia_version": "2026-03-01"}, **FORM)
            assert answer.status_code == 400
            assert "API version" in answer.json()["title"]
        assert refused(client, **headers)[0] == 400
        assert client.get("/").status_code == 200  # the status route needs no version


def test_version_in_websocket_query_takes_precedence() -> None:
    with serving() as client:
        with dial(client, f"{QUERY}&cartesia_version=2026-03-01") as line:
            line.send("close")
        with dial(client, f"{QUERY}&cartesia_version=2026-03-01", **{"Cartesia-Version": "nonsense"}) as line:
            line.send("close")
        assert refused(client, f"{QUERY}&cartesia_version=nonsense", **VERSION)[0] == 400


def test_lenient_server_accepts_no_version_but_rejects_a_wrong_one() -> None:
    with serving(lenient=True) as client:
        assert client.post("/stt", **FORM).status_code == 200
        with dial(client) as line:
            line.send("close")
        assert client.post("/stt", headers={"Cartesia-Version": "nonsense"}, **FORM).status_code == 400


def test_status_route_identifies_the_server() -> None:
    with serving({"text": "a"}) as client:
        status = client.get("/").json()
    assert status["ok"] is True
    assert status["server"] == "cartesia-cli"
    assert set(status["engine"]) == {"name", "model", "id"}


def test_identity_depends_on_engine_weights_and_script(tmp_path: Path) -> None:
    from cartesia_cli.server.app import ServerIdentity, identify_engines

    class Named:
        def __init__(self, name: str) -> None:
            self.name, self.languages, self.workers, self.is_quick = name, frozenset({"en"}), 1, True

    weights = tmp_path / "model.bin"
    weights.write_bytes(b"weights")
    one = identify_engines(str(tmp_path), Named("One"), None)
    assert one == identify_engines(str(tmp_path), Named("One"), None)
    weights.write_bytes(b"other weights")
    others = [
        identify_engines(str(tmp_path), Named("One"), None),
        identify_engines(None, Named("One"), None),
        identify_engines(None, Named("Two"), None),
        identify_engines(None, Named("One"), Named("Two")),
        ServerIdentity.of("s.ndjson", None, ["a"]),
        ServerIdentity.of("s.ndjson", None, ["b"]),
    ]
    assert len({one.id, *(other.id for other in others)}) == 7
    assert identify_engines(None, Named("Whisper base"), Named("Moonshine tiny")).model == "base"
    assert identify_engines("small", Named("small"), None).model == "small"
    assert identify_engines(None, Named("Moonshine tiny"), None).model is None


def test_message_over_4_mib_is_closed_with_1009() -> None:
    with serving() as client:
        # A client that still sends when it is refused may see the connection reset before it reads why (1006).
        for size, codes in (((4 << 20), {1000}), ((4 << 20) + 1, {1009, 1006})):
            with dial(client, **VERSION) as line:
                with suppress(ConnectionClosed):
                    line.send(bytes(size))
                    line.send("close")
                    for _ in line:
                        pass
                assert line.close_code in codes


def test_request_cancelled_by_shutdown_gets_503_in_json() -> None:
    with serving({"request": 1, "batch": 200, "stall": 60}) as client:
        hand = socket.create_connection((client.base_url.host, client.base_url.port), timeout=SOON)
        request = client.build_request("POST", "/stt", headers=VERSION, **FORM)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        hand.sendall(f"POST /stt HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        while client.get("/stt").status_code == 405 and not waits(client):
            time.sleep(0.02)
    head, _, body = b"".join(iter(lambda: hand.recv(65536), b"")).decode().partition("\r\n\r\n")
    hand.close()
    assert head.startswith("HTTP/1.1 503")
    assert set(json.loads(body)) == {"error_code", "title", "message", "request_id"}


def waits(client: httpx.Client) -> bool:
    """Whether the request has reached the script, so that the next one is its second."""
    return bool(client.post("/stt", headers=VERSION, **FORM).status_code == 200)


def test_incomplete_request_head_gets_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    with serving() as client, socket.create_connection((client.base_url.host, client.base_url.port), SOON) as hand:
        hand.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        head, _, body = b"".join(iter(lambda: hand.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["title"] == "Request timeout"


def test_longest_idle_connection_is_closed_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_IDLE_CONNECTIONS", 3)
    with serving() as client:
        place = client.base_url.host, client.base_url.port
        waiting = [socket.create_connection(place, SOON) for _ in range(4)]
        for hand in waiting:
            hand.sendall(b"GET")
        with suppress(ConnectionResetError):
            assert waiting[0].recv(1) == b""
        waiting[3].sendall(b" / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert waiting[3].recv(12) == b"HTTP/1.1 200"
        for hand in waiting:
            hand.close()


def test_slow_body_gets_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BODY_IDLE_SECONDS", 0.1)
    with serving() as client:

        def body() -> Iterator[bytes]:
            yield b"--x\r\n"
            time.sleep(0.5)
            yield b"--x--\r\n"

        headers = VERSION | {"Content-Type": "multipart/form-data; boundary=x"}
        assert client.post("/stt", headers=headers, content=body()).status_code == 408
        assert client.post("/stt", headers=VERSION, **FORM).status_code == 200


@pytest.mark.waits
def test_slowest_of_too_many_uploads_is_aborted() -> None:
    with serving(concurrency=1) as client:
        head = (
            "POST /stt HTTP/1.1\r\nHost: localhost\r\nCartesia-Version: 2026-03-01\r\nContent-Length: 1000000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        place = client.base_url.host, client.base_url.port
        slow = [socket.create_connection(place, SOON) for _ in range(uploads.MAX_UPLOADS)]
        for hand in slow:
            hand.sendall(head.encode())
        assert client.post("/stt", headers=VERSION, **FORM).status_code == 200  # slow uploads don't count
        assert slow[0].recv(12) == b"HTTP/1.1 408"
        for hand in slow:
            hand.close()


def test_idle_scripted_session_is_closed_with_1001() -> None:
    with serving(idle_seconds=0.1) as client, dial(client, **VERSION) as line:
        assert len(list(line)) == 1  # and the end
        assert line.close_code == 1001


def test_client_that_reads_nothing_is_aborted_and_frees_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.2)
    with serving({"connection": 1, "text": "x" * 10_000, "times": 2000}, concurrency=1) as client:
        hand = socket.create_connection((client.base_url.host, client.base_url.port), SOON)
        hand.sendall(
            f"GET {MANUAL.path}?{QUERY} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Cartesia-Version: 2026-03-01\r\n\r\n".encode()
        )
        assert hand.recv(12) == b"HTTP/1.1 101"
        assert client.post("/stt", headers=VERSION, **FORM).status_code == 429
        ends = time.monotonic() + SOON
        while client.post("/stt", headers=VERSION, **FORM).status_code == 429 and time.monotonic() < ends:
            time.sleep(0.1)
        assert client.post("/stt", headers=VERSION, **FORM).status_code == 200
        hand.close()


def test_observer_gets_each_exchange_at_its_end() -> None:
    ended: list[Exchange] = []

    class Observer(SilentObserver):
        def exchange_ended(self, exchange: Exchange) -> None:
            ended.append(exchange)

    with serving(observer=Observer()) as client:
        client.post("/stt?api_key=sk_car_x", headers=VERSION, **FORM)
        client.get("/nowhere")
        with dial(client, **VERSION) as line:
            line.send(bytes(32_000))
            line.send("close")
            assert list(line)
        refused(client)
    assert [(one.method, one.path, one.status, one.close_code, one.audio_seconds) for one in ended] == [
        ("POST", "/stt", 200, None, None),
        ("GET", "/nowhere", 404, None, None),
        ("WEBSOCKET", "/stt/websocket", 101, 1000, 1.0),
        ("WEBSOCKET", "/stt/websocket", 400, None, None),
    ]


def test_base_url_is_reachable_from_this_machine() -> None:
    for host, printed in (("0.0.0.0", "http://127.0.0.1:"), ("127.0.0.1", "http://127.0.0.1:")):
        listener = bind(host, 0)
        assert base_url(listener).startswith(printed)
        assert bind_loopback(listener) is None
        listener.close()


@contextmanager
def program(environment: dict[str, str], tmp_path: Path, *options: str) -> Iterator[tuple[str, list[str]]]:
    """Runs `cartesia-cli serve` with a script; yields its address and its stderr, which is complete after the block."""
    (tmp_path / "script.ndjson").write_text('{"text": "Hello"}')
    command = [sys.executable, "-m", "cartesia_cli", "serve", "--port", "0", "--script", "script.ndjson", *options]
    said: list[str] = []
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().partition("=")[2], said
        finally:
            process.send_signal(signal.SIGINT)
            said += process.communicate(timeout=SOON)[1].splitlines()
    assert process.returncode == 0


def test_ctrl_c_does_not_wait_for_a_busy_engine(environment: dict[str, str]) -> None:
    slow = """
import sys, time
from cartesia_cli.__main__ import main
from cartesia_cli.server import engine_choice
class Slow:
    name, languages, workers, batch_size, is_quick = "Slow", {"en"}, 1, 1, True
    def recognize(self, utterances, language):
        print("hearing", flush=True)
        time.sleep(600)
engine_choice.load_engines = lambda model, observer, workers: (Slow(), None)
sys.argv = ["cartesia-cli", "serve", "--port", "0"]
main()
"""
    with subprocess.Popen([sys.executable, "-c", slow], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip().partition("=")[2]
        place = httpx.URL(url)
        with socket.create_connection((place.host, place.port or 0), SOON) as hand:
            files = {"file": (Path(cartesia_cli.__file__).parent / "sample.wav").read_bytes()}
            request = httpx.Request("POST", f"{url}/stt", headers=VERSION, data={"model": "ink-whisper"}, files=files)
            head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
            hand.sendall(f"POST /stt HTTP/1.1\r\n{head}\r\n".encode() + request.read())
            assert process.stdout.readline() == b"hearing\n"
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)  # the second one doesn't wait for requests either
            assert hand.recv(12) == b"HTTP/1.1 503"
        assert process.wait(SOON) == 0


def test_server_is_reached_by_an_ipv6_address(environment: dict[str, str], tmp_path: Path) -> None:
    with program(environment, tmp_path) as (url, _):
        mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]")
        done = subprocess.run(
            [sys.executable, "-m", "cartesia_cli", "transcribe", "--sample", "--base-url", mapped],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (0, "Hello\n"), done.stderr


@pytest.mark.parametrize("text", ["2001:db8::1", "[2001:db8::1]", "192.168.1.5", "mybox.local"])
def test_allowed_hosts_are_names_and_addresses(text: str) -> None:
    with serving(origins=OriginPolicy(hosts=frozenset({parse_host(text)}))) as client:
        host = f"[{text}]" if text.startswith("2001") else text
        assert client.get("/", headers={"Host": f"{host}:8000"}).status_code == 200


def test_serve_on_all_addresses_prints_a_usable_base_url(environment: dict[str, str], tmp_path: Path) -> None:
    with program(environment, tmp_path, "--host", "0.0.0.0") as (url, said):
        assert url.startswith("http://127.0.0.1:")
        done = subprocess.run(
            [sys.executable, "-m", "cartesia_cli", "transcribe", "--sample", "--base-url", url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == "Hello\n"
        port = url.rpartition(":")[2]
        for host, status in (
            (f"192.168.7.7:{port}", 200),
            (f"{socket.gethostname()}:{port}", 200),
            ("evil.example", 403),
        ):
            assert httpx.get(url, headers={"Host": host}, trust_env=False).status_code == status
    assert any("other machines" in line and port in line for line in said)


def test_keyterms_at_the_documented_limit_fit_into_the_url(environment: dict[str, str], tmp_path: Path) -> None:
    terms = ["\u4f60" * 12] * 100  # 1200 characters, 10,800 bytes of a URL
    query = RealtimeOptions(model="ink-2", keyterms=tuple(terms)).query(MANUAL)
    with program(environment, tmp_path) as (url, _):
        address = f"{url.replace('http', 'ws')}{MANUAL.path}?{httpx.QueryParams(query)}"
        with connect(address, proxy=None, additional_headers=VERSION) as line:
            line.send("close")
            assert json.loads(line.recv(SOON))["type"] == "transcript"


def test_serve_verbose_logs_each_exchange_without_the_key(environment: dict[str, str], tmp_path: Path) -> None:
    with program(environment | {"CARTESIA_API_KEY": "sk_car_secret"}, tmp_path, "-v", "--require-key") as (url, said):
        headers = VERSION | {"Authorization": "Bearer sk_car_secret"}
        httpx.post(f"{url}/stt", headers=headers, trust_env=False, **FORM)
        httpx.get(f"{url}/sk_car_secret?api_key=sk_car_secret", trust_env=False)
        address = f"{url.replace('http', 'ws')}{MANUAL.path}?{QUERY}&access_token=sk_car_secret"
        with connect(address, proxy=None, additional_headers=VERSION) as line:
            line.send(bytes(16_000))
            line.send("close")
            assert list(line)
    log = [line for line in said if line.endswith(" ms")]
    assert [line.split()[:3] for line in log[:2]] == [["POST", "/stt", "200"], ["GET", "/[the", "key]"]]
    assert log[2].startswith("WEBSOCKET /stt/websocket 101 closed 1000 0.5 s of audio ")
    assert len(log) == 3
    assert "secret" not in "\n".join(said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--allow-origin", "app.example"), "is not an origin"),
        (("--allow-origin", "https://a.example/path"), "is not an origin"),
        (("--allow-host", "http://mybox"), "is not a host name"),
        (("--host", "ü" * 300), "can't listen on"),
        (("--host", "nowhere.invalid"), "--host takes an address of this machine"),
    ],
)
def test_invalid_hosts_and_origins_are_usage_errors(run: Any, options: tuple[str, ...], message: str) -> None:
    done = run("serve", "--port", "0", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert "hint:" in done.stderr.decode()
