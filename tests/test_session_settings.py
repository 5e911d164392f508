"""Language hints, key terms and turn detection of live sessions, at the start and in mid-session, and what is detected.

The server is `november_server`, written from the documentation alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import speech
from tests.conftest import Run
from tests.november_server import closes_at_config, drops_after, november
from tests.realtime_server import MANUAL, TURNS, RealtimeServer, Script, manual

FAST = ("--speed", "10")
KEY = {"CARTESIA_API_KEY": "sk_car_test"}
PREVIEW = ("-m", "ink-preview")
BOTH = pytest.mark.parametrize("mode", ["auto", "manual"])


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds, for eight turns."""
    return speech.write_wav(tmp_path_factory.mktemp("settings") / "talk.wav", speech.silence(4.0))


def controlled(tmp_path: Path, *commands: object) -> tuple[str, Path]:
    """A control file with these lines: objects as JSON, strings as they are."""
    path = tmp_path / "control"
    path.write_text("".join(f"{c if isinstance(c, str) else json.dumps(c)}\n" for c in commands))
    return "--control", path


def stream(run: Run, script: Script | list[Script], recording: Path, *options: object) -> tuple[Any, RealtimeServer]:
    """Replay the recording into a server with a script, or one for each connection."""
    with RealtimeServer(*(script if isinstance(script, list) else [script])) as server:
        ended = run("stream-file", recording, "--base-url", server.base_url, *FAST, *options, env=KEY)
    return ended, server


def messages(ended: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What was said on stderr, besides that a recording is replayed quickly."""
    return [line for line in ended.stderr.decode().splitlines() if "--speed" not in line]


def texts(ended: subprocess.CompletedProcess[bytes]) -> list[str]:
    return [line["text"].strip() for line in map(json.loads, ended.stdout.splitlines()) if line["type"] == "segment"]


@BOTH
def test_language_hints_are_repeated_in_the_query(run: Run, recording: Path, mode: str) -> None:
    hints = [part for code in ("de", "en", "hi") for part in ("--language-hint", code)]
    ended, server = stream(run, november, recording, "--mode", mode, *PREVIEW, *hints)
    assert ended.returncode == 0, ended.stderr
    assert messages(ended) == []
    assert server.records[0].path == (TURNS if mode == "auto" else MANUAL)
    assert [value for name, value in server.records[0].query if name == "language_hint"] == ["de", "en", "hi"]


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        (["pt-BR"], b"'pt-BR' is not the base code of a language"),
        (["en", "de", "fr", "es", "pt", "hi", "ja"], b"7 language hints are too many: 6 at most"),
        ([""], b"--language-hint must not be empty"),
    ],
)
def test_impossible_language_hints_are_refused_before_connecting(
    run: Run, recording: Path, hints: list[str], message: bytes
) -> None:
    options = [part for hint in hints for part in ("--language-hint", hint)]
    ended = run("stream-file", recording, "--base-url", "http://127.0.0.1:1", *PREVIEW, *options, env=KEY)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count(b"\n") == 2


def test_ink_2_with_language_hints_is_warned_about_and_left_to_the_server(run: Run, recording: Path) -> None:
    ended, _ = stream(run, november, recording, "--language-hint", "de")
    assert ended.returncode == 5
    warning, error, hint = messages(ended)
    assert warning == "warning: ink-2 rejects language hints: they are for ink-preview"
    assert "Invalid language hints: ink-2 does not take language hints" in error
    assert (
        hint == "hint: --language-hint is for ink-preview, with codes of its languages; leave it out for other models"
    )


def test_a_language_that_only_the_server_knows_is_sent(run: Run, recording: Path) -> None:
    ended, server = stream(run, manual(), recording, "--mode", "manual", *PREVIEW, "--language-hint", "tlh")
    assert ended.returncode == 0
    assert messages(ended) == ["warning: not known as language hints: tlh: sent as they are"]
    assert server.records[0].parameter("language_hint") == "tlh"


def test_detected_languages_are_in_partials_segments_and_documents(run: Run, recording: Path) -> None:
    ended, _ = stream(run, november, recording, *PREVIEW, "--duration", "0.5", "-f", "ndjson")
    partial, segment, end = map(json.loads, ended.stdout.splitlines())
    assert partial["languages"] == [{"language": "en", "confidence": 0.25}, {"language": "hi", "confidence": 1.0}]
    assert segment["languages"] == [{"language": "hi", "confidence": 1.0}, {"language": "en", "confidence": 0.25}]
    assert end["language"] == "hi"
    document, _ = stream(run, november, recording, *PREVIEW, "--duration", "0.5", "-f", "json")
    assert json.loads(document.stdout)["segments"][0]["languages"] == segment["languages"]
    for saved in (ended.stdout, document.stdout):
        again = run("render", "-", "-f", "json", stdin=saved)
        assert json.loads(again.stdout)["segments"] == json.loads(document.stdout)["segments"]


@BOTH
def test_config_changes_hints_and_keyterms_in_mid_session(run: Run, recording: Path, tmp_path: Path, mode: str) -> None:
    control = controlled(
        tmp_path, {"type": "config", "language_hints": ["de", "en"], "keyterms": ["Ink 2", "Cartesia"]}
    )
    ended, server = stream(
        run, november, recording, "--mode", mode, *PREVIEW, "--language-hint", "hi", "-f", "ndjson", *control
    )
    assert ended.returncode == 0, ended.stderr
    assert messages(ended) == []
    assert "hints=de,en terms=Ink 2,Cartesia" in texts(ended)[-1]
    assert json.loads(server.records[0].texts[0])["keyterms"] == ["Ink 2", "Cartesia"]


def test_a_refused_config_is_reported_and_the_session_goes_on(run: Run, recording: Path, tmp_path: Path) -> None:
    control = controlled(
        tmp_path,
        {"type": "config", "language_hints": ["xx"], "keyterms": ["never"]},
        {"type": "config", "turn": {"end_threshold": 0.2}},
    )
    ended, server = stream(run, november, recording, *PREVIEW, "-f", "ndjson", *control)
    assert ended.returncode == 0
    assert len(server.records) == 1
    assert messages(ended) == [
        "warning: the server refused a change of settings, and the session continues with the previous ones: "
        "Invalid config: xx is not a supported language"
    ]
    said = texts(ended)
    assert len(said) == 8
    assert said[-1] == "hints=none terms=none end=0.2."
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [event["event"] for event in events if event["type"] == "notice"] == ["config_refused"]
    assert events[-1]["complete"] is True


@BOTH
def test_a_new_connection_gets_the_accepted_configs_and_not_the_refused_one(
    run: Run, recording: Path, tmp_path: Path, mode: str
) -> None:
    control = controlled(
        tmp_path,
        {"type": "config", "language_hints": ["de"]},
        {"type": "config", "keyterms": ["Ink"]},
        {"type": "config", "language_hints": ["xx"]},
    )
    scripts = [drops_after(1.0), november]
    ended, server = stream(run, scripts, recording, "--mode", mode, *PREVIEW, "-f", "ndjson", *control)
    assert ended.returncode == 0, ended.stderr
    assert len(server.records) == 2
    sent = [json.loads(text) for text in server.records[1].texts if text.startswith("{") and "config" in text]
    assert sent == [{"type": "config", "language_hints": ["de"]}, {"type": "config", "keyterms": ["Ink"]}]
    assert len([line for line in messages(ended) if "warning" in line]) == 1
    assert "hints=de terms=Ink" in texts(ended)[-1]


def test_a_server_that_closes_at_a_config_gets_a_new_connection_without_it(
    run: Run, recording: Path, tmp_path: Path
) -> None:
    control = controlled(tmp_path, {"type": "config", "language_hints": ["de"]})
    ended, server = stream(run, [closes_at_config, november], recording, *PREVIEW, "-f", "ndjson", *control)
    assert ended.returncode == 0, ended.stderr
    assert [text for text in server.records[1].texts if "config" in text] == []
    assert b"Invalid config" in ended.stderr
    assert b"the session continues with the previous ones" in ended.stderr
    assert len(texts(ended)) == 8


def test_lines_of_a_control_file_that_are_wrong_are_reported_by_number(
    run: Run, recording: Path, tmp_path: Path
) -> None:
    control = controlled(
        tmp_path,
        "nonsense",
        "",
        {"type": "config", "language_hints": ["de"]},
        {"type": "config", "language_hints": "de"},
        {"type": "config", "language_hint": ["de"]},
        {"type": "config", "turn": {"end_threshold": 3}},
        {"type": "config", "turn": {"end_threshold": 0.5, "eager_end_threshold": 0.4}},
        {"type": "finalize"},
        {"type": "pause"},
        ["config"],
        {"type": "config", "keyterms": ["x" * 20000]},
        {"type": "config", "keyterms": ["last"]},
    )
    ended, server = stream(run, november, recording, *PREVIEW, *control)
    assert ended.returncode == 0
    place = control[1]
    assert messages(ended) == [
        f"warning: {place}, line {line} (ignored)"
        for line in (
            "1: not a JSON object",
            "4: Invalid config: 'language_hints' must be a list of strings",
            "5: servers ignore 'language_hint' in a config: it is 'language_hints' there",
            "6: Invalid parameter: 'turn_end_threshold' must be a number from 0.05 to 0.5",
            "7: eager_end_threshold (0.4) must be above end_threshold (0.5)",
            "8: in auto mode the server ends turns: 'finalize' is for --mode manual",
            "9: not a command: its type must be config, finalize or close",
            "10: not a JSON object",
            "11: Too many keyterms: 1 keyterms with 20000 characters are too many",
        )
    ]
    assert [json.loads(text).get("keyterms") for text in server.records[0].texts] == [None, ["last"], None]


def test_a_control_line_that_is_too_long_is_reported_as_that(run: Run, recording: Path, tmp_path: Path) -> None:
    ended, _ = stream(run, november, recording, *controlled(tmp_path, "x" * 200_000))
    assert ended.returncode == 0
    assert messages(ended) == [f"warning: {tmp_path / 'control'}, line 1: longer than 16384 bytes (ignored)"]


@BOTH
def test_close_before_the_connection_is_open_ends_the_session_in_order(
    run: Run, recording: Path, tmp_path: Path, mode: str
) -> None:
    control = controlled(tmp_path, {"type": "close"})
    out, audio = tmp_path / "out.json", tmp_path / "audio.wav"
    ended, server = stream(
        run, november, recording, "--mode", mode, *PREVIEW, "-o", out, "--save-audio", audio, *control
    )
    assert ended.returncode == 0, ended.stderr
    said = messages(ended)
    assert "no speech found" in said and not any("no connection" in message for message in said)
    assert f"nothing was recorded: {audio} was not written" in said and not audio.exists()
    assert json.loads(out.read_text())["text"] == "" and not server.records[0].audio


@pytest.mark.parametrize("option", ["--control", "--keyterms"])
def test_no_result_replaces_what_a_session_reads(run: Run, recording: Path, tmp_path: Path, option: str) -> None:
    read = tmp_path / "read.txt"
    read.write_text("\n")
    for output in ("-o", "--stats-svg", "--raw-events"):
        ended = run("stream-file", recording, option, read, output, read, "--force", env=KEY)
        assert ended.returncode == 2
        assert b"read.txt is an input and must not be overwritten" in ended.stderr
    assert read.read_text() == "\n"


def test_unknown_members_of_a_config_are_sent(run: Run, recording: Path, tmp_path: Path) -> None:
    config = {"type": "config", "diarize": True, "turn": {"end_threshold": 0.2, "patience": 3}}
    ended, server = stream(run, november, recording, *controlled(tmp_path, config))
    assert ended.returncode == 0
    assert json.loads(server.records[0].texts[0]) == config


def test_commands_come_through_a_named_pipe_while_the_session_runs(run: Run, recording: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def script(connection: Any) -> None:
        connection.admit()
        connection.until_audio(0.5)
        for command, end in (("finalize", ""), ("config", "\n"), ("close", "\n")):
            with pipe.open("w") as writer:  # one writer after the other, the first without a line break
                writer.write(json.dumps({"type": command}) + end)
            connection.until_command(command)
        connection.say({"type": "done"})
        connection.close()

    ended, server = stream(run, script, recording, "--mode", "manual", "--finalize", "none", "--control", pipe)
    assert ended.returncode == 0, ended.stderr
    assert server.records[0].commands == ["finalize", "config", "finalize", "close"]
    assert server.records[0].seconds < 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, b"No such file or directory"),
        (lambda path: path.mkdir(), b"not a file or a named pipe"),
        (lambda path: path.write_bytes(b"RIFF\x24\0\0\0WAVE\n"), b"not a text file"),
    ],
)
def test_an_unusable_control_file_is_refused_before_connecting(
    run: Run, recording: Path, tmp_path: Path, make: Callable[[Path], object], message: bytes
) -> None:
    make(tmp_path / "control")
    ended = run(
        "stream-file", recording, "--base-url", "http://127.0.0.1:1", "--control", tmp_path / "control", env=KEY
    )
    assert ended.returncode == 2
    assert message in ended.stderr


def test_keyterms_come_from_a_file(run: Run, recording: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_bytes("\ufeffInk 2\r\n\n  Cartesia \nGröße".encode())
    ended, server = stream(run, november, recording, "--keyterm", "first", "--keyterms", terms)
    assert ended.returncode == 0, ended.stderr
    sent = [value for name, value in server.records[0].query if name == "keyterm"]
    assert sent == ["first", "Ink 2", "Cartesia", "Größe"]
    assert "keyterm=Ink%202" in server.records[0].query_string


def test_keyterms_may_have_wide_spaces_and_joiners(run: Run, recording: Path, tmp_path: Path) -> None:
    name, word = "山田\u3000太郎", "می\u200cخواهم"
    terms = tmp_path / "terms.txt"
    terms.write_text(word, "utf-8")
    ended, server = stream(run, november, recording, "--keyterm", name, "--keyterms", terms)
    assert ended.returncode == 0, ended.stderr
    assert [value for key, value in server.records[0].query if key == "keyterm"] == [name, word]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, b"No such file"),
        (b"\xff\xfe", b"not UTF-8 text"),
        (b"fine\nwith\x07bell", b"line 2: 'with\\x07bell' can't be sent"),
        ("\n".join(f"term {n}" for n in range(101)).encode(), b"101 keyterms with 698 characters are too many"),
        (b"x" * 1201, b"1 keyterms with 1201 characters are too many"),
        (b"x\n" * 600_000, b"terms.txt is too large"),
    ],
)
def test_unusable_keyterms_are_refused_before_connecting(
    run: Run, recording: Path, tmp_path: Path, content: bytes | None, message: bytes
) -> None:
    terms = tmp_path / "terms.txt"
    if content is not None:
        terms.write_bytes(content)
    ended = run("stream-file", recording, "--base-url", "http://127.0.0.1:1", "--keyterms", terms, env=KEY)
    assert ended.returncode == 2
    assert message in ended.stderr
