"""Compares `cartesia-cli transcribe` with `curl -F` for an upload of 1 GiB: time, CPU and memory.

A server on this machine discards the file. The two take turns; ratios are those of pairs. Targets: 1.2 times the time
of curl, and 40 MiB more memory than for 1 KiB.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import CLI, MIB, PYTHON, Report, Run, environment, run

RATE = 16000
LARGE_BYTES = 1 << 30
SMALL_BYTES = 1 << 10
"""Sizes of the recordings. The small one costs only the start of the program."""

TIME_GOAL = 1.2
MEMORY_GOAL_BYTES = 40 * MIB


def write_wav(path: Path, size: int) -> Path:
    """`size` bytes of 16 kHz mono silence. The file is sparse: it takes no space on the disk."""
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16,
                       b"data", size)  # fmt: skip
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


@contextmanager
def sink() -> Iterator[str]:
    """Run the server. Yields its base URL."""
    server = subprocess.Popen(
        [PYTHON, str(Path(__file__).with_name("sink.py"))], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of runs (9)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, sink() as address:
        env = environment(folder)
        large, small = (
            write_wav(Path(folder, "large.wav"), LARGE_BYTES),
            write_wav(Path(folder, "small.wav"), SMALL_BYTES),
        )

        def cli(file: Path) -> Run:
            done = run([CLI, "transcribe", str(file), "--no-cache", "--base-url", address, "--quiet"], env).checked()
            assert done.stdout == b"received\n", done.stdout
            return done

        def curl(file: Path) -> Run:
            form = ["-F", "model=ink-whisper", "-F", f"file=@{file}"]
            done = run(["curl", "--silent", "--show-error", "--fail", *form, f"{address}/stt"], env).checked()
            assert b"received" in done.stdout, done.stdout
            return done

        curl(large)  # fills the page cache
        ours: list[Run] = []
        theirs: list[Run] = []
        idle: list[Run] = []
        idle_curl: list[Run] = []
        for turn in range(rounds):
            pair = [(cli, ours), (curl, theirs)]
            for program, runs in pair if turn % 2 else reversed(pair):
                runs.append(program(large))
            idle.append(cli(small))
            idle_curl.append(curl(small))

    report = Report("", "cartesia-cli", "curl -F", "figure", "goal")

    def seconds(runs: list[Run]) -> str:
        return f"{statistics.median(run.wall for run in runs):.2f} s"

    report.row("1 KiB: only the start", seconds(idle), seconds(idle_curl), "", "")
    report.row("1 GiB", seconds(ours), seconds(theirs), "", "")
    whole = statistics.median(our.wall / their.wall for our, their in zip(ours, theirs, strict=True))
    report.row("  ratio, whole processes", "", "", f"{whole:.2f}", f"{TIME_GOAL:g}", met=whole <= TIME_GOAL)
    start, curl_start = (statistics.median(run.wall for run in runs) for runs in (idle, idle_curl))
    ratio = statistics.median(
        (our.wall - start) / (their.wall - curl_start) for our, their in zip(ours, theirs, strict=True)
    )
    report.row("  ratio without the start", "", "", f"{ratio:.2f}", "")
    cpu = statistics.median(our.cpu / their.cpu for our, their in zip(ours, theirs, strict=True))
    report.row("  ratio of CPU time", "", "", f"{cpu:.2f}", "")
    peak, idle_peak = (max(run.peak or 0 for run in runs) for runs in (ours, idle))
    report.row("peak memory, 1 GiB", f"{peak / MIB:.1f} MiB", "", "", "")
    more, goal = peak - idle_peak, f"{MEMORY_GOAL_BYTES / MIB:.0f} MiB"
    report.row("  more than for 1 KiB", "", "", f"{more / MIB:.1f} MiB", goal, met=more <= MEMORY_GOAL_BYTES)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
