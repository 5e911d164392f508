"""What goes wrong around `listen`, and where it is used: dead servers, full disks, readers that go, narrow screens."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pexpect
import pyte
import pytest

from cartesia_cli.commands.exec_hook import MAX_LINES, ExecHook
from cartesia_cli.commands.keys import bindings, help_text
from cartesia_cli.output.live_rows import LiveRows
from cartesia_cli.transcript import Segment
from tests import realtime_server as realtime
from tests import speech
from tests.conftest import need
from tests.microphone import Studio, open_studio
from tests.realtime_server import RealtimeServer, Script
from tests.test_listen import KEY, TWO, echoes, listening, state, talk

PYTHON = Path(sys.executable)
UTF8 = {"LC_ALL": "C.UTF-8"}
STATUS_ROW = re.compile(r"[●○] (ON AIR|PAUSED|starting|\d+:\d\d)")
"""How the row of the live view begins."""

FAINT = 1e-3
"""-60 dBFS of noise: a microphone that gives nothing but zeros is complained of."""


@pytest.fixture
def studio(environment: dict[str, str]) -> Iterator[Studio]:
    """With somebody in it: it is never quite silent."""
    with open_studio(environment) as opened:
        noise = np.random.default_rng(0).normal(0, FAINT, 60 * speech.RATE).astype("<f4")
        form = ["--raw", "--format=float32le", f"--rate={speech.RATE}", "--channels=1", "--latency-msec=200"]
        path = Path(environment["HOME"]) / "noise"
        path.write_bytes(noise.tobytes())
        breathing = subprocess.Popen(["pacat", *form, str(path)], env=opened.environment)
        try:
            yield opened
        finally:
            breathing.kill()
            breathing.wait()


def seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


class Shell:
    """A line of shell in which `listen` is the program, and an exit code goes where `code` is read from."""

    def __init__(self, environment: dict[str, str], tmp_path: Path, line: str) -> None:
        self._code = tmp_path / "code"
        function = f'listen() {{ {shlex.quote(str(PYTHON))} -m cartesia_cli listen "$@"; }}'
        self.process = subprocess.Popen(
            ["sh", "-c", f"{function}\n{line}".replace("$CODE", shlex.quote(str(self._code)))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.told = ""

    def until(self, sentence: str) -> None:
        assert self.process.stderr is not None
        while sentence not in self.told:
            line = self.process.stderr.readline().decode()
            assert line, self.told
            self.told += line

    def end(self) -> str:
        """Its stdout."""
        out, told = self.process.communicate(timeout=60)
        self.told += told.decode()
        return out.decode()

    @property
    def code(self) -> int:
        return int(self._code.read_text())


@contextmanager
def shell(environment: dict[str, str], tmp_path: Path, line: str) -> Iterator[Shell]:
    started = Shell(environment, tmp_path, line)
    try:
        started.until("listening to")
        yield started
    finally:
        started.process.kill()
        started.process.wait()


# Devices, networks, disks.


def test_frozen_sound_server_exits_3_and_keeps_text_and_recording(studio: Studio) -> None:
    with RealtimeServer(echoes) as server:
        environment = studio.environment | KEY
        with listening(environment, "--mode", "manual", "--base-url", server.base_url) as listener:
            studio.play(talk(TWO), speech.RATE)
            studio.freeze()
            try:
                out = listener.end()
            finally:
                studio.thaw()
    assert listener.process.returncode == 3
    assert out.startswith("Number 1.\n")
    assert "the sound system hangs" in listener.told
    (left,) = state(studio.environment)
    assert f"cartesia-cli listen --recover --recording {left}" in listener.told
    assert seconds(left) > len(speech.say(TWO)) / speech.RATE


@pytest.mark.parametrize("fault", [realtime.drops, realtime.falls_silent, realtime.stops_reading])
@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_network_failure_exits_6_and_keeps_text_and_recording(studio: Studio, fault: Script, mode: str) -> None:
    """Killed, cut off or stuck: the first is seen at once, the others by pings that nobody answers."""
    with RealtimeServer(fault) as server:
        environment = studio.environment | KEY
        options = ("--mode", mode, "--base-url", server.base_url, "--reconnect", "0")
        with listening(environment, *options) as listener:
            out = listener.end()
    assert listener.process.returncode == 6, listener.told
    assert out.strip()
    assert "Traceback" not in listener.told
    (left,) = state(studio.environment)
    assert str(left) in listener.told
    assert seconds(left) >= 0.2


def test_full_disk_ends_the_recording_but_not_the_session(studio: Studio, tmp_path: Path) -> None:
    """No file may grow beyond 50 KiB here, which is 1.6 s of sound."""
    with RealtimeServer(echoes) as server:
        options = f"--mode manual --stop-after-silence 3 --base-url {server.base_url}"
        with shell(studio.environment | KEY, tmp_path, f"(ulimit -f 100; listen {options}); echo $? > $CODE") as run:
            studio.play(talk(TWO, TWO), speech.RATE)
            out = run.end()
    assert out.startswith("Number 1.\nNumber 2.\n")
    assert run.told.count("the recording ends after 1.6 s") == 1
    assert run.code == 0
    assert state(studio.environment) == []


def test_closed_stdout_pipe_ends_listen_quietly(studio: Studio, tmp_path: Path) -> None:
    with RealtimeServer(echoes) as server:
        line = f"{{ listen --mode manual --base-url {server.base_url}; echo $? > $CODE; }} | head -1"
        with shell(studio.environment | KEY, tmp_path, line) as run:
            studio.play(talk(TWO, TWO), speech.RATE)
            out = run.end()
    assert (out, run.code) == ("Number 1.\n", 0)
    assert len(run.told.splitlines()) == 1, run.told
    assert state(studio.environment) == []


def test_full_stdout_device_exits_1_and_keeps_the_recording(studio: Studio, tmp_path: Path) -> None:
    with RealtimeServer(echoes) as server:
        line = f"listen --mode manual --duration 5 --base-url {server.base_url} > /dev/full; echo $? > $CODE"
        with shell(studio.environment | KEY, tmp_path, line) as run:
            studio.play(talk(TWO), speech.RATE)
            run.end()
    assert run.code == 1
    assert "stdout can't be written: No space left on device" in run.told
    (left,) = state(studio.environment)
    assert f"cartesia-cli listen --recover --recording {left}" in run.told


def test_two_sessions_at_once_have_separate_recordings(studio: Studio) -> None:
    with RealtimeServer(echoes) as server:
        options = ("--mode", "manual", "--base-url", server.base_url)
        environment = studio.environment | KEY
        with listening(environment, *options) as one, listening(environment, *options) as other:
            studio.play(talk(TWO), speech.RATE)
            assert len(state(studio.environment)) == 2
            heard = [one.stop(), other.stop()]
    assert [one.process.returncode, other.process.returncode] == [0, 0]
    assert all(out.startswith("Number 1.\n") for out in heard)
    assert state(studio.environment) == []


# Terminals.


class Screen:
    """Bytes on a screen of 40 columns, checked while they come: there is one status row, and it is the last."""

    def __init__(self) -> None:
        self._screen = pyte.HistoryScreen(40, 40, history=1000)
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, data: bytes) -> None:
        for piece in re.split(rb"(?<=\x1b\[J\r)|(?<=\n)", data):
            self._stream.feed(piece)
            rows = self.rows
            live = [place for place, row in enumerate(rows) if STATUS_ROW.match(row)]
            assert live in ([], [len(rows) - 1]), rows

    @property
    def rows(self) -> list[str]:
        """Down to the last one that isn't blank."""
        rows = [row.rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows


def usual_mode() -> list[object]:
    """Of a new terminal: `script` may have changed its own before we look."""
    leader, follower = pty.openpty()
    try:
        return termios.tcgetattr(leader)
    finally:
        os.close(leader)
        os.close(follower)


def steered(studio: Studio, server: RealtimeServer, command: list[str], changes: dict[str, str]) -> bytes:
    """What a terminal of 40 columns gets from a session with two segments, a mark and a question."""
    environment = studio.environment | KEY | {"TERM": "xterm-256color"} | UTF8 | changes
    environment = {name: value for name, value in environment.items() if value}
    environment.pop("COLUMNS")
    program = pexpect.spawn(command[0], command[1:], env=environment, timeout=30, dimensions=(40, 40))
    try:
        before = usual_mode()
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
                server.wait(lambda server, count=wanted: server.calls[0].commands.count("finalize") >= count)
                time.sleep(0.3)  # the answer comes, and is drawn
            else:
                program.expect(pexpect.EOF if wanted is None else wanted)
                seen += program.before + (program.after if wanted else b"")
        assert termios.tcgetattr(program.child_fd) == before
    finally:
        program.close(force=True)
    assert program.exitstatus == 0, seen
    return seen


def listens(server: RealtimeServer, out: Path, *options: str) -> list[str]:
    """A command whose stdout is a file."""
    line = [str(PYTHON), "-m", "cartesia_cli", "listen", "--finalize", "key", "--base-url", server.base_url, *options]
    return ["sh", "-c", f"exec {shlex.join(line)} > {shlex.quote(str(out))}"]


def assert_tidy(rows: list[str]) -> None:
    """Sentences are there, whole, and nothing is left of what was drawn between them."""
    assert rows[:2] == ["listening to Gooseneck: ? shows the", "keys, Ctrl-C ends it"]
    said = [row for row in rows[2:] if row.startswith("Number")]
    rest = [row for row in rows[2:] if not row.startswith("Number")]
    assert said in (["Number 1.", "Number 2."], ["Number 1.", "Number 2.", "Number 3."])
    assert re.fullmatch(r"mark at 0:\d\d", rest[0])
    shown = LiveRows("utf-8", colored=False).legend(microphone=True, counts_silence=False, costs=True)
    assert rest[1:] == help_text(bindings(manual=True, push_to_talk=False), shown).splitlines()


@pytest.mark.parametrize("changes", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "vt100"}], ids=str)
def test_live_view_on_a_narrow_terminal_leaves_no_remains(
    studio: Studio, tmp_path: Path, changes: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with RealtimeServer(echoes) as server:
        seen = steered(studio, server, listens(server, out, "-f", "ndjson"), changes)
    screen = Screen()
    screen.feed(seen)
    if changes.get("TERM") == "dumb":
        assert not any(STATUS_ROW.match(row) for row in screen.rows) and b"\x1b" not in seen
    else:
        assert_tidy(screen.rows)
    assert (b"\x1b[J" in seen) == (changes.get("TERM") != "dumb")
    assert (b"\x1b[2m" in seen) == (not changes or changes == {"TERM": "vt100"})
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["text"] for line in lines if line["type"] == "segment"] == [f" Number {n}." for n in (1, 2, 3)]
    assert {line["type"] for line in lines} <= {"partial", "segment", "notice", "end"}


def test_live_view_under_script_leaves_no_remains(studio: Studio, tmp_path: Path) -> None:
    out, typescript = tmp_path / "out", tmp_path / "typescript"
    with RealtimeServer(echoes) as server:
        command = [need("script"), "-qec", shlex.join(listens(server, out)), str(typescript)]
        seen = steered(studio, server, command, {})
    screen = Screen()
    screen.feed(seen)
    assert_tidy(screen.rows)
    assert out.read_text() == "Number 1.\nNumber 2.\nNumber 3.\n"


def test_live_view_under_tmux_leaves_no_remains(studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    environment = studio.environment | KEY | {"TERM": "xterm-256color", "TMUX_TMPDIR": str(tmp_path)} | UTF8
    environment.pop("COLUMNS")
    environment.pop("TMUX", None)

    def tmux(*arguments: str) -> str:
        command = [need("tmux"), "-f", "/dev/null", "-L", "listen", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout

    def shown(sentence: str) -> list[str]:
        deadline = time.monotonic() + 30
        while sentence not in (seen := tmux("capture-pane", "-p", "-S", "-", "-t", "0")):
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        return seen.rstrip("\n").splitlines()

    with RealtimeServer(echoes) as server:
        program = listens(server, out)
        tmux("new-session", "-d", "-x", "40", "-y", "24", "cat")
        try:
            tmux("set", "-g", "remain-on-exit", "on")
            tmux("respawn-pane", "-k", "-t", "0", shlex.join(program))
            shown("ends it")
            tmux("send-keys", "-t", "0", "Space")
            server.wait(lambda server: "finalize" in server.calls[0].commands)
            tmux("send-keys", "-t", "0", "m")
            shown("mark at")
            tmux("send-keys", "-t", "0", "?")
            shown("level of the background")
            tmux("send-keys", "-t", "0", "q")
            while tmux("list-panes", "-F", "#{pane_dead}").strip() != "1":
                time.sleep(0.05)
            rows = shown("Number 2.")
        finally:
            tmux("kill-server")
    assert_tidy([row for row in rows if row and not row.startswith("Pane is dead")])
    assert out.read_text() == "Number 1.\nNumber 2.\n"


# Commands that segments are handed to.


def test_exec_output_is_printed_on_separate_lines(studio: Studio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = tmp_path / "hook.sh"
    hook.write_text("read line; printf 'hook: %s\\nand \\033[2Jmore' \"$line\"; echo to stderr >&2; exit 3\n")
    with RealtimeServer(echoes) as server:
        seen = steered(studio, server, listens(server, out, "--exec", f"sh {shlex.quote(str(hook))}"), {})
    screen = Screen()
    screen.feed(seen)
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
    """As programs for the clipboard do: they keep what they were given open until another one takes over."""
    body = "subprocess.Popen(['sleep', '20']); print('done', sys.stdin.read(), flush=True)"
    told: list[str] = []
    with ExecHook(command(tmp_path, body), told.append, exit_seconds=15) as handover:
        for number in range(2):
            handover.submit(Segment(0.0, 1.0, f"{number}", "audio"))
    assert told == ["done 0", "done 1"]


def test_exec_output_is_truncated_after_max_lines(tmp_path: Path) -> None:
    body = "for n in range(10 * int(sys.stdin.read())): print(n)"
    told: list[str] = []
    with ExecHook(command(tmp_path, body), told.append) as handover:
        for count in (2000, 1):
            handover.submit(Segment(0.0, 1.0, f"{count}", "audio"))
    assert told[: MAX_LINES - 1] == [str(number) for number in range(MAX_LINES - 1)]
    assert "is not shown" in told[MAX_LINES - 1]
    assert told[MAX_LINES:] == [str(number) for number in range(10)]
