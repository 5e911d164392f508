"""Compares what `listen` writes with the speech that is played to it: words, segment times, and every sample.

It doesn't count wrong words, because the offline engines recognize these sentences a little differently each time. The
margins are in audio time, which a slow machine doesn't change; keys are pressed when a sentence has been played.
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
from tests.microphone import RATE, Studio
from tests.test_listen import FERRY, listening, plain_words, session_recordings

pytestmark = pytest.mark.engine

SISTER = "My sister works in a large hospital."

EXPECTED_WORDS = {FERRY: ("the", "seven", "morning"), SISTER: ("my", "sister", "works", "hospital")}
"""The first and the last word of each sentence, and some in between that every engine recognizes."""

MAX_SAMPLE_ERROR = 2 / 32768
"""Share of full scale. The sound server rounds to 16 bits, and the recording does again; one step was measured."""

MAX_TIME_ERROR = 0.4
"""Seconds, as documented. At most 0.1 was measured; a detector of levels misses the softest sounds."""

LEAD_SECONDS = 0.4
"""Silence before a sentence."""

Press = Callable[[], None]


@contextmanager
def hands_free(studio: Studio, *arguments: object) -> Iterator[Press]:
    with listening(studio.environment, "--local", *arguments) as listener:
        yield lambda: None
        listener.stop()
        assert listener.process.returncode == 0, listener.stderr_text


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


ENDPOINTING = {
    "silence": (hands_free, ("--mode", "manual")),
    "key": (by_key, ("--finalize", "key")),
    "turns": (hands_free, ("--mode", "auto")),
}


def find_offset(part: NDArray[np.float32], whole: NDArray[np.float32]) -> int:
    """The sample of `whole` at which `part` begins, by cross-correlation."""
    size = 1 << (len(part) + len(whole)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)))
    return int(np.argmax(correlation[: len(whole) - len(part)]))


def read(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as file:
        return (np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768).astype(np.float32)


def speech_bounds(samples: NDArray[np.float32]) -> tuple[float, float]:
    """Start and end, in seconds, of what is louder than 35 dB below the loudest 20 ms."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    energies = np.mean(frames**2, axis=1)
    loud = np.flatnonzero(energies > energies.max() * 10**-3.5)
    return loud[0] * 0.02, (loud[-1] + 1) * 0.02


def playable(sentence: str) -> NDArray[np.float32]:
    """The sentence as it is played: with silence around it, and quiet enough that no filter makes it clip."""
    spoken = np.concatenate([speech.silence(LEAD_SECONDS), 0.5 * speech.say(sentence), speech.silence(1.0)])
    return soxr.resample(spoken, speech.RATE, RATE).astype(np.float32)


def difference(recorded: NDArray[np.float32], sentence: str) -> tuple[float, float]:
    """The largest difference between the recording of a sentence and the output of our resampler, and the start of the
    sentence in seconds. The resampler keeps one sample of three; which one depends on the sound server.
    """
    candidates = []
    for skipped in range(RATE // speech.RATE):
        given = LowLatencyResampler(RATE).resample(np.concatenate([np.zeros(skipped, np.float32), playable(sentence)]))
        at = find_offset(given, recorded)
        candidates.append(
            (float(np.abs(recorded[at : at + len(given)] - given).max()), at / speech.RATE + LEAD_SECONDS)
        )
    return min(candidates)


@pytest.mark.parametrize("endpointing", ENDPOINTING)
def test_words_segment_times_and_samples_match_what_was_played(
    studio: Studio, tmp_path: Path, endpointing: str
) -> None:
    out, saved = tmp_path / "out.json", tmp_path / "saved.wav"
    session, options = ENDPOINTING[endpointing]
    with session(studio, *options, "--save-audio", saved, "-o", out) as press:
        for sentence in EXPECTED_WORDS:
            studio.play(playable(sentence), RATE)
            press()
    document, recorded = json.loads(out.read_text()), read(saved)
    assert session_recordings(studio.environment) == []
    assert len(document["segments"]) == len(EXPECTED_WORDS)
    assert "".join(segment["text"] for segment in document["segments"]) == document["text"]
    assert document["duration"] == pytest.approx(len(recorded) / speech.RATE, abs=0.2)  # the last frames
    for segment, (sentence, (first, *between, last)) in zip(document["segments"], EXPECTED_WORDS.items(), strict=True):
        words = plain_words(segment["text"]).split()
        assert (words[0], words[-1]) == (first, last)
        assert set(between) <= set(words)
        error, at = difference(recorded, sentence)
        assert error <= MAX_SAMPLE_ERROR
        start, end = speech_bounds(speech.say(sentence))
        assert segment["start"] == pytest.approx(at + start, abs=MAX_TIME_ERROR)
        assert segment["end"] == pytest.approx(at + end, abs=MAX_TIME_ERROR)
