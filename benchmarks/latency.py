"""Measures the delay that `listen` adds: from a sample, a key or the end of a pause to the frame on the wire.

The program runs on a pseudo-terminal with a virtual microphone (needs PulseAudio); a server on the same machine records
when each frame arrives. A block's time is taken in PortAudio's callback, so the latency of the device isn't counted,
nor is the half chunk that a sample waits on average. Target: 3 ms each (mean for samples, median for keys and pauses).
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
from tests.realtime_server import (
    BINARY,
    TEXT,
    ConnectionRecord,
    RealtimeServer,
    ServerConnection,
    done,
    flush_done,
    transcript,
)

GOAL_MS = 3.0

CHUNK_MS = 100
RATE = 16000
BLOCK_RECORD = struct.Struct("dq")
"""A block: seconds of the monotonic clock, and samples at the rate of the device."""

SENTENCES = ("The ferry leaves at seven.", "A small dog slept under the table.", "Nobody told me.")
PAUSE_SECONDS = 1.2
"""Between sentences: twice the silence that ends an utterance."""

KEY_INTERVAL_SECONDS = 0.15, 0.35
"""Random, so that keys are pressed at any moment between two blocks or frames."""


def run_recording_blocks(path: str, arguments: list[str]) -> None:
    """Run the program, and record each call of PortAudio's callback in a file."""
    from cartesia_cli.__main__ import main as program
    from cartesia_cli.audio.microphone import Microphone

    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    on_block = Microphone._on_block

    def recording_on_block(microphone: Microphone, data: object, frames: int, when: object, status: object) -> None:
        os.write(log, BLOCK_RECORD.pack(time.monotonic(), frames))
        on_block(microphone, data, frames, when, status)

    Microphone._on_block = recording_on_block  # type: ignore[assignment, method-assign]
    sys.argv = ["cartesia-cli", *arguments]
    sys.exit(program())


def answers_each_finalize(connection: ServerConnection) -> None:
    connection.admit()
    while connection.until_command() == "finalize":
        connection.say(transcript(" And so on."))
        connection.say(flush_done())
    connection.say(done())
    connection.close()


class Listener:
    """A running `listen` on a pseudo-terminal that records the blocks of its device."""

    def __init__(self, studio: Studio, server: RealtimeServer, folder: Path, *arguments: str) -> None:
        self._log = folder / "blocks"
        self._log.unlink(missing_ok=True)
        master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        command = [sys.executable, __file__, "--record-blocks", str(self._log)]
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
        """Press a key. Returns the time."""
        now = time.monotonic()
        os.write(self._master, key)
        return now

    def end(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Stop. Returns for each block when it arrived, and the seconds of audio up to its end."""
        self._child.send_signal(signal.SIGINT)
        code = self._child.wait(30)
        self._drain.join(5)
        os.close(self._master)
        if code != 0:
            raise SystemExit(f"exit code {code}: {self.screen.decode(errors='replace')}")
        records = list(BLOCK_RECORD.iter_unpack(self._log.read_bytes()))
        came, samples = np.array([at for at, _ in records]), np.array([count for _, count in records])
        return came, np.cumsum(samples) / self._rate(samples)

    def _rate(self, samples: NDArray[np.int64]) -> float:
        """The sample rate of the device, from its blocks of 20 ms."""
        return float(samples[0]) / 0.02

    def _read(self) -> None:
        with suppress(OSError):  # EIO is the end of a pseudo-terminal
            while block := os.read(self._master, 1 << 16):
                self.screen += block


def frames(call: ConnectionRecord) -> tuple[list[tuple[float, float]], list[float]]:
    """The arrival of each audio frame, with the seconds of audio up to its end, and of each `finalize`."""
    audio, finalized, size = [], [], 0
    for frame in call.frames:
        if frame.opcode == BINARY:
            size += len(frame.payload)
            audio.append((frame.at, size / 2 / RATE))
        elif frame.opcode == TEXT and frame.payload == b"finalize":
            finalized.append(frame.at)
    return audio, finalized


def delay_ms(came: NDArray[np.float64], ends: NDArray[np.float64], at: float, position: float) -> float:
    """Milliseconds from when the device had delivered `position` seconds of audio to the time `at`."""
    block = int(np.searchsorted(ends, position - 1e-4))
    return 1000 * (at - float(came[block] - (ends[block] - position)))


def measure_speech(studio: Studio, seconds: float, folder: Path) -> tuple[list[float], list[float]]:
    """Delays from the sample to the wire, and from the end of silence to `finalize`, in milliseconds."""
    from cartesia_cli.audio.pcm import decode_pcm
    from cartesia_cli.audio.vad import Endpointer
    from tests import speech

    parts = [part for text in SENTENCES for part in (speech.say(text), speech.silence(PAUSE_SECONDS))]
    sound = np.concatenate(parts)
    sound = np.tile(sound, max(1, round(seconds * RATE / len(sound))))
    with RealtimeServer(answers_each_finalize) as server:
        listener = Listener(studio, server, folder, "--mode", "manual")
        studio.play(sound, RATE)
        came, ends = listener.end()
    audio, finalized = frames(server.records[0])
    heard = Endpointer().process(decode_pcm(bytes(server.records[0].audio), "pcm_s16le"))
    over = [mark.at for mark in heard if mark.kind == "end"]
    if len(over) != len(finalized) - 1:  # the last one is sent before `close`
        raise SystemExit(f"{len(over)} utterances, {len(finalized)} times finalized")
    # The last frame is left out: it waits for the end of the audio.
    samples = [delay_ms(came, ends, at, position) for at, position in audio[:-1]]
    return samples, [delay_ms(came, ends, at, end) for at, end in zip(finalized, over, strict=False)]


def measure_keys(studio: Studio, count: int, folder: Path) -> list[float]:
    """Delays from a key to `finalize`, in milliseconds."""
    rng, delays = random.Random(0), []
    with RealtimeServer(answers_each_finalize) as server:
        listener = Listener(studio, server, folder, "--finalize", "key")
        call = server.records[0]
        for number in range(count):
            time.sleep(rng.uniform(*KEY_INTERVAL_SECONDS))
            at = listener.press(b" ")
            server.wait(lambda server, number=number: call.commands.count("finalize") > number)  # type: ignore[misc]
            delays.append(1000 * (frames(call)[1][number] - at))
        listener.end()
    return delays


def add_row(report: Report, name: str, delays: list[float], goal: str) -> None:
    """Add a row of delays. `goal` names the figure that has a target."""
    figures = {
        "mean": statistics.mean(delays), "median": statistics.median(delays),
        "p95": statistics.quantiles(delays, n=20, method="inclusive")[18], "max": max(delays),
    }  # fmt: skip
    cells = [f"{figures[name]:.2f}" for name in ("mean", "median", "p95", "max")]
    share = f"{figures['mean'] / (CHUNK_MS / 2):.3f}"
    report.row(name, str(len(delays)), *cells, share, f"{goal} {GOAL_MS:g}", met=figures[goal] <= GOAL_MS)


@contextmanager
def studio_and_folder() -> Iterator[tuple[Studio, Path]]:
    with tempfile.TemporaryDirectory() as home, open_studio(environment(home)) as studio:
        yield studio, Path(home)


def main() -> int:
    if sys.argv[1:2] == ["--record-blocks"]:
        run_recording_blocks(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=40, help="of speech, about (40)")
    parser.add_argument("--keys", type=int, default=60, help="to be pressed (60)")
    given = parser.parse_args()
    with studio_and_folder() as (studio, folder):
        samples, pauses = measure_speech(studio, given.seconds, folder)
        keys = measure_keys(studio, given.keys, folder)
    title = f"delays in ms, frames of {CHUNK_MS} ms"
    report = Report(title, "count", "mean", "median", "p95", "max", "mean / half a frame", "goal")
    add_row(report, "sample to the wire, beyond half a frame", samples, "mean")
    add_row(report, "end of silence to `finalize`", pauses, "median")
    add_row(report, "key to `finalize`", keys, "median")
    return report.end()


if __name__ == "__main__":
    raise SystemExit(main())
