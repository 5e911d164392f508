"""`listen` judged by what was played to it: the words, where they were, and every sample of them.

Not by how many words are wrong: the offline engines hear these sentences a little differently each time. The margins
are those of audio, which a slow machine doesn't move; keys are pressed when a sentence is over, not by a clock.
"""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pexpect
import pytest
import soxr
from numpy.typing import NDArray

from cartesia_cli.audio.low_latency_resampler import LowLatencyResampler
from tests import speech
from tests.microphone import RATE, Studio, open_studio
from tests.test_listen import ONE, TWO, bare, listening, state

pytestmark = pytest.mark.engine

FOUND = {ONE: ("the", "seven", "morning"), TWO: ("a", "small", "dog", "table")}
"""First and last words, and some between that any engine hears."""

EXACT = 2 / 32768
"""Of full scale. The sound server rounds to 16 bits, and the recording once more: they differed by one step."""

BOUNDS = 0.4
"""Seconds, as promised. They were 0.1 at the most; the level of speech says nothing of its softest sounds."""

LEAD = 0.4
"""Seconds of silence before a sentence."""

Press = Callable[[], None]


@pytest.fixture
def studio(environment: dict[str, str]) -> Iterator[Studio]:
    with open_studio(environment) as opened:
        yield opened


@contextmanager
def hands_free(studio: Studio, *arguments: object) -> Iterator[Press]:
    with listening(studio.environment, "--local", *arguments) as listener:
        yield lambda: None
        listener.stop()
        assert listener.process.returncode == 0, listener.told


@contextmanager
def by_key(studio: Studio, *arguments: object) -> Iterator[Press]:
    command = ["-m", "cartesia_cli", "listen", "--local", *map(str, arguments)]
    program = pexpect.spawn(sys.executable, command, env=studio.environment, timeout=60, encoding="utf-8")
    try:
        program.expect("listening to")
        yield lambda: program.send("\r")
        program.send("q")
        program.expect(pexpect.EOF)
        program.close()
        assert program.exitstatus == 0, program.before
    finally:
        program.close(force=True)


WAYS = {
    "silence": (hands_free, ("--mode", "manual")),
    "key": (by_key, ("--finalize", "key")),
    "turns": (hands_free, ("--mode", "auto")),
}


def place(part: NDArray[np.float32], whole: NDArray[np.float32]) -> int:
    """The sample at which `part` lies in `whole`."""
    size = 1 << (len(part) + len(whole)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)))
    return int(np.argmax(likeness[: len(whole) - len(part)]))


def read(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as file:
        return (np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768).astype(np.float32)


def sounding(samples: NDArray[np.float32]) -> tuple[float, float]:
    """Seconds between which a sentence is louder than 35 dB below its loudest 20 ms."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    energies = np.mean(frames**2, axis=1)
    loud = np.flatnonzero(energies > energies.max() * 10**-3.5)
    return loud[0] * 0.02, (loud[-1] + 1) * 0.02


def performed(sentence: str) -> NDArray[np.float32]:
    """As it is played, with some silence around it, and so that no filter lifts it beyond full scale."""
    spoken = np.concatenate([speech.silence(LEAD), 0.5 * speech.say(sentence), speech.silence(1.0)])
    return soxr.resample(spoken, speech.RATE, RATE).astype(np.float32)


def difference(recorded: NDArray[np.float32], sentence: str) -> tuple[float, float]:
    """How far the recording of a sentence is from it as our resampler gives it, at the worst of its samples; and where
    it begins, in seconds. One sample of three is taken; which one is up to the sound server.
    """
    found = []
    for skipped in range(RATE // speech.RATE):
        given = LowLatencyResampler(RATE).resample(np.concatenate([np.zeros(skipped, np.float32), performed(sentence)]))
        at = place(given, recorded)
        found.append((float(np.abs(recorded[at : at + len(given)] - given).max()), at / speech.RATE + LEAD))
    return min(found)


@pytest.mark.parametrize("way", WAYS)
def test_words_segment_times_and_samples_match_what_was_played(studio: Studio, tmp_path: Path, way: str) -> None:
    out, kept = tmp_path / "out.json", tmp_path / "kept.wav"
    session, options = WAYS[way]
    with session(studio, *options, "--save-audio", kept, "-o", out) as press:
        for sentence in FOUND:
            studio.play(performed(sentence), RATE)
            press()
    document, recorded = json.loads(out.read_text()), read(kept)
    assert state(studio.environment) == []
    assert len(document["segments"]) == len(FOUND)
    assert "".join(segment["text"] for segment in document["segments"]) == document["text"]
    assert document["duration"] == pytest.approx(len(recorded) / speech.RATE, abs=0.2)  # the last frames
    for segment, (sentence, (first, *between, last)) in zip(document["segments"], FOUND.items(), strict=True):
        words = bare(segment["text"]).split()
        assert (words[0], words[-1]) == (first, last)
        assert set(between) <= set(words)
        error, at = difference(recorded, sentence)
        assert error <= EXACT
        start, end = sounding(speech.say(sentence))
        assert segment["start"] == pytest.approx(at + start, abs=BOUNDS)
        assert segment["end"] == pytest.approx(at + end, abs=BOUNDS)
