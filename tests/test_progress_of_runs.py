"""Progress, summary and notification of runs of the installed program over several recordings."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cartesia_cli.commands.batch.job_runner import BatchSummary
from tests.conftest import Transcribe
from tests.emulated_terminal import ProgramScreen
from tests.fault_server import FaultServer, environment, write_wav
from tests.fork_server import default_signals, run_program
from tests.naming_service import NamingService

RECORDINGS = 12


@pytest.fixture
def service() -> Iterator[NamingService]:
    """Answers when `go_on` is set."""
    service = NamingService(duration=2.0)
    service.go_on.clear()
    yield service
    service.go_on.set()


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """A folder of recordings of 2 s, and an empty home."""
    (tmp_path / "home").mkdir()
    folder = tmp_path / "talks"
    folder.mkdir()
    for number in range(RECORDINGS):
        write_wav(folder / f"talk {number:02}.wav", 44 + 64_000 - 2 * number)
    return folder


def env(talks: Path, server: FaultServer, **changes: str | None) -> dict[str, str]:
    return environment(
        talks.parent / "home", server.base_url, CARTESIA_TRANSCRIBE_JOBS=None, NO_COLOR="1", LC_ALL="C.UTF-8", **changes
    )


@pytest.fixture
def transcribe(talks: Path, server: FaultServer, service: NamingService) -> Transcribe:
    def run(*arguments: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        service.go_on.set()
        words = ["transcribe", *map(str, arguments)]
        return run_program(words, env=env(talks, server, **changes), cwd=talks, text=True, timeout=60)

    return run


def on_screen(talks: Path, environ: dict[str, str], *arguments: str, columns: int = 80) -> ProgramScreen:
    """Starts the program on a terminal."""
    command = [sys.executable, "-m", "cartesia_cli", "transcribe", *arguments]
    return ProgramScreen(command, environ | {"TERM": "xterm-256color"}, cwd=talks, columns=columns)


# Progress


@pytest.mark.shell
def test_terminal_shows_the_run_and_the_recordings_in_work(
    talks: Path, server: FaultServer, service: NamingService
) -> None:
    (talks / "empty.wav").write_bytes(b"")
    screen = on_screen(talks, env(talks, server), ".", "--output-dir", "out", "--jobs", "3")
    rows = screen.wait_for("transcribing 0:00     talk 00.wav", "transcribing 0:00     talk 01.wav", "talk 02.wav")
    assert rows[0].startswith("error: empty.wav is empty") and rows[1].startswith("hint: ")
    assert rows[2].startswith("············ 1 of 13, 1 failed, 0:00 of 0:23, 0 credits")
    assert sorted(row[24:] for row in rows[3:]) == [
        "talk 00.wav",
        "talk 01.wav",
        "talk 02.wav",
    ]  # threads start in any order
    service.go_on.set()
    rows = screen.end()
    assert [row for row in rows if "talk" in row and not row.startswith("wrote ")] == []
    assert rows[-1] == "12 of 13 transcribed, 24.0 s of audio, 12.0 credits"
    assert sum(row.startswith("wrote ") for row in rows) == 12
    assert screen.program.exitstatus == 1
    assert b"\x1b]" not in screen.raw and b"\x1b[?" not in screen.raw


@pytest.mark.shell
def test_terminal_shows_a_single_recording_like_a_run(talks: Path, server: FaultServer, service: NamingService) -> None:
    screen = on_screen(talks, env(talks, server), "talk 00.wav")
    rows = screen.wait_for("transcribing 0:00     talk 00.wav")
    assert rows[0] == "············ 0 of 1, 0:00 of 0:02, 0 credits, 1 in progress"
    service.go_on.set()
    assert screen.end() == ["This is talk 00.wav."]


@pytest.mark.shell
def test_transcripts_on_the_same_terminal_stay_above_the_rows(
    talks: Path, server: FaultServer, service: NamingService
) -> None:
    service.go_on.set()
    screen = on_screen(talks, env(talks, server), ".", "-o", "-", columns=40)
    rows = screen.end()
    spoken = [f"This is talk {number:02}.wav." for number in range(RECORDINGS)]
    assert rows == [*spoken, "12 of 12 transcribed, 24.0 s of audio, 1", "2.0 credits"]


@pytest.mark.shell
def test_ctrl_c_on_a_terminal_leaves_no_row_behind(talks: Path, server: FaultServer, service: NamingService) -> None:
    screen = on_screen(talks, env(talks, server), ".", "--output-dir", "out", "--jobs", "2")
    screen.wait_for("transcribing 0:00     talk 00.wav", "transcribing 0:00     talk 01.wav")
    screen.program.sendintr()
    screen.wait_for("waiting for 2 recordings that are sent already")
    screen.program.sendintr()
    rows = [row.removeprefix("^C") for row in screen.end()]  # shown by the terminal itself
    assert not any("of 12, " in row or row.endswith("talk 00.wav") for row in rows)
    assert any(row.startswith("warning: stopped: 0 of 12 transcribed") for row in rows)
    assert any(row.startswith("to do the rest: cartesia-cli transcribe") for row in rows)
    assert screen.program.exitstatus == 130


@pytest.mark.shell
def test_terminal_that_shows_progress_itself_gets_it_until_the_end(
    talks: Path, server: FaultServer, service: NamingService
) -> None:
    environ = env(talks, server, TERM_PROGRAM="ghostty", TMUX=None)
    screen = on_screen(talks, environ, ".", "--output-dir", "out", "--notify")
    screen.wait_for("talk 00.wav")
    screen.wait(lambda rows: b"\x1b]9;4;1;0\x07" in screen.raw)
    service.go_on.set()
    screen.end()
    assert screen.raw.index(b"\x1b]9;4;0;\x07") < screen.raw.index(b"\x1b]777;notify;cartesia-cli;12 of 12 transcribed")


def test_short_runs_print_no_progress_to_a_file(transcribe: Transcribe) -> None:
    done = transcribe(".", "-o", "-")
    assert done.stderr == "12 of 12 transcribed, 24.0 s of audio, 12.0 credits\n"


# Summary


def test_summary_of_a_long_run_says_how_long_it_took() -> None:
    summary = BatchSummary()
    summary.total, summary.written, summary.audio_seconds, summary.requested_seconds = 30, 28, 3734.0, 3734.0
    assert summary.to_text() == "28 of 30 transcribed, 1:02:14 of audio, 1,867.0 credits"
    summary.elapsed_seconds = 83.0
    assert summary.to_text() == (
        "28 of 30 transcribed, 1:02:14 of audio, 1,867.0 credits, in 1:23 (45.0 times real time)"
    )
    summary.from_cache, summary.requested_seconds = 28, 0.0
    assert summary.to_text() == "28 of 30 transcribed, 1:02:14 of audio, from cache, 0 credits, in 1:23"


def test_failures_of_many_recordings_are_named_again_with_the_command_that_tries_them(
    transcribe: Transcribe, service: NamingService
) -> None:
    service.refused = {f"talk {number:02}.wav" for number in range(0, 12, 2)}
    done = transcribe(".", "--output-dir", "out", "--jobs", "1")
    assert done.stderr.splitlines()[-3:] == [
        "6 of 12 transcribed, 12.0 s of audio, 6.0 credits",
        "failed: talk 00.wav, talk 02.wav, talk 04.wav, talk 06.wav, talk 08.wav and 1 more",
        "to try again: cartesia-cli transcribe --output-dir out --jobs 1 --resume .",
    ]
    service.refused = {"talk 02.wav"}
    again = transcribe("--output-dir", "out", "--jobs", "1", "--resume", ".")
    assert again.stderr.splitlines()[-1] == "5 of 6 transcribed, 10.0 s of audio, 5.0 credits"


def test_failures_are_named_in_the_command_if_results_went_to_stdout(
    transcribe: Transcribe, service: NamingService
) -> None:
    service.refused = {"talk 03.wav"}
    done = transcribe(".", "-o", "-")
    assert done.stderr.splitlines()[-2:] == [
        "failed: talk 03.wav",
        "to try again: cartesia-cli transcribe --output - 'talk 03.wav'",
    ]


# Notification


@pytest.fixture
def notified(tmp_path: Path) -> Callable[[], list[str]]:
    """Installs a notify-send in `tmp_path` that keeps what it shows."""
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nfor text in "$@"; do :; done\nprintf "%s\\n" "$text" >> {tmp_path}/shown\n')
    program.chmod(0o755)
    shown = tmp_path / "shown"
    return lambda: shown.read_text().splitlines() if shown.exists() else []


def test_notification_shows_the_summary_of_a_run(
    transcribe: Transcribe, tmp_path: Path, notified: Callable[[], list[str]]
) -> None:
    desktop = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DISPLAY": ":0"}
    assert transcribe(".", "-o", "-", **desktop).returncode == 0
    assert notified() == []
    assert transcribe(".", "-o", "-", "--no-cache", "--notify", "-q", **desktop).stderr == ""
    assert notified() == ["12 of 12 transcribed, 24.0 s of audio, 12.0 credits"]
    assert transcribe("talk 00.wav", "--notify", **desktop).returncode == 0
    assert notified()[1:] == ["1 of 1 transcribed, 2.0 s of audio, from cache, 0 credits"]


def test_notification_comes_after_failures_too(
    transcribe: Transcribe, service: NamingService, tmp_path: Path, notified: Callable[[], list[str]]
) -> None:
    service.refused = {"talk 00.wav"}
    done = transcribe("talk 00.wav", "--notify", PATH=f"{tmp_path}:/usr/bin:/bin", DISPLAY=":0")
    assert done.returncode == 5
    assert notified() == ["0 of 1 transcribed, 0.0 s of audio, 0.0 credits"]


def test_notification_comes_after_ctrl_c_too(
    talks: Path, server: FaultServer, service: NamingService, tmp_path: Path, notified: Callable[[], list[str]]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cartesia_cli", "transcribe", ".", "--output-dir", "out", "--jobs", "1", "--notify"],
        env=env(talks, server, PATH=f"{tmp_path}:/usr/bin:/bin", DISPLAY=":0"),
        cwd=talks,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
    )
    server.wait(lambda server: service.names)
    process.send_signal(signal.SIGINT)
    service.go_on.set()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    [shown] = notified()
    assert re.fullmatch(r"[01] of 12 transcribed, [02]\.0 s of audio, [01]\.0 credits", shown)
    assert re.search(r"^warning: stopped: [01] of 12 transcribed, ", stderr, re.MULTILINE)


def test_run_without_a_terminal_or_a_desktop_says_that_it_can_not_notify(transcribe: Transcribe) -> None:
    done = transcribe("talk 00.wav", "--notify")
    assert done.stderr == "warning: no notification: there is neither a terminal nor a desktop\n"
