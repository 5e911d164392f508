"""The realtime connection when all goes well: what it asks for, what goes out, what comes in, and how it is left.

The other end is a server by other rules, on a socket of its own. What goes wrong is in the faults' own tests.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cartesia_cli import __version__
from cartesia_cli.client.realtime import RealtimeConnection, connect
from cartesia_cli.errors import CliError, Exit, NetworkError, ProtocolError, UsageError
from cartesia_cli.protocol.constants import API_VERSION, Credential
from cartesia_cli.protocol.events import (
    Connected,
    Delta,
    Done,
    Error,
    Event,
    FlushDone,
    TurnEnd,
    TurnUpdate,
    Unknown,
    decode,
    malformed_fields,
)
from cartesia_cli.protocol.realtime import (
    AUTO,
    MANUAL,
    Close,
    Command,
    Config,
    Endpoint,
    Finalize,
    RealtimeOptions,
    TurnConfig,
)

from . import realtime_server as foreign
from .fault_server import KEY, REQUEST_ID, SOON
from .realtime_server import RealtimeServer, ServerConnection

CREDENTIAL = Credential(KEY, "CARTESIA_API_KEY")
FRAME = bytes(range(256)) * 12 + bytes(128)
"""100 ms at 16 kHz."""
BOTH = pytest.mark.parametrize("dialect", [MANUAL, AUTO], ids=lambda dialect: dialect.name)

Speak = Callable[[RealtimeConnection], Awaitable[None]]


@dataclass
class Heard:
    """What came of one session.

    error      what ended it, None for a proper end
    told       sentences between tries
    pauses     seconds that would have been slept between them
    doubts     about frames that are no events
    tapped     what a record is told
    """

    events: list[Event] = field(default_factory=list)
    error: CliError | None = None
    told: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    tapped: list[tuple[str, Any]] = field(default_factory=list)
    request_id: str | None = None

    @property
    def failure(self) -> CliError:
        assert self.error is not None, self.events
        return self.error

    def texts(self) -> list[str]:
        return [getattr(event, "text", "") or getattr(event, "transcript", "") for event in self.events]


async def a_second(connection: RealtimeConnection) -> None:
    """Audio, `finalize` where there is one, and the end."""
    await some_audio(connection)
    await connection.send_command(Close())


async def some_audio(connection: RealtimeConnection, frames: int = 20) -> None:
    for _ in range(frames):
        await connection.send(FRAME)


async def cancel_at_once(task: asyncio.Task[None]) -> None:
    """Cancel a task, which must not wait for anything then."""
    task.cancel()
    for _ in range(20):  # turns of the loop
        await asyncio.sleep(0)
    assert task.done() and task.cancelled()


async def send_on(connection: RealtimeConnection) -> None:
    """Audio until it can't be sent."""
    while True:
        await connection.send(FRAME)
        await asyncio.sleep(0.01)


async def nothing(connection: RealtimeConnection) -> None:
    pass


async def listen(connection: RealtimeConnection, events: list[Event]) -> None:
    async for event in connection:
        events.append(event)  # noqa: PERF401  a comprehension would lose what came before an error


async def session(
    base_url: str,
    dialect: Endpoint,
    speak: Speak = a_second,
    *,
    options: RealtimeOptions | None = None,
    credential: Credential | None = CREDENTIAL,
    **settings: Any,
) -> Heard:
    """One session to its end."""
    heard = Heard()

    async def sleep(seconds: float) -> None:
        heard.pauses.append(seconds)

    hooks = {"on_notice": heard.told.append, "on_anomaly": heard.doubts.append, "sleep": sleep}
    hooks["tap"] = lambda event, told: heard.tapped.append((event, told))
    options = options or RealtimeOptions(model="ink-2")
    try:
        async with connect(base_url, credential, dialect, options, **hooks | settings) as connection:
            listening, speaking = (
                asyncio.create_task(listen(connection, heard.events)),
                asyncio.create_task(speak(connection)),
            )
            both = await asyncio.gather(listening, speaking, return_exceptions=True)
            heard.request_id = connection.request_id
            for error in both:
                assert error is None or isinstance(error, CliError), repr(error)
            heard.error = both[0]
    except CliError as error:
        heard.error = error
    return heard


def converse(
    server: RealtimeServer | str,
    dialect: Endpoint = MANUAL,
    speak: Speak = a_second,
    *,
    within: float = 3 * SOON,
    **settings: Any,
) -> Heard:
    """The same from outside, and not forever."""
    base_url = server if isinstance(server, str) else server.base_url

    async def bounded() -> Heard:
        async with asyncio.timeout(within):
            return await session(base_url, dialect, speak, **settings)

    return asyncio.run(bounded())


async def utterances(connection: RealtimeConnection) -> None:
    for _ in range(2):
        await some_audio(connection, 5)
        await connection.send_command(Finalize())
    await connection.send_command(Close())


@pytest.mark.parametrize(
    ("voice", "early"),
    [
        (ServerConnection.say, False),
        (ServerConnection.say, True),
        (foreign.in_pieces, False),
        (foreign.among_strangers, False),
    ],
)
def test_a_manual_session_ends_with_done(voice: foreign.Voice, early: bool) -> None:
    with RealtimeServer(foreign.manual(voice=voice, early=early)) as server:
        heard = converse(server, speak=utterances)
    assert heard.error is None
    events = [event for event in heard.events if not isinstance(event, Unknown)]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == foreign.MANUAL_TEXT
    assert [type(event) for event in events].count(FlushDone) == 2
    assert isinstance(events[-1], Done)
    (call,) = server.records
    assert call.commands == ["finalize", "finalize", "close"]
    assert call.audio == FRAME * 10
    assert call.closed == (1000, "")


@pytest.mark.parametrize("voice", [ServerConnection.say, foreign.in_pieces, foreign.among_strangers])
def test_an_auto_session_ends_with_a_normal_close(voice: foreign.Voice) -> None:
    with RealtimeServer(foreign.turns(voice=voice)) as server:
        heard = converse(server, AUTO)
    assert heard.error is None
    assert isinstance(heard.events[0], Connected)
    assert tuple(event.transcript for event in heard.events if isinstance(event, TurnEnd)) == foreign.TURN_TEXTS
    assert server.records[0].texts == ['{"type": "close"}']


def test_old_previews_words_and_languages_come_through() -> None:
    with RealtimeServer(foreign.manual(voice=foreign.whispered)) as server:
        heard = converse(server, speak=utterances)
    final = [event for event in heard.events if isinstance(event, Delta) and event.is_final]
    assert "".join(event.text for event in final) == foreign.MANUAL_TEXT
    assert final[0].words and final[0].language == "en"
    assert heard.error is None and heard.doubts == []


def test_frames_that_are_not_events_are_skipped_as_anomalies() -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.say("no JSON " * 1000)
        connection.say('["no object"]')
        connection.say({"text": "no type"})
        connection.say({"type": "brandnew", "request_id": ["not a string"]})
        connection.frame(foreign.BINARY, b'{"type": "done"}')
        connection.say(foreign.transcript("still here"))
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server)
    assert heard.error is None
    assert heard.texts() == ["", "still here", ""]
    assert heard.events[0] == Unknown(type="brandnew", extra={"request_id": ["not a string"]})
    assert len(heard.doubts) == 4 and heard.told == []
    assert all(f"127.0.0.1:{server.port}" in doubt and len(doubt) < 250 for doubt in heard.doubts)


@BOTH
def test_odd_fields_cost_no_text_and_are_doubted_once(dialect: Endpoint) -> None:
    odd = {"words": {"words": [], "start": [], "end": []}, "duration": "0.5", "language": 5, "request_id": 17}

    def script(connection: ServerConnection) -> None:
        connection.admit()
        for text in ("Hello", " there."):
            connection.say((foreign.transcript(text) if dialect is MANUAL else foreign.turn("end", text)) | odd)
        connection.until_command("close")
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server, dialect)
    assert (heard.error, heard.told) == (None, [])
    assert heard.texts()[:2] == ["Hello", " there."]
    (doubt,) = heard.doubts
    assert ("transcript: words" in doubt) == (dialect is MANUAL) and "request_id" in doubt


@BOTH
def test_unreadable_text_is_reported_at_once_and_fails_the_session(dialect: Endpoint) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        for text in (5, ["Hi"]):
            connection.say((foreign.transcript("") | {"text": text}) if dialect is MANUAL else
                     (foreign.turn("end", "") | {"transcript": text}))  # fmt: skip
        connection.say(foreign.transcript("after") if dialect is MANUAL else foreign.turn("end", "after"))
        connection.until_command("close")
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server, dialect)
    assert "after" in heard.texts()
    assert isinstance(heard.events[-1], Done)
    assert isinstance(heard.failure, ProtocolError)
    assert (heard.failure.exit_code, heard.failure.request_id) == (Exit.API, REQUEST_ID)
    (told,) = heard.told
    assert told == f"warning: {heard.failure.message}: words are missing"
    assert "is not a string" in told and len(heard.doubts) == 2


@BOTH
@pytest.mark.parametrize("refuses", [True, False])
def test_a_refusal_at_the_end_does_not_hide_that_words_are_missing(dialect: Endpoint, refuses: bool) -> None:
    """A session without text forgives a refusal behind `close`: nobody spoke, it thinks."""

    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.say((foreign.transcript("") | {"text": 5}) if dialect is MANUAL else
                 (foreign.turn("end", "") | {"transcript": 5}))  # fmt: skip
        connection.until_command("close")
        if refuses:
            connection.say(foreign.error(400))
        connection.close(1008)

    with RealtimeServer(script) as server:
        heard = converse(server, dialect)
    assert isinstance(heard.failure, ProtocolError)
    assert "can't be read" in heard.failure.message


def test_a_transcript_may_say_the_key_of_a_local_server() -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.say(foreign.transcript("a bag"))
        connection.say("a bag")
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server, credential=Credential("a", "the test"))
    assert (heard.error, heard.texts()) == (None, ["a bag", ""])
    received = [frame for direction, frame in heard.tapped if direction == "received"]
    assert json.loads(received[-3])["text"] == "a bag"
    assert "'[the key] bag'" in heard.doubts[0]


def test_event_with_an_hour_of_text_is_accepted() -> None:
    text = "word " * (8 << 20 >> 3) + "Größe 🎙" * (1 << 20 >> 1)

    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.say(foreign.transcript(text))
        connection.say(foreign.done())
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server)
    assert (len(text.encode()) > 8 << 20, heard.error) == (True, None)
    assert heard.texts()[0] == text


def test_events_after_done_are_ignored() -> None:
    with RealtimeServer(foreign.sends_text_after_done) as server:
        heard = converse(server)
    assert (heard.error, heard.texts()) == (None, [foreign.PARTIAL, ""])


@BOTH
def test_server_that_never_closes_after_done_delays_nothing(dialect: Endpoint) -> None:
    with RealtimeServer(foreign.never_hangs_up) as server:
        heard = converse(server, dialect, ping_interval=0.2)
    assert heard.error is None
    assert heard.texts()[-1] == (foreign.PARTIAL if dialect is AUTO else "")


# What is asked for.


def asked(dialect: Endpoint, options: RealtimeOptions, **settings: Any) -> foreign.ConnectionRecord:
    with RealtimeServer(foreign.manual() if dialect is MANUAL else foreign.turns()) as server:
        heard = converse(server, dialect, options=options, **settings)
    assert heard.error is None
    return server.records[0]


@BOTH
def test_a_plain_session_asks_for_no_more_than_it_must(dialect: Endpoint) -> None:
    call = asked(dialect, RealtimeOptions(model="ink-2"))
    assert call.target == f"{dialect.path}?model=ink-2&encoding=pcm_s16le&sample_rate=16000"


EVERYTHING = RealtimeOptions(
    model="ink-whisper",
    encoding="pcm_mulaw",
    sample_rate=8000,
    language="de",
    keyterms=("Ink 2", "Größe & Co.", "a+b", "50%"),
    min_volume=0.25,
    max_silence_duration_secs=1.5,
    turn=TurnConfig(0.8, 0.5, 0.25, 5600),
)
KEYTERMS = "keyterm=Ink%202&keyterm=Gr%C3%B6%C3%9Fe%20%26%20Co.&keyterm=a%2Bb&keyterm=50%25"


@pytest.mark.parametrize(
    ("dialect", "between"),
    [
        (MANUAL, "language=de&min_volume=0.25&max_silence_duration_secs=1.5"),
        (
            AUTO,
            "language=de&turn_start_threshold=0.8&turn_eager_end_threshold=0.5&turn_end_threshold=0.25"
            "&turn_end_timeout_ms=5600",  # the language is for the local server: commands leave it out elsewhere
        ),
    ],
    ids=["manual", "auto"],
)
def test_each_endpoint_is_asked_for_what_it_documents_and_in_order(dialect: Endpoint, between: str) -> None:
    call = asked(dialect, EVERYTHING)
    assert call.query_string == f"model=ink-whisper&encoding=pcm_mulaw&sample_rate=8000&{between}&{KEYTERMS}"
    assert [value for name, value in call.query if name == "keyterm"] == list(EVERYTHING.keyterms)


def test_a_base_url_keeps_its_path() -> None:
    with RealtimeServer(lambda connection: connection.refuse(404)) as server:
        converse(f"{server.base_url}/proxy/v1")
    assert server.records[0].path == "/proxy/v1/stt/websocket"


@BOTH
def test_handshake_has_a_user_agent_and_no_extensions(dialect: Endpoint) -> None:
    call = asked(dialect, RealtimeOptions(model="ink-2"))
    assert call.header("Authorization") == f"Bearer {KEY}"
    assert call.header("Cartesia-Version") == API_VERSION
    assert call.header("User-Agent") == f"cartesia-cli/{__version__}"
    assert call.header("Sec-WebSocket-Extensions") is None
    assert call.header("Origin") is None
    assert KEY not in call.target


def test_without_a_key_none_is_sent() -> None:
    with RealtimeServer(lambda connection: connection.admit()) as server:
        heard = converse(server, credential=None)
    assert server.records[0].header("Authorization") is None
    assert "no key was sent" in (heard.failure.hint or "")


@pytest.mark.parametrize("keyterms", [("a",) * 101, ("x" * 1201,)])
def test_too_many_keyterms_are_refused_before_anything_is_opened(keyterms: tuple[str, ...]) -> None:
    with RealtimeServer(foreign.manual()) as server:
        heard = converse(server, options=RealtimeOptions(model="ink-2", keyterms=keyterms))
        assert isinstance(heard.error, UsageError)
        assert server.records == []


@pytest.mark.parametrize(
    ("dialect", "command", "text"),
    [
        (MANUAL, Finalize(), "finalize"),
        (AUTO, Config(TurnConfig(end_timeout_ms=640)), '{"type": "config", "turn": {"end_timeout_ms": 640}}'),
    ],
)
def test_commands_use_the_spelling_of_the_endpoint(dialect: Endpoint, command: Command, text: str) -> None:
    async def speak(connection: RealtimeConnection) -> None:
        await connection.send_command(command)
        await a_second(connection)

    with RealtimeServer(foreign.manual() if dialect is MANUAL else foreign.turns()) as server:
        assert converse(server, dialect, speak).error is None
    assert server.records[0].texts[0] == text


def test_a_command_of_the_other_endpoint_never_goes_out() -> None:
    async def speak(connection: RealtimeConnection) -> None:
        with pytest.raises(ValueError, match="endpoint has no"):
            await connection.send_command(Finalize())
        await a_second(connection)

    with RealtimeServer(foreign.turns()) as server:
        assert converse(server, AUTO, speak).error is None
    assert server.records[0].commands == ["close"]


async def changes_settings(connection: RealtimeConnection) -> None:
    await some_audio(connection)
    await connection.send_command(Config(keyterms=("Ink",)))
    await a_second(connection)


def refuses_config(status: int, *, closes: bool = False) -> Callable[[ServerConnection], None]:
    """A server that answers `config` with an error."""

    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_command("config")
        connection.say(foreign.error(status))
        if closes:
            return connection.close(1008, "no")
        connection.until_command("close")
        connection.say(foreign.transcript("still here"))
        connection.say(foreign.done())
        connection.close()

    return script


def test_a_refused_config_is_an_event_and_not_the_end() -> None:
    with RealtimeServer(refuses_config(400)) as server:
        heard = converse(server, MANUAL, changes_settings)
    assert heard.error is None
    refused, text, _ = heard.events
    assert isinstance(refused, Error)
    assert (refused.title, refused.message) == (None, "Title 400: Message 400.")
    assert isinstance(text, Delta) and text.text == "still here"


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500])
def test_an_error_that_no_config_causes_is_the_end(status: int) -> None:
    with RealtimeServer(refuses_config(status)) as server:
        heard = converse(server, MANUAL, changes_settings)
    assert heard.failure.status == status


def test_a_close_after_a_refused_config_may_be_followed_by_a_new_connection() -> None:
    with RealtimeServer(refuses_config(400, closes=True)) as server:
        heard = converse(server, MANUAL, changes_settings)
    assert type(heard.failure) is NetworkError
    assert isinstance(heard.events[0], Error)


# What is said of it.


@BOTH
def test_tap_receives_all_frames_unchanged(dialect: Endpoint) -> None:
    with RealtimeServer(foreign.manual() if dialect is MANUAL else foreign.turns()) as server:
        heard = converse(server, dialect)
    sent = [frame for way, frame in heard.tapped if way == "sent"]
    assert b"".join(frame for frame in sent if isinstance(frame, bytes)) == server.records[0].audio
    assert [frame for frame in sent if isinstance(frame, str)] == server.records[0].texts
    received = [decode(frame) for way, frame in heard.tapped if way == "received"]
    assert received == heard.events


@BOTH
def test_tap_receives_how_each_connection_ended(dialect: Endpoint) -> None:
    headers = [("Retry-After", "0.1"), ("X-Request-Id", "r"), ("Set-Cookie", "x")]
    scripts = [
        lambda connection: connection.refuse(503, b"<busy \xff>", headers),
        foreign.closes_unanswered,
        foreign.closes(1011, "ö"),
    ]
    with RealtimeServer(*scripts) as server:
        heard = converse(server, dialect, some_audio)
    opened = {"url": server.ws_url + server.records[0].target, "version": API_VERSION}
    answer = {"retry-after": "0.1", "x-request-id": "r"}
    silence = {"reason": f"127.0.0.1:{server.port} hung up before it answered"}
    assert [(event, told) for event, told in heard.tapped if event not in ("sent", "received")] == [
        ("open", opened), ("refused", {"status": 503, "headers": answer, "body": "<busy \N{REPLACEMENT CHARACTER}>"}),
        ("open", opened), ("refused", silence),
        ("open", opened), ("close", {"code": 1011, "reason": "ö"}),
    ]  # fmt: skip
    assert {event for event, _ in heard.tapped[5:-1]} == {"sent", "received"}


@pytest.mark.parametrize(
    ("script", "close"),
    [
        (foreign.closes(None), {"code": 1005, "reason": ""}), (foreign.drops, {"code": 1006, "reason": ""}),
        (foreign.resets, {"code": 1006, "reason": "Connection reset by peer"}),
        (foreign.turns(), {"code": 1000, "reason": ""}),
    ],
)  # fmt: skip
def test_tap_receives_closes_with_and_without_a_code(script: foreign.Script, close: object) -> None:
    with RealtimeServer(script) as server:
        heard = converse(server, AUTO, a_second if close == {"code": 1000, "reason": ""} else some_audio)
    assert heard.tapped[-1] == ("close", close)


@pytest.mark.parametrize("where", ["refused", "error", "unknown", "binary", "close"])
def test_tap_never_receives_the_key(where: str) -> None:
    def script(connection: ServerConnection) -> None:
        if where == "refused":
            return connection.refuse(401, f"no {KEY}".encode(), [("X-Request-Id", KEY)])
        connection.admit()
        if where == "error":
            connection.say(foreign.error(401, message=f"no {KEY}"))
        if where == "unknown":
            connection.say({"type": "brandnew", "about": KEY})
        if where == "binary":
            connection.frame(foreign.BINARY, f"\0{KEY}".encode())
        connection.close(1008, f"bad {KEY}" if where == "close" else "")

    with RealtimeServer(script) as server:
        heard = converse(server)
    assert KEY not in repr(heard.tapped)
    assert repr(heard.tapped).count("[the key]") == 1 + (where == "refused")


@BOTH
def test_the_request_id_is_that_of_the_events_before_that_of_the_handshake(dialect: Endpoint) -> None:
    def script(connection: ServerConnection) -> None:
        connection.accept([("X-Request-Id", "of the handshake")], foreign.connected() | {"request_id": "of the event"})
        connection.close(1011)

    def bare(connection: ServerConnection) -> None:
        connection.accept([("x-request-id", "of the handshake")])
        connection.close(1011)

    with RealtimeServer(script) as server:
        heard = converse(server, dialect)
        assert (heard.request_id, heard.failure.request_id) == ("of the event", "of the event")
    with RealtimeServer(bare) as server:
        heard = converse(server, dialect)
        assert (heard.request_id, heard.failure.request_id) == ("of the handshake", "of the handshake")


def test_key_is_not_in_debug_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RealtimeServer(foreign.falls_silent) as server:
        heard = converse(server, ping_interval=0.1, ping_timeout=0.1)
    assert isinstance(heard.error, NetworkError)
    assert KEY not in caplog.text
    assert "websockets" not in {record.name.partition(".")[0] for record in caplog.records}


# Two sides at once, and leaving.


@pytest.mark.parametrize("heard_before", [0, 1])
async def test_iteration_raises_the_reason_of_an_end_that_sending_met_first(heard_before: int) -> None:
    """The server says why, closes, and only then is something sent: nobody has read the reason yet."""

    def script(connection: ServerConnection) -> None:
        connection.admit()
        for number in range(10):
            connection.say(foreign.transcript(str(number)))
        connection.say(foreign.error(402))
        connection.close(1011)

    with RealtimeServer(script) as server:
        async with connect(server.base_url, CREDENTIAL, MANUAL, RealtimeOptions(model="ink-2")) as connection:
            heard = [await anext(connection) for _ in range(heard_before)]
            with pytest.raises(NetworkError, match="has already ended"):
                await send_on(connection)
            with pytest.raises(CliError) as hearing:
                await listen(connection, heard)
            assert hearing.value.status == 402
            assert [event.text for event in heard if isinstance(event, Delta)] == [str(n) for n in range(10)]
            with pytest.raises(CliError) as again:
                await anext(connection)
            assert again.value is hearing.value
            with pytest.raises(CliError) as commanding:
                await connection.send_command(Close())
            assert commanding.value is hearing.value


@BOTH
async def test_closed_connection_neither_sends_nor_receives(dialect: Endpoint) -> None:
    with RealtimeServer(foreign.manual() if dialect is MANUAL else foreign.turns()) as server:
        async with connect(server.base_url, CREDENTIAL, dialect, RealtimeOptions(model="ink-2")) as connection:
            await a_second(connection)
            assert [event async for event in connection]
            assert [event async for event in connection] == []
            with pytest.raises(NetworkError, match="has already ended"):
                await connection.send(FRAME)


async def test_cancelled_iteration_loses_no_events() -> None:
    text = ""
    with RealtimeServer(foreign.manual(voice=foreign.in_pieces)) as server:
        async with connect(server.base_url, CREDENTIAL, MANUAL, RealtimeOptions(model="ink-2")) as connection:
            await utterances(connection)
            with suppress(StopAsyncIteration):
                while True:
                    with suppress(TimeoutError):
                        event = await asyncio.wait_for(anext(connection), 0.001)
                        text += event.text if isinstance(event, Delta) else ""
    assert text == foreign.MANUAL_TEXT


async def test_leaving_early_sends_a_close_frame() -> None:
    with RealtimeServer(foreign.then(ServerConnection.hold)) as server:
        async with connect(server.base_url, CREDENTIAL, AUTO, RealtimeOptions(model="ink-2")) as connection:
            assert isinstance(await anext(connection), Connected)
        assert await asyncio.to_thread(server.records[0].gone.wait, SOON)
    assert server.records[0].closed == (1000, "")


async def test_a_cancelled_session_is_left_at_once() -> None:
    """Whatever the server does about it: this one answers nothing."""
    with RealtimeServer(foreign.falls_silent) as server:
        begun = asyncio.Event()

        async def run() -> None:
            async with connect(server.base_url, CREDENTIAL, AUTO, RealtimeOptions(model="ink-2")) as connection:
                await some_audio(connection, 2)
                async for event in connection:
                    if isinstance(event, TurnUpdate):
                        begun.set()

        task = asyncio.create_task(run())
        await begun.wait()
        await cancel_at_once(task)
        assert await asyncio.to_thread(server.records[0].gone.wait, SOON)


FRAMES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["{", "[]", "null", '{"type": null}', '{"type": "transcript", "words": [{}]}', "1" * 5000]),
        st.builds(lambda text: f'{{"type": "transcript", "text": "{text}"}}', st.sampled_from(["", " a", "b ", "é"])),
        st.just("[" * 100_000),
        st.binary(max_size=30),
    ),
    max_size=12,
)


@pytest.mark.waits
@settings(max_examples=30)
@given(FRAMES)
@example(['{"type": "transcript", "words": [{}]}'] * 2)
def test_any_frames_give_events_or_anomalies_and_a_proper_end(frames: list[str | bytes]) -> None:
    def script(connection: ServerConnection) -> None:
        connection.admit()
        for frame in frames:
            if isinstance(frame, bytes):
                connection.frame(foreign.BINARY, frame)
            else:
                connection.say(frame)
        connection.say(foreign.done())
        connection.close()

    wanted = []
    for frame in frames:
        if isinstance(frame, str):
            try:
                wanted.append(decode(frame))
            except ProtocolError:
                pass
    with RealtimeServer(script) as server:
        heard = converse(server, speak=nothing)
    assert heard.error is None
    assert heard.events[:-1] == wanted
    odd = {name for event in wanted for name in malformed_fields(event)}
    assert len(heard.doubts) == len(frames) - len(wanted) + len(odd)


def test_batch_client_does_not_import_websockets() -> None:
    script = "import sys, cartesia_cli.client; print('websockets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_server_that_asks_for_no_request_id_gives_none() -> None:
    def script(connection: ServerConnection) -> None:
        connection.accept([("X-Request-Id", "")])
        connection.say({"type": "done"})
        connection.close()

    with RealtimeServer(script) as server:
        heard = converse(server)
    assert heard.error is None
    assert not heard.request_id
    assert REQUEST_ID not in str(heard.events)
