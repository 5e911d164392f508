"""What goes wrong between a client and a server, and what the user is owed then: an exit code, one error, one hint.

The whole program is run as a user runs it, against a server that misbehaves; what its command line adds
nothing to is tried on the client alone. Nothing here leaves this machine, and no test looks at the clock
but to see that it was not kept waiting.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from cartesia_cli.client import BatchClient, Deadlines, RetryPolicy, Upload, UploadProgress, is_account_error
from cartesia_cli.client.deadlines import run_with_deadline
from cartesia_cli.client.environment import find_proxy
from cartesia_cli.client.http_errors import Peer, refusal_failure
from cartesia_cli.client.http_transport import AbortHandle, BuildRequest, HttpClient, HttpResponse
from cartesia_cli.errors import (
    ApiError,
    AuthError,
    CliError,
    Exit,
    InputError,
    Interrupted,
    NetworkError,
    ProtocolError,
)
from cartesia_cli.protocol.batch import BatchOptions, BatchResponse
from cartesia_cli.protocol.constants import RUNNING_SERVER, Credential
from cartesia_cli.retry import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, is_retryable_status, parse_retry_after

from .fault_server import (
    KEY,
    REQUEST_ID,
    TEXT,
    TRANSCRIPT,
    Behaviour,
    Exchange,
    FaultServer,
    Request,
    answers,
    early,
    environment,
    head,
    refusal,
    refuses,
    tunnels,
    write_wav,
)
from .fork_server import Process, run_program, start_program
from .memory import peak

LONGEST_RUN = 30
"""Seconds after which a run counts as hanging."""

PAST = "Wed, 21 Oct 2015 07:28:00 GMT"

LARGE = 8 << 20
"""Bytes of a file that doesn't fit into the buffers between two sockets."""

HTML = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
PLAIN_TEXT = [("Content-Type", "text/plain")]

NO_TRANSCRIPT: dict[str, Behaviour] = {
    "HTML": answers(HTML, [("Content-Type", "text/html")]),
    "empty": answers(""),
    "null": answers(None),
    "a list": answers([TRANSCRIPT]),
    "a string": answers('"Hello."'),
    "a number": answers(1),
    "no text": answers({"type": "transcript", "words": []}),
    "text null": answers({"text": None}),
    "text a number": answers({"text": 1}),
    "text a list": answers({"text": ["Hello."]}),
    "cut-off JSON": answers(json.dumps(TRANSCRIPT)[:-20]),
    "two documents": answers(json.dumps(TRANSCRIPT) * 2),
    "no UTF-8": answers(b'{"text": "caf\xe9"}'),
    "UTF-16": answers(json.dumps(TRANSCRIPT).encode("utf-16")),
    "deeply nested": answers("[" * 200_000),
    "status 204": answers("", status=204),
    "status 202": answers({"status": "queued"}, status=202),
}
"""Answers that call themselves a success and hold no transcript."""

STATUSES = {
    status: Exit.AUTH if status in (401, 403) else Exit.API
    for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 429, 500, 501, 502, 503, 504)
}
PASSING = {408, 429, 500, 501, 502, 503, 504}


# Running the program ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a short recording in it."""
    write_wav(tmp_path / "talk.wav")
    return tmp_path


@dataclass(frozen=True)
class Run:
    """How a run of the program ended, and what it said."""

    code: int
    out: bytes
    err: bytes

    @property
    def lines(self) -> list[str]:
        return self.err.decode().splitlines()

    def kept_its_manners(self) -> None:
        """What holds for every run, however it ended."""
        assert b"Traceback" not in self.err
        assert b"internal error" not in self.err
        assert KEY.encode() not in self.out + self.err
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", self.err.decode()), "stderr moves the cursor"

    def succeeded(self) -> None:
        self.kept_its_manners()
        assert (self.code, self.out.decode()) == (0, TEXT + "\n"), self.err

    def failed(self, code: int, *words: str) -> str:
        """One error, one hint, nothing on stdout. `words` are said, too; both lines come back."""
        self.kept_its_manners()
        assert (self.code, self.out) == (code, b""), self.err
        *before, error, hint = ["", *self.lines] if len(self.lines) == 1 else self.lines
        assert hint.startswith("hint: "), f"no hint: {self.lines}"
        assert error.startswith("error: "), self.lines
        assert all("trying again in" in line or line.startswith("warning: ") for line in before if line), before
        said = f"{error}\n{hint}"
        for word in words:
            assert word.lower() in said.lower(), f"{word!r} is not in {said!r}"
        return said


def run(home: Path, base_url: str, *arguments: str | bytes, **changes: str | None) -> Run:
    """The program from its start to its end; with no file named, on talk.wav."""
    named = any(str(argument).endswith("wav") for argument in arguments)
    done = run_program(
        ["transcribe", *arguments, *([] if named else ["talk.wav"])],
        env=environment(home, base_url, **changes),
        cwd=home,
        stdin=subprocess.DEVNULL,
        timeout=LONGEST_RUN,
    )
    return Run(done.returncode, done.stdout, done.stderr)


# The client alone ------------------------------------------------------------------------------------------


@dataclass
class Attempt:
    """One call of the client: its result, its messages to the user, and how long it would have slept."""

    response: BatchResponse | None = None
    error: CliError | None = None
    told: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)


def patient(total: float = 20.0, stall: float = 20.0, silence: float = 20.0) -> Deadlines:
    return Deadlines(total, stall, silence)


def attempt(
    server: FaultServer,
    path: Path,
    *,
    retries: int | None = None,
    deadlines: Deadlines | None = None,
    sleep: Callable[[float], None] = lambda seconds: None,
) -> Attempt:
    """Transcribe without ever sleeping between two tries."""
    came = Attempt()

    def pause(seconds: float) -> None:
        came.pauses.append(seconds)
        sleep(seconds)

    credential = Credential(KEY, "the variable CARTESIA_API_KEY")
    retry = RetryPolicy(retries, jitter=lambda: 1.0)
    with BatchClient(server.base_url, credential, retry=retry, on_retry=came.told.append, sleep=pause) as client:
        try:
            came.response = client.transcribe(
                Upload(path, path.name, "audio/wav"),
                BatchOptions(model="ink-whisper"),
                deadlines=deadlines or patient(),
            )
        except CliError as error:
            came.error = error
    return came


def failure(*script: str | Behaviour, path: Path, uploads: int, **how: object) -> CliError:
    """The error that a script leads to, after as many uploads."""
    with FaultServer(*script) as server:
        came = attempt(server, path, **how)  # type: ignore[arg-type]
        assert not server.faults
        assert came.error is not None, came.response
        assert len(server.requests) == uploads
    assert "talk.wav" in came.error.message
    assert KEY not in f"{came.error} {came.error.hint} {came.told}"
    return came.error


# Each fault, and how the program ends ----------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A fault and what is owed.

    code      the exit code
    words     that the error or its hint must say
    uploads   how many requests the server must have seen, None for any number
    size      bytes of the file
    """

    script: Sequence[str | Behaviour]
    code: int
    words: Sequence[str] = ()
    uploads: int | None = 1
    arguments: Sequence[str] = ()
    size: int = 3244


ONCE = ("--retries", "0")
BRIEFLY = ("--timeout", "1.5")
AGAIN = ("--retries", "2")
BILLED = ("billed", "--retries")

CASES = {
    # connections that end
    "closed at once": Case(["accepts_and_closes"], 6, ["127.0.0.1"], None, ONCE),
    "reset at once": Case(["resets_before_reading"], 6, ["127.0.0.1"], None, ONCE),
    "reset during the upload": Case(["resets_during_upload"], 6, ["lost during the upload"], 3, size=LARGE),
    "closed during the upload": Case(["closes_during_upload"], 6, ["lost during the upload"], 1, ONCE, size=LARGE),
    "closed after the upload": Case(["closes_after_upload"], 6, ["lost", *BILLED]),
    "reset after the upload": Case(["resets_after_upload"], 6, ["lost", *BILLED]),
    # a 200 that ends too early is not a transcript, whatever happened to the connection
    "reset during the answer": Case(["resets_during_answer"], 5, ["cut short", *BILLED]),
    "closed during the answer": Case(["closes_during_answer"], 5, ["cut short", *BILLED]),
    "less than its Content-Length": Case(["closes_behind_a_transcript"], 5, ["cut short", *BILLED]),
    "ends inside a chunk": Case(["ends_inside_a_chunk"], 5, ["cut short", *BILLED]),
    "lost and repeated": Case(["closes_after_upload"], 6, ["lost"], 3, AGAIN),
    # connections that don't move
    "never answers": Case(["never_answers"], 6, ["--timeout"], 1, BRIEFLY),
    "never answers, may be repeated": Case(["never_answers"], 6, ["--timeout"], 1, (*BRIEFLY, "--retries", "5")),
    "stops reading": Case(["stops_reading"], 6, ["--timeout"], 1, BRIEFLY, size=LARGE),
    "drips its headers": Case(["drips_headers"], 6, ["--timeout"], 1, BRIEFLY),
    "drips its body": Case(["drips_body"], 6, ["--timeout"], 1, BRIEFLY),
    # answers that are none
    **{
        f"200 with {what}": Case([NO_TRANSCRIPT[what]], 5)
        for what in ("HTML", "empty", "null", "a list", "text null", "cut-off JSON", "no UTF-8")
    },
    "not HTTP": Case(["speaks_no_http"], 6),
    "invalid HTTP": Case(["breaks_headers"], 5, ["is not valid HTTP", "really Cartesia's API"]),
    # refusals
    **{
        f"status {status}": Case(
            [refuses(status)], code, [f"Title {status}: Message {status}.", f"status {status}", REQUEST_ID], 1, ONCE
        )
        for status, code in STATUSES.items()
        if status in (400, 401, 402, 403, 404, 408, 413, 429, 500, 503)  # the client alone is asked about the others
    },
    "401 names where the key came from": Case([refuses(401)], 4, ["the variable CARTESIA_API_KEY"]),
    "402 speaks of credits": Case([refuses(402)], 5, ["credits"]),
    "a code for used-up credits": Case([refuses(403, error_code="quota_exceeded")], 5, ["credits"]),
    "an empty refusal": Case([answers("", [("X-Request-Id", "from-the-header")], 404)], 5, ["from-the-header", "404"]),
    "an HTML refusal": Case([answers(HTML, [("Content-Type", "text/html")], 502)], 5, ["502"], 1, ONCE),
    "a plain refusal": Case([answers("Title: Some reason\nmore", PLAIN_TEXT, 400)], 5, ["Title: Some reason"]),
    "503 again and again": Case([refuses(503)], 5, ["503", "try again later"], 3),
    "503 four times": Case([refuses(503)], 5, ["503"], 4, ("--retries", "3")),
    "429 for an hour": Case([refuses(429, [("Retry-After", "3600")])], 5, ["429", "until 20"]),
    "503 forever": Case([refuses(503, [("Retry-After", "9" * 400)])], 5, ["503", "until 20"]),
    "413 while still uploading": Case([early(413, drained=False)], 5, ["Title 413", "413"], 1, size=30 << 20),
    "413, and the rest is read": Case([early(413, drained=True)], 5, ["Title 413", "413"], 1, size=30 << 20),
    "401 while still uploading": Case([early(401, drained=False)], 4, ["Title 401", "401"], 1, size=30 << 20),
    # redirects
    "redirects to itself": Case([refuses(307, [("Location", "/stt")])], 5, ["more than 3 redirects"], 4),
    **{
        f"{status} within the origin": Case(
            [refuses(status, [("Location", "/v2")])], 5, ["would drop the upload", "check the path of the base URL"], 1
        )
        for status in (301, 302, 303)
    },
    "302 to another origin": Case(
        [refuses(302, [("Location", "http://other.example/stt")])], 5, ["redirects to http://other.example"], 1
    ),
    "redirects to nowhere": Case([refuses(307)], 5, ["redirect"], 1),
    "redirects to a file": Case(
        [refuses(302, [("Location", "file:///etc/passwd")])], 5, ["redirects to file:/etc/passwd", "check the base"], 1
    ),
    "redirects to a script": Case(
        [refuses(307, [("Location", "javascript:alert(1)")])], 5, ["redirects to javascript:alert(1)"], 1
    ),
    "redirects to nonsense": Case([refuses(308, [("Location", "http://[::1")])], 5, ["redirect"], 1),
}  # fmt: skip

Ended = tuple[Run, FaultServer]


@pytest.fixture(scope="module")
def endings(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Ended]]]:
    """All cases that were asked for, run three at a time: they mostly wait."""
    names = [item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")]

    place = tmp_path_factory.mktemp("cases")  # not for each case: the factory is not made for threads

    def end(case: Case) -> Ended:
        home = Path(tempfile.mkdtemp(dir=place))
        write_wav(home / "talk.wav", case.size)
        with FaultServer(*case.script) as server:
            return run(home, server.base_url, *case.arguments), server

    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(end, case) for name, case in CASES.items() if name in names}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_ends_in_one_error_and_its_exit_code(name: str, endings: dict[str, Future[Ended]]) -> None:
    case = CASES[name]
    ended, server = endings[name].result()
    assert not server.faults
    ended.failed(case.code, *case.words)
    if case.uploads is not None:
        assert len(server.requests) == case.uploads


@pytest.mark.parametrize("name", ["fine", "sends_chunks", "closes_to_end_the_body", "continues_noisily"])
def test_unusual_but_valid_responses_are_accepted(name: str, home: Path) -> None:
    with FaultServer(name) as server:
        run(home, server.base_url).succeeded()


# No connection ---------------------------------------------------------------------------------------------


def test_refused_connection_is_retried_then_reported(home: Path, closed_port: int) -> None:
    ended = run(home, f"http://127.0.0.1:{closed_port}")
    ended.failed(6, f"127.0.0.1:{closed_port} can't be reached", "talk.wav", "refused")
    assert sum("trying again in" in line for line in ended.lines) == 2


def test_unresolvable_host_is_a_network_error(home: Path) -> None:
    run(home, "https://nonexistent.invalid", *ONCE).failed(6, "nonexistent.invalid can't be reached")


def test_connection_never_accepted_ends_at_the_deadline(home: Path) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(4)]
        try:
            for other in others:  # fill the queue: what comes next is left without any reply
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            run(home, f"http://127.0.0.1:{full.getsockname()[1]}", *BRIEFLY).failed(6, "talk.wav")
        finally:
            for other in others:
                other.close()


@pytest.mark.parametrize("base_url", ["https://a..invalid", "https://exa mple.invalid"])
def test_invalid_host_name_is_not_an_internal_error(home: Path, base_url: str) -> None:
    ended = run(home, base_url, *ONCE)
    assert ended.code in (2, 6), ended.err
    ended.failed(ended.code)


def test_model_that_is_not_text_is_a_usage_error(home: Path) -> None:
    with FaultServer("fine") as server:
        run(home, server.base_url, b"-m", b"ink\xff").failed(2)
        assert not server.requests


@pytest.mark.parametrize("seconds", ["inf", "nan"])
def test_infinite_and_nan_timeouts_do_not_crash(home: Path, seconds: str) -> None:
    with FaultServer("fine") as server:
        ended = run(home, server.base_url, "--timeout", seconds)
        ended.kept_its_manners()
        assert ended.code in (0, 2)


# Answers that are no transcript ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", NO_TRANSCRIPT)
def test_a_success_without_a_transcript_is_an_error(what: str, home: Path) -> None:
    error = failure(NO_TRANSCRIPT[what], path=home / "talk.wav", uploads=1)
    assert isinstance(error, ApiError)
    assert error.exit_code == Exit.API


PLAIN = json.dumps(TRANSCRIPT).encode()
PACKED = gzip.compress(PLAIN)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("GZip", PACKED),
        ("x-gzip", PACKED),
        ("gzip", gzip.compress(PLAIN[:50]) + gzip.compress(b"") + gzip.compress(PLAIN[50:])),
        ("gzip", PACKED + bytes(100)),
        ("gzip, identity, gzip", gzip.compress(PACKED)),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", zlib.compress(PLAIN, wbits=-zlib.MAX_WBITS)),
        ("identity", PLAIN),
    ],
)
def test_a_response_that_is_compressed_unasked_is_decompressed(encoding: str, body: bytes, home: Path) -> None:
    def in_pieces(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(head(200, [("Content-Encoding", encoding), ("Content-Length", str(len(body)))]))
        for piece in (body[start : start + 7] for start in range(0, len(body), 7)):
            exchange.send(piece)

    with FaultServer(answers(body, [("Content-Encoding", encoding)]), in_pieces) as server:
        for _ in range(2):
            came = attempt(server, home / "talk.wav")
            assert came.response is not None and came.response.text == TEXT, came.error


def sends(data: bytes) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(data)

    return behave


INVALID_HTTP: dict[str, str | Behaviour] = {
    "illegal status line": sends(b"SSH-2.0-OpenSSH_9\r\n\r\n"),
    "Receive buffer too long": answers(TRANSCRIPT, [("X-A", "a" * 200_000)]),
    "illegal header line": "breaks_headers",
    "bad Content-Length": sends(b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n"),
    "conflicting Content-Length": answers(TRANSCRIPT, [("Content-Length", "5")]),
    "status_code should be": sends(b"HTTP/1.1 000 OK\r\n\r\n"),
    "without a pending proposal": sends(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "illegal chunk header": "breaks_chunks",
    "the body is not valid gzip": answers(TRANSCRIPT, [("Content-Encoding", "gzip")]),
    "the body is not valid deflate": answers(TRANSCRIPT, [("Content-Encoding", "deflate")]),
}


@pytest.mark.parametrize("reason", INVALID_HTTP)
def test_an_answer_that_is_not_valid_http_is_not_called_a_lost_connection(reason: str, home: Path) -> None:
    error = failure(INVALID_HTTP[reason], path=home / "talk.wav", uploads=1)
    assert isinstance(error, ProtocolError)
    assert "is not valid HTTP: " in error.message and reason in error.message and "bytearray" not in error.message
    assert (error.hint or "").endswith("is it really Cartesia's API? Check the base URL")
    assert "may have been billed" in (error.hint or "")


@pytest.mark.parametrize("size", [9, 100])
def test_a_compressed_response_that_is_cut_off_is_an_error(size: int, home: Path) -> None:
    cut = answers(PACKED[:-size], [("Content-Encoding", "gzip")])
    assert "cut short" in failure(cut, path=home / "talk.wav", uploads=1).message


def test_a_refusal_that_is_compressed_twice_is_read(home: Path) -> None:
    body = gzip.compress(gzip.compress(json.dumps(refusal(400)).encode()))
    error = failure(answers(body, [("Content-Encoding", "gzip, gzip")], 400), path=home / "talk.wav", uploads=1)
    assert "talk.wav: Title 400: Message 400." in error.message


def test_a_refusal_that_cannot_be_decompressed_is_one_without_a_reason(home: Path) -> None:
    error = failure(answers(b"\x0b\x02\x80", [("Content-Encoding", "br")], 400), path=home / "talk.wav", uploads=1)
    assert (error.message, error.status) == ("talk.wav: the server gave no reason", 400)


def test_hint_quotes_the_start_of_an_invalid_response(home: Path) -> None:
    error = failure(NO_TRANSCRIPT["HTML"], path=home / "talk.wav", uploads=1)
    assert isinstance(error, ProtocolError)
    assert "It works" in f"{error.hint}"[:200]


def test_response_before_the_upload_is_complete_is_rejected(home: Path) -> None:
    """A server, or a proxy before it, that answers early has not heard the end: its text would be cut short."""
    path = write_wav(home / "talk.wav", 30 << 20)
    error = failure("early_transcript", path=path, uploads=1)
    assert error.exit_code in (Exit.API, Exit.NETWORK)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells")
@pytest.mark.parametrize("flood", ["endless", "bomb"])
def test_response_size_is_bounded_in_memory(flood: str, home: Path) -> None:
    with FaultServer(flood) as server, (home / "err").open("wb") as err, (home / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cartesia_cli", "transcribe", "talk.wav"],
            env=environment(home, server.base_url), cwd=home, stdout=out, stderr=err,
        )  # fmt: skip
        guard = threading.Timer(LONGEST_RUN, process.kill)
        guard.start()
        most = peak(process)
        guard.cancel()
        assert len(server.requests) == 1
    assert 10_000 < most < 350_000, "KiB"
    Run(process.returncode, (home / "out").read_bytes(), (home / "err").read_bytes()).failed(5, "talk.wav")


# Refusals --------------------------------------------------------------------------------------------------

REFUSALS: dict[str, Callable[[int], Behaviour]] = {
    "documented": lambda status: refuses(status),
    "plain": lambda status: answers(f"Title {status}: Message {status}.", PLAIN_TEXT, status),
    "HTML": lambda status: answers(HTML, [("Content-Type", "text/html")], status),
    "empty": lambda status: answers("", [], status),
    "no UTF-8": lambda status: answers(b"\xff\xfe\x00", PLAIN_TEXT, status),
    "wrong types": lambda status: answers({"title": 1, "message": ["a"], "request_id": {}}, [], status),
    "a list": lambda status: answers([1, 2], [], status),
    "cut off": lambda status: answers(json.dumps(refusal(status))[:-30], [], status),
}


@pytest.mark.parametrize("body", REFUSALS)
@pytest.mark.parametrize("status", STATUSES)
def test_refusal_with_any_body_is_reported_with_what_to_do(status: int, body: str, home: Path) -> None:
    uploads = 3 if status in PASSING else 1
    error = failure(REFUSALS[body](status), path=home / "talk.wav", uploads=uploads)
    assert (error.exit_code, error.status) == (STATUSES[status], status)
    assert error.hint
    if body in ("documented", "plain"):
        assert f"Title {status}: Message {status}." in error.message
    if body == "documented":
        assert error.request_id == REQUEST_ID
    if body == "HTML":
        assert "<" not in error.message


@pytest.mark.parametrize("status", [401, 404, 500])
def test_request_id_falls_back_to_the_header(status: int, home: Path) -> None:
    header = [("X-Request-Id", "from-the-header")]
    for body, expected in ((HTML, "from-the-header"), (json.dumps(refusal(status)), REQUEST_ID)):
        error = failure(answers(body, header, status), path=home / "talk.wav", uploads=1, retries=0)
        assert error.request_id == expected


def test_request_id_of_an_invalid_success_is_reported(home: Path) -> None:
    error = failure(answers("{}", [("X-Request-Id", "from-the-header")]), path=home / "talk.wav", uploads=1)
    assert error.request_id == "from-the-header"


def test_too_large_file_is_reported_with_its_size(home: Path) -> None:
    path = write_wav(home / "talk.wav", 30 << 20)
    error = failure(refuses(413), path=path, uploads=1)
    assert re.search(r"31[.,]?[45]|31[ ,.]?457|\b30(\.0)? ?M", f"{error} {error.hint}")


def test_account_errors_are_recognized_by_status_and_code(home: Path) -> None:
    path = home / "talk.wav"
    for status, code, expected in (
        (401, None, True),
        (403, None, True),
        (402, None, True),
        (400, "quota_exceeded", True),
        (429, "plan_upgrade_required", True),
        (400, "model_not_found", False),
        (413, None, False),
        (503, None, False),
    ):
        with FaultServer(refuses(status, error_code=code)) as server:
            error = attempt(server, path, retries=0).error
        assert error is not None
        assert is_account_error(error) is expected


# Strangers' words ------------------------------------------------------------------------------------------

RUDE = "\x1b]0;owned\x07\x1b[2J\x9b31mred\r\nerror: something else\nhint: call 555\u2028\x00"


@pytest.mark.parametrize("status", [401, 500])
def test_refusal_prints_no_control_characters(status: int, home: Path) -> None:
    header = [("X-Request-Id", "\x1b[31mred\x9b")]
    for body in (json.dumps(refusal(status, title=RUDE, message=RUDE, request_id=None)), f"\x1b[31m{RUDE}"):
        with FaultServer(answers(body, header, status)) as server:
            ended = run(home, server.base_url, *ONCE)
        ended.failed(STATUSES[status], "owned")


def test_retry_notice_prints_no_control_characters(home: Path) -> None:
    with FaultServer(refuses(503, title=RUDE, message=RUDE), "fine") as server:
        ended = run(home, server.base_url)
    ended.succeeded()
    assert len(ended.lines) == 1
    assert "trying again" in ended.lines[0]


def test_invalid_response_prints_no_control_characters(home: Path) -> None:
    with FaultServer(answers(RUDE)) as server:
        run(home, server.base_url).failed(5)


def test_redirect_prints_no_control_characters(home: Path) -> None:
    with FaultServer(refuses(307, [("Location", "http://\x1b[31m.example\x9b/")])) as server:
        run(home, server.base_url).failed(5, "redirect")


@pytest.mark.parametrize(
    "echo",
    [
        refuses(401, message=f"Invalid API key: {KEY}."),
        answers(f"Title: no such key: {KEY}", PLAIN_TEXT, 400),
        answers(json.dumps({"headers": {"Authorization": f"Bearer {KEY}"}})),
    ],
    ids=["a refusal", "plain text", "a success"],
)
def test_a_key_that_the_server_repeats_is_not_shown(echo: Behaviour, home: Path) -> None:
    with FaultServer(echo) as server:
        ended = run(home, server.base_url)
    assert ended.code in (4, 5)
    ended.failed(ended.code)


def test_an_error_is_one_json_object_for_programs_that_read_json(home: Path) -> None:
    with FaultServer(refuses(402, title=RUDE)) as server:
        for arguments in (["-f", "json"], ["-f", "ndjson"]):
            ended = run(home, server.base_url, *arguments)
            ended.kept_its_manners()
            assert (ended.code, ended.out) == (5, b"")
            (line,) = ended.lines
            error = json.loads(line)["error"]
            assert set(error) == {"type", "message", "hint", "status", "request_id"}
            assert (error["type"], error["status"], error["request_id"]) == ("api", 402, REQUEST_ID)
            assert "talk.wav" in error["message"]


def test_the_last_line_is_json_after_notices_of_other_tries(home: Path) -> None:
    with FaultServer(refuses(503)) as server:
        ended = run(home, server.base_url, "-f", "json", "--retries", "1")
    ended.kept_its_manners()
    assert json.loads(ended.lines[-1])["error"]["status"] == 503


# Trying again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(PASSING))
def test_retryable_statuses_are_retried(status: int, home: Path) -> None:
    with FaultServer(refuses(status), refuses(status), "fine") as server:
        came = attempt(server, home / "talk.wav")
        assert came.response is not None and came.response.text == TEXT
        assert len(server.requests) == 3
        assert all(request.part("file").content == (home / "talk.wav").read_bytes() for request in server.requests)
    assert len(came.told) == 2
    assert all(
        f"Message {status}." in line and "trying again in" in line and "billed" not in line for line in came.told
    )
    assert came.pauses == [FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS]


def test_retries_are_reported(home: Path) -> None:
    with FaultServer(refuses(503), "fine") as server:
        ended = run(home, server.base_url)
        assert [request.whole for request in server.requests] == [True, True]
    ended.succeeded()
    (line,) = ended.lines
    assert line.startswith("talk.wav: ") and "trying again in" in line


def test_lost_response_is_retried_only_with_explicit_retries(home: Path) -> None:
    for lost in ("closes_after_upload", "resets_after_upload", "closes_during_answer", NO_TRANSCRIPT["cut-off JSON"]):
        with FaultServer(lost, "fine") as server:
            assert attempt(server, home / "talk.wav").error is not None
            assert len(server.requests) == 1
        with FaultServer(lost, lost, "fine") as server:
            came = attempt(server, home / "talk.wav", retries=2)
            assert came.response is not None and came.response.text == TEXT
            assert len(server.requests) == 3
        assert len(came.told) == 2 and all("may be billed again" in line for line in came.told)


def test_retry_of_a_lost_response_warns_about_billing(home: Path) -> None:
    with FaultServer("closes_after_upload", "fine") as server:
        ended = run(home, server.base_url, "--retries", "1")
        assert len(server.requests) == 2
    ended.succeeded()
    assert ["may be billed again" in line for line in ended.lines] == [True]


def test_interrupted_upload_is_retried_by_default(home: Path) -> None:
    path = write_wav(home / "talk.wav", LARGE)
    for broken in ("resets_during_upload", "closes_during_upload"):
        with FaultServer(broken, "fine") as server:
            came = attempt(server, path)
            assert came.response is not None and came.response.text == TEXT
            assert len(server.requests[1].part("file").content) == LARGE
        assert "billed" not in came.told[0]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_number_of_attempts_is_one_more_than_retries(retries: int, home: Path) -> None:
    for broken in (refuses(500), "closes_after_upload"):
        failure(broken, path=home / "talk.wav", uploads=retries + 1, retries=retries)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("value", "pause"), [("7", 7.0), ("59.5", 59.5)])
def test_retry_after_seconds_are_waited(status: int, value: str, pause: float, home: Path) -> None:
    with FaultServer(refuses(status, [("Retry-After", value)]), "fine") as server:
        came = attempt(server, home / "talk.wav", deadlines=patient(total=100.0))
    assert came.response is not None
    assert came.pauses == [pause]


def test_retry_after_date_is_waited_for(home: Path) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    with FaultServer(refuses(503, [("Retry-After", date)]), "fine") as server:
        came = attempt(server, home / "talk.wav", deadlines=patient(total=100.0))
    assert came.response is not None
    assert 10 < came.pauses[0] <= 40


@pytest.mark.parametrize(
    "value",
    ["3600", "1e300", format_datetime(datetime.now(UTC) + timedelta(hours=9), usegmt=True)],
    ids=["an hour", "forever", "a date"],
)
def test_retry_after_beyond_the_limit_ends_the_run(value: str, home: Path) -> None:
    for status in (429, 503):
        error = failure(refuses(status, [("Retry-After", value)]), path=home / "talk.wav", uploads=1, retries=5)
        assert error.status == status
        assert re.search(r"until 2\d{3}-\d\d-\d\d \d\d:\d\d", error.hint or "")


@pytest.mark.parametrize("value", ["soon", "1_0", "inf", "-5", "-1e9", "nan", "", PAST, "Wed, 99 Foo 2015",
                                   "Wed, 21 Oct 2015 07:28:00 +99999999999999999999", "5 minutes", "\xff"])  # fmt: skip
def test_malformed_retry_after_is_ignored(value: str, home: Path) -> None:
    with FaultServer(refuses(503, [("Retry-After", value)])) as server:
        came = attempt(server, home / "talk.wav")
        assert len(server.requests) == 3
    assert came.error is not None and came.error.status == 503
    assert came.pauses == [FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS]


@pytest.mark.parametrize("value", ["0", "0.001", "-0", "-5", "nan", PAST])
def test_a_server_that_asks_for_less_than_our_own_pause_is_not_asked_sooner(value: str, home: Path) -> None:
    with FaultServer(refuses(429, [("Retry-After", value)])) as server:
        came = attempt(server, home / "talk.wav", retries=6, deadlines=patient(total=100.0))
        assert len(server.requests) == 7
    assert came.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_no_retry_after_the_deadline(home: Path) -> None:
    with FaultServer(refuses(503, [("Retry-After", "30")])) as server:
        came = attempt(server, home / "talk.wav", deadlines=patient(total=10.0))
        assert len(server.requests) == 1
    assert came.error is not None and came.error.status == 503
    assert came.pauses == []


def test_silent_server_is_retried_with_explicit_retries(home: Path) -> None:
    """A timeout after the upload is a lost response like any other, unless the total time is used up."""
    with FaultServer("never_answers", "fine") as server:
        came = attempt(server, home / "talk.wav", retries=1, deadlines=patient(silence=1.0))
        assert came.response is not None and came.response.text == TEXT, came.error
        assert len(server.requests) == 2
    assert "may be billed again" in came.told[0]


def test_silent_server_is_not_retried_by_default(home: Path) -> None:
    error = failure("never_answers", path=home / "talk.wav", uploads=1, deadlines=patient(silence=0.5))
    assert error.exit_code == Exit.NETWORK


def test_stalled_upload_ends_at_the_stall_limit(home: Path) -> None:
    path = write_wav(home / "talk.wav", LARGE)
    error = failure("stops_reading", path=path, uploads=1, deadlines=patient(stall=0.5), retries=0)
    assert error.exit_code == Exit.NETWORK


@pytest.mark.parametrize(("slow", "size"), [("never_answers", 3244), ("reads_slowly", 24 << 20)])
def test_abandoned_exchange_is_disconnected(slow: str, size: int, home: Path) -> None:
    """Otherwise a file that was reported as failed is still sent, billed, and counted as a concurrent request."""
    path = write_wav(home / "talk.wav", size)
    with FaultServer(slow) as server, BatchClient(server.base_url, None, retry=RetryPolicy(0)) as client:
        with pytest.raises(NetworkError):
            client.transcribe(
                Upload(path, "talk.wav", "audio/wav"), BatchOptions(model="m"), deadlines=patient(total=1)
            )
        (request,) = server.requests
        if slow == "never_answers":
            assert request.gone.wait(LONGEST_RUN)
        else:
            server.wait(lambda server: request.gone.is_set() or request.whole)
            assert not request.whole


def test_an_abandoned_exchange_does_not_count_for_the_next_attempt(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_second, is_over, attempts = threading.Event(), threading.Event(), list[UploadProgress]()

    def exchange(
        self: HttpClient, build: BuildRequest, address: str, progress: UploadProgress, abort_handle: AbortHandle
    ) -> HttpResponse:
        build(progress)
        attempts.append(progress)
        if len(attempts) == 1:
            has_second.wait(LONGEST_RUN)
            progress.advance(progress.size)
        else:
            has_second.set()
        is_over.wait(LONGEST_RUN)
        raise AssertionError

    monkeypatch.setattr(HttpClient, "exchange", exchange)
    upload, limits = Upload(home / "talk.wav", "talk.wav", "audio/wav"), patient(stall=0.5, silence=1)
    with (
        BatchClient("http://127.0.0.1:9", None, retry=RetryPolicy(1), sleep=lambda seconds: None) as client,
        pytest.raises(NetworkError, match="the upload stalled"),
    ):
        client.transcribe(upload, BatchOptions(model="m"), deadlines=limits)
    is_over.set()
    assert len(attempts) == 2


def test_aborting_a_connection_leaves_it_encrypted() -> None:
    """Otherwise its thread may send what comes next unencrypted, before the connection is shut down."""
    here, there = socket.socketpair()
    with (
        here,
        there,
        ssl.create_default_context().wrap_socket(
            here, server_hostname="localhost", do_handshake_on_connect=False
        ) as encrypted,
    ):
        handle = AbortHandle()
        stream = SimpleNamespace(get_extra_info=lambda name: encrypted)
        handle("connection.start_tls.complete", {"return_value": stream})
        handle.abort()
        with pytest.raises((BrokenPipeError, ssl.SSLError)):  # ValueError: it isn't encrypted any more
            encrypted.write(b"audio")


# Redirects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_gets_neither_key_nor_audio(status: int, home: Path) -> None:
    with FaultServer("fine") as elsewhere:
        port = elsewhere.port
        for target in (
            f"http://127.0.0.1:{port}/stt", f"//127.0.0.1:{port}/stt", f"http://localhost:{port}/stt",
            f"http://me:pw@127.0.0.1:{port}/stt", f"https://127.0.0.1:{port}/stt",
        ):  # fmt: skip
            error = failure(refuses(status, [("Location", target)]), path=home / "talk.wav", uploads=1)
            assert (error.exit_code, error.status) == (Exit.API, status)
            assert error.hint and error.message.endswith(f":{port}/stt") and "pw" not in error.message
        assert (elsewhere.connections, elsewhere.requests) == (0, [])


@pytest.mark.parametrize("status", [302, 307])
def test_the_program_names_the_other_origin_and_does_not_go_there(status: int, home: Path) -> None:
    with FaultServer("fine") as elsewhere, FaultServer(refuses(status, [("Location", elsewhere.base_url)])) as server:
        run(home, server.base_url).failed(5, "redirect", elsewhere.base_url, f"status {status}", "key")
        assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_lose_the_upload_is_refused(status: int, home: Path) -> None:
    error = failure(refuses(status, [("Location", "/v2/stt")]), "fine", path=home / "talk.wav", uploads=1)
    assert error.exit_code == Exit.API


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_within_the_origin_is_followed(status: int, home: Path) -> None:
    with FaultServer(refuses(status, [("Location", "/v2/stt")]), "fine") as server:
        run(home, server.base_url).succeeded()
        assert [request.path for request in server.requests] == ["/stt", "/v2/stt"]


def test_redirect_loop_is_an_error(home: Path) -> None:
    with FaultServer(refuses(307, [("Location", "/a")]), refuses(308, [("Location", "/stt")])) as server:
        came = attempt(server, home / "talk.wav", retries=5)
        assert len(server.requests) <= 6
    assert isinstance(came.error, ApiError)


# A file that changes ---------------------------------------------------------------------------------------


def test_a_file_that_becomes_shorter_is_an_input_error(home: Path) -> None:
    path = write_wav(home / "talk.wav", 30 << 20)

    def shrink(exchange: Exchange) -> None:
        exchange.head()
        exchange.body(100_000)
        os.truncate(path, 50_000)
        exchange.body()

    with FaultServer(shrink) as server:
        run(home, server.base_url).failed(3, "talk.wav", "shorter")
        assert [request.whole for request in server.requests] == [False]


def test_growing_file_is_sent_with_its_first_length(home: Path) -> None:
    path = write_wav(home / "talk.wav", 30 << 20)

    def grow(exchange: Exchange) -> None:
        exchange.head()
        exchange.body(100_000)
        os.truncate(path, 40 << 20)
        exchange.body()
        exchange.answer(200, json.dumps(TRANSCRIPT))

    with FaultServer(grow) as server:
        run(home, server.base_url).succeeded()
        assert len(server.requests[0].part("file").content) == 30 << 20


def test_a_file_that_becomes_shorter_between_two_tries_is_not_billed_twice(home: Path) -> None:
    path = write_wav(home / "talk.wav", 1 << 20)
    with FaultServer(refuses(503), "closes_after_upload") as server:
        came = attempt(server, path, sleep=lambda seconds: os.truncate(path, 100_000))
        assert [request.whole for request in server.requests] == [True, True]
    assert came.error is not None and came.error.exit_code == Exit.NETWORK


def test_a_file_that_vanishes_between_two_tries_is_an_input_error(home: Path) -> None:
    path = home / "talk.wav"
    with FaultServer(refuses(503), "fine") as server:
        came = attempt(server, path, sleep=lambda seconds: path.unlink())
        assert len(server.requests) == 1
    assert isinstance(came.error, InputError)


# TLS and proxies -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, and its certificate as a file."""

    ca: trustme.CA
    file: Path

    def context(self, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
        """The server's side for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        before = None if not_after is None else not_after - timedelta(days=30)
        self.ca.issue_cert(*names, not_before=before, not_after=not_after).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca, file = trustme.CA(), tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return Authority(ca, file)


def test_a_private_authority_is_trusted_through_ssl_cert_file(home: Path, authority: Authority) -> None:
    with FaultServer("fine", tls=authority.context("localhost")) as server:
        run(home, server.base_url, SSL_CERT_FILE=str(authority.file)).succeeded()
        assert server.requests[0].header("Authorization") == f"Bearer {KEY}"


def test_an_unknown_authority_is_not_trusted(home: Path, authority: Authority) -> None:
    with FaultServer("fine", tls=authority.context("localhost")) as server:
        run(home, server.base_url).failed(6, "can't verify", "localhost", "SSL_CERT_FILE")
        assert (server.connections, server.requests) == (1, [])


def test_certificates_are_verified_for_schemes_in_any_case(home: Path, authority: Authority) -> None:
    with FaultServer("fine", tls=authority.context("localhost")) as server:
        run(home, f"HTTPS://localhost:{server.port}").failed(6, "can't verify")
        assert server.requests == []


def test_a_certificate_that_expired_is_not_trusted(home: Path, authority: Authority) -> None:
    expired = authority.context("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
    with FaultServer("fine", tls=expired) as server:
        run(home, server.base_url, SSL_CERT_FILE=str(authority.file)).failed(6, "expired")
        assert (server.connections, server.requests) == (1, [])


def test_a_certificate_of_another_host_is_not_trusted(home: Path, authority: Authority) -> None:
    with FaultServer("fine", tls=authority.context("other.example")) as server:
        run(home, server.base_url, SSL_CERT_FILE=str(authority.file)).failed(6, "localhost", "mismatch")
        assert (server.connections, server.requests) == (1, [])


def test_tls_to_a_plain_port_fails_without_retries(home: Path) -> None:
    def plain(exchange: Exchange) -> None:
        exchange.connection.recv(8192)
        exchange.answer(400, "The plain HTTP request was sent to HTTPS port", PLAIN_TEXT)

    with FaultServer(plain) as server:
        said = run(home, f"https://127.0.0.1:{server.port}").failed(6, f"127.0.0.1:{server.port}", "TLS handshake")
        assert "is it an https server?" in said and "certificate" not in said
        assert server.connections == 1


def test_a_certificate_file_that_is_not_there_is_a_usage_error(home: Path) -> None:
    place = str(home / "none.pem")
    run(home, "https://localhost:1", SSL_CERT_FILE=place).failed(2, f"SSL_CERT_FILE: {place}: No such file")
    run(home, "https://localhost:1", SSL_CERT_FILE=str(home)).failed(2, f"SSL_CERT_FILE: {home}: ")
    (home / "empty.pem").touch()
    said = run(home, "https://localhost:1", SSL_CERT_FILE=str(home / "empty.pem")).failed(
        2, "SSL_CERT_FILE: ", "no cert"
    )
    assert "_ssl" not in said


def test_a_folder_of_certificates_that_cannot_be_used_is_a_usage_error(home: Path, authority: Authority) -> None:
    (home / "ca.pem").write_bytes(authority.file.read_bytes())
    for place, reason in ((home, "openssl rehash"), (home / "none", "No such file"), (home / "ca.pem", "Not a dir")):
        run(home, "https://localhost:1", SSL_CERT_DIR=str(place)).failed(2, f"SSL_CERT_DIR: {place}: ", reason)


def test_a_folder_of_certificates_is_named_where_the_authority_is_not_in_it(home: Path, authority: Authority) -> None:
    folder = home / "authorities"
    folder.mkdir()
    (folder / "01234567.0").write_bytes(authority.file.read_bytes())
    with FaultServer("fine", tls=authority.context("localhost")) as server:
        run(home, server.base_url, SSL_CERT_DIR=str(folder)).failed(6, "can't verify", "authority in SSL_CERT_DIR")


def test_status_407_is_the_proxys_if_there_is_one() -> None:
    behind_proxy = refusal_failure(407, {}, b"", "talk.wav", Peer("speech.example", None, "HTTP_PROXY"))
    assert isinstance(behind_proxy.error, NetworkError) and "proxy refuses" in behind_proxy.error.message
    assert (behind_proxy.error.hint or "").startswith("check HTTP_PROXY")
    assert isinstance(refusal_failure(407, {}, b"", "talk.wav", Peer("speech.example", None)).error, ApiError)


def test_handshake_with_a_running_server_that_ends_is_explained() -> None:
    peer = Peer("127.0.0.1:8000", Credential("token", RUNNING_SERVER))
    failure = refusal_failure(503, {}, b"", "127.0.0.1:8000", peer)
    assert (failure.maybe_billed, failure.retryable) == (False, False)
    assert isinstance(failure.error, NetworkError) and failure.error.hint.startswith("`serve` has ended")


def test_a_proxy_is_used_for_the_network(home: Path, authority: Authority) -> None:
    with FaultServer(tunnels(authority.context("speech.example"))) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        ended = run(home, "https://speech.example", HTTPS_PROXY=address, SSL_CERT_FILE=str(authority.file))
        ended.succeeded()
        connect, post = proxy.requests
    assert (connect.method, connect.target) == ("CONNECT", "speech.example:443")
    assert connect.header("Authorization") is None
    assert (post.method, post.target) == ("POST", "/stt")


def test_a_proxy_that_wants_a_password_is_explained(home: Path) -> None:
    def wants_a_password(exchange: Exchange) -> None:
        exchange.head()
        exchange.answer(407, HTML, [("Proxy-Authenticate", "Basic realm=x"), ("Content-Type", "text/html")])

    with FaultServer(wants_a_password) as proxy:
        address = f"http://me:hunter2@127.0.0.1:{proxy.port}"
        ended = run(home, "https://speech.example", HTTPS_PROXY=address)
        assert "hunter2" not in ended.failed(6, "proxy", "407")
        (connect,) = proxy.requests
    assert connect.header("Authorization") is None


@pytest.mark.parametrize(
    ("variable", "base_url"),
    [
        ("HTTPS_PROXY", "https://speech.example"),
        ("all_proxy", "https://speech.example"),
        ("http_proxy", "http://speech.example"),
    ],
)
def test_unreachable_proxy_is_named_by_its_variable(variable: str, base_url: str, home: Path, closed_port: int) -> None:
    proxy = {variable: f"http://me:hunter2@127.0.0.1:{closed_port}"}
    ended = run(home, base_url, *ONCE, "--insecure-http", **proxy)
    assert "hunter2" not in ended.failed(6, f"check {variable}: requests go through this proxy")


@pytest.mark.parametrize("fault", ["closes_during_upload", "resets_before_reading"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "talk.wav", *ONCE),
        ("transcribe", "https://media.example/talk.wav", *ONCE),
        ("stream-file", "talk.wav"),
        ("models",),
        ("login", "--with-key", "-"),
        ("doctor", "tls"),
    ],
)
def test_a_proxy_that_hangs_up_is_named_by_its_variable(arguments: tuple[str, ...], fault: str, home: Path) -> None:
    with FaultServer(fault) as proxy:
        address = f"http://me:hunter2@127.0.0.1:{proxy.port}"
        env = environment(home, "https://speech.example", HTTPS_PROXY=address)
        done = run_program([*arguments], env=env, cwd=home, input=KEY.encode(), timeout=LONGEST_RUN)
    assert done.returncode == {"doctor": 1, "models": 0}.get(arguments[0], 6), done.stderr
    said = done.stdout if arguments[0] == "doctor" else done.stderr
    assert b"can't be reached: the proxy hung up" in said, said
    assert b"check HTTPS_PROXY: requests go through this proxy" in said and b"hunter2" not in said + done.stderr


def test_a_connection_that_ends_in_its_tunnel_is_explained_without_names_of_libraries(home: Path) -> None:
    def opens_and_closes(exchange: Exchange) -> None:
        exchange.head()
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")

    with FaultServer(opens_and_closes) as proxy:
        where = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        said = run(home, "https://speech.example", *ONCE, **where).failed(6, "check HTTPS_PROXY")
    assert "ssl" not in said.lower()


def test_a_lost_connection_through_a_forwarding_proxy_names_it(home: Path) -> None:
    with FaultServer("closes_after_upload") as proxy:
        where = {"http_proxy": f"http://127.0.0.1:{proxy.port}"}
        ended = run(home, "http://speech.example", *ONCE, "--insecure-http", **where)
    ended.failed(6, "the other side hung up", "may have been billed", "requests go through the proxy of http_proxy")


SOCKS = "ALL_PROXY: socks5 proxies are not supported"


@pytest.mark.parametrize(
    ("variable", "proxy", "said"),
    [
        ("HTTPS_PROXY", "http://me:hunter2@proxy:port", "HTTPS_PROXY is not the address of a proxy"),
        ("https_proxy", "gopher://me:hunter2@proxy:70", "https_proxy: gopher proxies are not supported"),
        ("ALL_PROXY", "socks5://me:hunter2@proxy:70", SOCKS),
        ("all_proxy", "http://me:hunter2@[::1", "all_proxy is not the address of a proxy"),
        ("HTTPS_PROXY", "http://me:hunter2@a..b", "HTTPS_PROXY is not the address of a proxy"),
        ("HTTPS_PROXY", "http://", "HTTPS_PROXY is not the address of a proxy"),
    ],
)
def test_unusable_proxy_is_a_usage_error(variable: str, proxy: str, said: str, home: Path) -> None:
    assert "hunter2" not in run(home, "https://speech.example", *ONCE, **{variable: proxy}).failed(2, said)


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "https://media.example/talk.wav", "--base-url", "http://127.0.0.1:9"),
        ("stream-file", "talk.wav"),
        ("login", "--with-key", "-"),
        ("doctor", "proxy", "tls", "-f", "json"),
    ],
)
def test_all_commands_refuse_a_socks_proxy_in_the_same_words(arguments: tuple[str, ...], home: Path) -> None:
    env = environment(home, "https://speech.example", ALL_PROXY="socks5://127.0.0.1:70")
    done = run_program([*arguments], env=env, cwd=home, input=KEY.encode(), timeout=LONGEST_RUN)
    assert done.returncode == (1 if arguments[0] == "doctor" else 2), done.stderr
    said = done.stdout if arguments[0] == "doctor" else done.stderr
    assert SOCKS.encode() in said and b"such as http://proxy.example:8080, or unset it" in said
    if arguments[0] == "doctor":
        checks = {check["check"]: check["state"] for check in json.loads(said)["checks"]}
        assert (checks["proxy"], checks["tls"]) == ("failure", "skipped")


PROXY = {"HTTPS_PROXY": "http://proxy:1"}


@pytest.mark.parametrize(
    ("url", "variables", "expected"),
    [
        ("https://a.example", PROXY, ("http://proxy:1", "HTTPS_PROXY")),
        ("https://a.example", {**PROXY, "https_proxy": "proxy:2/path"}, ("http://proxy:2", "https_proxy")),
        ("https://a.example", {"ALL_PROXY": "https://me@proxy"}, ("https://me:@proxy", "ALL_PROXY")),
        ("https://a.example", {"HTTP_PROXY": "http://proxy:1"}, None),
        ("http://a.example", {"HTTP_PROXY": "http://proxy:1"}, ("http://proxy:1", "HTTP_PROXY")),
        ("https://127.0.0.1", PROXY, None),
        ("ftp://a.example", {"ALL_PROXY": "http://proxy:1"}, None),
        *(("https://a.example:8443", {**PROXY, "NO_PROXY": no}, None)
          for no in ("*", "b.example, *", "a.example", ".example", "b.example, a.example:8443", "example:8443")),
        *(("https://a.example:8443", {**PROXY, "NO_PROXY": no}, ("http://proxy:1", "HTTPS_PROXY"))
          for no in ("b.example", "a.example:443", "ample")),
        ("https://a.example", {**PROXY, "NO_PROXY": "a.example:443"}, None),
        ("https://[2001:db8::1]", {**PROXY, "NO_PROXY": "2001:db8::1"}, None),
        ("https://[2001:DB8::1]:8443", {**PROXY, "NO_PROXY": "x, [2001:db8::1]"}, None),
        ("https://[2001:db8::1]:8443", {**PROXY, "no_proxy": "[2001:DB8::1]:8443"}, None),
        ("https://[2001:db8::1]", {**PROXY, "NO_PROXY": "[2001:db8::1]:8443"}, ("http://proxy:1", "HTTPS_PROXY")),
    ],
)  # fmt: skip
def test_proxy_of_the_environment(
    url: str, variables: dict[str, str], expected: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", variables)
    found = find_proxy(url)
    assert (None if found is None else (found.url, found.origin)) == expected


def test_loopback_bypasses_the_proxy(home: Path) -> None:
    with FaultServer("fine") as server, FaultServer("fine") as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        everything = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), address)
        run(home, server.base_url, **everything).succeeded()
        assert (len(server.requests), proxy.connections) == (1, 0)


# Ctrl-C and kill -------------------------------------------------------------------------------------------


@contextmanager
def started(home: Path, server: FaultServer, *arguments: str) -> Iterator[Process]:
    """The program at work, with stdout and stderr going into files; killed if it is still there at the end."""
    with (home / "err").open("wb") as err, (home / "out").open("wb") as out:
        process = start_program(
            ["transcribe", *arguments], env=environment(home, server.base_url), cwd=home, stdout=out, stderr=err
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


SITUATIONS: dict[str, tuple[Behaviour | str, int, Callable[[FaultServer, Path], object]]] = {
    "during the upload": ("stops_reading", LARGE, lambda server, home: server.requests and server.requests[0].body),
    "waiting": ("never_answers", 3244, lambda server, home: server.requests and server.requests[0].whole),
    "between two tries": (
        refuses(503, [("Retry-After", "50")]),
        3244,
        lambda server, home: b"trying again in" in (home / "err").read_bytes(),
    ),
}


def test_an_interruption_waits_for_responses_but_not_for_another_attempt(home: Path) -> None:
    write_wav(home / "refused.wav", 4044)

    def behave(exchange: Exchange) -> None:
        if b"refused.wav" in exchange.request().body:
            refused.set()
            exchange.answer(503, json.dumps(refusal(503)), [("Retry-After", "50")])
        else:
            interrupted.wait(LONGEST_RUN)
            exchange.answer(200, json.dumps(TRANSCRIPT))

    refused, interrupted = threading.Event(), threading.Event()
    arguments = "talk.wav", "refused.wav", "-f", "ndjson", "--jobs", "2"
    with FaultServer(behave) as server, started(home, server, *arguments) as process:
        server.wait(lambda server: b"trying again in" in (home / "err").read_bytes())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        server.wait(lambda server: b"Ctrl-C again" in (home / "err").read_bytes())
        interrupted.set()
        process.wait(timeout=LONGEST_RUN)
    assert process.returncode == 130 and json.loads((home / "out").read_bytes())["text"] == TEXT


def test_an_interruption_ends_uploads_while_other_responses_are_awaited(home: Path) -> None:
    """Otherwise what was given up is sent completely, and billed."""
    write_wav(home / "unsent.wav", 24 << 20)

    def is_large(request: Request) -> bool:
        return int(request.header("Content-Length") or 0) > LARGE

    def unsent(server: FaultServer) -> Request | None:
        return next((request for request in server.requests if is_large(request)), None)

    def behave(exchange: Exchange) -> None:
        if is_large(exchange.head()):
            while not exchange.body(len(exchange.got.body) + (1 << 16)).whole:
                exchange.pause(0.02)
        else:
            exchange.body()
            exchange.server.wait(lambda server: (large := unsent(server)) and (large.whole or large.gone.is_set()))
        exchange.answer(200, json.dumps(TRANSCRIPT))

    arguments = "talk.wav", "unsent.wav", "-f", "ndjson", "--jobs", "2"
    with FaultServer(behave) as server, started(home, server, *arguments) as process:
        server.wait(lambda server: len([request for request in server.requests if request.body]) == 2)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=LONGEST_RUN)
        large = unsent(server)
        assert large is not None and not large.whole
    ended = Run(process.returncode, (home / "out").read_bytes(), (home / "err").read_bytes())
    ended.kept_its_manners()
    assert ended.code == 130 and json.loads(ended.out)["text"] == TEXT
    assert any("waiting for 1 recording that is sent already" in line for line in ended.lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_interruption_ends_the_program_at_once(situation: str, number: int, code: int, home: Path) -> None:
    behaviour, size, reached = SITUATIONS[situation]
    write_wav(home / "talk.wav", size)
    with FaultServer(behaviour) as server, started(home, server, "talk.wav") as process:
        server.wait(lambda server: reached(server, home))
        time.sleep(0.2)
        arguments = Path(f"/proc/{process.pid}/cmdline")
        assert not arguments.exists() or KEY.encode() not in arguments.read_bytes()
        process.send_signal(number)
        process.wait(timeout=LONGEST_RUN)  # between two tries it would wait for 50 s
        ended = Run(process.returncode, (home / "out").read_bytes(), (home / "err").read_bytes())
    ended.kept_its_manners()
    assert (ended.code, ended.out) == (code, b"")
    assert not any(line.startswith("error:") for line in ended.lines)
    assert ended.lines[-2].endswith("stopped: talk.wav is not transcribed")
    assert ended.lines[-1] == "to transcribe it: cartesia-cli transcribe talk.wav"


def test_interruption_during_start_up_exits_quietly(home: Path) -> None:
    """The first tenths of a second, in which a user notices that the command was wrong."""
    (home / "typer.py").write_text(
        # As on a terminal, even where the tests run in the background and inherit that Ctrl-C is ignored.
        "import os, signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\n",
        "utf-8",
    )
    ended = run(home, "https://nonexistent.invalid", PYTHONPATH=str(home))
    ended.kept_its_manners()
    assert ended.code == 130


# Several files ---------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    for more, name in enumerate(("a.wav", "b.wav", "c.wav")):
        write_wav(tmp_path / name, 3244 + 2 * more)  # alike, one answer would do for all
    return ["a.wav", "b.wav", "c.wav"]


NAMED = "names_the_file"


@pytest.mark.parametrize("fault", [refuses(400), "closes_after_upload"])
def test_one_file_that_fails_does_not_stop_the_others(fault: Behaviour | str, tmp_path: Path, three: list[str]) -> None:
    with FaultServer(NAMED, fault, NAMED) as server:
        ended = run(tmp_path, server.base_url, *three, "-o", "-")
        assert [request.part("file").filename for request in server.requests] == [b"a.wav", b"b.wav", b"c.wav"]
    ended.kept_its_manners()
    assert (ended.code, ended.out.decode()) == (1, "words of a.wav\nwords of c.wav\n")
    (error,) = (line for line in ended.lines if line.startswith("error: "))
    assert "b.wav" in error
    assert ended.lines[ended.lines.index(error) + 1].startswith("hint: ")


def test_documents_keep_the_order_of_the_files(tmp_path: Path, three: list[str]) -> None:
    with FaultServer(refuses(503), NAMED, NAMED, refuses(422)) as server:
        ended = run(tmp_path, server.base_url, *three, "-f", "ndjson")
    ended.kept_its_manners()
    assert ended.code == 1
    documents = [json.loads(line) for line in ended.out.splitlines()]
    assert [document["source"] for document in documents] == ["a.wav", "b.wav"]
    (error,) = (json.loads(line)["error"] for line in ended.lines if line.startswith("{"))
    assert error["status"] == 422 and "c.wav" in error["message"]


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (402, 5)])
def test_account_error_stops_the_batch(status: int, code: int, tmp_path: Path, three: list[str]) -> None:
    with FaultServer(refuses(status), NAMED) as server:
        run(tmp_path, server.base_url, *three, "-o", "-").failed(code, "a.wav")
        assert len(server.requests) == 1


def test_what_was_transcribed_before_the_credits_ran_out_is_kept(tmp_path: Path, three: list[str]) -> None:
    with FaultServer(NAMED, refuses(402)) as server:
        ended = run(tmp_path, server.base_url, *three, "-o", "-")
        assert len(server.requests) == 2
    ended.kept_its_manners()
    assert (ended.code, ended.out.decode()) == (5, "words of a.wav\n")


def test_a_file_that_vanishes_meanwhile_does_not_stop_the_others(tmp_path: Path, three: list[str]) -> None:
    def removes_b(exchange: Exchange) -> None:
        exchange.request()
        (tmp_path / "b.wav").unlink()
        exchange.answer(200, json.dumps({"text": "words of a.wav"}))

    with FaultServer(removes_b, NAMED) as server:
        ended = run(tmp_path, server.base_url, *three, "-o", "-")
    ended.kept_its_manners()
    assert (ended.code, ended.out.decode()) == (1, "words of a.wav\nwords of c.wav\n")


# When to try again -----------------------------------------------------------------------------------------


def test_retry_delay_doubles_up_to_a_limit() -> None:
    pauses = [RetryPolicy(jitter=lambda: 1.0).delay(tries) for tries in range(1, 21)]
    assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert pauses[5:] == [MAX_DELAY_SECONDS] * 15


@pytest.mark.parametrize("tries", [1, 2, 5, 20])
def test_jitter_takes_up_to_half_of_a_delay(tries: int) -> None:
    longest = RetryPolicy(jitter=lambda: 1.0).delay(tries)
    assert RetryPolicy(jitter=lambda: 0.0).delay(tries) == longest / 2
    assert RetryPolicy(jitter=lambda: 0.5).delay(tries) == longest * 0.75
    thrown = {RetryPolicy().delay(tries) for _ in range(50)}
    assert len(thrown) > 1
    assert all(longest / 2 <= pause <= longest for pause in thrown)


@pytest.mark.parametrize(
    ("allowed", "lost", "tries"),
    [(None, False, 3), (None, True, 1), (0, False, 1), (0, True, 1), (1, False, 2), (1, True, 2), (7, True, 8)],
)
def test_max_attempts(allowed: int | None, lost: bool, tries: int) -> None:
    assert RetryPolicy(allowed).max_attempts(maybe_billed=lost) == tries


def test_retryable_statuses() -> None:
    assert {status for status in range(100, 512) if is_retryable_status(status)} == {408, 429} | set(range(500, 512))


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 3 ", 3.0),
        ("1.5", 1.5),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30.0),
        ("Thu Jan  1 12:00:30 2026", 30.0),
        ("Thu, 01 Jan 2026 13:00:30 +0100", 30.0),
        ("Wed, 31 Dec 2025 12:00:00 GMT", 0.0),
        ("soon", None),
        ("5 minutes", None),
        ("Wed, 99 Foo 2026", None),
        ("Thu, 01 Jan 2026 12:00:30 +99999999999999999999", None),
    ],
)
def test_parse_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("value", ["-5", "nan", "-inf", "-1e400"])
def test_retry_after_is_never_negative(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds == 0


# How long to wait ------------------------------------------------------------------------------------------


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watched:
    """A `run_with_deadline` whose work lasts until the test is over, and whose clock goes on by `step` at each tick."""

    clock: Clock
    meter: UploadProgress
    ticks: int = 0

    def run(
        self,
        deadlines: Deadlines,
        step: float,
        *,
        each: Callable[[UploadProgress], None] = lambda meter: None,
        most: int = 50,
    ) -> NetworkError:
        over = threading.Event()

        def watch(meter: UploadProgress) -> None:
            self.ticks += 1
            assert self.ticks < most, "deadlines without end"
            self.clock.now += step
            each(meter)

        try:
            with pytest.raises(NetworkError) as caught:
                run_with_deadline(
                    over.wait, self.meter, deadlines, self.clock() + deadlines.total, watch, over.set, self.clock
                )
            assert over.is_set()
        finally:
            over.set()
        return caught.value


@pytest.fixture
def watched() -> Watched:
    clock = Clock()
    return Watched(clock, UploadProgress(100, clock))


def test_total_deadline_ends_a_moving_upload(watched: Watched) -> None:
    error = watched.run(Deadlines(total=100, stall=30, response=30), 12, each=lambda meter: meter.advance(1))
    assert watched.ticks == 9
    assert "100 s" in error.message
    assert error.hint == "allow more time"


def test_stall_limit_ends_an_upload_without_progress(watched: Watched) -> None:
    error = watched.run(Deadlines(total=10_000, stall=30, response=5000), 12)
    assert watched.ticks == 3
    assert "upload" in error.message and "30 s" in error.message


def test_response_limit_applies_after_the_upload(watched: Watched) -> None:
    watched.meter.advance(100)
    error = watched.run(Deadlines(total=10_000, stall=30, response=60), 12)
    assert watched.ticks == 6
    assert "no response" in error.message and "60 s" in error.message


def test_progress_restarts_the_stall_limit(watched: Watched) -> None:
    def move(meter: UploadProgress) -> None:
        if watched.ticks <= 5:
            meter.advance(1)

    watched.run(Deadlines(total=10_000, stall=30, response=60), 25, each=move)
    assert watched.ticks == 7


def test_run_with_deadline_returns_the_result_or_raises_the_error() -> None:
    clock = Clock()
    ends = clock() + 10
    aborted = threading.Event()
    rest = UploadProgress(0, clock), patient(), ends, lambda meter: None, aborted.set, clock
    assert run_with_deadline(lambda: "done", *rest) == "done"
    for error in (InputError("no"), ValueError("no"), Interrupted()):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            run_with_deadline(fail, *rest)
    assert not aborted.is_set()


@pytest.mark.parametrize("kind", [Interrupted, ValueError])
def test_exception_in_on_progress_ends_the_wait_and_the_work(kind: type[BaseException]) -> None:
    over = threading.Event()

    def interrupt(meter: UploadProgress) -> None:
        raise kind

    with pytest.raises(kind):
        run_with_deadline(over.wait, UploadProgress(0), patient(), time.monotonic() + 1000, interrupt, over.set)
    assert over.is_set()


def test_upload_progress_restarts() -> None:
    clock = Clock()
    meter = UploadProgress(10, clock)
    meter.advance(4)
    assert (meter.sent, meter.uploaded) == (4, False)
    meter.advance(6)
    assert meter.uploaded
    clock.now += 5
    meter.restart()
    assert (meter.sent, meter.uploaded, meter.last_activity) == (0, False, clock())


def test_deadlines_grow_with_the_file() -> None:
    short, long = Deadlines.for_audio(32_000, 1.0), Deadlines.for_audio(32_000 * 7200, 7200.0)
    assert short.total >= 60 and short.response >= 60
    assert long.total > 7200 * 32_000 / 125_000
    assert long.response >= 3600
    assert long.total > long.response > short.response
    assert Deadlines.for_audio(1000, 60.0, speed=0.2).response > Deadlines.for_audio(1000, 60.0).response
    unknown = Deadlines.for_audio(2_000_000, None)
    assert unknown.response >= Deadlines.for_audio(2_000_000, 1000.0).response


def test_errors_of_the_client_carry_their_exit_codes() -> None:
    ends = {AuthError: 4, ApiError: 5, ProtocolError: 5, NetworkError: 6, InputError: 3}
    assert {kind: kind("x").exit_code for kind in ends} == ends
