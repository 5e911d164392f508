"""Compares live text with that of whole recordings: word errors of Moonshine on both endpoints, clean and in noise.

Sentences of a synthetic voice, several in a clip, with pauses. The live server's own responders work in simulated time,
in which recognition takes as long as it was measured to take, so that the load of the machine changes nothing. On the
manual endpoint, an endpointer like that of `stream-file` sends `finalize`. Goals: clean, a point above whole recordings
at most; with white noise 10 dB below the speech, five points.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
from measuring import ROOT, Report
from whisper_normalizer.english import EnglishTextNormalizer

sys.path.insert(0, str(ROOT))

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.audio.vad import Endpointer, VadSettings
from cartesia_cli.protocol import Close, Delta, Event, Finalize, RealtimeOptions, TurnEnd
from cartesia_cli.server import moonshine
from cartesia_cli.server.engine import RecognizedWord
from cartesia_cli.server.live_recognizer import LiveRecognizer
from cartesia_cli.server.responders import ManualResponder, Responder, TurnResponder
from cartesia_cli.server.silero import make_detector
from tests.simulated_time import SimulatedTimeLoop
from tests.speech import say, silence

CLIPS, SENTENCES = 10, 3
LONGEST_SECONDS = 8.0
"""What the server has recognized at once (`server.realtime`)."""

CALL_SECONDS, SPEECH_SHARE = 0.02, 0.03
"""How long Moonshine takes: for each call, and for each second of audio."""

GOALS = {"clean": 1.0, "white noise, 10 dB": 5.0}
NOISE_DB = 10.0
BLOCK = RATE // 10


def clips() -> list[tuple[Samples, str]]:
    """Audio and what is said in it."""
    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    rng = random.Random(7)
    rng.shuffle(sentences)
    found = []
    for number in range(CLIPS):
        said = sentences[number * SENTENCES : (number + 1) * SENTENCES]
        parts = [silence(0.5)]
        for sentence in said:
            parts += [say(sentence), silence(rng.uniform(0.2, 1.5))]
        found.append((np.concatenate([*parts, silence(2.0)]), " ".join(said)))
    return found


def add_noise(samples: Samples, seed: int) -> Samples:
    noise = np.random.default_rng(seed).normal(0, 1, len(samples)).astype(np.float32)
    speech = float(np.mean(samples[np.abs(samples) > 0.02 * np.abs(samples).max()] ** 2))
    scale = np.sqrt(speech / np.mean(noise**2) / 10 ** (NOISE_DB / 10))
    return np.clip(samples + noise * np.float32(scale), -1, 1).astype(np.float32)


def recognize(engine: moonshine.MoonshineEngine, samples: Samples) -> Sequence[RecognizedWord]:
    return engine.recognize([samples], "en")[0]


async def live(engine: moonshine.MoonshineEngine, samples: Samples, mode: str) -> tuple[str, list[float]]:
    """The text of a session, and how long each `finalize` took to be answered."""
    events: list[Event] = []
    waits: list[float] = []
    loop = asyncio.get_running_loop()

    async def send(event: Event) -> None:
        events.append(event)

    async def timed(audio: Samples) -> Sequence[RecognizedWord]:
        await asyncio.sleep(CALL_SECONDS + SPEECH_SHARE * len(audio) / RATE)
        return recognize(engine, audio)

    responder: Responder
    options = RealtimeOptions(model="ink-2")
    if mode == "manual":
        recognizer = LiveRecognizer(timed, LONGEST_SECONDS, LONGEST_SECONDS)
        responder = ManualResponder(recognizer, send, options, has_word_times=False, detector=make_detector())
    else:
        responder = TurnResponder(LiveRecognizer(timed, LONGEST_SECONDS), send, options, detector=make_detector())
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


def main() -> int:
    engine, normalize = moonshine.load(), EnglishTextNormalizer()
    report = Report("speech", "words", "wrong", "wait for text, s: median, most", "goal")
    for condition, allowed in GOALS.items():
        found = [(samples if condition == "clean" else add_noise(samples, number), said)
                 for number, (samples, said) in enumerate(clips())]  # fmt: skip
        references = [normalize(said) for _, said in found]
        baseline = 0.0
        for mode in ("whole", "auto", "manual"):
            texts, waits = [], []
            for samples, _ in found:
                if mode == "whole":
                    texts.append("".join(word.word for word in recognize(engine, samples)))
                else:
                    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
                        text, waited = runner.run(live(engine, samples, mode))
                    texts.append(text)
                    waits += waited
            errors = 100 * jiwer.process_words(references, [normalize(text) for text in texts]).wer
            baseline = errors if mode == "whole" else baseline
            words = sum(len(reference.split()) for reference in references)
            times = f"{statistics.median(waits):.2f}, {max(waits):.2f}" if waits else ""
            met = None if mode == "whole" else errors <= baseline + allowed
            goal = "" if mode == "whole" else f"{baseline + allowed:.1f} %"
            report.row(f"{condition}: {mode}", str(words), f"{errors:.1f} %", times, goal, met=met)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
