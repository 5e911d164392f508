"""Compares end-of-utterance detection in noise by `audio/vad.py` and by webrtcvad: hits, errors and CPU.

Both decide on frames of 20 ms, followed by the same state machine with the same settings. They get twenty synthesized
sentences with pauses, clean and in noise with a fixed seed. Targets: at each level of noise as many ends in time as
webrtcvad, in all kinds of noise together, and at most 0.6 times its CPU.

    ends    sentences whose end is detected within 0.3 s of where it should be, which is `silence_ms` after the speech
    early   ends that are detected within a sentence
    false   utterances that contain no sentence
    lost    seconds of speech before onsets that are detected more than 0.1 s late
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import webrtcvad
from measuring import ROOT, Report
from numpy.typing import NDArray

from cartesia_cli.audio.level import FrameLevels
from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.audio.vad import FRAME_SECONDS, Endpointer, VadEvent, VadSettings, VadStateMachine, utterances

sys.path.insert(0, str(ROOT))
from tests.speech import say, silence

SENTENCES = 20
PAUSE_SECONDS = 1.0, 2.5
"""The shortest and the longest pause between sentences."""

SETTINGS = VadSettings()
HANGOVER = SETTINGS.silence_ms / 1000
END_TOLERANCE = 0.3
ONSET_TOLERANCE = 0.1
"""In seconds; see the module docstring."""

SPEECH_RANGE_DB = 35.0
"""A sentence ends with its last frame whose level is within this range of its loudest frame."""

RATIOS_DB = 20, 15, 10
"""Levels of speech above noise."""

COST_GOAL = 0.6

FRAME = round(RATE * FRAME_SECONDS)
FRAME_BYTES = 2 * FRAME


@dataclass(frozen=True, slots=True)
class Score:
    """How many sentences ended in time, early ends, false utterances, and seconds of speech lost."""

    ends: int
    early: int
    false: int
    lost: float


def track(sentences: list[Samples], rng: np.random.Generator) -> tuple[Samples, list[tuple[float, float]]]:
    """The sentences with pauses between them, and the start and end of each in seconds."""
    parts, times, size = [silence(0.5)], [], len(silence(0.5))
    for words in sentences:
        levels = np.array(FrameLevels(RATE).levels(words))
        loud = np.flatnonzero(levels >= levels.max() - SPEECH_RANGE_DB)
        begin, end = loud[0] * FRAME, (loud[-1] + 1) * FRAME
        times.append(((size + begin) / RATE, (size + end) / RATE))
        parts += [words, silence(rng.uniform(*PAUSE_SECONDS))]
        size += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts), times


def white(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_normal(size)


def pink(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise with the same power in each octave, down to 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(size, 1 / RATE), 20)), size))


def babble(size: int, rng: np.random.Generator, sentences: list[Samples], voices: int) -> NDArray[np.float64]:
    """Several voices at the same time, each almost without pauses."""
    whole = np.zeros(size)
    for _ in range(voices):
        at = -int(rng.integers(RATE))
        while at < size:
            words = sentences[rng.integers(len(sentences))][max(0, -at) :]
            at = max(at, 0)
            words = words[: size - at]
            whole[at : at + len(words)] += words
            at += len(words) + int(rng.integers(RATE // 2))
    return whole


def power(samples: NDArray[np.floating], times: list[tuple[float, float]]) -> float:
    speech = np.concatenate([samples[int(begin * RATE) : int(end * RATE)] for begin, end in times])
    return float(np.mean(speech.astype(np.float64) ** 2))


def mixed(clean: Samples, noise: NDArray[np.float64], noise_power: float) -> Samples:
    """Speech with noise that is scaled to this power."""
    mix: Samples = np.clip(clean + noise * np.sqrt(noise_power / np.mean(noise**2)), -1, 1).astype(np.float32)
    return mix


def ours(samples: Samples) -> list[VadEvent]:
    endpointer = Endpointer(SETTINGS)
    return [
        mark for start in range(0, len(samples), 1600) for mark in endpointer.process(samples[start : start + 1600])
    ]


def theirs(samples: Samples) -> list[VadEvent]:
    """webrtcvad's decisions on frames, followed by our state machine."""
    state_machine, vad, data = (
        VadStateMachine(SETTINGS, FRAME_SECONDS),
        webrtcvad.Vad(2),
        pcm16(samples),
    )
    return [
        mark
        for start in range(0, len(data) - FRAME_BYTES + 1, FRAME_BYTES)
        for mark in state_machine.update(vad.is_speech(data[start : start + FRAME_BYTES], RATE))
    ]


def pcm16(samples: Samples) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def score(marks: list[VadEvent], times: list[tuple[float, float]]) -> Score:
    ends = [mark.at for mark in marks if mark.kind == "end" and not mark.capped]
    found = utterances(marks, until=float("inf"))
    lost = 0.0
    for begin, end in times:
        heard = [max(start, begin) for start, stop in found if start < end and stop > begin]
        late = min(heard, default=end) - begin
        lost += late if late > ONSET_TOLERANCE else 0.0
    return Score(
        ends=sum(any(abs(at - end - HANGOVER) <= END_TOLERANCE for at in ends) for _, end in times),
        early=sum(any(begin < at < end + HANGOVER - END_TOLERANCE for begin, end in times) for at in ends),
        lost=lost,
        false=sum(not any(start < end and stop > begin for begin, end in times) for start, stop in found),
    )


def noises(size: int, others: list[Samples]) -> dict[str, NDArray[np.float64]]:
    def rng() -> np.random.Generator:
        return np.random.default_rng(1)

    return {
        "white noise": white(size, rng()),
        "pink noise": pink(size, rng()),
        "babble of 12": babble(size, rng(), others, 12),
        "babble of 6": babble(size, rng(), others, 6),
    }


def cost(samples: Samples, rounds: int) -> dict[str, float]:
    """Microseconds of CPU per second of audio: the minimum over rounds in which the detectors take turns."""
    data = pcm16(samples)
    blocks = {
        size: [samples[start : start + size] for start in range(0, len(samples), size)]
        for size in (FRAME, 1600, 10 * RATE)
    }
    chunks = [data[start : start + 3200] for start in range(0, len(data) - 3199, 3200)]

    def run_ours(size: int) -> None:
        endpointer = Endpointer(SETTINGS)
        for block in blocks[size]:
            endpointer.process(block)

    def run_webrtcvad() -> None:
        voice = webrtcvad.Vad(2)
        for chunk in chunks:
            for start in range(0, len(chunk), FRAME_BYTES):
                voice.is_speech(chunk[start : start + FRAME_BYTES], RATE)

    work: dict[str, Callable[[], None]] = {
        "webrtcvad": run_webrtcvad,
        "100 ms": lambda: run_ours(1600),
        "20 ms": lambda: run_ours(FRAME),
        "10 s": lambda: run_ours(10 * RATE),
    }
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, run in work.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return {name: seconds / (len(samples) / RATE) * 1e6 for name, seconds in best.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of measuring the cost (30)")
    rounds = parser.parse_args().rounds
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    spoken = [say(line) for line in lines]
    clean, times = track(spoken[:SENTENCES], np.random.default_rng(0))
    speech, around = power(clean, times), noises(len(clean), spoken[SENTENCES:])

    head = f"{SENTENCES} sentences, {len(clean) / RATE:.0f} s: ours / webrtcvad"
    report = Report(head, "ends", "early", "false", "lost", "goal")

    def compare(name: str, samples: Samples, alone: bool = False) -> tuple[int, int]:
        our, their = score(ours(samples), times), score(theirs(samples), times)
        pairs = [(our.ends, their.ends), (our.early, their.early), (our.false, their.false)]
        cells = [*(f"{one} / {other}" for one, other in pairs), f"{our.lost:.1f} / {their.lost:.1f} s"]
        met = our.ends >= their.ends
        report.row(name, *cells, f">= {their.ends}" if alone else "", met=met if alone else None)
        return our.ends, their.ends

    compare("clean", clean, alone=True)
    for ratio in RATIOS_DB:
        pairs = [
            compare(f"{name}, {ratio} dB", mixed(clean, noise, speech / 10 ** (ratio / 10)))
            for name, noise in around.items()
        ]
        our, their = (sum(column) for column in zip(*pairs, strict=True))
        report.row(f"  together, {ratio} dB", f"{our} / {their}", "", "", "", f">= {their}", met=our >= their)
    code = report.end()
    sys.stdout.write("\n")

    report = Report("CPU for a second of audio", "us", "x webrtcvad", "goal")
    figures = cost(mixed(clean, around["white noise"], speech / 1000), rounds)
    alone = figures.pop("webrtcvad")
    report.row("webrtcvad, frames of 20 ms", f"{alone:.0f}", "1.00", "")
    for name, figure in figures.items():
        cells = (f"ours, blocks of {name}", f"{figure:.0f}", f"{figure / alone:.2f}")
        if name == "100 ms":
            report.row(*cells, f"{COST_GOAL:g}", met=figure <= COST_GOAL * alone)
        else:
            report.row(*cells, "")
    return report.end() or code


if __name__ == "__main__":
    sys.exit(main())
