"""Tests of the status row while a session waits: it says what for and how to end it, on a terminal only."""

from __future__ import annotations

import os
import pty
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pexpect
import pytest

from tests import speech
from tests.fork_server import PIPE, default_signals, start_program
from tests.microphone import open_studio
from tests.realtime_server import RealtimeServer, ServerConnection, done, flush_done, transcript

KEY = {"CARTESIA_API_KEY": "sk_car_test", "TERM": "xterm-256color", "NO_COLOR": "1"}
TIMEOUT_SECONDS = 30.0
WAITING = "waiting for the last words; Ctrl-C again ends at once"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return speech.write_wav(tmp_path / "talk.wav", np.zeros(3 * speech.RATE, np.float32))


class SlowServer:
    """A server script that answers the handshake, and then `close`, only when `may_answer` is released."""

    def __init__(self) -> None:
        self.may_answer = threading.Semaphore(0)

    def __call__(self, connection: ServerConnection) -> None:
        assert self.may_answer.acquire(timeout=TIMEOUT_SECONDS)
        connection.admit()
        connection.until_audio(0.2)
        connection.say(transcript("Heard so far."))
        connection.say(flush_done())
        connection.until_command("close")
        if self.may_answer.acquire(timeout=TIMEOUT_SECONDS):
            connection.say(transcript(" The last words."))
            connection.say(done())
            connection.close()


@contextmanager
def terminal(
    environment: dict[str, str], server: RealtimeServer, *arguments: object, width: int = 100
) -> Iterator[pexpect.spawn[str]]:
    command = ["-m", "cartesia_cli", *map(str, arguments), "--mode", "manual", "--finalize", "none"]
    program = pexpect.spawn(
        sys.executable, [*command, "--base-url", server.base_url], env=environment | KEY, timeout=TIMEOUT_SECONDS,
        encoding="utf-8", dimensions=(24, width), preexec_fn=default_signals,
    )  # fmt: skip
    try:
        yield program
        program.expect(pexpect.EOF)
        program.close()
    finally:
        program.close(force=True)


@pytest.mark.waits
def test_waiting_for_the_handshake_and_the_last_words_is_shown_with_seconds(
    environment: dict[str, str], talk: Path
) -> None:
    slow = SlowServer()
    with RealtimeServer(slow) as server, terminal(environment, server, "stream-file", talk) as program:
        host = server.base_url.removeprefix("http://")
        program.expect_exact(f"○ 0:00 connecting to {host}")
        program.expect(rf"○ 0:0[1-9] connecting to {host}")
        slow.may_answer.release()
        program.expect_exact("Heard so far.")
        program.expect_exact("○ 0:00 waiting for the last words\x1b[J")  # the file has ended
        program.send("\x03")
        program.expect(rf"○ 0:0\d {WAITING}")
        slow.may_answer.release()
        program.expect_exact("The last words.")
    assert program.exitstatus == 0


def test_second_ctrl_c_while_waiting_ends_at_once(environment: dict[str, str], talk: Path) -> None:
    slow = SlowServer()
    slow.may_answer.release()
    with RealtimeServer(slow) as server, terminal(environment, server, "stream-file", talk, width=40) as program:
        program.expect_exact("Heard so far.")
        program.send("\x03")
        program.expect_exact("last words; Ctrl-C ends at once")
        program.send("\x03")
        program.expect(pexpect.EOF)
        slow.may_answer.release()
    assert program.exitstatus == 130


def test_ctrl_c_during_the_handshake_ends_at_once(environment: dict[str, str], talk: Path) -> None:
    slow = SlowServer()
    with RealtimeServer(slow) as server, terminal(environment, server, "stream-file", talk) as program:
        program.expect_exact("connecting to")
        program.send("\x03")
        program.expect(pexpect.EOF)
        slow.may_answer.release(2)
    assert program.exitstatus == 130


def test_q_while_waiting_shows_that_the_session_is_finishing(environment: dict[str, str]) -> None:
    slow = SlowServer()
    with (
        open_studio(environment) as studio,
        RealtimeServer(slow) as server,
        terminal(studio.environment, server, "listen") as program,
    ):
        program.expect_exact("not listening yet: connecting to")
        slow.may_answer.release()
        program.expect_exact("ON AIR")
        program.expect_exact("Heard so far.")
        program.send("q")
        program.expect(rf"○ 0:0\d {WAITING}")
        slow.may_answer.release()
        program.expect_exact("The last words.")
    assert program.exitstatus == 0


def test_wait_status_is_not_written_to_a_pipe(environment: dict[str, str], talk: Path) -> None:
    slow = SlowServer()
    leader, follower = pty.openpty()
    try:
        with RealtimeServer(slow) as server:
            program = start_program(
                ["stream-file", "--mode", "manual", talk, "--base-url", server.base_url],
                env=environment | KEY, stdin=follower, stdout=follower, stderr=PIPE,
            )  # fmt: skip
            server.wait(lambda server: len(server.records) == 1)
            slow.may_answer.release()
            server.wait(lambda server: "close" in server.records[0].commands)
            program.send_signal(signal.SIGINT)
            slow.may_answer.release()
            _, err = program.communicate(timeout=60)
        assert (program.returncode, err) == (0, b"")
        assert os.read(leader, 1000) == b"Heard so far.\r\nThe last words.\r\n"
    finally:
        os.close(leader)
        os.close(follower)
