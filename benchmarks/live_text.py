"""Compares live text with that of whole recordings: word errors of Moonshine on both endpoints, clean and in noise.

People speak prompts (see `prompts.py`), and a synthetic voice sentences, several in a clip, with pauses. Noise is
white, or babble: people who speak prompts in four other languages, all at once. The live server's own responders work
in simulated time, in which recognition takes as long as it was measured to take, so that the load of the machine
changes nothing. On the manual endpoint, an endpointer like that of `stream-file` sends `finalize`. Goals: clean, a
point above whole recordings at most; in noise, five points.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import soxr
from measuring import ROOT, Report
from prompts import prompts
from whisper_normalizer.english import EnglishTextNormalizer

sys.path.insert(0, str(ROOT))

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.audio.vad import Endpointer, VadSettings
from cartesia_cli.protocol.events import Delta, Event, TurnEnd
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.realtime import Close, Finalize, RealtimeOptions
from cartesia_cli.server import moonshine
from cartesia_cli.server.live_recognizer import IDLE_BUFFER_SECONDS, LiveRecognizer
from cartesia_cli.server.realtime import LIVE_WINDOW_SECONDS
from cartesia_cli.server.responders import ManualResponder, Responder, TurnResponder
from cartesia_cli.server.silero import make_detector
from tests.simulated_time import SimulatedTimeLoop
from tests.speech import say, silence

SPOKEN_TOGETHER, PAUSES = 3, (0.2, 1.5)
"""Prompts or sentences in a clip, and the range of the pauses after them, in seconds."""

NOISY_CLIPS = 10
"""Clips in each kind of noise: every second one of the first."""

PROMPT_LENGTHS = range(25, 600)
"""Characters: shorter prompts are single words and parts of numbers."""

OTHER_LANGUAGES, VOICES = ("es", "fr", "it", "ru"), 8
"""Languages of babble, and how many speak at once."""

CALL_SECONDS, SPEECH_SHARE = 0.02, 0.03
"""How long Moonshine takes: for each call, and for each second of audio."""

CLEAN_GOAL, NOISE_GOAL = 1.0, 5.0
"""Percentage points above whole recordings."""

BLOCK = RATE // 10


@dataclass(frozen=True, slots=True)
class Clip:
    """Audio, 16 kHz, and what is said in it."""

    samples: Samples
    said: str


def clips(spoken: Sequence[tuple[Samples, str]]) -> list[Clip]:
    """Recordings joined to clips, with pauses."""
    rng = random.Random(7)
    found = []
    for first in range(0, len(spoken), SPOKEN_TOGETHER):
        parts, said = [silence(0.5)], []
        for samples, text in spoken[first : first + SPOKEN_TOGETHER]:
            parts += [samples, silence(rng.uniform(*PAUSES))]
            said.append(text)
        found.append(Clip(np.concatenate([*parts, silence(2.0)]), " ".join(said)))
    return found


def sentences() -> list[tuple[Samples, str]]:
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    random.Random(7).shuffle(lines)
    return [(say(line), line) for line in lines]


def recordings(language: str, folder: Path, most: int, lengths: range) -> list[tuple[Samples, str]]:
    """Prompts with their audio, each text once."""
    found = {text: path for path, text in prompts(language, folder, most, lengths)}
    return [(load(path), text.replace("...", " ")) for text, path in found.items()]


def load(path: Path) -> Samples:
    audio, rate = soundfile.read(path, dtype="float32")
    resampled: Samples = soxr.resample(audio, rate, RATE).astype(np.float32)
    return resampled


def babble(folder: Path) -> Samples | None:
    """Several people who speak at once, as loud as each other; None if their prompts can't be had."""
    voices: list[Samples] = []
    for language in OTHER_LANGUAGES:
        spoken = [samples for samples, _ in recordings(language, folder, 40, range(40, 161))]
        half = len(spoken) // 2
        voices += [np.concatenate(part) for part in (spoken[:half], spoken[half:]) if part]
    if len(voices) < VOICES:
        return None
    length = min(map(len, voices))
    return sum((voice[:length] / np.sqrt(np.mean(voice[:length] ** 2)) for voice in voices), np.zeros(length)).astype(
        np.float32
    )


def add_noise(samples: Samples, noise: Samples, below_db: float) -> Samples:
    """Samples with noise that is so much softer than their speech, pauses left out."""
    speech = float(np.mean(samples[np.abs(samples) > 0.02 * np.abs(samples).max()] ** 2))
    scale = np.sqrt(speech / np.mean(noise**2) / 10 ** (below_db / 10))
    return np.clip(samples + noise * np.float32(scale), -1, 1).astype(np.float32)


def in_noise(found: Sequence[Clip], noise: Samples, below_db: float) -> list[Clip]:
    """Each clip in a part of the noise of its own."""
    rng = np.random.default_rng(0)
    return [
        Clip(add_noise(c.samples, np.roll(np.resize(noise, len(noise) + len(c.samples)),
                                          rng.integers(len(noise)))[: len(c.samples)], below_db), c.said)
        for c in found
    ]  # fmt: skip


def recognize(engine: moonshine.MoonshineEngine, samples: Samples) -> Sequence[Word]:
    return engine.recognize([samples], "en")[0]


def recognize_after(engine: moonshine.MoonshineEngine, known: Sequence[str], samples: Samples) -> Sequence[Word]:
    return engine.recognize_after(known, samples)


async def live(engine: moonshine.MoonshineEngine, samples: Samples, mode: str) -> tuple[str, list[float]]:
    """The text of a session, and how long each `finalize` took to be answered."""
    events: list[Event] = []
    waits: list[float] = []
    loop = asyncio.get_running_loop()

    async def send(event: Event) -> None:
        events.append(event)

    async def timed(audio: Samples) -> Sequence[Word]:
        await asyncio.sleep(CALL_SECONDS + SPEECH_SHARE * len(audio) / RATE)
        return recognize(engine, audio)

    async def timed_after(known: Sequence[str], audio: Samples) -> Sequence[Word]:
        await asyncio.sleep(CALL_SECONDS + SPEECH_SHARE * len(audio) / RATE)
        return recognize_after(engine, known, audio)

    responder: Responder
    options = RealtimeOptions(model="ink-2")
    idle = LIVE_WINDOW_SECONDS if mode == "manual" else IDLE_BUFFER_SECONDS
    recognizer = LiveRecognizer(timed, LIVE_WINDOW_SECONDS, idle, recognize_after=timed_after)
    if mode == "manual":
        responder = ManualResponder(recognizer, send, options, detector=make_detector())
    else:
        responder = TurnResponder(recognizer, send, options, detector=make_detector())
    endpointer = Endpointer(VadSettings())
    for at in range(0, len(samples), BLOCK):
        block = samples[at : at + BLOCK]
        ahead = (at + len(block)) / RATE - loop.time()
        if ahead > 0:
            await asyncio.sleep(ahead)
        await responder.push_audio(block, caught_up=ahead > -0.05)
        for event in endpointer.process(block) if mode == "manual" else ():
            if event.kind == "end":
                asked = loop.time()
                await responder.execute(Finalize())
                waits.append(loop.time() - asked)
    await responder.execute(Close())
    said = (event.text if isinstance(event, Delta) else event.transcript for event in events
            if isinstance(event, Delta | TurnEnd))  # fmt: skip
    return "".join(said), waits


def text_of(engine: moonshine.MoonshineEngine, samples: Samples, mode: str) -> tuple[str, list[float]]:
    """The text of a clip, and how long each `finalize` took to be answered."""
    if mode == "whole":
        return "".join(word.word for word in recognize(engine, samples)), []
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        return runner.run(live(engine, samples, mode))


def conditions(
    voice: str, found: Sequence[Clip], people: Samples | None
) -> Iterator[tuple[str, Sequence[Clip], float]]:
    """The names of the kinds of audio, their clips, and their goals."""
    yield f"{voice}, clean", found, CLEAN_GOAL
    white = np.random.default_rng(0).normal(0, 1, 60 * RATE).astype(np.float32)
    some = slice(0, 2 * NOISY_CLIPS, 2)
    yield f"{voice}, white noise, 10 dB", in_noise(found, white, 10)[some], NOISE_GOAL
    if people is not None:
        for below in (10, 5):
            yield f"{voice}, babble, {below} dB", in_noise(found, people, below)[some], NOISE_GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=48, help="of the synthetic voice (48)")
    parser.add_argument("--prompts", type=int, default=1000, help="of people, at most (all)")
    given = parser.parse_args()
    engine, normalize = moonshine.load(), EnglishTextNormalizer()
    report = Report("speech", "words", "wrong", "wait for text, s: median, most", "goal")
    with tempfile.TemporaryDirectory() as folder:
        people = babble(Path(folder))
        spoken = {
            "people": recordings("en", Path(folder), given.prompts, PROMPT_LENGTHS),
            "synthetic": sentences()[: given.sentences],
        }
    for voice, texts in spoken.items():
        for condition, found, allowed in conditions(voice, clips(texts), people):
            references = [normalize(clip.said) for clip in found]
            words = sum(len(reference.split()) for reference in references)
            baseline = 0.0
            for mode in ("whole", "auto", "manual"):
                heard = [text_of(engine, clip.samples, mode) for clip in found]
                waits = [wait for _, some in heard for wait in some]
                errors = 100 * jiwer.process_words(references, [normalize(text) for text, _ in heard]).wer
                baseline = errors if mode == "whole" else baseline
                times = f"{statistics.median(waits):.2f}, {max(waits):.2f}" if waits else ""
                met = None if mode == "whole" else errors <= baseline + allowed
                goal = "" if mode == "whole" else f"{baseline + allowed:.1f} %"
                report.row(f"{condition}: {mode}", str(words), f"{errors:.1f} %", times, goal, met=met)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
