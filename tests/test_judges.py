"""The local server against other people's clients: the official SDKs and two frameworks, unmodified, accept it.

They run in environments of their own (`.venv-judges` and `.venv-frameworks`, made by `make test`), as scripts
that print JSON; one process in each environment runs its scripts one after the other.
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
import numpy as np
import pytest

import cartesia_cli

from . import realtime_server as realtime
from .conftest import side_by_side
from .speech import SAMPLE, say, silence, write_wav

pytestmark = [pytest.mark.engine, pytest.mark.waits]

ROOT = Path(__file__).parent.parent
JUDGES = ROOT / "tests" / "judges"
BIN = "Scripts/python.exe" if os.name == "nt" else "bin/python"
PYTHON = ROOT / ".venv-judges" / BIN
FRAMEWORKS = ROOT / ".venv-frameworks" / BIN
PYTHONS = {"pipecat_services": FRAMEWORKS, "livekit_streams": FRAMEWORKS}
"""Script to the Python that runs it, where that isn't PYTHON."""
RECORDING = Path(cartesia_cli.__file__).parent / "sample.wav"

KEY = "sk_car_judge"  # as in judges/asked.py
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
def judges() -> Iterator[None]:
    """All judges; skips without them, except where CI is set."""
    if missing := [python for python in (PYTHON, FRAMEWORKS) if not python.exists()]:
        reason = f"the judges are not installed, {missing[0]} isn't there: `make test` does it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield
    for worker in workers.values():
        worker.communicate(timeout=60)
    workers.clear()


def ask(base_url: str) -> dict[str, Any]:
    """The server's own word that it is there."""
    with DIRECT.open(f"{base_url}/", timeout=30) as answer:
        status: dict[str, Any] = json.load(answer)
    return status


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[str]:
    """`cartesia-cli serve` on a free port, for the length of the block: its address, once it answers."""
    command = [sys.executable, "-m", "tests.tiny_model", "serve", "--port", "0", *options]
    server = subprocess.Popen(
        command, env=ENVIRONMENT | environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stderr is not None
        said = server.stdout.readline()
        assert said.startswith("export CARTESIA_BASE_URL=http://127.0.0.1:"), said + server.stderr.read()
        base_url = said.partition("=")[2].strip()
        ask(base_url)  # the address works as soon as it is printed
        yield base_url
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0


workers: dict[Path, subprocess.Popen[str]] = {}
"""Python to its process that runs scripts."""


def judge(script: str, *arguments: str) -> Any:
    """What a script of the judges prints."""
    python = PYTHONS.get(script, PYTHON)
    if python not in workers:
        command = [python, JUDGES / "worker.py"]
        workers[python] = subprocess.Popen(
            command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    worker = workers[python]
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(json.dumps([script, *arguments]) + "\n")
    worker.stdin.flush()
    limit = threading.Timer(900, worker.kill)
    limit.start()
    answer = json.loads(worker.stdout.readline())
    limit.cancel()
    assert "failed" not in answer, answer["failed"]
    return answer["printed"]


@pytest.fixture(scope="module")
def open_server() -> Iterator[str]:
    with serving() as base_url:
        yield base_url


@pytest.fixture(scope="module")
def busy_server() -> Iterator[str]:
    """A server that can't take another request."""
    with serving("--concurrency", "0") as base_url:
        yield base_url


@pytest.fixture(scope="module")
def heard_and_waits(open_server: str) -> tuple[dict[str, Any], list[float]]:
    """SDK to what it heard, all at the same time; and how many seconds the server took meanwhile, each time that it was
    asked whether it is there.
    """
    over = threading.Event()

    def knock() -> list[tuple[float, float]]:
        knocks = []
        while not over.wait(0.02):
            start = time.time()
            assert ask(open_server)["ok"] is True
            knocks.append((start, time.time() - start))
        return knocks

    with ThreadPoolExecutor(1) as pool:
        knocking = pool.submit(knock)
        try:
            told = judge("transcribe", open_server, str(RECORDING))
        finally:
            over.set()
    return told["answers"], [wait for start, wait in knocking.result() if told["began"] < start < told["ended"]]


@pytest.fixture(scope="module")
def transcripts(heard_and_waits: tuple[dict[str, Any], list[float]]) -> dict[str, Any]:
    return heard_and_waits[0]


@pytest.fixture(scope="module")
def refusals(open_server: str, busy_server: str) -> dict[str, Any]:
    """Case, then SDK, to what was raised: three servers, each in the mood for its own refusals."""
    outcomes: dict[str, Any] = judge(
        "refusals", open_server, "bad model", "bad audio", "empty audio", "unsupported language"
    )
    with serving("--require-key", "--max-bytes", "1000000", CARTESIA_API_KEY=KEY) as strict:
        outcomes |= judge("refusals", strict, "bad key", "too large", "silence")
    outcomes["busy"] = judge("refusals", busy_server, "silence")["silence"]
    return outcomes


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def errors(heard: str, said: str = SAMPLE) -> int:
    """How many words were heard wrong."""
    found = jiwer.process_words(words(said), words(heard))
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
def test_each_sdk_transcribes_the_sample_with_word_times(transcripts: dict[str, Any], sdk: str) -> None:
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
def test_sdk_parses_the_response_into_its_type(transcripts: dict[str, Any], sdk: str, type: str) -> None:
    assert transcripts[sdk]["class"] == type


def test_all_sdks_get_the_same_text(transcripts: dict[str, Any]) -> None:
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
def test_http_errors_become_the_sdks_own_exceptions(
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
def test_valid_key_is_accepted_after_refusals(refusals: dict[str, Any], sdk: str) -> None:
    assert refusals["silence"][sdk] == {"class": None, "text": ""}


def test_openais_response_formats_are_json_or_refused(open_server: str) -> None:
    outcomes = judge("response_formats", open_server)
    for name, type in (
        ("json", "Transcription"), ("verbose_json", "TranscriptionVerbose"), ("usual values", "Transcription"),
    ):  # fmt: skip
        found = outcomes.pop(name)
        assert (found["class"], found["text"], found["language"], found["duration"]) == (type, "", "en", 0.5)
        assert found["words"] == []
    assert len(outcomes) == 8
    for name, found in outcomes.items():
        assert found["class"] == "BadRequestError", name
        is_parameter = name in ("prompt", "temperature", "stream", "include")
        assert (name if is_parameter else "must be 'json' or 'verbose_json'") in found["said"], found["said"]


def test_server_stays_responsive_while_four_requests_are_answered(
    heard_and_waits: tuple[dict[str, Any], list[float]],
) -> None:
    heard, waits = heard_and_waits
    assert len(heard) == 4
    # If every answer had to wait for a transcription to end, there would be hardly more than four.
    assert len(waits) >= 20, waits


# Live: two utterances in real time, through everything that speaks Cartesia's realtime protocol.

SAID = ("The weather is lovely this morning.", "Let us walk along the river.")

MANUAL = ("manual", "async manual", "manual at once")
AUTO = ("auto", "async auto")
CLASSES = {
    "transcript": "STTManualFinalizeTranscriptResponse",
    "flush_done": "STTManualFinalizeFlushDoneResponse",
    "done": "STTManualFinalizeDoneResponse",
    "connected": "STTAutoFinalizeConnected",
    "turn.start": "STTAutoFinalizeTurnStart",
    "turn.update": "STTAutoFinalizeTurnUpdate",
    "turn.eager_end": "STTAutoFinalizeTurnEagerEnd",
    "turn.resume": "STTAutoFinalizeTurnResume",
    "turn.end": "STTAutoFinalizeTurnEnd",
}
"""Type of an event to the SDK's class for it."""
LETTERS = {
    "connected": "c", "turn.start": "s", "turn.update": "u", "turn.eager_end": "e", "turn.resume": "r", "turn.end": ".",
}  # fmt: skip
GRAMMAR = re.compile(r"c(su*(eru*)*e?\.)*")
"""What an auto session may say: the documented state machine of turns, each of which is ended."""


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Recordings of SAID, each followed by a pause in which a turn ends."""
    folder = tmp_path_factory.mktemp("utterances")
    sounds = [np.concatenate([silence(0.3), say(text), silence(1.8)]) for text in SAID]
    return [str(write_wav(folder / f"{number}.wav", sound)) for number, sound in enumerate(sounds)]


@pytest.fixture(scope="module")
def sessions(open_server: str, utterances: list[str]) -> dict[str, Any]:
    """Script to its sessions. Those of the SDK are held beside those of the frameworks, which another process runs."""

    def hold(scripts: list[str]) -> dict[str, Any]:
        return {script: judge(script, open_server, "1", *utterances) for script in scripts}

    of_the_sdk, of_frameworks = side_by_side(hold, [["realtime"], ["pipecat_services", "livekit_streams"]])
    return of_the_sdk | of_frameworks


@pytest.fixture(scope="module")
def sdk_sessions(sessions: dict[str, Any]) -> Any:
    return sessions["realtime"]


@pytest.fixture(scope="module")
def pipecat_sessions(sessions: dict[str, Any]) -> Any:
    return sessions["pipecat_services"]


@pytest.fixture(scope="module")
def livekit_sessions(sessions: dict[str, Any]) -> Any:
    return sessions["livekit_streams"]


def check_session(session: dict[str, Any]) -> list[str]:
    """What all sessions of the SDK have in common; the types of the events."""
    assert "raised" not in session, session["raised"]
    assert session["close_code"] == 1000
    events = session["events"]
    assert [event["class"] for event in events] == [CLASSES[event["type"]] for event in events]
    (request_id,) = {event["request_id"] for event in events}
    assert str(UUID(request_id)) == request_id
    return [event["type"] for event in events]


def check_words(heard: list[str]) -> None:
    """Both utterances, with a word wrong in each at most."""
    assert len(heard) == len(SAID), heard
    for text, said in zip(heard, SAID, strict=True):
        assert errors(text, said) <= 1, heard


@pytest.mark.parametrize("session", MANUAL)
def test_sdk_manual_session(sdk_sessions: dict[str, Any], session: str) -> None:
    types = check_session(sdk_sessions[session])
    finalized = 1 if session == "manual at once" else len(SAID)
    assert types.count("flush_done") == finalized
    assert types.count("done") == 1 and types[-1] == "done"
    assert errors(sdk_sessions[session]["text"], " ".join(SAID)) <= 2
    assert all(event["is_final"] for event in sdk_sessions[session]["events"] if event["type"] == "transcript")


@pytest.mark.parametrize("session", ["manual", "async manual"])
def test_text_before_finalize_precedes_flush_done(sdk_sessions: dict[str, Any], session: str) -> None:
    heard, told = [], ""
    for event in sdk_sessions[session]["events"]:
        told += event.get("text", "")
        if event["type"] == "flush_done":
            heard.append(told)
            told = ""
    check_words(heard)
    assert not told


@pytest.mark.parametrize("session", AUTO)
def test_sdk_auto_session_has_ordered_turn_events(sdk_sessions: dict[str, Any], session: str) -> None:
    types = check_session(sdk_sessions[session])
    assert GRAMMAR.fullmatch("".join(LETTERS[type] for type in types)), types
    check_words(sdk_sessions[session]["turns"])
    assert "turn.update" in types
    text = ""
    for event in sdk_sessions[session]["events"]:
        if event["type"] == "turn.start":
            text = ""
        told = event.get("transcript", text)
        assert told.startswith(text), f"{text!r} was taken back for {told!r}"
        text = told


def test_sdk_session_goes_on_after_a_refused_config(sdk_sessions: dict[str, Any]) -> None:
    session = sdk_sessions["auto config"]
    assert session["close_code"] == 1000
    (error,) = [event for event in session["events"] if event["type"] == "error"]
    assert (error["status_code"], error["title"]) == (400, "Invalid language hints")
    assert errors("".join(session["turns"]), " ".join(SAID)) <= 2


@pytest.mark.parametrize("session", AUTO)
def test_turns_joined_are_the_text(sdk_sessions: dict[str, Any], session: str) -> None:
    text = "".join(sdk_sessions[session]["turns"])
    assert not text.startswith(" ")
    assert errors(text, " ".join(SAID)) <= 2


@pytest.mark.parametrize("service", ["manual", "turns"])
def test_pipecat_gets_each_utterance(pipecat_sessions: dict[str, Any], service: str) -> None:
    session = pipecat_sessions[service]
    assert session["errors"] == []
    assert errors("".join(session["finals"]), " ".join(SAID)) <= 2, session["finals"]
    if service == "turns":
        check_words(session["finals"])


def test_pipecat_gets_speech_start_and_end(pipecat_sessions: dict[str, Any]) -> None:
    told = [frame["class"] for frame in pipecat_sessions["turns"]["frames"] if frame["class"].startswith("Proposed")]
    assert told == ["ProposedUserStartedSpeakingFrame", "ProposedUserStoppedSpeakingFrame"] * len(SAID)
    assert any(frame["class"] == "InterimTranscriptionFrame" for frame in pipecat_sessions["turns"]["frames"])


@pytest.mark.parametrize("model", ["turns", "whisper"])
def test_livekit_gets_each_utterance(livekit_sessions: dict[str, Any], model: str) -> None:
    session = livekit_sessions[model]
    assert session["errors"] == []
    check_words(session["finals"])
    types = [event["type"] for event in session["events"]]
    assert types.count("start_of_speech") == types.count("end_of_speech") == len(SAID)


def test_livekit_gets_word_times_from_whisper(livekit_sessions: dict[str, Any]) -> None:
    finals = [event for event in livekit_sessions["whisper"]["events"] if event["type"] == "final_transcript"]
    for event in finals:
        assert "".join(word["word"] for word in event["words"]).split() == event["text"].split()
    times = [time for event in finals for word in event["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times) and times[0] >= 0
    # The second utterance was spoken after the first and its pause.
    assert finals[1]["words"][0]["start"] > finals[0]["words"][-1]["end"] + 1


def test_every_judge_reports_a_refused_handshake(utterances: list[str], busy_server: str) -> None:
    with serving("--require-key", CARTESIA_API_KEY="sk_car_another") as locked_server:
        check_refusals(busy_server, utterances[0], 429, "concurrency limit")
        check_refusals(locked_server, utterances[0], 401, "not valid")
        # What is worth another try, they try again, at length: so this is asked of one refusal only.
        told = judge("livekit_streams", locked_server, "8", utterances[0], "--only", "turns")["turns"]["errors"]
    assert told and "status_code=401" in told[0]


def check_refusals(base_url: str, utterance: str, status: int, said: str) -> None:
    for session in judge("realtime", base_url, "8", utterance).values():
        assert session["refused"] == status
        assert set(session["body"]) == {"error_code", "title", "message", "request_id"}
        assert said in session["body"]["message"]


# The judges before a server whose words are known, and the server before those who know.


def by_the_book(connection: realtime.ServerConnection) -> None:
    """Either endpoint, and whichever model."""
    is_whisper = (connection.record.parameter("model") or "").startswith("ink-whisper")
    voice = realtime.whispered if is_whisper else realtime.ServerConnection.say
    (realtime.turns() if connection.record.path == realtime.TURNS else realtime.manual(voice=voice))(connection)


def test_sdk_gets_the_test_servers_text_verbatim(utterances: list[str]) -> None:
    with realtime.RealtimeServer(by_the_book) as server:
        sessions = judge("realtime", server.base_url, "8", *utterances)
    for name in MANUAL:
        check_session(sessions[name])
        assert sessions[name]["text"] == realtime.MANUAL_TEXT
    for name in AUTO:
        check_session(sessions[name])
        assert sessions[name]["turns"] == list(realtime.TURN_TEXTS)
    manual, *_ = server.records
    assert manual.commands == ["finalize", "finalize", "close"]
    assert len({len(call.audio) for call in server.records}) == 1


def test_frameworks_get_the_test_servers_text_verbatim(utterances: list[str]) -> None:
    with realtime.RealtimeServer(by_the_book) as server:
        pipecat = judge("pipecat_services", server.base_url, "8", utterances[0])
        livekit = judge("livekit_streams", server.base_url, "8", utterances[0])
    # The rest comes with the end of the session, for which this service doesn't wait.
    assert "".join(pipecat["manual"]["finals"]) == "".join(realtime.UTTERANCES[0])
    assert pipecat["turns"]["finals"] == [text for text in realtime.TURN_TEXTS if text]
    assert "".join(livekit["whisper"]["finals"]) == realtime.MANUAL_TEXT
    assert livekit["turns"]["finals"] == list(realtime.TURN_TEXTS)
    assert [call.commands for call in server.records] == [
        ["finalize", "done"],
        ["close"],
        ["close"],
        ["finalize", "close"],
    ]


def test_incomplete_end_that_the_sdk_accepts_is_detected_here(utterances: list[str]) -> None:
    with realtime.RealtimeServer(realtime.ends_unfinished(1001)) as server:
        sessions = judge("realtime", server.base_url, "8", utterances[0], "--only", "manual at once", "auto")
    for session in sessions.values():
        assert "raised" not in session
        with pytest.raises(AssertionError):
            check_session(session)
