"""Measures several recordings at once on this machine: `transcribe --local` by default against `--jobs 1`, in pairs.

Eight recordings of half a minute each, of random sentences. The transcripts must be the same. Goal on two cores: 0.8 of
the time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from measuring import CLI, ROOT, Report, Run, environment, run

TIME_GOAL = 0.8
MEMORY_GOAL_BYTES = 800_000_000
SECONDS = 28


def synthesize(folder: Path, count: int) -> None:
    """Write recordings. Runs in a separate process, because it takes much memory."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from tests.speech import RATE, say, silence, write_wav

    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    rng = random.Random(0)
    for number in range(count):
        parts = [silence(0.2)]
        while sum(map(len, parts)) < SECONDS * RATE:
            parts += [say(sentences[rng.randrange(len(sentences))]), silence(rng.uniform(0.1, 1.0))]
        write_wav(folder / f"{number:02}.wav", np.concatenate(parts))


def transcribe(folder: Path, env: dict[str, str], *options: str) -> tuple[Run, list[dict[str, Any]]]:
    """Transcribe a folder in one process. Returns the JSON documents, without the ids of the requests."""
    command = [CLI, "transcribe", str(folder), "--local", "--no-cache", "-f", "ndjson", "--quiet", *options]
    done = run(command, env).checked()
    return done, [json.loads(line) | {"request_id": None} for line in done.stdout.splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs, of which the figures are the median (3)")
    parser.add_argument("--recordings", type=int, default=8, help="recordings (8)")
    given = parser.parse_args()
    report = Report("", "--jobs 1", "by default", "ratio", "goal")
    with tempfile.TemporaryDirectory() as home:
        env = environment(home)
        folder = Path(home, "talks")
        folder.mkdir()
        speaker = get_context("spawn").Process(target=synthesize, args=(folder, given.recordings))
        speaker.start()
        speaker.join()
        if speaker.exitcode != 0:
            raise SystemExit("speech synthesis failed")
        pairs, same = [], True
        for _ in range(given.rounds):
            (alone, expected), (several, found) = transcribe(folder, env, "--jobs", "1"), transcribe(folder, env)
            pairs.append((alone, several))
            same = same and expected == found
    for name in ("wall", "cpu"):
        values = [(getattr(alone, name), getattr(several, name)) for alone, several in pairs]
        ratio = statistics.median(after / before for before, after in values)
        goal, met = (f"{TIME_GOAL:g}", ratio <= TIME_GOAL) if name == "wall" else ("", None)
        before, after = map(statistics.median, zip(*values, strict=True))
        report.row(f"{name} time", f"{before:.1f} s", f"{after:.1f} s", f"{ratio:.2f}", goal, met=met)
    before, after = (max(run.peak or 0 for run in runs) for runs in zip(*pairs, strict=True))
    goal = f"{MEMORY_GOAL_BYTES / 1e6:.0f} MB"
    met = 0 < after <= MEMORY_GOAL_BYTES
    report.row("peak memory", f"{before / 1e6:.0f} MB", f"{after / 1e6:.0f} MB", f"{after / before:.2f}", goal, met=met)
    report.row("transcripts", "", "the same" if same else "others", "", "the same", met=same)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
