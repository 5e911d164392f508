"""What a microphone's sound goes through before it is sent: how late it becomes, what it loses, what it costs.

First the resampler, against soxr's, for the rates of sound cards. Then an hour of a session whose device calls back as
fast as it can: whether its memory grows, and whether its clock and its samples stay together. Then all of it, from
PortAudio's callback to the session, by a virtual microphone (needs PulseAudio; without it, this part is left out).
"""

# ruff: noqa: T201  what these scripts print is their result

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import soxr
from measuring import MIB, PYTHON, ROOT, Report, environment
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from cartesia_cli.audio.low_latency_resampler import LowLatencyResampler
from cartesia_cli.protocol import Command, Event

RATES = (8000, 11025, 22050, 32000, 44100, 48000, 96000)
WANTED = 16000
BLOCK = 0.02

DELAY_GOAL = 1.0
"""Milliseconds. Half a chunk is unavoidable; of the 3 ms beyond it, threads and the socket take more than one."""

ALIAS_GOAL = -80.0
CPU_GOAL = 10.0
"""Milliseconds a second: a hundredth of a core."""

TOTAL_GOAL = 3.0

GROWTH_GOAL = 5 * MIB
"""More memory after an hour than after five minutes."""

AHEAD = 100
"""Blocks that the device of an hour may be ahead of whoever takes them."""

Feed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def low_delay(rate: int) -> Feed:
    return LowLatencyResampler(rate).resample


def soxr_hq(rate: int) -> Feed:
    return soxr.ResampleStream(rate, WANTED, 1, "float32", "HQ").resample_chunk  # type: ignore[no-any-return]


def soxr_vr(rate: int) -> Feed:
    return soxr.ResampleStream(rate, WANTED, 1, "float32", "HQ", vr=True).resample_chunk  # type: ignore[no-any-return]


FILTERS = {"LowDelay": low_delay, "soxr HQ": soxr_hq, "soxr HQ, vr": soxr_vr}


def tone(frequency: float, rate: int, seconds: float) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def blocks(samples: NDArray[np.float32], rate: int) -> list[NDArray[np.float32]]:
    return np.split(samples, range(round(rate * BLOCK), len(samples), round(rate * BLOCK)))


def delay(feed: Feed, rate: int) -> float:
    """Milliseconds between what was heard and what of it has come out, on average over blocks, at 300 Hz.

    What is held back after each block, and how much what came out is itself behind.
    """
    frequency, fed, out, held = 300.0, 0, [], []
    for block in blocks(tone(frequency, rate, 2.0), rate):
        out.append(feed(block))
        fed += len(block)
        held.append(fed / rate - sum(map(len, out)) / WANTED)
    heard = np.concatenate(out)[8000:24000]
    times = np.arange(8000, 8000 + len(heard)) / WANTED
    behind = -np.angle(np.exp(-2j * np.pi * frequency * times) @ heard * 1j) / (2 * np.pi * frequency)
    return 1000 * (statistics.mean(held[25:]) + float(behind))


def gain(feed: Feed, rate: int, frequency: float) -> float:
    """Of a tone that may pass, dB."""
    heard = np.concatenate([feed(block) for block in blocks(tone(frequency, rate, 1.0), rate)])[8000:]
    return 20 * float(np.log10(np.sqrt(2 * np.mean(heard**2))))


def alias(make: Callable[[int], Feed], rate: int) -> float:
    """The loudest thing that should not be there, dB: of a tone above the new band, or mirrored above the old one."""
    edge, worst = min(rate, WANTED) / 2, -200.0
    for above in np.linspace(edge, max(rate, WANTED) / 2, 25)[1:-1]:
        sound = tone(above if rate > WANTED else rate - above, rate, 1.0)
        feed = make(rate)
        heard = np.concatenate([feed(block) for block in blocks(sound, rate)])[4000:]
        window = np.hanning(len(heard))
        levels = np.abs(np.fft.rfft(heard * window)) / (window.sum() / 2)
        wrong = np.fft.rfftfreq(len(heard), 1 / WANTED) > (0 if rate > WANTED else edge + 5)
        worst = max(worst, 20 * float(np.log10(levels[wrong].max())))
    return worst


def cost(feed: Feed, rate: int, seconds: int) -> float:
    """CPU milliseconds a second of audio, in blocks."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32)
    cut = blocks(noise, rate)
    for block in cut:
        feed(block)
    before = time.process_time()
    for _ in range(seconds):
        for block in cut:
            feed(block)
    return (time.process_time() - before) * 1000 / seconds


def resamplers(seconds: int) -> int:
    report = Report("to 16 kHz, blocks of 20 ms", "from Hz", "delay ms", "alias dB", "0.4 of band dB", "CPU ms/s")
    for rate in RATES:
        for name, make in FILTERS.items():
            late, wrong = delay(make(rate), rate), alias(make, rate)
            passed, cpu = gain(make(rate), rate, 0.4 * min(rate, WANTED)), cost(make(rate), rate, seconds)
            met = late <= DELAY_GOAL and wrong <= ALIAS_GOAL and cpu <= CPU_GOAL if make is low_delay else None
            report.row(name, str(rate), f"{late:.2f}", f"{wrong:.0f}", f"{passed:.1f}", f"{cpu:.1f}", met=met)
    report.row("goals of LowDelay", "", f"{DELAY_GOAL:.2f}", f"{ALIAS_GOAL:.0f}", "", f"{CPU_GOAL:.1f}")
    return report.end()


class Device:
    """PortAudio's stream for a device that is as fast as those who listen to it.

    room   one for each block that it may be ahead of them
    """

    latency = 0.04
    room: threading.Semaphore

    def __init__(self, samplerate: float, blocksize: int, channels: int, callback: Any, **others: Any) -> None:
        self._callback = callback
        self._size = blocksize
        seconds = np.arange(50 * blocksize) / samplerate  # a second: speech-like, half of it quiet
        noise = np.random.default_rng(0).normal(0, 0.001, len(seconds))
        voice = np.where(seconds < 0.5, 0.2, 0.0) * np.sin(2 * np.pi * 180 * seconds)
        sound = np.repeat((noise + voice)[:, None], channels, axis=1).astype(np.float32)
        self._blocks = [part.tobytes() for part in np.split(sound, 50)]
        self._over = False

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        flags, number = SimpleNamespace(input_overflow=False), 0
        while not self._over:
            self.room.acquire()
            self._callback(self._blocks[number % 50], self._size, None, flags)
            number += 1

    def abort(self) -> None:
        self._over = True
        self.room.release()

    def close(self) -> None:
        return


class Swallowing:
    """A line into which everything goes, and out of which nothing comes until it is closed."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()
        self.size = 0

    async def send(self, frame: bytes) -> None:
        self.size += len(frame)

    async def command(self, command: Command) -> None:
        from cartesia_cli.protocol import Close

        if isinstance(command, Close):
            self._closed.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        await self._closed.wait()
        return
        yield


async def simulated(minutes: int, rate: int) -> dict[str, float]:
    """A session of so many minutes: all seconds that anybody counted, bytes of memory, CPU seconds."""
    sound: Any = ModuleType("sounddevice")
    sound.RawInputStream, sound.PortAudioError = Device, OSError
    sys.modules["sounddevice"] = sound
    from cartesia_cli.audio import devices, microphone, session_recording
    from cartesia_cli.audio.pacing import LimitedSource
    from cartesia_cli.audio.vad import Endpointer
    from cartesia_cli.session import Session
    from cartesia_cli.session.interfaces import StopSignal
    from cartesia_cli.session.latency import LatencyRecorder
    from cartesia_cli.tracker import ManualTracker, SpeechTimeline

    Device.room = threading.Semaphore(AHEAD)
    asked = devices.Device(0, "simulated", 2, rate, "none", True, False, 0)

    class Taken:
        """Who takes a block lets the device give another one."""

        def __init__(self, source: Any) -> None:
            self._source = source

        async def frames(self) -> Any:
            async with aclosing(self._source.frames()) as blocks:
                async for block in blocks:
                    Device.room.release()
                    yield block

    opened = microphone.Microphone(asked)
    memory: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        kept = session_recording.SessionRecording(opened, Path(folder))
        clock, heard, line, recorder = SpeechTimeline(), Endpointer(), Swallowing(), LatencyRecorder("ink-2")

        class Early(LatencyRecorder):
            def sent(self, size: int) -> None:
                recorder.audio_sent(size)
                if not memory and clock.sent >= 300:
                    memory.append(peak())

        @asynccontextmanager
        async def connect(again: bool) -> AsyncIterator[Swallowing]:
            yield line

        session = Session(
            connect, LimitedSource(Taken(kept), 60.0 * minutes), ManualTracker(clock), clock, heard,
            finalize=True, manual=True, chunk=3200, write=lambda update: None, observer=Early("ink-2"),
            pace=1e6,
        )  # fmt: skip
        before = time.process_time()
        await session.run(StopSignal())
        used = time.process_time() - before
        found = {
            "clock": clock.sent,
            "sent": line.size / 2 / WANTED,
            "endpointer": heard.processed_seconds,
            "spool": kept.seconds,
        }
        kept.discard()
    return found | {"early": memory[0], "late": peak(), "cpu": used, "dropped": opened.dropped}


def peak() -> int:
    """Bytes, of this process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def hour(minutes: int) -> int:
    report = Report(f"{minutes} min of a session, as fast as it goes", "48 kHz", "44.1 kHz", "goal")
    runs = []
    for rate in ("48000", "44100"):
        command = [PYTHON, __file__, "--simulate", str(minutes), rate]
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=1800).stdout))
    seconds = 60 * minutes
    for name in ("clock", "sent", "endpointer"):
        apart = [1e6 * (run[name] - seconds) for run in runs]
        report.row(f"{name}, microseconds from {seconds} s", *(f"{value:.1f}" for value in apart), "0",
                   met=max(map(abs, apart)) < 1e6 / WANTED)  # fmt: skip
    short = [run["spool"] >= seconds for run in runs]
    report.row("all of it in the spool", *("yes" if all_there else "no" for all_there in short), "yes", met=all(short))
    report.row("dropped, s", *(f"{run['dropped']:g}" for run in runs), "0", met=not any(run["dropped"] for run in runs))
    more = [run["late"] - run["early"] for run in runs]
    report.row("more memory than after 5 min, MiB", *(f"{value / MIB:.1f}" for value in more), f"{GROWTH_GOAL / MIB:g}",
               met=max(more) < GROWTH_GOAL)  # fmt: skip
    report.row("CPU, ms/s", *(f"{1000 * run['cpu'] / seconds:.1f}" for run in runs), "")
    return report.end()


async def listen(seconds: float) -> tuple[list[float], float, float, float]:
    """By the virtual microphone: seconds from each callback to the session; CPU share; overflows; reported latency."""
    from cartesia_cli.audio.microphone import Microphone, select_device

    microphone = Microphone(select_device(None))
    hops, heard, before = [], 0.0, 0.0
    stream = microphone.frames()
    async for block in stream:
        hops.append(time.monotonic() - microphone.captured)
        before = before or time.process_time()
        heard += len(block.pcm) / 32000
        if heard >= seconds:
            break
    used = time.process_time() - before
    await stream.aclose()
    return hops[5:], used / heard, microphone.overflows, microphone.latency


def capture(seconds: float) -> int:
    from tests.microphone import open_studio

    with tempfile.TemporaryDirectory() as home, open_studio(environment(home)) as studio:
        os.environ.clear()
        os.environ.update(studio.environment)
        hops, share, overflows, latency = asyncio.run(listen(seconds))
    late = delay(low_delay(48000), 48000) + 1000 * statistics.mean(hops)
    p99 = 1000 * statistics.quantiles(hops, n=100)[98]
    report = Report(f"from the device to the session, {seconds:g} s at 48 kHz", "figure", "goal")
    report.row("callback to session, mean ms", f"{1000 * statistics.mean(hops):.2f}", "")
    report.row("callback to session, p99 ms", f"{p99:.2f}", "")
    report.row("the same and the resampler, mean ms", f"{late:.2f}", f"{TOTAL_GOAL:g}", met=late <= TOTAL_GOAL)
    report.row("CPU of the whole process, ms/s", f"{1000 * share:.0f}", "")
    report.row("overflows", f"{overflows:g}", "0", met=overflows == 0)
    report.row("latency that the device reports, ms", f"{1000 * latency:.0f}", "")
    return report.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of audio for each figure of time (20)")
    parser.add_argument("--minutes", type=int, default=60, help="of the simulated session, 6 or more (60)")
    parser.add_argument("--simulate", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.simulate:
        print(json.dumps(asyncio.run(simulated(*given.simulate))))
        return 0
    seconds = given.seconds
    missed = resamplers(seconds)
    print()
    missed |= hour(given.minutes)
    if shutil.which("pulseaudio"):
        print()
        missed |= capture(seconds)
    else:
        print("\nno pulseaudio here: nothing was captured")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
