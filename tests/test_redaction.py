"""The key: never shown if a server, a proxy or a library quotes it, and never replaced in a transcript."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import ApiError
from cartesia_cli.output.console import MAX_TRACEBACK_LINE, Reporter
from cartesia_cli.redaction import LONGEST_EXCERPT, PLACEHOLDER, Redactor

from . import realtime_server as foreign
from .fault_server import KEY, TEXT, TRANSCRIPT, Exchange, FaultServer, answers, environment, refuses, write_wav
from .fork_server import run_program
from .realtime_server import BINARY, RealtimeServer, ServerConnection

ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
"""The key as JSON may spell it."""

LONG = KEY * 2500
"""Nearly as long as the headers that libraries take."""

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "JSON": lambda key: "".join(f"\\u{ord(letter):04X}" for letter in key),
    "JSON in JSON": lambda key: json.dumps("".join(f"\\u{ord(letter):04x}" for letter in key)),
    "partly JSON": lambda key: f"\\u{ord(key[0]):04x}{key[1:]}",
    "URL": lambda key: quote(key, safe=""),
    "every letter as in a URL": lambda key: "".join(f"%{ord(letter):02X}" for letter in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of a user and a password": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "base64 behind one letter": lambda key: base64.urlsafe_b64encode(f"x{key}x".encode()).decode(),
}


# The redactor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("key", [KEY, 'a/b+c"d\\e=f!', "x" * 8, "k" * 700])
def test_redact_replaces_every_encoding_of_a_key(key: str, spelling: str) -> None:
    spelled = SPELLINGS[spelling](key)
    shown = Redactor(key).redact(f"before {spelled} after")
    assert PLACEHOLDER in shown
    assert spelled not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


DIVIDERS = [
    "\u200b", "\u2060\ufeff", "\x1b[0m", "\x1b[38;5;1m", "\x9b1m", "\ufffd[0m", "\n", " ", "\x00", "\u202e",
    "\\u200b", "\\n", "\u200b" * 100,
]  # fmt: skip


@pytest.mark.parametrize("divider", DIVIDERS)
def test_redact_replaces_a_key_with_invisible_characters_in_it(divider: str) -> None:
    for divided in (KEY[:8] + divider + KEY[8:], divider.join(KEY)):
        assert Redactor(KEY).redact(f"before {divided} after") == f"before {PLACEHOLDER} after"
    assert Redactor(KEY).redact(f"be{divider}fore") == f"be{divider}fore"
    assert Redactor("test").redact(f"be{divider}fore, test") == f"be{divider}fore, {PLACEHOLDER}"


@pytest.mark.parametrize("divider", DIVIDERS)
def test_key_with_invisible_characters_in_an_error_is_not_shown(divider: str, home: Path) -> None:
    with FaultServer(answers({"message": f"bad {KEY[:8]}{divider}{KEY[8:]}"}, status=400)) as server:
        for options in ([], ["--json"]):
            code, _, err = program(home, server.base_url, "transcribe", "talk.wav", *options)
            assert code == 5
            assert KEY[:8] not in err and KEY[8:] not in err


@pytest.mark.parametrize("field", ["request_id", "language", "other"])
@pytest.mark.parametrize("spelling", ["plain", "JSON"])
def test_key_beside_a_transcript_is_neither_shown_nor_written(field: str, spelling: str, home: Path) -> None:
    body = json.dumps(TRANSCRIPT | {field: "HERE"}).replace("HERE", SPELLINGS[spelling](KEY))
    with FaultServer(answers(body)) as server:
        for _ in range(2):  # the second answer is from the cache
            options = ["-f", "json", "-o", "talk.json", "--keep-json", "kept", "--force", "-v"]
            code, _, err = program(home, server.base_url, "transcribe", "talk.wav", *options)
            assert code == 0, err
            for shown in (err, *(path.read_text("latin-1") for path in home.rglob("*") if path.is_file())):
                assert KEY not in shown and SPELLINGS["JSON"](KEY) not in shown.upper().replace("\\U", "\\u")
            assert json.loads((home / "talk.json").read_text())["text"] == TEXT
            assert len(server.requests) == 1


def test_key_in_a_response_without_transcript_is_not_written(home: Path) -> None:
    with FaultServer(answers({"nothing": KEY})) as server:
        code, _, _ = program(home, server.base_url, "transcribe", "talk.wav", "--keep-json", "kept")
    assert code == 5
    assert json.loads((home / "kept" / "talk.json").read_text()) == {"nothing": PLACEHOLDER}


def test_short_key_is_replaced_only_as_a_whole_word() -> None:
    shown = Redactor("test").redact("bad key test: this latest test-run was attested, 'test'")
    assert shown == "bad key [the key]: this latest test-run was attested, '[the key]'"


def test_longer_of_two_secrets_is_replaced_first() -> None:
    assert Redactor("sk_car_abc", "sk_car_abc_def").redact("sk_car_abc_def") == PLACEHOLDER
    assert Redactor().redact("anything") == "anything"
    assert Redactor("").redact("anything") == "anything"


@given(st.integers(0, 3000), st.sampled_from(["", " ", "\n\t "]), st.integers(1, 60), st.booleans())
def test_excerpt_never_ends_with_part_of_a_key(before: int, blank: str, times: int, escaped: bool) -> None:
    spelled = SPELLINGS["JSON"](KEY) if escaped else KEY
    shown = Redactor(KEY).excerpt("x" * before + (blank + spelled) * times + " " * 5000 + "end")
    assert len(shown) <= LONGEST_EXCERPT + 1
    assert KEY[:3] not in shown
    assert "\\u" not in shown


def test_excerpt_is_one_line_of_bounded_length() -> None:
    assert Redactor(KEY).excerpt("two\nlines\t here") == "two lines here"
    assert Redactor(KEY).excerpt("x" * 70_000) == "x" * LONGEST_EXCERPT + "…"
    assert Redactor().excerpt("x" * 70_000, 10) == "x" * 10 + "…"


# What is shown on stderr ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_on_stderr_shows_the_key(as_json: bool) -> None:
    stream = io.StringIO()
    talk = Reporter(stream, {"CARTESIA_ACCESS_TOKEN": "another_secret"})
    talk.verbose, talk.as_json = True, as_json
    talk.add_secret(KEY)
    for say in (talk.info, talk.detail):
        say(f"a sentence with {KEY} and another_secret in it")
    talk.error(ApiError(f"bad {ESCAPED}", hint=f"not {KEY}", request_id=KEY))
    talk.print_lines(lambda columns, encoding: f"a line\n{KEY}")
    shown = stream.getvalue()
    assert KEY not in shown
    assert "another_secret" not in shown
    assert "\\u0073" not in shown
    assert shown.count(PLACEHOLDER) == 8


def test_file_names_equal_to_a_short_key_are_shown() -> None:
    stream = io.StringIO()
    talk = Reporter(stream, {"CARTESIA_API_KEY": "test"})
    talk.info("wrote test.srt")
    assert stream.getvalue() == "wrote test.srt\n"


def test_traceback_shows_no_key_no_escapes_and_no_endless_lines() -> None:
    stream = io.StringIO()
    talk = Reporter(stream, {"CARTESIA_API_KEY": KEY})
    try:
        try:
            raise ValueError(f"illegal header line: {KEY} \033[2J\x9b31m {'x' * 70_000}")
        except ValueError as error:
            raise ApiError("refused") from error
    except ApiError as error:
        talk.print_traceback(error)
    shown = stream.getvalue()
    assert "ValueError: illegal header line: [the key]" in shown
    assert "ApiError: refused" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert max(map(len, shown.splitlines())) <= MAX_TRACEBACK_LINE + 1


# Servers that send the key back --------------------------------------------------------------------------------


def raw(head: str, body: str = "{}") -> Callable[[Exchange], None]:
    """An answer whose head is written here."""

    def behave(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    return behave


BATCH_ECHOES: dict[str, Callable[[Exchange], None]] = {
    "request id": refuses(400, [("X-Request-Id", KEY)]),
    "request id of a 200": answers("no JSON", [("X-Request-Id", f"for {KEY}")]),
    "status line": raw(f"HTTP/1.1 400 {KEY}"),
    "broken status line": raw(f"HTTP/1.1 {KEY} Bad"),
    "broken header line": raw(f"HTTP/1.1 200 OK\r\n{KEY}"),
    "header with a blank in its name": raw(f"HTTP/1.1 200 OK\r\nX {KEY}: x"),
    "location, host": refuses(307, [("Location", f"https://{KEY}.example/")]),
    "location, path": refuses(307, [("Location", f"/elsewhere?{KEY}")]),
    "location, nonsense": refuses(308, [("Location", f"http://[{KEY}")]),
    "message": refuses(400, message=f"no such key: {KEY}"),
    "title": refuses(401, title=KEY),
    "long title": refuses(401, title=f"{'x' * 290}{KEY}"),
    "error code": refuses(403, error_code=KEY),
    "JSON with escapes": answers(f'{{"message": "no such key: {ESCAPED}", "request_id": "{ESCAPED}"}}', status=400),
    "a 200 with escapes": answers(f'{{"message": "{ESCAPED}"}}'),
    "a 200 whose body is cut in the key": answers("x" * 70 + KEY),
    "plain text": answers(f"Authorization: Bearer {KEY} is no good", status=401),
    "plain text, cut in the key": answers("x" * 190 + KEY, status=400),
    "URL": answers(f"see /keys?key={''.join(f'%{ord(letter):02x}' for letter in KEY)}", status=400),
    "base64": answers(base64.b64encode(f"key:{KEY}".encode()), status=502),
    "long status line": raw(f"HTTP/1.1 400 {LONG}"),
    "long broken status line": raw(f"HTTP/1.1 {LONG} Bad"),
    "long broken header line": raw(f"HTTP/1.1 200 OK\r\n{LONG}"),
    "long request id": refuses(400, [("X-Request-Id", LONG)]),
    "long location": refuses(307, [("Location", f"https://{LONG}.example/")]),
    "escapes": refuses(400, [("X-Request-Id", "a\x1b[2Jb\x9b31m")], message="\x1b]0;x\x07\x9b31m\u202e"),
    "escapes in a broken header line": raw("HTTP/1.1 200 OK\r\n\x1b[2J\x1b]0;x\x07"),
    "a field of the wrong type": answers({"text": [KEY], KEY: 1}),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_wav(tmp_path / "talk.wav", 20_000)
    return tmp_path


def program(home: Path, base_url: str, *arguments: str, **changes: str | None) -> tuple[int, str, str]:
    done = run_program(
        arguments, env=environment(home, base_url, **changes), cwd=home, stdin=subprocess.DEVNULL, timeout=60
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def check_redacted(text: str) -> None:
    for spell in SPELLINGS.values():
        assert spell(KEY) not in text
    assert "5up3" not in text.lower(), "a part of the key"


def check_shown(shown: str) -> None:
    """No key, in no spelling that is known; no escapes; no endless lines."""
    check_redacted(shown)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert all(len(line) <= 1100 for line in shown.splitlines())


@pytest.mark.waits
@pytest.mark.parametrize("echo", BATCH_ECHOES)
def test_key_in_a_batch_response_is_not_shown(echo: str, home: Path) -> None:
    with FaultServer(BATCH_ECHOES[echo]) as server:
        for more in ([], ["--json"]):
            options = ["--retries", "0", "--no-cache", "--debug", "-v", *more]
            code, out, err = program(home, server.base_url, "transcribe", "talk.wav", *options)
            assert code in (4, 5, 6), err
            assert out == ""
            check_shown(err)


def say_error(connection: ServerConnection) -> None:
    foreign.open_up(connection)
    connection.until_audio(0.1)
    connection.say(f'{{"type": "error", "status_code": 400, "message": "{ESCAPED}", "request_id": "{ESCAPED}"}}')
    connection.close(1011, KEY)


def say_nonsense(connection: ServerConnection) -> None:
    foreign.open_up(connection)
    connection.until_audio(0.1)
    connection.say(f"no JSON: {ESCAPED}")
    connection.frame(BINARY, KEY.encode())
    connection.say({"type": "transcript", "text": [KEY], "request_id": KEY})
    connection.close(1008, f"{'x' * 60} {KEY}")


REALTIME_ECHOES: dict[str, foreign.Script] = {
    "request id": foreign.refuses(400, [("X-Request-Id", KEY)]),
    "status line": lambda connection: connection.send(f"HTTP/1.1 400 {KEY}\r\nContent-Length: 0\r\n\r\n".encode()),
    "broken status line": lambda connection: connection.send(f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
    "broken header line": lambda connection: connection.send(f"HTTP/1.1 101 OK\r\n{KEY}\r\n\r\n".encode()),
    "location": foreign.refuses(307, [("Location", f"https://{KEY}.example/{KEY}?{KEY}")]),
    "location, nonsense": foreign.refuses(307, [("Location", f"http://[{KEY}")]),
    "upgrade": lambda connection: connection.send(
        f"HTTP/1.1 101 OK\r\nUpgrade: {KEY}\r\nConnection: Upgrade\r\n\r\n".encode()
    ),
    "body with escapes": foreign.refuses(400, body=f'{{"message": "bad {ESCAPED}", "title": "{ESCAPED}"}}'.encode()),
    "body of a 200": foreign.refuses(200, body=f"{'x' * 70}{KEY}".encode()),
    "long status line": lambda connection: connection.send(
        f"HTTP/1.1 400 {LONG}\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "long broken status line": lambda connection: connection.send(f"HTTP/1.1 {LONG}\r\n\r\n".encode()),
    "long broken header line": lambda connection: connection.send(f"HTTP/1.1 101 OK\r\n{LONG}\r\n\r\n".encode()),
    "long location": foreign.refuses(307, [("Location", f"https://{LONG[:7000]}.example/")]),
    "escapes": lambda connection: connection.send(b"HTTP/1.1 101 OK\r\n\x1b[2J\x1b]0;x\x07\r\n\r\n"),
    "error event": say_error,
    "no events": say_nonsense,
    "close": foreign.closes(1008, f"bad {KEY}"),
}


@pytest.mark.parametrize("echo", REALTIME_ECHOES)
def test_key_in_a_realtime_event_is_not_shown(echo: str, home: Path) -> None:
    with RealtimeServer(REALTIME_ECHOES[echo]) as server:
        base_url = f"http://127.0.0.1:{server.port}"
        options = ["--mode", "manual", "--reconnect", "0", "--debug", "-v", "-f", "ndjson", "--stats"]
        code, out, err = program(home, base_url, "stream-file", "talk.wav", *options, "--raw-events", "raw.jsonl")
    assert code in (4, 5, 6), err
    check_shown(err)
    check_redacted(out)
    check_redacted((home / "raw.jsonl").read_text())


# Transcripts that say the key ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["test", KEY])
def test_transcript_keeps_a_spoken_key(key: str, home: Path) -> None:
    text = f"This is a {key} of a {key}."
    answer = json.dumps(TRANSCRIPT | {"text": text, "words": [{"word": key, "start": 0.1, "end": 0.4}]})
    with FaultServer(answers(answer)) as server:
        for _ in range(2):  # the second answer is from the cache
            options = ["-w", "-f", "json", "-o", "talk.json", "--keep-json", "kept", "--force"]
            code, _, err = program(home, server.base_url, "transcribe", "talk.wav", *options, CARTESIA_API_KEY=key)
            assert code == 0, err
            document = json.loads((home / "talk.json").read_text())
            assert document["text"] == text and key in "".join(word["word"] for word in document["words"])
            assert json.loads((home / "kept" / "talk.json").read_text()) == json.loads(answer)
            code, out, err = program(home, server.base_url, "transcribe", "talk.wav", CARTESIA_API_KEY=key)
            assert (code, out) == (0, text + "\n"), err


@pytest.mark.parametrize("key", ["test", "transcript", KEY])
def test_live_transcript_keeps_a_spoken_key(key: str, home: Path) -> None:
    with RealtimeServer(foreign.manual([[f"this is a {key}"]])) as server:
        options = ["--mode", "manual", "--raw-events", "raw.jsonl", "-f", "ndjson"]
        base_url = f"http://127.0.0.1:{server.port}"
        code, out, err = program(home, base_url, "stream-file", "talk.wav", *options, CARTESIA_API_KEY=key)
    assert code == 0, err
    assert f'"this is a {key}"' in out
    events = [json.loads(line) for line in (home / "raw.jsonl").read_text().splitlines()]
    received = [json.loads(event["text"]) for event in events if event["event"] == "received"]
    assert {"transcript", "done"} <= {event["type"] for event in received}
    assert f"this is a {key}" in [event.get("text") for event in received]


def test_transcript_reaches_stdout(home: Path) -> None:
    """The other tests here would pass on a server that is never reached."""
    with FaultServer("fine") as server:
        assert program(home, server.base_url, "transcribe", "talk.wav") == (0, TEXT + "\n", "")
