"""The table of faults: what can go wrong, and which exit code, stdout and stderr the program must then give.

`python -m tests.faults` prints the rows as a table; tests/test_faults.py runs the program through each of them. What
the table shows of stderr is what the program must print, to the letter, except that HOST, ID and TIME stand for what
differs from run to run, and … for what is worded by the system or left to chance.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import trustme

from cartesia_cli.errors import Exit

from . import realtime_server as realtime
from .fault_proxy import Direction, FaultProxy, Plan
from .fault_server import (
    TEXT,
    TRANSCRIPT,
    Behaviour,
    Exchange,
    FaultServer,
    answers,
    early,
    environment,
    refuses,
    tunnels,
    write_wav,
)
from .november_server import november
from .realtime_server import PARTIAL, RealtimeServer, Script, ServerConnection

HEADER, SECOND = 44, 32_000
"""Bytes of a WAV header, and of a second of audio."""

LARGE = 8 << 20
"""Size in bytes of a recording that exceeds the buffers between two sockets."""

BATCH, LIVE, LISTEN = "transcribe", "stream-file", "listen"

OFFER = "; or to transcribe all of it at once: cartesia-cli transcribe talk.wav"
"""What hints offer, too, if the network fails during the replay of a recording."""


@dataclass
class Scene:
    """How the program is run, and what must be true afterwards.

    home, here   home folder and working directory
    arguments    after the command
    changes      environment variables; None removes one
    stdin        its content
    stdout       a file that it is redirected to
    limit        largest size of a file in blocks of 512 bytes, or None
    written      files that must be new in `here` afterwards, and their content; None: any content
    must         conditions that must be true afterwards, and the message if one isn't
    """

    home: Path
    here: Path
    stack: ExitStack
    base_url: str = "http://127.0.0.1:9"
    arguments: list[str | bytes] = field(default_factory=list)
    changes: dict[str, str | None] = field(default_factory=dict)
    stdin: bytes = b""
    stdout: str | None = None
    limit: int | None = None
    written: dict[str, str | None] = field(default_factory=dict)
    must: list[tuple[Callable[[], object], str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.home, self.base_url, **self.changes)

    def wav(self, name: str = "talk.wav", size: int = 3244) -> str:
        write_wav(self.here / name, size)
        return name

    def serve(self, *script: str | Behaviour, requests: int | None = None) -> FaultServer:
        """An HTTP server that plays a script, and must have received this many requests."""
        server = self.stack.enter_context(FaultServer(*script))
        self.base_url = server.base_url
        self.must.append((lambda: not server.faults, "the server itself failed"))
        self.must.append((lambda: requests in (None, len(server.requests)), "not so many requests"))
        return server

    def closed_port(self) -> int:
        """A reserved port that refuses connections."""
        taken = self.stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


Stage = Callable[[Scene], None]


@dataclass(frozen=True)
class Fault:
    """A row.

    what      goes wrong
    command   that meets it
    stage     sets it up
    code      exit code
    error     what the error says; "" where there is none
    hint      what its hint says
    out       stdout; None where that doesn't matter
    notes     other lines on stderr, before the error
    slow      it takes seconds by its nature, so that it is started first
    """

    what: str
    command: str
    stage: Stage
    code: int
    error: str = ""
    hint: str = ""
    out: str | None = ""
    notes: Sequence[str] = ()
    slow: bool = False

    @property
    def stderr(self) -> list[str]:
        """All lines of stderr."""
        offer = OFFER if self.command == LIVE and self.code == Exit.NETWORK and self.out else ""
        error = [f"error: {self.error}"] if self.error else []
        return [*self.notes, *error, *([f"hint: {self.hint}{offer}"] if self.hint else [])]


@dataclass(frozen=True)
class Elsewhere:
    """A row that another test covers, because it needs more than running the program to its end.

    expected   what the user gets
    test   "file::function", below tests/
    """

    what: str
    command: str
    code: int
    expected: str
    test: str


# Setting up scenes -----------------------------------------------------------------------------------------


def http(*script: str | Behaviour, size: int = 3244, requests: int | None = 1, options: Sequence[str] = ()) -> Stage:
    """A recording and a server that plays a script."""

    def stage(scene: Scene) -> None:
        scene.serve(*script, requests=requests)
        scene.arguments += [*options, scene.wav(size=size)]

    return stage


def live(
    *scripts: Script,
    seconds: float = 1.0,
    options: Sequence[str] = (),
    calls: int | None = 1,
    buffer: int | None = None,
) -> Stage:
    """A recording, and a realtime server that plays a script on each connection; there must be this many of them."""

    def stage(scene: Scene) -> None:
        server = scene.stack.enter_context(RealtimeServer(*scripts, receive_buffer=buffer))
        scene.base_url = server.base_url
        scene.arguments += ["--mode", "manual", *options, scene.wav(size=HEADER + int(SECOND * seconds))]
        scene.must.append((lambda: calls in (None, len(server.records)), "not so many connections"))

    return stage


def lost(script: Script, **how: int) -> Stage:
    """A session that ends early, without reconnecting."""
    return live(script, options=("--reconnect", "0"), **how)


def through(stage: Stage, *plans: Plan) -> Stage:
    """The same through a proxy with these plans."""

    def longer(scene: Scene) -> None:
        stage(scene)
        port = int(scene.base_url.rpartition(":")[2])
        scene.base_url = scene.stack.enter_context(FaultProxy(port, *plans)).base_url

    return longer


def given(*options: str, then: Stage | None = None, **changes: str | None) -> Stage:
    """Options and environment variables before another stage; without one, a server that works."""

    def stage(scene: Scene) -> None:
        (then or http("fine"))(scene)
        scene.arguments[:0] = options
        scene.changes |= changes

    return stage


def unasked(*options: str, **changes: str | None) -> Stage:
    """The same, but nothing must be sent."""
    return given(*options, then=http("fine", requests=0), **changes)


def at(base_url: str, *options: str, **changes: str | None) -> Stage:
    """An address without a server of ours."""

    def stage(scene: Scene) -> None:
        scene.base_url, scene.changes = base_url, {**scene.changes, **changes}
        scene.arguments += [*options, scene.wav(size=SECOND)]

    return stage


def nobody(*options: str) -> Stage:
    return lambda scene: at(f"http://127.0.0.1:{scene.closed_port()}", *options)(scene)


def secure(*names: str, known: bool = True, expired: bool = False) -> Stage:
    """TLS with a certificate for these names, of a CA that is in SSL_CERT_FILE if `known`."""

    def stage(scene: Scene) -> None:
        file, context = certified(scene, *names, expired=expired)
        server = scene.stack.enter_context(FaultServer("fine", tls=context))
        scene.base_url = server.base_url
        scene.arguments.append(scene.wav(size=SECOND))
        scene.changes |= {"SSL_CERT_FILE": file} if known else {}
        if not (known and "localhost" in names and not expired):
            scene.must.append((lambda: not server.requests, "the key went to a server that can't be trusted"))

    return stage


def certified(scene: Scene, *names: str, expired: bool = False) -> tuple[str, ssl.SSLContext]:
    """A CA file, and the server's TLS context."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = datetime.now(UTC) - timedelta(days=1) if expired else None
    begin = None if end is None else end - timedelta(days=30)
    authority.issue_cert(*names, not_before=begin, not_after=end).configure_cert(context)
    file = scene.home / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file), context


def plain_port(scene: Scene) -> None:
    """A server without TLS that gets a TLS handshake."""

    def plain(exchange: Exchange) -> None:
        exchange.connection.recv(8192)
        exchange.answer(400, "The plain HTTP request was sent to HTTPS port", [("Content-Type", "text/plain")])

    port = scene.serve(plain).port
    at(f"https://127.0.0.1:{port}")(scene)


def proxied(scene: Scene) -> None:
    """A host that only the proxy knows."""
    file, context = certified(scene, "speech.example")
    proxy = scene.serve(tunnels(context))
    at("https://speech.example", HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}", SSL_CERT_FILE=file)(scene)
    scene.must.append((lambda: [request.method for request in proxy.requests] == ["CONNECT", "POST"], "another way"))


def hangs_up(scene: Scene) -> None:
    proxy = scene.serve("closes_during_upload")
    at("https://speech.example", HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")(scene)


def asks_for_a_password(scene: Scene) -> None:
    def behave(exchange: Exchange) -> None:
        exchange.head()
        exchange.answer(407, "", [("Proxy-Authenticate", "Basic realm=x")])

    proxy = scene.serve(behave)
    at("https://speech.example", HTTPS_PROXY=f"http://me:hunter2@127.0.0.1:{proxy.port}")(scene)
    scene.must.append((lambda: not any(r.header("Authorization") for r in proxy.requests), "the proxy got the key"))


def no_proxy_there(scene: Scene) -> None:
    address = f"http://me:hunter2@127.0.0.1:{scene.closed_port()}"
    at("https://speech.example", HTTPS_PROXY=address)(scene)


def redirected(status: int, of: str) -> Stage:
    """A redirect to another origin, which must get neither the key nor the audio."""

    def stage(scene: Scene) -> None:
        other = scene.stack.enter_context(FaultServer("fine"))
        there = [("Location", f"{other.base_url}/stt")]
        (http(refuses(status, there)) if of == BATCH else lost(realtime.refuses(status, there)))(scene)
        scene.must.append((lambda: other.connections == 0, "it went there"))

    return stage


def three(*script: str | Behaviour, requests: int, options: Sequence[str] = ("-o", "-")) -> Stage:
    """Three recordings."""

    def stage(scene: Scene) -> None:
        scene.serve(*script, requests=requests)
        names = ("a.wav", "b.wav", "c.wav")  # and no two alike: what was had before is not asked for again
        scene.arguments += [*options, *(scene.wav(name, 3000 + 2 * k) for k, name in enumerate(names))]

    return stage


def file(name: str, content: bytes | None) -> Stage:
    """An unusable input, of which nothing must be sent."""

    def stage(scene: Scene) -> None:
        if content is not None:
            (scene.here / name).write_bytes(content)
        scene.serve("fine", requests=0)
        scene.arguments.append(name)

    return stage


def header_only(scene: Scene) -> None:
    scene.serve("fine", requests=0)
    scene.arguments.append(scene.wav("header.wav", HEADER))


def alone(*options: str, **changes: str | None) -> Stage:
    """Options and no recording."""

    def stage(scene: Scene) -> None:
        scene.serve("fine", requests=0)
        scene.arguments += options
        scene.changes |= changes

    return stage


def taken(scene: Scene) -> None:
    alone("-o", "there.txt")(scene)
    (scene.here / "there.txt").write_text("here before")


def folder(scene: Scene) -> None:
    """A folder without a recording in it."""
    (scene.here / "talks").mkdir()
    scene.serve("fine", requests=0)
    scene.arguments.append("talks")


def cut_off(scene: Scene) -> None:
    """A header that promises more audio than the file has."""
    http("fine", size=HEADER + SECOND)(scene)
    os.truncate(scene.here / "talk.wav", HEADER + SECOND // 2)


def piped(scene: Scene) -> None:
    """A stdin that can be read only once, and a server that fails once."""
    scene.serve(refuses(503), "fine", requests=2)
    scene.stdin = (scene.here / scene.wav()).read_bytes()
    (scene.here / "talk.wav").unlink()
    scene.arguments.append("-")


def named(name: bytes) -> Stage:
    """A recording with an unusual name, which is printed."""

    def stage(scene: Scene) -> None:
        scene.serve(refuses(400), requests=1)
        write_wav(Path(os.fsdecode(os.path.join(os.fsencode(scene.here), name))))
        scene.arguments += ["--", name]

    return stage


def exists(scene: Scene) -> None:
    unasked("-o", "there.txt")(scene)
    there = scene.here / "there.txt"
    there.write_text("here before")
    scene.must.append((lambda: there.read_text() == "here before", "it was overwritten"))


def full_stdout(stage: Stage) -> Stage:
    def full(scene: Scene) -> None:
        stage(scene)
        scene.stdout = "/dev/full"

    return full


def full_disk(stage: Stage) -> Stage:
    """No file can grow, as on a full disk."""

    def full(scene: Scene) -> None:
        given("-o", "said.txt", then=stage)(scene)
        scene.limit = 0

    return full


# What servers of live sessions do --------------------------------------------------------------------------


def says(*events: realtime.Event | str | bytes) -> Script:
    """These after a moment; then the regular end."""

    def script(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.2)
        for event in events:
            connection.say(event)
        connection.until_command("close")
        connection.say(realtime.done())
        connection.close()

    return script


def strange(connection: ServerConnection) -> None:
    """Everything that must not end a session, around the only text that counts."""
    connection.admit()
    connection.until_audio(0.2)
    realtime.among_strangers(connection, realtime.transcript(PARTIAL))
    broken: list[realtime.Event] = [{"text": None}, {}, {"is_final": 0, "text": "not kept"}]
    for event in broken:
        connection.say({"type": "transcript"} | event)
    connection.say({"type": "transcript", "is_final": False, "text": "not kept"})
    connection.until_command("close")
    connection.say(realtime.done())
    connection.close()


def half_open(scene: Scene) -> None:
    """After the first word, nothing is transmitted in either direction, though the connection stays open."""

    def vanish(connection: ServerConnection) -> None:
        realtime.begin(connection)
        connection.pause(0.5)  # the word is through
        proxy.change(HOLE, HOLE)
        connection.hold()

    lost(vanish, seconds=30)(scene)
    proxy = scene.stack.enter_context(FaultProxy(int(scene.base_url.rpartition(":")[2])))
    scene.base_url = proxy.base_url


def garbled(scene: Scene) -> None:
    """After the first word, bytes arrive that the server didn't send."""

    def spoil(connection: ServerConnection) -> None:
        realtime.begin(connection)
        connection.pause(0.5)
        proxy.change(down=Direction(then="garbage"))
        connection.hold()

    lost(spoil, seconds=30)(scene)
    proxy = scene.stack.enter_context(FaultProxy(int(scene.base_url.rpartition(":")[2])))
    scene.base_url = proxy.base_url


def stalled(scene: Scene) -> None:
    """Nothing moves for a second within the upload."""
    http("fine", size=LARGE)(scene)
    port = int(scene.base_url.rpartition(":")[2])
    proxy = scene.stack.enter_context(FaultProxy(port, Plan(Direction(after=100_000, then="stall"))))
    scene.base_url = proxy.base_url
    clock = threading.Timer(2.0, proxy.change)
    clock.start()
    scene.stack.callback(clock.cancel)


def full(scene: Scene) -> None:
    """Two minutes at a hundred times real time, which fill all buffers on the way."""
    options = ("--reconnect", "0", "--speed", "100")
    live(realtime.stops_reading, options=options, seconds=120, buffer=4096)(scene)


def gone(scene: Scene) -> None:
    """A session that is cut, and a server that stays unreachable."""
    live(realtime.drops, realtime.resets_unanswered, options=("--reconnect", "1"), calls=None)(scene)


def sends_too_much(connection: ServerConnection) -> None:
    realtime.begin(connection)
    connection.send(realtime.pack(realtime.TEXT, b"{" + b" " * (17 << 20)))
    connection.hold()


SPOKEN = realtime.manual([["Hello", " world."]])
"""A session without faults."""

WHOLE, BEGUN, HEARD = "Hello world.\n", f"{PARTIAL}\n", f"{TEXT}\n"
"""What is on stdout: of such a session, of one that breaks off, of a recording."""

HOLE, STALL = Direction(then="hole"), Direction(then="stall")
GARBAGE = Direction(then="garbage")
LATE = Plan(Direction(delay=0.5), Direction(delay=0.5))
ONCE, BRIEFLY = ("--retries", "0"), ("--retries", "0", "--timeout", "1.5")
LATER = format_datetime(datetime(2098, 7, 6, 5, 4, 3, tzinfo=UTC), usegmt=True)


def refusal(status: int, command: str = BATCH) -> str:
    what = "talk.wav" if command == BATCH else "HOST"
    return f"{what}: Title {status}: Message {status}. (status {status}, request id ID)"


# The rows --------------------------------------------------------------------------------------------------

CHECK_NETWORK = "check the network, then run the same command again"
CHECK_URL = "check the network and the base URL"
CHECK_OPTIONS = "check the model, the language, the encoding and the sample rate"
HAS_TLS = "is it an https server? The URL of a server with plain http begins with http://"
TRUST = "name a private certificate authority in SSL_CERT_FILE; a wrong clock makes certificates look expired, too"
KEYS = "the key came from the variable CARTESIA_API_KEY; keys are created at play.cartesia.ai/keys"
CREDITS = "the account is out of credits, or its plan is too small: see play.cartesia.ai"
TOO_MANY = "too many requests at once for this plan, or too many in a short time: try again later"
TROUBLE = "the problem is on the server's side: try again later"
NOT_THERE = "the key is not sent there; if that is the right server, make it the base URL"
BILLED = "the audio may have been billed: --retries N sends it again"
WAITS = "--timeout SECONDS waits longer"
PROXY = "check HTTPS_PROXY, including its user and password"
BEHIND = "check HTTPS_PROXY: requests go through this proxy"
REALLY = "is HOST really Cartesia's API? Its response begins with "
IS_IT = "is it really Cartesia's API? Check the base URL"
SUPPORT = "see https://docs.cartesia.ai, or ask Cartesia's support with the request id"
IDLE = "a server also hangs up when no audio comes for long"
KINDS = "a recording is one of flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, opus, wav, webm"
BAD_KEY = "it contains a space, a line break or another character that keys don't contain"
COPY = "copy the key again: play.cartesia.ai/keys"
NO_KEY = "run `cartesia-cli login` or set CARTESIA_API_KEY, or use --local"

REFUSALS = {
    400: CHECK_OPTIONS,
    401: KEYS,
    402: CREDITS,
    403: KEYS,
    404: "check the base URL: this server has no such route",
    408: "the server gave up on the upload: check the network, then run the same command again",
    409: "run the same command again",
    413: "a file of 0.0 MB is too large for the server: cut it, or compress it to mp3",
    415: "the format is not supported: convert it, for example to wav",
    422: CHECK_OPTIONS,
    429: TOO_MANY,
    500: TROUBLE,
    502: TROUBLE,
    503: TROUBLE,
    504: TROUBLE,
}
"""Status → what the hint says."""

NO_TRANSCRIPT: dict[str, tuple[bytes | str | object, str, str]] = {
    "HTML": ("<html>It works!</html>", "not JSON", "'<html>It works!</html>'"),
    "null": (None, "JSON, but null where an object belongs", "'null'"),
    "a list": ([TRANSCRIPT], "JSON, but a list where an object belongs", "'[{\"type\": …'"),
    "no text": ({"type": "transcript"}, "the response has no text", '\'{"type": "transcript"}\''),
    "text that is null": ({"text": None}, "the response has no text", "'{\"text\": null}'"),
    "JSON that is cut off": (json.dumps(TRANSCRIPT)[:-9], "not JSON", "'{\"type\": …'"),
    "no UTF-8": (b'{"text": "caf\xe9"}', "not JSON", '\'{"text": "caf�"}\''),
    "200,000 brackets": ("[" * 200_000, "not JSON", "'[[[…'"),
}
"""Body with status 200 → what the error says about it, how the hint quotes it."""

CLOSES = {
    1000: ("normal closure", IDLE),
    1001: ("going away", IDLE),
    1011: ("internal error", CHECK_NETWORK),
    1012: ("service restart", CHECK_NETWORK),
    1013: ("try again later", CHECK_NETWORK),
}
"""Close codes after which the program reconnects."""

SAYS_NO = {
    1002: ("protocol error", SUPPORT),
    1003: ("unsupported data", SUPPORT),
    1007: ("invalid data", SUPPORT),
    1008: ("policy violation", "check the options of the session: the server rejects them"),
    1009: ("message too big", SUPPORT),
}
"""Close codes after which the program doesn't reconnect, because the next session would end the same way."""

ODD = realtime.transcript(
    PARTIAL, is_final=1, request_id=17, language=["en"], duration="0.5", words={"words": ["Hello"], "start": [0.1]}
)
"""Text, with all other fields of undocumented types."""

UNREADABLE = "HOST sent text that can't be read: 'text' is not a string"

NO_TIMES = (
    '{"text": "The quick brown fox.", "duration": NaN, "words": [{"word": "fox", "start": 1e999, "end": -1e999}]}'
)
GONE = "talk.wav: the connection to HOST was lost before the response came: …"
BROKEN_OFF = "talk.wav: the connection to HOST was lost during the upload: …"
IN_VAIN = "talk.wav: no complete response within 1.5 s"
AGAIN = "trying again in … s"

# fmt: off
ROWS: dict[str, Sequence[Fault | Elsewhere]] = {
    "No connection": (
        Fault("no server on the port", BATCH, nobody(), 6,
              "talk.wav: HOST can't be reached: Connection refused", CHECK_URL,
              notes=[f"talk.wav: HOST can't be reached: Connection refused: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Fault("no server on the port", LIVE, nobody(), 6,
              "HOST can't be reached: Connection refused", CHECK_URL,
              notes=[f"HOST can't be reached: Connection refused: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Fault("unknown host name", BATCH, at("https://nonexistent.invalid", *ONCE), 6,
              "talk.wav: nonexistent.invalid can't be reached: …", CHECK_URL),
        Fault("unknown host name", LIVE, at("https://nonexistent.invalid"), 6,
              "nonexistent.invalid can't be reached: …", CHECK_URL,
              notes=[f"nonexistent.invalid can't be reached: …: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Elsewhere("a name lookup that hangs, and Ctrl-C", f"{BATCH}, {LIVE}", 130, "nothing",
                  "test_faults.py::test_ctrl_c_is_answered_while_a_name_is_looked_up"),
        Fault("packets are dropped", BATCH, through(http("fine", requests=0, options=BRIEFLY), Plan(HOLE, HOLE)), 6,
              IN_VAIN, WAITS),
        Fault("packets are dropped", LIVE, through(lost(SPOKEN, calls=0), Plan(HOLE, HOLE)), 6,
              "HOST did not answer within 10 s", CHECK_URL,
              notes=[f"HOST did not answer within 10 s: {AGAIN} (try {n} of 3)" for n in (2, 3)], slow=True),
        Fault("reset at once", BATCH, http("resets_before_reading", size=LARGE, requests=None, options=ONCE), 6,
              BROKEN_OFF, CHECK_NETWORK),
        Fault("reset at once", LIVE, live(realtime.resets_unanswered, calls=3), 6,
              "HOST hung up before it answered", CHECK_NETWORK,
              notes=[f"HOST hung up before it answered: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Fault("first connection reset", LIVE, live(realtime.resets_unanswered, SPOKEN, calls=2), 0, out=WHOLE,
              notes=[f"HOST hung up before it answered: {AGAIN} (try 2 of 3)"]),
    ),
    "TLS and proxies": (
        Fault("private CA in SSL_CERT_FILE", BATCH, secure("localhost"), 0, out=HEARD),
        Elsewhere("private CA in SSL_CERT_FILE", LIVE, 0, "the transcript",
                  "test_client_realtime_faults.py::test_a_private_authority_is_trusted_through_ssl_cert_file"),
        Fault("unknown CA", BATCH, secure("localhost", known=False), 6,
              "talk.wav: can't verify HOST's certificate: unable to get local issuer certificate", TRUST),
        Fault("unknown CA", LIVE, secure("localhost", known=False), 6,
              "can't verify HOST's certificate: unable to get local issuer certificate", TRUST),
        Fault("expired certificate", BATCH, secure("localhost", expired=True), 6,
              "talk.wav: can't verify HOST's certificate: certificate has expired", TRUST),
        Fault("expired certificate", LIVE, secure("localhost", expired=True), 6,
              "can't verify HOST's certificate: certificate has expired", TRUST),
        Fault("certificate of another host", BATCH, secure("other.example"), 6,
              "talk.wav: can't verify HOST's certificate: "
              "Hostname mismatch, certificate is not valid for 'HOST'.", TRUST),
        Fault("certificate of another host", LIVE, secure("other.example"), 6,
              "can't verify HOST's certificate: Hostname mismatch, certificate is not valid for 'HOST'.", TRUST),
        Fault("TLS to a plain-text port", BATCH, plain_port, 6, "talk.wav: the TLS handshake with HOST failed: …",
              HAS_TLS),
        Fault("TLS to a plain-text port", LIVE, plain_port, 6, "the TLS handshake with HOST failed: …", HAS_TLS),
        *(Fault("a SOCKS proxy", command, at("https://speech.example", ALL_PROXY="socks5://127.0.0.1:1080"), 2,
                "ALL_PROXY: socks5 proxies are not supported",
                "name an http proxy, such as http://proxy.example:8080, or unset it") for command in (BATCH, LIVE)),
        Fault("requests through HTTPS_PROXY", BATCH, proxied, 0, out=HEARD),
        Elsewhere("requests through HTTPS_PROXY", LIVE, 0, "the transcript",
                  "test_client_realtime_faults.py::test_a_proxy_is_used_for_the_network"),
        Fault("proxy requires a password", BATCH, asks_for_a_password, 6,
              "talk.wav: the proxy refuses: 407 Something", PROXY),
        Fault("proxy requires a password", LIVE, asks_for_a_password, 6,
              "the proxy refuses: 407 Something", PROXY),
        Fault("proxy hangs up", BATCH, given(*ONCE, then=hangs_up), 6,
              "talk.wav: speech.example can't be reached: the proxy hung up", BEHIND),
        Fault("proxy hangs up", LIVE, hangs_up, 6,
              "speech.example can't be reached: the proxy hung up", BEHIND,
              notes=[f"speech.example can't be reached: the proxy hung up: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Fault("proxy unreachable", BATCH, given(*ONCE, then=no_proxy_there), 6,
              "talk.wav: speech.example can't be reached: Connection refused", BEHIND),
        Fault("proxy unreachable", LIVE, no_proxy_there, 6,
              "speech.example can't be reached: Connection refused", BEHIND,
              notes=[f"speech.example can't be reached: Connection refused: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
    ),
    "Redirects": (
        Fault("307 within the origin", BATCH, http(refuses(307, [("Location", "/v2")]), "fine", requests=2), 0,
              out=HEARD),
        Fault("307 to another origin", BATCH, redirected(307, BATCH), 5,
              "talk.wav: the server redirects to HOST/stt (status 307)", NOT_THERE),
        Fault("307 to another origin", LIVE, redirected(307, LIVE), 5,
              "HOST redirects to HOST/stt (status 307)", NOT_THERE),
        Fault("302, which would lose the upload", BATCH, http(refuses(302, [("Location", "/v2")])), 5,
              "talk.wav: the server sent a redirect that would drop the upload (status 302)",
              "check the path of the base URL"),
        Fault("redirect loop", BATCH, http(refuses(308, [("Location", "/stt")]), requests=4), 5,
              "talk.wav: more than 3 redirects (status 308)", "check the base URL"),
    ),
    "Refusals": (
        *(Fault(f"status {status}", BATCH, http(refuses(status), options=ONCE), 4 if hint == KEYS else 5,
                refusal(status), hint) for status, hint in REFUSALS.items()),
        *(Fault(f"status {status}", LIVE, live(realtime.refuses(status)), 4 if REFUSALS[status] == KEYS else 5,
                refusal(status, LIVE), REFUSALS[status]) for status in (400, 401, 402, 403, 404, 422)),
        *(Fault(f"status {status}, again and again", LIVE, live(realtime.refuses(status), calls=3), 5,
                refusal(status, LIVE), REFUSALS[status],
                notes=[f"HOST: Title {status}: Message {status}.: {AGAIN} (try {n} of 3)" for n in (2, 3)])
          for status in (429, 500, 503)),
        Fault("status 503, again and again", BATCH, http(refuses(503), requests=3), 5, refusal(503), TROUBLE,
              notes=[f"talk.wav: Title 503: Message 503.: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Fault("status 503, once", BATCH, http(refuses(503), "fine", requests=2), 0, out=HEARD,
              notes=[f"talk.wav: Title 503: Message 503.: {AGAIN} (try 2 of 3)"]),
        Fault("status 503, once", LIVE, live(realtime.refuses(503), SPOKEN, calls=2), 0, out=WHOLE,
              notes=[f"HOST: Title 503: Message 503.: {AGAIN} (try 2 of 3)"]),
        Fault("status 429, which asks for two seconds", BATCH,
              http(refuses(429, [("Retry-After", "2")]), "fine", requests=2), 0, out=HEARD,
              notes=["talk.wav: Title 429: Message 429.: trying again in 2.0 s (try 2 of 3)"]),
        Fault("status 429, which asks for two seconds", LIVE,
              live(realtime.refuses(429, [("Retry-After", "2")]), SPOKEN, calls=2), 0, out=WHOLE,
              notes=["HOST: Title 429: Message 429.: trying again in 2.0 s (try 2 of 3)"]),
        Fault("status 429, which asks for an hour", BATCH, http(refuses(429, [("Retry-After", "3600")])), 5,
              refusal(429), "the server asks to wait until TIME: try again then"),
        Fault("status 429, which asks for an hour", LIVE, live(realtime.refuses(429, [("Retry-After", "3600")])), 5,
              refusal(429, LIVE), "the server asks to wait until TIME: try again then"),
        Fault("status 503, which names a date in 2098", BATCH, http(refuses(503, [("Retry-After", LATER)])), 5,
              refusal(503), "the server asks to wait until TIME: try again then"),
        Fault("status 413 while 31 MB are still sent", BATCH, http(early(413, drained=False), size=30 << 20), 5,
              refusal(413), "a file of 31.5 MB is too large for the server: cut it, or compress it to mp3"),
        Fault("status 401 while 31 MB are still sent", BATCH, http(early(401, drained=False), size=30 << 20), 4,
              refusal(401), KEYS),
        Fault("error page in HTML", BATCH,
              http(answers("<html>Bad gateway</html>", [("Content-Type", "text/html")], 502), options=ONCE), 5,
              "talk.wav: the server gave no reason (status 502)", TROUBLE),
        Fault("error without a body", BATCH, http(answers("", status=404)), 5,
              "talk.wav: the server gave no reason (status 404)", REFUSALS[404]),
        Fault("error event", LIVE, live(realtime.fails(500)), 5, refusal(500, LIVE), TROUBLE, out=BEGUN),
        Fault("error event about credits", LIVE, live(realtime.fails(402)), 5, refusal(402, LIVE), CREDITS,
              out=BEGUN),
        Fault("error event about the key", LIVE, live(realtime.fails_at_once(401)), 4, refusal(401, LIVE), KEYS),
        Fault("error event whose status is a string", LIVE, live(realtime.fails(402, status_code="402")), 5,
              refusal(402, LIVE), CREDITS, out=BEGUN),
        Fault("language hints that the server rejects", LIVE,
              live(november, options=("--language-hint", "de")), 5,
              "HOST: Invalid language hints: ink-2 does not take language hints (status 400, request id ID)",
              "--language-hint is for ink-preview, with codes of its languages; leave it out for other models",
              notes=["warning: ink-2 rejects language hints: they are for ink-preview"]),
        Fault("status 400 for the second of three files", BATCH,
              three("names_the_file", refuses(400), "names_the_file", requests=3), 1,
              out="words of a.wav\nwords of c.wav\n",
              notes=["error: b.wav: Title 400: Message 400. (status 400, request id ID)", f"hint: {CHECK_OPTIONS}",
                     "2 of 3 transcribed, 2.0 s of audio, 1.0 credits"]),
        Fault("status 402 for the second of three files", BATCH,
              three("names_the_file", refuses(402), requests=2), 5,
              "b.wav: Title 402: Message 402. (status 402, request id ID)",
              f"{CREDITS}; then: cartesia-cli transcribe --output - b.wav c.wav", out="words of a.wav\n",
              notes=["warning: stopped: 1 of 3 transcribed, 1.0 s of audio, 0.5 credits; 1 not tried"]),
        Fault("status 401 for the first of three files", BATCH, three(refuses(401), requests=1), 4,
              "a.wav: Title 401: Message 401. (status 401, request id ID)",
              f"{KEYS}; then: cartesia-cli transcribe --output - a.wav b.wav c.wav",
              notes=["warning: stopped: 0 of 3 transcribed, 0.0 s of audio, 0.0 credits; 2 not tried"]),
    ),
    "Connections that break": (
        Fault("reset during each upload", BATCH, http("resets_during_upload", size=LARGE, requests=3), 6,
              BROKEN_OFF, CHECK_NETWORK, notes=[f"{BROKEN_OFF}: {AGAIN} (try {n} of 3)" for n in (2, 3)]),
        Fault("reset during the first upload", BATCH, http("resets_during_upload", "fine", size=LARGE, requests=2), 0,
              out=HEARD, notes=[f"{BROKEN_OFF}: {AGAIN} (try 2 of 3)"]),
        Fault("connection cut during the upload", BATCH,
              through(http("fine", size=LARGE, options=ONCE), Plan(Direction(after=100_000, then="cut"))), 6,
              BROKEN_OFF, CHECK_NETWORK),
        Fault("closed after the upload", BATCH, http("closes_after_upload"), 6, GONE, BILLED),
        Fault("reset after the upload", BATCH, http("resets_after_upload"), 6, GONE, BILLED),
        Fault("closed after the upload, --retries 1", BATCH,
              http("closes_after_upload", "fine", requests=2, options=("--retries", "1")), 0, out=HEARD,
              notes=[f"{GONE}: {AGAIN} (try 2 of 2); the audio may be billed again"]),
        Fault("half-closed after the upload", BATCH, through(http("fine"), Plan(down=Direction(then="half"))), 6,
              GONE, BILLED),
        Fault("closed in the response", BATCH, through(http("fine"), Plan(down=Direction(after=200, then="cut"))), 5,
              "talk.wav: the response of HOST was cut short (status 200)", BILLED),
        Fault("garbage before the response", BATCH, through(http("fine", requests=None), Plan(down=GARBAGE)), 5,
              "talk.wav: the response of HOST is not valid HTTP: …", f"{BILLED}; {IS_IT}"),
        Fault("slow uplink", BATCH,
              through(http("fine", size=100_000), Plan(Direction(rate=200_000, piece=1000))), 0, out=HEARD),
        Fault("1 s of latency", BATCH, through(http("fine"), LATE), 0, out=HEARD),
        Fault("1 s of latency", LIVE, through(live(SPOKEN), LATE), 0, out=WHOLE),
        Fault("half-open after the upload", BATCH, through(http("fine", options=BRIEFLY), Plan(down=HOLE)), 6,
              IN_VAIN, WAITS),
        Fault("upload stalls, then continues", BATCH, stalled, 0, out=HEARD),
        Fault("server never responds", BATCH, http("never_answers", options=BRIEFLY), 6, IN_VAIN, WAITS),
        Fault("server stops reading", BATCH, http("stops_reading", size=LARGE, options=BRIEFLY), 6,
              IN_VAIN, WAITS),
        Fault("headers arrive byte by byte", BATCH, http("drips_headers", options=BRIEFLY), 6, IN_VAIN, WAITS),
        Fault("response arrives byte by byte", BATCH, http("drips_body", options=BRIEFLY), 6, IN_VAIN, WAITS),
        Elsewhere("file shrinks during the upload", BATCH, 3, "`… became shorter while it was sent`",
                  "test_client_faults.py::test_a_file_that_becomes_shorter_is_an_input_error"),
        Elsewhere("file grows during the upload", BATCH, 0, "the transcript of the original length",
                  "test_client_faults.py::test_growing_file_is_sent_with_its_first_length"),
    ),
    "Responses that are not transcripts": (
        *(Fault(what, BATCH, http(answers(body)), 5, f"talk.wav: status 200, but {error}", f"{REALLY}{start}")
          for what, (body, error, start) in NO_TRANSCRIPT.items()),
        *(Fault(what, BATCH, http(answers("", status=status)), 5,
                f"talk.wav: status {status}, but the response is empty", "is HOST really Cartesia's API?")
          for what, status in (("nothing", 200), ("status 204", 204))),
        Fault("invalid gzip", BATCH, http(answers(TRANSCRIPT, [("Content-Encoding", "gzip")])), 5,
              "talk.wav: the response of HOST is not valid HTTP: the body is not valid gzip (status 200)",
              f"{BILLED}; {IS_IT}"),
        Fault("words that are null", BATCH, http(answers({"text": TEXT, "words": None})), 0, out=HEARD),
        Fault("words that are strings", BATCH, http(answers({"text": TEXT, "words": ["Hello."]})), 0, out=HEARD),
        Fault("a duration that is a string", BATCH, http(answers({"text": TEXT, "duration": "1"})), 0, out=HEARD),
        Fault("times that are no numbers", BATCH, http(answers(NO_TIMES)), 0, out=HEARD),
        Fault("half a GiB", BATCH, http("endless"), 5,
              "talk.wav: the response is larger than 64 MiB", "check the base URL"),
        Elsewhere("a few bytes that unpack to 400 MiB", BATCH, 5, "an error, and memory stays bounded",
                  "test_client_faults.py::test_response_size_is_bounded_in_memory"),
        Fault("an answer before all was sent", BATCH, http("early_transcript", size=30 << 20), 5,
              "talk.wav: status 200, but it came before the whole file was sent", f"{REALLY}'…"),
        Fault("server of another protocol", BATCH, http("speaks_no_http", options=ONCE), 6, GONE, BILLED),
        Fault("invalid HTTP", BATCH, http("breaks_headers"), 5,
              "talk.wav: the response of HOST is not valid HTTP: illegal header line", f"{BILLED}; {IS_IT}"),
        Fault("server of another protocol", LIVE, live(realtime.speaks_no_http), 5,
              "HOST does not answer as a WebSocket server does: …", IS_IT),
        Fault("handshake with a wrong Sec-WebSocket-Accept", LIVE, live(realtime.accepts_another_key), 5,
              "HOST does not answer as a WebSocket server does: …", IS_IT),
    ),
    "Sessions that end early": (
        *(Fault(f"code {code}", LIVE, lost(realtime.closes(code)), 6,
                f"HOST ended the session early (code {code}, {name}) (request id ID)", hint, out=BEGUN)
          for code, (name, hint) in CLOSES.items()),
        Fault("no close code", LIVE, lost(realtime.closes(None)), 6,
              "HOST ended the session early (no code) (request id ID)", CHECK_NETWORK, out=BEGUN),
        Fault("no close frame", LIVE, lost(realtime.drops), 6,
              "the connection to HOST was lost: closed without a reason (request id ID)", CHECK_NETWORK, out=BEGUN),
        Fault("a reset", LIVE, lost(realtime.resets), 6,
              "the connection to HOST was lost: Connection reset by peer (request id ID)", CHECK_NETWORK, out=BEGUN),
        *(Fault(f"code {code}, which is final", LIVE, live(realtime.closes(code, "No.")), 5,
                f"HOST refused to continue (code {code}, {name}: No.) (request id ID)", hint, out=BEGUN)
          for code, (name, hint) in SAYS_NO.items()),
        Fault("closed instead of `done`", LIVE, lost(realtime.ends_unfinished(1000)), 6,
              "HOST ended the session early (code 1000, normal closure) (request id ID)", IDLE, out=BEGUN),
        Fault("neither `done` nor a close frame", LIVE, lost(realtime.never_finishes), 6,
              "the server sent nothing for 15 s after the end of the audio",
              "the last words may be missing: run the same command again", out=BEGUN, slow=True),
        Fault("`done` without `flush_done`", LIVE, live(realtime.never_flushes), 0, out=BEGUN),
        Fault("half-open connection", LIVE, half_open, 6,
              "HOST has not responded for 10 s (request id ID)", CHECK_NETWORK, out=BEGUN, slow=True),
        Fault("server stops reading", LIVE, full, 6,
              "HOST accepted no audio for 10 s (request id ID)", CHECK_NETWORK, out=BEGUN, slow=True,
              notes=["warning: --speed: …"]),
        Fault("garbage between frames", LIVE, garbled, 5,
              "HOST sent an invalid WebSocket frame: … (request id ID)", IS_IT, out=BEGUN),
        Fault("no close frame, then reconnected", LIVE, live(realtime.drops, SPOKEN, calls=2), 0, out=WHOLE,
              notes=["the connection to HOST was lost: closed without a reason: reconnecting",
                     "reconnected: … s of audio are sent again"]),
        Fault("code 1012, then reconnected", LIVE, live(realtime.closes(1012), SPOKEN, calls=2), 0, out=WHOLE,
              notes=["HOST ended the session early (code 1012, service restart): reconnecting",
                     "reconnected: … s of audio are sent again"]),
        Fault("no close frame, then unreachable", LIVE, gone, 6,
              "the connection to HOST was lost: closed without a reason, and no other connection could be made: …",
              "check the network…", out=BEGUN,
              notes=["the connection to HOST was lost: closed without a reason: reconnecting", "HOST …"]),
    ),
    "Unexpected events": (
        Fault("unknown events and fields, binary frames, invalid JSON, null", LIVE, live(strange), 0, out=BEGUN),
        Fault("text with other fields of a wrong type", LIVE, live(says(ODD)), 0, out=BEGUN),
        Fault("text that is not a string, after one that is", LIVE,
              live(says(realtime.transcript(PARTIAL), realtime.transcript("") | {"text": ["more"]})), 5,
              f"{UNREADABLE} (request id ID)", "words are missing: --raw-events FILE shows what came instead",
              out=BEGUN, notes=[f"warning: {UNREADABLE}: words are missing"]),
        Fault("the same text twice", LIVE, live(says(*[realtime.transcript(" Yes.")] * 2)), 0, out="Yes. Yes.\n"),
        Fault("text after `done`", LIVE, live(realtime.sends_text_after_done), 0, out=BEGUN),
        Fault("event of 17 MiB", LIVE, live(sends_too_much), 5,
              "HOST sent an invalid WebSocket frame: larger than 16 MiB (request id ID)", IS_IT, out=BEGUN),
        Fault("error because of silence alone", LIVE, live(realtime.fails_after_close(500)), 0,
              notes=["no speech found"]),
        Fault("error instead of the last words", LIVE, live(realtime.fails_after_close(500, heard=True)), 5,
              refusal(500, LIVE), TROUBLE, out=BEGUN),
    ),
    "Recordings": (
        *(row for command in (BATCH, LIVE) for row in (
            Fault("not there", command, file("none.wav", None), 3,
                  "none.wav does not exist", "check the spelling and the folder"),
            Fault("empty", command, file("empty.wav", b""), 3,
                  "empty.wav is empty (0 bytes)", "was the recording cut off?"),
            Fault("a header only", command, header_only, 3,
                  "header.wav holds no audio: it consists of a header only", "does it play?"),
            Fault("not audio", command, file("diary.wav", b"Dear diary, "), 3,
                  "diary.wav is not a recording: it begins like text", KINDS),
        )),
        Fault("folder without recordings", BATCH, folder, 3, "no audio in the folder 'talks'",
              "hidden files and folders are not searched"),
        Fault("folder", LIVE, folder, 3, "talks is a folder, not a recording", "name a recording in it"),
        Fault("truncated", BATCH, cut_off, 0, out=HEARD,
              notes=["warning: talk.wav: it was cut off: its header promises 1.00 s of audio, and it holds 0.50 s"]),
        Fault("stdin, and a server that fails once", BATCH, piped, 0, out=HEARD,
              notes=[f"-: Title 503: Message 503.: {AGAIN} (try 2 of 3)"]),
        Elsewhere("31 unusual WAV files", LIVE, 0, "the transcript, and a warning where something is missing",
                  "test_files.py::test_unusual_wav_is_decoded_with_the_right_note"),
        *(Fault(f"a name {what}", BATCH, named(name), 5,
                f"{shown}: Title 400: Message 400. (status 400, request id ID)", CHECK_OPTIONS)
          for what, name, shown in (
              ("that is not UTF-8", b"caf\xe9.wav", "caf�.wav"), ("of two lines", b"two\nlines.wav", "two lines.wav"),
              ("that begins like an option", b"-q.wav", "-q.wav"), ("of 255 bytes", b"x" * 251 + b".wav", "xxx….wav"),
              ("with quotes and escapes", b'"\x1b[31m\'.wav', "\"�[31m'.wav"),
          )),
    ),
    "Outputs": (
        Fault("exists", BATCH, exists, 2, "there.txt exists", "--force overwrites it"),
        Fault("exists", LIVE, exists, 2, "there.txt exists", "--force overwrites it"),
        Fault("exists", LISTEN, taken, 2, "there.txt exists", "--force overwrites it"),
        Fault("not writable", BATCH, unasked("-o", "/proc/said.txt"), 2,
              "/proc/said.txt can't be written: no file can be created in /proc: …", "choose another path"),
        Fault("a full disk", BATCH, full_disk(http("fine")), 1, "said.txt: can't be written: …",
              "it went to stdout instead; -o names another place", out=HEARD),
        Fault("a full disk", LIVE, full_disk(live(SPOKEN)), 1, "said.txt: can't be written: …",
              "it went to stdout instead; -o names another place", out=WHOLE),
        Fault("stdout on a full disk", BATCH, full_stdout(http("fine")), 1,
              "stdout can't be written: No space left on device", "-o writes to a file instead"),
        Fault("stdout on a full disk", LIVE, full_stdout(live(SPOKEN)), 1,
              "stdout can't be written: No space left on device", "-o writes to a file instead"),
        Elsewhere("a full disk under `--save-audio`", LIVE, 1, "the transcript; the recording stops",
                  "test_stream_file.py::test_full_disk_ends_the_saved_audio_but_not_the_session"),
        Elsewhere("two runs write one file", BATCH, 1, "one of the two results; the other on stdout",
                  "test_faults.py::test_two_runs_into_one_file_keep_both_results"),
        Elsewhere("reader closes the pipe", BATCH, 0, "nothing",
                  "test_program.py::test_closed_stdout_ends_the_run_quietly"),
        Elsewhere("reader closes the pipe", LIVE, 0, "nothing",
                  "test_stream_file.py::test_closed_stdout_ends_the_run_quietly"),
        Elsewhere("stdout or stderr closed", BATCH, 1, "no traceback",
                  "test_program.py::test_closed_standard_streams_cause_no_traceback"),
    ),
    "Terminals and languages": (
        Fault("LANG=C and non-ASCII words", BATCH,
              given(then=http(answers({"text": "Grüße 🎙"})), LANG="C", LC_ALL="C"), 0, out="Grüße 🎙\n"),
        Fault("ten columns, NO_COLOR, TERM=dumb", BATCH,
              given(then=http(refuses(400)), COLUMNS="10", NO_COLOR="1", TERM="dumb"), 5, refusal(400), CHECK_OPTIONS),
        Elsewhere("forty columns, and any terminal", LISTEN, 0, "a clean screen",
                  "test_listen_faults.py::test_live_view_on_a_narrow_terminal_leaves_no_remains"),
    ),
    "The key": (
        *(Fault("none", command, (alone if command == LISTEN else unasked)(
            "--cloud", CARTESIA_API_KEY=None, CARTESIA_BASE_URL=None), 4, "no API key", NO_KEY)
          for command in (BATCH, LIVE, LISTEN)),
        *(Fault(what, command, unasked(CARTESIA_API_KEY=key), 4,
                f"the variable CARTESIA_API_KEY does not contain an API key: {why}", COPY)
          for what, key, command, why in (
              ("blank", "  ", BATCH, "it is blank"),
              ("with a line break", "sk_car_a\nb", BATCH, BAD_KEY), ("with a line break", "sk_car_a\nb", LIVE, BAD_KEY),
              ("admin key", "sk_car_admin_x", BATCH, "it is an admin key, which can't transcribe"),
          )),
        Elsewhere("key file readable by others", BATCH, 4, "`… can be read by others`, and the `chmod` for it",
                  "test_settings.py::test_key_file_readable_by_others_is_refused"),
    ),
    "Signals": (
        Elsewhere("Ctrl-C, whatever the network does", BATCH, 130, "nothing",
                  "test_client_faults.py::test_an_interruption_ends_the_program_at_once"),
        Elsewhere("Ctrl-C while connecting", LIVE, 130, "nothing",
                  "test_faults.py::test_ctrl_c_works_while_the_server_does_not_respond"),
        Elsewhere("Ctrl-C, once", LIVE, 0, "the last words",
                  "test_stream_file.py::test_first_ctrl_c_or_sigterm_finishes_the_session"),
        Elsewhere("Ctrl-C twice, whatever the network does", LIVE, 130, "what was heard so far",
                  "test_faults.py::test_ctrl_c_twice_ends_a_session_at_once"),
        Elsewhere("terminal in raw mode", LISTEN, 130, "the terminal restored",
                  "test_keys.py::test_terminal_mode_is_restored_after_a_fatal_signal"),
    ),
    "Microphones": (
        Elsewhere("unplugged", LISTEN, 3, "the transcript so far, and the recording",
                  "test_listen.py::test_unplugged_microphone_exits_3_and_keeps_text_and_recording"),
        Elsewhere("not there", LISTEN, 3, "a list of the existing ones",
                  "test_listen.py::test_unknown_device_error_lists_the_available_ones"),
        Elsewhere("sound server hangs", LISTEN, 3, "the transcript so far, and the recording",
                  "test_listen_faults.py::test_frozen_sound_server_exits_3_and_keeps_text_and_recording"),
        Elsewhere("unsupported sample rate", LISTEN, 0, "resampled",
                  "test_microphone.py::test_rejected_rate_falls_back_to_usual_rates"),
        Elsewhere("overflows", LISTEN, 0, "one warning",
                  "test_microphone.py::test_overflows_are_counted_with_one_warning"),
        Elsewhere("network cut", LISTEN, 6, "the transcript so far, and the recording",
                  "test_listen_faults.py::test_network_failure_exits_6_and_keeps_text_and_recording"),
        Elsewhere("a full disk", LISTEN, 0, "the transcript; the recording stops",
                  "test_listen_faults.py::test_full_disk_ends_the_recording_but_not_the_session"),
        Elsewhere("only silence, or too quiet", LISTEN, 0, "a warning with the level",
                  "test_microphone.py::test_faint_sound_warning_names_the_level"),
        Elsewhere("computer was suspended", LIVE, 0, "a warning; the schedule continues",
                  "test_pacing.py::test_a_short_stall_is_caught_up_and_a_long_one_moves_the_schedule"),
    ),
}
# fmt: on


def rows() -> Iterator[tuple[str, Fault | Elsewhere]]:
    """All rows, each with its chapter."""
    for chapter, found in ROWS.items():
        for row in found:
            yield chapter, row


def table() -> str:
    """The table in Markdown."""
    lines = ["| what goes wrong | command | exit code | what you get |", "|---|---|---|---|"]
    for chapter, found in ROWS.items():
        lines.append(f"| **{chapter}** | | | |")
        lines += [f"| {row.what} | `{row.command}` | {row.code} | {_expected(row)} |" for row in found]
    return "\n".join(lines) + "\n"


def _expected(row: Fault | Elsewhere) -> str:
    """What the user gets, without notes about retries."""
    if isinstance(row, Elsewhere):
        return row.expected
    text = "the transcript" if row.code == 0 else "what was heard"
    lines = [text] if row.out else []
    if row.error:
        lines += [f"`error: {row.error}`"] + ([f"`hint: {row.hint}`"] if row.hint else [])
    else:
        lines += [f"`{note}`" for note in row.notes]
    return "<br>".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table())
