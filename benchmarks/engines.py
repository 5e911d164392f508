"""Measures the offline engines with `cartesia-cli eval`: word and character errors, speed and memory by language.

People speak prompts (see `prompts.py`); English is also spoken by the synthetic voice of the tests. These are figures
without targets: `local.py`, `live_engines.py` and `languages.py` have targets.

CPU time is that of whole processes, with the start of the engine, per second of audio. Whisper encodes a prompt in as
much time as ten seconds: long recordings need less.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from measuring import CLI, ROOT, Report, environment, run
from prompts import prompts

PROMPTS, SENTENCES = 12, 20
"""Recordings of each language, and sentences of the synthetic voice."""

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
    worker = get_context("spawn").Process(target=synthesize, args=(spoken, SENTENCES))
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
            if (manifest := manifests[case.language, case.speech]).stat().st_size == 0:
                report.row(f"{case.language}, {case.speech}", "not installed", "", "", "", "", "")
                continue
            options = ["-l", case.language, "--compare", case.mode, "--speed", str(LIVE_SPEED)]
            options += ["--local-model", case.model] if case.model else []
            fixed = ("--local", "-j", "1", "--no-cache", "-q", "-f", "json")
            done = run([CLI, "eval", str(manifest), *options, *fixed], environment(name)).checked()
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
