"""Tests of `--exec`: the command gets every segment in order, and can't disturb the session."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cartesia_cli.commands.live.exec_hook import MAX_VARIABLE_BYTES, ExecHook
from cartesia_cli.errors import UsageError
from cartesia_cli.transcript import Segment


def segment(text: str) -> Segment:
    return Segment(0.5, 1.25, text, "audio")


def script(tmp_path: Path, body: str) -> str:
    path = tmp_path / "hook.py"
    path.write_text(f"import json, os, sys, time\n{body}\n")
    return f"'{sys.executable}' '{path}' '{tmp_path / 'log'}'"


APPEND = "open(sys.argv[1], 'a').write(json.dumps([sys.stdin.read(), dict(os.environ)]) + '\\n')"


def test_segments_arrive_in_order_with_text_on_stdin_and_json_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTESIA_API_KEY", "sk_car_test")
    messages: list[str] = []
    with ExecHook(script(tmp_path, APPEND), messages.append) as hook:
        for number in range(4):
            hook.submit(segment(f" Nümber {number}."))
        hook.submit(segment("  "))
    calls = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [text for text, _ in calls] == [f" Nümber {number}." for number in range(4)]  # verbatim
    assert json.loads(calls[0][1]["CARTESIA_SEGMENT"]) == segment(" Nümber 0.").to_dict()
    assert "CARTESIA_API_KEY" not in calls[0][1]
    assert messages == []


def test_newline_option_appends_a_line_break(tmp_path: Path) -> None:
    with ExecHook(script(tmp_path, APPEND), [].append, newline=True) as hook:
        hook.submit(segment(" Hey."))
    assert json.loads((tmp_path / "log").read_text())[0] == " Hey.\n"


def test_failing_or_hanging_command_is_reported_once_and_the_next_segment_still_runs(tmp_path: Path) -> None:
    body = f"{APPEND}\nif 'hang' in sys.argv: time.sleep(60)\nsys.exit(3)"
    messages: list[str] = []
    with ExecHook(script(tmp_path, body), messages.append) as hook:
        hook.submit(segment("a"))
        hook.submit(segment("b"))
    assert messages == [f"warning: --exec: {sys.executable} ended with 3"]
    with ExecHook(f"{script(tmp_path, body)} hang", messages.append, limit=0.5) as hook:
        hook.submit(segment("c"))
        hook.submit(segment("d"))
    assert messages[1:] == [f"warning: --exec: {sys.executable} took more than 0.5 s and was killed"]
    assert len((tmp_path / "log").read_text().splitlines()) == 4


def test_waiting_for_the_last_segments_is_bounded(tmp_path: Path) -> None:
    messages: list[str] = []
    with ExecHook(script(tmp_path, "time.sleep(60)"), messages.append, limit=3, exit_seconds=0.2) as hook:
        hook.submit(segment("a"))
    assert messages == ["warning: --exec: the last segments were not done within 0.2 s"]


def test_text_too_large_for_the_environment_still_arrives_on_stdin(tmp_path: Path) -> None:
    with ExecHook(script(tmp_path, APPEND), [].append) as hook:
        hook.submit(segment("x" * MAX_VARIABLE_BYTES))
        hook.submit(segment("nul \0 byte"))
    calls = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [len(text) for text, _ in calls] == [MAX_VARIABLE_BYTES, 10]
    assert "CARTESIA_SEGMENT" not in calls[0][1]


def test_lone_surrogate_stops_neither_its_segment_nor_the_next(tmp_path: Path) -> None:
    messages: list[str] = []
    with ExecHook(script(tmp_path, APPEND), messages.append) as hook:
        hook.submit(segment(" sec\ud83dond"))
        hook.submit(segment("third \U0001f600"))
    calls = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [text for text, _ in calls] == [" sec?ond", "third \U0001f600"]
    assert json.loads(calls[0][1]["CARTESIA_SEGMENT"])["text"] == " sec\ufffdond"
    assert messages == []


@pytest.mark.parametrize("command", ["", "  ", "no-such-program-anywhere -x", "'unclosed"])
def test_invalid_exec_command_is_a_usage_error(command: str) -> None:
    with pytest.raises(UsageError, match="--exec"):
        ExecHook(command, [].append)
