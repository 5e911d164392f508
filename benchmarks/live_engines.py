"""Compares Moonshine with Whisper for live recognition: CPU per clip, and word error rate.

Both recognize the same clips in turns, in one process: synthesized sentences (`tests/speech.py`), alone and joined, and
pieces of given lengths, like those of a growing utterance. Targets: Moonshine takes at most half of Whisper's CPU for
3 s, and its word error rate is at most 3 points higher.

With your own recordings: `live_engines.py FOLDER --transcripts FILE.tsv`, in the format of `local.py`.
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
from cartesia_cli.server import moonshine
from cartesia_cli.server.engine import Engine
from cartesia_cli.server.engine_choice import load_batch_engine
from cartesia_cli.server.observer import SilentObserver
from tests.speech import say, silence

PIECE_SECONDS = (1, 2, 3, 5, 8, 11)
"""Lengths of the pieces."""

CPU_GOAL_SECONDS, CPU_GOAL = 3, 0.5
"""The length of the piece with a target, and Moonshine's CPU as a share of Whisper's."""

ERROR_GOAL = 3.0
"""Percentage points that Moonshine's word error rate may be above Whisper's."""

MAX_JOINED_SECONDS = 11.0
"""Maximum length of joined sentences."""

NO_FIGURES = ("", "", "", "")
"""The cells of a heading."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Audio, 16 kHz, and what is said in it."""

    audio: Samples
    said: str


@dataclass(frozen=True, slots=True)
class Recognition:
    """The text of a clip, and what it cost.

    cpu, wall   seconds
    """

    text: str
    cpu: float
    wall: float


def recognize(engine: Engine, audio: Samples) -> Recognition:
    cpu, wall = time.process_time(), time.perf_counter()
    (words,) = engine.recognize([audio], "en")
    text = "".join(word.word for word in words)
    return Recognition(text, time.process_time() - cpu, time.perf_counter() - wall)


def in_turns(engines: Sequence[Engine], clips: Sequence[Samples]) -> list[list[Recognition]]:
    """The results of each engine. The engines take turns, so that other load slows down both."""
    pairs = [[recognize(engine, clip) for engine in engines] for clip in clips]
    return [list(heard) for heard in zip(*pairs, strict=True)]


def spoken() -> list[Clip]:
    """The synthesized sentences, with a little silence around each."""
    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    return [Clip(np.concatenate([silence(0.2), say(sentence), silence(0.3)]), sentence) for sentence in sentences]


def recorded(folder: Path, transcripts: dict[str, str]) -> list[Clip]:
    clips = []
    for file, said in transcripts.items():
        audio, rate = soundfile.read(folder / file, dtype="float32", always_2d=True)
        clips.append(Clip(soxr.resample(audio.mean(axis=1), rate, RATE).astype(np.float32), said))
    return clips


def joined_clips(clips: Sequence[Clip]) -> list[Clip]:
    """Consecutive clips joined, up to MAX_JOINED_SECONDS."""
    joined: list[Clip] = []
    for clip in clips:
        if joined and len(joined[-1].audio) + len(clip.audio) <= MAX_JOINED_SECONDS * RATE:
            before = joined.pop()
            clip = Clip(np.concatenate([before.audio, clip.audio]), f"{before.said} {clip.said}")
        joined.append(clip)
    return joined


def measure_words(name: str, engines: Sequence[Engine], clips: Sequence[Clip], report: Report) -> None:
    """Add rows for the word error rate and the time per clip."""
    heard = in_turns(engines, [clip.audio for clip in clips])
    said = [words(clip.said) for clip in clips]
    errors = [100 * jiwer.process_words(said, [words(one.text) for one in texts]).wer for texts in heard]
    seconds = statistics.mean(len(clip.audio) for clip in clips) / RATE
    count = sum(len(one.split()) for one in said)
    above = errors[0] - errors[1]
    report.row(f"{name}: {len(clips)} clips of {seconds:.1f} s, {count} words", *NO_FIGURES)
    report.row(
        "  word error rate",
        *(f"{rate:.1f} %" for rate in errors),
        f"{above:+.1f} points",
        f"{ERROR_GOAL:+.0f}",
        met=above <= ERROR_GOAL,
    )
    measure_time("  CPU / wall a clip", heard, None, report)


def measure_time(name: str, heard: Sequence[Sequence[Recognition]], goal: float | None, report: Report) -> None:
    """Add a row of mean CPU and wall time, and their ratios. The target is for CPU, which other load doesn't change."""
    cpu = [statistics.mean(one.cpu for one in texts) for texts in heard]
    wall = [statistics.mean(one.wall for one in texts) for texts in heard]
    report.row(
        name,
        *(f"{1000 * a:.0f} / {1000 * b:.0f} ms" for a, b in zip(cpu, wall, strict=True)),
        f"{cpu[0] / cpu[1]:.2f} / {wall[0] / wall[1]:.2f}",
        "" if goal is None else f"{goal:.2f}",
        met=None if goal is None else cpu[0] / cpu[1] <= goal,
    )


def measure_pieces(engines: Sequence[Engine], clips: Sequence[Clip], count: int, report: Report) -> None:
    """Add rows for pieces from random positions: they begin and end within words, as growing utterances do."""
    speech = np.concatenate([clip.audio for clip in clips])
    rng = random.Random(0)
    report.row(f"pieces, {count} of each length", *NO_FIGURES)
    for seconds in PIECE_SECONDS:
        if (size := seconds * RATE) > len(speech):
            continue
        starts = [rng.randrange(len(speech) - size + 1) for _ in range(count)]
        heard = in_turns(engines, [speech[start : start + size] for start in starts])
        measure_time(f"  {seconds} s", heard, CPU_GOAL if seconds == CPU_GOAL_SECONDS else None, report)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="your own recordings, instead of synthesized speech")
    parser.add_argument("--transcripts", type=Path, help="their table (FOLDER/transcripts.tsv)")
    parser.add_argument("--skip", action="append", default=[], metavar="GLOB", help="files to leave out (repeatable)")
    parser.add_argument("--count", type=int, default=8, help="pieces of each length (8)")
    given = parser.parse_args()
    if given.folder:
        clips = recorded(given.folder, table(given.transcripts or given.folder / "transcripts.tsv", given.skip))
    else:
        clips = spoken()
    engines: list[Engine] = [moonshine.load(), load_batch_engine("tiny.en", SilentObserver())]
    in_turns(engines, [clips[0].audio])  # warms up both
    report = Report("", *(engine.name for engine in engines), "ratio", "goal")
    measure_words("alone", engines, clips, report)
    measure_words("joined", engines, joined_clips(clips), report)
    measure_pieces(engines, clips, given.count, report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
