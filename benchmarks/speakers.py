"""What `live.py` sends to a realtime endpoint, at the pace of life, over plain `websockets`, and what it hears there.

Each frame of 100 ms leaves as soon as it would have been recorded. Times are seconds, those of events and frames on
the monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from cartesia_cli.audio.level import FrameLevels
from cartesia_cli.audio.pcm import RATE, Samples, encode_s16le
from cartesia_cli.protocol import MANUAL, Endpoint
from tests.speech import say, silence

FRAME = RATE // 10

LENGTH = 3.0
"""Seconds that a sentence should have."""
LONG = 20.0
"""Seconds of a long turn, at least: more than is heard at once."""
HANGOVER = 0.6
"""Seconds of silence before a `finalize` that isn't sent at once; `stream-file` waits so long."""
DEPTH = 35.0
"""dB. A sentence is over with its last frame that is no more than this below its loudest."""

AT_ONCE, LATER = "at once", f"after {HANGOVER:g} s"
"""When `finalize` is sent."""


@dataclass(frozen=True)
class Part:
    """Something to be sent. said: its text, "" for silence. finalize: when one is sent behind it, "" for none."""

    samples: Samples
    said: str = ""
    finalize: str = ""


@dataclass(frozen=True)
class Turn:
    """What the auto endpoint let a speaker see.

    first    from `turn.start` to the first text, or to the end of speech
    gaps     from `turn.start` on between signs of life, until the end of speech
    over     from the last speech to `turn.end`; None: it came too early, or not before somebody spoke again
    """

    first: float
    gaps: list[float]
    over: float | None


@dataclass(frozen=True)
class Take:
    """What came of one session.

    spans     when each part began and ended
    asked     when each `finalize` was sent
    events    all of them, and when each came
    """

    parts: list[Part]
    spans: list[tuple[float, float]]
    asked: list[float]
    events: list[tuple[float, dict[str, Any]]]

    def answers(self, when: str) -> list[float]:
        """From each such `finalize` to the last text that it brought; to `flush_done` where all had been said."""
        found, events = [], iter(self.events)
        for kind, asked in zip((part.finalize for part in self.parts if part.finalize), self.asked, strict=True):
            last = None
            for at, event in events:
                if event["type"] == "flush_done":
                    if kind == when:
                        found.append((last or at) - asked)
                    break
                last = at if at > asked else None
            else:
                raise SystemExit("a finalize was not answered")
        return found

    def turns(self) -> Iterator[Turn]:
        """A turn for each spoken part."""
        signs = [(at, event) for at, event in self.events if event["type"].startswith("turn.")]
        spans = [span for part, span in zip(self.parts, self.spans, strict=True) if part.said]
        limits = [*(begin for begin, _ in spans[1:]), float("inf")]
        for (begin, end), limit in zip(spans, limits, strict=True):
            told = [at for at, _ in signs if begin < at < end] or [begin]
            first = next((at for at, event in signs if begin < at < end and event.get("transcript")), end)
            over = next((at - end for at, event in signs if event["type"] == "turn.end" and end < at < limit), None)
            yield Turn(first - told[0], [after - before for before, after in pairwise([*told, end])], over)

    @property
    def texts(self) -> list[dict[str, Any]]:
        """Events with text that is settled."""
        return [event for _, event in self.events if event["type"] in ("transcript", "turn.end")]


async def session(address: str, dialect: Endpoint, model: str, parts: list[Part]) -> Take:
    """Send the parts, hear what comes, and close."""
    query = f"{dialect.path}?model={model}&encoding=pcm_s16le&sample_rate={RATE}"
    take = Take(parts, [], [], [])
    async with connect(f"ws{address.removeprefix('http')}{query}", compression=None) as socket:

        async def hear() -> None:
            async for message in socket:
                take.events.append((time.monotonic(), json.loads(message)))

        hearing = asyncio.create_task(hear())
        start, sent = time.monotonic(), 0
        for part in parts:
            begin = start + sent / RATE
            for at in range(0, len(part.samples), FRAME):
                block = part.samples[at : at + FRAME]
                sent += len(block)
                await asyncio.sleep(start + sent / RATE - time.monotonic())
                await socket.send(encode_s16le(block))
            take.spans.append((begin, time.monotonic()))
            if part.finalize:
                take.asked.append(time.monotonic())
                await socket.send("finalize")
        await socket.send("close" if dialect is MANUAL else '{"type": "close"}')
        await hearing
    return take


def sentences(count: int) -> list[Part]:
    """Sentences without the silence around them: those that are closest to LENGTH."""
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()[: 2 * count]
    parts = [Part(_trimmed(say(line)), line) for line in lines]
    return sorted(parts, key=lambda part: abs(len(part.samples) / RATE - LENGTH))[:count]


def _trimmed(samples: Samples) -> Samples:
    levels = np.array(FrameLevels(RATE).levels(samples))
    loud = np.flatnonzero(levels >= levels.max() - DEPTH) * (RATE // 50)
    return samples[loud[0] : loud[-1] + RATE // 50]


def asking(parts: list[Part]) -> list[Part]:
    """For the manual endpoint: sentences with pauses, every other one finalized at once."""
    script = []
    for number, part in enumerate(parts):
        if number % 2:
            script += [part, Part(silence(HANGOVER), finalize=LATER), Part(silence(0.4))]
        else:
            script += [Part(part.samples, part.said, AT_ONCE), Part(silence(0.7))]
    return script


def pressing(parts: list[Part], seconds: float) -> list[Part]:
    """For the manual endpoint: sentences with hardly a pause, all finalized at once."""
    script, size = [], 0
    for part in cycle(parts):
        if size >= seconds * RATE:
            break
        script += [Part(part.samples, part.said, AT_ONCE), Part(silence(0.1))]
        size += len(part.samples) + len(script[-1].samples)
    return script


def talking(parts: list[Part]) -> list[Part]:
    """For the auto endpoint: some sentences with pauses that end turns, and behind them a turn of LONG seconds."""
    long, said = silence(0), []
    for part in cycle(parts):
        long = np.concatenate([long, part.samples])
        said.append(part.said)
        if len(long) >= LONG * RATE:
            break
        long = np.concatenate([long, silence(0.1)])
    turns = [*parts[: max(2, len(parts) // 3 + 1)], Part(long, " ".join(said))]
    return [one for part in turns for one in (part, Part(silence(1.5)))]


def shifted(script: list[Part]) -> list[Part]:
    """A little later, so that two sessions don't speak in chorus."""
    return [Part(silence(0.45)), *script]
