"""Every row of tests/faults.py, through the whole program: exit code, one error with its hint, output, and no more.

    exit code     as docs/errors.md promises it
    stderr        the lines of the row and no others: no traceback, no key, nothing that moves a cursor
    stdout        what was heard so far, to the letter: nothing is lost, and nothing is made up
    files         those that were there, and those that the row names; no drafts
    time          none of the rows hangs, and the slow ones are slow by what they are

FaultKind those that take more than a program and its end: Ctrl-C, whatever the network does; two runs at once.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import faults
from .fault_proxy import Direction, FaultKind, FaultProxy, Plan
from .fault_server import KEY, REQUEST_ID, Exchange, FaultServer, environment, write_wav
from .faults import Elsewhere, Fault, Scene
from .fork_server import default_signals, run_program
from .realtime_server import RealtimeServer, ServerConnection, begin, manual
from .test_fault_proxy import until

RUN_TIMEOUT_SECONDS = 120
"""Seconds after which a run counts as hanging. The slowest row waits for half a minute."""

ROWS_AT_ONCE = 4
"""Rows that run at once: they mostly wait."""

ROWS = {f"{chapter}: {row.what} ({row.command})": row for chapter, row in faults.rows()}
FAULTS = {name: row for name, row in ROWS.items() if isinstance(row, Fault)}
ELSEWHERE = {name: row for name, row in ROWS.items() if isinstance(row, Elsewhere)}


@dataclass(frozen=True)
class Ended:
    """How a run ended, what it said, which files it left, and what is not as it must be."""

    code: int
    out: bytes
    err: bytes
    files: dict[str, bytes]
    wrong: list[str]


def perform(row: Fault, folder: Path) -> Ended:
    home, here = folder / "home", folder / "here"
    home.mkdir(parents=True)
    here.mkdir()
    with ExitStack() as stack:
        scene = Scene(home, here, stack)
        row.stage(scene)
        before = set(here.iterdir())
        limited = [] if scene.limit is None else ["sh", "-c", f'ulimit -f {scene.limit}; exec "$@"', "sh"]
        out = stack.enter_context(open(scene.stdout, "wb")) if scene.stdout else subprocess.PIPE
        done = run_program(
            [row.command, *scene.arguments], env=scene.environment, cwd=here, input=scene.stdin, stdout=out,
            timeout=RUN_TIMEOUT_SECONDS, prefix=limited,
        )  # fmt: skip
        left = {path.name: path.read_bytes() for path in set(here.iterdir()) - before}
        wrong = [why for so, why in scene.must if not so()]
    return Ended(done.returncode, done.stdout or b"", done.stderr, left, wrong)


@pytest.fixture(scope="module")
def endings(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Ended]]]:
    """The rows that were asked for, several at a time, those first that take long."""
    place = tmp_path_factory.mktemp("rows")
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    names = sorted((name for name in FAULTS if name in asked), key=lambda name: not FAULTS[name].slow)
    with ThreadPoolExecutor(ROWS_AT_ONCE) as pool:
        yield {name: pool.submit(perform, FAULTS[name], place / str(k)) for k, name in enumerate(names)}


def told(err: bytes) -> list[str]:
    """The lines of stderr, with names for what differs from run to run, and without what only a busy machine says."""
    text = re.sub(r"(?m)^warning: held up for .*\n", "", err.decode().replace(REQUEST_ID, "ID"))
    for pattern, name in (
        (r"(https?://)?(127\.0\.0\.1|localhost)(:\d+)?", "HOST"),
        (r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    ):
        text = re.sub(pattern, name, text)
    # How many tries fit into a limit of time is a matter of luck.
    return re.sub(r"(?m)^(HOST .*: trying again in .* \(for up to .*\n){2,}", r"\1", text).splitlines()


def alike(line: str, expected: str) -> bool:
    """Whether a line is the expected one, in which … stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), line) is not None


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_as_its_row_says(name: str, endings: dict[str, Future[Ended]]) -> None:
    row, ended = FAULTS[name], endings[name].result()
    assert b"Traceback" not in ended.err
    assert KEY.encode() not in ended.out + ended.err
    assert b"hunter2" not in ended.err, "the proxy's password"
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", ended.err.decode()), "stderr moves the cursor"
    lines = told(ended.err)
    assert len(lines) == len(row.stderr) and all(map(alike, lines, row.stderr)), ended.err.decode()
    assert ended.code == row.code
    assert row.out is None or ended.out.decode() == row.out
    assert (ended.files, ended.wrong) == ({}, [])


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_row_that_is_tested_elsewhere_names_a_test_that_is_there(name: str) -> None:
    file, _, function = ELSEWHERE[name].test.partition("::")
    assert re.search(rf"(?m)^ *(async )?def {function}\(", (Path(__file__).parent / file).read_text())


def test_the_table_has_each_row_once() -> None:
    lines = faults.table().splitlines()
    assert len(lines) == 2 + len(faults.ROWS) + len(ROWS)
    assert len(set(lines)) == len(lines)
    assert all(line.count("|") == 5 for line in lines)


# Ctrl-C ----------------------------------------------------------------------------------------------------

SOON = 30.0
"""Seconds in which a program that ends at once has ended, however busy the machine."""

HANGING = """
import socket, sys, time
usual = socket.getaddrinfo

def hang(host, *rest, **more):
    if "example" in str(host):
        print("looking up", file=sys.stderr, flush=True)
        time.sleep(60)
    return usual(host, *rest, **more)

socket.getaddrinfo = hang
from cartesia_cli.__main__ import main
main()
"""
"""The program, on a machine whose name servers don't answer for a minute."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a recording of half a minute in it."""
    write_wav(tmp_path / "talk.wav", 44 + 30 * 32000)
    return tmp_path


@contextmanager
def started(home: Path, base_url: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program at work; killed if it is still there at the end."""
    program = subprocess.Popen(
        [sys.executable, *command], env=environment(home, base_url), cwd=home, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=default_signals,
    )  # fmt: skip
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def interrupted(program: subprocess.Popen[bytes], times: int = 1) -> tuple[int, bytes, list[str]]:
    """Exit code, stdout and stderr of a program after Ctrl-C, which must end it at once."""
    for _ in range(times):
        program.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = program.communicate(timeout=SOON)
    assert b"Traceback" not in err
    return program.returncode, out, [line for line in told(err) if line.startswith(("error:", "hint:"))]


@pytest.mark.parametrize("command", [faults.BATCH, faults.LIVE])
def test_ctrl_c_is_answered_while_a_name_is_looked_up(command: str, home: Path) -> None:
    with started(home, "https://speech.example", "-c", HANGING, command, "talk.wav") as program:
        assert program.stderr is not None and program.stderr.readline() == b"looking up\n"
        time.sleep(0.3)
        assert interrupted(program) == (130, b"", [])


@pytest.mark.waits
@pytest.mark.parametrize("command", [faults.BATCH, faults.LIVE])
@pytest.mark.parametrize("then", ["hole", "stall"])
def test_ctrl_c_works_while_the_server_does_not_respond(command: str, then: FaultKind, home: Path) -> None:
    dead = Direction(then=then)
    with (
        RealtimeServer(manual()) as server,
        FaultProxy(server.port, Plan(dead, dead)) as proxy,
        started(home, proxy.base_url, "-m", "cartesia_cli", command, "talk.wav") as program,
    ):
        until(lambda: proxy.connections)
        assert interrupted(program) == (130, b"", [])


@pytest.mark.waits
@pytest.mark.parametrize(
    ("mode", "then"), [("manual", "hole"), ("manual", "stall"), ("manual", "cut"), ("auto", "hole")]
)
def test_ctrl_c_twice_ends_a_session_at_once(mode: str, then: FaultKind, home: Path) -> None:
    """Once means: finish, which may take until the link counts as dead. Twice means what it says."""
    dead = Direction(then=then)

    def script(connection: ServerConnection) -> None:
        begin(connection)
        connection.hold()

    with RealtimeServer(script) as server, FaultProxy(server.port) as proxy:
        command = ("-m", "cartesia_cli", faults.LIVE, "talk.wav", "--mode", mode)
        with started(home, proxy.base_url, *command) as program:
            until(lambda: server.records and server.records[0].seconds >= 1.0)
            proxy.change(dead, dead)
            time.sleep(0.3)
            code, out, _ = interrupted(program, 2)
    assert (code, out.decode()) == (130, faults.BEGUN)


# Two at once -----------------------------------------------------------------------------------------------


def test_two_runs_into_one_file_keep_both_results(home: Path) -> None:
    """Both were started before there was a file; whoever is later must not replace what the other wrote."""
    both = threading.Barrier(2, timeout=60)

    def together(exchange: Exchange) -> None:
        exchange.request()
        both.wait()
        exchange.answer(200, json.dumps({"text": f"{exchange.got.number} " * 10_000}))

    command = ("-m", "cartesia_cli", faults.BATCH, "talk.wav", "-o", "said.txt")
    with (
        FaultServer(together) as server,
        started(home, server.base_url, *command) as one,
        started(home, server.base_url, *command) as other,
    ):
        printed = [program.communicate(timeout=60) for program in (one, other)]
        assert sorted([one.returncode, other.returncode]) == [0, 1]
    (text,) = (stdout.decode() for stdout, _ in printed if stdout)
    assert sorted([text.split(), (home / "said.txt").read_text().split()]) == [["0"] * 10_000, ["1"] * 10_000]
    assert any(b"said.txt exists by now" in stderr for _, stderr in printed)
    assert sorted(path.name for path in home.iterdir() if not path.name.startswith(".")) == ["said.txt", "talk.wav"]
