"""Speech in loud noise is found by a network, where its level alone says too little."""

from __future__ import annotations

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.audio.vad import Endpointer, VadEvent, VadSettings, utterances
from cartesia_cli.server.silero import make_detector

from .speech import say, silence

SENTENCE = "Nobody had told the baker that the road would be closed all week."


def in_noise(speech: Samples, ratio_db: float, seed: int = 0) -> Samples:
    """Speech with white noise, `ratio_db` below it."""
    noise = np.random.default_rng(seed).normal(0, 1, len(speech))
    loudness = np.mean(speech[np.abs(speech) > 0.02 * np.abs(speech).max()] ** 2)
    noisy: Samples = (speech + noise * np.sqrt(loudness / 10 ** (ratio_db / 10))).clip(-1, 1).astype(np.float32)
    return noisy


def events(samples: Samples, settings: VadSettings, *, has_detector: bool) -> list[VadEvent]:
    endpointer = Endpointer(settings, detector=make_detector() if has_detector else None)
    found = endpointer.process(samples)
    return found + endpointer.finish()


class Always:
    """A detector for which everything is speech."""

    def process(self, samples: Samples) -> list[float]:
        return [1.0] * (len(samples) // (RATE // 50))


def test_detector_decides_in_loud_noise_only() -> None:
    hiss = np.random.default_rng(0).normal(0, 1, 5 * RATE).astype(np.float32)
    for level, kinds in ((0.03, ["onset"]), (0.0003, [])):
        assert [event.kind for event in Endpointer(detector=Always()).process(hiss * level)] == kinds


def test_detector_has_no_say_with_a_fixed_threshold() -> None:
    hiss = 0.03 * np.random.default_rng(0).normal(0, 1, 5 * RATE).astype(np.float32)
    assert Endpointer(VadSettings(threshold=-20.0), detector=Always()).process(hiss) == []


@pytest.mark.engine
def test_probability_of_each_frame_does_not_depend_on_blocks() -> None:
    spoken = np.concatenate([silence(0.5), say(SENTENCE), silence(0.5)])
    whole, pieces = make_detector(), make_detector()
    assert whole is not None and pieces is not None
    at_once = whole.process(spoken)
    assert len(at_once) == len(spoken) // (RATE // 50)
    assert [p for at in range(0, len(spoken), 777) for p in pieces.process(spoken[at : at + 777])] == at_once
    assert max(at_once) > 0.9 and at_once[10] < 0.1 and at_once[-1] < 0.3


@pytest.mark.engine
def test_sentence_in_loud_noise_is_one_utterance() -> None:
    spoken = say(SENTENCE)
    sound = in_noise(np.concatenate([silence(2), spoken, silence(2)]), 5)
    ((start, end),) = utterances(events(sound, VadSettings(), has_detector=True))
    assert start == pytest.approx(2, abs=0.4) and end == pytest.approx(2 + len(spoken) / RATE, abs=0.4)


@pytest.mark.engine
def test_noise_alone_is_no_utterance() -> None:
    noise = in_noise(np.concatenate([say(SENTENCE)[:RATE], silence(10)]), 0)[2 * RATE :]
    assert events(noise, VadSettings(), has_detector=True) == []


@pytest.mark.engine
def test_clean_speech_has_the_same_events_with_and_without_detector() -> None:
    sound = np.concatenate([silence(1), say(SENTENCE), silence(1), say(SENTENCE), silence(1)])
    sound = sound + 0.0003 * np.random.default_rng(0).normal(0, 1, len(sound)).astype(np.float32)
    assert events(sound, VadSettings(), has_detector=True) == events(sound, VadSettings(), has_detector=False)
