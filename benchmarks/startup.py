"""How long the command line takes to start, against Python alone, and a whole `transcribe`, against Cartesia's SDK.

Whole processes that take turns. Ratios are of CPU time, the least of many runs: other programs make a process wait, and
can only slow it down; on an idle machine, waiting is nothing. tests/test_startup.py tests what each path may import.
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

JUDGE = ROOT / ".venv-judges" / "bin" / "python"
"""Python with the official SDK; `make test` and `make bench` install it."""

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

    baseline   the case that its time is divided by; None for the baselines themselves
    less       a case whose time doesn't count: what is beyond it is added to one baseline
    goal       for that ratio; None where there is none
    columns    width of the terminal that it runs on; None for a file
    """

    name: str
    command: list[str]
    baseline: str | None = None
    less: str | None = None
    goal: float | None = None
    columns: int | None = None
    runs: list[Run] = field(default_factory=list)

    def cpu(self) -> float:
        """Seconds."""
        return min(run.cpu for run in self.runs)


ALONE = "python -c pass"
EMPTY = "pip's console script, empty"
JUDGED = "1 MiB through the SDK"


def cases(folder: Path, address: str) -> list[Case]:
    script = folder / "empty"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    wav = write_wav(folder / "speech.wav", MIB)
    pages = [["--help"], *([command, "--help"] for command in COMMANDS)]
    ours = [CLI, "transcribe", str(wav), "--no-cache", "--quiet", "--base-url", address]
    return [
        Case(ALONE, [PYTHON, "-c", "pass"]),
        Case(EMPTY, [str(script)], ALONE),
        Case("--version, beyond that script", [CLI, "--version"], ALONE, EMPTY, goal=1.3),
        Case("completion, beyond that script", [CLI, "__complete", "bash", "tr"], ALONE, EMPTY, goal=1.6),
        *(Case(f"{' '.join(page)}, pipe", [CLI, *page], ALONE, goal=2) for page in pages),
        *(Case(f"{' '.join(page)}, terminal", [CLI, *page], ALONE, goal=7.5, columns=100) for page in pages),
        Case("transcribe --help, 60 columns", [CLI, "transcribe", "--help"], ALONE, columns=60),
        Case(JUDGED, [str(JUDGE), "-c", SDK, address, str(wav)], ALONE),
        Case("1 MiB through cartesia-cli", ours, JUDGED, goal=0.35),
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
                assert done.stdout or case.name in (ALONE, EMPTY), f"{case.name} prints nothing"
                if turn:  # the first one fills the caches
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
