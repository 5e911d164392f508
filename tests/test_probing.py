"""Probing: durations against hand-made headers and real encoders, rejections, and arbitrary bytes."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import ClassVar
from unittest import mock

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.audio import probing
from cartesia_cli.audio.probing import (
    EXTENSIONS,
    FORMATS,
    MediaInfo,
    is_recording,
    probe,
    probe_raw,
)  # fmt: skip
from cartesia_cli.audio.probing.bounded_reader import MAX_READS, BoundedReader
from cartesia_cli.errors import InputError

SECONDS, RATE = 2.5, 16000
PCM = b"\x01\x02" * int(SECONDS * RATE)
EXACT = pytest.approx(SECONDS, abs=1e-9)
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


@pytest.fixture(scope="module")
def put(scratch: Path):
    """Writes a file and returns its path."""

    def put(data: bytes, name: str = "talk.wav") -> Path:
        path = scratch / name
        path.write_bytes(data)
        return path

    return put


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        probe(path)
    return caught.value.message


def chunk(name: bytes, body: bytes, length: int | None = None, order: str = "<") -> bytes:
    return name + struct.pack(order + "I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def fmt(codec: int = 1, *, channels: int = 1, rate: int = RATE, bits: int = 16, block: int | None = None,
        average: int | None = None, extra: bytes = b"", order: str = "<") -> bytes:  # fmt: skip
    block = channels * bits // 8 if block is None else block
    head = struct.pack(
        order + "HHIIHH", codec, channels, rate, rate * block if average is None else average, block, bits
    )
    return chunk(b"fmt ", head + extra, order=order)


def riff(*chunks: bytes, magic: bytes = b"RIFF", order: str = "<", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack(order + "I", len(body) if size is None else size) + body


def ds64(data: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", 0, data, 0, 0))


def guid_chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    size = 24 + len(body) if length is None else length
    return name + W64_TAIL + struct.pack("<Q", size) + body + b"\0" * (-len(body) % 8)


def w64(*chunks: bytes) -> bytes:
    riff_guid, wave_guid = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000"), b"wave" + W64_TAIL
    body = b"".join(chunks)
    return riff_guid + struct.pack("<Q", 40 + len(body)) + wave_guid + body


EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
DATA = chunk(b"data", PCM)

WHOLE_WAVS = {
    "plain": riff(fmt(), DATA),
    "odd chunk before": riff(fmt(), chunk(b"LIST", b"odd"), DATA),
    "metadata behind": riff(fmt(), DATA, chunk(b"LIST", b"INFOISFT"), chunk(b"id3 ", b"ID3")),
    "fmt behind data": riff(DATA, fmt()),
    "fmt behind odd data": riff(chunk(b"data", b"\x80" * 40001), fmt(bits=8)),
    "extensible": riff(fmt(0xFFFE, extra=EXTENSIBLE), DATA),
    "stereo": riff(fmt(channels=2, rate=RATE // 2), DATA),
    "8 bit": riff(fmt(bits=8, rate=2 * RATE), DATA),
    "24 bit": riff(fmt(bits=24), chunk(b"data", b"\0\0\1" * int(SECONDS * RATE))),
    "20 bit in 24": riff(fmt(bits=20, block=3), chunk(b"data", b"\0\0\1" * int(SECONDS * RATE))),
    "float": riff(fmt(3, bits=32), chunk(b"data", PCM * 2)),
    "double": riff(fmt(3, bits=64), chunk(b"data", PCM * 4)),
    "A-law": riff(fmt(6, bits=8, rate=2 * RATE, extra=b"\0\0"), chunk(b"fact", b"\0\0\0\0"), DATA),
    "mu-law": riff(fmt(7, bits=8, rate=2 * RATE), DATA),
    "wrong byte rate": riff(fmt(average=7), DATA),
    "no block size": riff(fmt(block=0, average=2 * RATE), DATA),
    "GSM": riff(fmt(0x31, bits=0, block=65, average=2 * RATE), DATA),
    "ADPCM": riff(fmt(0x11, bits=4, block=256, extra=struct.pack("<HH", 2, 505)), chunk(b"data", b"\0" * 256 * 80)),
    "RIFX": riff(fmt(order=">"), chunk(b"data", PCM, order=">"), magic=b"RIFX", order=">"),
    "RF64": riff(ds64(len(PCM)), fmt(), chunk(b"data", PCM, 0xFFFFFFFF),
                 magic=b"RF64", size=0xFFFFFFFF),
    "BW64": riff(ds64(len(PCM)), fmt(), chunk(b"data", PCM, 0xFFFFFFFF),
                 chunk(b"axml", b"<a/>"), magic=b"BW64", size=0xFFFFFFFF),
    "Wave64": w64(guid_chunk(b"junk", b"odd"), guid_chunk(b"fmt ", fmt()[8:]), guid_chunk(b"data", PCM)),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE_WAVS)
def test_wav_duration_is_exact(put, kind: str) -> None:
    recording = probe(put(WHOLE_WAVS[kind]))
    truth = 80 * 505 / RATE if kind == "ADPCM" else 40001 / RATE if "odd data" in kind else SECONDS
    container = "w64" if kind == "Wave64" else "wav"
    assert recording == MediaInfo(container, len(WHOLE_WAVS[kind]), pytest.approx(truth))


@pytest.mark.parametrize(
    "data",
    [
        *(riff(fmt(), chunk(b"data", PCM, length)) for length in (0, 0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFF000, 0x80000000)),
        riff(fmt(), chunk(b"data", PCM, 0xFFFFFFFF), magic=b"RF64", size=0xFFFFFFFF),
        w64(guid_chunk(b"fmt ", fmt()[8:]), guid_chunk(b"data", PCM, 2**63 - 1)),
    ],
)
def test_streamed_wav_lasts_to_end_of_file_with_note(put, data: bytes) -> None:
    recording = probe(put(data))
    assert recording.duration == EXACT and recording.declared is None
    assert "has no length" in recording.note and "2.50 s" in recording.note


@pytest.mark.parametrize(
    "data",
    [
        riff(fmt(), chunk(b"data", PCM, 4 * len(PCM))),
        riff(fmt(0xFFFE, extra=EXTENSIBLE), chunk(b"LIST", b"odd"), chunk(b"data", PCM, 4 * len(PCM))),
        riff(ds64(4 * len(PCM)), fmt(), chunk(b"data", PCM, 0xFFFFFFFF), magic=b"RF64"),
        w64(guid_chunk(b"fmt ", fmt()[8:]), guid_chunk(b"data", PCM, 24 + 4 * len(PCM))),
    ],
)
def test_truncated_wav_note_names_both_durations(put, data: bytes) -> None:
    recording = probe(put(data))
    assert (recording.duration, recording.declared) == (EXACT, pytest.approx(4 * SECONDS))
    assert "10.00 s" in recording.note and "2.50 s" in recording.note and "cut off" in recording.note


def test_wav_header_a_few_samples_too_long_gives_no_note(put) -> None:
    recording = probe(put(riff(fmt(), chunk(b"data", PCM, len(PCM) + 44))))
    assert recording.duration == EXACT and recording.declared is recording.note is None


@pytest.mark.parametrize(
    "data",
    [
        riff(),
        riff()[:15],
        riff(fmt())[:30],
        riff(fmt()),
        riff(fmt(), chunk(b"data", b"")),
        riff(fmt(), chunk(b"data", b"", 32000)),
        riff(fmt(), chunk(b"data", b"", 0xFFFFFFFF)),
        riff(fmt(), chunk(b"data", b""), chunk(b"LIST", b"INFOISFT")),
        riff(fmt(), chunk(b"LIST", b"odd")),
        w64(guid_chunk(b"fmt ", fmt()[8:]), guid_chunk(b"data", b"")),
    ],
)
def test_wav_without_samples_is_rejected(put, data: bytes) -> None:
    assert "holds no audio" in refusal(put(data))


def test_damaged_wav_is_not_rejected(put) -> None:
    giant = probe(put(riff(fmt(), chunk(b"LIST", b"", 0xFFFFFFF0), DATA)))
    assert giant.duration is None and "damaged" in giant.note
    assert probe(put(riff(DATA))).duration is None
    assert probe(put(riff(fmt(), chunk(b"junk", b"") * 100_000, DATA))) == MediaInfo("wav", 880_044)


# Real encoders ---------------------------------------------------------------------------------------------


def tone(rate: int, seconds: float = SECONDS) -> np.ndarray:
    times = np.arange(int(rate * seconds)) / rate
    return (0.3 * np.sin(2 * math.pi * 440 * times) * (1 + np.sin(2 * math.pi * 3 * times))).astype(np.float32)


def encode(path: Path, codec: str, rate: int, *, seconds: float = SECONDS, form: str | None = None, bits: int = 48000,
           **options: str) -> Path:  # fmt: skip
    with av.open(str(path), "w", format=form, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(tone(rate, seconds)[None, :], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "container", "rate", "options"),
    [
        ("a.flac", "flac", 16000, {}),
        ("a.wav", "wav", 44100, {"subtype": "MS_ADPCM"}),
        ("b.wav", "wav", 44100, {"subtype": "ULAW"}),
        ("c.wav", "wav", 48000, {"subtype": "FLOAT", "format": "WAVEX"}),
        ("d.wav", "wav", 22050, {"subtype": "PCM_24", "format": "RF64"}),
        ("e.wav", "w64", 22050, {"subtype": "PCM_16", "format": "W64"}),
        ("f.wav", "wav", 22050, {"subtype": "PCM_32", "endian": "BIG"}),
        ("a.ogg", "ogg", 44100, {"subtype": "VORBIS"}),
        ("b.oga", "ogg", 48000, {"format": "OGG", "subtype": "OPUS"}),
        ("c.opus", "ogg", 16000, {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", "mp3", 44100, {}),
        ("b.mpga", "mp3", 22050, {"format": "MP3"}),
        ("c.mp3", "mp3", 8000, {}),
    ],
)
def test_probe_of_files_written_by_libsndfile(
    scratch: Path, name: str, container: str, rate: int, options: dict[str, str]
) -> None:
    soundfile.write(scratch / name, tone(rate), rate, **options)
    recording = probe(scratch / name)
    assert recording.container == container and recording.note is recording.declared is None
    assert recording.duration == pytest.approx(SECONDS, abs=0.03)


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate", "options"),
    [
        ("a.m4a", "mp4", "aac", 44100, {"form": "ipod"}),
        ("b.m4a", "mp4", "aac", 44100, {"form": "ipod", "movflags": "faststart"}),
        ("c.mp4", "mp4", "aac", 48000, {}),
        ("d.m4a", "mp4", "alac", 44100, {"form": "ipod"}),
        ("a.webm", "webm", "libopus", 48000, {}),
        ("b.mka", "matroska", "pcm_s16le", 16000, {"form": "matroska"}),
        ("d.mp3", "mp3", "libmp3lame", 44100, {}),
        ("e.mp3", "mp3", "libmp3lame", 16000, {}),
        ("f.ogg", "ogg", "libopus", 24000, {}),
    ],
)
def test_probe_of_files_written_by_ffmpeg(
    scratch, name: str, container: str, codec: str, rate: int, options: dict[str, str]
) -> None:
    recording = probe(encode(scratch / name, codec, rate, **options))
    assert recording.container == container and recording.note is recording.declared is None
    assert recording.duration == pytest.approx(SECONDS, abs=0.03)


@pytest.mark.parametrize(("name", "codec", "rate", "frame"), [
    ("cbr.mp3", "libmp3lame", 44100, 1152), ("low.mp3", "libmp3lame", 16000, 576), ("old.mp2", "mp2", 48000, 1152),
])  # fmt: skip
def test_mpeg_duration_without_index_is_estimated(scratch: Path, name: str, codec: str, rate: int, frame: int) -> None:
    options = {"write_xing": "0", "id3v2_version": "0"} if name.endswith("mp3") else {}
    path = encode(scratch / name, codec, rate, seconds=30, **options)
    assert probe(path).container == "mp3"
    assert probe(path).duration == pytest.approx(30, abs=3 * frame / rate)


def test_fragmented_recordings_have_unknown_duration(scratch: Path) -> None:
    fragmented = encode(scratch / "frag.mp4", "aac", 44100, movflags="frag_keyframe+empty_moov")
    live = encode(scratch / "live.webm", "libopus", 48000, live="1")  # as MediaRecorder writes it
    assert probe(fragmented) == MediaInfo("mp4", fragmented.stat().st_size)
    assert probe(live) == MediaInfo("webm", live.stat().st_size)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "options"),
    [
        ("cut.mp3", "libmp3lame", 44100, {}),
        ("cut.m4a", "aac", 44100, {"form": "ipod", "movflags": "faststart"}),
        ("cut.webm", "libopus", 48000, {}),
    ],
)
def test_truncated_download_has_declared_duration_and_note(
    put, scratch, name: str, codec: str, rate: int, options
) -> None:
    whole = encode(scratch / name, codec, rate, seconds=20, **options).read_bytes()
    recording = probe(put(whole[: len(whole) // 2], name))
    assert recording.declared == pytest.approx(20, abs=0.05)
    assert recording.duration == pytest.approx(10, abs=0.5)
    assert "cut off" in recording.note and "about" in recording.note


def test_mp4_without_index_is_rejected(put, scratch: Path) -> None:
    whole = encode(scratch / "index.m4a", "aac", 44100, form="ipod").read_bytes()
    assert "index (moov) is missing" in refusal(put(whole[: len(whole) // 2], "lost.m4a"))


@pytest.mark.parametrize(("name", "codec"), [("silent.mp4", "mpeg4"), ("silent.webm", "libvpx")])
def test_video_without_audio_is_rejected(scratch: Path, name: str, codec: str) -> None:
    with av.open(str(scratch / name), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        out.mux(stream.encode(None))
    assert "no audio track" in refusal(scratch / name)


# Hand-made containers --------------------------------------------------------------------------------------


def id3(size: int, body: bytes = b"") -> bytes:
    sizes = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + sizes + body.ljust(size, b"\0")


def flac(samples: int = 40000, body: bytes = b"\xff\xf8", block: int | None = None) -> bytes:
    info = struct.pack(">HHHIQ", 4096, 4096, 0, 0, RATE << 44 | 15 << 36 | samples) + bytes(16)
    return b"fLaC" + struct.pack(">I", 34) + info + struct.pack(">I", 0x84000000 + (block or 0)) + body


def page(granule: int, body: bytes = b"", *, flags: int = 0, serial: int = 7) -> bytes:
    lacing = b"\xff" * (len(body) // 255) + bytes([len(body) % 255])
    return b"OggS\0" + struct.pack("<BqIIIB", flags, granule, serial, 0, 0, len(lacing)) + lacing + body


OPUS = page(0, b"OpusHead\1\1" + struct.pack("<HIHB", 312, RATE, 0, 0), flags=2)
SKELETON = page(0, b"fishead\0", flags=2, serial=9)
SPEEX = page(0, b"Speex   " + bytes(28) + struct.pack("<I", RATE), flags=2)


def box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(body) if size is None else size, kind) + body


def wide_box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body


FTYP = box(b"ftyp", b"M4A \0\0\0\0")
MVHD = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 2500) + bytes(80))
MVHD_64 = box(b"mvhd", struct.pack(">IQQIQ", 1 << 24, 0, 0, 1000, 2500) + bytes(80))


def element(name: str, body: bytes, length: bytes | None = None) -> bytes:
    return bytes.fromhex(name) + (length or (len(body) | 1 << 56).to_bytes(8)) + body


EBML = element("1a45dfa3", element("4282", b"webm"))
WEBM_INFO = element("1549a966", element("2ad7b1", b"\x0f\x42\x40") + element("4489", struct.pack(">f", 2500.0)))
SOUND = element("1654ae6b", element("ae", element("83", b"\2")))
CLUSTER = element("1f43b675", b"\xe7\x81\0")
OPEN = b"\1" + b"\xff" * 7


def mp3(header: str, length: int, count: int, first: bytes = b"") -> bytes:
    frame = bytes.fromhex(header).ljust(length, b"\0")
    return (frame[: 4 + 32] + first).ljust(length, b"\0") + frame * (count - 1) if first else frame * count


XING = b"Xing" + struct.pack(">III", 3, 1000, 417 * 1001)
VBRI = b"VBRI" + struct.pack(">HHHII", 1, 0, 0, 417 * 1001, 1000)

HAND_MADE = {
    "a.flac": (flac(), "flac", SECONDS),
    "b.flac": (id3(300) + flac(), "flac", SECONDS),
    "c.flac": (flac(0), "flac", None),
    "a.ogg": (SKELETON + OPUS + page(0, b"OpusTags") + page(120312, b"x" * 300, flags=4), "ogg", SECONDS),
    "b.ogg": (SPEEX + page(0, b"tags") + page(40000, b"x") + page(-1, b"y", flags=4), "ogg", SECONDS),
    "c.ogg": (page(0, b"\x80theora", flags=2) + page(99, b"x"), "ogg", None),
    "d.ogg": (OPUS + page(120312, b"x") + page(0, b"OpusHead", flags=2, serial=8), "ogg", None),
    "a.m4a": (FTYP + box(b"moov", MVHD) + box(b"mdat", b"x"), "mp4", SECONDS),
    "b.m4a": (FTYP + box(b"free") + wide_box(b"mdat", b"x") + box(b"moov", MVHD_64), "mp4", SECONDS),
    "c.mp4": (FTYP + box(b"moov", MVHD) + box(b"mdat", b"x", 0), "mp4", SECONDS),
    "d.mp4": (FTYP + box(b"moov", MVHD + box(b"mvex")) + box(b"moof", b"x"), "mp4", None),
    "e.mp4": (FTYP + box(b"moov", b"\0\0\0\1") + box(b"mdat", b"x"), "mp4", None),
    "a.webm": (EBML + element("18538067", WEBM_INFO + SOUND + CLUSTER), "webm", SECONDS),
    "b.webm": (EBML + element("18538067", element("ec", bytes(99)) + WEBM_INFO + CLUSTER, OPEN), "webm", SECONDS),
    "c.webm": (EBML + element("18538067", SOUND + element("1f43b675", b"\xe7\x81\0", OPEN), OPEN), "webm", None),
    "a.mp3": (mp3("fffb9000", 417, 1001, XING), "mp3", 1000 * 1152 / 44100),
    "b.mp3": (id3(5000) + id3(0) + mp3("fffb9000", 417, 1001, VBRI), "mp3", 1000 * 1152 / 44100),
    "c.mp3": (mp3("fffb9000", 417, 500) + b"TAG".ljust(128), "mp3", 500 * 1152 / 44100),
    "d.mp3": (b"junk" * 99 + mp3("ffe38800", 576, 50), "mp3", 50 * 576 / 8000),
    "e.mp3": (mp3("fffb9000", 417, 1), "mp3", 1152 / 44100),
    "f.mp3": (mp3("fffb9000", 417, 101, b"Xing" + struct.pack(">III", 3, 10, 4170)), "mp3", 101 * 1152 / 44100),
    "a.mpga": (mp3("fffd8400", 384, 50), "mp3", 50 * 1152 / 48000),
    "b.mpga": (mp3("ffff1000", 32, 300), "mp3", 300 * 384 / 44100),
    "a.mpeg": (b"\0\0\1\xba" + bytes(2000), "mpeg", None),
    "b.mpeg": (b"\0\0\1\xb3" + bytes(2000), "mpeg", None),
    "g.mp3": (id3(9999)[:500] + mp3("fffb9000", 417, 20), "mp3", 20 * 1152 / 44100),
    "h.mp3": (id3(4000)[:500], "mp3", None),
    "f.mp4": (FTYP.replace(b"\0\0\0\x10", b"\0\1\0\x10") + box(b"moov", MVHD) + box(b"mdat", b"x"), "mp4", None),
    "g.mp4": (FTYP + box(b"hoov", MVHD) + box(b"mdat", b"x"), "mp4", None),
    "zeros.mp3": (bytes(5000), "unknown", None),
    "noise.wav": (bytes(range(256)) * 20, "unknown", None),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_containers(put, name: str) -> None:
    data, container, duration = HAND_MADE[name]
    recording = probe(put(data, name))
    assert (recording.container, recording.note) == (container, None)
    assert recording.duration == (None if duration is None else pytest.approx(duration, abs=0.001))


@pytest.mark.parametrize("data", [
    flac(body=b""), flac(body=b"", block=500), flac()[:30],
    OPUS, OPUS + page(0, b"OpusTags"), OPUS + page(0, b"OpusTags") + page(-1, b"x"), OPUS[:20],
    FTYP, FTYP + box(b"moov", MVHD), FTYP + box(b"mdat") + box(b"moov", MVHD), FTYP + box(b"mdat", b"x", 0),
    EBML, EBML + element("18538067", WEBM_INFO + SOUND),
    id3(4000), id3(20) + bytes(2000),
])  # fmt: skip
def test_header_without_audio_is_rejected(put, data: bytes) -> None:
    assert "holds no audio" in refusal(put(data, "talk.bin"))


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (b"FORM\0\0\1\0AIFFCOMM", "aiff"),
        (b"FORM\0\0\1\0AIFCCOMM", "aiff"),
        (b"caff\0\1\0\0", "caf"),
        (b".snd\0\0\0\x18", "au"),
        (b"#!AMR\n\x3c", "amr"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "wma"),
        (bytes.fromhex("fff15080040000") .ljust(32, b"\0") * 9, "aac"),
    ],
)  # fmt: skip
def test_undocumented_containers_are_accepted(put, data: bytes, container: str) -> None:
    recording = probe(put(data, "talk.bin"))
    assert recording.container == container and not recording.documented


# Refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"The free lunch is over.\n", "text"),
        ("Grüße, 世界\n".encode()[:-2], "text"),
        (b"\n<!DOCTYPE HTML><title>404</title>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\3\4\x14\0", "ZIP"),
        (b"\x89PNG\r\n\x1a\n\0", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        (b"RIFF\1\0\0\0WEBPVP8 ", "WebP"),
        (b"MThd\0\0\0\6", "MIDI"),
    ],
)
@pytest.mark.parametrize("name", ["talk.wav", "talk"])
def test_rejection_names_what_the_file_is(put, name: str, data: bytes, what: str) -> None:
    assert what in refusal(put(data, name)) and "not a recording" in refusal(put(data, name))


def test_unknown_bytes_are_accepted_only_with_audio_extension(put) -> None:
    data = b"\0\x93NUMPY\xfe" * 50
    assert "00 93 4e 55" in refusal(put(data, "talk.npy"))
    assert probe(put(data, "talk.MP3")).container == "unknown"


@pytest.mark.parametrize("name", ["می\u200cخواهم.wav", "👩\u200d🔬.wav", "山田\u3000太郎.wav"])
def test_names_with_joiners_and_wide_spaces_are_shown_as_they_are(scratch: Path, name: str) -> None:
    assert refusal(scratch / name).startswith(f"{scratch / name} does not exist")


def test_missing_and_irregular_files_are_rejected(put, scratch: Path) -> None:
    os.mkfifo(scratch / "pipe.wav")
    (scratch / "loop.wav").symlink_to(scratch / "loop.wav")
    for path, what in {
        scratch / "missing.wav": "does not exist",
        put(b"x", "file.wav") / "below.wav": "does not exist",
        scratch: "is a folder",
        scratch / "pipe.wav": "not a regular file",
        Path("/dev/null"): "not a regular file",
        scratch / "loop.wav": "can't be read",
        scratch / ("x" * 300): "can't be read",
        put(b"", "empty.wav"): "is empty (0 bytes)",
        Path("nul\0.wav"): "can't be the name of a file",
        Path("half\ud800.wav"): "can't be the name of a file",
    }.items():
        assert what in refusal(path)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_read_error_while_probing_is_an_input_error(put, error: OSError) -> None:
    path = put(WHOLE_WAVS["plain"], "broken.wav")
    with mock.patch.object(Path, "open", side_effect=error):
        assert "read" in refusal(path)
    with mock.patch.object(BoundedReader, "at", side_effect=error):
        assert "read" in refusal(path)


def test_unreadable_file_is_rejected(put) -> None:
    path = put(WHOLE_WAVS["plain"], "secret.wav")
    path.chmod(0)
    myself = os.geteuid()
    if myself == 0:
        os.seteuid(65534)  # root may read everything
    try:
        assert "permission denied" in refusal(path)
    finally:
        os.seteuid(myself)


@pytest.mark.parametrize(
    ("name", "visible"),
    [
        ("-rf.wav", "-rf.wav"),
        ('two words \'n "quotes".wav', 'two words \'n "quotes".wav'),
        ("Aufnahme um 10\u202fUhr – 会議.wav", "Aufnahme um 10\u202fUhr – 会議.wav"),
        ("line\nbreak\x1b[2J.wav", r"line\nbreak\x1b[2J.wav"),
        (os.fsdecode(b"caf\xe9.wav"), r"caf\udce9.wav"),
        ("right\u202eto.wav", r"right\u202eto.wav"),
    ],
)
def test_file_names_are_escaped_in_messages(put, name: str, visible: str) -> None:
    message = refusal(put(b"", name))
    assert visible in message and "\n" not in message and "\x1b" not in message
    message.encode()


# Headerless samples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "width"), [("pcm_s16le", 2), ("pcm_f32le", 4), ("pcm_mulaw", 1)])
def test_raw_duration_is_exact(put, encoding: str, width: int) -> None:
    recording = probe_raw(put(bytes(width * 20000), "talk.pcm"), encoding, 8000)
    assert recording == MediaInfo("raw", width * 20000, 2.5)


def test_suspicious_raw_input_gives_a_note(put) -> None:
    assert "looks like wav" in probe_raw(put(WHOLE_WAVS["plain"]), "pcm_s16le", RATE).note
    assert "looks like mp3" in probe_raw(put(id3(9) + HAND_MADE["a.mp3"][0]), "pcm_s16le", RATE).note
    left_over = probe_raw(put(bytes(4001)), "pcm_f32le", 1000)
    assert left_over.duration == 1.0 and "1 of 4 bytes" in left_over.note
    with pytest.raises(InputError, match="less than one sample"):
        probe_raw(put(b"x"), "pcm_s16le", RATE)
    with pytest.raises(InputError, match="is empty"):
        probe_raw(put(b""), "pcm_s16le", RATE)


# Arbitrary bytes -------------------------------------------------------------------------------------------


class CountingReader(BoundedReader):
    """Remembers how much was read of each file."""

    reads: ClassVar[list[int]] = []

    def at(self, offset: int, count: int) -> bytes:
        data = super().at(offset, count)
        self.reads.append(len(data))
        return data


def check_total(path: Path) -> None:
    """A MediaInfo or an InputError, after a bounded number of bytes."""
    for attempt in (probe, lambda path: probe_raw(path, "pcm_s32le", RATE)):
        CountingReader.reads.clear()
        with mock.patch.object(probing, "BoundedReader", CountingReader):
            try:
                recording = attempt(path)
            except InputError as error:
                assert error.message
            else:
                assert recording.container in FORMATS and recording.bytes == path.stat().st_size
                assert recording.duration is None or 0 < recording.duration < 1e10
                assert recording.declared is None or 0 < recording.declared < 1e10
        assert len(CountingReader.reads) <= MAX_READS and sum(CountingReader.reads) <= 3 << 20


SEEDS = [*WHOLE_WAVS.values(), *(data for data, _, _ in HAND_MADE.values())]
HEADS = [seed[:60] for seed in SEEDS]
NAMES = st.sampled_from(["fuzz.wav", "fuzz.mp3", "fuzz.bin"])


@given(st.sampled_from([b"", *HEADS]), st.binary(max_size=2000), NAMES)
def test_probe_of_any_bytes_is_bounded_and_total(put, head: bytes, body: bytes, name: str) -> None:
    check_total(put(head + body, name))


CHANGES = st.lists(
    st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8) | st.just(bytes(8))),
    max_size=4,
)


def mutate(data: bytes, changes: list[tuple[int, bytes]], end: int | None) -> bytes:
    """`data` cut at `end` and changed in a few places, counted from the beginning and from the end."""
    mutant = bytearray(data[:end])
    for number, (at, change) in enumerate(changes):
        at = at if number % 2 == 0 else max(0, len(mutant) - at)
        mutant[at : at + len(change)] = change
    return bytes(mutant)


@given(st.sampled_from(SEEDS), CHANGES, st.none() | st.integers(1, 500), NAMES)
def test_probe_of_mutated_headers_is_bounded_and_total(put, seed: bytes, changes, end: int | None, name) -> None:
    check_total(put(mutate(seed[:20_000], changes, end), name))


@pytest.fixture(scope="module")
def real(scratch: Path) -> list[bytes]:
    """Recordings by real encoders."""
    written = [scratch / name for name in ("real.flac", "real.ogg", "real.mp3", "real.wav", "real.aiff", "real.caf")]
    for path in written:
        soundfile.write(path, tone(RATE), RATE)
    encoded = (
        encode(scratch / "real.m4a", "aac", RATE, form="ipod"),
        encode(scratch / "fast.m4a", "aac", RATE, form="ipod", movflags="faststart"),
        encode(scratch / "frag.m4a", "aac", RATE, movflags="frag_keyframe", form="mp4"),
        encode(scratch / "real.webm", "libopus", 48000),
        encode(scratch / "real.avi", "pcm_s16le", RATE),
        encode(scratch / "real.wma", "wmav2", 44100),
    )
    return [path.read_bytes() for path in (*written, *encoded)]


@given(st.integers(0, 11), CHANGES, st.none() | st.integers(1, 20_000), NAMES)
def test_probe_of_mutated_recordings_is_bounded_and_total(
    put, real, which: int, changes, end: int | None, name
) -> None:
    check_total(put(mutate(real[which], changes, end), name))


@pytest.mark.parametrize(
    "head",
    [
        WHOLE_WAVS["plain"][:44],
        riff(fmt(), chunk(b"junk", b"") * 5000),
        id3(0) * 5000,
        flac(body=b"")[:-4] + struct.pack(">I", 4 << 24) * 5000,
        SKELETON * 5000,
        FTYP + box(b"free") * 5000,
        FTYP + box(b"moov", box(b"trak", box(b"mdia") * 70) * 70),
        EBML + element("18538067", element("ec", b"") * 5000),
        EBML,
        mp3("fffb9000", 417, 2) * 20,
        (bytes.fromhex("fffb9000") + b"\xff" * 413) * 200,
        b"\xff" * 90_000,
        b"OggS" * 20_000,
    ],
)
def test_probe_reads_little_of_large_hostile_files(put, head: bytes) -> None:
    path = put(head, "large.mp3")
    os.truncate(path, 8 << 30)  # a hole: it takes no space
    check_total(path)


# The neighbours --------------------------------------------------------------------------------------------


def test_extensions_and_media_types() -> None:
    assert {".wav", ".mp3", ".opus", ".mkv", ".m4b", ".3gp"} < EXTENSIONS
    assert EXTENSIONS.isdisjoint({".ts", ".mts", ".txt", ".srt", ".json"})  # TypeScript, and results of ours
    assert all(extension == extension.lower() and extension[0] == "." for extension in EXTENSIONS)
    assert FORMATS["wav"].media_type == "audio/wav" and FORMATS["unknown"].media_type == "application/octet-stream"


def test_every_format_has_media_type_and_extension() -> None:
    for name, kind in FORMATS.items():
        assert "/" in kind.media_type and (kind.extensions or name in ("raw", "unknown"))
        assert all(ending == ending.lower() and ending[0] == "." for ending in kind.extensions)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"export const answer: number = 42;\n", False),
        (b"", False),
        (b"ID3 is what this text is about", False),
        ("\ufeffUTF-16".encode("utf-16-le"), False),
        (bytes(range(256)) * 300, False),
        (FTYP.replace(b"M4A ", b"heic") + box(b"meta", bytes(60)) + box(b"mdat", b"x"), False),
        (WHOLE_WAVS["plain"], True),
        (HAND_MADE["a.mp3"][0], True),
        (HAND_MADE["c.mp4"][0], True),
    ],
)
def test_is_recording_goes_by_content_not_name(put, content: bytes, expected: bool) -> None:
    assert is_recording(put(content, "module.ts")) is expected


def test_probing_imports_no_decoder() -> None:
    heavy = "{'numpy', 'soundfile', 'av', 'soxr', 'asyncio', 'httpx', 'rich', 'typer'}"
    program = f"import sys, cartesia_cli.audio.probing; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


OPUS_BODY = OPUS + page(0, b"OpusTags") + page(60312, b"x" * 300)


@pytest.mark.parametrize("data", [OPUS_BODY, OPUS_BODY + page(120312, b"x" * 300, flags=4)[:-1], OPUS_BODY + b"OggS"])
def test_ogg_without_last_page_gives_a_note(put, data: bytes) -> None:
    assert "not marked as the last" in probe(put(data, "cut.ogg")).note
    assert probe(put(OPUS_BODY + page(120312, b"x" * 300, flags=4), "whole.ogg")).note is None


LENGTHS = [
    ("a.aiff", "PCM_16"), ("b.aiff", "FLOAT"), ("c.aifc", "ULAW"), ("a.au", "PCM_24"), ("b.au", "G721_32"),
    ("a.caf", "PCM_32"), ("b.caf", "ALAC_16"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "subtype"), LENGTHS)
def test_duration_of_aiff_au_caf_and_of_half_of_each(put, scratch: Path, name: str, subtype: str) -> None:
    form = {"aifc": "AIFF"}.get(name[2:], name[2:].upper())
    soundfile.write(scratch / name, tone(44100, 10), 44100, subtype=subtype, format=form)
    recording, whole = probe(scratch / name), (scratch / name).read_bytes()
    assert recording.duration == pytest.approx(10, abs=0.02)
    assert (recording.note, recording.declared, recording.documented) == (None, None, False)
    recording = probe(put(whole[: len(whole) // 2], name))
    if subtype == "ALAC_16":
        assert recording.duration is None or recording.declared  # its table lies behind what was cut off
    else:
        assert recording.duration == pytest.approx(5, abs=0.1) and recording.declared == pytest.approx(10, abs=0.02)
        assert "its header promises 10.00 s" in recording.note


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "libmp3lame"), ("a.wma", "wmav2")])
def test_truncated_avi_and_wma_give_a_note(put, scratch: Path, name: str, codec: str) -> None:
    whole = encode(scratch / name, codec, 44100, seconds=10).read_bytes()
    assert probe(scratch / name).note is None
    assert probe(put(whole + b"x" * 5000, name)).note is None
    assert f"promises {len(whole):,} bytes, and it holds 20,000" in probe(put(whole[:20_000], name)).note


def test_ogg_without_timestamps_is_not_rejected(tmp_path: Path) -> None:
    head = b"OpusHead\x01\x01" + struct.pack("<HIhB", 312, 48000, 0, 0)
    pages = [page(0, head, flags=2), page(0, b"OpusTags"), *(page(0, b"x" * 250) for _ in range(60))]
    file = tmp_path / "unstamped.ogg"
    file.write_bytes(b"".join(pages))
    assert probe(file).duration is None


def test_mp4_with_unknown_duration(tmp_path: Path) -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    movie = box(b"mvhd", struct.pack(">B3x8xII", 0, 1000, 0xFFFFFFFF) + bytes(80))
    track = box(b"trak", box(b"mdia", box(b"hdlr", bytes(8) + b"soun" + bytes(13))))
    file = tmp_path / "endless.m4a"
    file.write_bytes(box(b"ftyp", b"M4A \0\0\0\0M4A ") + box(b"moov", movie + track) + box(b"mdat", bytes(5000)))
    assert probe(file).duration is None


def test_readers_of_formats_exist() -> None:
    """They are named by text, and imported when they are called."""
    readers = [kind.reader.split(".") for kind in FORMATS.values() if kind.reader]
    assert len(readers) > 10
    for module, function in readers:
        assert callable(getattr(import_module(f"cartesia_cli.audio.probing.{module}"), function))
