"""The local server before its judges: the official SDKs, unmodified, take it for Cartesia's API.

They run in an environment of their own (`.venv-judges`, made by `make test`), as scripts that print JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener
from uuid import UUID

import jiwer
import pytest

import cartesia_cli

from .speech import SAMPLE

ROOT = Path(__file__).parent.parent
JUDGES = ROOT / "tests" / "judges"
PYTHON = ROOT / ".venv-judges" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
RECORDING = Path(cartesia_cli.__file__).parent / "sample.wav"

KEY = "sk_car_judge"  # as in judges/sdks.py
SDKS = ("cartesia", "openai", "async cartesia", "async openai")

with wave.open(str(RECORDING)) as sound:
    SECONDS = sound.getnframes() / sound.getframerate()

# What the tests' own environment says about servers and proxies is not for the programs under test.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("CARTESIA_", "OPENAI_")) and not name.lower().endswith("_proxy")
}
DIRECT = build_opener(ProxyHandler({}))


@pytest.fixture(scope="module", autouse=True)
def judges() -> None:
    """The SDKs, or a reason why they aren't heard. Where CI is set there is no such reason."""
    if PYTHON.exists():
        return
    reason = "the official SDKs are not installed in .venv-judges: `make test` does it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def ask(base_url: str) -> dict[str, Any]:
    """The server's own word that it is there."""
    with DIRECT.open(f"{base_url}/", timeout=30) as answer:
        status: dict[str, Any] = json.load(answer)
    return status


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[str]:
    """`cartesia-cli serve` on a free port, for the length of the block: its address, once it answers."""
    command = [sys.executable, "-m", "cartesia_cli", "serve", "--port", "0", *options]
    server = subprocess.Popen(
        command, env=ENVIRONMENT | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stderr is not None
        said = server.stdout.readline()
        assert said.startswith("export CARTESIA_BASE_URL=http://127.0.0.1:"), said + server.stderr.read()
        base_url = said.partition("=")[2].strip()
        ask(base_url)  # whoever has been told the address finds somebody there
        yield base_url
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0


def judge(script: str, *arguments: str) -> Any:
    """What a script of the judges prints."""
    command = [str(PYTHON), str(JUDGES / f"{script}.py"), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def open_server() -> Iterator[str]:
    with serving() as base_url:
        yield base_url


@pytest.fixture(scope="module")
def transcripts(open_server: str) -> dict[str, Any]:
    answers: dict[str, Any] = judge("transcribe", open_server, str(RECORDING))
    return answers


@pytest.fixture(scope="module")
def refusals(open_server: str) -> dict[str, Any]:
    """Case, then SDK, to what was raised: three servers, each in the mood for its own refusals."""
    outcomes: dict[str, Any] = judge(
        "refusals", open_server, "bad model", "bad audio", "empty audio", "unsupported language"
    )
    with serving("--require-key", "--max-bytes", "1000000", CARTESIA_API_KEY=KEY) as strict:
        outcomes |= judge("refusals", strict, "bad key", "too large", "silence")
    with serving("--concurrency", "0") as busy:
        outcomes["busy"] = judge("refusals", busy, "silence")["silence"]
    return outcomes


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def errors(heard: str) -> int:
    """How many words of the sample were heard wrong."""
    found = jiwer.process_words(words(SAMPLE), words(heard))
    return found.substitutions + found.deletions + found.insertions


def check(answer: dict[str, Any]) -> None:
    """A transcript of the sample, word times and all."""
    assert errors(answer["text"]) <= 1, answer["text"]
    assert answer["type"] == "transcript"
    assert answer["language"] == "en"
    assert answer["duration"] == pytest.approx(SECONDS, abs=0.01)
    assert str(UUID(answer["request_id"])) == answer["request_id"]
    assert [word["word"] for word in answer["words"]] == answer["text"].split()
    times = [time for word in answer["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] <= 1 and SECONDS - 1 <= times[-1] <= answer["duration"]


@pytest.mark.parametrize("sdk", SDKS)
def test_each_sdk_gets_the_sample_right_with_word_times(transcripts: dict[str, Any], sdk: str) -> None:
    check(transcripts[sdk])


@pytest.mark.parametrize(
    ("sdk", "type"),
    [
        ("cartesia", "STTTranscribeResponse"),
        ("async cartesia", "STTTranscribeResponse"),
        ("openai", "Transcription"),
        ("async openai", "Transcription"),
    ],
)
def test_an_sdk_makes_its_own_type_of_the_answer(transcripts: dict[str, Any], sdk: str, type: str) -> None:
    assert transcripts[sdk]["class"] == type


def test_all_sdks_hear_the_same(transcripts: dict[str, Any]) -> None:
    one, *others = [transcripts[sdk] | {"class": None, "request_id": None} for sdk in SDKS]
    assert others == [one] * 3
    assert len({transcripts[sdk]["request_id"] for sdk in SDKS}) == 4


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize(
    ("case", "status", "type", "code", "said"),
    [
        ("bad model", 400, "BadRequestError", "model_not_found", "valid model ID"),
        ("bad audio", 400, "BadRequestError", None, "can't be decoded"),
        ("empty audio", 400, "BadRequestError", None, "can't be decoded"),
        ("unsupported language", 400, "BadRequestError", None, "doesn't know 'de'"),
        ("bad key", 401, "AuthenticationError", None, "not valid"),
        ("too large", 413, "APIStatusError", None, "at most 1000000 bytes"),
        ("busy", 429, "RateLimitError", "concurrency_limited", "concurrency limit"),
    ],
)
def test_a_refusal_is_the_sdks_own_error(
    refusals: dict[str, Any], sdk: str, case: str, status: int, type: str, code: str | None, said: str
) -> None:
    error = refusals[case][sdk]
    assert error["class"] == f"{sdk.split()[-1]}.{type}", error
    assert error["status"] == status
    assert said in error["text"]
    body = error["body"]
    assert set(body) == {"error_code", "title", "message", "request_id"}
    assert body["error_code"] == code
    assert body["title"] and said in body["message"]
    assert body["request_id"] == error["header_id"]
    assert error["retry_after"] == ("1" if status == 429 else None)


@pytest.mark.parametrize("sdk", SDKS)
def test_the_right_key_is_let_in_after_refusals(refusals: dict[str, Any], sdk: str) -> None:
    assert refusals["silence"][sdk] == {"class": None, "text": ""}


def test_four_requests_side_by_side_succeed_while_the_server_keeps_answering(open_server: str) -> None:
    over = threading.Event()

    def knock() -> list[tuple[float, float]]:
        """When the server was asked whether it is there, and how long the answer took."""
        knocks = []
        while not over.wait(0.02):
            start = time.time()
            assert ask(open_server)["ok"] is True
            knocks.append((start, time.time() - start))
        return knocks

    with ThreadPoolExecutor(1) as pool:
        knocking = pool.submit(knock)
        try:
            heard = judge("parallel", open_server, str(RECORDING))
        finally:
            over.set()
    assert len(heard["answers"]) == 4
    for answer in heard["answers"]:
        check(answer)
    assert len({answer["request_id"] for answer in heard["answers"]}) == 4
    waits = sorted(wait for start, wait in knocking.result() if heard["began"] < start < heard["ended"])
    # If every answer had to wait for a transcription to end, there would be hardly more than four.
    assert len(waits) >= 20 and waits[len(waits) // 2] < 0.25, waits
