"""Measures `transcribe --local`: word error rate, speed and memory for fifty sentences and for one hour.

The transcripts are compared with what was spoken. Targets: at most 700 MB of memory with Whisper base and 500 MB with
tiny.en, however long the recording is, and all word times in order.

The speech is synthesized (`tests/speech.py`). With your own recordings: `local.py FOLDER --transcripts FILE.tsv`, a
table with a header that names at least the columns `file` and `transcript`.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import statistics
import sys
import tempfile
from fnmatch import fnmatch
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jiwer
from measuring import CLI, ROOT, Report, Run, environment, run

MEMORY_GOALS = {"tiny.en": 500_000_000, "base": 700_000_000}
"""Bytes, by model."""

LONG_RECORDING_MINUTES = 60.0

DIGITS = "zero one two three four five six seven eight nine".split()


def synthesize(folder: Path, minutes: float) -> None:
    """Write each sentence as a recording, with a table of transcripts, and a long recording of random sentences.

    Runs in a separate process, because it takes much memory.
    """
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from tests.speech import RATE, say, silence, write_wav

    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    with (folder / "transcripts.tsv").open("w", encoding="utf-8") as table:
        table.write("file\ttranscript\n")
        for number, sentence in enumerate(sentences):
            name = f"sentence{number:02}.wav"
            write_wav(folder / name, np.concatenate([silence(0.2), say(sentence), silence(0.3)]))
            table.write(f"{name}\t{sentence}\n")
    rng, parts, said, size = random.Random(0), [], [], 0
    while size < minutes * 60 * RATE:
        sentence = sentences[rng.randrange(len(sentences))]
        for part in (say(sentence), silence(rng.uniform(0.1, 1.5))):
            parts.append(part)
            size += len(part)
        said.append(sentence)
    write_wav(folder / "long" / "long.wav", np.concatenate(parts))
    (folder / "long" / "transcripts.tsv").write_text(f"file\ttranscript\nlong.wav\t{' '.join(said)}\n", "utf-8")


def table(path: Path, skipped: list[str]) -> dict[str, str]:
    """The transcripts of a table by file name, without the files that match `skipped`."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    kept = [row for row in rows if not any(fnmatch(row["file"], pattern) for pattern in skipped)]
    return {row["file"]: row["transcript"] for row in kept}


def words(text: str) -> str:
    """The words of a text without case and punctuation, with digits spelled out one by one."""
    spelled = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower().replace("10", "ten"))
    return " ".join(re.findall(r"[a-zà-öø-ÿ]+(?:'[a-z]+)?", spelled.replace("’", "'")))


def transcribe(files: list[Path], model: str, env: dict[str, str]) -> tuple[Run, list[dict[str, Any]]]:
    """Transcribe all files in one process, with word times. Returns the JSON documents."""
    options = ["--local-model", model, "--no-cache", "-w", "-f", "ndjson", "--quiet"]
    done = run([CLI, "transcribe", *map(str, files), "--local", *options], env).checked()
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def in_order(transcript: dict[str, Any]) -> bool:
    """Whether the word times of a transcript are ascending and within its duration."""
    times = [time for word in transcript["words"] for time in (word["start"], word["end"])]
    within = not times or (times[0] >= 0 and times[-1] <= transcript["duration"])
    return within and all(a <= b for a, b in pairwise(times))


def measure(
    name: str, folder: Path, spoken: dict[str, str], model: str, env: dict[str, str], rounds: int, report: Report
) -> None:
    """Add rows for the recordings of a folder."""
    runs = []
    for _ in range(rounds):
        done, transcripts = transcribe([folder / file for file in spoken], model, env)
        runs.append(done)
    found = jiwer.process_words([*map(words, spoken.values())], [words(one["text"]) for one in transcripts])
    count = found.hits + found.substitutions + found.deletions
    seconds = sum(one["duration"] for one in transcripts)
    wall = statistics.median(run.wall for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    peak = max(run.peak or 0 for run in runs)
    recordings = f"{len(spoken)} recordings" if len(spoken) > 1 else "1 recording"
    report.row(name, f"{recordings}, {seconds / 60:.1f} min, {count} words", "")
    report.row(
        "  word error rate",
        f"{found.wer:.2%} ({found.substitutions} wrong, {found.deletions} missing, {found.insertions} too many)",
        "",
    )
    report.row("  real-time factor", f"{wall / seconds:.3f} ({cpu / seconds:.3f} of CPU)", "")
    goal = MEMORY_GOALS[model]
    report.row("  peak memory", f"{peak / 1e6:.0f} MB", f"{goal / 1e6:.0f} MB", met=0 < peak <= goal)
    ordered = sum(map(in_order, transcripts))
    report.row("  words in order", f"in {ordered} of {len(spoken)}", "all", met=ordered == len(spoken))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="your own recordings, instead of synthesized speech")
    parser.add_argument("--transcripts", type=Path, help="their table (FOLDER/transcripts.tsv)")
    parser.add_argument("--skip", action="append", default=[], metavar="GLOB", help="files to leave out (repeatable)")
    parser.add_argument(
        "--minutes", type=float, default=LONG_RECORDING_MINUTES, help="length of the long recording (60)"
    )
    parser.add_argument("--local-model", choices=MEMORY_GOALS, default="base", help="Whisper's size (base)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of which times are the median (1)")
    given = parser.parse_args()
    report = Report("", "figure", "goal")
    with tempfile.TemporaryDirectory() as home:
        env = environment(home)
        if given.folder:
            spoken = table(given.transcripts or given.folder / "transcripts.tsv", given.skip)
            measure(str(given.folder.name), given.folder, spoken, given.local_model, env, given.rounds, report)
            return report.end()
        made = Path(home, "speech")
        (made / "long").mkdir(parents=True)
        speaker = get_context("spawn").Process(target=synthesize, args=(made, given.minutes))
        speaker.start()
        speaker.join()
        if speaker.exitcode != 0:
            raise SystemExit("speech synthesis failed")
        for name, folder in (("sentences", made), ("one long recording", made / "long")):
            spoken = table(folder / "transcripts.tsv", [])
            measure(name, folder, spoken, given.local_model, env, given.rounds, report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
