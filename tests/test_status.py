"""`status`: what it says of runs that are running, finished, stopped or killed, and of the shards of an array."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cartesia_cli.scale.journal import FOLDER, Journal, file_name
from cartesia_cli.scale.journal_lines import RecordingOutcome, RunEvent, encode
from cartesia_cli.scale.shards import Shard
from tests.fork_server import run_program

HOST = socket.gethostname()


def write(out: Path, *lines: RecordingOutcome | RunEvent, shard: Shard | None = None) -> None:
    """Append lines to a journal."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    with (out / FOLDER / file_name(shard)).open("ab") as file:
        file.writelines(map(encode, lines))


def run_lines(
    run: str,
    began: float,
    names: str,
    *,
    failed: str = "",
    inputs: int | None = None,
    skipped: int = 0,
    ended: str | None = "finished",
    shard: Shard | None = None,
    host: str = HOST,
) -> list[RecordingOutcome | RunEvent]:
    """A run of recordings with one-letter names, each 10 s long, one a second."""
    command = "cartesia-cli transcribe talks --output-dir out --resume"
    command += f" --shard {shard}" if shard else ""
    lines: list[RecordingOutcome | RunEvent] = [
        RunEvent(run, "started", began, host=host, pid=1, command=command, folder="/data", shard=shard and str(shard))
    ]
    for number, name in enumerate(names, 1):
        source, at = f"/data/talks/{name}.wav", began + number
        lines.append(
            RecordingOutcome(
                f"{name}.wav", "done", source, run, at, seconds=10.0, credits=5.0, files={f"{name}.txt": ""}
            )
        )
    for name in failed:
        error = {"type": "api", "message": f"the server refused {name}\x1b[2J"}
        lines.append(
            RecordingOutcome(f"{name}.wav", "failed", f"/data/talks/{name}.wav", run, began + len(names), error=error)
        )
    if inputs is not None:
        lines.append(RunEvent(run, "inputs", began + len(names), inputs=inputs, skipped=skipped))
    if ended == "finished" or ended == "stopped":
        lines.append(RunEvent(run, ended, began + len(names) + len(failed)))
    return lines


def status(out: Path, *options: str, code: int = 0) -> str:
    done = run_program(
        ["status", str(out), *options], env={**os.environ}, stdin=subprocess.DEVNULL, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def report(out: Path, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(status(out, "-f", "json", code=code))
    return found


@contextmanager
def running(out: Path, shard: str, claimed: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a run that works on these recordings."""
    code = """
import sys
from pathlib import Path
from cartesia_cli.scale.journal import Journal
from cartesia_cli.scale.shards import parse_shard
journal = Journal(Path(sys.argv[1]), parse_shard(sys.argv[2], {}) if sys.argv[2] else None)
journal.start(command="the command")
journal.record_input_count(10, 0)
assert all(map(journal.claim, sys.argv[3]))
print("ready", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(out), shard, claimed]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_finished_run_is_summed_up(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "abcd", inputs=6, skipped=2))
    found = report(tmp_path)
    assert found["done"] == 4 and found["failed"] == found["left"] == 0
    assert (found["duration"], found["credits"], found["speed"]) == (40.0, 20.0, 10.0)
    assert found["runs"][0]["state"] == "finished" and found["runs"][0]["skipped"] == 2
    assert found["failures"] == [] and not {"command", "unfinished_shards", "seconds_left"} & set(found)
    text = status(tmp_path)
    assert text.startswith(
        f"{tmp_path}: 4 done, 0 failed, 0 left\n"
        "results: 40.0 s of audio, 20.0 credits\n"
        "last run: 10.0 x real time\n\n"
        "shard  state     before  done  failed  left   audio  credits  started           host\n"
        "all    finished       2     4       0     0  40.0 s     20.0  "
    )
    assert "to do" not in text


def test_second_run_from_the_cache_adds_neither_speed_nor_cost(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "abcd", inputs=4))
    cached = (line for line in run_lines("2", 2000.0, "ab", inputs=4, skipped=2))
    write(
        tmp_path,
        *(
            replace(line, credits=0.0, files={f"{line.recording}.srt": ""})
            if isinstance(line, RecordingOutcome)
            else line
            for line in cached
        ),
    )
    found = report(tmp_path)
    assert (found["done"], found["duration"], found["credits"]) == (4, 40.0, 20.0)
    assert "speed" not in found
    (run,) = found["runs"]
    assert (run["skipped"], run["done"], run["from_cache"], run["left"]) == (2, 2, 2, 0)
    assert run["duration"] == run["credits"] == 0
    assert "results: 40.0 s of audio, 20.0 credits\nlast run: nothing transcribed\n" in status(tmp_path)


def test_speed_of_shards_counts_the_time_of_those_at_once_only_once(tmp_path: Path) -> None:
    for number, began in ((1, 1000.0), (2, 1000.0), (3, 5000.0)):
        names = "abcdefghijkl"[4 * number - 4 : 4 * number]
        shard = Shard(number, 3)
        write(tmp_path, *run_lines(str(number), began, names, inputs=4, shard=shard), shard=shard)
    assert report(tmp_path)["speed"] == 15.0
    assert "last run of each shard: 15.0 x real time" in status(tmp_path)


def test_failures_of_an_earlier_run_are_followed_by_its_command(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("one", 100.0, "ab", failed="c", inputs=3))
    last = run_lines("two", 200.0, "d", inputs=1)
    assert isinstance(last[0], RunEvent)
    write(tmp_path, replace(last[0], command="the last command"), *last[1:])
    found = report(tmp_path, code=1)
    assert (found["done"], found["failed"], found["runs"][0]["failed"]) == (3, 1, 0)
    assert (found["command"], found["folder"]) == ("cartesia-cli transcribe talks --output-dir out --resume", "/data")
    write(tmp_path, *run_lines("three", 300.0, "c", inputs=1))
    assert "command" not in report(tmp_path)


def test_failures_are_listed_with_their_errors_and_the_command_for_the_rest(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "ab", failed="xyz", inputs=5))
    found = report(tmp_path, code=1)
    assert [failure["recording"] for failure in found["failures"]] == ["x.wav", "y.wav", "z.wav"]
    assert found["failures"][0]["error"] == {"type": "api", "message": "the server refused x\x1b[2J"}
    assert found["command"] == "cartesia-cli transcribe talks --output-dir out --resume"
    text = status(tmp_path, code=1)
    assert "\nx.wav: the server refused x" in text and "\x1b" not in text
    assert text.endswith("\nto do the rest in /data: cartesia-cli transcribe talks --output-dir out --resume\n")


def test_rest_whose_command_is_not_recorded_is_mentioned(tmp_path: Path) -> None:
    first, *others = run_lines("1", 1000.0, "ab", failed="x", inputs=3)
    assert isinstance(first, RunEvent)
    write(tmp_path, replace(first, command=None, folder=None), *others)
    assert "command" not in report(tmp_path, code=1)
    assert "\n\nto do the rest: the same command with --resume (it isn't recorded: " in status(tmp_path, code=1)


def test_journal_that_can_not_be_read_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    done = run_program(["status", str(tmp_path)], text=True)
    assert done.returncode == 3
    assert f"error: the journal in {tmp_path} can't be read: Not a directory\n" in done.stderr


def test_table_shows_twenty_failures_and_json_all(tmp_path: Path) -> None:
    names = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 25))
    write(tmp_path, *run_lines("1", 1000.0, "", failed=names, inputs=25))
    text = status(tmp_path, code=1)
    assert text.count("the server refused") == 20 and "… and 5 more (-f json has all)" in text
    assert len(report(tmp_path, code=1)["failures"]) == 25


def test_recording_that_failed_and_was_done_later_is_done(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "ab", failed="c", inputs=3))
    write(tmp_path, *run_lines("2", 2000.0, "c", inputs=3, skipped=2))
    found = report(tmp_path)
    assert (found["done"], found["failed"], found["left"]) == (3, 0, 0)


def test_killed_run_needs_another(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "ab", ended=None))
    found = report(tmp_path)
    assert found["runs"][0]["state"] == ("killed" if sys.platform in ("linux", "darwin") else "unknown")
    assert "left" not in found and found["command"].startswith("cartesia-cli transcribe")
    assert "not known how many are left" in status(tmp_path)


def test_run_on_another_machine_that_is_not_heard_of_is_unknown(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "ab", inputs=9, ended=None, host="elsewhere"))
    (run,) = report(tmp_path)["runs"]
    assert (run["state"], run["host"], run["left"]) == ("unknown", "elsewhere", 7)
    assert run["last_seen"] == "1970-01-01T00:16:42+00:00"


def test_recordings_in_work_are_counted(tmp_path: Path) -> None:
    with running(tmp_path, "", "abc") as process:
        found = report(tmp_path)
        assert found["in_work"] == 3 and found["left"] == 10
        assert found["runs"][0]["state"] == "running" and found["runs"][0]["pid"] == process.pid
        assert "3 in progress, 7 left" in status(tmp_path)
        process.kill()
        process.wait(10)
        found = report(tmp_path)
        assert found["in_work"] == 0 and found["runs"][0]["state"] == "killed"
        assert found["command"] == "the command"


def test_shards_are_added_up_and_unfinished_ones_named(tmp_path: Path) -> None:
    def add(number: int, names: str, *, failed: str = "", ended: str | None = "finished", inputs: int = 2) -> None:
        shard = Shard(number, 8)
        lines = run_lines(f"r{number}", 1000.0, names, failed=failed, inputs=inputs, ended=ended, shard=shard)
        write(tmp_path, *lines, shard=shard)

    write(tmp_path, *run_lines("old", 10.0, "m", inputs=9, ended="stopped"))
    add(1, "ab")
    add(2, "cd")
    add(3, "e", failed="f")
    add(4, "gh")
    add(5, "ij")
    add(7, "k", ended="stopped")
    add(8, "l", ended=None)
    with running(tmp_path, "6/8", ""):
        found = report(tmp_path, code=1)
    assert found["unfinished_shards"] == "3,7-8"
    assert [run["shard"] for run in found["runs"]] == [f"{number}/8" for number in range(1, 9)]
    assert (found["done"], found["failed"], found["left"]) == (12, 1, 12)
    assert "shards to do: --array=3,6-8\n" in status(tmp_path, code=1)


def test_shards_that_never_began_are_unfinished(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "ab", inputs=2, shard=Shard(2, 4)), shard=Shard(2, 4))
    found = report(tmp_path)
    assert found["unfinished_shards"] == "1,3-4" and "left" not in found
    assert found["command"] == "cartesia-cli transcribe talks --output-dir out --resume --shard 1/4"
    assert "shards to do: --array=1,3-4\nto do the first of them in /data: cartesia-cli" in status(tmp_path)


def test_run_without_shards_that_came_later_counts(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "a", failed="b", inputs=2, shard=Shard(2, 4)), shard=Shard(2, 4))
    write(tmp_path, *run_lines("2", 2000.0, "bcd", inputs=4, skipped=1))
    found = report(tmp_path)
    assert (found["done"], found["failed"], found["left"]) == (4, 0, 0)
    assert "unfinished_shards" not in found and "command" not in found


def test_recordings_of_another_run_with_the_same_inputs_count(tmp_path: Path) -> None:
    write(tmp_path, *run_lines("1", 1000.0, "", inputs=10, ended=None))
    write(tmp_path, *run_lines("2", 1001.0, "abc", inputs=10, ended=None))
    lines = run_lines("1", 1010.0, "def", ended=None)[1:]
    write(tmp_path, *lines)
    assert report(tmp_path)["left"] == 4


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_directory_without_a_journal_is_an_error(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    done = run_program(["status", str(tmp_path / what)], env={**os.environ}, stdin=subprocess.DEVNULL, text=True)
    assert done.returncode == 3 and done.stdout == ""
    assert ("has no journal of a run" if what == "empty" else "is not a folder") in done.stderr
    assert ("--output-dir" if what == "empty" else "that a run writes its results to") in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["empty", "file"] and not os.listdir(tmp_path / "empty")


def test_time_left_follows_from_the_speed_so_far(tmp_path: Path) -> None:
    with running(tmp_path, "", "") as process:
        journal = Journal(tmp_path)
        run, began = journal.events()[0].run, journal.events()[0].time
        write(tmp_path, *(RecordingOutcome(f"{k}", "done", "", run, began + k, seconds=30.0) for k in (1, 2)))
        write(
            tmp_path,
            *(RecordingOutcome(f"c{k}", "done", "", run, began + 2, seconds=30.0, credits=0.0) for k in (1, 2)),
        )
        found = report(tmp_path)
        assert process.poll() is None
    assert found["speed"] == pytest.approx(30.0, rel=0.01)
    assert found["seconds_left"] == pytest.approx(6.0, rel=0.01)
