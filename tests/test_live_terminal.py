"""Live sessions at a terminal: what of them is on its screen, moment by moment and at the end."""

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
import pexpect
import pyte
import pytest

from tests import speech
from tests.conftest import need
from tests.fork_server import usual_signals
from tests.realtime_server import Line, RealtimeServer, connected, done, flush_done, transcript, turn

pytestmark = pytest.mark.shell

KEY = {"CARTESIA_API_KEY": "sk_car_test", "TERM": "xterm-256color", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
SOON = 30.0
SENTENCE = "Grandmother kept her letters in a remarkably blue box on the highest shelf of the kitchen."


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return silence(tmp_path, 3)


def silence(folder: Path, seconds: int) -> Path:
    return speech.write_wav(folder / "talk.wav", np.zeros(seconds * speech.RATE, np.float32))


class Screen:
    """A command at a terminal, and what is on the screen of it."""

    def __init__(self, command: str, environment: dict[str, str], columns: int) -> None:
        environment = {name: value for name, value in (environment | KEY).items() if name != "COLUMNS"}
        self.program = pexpect.spawn(
            "sh", ["-c", command], env=environment, timeout=SOON, dimensions=(24, columns), preexec_fn=usual_signals
        )
        self._screen = pyte.HistoryScreen(columns, 24, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self.is_over = False

    def update(self) -> None:
        try:
            self._stream.feed(self.program.read_nonblocking(1 << 16, timeout=0.05))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            self.is_over = True

    @property
    def rows(self) -> list[str]:
        """History and screen, without blank rows."""
        above = ["".join(row[x].data for x in range(self._screen.columns)) for row in self._screen.history.top]
        return [row.rstrip() for row in (*above, *self._screen.display) if row.strip()]

    def wait(self, found: Callable[[list[str]], bool]) -> list[str]:
        """The rows, once they are as wanted."""
        deadline = time.monotonic() + SOON
        while not found(self.rows):
            assert time.monotonic() < deadline and not self.is_over, self.rows
            self.update()
        return self.rows

    def shows(self, text: str) -> list[str]:
        return self.wait(lambda rows: any(text in row for row in rows))

    def end(self) -> list[str]:
        """The rows when the program is over."""
        while not self.is_over:
            self.update()
        self.program.close()
        return self.rows


@contextmanager
def terminal(command: str, environment: dict[str, str], columns: int = 80) -> Iterator[Screen]:
    screen = Screen(command, environment, columns)
    try:
        yield screen
    finally:
        screen.program.close(force=True)


def streams(server: RealtimeServer, talk: Path, *options: object) -> str:
    """The command that replays a recording into a server."""
    line = [sys.executable, "-m", "cartesia_cli", "stream-file", str(talk), "--base-url", server.base_url]
    return shlex.join([*line, *map(str, options)])


def settles(line: Line) -> None:
    """Two sentences, and one that grows meanwhile."""
    line.admit()
    line.until_audio(0.3)
    line.say(transcript(SENTENCE))
    line.say(flush_done())
    line.until_command("close")
    line.say(transcript(" The end."))
    line.say(done())
    line.close()


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


@pytest.mark.parametrize(
    ("where", "columns"),
    [
        ("terminal", 40),
        ("terminal", 200),
        ("-o", 40),
        ("-o", 200),
        *((where, 80) for where in ("file", "pipe", "folder", "document")),
    ],
)
def test_settled_lines_appear_on_the_terminal_once_wherever_the_transcript_goes(
    environment: dict[str, str], talk: Path, tmp_path: Path, columns: int, where: str
) -> None:
    out = tmp_path / "out"
    with RealtimeServer(settles) as server:
        plain = streams(server, talk, "--finalize", "vad")
        command = {
            "terminal": plain,
            "file": f"{plain} > {out}",
            "pipe": f"{plain} | cat > {out}",
            "-o": f"{plain} -o {out}.txt",
            "folder": f"{plain} -f text,json --output-dir {out}",
            "document": f"{plain} -f json | cat > {out}",
        }[where]
        with terminal(command, environment, columns) as screen:
            rows = screen.end()
    assert [row for row in rows if not row.startswith("wrote ")][: len(WRAPPED[columns]) + 1] == [
        *WRAPPED[columns], "The end.",
    ]  # fmt: skip
    assert not any(map(is_status_row, rows))
    if where in ("file", "pipe"):
        assert out.read_text() == f"{SENTENCE}\nThe end.\n"  # data is never wrapped


def test_stdout_redirected_to_dev_tty_counts_as_the_terminal(environment: dict[str, str], talk: Path) -> None:
    with (
        RealtimeServer(settles) as server,
        terminal(streams(server, talk, "--finalize", "vad") + " > /dev/tty", environment) as screen,
    ):
        assert screen.end() == [*WRAPPED[80], "The end."]


def test_quiet_shows_nothing_and_a_dumb_terminal_shows_settled_lines(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with RealtimeServer(settles) as server:
        plain = streams(server, talk, "--finalize", "vad")
        with terminal(f"{plain} -q > {out}", environment) as screen:
            assert screen.end() == []
    with RealtimeServer(settles) as server:
        plain = streams(server, talk, "--finalize", "vad")
        with terminal(f"TERM=dumb {plain} > {out}", environment) as screen:
            assert screen.end() == [*WRAPPED[80], "The end."]


def test_settled_lines_are_not_shown_when_stderr_is_a_file(
    environment: dict[str, str], talk: Path, tmp_path: Path
) -> None:
    with RealtimeServer(settles) as server:
        command = shlex.split(streams(server, talk, "--finalize", "vad", "-o", tmp_path / "out.txt"))
        ended = subprocess.run(command, env=environment | KEY, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", f"wrote {tmp_path / 'out.txt'}\n")


def test_starting_is_shown_and_ctrl_c_ends_it(environment: dict[str, str], talk: Path) -> None:
    command = shlex.join([sys.executable, "-m", "cartesia_cli", "stream-file", str(talk), "--local"])
    with terminal(f"exec {command}", environment) as screen:
        screen.shows("○ starting…")
        screen.program.send("\x03")
        rows = screen.end()
    assert not any(map(is_status_row, rows)) and not any("Traceback" in row for row in rows)
    assert screen.program.exitstatus in (0, 130)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_reconnect_is_shown_in_the_status_row_and_leaves_one_line(
    environment: dict[str, str], talk: Path, tmp_path: Path, columns: int
) -> None:
    back = threading.Event()

    def drops(line: Line) -> None:
        line.admit()
        line.until_audio(0.3)
        line.say(transcript("Before."))
        line.say(flush_done())
        line.close(1012)

    def refuses(line: Line) -> None:
        line.refuse(503, {"title": "Busy", "message": f"not now, {KEY['CARTESIA_API_KEY']}"})

    def returns(line: Line) -> None:
        assert back.wait(SOON)
        line.admit()
        line.until_command("close")
        line.say(transcript(" After."))
        line.say(done())
        line.close()

    with (
        RealtimeServer(drops, refuses, refuses, returns) as server,
        terminal(
            streams(server, talk, "--finalize", "vad", "-o", tmp_path / "out.txt"), environment, columns
        ) as screen,
    ):
        rows = screen.wait(lambda rows: any("reconnecting" in row or "again" in row for row in rows))
        assert rows[0] == "Before." and is_status_row(rows[-1]) and len(rows) == 2
        rows = screen.shows("[the key]") if columns == 200 else rows
        server.wait(lambda server: len(server.calls) == 4)
        screen.wait(lambda rows: len(rows) == 2 and is_status_row(rows[-1]))
        back.set()
        rows = screen.end()
    assert rows[0] == "Before." and "After." in rows
    told = " ".join(rows[1 : rows.index("After.")])
    assert told.startswith("connected again: ") and KEY["CARTESIA_API_KEY"] not in told
    assert screen.program.exitstatus == 0


def test_status_row_counts_credits(environment: dict[str, str], talk: Path) -> None:
    """3 a second for ink-2, 1 for ink-whisper."""
    for model, most in (("ink-2", 9), ("ink-whisper", 3)):
        with (
            RealtimeServer(settles) as server,
            terminal(streams(server, talk, "--finalize", "vad", "-m", model), environment) as screen,
        ):
            screen.shows(", 0 credits")
            screen.shows(f"0:02 / 0:03, 0:01 left, {most * 2 // 3} credits")
            screen.end()


class Growing:
    """A server whose turn grows until it is `let`."""

    def __init__(self) -> None:
        self.let = threading.Event()

    def __call__(self, line: Line) -> None:
        line.admit(first=connected())
        line.until_audio(0.2)
        line.say(turn("start"))
        line.say(turn("update", SENTENCE[:60]))
        assert self.let.wait(SOON)
        line.say(turn("end", SENTENCE))
        line.until_command("close")
        line.close()


def test_ctrl_z_clears_the_live_view_and_fg_redraws_it(environment: dict[str, str], tmp_path: Path) -> None:
    growing, talk = Growing(), silence(tmp_path, 12)
    with RealtimeServer(growing) as server:
        shell = f"PS1='$ ' exec {need('bash')} --norc --noprofile --noediting -i"
        with terminal(shell, environment, 80) as screen:
            screen.shows("$")
            screen.program.send(streams(server, talk, "-o", tmp_path / "out.txt") + "\n")
            screen.shows(SENTENCE[:60])
            screen.program.send("\x1a")
            rows = screen.shows("Stopped")
            rows = screen.wait(lambda rows: rows[-1] == "$")
            assert not any(map(is_status_row, rows)) and SENTENCE[:60] not in rows
            screen.program.send("fg\n")
            screen.shows(SENTENCE[:60])
            growing.let.set()
            screen.shows("wrote")
            rows = screen.wait(lambda rows: rows[-1] == "$")
            screen.program.send("exit\n")
    assert not any(map(is_status_row, rows))
    assert (tmp_path / "out.txt").read_text() == f"{SENTENCE}\n"


def test_background_session_draws_nothing_over_the_shell(environment: dict[str, str], tmp_path: Path) -> None:
    growing, talk = Growing(), silence(tmp_path, 12)
    with RealtimeServer(growing) as server:
        shell = f"PS1='$ ' exec {need('bash')} --norc --noprofile --noediting -i"
        with terminal(shell, environment, 80) as screen:
            screen.shows("$")
            screen.program.send(streams(server, talk, "-f", "ndjson") + f" > {tmp_path / 'out'} &\n")
            server.wait(lambda server: server.calls and server.calls[0].seconds > 1)
            screen.program.send("echo $((40 + 2))\n")
            rows = screen.shows("42")
            assert not any(map(is_status_row, rows)), rows
            screen.program.send("fg\n")
            screen.wait(lambda rows: is_status_row(rows[-1]))
            growing.let.set()
            screen.wait(lambda rows: rows[-1] == "$")
            screen.program.send("exit\n")
    assert json.loads((tmp_path / "out").read_text().splitlines()[-1])["complete"] is True


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_growing_text_under_tmux_wraps_at_words_also_after_a_resize(
    environment: dict[str, str], tmp_path: Path, columns: int
) -> None:
    growing, text = Growing(), SENTENCE[:60]
    settings = {name: value for name, value in (environment | KEY).items() if name not in ("COLUMNS", "TMUX")}
    settings["TMUX_TMPDIR"] = str(tmp_path)

    def tmux(*arguments: str) -> str:
        command = [need("tmux"), "-f", "/dev/null", "-L", "view", *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=True, timeout=30).stdout

    def shown(found: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + SOON
        while True:
            rows = [row.rstrip() for row in tmux("capture-pane", "-p", "-S", "-").splitlines() if row.strip()]
            if found(rows):
                return rows
            assert time.monotonic() < deadline, rows
            time.sleep(0.05)

    def has_text(rows: list[str]) -> bool:
        return bool(rows) and is_status_row(rows[-1]) and text.split()[-1] in " ".join(rows[:-1]).split()

    with RealtimeServer(growing) as server:
        command = streams(server, silence(tmp_path, 12), "-o", tmp_path / "out.txt")
        tmux("new-session", "-d", "-x", str(columns), "-y", "10", "cat")
        try:
            tmux("set", "-g", "remain-on-exit", "on")
            # The screen is full: what tmux folds at its very top goes into its history, whoever wrote it.
            tmux("respawn-pane", "-k", f"seq 101 112; exec {command}")
            rows = shown(has_text)[12:]
            assert set(" ".join(rows[:-1]).removeprefix("…").split()) <= set(text.split())
            tmux("resize-window", "-x", "30", "-y", "10")
            rows = shown(
                lambda rows: (
                    rows[12:] == ["Grandmother kept her letters", "in a remarkably blue box on", "the", rows[-1]]
                )
            )
            growing.let.set()
            rows = shown(lambda rows: any(row.startswith("wrote") for row in rows))
        finally:
            tmux("kill-server")
    assert not any(map(is_status_row, rows)), rows
    assert " ".join(rows[12:]).startswith(SENTENCE)  # nothing of the view is in the history before it
