"""Progress, summary and notification of runs of the installed program over several recordings."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

from cartesia_cli.commands.batch.run import BatchSummary
from tests.conftest import Transcribe
from tests.fault_server import Exchange, FaultServer, environment, write_wav
from tests.fork_server import default_signals, run_program

RECORDINGS = 12
DECODING_FAILED = json.dumps({"title": "Bad audio", "message": "the audio can't be decoded"})


class Service:
    """Answers with the name of the recording, when `go_on` is set; those in `bad` are refused."""

    def __init__(self) -> None:
        self.go_on, self.called, self.bad = threading.Event(), threading.Event(), set[str]()

    def __call__(self, exchange: Exchange) -> None:
        name = (exchange.request().part("file").filename or b"").decode()
        self.called.set()
        assert self.go_on.wait(60)
        if name in self.bad:
            exchange.answer(400, DECODING_FAILED)
        else:
            exchange.answer(200, json.dumps({"text": f"This is {name}.", "duration": 2.0}))


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
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
def transcribe(talks: Path, server: FaultServer, service: Service) -> Transcribe:
    def run(*arguments: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        service.go_on.set()
        words = ["transcribe", *map(str, arguments)]
        return run_program(words, env=env(talks, server, **changes), cwd=talks, text=True, timeout=60)

    return run


class Screen:
    """The program on a terminal, with an emulated screen of 24 lines."""

    def __init__(self, talks: Path, environ: dict[str, str], *arguments: str, columns: int = 80) -> None:
        self.program = pexpect.spawn(
            sys.executable,
            ["-m", "cartesia_cli", "transcribe", *arguments],
            env=environ | {"TERM": "xterm-256color"},
            cwd=str(talks),
            timeout=60,
            dimensions=(24, columns),
            preexec_fn=default_signals,
        )
        self._screen = pyte.Screen(columns, 24)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display if row.strip()]

    def update(self) -> bool:
        """Read what there is. False at the end of the program."""
        try:
            data = self.program.read_nonblocking(1 << 16, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True

    def wait_for(self, *texts: str) -> list[str]:
        """Wait until each text is in a row. Returns the rows."""
        while not all(any(text in row for row in self.rows) for text in texts):
            assert self.update(), self.rows
        return self.rows

    def end(self) -> list[str]:
        while self.update():
            pass
        self.program.close()
        return self.rows


# Progress


@pytest.mark.shell
def test_terminal_shows_the_run_and_the_recordings_in_work(talks: Path, server: FaultServer, service: Service) -> None:
    (talks / "empty.wav").write_bytes(b"")
    screen = Screen(talks, env(talks, server), ".", "--output-dir", "out", "--jobs", "3")
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
def test_transcripts_on_the_same_terminal_stay_above_the_rows(
    talks: Path, server: FaultServer, service: Service
) -> None:
    service.go_on.set()
    screen = Screen(talks, env(talks, server), ".", "-o", "-", columns=40)
    rows = screen.end()
    spoken = [f"This is talk {number:02}.wav." for number in range(RECORDINGS)]
    assert rows == [*spoken, "12 of 12 transcribed, 24.0 s of audio, 1", "2.0 credits"]


@pytest.mark.shell
def test_ctrl_c_on_a_terminal_leaves_no_row_behind(talks: Path, server: FaultServer, service: Service) -> None:
    screen = Screen(talks, env(talks, server), ".", "--output-dir", "out", "--jobs", "2")
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
    talks: Path, server: FaultServer, service: Service
) -> None:
    environ = env(talks, server, TERM_PROGRAM="ghostty", TMUX=None)
    screen = Screen(talks, environ, ".", "--output-dir", "out", "--notify")
    screen.wait_for("talk 00.wav")
    while b"\x1b]9;4;1;0\x07" not in screen.raw:
        assert screen.update()
    service.go_on.set()
    screen.end()
    assert screen.raw.index(b"\x1b]9;4;0;\x07") < screen.raw.index(b"\x1b]777;notify;cartesia-cli;12 of 12 transcribed")


def test_short_runs_print_no_progress_to_a_file(transcribe: Transcribe) -> None:
    done = transcribe(".", "-o", "-")
    assert done.stderr == "12 of 12 transcribed, 24.0 s of audio, 12.0 credits\n"


# Summary


def test_summary_of_a_long_run_says_how_long_it_took() -> None:
    summary = BatchSummary()
    summary.total, summary.written, summary.audio_seconds, summary.billed_seconds = 30, 28, 3734.0, 3734.0
    assert summary.to_text() == "28 of 30 transcribed, 1:02:14 of audio, 1,867.0 credits"
    summary.elapsed_seconds = 83.0
    assert summary.to_text() == (
        "28 of 30 transcribed, 1:02:14 of audio, 1,867.0 credits, in 1:23 (45.0 times real time)"
    )
    summary.from_cache, summary.billed_seconds = 28, 0.0
    assert summary.to_text() == "28 of 30 transcribed, 1:02:14 of audio, from cache, 0 credits, in 1:23"


def test_failures_of_many_recordings_are_named_again_with_the_command_that_tries_them(
    transcribe: Transcribe, service: Service
) -> None:
    service.bad = {f"talk {number:02}.wav" for number in range(0, 12, 2)}
    done = transcribe(".", "--output-dir", "out", "--jobs", "1")
    assert done.stderr.splitlines()[-3:] == [
        "6 of 12 transcribed, 12.0 s of audio, 6.0 credits",
        "failed: talk 00.wav, talk 02.wav, talk 04.wav, talk 06.wav, talk 08.wav and 1 more",
        "to try again: cartesia-cli transcribe --output-dir out --jobs 1 --resume .",
    ]
    service.bad = {"talk 02.wav"}
    again = transcribe("--output-dir", "out", "--jobs", "1", "--resume", ".")
    assert again.stderr.splitlines()[-1] == "5 of 6 transcribed, 10.0 s of audio, 5.0 credits"


def test_failures_are_named_in_the_command_if_results_went_to_stdout(transcribe: Transcribe, service: Service) -> None:
    service.bad = {"talk 03.wav"}
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
    transcribe: Transcribe, service: Service, tmp_path: Path, notified: Callable[[], list[str]]
) -> None:
    service.bad = {"talk 00.wav"}
    done = transcribe("talk 00.wav", "--notify", PATH=f"{tmp_path}:/usr/bin:/bin", DISPLAY=":0")
    assert done.returncode == 5
    assert notified() == ["0 of 1 transcribed, 0.0 s of audio, 0.0 credits"]


def test_notification_comes_after_ctrl_c_too(
    talks: Path, server: FaultServer, service: Service, tmp_path: Path, notified: Callable[[], list[str]]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cartesia_cli", "transcribe", ".", "--output-dir", "out", "--jobs", "1", "--notify"],
        env=env(talks, server, PATH=f"{tmp_path}:/usr/bin:/bin", DISPLAY=":0"),
        cwd=talks,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
    )
    assert service.called.wait(60)
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
