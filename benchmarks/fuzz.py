"""Fuzzes everything that reads bytes from outside for a bounded time: it must return or raise a documented error.

    event       a frame of a live session, through both trackers
    answer      the body of a response 200, written in every format
    refusal     the body of an error response
    saved       JSON for `render`, written in every format
    header      a WAV header
    samples     a whole WAV from a pipe
    container   a file that is probed

With atheris (`pip install atheris`), mutation is guided by code coverage; without it, it is random. Each target runs in
a separate process. Prints the number of inputs and the crashes of each target. Target: no crash.
"""

# ruff: noqa: T201  it prints its result

from __future__ import annotations

import argparse
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

SEED = 20260922
MAX_INPUT_BYTES = 4096
"""Long inputs are tested elsewhere."""

HANG_SECONDS = 20
"""An input that takes longer counts as a hang."""

ANSWER = (
    b'{"type": "transcript", "text": "The \\u202equick \\ud83d fox.\\u001b[2J", "language": "en", "duration": 1.9, '
    b'"request_id": "r", "words": [{"word": "The", "start": 0.0, "end": 0.2}, {"word": " fox.", "start": 1e3}]}'
)
SEEDS: dict[str, list[bytes]] = {
    "event": [
        ANSWER + b"\n" + b'{"type": "flush_done"}\n{"type": "done"}',
        b'{"type": "turn.start"}\n{"type": "turn.update", "transcript": "a"}\n{"type": "turn.end", "transcript": " a"}',
        b'{"type": "error", "status_code": 429, "title": "t", "message": "m", "error": "e", "code": 5}',
    ],
    "answer": [ANSWER],
    "refusal": [b'{"error_code": null, "title": "t", "message": "m", "request_id": "r"}', b"<html>", b"Title: why"],
    "saved": [
        ANSWER,
        b'{"type": "segment", "start": 0, "end": 1, "text": "a", "timing": "audio"}\n{"type": "end", "text": "a"}',
        b'{"source": "a", "model": "m", "text": "ab", "segments": [{"start": 0, "end": 1.5, "text": "ab", '
        b'"timing": "server"}], "words": [{"word": "ab", "start": 0, "end": NaN, "timing": "estimated"}]}',
        b'{"segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": " a b", "words": [{"word": " a"}]}]}',
    ],
    "header": [
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x08\0\0\0" + b"abcdefgh",
        b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + bytes(28) + b"fmt \x10\0\0\0" + bytes(16) + b"data\xff\xff\xff\xff",
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + bytes(24) + b"fmt " + bytes(12) + b"\x28" + bytes(40),
    ],
}
SEEDS["samples"] = SEEDS["header"]
SEEDS["container"] = [
    *SEEDS["header"],
    b"fLaC\0\0\0\x22" + bytes(34),
    b"OggS\0\x02" + bytes(40),
    b"ID3\x04" + bytes(30),
    b"\0\0\0\x18ftypM4A " + bytes(12) + b"\0\0\0\x08moov",
    b"\x1aE\xdf\xa3" + bytes(40),
]

Target = Callable[[bytes], object]


def targets(folder: Path) -> dict[str, Target]:
    """Name → what takes some bytes. Whatever it raises is a crash. Imported here: the parent has no need of them."""
    from cartesia_cli.audio.decoders import wav_frames
    from cartesia_cli.audio.files import Decoder
    from cartesia_cli.audio.probing import probe
    from cartesia_cli.audio.wav_header import read_wav_header
    from cartesia_cli.errors import InputError, ProtocolError
    from cartesia_cli.output import FORMATS, Layout, writer
    from cartesia_cli.protocol.batch import decode_batch
    from cartesia_cli.protocol.events import decode, decode_error
    from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker
    from cartesia_cli.transcript import Transcript, from_batch
    from cartesia_cli.transcript_import import load_transcripts

    writers = [writer(name) for name in FORMATS]
    path = folder / "odd.bin"

    def write(transcript: Transcript) -> None:
        for into in writers:
            text = into(transcript, Layout(words=True))
            assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", text), (
                "control characters in the output"
            )

    def event(data: bytes) -> None:
        timeline = SpeechTimeline()
        trackers = ManualTracker(timeline), TurnTracker(timeline)
        for frame in data.split(b"\n"):
            timeline.sent += 0.1
            try:
                found = decode(frame)
            except ProtocolError:
                continue
            for tracker in trackers:
                list(tracker.process(found, timeline.sent))
        for tracker in trackers:
            list(tracker.settle_open(complete=True))

    def answer(data: bytes) -> None:
        try:
            response = decode_batch(data)
        except ProtocolError:
            return
        write(from_batch(response, source="a", model="m"))

    def saved(data: bytes) -> None:
        try:
            for transcript in load_transcripts(data.decode("utf-8", "replace"), "a"):
                write(transcript)
        except InputError:
            return

    def header(data: bytes) -> None:
        found = read_wav_header(io.BytesIO(data))
        if found is not None and (plain := found.plain_format):
            wav_frames(plain, bytes(8 * plain.frame_bytes))

    def samples(data: bytes) -> None:
        found = read_wav_header(io.BytesIO(data))
        if found is None or found.plain_format is None:
            return  # others than ours decode it
        try:
            for _, block in zip(range(50), Decoder().decode_pipe(io.BytesIO(data)), strict=False):
                assert abs(block).max(initial=0) <= 1
        except InputError:
            return

    def container(data: bytes) -> None:
        path.write_bytes(data)
        try:
            probe(path)
        except InputError:
            return

    return {
        "event": event,
        "answer": answer,
        "refusal": lambda data: decode_error(500, data),
        "saved": saved,
        "header": header,
        "samples": samples,
        "container": container,
    }


def guided(name: str, seconds: int, folder: Path) -> None:
    """One target with atheris. Never returns: libFuzzer ends the process."""
    atheris = import_module("atheris")

    with atheris.instrument_imports(include=["cartesia_cli", "json"]):
        target = targets(folder)[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for k, seed in enumerate(SEEDS[name]):
        (corpus / str(k)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}", f"-max_len={MAX_INPUT_BYTES}", f"-seed={SEED}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)], target)
    atheris.Fuzz()


def blind(name: str, seconds: int, folder: Path) -> None:
    """One target without atheris: seeds with a few random changes. Prints the same statistics as libFuzzer."""
    target, rng, runs, ends = targets(folder)[name], random.Random(SEED), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        data = bytearray(rng.choice(SEEDS[name]))
        for _ in range(rng.randrange(5)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randrange(4)] = rng.choice(
                [
                    rng.randbytes(rng.randrange(5)),
                    b"\xff" * 4,
                    b"[" * 3000,
                    b"1e999",
                    b"null",
                    b"\\ud800",
                    b"\\u202e",
                    b"\0",
                ]
            )
        try:
            target(bytes(data[:MAX_INPUT_BYTES]))
        except Exception:
            (folder / f"crash-{runs}").write_bytes(data)
            traceback.print_exc()
            break
        runs += 1
    print(f"stat::number_of_executed_units: {runs}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together (60)")
    parser.add_argument("--only", choices=SEEDS, help="one target, with all the time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        folder = Path(given.child)
        (guided if find_spec("atheris") else blind)(given.only, given.seconds, folder)
        return 0
    names = [given.only] if given.only else list(SEEDS)
    each = max(1, given.seconds // len(names))
    print(f"{'guided by coverage' if find_spec('atheris') else 'blind: atheris is not installed'}, {each} s a target\n")
    print(f"{'target':<10}  {'runs':>10}  crashes")
    failed = False
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, __file__, "--only", name, "--seconds", str(each), "--child", place]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=dict(os.environ))
            runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
            broken = [file.read_bytes() for file in Path(place).glob("*-*")]
        print(f"{name:<10}  {runs[1] if runs else '?':>10}  {len(broken)}")
        for found in broken:
            print(f"\n{found[:300]!r}")
        if broken or runs is None:
            failed = True
            print(
                re.sub(r"(?m)^(#\d|INFO|WARNING|stat::|MS: |0x|artifact|Base64).*\n", "", done.stdout + done.stderr)[
                    -3000:
                ]
            )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
