"""Tests of what live sessions show on a terminal, while they run and at the end."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests import speech
from tests.conftest import require_program, side_by_side
from tests.emulated_terminal import TIMEOUT_SECONDS, ProgramScreen
from tests.realtime_server import RealtimeServer, ServerConnection, connected, done, flush_done, transcript, turn

pytestmark = pytest.mark.shell

KEY = {"CARTESIA_API_KEY": "sk_car_test", "TERM": "xterm-256color", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
SENTENCE = "Grandmother kept her letters in a remarkably blue box on the highest shelf of the kitchen."


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return silence(tmp_path, 3)


def silence(folder: Path, seconds: int) -> Path:
    return speech.write_wav(folder / "talk.wav", np.zeros(seconds * speech.RATE, np.float32))


@contextmanager
def terminal(command: str, environment: dict[str, str], columns: int = 80) -> Iterator[ProgramScreen]:
    kept = {name: value for name, value in (environment | KEY).items() if name != "COLUMNS"}
    screen = ProgramScreen(["sh", "-c", command], kept, columns=columns)
    try:
        yield screen
    finally:
        screen.program.close(force=True)


def stream_file_command(server: RealtimeServer, talk: Path, *options: object) -> str:
    """The command that replays a recording into a server."""
    line = [sys.executable, "-m", "cartesia_cli", "stream-file", str(talk), "--base-url", server.base_url]
    return shlex.join([*line, *map(str, options)])


def two_segments(connection: ServerConnection) -> None:
    """A server script that sends one segment at once and one at the end."""
    connection.admit()
    connection.until_audio(0.3)
    connection.say(transcript(SENTENCE))
    connection.say(flush_done())
    connection.until_command("close")
    connection.say(transcript(" The end."))
    connection.say(done())
    connection.close()


def is_status_row(row: str) -> bool:
    return row.startswith(("● ", "○ "))


WRAPPED = {
    40: [
        "Grandmother kept her letters in a",
        "remarkably blue box on the highest",
        "shelf of the kitchen.",
    ],
    80: ["Grandmother kept her letters in a remarkably blue box on the highest shelf of", "the kitchen."],
    200: [SENTENCE],
}


DESTINATIONS = [
    *(("terminal", columns) for columns in (40, 200)),
    *(("-o", columns) for columns in (40, 200)),
    *((where, 80) for where in ("file", "pipe", "folder", "document")),
]
"""Where the transcript goes, and the width of the terminal."""


def test_settled_lines_appear_on_the_terminal_once_wherever_the_transcript_goes(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    def show(destination: tuple[str, int]) -> list[str]:
        where, columns = destination
        out = tmp_path / f"{where}-{columns}"
        with RealtimeServer(two_segments) as server:
            plain = stream_file_command(server, talk, "--finalize", "vad")
            command = {
                "terminal": plain,
                "file": f"{plain} > {out}",
                "pipe": f"{plain} | cat > {out}",
                "-o": f"{plain} -o {out}.txt",
                "folder": f"{plain} -f text,json --output-dir {out}",
                "document": f"{plain} -f json | cat > {out}",
            }[where]
            with terminal(command, environment, columns) as screen:
                return screen.end()

    for (where, columns), rows in zip(DESTINATIONS, side_by_side(show, DESTINATIONS), strict=True):
        assert [row for row in rows if not row.startswith("wrote ")][: len(WRAPPED[columns]) + 1] == [
            *WRAPPED[columns], "The end.",
        ], where  # fmt: skip
        assert not any(map(is_status_row, rows)), where
        if where in ("file", "pipe"):  # which are never wrapped
            assert (tmp_path / f"{where}-{columns}").read_text() == f"{SENTENCE}\nThe end.\n", where


def test_stdout_redirected_to_dev_tty_counts_as_the_terminal(environment: dict[str, str], talk: Path) -> None:
    with (
        RealtimeServer(two_segments) as server,
        terminal(stream_file_command(server, talk, "--finalize", "vad") + " > /dev/tty", environment) as screen,
    ):
        assert screen.end() == [*WRAPPED[80], "The end."]


def test_quiet_shows_nothing_and_a_dumb_terminal_shows_settled_lines(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    def show(row: tuple[str, str, str]) -> list[str]:
        variables, option, name = row
        with RealtimeServer(two_segments) as server:
            plain = stream_file_command(server, talk, "--finalize", "vad")
            with terminal(f"{variables} {plain} {option} > {tmp_path / name}", environment) as screen:
                return screen.end()

    quiet, dumb = side_by_side(show, [("", "-q", "quiet"), ("TERM=dumb", "", "dumb")])
    assert (quiet, dumb) == ([], [*WRAPPED[80], "The end."])


def test_settled_lines_are_not_shown_when_stderr_is_a_file(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    with RealtimeServer(two_segments) as server:
        command = shlex.split(stream_file_command(server, talk, "--finalize", "vad", "-o", tmp_path / "out.txt"))
        ended = subprocess.run(command, env=environment | KEY, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", f"wrote {tmp_path / 'out.txt'}\n")


def test_starting_is_shown_and_ctrl_c_ends_it(environment: dict[str, str], talk: Path) -> None:
    command = shlex.join([sys.executable, "-m", "cartesia_cli", "stream-file", str(talk), "--local"])
    with terminal(f"exec {command}", environment) as screen:
        screen.wait_for("○ starting…")
        screen.program.send("\x03")
        rows = screen.end()
    assert not any(map(is_status_row, rows)) and not any("Traceback" in row for row in rows)
    assert screen.program.exitstatus in (0, 130)


def test_reconnect_is_shown_in_the_status_row_and_leaves_one_line(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    def reconnect(columns: int) -> None:
        check_reconnect(environment, talk, tmp_path / f"{columns}.txt", columns)

    side_by_side(reconnect, [40, 80, 200])


def check_reconnect(environment: dict[str, str], talk: Path, out: Path, columns: int) -> None:
    may_return = threading.Event()

    def drops(connection: ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.3)
        connection.say(transcript("Before."))
        connection.say(flush_done())
        connection.close(1012)

    def refuses(connection: ServerConnection) -> None:
        connection.refuse(503, {"title": "Busy", "message": f"not now, {KEY['CARTESIA_API_KEY']}"})

    def returns(connection: ServerConnection) -> None:
        assert may_return.wait(TIMEOUT_SECONDS)
        connection.admit()
        connection.until_command("close")
        connection.say(transcript(" After."))
        connection.say(done())
        connection.close()

    with (
        RealtimeServer(drops, refuses, refuses, returns) as server,
        terminal(stream_file_command(server, talk, "--finalize", "vad", "-o", out), environment, columns) as screen,
    ):
        rows = screen.wait(lambda rows: any("reconnecting" in row or "again" in row for row in rows))
        assert rows[0] == "Before." and is_status_row(rows[-1]) and len(rows) == 2
        rows = screen.wait_for("[the key]") if columns == 200 else rows
        server.wait(lambda server: len(server.records) == 4)
        screen.wait(lambda rows: len(rows) == 2 and is_status_row(rows[-1]))
        may_return.set()
        rows = screen.end()
    assert rows[0] == "Before." and "After." in rows
    message = " ".join(rows[1 : rows.index("After.")])
    assert message.startswith("reconnected: ") and KEY["CARTESIA_API_KEY"] not in message
    assert screen.program.exitstatus == 0


def test_status_row_counts_credits(environment: dict[str, str], talk: Path) -> None:
    """3 credits a second for ink-2, 1 for ink-whisper."""

    def watch(row: tuple[str, int]) -> None:
        model, credits = row
        with (
            RealtimeServer(two_segments) as server,
            terminal(stream_file_command(server, talk, "--finalize", "vad", "-m", model), environment) as screen,
        ):
            screen.wait_for(", 0 credits")
            screen.wait_for(f"0:02 / 0:03, 0:01 left, {credits} credits")
            screen.end()

    side_by_side(watch, [("ink-2", 6), ("ink-whisper", 2)])


class UnfinishedTurn:
    """A server script that starts a turn, and ends it once `may_end` is set."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def __call__(self, connection: ServerConnection) -> None:
        connection.admit(first=connected())
        connection.until_audio(0.2)
        connection.say(turn("start"))
        connection.say(turn("update", SENTENCE[:60]))
        assert self.may_end.wait(TIMEOUT_SECONDS)
        connection.say(turn("end", SENTENCE))
        connection.until_command("close")
        connection.close()


def test_ctrl_z_clears_the_live_view_and_fg_redraws_it(environment: dict[str, str], tmp_path: Path) -> None:
    turn_script, talk = UnfinishedTurn(), silence(tmp_path, 8)
    with RealtimeServer(turn_script) as server:
        shell = f"PS1='$ ' exec {require_program('bash')} --norc --noprofile --noediting -i"
        with terminal(shell, environment, 80) as screen:
            screen.wait_for("$")
            screen.program.send(stream_file_command(server, talk, "-o", tmp_path / "out.txt") + "\n")
            screen.wait_for(SENTENCE[:60])
            screen.program.send("\x1a")
            rows = screen.wait_for("Stopped")
            rows = screen.wait(lambda rows: rows[-1] == "$")
            assert not any(map(is_status_row, rows)) and SENTENCE[:60] not in rows
            screen.program.send("fg\n")
            screen.wait_for(SENTENCE[:60])
            turn_script.may_end.set()
            screen.wait_for("wrote")
            rows = screen.wait(lambda rows: rows[-1] == "$")
            screen.program.send("exit\n")
    assert not any(map(is_status_row, rows))
    assert (tmp_path / "out.txt").read_text() == f"{SENTENCE}\n"


def test_background_session_draws_nothing_over_the_shell(environment: dict[str, str], tmp_path: Path) -> None:
    turn_script, talk = UnfinishedTurn(), silence(tmp_path, 8)
    with RealtimeServer(turn_script) as server:
        shell = f"PS1='$ ' exec {require_program('bash')} --norc --noprofile --noediting -i"
        with terminal(shell, environment, 80) as screen:
            screen.wait_for("$")
            screen.program.send(stream_file_command(server, talk, "-f", "ndjson") + f" > {tmp_path / 'out'} &\n")
            server.wait(lambda server: server.records and server.records[0].seconds > 1)
            screen.program.send("echo $((40 + 2))\n")
            rows = screen.wait_for("42")
            assert not any(map(is_status_row, rows)), rows
            screen.program.send("fg\n")
            screen.wait(lambda rows: is_status_row(rows[-1]))
            turn_script.may_end.set()
            screen.wait(lambda rows: rows[-1] == "$")
            screen.program.send("exit\n")
    assert json.loads((tmp_path / "out").read_text().splitlines()[-1])["complete"] is True


def test_growing_text_under_tmux_wraps_at_words_also_after_a_resize(
    environment: dict[str, str], tmp_path: Path
) -> None:
    talk = silence(tmp_path, 12)

    def grow(columns: int) -> None:
        check_growing_text(environment, talk, tmp_path / f"{columns}.txt", columns)

    side_by_side(grow, [20, 40, 80, 200])


def check_growing_text(environment: dict[str, str], talk: Path, out: Path, columns: int) -> None:
    turn_script, text = UnfinishedTurn(), SENTENCE[:60]
    settings = {name: value for name, value in (environment | KEY).items() if name not in ("COLUMNS", "TMUX")}
    settings["TMUX_TMPDIR"] = str(out.parent)

    def tmux(*arguments: str) -> str:
        command = [require_program("tmux"), "-f", "/dev/null", "-L", str(columns), *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=True, timeout=30).stdout

    def wait_until(condition: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            rows = [row.rstrip() for row in tmux("capture-pane", "-p", "-S", "-").splitlines() if row.strip()]
            if condition(rows):
                return rows
            assert time.monotonic() < deadline, rows
            time.sleep(0.1)

    def has_text(rows: list[str]) -> bool:
        return bool(rows) and is_status_row(rows[-1]) and text.split()[-1] in " ".join(rows[:-1]).split()

    with RealtimeServer(turn_script) as server:
        command = stream_file_command(server, talk, "-o", out)
        tmux("new-session", "-d", "-x", str(columns), "-y", "10", "cat")
        try:
            tmux("set", "-g", "remain-on-exit", "on")
            # A full screen: what tmux wraps at the top moves into its history.
            tmux("respawn-pane", "-k", f"seq 101 112; exec {command}")
            rows = wait_until(has_text)[12:]
            assert set(" ".join(rows[:-1]).removeprefix("…").split()) <= set(text.split())
            tmux("resize-window", "-x", "30", "-y", "10")
            rows = wait_until(
                lambda rows: (
                    rows[12:] == ["Grandmother kept her letters", "in a remarkably blue box on", "the", rows[-1]]
                )
            )
            turn_script.may_end.set()
            rows = wait_until(lambda rows: any(row.startswith("wrote") for row in rows))
        finally:
            tmux("kill-server")
    assert not any(map(is_status_row, rows)), rows
    assert " ".join(rows[12:]).startswith(SENTENCE)  # nothing of the view is in the history before it
