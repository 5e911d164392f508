"""The local server's realtime routes as documented, with an engine that counts instead of recognizing."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from socket import SHUT_RDWR
from typing import Any, cast

import httpx
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cartesia_cli.audio.pcm import RATE, Samples, decode_pcm, encode_s16le
from cartesia_cli.protocol.constants import ENCODINGS
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.protocol.realtime import MANUAL as DIALECT
from cartesia_cli.protocol.realtime import RealtimeOptions
from cartesia_cli.server.app import ServerConfig, create_app
from cartesia_cli.server.realtime import MAX_QUEUED_BYTES, RealtimeSession
from cartesia_cli.server.runner import serve_in_background
from tests import speech

MANUAL, AUTO = "/stt/websocket", "/stt/turns/websocket"
QUERY = "model=ink-2&encoding=pcm_s16le&sample_rate=16000"
VERSION = {"Cartesia-Version": "2026-03-01"}
TIMED = QUERY.replace("ink-2", "ink-whisper")


class Counter:
    """Recognizes one word in each half second of sound; can be blocked, or fail."""

    name = "Counter"
    languages = frozenset({"en", "fr"})
    workers = batch_size = 1
    is_quick = True

    def __init__(self, *, timed: bool = False) -> None:
        self.timed, self.calls = timed, 0
        self.fails = False
        self.languages_used: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
        self.languages_used.add(language)
        self.calls += 1
        self.go.wait(20)
        if self.fails:
            raise RuntimeError("out of order")
        return [self._words(samples) for samples in utterances]

    def _words(self, samples: Samples) -> tuple[Word, ...]:
        half = RATE // 2
        loud = [n for n in range(len(samples) // half) if np.abs(samples[n * half :][:half]).max() > 0.01]
        times = [(n / 2, n / 2 + 0.5) if self.timed else (None, None) for n in loud]
        words = [Word(f" w{n}", *time, estimated=True) for n, time in enumerate(times)]
        return tuple(words[:-1]) + ((words[-1]._replace(word=f"{words[-1].word}."),) if words else ())


@contextmanager
def serving(live: Counter | None = None, **options: Any) -> Iterator[str]:
    with serve_in_background(create_app(Counter(timed=True), live or Counter(), ServerConfig(**options))) as server:
        yield server


def dial(base_url: str, path: str, query: str = QUERY, **options: Any) -> ClientConnection:
    options["additional_headers"] = VERSION | options.get("additional_headers", {})
    return connect(f"ws{base_url.removeprefix('http')}{path}?{query}", compression=None, proxy=None, **options)


def talk(seconds: float = 3.0, pause: float = 2.0) -> NDArray[np.float32]:
    """Somebody speaking for so long, then nothing."""
    voice = speech.say("The ferry leaves at seven in the morning and comes back after dark, or so they say.")
    return np.concatenate((speech.silence(0.5), voice[: int(seconds * RATE)], speech.silence(pause)))


@pytest.fixture(scope="module", autouse=True)
def spoken_before() -> None:
    """A session in which the voice is still being loaded would be idle for too long."""
    talk()


def encoded(samples: NDArray[np.float32], encoding: str) -> bytes:
    """Samples as a client would send them; companded ones by looking up the nearest."""
    match encoding:
        case "pcm_s16le":
            return encode_s16le(samples)
        case "pcm_s32le":
            return (samples * 2**31 * 0.99).astype("<i4").tobytes()
        case "pcm_f16le":
            return samples.astype("<f2").tobytes()
        case "pcm_f32le":
            return samples.astype("<f4").tobytes()
    values = decode_pcm(bytes(range(256)), encoding)
    order = np.argsort(values, kind="stable")
    return order[np.searchsorted(values[order], samples).clip(0, 255)].astype(np.uint8).tobytes()


def send(socket: ClientConnection, samples: NDArray[np.float32], size: int = 3200) -> None:
    data = encode_s16le(samples)
    for at in range(0, len(data), size):
        socket.send(data[at : at + size])


def events(socket: ClientConnection) -> list[dict[str, Any]]:
    """All events up to the close."""
    found = []
    try:
        while True:
            found.append(json.loads(socket.recv(timeout=30)))
    except ConnectionClosed:
        return found


def is_free_again(url: str) -> bool:
    """Whether another session is accepted, once the server has noticed that one has left."""
    for _ in range(600):
        with suppress(InvalidStatus), dial(url, AUTO):
            return True
        time.sleep(0.05)
    return False


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in found]


def test_manual_endpoint_answers_finalize_and_close() -> None:
    with serving() as url, dial(url, MANUAL) as socket:
        send(socket, talk())
        socket.send("finalize")
        send(socket, talk())
        socket.send("close")
        found = events(socket)
        assert socket.close_code == 1000
    assert kinds(found)[-1] == "done"
    assert kinds(found).count("flush_done") == 1
    deltas = [event for event in found if event["type"] == "transcript"]
    assert all(set(event) == {"type", "text", "is_final", "request_id"} and event["is_final"] for event in deltas)
    text = "".join(event["text"] for event in deltas)
    assert text.startswith("w0 w1 ")
    assert ". w0 w1 " in text  # the blank at the seam is sent, and the first has none
    assert len({event["request_id"] for event in found}) == 1
    assert socket.response is not None
    assert socket.response.headers["x-request-id"] == found[0]["request_id"]


def test_message_in_fragments_is_heard_as_one_in_one_piece() -> None:
    data = encode_s16le(talk())
    texts = []
    with serving() as url:
        for message in (data, [data[at : at + 4001] for at in range(0, len(data), 4001)]):
            with dial(url, MANUAL) as socket:
                socket.send(message)
                socket.send(["fina", "lize"])
                socket.send("close")
                found = events(socket)
                assert "flush_done" in kinds(found)
                texts.append("".join(event.get("text", "") for event in found))
    assert texts[0] == texts[1] != ""


def test_ink_whisper_word_times_count_from_stream_start() -> None:
    with serving() as url, dial(url, MANUAL, TIMED) as socket:
        send(socket, speech.silence(5))
        send(socket, talk())
        socket.send("finalize")
        socket.send("done")  # the old name of close
        found = events(socket)
    assert kinds(found) == ["transcript", "flush_done", "done"]
    delta = found[0]
    assert "".join(word["word"] for word in delta["words"]).strip() == delta["text"].strip()
    assert delta["words"][0]["start"] == pytest.approx(5.5, abs=0.7)
    assert delta["duration"] > 5


@pytest.mark.parametrize("model", ["ink-2", "ink-whisper"])
def test_word_members_that_the_api_lacks_are_sent_only_if_word_times_are_requested(model: str) -> None:
    query = QUERY.replace("ink-2", model)
    found = []
    for request in ("", "&timestamp_granularities[]=word", "&timestamp_granularities%5B%5D=word"):
        with serving() as url, dial(url, MANUAL, query + request) as socket:
            send(socket, talk())
            socket.send("close")
            found.append([event.get("words") for event in events(socket) if event["type"] == "transcript"])
    plain, asked, escaped = found
    assert asked == escaped and any(word.get("estimated") for words in asked if words for word in words)
    assert not any("estimated" in word for words in plain if words for word in words)
    assert any(plain) == (model == "ink-whisper")


def test_partial_text_only_grows_during_speech() -> None:
    with serving() as url, dial(url, AUTO) as socket:
        samples = talk(3.0)
        send(socket, samples, size=2 * len(samples))  # one frame: the server looks only where none waits behind it
        found = [json.loads(socket.recv(timeout=30)) for _ in ("connected", "turn.start")]
        socket.send(json.dumps({"type": "close"}))
        found += events(socket)
        assert socket.close_code == 1000
    assert kinds(found)[:2] == ["connected", "turn.start"]
    assert kinds(found)[-1] == "turn.end"
    texts = [event["transcript"] for event in found if "transcript" in event]
    assert len(set(texts)) >= 4
    for earlier, later in pairwise(texts):
        assert later.startswith(earlier)
    assert all(set(event) <= {"type", "transcript", "request_id"} for event in found)


LEGAL = {
    None: {"connected"},
    "connected": {"turn.start"},
    "turn.start": {"turn.update", "turn.eager_end", "turn.end"},
    "turn.update": {"turn.update", "turn.eager_end", "turn.end"},
    "turn.eager_end": {"turn.resume", "turn.end"},
    "turn.resume": {"turn.update", "turn.eager_end", "turn.end"},
    "turn.end": {"turn.start"},
}


@pytest.mark.parametrize("pause", [0.1, 0.4, 0.5, 1.5])
def test_turn_events_follow_the_documented_order(pause: float) -> None:
    with serving() as url, dial(url, AUTO) as socket:
        for _ in range(4):
            send(socket, talk(1.5, pause))
        socket.send(json.dumps({"type": "close"}))
        found = events(socket)
    before = None
    for kind in kinds(found):
        assert kind in LEGAL[before], (before, kind)
        before = kind
    assert before == "turn.end"
    ends = [event["transcript"] for event in found if event["type"] == "turn.end"]
    assert all(text.startswith(" ") for text in ends[1:] if text)


def test_eager_end_is_resumed_when_speech_continues() -> None:
    with serving() as url, dial(url, AUTO, f"{QUERY}&turn_end_timeout_ms=3000&turn_end_threshold=0.05") as socket:
        send(socket, np.concatenate((talk(2.0, 0.9), talk(2.0, 3.0))))
        socket.send(json.dumps({"type": "close"}))
        found = kinds(events(socket))
    assert found.count("turn.end") == 1
    assert found[found.index("turn.resume") - 1] == "turn.eager_end"
    assert found[-2:] == ["turn.eager_end", "turn.end"]


def test_config_changes_turn_detection_mid_session() -> None:
    with serving() as url, dial(url, AUTO) as socket:
        send(socket, talk(1.5, 1.0))
        socket.send(json.dumps({"type": "config", "turn": {"end_threshold": 0.05}}))
        send(socket, talk(1.5, 0.5))
        send(socket, talk(1.5, 2.5))
        socket.send(json.dumps({"type": "close"}))
        assert kinds(events(socket)).count("turn.end") == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_every_encoding_and_rate_in_frames_of_any_size(encoding: str, rate: int) -> None:
    data = encoded(soxr.resample(talk(2.0, 1.0), RATE, rate), encoding)
    with serving() as url, dial(url, MANUAL, f"model=ink-2&encoding={encoding}&sample_rate={rate}") as socket:
        for at in range(0, len(data), 4001):  # in the middle of samples
            socket.send(data[at : at + 4001])
        socket.send("finalize")
        socket.send("close")
        text = "".join(event.get("text", "") for event in events(socket))
    assert text.startswith("w0 w1 w2")


def test_long_utterance_is_recognized_in_pieces() -> None:
    live = Counter()
    with serving(live) as url, dial(url, MANUAL) as socket:
        voice = np.concatenate([talk(3.0, 0.0)[RATE // 2 :]] * 14)
        send(socket, voice)
        socket.send("finalize")
        socket.send("close")
        text = "".join(event.get("text", "") for event in events(socket))
    assert len(text.split()) == pytest.approx(len(voice) / RATE * 2, rel=0.15)


@pytest.mark.parametrize(
    ("path", "frame"),
    [
        (MANUAL, '{"type": "close"}'), (MANUAL, "Finalize"), (MANUAL, ""), (MANUAL, '"finalize"'),
        (AUTO, "finalize"), (AUTO, "close"), (AUTO, "[]"), (AUTO, '{"type": "finalize"}'),
        (AUTO, '{"type": "config", "turn": {"end_threshold": 0.9}}'),
        (AUTO, '{"type": "config", "turn": {"end_threshold": "x"}}'),
        (AUTO, '{"type": "config", "turn": {"start_threshold": 0.55}}'),
        (AUTO, '{"type": "config", "turn": {"end_timeout_ms": NaN}}'),
        (AUTO, '{"type": "config", "turn": {"end_timeout_ms": 1e999}}'),
        (AUTO, '{"type": "config", "turn": {"end_timeout_ms": 1%s}}' % ("0" * 400)),
    ],
)  # fmt: skip
def test_unknown_commands_get_error_400(path: str, frame: str) -> None:
    with serving() as url, dial(url, path) as socket:
        socket.send(frame)
        found = [json.loads(socket.recv(timeout=20)) for _ in range(1 + (path == AUTO))]
        error = found[-1]
        assert (error["type"], error["status_code"]) == ("error", 400)
        assert {"title", "message", "request_id"} <= set(error)
        socket.send("close" if path == MANUAL else '{"type": "close"}')
        events(socket)
        assert socket.close_code == 1000  # the session survived it


@pytest.mark.parametrize(
    ("path", "query", "status", "title"),
    [
        (MANUAL, "", 400, "Missing model"),
        (MANUAL, "model=ink-2&sample_rate=16000", 400, "Invalid encoding"),
        (MANUAL, "model=ink-2&encoding=opus&sample_rate=16000", 400, "Invalid encoding"),
        (MANUAL, "model=ink-2&encoding=pcm_s16le", 400, "Invalid sample rate"),
        (MANUAL, "model=ink-2&encoding=pcm_s16le&sample_rate=0", 400, "Invalid sample rate"),
        (MANUAL, QUERY.replace("ink-2", "ink-9"), 400, "Invalid model"),
        (MANUAL, f"{TIMED}&language=xx", 400, "Unsupported language"),
        (MANUAL, f"{TIMED}&min_volume=loud", 400, "Invalid parameter"),
        (MANUAL, f"{TIMED}&min_volume=-0.5", 400, "Invalid parameter"),
        (MANUAL, f"{TIMED}&max_silence_duration_secs=nan", 400, "Invalid parameter"),
        (MANUAL, f"{TIMED}&max_silence_duration_secs=inf", 400, "Invalid parameter"),
        (AUTO, f"{QUERY}&turn_end_timeout_ms=nan", 400, "Invalid parameter"),
        (AUTO, f"{QUERY}&turn_end_timeout_ms=inf", 400, "Invalid parameter"),
        (AUTO, f"{QUERY}&turn_end_threshold=0.7", 400, "Invalid parameter"),
        (MANUAL, QUERY + "&keyterm=x" * 101, 400, "Too many keyterms"),
        (AUTO, TIMED, 400, "Invalid model"),
        ("/stt/nowhere", QUERY, 404, None),
    ],
)  # fmt: skip
def test_refused_handshake_has_the_documented_body(path: str, query: str, status: int, title: str | None) -> None:
    with serving() as url, pytest.raises(InvalidStatus) as refused:
        dial(url, path, query)
    response = refused.value.response
    assert response.status_code == status
    if title is not None:
        body = json.loads(response.body or b"")
        assert body["title"] == title
        assert set(body) == {"error_code", "title", "message", "request_id"}
        assert response.headers["x-request-id"] == body["request_id"]


def test_handshake_without_required_key_gets_401() -> None:
    with serving(key="secret") as url:
        for headers, query in (({"Authorization": "Bearer secret"}, QUERY), ({"X-API-Key": "secret"}, QUERY),
                               ({"Authorization": "bearer secret"}, QUERY),
                               ({}, f"{QUERY}&access_token=secret")):  # fmt: skip
            with dial(url, AUTO, query, additional_headers=headers) as socket:
                assert json.loads(socket.recv(timeout=20))["type"] == "connected"
        with pytest.raises(InvalidStatus) as refused:
            dial(url, AUTO)
        assert refused.value.response.status_code == 401


def test_sessions_and_requests_share_the_concurrency_limit() -> None:
    with serving(concurrency=1) as url:
        with dial(url, MANUAL):
            with pytest.raises(InvalidStatus) as refused:
                dial(url, AUTO)
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "1"
            form = {"data": {"model": "ink-whisper"}, "files": {"file": b"RIFF"}}
            assert httpx.post(f"{url}/stt", trust_env=False, headers=VERSION, **form).status_code == 429  # type: ignore[arg-type]
        assert is_free_again(url)


def test_turn_thresholds_out_of_order_close_with_1008() -> None:
    with serving() as url, dial(url, AUTO, f"{QUERY}&turn_start_threshold=0.55") as socket:
        assert events(socket) == []
        assert (socket.close_code, socket.close_reason) == (1008, "Invalid turn thresholds")


def test_idle_session_is_closed_with_1001() -> None:
    with serving(idle_seconds=0.3) as url, dial(url, MANUAL) as socket:
        assert events(socket) == []
        assert socket.close_code == 1001


def test_session_waiting_for_the_engine_is_not_idle() -> None:
    live = Counter()
    live.go.clear()
    samples = talk(2.0, 0.0)
    with serving(live, idle_seconds=1.0) as url, dial(url, MANUAL) as socket:
        send(socket, samples)
        socket.send("close")
        with dial(url, MANUAL) as silent:
            assert events(silent) == []
            assert silent.close_code == 1001  # so the other one has been silent for as long
        live.go.set()
        assert kinds(events(socket))[-1] == "done"
        assert socket.close_code == 1000


def test_engine_exception_in_a_session_is_an_error_event_and_close_1011() -> None:
    live = Counter()
    live.fails = True
    with serving(live) as url, dial(url, MANUAL) as socket:
        with suppress(ConnectionClosed):  # it may be over before all is sent
            send(socket, talk())
        found = events(socket)
        assert [event["status_code"] for event in found] == [500]
        assert socket.close_code == 1011


def test_client_that_disconnects_mid_word_frees_its_slot() -> None:
    live = Counter()
    with serving(live, concurrency=1) as url:
        for _ in range(5):
            with dial(url, AUTO) as socket:
                send(socket, talk(1.0, 0.0))
                socket.socket.shutdown(SHUT_RDWR)
            assert is_free_again(url)


def test_sessions_of_silence_and_without_audio_close_normally() -> None:
    with serving() as url:
        for samples in (speech.silence(0), speech.silence(3)):
            with dial(url, MANUAL) as socket:
                send(socket, samples)
                socket.send("finalize")
                socket.send("close")
                assert kinds(events(socket)) == ["flush_done", "done"]
            with dial(url, AUTO) as socket:
                send(socket, samples)
                socket.send('{"type": "close"}')
                assert kinds(events(socket)) == ["connected"]


def test_concurrent_sessions_do_not_mix_audio() -> None:
    with serving() as url, dial(url, MANUAL) as one, dial(url, MANUAL) as other:
        for at in range(0, 4 * RATE, RATE // 10):
            send(one, talk(3.0)[at : at + RATE // 10])
            send(other, speech.silence(0.1))
        for socket in (one, other):
            socket.send("finalize")
            socket.send("close")
        assert "transcript" in kinds(events(one))
        assert "transcript" not in kinds(events(other))


async def test_frame_queue_is_bounded_for_frames_of_any_size() -> None:
    class Flood:
        """A socket with frames of a MiB without end."""

        taken = 0

        async def receive(self) -> dict[str, Any]:
            self.taken += 1
            return {"type": "websocket.receive", "bytes": bytes(1 << 20)}

    flood = Flood()
    session = RealtimeSession(cast("WebSocket", flood), DIALECT, RealtimeOptions(model="ink-2"), "id", 20.0)
    reading = asyncio.create_task(session._receive_frames())
    for _ in range(1000):
        await asyncio.sleep(0)
    reading.cancel()
    assert flood.taken == MAX_QUEUED_BYTES // (1 << 20)  # what a frame takes by itself counts as well


def config(**members: object) -> str:
    return json.dumps({"type": "config", **members})


PREVIEW = QUERY.replace("ink-2", "ink-preview")


@pytest.mark.parametrize("path", [MANUAL, AUTO])
def test_language_hints_are_taken_at_connect_and_in_mid_session(path: str) -> None:
    live = Counter()
    with serving(live) as base_url, dial(base_url, path, f"{PREVIEW}&language_hint=en") as socket:
        socket.send(config(language_hints=["de", "en"], keyterms=["Ink"]))
        socket.send(encode_s16le(talk()))
        end(socket, path)
        events = [json.loads(text) for text in socket]
    assert [event for event in events if event["type"] == "error"] == []
    assert live.languages_used == {"en"}  # it knows no German


def test_the_first_hint_that_the_engine_knows_is_recognized() -> None:
    live = Counter()
    with serving(live) as base_url, dial(base_url, AUTO, f"{PREVIEW}&language_hint=de&language_hint=fr") as socket:
        socket.send(encode_s16le(talk()))
        end(socket, AUTO)
        list(socket)
    assert live.languages_used == {"fr"}


@pytest.mark.parametrize("path", [MANUAL, AUTO])
@pytest.mark.parametrize(
    ("query", "members", "title"),
    [
        (PREVIEW, {"language_hints": ["pt-BR"]}, "Invalid language hints"),
        (PREVIEW, {"language_hints": ["tlh"]}, "Invalid language hints"),
        (PREVIEW, {"language_hints": ["en"] * 7}, "Invalid language hints"),
        (QUERY, {"language_hints": ["en"]}, "Invalid language hints"),
        (QUERY, {"keyterms": ["x"] * 101}, "Too many keyterms"),
        (QUERY, {"turn": []}, "Invalid config"),
    ],
)
def test_a_refused_config_changes_nothing_and_the_session_goes_on(
    path: str, query: str, members: dict[str, object], title: str
) -> None:
    with serving() as base_url, dial(base_url, path, query) as socket:
        socket.send(config(**members))
        socket.send(encode_s16le(talk()))
        end(socket, path)
        events = [json.loads(text) for text in socket]
    (error,) = [event for event in events if event["type"] == "error"]
    assert (error["status_code"], error["title"]) == (400, title)
    said = [event for event in events if event["type"] in ("transcript", "turn.end")]
    assert said, "the session went on"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (f"{PREVIEW}&language_hint=pt-BR", "'pt-BR' is not the base code of a language."),
        (PREVIEW + "&language_hint=en" * 7, "7 language hints are too many: 6 at most."),
        (f"{PREVIEW}&language_hint=tlh", "'tlh' is not a supported language."),
        (f"{QUERY}&language_hint=en", "ink-2 does not take language hints."),
    ],
)
@pytest.mark.parametrize("path", [MANUAL, AUTO])
def test_impossible_language_hints_get_an_error_event_and_the_end(path: str, query: str, message: str) -> None:
    with serving() as base_url, dial(base_url, path, query) as socket:
        error = json.loads(socket.recv())
        assert (error["type"], error["status_code"], error["message"]) == ("error", 400, message)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


def end(socket: ClientConnection, path: str) -> None:
    socket.send("close" if path == MANUAL else '{"type": "close"}')


def test_models_are_listed_without_a_key() -> None:
    with serving(key="sk_secret") as base_url:
        refused = httpx.get(f"{base_url}/models")
        listed = httpx.get(f"{base_url}/models?capability=stt", headers=VERSION).json()["data"]
        speaking = httpx.get(f"{base_url}/models?capability=tts", headers=VERSION).json()["data"]
    assert refused.status_code == 400 and "Cartesia-Version" in refused.text
    assert speaking == []
    assert [row["id"] for row in listed] == ["ink-whisper", "ink-whisper-2025-06-04", "ink-2", "ink-preview"]
    assert listed[0] == {
        "id": "ink-whisper",
        "capability": "stt",
        "modes": ["stream", "batch"],
        "languages": ["en", "fr"],
    }
