"""Which engine is to hear a speaker live: how long each takes for a clip, and how well it understands.

Both hear the same clips in turns, in one process: the sentences that are spoken here (`tests/speech.py`), one by
one and several in a row, and stretches of given lengths, as an utterance has while it grows. With recordings
of yours instead: `live_engines.py FOLDER --transcripts FILE.tsv`, the table as for `local.py`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import soxr
from local import table, words
from measuring import ROOT, Report

sys.path.insert(0, str(ROOT))

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.server import moonshine, whisper
from cartesia_cli.server.engine import Engine
from cartesia_cli.server.observer import SilentObserver
from tests.speech import say, silence

CUTS = (1, 2, 3, 5, 8, 11)
"""Lengths of the stretches, in seconds."""

PACE_CUT, PACE_GOAL = 3, 0.5
"""At so many seconds Moonshine may take at most so much of the time that Whisper takes."""

ERROR_GOAL = 3.0
"""Percentage points that Moonshine's word error rate may be above Whisper's."""

ROW_SECONDS = 11.0
"""Longest row of sentences."""

EMPTY = ("", "", "", "")
"""The rest of a row that is a heading."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Audio, 16 kHz, and what is said in it."""

    audio: Samples
    said: str


@dataclass(frozen=True, slots=True)
class Hearing:
    """What an engine made of a clip.

    cpu, wall   seconds
    """

    text: str
    cpu: float
    wall: float


def hear(engine: Engine, audio: Samples) -> Hearing:
    cpu, wall = time.process_time(), time.perf_counter()
    utterance = engine.start("en")
    utterance.push(audio)
    text = "".join(word.word for word in utterance.finish())
    return Hearing(text, time.process_time() - cpu, time.perf_counter() - wall)


def in_turns(engines: Sequence[Engine], clips: Sequence[Samples]) -> list[list[Hearing]]:
    """For each engine what it heard: one after the other with each clip, so that a busy machine is busy for both."""
    pairs = [[hear(engine, clip) for engine in engines] for clip in clips]
    return [list(heard) for heard in zip(*pairs, strict=True)]


def spoken() -> list[Clip]:
    """The sentences, with a little silence around each."""
    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    return [Clip(np.concatenate([silence(0.2), say(sentence), silence(0.3)]), sentence) for sentence in sentences]


def recorded(folder: Path, transcripts: dict[str, str]) -> list[Clip]:
    clips = []
    for file, said in transcripts.items():
        audio, rate = soundfile.read(folder / file, dtype="float32", always_2d=True)
        clips.append(Clip(soxr.resample(audio.mean(axis=1), rate, RATE).astype(np.float32), said))
    return clips


def rows(clips: Sequence[Clip]) -> list[Clip]:
    """Neighbours joined, as long as they are not too long together."""
    joined: list[Clip] = []
    for clip in clips:
        if joined and len(joined[-1].audio) + len(clip.audio) <= ROW_SECONDS * RATE:
            before = joined.pop()
            clip = Clip(np.concatenate([before.audio, clip.audio]), f"{before.said} {clip.said}")
        joined.append(clip)
    return joined


def measure_words(name: str, engines: Sequence[Engine], clips: Sequence[Clip], report: Report) -> None:
    """Word error rates, and the time for it all."""
    heard = in_turns(engines, [clip.audio for clip in clips])
    said = [words(clip.said) for clip in clips]
    errors = [100 * jiwer.process_words(said, [words(one.text) for one in texts]).wer for texts in heard]
    seconds = statistics.mean(len(clip.audio) for clip in clips) / RATE
    count = sum(len(one.split()) for one in said)
    above = errors[0] - errors[1]
    report.row(f"{name}: {len(clips)} clips of {seconds:.1f} s, {count} words", *EMPTY)
    report.row(
        "  word error rate",
        *(f"{rate:.1f} %" for rate in errors),
        f"{above:+.1f} points",
        f"{ERROR_GOAL:+.0f}",
        met=above <= ERROR_GOAL,
    )
    measure_time("  CPU / wall a clip", heard, None, report)


def measure_time(name: str, heard: Sequence[Sequence[Hearing]], goal: float | None, report: Report) -> None:
    """CPU and wall time on average, and their ratios. The goal is about CPU: of time, others may take their share."""
    cpu = [statistics.mean(one.cpu for one in texts) for texts in heard]
    wall = [statistics.mean(one.wall for one in texts) for texts in heard]
    report.row(
        name,
        *(f"{1000 * a:.0f} / {1000 * b:.0f} ms" for a, b in zip(cpu, wall, strict=True)),
        f"{cpu[0] / cpu[1]:.2f} / {wall[0] / wall[1]:.2f}",
        "" if goal is None else f"{goal:.2f}",
        met=None if goal is None else cpu[0] / cpu[1] <= goal,
    )


def measure_cuts(engines: Sequence[Engine], clips: Sequence[Clip], count: int, report: Report) -> None:
    """Stretches from anywhere in the speech: they begin and end inside words, as those of a growing utterance do."""
    speech = np.concatenate([clip.audio for clip in clips])
    dice = random.Random(0)
    report.row(f"stretches, {count} of each length", *EMPTY)
    for seconds in CUTS:
        if (size := seconds * RATE) > len(speech):
            continue
        starts = [dice.randrange(len(speech) - size + 1) for _ in range(count)]
        heard = in_turns(engines, [speech[start : start + size] for start in starts])
        measure_time(f"  {seconds} s", heard, PACE_GOAL if seconds == PACE_CUT else None, report)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="recordings of yours, instead of speech made here")
    parser.add_argument("--transcripts", type=Path, help="their table (FOLDER/transcripts.tsv)")
    parser.add_argument("--skip", action="append", default=[], metavar="GLOB", help="files to leave out (repeatable)")
    parser.add_argument("--count", type=int, default=8, help="stretches of each length (8)")
    given = parser.parse_args()
    if given.folder:
        clips = recorded(given.folder, table(given.transcripts or given.folder / "transcripts.tsv", given.skip))
    else:
        clips = spoken()
    engines: list[Engine] = [moonshine.load(), whisper.load(None, SilentObserver())]
    in_turns(engines, [clips[0].audio])  # what they do only once
    report = Report("", *(engine.name for engine in engines), "ratio", "goal")
    measure_words("one by one", engines, clips, report)
    measure_words("in rows", engines, rows(clips), report)
    measure_cuts(engines, clips, given.count, report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
