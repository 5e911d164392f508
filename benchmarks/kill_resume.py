"""Kills the processes of a sharded run over 300 recordings at 30 random moments, and starts them again with --resume.

A server on this machine answers each upload after 200 ms. Targets: every recording has its own transcript in the end,
and no more uploads are lost than were in flight when a process was killed. Takes about a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, Report

sys.path.insert(0, str(ROOT))

from tests.killed_runs import transcribe_with_kills

FILES, PROCESSES, KILLS, ANSWER_SECONDS = 300, 4, 30, 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES, help=f"recordings ({FILES})")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"processes that are killed ({KILLS})")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (1)")
    given = parser.parse_args()
    report = Report("", "figure", "goal")
    for sharded, name in ((True, f"{PROCESSES} shards"), (False, f"{PROCESSES} runs without shards")):
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            outcome = transcribe_with_kills(
                Path(folder), files=given.files, processes=PROCESSES, kills=given.kills,
                answer_seconds=ANSWER_SECONDS, seed=given.seed, sharded=sharded,
            )  # fmt: skip
            seconds = time.monotonic() - start
        report.row(f"{given.files} recordings, {name}, {outcome.kills} kills: without their transcript",
                   str(len(outcome.wrong)), "0", met=not outcome.wrong)  # fmt: skip
        extra = outcome.extra_uploads
        report.row("  uploads that were lost", str(extra), f"{outcome.in_flight} in flight",
                   met=extra <= outcome.in_flight)  # fmt: skip
        report.row("  time", f"{seconds:.0f} s", "")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
