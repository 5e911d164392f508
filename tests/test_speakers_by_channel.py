"""`--speakers-by-channel`: one request for each channel, silence cut out, merged into a conversation."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.cli import _expand_aliases
from tests.conftest import Transcribe
from tests.fault_server import Exchange, FaultServer

from .test_channels import SAMPLE, noise, write
from .test_files import blocks_of

pytestmark = pytest.mark.waits


class Service:
    """Transcribes tones: "low" below 600 Hz and "high" above, with their times."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests = folder, list[tuple[str, float]]()
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        part = exchange.request().part("file")
        name = (part.filename or b"").decode()
        with self._lock:
            path = self.folder / f"{len(self.requests)}-{name}"
            path.write_bytes(part.content)
            samples = blocks_of(Decoder().decode_file(path))
            seconds = len(samples) / RATE
            self.requests.append((name, seconds))
        words = []
        loud = np.flatnonzero(np.abs(samples) > 0.1)
        for run in np.split(loud, np.flatnonzero(np.diff(loud) > RATE // 10) + 1):
            tone = samples[run[0] : run[-1]]
            frequency = np.argmax(np.abs(np.fft.rfft(tone))) * RATE / len(tone)
            word = "low" if frequency < 600 else "high"
            words.append({"word": word, "start": run[0] / RATE, "end": run[-1] / RATE})
        text = ". ".join(str(word["word"]) for word in words) + "."
        exchange.answer(200, json.dumps({"text": text, "duration": seconds, "words": words}))


def tones(seconds: float, frequency: float, *at: float) -> Samples:
    """Silence with a tone of a second at each of these times."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    tone = 0.3 * np.sin(2 * np.pi * frequency / RATE * np.arange(RATE, dtype=np.float32))
    for second in at:
        samples[round(second * RATE) :][:RATE] = tone
    return samples


@pytest.fixture
def service(tmp_path: Path) -> Service:
    (tmp_path / "received").mkdir()
    return Service(tmp_path / "received")


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """Two people: one speaks at 1 and 40 s, the other at 20 and 60 s. There is silence in between."""
    return write(tmp_path / "call.wav", tones(70, 300, 1, 40), tones(70, 900, 20, 60))


def test_channels_become_a_conversation_with_the_times_of_the_recording(
    call: Path, service: Service, transcribe: Transcribe
) -> None:
    done = transcribe(call.name, "--speakers-by-channel", "Anna,Ben", "-f", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["text"] == "low. high. low. high."
    assert [segment["speaker"] for segment in document["segments"]] == ["Anna", "Ben", "Anna", "Ben"]
    assert [word["start"] for word in document["words"]] == pytest.approx([1, 20, 40, 60], abs=0.05)
    assert [word["speaker"] for word in document["words"]] == ["Anna", "Ben", "Anna", "Ben"]
    assert document["duration"] == 70
    assert sorted(name for name, _ in service.requests) == ["call-channel1.flac", "call-channel2.flac"]


def test_silence_is_not_sent_and_the_cost_is_said_before(call: Path, service: Service, transcribe: Transcribe) -> None:
    done = transcribe(call.name, "--speakers-by-channel")
    seconds = sum(length for _, length in service.requests)
    assert seconds < 9  # four seconds of sound, each with at most 1.25 s of silence
    cost = f"call.wav: 2 channels: 2 requests, {seconds:.1f} s of audio, {seconds / 2:.1f} credits"
    assert cost in done.stderr.splitlines()
    assert done.stdout.splitlines() == [
        "Speaker 1: low.", "Speaker 2: high.", "Speaker 1: low.", "Speaker 2: high.",
    ]  # fmt: skip


def test_dry_run_names_the_same_cost_and_sends_nothing(call: Path, service: Service, transcribe: Transcribe) -> None:
    dry = transcribe(call.name, "--speakers-by-channel", "--dry-run")
    report = json.loads(transcribe(call.name, "--speakers-by-channel", "--dry-run", "-f", "json").stdout)
    assert dry.returncode == 0 and not service.requests and "sound only" not in dry.stderr
    sent = transcribe(call.name, "--speakers-by-channel").stderr
    described = next(line for line in sent.splitlines() if "2 requests" in line).removeprefix("call.wav: ")
    assert f"call.wav ({described})" in dry.stdout
    assert report["credits"] == pytest.approx(sum(length for _, length in service.requests) / 2, abs=0.001)
    again = transcribe(call.name, "--speakers-by-channel", "--dry-run").stdout
    assert "(2 channels: 0 requests, 0.0 s of audio, 0.0 credits, 2 from cache)" in again


def test_responses_to_channels_are_cached(call: Path, service: Service, transcribe: Transcribe) -> None:
    first = transcribe(call.name, "--speakers-by-channel", "Anna,Ben", "-f", "json")
    second = transcribe(call.name, "--speakers-by-channel", "Anna,Ben", "-f", "json")
    assert second.stdout == first.stdout and len(service.requests) == 2
    assert "from cache, 0 credits" in second.stderr
    whole = transcribe(call.name, "-f", "json")
    assert len(service.requests) == 3 and "speaker" not in whole.stdout


def test_silent_channel_is_not_sent(tmp_path: Path, service: Service, transcribe: Transcribe) -> None:
    write(tmp_path / "call.wav", tones(10, 300, 1), noise(10, -60))
    done = transcribe("call.wav", "--speakers-by-channel=Anna,Ben")
    assert (done.returncode, done.stdout) == (0, "Anna: low.\n"), done.stderr
    assert len(service.requests) == 1
    assert "2 channels: 1 request, 2.5 s of audio, 1.2 credits, channel 2 silent" in done.stderr


def test_recording_of_silence_costs_nothing(tmp_path: Path, service: Service, transcribe: Transcribe) -> None:
    write(tmp_path / "call.wav", noise(10, -70), noise(10, -60, seed=2))
    done = transcribe("call.wav", "--speakers-by-channel", "-f", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "" and not service.requests
    assert done.stderr.splitlines()[:2] == [
        "call.wav: 2 channels: 0 requests, 0.0 s of audio, channels 1, 2 silent", "call.wav: no speech found",
    ]  # fmt: skip
    assert "cache" not in done.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (["sample.wav", "--speakers-by-channel"], "sample.wav has 1 channel"),
    (["same.wav", "--speakers-by-channel"], "both channels hold the same sound"),
    (["call.wav", "--speakers-by-channel=Anna,Ben,Cy"],
     "has 2 channels, and --speakers-by-channel names 3 speakers\nhint: name all 2, or none"),
    (["call.wav", "--speakers-by-channel=Anna,Anna"], "each channel needs a name of its own"),
    (["call.wav", "--speakers-by-channel", "Anna"], "names only one speaker\nhint: name one for each channel"),
    (["call.wav", "--speakers-by-channel=Anna,"], "each channel needs a name of its own"),
    (["call.wav", "--speakers-by-channel=Anna, \u200b"], "each channel needs a name of its own"),
    (["call.wav", "--language", " "], "--language must not be empty"),
    (["call.wav", "--speakers-by-channel", "--keep-json", "."],
     "--keep-json and --speakers-by-channel exclude each other"),
    (["call.wav", "--speakers-by-channel", "--dask", "tcp://127.0.0.1:9", "--max-credits", "5"],
     "--max-credits can't be combined with --speakers-by-channel and --dask"),
])  # fmt: skip
def test_what_can_not_be_split_is_refused_before_anything_is_sent(
    call: Path, tmp_path: Path, service: Service, transcribe: Transcribe, arguments: list[str], message: str
) -> None:
    (tmp_path / "sample.wav").write_bytes(SAMPLE.read_bytes())
    write(tmp_path / "same.wav", tones(3, 300, 1), tones(3, 300, 1))
    done = transcribe(*arguments)
    assert done.returncode in (2, 3) and message in done.stderr
    assert not service.requests


def test_resume_tells_conversations_from_whole_transcripts(
    call: Path, tmp_path: Path, service: Service, transcribe: Transcribe
) -> None:
    one = ("--output-dir", "out", "--speakers-by-channel", "Anna,Ben")
    assert transcribe(call.name, *one).returncode == 0
    assert "already done" in transcribe(call.name, *one, "--resume").stderr
    other = transcribe(call.name, "--output-dir", "out", "--resume")
    assert other.returncode == 2 and "speakers by channel Anna,Ben" in other.stderr


def test_credits_of_channels_are_limited(call: Path, service: Service, transcribe: Transcribe) -> None:
    done = transcribe(call.name, "--speakers-by-channel", "--max-credits", "1")
    assert done.returncode != 0 and "--max-credits" in done.stderr and not service.requests


def test_failure_of_one_channel_is_that_of_the_recording(call: Path, tmp_path: Path, transcribe: Transcribe) -> None:
    def refuse_second(exchange: Exchange) -> None:
        name = (exchange.request().part("file").filename or b"").decode()
        if "channel2" in name:
            exchange.answer(400, json.dumps({"title": "Bad audio", "message": "no", "error_code": "bad_audio"}))
        else:
            exchange.answer(200, json.dumps({"text": "low.", "duration": 4.0}))

    with FaultServer(refuse_second) as server:
        done = transcribe(call.name, "--speakers-by-channel", CARTESIA_BASE_URL=server.base_url)
    assert done.returncode == 5 and "call.wav (channel 2)" in done.stderr and done.stdout == ""


def test_voices_in_webvtt(call: Path, transcribe: Transcribe) -> None:
    done = transcribe(call.name, "--speakers-by-channel", "Anna,Ben", "-f", "vtt")
    assert "<v Anna>low." in done.stdout and "<v Ben>high." in done.stdout


@pytest.mark.parametrize(("typed", "meant"), [
    (["a.wav", "--speakers-by-channel"], ["a.wav", "--speakers-by-channel=numbered"]),
    (["--speakers-by-channel", "a.wav"], ["--speakers-by-channel=numbered", "a.wav"]),
    (["--speakers-by-channel", "Anna,Ben", "a.wav"], ["--speakers-by-channel=Anna,Ben", "a.wav"]),
    (["--speakers-by-channel=Anna,Ben", "a.wav"], ["--speakers-by-channel=Anna,Ben", "a.wav"]),
    (["--speakers-by-channel", "-f", "json"], ["--speakers-by-channel=numbered", "-f", "json"]),
    (["--speakers-by-channel", "--output_format", "json"], ["--speakers-by-channel=numbered", "--format", "json"]),
    (["--speakers-by-channel", "talks/*,*.wav"], ["--speakers-by-channel=numbered", "talks/*,*.wav"]),
    (["--speakers-by-channel", "--", "a,b"], ["--speakers-by-channel=numbered", "--", "a,b"]),
])  # fmt: skip
def test_names_may_be_left_out_before_an_input(typed: list[str], meant: list[str]) -> None:
    assert _expand_aliases(["transcribe", *typed]) == ["transcribe", *meant]


@pytest.mark.parametrize("value", ["true", "1", "On"])
def test_channels_can_be_switched_on_for_all_runs_and_off_for_one(
    call: Path, tmp_path: Path, service: Service, transcribe: Transcribe, value: str
) -> None:
    variable = "CARTESIA_TRANSCRIBE_SPEAKERS_BY_CHANNEL"
    assert "Speaker 1: low." in transcribe(call.name, **{variable: value}).stdout
    (tmp_path / "mono.wav").write_bytes(SAMPLE.read_bytes())
    done = transcribe("mono.wav", **{variable: value})
    assert done.returncode == 3 and "hint: --no-speakers-by-channel transcribes it as a whole" in done.stderr
    assert transcribe("mono.wav", "--no-speakers-by-channel", **{variable: value}).returncode == 0
    assert "Speaker" not in transcribe(call.name, "--no-speakers-by-channel", **{variable: value}).stdout
    assert "Speaker" not in transcribe(call.name, **{variable: "false"}).stdout
    (tmp_path / "config.toml").write_text("[transcribe]\nspeakers_by_channel = true\n")
    assert "Speaker 1: low." in transcribe(call.name, "--config", "config.toml").stdout
    assert "Speaker" not in transcribe(call.name, "--config", "config.toml", **{variable: "off"}).stdout


def test_file_with_a_comma_in_its_name_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a,b.wav").touch()
    monkeypatch.chdir(tmp_path)
    assert _expand_aliases(["--speakers-by-channel", "a,b.wav"]) == ["--speakers-by-channel=numbered", "a,b.wav"]
