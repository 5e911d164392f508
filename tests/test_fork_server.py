"""Programs that are forked instead of started: what a test must be able to rely on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .fork_server import FORK_FROM_RUN, PIPE, Process, run_program, start_program


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """An environment for which there is a fork server."""
    for _ in range(FORK_FROM_RUN):
        run_program(["--version"], env=environment)
    return environment


def test_a_forked_program_does_what_a_started_one_does(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text('{"text": "Hello."}')
    env, said = environment | {"CARTESIA_API_KEY": "sk_car_test"}, b'{"text": "Hi."}'
    for arguments in (["render", "talk.json"], ["render", "-"], ["config", "show"], [b"check", b"\xff.srt"], ["what"]):
        forked = run_program(arguments, env=env, cwd=tmp_path, input=said)
        command = [sys.executable, "-m", "cartesia_cli", *arguments]
        started = subprocess.run(command, env=env, cwd=tmp_path, input=said, capture_output=True, check=False)
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            started.returncode, started.stdout, started.stderr
        ), arguments  # fmt: skip


def test_a_forked_program_gets_signals_and_its_end_is_seen(environment: dict[str, str], tmp_path: Path) -> None:
    def waiting() -> Process:
        return start_program(["render", "-"], env=environment, cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE)

    for number in (signal.SIGKILL, signal.SIGTERM):
        with waiting() as program:
            assert program.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                program.wait(0.01)
            program.send_signal(number)
            assert program.wait(30) in (-number, 128 + number)
    with waiting() as program:
        program.stdin.write(b'{"text": "Hello."}')
        program.stdin.close()
        assert (program.stdout.read(), program.wait(30)) == (b"Hello.\n", 0)


def test_a_forked_program_ends_with_its_client(environment: dict[str, str], tmp_path: Path) -> None:
    program = start_program(["render", "-"], env=environment, cwd=tmp_path, stdin=PIPE, stdout=PIPE)
    given, out = program.stdin, program.stdout
    del program
    assert out.read() == b""  # it was killed: its input, from `given`, could still come
    given.close()
