"""Measures the journal of an output directory with 100,000 recordings: memory, and the time to open and to use it.

Targets: 12 MiB more memory than for an empty journal, and 1 ms for a recording that is claimed, recorded and released.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from measuring import MIB, PYTHON, Report, Run, environment, run

RECORDINGS, USES = 100_000, 1000
MEMORY_GOAL_BYTES = 12 * MIB
USE_GOAL_SECONDS = 0.001

KINDS = ("open", "find", "use")


def write(directory: Path, count: int) -> None:
    """A journal with this many recordings, each with two results."""
    from cartesia_cli.scale.journal import FOLDER, file_name
    from cartesia_cli.scale.journal_lines import RecordingOutcome, encode

    (directory / FOLDER).mkdir(parents=True)
    with (directory / FOLDER / file_name(None)).open("wb") as file:
        for number in range(count):
            name = f"lectures/{number:06}"
            outcome = RecordingOutcome(
                f"{name}.mp3", "done", f"/data/{name}.mp3", "0123abcd", 1.8e9 + number,
                audio=os.urandom(32).hex(),
                stat=(66, number, 86_444, 1_800_000_000_000_000_000, 1_800_000_000_000_000_000),
                options="model ink-whisper, language en", model="ink-whisper",
                files={f"{name}.txt": os.urandom(32).hex(), f"{name}.srt": os.urandom(32).hex()},
                seconds=10.8, credits=5.4,
            )  # fmt: skip
            file.write(encode(outcome))


def measure(kind: str, directory: Path, count: int) -> float:
    """Seconds of CPU that it takes to open a journal, to find a result, or to use it for a recording."""
    from cartesia_cli.scale.journal import Journal
    from cartesia_cli.scale.journal_lines import RecordingOutcome

    start = time.process_time()
    journal = Journal(directory)
    journal.start()
    if kind == "open":
        return time.process_time() - start
    start = time.process_time()
    for number in range(min(USES, count)):
        name = f"lectures/{number * count // USES:06}"
        if kind == "find":
            assert journal.find_results([directory / f"{name}.txt"])
        else:
            assert journal.claim(name)
            journal.add(RecordingOutcome(name, "done", name, "", 0.0))
            journal.release(name)
    return (time.process_time() - start) / USES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=RECORDINGS, help=f"in the journal ({RECORDINGS})")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        kind, directory = given.measure
        sys.stdout.write(f"{measure(kind, Path(directory), given.recordings)}\n")
        return 0
    with tempfile.TemporaryDirectory() as home:
        env = environment(home)
        count = str(given.recordings)

        def figure(kind: str, directory: Path) -> Run:
            return run([PYTHON, __file__, "--recordings", count, "--measure", kind, str(directory)], env).checked()

        empty = figure("open", Path(home, "empty"))
        writer = [PYTHON, "-c", "import sys; from pathlib import Path; import journal; "
                  "journal.write(Path(sys.argv[1]), int(sys.argv[2]))", str(Path(home, "full")), count]  # fmt: skip
        run(writer, env | {"PYTHONPATH": str(Path(__file__).parent)}).checked()
        opened, found, used = (figure(kind, Path(home, "full")) for kind in KINDS)
    report = Report("", "figure", "goal")
    report.row(f"opening a journal of {given.recordings} recordings", f"{float(opened.stdout):.2f} s", "")
    more = (opened.peak or 0) - (empty.peak or 0)
    report.row("  peak memory, more than for an empty one", f"{more / MIB:.1f} MiB", f"{MEMORY_GOAL_BYTES >> 20} MiB",
               met=more <= MEMORY_GOAL_BYTES)  # fmt: skip
    report.row("finding a result", f"{1e6 * float(found.stdout):.0f} µs", "")
    seconds = float(used.stdout)
    report.row("claiming, recording and releasing a recording", f"{1e6 * seconds:.0f} µs",
               f"{1e6 * USE_GOAL_SECONDS:.0f} µs", met=seconds <= USE_GOAL_SECONDS)  # fmt: skip
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
