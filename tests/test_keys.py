"""Tests of reading keys on real terminals: a small program on a pseudo-terminal, a minimal shell, and bash."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cartesia_cli.commands.live.keys import (
    ESCAPE_SECONDS,
    HOTKEY_SIGNALS,
    KeyDecoder,
    action_for,
    bindings,
    help_text,
    hotkey_signals,
)
from tests.conftest import require_program
from tests.fork_server import default_signals

PROGRAM = """
import asyncio, os, signal, sys
from contextlib import nullcontext
from cartesia_cli.commands.live.keys import read_keys, stop_on_signals
from cartesia_cli.errors import Interrupted
from cartesia_cli.session.interfaces import StopSignal

signal.signal(signal.SIGTERM, signal.SIG_DFL)  # `make coverage` handles it
if "session" in sys.argv:
    if os.fork():
        os.wait()
        os._exit(0)
    os.setsid()
print(f"pid {os.getpid()}.", flush=True)

async def main():
    ended = asyncio.get_running_loop().create_future()
    def handle(key):
        print(f"<{key.encode('unicode_escape').decode()}>", flush=True)
        if key == "q":
            ended.set_result(None)
        elif key == "x":
            ended.set_exception(ValueError("an exception"))
        elif key == "c":
            task.cancel()
        elif key == "k":
            os.kill(os.getpid(), signal.SIGKILL)
    task, stop = asyncio.current_task(), StopSignal()
    stopping = stop_on_signals(stop) if "stops" in sys.argv else nullcontext()
    with stopping, read_keys(handle, on_resume=lambda: print("resumed", flush=True)) as has_terminal:
        print(f"ready {has_terminal}", flush=True)
        if "stops" in sys.argv:
            await stop.requested.wait()
        else:
            await ended

def interrupt(number, frame):
    raise Interrupted

if "handler" in sys.argv:
    signal.signal(signal.SIGTERM, interrupt)
try:
    asyncio.run(main())
except Interrupted:
    print("interrupted", flush=True)
print("ended", flush=True)
os._exit(0)
"""

SHELL = """
import os, signal, subprocess, sys

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
usual = lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL)
child = subprocess.Popen(sys.argv[1:], process_group=0, preexec_fn=usual)
os.tcsetpgrp(0, child.pid)
signal.signal(signal.SIGUSR1, lambda number, frame: (os.tcsetpgrp(0, os.getpgrp()), print("taken", flush=True)))
signal.signal(signal.SIGUSR2, lambda number, frame: (os.tcsetpgrp(0, child.pid), print("given", flush=True)))
while os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpgrp())
    print("stopped", flush=True)
    if input() == "bg":
        print("in the background", flush=True)
        os.killpg(child.pid, signal.SIGCONT)
        input()
        os.tcsetpgrp(0, child.pid)
    else:
        os.tcsetpgrp(0, child.pid)
        os.killpg(child.pid, signal.SIGCONT)
os.tcsetpgrp(0, os.getpgrp())
print("over", flush=True)
"""
"""A shell with job control that, unlike others, doesn't restore the terminal mode after a job."""


WITH_UNUSUAL_MODE = 'stty -echoe min 7 time 3; echo set; read go; exec "$@"'
"""Runs a command with an unusual terminal mode, so that a test notices if the default mode is set instead."""


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, *command: str) -> None:
        environ: Any = os.environ | {"TERM": "dumb", "PYTHONPATH": str(Path(__file__).parents[1])}
        arguments = ["-c", WITH_UNUSUAL_MODE, "sh", *command]
        self.child = pexpect.spawn(
            "sh", arguments, encoding="utf-8", timeout=60, env=environ, preexec_fn=default_signals
        )
        self.see("set")
        self.before = self.mode
        self.type("\n")

    def see(self, *texts: str) -> None:
        """Wait until the program has written each text, one after the other."""
        for text in texts:
            self.child.expect_exact(text)

    def type(self, text: str) -> None:
        self.child.send(text)

    @property
    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.child.child_fd)

    @property
    def takes_keys(self) -> bool:
        return not self.mode[3] & (termios.ICANON | termios.ECHO)

    def end(self, *texts: str) -> None:
        """Wait for these texts and the end of the program, and check that the terminal mode is restored."""
        self.see(*texts)
        self.child.expect(pexpect.EOF)
        assert self.mode == self.before


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts a command on a terminal, and waits until it has written these texts."""
    made: list[Terminal] = []

    def make(*command: str, until: Sequence[str] = ("ready True",)) -> Terminal:
        made.append(Terminal(*command))
        made[-1].see(*until)
        return made[-1]

    yield make
    for terminal in made:
        terminal.child.close(force=True)


@pytest.fixture
def program(tmp_path: Path) -> tuple[str, str]:
    """The command that runs PROGRAM."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return sys.executable, str(path)


@pytest.fixture
def shell(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "shell.py"
    path.write_text(SHELL)
    return sys.executable, str(path)


Command = tuple[str, str]
StartTerminal = Callable[..., Terminal]


def test_keys_are_read_one_by_one_without_echo(on_terminal: StartTerminal, program: Command) -> None:
    terminal = on_terminal(*program)
    assert terminal.takes_keys
    terminal.type("p")
    terminal.see("<p>")
    assert "p" not in terminal.child.before.strip()
    terminal.type(" \r\n+é\x1b[A\x1b[1;5C\x1bOP?")
    terminal.see("<space>\r\n<enter>\r\n<enter>\r\n<+>\r\n<\\xe9>\r\n<?>")
    terminal.type("q")
    terminal.end("ended")


@pytest.mark.parametrize(("key", "last"), [("q", "ended"), ("x", "ValueError"), ("c", "CancelledError")])
def test_terminal_mode_is_restored_after_end_exception_and_cancellation(
    on_terminal: StartTerminal, program: Command, key: str, last: str
) -> None:
    terminal = on_terminal(*program)
    terminal.type(key)
    terminal.end(last)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_mode_is_restored_after_a_fatal_signal(
    on_terminal: StartTerminal, program: Command, number: signal.Signals
) -> None:
    terminal = on_terminal(*program, "stops")
    terminal.child.kill(number)
    terminal.end("ended")


def test_terminal_mode_is_restored_after_a_handled_signal(on_terminal: StartTerminal, program: Command) -> None:
    terminal = on_terminal(*program, "handler")
    terminal.child.kill(signal.SIGTERM)
    terminal.end("interrupted")


def test_ctrl_c_still_sends_sigint(on_terminal: StartTerminal, program: Command) -> None:
    terminal = on_terminal(*program)
    terminal.type("\x03")
    terminal.end("KeyboardInterrupt")


def test_ctrl_z_restores_the_terminal_mode_until_fg(
    on_terminal: StartTerminal, shell: Command, program: Command
) -> None:
    terminal = on_terminal(*shell, *program)
    for _ in range(2):
        terminal.type("\x1a")
        terminal.see("stopped")
        assert terminal.mode == terminal.before
        terminal.type("fg\n")
        terminal.see("resumed")
        assert terminal.takes_keys
        terminal.type("m")
        terminal.see("<m>")
    terminal.type("q")
    terminal.end("over")


def test_ctrl_z_clears_the_drawing_and_fg_redraws_it(
    on_terminal: StartTerminal, shell: Command, tmp_path: Path
) -> None:
    path = tmp_path / "drawing.py"
    drawing = "job_control(lambda: print('cleared', flush=True), lambda: print('drawn', flush=True))"
    path.write_text(
        "from cartesia_cli.output.job_control import job_control\n"
        + PROGRAM.replace("    with stopping, ", f"    with {drawing}, stopping, ")
    )
    terminal = on_terminal(*shell, sys.executable, str(path))
    for _ in range(2):
        terminal.type("\x1a")
        terminal.see("cleared", "stopped")
        assert terminal.mode == terminal.before
        terminal.type("fg\n")
        terminal.see("drawn", "resumed")
        assert terminal.takes_keys
    terminal.type("q")
    terminal.end("over")


def test_bg_leaves_the_terminal_to_the_shell_until_fg(
    on_terminal: StartTerminal, shell: Command, program: Command
) -> None:
    terminal = on_terminal(*shell, *program)
    terminal.type("\x1a")
    terminal.see("stopped")
    terminal.type("bg\n")
    terminal.see("in the background", "resumed")
    assert terminal.mode == terminal.before
    terminal.type("for the shell\n")  # reading it would stop the program
    terminal.see("resumed")
    assert terminal.takes_keys
    terminal.type("q")
    terminal.end("<q>", "over")


def test_key_pressed_while_another_process_has_the_terminal_does_not_stop_the_program(
    on_terminal: StartTerminal, shell: Command, program: Command
) -> None:
    terminal = on_terminal(*shell, *program)
    terminal.child.kill(signal.SIGUSR1)
    terminal.see("taken")
    terminal.type("m")
    time.sleep(0.3)  # reading now would stop the program
    terminal.child.kill(signal.SIGUSR2)
    terminal.see("given", "<m>")
    terminal.type("q")
    terminal.end("over")


def test_fg_recovers_from_sigstop_and_a_kill_in_the_background_leaves_the_terminal_alone(
    on_terminal: StartTerminal, program: Command
) -> None:
    terminal = on_terminal(require_program("bash"), "--norc", "--noprofile", "--noediting", "-i", until=[])
    terminal.type(f"PS1='$ '; {' '.join(program)}\n")
    terminal.see("pid ")
    terminal.child.expect(r"\d+")
    number = int(terminal.child.after)
    terminal.see("ready True")
    os.kill(number, signal.SIGSTOP)
    terminal.see("Stopped", "$ ")
    terminal.type("fg\n")
    terminal.see("resumed")
    assert terminal.takes_keys
    os.kill(number, signal.SIGSTOP)
    terminal.see("Stopped", "$ ")
    terminal.type("bg; kill %1; wait; echo over $((40 + 2)); exit\n")
    terminal.see("over 42")
    assert "Stopped" not in terminal.child.before
    terminal.end()


def test_ctrl_z_is_ignored_without_a_job_control_shell(on_terminal: StartTerminal, program: Command) -> None:
    terminal = on_terminal(*program)
    terminal.type("\x1a")
    terminal.type("m")
    terminal.see("<m>")
    assert terminal.takes_keys
    terminal.type("q")
    terminal.end("ended")


def test_start_in_the_background_of_bash_is_not_stopped_and_reads_keys_after_fg(
    on_terminal: StartTerminal,
    program: Command,
) -> None:
    terminal = on_terminal(require_program("bash"), "--norc", "--noprofile", "--noediting", "-i", until=[])
    terminal.type(f"PS1='$ '; {' '.join(program)} &\n")
    terminal.see("ready True")
    assert not terminal.takes_keys
    terminal.type("echo for $((40 + 2)); jobs\n")
    terminal.see("for 42", "Running")
    terminal.type("fg\n")
    terminal.see("resumed")
    assert terminal.takes_keys
    terminal.type("\x1a")
    terminal.see("Stopped", "$ ")
    assert not terminal.takes_keys
    terminal.type("fg\n")
    terminal.see("resumed")
    terminal.type("q")
    terminal.see("ended", "$ ")
    terminal.type("exit\n")
    terminal.end()


def test_keys_are_read_from_the_terminal_when_stdin_is_a_pipe(on_terminal: StartTerminal, program: Command) -> None:
    terminal = on_terminal("sh", "-c", 'echo q | "$@"', "sh", *program)
    terminal.type("m")
    terminal.see("<m>")
    terminal.type("q")
    terminal.end("ended")


def test_keys_are_read_from_a_terminal_that_is_not_the_controlling_one(
    on_terminal: StartTerminal, program: Command
) -> None:
    terminal = on_terminal(*program, "session")
    assert terminal.takes_keys
    terminal.type("q")
    terminal.end("<q>", "ended")


def test_two_programs_at_one_terminal_restore_its_mode_in_any_order(
    on_terminal: StartTerminal, program: Command
) -> None:
    """The second to start finds the mode that the first has set, and must not restore it."""
    terminal = on_terminal("sh", "-c", '"$@" & "$@"; wait', "sh", *program)
    terminal.see("ready True")
    assert terminal.takes_keys
    for _ in range(2):
        terminal.type("q\n")  # the remaining program may be out of cbreak mode
        terminal.see("ended")
    terminal.end()


def test_without_a_terminal_keys_are_off_and_nothing_fails(program: Command) -> None:
    script = PROGRAM.replace("await ended", "return")
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.endswith(b"ready False\nended\n")


COUNTING_LOOP_ROUNDS = """
import asyncio, os, selectors, signal, sys
from cartesia_cli.commands.live.keys import read_keys

class Selector(selectors.DefaultSelector):
    rounds = 0

    def select(self, timeout=None):
        Selector.rounds += 1
        return super().select(timeout)

async def main():
    wrong = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
    with read_keys(lambda key: None) as has_terminal:
        os.write(1, f"ready {has_terminal}".encode())  # at once: the terminal may be gone before a line ends
        while os.isatty(0):
            await asyncio.sleep(0.01)
        before = Selector.rounds
        for _ in range(20):
            await asyncio.sleep(0.02)
        rounds = Selector.rounds - before
    open(sys.argv[1], "w").write("quiet" if rounds < 60 and not wrong else f"{rounds} rounds, {wrong}")

signal.signal(signal.SIGHUP, signal.SIG_IGN)
if "session" in sys.argv:
    if os.fork():
        os.wait()
        os._exit(0)
    os.setsid()
with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Selector())) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("whose", ["ours", "session"])
def test_closed_terminal_ends_key_reading_without_a_busy_loop(
    on_terminal: StartTerminal, tmp_path: Path, whose: str
) -> None:
    """A closed terminal is always readable: the event loop must not spin."""
    result = tmp_path / "result"
    terminal = on_terminal(sys.executable, "-c", COUNTING_LOOP_ROUNDS, str(result), whose)
    terminal.child.ptyproc.fileobj.close()
    os.waitpid(terminal.child.pid, 0)
    terminal.child.ptyproc.terminated = True
    assert result.read_text() == "quiet"


SEQUENCES = st.sampled_from(
    [
        "\x1b[A", "\x1bOA", "\x1b[1;5C", "\x1b[15~", "\x1b[[A", "\x1b[?2026;2$y", "\x1b]11;rgb:0/0/0\x07", "\x1b\x1b[D",
        "\x1bP>|tmux 3.3a\x1b\\", "\x1bq", "\x1b ", "\x1b[<0;1;2M", "\x1b[200~", "\x1b\x7f",
    ]
)  # fmt: skip
PLAIN = st.characters(exclude_categories=["Cs"], exclude_characters="\x1b")


@given(st.lists(SEQUENCES | PLAIN), st.data())
def test_escape_sequences_are_ignored_at_any_split(parts: list[str], data: Any) -> None:
    stream = "".join(parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder, keys = KeyDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        keys += decoder.decode(stream[start:end], 1.0)
    names = {"\r": "enter", "\n": "enter", " ": "space"}
    assert keys == [names.get(part, part) for part in parts if not part.startswith("\x1b")]


@given(st.binary(max_size=60), st.sampled_from("qpmu?+-"))
@example(b"\x1b", "q")
@example(b"\x1b[1;", "+")
@example("é".encode()[:1], "p")
def test_key_after_any_bytes_and_a_pause_is_recognized(noise: bytes, key: str) -> None:
    decoder = KeyDecoder()
    decoder.decode(noise, 1.0)
    assert decoder.decode(key.encode(), 1.0 + 2 * ESCAPE_SECONDS) == [key]


@pytest.mark.parametrize(
    ("manual", "push_to_talk", "keys"),
    [
        (False, False, "p m u + - l k ? q"),
        (True, False, "Enter/Space p m u l k ? q"),
        (False, True, "Space p m u + - l k ? q"),
        (True, True, "Space Enter p m u l k ? q"),
    ],
)
def test_help_lists_the_keys_of_the_mode(manual: bool, push_to_talk: bool, keys: str) -> None:
    found = bindings(manual=manual, push_to_talk=push_to_talk)
    taken = [key for binding in found for key in binding.keys]
    assert len(taken) == len(set(taken))
    shown = help_text(found)
    assert " ".join(line.split("  ")[0] for line in shown.splitlines()) == keys
    assert all(binding.help in shown for binding in found)


def test_help_appends_the_legend_of_the_status_row() -> None:
    lines = help_text(bindings(manual=True, push_to_talk=False), [("noise", "level of the background")]).splitlines()
    assert lines[0] == "Enter/Space  end the utterance now"
    assert lines[-1] == "noise        level of the background"


def test_keys_map_to_actions_ignoring_case() -> None:
    manual, auto = (bindings(manual=manual, push_to_talk=False) for manual in (True, False))
    assert [action_for(key, manual) for key in ("enter", "space", "p", "P", "q", "+", "é")] == [
        "finalize", "finalize", "pause", "pause", "stop", None, None,
    ]  # fmt: skip
    assert [action_for(key, auto) for key in ("enter", "+", "-")] == [None, "threshold_up", "threshold_down"]
    assert action_for("space", bindings(manual=True, push_to_talk=True)) == "talk"


async def test_hotkey_signals_call_actions_in_the_loop_and_restore_handlers() -> None:
    numbers = [signal.Signals[name] for name in HOTKEY_SIGNALS]
    before = [signal.getsignal(number) for number in numbers]
    called: list[str] = []
    both = asyncio.Event()

    def act(name: str) -> None:
        called.append(name)
        if len(called) == 2:
            both.set()

    with hotkey_signals({"finalize": lambda: act("finalize"), "pause": lambda: act("pause")}):
        for number in numbers:
            os.kill(os.getpid(), number)
        assert not called  # a handler would have been called by now
        await both.wait()
    assert sorted(called) == ["finalize", "pause"]
    assert [signal.getsignal(number) for number in numbers] == before


async def test_hotkey_signal_without_an_action_is_ignored() -> None:
    with hotkey_signals({}):
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.sleep(0)
