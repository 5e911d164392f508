"""Recordings as samples: odd WAVs against the truth that was written into them, real encoders, pipes, damage."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import av
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli.audio.decoders import RangeReader
from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.pcm import RATE, Samples, decode_pcm
from cartesia_cli.audio.probing import probe
from cartesia_cli.audio.probing.ogg_flac import MAX_CHAINED, find_chained_recordings
from cartesia_cli.errors import InputError
from cartesia_cli.protocol.constants import ENCODINGS
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.server.app import create_app
from cartesia_cli.server.runner import serve_in_background

from .conftest import require_program
from .test_probing import chunk, ds64, fmt, guid_chunk, page, riff, w64

SECONDS = 2.0


def truth(rate: int = RATE, seconds: float = SECONDS) -> Samples:
    """Two tones that swell, so that no part is like another; no sign is like the other either."""
    at = np.arange(int(rate * seconds)) / rate
    return (at / seconds * (0.5 * np.sin(880 * np.pi * at) + 0.2 * np.cos(1760 * np.pi * at))).astype(np.float32)


def whole(samples: Samples, bits: int, order: str = "<") -> bytes:
    """Integers with a sign, as the bytes of a file; 24 bits are packed."""
    numbers = (samples.astype(float) * (2.0 ** (bits - 1) - 1)).astype(np.int64).astype(">i8")
    packed = numbers.view(np.uint8).reshape(-1, 8)[:, 8 - bits // 8 :]
    return (packed if order == ">" else packed[:, ::-1]).tobytes()


def blocks_of(parts: Iterable[Samples]) -> Samples:
    return np.concatenate(list(parts))


class Trickle:
    """A pipe: what one writes at a time is what the other reads at a time, and it can't be sought."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._rest = b""

    def read(self, count: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._parts, b"")
        data, self._rest = self._rest[:count], self._rest[count:]
        return data


def trickle(data: bytes, sizes: Iterable[int] = ()) -> BinaryIO:
    """`data` in parts of such sizes, and the rest in one."""

    def parts() -> Iterator[bytes]:
        at = 0
        for size in sizes:
            if at < len(data):
                yield data[at : at + size]
            at += size
        if at < len(data):
            yield data[at:]

    return cast(BinaryIO, Trickle(parts()))


# Odd WAVs --------------------------------------------------------------------------------------------------


def extensible(codec: int, bits: int, valid: int = 0, mask: int = 4) -> bytes:
    """What WAVE_EXTENSIBLE appends to a fmt chunk: the real codec is the beginning of a GUID."""
    guid = struct.pack("<H", codec) + bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<HHI", 22, valid or bits, mask) + guid


def many(count: int) -> bytes:
    return np.repeat(np.frombuffer(PCM, "<i2"), count).tobytes()


PCM = whole(truth(), 16)
DATA = chunk(b"data", PCM)
FLOATS, BIG = truth().tobytes(), whole(truth(), 16, ">")

NO_LENGTH, CUT_OFF = "has no length", "was cut off"


class Odd(NamedTuple):
    """A WAV that can be decoded: its bytes, how far a sample may be off, what a look says of it."""

    data: bytes
    error: float = 0.0001
    note: str | None = None


ODD = {
    "8 bit": Odd(riff(fmt(bits=8), chunk(b"data", (truth() * 127 + 128).round().astype(np.uint8).tobytes())), 0.01),
    "16 bit": Odd(riff(fmt(), DATA)),
    "20 bit in 24": Odd(riff(fmt(bits=20, block=3), chunk(b"data", whole(truth(), 24)))),
    "24 bit": Odd(riff(fmt(bits=24), chunk(b"data", whole(truth(), 24)))),
    "24 bit in 32": Odd(riff(fmt(bits=24, block=4), chunk(b"data", whole(truth(), 32)))),
    "32 bit": Odd(riff(fmt(bits=32), chunk(b"data", whole(truth(), 32)))),
    "64 bit": Odd(riff(fmt(bits=64), chunk(b"data", whole(truth(), 64)))),
    "half floats": Odd(riff(fmt(3, bits=16), chunk(b"data", truth().astype("<f2").tobytes())), 0.001),
    "floats": Odd(riff(fmt(3, bits=32), chunk(b"data", FLOATS))),
    "doubles": Odd(riff(fmt(3, bits=64), chunk(b"data", truth().astype("<f8").tobytes()))),
    "extensible": Odd(riff(fmt(0xFFFE, extra=extensible(1, 16)), DATA)),
    "extensible 24 bit in 32": Odd(
        riff(fmt(0xFFFE, bits=32, extra=extensible(1, 32, 24)), chunk(b"data", whole(truth(), 32)))
    ),
    "extensible floats": Odd(riff(fmt(0xFFFE, bits=32, extra=extensible(3, 32)), chunk(b"data", FLOATS))),
    "long fmt": Odd(riff(chunk(b"fmt ", fmt()[8:] + b"\1" * 300), DATA)),
    "RF64": Odd(riff(ds64(len(PCM)), fmt(), chunk(b"data", PCM, 0xFFFFFFFF), chunk(b"LIST", b"INFO" * 99),
                     magic=b"RF64", size=0xFFFFFFFF)),
    "RF64 without its sizes": Odd(riff(fmt(), chunk(b"data", PCM, 0xFFFFFFFF), magic=b"RF64"), note=NO_LENGTH),
    "BW64": Odd(riff(ds64(len(PCM)), fmt(), chunk(b"data", PCM, 0xFFFFFFFF), magic=b"BW64", size=0xFFFFFFFF)),
    "RIFX": Odd(riff(fmt(order=">"), chunk(b"data", BIG, order=">"), magic=b"RIFX", order=">")),
    "RIFX 24 bit": Odd(riff(fmt(bits=24, order=">"), chunk(b"data", whole(truth(), 24, ">"), order=">"),
                            magic=b"RIFX", order=">")),
    "RIFX floats": Odd(riff(fmt(3, bits=32, order=">"), chunk(b"data", truth().astype(">f4").tobytes(), order=">"),
                            magic=b"RIFX", order=">")),
    "Wave64": Odd(w64(guid_chunk(b"junk", b"odd"), guid_chunk(b"fmt ", fmt()[8:]), guid_chunk(b"data", PCM))),
    "Wave64 from a pipe": Odd(w64(guid_chunk(b"fmt ", fmt()[8:]), guid_chunk(b"data", PCM, 2**63 - 1)),
                              note=NO_LENGTH),
    "size 0": Odd(riff(fmt(), chunk(b"data", PCM, 0), size=0), note=NO_LENGTH),
    "size 0xFFFFFFFF": Odd(riff(fmt(), chunk(b"data", PCM, 0xFFFFFFFF), size=0xFFFFFFFF), note=NO_LENGTH),
    "size of sox": Odd(riff(fmt(), chunk(b"data", PCM, 0x7FFFF000), size=0x7FFFF024), note=NO_LENGTH),
    "truncated": Odd(riff(fmt(), chunk(b"data", PCM, 3 * len(PCM))), note=CUT_OFF),
    "truncated in a sample": Odd(riff(fmt(), b"data", struct.pack("<I", 3 * len(PCM)), PCM, b"\x7f"), note=CUT_OFF),
    "truncated RIFX": Odd(riff(fmt(order=">"), chunk(b"data", BIG, 3 * len(BIG), order=">"), magic=b"RIFX", order=">"),
                          note=CUT_OFF),
    "odd chunk": Odd(riff(fmt(), chunk(b"LIST", b"INFOabc"), DATA)),
    "odd chunk, not padded": Odd(riff(fmt(), b"LIST\7\0\0\0INFOabc", DATA)),
    "chunks before fmt": Odd(riff(chunk(b"JUNK", b"\0" * 27), chunk(b"bext", b"x" * 602), fmt(), DATA)),
    "a large chunk before fmt": Odd(riff(chunk(b"JUNK", b"\0" * 1_500_000), fmt(), DATA)),
    "chunks behind data": Odd(riff(fmt(), DATA, chunk(b"LIST", b"INFOISFT" * 99), chunk(b"id3 ", b"ID3" * 99))),
    "fmt behind data": Odd(riff(DATA, fmt())),
    "wrong byte rate": Odd(riff(fmt(average=7), DATA)),
    "no block size": Odd(riff(fmt(block=0), DATA), note="has no data rate"),
    "2 channels": Odd(riff(fmt(channels=2), chunk(b"data", many(2)))),
    "6 channels": Odd(riff(fmt(0xFFFE, channels=6, extra=extensible(1, 16, mask=0x3F)), chunk(b"data", many(6)))),
    "32 channels": Odd(riff(fmt(channels=32), chunk(b"data", many(32)))),
    "100 channels": Odd(riff(fmt(channels=100), chunk(b"data", many(100)))),
    "8 kHz": Odd(riff(fmt(rate=8000), chunk(b"data", whole(truth(8000), 16))), 0.001),
    "44.1 kHz": Odd(riff(fmt(rate=44100), chunk(b"data", whole(truth(44100), 16))), 0.001),
    "384 kHz": Odd(riff(fmt(rate=384000), chunk(b"data", whole(truth(384000), 16))), 0.001),
}  # fmt: skip

PLAIN = ODD["16 bit"].data

ENCODED = {
    "mu-law": ("pcm_mulaw", 0.02, 0),
    "A-law": ("pcm_alaw", 0.02, 0),
    "IMA ADPCM": ("adpcm_ima_wav", 0.03, 1017),
    "Microsoft ADPCM": ("adpcm_ms", 0.03, 1012),
    "Yamaha ADPCM": ("adpcm_yamaha", 0.05, 2048),
}
"""Codec of FFmpeg, error of a sample, samples that its last block may be too long."""


def ffmpeg(path: Path, *options: str | Path) -> Path:
    command = [require_program("ffmpeg"), "-v", "error", "-y", "-nostdin", *map(str, options), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return path


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def assert_true(samples: Samples, error: float, extra: int = 0) -> None:
    """The samples are the truth. At both ends a filter may ring: tones begin and end there."""
    expected = truth()
    assert samples.dtype == np.float32
    assert -1 <= len(samples) - len(expected) <= max(1, extra)
    inner = slice(300, len(expected) - 300)
    assert np.abs(samples[inner] - expected[inner]).max() < error


@pytest.mark.parametrize("kind", ODD)
def test_unusual_wav_is_decoded_with_the_right_note(tmp_path: Path, kind: str) -> None:
    odd = ODD[kind]
    path = put(tmp_path / "odd.wav", odd.data)
    note, said = probe(path).note, list[str]()
    assert_true(blocks_of(Decoder(warn=said.append).decode_file(path)), odd.error)
    assert note is None if odd.note is None else note is not None and odd.note in note
    assert said == []  # a look has told it


@pytest.mark.parametrize("kind", ODD)
def test_unusual_wav_in_a_pipe_is_decoded_like_a_file(kind: str) -> None:
    odd, said = ODD[kind], list[str]()
    assert_true(
        blocks_of(Decoder(warn=said.append).decode_pipe(trickle(odd.data, [1, 2, 3, 5, 1000, 1001]))), odd.error
    )
    # In a pipe it is as it should be that a header names no length, and what needs no look isn't called damaged.
    wanted = odd.note if odd.note == CUT_OFF else None
    assert len(said) == (wanted is not None) and (wanted is None or wanted in said[0])


@pytest.mark.parametrize("kind", ENCODED)
def test_compressed_wavs_are_decoded(tmp_path: Path, kind: str) -> None:
    codec, error, extra = ENCODED[kind]
    source = put(tmp_path / "in.wav", PLAIN)
    path = ffmpeg(tmp_path / "odd.wav", "-i", source, "-c:a", codec)
    assert_true(blocks_of(Decoder().decode_file(path)), error, extra)
    assert_true(blocks_of(Decoder().decode_pipe(trickle(path.read_bytes(), [7, 1000]))), error, extra)


# The local server -------------------------------------------------------------------------------------------


class Listener:
    """An engine that keeps what it hears."""

    name, languages, workers, batch_size, is_quick = "Listener", frozenset({"en"}), 1, 1, True

    def __init__(self) -> None:
        self.heard: list[Samples] = []

    def recognize(self, utterances: Sequence[Samples], language: str) -> list[tuple[Word, ...]]:
        self.heard += utterances
        return [()] * len(utterances)


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[Listener, httpx.Client]]:
    """A local server's engine, and a client of it."""
    engine = Listener()
    with (
        serve_in_background(create_app(engine)) as server,
        httpx.Client(
            base_url=server, headers={"Cartesia-Version": "2026-03-01"}, timeout=60, trust_env=False
        ) as client,
    ):
        yield engine, client


def upload(listener: tuple[Listener, httpx.Client], data: bytes) -> tuple[httpx.Response, Samples]:
    """What the server answers to a file without a name that says anything, and what its engine heard of it."""
    engine, client = listener
    engine.heard = [np.zeros(0, np.float32)]
    answer = client.post("/stt", data={"model": "ink-whisper"}, files={"file": ("upload", data)})
    return answer, np.concatenate(engine.heard)


@pytest.mark.filterwarnings("error")  # numpy's would be printed
@pytest.mark.parametrize("kind", ODD)
def test_server_decodes_unusual_wav(listener, kind: str) -> None:
    answer, heard = upload(listener, ODD[kind].data)
    assert answer.status_code == 200, answer.text
    assert_true(heard, ODD[kind].error)


def test_truncated_wav_in_a_pipe_warns_with_both_durations() -> None:
    said = list[str]()
    blocks_of(Decoder(warn=said.append).decode_pipe(trickle(ODD["truncated"].data)))
    assert said == ["it was cut off: its header promises 6.00 s of audio, and it holds 2.00 s"]


# Unusable inputs -------------------------------------------------------------------------------------------

NOISE = np.random.default_rng(7).bytes(40_000)

HOPELESS = {
    "header only": (riff(fmt(), chunk(b"data", b"")), "no audio"),
    "half a header": (riff(fmt(), DATA)[:30], "no audio"),
    "less than a sample": (riff(fmt(bits=32), b"data\xff\xff\xff\xffab"), "no audio"),
    "text": (b"Dear diary, today I recorded nothing.\n" * 99, "not a recording"),
    "a web page": (b"<!DOCTYPE html><html>", "not a recording"),
    "noise": (NOISE, "decoded"),
    "noise behind a header": (b"RIFF\0\0\0\0WAVE" + NOISE, "decoded"),
    "Wave64 that leads nowhere": (w64(guid_chunk(b"junk", b"", 2**64 - 200), guid_chunk(b"data", PCM)), "decoded"),
    "unknown codec": (riff(fmt(0x1234), DATA), "Decoder not found"),
    "no channels": (riff(fmt(channels=0, block=2), DATA), "decoded"),
    "1 Hz": (riff(fmt(rate=1), DATA), "unsupported sample rate of 1 Hz"),
    "4 GHz": (riff(fmt(rate=4_000_000_000, average=7), DATA), "unsupported sample rate"),
}


@pytest.mark.parametrize("kind", HOPELESS)
def test_undecodable_files_are_rejected(tmp_path: Path, kind: str) -> None:
    data, why = HOPELESS[kind]
    with pytest.raises(InputError, match=why) as caught:
        blocks_of(Decoder().decode_file(put(tmp_path / "odd.wav", data)))
    assert "odd.wav" in caught.value.message


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [*HOPELESS, "nothing"])
def test_server_rejects_undecodable_files(listener, kind: str) -> None:
    answer, heard = upload(listener, HOPELESS.get(kind, (b"", ""))[0])
    assert (answer.status_code, answer.json()["title"], len(heard)) == (400, "Invalid audio", 0)
    assert answer.json()["message"].startswith("The file ")


@pytest.mark.parametrize("data", [b"", b"\1"])
def test_server_rejects_raw_audio_without_samples(listener, data: bytes) -> None:
    query = {"encoding": "pcm_s16le", "sample_rate": "16000"}
    answer = listener[1].post("/stt", params=query, data={"model": "ink-whisper"}, files={"file": ("upload", data)})
    assert (answer.status_code, answer.json()["message"]) == (400, "The file holds no audio.")


@pytest.mark.parametrize("kind", [*HOPELESS, "nothing"])
def test_error_for_undecodable_pipe_hides_temporary_file(kind: str) -> None:
    data, _ = HOPELESS.get(kind, (b"", ""))
    with pytest.raises(InputError, match=r"^the input ") as caught:
        blocks_of(Decoder().decode_pipe(trickle(data)))
    assert tempfile.gettempdir() not in caught.value.message


def test_decode_file_rejects_folders_empty_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "empty.wav").touch()
    for name, why in {"folder.wav": "is a folder", "empty.wav": "is empty", "gone.wav": "does not exist"}.items():
        with pytest.raises(InputError, match=why):
            next(Decoder().decode_file(tmp_path / name))


def test_video_without_audio_is_rejected(tmp_path: Path) -> None:
    film = ffmpeg(tmp_path / "film.avi", "-f", "lavfi", "-i", "testsrc=duration=0.2:size=32x32", "-c:v", "mpeg4")
    with pytest.raises(InputError, match="no audio track"):
        next(Decoder().decode_file(film))


def test_playlist_does_not_open_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would follow one, whatever the file is called; a control character hides that it is text."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "other.wav", PLAIN)
    playlist = put(tmp_path / "talk.wav", b"ffconcat version 1.0\nfile other.wav\n#\x01\n")
    with playlist.open("rb") as file, av.open(file) as container:
        assert any(container.decode(audio=0))
    with pytest.raises(InputError, match="can't be decoded"):
        next(Decoder().decode_file(playlist))


def test_file_name_that_is_not_utf8_is_decoded(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "talk.flac", "-f", "lavfi", "-i", "sine=duration=1:sample_rate=16000")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/http:\xff %d.flac"))
    path.rename(odd)
    assert len(blocks_of(Decoder().decode_file(odd))) == RATE


@pytest.mark.parametrize(
    "read", [Decoder().decode_pipe, lambda stream: Decoder().decode_raw(stream, "pcm_s16le", RATE)]
)
def test_read_error_of_a_pipe_is_an_input_error(read) -> None:
    class Broken(io.RawIOBase):
        def read(self, count: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match="the input can't be read: Input/output error"):
        next(read(Broken()))


# Other containers ------------------------------------------------------------------------------------------

CONTAINERS = [
    ("talk.flac", "flac", 44100, 0),
    ("talk.mp3", "libmp3lame", 22050, 0),
    ("talk.ogg", "libvorbis", 44100, 0),
    ("talk.oga", "flac", RATE, 0),
    ("talk.opus", "libopus", 48000, 0),
    ("talk.webm", "libopus", 48000, 0),
    ("talk.m4a", "aac", 44100, 1024),
    ("talk.mp4", "aac", 48000, 1024),
    ("talk.aac", "aac", RATE, 2048),
    ("talk.mkv", "pcm_s24le", 32000, 0),
    ("talk.aiff", "pcm_s16be", 44100, 0),
    ("talk.au", "pcm_mulaw", 8000, 0),
    ("talk.caf", "alac", 48000, 0),
]
"""Name, codec, rate, and by how many samples an encoder may fill up both ends without saying so."""


@pytest.mark.waits
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "codec", "rate", "extra"), CONTAINERS)
def test_encoded_files_are_decoded_by_file_pipe_and_server(
    tmp_path: Path, listener, name: str, codec: str, rate: int, extra: int, channels: int
) -> None:
    source = put(tmp_path / "in.wav", riff(fmt(channels=channels), chunk(b"data", many(channels))))
    options = ["-ar", str(rate), "-b:a", "128k", "-strict", "-2"]
    path = ffmpeg(tmp_path / name, "-i", source, "-c:a", codec, *options)
    samples = blocks_of(Decoder().decode_file(path))
    expected = truth()
    slack = int(extra * RATE / rate) + 2
    assert -slack <= len(samples) - len(expected) <= slack
    # An encoder's delay that no header tells makes all of it late: the two are compared where they fit best.
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (0, slack)), len(expected))
    off = np.abs(windows[: slack + 1, 300:-300] - expected[300:-300]).mean(axis=1)
    assert off.min() < 0.01
    said = list[str]()
    assert np.array_equal(
        blocks_of(Decoder(warn=said.append).decode_pipe(trickle(path.read_bytes(), [3, 4096]))), samples
    )
    assert said == []
    assert np.array_equal(upload(listener, path.read_bytes())[1], samples)


def test_audio_of_a_video_is_decoded(tmp_path: Path) -> None:
    sources = ["-f", "lavfi", "-i", "testsrc=duration=2:size=64x64:rate=5", "-i", put(tmp_path / "in.wav", PLAIN)]
    film = ffmpeg(tmp_path / "film.mp4", *sources, "-c:v", "mpeg4", "-c:a", "aac", "-ar", "48000")
    samples = blocks_of(Decoder().decode_file(film))
    assert np.corrcoef(samples[: len(truth())], truth())[0, 1] > 0.99


def test_sample_rate_changes_within_a_file(tmp_path: Path) -> None:
    """Frames of AAC stand for themselves, so that two recordings can follow each other in one file."""
    source = put(tmp_path / "in.wav", PLAIN)
    parts = [
        ffmpeg(tmp_path / f"{rate}.aac", "-i", source, "-ar", str(rate)).read_bytes() for rate in (48000, 24000, 32000)
    ]
    one, two, three = [len(blocks_of(Decoder().decode_file(put(tmp_path / "one.aac", part)))) for part in parts]
    assert (
        abs(len(blocks_of(Decoder().decode_file(put(tmp_path / "all.aac", b"".join(parts))))) - (one + two + three))
        <= 3
    )


# Damage ----------------------------------------------------------------------------------------------------


@pytest.fixture
def long_m4a(tmp_path: Path) -> Path:
    """Ten seconds at 128 kbit/s."""
    source = ["-f", "lavfi", "-i", "sine=440:duration=10:sample_rate=48000"]
    return ffmpeg(tmp_path / "long.m4a", *source, "-c:a", "aac", "-b:a", "128k")


def test_damaged_packets_lose_only_their_own_time_with_warning(long_m4a: Path) -> None:
    data = bytearray(long_m4a.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = NOISE[:4000]
    said = list[str]()
    samples = blocks_of(Decoder(warn=said.append).decode_file(put(long_m4a, bytes(data))))
    assert 9 < len(samples) / RATE < 10
    assert len(said) == 1 and "can't be decoded and were left out" in said[0]
    # Behind the damage, it is the tone again.
    tail = samples[-2 * RATE : -RATE]
    assert np.abs(np.fft.rfft(tail)).argmax() == 440


@pytest.mark.waits
@pytest.mark.parametrize("seed", range(8))
def test_damaged_aac_keeps_the_rest(long_m4a: Path, seed: int) -> None:
    """Its decoder has more than one kind of error for it."""
    data, random = bytearray(long_m4a.read_bytes()), np.random.default_rng(seed)
    for at in random.integers(5000, len(data) - 5000, 40):
        data[at] ^= 1 << random.integers(8)
    assert len(blocks_of(Decoder().decode_file(put(long_m4a, bytes(data))))) / RATE > 7


def test_broken_container_is_decoded_up_to_the_damage_with_warning(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "long.wv", "-f", "lavfi", "-i", "anoisesrc=duration=10:sample_rate=16000:seed=1")
    data = path.read_bytes()
    said = list[str]()
    samples = blocks_of(Decoder(warn=said.append).decode_file(put(path, data[: len(data) // 2])))
    assert 3 < len(samples) / RATE < 6
    assert len(said) == 1 and "nothing after" in said[0]


def test_intact_recording_gives_no_warning(long_m4a: Path) -> None:
    said = list[str]()
    blocks_of(Decoder(warn=said.append).decode_file(long_m4a))
    assert said == []


# Parts that are missing --------------------------------------------------------------------------------------


def speech_like(path: Path, seconds: int, *options: str | Path) -> Path:
    """Noise, of which no two seconds are alike: nothing in it packs to nothing."""
    return ffmpeg(path, "-f", "lavfi", "-i", f"anoisesrc=duration={seconds}:sample_rate=16000:seed=1", *options)


def heard_and_said(path: Path) -> tuple[Samples, list[str]]:
    """The samples of a file, and all that `stream-file` says of it."""
    note, said = probe(path).note, list[str]()
    samples = blocks_of(Decoder(warn=said.append).decode_file(path))
    return samples, [*([note] if note else []), *said]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.97])
def test_damaged_flac_loses_one_frame_with_warning(tmp_path: Path, place: float) -> None:
    path = speech_like(tmp_path / "long.flac", 20)
    whole, said = heard_and_said(path)
    assert (len(whole), said) == (20 * RATE, [])
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x55
    samples, said = heard_and_said(put(path, bytes(data)))
    at, missing = int(20 * RATE * place), len(whole) - len(samples)
    assert 0 < missing <= 2 * 4608
    assert np.array_equal(samples[: at - missing - 4608], whole[: at - missing - 4608])
    assert np.array_equal(samples[at + 4608 :], whole[at + 4608 + missing :])
    assert said == [f"it has gaps: it spans 20.00 s, of which {len(samples) / RATE:.2f} s contain audio"]


def test_truncated_flac_is_decoded_to_its_last_whole_frame(tmp_path: Path) -> None:
    path = speech_like(tmp_path / "long.flac", 20)
    whole, (data, frame) = blocks_of(Decoder().decode_file(path)), (path.read_bytes(), 4608)
    samples, said = heard_and_said(put(path, data[: len(data) // 2]))
    assert len(samples) > 10 * RATE - 3 * frame
    assert np.array_equal(samples[:-frame], whole[: len(samples) - frame])
    assert f"its header promises 20.00 s, but only {len(samples) / RATE:.2f} s of audio were found" in said[-1]


CUT = [
    ("talk.aiff", "pcm_s16be"), ("talk.aifc", "pcm_s16le"), ("talk.au", "pcm_s16be"), ("talk.caf", "pcm_s16le"),
    ("talk.ogg", "libvorbis"), ("talk.opus", "libopus"), ("talk.oga", "flac"), ("talk.flac", "flac"),
    ("talk.mp3", "libmp3lame"), ("talk.flv", "aac"), ("talk.avi", "libmp3lame"), ("talk.wma", "wmav2"),
    ("talk.mka", "libopus"), ("talk.wv", "wavpack"), ("talk.tta", "tta"), ("talk.wav", "pcm_mulaw"),
    ("talk.wav", "adpcm_ms"), ("fast.m4a", "aac"), ("parts.mp4", "aac"),
]  # fmt: skip
"""Name and codec."""

FLAGS = {
    "fast.m4a": ["-movflags", "faststart"],
    "parts.mp4": ["-movflags", "frag_keyframe+empty_moov", "-frag_duration", "3000000"],
    "talk.oga": ["-f", "ogg"],
    "talk.aifc": ["-f", "aiff"],
}


@pytest.mark.waits
@pytest.mark.parametrize(("name", "codec"), CUT)
def test_truncated_file_gives_a_warning_in_every_container(tmp_path: Path, name: str, codec: str) -> None:
    rate = "48000" if codec == "libopus" else "44100"
    path = speech_like(tmp_path / name, 20, "-ar", rate, "-c:a", codec, *FLAGS.get(name, []))
    samples, said = heard_and_said(path)
    assert len(samples) / RATE == pytest.approx(20, abs=0.15) and said == []
    data = path.read_bytes()
    samples, said = heard_and_said(put(path, data[: int(len(data) * 0.6)]))
    assert 8 < len(samples) / RATE < 13
    # Of one loss, one or two decoders' words, but never a word twice.
    assert 1 <= len(said) <= 2 and len(set(said)) == len(said)
    assert any(word in note for note in said for word in ("cut off", "damaged")), said


@pytest.mark.waits
@pytest.mark.parametrize(("name", "codec"), [
    ("talk.flac", "flac"), ("talk.ogg", "libvorbis"), ("talk.opus", "libopus"), ("talk.mka", "libopus"),
    ("talk.mp3", "libmp3lame"), ("fast.m4a", "aac"),
])  # fmt: skip
def test_gap_in_the_middle_gives_a_warning(tmp_path: Path, name: str, codec: str) -> None:
    path = speech_like(tmp_path / name, 20, "-ar", "48000", "-c:a", codec, *FLAGS.get(name, []))
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) * 6 // 10)
    data[middle] = (NOISE * (len(data) // len(NOISE) + 1))[: middle.stop - middle.start]
    samples, said = heard_and_said(put(path, bytes(data)))
    assert len(samples) / RATE < 19.5 and said


def live(path: Path, kind: str, *options: str | Path) -> Path:
    """As a writer into a pipe leaves it, who can't go back to the header."""
    source = ["-f", "lavfi", "-i", "anoisesrc=duration=20:sample_rate=48000:seed=1"]
    command = [require_program("ffmpeg"), "-v", "error", "-nostdin", *source, *map(str, options), "-f", kind, "-"]
    return put(path, subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


@pytest.mark.waits
@pytest.mark.parametrize(("kind", "codec"), [
    ("matroska", "pcm_s16le"), ("matroska", "libmp3lame"), ("matroska", "ac3"), ("webm", "libopus"), ("flac", "flac"),
    ("au", "pcm_s16be"), ("caf", "pcm_s16be"), ("asf", "wmav2"), ("flv", "libmp3lame"), ("wv", "wavpack"),
    ("ogg", "libvorbis"), ("mp3", "libmp3lame"), ("avi", "pcm_s16le"), ("mpegts", "aac"), ("adts", "aac"),
    ("ac3", "ac3"), ("aiff", "pcm_s16be"), ("wav", "adpcm_ima_wav"), ("mp2", "mp2"),
])  # fmt: skip
def test_streamed_files_without_duration_give_no_warning(tmp_path: Path, kind: str, codec: str) -> None:
    """FFmpeg guesses a duration then, by the bit rate."""
    rate = ["-ar", "44100"] if kind == "flv" else []
    samples, said = heard_and_said(live(tmp_path / f"talk.{kind}", kind, "-c:a", codec, *rate))
    assert len(samples) / RATE == pytest.approx(20, abs=0.1)
    assert [note for note in said if "has no length" not in note] == []


def test_aiff_that_sox_wrote_into_a_pipe_gives_no_warning(tmp_path: Path) -> None:
    path = speech_like(tmp_path / "talk.aiff", 3)
    data = bytearray(path.read_bytes())
    for at, length in ((4, 0x7F000000 + data.index(b"SSND")), (data.index(b"SSND") + 4, 0x7F000008)):
        data[at : at + 4] = struct.pack(">I", length)
    samples, said = heard_and_said(put(path, bytes(data)))
    assert (len(samples) / RATE, said) == (3.0, [])


@pytest.mark.waits
@pytest.mark.parametrize(("name", "codec"), [
    ("a.mp4", "aac"), ("a.webm", "libvorbis"), ("a.mkv", "ac3"), ("a.avi", "libmp3lame"), ("a.flv", "aac"),
    ("a.ts", "aac"), ("a.mpg", "mp2"), ("a.wmv", "wmav2"), ("a.mov", "pcm_s16le"), ("a.ogv", "libvorbis"),
])  # fmt: skip
@pytest.mark.parametrize("sound", [3, 9])
def test_video_longer_or_shorter_than_its_audio_gives_no_warning(
    tmp_path: Path, name: str, codec: str, sound: int
) -> None:
    film = ["-f", "lavfi", "-i", "testsrc=duration=6:size=64x64:rate=10"]
    video = {"a.webm": ["libvpx"], "a.flv": ["flv1"], "a.mpg": ["mpeg2video", "-r", "25"], "a.ogv": ["libtheora"]}
    pictures = ["-c:v", *video.get(name, ["mpeg4"])]
    samples, said = heard_and_said(speech_like(
        tmp_path / name, sound, *film, *pictures, "-c:a", codec, "-ar", "44100"))  # fmt: skip
    assert (len(samples) / RATE, said) == (pytest.approx(sound, abs=0.1), [])


@pytest.mark.waits
@pytest.mark.parametrize(("name", "options"), [
    ("quiet.opus", ["-c:a", "libopus", "-dtx", "1", "-application", "voip"]),
    ("quiet.webm", ["-c:a", "libopus", "-dtx", "1", "-application", "voip"]),
    ("vbr.mp3", ["-q:a", "7"]), ("cbr.mp3", ["-b:a", "64k"]), ("bare.mp3", ["-q:a", "7", "-write_xing", "0"]),
    ("slow.mp3", ["-ar", "8000"]), ("lossless.m4a", ["-c:a", "alac"]), ("lossless.caf", ["-c:a", "alac"]),
    ("dash.mp4", ["-c:a", "aac", "-movflags", "dash+frag_keyframe+empty_moov", "-frag_duration", "1000000"]),
    ("slow.m4a", ["-c:a", "aac", "-ar", "8000", "-b:a", "16k"]), ("deep.flac", ["-sample_fmt", "s32"]),
    ("ima.wav", ["-c:a", "adpcm_ima_wav"]),
    ("speex.ogg", ["-c:a", "libspeex"]),
])  # fmt: skip
def test_intact_encodings_give_no_warning(tmp_path: Path, name: str, options: list[str]) -> None:
    quiet = ["-af", "volume=enable='between(t,5,12)':volume=0"]
    samples, said = heard_and_said(speech_like(tmp_path / name, 20, *quiet, *options))
    assert (len(samples) / RATE, said) == (pytest.approx(20, abs=0.2), [])


def test_chapters_longer_than_the_audio_give_no_warning(tmp_path: Path) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=90000\ntitle=all\n", "utf-8")
    book = speech_like(tmp_path / "book.m4a", 20, "-i", chapters, "-map_metadata", "1", "-c:a", "aac")
    samples, said = heard_and_said(book)
    assert (len(samples) / RATE, said) == (pytest.approx(20, abs=0.1), [])


@pytest.mark.waits
def test_trimmed_and_joined_files_give_no_warning(tmp_path: Path) -> None:
    film = ["-f", "lavfi", "-i", "testsrc=duration=20:size=64x64:rate=10", "-c:v", "mpeg4", "-g", "50", "-bf", "0"]
    long = speech_like(tmp_path / "long.mp4", 20, *film, "-c:a", "aac", "-ar", "44100")
    trimmed = ffmpeg(tmp_path / "trimmed.mp4", "-ss", "7.7", "-i", long, "-c", "copy", "-t", "7")
    samples, said = heard_and_said(trimmed)
    assert 6.9 < len(samples) / RATE < 12.1 and said == []
    for name in ("join.ts", "join.mpg", "join.mp3", "join.flac", "join.aac", "join.opus"):
        codec = ["-c:a", "mp2"] if name == "join.mpg" else ["-c:a", "aac"] if name == "join.ts" else []
        later = ["-output_ts_offset", "5000"] if name in ("join.ts", "join.mpg") else []
        parts = [speech_like(tmp_path / name, 5, *codec, *more).read_bytes() for more in ([], later)]
        samples, said = heard_and_said(put(tmp_path / name, b"".join(parts)))
        assert (len(samples) / RATE, said) == (pytest.approx(10, abs=0.3), []), name


@pytest.mark.parametrize("name", ["talk.wav", "talk.flac", "talk.mp3"])
def test_file_truncated_while_reading_gives_a_warning(tmp_path: Path, name: str) -> None:
    path, said = speech_like(tmp_path / name, 60), list[str]()
    blocks = Decoder(warn=said.append).decode_file(path)
    next(blocks)
    os.truncate(path, path.stat().st_size // 2)
    assert sum(map(len, blocks)) < 45 * RATE
    assert "it became shorter while it was read: its end may be missing" in said


def test_default_audio_track_is_decoded_with_warning(tmp_path: Path) -> None:
    tones = ["-f", "lavfi", "-i", "sine=300:d=3", "-f", "lavfi", "-i", "sine=440:d=3", "-map", "0", "-map", "1"]
    path = ffmpeg(tmp_path / "two.mkv", *tones, "-c:a", "flac", "-disposition:a:0", "0", "-disposition:a:1", "default")
    samples, said = heard_and_said(path)
    assert np.abs(np.fft.rfft(samples[:RATE])).argmax() == 440
    assert said == ["it has 2 audio tracks: only track 2 is used"]


def test_chained_ogg_is_decoded_to_its_end(tmp_path: Path, listener) -> None:
    kinds = [["-ar", "44100"], ["-ar", "16000"], ["-ar", "16000", "-ac", "2"], ["-c:a", "libopus"], ["-c:a", "flac"]]
    parts = [speech_like(tmp_path / f"{at}.ogg", 2 + at, *kind).read_bytes() for at, kind in enumerate(kinds)]
    samples, said = heard_and_said(put(tmp_path / "chain.ogg", b"".join(parts)))
    assert (len(samples) / RATE, said) == (pytest.approx(2 + 3 + 4 + 5 + 6, abs=0.05), [])
    alone = [heard_and_said(put(tmp_path / "one.ogg", part))[0] for part in parts]
    at = 0
    for one in alone:  # a resampler that is finished may round up
        near = [abs(samples[at + late : at + late + 8000] - one[:8000]).max() for late in (0, 1)]
        assert min(near) < 1e-4
        at += len(one)
    assert np.array_equal(upload(listener, b"".join(parts))[1], samples)
    # What is damaged is said of the one that it is in, and one that is hopeless takes no other with it.
    cut = parts[1][: len(parts[1]) // 2]
    _, said = heard_and_said(put(tmp_path / "chain.ogg", cut + ODD_OGG + parts[0]))
    assert said == ["1 of the 3 recordings in it can't be decoded and were left out"]


ODD_OGG = page(0, b"\x01vorbis" + bytes(23), flags=2, serial=1) + page(9999, b"x" * 300, flags=4, serial=1)


def test_number_of_chained_recordings_is_bounded(tmp_path: Path) -> None:
    links_of = list(find_chained_recordings(io.BytesIO((page(0, b"x", flags=2) + page(0, b"x")) * 5000)))
    assert len(links_of) == MAX_CHAINED + 1 and links_of[0] == (0, 58)
    assert links_of[-1][1] == 58 * 5000 and [one[1] for one in links_of[:-1]] == [two[0] for two in links_of[1:]]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(0, 70_000)), min_size=1, max_size=5))
def test_chained_recordings_are_found_at_any_offset(chain: list[tuple[int, int, int]]) -> None:
    """Streams side by side, pages of each, bytes of a page."""
    parts = [
        b"".join(page(0, b"\x01vorbis", flags=2, serial=one) for one in range(streams))
        + b"".join(page(at, b"y" * (size % 65_000)) for at in range(pages))
        for streams, pages, size in chain
    ]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    assert list(find_chained_recordings(io.BytesIO(b"".join(parts)))) == list(zip([0, *ends[:-1]], ends, strict=True))


# Channels, values, rates, blocks ---------------------------------------------------------------------------


def channels_of(count: int) -> tuple[Samples, bytes]:
    """So many channels, each of another loudness, and a WAV of them."""
    frames = truth()[:, None] * np.linspace(0.1, 1, count, dtype=np.float32)
    return frames, riff(fmt(3, channels=count, bits=32), chunk(b"data", frames.tobytes()))


@pytest.mark.parametrize("count", [1, 2, 6, 32])
def test_channels_are_averaged_or_picked(tmp_path: Path, count: int) -> None:
    frames, data = channels_of(count)
    path = put(tmp_path / "many.wav", data)
    assert np.allclose(blocks_of(Decoder().decode_file(path)), frames.mean(axis=1), atol=1e-6)
    for channel in {1, count // 2 + 1, count}:
        assert np.array_equal(blocks_of(Decoder(channel=channel).decode_file(path)), frames[:, channel - 1])
        assert np.array_equal(blocks_of(Decoder(channel=channel).decode_pipe(trickle(data))), frames[:, channel - 1])
    for channel in (0, count + 1):
        with pytest.raises(InputError, match=f"many.wav has {count} channels?: channel {channel} does not exist"):
            next(Decoder(channel=channel).decode_file(path))


@pytest.mark.parametrize(("name", "codec", "count"), [("many.flac", "flac", 8), ("many.mka", "pcm_s16le", 16)])
def test_channels_of_other_containers_are_averaged_or_picked(tmp_path: Path, name, codec: str, count: int) -> None:
    frames, data = channels_of(count)
    path = ffmpeg(tmp_path / name, "-i", put(tmp_path / "in.wav", data), "-c:a", codec, "-sample_fmt", "s16")
    assert np.allclose(blocks_of(Decoder().decode_file(path)), frames.mean(axis=1), atol=1e-4)
    for channel in (1, 2, count):
        assert np.allclose(blocks_of(Decoder(channel=channel).decode_file(path)), frames[:, channel - 1], atol=1e-4)
    with pytest.raises(InputError, match=f"{name} has {count} channels: channel {count + 1} does not exist"):
        next(Decoder(channel=count + 1).decode_file(path))


@pytest.mark.parametrize("form", ["<f4", "<f8"])
def test_nan_infinite_and_large_floats_become_samples(tmp_path: Path, form: str) -> None:
    values = np.array([0.5, np.nan, np.inf, -np.inf, 7, -7, np.finfo(form).max, 0.25], form)
    data = riff(fmt(3, bits=8 * values.itemsize), chunk(b"data", values.tobytes()))
    # The largest double is infinite as a float.
    large = 1.0 if form == "<f4" else 0.0
    expected = np.array([0.5, 0, 0, 0, 1, -1, large, 0.25], np.float32)
    assert np.array_equal(blocks_of(Decoder().decode_file(put(tmp_path / "odd.wav", data))), expected)


def test_one_huge_sample_does_not_spoil_its_neighbours(tmp_path: Path) -> None:
    values = np.zeros(9600, np.float32)
    values[4800] = np.finfo(np.float32).max
    data = riff(fmt(3, bits=32, rate=48000), chunk(b"data", values.tobytes()))
    samples = blocks_of(Decoder().decode_file(put(tmp_path / "odd.wav", data)))
    assert 0.1 < np.abs(samples).max() <= 1
    assert np.abs(samples[:1400]).max() < 0.01 and np.abs(samples[1800:]).max() < 0.01


def test_resampled_audio_does_not_overshoot(tmp_path: Path) -> None:
    """A square wave at full scale, which rings when it is resampled."""
    square = np.where(np.arange(48000) // 24 % 2, 32767, -32768).astype("<i2").tobytes()
    samples = blocks_of(
        Decoder().decode_file(put(tmp_path / "square.wav", riff(fmt(rate=48000), chunk(b"data", square))))
    )
    assert np.abs(samples).max() == 1


@given(
    st.one_of(st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 384000]), st.integers(1000, 400_000)),
    st.integers(400, 60_000),
    st.sampled_from([8000, 16000, 24000, 44100, 48000]),
)
def test_resampled_length_is_exact_at_any_rate(source: int, count: int, rate: int) -> None:
    blocks = list(Decoder(rate=rate).decode_pipe(trickle(riff(fmt(rate=source), chunk(b"data", b"\1\0" * count)))))
    assert abs(sum(map(len, blocks)) - count * rate / source) <= 1


SPLITS = st.lists(st.integers(1, 9000), max_size=40)


@given(st.sampled_from(sorted(ENCODINGS)), st.sampled_from([8000, 16000, 44100]), SPLITS, st.integers(0, 3))
def test_any_split_of_a_raw_stream_gives_the_same_samples(encoding: str, source: int, sizes, tail: int) -> None:
    width = ENCODINGS[encoding]
    data = NOISE[: 8000 * width]
    clean = decode_pcm(data, encoding)
    once = blocks_of(Decoder().decode_raw(io.BytesIO(data), encoding, source))
    split = blocks_of(Decoder().decode_raw(trickle(data + b"\1" * min(tail, width - 1), sizes), encoding, source))
    assert np.array_equal(once, split)
    assert abs(len(split) - len(clean) * RATE / source) <= 1
    if source == RATE:
        assert np.array_equal(split, clean)


@settings(max_examples=40)
@given(st.sampled_from(["24 bit", "6 channels", "size 0", "RF64", "odd chunk, not padded", "44.1 kHz"]), SPLITS)
def test_any_split_of_a_wav_stream_gives_the_same_samples(kind: str, sizes: list[int]) -> None:
    data = ODD[kind].data
    assert np.array_equal(
        blocks_of(Decoder().decode_pipe(trickle(data, sizes))), blocks_of(Decoder().decode_pipe(io.BytesIO(data)))
    )


def test_a_raw_stream_has_one_channel() -> None:
    data = NOISE[:8000]
    assert np.array_equal(
        *(blocks_of(Decoder(channel=c).decode_raw(io.BytesIO(data), "pcm_s16le", RATE)) for c in (None, 1))
    )
    with pytest.raises(InputError, match="the input has 1 channel: channel 5 does not exist"):
        next(Decoder(channel=5).decode_raw(io.BytesIO(data), "pcm_s16le", RATE))


@pytest.mark.parametrize("data", [b"", b"\1"])
def test_raw_stream_without_samples_is_rejected(data: bytes) -> None:
    with pytest.raises(InputError, match="the input holds no audio"):
        next(Decoder().decode_raw(io.BytesIO(data), "pcm_s16le", RATE))


@pytest.mark.parametrize("head", [riff(fmt(), chunk(b"data", b"", 0xFFFFFFFF)), b""])
def test_live_pipe_is_decoded_as_it_arrives(head: bytes) -> None:
    there, here = os.pipe()
    with os.fdopen(there, "rb") as stream, ThreadPoolExecutor() as pool, os.fdopen(here, "wb", buffering=0) as writer:
        writer.write(head + b"\1\0" * 1600)
        blocks = Decoder().decode_pipe(stream) if head else Decoder().decode_raw(stream, "pcm_s16le", RATE)
        first = pool.submit(next, blocks)
        try:
            assert len(first.result(timeout=30)) == 1600
        finally:
            writer.close()  # lets a reader go that waits for more


def test_blocks_of_files_are_about_half_a_second(tmp_path: Path) -> None:
    sine = ["-f", "lavfi", "-i", "sine=duration=9.9:sample_rate=44100"]
    for name in ("a.wav", "a.ogg", "a.m4a", "a.flac"):
        blocks = [len(block) / RATE for block in Decoder().decode_file(ffmpeg(tmp_path / name, *sine))]
        assert len(blocks) > 9 and all(0.4 <= block <= 1.0 for block in blocks[:-1]), name


# Cost ------------------------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from pathlib import Path
from cartesia_cli.audio.files import Decoder
way, name = sys.argv[1:]
stdin, path = sys.stdin.buffer, Path(name)
decode = Decoder()
blocks = (
    decode.decode_pipe(stdin)
    if way == "pipe"
    else decode.decode_open_file(stdin)
    if way == "upload"
    else decode.decode_file(path)
)
print(sum(map(len, blocks)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.waits
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("way", ["plain", "FFmpeg", "pipe", "upload"])
def test_ten_minutes_take_no_more_memory_than_ten_seconds(tmp_path: Path, way: str) -> None:
    head, rate = fmt(channels=2, rate=48000), 48000

    def peak(seconds: int) -> float:
        """MiB at most, over a file that is nearly all a hole."""
        size, path = seconds * rate * 4, tmp_path / f"{seconds}.wav"
        data = b"data" + struct.pack("<I", size)
        with path.open("wb") as file:
            file.write(riff(data if way == "FFmpeg" else head + data, size=0))
            if way == "FFmpeg":  # fmt behind data is read by FFmpeg
                file.seek(size, os.SEEK_CUR)
                file.write(head)
            else:
                file.truncate(file.tell() + size)
        with path.open("rb") as stdin:
            command = [sys.executable, "-c", PEAK, way, str(path)]
            out = subprocess.run(command, stdin=stdin, capture_output=True, check=True, timeout=300).stdout
        samples, kilobytes = map(int, out.split())
        assert samples == seconds * RATE
        return kilobytes / 1024

    assert peak(600) < peak(10) + 20  # the samples alone would be 37 MiB


HOSTILE = {
    "a million channels a second": riff(fmt(channels=65535, bits=64, rate=1_000_000, block=0, average=7),
                                        chunk(b"data", b"\0" * 65535 * 16, 0)),
    "4 GiB of fmt": riff(chunk(b"fmt ", fmt()[8:], 0xFFFFFFF0), DATA),
    "4 GiB of ds64": riff(chunk(b"ds64", b"\0" * 28, 0xFFFFFFF0), fmt(), DATA, magic=b"RF64"),
    "4 GiB of junk": riff(chunk(b"JUNK", b"\0" * 60_000_000, 0xFFFFFFF0), fmt(), DATA),
}  # fmt: skip


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_takes_no_memory(tmp_path: Path, kind: str, pipe: bool) -> None:
    path = put(tmp_path / "odd.wav", HOSTILE[kind])
    with path.open("rb", buffering=0) as stream:
        tracemalloc.start()
        try:
            blocks_of(Decoder().decode_pipe(stream) if pipe else Decoder().decode_file(path))
        except InputError:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("ends", ["at its end", "early"])
def test_temporary_file_of_a_pipe_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    source = ffmpeg(tmp_path / "talk.flac", "-f", "lavfi", "-i", "sine=duration=3:sample_rate=16000").read_bytes()
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    blocks = cast(Generator[Samples, None, None], Decoder().decode_pipe(trickle(source)))
    next(blocks)
    assert list(kept.iterdir())
    if ends == "early":
        blocks.close()
    else:
        blocks_of(blocks)
    assert not list(kept.iterdir())


def test_pipe_that_can_not_be_saved_names_TMPDIR(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="can't be saved in") as caught:
        next(Decoder().decode_pipe(trickle(b"fLaC" + NOISE)))
    assert "TMPDIR" in str(caught.value.hint)


def test_ffmpeg_is_loaded_only_for_what_needs_it(tmp_path: Path) -> None:
    path = put(tmp_path / "talk.wav", PLAIN)
    code = (
        "import sys; from pathlib import Path; from cartesia_cli.audio.files import Decoder; "
        "n = sum(map(len, Decoder().decode_file(Path(sys.argv[1])))); print(n, 'av' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert out.split() == [str(len(truth())), "False"]


@pytest.mark.parametrize("offset", [-1, 1 << 62, 1 << 70])
def test_seek_to_an_impossible_position_returns_minus_one(tmp_path: Path, offset: int) -> None:
    """A raised error would be printed: there is nobody above a decoder's call."""
    with put(tmp_path / "talk.raw", PCM).open("rb") as there, tempfile.SpooledTemporaryFile() as spool:
        for file in (there, io.BytesIO(PCM), cast(BinaryIO, spool)):
            assert RangeReader(file).seek(offset) == -1


SILENT = """
import io, sys
from pathlib import Path
from cartesia_cli.audio.files import Decoder
from cartesia_cli.errors import InputError
path = Path(sys.argv[1])
for blocks in (Decoder().decode_file(path), Decoder().decode_open_file(io.BytesIO(path.read_bytes()))):
    try:
        print(sum(map(len, blocks)))
    except InputError:
        print("no audio")
"""


@pytest.mark.waits
@pytest.mark.parametrize(("name", "place", "damage"), [
    ("long.m4a", 60_000, NOISE[:4000]),
    ("talk.caf", 56, b"\x45\x7f\xef\x3e"),  # a chunk that is larger than any file
    ("talk.caf", 56, b"\xff\xff\xff\xff"),  # one that leads to before its beginning
    ("talk.flac", 60, NOISE[:4000]),
    ("talk.aiff", 18, NOISE[:2]),
])  # fmt: skip
def test_damage_is_silent_on_stderr(long_m4a: Path, name: str, place: int, damage: bytes) -> None:
    """Decoders like to print what they think of a file: the terminal belongs to the transcript, and to a server.

    A file with a path and one without, such as an upload, come out alike.
    """
    path = long_m4a.with_name(name)
    if path != long_m4a:
        ffmpeg(path, "-i", long_m4a, *(["-c:a", "alac"] if name == "talk.caf" else []))
    data = bytearray(path.read_bytes())
    data[place : place + len(damage)] = damage
    done = subprocess.run([sys.executable, "-c", SILENT, put(path, bytes(data))], capture_output=True, check=True)
    by_path, by_itself = done.stdout.splitlines()
    assert done.stderr == b""
    assert by_path == by_itself
