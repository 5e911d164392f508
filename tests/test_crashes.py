"""Tests of `kill -9` at any moment: outputs are whole, no speech is lost, and a second run does the remaining work.

The moments are random with a fixed seed: a call or return in one of the modules that write results and cached
responses (a profile function in the program counts them), or some milliseconds into a session.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest
import srt

from cartesia_cli.atomic_files import TEMPORARY_NAME
from cartesia_cli.audio.pcm import RATE
from cartesia_cli.cache import Store
from tests.conftest import Run
from tests.fault_server import Exchange, FaultServer
from tests.microphone import open_studio
from tests.realtime_server import RealtimeServer
from tests.speech import write_wav
from tests.test_listen import listening, session_recordings
from tests.tones import recognizes, spoken

pytestmark = pytest.mark.waits

KEY = {"CARTESIA_API_KEY": "sk_car_test"}
FORMATS = ("text", "json", "srt")
SUFFIXES = (".txt", ".json", ".srt")
COUNT = 4
WORDS = 400
KILLS = 8
TEMPORARY_FILE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")

KILLED_AT_STEP = """
import os, signal, sys, threading
from pathlib import Path

steps, modules = int(sys.argv[1]), ("output/files.py", "cartesia_cli/cache.py", "cartesia_cli/atomic_files.py")
del sys.argv[1]

def count(frame, event, argument):
    global steps
    if frame.f_code.co_filename.endswith(modules):
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)

from cartesia_cli import cache, cli
from cartesia_cli.output import files

threading.setprofile(count)
sys.setprofile(count)
code = cli.main(sys.argv[1:])
sys.setprofile(None)
Path("steps").write_text(str(-steps))
if steps > 0:
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(code)
"""
"""The program, killed at the given step. With step 0 it runs to its end and writes the number of steps to a file.

A slow run polls more often and so has more steps. A run with fewer steps than asked for is killed at its end.
"""


def run_killed_at(step: int, environment: dict[str, str], folder: Path, *arguments: object) -> int:
    """Run the program until this step. Returns its exit code."""
    command = [sys.executable, "-c", KILLED_AT_STEP, str(step), *map(str, arguments)]
    path = str(Path(__file__).parent.parent)
    ended = subprocess.run(
        command, env=environment | KEY | {"PYTHONPATH": path}, cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode


def words_of(name: str) -> list[str]:
    """The words of a recording: enough that a result isn't written in one piece."""
    return [f"{name.partition('.')[0]}-{number}" for number in range(WORDS)]


def answer_at_length(exchange: Exchange) -> None:
    said = words_of((exchange.request().part("file").filename or b"").decode())
    words = [{"word": word, "start": number / 2, "end": number / 2 + 0.4} for number, word in enumerate(said)]
    exchange.answer(200, json.dumps({"text": " ".join(said), "duration": WORDS / 2, "words": words}))


def write_lectures(parent: Path) -> list[str]:
    """Recordings with different numbers in them: identical ones would share a cached response."""
    folder = parent / "lectures"
    folder.mkdir()
    return [write_wav(folder / f"lecture{number}.wav", spoken([number])).name for number in range(COUNT)]


@pytest.fixture
def lectures(tmp_path: Path) -> list[str]:
    return write_lectures(tmp_path)


def transcribing(server: FaultServer, *more: str) -> tuple[str, ...]:
    return (
        "transcribe",
        "lectures",
        "-f",
        ",".join(FORMATS),
        "--output-dir",
        "out",
        "--base-url",
        server.base_url,
        *more,
    )


def results(folder: Path) -> set[str]:
    """The names of the results in a folder. Checks that each is whole, and that all other files are temporary ones."""
    found = set()
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name == ".cartesia-cli":  # the journal
            continue
        if path.name.startswith("."):
            assert TEMPORARY_FILE.fullmatch(path.name)
            continue
        found.add(path.name)
        text, said = path.read_text("utf-8"), " ".join(words_of(path.name))
        match path.suffix:
            case ".json":
                assert json.loads(text)["text"] == said
            case ".srt":
                assert " ".join(cue.content.replace("\n", " ") for cue in srt.parse(text)) == said
            case ".txt":
                assert text == f"{said}\n"
            case other:
                raise AssertionError(f"unexpected {other}")
    return found


def temporary_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if TEMPORARY_FILE.fullmatch(path.name)] if folder.exists() else []


def all_results(names: Sequence[str]) -> set[str]:
    return {Path(name).stem + suffix for name in names for suffix in SUFFIXES}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, int]:
    """How many steps `transcribe` of all lectures takes, by whether it uses the cache."""
    found = {}
    for caching in (True, False):
        folder = tmp_path_factory.mktemp("steps")
        environment = {**os.environ, "HOME": str(folder)}
        write_lectures(folder)
        with FaultServer(answer_at_length) as server:
            assert (
                run_killed_at(0, environment, folder, *transcribing(server, *([] if caching else ["--no-cache"]))) == 0
            )
        found[caching] = int((folder / "steps").read_text())
    return found


@pytest.mark.parametrize("moment", range(KILLS))
def test_rerun_after_a_kill_sends_only_uncached_recordings(
    moment: int, steps: dict[bool, int], lectures: list[str], environment: dict[str, str], tmp_path: Path, run: Run
) -> None:
    step = random.Random(moment).randrange(steps[True] * moment // KILLS, steps[True] * (moment + 1) // KILLS) + 1
    out, store = tmp_path / "out", Store(Path(environment["HOME"]) / ".cache" / "cartesia-cli" / "answers")
    with FaultServer(answer_at_length) as server:
        assert run_killed_at(step, environment, tmp_path, *transcribing(server)) == -signal.SIGKILL
        written, left, asked = results(out), temporary_files(out), len(server.requests)
        kept = store.entries()
        assert all(store.read(entry.name) for entry in kept)
        assert all(re.fullmatch(TEMPORARY_NAME, name) for name in temporary_files(store.directory))
        assert asked - len(kept) in (0, 1)  # at most the request in flight was paid for and lost
        assert len(written) <= len(SUFFIXES) * len(kept)
        assert len(left) + len(temporary_files(store.directory)) <= 1
        again = run(*transcribing(server, "--force"), env=KEY)
        assert again.returncode == 0, again.stderr
        assert len(server.requests) - asked == COUNT - len(kept)
    assert results(out) == all_results(lectures)
    assert temporary_files(out) == left  # the second run leaves no others


@pytest.mark.parametrize("moment", range(4))
def test_resume_after_a_kill_without_cache_skips_finished_recordings(
    moment: int, steps: dict[bool, int], lectures: list[str], environment: dict[str, str], tmp_path: Path, run: Run
) -> None:
    step = random.Random(moment).randrange(steps[False] * moment // 4, steps[False] * (moment + 1) // 4) + 1
    out = tmp_path / "out"
    with FaultServer(answer_at_length) as server:
        assert run_killed_at(step, environment, tmp_path, *transcribing(server, "--no-cache")) == -signal.SIGKILL
        written, asked = results(out), len(server.requests)
        done = [name for name in lectures if all_results([name]) <= written]
        stamps = {name: (out / name).stat().st_mtime_ns for name in all_results(done)}
        again = run(*transcribing(server, "--no-cache", "--resume"), env=KEY)
        assert again.returncode == 0, again.stderr
        sent = [request.part("file").filename for request in server.requests[asked:]]
        assert sent == [name.encode() for name in lectures if name not in done]
    assert results(out) == all_results(lectures)
    assert {name: (out / name).stat().st_mtime_ns for name in stamps} == stamps


# Replayed recordings


NUMBERS = list(range(6))


def numbers_in(path: Path) -> list[int]:
    text = path.read_text("utf-8")
    said = json.loads(text)["text"] if path.suffix == ".json" else " ".join(cue.content for cue in srt.parse(text))
    return [int(number) for number in said.split()]


@pytest.mark.parametrize("name", ["out.srt", "out.json"])
def test_killed_replay_leaves_a_whole_old_or_new_result(
    name: str, environment: dict[str, str], tmp_path: Path, run: Run
) -> None:
    rng = random.Random(name)
    recording, target = write_wav(tmp_path / "numbers.wav", spoken(NUMBERS)), tmp_path / name
    with RealtimeServer(recognizes()) as server:
        arguments = ("stream-file", recording, "--mode", "manual", "--speed", "20", "--base-url", server.base_url)
        began = time.monotonic()
        assert run(*arguments, "-o", target, env=KEY).returncode == 0
        length = time.monotonic() - began
        old = target.read_bytes()
        assert numbers_in(target) == NUMBERS
        for _ in range(3):
            kept, events = tmp_path / "kept.wav", tmp_path / "events.ndjson"
            command = [sys.executable, "-m", "cartesia_cli", *map(str, arguments), "-o", str(target), "--force"]
            command += ["--save-audio", str(kept), "--raw-events", str(events)]
            program = subprocess.Popen(command, env=environment | KEY, cwd=tmp_path, stderr=subprocess.DEVNULL)
            calls = len(server.records)
            server.wait(lambda server, calls=calls: len(server.records) > calls)  # type: ignore[misc]
            time.sleep(rng.uniform(0, length))
            program.kill()
            assert program.wait() in (0, -signal.SIGKILL)
            assert numbers_in(target) == NUMBERS
            assert target.read_bytes() == old or name.endswith(".json")  # whose request ID differs
            if kept.exists() and kept.stat().st_size:
                with wave.open(str(kept)) as file:
                    assert len(file.readframes(1 << 30)) == 2 * file.getnframes()
            for line in events.read_text().splitlines():
                json.loads(line)
        target.unlink()
        assert run(*arguments, "-o", target, env=KEY).returncode == 0  # leftovers of the killed run are not in the way
        assert numbers_in(target) == NUMBERS


def test_replay_killed_while_writing_leaves_no_partial_result(environment: dict[str, str], tmp_path: Path) -> None:
    recording, target = write_wav(tmp_path / "numbers.wav", spoken(NUMBERS)), tmp_path / "out.json"
    with RealtimeServer(recognizes()) as server:
        arguments = ("stream-file", recording, "--mode", "manual", "--speed", "50", "--base-url", server.base_url)
        assert run_killed_at(0, environment, tmp_path, *arguments, "-o", target) == 0
        steps = int((tmp_path / "steps").read_text())
        target.unlink()
        for step in random.Random(1).sample(range(1, steps + 1), 4):
            assert run_killed_at(step, environment, tmp_path, *arguments, "-o", target) == -signal.SIGKILL
            if target.exists():
                assert numbers_in(target) == NUMBERS
                target.unlink()


# Microphones


def test_recover_after_a_kill_continues_with_the_remaining_recordings(
    environment: dict[str, str], tmp_path: Path, run: Run
) -> None:
    rng, out = random.Random(1), tmp_path / "said.srt"
    with open_studio(environment) as studio, RealtimeServer(recognizes()) as server:
        for number in range(2):
            with listening(studio.environment | KEY, "--base-url", server.base_url, "-o", out) as listener:
                studio.play(spoken([number], rest=0.5), RATE)
                time.sleep(rng.uniform(0, 0.5))
                listener.process.kill()
                listener.process.wait()
            assert not out.exists()
            assert len(session_recordings(environment)) == number + 1
    left = session_recordings(environment)
    for path in left:
        with wave.open(str(path)) as file:
            held = file.readframes(1 << 30)
            assert len(held) == 2 * file.getnframes() > RATE  # at least half a second of audio

    def hangs(exchange: Exchange) -> None:
        exchange.request()
        exchange.hold()

    with FaultServer(answer_at_length, hangs, answer_at_length) as batch:
        command = [sys.executable, "-m", "cartesia_cli", "listen", "--recover", "--base-url", batch.base_url]
        recovering = subprocess.Popen(command, env=environment | KEY, cwd=tmp_path, stdout=subprocess.PIPE)
        batch.wait(lambda server: len(server.requests) == 2 and server.requests[1].whole)
        recovering.kill()
        first, _ = recovering.communicate()
        assert first.split() == [word.encode() for word in words_of(left[0].name)]
        assert session_recordings(environment) == left[1:]
        again = run("listen", "--recover", "--base-url", batch.base_url, env=KEY)
        assert again.returncode == 0, again.stderr
        assert [request.part("file").filename for request in batch.requests[2:]] == [p.name.encode() for p in left[1:]]
    assert session_recordings(environment) == []
