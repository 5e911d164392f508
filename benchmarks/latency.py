"""How long `listen` lets somebody wait: from a sample, a key or the end of a pause to the frame on the wire.

The whole program, with a virtual microphone (needs PulseAudio) at a terminal, and a server on the same machine that
notes when each frame came. When the device gave a block is noted in PortAudio's callback, where nothing else is done:
what the device itself is late by, and reports, is not counted, nor is the half chunk that a sample waits on average.
"""

from __future__ import annotations

import argparse
import os
import pty
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import numpy as np
from measuring import ROOT, Report, environment
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from tests.microphone import Studio, open_studio
from tests.realtime_server import BINARY, TEXT, Call, Line, RealtimeServer, done, flush_done, transcript

GOAL = 3.0
"""Milliseconds."""

CHUNK_MS = 100
RATE = 16000
STAMP = struct.Struct("dq")
"""Of a block: seconds of the monotonic clock, and samples at the device's rate."""

SENTENCES = ("The ferry leaves at seven.", "A small dog slept under the table.", "Nobody told me.")
PAUSE = 1.2
"""Seconds between sentences: twice the silence that ends an utterance."""

BETWEEN_KEYS = 0.15, 0.35
"""Seconds: in any moment between two blocks, and between two frames."""


def probed(path: str, arguments: list[str]) -> None:
    """The program, which leaves behind when PortAudio called back, and with how much."""
    from cartesia_cli.__main__ import main as program
    from cartesia_cli.audio import microphone

    notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    hear = microphone._Stream._on_block

    def noted(stream: microphone._Stream, data: object, frames: int, when: object, status: object) -> None:
        os.write(notes, STAMP.pack(time.monotonic(), frames))
        hear(stream, data, frames, when, status)

    microphone._Stream._on_block = noted  # type: ignore[method-assign]
    sys.argv = ["cartesia-cli", *arguments]
    sys.exit(program())


def answers(line: Line) -> None:
    line.admit()
    while line.until_command() == "finalize":
        line.say(transcript(" And so on."))
        line.say(flush_done())
    line.say(done())
    line.close()


class Listener:
    """`listen` at a terminal of its own, probed."""

    def __init__(self, studio: Studio, server: RealtimeServer, folder: Path, *arguments: str) -> None:
        self._notes = folder / "notes"
        self._notes.unlink(missing_ok=True)
        master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        command = [sys.executable, __file__, "--probed", str(self._notes)]
        command += ["listen", "--base-url", server.base_url, "--chunk-ms", str(CHUNK_MS), *arguments]
        key = {"CARTESIA_API_KEY": "sk_car_bench"}
        self._child = subprocess.Popen(
            command, env=studio.environment | key, stdin=slave, stdout=subprocess.DEVNULL, stderr=slave
        )
        os.close(slave)
        self._master, self.screen = master, b""
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()
        server.wait(lambda server: b"listening to" in self.screen or self._child.poll() is not None)

    def press(self, key: bytes) -> float:
        """When."""
        now = time.monotonic()
        os.write(self._master, key)
        return now

    def end(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each block: when it came, and the seconds of sound up to its end."""
        self._child.send_signal(signal.SIGINT)
        code = self._child.wait(30)
        self._drain.join(5)
        os.close(self._master)
        if code != 0:
            raise SystemExit(f"exit code {code}: {self.screen.decode(errors='replace')}")
        notes = list(STAMP.iter_unpack(self._notes.read_bytes()))
        came, samples = np.array([at for at, _ in notes]), np.array([count for _, count in notes])
        return came, np.cumsum(samples) / self._rate(samples)

    def _rate(self, samples: NDArray[np.int64]) -> float:
        """Blocks are of 20 ms."""
        return float(samples[0]) / 0.02

    def _read(self) -> None:
        with suppress(OSError):  # that is how a terminal says that nobody writes to it any more
            while block := os.read(self._master, 1 << 16):
                self.screen += block


def frames(call: Call) -> tuple[list[tuple[float, float]], list[float]]:
    """When each audio frame came, with the seconds of sound up to its end; when each `finalize` came."""
    audio, finalized, size = [], [], 0
    for frame in call.frames:
        if frame.opcode == BINARY:
            size += len(frame.payload)
            audio.append((frame.at, size / 2 / RATE))
        elif frame.opcode == TEXT and frame.payload == b"finalize":
            finalized.append(frame.at)
    return audio, finalized


def waits(came: NDArray[np.float64], ends: NDArray[np.float64], at: float, position: float) -> float:
    """Milliseconds from when the device had given so many seconds of sound to a moment."""
    block = int(np.searchsorted(ends, position - 1e-4))
    return 1000 * (at - float(came[block] - (ends[block] - position)))


def spoken(studio: Studio, seconds: float, folder: Path) -> tuple[list[float], list[float]]:
    """Waits from the sample to the wire, and from the end of hangover to `finalize`."""
    from cartesia_cli.audio.pcm import decode_pcm
    from cartesia_cli.audio.vad import Endpointer
    from tests import speech

    parts = [part for text in SENTENCES for part in (speech.say(text), speech.silence(PAUSE))]
    sound = np.concatenate(parts)
    sound = np.tile(sound, max(1, round(seconds * RATE / len(sound))))
    with RealtimeServer(answers) as server:
        listener = Listener(studio, server, folder, "--mode", "manual")
        studio.play(sound, RATE)
        came, ends = listener.end()
    audio, finalized = frames(server.calls[0])
    heard = Endpointer().process(decode_pcm(bytes(server.calls[0].audio), "pcm_s16le"))
    over = [mark.at for mark in heard if mark.kind == "end"]
    if len(over) != len(finalized) - 1:  # the last one goes before `close`
        raise SystemExit(f"{len(over)} utterances, {len(finalized)} times finalized")
    # The last frame waits for nothing but the end.
    samples = [waits(came, ends, at, position) for at, position in audio[:-1]]
    return samples, [waits(came, ends, at, end) for at, end in zip(finalized, over, strict=False)]


def pressed(studio: Studio, count: int, folder: Path) -> list[float]:
    """Waits from a key to `finalize`."""
    moments, found = random.Random(0), []
    with RealtimeServer(answers) as server:
        listener = Listener(studio, server, folder, "--finalize", "key")
        call = server.calls[0]
        for number in range(count):
            time.sleep(moments.uniform(*BETWEEN_KEYS))
            at = listener.press(b" ")
            server.wait(lambda server, number=number: call.commands.count("finalize") > number)
            found.append(1000 * (frames(call)[1][number] - at))
        listener.end()
    return found


def row(report: Report, name: str, waits: list[float], goal: str) -> None:
    """`goal` names the figure that has one."""
    figures = {
        "mean": statistics.mean(waits), "median": statistics.median(waits),
        "p95": statistics.quantiles(waits, n=20, method="inclusive")[18], "max": max(waits),
    }  # fmt: skip
    cells = [f"{figures[name]:.2f}" for name in ("mean", "median", "p95", "max")]
    share = f"{figures['mean'] / (CHUNK_MS / 2):.3f}"
    report.row(name, str(len(waits)), *cells, share, f"{goal} {GOAL:g}", met=figures[goal] <= GOAL)


@contextmanager
def room() -> Iterator[tuple[Studio, Path]]:
    with tempfile.TemporaryDirectory() as home, open_studio(environment(home)) as studio:
        yield studio, Path(home)


def main() -> int:
    if sys.argv[1:2] == ["--probed"]:
        probed(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=40, help="of speech, about (40)")
    parser.add_argument("--keys", type=int, default=60, help="to be pressed (60)")
    given = parser.parse_args()
    with room() as (studio, folder):
        samples, pauses = spoken(studio, given.seconds, folder)
        keys = pressed(studio, given.keys, folder)
    title = f"waits in ms, frames of {CHUNK_MS} ms"
    report = Report(title, "count", "mean", "median", "p95", "max", "mean / half a frame", "goal")
    row(report, "sample to the wire, beyond half a frame", samples, "mean")
    row(report, "end of hangover to `finalize`", pauses, "median")
    row(report, "key to `finalize`", keys, "median")
    return report.end()


if __name__ == "__main__":
    raise SystemExit(main())
