"""The Whisper engine: its text depends on the audio alone, whatever it does at the same time and did before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cartesia_cli.audio.pcm import Samples
from cartesia_cli.server import capacity, whisper
from cartesia_cli.server.app import create_app
from cartesia_cli.server.capacity import Machine
from cartesia_cli.server.engine import Engine
from cartesia_cli.server.engine_choice import load_batch_engine
from cartesia_cli.server.observer import SilentObserver
from cartesia_cli.server.runner import serve_in_background
from tests import speech

pytestmark = pytest.mark.engine

SENTENCE = "She counted the chairs twice, and found that one of them was missing."


def utterances() -> list[Samples]:
    """Clear speech; speech played backwards, of which Whisper makes a loop; the first one again."""
    clear = speech.say(SENTENCE)
    return [clear, np.tile(clear[::-1], 2), clear]


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    return [speech.write_wav(tmp_path / f"{number}.wav", samples) for number, samples in enumerate(utterances())]


def transcribe(engine: Engine, files: list[Path]) -> list[bytes]:
    """The responses to these recordings, sent all at once, without their ids."""
    with (
        serve_in_background(create_app(engine)) as server,
        httpx.Client(base_url=server, timeout=300, trust_env=False) as client,
        ThreadPoolExecutor(len(files)) as pool,
    ):

        def send(file: Path) -> bytes:
            answer = client.post(
                "/stt",
                headers={"Cartesia-Version": "2026-03-01"},
                data={"model": "ink-whisper", "timestamp_granularities[]": "word"},
                files={"file": file.read_bytes()},
            ).raise_for_status()
            return answer.content.replace(answer.json()["request_id"].encode(), b"")

        return list(pool.map(send, files))


@pytest.mark.waits
def test_transcripts_are_the_same_side_by_side_and_one_after_the_other(
    recordings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "read_machine", lambda: Machine(2, None))
    alone, two = (load_batch_engine("tiny.en", SilentObserver(), workers) for workers in (1, 2))
    assert (alone.workers, two.workers) == (1, 2)
    one_by_one = [transcribe(alone, [file])[0] for file in recordings[:2]]
    one_by_one.append(one_by_one[0])  # of the same audio
    assert b"one of them was missing" in one_by_one[0]
    assert transcribe(two, recordings) == one_by_one


def test_words_of_an_utterance_do_not_depend_on_others_in_the_same_call() -> None:
    engine = load_batch_engine("tiny.en", SilentObserver())
    audio = [*utterances()[:2], speech.silence(5)]
    together = engine.recognize(audio, "en")
    assert together == [engine.recognize([samples], "en")[0] for samples in audio]
    assert together[2] == ()


def test_speech_that_repeats_itself_is_not_repeated_further() -> None:
    (found,) = load_batch_engine("tiny.en", SilentObserver()).recognize([np.tile(speech.say("No."), 20)], "en")
    words = [word.word.strip(" ,.").lower() for word in found]
    assert set(words) == {"no"}
    assert 15 <= len(words) <= 25


def test_memory_limits_the_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_for_one = capacity.PROCESS_BYTES + capacity.WORKER_BYTES
    monkeypatch.setattr(whisper, "read_machine", lambda: Machine(8, memory_for_one))
    assert load_batch_engine("tiny.en", SilentObserver(), 8).workers == 1


class GpuReports(SilentObserver):
    def __init__(self) -> None:
        self.used: list[str] = []
        self.failed: list[str] = []

    def gpu_used(self, model: str) -> None:
        self.used.append(model)

    def gpu_failed(self, model: str, reason: str) -> None:
        self.failed.append(reason)


def test_gpu_that_cannot_be_used_leaves_the_work_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 1)  # there is none: loading fails
    reports = GpuReports()
    engine = load_batch_engine("tiny.en", reports)
    assert reports.failed and not reports.used
    assert "missing" in "".join(word.word for word in engine.recognize([speech.say(SENTENCE)], "en")[0])


def test_gpu_is_used_once_it_has_recognized_something(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu, asked = whisper.faster_whisper.WhisperModel, []

    def load(folder: str, **options: Any) -> Any:
        asked.append((options["device"], options["compute_type"]))
        return on_cpu(folder, **options | {"device": "cpu", "compute_type": "float32"})

    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(whisper.faster_whisper, "WhisperModel", load)
    reports = GpuReports()
    load_batch_engine("tiny.en", reports)
    assert (asked, reports.used, reports.failed) == ([("cuda", "float16")], ["Whisper tiny.en"], [])
