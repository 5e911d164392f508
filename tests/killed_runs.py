"""Transcribes a folder with several processes that are killed at random moments, and started again with --resume.

Used by a test with a few kills and by `benchmarks/kill_resume.py` with many. A server on this machine answers each
upload after a while with the name of the recording, and counts uploads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.fault_server import Exchange, FaultServer, environment, write_wav

CLI = str(Path(sys.executable).parent / "cartesia-cli")

TIMEOUT_SECONDS = 300.0

JOBS = 4
"""Recordings at once: of all shards together, or of each process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a folder.

    wrong       recordings without their own transcript
    uploads     that the server received completely, of each recording
    in_flight   uploads that had begun and weren't written yet when their process was killed, at most
    kills       processes that were killed while they worked
    commands    the command line of the process of each shard
    """

    wrong: list[str]
    uploads: Counter[str]
    in_flight: int
    kills: int
    commands: list[list[str]]

    @property
    def extra_uploads(self) -> int:
        return sum(self.uploads.values()) - len(self.uploads)


def transcribe_with_kills(
    folder: Path, *, files: int, processes: int, kills: int, answer_seconds: float, seed: int, sharded: bool = True
) -> Outcome:
    """Transcribe `files` recordings until all is done, killing a process `kills` times."""
    talks, out, home = folder / "talks", folder / "out", folder / "home"
    talks.mkdir()
    home.mkdir()
    for number in range(files):
        write_wav(talks / f"talk{number:04}.wav", 3244 + 2 * number)
    uploads: Counter[str] = Counter()

    def answer(exchange: Exchange) -> None:
        name = (exchange.request().part("file").filename or b"").decode()
        uploads[name] += 1
        exchange.pause(answer_seconds)
        exchange.answer(200, json.dumps({"text": f"This is {name}.", "duration": 0.1}))

    chance = random.Random(seed)
    in_flight = killed = 0
    with FaultServer(answer) as server:
        env = environment(home, server.base_url)
        base = [
            CLI,
            "transcribe",
            str(talks),
            "--output-dir",
            str(out),
            "--no-cache",
            "--resume",
            "-q",
            "--jobs",
            str(JOBS),
        ]
        commands = [
            [*base, *(["--shard", f"{number}/{processes}"] if sharded else [])] for number in range(1, processes + 1)
        ]
        running = [_start(command, env, folder) for command in commands]
        try:
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while any(process.poll() is None for process in running):
                assert time.monotonic() < deadline, "not done in time"
                time.sleep(chance.uniform(0.0, 0.6))
                alive = [number for number, process in enumerate(running) if process.poll() is None]
                if not alive or killed == kills or not uploads:
                    continue
                number = chance.choice(alive)
                running[number].send_signal(signal.SIGKILL)
                running[number].wait()
                killed += 1
                in_flight += max(1, JOBS // processes) if sharded else JOBS
                running[number] = _start(commands[number], env, folder)
            codes = [process.wait() for process in running]
            assert not any(codes), (folder / "stderr").read_text()
        finally:
            for process in running:
                process.kill()
                process.wait()
    wrong = [path.name for path in sorted(talks.iterdir()) if not _is_done(out / f"{path.stem}.txt", path.name)]
    return Outcome(wrong, uploads, in_flight, killed, commands)


def _start(command: list[str], env: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "stderr").open("ab") as stderr:
        return subprocess.Popen(command, env=env, stderr=stderr)


def _is_done(result: Path, name: str) -> bool:
    return os.path.exists(result) and result.read_text() == f"This is {name}.\n"
