"""The sessions of `live.py`: speech that is sent to a realtime endpoint in real time over plain `websockets`.

A frame of 100 ms is sent as soon as it would have been recorded. Times are in seconds, those of events and frames on
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
from cartesia_cli.protocol.constants import API_VERSION
from cartesia_cli.protocol.realtime import MANUAL, Endpoint
from tests.speech import say, silence

FRAME_SAMPLES = RATE // 10

SENTENCE_SECONDS = 3.0
"""Preferred length of a sentence."""
LONG_TURN_SECONDS = 20.0
"""Minimum length of the long turn: more than the server recognizes in one piece."""
HANGOVER_SECONDS = 0.6
"""Silence before a `finalize` that isn't sent at once, as in `stream-file`."""
SPEECH_RANGE_DB = 35.0
"""A sentence ends with its last frame whose level is within this range of its loudest frame."""

AT_ONCE, LATER = "at once", f"after {HANGOVER_SECONDS:g} s"
"""When `finalize` is sent."""


@dataclass(frozen=True)
class Part:
    """Audio to be sent. said: its text, "" for silence. finalize: when `finalize` is sent after it, "" for never."""

    samples: Samples
    said: str = ""
    finalize: str = ""


@dataclass(frozen=True)
class Turn:
    """Latencies of one turn on the auto endpoint.

    first    from `turn.start` to the first text, or to the end of speech
    gaps     between events, from `turn.start` to the end of speech
    over     from the end of speech to `turn.end`; None if that came during this or the next part
    """

    first: float
    gaps: list[float]
    over: float | None


@dataclass(frozen=True)
class SessionResult:
    """The parts that a session sent, and the events that it received.

    spans     start and end of each part
    asked     when each `finalize` was sent
    events    all events with their times
    """

    parts: list[Part]
    spans: list[tuple[float, float]]
    asked: list[float]
    events: list[tuple[float, dict[str, Any]]]

    def answers(self, when: str) -> list[float]:
        """From each `finalize` of this kind to the last text that follows it, or to `flush_done` if none does."""
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
        """The latencies of each spoken part."""
        turn_events = [(at, event) for at, event in self.events if event["type"].startswith("turn.")]
        spans = [span for part, span in zip(self.parts, self.spans, strict=True) if part.said]
        limits = [*(begin for begin, _ in spans[1:]), float("inf")]
        for (begin, end), limit in zip(spans, limits, strict=True):
            times = [at for at, _ in turn_events if begin < at < end] or [begin]
            first = next((at for at, event in turn_events if begin < at < end and event.get("transcript")), end)
            over = next(
                (at - end for at, event in turn_events if event["type"] == "turn.end" and end < at < limit), None
            )
            yield Turn(first - times[0], [after - before for before, after in pairwise([*times, end])], over)

    @property
    def texts(self) -> list[dict[str, Any]]:
        """Events with settled text."""
        return [event for _, event in self.events if event["type"] in ("transcript", "turn.end")]


async def session(address: str, endpoint: Endpoint, model: str, parts: list[Part]) -> SessionResult:
    """Send the parts, receive all events, and close."""
    query = f"{endpoint.path}?model={model}&encoding=pcm_s16le&sample_rate={RATE}&cartesia_version={API_VERSION}"
    result = SessionResult(parts, [], [], [])
    async with connect(f"ws{address.removeprefix('http')}{query}", compression=None) as socket:

        async def receive() -> None:
            async for message in socket:
                result.events.append((time.monotonic(), json.loads(message)))

        receiving = asyncio.create_task(receive())
        start, sent = time.monotonic(), 0
        for part in parts:
            begin = start + sent / RATE
            for at in range(0, len(part.samples), FRAME_SAMPLES):
                block = part.samples[at : at + FRAME_SAMPLES]
                sent += len(block)
                await asyncio.sleep(start + sent / RATE - time.monotonic())
                await socket.send(encode_s16le(block))
            result.spans.append((begin, time.monotonic()))
            if part.finalize:
                result.asked.append(time.monotonic())
                await socket.send("finalize")
        await socket.send("close" if endpoint is MANUAL else '{"type": "close"}')
        await receiving
    return result


def sentences(count: int) -> list[Part]:
    """Sentences without the silence around them, those with lengths closest to SENTENCE_SECONDS."""
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()[: 2 * count]
    parts = [Part(_trimmed(say(line)), line) for line in lines]
    return sorted(parts, key=lambda part: abs(len(part.samples) / RATE - SENTENCE_SECONDS))[:count]


def _trimmed(samples: Samples) -> Samples:
    levels = np.array(FrameLevels(RATE).levels(samples))
    loud = np.flatnonzero(levels >= levels.max() - SPEECH_RANGE_DB) * (RATE // 50)
    return samples[loud[0] : loud[-1] + RATE // 50]


def with_pauses(parts: list[Part]) -> list[Part]:
    """For the manual endpoint: sentences with pauses, every other one finalized at once."""
    script = []
    for number, part in enumerate(parts):
        if number % 2:
            script += [part, Part(silence(HANGOVER_SECONDS), finalize=LATER), Part(silence(0.4))]
        else:
            script += [Part(part.samples, part.said, AT_ONCE), Part(silence(0.7))]
    return script


def without_pauses(parts: list[Part], seconds: float) -> list[Part]:
    """For the manual endpoint: sentences almost without pauses, all finalized at once."""
    script, size = [], 0
    for part in cycle(parts):
        if size >= seconds * RATE:
            break
        script += [Part(part.samples, part.said, AT_ONCE), Part(silence(0.1))]
        size += len(part.samples) + len(script[-1].samples)
    return script


def as_turns(parts: list[Part]) -> list[Part]:
    """For the auto endpoint: some sentences with pauses that end turns, and then a turn of LONG_TURN_SECONDS."""
    long, said = silence(0), []
    for part in cycle(parts):
        long = np.concatenate([long, part.samples])
        said.append(part.said)
        if len(long) >= LONG_TURN_SECONDS * RATE:
            break
        long = np.concatenate([long, silence(0.1)])
    turns = [*parts[: max(2, len(parts) // 3 + 1)], Part(long, " ".join(said))]
    return [one for part in turns for one in (part, Part(silence(1.5)))]


def shifted(script: list[Part]) -> list[Part]:
    """The same a little later, so that two sessions don't speak at the same time."""
    return [Part(silence(0.45)), *script]
