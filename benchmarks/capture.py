"""What a microphone's sound goes through before it is sent: how late it becomes, what it loses, what it costs.

First the resampler, against soxr's, for the rates of sound cards. Then all of it, from PortAudio's callback to the
session, by a virtual microphone (needs PulseAudio; without it, this part is left out).
"""

# ruff: noqa: T201  what these scripts print is their result

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import soxr
from measuring import ROOT, Report, environment
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from cartesia_cli.audio.lowdelay import LowDelay

RATES = (8000, 11025, 22050, 32000, 44100, 48000, 96000)
WANTED = 16000
BLOCK = 0.02

DELAY_GOAL = 1.0
"""Milliseconds. Half a chunk is unavoidable; of the 3 ms beyond it, threads and the socket take more than one."""

ALIAS_GOAL = -80.0
CPU_GOAL = 10.0
"""Milliseconds a second: a hundredth of a core."""

TOTAL_GOAL = 3.0

Feed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def low_delay(rate: int) -> Feed:
    return LowDelay(rate).feed


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


async def listen(seconds: float) -> tuple[list[float], float, float, float]:
    """By the virtual microphone: seconds from each callback to the session; CPU share; overflows; reported latency."""
    from cartesia_cli.audio.microphone import Microphone, chosen

    microphone = Microphone(chosen(None))
    hops, heard, before = [], 0.0, 0.0
    stream = microphone.frames()
    async for block in stream:
        hops.append(time.monotonic() - microphone.captured)
        before = before or time.process_time()
        heard += len(block) / 32000
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
    seconds = parser.parse_args().seconds
    missed = resamplers(seconds)
    if shutil.which("pulseaudio"):
        print()
        missed |= capture(seconds)
    else:
        print("\nno pulseaudio here: nothing was captured")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
