"""How long the command line takes to say something, as a multiple of what Python alone takes to start.

Whole processes, interleaved, medians. Also: nothing may be imported that only a run needs.
"""

# ruff: noqa: T201  what these scripts print is their result

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass

from measuring import CLI, PYTHON, Report, environment, run

HEAVY = frozenset("numpy httpx websockets sounddevice soundfile pydantic starlette rich".split())
"""What a person who asks for help doesn't wait for."""

MODULES = """
import json, os, sys
os._exit = lambda code: None
from cartesia_cli.__main__ import main
try:
    code = main()
except SystemExit as end:
    code = end.code
sys.stdout.flush()
json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
sys.exit(code)
"""
"""Runs a command line and tells on stderr what was imported for it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A command line, on a terminal or into a pipe, and its goal: how many times Python's own start."""

    name: str
    arguments: list[str]
    goal: float
    terminal: bool = False


CASES = [
    Case("--version", ["--version"], 1.5),
    Case("--help, plain", ["--help"], 7.5),
    Case("--help, rich", ["--help"], 15, terminal=True),
    Case("transcribe --help, plain", ["transcribe", "--help"], 7.5),
    Case("transcribe --help, rich", ["transcribe", "--help"], 15, terminal=True),
]
if importlib.util.find_spec("cartesia_cli.completion"):
    CASES.append(Case("completion", ["__complete", "bash", "tr"], 7.5))


def imported(case: Case, env: dict[str, str]) -> set[str]:
    """Packages that were loaded when the command line was done."""
    done = run([PYTHON, "-c", MODULES, *case.arguments], env, terminal=case.terminal).checked()
    return set(json.loads(done.stderr))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="runs of each command (25)")
    rounds = parser.parse_args().rounds
    report = Report("", "ms", "cpu ms", "x Python", "goal")
    with tempfile.TemporaryDirectory() as home:
        env = environment(home)
        bare = ("python -c pass", [PYTHON, "-c", "pass"], False)
        commands = [bare, *((case.name, [CLI, *case.arguments], case.terminal) for case in CASES)]
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in commands}
        for turn in range(rounds + 1):
            for name, command, terminal in commands:
                done = run(command, env, terminal=terminal).checked()
                assert done.stdout or name == bare[0], f"{name} says nothing"
                if turn:  # the first one is for the caches
                    runs[name].append((done.wall * 1000, done.cpu * 1000))
        medians = {name: [statistics.median(column) for column in zip(*all, strict=True)] for name, all in runs.items()}
        alone = medians[bare[0]][0]
        report.row(bare[0], *(f"{value:.1f}" for value in medians[bare[0]]), "1.00", "")
        for case in CASES:
            wall, cpu = medians[case.name]
            figures = (f"{wall:.1f}", f"{cpu:.1f}", f"{wall / alone:.2f}", f"{case.goal:g}")
            report.row(case.name, *figures, met=wall / alone <= case.goal)
        code = report.end()
        for case in CASES:
            allowed = {"rich"} if case.terminal else set()
            if excess := (imported(case, env) & HEAVY) - allowed:
                print(f"{case.name} imports {', '.join(sorted(excess))}: MISSED")
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
