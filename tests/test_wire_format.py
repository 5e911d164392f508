"""The format in which audio goes out: six encodings at several rates, and a recording's own, byte for byte."""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.pcm import convert_s16le, decode_pcm, encode_s16le
from cartesia_cli.audio.wav_writer import WavWriter, open_private, read_back
from cartesia_cli.commands.backend import ChosenServer
from cartesia_cli.commands.live.catchup import batch_catch_up
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.constants import ENCODINGS
from cartesia_cli.protocol.realtime import RealtimeOptions

from . import realtime_server as foreign
from . import speech
from .conftest import Run
from .fault_server import KEY, FaultServer
from .realtime_server import BINARY, ConnectionRecord, RealtimeServer

SENTENCE = "She kept her letters in a blue box."
ALL_CODES = bytes(range(256))
COMPANDED = {"pcm_mulaw": 7, "pcm_alaw": 6}
"""Encodings of G.711, with the codec in a WAV header."""


def wav(data: bytes, codec: int, width: int, rate: int, channels: int = 1) -> bytes:
    fmt = struct.pack("<HHIIHH", codec, channels, rate, rate * width * channels, width * channels, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def tone(rate: int, seconds: float = 0.5) -> bytes:
    """16-bit samples of a tone."""
    return encode_s16le((np.sin(np.arange(round(rate * seconds)) * 2 * np.pi * 440 / rate) / 2).astype(np.float32))


# Conversion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", COMPANDED)
def test_g711_survives_decoding_and_encoding(encoding: str) -> None:
    assert convert_s16le(encode_s16le(decode_pcm(ALL_CODES, encoding)), encoding) == ALL_CODES


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_keeps_16_bit_samples_as_well_as_it_can(encoding: str) -> None:
    samples = np.arange(-32768, 32768, dtype="<i2")
    converted = convert_s16le(samples.tobytes(), encoding)
    assert len(converted) == len(samples) * ENCODINGS[encoding]
    error = np.abs(decode_pcm(converted, encoding) - samples / 32768.0)
    exact = encoding in ("pcm_s16le", "pcm_s32le", "pcm_f32le")
    assert error.max() == 0 if exact else (error <= np.maximum(np.abs(samples / 32768.0) / 16, 9 / 32768)).all()


def test_encoding_g711_takes_the_nearest_code() -> None:
    samples = np.arange(-32768, 32768, 7, dtype="<i2")
    for encoding in COMPANDED:
        levels = decode_pcm(ALL_CODES, encoding)
        best = np.abs(samples[:, None] / 32768.0 - levels[None, :]).min(axis=1)
        found = np.abs(decode_pcm(convert_s16le(samples.tobytes(), encoding), encoding) - samples / 32768.0)
        assert found == pytest.approx(best, abs=1e-7)


# A recording's own format --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "channel", "expected"),
    [
        (wav(ALL_CODES, 7, 1, 8000), None, ("pcm_mulaw", 8000)),
        (wav(ALL_CODES, 6, 1, 8000), None, ("pcm_alaw", 8000)),
        (wav(ALL_CODES, 7, 1, 8000, channels=2), 2, ("pcm_mulaw", 8000)),
        (wav(ALL_CODES, 7, 1, 8000, channels=2), None, ("pcm_s16le", 8000)),  # an average is another sound
        (wav(tone(24000), 1, 2, 24000), None, ("pcm_s16le", 24000)),
        (wav(bytes(3 * 4800), 1, 3, 48000), None, ("pcm_s16le", 48000)),
    ],
)
def test_decoder_reports_the_wire_format_of_a_recording(
    data: bytes, channel: int | None, expected: tuple[str, int], tmp_path: Path
) -> None:
    path, decoder = tmp_path / "talk.wav", Decoder(rate=None, channel=channel)
    path.write_bytes(data)
    next(decoder.decode_file(path))
    assert decoder.own_format == expected


def test_headerless_g711_is_sent_as_it_is(tmp_path: Path) -> None:
    path, decoder = tmp_path / "talk.ul", Decoder(rate=None)
    path.write_bytes(ALL_CODES)
    with path.open("rb") as file:
        blocks = list(decoder.decode_raw(file, "pcm_mulaw", 8000))
    assert decoder.own_format == ("pcm_mulaw", 8000)
    assert convert_s16le(encode_s16le(np.concatenate(blocks)), "pcm_mulaw") == ALL_CODES


# The program ---------------------------------------------------------------------------------------------------


def heard(call: ConnectionRecord) -> bytes:
    """All audio that a server was sent."""
    return b"".join(call.payloads(BINARY))


def sent(run: Run, path: Path, *options: str, stdin: bytes = b"") -> tuple[dict[str, str], bytes, dict[str, object]]:
    """The query of the handshake, the audio, and the statistics of a replay."""
    with RealtimeServer(foreign.manual()) as server:
        env = {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": f"http://127.0.0.1:{server.port}"}
        arguments = ("--mode", "manual", "--finalize", "none", "--stats", "-f", "ndjson", *options)
        done = run("stream-file", path, *arguments, env=env, stdin=stdin)
        assert done.returncode == 0, done.stderr
        (call,) = server.records
    return dict(call.query), heard(call), json.loads(done.stdout.splitlines()[-1])["stats"]


@pytest.mark.parametrize("encoding", COMPANDED)
def test_native_g711_reaches_the_server_byte_for_byte(encoding: str, run: Run, tmp_path: Path) -> None:
    data = ALL_CODES * 20
    (tmp_path / "call.wav").write_bytes(wav(data, COMPANDED[encoding], 1, 8000))
    query, audio, stats = sent(run, tmp_path / "call.wav", "--wire-encoding", "native")
    assert (query["encoding"], query["sample_rate"]) == (encoding, "8000")
    assert audio == data
    assert stats["bytes"] == len(data)
    assert stats["seconds"] == pytest.approx(len(data) / 8000)
    assert stats["bits_per_second"] == 64_000


def test_native_16_bit_samples_reach_the_server_at_their_own_rate(run: Run, tmp_path: Path) -> None:
    data = tone(24000)
    (tmp_path / "talk.wav").write_bytes(wav(data, 1, 2, 24000))
    query, audio, stats = sent(run, tmp_path / "talk.wav", "--wire-encoding", "native")
    assert (query["encoding"], query["sample_rate"]) == ("pcm_s16le", "24000")
    assert audio == data
    assert stats["bits_per_second"] == 384_000


def test_native_g711_from_a_pipe_reaches_the_server_byte_for_byte(run: Run, tmp_path: Path) -> None:
    data = ALL_CODES * 20
    headerless = ("--encoding", "pcm_alaw", "--sample-rate", "8000")
    query, audio, _ = sent(run, Path("-"), "--wire-encoding", "native", *headerless, stdin=data)
    assert (query["encoding"], query["sample_rate"], audio) == ("pcm_alaw", "8000", data)
    query, audio, _ = sent(run, Path("-"), "--wire-encoding", "native", stdin=wav(data, 7, 1, 8000))
    assert (query["encoding"], query["sample_rate"], audio) == ("pcm_mulaw", "8000", data)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_goes_out_as_the_query_says(encoding: str, run: Run, tmp_path: Path) -> None:
    data = tone(16000)
    (tmp_path / "talk.wav").write_bytes(wav(data, 1, 2, 16000))
    query, audio, stats = sent(run, tmp_path / "talk.wav", "--wire-encoding", encoding)
    assert (query["encoding"], query["sample_rate"]) == (encoding, "16000")
    assert audio == convert_s16le(data, encoding)
    assert (stats["encoding"], stats["bytes"]) == (encoding, len(audio))


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
def test_each_rate_goes_out_as_the_query_says(rate: int, run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(wav(tone(16000), 1, 2, 16000))
    kept = tmp_path / "kept.wav"
    options = ("--wire-rate", str(rate), "--save-audio", str(kept))
    query, audio, stats = sent(run, tmp_path / "talk.wav", *options)
    assert (query["encoding"], query["sample_rate"]) == ("pcm_s16le", str(rate))
    assert len(audio) == pytest.approx(rate, abs=4)  # half a second
    assert stats["seconds"] == pytest.approx(0.5, abs=0.001)
    (block,) = Decoder(rate=None).decode_file(kept)
    assert encode_s16le(block) == audio


@pytest.mark.parametrize(
    "options",
    [
        *(("--wire-encoding", encoding) for encoding in ("pcm_f16le", "pcm_alaw")),
        ("--wire-rate", "24000"),
        ("--wire-encoding", "pcm_mulaw", "--wire-rate", "8000"),
        ("--wire-encoding", "native"),
    ],
    ids=" ".join,
)
def test_a_recognizer_hears_the_same_words_in_every_format(
    options: tuple[str, ...], whisper: dict[str, str], run: Run, tmp_path: Path
) -> None:
    spoken = speech.write_wav(tmp_path / "talk.wav", np.concatenate([speech.say(SENTENCE), speech.silence(0.5)]))
    if options[-1] == "native":
        samples = np.concatenate([*Decoder(rate=8000).decode_file(spoken)])
        spoken.write_bytes(wav(convert_s16le(encode_s16le(samples), "pcm_alaw"), 6, 1, 8000))
    fast = ("-m", "ink-whisper", "--speed", "10")
    done = run("stream-file", spoken, *fast, *options, env=whisper)
    assert done.returncode == 0, done.stderr
    assert re.findall("[a-z]+", done.stdout.decode().lower()) == re.findall("[a-z]+", SENTENCE.lower())


def test_what_a_lost_connection_did_not_answer_is_sent_again_at_the_same_rate(run: Run, tmp_path: Path) -> None:
    data = bytes(ALL_CODES[code] for code in np.random.default_rng(7).integers(0, 256, 16000))
    (tmp_path / "call.wav").write_bytes(wav(data, 7, 1, 8000))

    def drop(connection: foreign.ServerConnection) -> None:
        connection.admit()
        connection.until_audio(0.5)
        connection.drop()

    with RealtimeServer(drop, foreign.manual()) as server:
        env = {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": f"http://127.0.0.1:{server.port}"}
        options = ("--mode", "manual", "--finalize", "none", "--wire-encoding", "native")
        done = run("stream-file", tmp_path / "call.wav", *options, env=env)
        assert done.returncode == 0, done.stderr
        first, second = server.records
    assert data.startswith(heard(first))
    assert data.endswith(heard(second))
    assert len(heard(first)) + len(heard(second)) >= len(data)
    assert {call.query[2] for call in server.records} <= {("sample_rate", "8000")}


def test_what_is_left_for_the_batch_endpoint_keeps_its_rate(tmp_path: Path) -> None:
    options = RealtimeOptions(model="ink-2", encoding="pcm_mulaw", sample_rate=8000)
    with FaultServer("fine") as server:
        backend = ChosenServer(server.base_url, None, local=False)
        catch_up = batch_catch_up(backend, options, Reporter(io.StringIO()), lambda: "")
        asyncio.run(catch_up([tone(8000, 2.0)], 0.0))
        upload = server.requests[0].part("file").content
    (tmp_path / "rest.wav").write_bytes(upload)
    decoder = Decoder(rate=None)
    blocks = list(decoder.decode_file(tmp_path / "rest.wav"))
    assert decoder.own_format[1] == 8000
    assert encode_s16le(np.concatenate(blocks)) == tone(8000, 2.0)


def test_orphaned_recording_has_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "left.wav"
    with open_private(path, "xb") as file:
        WavWriter(file, "asked", rate=24000).write(tone(24000, 1.5))
    assert read_back(path) == (1.5, "asked")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--wire-encoding", "mulaw"], "'mulaw' is not supported"),
        (["--wire-encoding", "native", "--wire-rate", "8000"], "exclude each other"),
        (["--wire-rate", "7999"], "--wire-rate"),
        (["--wire-rate", "48001"], "--wire-rate"),
    ],
)
def test_a_format_that_can_t_be_is_refused_before_anything_is_sent(
    arguments: list[str], said: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "talk.wav").write_bytes(wav(tone(16000), 1, 2, 16000))
    done = run("stream-file", tmp_path / "talk.wav", *arguments, env={"CARTESIA_API_KEY": KEY})
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.decode()


def test_a_microphone_has_no_native_format(run: Run) -> None:
    done = run("listen", "--wire-encoding", "native", env={"CARTESIA_API_KEY": KEY})
    assert done.returncode == 2
    assert b"native is for recordings" in done.stderr
