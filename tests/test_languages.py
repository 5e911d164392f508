"""Languages: which are recognized offline, how they are detected, and what is sent to which server."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from websockets.sync.client import connect

from cartesia_cli.commands.backend import BackendConfig, describe_engine, engine_name
from cartesia_cli.commands.batch.config import BatchConfig
from cartesia_cli.commands.batch.transcriber import report_languages
from cartesia_cli.commands.live.options import SessionOptions
from cartesia_cli.commands.options import language_for_server
from cartesia_cli.errors import UsageError
from cartesia_cli.output import Layout
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.batch import BatchOptions, BatchResponse, decode_batch, encode_batch
from cartesia_cli.protocol.constants import BASE_URL
from cartesia_cli.protocol.json_fields import DetectedLanguage, Word
from cartesia_cli.protocol.languages import (
    LANGUAGE_NAMES,
    LANGUAGES,
    OTHER_NAMES,
    THREE_LETTER_CODES,
    primary_language,
)
from cartesia_cli.protocol.realtime import AUTO, MANUAL
from cartesia_cli.server import moonshine, whisper
from cartesia_cli.server.app import create_app
from cartesia_cli.server.engine_choice import load_batch_engine, load_live_engine
from cartesia_cli.server.language_detection import SpokenLanguages
from cartesia_cli.server.observer import SilentObserver
from cartesia_cli.server.packaged_models import MOONSHINE
from cartesia_cli.server.runner import serve_in_background
from cartesia_cli.transcript import from_batch
from tests import speech
from tests.conftest import require_program

VERSION = {"Cartesia-Version": "2026-03-01"}
LOOPBACK = "http://127.0.0.1:8000"
GERMAN = "Guten Morgen, meine Damen und Herren. Am Abend wird es schnell dunkel."


def heard(language: str, confidence: float) -> DetectedLanguage:
    return DetectedLanguage(language, confidence)


# Detection, window by window


def test_windows_in_the_same_language_are_one_span_with_their_mean_confidence() -> None:
    spoken = SpokenLanguages()
    assert [spoken.add(heard("de", 0.9), 30.0), spoken.add(heard("de", 0.6), 15.0)] == ["de", "de"]
    assert spoken.spans == (DetectedLanguage("de", 0.8, 0.0, 45.0),)
    assert spoken.main == "de"


def test_language_changes_only_when_another_one_is_heard_with_confidence() -> None:
    spoken = SpokenLanguages()
    windows = [("de", 0.9), ("nl", 0.6), ("de", 0.9), ("en", 0.95), ("en", 0.95)]
    assert [spoken.add(heard(*window), 30.0) for window in windows] == ["de", "de", "de", "en", "en"]
    assert spoken.spans == (DetectedLanguage("de", 0.9, 0.0, 90.0), DetectedLanguage("en", 0.95, 90.0, 150.0))
    assert spoken.main == "de"


def test_silence_keeps_the_language_and_has_none_of_its_own() -> None:
    spoken = SpokenLanguages()
    assert spoken.add(None, 30.0) == "en"
    assert (spoken.spans, spoken.main) == ((), None)
    assert spoken.add(heard("fr", 0.4), 30.0) == "fr"  # the first one is taken, however uncertain
    assert spoken.add(None, 30.0) == "fr"
    assert spoken.spans == (DetectedLanguage("fr", 0.4, 30.0, 60.0),)


# In transcripts and messages


SPANS = (DetectedLanguage("de", 0.97, 0.0, 65.0), DetectedLanguage("en", 0.994, 65.0, 90.0))
BOTH = BatchResponse(
    text="Guten Tag. Good day.",
    language="de",
    languages=SPANS,
    words=(Word("Guten", 1.0, 1.5), Word("Tag.", 1.5, 2.0), Word("Good", 70.0, 70.5), Word("day.", 70.5, 71.0)),
)


def test_detected_languages_survive_the_wire() -> None:
    assert decode_batch(encode_batch(BOTH)).languages == SPANS
    assert json.loads(encode_batch(BatchResponse(text=""))) == {"type": "transcript", "text": ""}


def test_segments_have_a_language_where_it_varies() -> None:
    segments = [segment.to_dict() for segment in from_batch(BOTH, source="", model="").segments]
    assert [segment["language"] for segment in segments] == ["de", "en"]
    assert segments[1]["languages"] == [{"language": "en", "confidence": 0.994}]
    one = BatchResponse(text=BOTH.text, language="de", languages=SPANS[:1], words=BOTH.words)
    transcript = from_batch(one, source="", model="")
    assert transcript.language == "de"
    assert not any("language" in segment.to_dict() for segment in transcript.segments)


@pytest.mark.parametrize(
    ("spans", "sentence"),
    [
        (SPANS[:1], "talk.mp3: detected language: German (97 %)\n"),
        (SPANS, "talk.mp3: detected languages: German (97 %), from 1:05 English (99 %)\n"),
        (None, ""),
    ],
)
def test_detected_languages_are_said_with_their_confidence(
    spans: tuple[DetectedLanguage, ...] | None, sentence: str
) -> None:
    stderr = io.StringIO()
    report_languages(BatchResponse(text="", languages=spans), "talk.mp3", Reporter(stderr, {}))
    assert stderr.getvalue() == sentence


def test_every_language_has_a_name() -> None:
    assert set(LANGUAGES) < set(LANGUAGE_NAMES)
    assert len(set(LANGUAGE_NAMES.values())) == len(LANGUAGE_NAMES)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("en", "en"), ("EN", "en"), ("en-US", "en"), ("en_us", "en"), ("english", "en"), ("eng", "en"), ("deu", "de"),
        ("ger", "de"), ("Haitian Creole", "ht"), ("cmn-Hans-CN", "zh"), ("zh-Hant", "zh"), ("castilian", "es"),
        ("haw", "haw"), ("tlh-Latn", "tlh"), ("", ""),
    ],
)  # fmt: skip
def test_language_is_known_by_its_code_or_name(language: str, code: str) -> None:
    assert primary_language(language) == code


def test_other_names_and_codes_are_of_languages_that_have_a_name() -> None:
    codes = [entry.split() for entry in THREE_LETTER_CODES.split(",")]
    assert {code for _, code in codes} | {*OTHER_NAMES.values()} < set(LANGUAGE_NAMES)
    assert not {name for name, _ in codes} & set(LANGUAGE_NAMES)


# What is sent to which server


@pytest.mark.parametrize("base_url", [None, LOOPBACK])
@pytest.mark.parametrize("language", ["auto", "zh-Hant", "zh-Hans", "de", None])
def test_servers_on_this_machine_get_the_language_as_it_is(language: str | None, base_url: str | None) -> None:
    assert language_for_server(language, base_url, Reporter(io.StringIO(), {})) == language


def test_api_gets_chinese_without_its_script_and_is_never_asked_to_detect() -> None:
    stderr = io.StringIO()
    assert language_for_server("zh-Hant", BASE_URL, Reporter(stderr, {})) == "zh"
    assert stderr.getvalue() == "warning: the API doesn't tell Chinese scripts apart: zh-Hant is sent as zh\n"
    with pytest.raises(UsageError, match="can't detect the language"):
        language_for_server("auto", BASE_URL, Reporter(stderr, {}))


@pytest.mark.parametrize("endpoint", [AUTO, MANUAL])
def test_live_models_that_detect_the_language_get_none_for_auto(endpoint: object) -> None:
    stderr = io.StringIO()
    options = SessionOptions(language="auto").request(
        endpoint, Reporter(stderr, {}), base_url=BASE_URL, ends_by_vad=False
    )
    assert (options.language, stderr.getvalue()) == (None, "")
    whisper_options = SessionOptions(model="ink-whisper", language="auto")
    with pytest.raises(UsageError, match="can't detect the language"):
        whisper_options.request(MANUAL, Reporter(stderr, {}), base_url=BASE_URL, ends_by_vad=False)


def test_auto_endpoint_gets_a_language_on_this_machine_only() -> None:
    stderr = io.StringIO()
    german = SessionOptions(language="de")
    here = german.request(AUTO, Reporter(stderr, {}), base_url=None, ends_by_vad=False)
    assert ("language", "de") in here.query(AUTO)
    assert stderr.getvalue() == ""
    there = german.request(AUTO, Reporter(stderr, {}), base_url=BASE_URL, ends_by_vad=False)
    assert "language" not in dict(there.query(AUTO))
    assert "not sent" in stderr.getvalue()


# The engines


@pytest.mark.parametrize(
    ("model", "language", "live_model", "words"),
    [
        (None, None, None, "Whisper base (English, MIT licence)"),
        (None, "auto", None, "Whisper base (detecting the language, MIT licence)"),
        (None, "zh-Hant", "ink-2", "Whisper base (Chinese (traditional), MIT licence)"),
        (None, None, "ink-2", "Moonshine tiny (English, MIT licence)"),
        ("tiny.en", None, "ink-2", "Whisper tiny.en (English, MIT licence)"),
        ("large-v3", "de", None, "Whisper large-v3 (German)"),
    ],
)
def test_engine_is_described_by_model_language_and_licence(
    model: str | None, language: str | None, live_model: str | None, words: str
) -> None:
    assert describe_engine(BackendConfig(None, local_model=model), language, live_model=live_model) == words


def test_results_name_the_model_of_this_machine_and_no_other_server_s() -> None:
    here = BackendConfig(None)
    assert engine_name(here, None) == "Whisper base"
    assert engine_name(here, None, live_model="ink-2") == "Moonshine tiny"
    assert engine_name(here, "de", live_model="ink-2") == "Whisper base"
    assert engine_name(here, None, live_model="ink-whisper") == "Whisper base"
    assert engine_name(here._replace(local_model="models/large-de/"), None, live_model="ink-2") == "Whisper large-de"
    assert engine_name(BackendConfig("http://127.0.0.1:8000"), None) == ""
    config = BatchConfig(BatchOptions("ink-whisper"), Layout(), "stt", None)
    assert (config.model, config._replace(engine="Whisper base").model) == ("ink-whisper", "Whisper base")
    assert (
        BatchConfig(BatchOptions("ink-whisper"), Layout(), "stt", None, engine="Whisper base").model == "Whisper base"
    )


def say(voice: str, text: str) -> NDArray[np.float32]:
    """`text` spoken by espeak-ng: 16 kHz, mono."""
    command = [require_program("espeak-ng"), "-v", voice, "--stdout", text]
    spoken = subprocess.run(command, check=True, capture_output=True)
    samples, rate = soundfile.read(io.BytesIO(spoken.stdout), dtype="float32")
    resampled: NDArray[np.float32] = soxr.resample(samples, rate, speech.RATE)
    return resampled


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with Whisper base, and Moonshine for live English."""
    engine = load_batch_engine("base", SilentObserver())
    with serve_in_background(create_app(engine, moonshine.load())) as running:
        yield running


def transcribe(server: str, audio: NDArray[np.float32], tmp_path: Path, **fields: str) -> httpx.Response:
    file = speech.write_wav(tmp_path / "talk.wav", audio)
    data = {"model": "ink-whisper", "timestamp_granularities[]": "word"} | fields
    with file.open("rb") as stream:
        return httpx.post(
            f"{server}/stt", data=data, files={"file": stream}, headers=VERSION, timeout=300, trust_env=False
        )


@pytest.mark.engine
@pytest.mark.waits
def test_whisper_base_detects_the_language_of_a_recording(server: str, tmp_path: Path) -> None:
    answer = transcribe(server, say("de", GERMAN), tmp_path, language="auto").json()
    assert answer["text"].startswith("Guten Morgen, meine Damen und Herren")
    assert answer["language"] == "de"
    (found,) = answer["languages"]
    assert (found["language"], found["start"], found["end"]) == ("de", 0.0, answer["duration"])
    assert 0.3 < found["confidence"] <= 1
    silent = transcribe(server, speech.silence(2), tmp_path, language="auto").json()
    assert (silent["text"], "language" in silent, "languages" in silent) == ("", False, False)


@pytest.mark.engine
@pytest.mark.waits
def test_language_of_a_live_session_is_detected_by_whisper_and_named_with_each_turn(server: str) -> None:
    url = f"{server.replace('http', 'ws')}{AUTO.path}?model=ink-2&encoding=pcm_s16le&sample_rate=16000&language=auto"
    audio = (np.concatenate([say("de", GERMAN), speech.silence(0.5)]) * 32767).astype("<i2").tobytes()
    with connect(url, additional_headers=VERSION, proxy=None) as session:
        session.send(audio)
        session.send('{"type": "close"}')
        events = [json.loads(frame) for frame in session]
    turns = [event for event in events if event["type"] == "turn.end"]
    assert "Damen und Herren" in "".join(turn["transcript"] for turn in turns)
    assert [found["language"] for found in turns[0]["languages"]] == ["de"]


@pytest.mark.engine
def test_models_are_listed_with_the_languages_of_their_engines(server: str) -> None:
    rows = httpx.get(f"{server}/models?capability=stt", headers=VERSION, trust_env=False).json()["data"]
    assert {len(row["languages"]) for row in rows} == {99}
    assert "yue" not in rows[0]["languages"]  # only large models know it


@pytest.mark.engine
@pytest.mark.parametrize("language", ["de", "auto"])
def test_english_model_refuses_other_languages_and_detection(
    whisper: dict[str, str], tmp_path: Path, language: str
) -> None:
    answer = transcribe(whisper["CARTESIA_BASE_URL"], speech.silence(1), tmp_path, language=language)
    assert answer.status_code == 400
    assert "cartesia-cli[multilingual]" in answer.json()["message"]


@pytest.mark.engine
def test_engine_of_a_live_session_depends_on_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "load_packaged", lambda *given: "Whisper")
    assert load_live_engine(None, SilentObserver(), "en").name == MOONSHINE.title
    assert load_live_engine(None, SilentObserver(), "de") == "Whisper"
