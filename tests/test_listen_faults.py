"""Tests of `listen` when devices, networks, disks, terminals or `--exec` commands fail or are unusual."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import termios
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pexpect
import pyte
import pytest

from cartesia_cli.commands.live.exec_hook import MAX_LINES, ExecHook
from cartesia_cli.commands.live.keys import bindings, help_text
from cartesia_cli.output.live_view import LiveRows
from cartesia_cli.transcript import Segment
from tests import realtime_server as realtime
from tests import speech
from tests.conftest import require_program, side_by_side
from tests.microphone import Studio, open_studio
from tests.realtime_server import RealtimeServer, Script
from tests.test_listen import (
    DOG,
    KEY,
    LISTEN,
    Listener,
    answers_each_finalize,
    listening,
    session_recordings,
    speech_of,
)

PYTHON = Path(sys.executable)
UTF8 = {"LC_ALL": "C.UTF-8"}
STATUS_ROW = re.compile(r"[●○] (ON AIR|PAUSED|starting|\d+:\d\d)")
"""The start of the status row of the live view."""

FAINT = 1e-3
"""-60 dBFS of noise: a microphone that delivers only zeros is warned about."""


@pytest.fixture
def studio(environment: dict[str, str]) -> Iterator[Studio]:
    """A virtual microphone with background noise."""
    noise = np.random.default_rng(0).normal(0, FAINT, 60 * speech.RATE).astype(np.float32)
    with open_studio(environment) as opened, opened.playing(noise, speech.RATE):
        yield opened


def seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


@contextmanager
def shell(environment: dict[str, str], tmp_path: Path, line: str) -> Iterator[Listener]:
    """A running shell command in which `listen` is the program, and `$CODE` the file that `code_of` reads."""
    function = f'listen() {{ {shlex.join(LISTEN)} "$@"; }}'
    command = ["sh", "-c", f"{function}\n{line}".replace("$CODE", shlex.quote(str(tmp_path / "code")))]
    with listening(environment, command=command) as listener:
        yield listener


def code_of(tmp_path: Path) -> int:
    return int((tmp_path / "code").read_text())


# Devices, networks, disks.


def test_frozen_sound_server_exits_3_and_keeps_text_and_recording(studio: Studio) -> None:
    with RealtimeServer(answers_each_finalize) as server:
        environment = studio.environment | KEY
        with listening(environment, "--mode", "manual", "--base-url", server.base_url) as listener:
            studio.play(speech_of(DOG), speech.RATE)
            studio.freeze()
            try:
                out = listener.end()
            finally:
                studio.thaw()
    assert listener.process.returncode == 3
    assert out.startswith("Number 1.\n")
    assert "the sound system hangs" in listener.stderr_text
    (left,) = session_recordings(studio.environment)
    assert f"cartesia-cli listen --recover --recording {left}" in listener.stderr_text
    assert seconds(left) > len(speech.say(DOG)) / speech.RATE


def test_network_failure_exits_6_and_keeps_text_and_recording(studio: Studio, tmp_path: Path) -> None:
    """A reset is noticed at once, silence and a full socket by unanswered pings."""

    def fail(row: tuple[str, Script]) -> None:
        mode, fault = row
        home = tmp_path / f"{mode}-{fault.__name__}"
        home.mkdir()
        shutil.copy(Path(studio.environment["HOME"], ".asoundrc"), home)
        environment = studio.environment | KEY | {"HOME": str(home)}
        with RealtimeServer(fault) as server:
            options = ("--mode", mode, "--base-url", server.base_url, "--reconnect", "0")
            with listening(environment, *options) as listener:
                out = listener.end()
        assert listener.process.returncode == 6, (row, listener.stderr_text)
        assert out.strip(), row
        assert "Traceback" not in listener.stderr_text, row
        (left,) = session_recordings(environment)
        assert str(left) in listener.stderr_text, row
        assert seconds(left) >= 0.2, row

    faults = (realtime.drops, realtime.falls_silent, realtime.stops_reading)
    side_by_side(fail, [*product(("manual", "auto"), faults)])


def test_full_disk_ends_the_recording_but_not_the_session(studio: Studio, tmp_path: Path) -> None:
    """`ulimit` allows files of 50 KiB, which is 1.6 s of audio."""
    with RealtimeServer(answers_each_finalize) as server:
        options = f"--mode manual --stop-after-silence 3 --base-url {server.base_url}"
        with shell(studio.environment | KEY, tmp_path, f"(ulimit -f 100; listen {options}); echo $? > $CODE") as run:
            studio.play(speech_of(DOG, DOG), speech.RATE)
            out = run.end()
    assert out.startswith("Number 1.\nNumber 2.\n")
    assert run.stderr_text.count("the recording ends after 1.6 s") == 1
    assert code_of(tmp_path) == 0
    assert session_recordings(studio.environment) == []


def test_closed_stdout_pipe_ends_listen_quietly(studio: Studio, tmp_path: Path) -> None:
    with RealtimeServer(answers_each_finalize) as server:
        line = f"{{ listen --mode manual --base-url {server.base_url}; echo $? > $CODE; }} | head -1"
        with shell(studio.environment | KEY, tmp_path, line) as run:
            studio.play(speech_of(DOG, DOG), speech.RATE)
            out = run.end()
    assert (out, code_of(tmp_path)) == ("Number 1.\n", 0)
    assert len(run.stderr_text.splitlines()) == 1, run.stderr_text
    assert session_recordings(studio.environment) == []


def test_full_stdout_device_exits_1_and_keeps_the_recording(studio: Studio, tmp_path: Path) -> None:
    with RealtimeServer(answers_each_finalize) as server:
        line = f"listen --mode manual --duration 5 --base-url {server.base_url} > /dev/full; echo $? > $CODE"
        with shell(studio.environment | KEY, tmp_path, line) as run:
            studio.play(speech_of(DOG), speech.RATE)
            run.end()
    assert code_of(tmp_path) == 1
    assert "stdout can't be written: No space left on device" in run.stderr_text
    (left,) = session_recordings(studio.environment)
    assert f"cartesia-cli listen --recover --recording {left}" in run.stderr_text


def test_two_sessions_at_once_have_separate_recordings(studio: Studio) -> None:
    with RealtimeServer(answers_each_finalize) as server:
        options = ("--mode", "manual", "--base-url", server.base_url)
        environment = studio.environment | KEY
        with listening(environment, *options) as one, listening(environment, *options) as other:
            studio.play(speech_of(DOG), speech.RATE)
            assert len(session_recordings(studio.environment)) == 2
            heard = [one.stop(), other.stop()]
    assert [one.process.returncode, other.process.returncode] == [0, 0]
    assert all(out.startswith("Number 1.\n") for out in heard)
    assert session_recordings(studio.environment) == []


# Terminals.


class Screen:
    """An emulated screen of 40 columns checked after each update: at most one status row, and it is the last row."""

    def __init__(self) -> None:
        self._screen = pyte.HistoryScreen(40, 40, history=1000)
        self._stream = pyte.ByteStream(self._screen)

    def write(self, data: bytes) -> None:
        for piece in re.split(rb"(?<=\x1b\[J\r)|(?<=\n)", data):
            self._stream.feed(piece)
            rows = self.rows
            live = [number for number, row in enumerate(rows) if STATUS_ROW.match(row)]
            assert live in ([], [len(rows) - 1]), rows

    @property
    def rows(self) -> list[str]:
        """The rows of the screen without blank ones at the end."""
        rows = [row.rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows


def default_mode() -> list[object]:
    """The mode of a new terminal: `script` may have changed the mode of its terminal before a test reads it."""
    leader, follower = pty.openpty()
    try:
        return termios.tcgetattr(leader)
    finally:
        os.close(leader)
        os.close(follower)


def run_with_keys(studio: Studio, server: RealtimeServer, command: list[str], changes: dict[str, str]) -> bytes:
    """The bytes that a session with two segments, a mark and `?` writes to a terminal of 40 columns."""
    environment = studio.environment | KEY | {"TERM": "xterm-256color"} | UTF8 | changes
    environment = {name: value for name, value in environment.items() if value}
    environment.pop("COLUMNS")
    program = pexpect.spawn(command[0], command[1:], env=environment, timeout=30, dimensions=(40, 40))
    try:
        before = default_mode()
        seen = b""
        for key, wanted in (
            ("", "ends it"),
            (" ", 1),
            ("m", "mark at"),
            (" ", 2),
            ("?", "write everything"),
            ("q", None),
        ):
            program.send(key)
            if isinstance(wanted, int):
                server.wait(lambda server, count=wanted: server.records[0].commands.count("finalize") >= count)
                time.sleep(0.3)  # until the answer is drawn
            else:
                program.expect(pexpect.EOF if wanted is None else wanted)
                seen += program.before + (program.after if wanted else b"")
        assert termios.tcgetattr(program.child_fd) == before
    finally:
        program.close(force=True)
    assert program.exitstatus == 0, seen
    return seen


def listen_command(server: RealtimeServer, out: Path, *options: str) -> list[str]:
    """`listen` with the file `out` as stdout."""
    line = [str(PYTHON), "-m", "cartesia_cli", "listen", "--finalize", "key", "--base-url", server.base_url, *options]
    return ["sh", "-c", f"exec {shlex.join(line)} > {shlex.quote(str(out))}"]


def assert_clean(rows: list[str]) -> None:
    """Every message and segment is on the screen once and whole, and nothing of the live view remains."""
    assert rows[:2] == ["listening to Gooseneck: ? shows the", "keys, Ctrl-C ends it"]
    segments = [row for row in rows[2:] if row.startswith("Number")]
    rest = [row for row in rows[2:] if not row.startswith("Number")]
    assert segments in (["Number 1.", "Number 2."], ["Number 1.", "Number 2.", "Number 3."])
    assert re.fullmatch(r"mark at 0:\d\d", rest[0])
    shown = LiveRows("utf-8", colored=False).legend(counts_silence=False, costs=True)
    assert rest[1:] == help_text(bindings(manual=True, push_to_talk=False), shown).splitlines()


@pytest.mark.parametrize("changes", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "vt100"}], ids=str)
def test_live_view_on_a_narrow_terminal_leaves_no_remains(
    studio: Studio, tmp_path: Path, changes: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with RealtimeServer(answers_each_finalize) as server:
        seen = run_with_keys(studio, server, listen_command(server, out, "-f", "ndjson"), changes)
    screen = Screen()
    screen.write(seen)
    if changes.get("TERM") == "dumb":
        assert not any(STATUS_ROW.match(row) for row in screen.rows) and b"\x1b" not in seen
    else:
        assert_clean(screen.rows)
    assert (b"\x1b[J" in seen) == (changes.get("TERM") != "dumb")
    assert (b"\x1b[2m" in seen) == (not changes or changes == {"TERM": "vt100"})
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["text"] for line in lines if line["type"] == "segment"] == [f" Number {n}." for n in (1, 2, 3)]
    assert {line["type"] for line in lines} <= {"partial", "segment", "notice", "end"}


def test_live_view_under_script_leaves_no_remains(studio: Studio, tmp_path: Path) -> None:
    out, typescript = tmp_path / "out", tmp_path / "typescript"
    with RealtimeServer(answers_each_finalize) as server:
        command = [require_program("script"), "-qec", shlex.join(listen_command(server, out)), str(typescript)]
        seen = run_with_keys(studio, server, command, {})
    screen = Screen()
    screen.write(seen)
    assert_clean(screen.rows)
    assert out.read_text() == "Number 1.\nNumber 2.\nNumber 3.\n"


def test_live_view_under_tmux_leaves_no_remains(studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    environment = studio.environment | KEY | {"TERM": "xterm-256color", "TMUX_TMPDIR": str(tmp_path)} | UTF8
    environment.pop("COLUMNS")
    environment.pop("TMUX", None)

    def tmux(*arguments: str) -> str:
        command = [require_program("tmux"), "-f", "/dev/null", "-L", "listen", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout

    def wait_for(text: str) -> list[str]:
        deadline = time.monotonic() + 30
        while text not in (seen := tmux("capture-pane", "-p", "-S", "-", "-t", "0")):
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        return seen.rstrip("\n").splitlines()

    with RealtimeServer(answers_each_finalize) as server:
        program = listen_command(server, out)
        tmux("new-session", "-d", "-x", "40", "-y", "24", "cat")
        try:
            tmux("set", "-g", "remain-on-exit", "on")
            tmux("respawn-pane", "-k", "-t", "0", shlex.join(program))
            wait_for("ends it")
            tmux("send-keys", "-t", "0", "Space")
            server.wait(lambda server: "finalize" in server.records[0].commands)
            tmux("send-keys", "-t", "0", "m")
            wait_for("mark at")
            tmux("send-keys", "-t", "0", "?")
            wait_for("level of the background")
            tmux("send-keys", "-t", "0", "q")
            while tmux("list-panes", "-F", "#{pane_dead}").strip() != "1":
                time.sleep(0.05)
            rows = wait_for("Number 2.")
        finally:
            tmux("kill-server")
    assert_clean([row for row in rows if row and not row.startswith("Pane is dead")])
    assert out.read_text() == "Number 1.\nNumber 2.\n"


# Commands of --exec.


def test_exec_output_is_printed_on_separate_lines(studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = tmp_path / "hook.sh"
    hook.write_text("read line; printf 'hook: %s\\nand \\033[2Jmore' \"$line\"; echo to stderr >&2; exit 3\n")
    with RealtimeServer(answers_each_finalize) as server:
        seen = run_with_keys(studio, server, listen_command(server, out, "--exec", f"sh {shlex.quote(str(hook))}"), {})
    screen = Screen()
    screen.write(seen)
    rows = screen.rows
    for number in (1, 2, 3):
        assert f"hook: Number {number}." in rows
    assert b"\x1b[2J" not in seen
    assert sum(row.endswith("ended with 3") for row in rows) == 1
    assert [row for row in rows if STATUS_ROW.match(row)] == []
    assert out.read_text() == "Number 1.\nNumber 2.\nNumber 3.\n"


def command(tmp_path: Path, body: str) -> str:
    path = tmp_path / "hook.py"
    path.write_text(f"import subprocess, sys\n{body}\n")
    return shlex.join([str(PYTHON), str(path)])


def test_exec_command_with_a_background_child_does_not_delay_the_session(tmp_path: Path) -> None:
    """Clipboard programs do so: they keep stdout open in a background process."""
    body = "subprocess.Popen(['sleep', '20']); print('done', sys.stdin.read(), flush=True)"
    messages: list[str] = []
    with ExecHook(command(tmp_path, body), messages.append, exit_seconds=15) as hook:
        for number in range(2):
            hook.submit(Segment(0.0, 1.0, f"{number}", "audio"))
    assert messages == ["done 0", "done 1"]


def test_exec_output_is_truncated_after_max_lines(tmp_path: Path) -> None:
    body = "for n in range(10 * int(sys.stdin.read())): print(n)"
    messages: list[str] = []
    with ExecHook(command(tmp_path, body), messages.append) as hook:
        for count in (2000, 1):
            hook.submit(Segment(0.0, 1.0, f"{count}", "audio"))
    assert messages[: MAX_LINES - 1] == [str(number) for number in range(MAX_LINES - 1)]
    assert "is not shown" in messages[MAX_LINES - 1]
    assert messages[MAX_LINES:] == [str(number) for number in range(10)]
