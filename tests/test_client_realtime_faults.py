"""What goes wrong on a realtime connection, and what the user is owed then: one error of the right kind, with a hint.

Whatever happens, what was heard before is heard, the key is never shown, and nobody waits forever.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from cartesia_cli.client import RetryPolicy
from cartesia_cli.client.realtime import RealtimeConnection, connect
from cartesia_cli.errors import ApiError, AuthError, CliError, Exit, NetworkError, ProtocolError, UsageError
from cartesia_cli.protocol.constants import RUNNING_SERVER, Credential
from cartesia_cli.protocol.events import TurnEnd
from cartesia_cli.protocol.realtime import AUTO, MANUAL, Config, Endpoint, RealtimeOptions

from . import realtime_server as foreign
from .fault_server import KEY, REQUEST_ID, SOON
from .realtime_server import CLOSE, CONTINUATION, PARTIAL, TEXT, RealtimeServer, Script, ServerConnection, pack
from .test_client_realtime import (
    BOTH,
    CREDENTIAL,
    Heard,
    Speak,
    cancel_at_once,
    converse,
    nothing,
    send_on,
    session,
    some_audio,
)

ONCE = RetryPolicy(max_retries=0)
MODEL = RealtimeOptions(model="ink-2")


def failed(heard: Heard, kind: type[CliError], *said: str) -> CliError:
    """The error of a session, with what every error must have."""
    error = heard.failure
    assert type(error) is kind
    shown = f"{error} / {error.hint}"
    for words in said:
        assert words in shown
    assert error.hint
    assert KEY not in shown
    assert "\n" not in shown
    assert len(shown) < 700
    return error


async def half(connection: RealtimeConnection) -> None:
    """Audio to begin with, and no end."""
    await some_audio(connection, 3)


# Ends that come too early.


@BOTH
@pytest.mark.parametrize("reason", ["", "connection idle timeout"])
@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 1012, 1013, 1014])
def test_early_close_is_a_lost_connection_whatever_its_code(dialect: Endpoint, code: int | None, reason: str) -> None:
    reason = "" if code is None else reason
    with RealtimeServer(foreign.closes(code, reason)) as server:
        heard = converse(server, dialect, send_on)
    error = failed(heard, NetworkError, "no code" if code is None else str(code), reason, "127.0.0.1")
    assert (error.exit_code, error.request_id, error.status) == (Exit.NETWORK, REQUEST_ID, None)
    assert heard.texts()[-1] == PARTIAL


@BOTH
@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4999])
def test_close_code_of_a_refusal_is_an_api_error(dialect: Endpoint, code: int) -> None:
    with RealtimeServer(foreign.closes(code, "Invalid turn thresholds")) as server:
        heard = converse(server, dialect, send_on)
    error = failed(heard, ApiError, str(code), "Invalid turn thresholds")
    assert (error.exit_code, error.request_id) == (Exit.API, REQUEST_ID)
    assert heard.texts()[-1] == PARTIAL


def test_the_reason_of_a_refusal_moves_no_cursor_line_and_shows_no_key() -> None:
    with RealtimeServer(foreign.closes_at_once(1008, f"no\r\nway\n{KEY} !")) as server:
        failed(converse(server), ApiError, "no way [the key] !")


@pytest.mark.parametrize(
    ("dialect", "code"), [(MANUAL, 1000), (MANUAL, 1001), (AUTO, 1001), (AUTO, None), (AUTO, 1011)]
)
def test_close_frame_without_done_is_an_early_end(dialect: Endpoint, code: int | None) -> None:
    with RealtimeServer(foreign.ends_unfinished(code)) as server:
        heard = converse(server, dialect)
    failed(heard, NetworkError, "early")
    assert heard.texts()[-1] == PARTIAL


def test_auto_session_with_an_open_turn_ends_normally() -> None:
    """What to do about the turn doesn't concern the connection."""
    with RealtimeServer(foreign.ends_unfinished()) as server:
        heard = converse(server, AUTO)
    assert heard.error is None
    assert not any(isinstance(event, TurnEnd) for event in heard.events)


def test_another_command_than_close_asks_for_no_end() -> None:
    async def configure(connection: RealtimeConnection) -> None:
        await connection.send_command(Config())
        await half(connection)

    with RealtimeServer(foreign.closes(1000)) as server:
        failed(converse(server, AUTO, configure), NetworkError, "early")


def test_an_auto_session_doesnt_end_with_done() -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit(first=foreign.connected())
        connection.until_command("close")
        connection.say(foreign.done())
        connection.say(foreign.turn("end", "late"))
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server, AUTO)
    assert (heard.error, heard.texts()[-1]) == (None, "late")


@BOTH
@pytest.mark.parametrize(("script", "why"), [(foreign.drops, "closed without"), (foreign.resets, "reset")])
def test_lost_connection_is_reported_after_all_events(dialect: Endpoint, script: Script, why: str) -> None:
    with RealtimeServer(script) as server:
        heard = converse(server, dialect, half)
        error = failed(heard, NetworkError, "127.0.0.1", why)
    assert (error.exit_code, error.request_id) == (Exit.NETWORK, REQUEST_ID)
    assert heard.texts()[-1] == PARTIAL


@BOTH
def test_a_server_that_is_gone_takes_no_more_audio(dialect: Endpoint) -> None:
    for script in (foreign.drops, foreign.resets):
        with RealtimeServer(script) as server:
            failed(converse(server, dialect, send_on), NetworkError, "lost")


@BOTH
def test_dead_link_is_detected_by_pings(dialect: Endpoint) -> None:
    with RealtimeServer(foreign.falls_silent) as server:
        heard = converse(server, dialect, half, ping_interval=0.2, ping_timeout=1.0, within=SOON / 2)
    failed(heard, NetworkError, "has not responded")
    assert heard.tapped[-1] == ("close", {"code": 1011, "reason": "keepalive ping timeout"})
    assert heard.texts()[-1] == PARTIAL


def test_a_link_is_not_dead_while_pings_are_answered() -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until(lambda call: len(call.payloads(foreign.PING)) > 5)
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        assert converse(server, speak=half, ping_interval=0.05, ping_timeout=SOON).error is None


def test_a_link_is_not_dead_while_text_comes() -> None:
    """The answer to a ping comes behind all that was sent before it, and reading that may take longer."""

    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.answers_pings = False
        for _ in range(250):
            connection.say(foreign.transcript("x"))
            connection.pause(0.01)
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server, speak=half, ping_interval=0.1, ping_timeout=1.0)
    assert heard.error is None
    assert heard.texts().count("x") == 250


async def flood(connection: RealtimeConnection) -> None:
    while True:
        await connection.send(bytes(1 << 20))


def test_server_that_stops_reading_is_a_stalled_connection() -> None:
    """What fills the buffers holds up the pings, too, so they can't tell."""
    with RealtimeServer(foreign.stops_reading, receive_buffer=4096) as server:
        heard = converse(server, speak=flood, ping_interval=1.0, ping_timeout=1.0)
    failed(heard, NetworkError, "127.0.0.1", "for 2 s")
    assert heard.texts() == [PARTIAL]


async def a_lot_and_then_more(connection: RealtimeConnection) -> None:
    await some_audio(connection, 2)
    await connection.send(bytes(1 << 20))
    await asyncio.sleep(0.5)
    await connection.send(bytes(2))


@pytest.mark.parametrize("speak", [flood, a_lot_and_then_more], ids=["while it is sent", "behind it"])
def test_close_while_frames_are_unsent_is_a_lost_connection(speak: Speak) -> None:
    """asyncio then closes the transport only when all is written, and falls over whoever aborts it behind that."""

    def script(connection: ServerConnection) -> None:
        foreign.begin(connection, reads=False)
        connection.pause(0.2)  # so that the buffers are full
        wire = connection._connection
        wire.shutdown(socket.SHUT_WR)
        connection.pause(0.2)  # so that it is noticed before they are empty
        wire.settimeout(SOON)
        while wire.recv(1 << 16):
            pass

    with RealtimeServer(script, receive_buffer=4096) as server:
        failed(converse(server, speak=speak), NetworkError, "lost")


BREACHES = {
    "a mask": pack(TEXT, b"{}", mask=b"mask"),
    "a reserved bit": b"\xc1\x02{}",
    "an unknown opcode": b"\x83\x00",
    "a continuation of nothing": pack(CONTINUATION, b"{}"),
    "a message within another": pack(TEXT, b"{", fin=False) + pack(TEXT, b"}"),
    "a ping in pieces": pack(foreign.PING, b"", fin=False),
    "half a close code": pack(CLOSE, b"\x03"),
    "a close code that is none": pack(CLOSE, (1005).to_bytes(2, "big")),
    "a reason that is not text": pack(CLOSE, (1000).to_bytes(2, "big") + b"\xff"),
    "a text that is none": pack(TEXT, b'{"type": "\xff"}'),
    "a character that is cut short": pack(TEXT, "{ü".encode()[:-1], fin=False) + pack(CONTINUATION, b"}"),
    "a message without a bound": b"\x81\x7f" + (17 << 20).to_bytes(8, "big"),
    "pieces that add up": pack(TEXT, bytes(1 << 20), fin=False) + 16 * pack(CONTINUATION, bytes(1 << 20), fin=False),
}


@pytest.mark.parametrize("data", BREACHES.values(), ids=BREACHES)
def test_a_server_that_breaks_the_rules_of_websockets_breaks_the_protocol(data: bytes) -> None:
    with RealtimeServer(foreign.breaks_off(data)) as server:
        heard = converse(server, speak=half)
    error = failed(heard, ProtocolError, "127.0.0.1", "Cartesia")
    assert error.request_id == REQUEST_ID
    assert heard.texts() == [PARTIAL]
    end, told = heard.tapped[-1]
    assert end == "close" and told["code"] in (1002, 1007, 1009) and told["reason"]


@BOTH
def test_close_within_a_message_is_a_lost_connection(dialect: Endpoint) -> None:
    def act(connection: ServerConnection) -> None:
        connection.until_command("close")
        connection.frame(TEXT, b"{", fin=False)
        connection.close(1000)

    with RealtimeServer(foreign.then(act)) as server:
        heard = converse(server, dialect)
    failed(heard, NetworkError, "early")
    assert heard.texts()[-1] == PARTIAL


# Errors that the server tells.


@BOTH
@pytest.mark.parametrize("code", [1000, 1008, 1011])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503])
def test_an_error_event_is_the_refusal_that_it_says(dialect: Endpoint, status: int, code: int) -> None:
    with RealtimeServer(foreign.fails(status, code)) as server:
        heard = converse(server, dialect, send_on)
    error = failed(heard, AuthError if status in (401, 403) else ApiError, "127.0.0.1", f"status {status}")
    assert (error.status, error.request_id) == (status, REQUEST_ID)
    assert heard.texts()[-1] == PARTIAL


@BOTH
def test_an_error_may_be_the_first_that_is_heard(dialect: Endpoint) -> None:
    script = foreign.fails_at_once(400, title="Invalid sample rate", message="It is 7.", error_code="bad_rate")
    with RealtimeServer(script) as server:
        heard = converse(server, dialect, send_on)
    error = failed(heard, ApiError, "Invalid sample rate: It is 7.", "check the model")
    assert isinstance(error, ApiError) and error.code == "bad_rate"
    assert heard.events == []


@pytest.mark.parametrize("heard_before", [False, True])
@BOTH
def test_error_after_close_is_raised(dialect: Endpoint, heard_before: bool) -> None:
    with RealtimeServer(foreign.fails_after_close(500, heard=heard_before)) as server:
        heard = converse(server, dialect)
    failed(heard, ApiError, "status 500")
    assert (PARTIAL in heard.texts()) == heard_before


def test_refused_key_names_its_origin() -> None:
    with RealtimeServer(foreign.fails(401)) as server:
        failed(converse(server, speak=send_on), AuthError, "CARTESIA_API_KEY", "play.cartesia.ai")


def test_out_of_credits_is_recognized_by_its_code() -> None:
    with RealtimeServer(foreign.fails(403, error_code="quota_exceeded")) as server:
        failed(converse(server, speak=send_on), ApiError, "credits")


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "error", "error": "old words", "code": 400}, ["old words", "status 400"]),
        ({"type": "error", "message": "bare words"}, ["bare words"]),
        ({"type": "error", "title": "Only a title", "error_code": None}, ["Only a title"]),
        ({"type": "error"}, ["gave no reason"]),
        ({"type": "error", "status_code": 10**30, "message": "x " * 10_000, "title": "a\r\nb"}, ["a b: x x"]),
        ({"type": "error", "message": f"no such key: {KEY}", "title": f"{'x' * 280} {KEY}"}, ["[the key]"]),
    ],
)
def test_error_events_of_any_shape_are_reported_on_one_line(event: dict[str, object], said: list[str]) -> None:
    def act(connection: ServerConnection) -> None:
        connection.say(event)
        connection.close(1011)

    with RealtimeServer(foreign.then(act)) as server:
        error = failed(converse(server, speak=send_on), ApiError, *said)
    assert error.status == event.get("status_code", event.get("code"))


@BOTH
@pytest.mark.parametrize(
    ("odd", "kind", "said"),
    [
        ({"status_code": "402"}, ApiError, "(status 402, request id"), ({"code": "401"}, AuthError, "play.cartesia.ai"),
        ({"status_code": ["402"]}, ApiError, "Buy more. (request id"), ({"title": {}}, ApiError, ": Buy more."),
        ({"message": {"detail": "x"}}, ApiError, ": No credits ("), ({"error_code": 402}, ApiError, "Buy more."),
        ({"request_id": 7}, ApiError, REQUEST_ID), ({"done": "no"}, ApiError, "Buy more."),
    ],
)  # fmt: skip
def test_error_with_odd_members_ends_the_session(
    dialect: Endpoint, odd: dict[str, object], kind: type[CliError], said: str
) -> None:
    def act(connection: ServerConnection) -> None:
        connection.say({"type": "error", "title": "No credits", "message": "Buy more."} | odd)
        connection.hold()

    with RealtimeServer(foreign.then(act)) as server:
        heard = converse(server, dialect, half)
    failed(heard, kind, said)
    assert heard.texts()[-1] == PARTIAL


def test_lost_connection_after_unreadable_text_is_a_lost_connection() -> None:
    """Another one may bring the same words again."""

    def act(connection: ServerConnection) -> None:
        connection.say(foreign.transcript("") | {"text": 5})
        connection.drop()

    with RealtimeServer(foreign.then(act)) as server:
        heard = converse(server, speak=half)
    failed(heard, NetworkError, "lost")
    assert len(heard.told) == 1


# Handshakes that are refused.


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 422, 426])
def test_a_refused_handshake_is_the_refusal_of_a_request(status: int) -> None:
    with RealtimeServer(foreign.refuses(status, title="Title", message="and message.")) as server:
        heard = converse(server)
        kind = AuthError if status in (401, 403) else ApiError
        error = failed(heard, kind, f"127.0.0.1:{server.port}: Title: and message.", f"status {status}")
        assert (error.status, error.request_id, len(server.records), heard.told) == (status, REQUEST_ID, 1, [])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_retryable_handshake_refusal_is_retried(status: int) -> None:
    with RealtimeServer(foreign.refuses(status)) as server:
        heard = converse(server, retry=RetryPolicy(jitter=lambda: 1.0))
        failed(heard, ApiError, f"status {status}")
        assert (len(server.records), heard.pauses) == (3, [0.5, 1.0])
    assert "trying again in 0.5 s (try 2 of 3)" in heard.told[0]
    assert "127.0.0.1" in heard.told[1]
    assert "billed" not in str(heard.told)


def test_session_opened_by_a_retry_works() -> None:
    with RealtimeServer(foreign.refuses(503), foreign.resets_unanswered, foreign.turns()) as server:
        heard = converse(server, AUTO)
    assert heard.error is None
    assert [event.transcript for event in heard.events if isinstance(event, TurnEnd)] == list(foreign.TURN_TEXTS)
    assert (len(heard.told), len(server.records)) == (2, 3)


def test_handshake_retry_after_is_waited_up_to_the_limit() -> None:
    with RealtimeServer(foreign.refuses(429, [("Retry-After", "7")])) as server:
        heard = converse(server, retry=RetryPolicy(max_retries=1))
        assert (heard.pauses, len(server.records)) == ([7.0], 2)
    with RealtimeServer(foreign.refuses(429, [("Retry-After", "3600")])) as server:
        heard = converse(server)
        failed(heard, ApiError, "wait until")
        assert (heard.pauses, len(server.records)) == ([], 1)


@pytest.mark.parametrize("value", ["0", "-5", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_a_server_that_asks_for_less_than_our_own_pause_is_not_asked_sooner(value: str) -> None:
    with RealtimeServer(foreign.refuses(503, [("Retry-After", value)])) as server:
        heard = converse(server, retry=RetryPolicy(max_retries=6, jitter=lambda: 1.0))
        assert (heard.pauses, len(server.records)) == ([0.5, 1.0, 2.0, 4.0, 8.0, 8.0], 7)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"Forbidden: not you\nmore", "Forbidden: not you"),
        (b"<!DOCTYPE html><html>", "gave no reason"),
        (b"\xff\xfe", "127.0.0.1"),
        (b'{"message": ["no", "text"]}', "127.0.0.1"),
        (f'{{"message": "bad key {KEY}"}}'.encode(), "bad key [the key]"),
        (b'{"message": "' + b"x\\n" * 100_000 + b'"}', "x x x"),
        (b"x" * (1 << 21), "127.0.0.1"),
    ],
    ids=["plain", "html", "bytes", "wrong", "key", "long", "huge"],
)
def test_refusal_with_any_body_is_reported(body: bytes, said: str) -> None:
    with RealtimeServer(foreign.refuses(400, body=body)) as server:
        heard = converse(server)
        kind = ProtocolError if len(body) > 1 << 20 else ApiError
        failed(heard, kind, said)
        assert len(server.records) == 1


def test_key_returned_in_a_header_is_not_shown() -> None:
    with RealtimeServer(foreign.refuses(400, [("X-Request-Id", f"for {KEY}")], body=b"no")) as server:
        assert failed(converse(server), ApiError).request_id == "for [the key]"


def test_repeated_handshake_headers_are_accepted() -> None:
    headers = [("X-Request-Id", "one"), ("X-Request-Id", "two"), ("Retry-After", "1"), ("Retry-After", "2")]
    with RealtimeServer(foreign.refuses(429, headers, body=b"later")) as server:
        assert failed(converse(server, retry=ONCE), ApiError, "later").request_id == "two"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_gets_no_key(status: int) -> None:
    with RealtimeServer(foreign.manual()) as elsewhere:
        place = f"{elsewhere.ws_url}/stt/websocket?secret={KEY}"
        with RealtimeServer(foreign.refuses(status, [("Location", place)])) as server:
            heard = converse(server)
            error = failed(
                heard, ApiError, "redirects", elsewhere.ws_url, "the key is not sent there", f"status {status}"
            )
            assert "secret" not in str(error)
            assert len(server.records) == 1
        assert elsewhere.records == []


@pytest.mark.parametrize("place", ["/elsewhere", "//[", "", "ws://[::1", "\x80\x81"])
def test_any_other_redirect_is_refused_too(place: str) -> None:
    with RealtimeServer(foreign.refuses(307, [("Location", place)])) as server:
        failed(converse(server), ApiError, "redirects")
        assert len(server.records) == 1


@pytest.mark.parametrize("status", [200, 204, 304])
def test_http_server_without_websockets_is_reported(status: int) -> None:
    html = b"<!DOCTYPE html><h1>It works!</h1>" if status == 200 else b""
    with RealtimeServer(lambda connection: connection.refuse(status, html)) as server:
        failed(converse(server), ProtocolError if status < 300 else ApiError, f"status {status}")
        assert len(server.records) == 1


@pytest.mark.parametrize(
    ("script", "said"), [(foreign.speaks_no_http, "220 mail.example"), (foreign.accepts_another_key, "Sec-WebSocket")]
)
def test_a_server_that_speaks_something_else_breaks_the_protocol(script: Script, said: str) -> None:
    with RealtimeServer(script) as server:
        failed(converse(server), ProtocolError, said, "base URL")
        assert len(server.records) == 1


def test_unrequested_extension_is_a_protocol_error() -> None:
    script: Script = lambda connection: connection.accept([("Sec-WebSocket-Extensions", "permessage-deflate")])  # noqa: E731
    with RealtimeServer(script) as server:
        failed(converse(server), ProtocolError, "extension")


@pytest.mark.parametrize("script", [foreign.closes_unanswered, foreign.resets_unanswered])
def test_a_handshake_that_is_lost_is_tried_again(script: Script) -> None:
    with RealtimeServer(script) as server:
        heard = converse(server)
        failed(heard, NetworkError, f"127.0.0.1:{server.port}")
        assert len(server.records) == 3


def test_hanging_handshake_ends_at_its_timeout() -> None:
    with RealtimeServer(foreign.never_answers) as server:
        heard = converse(server, retry=ONCE, open_timeout=0.3, within=SOON / 3)
        failed(heard, NetworkError, "did not answer within 0.3 s")


@pytest.mark.parametrize(
    ("script", "speak", "silent"),
    [
        (foreign.never_answers, nothing, True),
        (foreign.falls_silent, half, True),
        (foreign.stops_reading, flood, True),
        (foreign.closes_unanswered, nothing, False),
        (foreign.drops, half, False),
        (foreign.closes(1012), half, False),
    ],
)
def test_a_serve_that_is_silent_is_told_from_one_that_has_ended(script: Script, speak: Speak, silent: bool) -> None:
    with RealtimeServer(script, receive_buffer=4096) as server:
        heard = converse(
            server, speak=speak, retry=ONCE, credential=Credential(KEY, RUNNING_SERVER), open_timeout=0.3,
            ping_interval=0.2, ping_timeout=0.5,
        )  # fmt: skip
    error = failed(heard, NetworkError, "the running server")
    assert str(server.port) not in error.message
    assert (error.hint or "").startswith("`serve` doesn't respond" if silent else "`serve` has ended")


# Networks.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_that_refuses_is_tried_again_and_named(host: str, closed_port: int) -> None:
    heard = converse(f"http://{host}:{closed_port}")
    error = failed(heard, NetworkError, f"{host}:{closed_port} can't be reached: Connection refused", "network")
    assert (len(heard.told), "Errno" in str(error)) == (2, False)


def test_unresolvable_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    heard = converse("https://speech.invalid", retry=ONCE)
    error = failed(heard, NetworkError, "speech.invalid can't be reached")
    assert "Errno" not in str(error)


def test_an_address_that_leads_nowhere_doesnt_hide_the_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as IPv6 at home: the name has two addresses, and what goes to the first is lost."""
    with socket.socket() as nowhere, RealtimeServer(foreign.manual()) as server:
        nowhere.bind(("127.0.0.1", 0))
        nowhere.listen(0)
        callers = [socket.socket() for _ in range(4)]  # nobody accepts: behind them, no answer comes
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(nowhere.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (nowhere.getsockname(), ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert converse("http://localhost:1", retry=ONCE, open_timeout=SOON).error is None
        for caller in callers:
            caller.close()


@asynccontextmanager
async def front(
    port: int, context: ssl.SSLContext | None, *, proxy: bool = False
) -> AsyncIterator[tuple[int, list[str]]]:
    """TLS before a server that has none; `proxy`: behind a CONNECT. The port, and the heads of what was asked."""
    heads: list[str] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if proxy:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if context is None:
                    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                    return
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.start_tls(context)
            behind, ahead = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copy(reader, ahead), copy(behind, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if proxy else context)
    async with listener:
        yield listener.sockets[0].getsockname()[1], heads


Authority = Callable[[str], ssl.SSLContext]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Makes certificates for names. It is trusted through SSL_CERT_FILE, and no proxy is set."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for name in ("SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    def certify(name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(name).configure_cert(context)
        return context

    return certify


def over_tls(script: Script, context: ssl.SSLContext, dialect: Endpoint = MANUAL) -> tuple[Heard, RealtimeServer]:
    async def run(server: RealtimeServer) -> Heard:
        async with asyncio.timeout(SOON), front(server.port, context) as (port, _):
            return await session(f"https://localhost:{port}", dialect)

    with RealtimeServer(script) as server:
        return asyncio.run(run(server)), server


@BOTH
def test_a_private_authority_is_trusted_through_ssl_cert_file(dialect: Endpoint, authority: Authority) -> None:
    script = foreign.manual() if dialect is MANUAL else foreign.turns()
    heard, server = over_tls(script, authority("localhost"), dialect)
    assert heard.error is None
    assert server.records[0].header("Authorization") == f"Bearer {KEY}"


def test_realtime_trusts_the_same_certificates_as_batch(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system knows no authorities, as in a bare container."""
    context = authority("localhost")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr("certifi.where", lambda: str(tmp_path / "ca.pem"))
    assert over_tls(foreign.manual(), context)[0].error is None


def test_an_unknown_authority_is_not_trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    context = authority("localhost")
    monkeypatch.delenv("SSL_CERT_FILE")
    heard, server = over_tls(foreign.manual(), context)
    failed(heard, NetworkError, "can't verify localhost", "SSL_CERT_FILE")
    assert (server.records, heard.told) == ([], [])


def test_a_certificate_of_another_host_is_not_trusted(authority: Authority) -> None:
    heard, server = over_tls(foreign.manual(), authority("other.example"))
    failed(heard, NetworkError, "can't verify localhost", "mismatch")
    assert (server.records, heard.told) == ([], [])


async def test_tls_to_a_plain_port_fails_without_retries() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        heard = await session(f"https://127.0.0.1:{port}", MANUAL)
    failed(heard, NetworkError, f"127.0.0.1:{port}", "wrong version number")
    assert heard.told == []


def test_a_certificate_file_that_is_not_there_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    failed(converse("https://localhost:1"), UsageError, "certificate", "SSL_CERT_FILE")


@pytest.mark.parametrize(
    ("variable", "scheme"), [("HTTPS_PROXY", "http://"), ("ALL_PROXY", "http://"), ("HTTPS_PROXY", "")]
)
async def test_a_proxy_is_used_for_the_network(
    variable: str, scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RealtimeServer(foreign.manual()) as server:
        async with front(server.port, authority("speech.example"), proxy=True) as (port, heads):
            monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{port}")
            heard = await session("https://speech.example", MANUAL)
    assert heard.error is None
    assert len(heads) == 1
    assert heads[0].startswith("CONNECT speech.example:443 ")
    assert KEY not in heads[0]
    assert server.records[0].header("Host") == "speech.example"


async def test_a_proxy_that_wants_a_password_is_explained(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(0, None, proxy=True) as (port, heads):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{port}")
        heard = await session("https://speech.example", MANUAL)
    assert "hunter2" not in str(failed(heard, NetworkError, "proxy", "407", "HTTPS_PROXY"))
    assert (len(heads), heard.told) == (1, [])
    assert KEY not in heads[0]


def test_unreachable_proxy_is_named_in_the_hint(
    authority: Authority, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{closed_port}")
    error = failed(converse("https://speech.example", retry=ONCE), NetworkError, "HTTPS_PROXY")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "proxy", ["http://me:hunter2@proxy:port", "gopher://me:hunter2@proxy:70", "socks5://me@proxy:1"]
)
def test_invalid_proxy_setting_is_a_usage_error(
    proxy: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "hunter2" not in str(failed(converse("https://speech.example", retry=ONCE), UsageError, "proxy"))


def test_loopback_bypasses_the_proxy(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "ws_proxy", "socks_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    with RealtimeServer(foreign.manual()) as server:
        assert converse(server).error is None


# Leaving, whatever the server does.


@pytest.mark.parametrize(
    ("script", "full"),
    [(foreign.falls_silent, False), (foreign.stops_reading, False), (foreign.stops_reading, True)],
    ids=["falls silent", "stops reading", "stops reading and is full"],
)
async def test_leaving_a_session_does_not_block(script: Script, full: bool) -> None:
    """A close frame behind full buffers never goes out, and websockets would wait for that without a limit."""
    with RealtimeServer(script, receive_buffer=4096 if full else None) as server:
        async with asyncio.timeout(SOON / 2), connect(server.base_url, CREDENTIAL, MANUAL, MODEL) as connection:
            await some_audio(connection, 2)
            await anext(connection)
            if full:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(flood(connection), 1.0)


async def test_exception_of_the_caller_propagates_and_closes_the_connection() -> None:
    class Own(Exception):
        pass

    async def leave() -> None:
        async with connect(server.base_url, CREDENTIAL, MANUAL, MODEL) as connection:
            await some_audio(connection, 2)
            raise Own

    with RealtimeServer(foreign.then(ServerConnection.hold)) as server:
        with pytest.raises(Own):
            await leave()
        assert await asyncio.to_thread(server.records[0].gone.wait, SOON)


@pytest.mark.parametrize("script", [foreign.never_answers, foreign.refuses(503)], ids=["handshake", "pause"])
async def test_waiting_for_the_server_can_be_cancelled_at_once(script: Script) -> None:
    with RealtimeServer(script) as server:
        pausing = asyncio.Event()

        async def sleep(seconds: float) -> None:
            pausing.set()
            await asyncio.sleep(10 * SOON)

        async def run() -> None:
            async with connect(server.base_url, CREDENTIAL, MANUAL, MODEL, open_timeout=10 * SOON, sleep=sleep):
                raise AssertionError("nobody can have opened")

        task = asyncio.create_task(run())
        if script is foreign.never_answers:
            await asyncio.to_thread(server.wait, lambda server: server.records)
        else:
            await pausing.wait()
        await cancel_at_once(task)


async def test_closing_can_be_cancelled() -> None:
    with RealtimeServer(foreign.falls_silent) as server:

        async def run() -> None:
            async with connect(server.base_url, CREDENTIAL, MANUAL, MODEL) as connection:
                await some_audio(connection, 2)
                await anext(connection)
                leaving.set()

        leaving = asyncio.Event()
        task = asyncio.create_task(run())
        await leaving.wait()
        assert not task.done()
        await cancel_at_once(task)


def test_an_address_of_the_local_server_needs_no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with RealtimeServer(foreign.manual()) as server:
        assert urlsplit(server.base_url).scheme == "http"
        assert converse(server).error is None
