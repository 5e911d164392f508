"""The local server's batch routes: fields, errors, limits and fairness as documented, with an engine that echoes."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.audio.pcm import RATE, Resampler, Samples, decode_pcm
from cartesia_cli.errors import ApiError, EngineError, UsageError
from cartesia_cli.protocol.batch import BatchOptions
from cartesia_cli.protocol.constants import ENCODINGS
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.server import whisper
from cartesia_cli.server.app import ServerConfig, create_app
from cartesia_cli.server.batch import decode_upload
from cartesia_cli.server.engine import EngineExecutor, amplify_quiet, split_at_silence
from cartesia_cli.server.observer import RECORDING_HEADER, SilentObserver
from cartesia_cli.server.runner import bind, serve_in_background
from tests import speech


class Echo:
    """Recognizes one word in each window, as long as the window is; can be blocked."""

    name = "Echo"
    languages = frozenset({"en", "fr"})
    batch_size = 1

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.go, self.busy = threading.Event(), threading.Event()
        self.go.set()
        self.heard: list[str] = []

    def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
        self.busy.set()
        self.wait()
        self.heard.append(language)
        # Times beyond the window, as an engine may guess them.
        return [(Word(" heard", -0.5, len(samples) / RATE + 1.0, estimated=True),) for samples in utterances]

    def wait(self) -> None:
        self.go.wait(20)


@contextmanager
def serving(engine: Echo | None = None, **options: Any) -> Iterator[httpx.Client]:
    with (
        serve_in_background(create_app(engine or Echo(), None, ServerConfig(**options))) as server,
        httpx.Client(base_url=server, headers=VERSION, timeout=30, trust_env=False) as client,
    ):
        yield client


def wav(seconds: float = 1.0) -> bytes:
    data = np.zeros(int(seconds * RATE), "<i2").tobytes()
    return b"RIFF" + struct.pack("<I4s4sIHHIIHH4sI", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16,
                                 b"data", len(data)) + data  # fmt: skip


FIELDS = {"model": "ink-whisper"}
VERSION = {"Cartesia-Version": "2026-03-01"}
FORM = "multipart/form-data"
CONTAINER = BatchOptions(model="ink-whisper")


@pytest.mark.parametrize("route", ["/stt", "/audio/transcriptions"])
def test_batch_response_is_as_documented(route: str) -> None:
    with serving() as client:
        plain = client.post(route, data=FIELDS, files={"file": wav(2)})
        assert plain.status_code == 200
        assert plain.headers["content-type"] == "application/json"
        body = plain.json()
        assert plain.headers["x-request-id"] == body.pop("request_id")
        assert body == {"type": "transcript", "text": "heard", "language": "en", "duration": 2.0}
        words = client.post(
            route, data=FIELDS | {"timestamp_granularities[]": "word", "language": "fr"}, files={"file": wav(2)}
        ).json()
        assert words["words"] == [{"word": "heard", "start": 0.0, "end": 2.0}]
        assert words["language"] == "fr"


@pytest.mark.parametrize(
    ("request_parts", "status", "title", "code"),
    [
        ({}, 400, "Missing file", None),
        ({"data": FIELDS}, 400, "Missing file", None),
        ({"files": {"file": wav()}}, 400, "Missing model", None),
        ({"data": {"model": "nope"}, "files": {"file": wav()}}, 400, "Invalid model", "model_not_found"),
        ({"data": FIELDS | {"language": "xx"}, "files": {"file": wav()}}, 400, "Unsupported language", None),
        ({"data": FIELDS, "files": {"file": b"Dear diary"}}, 400, "Invalid audio", None),
        ({"data": FIELDS, "files": {"file": b""}}, 400, "Invalid audio", None),
        ({"data": FIELDS, "files": {"file": wav()}, "params": {"encoding": "mp3"}}, 400, "Invalid encoding", None),
        ({"data": FIELDS, "files": {"file": wav()}, "params": {"encoding": "pcm_alaw"}}, 400, "Invalid sample rate",
         None),
        ({"content": b"--x", "headers": {"Content-Type": f"{FORM}; boundary=y"}}, 400, "Request rejected", None),
        ({"content": b"x", "headers": {"Content-Type": FORM}}, 400, "Request rejected", None),
    ],
)  # fmt: skip
def test_batch_errors_have_the_documented_body(
    request_parts: dict[str, object], status: int, title: str, code: str | None
) -> None:
    with serving() as client:
        answer = client.post("/stt", **request_parts)  # type: ignore[arg-type]
        body = answer.json()
        assert (answer.status_code, body["title"], body["error_code"]) == (status, title, code)
        assert set(body) == {"error_code", "title", "message", "request_id"}
        assert answer.headers["x-request-id"] == body["request_id"]


def test_unknown_routes_and_methods_get_json_errors() -> None:
    with serving() as client:
        assert client.get("/stt").status_code == 405
        assert client.post("/nowhere").json()["message"] == "Not Found"
        assert client.get("/").json()["ok"] is True


def test_batch_request_without_required_key_gets_401() -> None:
    with serving(key="secret") as client:
        for given_headers, status in (
            ({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Bearer \xff"}, 401),
            ({"Authorization": "Bearer secret"}, 200), ({"X-API-Key": "secret"}, 200),
        ):  # fmt: skip
            encoded = {name: value.encode("latin-1") for name, value in given_headers.items()}
            answer = client.post("/stt", data=FIELDS, files={"file": wav()}, headers=encoded)
            assert answer.status_code == status, given_headers


def test_too_large_body_gets_413_with_or_without_content_length() -> None:
    with serving(max_bytes=50_000) as client:
        assert client.post("/stt", data=FIELDS, files={"file": wav(1)}).status_code == 200
        told = client.post("/stt", data=FIELDS, files={"file": wav(5)})
        form = httpx.Request("POST", "http://x", data=FIELDS, files={"file": wav(5)})
        body = form.read()
        untold = client.post("/stt", content=iter([body]), headers={"Content-Type": form.headers["content-type"]})
        for answer in (told, untold):
            assert answer.status_code == 413
            assert answer.json()["title"] == "Payload too large"


def test_request_beyond_concurrency_gets_429_and_the_other_its_response() -> None:
    engine = Echo()
    engine.go.clear()
    with serving(engine, concurrency=1) as client:
        answers: list[int] = []

        def ask() -> None:
            answers.append(client.post("/stt", data=FIELDS, files={"file": wav()}).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        assert engine.busy.wait(20)
        refused = client.post("/stt", data=FIELDS, files={"file": wav()})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error_code"] == "concurrency_limited"
        assert client.get("/").status_code == 200  # it works, and still answers
        engine.go.set()
        thread.join()
        assert answers == [200]
        assert client.post("/stt", data=FIELDS, files={"file": wav()}).status_code == 200


def test_short_recording_does_not_wait_for_a_long_one() -> None:
    class Stepping(Echo):
        """Recognizes one window each time it is allowed to."""

        may = threading.Semaphore(0)

        def wait(self) -> None:
            self.may.acquire(timeout=20)

    engine = Stepping()
    with serving(engine) as client:
        long = threading.Thread(target=client.post, args=("/stt",), kwargs={
            "data": FIELDS | {"language": "fr"}, "files": {"file": wav(300)}})  # fmt: skip
        long.start()
        assert engine.busy.wait(20)
        short = threading.Thread(target=client.post, args=("/stt",), kwargs={"data": FIELDS, "files": {"file": wav(1)}})
        short.start()
        while "en" not in engine.heard and long.is_alive():
            engine.may.release()
            time.sleep(0.3)
        assert "en" in engine.heard
        assert long.is_alive()
        engine.may.release(100)
        long.join()
        short.join()
    assert engine.heard.count("fr") >= 10


@pytest.mark.parametrize("workers", [1, 3])
def test_engine_works_on_as_many_recordings_at_once_as_it_has_workers(workers: int) -> None:
    class Counting(Echo):
        """Counts the calls that are in it at the same time; waits for as many as may come."""

        def __init__(self) -> None:
            super().__init__(workers)
            self.lock, self.calls, self.most = threading.Lock(), 0, 0
            self.all_busy = threading.Barrier(workers)

        def wait(self) -> None:
            with self.lock:
                self.calls += 1
                self.most = max(self.most, self.calls)
            self.all_busy.wait(20)
            time.sleep(0.05)  # a call too many would come now
            with self.lock:
                self.calls -= 1

    engine = Counting()
    with serving(engine) as client, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.post("/stt", data=FIELDS, files={"file": wav()}), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert engine.most == workers


def test_progress_is_reported_for_each_recording_by_the_name_in_its_header() -> None:
    class Recorder(SilentObserver):
        def __init__(self) -> None:
            self.seconds: dict[str, list[float]] = {}

        def audio_recognized(self, recording: str, seconds: float) -> None:
            self.seconds.setdefault(recording, []).append(seconds)

    observer = Recorder()
    with serving(observer=observer) as client:
        for name, seconds in (("one", 1), ("two", 2), ("", 3)):
            headers = {RECORDING_HEADER: name} if name else {}
            client.post("/stt", data=FIELDS, files={"file": wav(seconds)}, headers=headers).raise_for_status()
    assert observer.seconds == {"one": [1.0], "two": [2.0], "": [3.0]}


def test_estimated_word_times_are_marked_for_clients_of_this_program_only() -> None:
    with serving() as client:
        asked: dict[str, Any] = {
            "data": FIELDS | {"timestamp_granularities[]": "word"}, "files": {"file": wav()},
        }  # fmt: skip
        assert client.post("/stt", **asked).json()["words"] == [{"word": "heard", "start": 0.0, "end": 1.0}]
        marked = client.post("/stt", **asked, headers={RECORDING_HEADER: "one"}).json()["words"]
    assert marked == [{"word": "heard", "start": 0.0, "end": 1.0, "estimated": True}]


def test_transcribing_stops_when_the_client_disconnects() -> None:
    engine = Echo()
    engine.go.clear()
    with serving(engine) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/stt", data=FIELDS, files={"file": wav(300)}, timeout=1)
        engine.go.set()
        client.post("/stt", data=FIELDS | {"language": "fr"}, files={"file": wav()})
    assert len(engine.heard) < 8  # of ten or more


class BatchEcho(Echo):
    """Recognizes up to four windows in a call, each as a word that says how many were in it."""

    batch_size = 4

    def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
        self.heard.append(str(len(utterances)))
        return [(Word(f" {len(utterances)}", 0.5, 1.0),) for _ in utterances]


def test_several_windows_of_a_recording_are_recognized_in_one_call() -> None:
    engine = BatchEcho()
    with serving(engine) as client:
        data = FIELDS | {"timestamp_granularities[]": "word"}
        body = client.post("/stt", data=data, files={"file": wav(140)}).json()
    count = len(body["words"])
    assert engine.heard == ["4"] * (count // 4) + [str(count % 4)] * (count % 4 > 0)
    assert count > 4
    starts = [word["start"] for word in body["words"]]
    assert starts == sorted(starts) and starts[-1] > 100


def test_calls_are_short_while_a_live_session_is_open() -> None:
    executor = EngineExecutor(BatchEcho())
    with executor.session():
        assert executor.batch_size == 1
    assert executor.batch_size == 4


@pytest.mark.parametrize(
    ("known", "language", "hint"),
    [
        ({"en"}, "de", r"install cartesia-cli\[multilingual\]"),
        ({"en", "de"}, "de-CH", "use 'de'"),
        ({"zh", "zh-Hant"}, "zh-TW", "use 'zh-Hant'"),
        ({"zh", "zh-Hant"}, "zh-CN", "use 'zh'"),
        ({"auto", "en", "de"}, "german", "name a language by its code"),
        ({"en"}, "auto", "can't detect languages"),
    ],
)
def test_refusal_of_a_language_says_what_to_do(known: set[str], language: str, hint: str) -> None:
    engine = Echo()
    engine.languages = frozenset(known)
    with pytest.raises(ApiError, match=hint):
        EngineExecutor(engine).check_language(language)


def test_engine_exception_gets_500_in_json() -> None:
    class Broken(Echo):
        def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
            raise MemoryError("out of memory")

    with serving(Broken()) as client:
        answer = client.post("/stt", data=FIELDS, files={"file": wav()})
        assert (answer.status_code, answer.json()["title"]) == (500, "Internal server error")


@given(st.lists(st.integers(0, 40_000), max_size=30), st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 2**32 - 1))
def test_split_windows_joined_are_the_audio(sizes: list[int], longest: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    blocks = [dice.standard_normal(size).astype(np.float32) for size in sizes]
    cut = list(split_at_silence(blocks, longest))
    assert all(0 < len(window) <= longest * RATE for window in cut)
    joined = np.concatenate([*cut, np.zeros(0, np.float32)])
    assert np.array_equal(joined, np.concatenate([*blocks, np.zeros(0, np.float32)]))


def test_windows_are_split_in_pauses() -> None:
    tone = np.sin(np.arange(int(7.3 * RATE)) * 0.3).astype(np.float32)
    cut = list(split_at_silence([np.concatenate([tone, speech.silence(0.4)] * 20)], 30))
    ends = np.cumsum([len(window) for window in cut]) / RATE
    assert all(7.3 <= end % 7.7 <= 7.7 for end in ends[:-1])


def test_raw_pcm_of_every_encoding_is_decoded() -> None:
    samples = np.array([0.0, 0.5, -0.5, 0.999, -1.0])
    written = {
        "pcm_s16le": (samples * 32768).clip(-32768, 32767).astype("<i2"),
        "pcm_s32le": (samples * 2147483648).clip(-(2**31), 2**31 - 1).astype("<i4"),
        "pcm_f16le": samples.astype("<f2"),
        "pcm_f32le": samples.astype("<f4"),
        "pcm_mulaw": np.array([0xFF, 0x8F, 0x0F, 0x80, 0x00], np.uint8),  # 0, the middle of the scale, its ends
        "pcm_alaw": np.array([0xD5, 0xA5, 0x25, 0xAA, 0x2A], np.uint8),
    }
    assert set(written) == set(ENCODINGS)
    for encoding, data in written.items():
        heard = decode_pcm(data.tobytes(), encoding)
        assert heard.dtype == np.float32
        assert np.allclose(heard, samples, atol=0.025), encoding
    wild = np.array([np.nan, np.inf, -np.inf, 7.0], "<f4").tobytes()
    assert decode_pcm(wild, "pcm_f32le").tolist() == [0.0, 1.0, -1.0, 1.0]
    # G.711: the ends of the scales, and that each code has a value of its own.
    every = bytes(range(256))
    assert decode_pcm(every, "pcm_mulaw").max() == pytest.approx(32124 / 32768)
    assert decode_pcm(every, "pcm_alaw").max() == pytest.approx(32256 / 32768)
    assert len(set(decode_pcm(every, "pcm_mulaw").tolist())) == 256
    assert len(set(decode_pcm(every, "pcm_alaw").tolist())) == 256


@given(st.sampled_from([8000, 11025, 22050, 44100, 48000]), st.lists(st.integers(1, 9000), min_size=1, max_size=8))
def test_resampling_in_blocks_loses_no_samples(rate: int, sizes: list[int]) -> None:
    resampler = Resampler(rate)
    pieces = [resampler.resample(np.zeros(size, np.float32)) for size in sizes]
    total = sum(len(piece) for piece in [*pieces, resampler.finish()])
    assert abs(total - sum(sizes) * RATE / rate) <= 1


def test_raw_audio_at_any_rate_with_an_incomplete_last_sample() -> None:
    data = np.zeros(44100, "<i2").tobytes() + b"\0"
    options = BatchOptions(model="ink-whisper", encoding="pcm_s16le", sample_rate=44100)
    assert sum(map(len, decode_upload(io.BytesIO(data), options))) == RATE


@pytest.mark.parametrize("channels", [1, 2, 6, 9, 32])
def test_channels_are_mixed_to_mono(channels: int) -> None:
    frames = np.repeat((np.sin(np.arange(48000) * 0.05) * 12000).astype("<i2")[:, None], channels, axis=1)
    data = frames.tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, 48000,
                       96000 * channels, 2 * channels, 16, b"data", len(data))  # fmt: skip
    samples = np.concatenate(list(decode_upload(io.BytesIO(head + data), CONTAINER)))
    assert len(samples) == pytest.approx(RATE, abs=40)
    assert np.abs(samples).max() == pytest.approx(12000 / 32768, rel=0.05)


@pytest.mark.engine
def test_damaged_frames_lose_only_themselves(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.mp3", speech.say(speech.SAMPLE), speech.RATE, format="MP3")
    data = bytearray((tmp_path / "a.mp3").read_bytes())
    whole = sum(map(len, decode_upload(io.BytesIO(bytes(data)), CONTAINER)))
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(range(200)) * 10
    damaged = sum(map(len, decode_upload(io.BytesIO(bytes(data)), CONTAINER)))
    assert 0.7 * whole < damaged <= whole


@pytest.mark.parametrize(("peak", "heard"), [(0.0, 0.0), (0.001, 0.03), (0.05, 0.9), (0.9, 0.9), (1.0, 1.0)])
def test_quiet_audio_is_amplified_within_max_gain(peak: float, heard: float) -> None:
    wave = np.sin(np.arange(RATE) * 0.1).astype(np.float32) * np.float32(peak)
    assert np.abs(amplify_quiet(wave)).max() == pytest.approx(heard, rel=0.01)
    assert amplify_quiet(speech.silence(0)).size == 0


@pytest.mark.parametrize("name", ["enormous", "./nodir", "/no/such/model", "org/name/x", "~x/y", "x/", "a\n/b", "\0/"])
def test_unknown_model_raises_engine_error(name: str) -> None:
    with pytest.raises(EngineError) as caught:
        whisper.load(name, SilentObserver())
    assert str(caught.value) == f"no model {name!r}: neither a folder nor a known name"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("names: tiny.en, ")


def test_folder_without_a_model_raises_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="can't be loaded"):
        whisper.load(str(tmp_path), SilentObserver())


def test_bind_to_a_taken_port_raises_usage_error() -> None:
    listener = bind("127.0.0.1", 0)
    with pytest.raises(UsageError, match="can't listen") as caught:
        bind("127.0.0.1", listener.getsockname()[1])
    assert caught.value.hint == "--port 0 picks a free one"
    listener.close()
    with pytest.raises(UsageError) as caught:
        bind("203.0.113.1", 0)
    assert "--host takes an address of this machine" in (caught.value.hint or "")


@pytest.mark.engine
def test_serve_prints_exports_and_exits_cleanly(environment: dict[str, str]) -> None:
    import signal
    import subprocess
    import sys

    command = [sys.executable, "-m", "cartesia_cli", "serve", "--port", "0", "--require-key"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    exports = dict(process.stdout.readline().decode().split()[1].split("=", 1) for _ in range(2))
    with httpx.Client(base_url=exports["CARTESIA_BASE_URL"], headers=VERSION, timeout=60, trust_env=False) as client:
        sample = Path(whisper.__file__).parent.parent / "sample.wav"
        for key, status in (("wrong", 401), (exports["CARTESIA_API_KEY"], 200)):
            with sample.open("rb") as file:
                answer = client.post(
                    "/stt", data=FIELDS, files={"file": file}, headers={"Authorization": f"Bearer {key}"}
                )
            assert answer.status_code == status
        assert json.loads(answer.content)["text"].startswith("This is the sample recording")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"Traceback" not in stderr
