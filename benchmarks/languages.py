"""Measures how Whisper base recognizes and detects languages, and compares it with faster-whisper's own decoding.

People speak Italian, Russian, Spanish and French prompts, which Debian's packages contain (see `prompts.py`). Some of
their texts differ from what is said, so error rates on another set say little: faster-whisper transcribes the same
recordings with the same weights, language, beam and voice detector. Target: at most 1.1 times its character errors, in
all languages together. Recordings for which one of the two writes digits are left out, because their texts spell them.

95 of 100 prompts of at least 40 characters are to be detected as what they are; shorter ones are counted beside them.

German is spoken by espeak-ng. `--recordings` adds other languages: a folder for each, such as `ja`, in which `01.wav`
has its text in `01.txt`. `voices.py` makes them for Japanese and Mandarin.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np
import soundfile
import soxr
from faster_whisper import WhisperModel
from measuring import ROOT, Report
from prompts import prompts

sys.path.insert(0, str(ROOT))

from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.evaluation import UNSPACED_LANGUAGES
from cartesia_cli.protocol.languages import language_name
from cartesia_cli.server.engine import Engine
from cartesia_cli.server.engine_choice import load_batch_engine
from cartesia_cli.server.observer import SilentObserver
from cartesia_cli.server.whisper import WhisperEngine
from cartesia_cli.server.whisper_decoding import BEAM_SIZE, LANGUAGES_WITHOUT_TIMESTAMPS, PROMPTS

PEOPLE = ("it", "ru", "es", "fr")
"""Languages of the prompts that people speak."""

TOLERANCE, DETECTION_GOAL = 1.1, 0.95

LENGTHS, SHORT = range(15, 161), range(15, 40)
"""Lengths of texts, in characters: of all that are compared, and of those too short to count for detection. A single
word has no language.
"""

GERMAN = (
    "Guten Morgen, meine Damen und Herren.",
    "Am Abend wird es in den Bergen schnell dunkel.",
    "Der Bus fährt jede Stunde vom Bahnhof ab, und die Karten kosten nicht viel Geld.",
    "Wer wandern möchte, sollte warme Kleidung und genug zu essen mitnehmen.",
    "Im Winter sind die Wege oft gesperrt.",
)


class Result(NamedTuple):
    """What was recognized in one recording; texts are normalized.

    detected   the language code that was detected, if any
    """

    said: str
    heard: str
    heard_by_faster_whisper: str
    detected: str | None


def find_recordings(most: int, others: Path | None) -> Iterator[tuple[str, list[tuple[Samples, str]]]]:
    """Each language with its recordings and their texts.

    most     recordings of each language that people speak
    others   a folder of folders with recordings, if there is one
    """
    with tempfile.TemporaryDirectory() as folder:
        for language in PEOPLE:
            found = prompts(language, Path(folder), most, LENGTHS)
            yield language, [(_read(path), text) for path, text in found]
    yield "de", [(_espeak(text), text) for text in GERMAN] if shutil.which("espeak-ng") else []
    for files in sorted(others.iterdir()) if others else ():
        paths = sorted(files.glob("*.wav"))
        yield files.name, [(_read(path), path.with_suffix(".txt").read_text("utf-8")) for path in paths]


def recognize(engine: Engine, model: WhisperModel, samples: Samples, text: str, language: str) -> Result:
    """A recording as the program recognizes it, and as faster-whisper does."""
    found = engine.detect_language(samples)
    words = engine.recognize([samples], language)[0]
    segments, _ = model.transcribe(
        samples,
        language=language,
        beam_size=BEAM_SIZE,
        vad_filter=True,
        initial_prompt=PROMPTS.get(language),
        without_timestamps=language in LANGUAGES_WITHOUT_TIMESTAMPS,  # with them, Chinese may be in the other script
    )
    texts = text, "".join(word.word for word in words), "".join(segment.text for segment in segments)
    said, heard, other = (normalized(text, language) for text in texts)
    return Result(said, heard, other, found.language if found else None)


def character_errors(pairs: Sequence[tuple[str, str]]) -> int:
    """How many characters have to be changed in what was heard: pairs of what was said and what was heard."""
    found = jiwer.process_characters([said for said, _ in pairs], [heard for _, heard in pairs])
    return int(found.substitutions + found.insertions + found.deletions)


def normalized(text: str, language: str) -> str:
    """A text without case and punctuation, and without accents, which some texts lack; where words aren't separated by
    spaces, without those, and with all marks, since they make other letters in Japanese.
    """
    if language in UNSPACED_LANGUAGES:
        return "".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text)))
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"\w+", "".join(char for char in decomposed if not unicodedata.combining(char))))


def _espeak(text: str) -> Samples:
    spoken = subprocess.run(["espeak-ng", "-v", "de", "--stdout", text], check=True, capture_output=True)
    return _read(io.BytesIO(spoken.stdout))


def _read(file: Path | io.BytesIO) -> Samples:
    samples, rate = soundfile.read(file, dtype="float32")
    resampled: Samples = soxr.resample(samples, rate, RATE).astype(np.float32)
    return resampled


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=20, help="of each language that people speak")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="recordings of other languages")
    arguments = parser.parse_args()
    engine = load_batch_engine("base", SilentObserver())
    assert isinstance(engine, WhisperEngine)
    model = engine.model
    report = Report("", "recordings", "compared", "detected", "short ones", "CER", "faster-whisper")
    right = total = 0
    errors = errors_of_other = 0
    for language, pairs in find_recordings(arguments.prompts, arguments.recordings):
        if not pairs:
            report.row(language_name(language), "not installed", "", "", "", "", "")
            continue
        results = [recognize(engine, model, samples, text, language) for samples, text in pairs]
        compared = [result for result in results if not re.search(r"\d", result.heard + result.heard_by_faster_whisper)]
        wrong = character_errors([(result.said, result.heard) for result in compared])
        others_wrong = character_errors([(result.said, result.heard_by_faster_whisper) for result in compared])
        errors, errors_of_other = errors + wrong, errors_of_other + others_wrong
        characters = sum(len(result.said) for result in compared)
        is_long = [len(text) not in SHORT or language in UNSPACED_LANGUAGES for _, text in pairs]
        detected = [result.detected == language for result in results]
        long = [is_right for is_right, long in zip(detected, is_long, strict=True) if long]
        short = [is_right for is_right, long in zip(detected, is_long, strict=True) if not long]
        if language in PEOPLE:
            right, total = right + sum(long), total + len(long)
        counts = f"{sum(long)} of {len(long)}", f"{sum(short)} of {len(short)}"
        rates = [f"{count / max(1, characters):.1%}" for count in (wrong, others_wrong)]
        report.row(language_name(language), str(len(results)), str(len(compared)), *counts, *rates)
    met = errors <= TOLERANCE * errors_of_other
    report.row("all: wrong characters", "", "", "", "", str(errors), str(errors_of_other), met=met)
    if total:
        met = right >= DETECTION_GOAL * total
        report.row(f"people: {DETECTION_GOAL:.0%} detected", "", "", f"{right} of {total}", "", "", "", met=met)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
