"""Compares the start of the command line with Python alone, and a whole `transcribe` with Cartesia's SDK.

Processes take turns. Ratios are those of CPU time, at the minimum of many runs, because other load can only make a run
slower. tests/test_startup.py tests what may be imported. Targets, as multiples of `python -c pass`: 1.3 for --version
and 1.6 for completion (beyond pip's console script), 2 for --help into a pipe, 7.5 on a terminal; and 0.35 of the SDK's
time for `transcribe` of 1 MiB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from measuring import CLI, MIB, PYTHON, ROOT, Report, Run, environment, run
from upload import sink, write_wav

from cartesia_cli.commands import COMMANDS

SDK_PYTHON = ROOT / ".venv-judges" / "bin" / "python"
"""A Python that has the official SDK; `make test` and `make bench` install it."""

SCRIPT = f"""#!{PYTHON}
import re
import sys
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(0)
"""
"""The console script that pip writes for any program, without the program."""

SDK = """
import sys
from cartesia import Cartesia
client = Cartesia(api_key="sk_car_benchmark", base_url=sys.argv[1])
with open(sys.argv[2], "rb") as file:
    print(client.stt.transcribe(file=file, model="ink-whisper").text)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A command to be timed.

    baseline   the case by whose time the time of this one is divided; None for the baseline itself
    less       a case whose time is subtracted first; the ratio is then 1 plus that quotient
    goal       target of the ratio; None if there is none
    columns    width of the terminal that is stdout; None for a file
    """

    name: str
    command: list[str]
    baseline: str | None = None
    less: str | None = None
    goal: float | None = None
    columns: int | None = None
    runs: list[Run] = field(default_factory=list)

    def cpu(self) -> float:
        """Seconds of CPU time, the minimum of all runs."""
        return min(run.cpu for run in self.runs)


PYTHON_ALONE = "python -c pass"
EMPTY_SCRIPT = "pip's console script, empty"
THROUGH_SDK = "1 MiB through the SDK"


def cases(folder: Path, address: str) -> list[Case]:
    script = folder / "empty"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    wav = write_wav(folder / "speech.wav", MIB)
    pages = [["--help"], *([command, "--help"] for command in COMMANDS)]
    ours = [CLI, "transcribe", str(wav), "--no-cache", "--quiet", "--base-url", address]
    return [
        Case(PYTHON_ALONE, [PYTHON, "-c", "pass"]),
        Case(EMPTY_SCRIPT, [str(script)], PYTHON_ALONE),
        Case("--version, beyond that script", [CLI, "--version"], PYTHON_ALONE, EMPTY_SCRIPT, goal=1.3),
        Case("completion, beyond that script", [CLI, "__complete", "bash", "tr"], PYTHON_ALONE, EMPTY_SCRIPT, goal=1.6),
        *(Case(f"{' '.join(page)}, pipe", [CLI, *page], PYTHON_ALONE, goal=2) for page in pages),
        *(Case(f"{' '.join(page)}, terminal", [CLI, *page], PYTHON_ALONE, goal=7.5, columns=100) for page in pages),
        Case("transcribe --help, 60 columns", [CLI, "transcribe", "--help"], PYTHON_ALONE, columns=60),
        Case(THROUGH_SDK, [str(SDK_PYTHON), "-c", SDK, address, str(wav)], PYTHON_ALONE),
        Case("1 MiB through cartesia-cli", ours, THROUGH_SDK, goal=0.35),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="runs of each command (25)")
    rounds = parser.parse_args().rounds
    report = Report("", "ms", "cpu ms", "ratio", "goal")
    with tempfile.TemporaryDirectory() as folder, sink() as address:
        env = environment(folder)
        table = {case.name: case for case in cases(Path(folder), address)}
        for turn in range(rounds + 1):
            for case in table.values():
                done = run(case.command, env, columns=case.columns).checked()
                assert done.stdout or case.name in (PYTHON_ALONE, EMPTY_SCRIPT), f"{case.name} prints nothing"
                if turn:  # the first round fills the caches
                    case.runs.append(done)
    for case in table.values():
        wall = min(run.wall for run in case.runs)
        ratio = None
        if case.baseline is not None:
            one = table[case.baseline].cpu()
            ratio = case.cpu() / one if case.less is None else 1 + (case.cpu() - table[case.less].cpu()) / one
        report.row(
            case.name,
            f"{wall * 1000:.1f}",
            f"{case.cpu() * 1000:.1f}",
            "" if ratio is None else f"{ratio:.2f}",
            "" if case.goal is None else f"{case.goal:g}",
            met=None if ratio is None or case.goal is None else ratio <= case.goal,
        )
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
