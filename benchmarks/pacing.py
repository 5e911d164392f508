"""Compares how exactly our session, plain websockets and the official SDK send audio in real time, and what it costs.

Three clients (`senders.py`) send speech to a server on this machine, all at the same time, in frames of 100 ms and of
20 ms: ours, which waits for deadlines, and two that sleep after each frame, one of them with the SDK. They run once on
the machine as it is, and once with all cores kept busy. Then they take turns to send frames as fast as they can, and to
wait for answers. Targets: 2 ms of drift, lateness p99 of 3 ms (busy: 10 ms), 1 % of a core, at most 0.1 of the SDK's
CPU for a frame and 0.4 of its time for an answer, and 5 MiB more memory after an hour than after five minutes.
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

SDK_PYTHON = str(ROOT / ".venv-judges" / "bin" / "python")
"""A Python that has the official SDK."""

CLIENTS = {"ours": PYTHON, "naive": PYTHON, "sdk": SDK_PYTHON}
FRAME_MS = 100, 20

DRIFT_GOAL_MS = 2.0
LATENESS_GOALS_MS = {"idle": 3.0, "busy": 10.0}
"""At the 99th percentile."""
CPU_GOAL = 0.01
"""Share of a core."""
COSTS = {
    "frame": ("CPU for a frame of 100 ms", 0.1),
    "connect": ("time to connect", 0.2),
    TEXT: ("finalize to flush_done, a text", None),
    WORDS: ("finalize to flush_done, six words", 0.4),
}
"""Figure to its name and its target as a multiple of the SDK's; None: no target."""
MEMORY_GROWTH_GOAL = 5 * MIB
"""Bytes more after an hour than after five minutes."""

BUSY_LOOP = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"
"""Keeps a core busy for some seconds, unless it is killed before."""


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
def busy_cores(cores: int, seconds: float) -> Iterator[None]:
    """Keep cores busy."""
    processes = [subprocess.Popen([PYTHON, "-c", BUSY_LOOP.format(seconds)]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Pace:
    """The pacing of one session, in milliseconds after the deadlines of its frames.

    log      what the client recorded: when it started and sent each frame, and its CPU time
    came     when each frame arrived at the server
    ms       length of a frame
    """

    def __init__(self, log: dict[str, Any], came: list[float], ms: int) -> None:
        self._count, self._ms = len(came), ms
        if len(log["sent"]) != self._count:
            raise SystemExit(f"{len(log['sent'])} frames were sent, {self._count} came")
        self.sent, self._came = self._late(log, log["sent"]), self._late(log, came)
        self.cpu = log["cpu"] / (log["sent"][-1] - log["start"])

    def _late(self, log: dict[str, Any], times: list[float]) -> list[float]:
        return [(at - log["start"]) * 1000 - number * self._ms for number, at in enumerate(times)]

    @property
    def drift(self) -> float:
        """How much later, relative to their deadlines, frames of the last second arrive than those of the first."""
        second = 1000 // self._ms
        return statistics.median(self._came[-second:]) - statistics.median(self._came[:second])

    @property
    def ahead(self) -> float:
        """How far the received audio is ahead of the time since the start, at most, in frames."""
        return 1 - min(self._came) / self._ms


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[ceil(len(values) * part) - 1]


def measure_pacing(clients: dict[tuple[str, int], Process], address: str, load: str, seconds: float) -> dict[Any, Pace]:
    for (role, ms), client in clients.items():
        client.ask("pace", f"{load}-{role}-{ms}", ms, seconds)
        time.sleep(0.013)  # so that they don't start at the same instant
    logs = {key: client.answer() for key, client in clients.items()}
    with connect(f"ws{address.removeprefix('http')}{query(REPORT)}", max_size=None) as socket:
        came = json.loads(socket.recv())
    return {(role, ms): Pace(logs[role, ms], came[f"{load}-{role}-{ms}"], ms) for role, ms in clients}


def report_pacing(load: str, found: dict[Any, Pace], report: Report) -> None:
    for ms in FRAME_MS:
        ours, *others = (found[role, ms] for role in CLIENTS)
        three = (ours, *others)
        report.row(f"{load}, frames of {ms} ms", *[""] * 4)
        drifts = (f"{one.drift:.2f} ms" for one in three)
        report.row("  drift", *drifts, f"{DRIFT_GOAL_MS:g} ms", met=abs(ours.drift) <= DRIFT_GOAL_MS)
        late, goal = (f"{quantile(one.sent, 0.99):.1f} ms" for one in three), LATENESS_GOALS_MS[load]
        report.row("  lateness, p99", *late, f"{goal:g} ms", met=quantile(ours.sent, 0.99) <= goal)
        report.row("  lateness, p50", *(f"{quantile(one.sent, 0.5):.1f} ms" for one in three), "")
        ahead = (f"{one.ahead:.3f} frames" for one in three)
        report.row("  ahead at the server", *ahead, "1 frame", met=ours.ahead <= 1)
        cpu, counts = (f"{one.cpu:.2%}" for one in three), ms == FRAME_MS[0]
        report.row("  CPU, of a core", *cpu, f"{CPU_GOAL:.0%}" * counts, met=ours.cpu <= CPU_GOAL if counts else None)


def report_cost(clients: dict[tuple[str, int], Process], rounds: int, report: Report) -> None:
    """Add rows for the cost of a frame and of an answer. The clients take turns; ratios are those within a round."""
    found: dict[str, list[dict[str, float]]] = {role: [] for role in CLIENTS}
    for _ in range(rounds):
        for role, figures in found.items():
            client = clients[role, FRAME_MS[0]]
            logs = {answer: client.do("cost", answer) for answer in (TEXT, WORDS)}
            answers = {answer: statistics.median(one["flush"]) for answer, one in logs.items()}
            figures.append({name: logs[TEXT][name] for name in ("frame", "connect")} | answers)
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
    """Half a minute of sentences with pauses, as 16-bit samples."""
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()[:7]
    samples = np.concatenate([part for line in lines for part in (say(line), silence(0.9))])
    return (samples * 32767).astype("<i2").tobytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="seconds of audio that are sent in real time (30)")
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
                   for ms in FRAME_MS}  # fmt: skip
        for client in clients.values():  # imports everything that a session needs
            client.do("cost", TEXT)
        report_pacing("idle", measure_pacing(clients, address, "idle", given.seconds), report)
        with busy_cores(os.cpu_count() or 1, 2 * given.seconds + 60):
            report_pacing("busy", measure_pacing(clients, address, "busy", given.seconds), report)
        report_cost(clients, given.rounds, report)
        early, late = start(PYTHON, "ours", address, str(sound)).do("hour")["resident"]
        report.row("memory after 5 minutes", f"{early / MIB:.1f} MiB", "", "", "")
        more, goal = late - early, f"{MEMORY_GROWTH_GOAL / MIB:.0f} MiB"
        report.row("  more after an hour", f"{more / MIB:.2f} MiB", "", "", goal, met=more < MEMORY_GROWTH_GOAL)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
