"""Compares the microphone's resampler with soxr, and measures capture: delay, aliases, CPU, memory, clock drift.

1. The resampler and soxr HQ at the rates of sound cards. Targets: 1 ms of delay, aliases below -80 dB, 1 % of a core.
2. An hour of a session with a simulated device that delivers blocks as fast as they are taken. Targets: at most 5 MiB
   more memory than after five minutes, and a clock that is less than a sample off.
3. From PortAudio's callback to the session, with a virtual microphone (skipped without PulseAudio). Target: 3 ms.
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
from cartesia_cli.protocol.events import Event
from cartesia_cli.protocol.realtime import Command

RATES = (8000, 11025, 22050, 32000, 44100, 48000, 96000)
OUTPUT_RATE = 16000
BLOCK_SECONDS = 0.02

DELAY_GOAL_MS = 1.0
"""Of the 3 ms that a session may add to half a chunk, threads and the socket take more than one."""

ALIAS_GOAL_DB = -80.0
CPU_GOAL_MS = 10.0
"""Per second of audio: a hundredth of a core."""

CAPTURE_GOAL_MS = 3.0

MEMORY_GROWTH_GOAL = 5 * MIB
"""Bytes more after an hour than after five minutes."""

MAX_BLOCKS_AHEAD = 100
"""Blocks by which the simulated device may be ahead of the session."""

Resample = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def low_latency(rate: int) -> Resample:
    return LowLatencyResampler(rate).resample


def soxr_hq(rate: int) -> Resample:
    return soxr.ResampleStream(rate, OUTPUT_RATE, 1, "float32", "HQ").resample_chunk  # type: ignore[no-any-return]


def soxr_vr(rate: int) -> Resample:
    return soxr.ResampleStream(rate, OUTPUT_RATE, 1, "float32", "HQ", vr=True).resample_chunk  # type: ignore[no-any-return]


RESAMPLERS = {"ours": low_latency, "soxr HQ": soxr_hq, "soxr HQ, vr": soxr_vr}


def tone(frequency: float, rate: int, seconds: float) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def blocks(samples: NDArray[np.float32], rate: int) -> list[NDArray[np.float32]]:
    return np.split(samples, range(round(rate * BLOCK_SECONDS), len(samples), round(rate * BLOCK_SECONDS)))


def delay(resample: Resample, rate: int) -> float:
    """Milliseconds between input and output, on average over blocks, for a tone of 300 Hz.

    The sum of the samples that the resampler holds back after each block, and of the phase delay of its output.
    """
    frequency, fed, out, held = 300.0, 0, [], []
    for block in blocks(tone(frequency, rate, 2.0), rate):
        out.append(resample(block))
        fed += len(block)
        held.append(fed / rate - sum(map(len, out)) / OUTPUT_RATE)
    heard = np.concatenate(out)[8000:24000]
    times = np.arange(8000, 8000 + len(heard)) / OUTPUT_RATE
    behind = -np.angle(np.exp(-2j * np.pi * frequency * times) @ heard * 1j) / (2 * np.pi * frequency)
    return 1000 * (statistics.mean(held[25:]) + float(behind))


def gain(resample: Resample, rate: int, frequency: float) -> float:
    """Gain in dB for a tone within the band."""
    heard = np.concatenate([resample(block) for block in blocks(tone(frequency, rate, 1.0), rate)])[8000:]
    return 20 * float(np.log10(np.sqrt(2 * np.mean(heard**2))))


def alias(make: Callable[[int], Resample], rate: int) -> float:
    """The loudest alias in dB, of tones above the new band, or mirrored above the old one."""
    edge, worst = min(rate, OUTPUT_RATE) / 2, -200.0
    for above in np.linspace(edge, max(rate, OUTPUT_RATE) / 2, 25)[1:-1]:
        sound = tone(above if rate > OUTPUT_RATE else rate - above, rate, 1.0)
        resample = make(rate)
        heard = np.concatenate([resample(block) for block in blocks(sound, rate)])[4000:]
        window = np.hanning(len(heard))
        levels = np.abs(np.fft.rfft(heard * window)) / (window.sum() / 2)
        wrong = np.fft.rfftfreq(len(heard), 1 / OUTPUT_RATE) > (0 if rate > OUTPUT_RATE else edge + 5)
        worst = max(worst, 20 * float(np.log10(levels[wrong].max())))
    return worst


def cost(resample: Resample, rate: int, seconds: int) -> float:
    """Milliseconds of CPU per second of audio, resampled block by block."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32)
    cut = blocks(noise, rate)
    for block in cut:
        resample(block)
    before = time.process_time()
    for _ in range(seconds):
        for block in cut:
            resample(block)
    return (time.process_time() - before) * 1000 / seconds


def resamplers(seconds: int) -> int:
    report = Report("to 16 kHz, blocks of 20 ms", "from Hz", "delay ms", "alias dB", "0.4 of band dB", "CPU ms/s")
    for rate in RATES:
        for name, make in RESAMPLERS.items():
            late, wrong = delay(make(rate), rate), alias(make, rate)
            passed, cpu = gain(make(rate), rate, 0.4 * min(rate, OUTPUT_RATE)), cost(make(rate), rate, seconds)
            met = (
                late <= DELAY_GOAL_MS and wrong <= ALIAS_GOAL_DB and cpu <= CPU_GOAL_MS if make is low_latency else None
            )
            report.row(name, str(rate), f"{late:.2f}", f"{wrong:.0f}", f"{passed:.1f}", f"{cpu:.1f}", met=met)
    report.row("goals of ours", "", f"{DELAY_GOAL_MS:.2f}", f"{ALIAS_GOAL_DB:.0f}", "", f"{CPU_GOAL_MS:.1f}")
    return report.end()


class Device:
    """A stand-in for PortAudio's stream: a device that delivers blocks as fast as the session takes them.

    may_deliver   released once for each block that the device may deliver
    """

    latency = 0.04
    may_deliver: threading.Semaphore

    def __init__(self, samplerate: float, blocksize: int, channels: int, callback: Any, **others: Any) -> None:
        self._callback = callback
        self._size = blocksize
        seconds = np.arange(50 * blocksize) / samplerate  # a second of audio, half of it quiet, as in speech
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
            self.may_deliver.acquire()
            self._callback(self._blocks[number % 50], self._size, None, flags)
            number += 1

    def abort(self) -> None:
        self._over = True
        self.may_deliver.release()

    def close(self) -> None:
        return


class SilentConnection:
    """A connection that accepts everything and sends no events; it ends after `close`."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()
        self.size = 0

    async def send(self, frame: bytes) -> None:
        self.size += len(frame)

    async def send_command(self, command: Command) -> None:
        from cartesia_cli.protocol.realtime import Close

        if isinstance(command, Close):
            self._closed.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        await self._closed.wait()
        return
        yield


async def simulated(minutes: int, rate: int) -> dict[str, float]:
    """A session with the simulated device: seconds as each part counted them, bytes of memory, CPU seconds."""
    sound: Any = ModuleType("sounddevice")
    sound.RawInputStream, sound.PortAudioError = Device, OSError
    sys.modules["sounddevice"] = sound
    from cartesia_cli.audio import devices, microphone, session_recording
    from cartesia_cli.audio.pacing import LimitedSource
    from cartesia_cli.audio.vad import Endpointer
    from cartesia_cli.protocol.realtime import RealtimeOptions
    from cartesia_cli.session import Session
    from cartesia_cli.session.interfaces import StopSignal
    from cartesia_cli.session.latency import LatencyRecorder
    from cartesia_cli.tracker import ManualTracker, SpeechTimeline

    Device.may_deliver = threading.Semaphore(MAX_BLOCKS_AHEAD)
    asked = devices.Device(0, "simulated", 2, rate, "none", True, False, 0)

    class BlockCounter:
        """A source that lets the device deliver another block whenever one is taken."""

        def __init__(self, source: Any) -> None:
            self._source = source

        async def blocks(self) -> Any:
            async with aclosing(self._source.blocks()) as blocks:
                async for block in blocks:
                    Device.may_deliver.release()
                    yield block

    opened = microphone.Microphone(asked)
    memory: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        recording = session_recording.SessionRecording(opened, Path(folder))
        timeline, heard, line = SpeechTimeline(), Endpointer(), SilentConnection()

        class MemoryAtFiveMinutes(LatencyRecorder):
            def audio_sent(self, size: int) -> None:
                super().audio_sent(size)
                if not memory and timeline.sent >= 300:
                    memory.append(peak())

        @asynccontextmanager
        async def connect(is_reconnect: bool) -> AsyncIterator[SilentConnection]:
            yield line

        session = Session(
            connect, LimitedSource(BlockCounter(recording), 60.0 * minutes), ManualTracker(timeline), heard,
            sends_finalize=True, has_finalize=True, frame_bytes=3200, write=lambda update: None,
            observer=MemoryAtFiveMinutes(RealtimeOptions(model="ink-2"), 3200), pace=1e6,
        )  # fmt: skip
        before = time.process_time()
        await session.run(StopSignal())
        used = time.process_time() - before
        found = {
            "clock": timeline.sent,
            "sent": line.size / 2 / OUTPUT_RATE,
            "endpointer": heard.processed_seconds,
            "recording": recording.seconds,
        }
        recording.discard()
    return found | {"early": memory[0], "late": peak(), "cpu": used, "dropped": opened.dropped}


def peak() -> int:
    """Peak memory of this process in bytes."""
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
                   met=max(map(abs, apart)) < 1e6 / OUTPUT_RATE)  # fmt: skip
    short = [run["recording"] >= seconds for run in runs]
    report.row(
        "all of it in the recording", *("yes" if all_there else "no" for all_there in short), "yes", met=all(short)
    )
    report.row("dropped, s", *(f"{run['dropped']:g}" for run in runs), "0", met=not any(run["dropped"] for run in runs))
    more = [run["late"] - run["early"] for run in runs]
    goal = f"{MEMORY_GROWTH_GOAL / MIB:g}"
    report.row("more memory than after 5 min, MiB", *(f"{value / MIB:.1f}" for value in more), goal,
               met=max(more) < MEMORY_GROWTH_GOAL)  # fmt: skip
    report.row("CPU, ms/s", *(f"{1000 * run['cpu'] / seconds:.1f}" for run in runs), "")
    return report.end()


async def listen(seconds: float) -> tuple[list[float], float, float, float]:
    """Capture from the virtual microphone: seconds from each callback to the session, share of a core, overflows, and
    the latency that the device reports.
    """
    from cartesia_cli.audio.devices import select_device
    from cartesia_cli.audio.microphone import Microphone

    microphone = Microphone(select_device(None))
    hops, heard, before = [], 0.0, 0.0
    stream = microphone.blocks()
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
    late = delay(low_latency(48000), 48000) + 1000 * statistics.mean(hops)
    p99 = 1000 * statistics.quantiles(hops, n=100)[98]
    report = Report(f"from the device to the session, {seconds:g} s at 48 kHz", "figure", "goal")
    report.row("callback to session, mean ms", f"{1000 * statistics.mean(hops):.2f}", "")
    report.row("callback to session, p99 ms", f"{p99:.2f}", "")
    report.row(
        "the same and the resampler, mean ms", f"{late:.2f}", f"{CAPTURE_GOAL_MS:g}", met=late <= CAPTURE_GOAL_MS
    )
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
        print("\nPulseAudio isn't installed: capture was not measured")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
