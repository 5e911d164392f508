"""How exactly a live session keeps the pace of life, what it costs, and whether an hour of it takes more memory.

Three clients (`senders.py`) send speech to a server on this machine, all at the same time, in frames of 100 ms and of
20 ms: ours, which waits for deadlines, and two that sleep after each frame, one of them with the official SDK. Once
the machine does whatever it does besides; once all of its cores are kept busy. Then the clients take turns to send
frames as fast as they can, and to ask for an answer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from measuring import MIB, PYTHON, ROOT, Report, environment
from senders import REPORT, TEXT, WORDS, query
from websockets.sync.client import connect

sys.path.insert(0, str(ROOT))
from tests.speech import say, silence

JUDGE = str(ROOT / ".venv-judges" / "bin" / "python")
"""A Python that has the official SDK."""

CLIENTS = {"ours": PYTHON, "naive": PYTHON, "sdk": JUDGE}
SIZES = 100, 20
"""Milliseconds in a frame."""

DRIFT_GOAL = 2.0
LATE_GOALS = {"idle": 3.0, "busy": 10.0}
CPU_GOAL = 0.01
COSTS = {
    "frame": ("CPU for a frame of 100 ms", 0.1),
    "connect": ("until connected", 0.2),
    TEXT: ("finalize to flush_done, a text", None),
    WORDS: ("finalize to flush_done, six words", 0.4),
}
"""What is measured, and its goal: how many times the SDK's."""
MEMORY_GOAL = 5 * MIB

BURN = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"
"""Keeps a core busy; should nobody end it, it ends itself."""


class Process:
    """A process of `senders.py`: a line of JSON in, a line of JSON out."""

    def __init__(self, python: str, *arguments: str, env: dict[str, str]) -> None:
        command = [python, str(Path(__file__).with_name("senders.py")), *arguments]
        self._child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdin is not None and self._child.stdout is not None
        self._in, self._out = self._child.stdin, self._child.stdout

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self._child.kill()
        self._child.communicate()

    def ask(self, *task: object) -> None:
        self._in.write(f"{json.dumps(task)}\n")
        self._in.flush()

    def answer(self) -> Any:
        line = self._out.readline()
        if not line:
            raise SystemExit("a process of the benchmark ended too early")
        return json.loads(line)

    def do(self, *task: object) -> Any:
        self.ask(*task)
        return self.answer()


@contextmanager
def burning(cores: int, seconds: float) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    burners = [subprocess.Popen([PYTHON, "-c", BURN.format(seconds)]) for _ in range(cores)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Pace:
    """What came of one session: milliseconds behind the deadlines.

    left    when frames had been sent
    came    when the server had them
    """

    def __init__(self, told: dict[str, Any], came: list[float], ms: int) -> None:
        self._count, self._ms = len(came), ms
        if len(told["sent"]) != self._count:
            raise SystemExit(f"{len(told['sent'])} frames were sent, {self._count} came")
        self.left, self._came = self._late(told, told["sent"]), self._late(told, came)
        self.cpu = told["cpu"] / (told["sent"][-1] - told["start"])

    def _late(self, told: dict[str, Any], times: list[float]) -> list[float]:
        return [(at - told["start"]) * 1000 - number * self._ms for number, at in enumerate(times)]

    @property
    def drift(self) -> float:
        """How much later the frames of the last second came than those of the first."""
        second = 1000 // self._ms
        return statistics.median(self._came[-second:]) - statistics.median(self._came[:second])

    @property
    def ahead(self) -> float:
        """By how much of a frame, at most, what had come was more than the time since the first frame left."""
        return 1 - min(self._came) / self._ms


def share(values: list[float], part: float) -> float:
    return sorted(values)[ceil(len(values) * part) - 1]


def paces(clients: dict[tuple[str, int], Process], address: str, load: str, seconds: float) -> dict[Any, Pace]:
    for (role, ms), client in clients.items():
        client.ask("pace", f"{load}-{role}-{ms}", ms, seconds)
        time.sleep(0.013)  # not all at the same instant
    told = {key: client.answer() for key, client in clients.items()}
    with connect(f"ws{address.removeprefix('http')}{query(REPORT)}", max_size=None) as socket:
        came = json.loads(socket.recv())
    return {(role, ms): Pace(told[role, ms], came[f"{load}-{role}-{ms}"], ms) for role, ms in clients}


def report_pace(load: str, found: dict[Any, Pace], report: Report) -> None:
    for ms in SIZES:
        ours, *others = (found[role, ms] for role in CLIENTS)
        three = (ours, *others)
        report.row(f"{load}, frames of {ms} ms", *[""] * 4)
        drifts = (f"{one.drift:.2f} ms" for one in three)
        report.row("  drift", *drifts, f"{DRIFT_GOAL:g} ms", met=abs(ours.drift) <= DRIFT_GOAL)
        late, goal = (f"{share(one.left, 0.99):.1f} ms" for one in three), LATE_GOALS[load]
        report.row("  lateness, p99", *late, f"{goal:g} ms", met=share(ours.left, 0.99) <= goal)
        report.row("  lateness, p50", *(f"{share(one.left, 0.5):.1f} ms" for one in three), "")
        ahead = (f"{one.ahead:.3f} frames" for one in three)
        report.row("  ahead at the server", *ahead, "1 frame", met=ours.ahead <= 1)
        cpu, counts = (f"{one.cpu:.2%}" for one in three), ms == SIZES[0]
        report.row("  CPU, of a core", *cpu, f"{CPU_GOAL:.0%}" * counts, met=ours.cpu <= CPU_GOAL if counts else None)


def report_cost(clients: dict[tuple[str, int], Process], rounds: int, report: Report) -> None:
    """What a frame and an answer cost, without any pace: the clients take turns, ratios are those of rounds."""
    found: dict[str, list[dict[str, float]]] = {role: [] for role in CLIENTS}
    for _ in range(rounds):
        for role, figures in found.items():
            client = clients[role, SIZES[0]]
            told = {answer: client.do("cost", answer) for answer in (TEXT, WORDS)}
            answers = {answer: statistics.median(one["flush"]) for answer, one in told.items()}
            figures.append({name: told[TEXT][name] for name in ("frame", "connect")} | answers)
    for figure, (name, goal) in COSTS.items():
        report.row(name, *(f"{statistics.median(one[figure] for one in found[role]) * 1e6:.0f} us" for role in CLIENTS),
                   "")  # fmt: skip
        ratios = [
            statistics.median(our[figure] / their[figure] for our, their in zip(found[role], found["sdk"], strict=True))
            for role in CLIENTS
        ]
        met = None if goal is None else ratios[0] <= goal
        report.row("  times the SDK's", *(f"{ratio:.3f}" for ratio in ratios), "" if goal is None else f"{goal:g}",
                   met=met)  # fmt: skip


def speech() -> bytes:
    """Half a minute of it, and of pauses."""
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()[:7]
    samples = np.concatenate([part for line in lines for part in (say(line), silence(0.9))])
    return (samples * 32767).astype("<i2").tobytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of audio that is sent at the pace of life (30)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of measuring what a frame costs (15)")
    given = parser.parse_args()
    report = Report("", "ours", "sleep", "sleep, SDK", "goal")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        env = environment(folder) | {"PYTHONPATH": str(ROOT)}
        sound = Path(folder, "speech.raw")
        sound.write_bytes(speech())

        def start(python: str, *arguments: str) -> Process:
            return stack.enter_context(Process(python, *arguments, env=env))

        address = f"http://127.0.0.1:{start(PYTHON, 'receiver').answer()}"
        clients = {(role, ms): start(python, role, address, str(sound)) for role, python in CLIENTS.items()
                   for ms in SIZES}  # fmt: skip
        for client in clients.values():  # who has connected once has imported all it needs
            client.do("cost", TEXT)
        report_pace("idle", paces(clients, address, "idle", given.seconds), report)
        with burning(os.cpu_count() or 1, 2 * given.seconds + 60):
            report_pace("busy", paces(clients, address, "busy", given.seconds), report)
        report_cost(clients, given.rounds, report)
        early, late = start(PYTHON, "ours", address, str(sound)).do("hour")["resident"]
        report.row("memory after 5 minutes", f"{early / MIB:.1f} MiB", "", "", "")
        more, goal = late - early, f"{MEMORY_GOAL / MIB:.0f} MiB"
        report.row("  more after an hour", f"{more / MIB:.2f} MiB", "", "", goal, met=more < MEMORY_GOAL)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
