"""Measures the offline engines with `cartesia-cli eval`: word and character errors, speed and memory by language.

People speak the prompts of Debian's packages asterisk-core-sounds-* (CC-BY-SA 3.0, 8 kHz, one speaker for each
language), whose texts come with them. Packages that aren't installed are downloaded by apt and unpacked into a
temporary folder. English is also spoken by the synthetic voice of the tests. These are figures without targets;
`local.py` and `live_engines.py` have targets for English.

CPU time is that of whole processes, with the start of the engine, per second of audio. Prompts are short, and Whisper
takes as much time for each as for half a minute: long recordings need less.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
import wave
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from measuring import CLI, ROOT, Report, environment, run

PROMPTS = 20
"""Of each language. They are drawn at random, but always the same."""

MIN_WORDS, MAX_SECONDS = 4, 15.0

LIVE_SPEED = 4
"""How many times faster than real time recordings are replayed: the text is the same as long as the engine keeps up."""


class Case(NamedTuple):
    """Recordings, and the engine that is measured with them.

    speech   who speaks
    mode     of `eval --compare`
    model    of --local-model; empty: that of live sessions
    """

    language: str
    speech: str
    mode: str
    model: str


CASES = (
    *(Case("en", speech, "batch", model) for speech in ("prompts", "synthetic") for model in ("tiny.en", "base")),
    *(Case("en", speech, mode, "") for speech in ("prompts", "synthetic") for mode in ("auto", "manual")),
    *(Case(language, "prompts", "batch", "base") for language in ("es", "fr", "it", "ru")),
)


def unpack(language: str, folder: Path) -> Path:
    """The root below which the packages of a language are installed; `folder`, into which they are unpacked, if they
    aren't.
    """
    if texts_of(language, Path("/")).exists() and any(sounds_of(language, Path("/"))):
        return Path("/")
    names = [f"asterisk-core-sounds-{language}", f"asterisk-core-sounds-{language}-wav"]
    subprocess.run(["apt-get", "download", "-qq", *names], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    for name in names:
        for package in folder.glob(f"{name}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return folder


def texts_of(language: str, root: Path) -> Path:
    return root / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"


def sounds_of(language: str, root: Path) -> list[Path]:
    """The folders with the recordings of a language."""
    return list((root / "usr/share/asterisk/sounds").glob(f"{language}_*"))


def prompts(language: str, folder: Path, count: int) -> list[tuple[Path, str]]:
    """Recordings of whole sentences with their texts."""
    root = unpack(language, folder)
    (sounds,) = sounds_of(language, root)
    found = []
    for line in gzip.decompress(texts_of(language, root).read_bytes()).decode("utf-8-sig").splitlines():
        name, colon, text = line.partition(": ")
        path = sounds / f"{name}.wav"
        is_sentence = len(text.split()) >= MIN_WORDS and not set(text) & set("[]<>()/;")
        if not line.startswith(";") and colon and is_sentence and path.is_file() and seconds(path) <= MAX_SECONDS:
            found.append((path, text.strip()))
    return random.Random(0).sample(sorted(found), count)


def seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def synthesize(folder: Path, count: int) -> None:
    """Write sentences as recordings with their texts. Runs in a process of its own, because it takes much memory."""
    sys.path.insert(0, str(ROOT))
    from tests.speech import say, write_wav

    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    for number, sentence in enumerate(sentences[:count]):
        path = write_wav(folder / f"{number:02}.wav", say(sentence))
        path.with_suffix(".txt").write_text(sentence, "utf-8")


def write_manifests(folder: Path, count: int) -> dict[tuple[str, str], Path]:
    """A manifest for each language and each kind of speech."""
    spoken = folder / "synthetic"
    spoken.mkdir()
    worker = get_context("spawn").Process(target=synthesize, args=(spoken, count))
    worker.start()
    worker.join()
    rows = {
        ("en", "synthetic"): [(path, path.with_suffix(".txt").read_text()) for path in sorted(spoken.glob("*.wav"))]
    }
    for language in dict.fromkeys(case.language for case in CASES):
        rows[language, "prompts"] = prompts(language, folder, count)
    manifests = {}
    for (language, speech), recordings in rows.items():
        manifest = manifests[language, speech] = folder / f"{language}-{speech}.jsonl"
        lines = [json.dumps({"audio_filepath": str(path), "text": text}) for path, text in recordings]
        manifest.write_text("".join(f"{line}\n" for line in lines))
    return manifests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="recordings of each language")
    count = parser.parse_args().prompts
    report = Report("speech", "engine", "words", "WER (95 %)", "CER", "CPU s", "MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifests = write_manifests(folder, count)
        for case in CASES:
            options = ["-l", case.language, "--compare", case.mode, "--speed", str(LIVE_SPEED)]
            options += ["--local-model", case.model] if case.model else []
            manifest = str(manifests[case.language, case.speech])
            fixed = ("--local", "-j", "1", "--no-cache", "-q", "-f", "json")
            done = run([CLI, "eval", manifest, *options, *fixed], environment(name)).checked()
            found = json.loads(done.stdout)
            low, high = found["wer_interval"]
            report.row(
                f"{case.language}, {case.speech}",
                f"Whisper {case.model}" if case.model else f"live, {case.mode}",
                str(found["words"]),
                f"{100 * found['wer']:.1f} ({100 * low:.1f} - {100 * high:.1f})",
                f"{100 * found['cer']:.1f}",
                f"{done.cpu / found['duration']:.2f}",
                "?" if done.peak is None else f"{done.peak / 1e6:.0f}",
            )
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
