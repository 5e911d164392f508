"""The processes that `pacing.py` starts: the server (`senders.py receiver`) and its three clients.

A client reads tasks from stdin as lines of JSON (see TASKS), and writes each result as a line of JSON.

    ours     as in `stream-file`: RealtimeSource, Session and RealtimeConnection, with what measures them
    naive    `asyncio.sleep` after each frame, over `websockets`
    sdk      the same over the official SDK, as in its examples; needs a Python that has the SDK

The keyterm of a session is its name. Each client imports only what it needs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RATE = 16000
SECOND = 2 * RATE
REPORT = "report"
"""Name of the session in which the receiver sends the arrival times of all others."""

TEXT, WORDS = "text", "words"
"""Names of sessions that aren't paced, and their kind of answer: text as from ink-2, or words as from ink-whisper."""

FRAMES, BURST_FRAMES, FLUSHES = 300, 10, 50
"""Frames per measurement of their cost, frames in a row, and `finalize` commands per measurement of answers."""


@dataclass
class Log:
    """When a client sent its frames, in seconds of the monotonic clock, and its CPU time."""

    start: float = 0.0
    sent: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """A frame is about to be sent; only the first call counts."""
        if not self.sent:
            self.cpu.append(time.process_time())
            self.start = time.monotonic()

    def frame(self) -> None:
        """A frame has been handed to the socket."""
        self.sent.append(time.monotonic())
        self.cpu.append(time.process_time())

    def to_dict(self) -> dict[str, Any]:
        return {"start": self.start, "sent": self.sent, "cpu": self.cpu[-1] - self.cpu[0]}


@dataclass(frozen=True)
class Link:
    """An open session. `receive` returns the type of the next event after parsing it."""

    send: Callable[[bytes], Awaitable[None]]
    command: Callable[[str], Awaitable[None]]
    receive: Callable[[], Awaitable[str]]


def query(name: str) -> str:
    return f"/stt/websocket?model=ink-2&encoding=pcm_s16le&sample_rate={RATE}&keyterm={name}"


@asynccontextmanager
async def naive(address: str, name: str) -> AsyncIterator[Link]:
    from websockets.asyncio.client import connect

    async with connect(f"ws{address.removeprefix('http')}{query(name)}", compression=None) as socket:

        async def hear() -> str:
            return str(json.loads(await socket.recv())["type"])

        yield Link(socket.send, socket.send, hear)


@asynccontextmanager
async def sdk(address: str, name: str) -> AsyncIterator[Link]:
    from cartesia import AsyncCartesia

    audio = {"model": "ink-2", "encoding": "pcm_s16le", "sample_rate": RATE, "keyterm": [name]}
    async with (
        AsyncCartesia(api_key="key", base_url=address) as client,
        client.stt.manual_finalize.websocket(**audio) as connection,
    ):

        async def hear() -> str:
            return str((await connection.recv()).type)

        yield Link(connection.send_raw, connection.send, hear)


@asynccontextmanager
async def ours(address: str, name: str) -> AsyncIterator[Link]:
    from cartesia_cli.client.realtime import connect
    from cartesia_cli.protocol.realtime import MANUAL, RealtimeOptions

    async with connect(address, None, MANUAL, RealtimeOptions(model="ink-2", keyterms=(name,))) as connection:

        async def hear() -> str:
            return (await anext(connection)).kind

        async def say(command: str) -> None:
            await connection.send_command(MANUAL.text_commands[command])

        yield Link(connection.send, say, hear)


LINKS = {"ours": ours, "naive": naive, "sdk": sdk}


async def cost(role: str, address: str, audio: bytes, answer: str) -> dict[str, Any]:
    """Seconds to connect, of CPU for a frame, and from each `finalize` until its `flush_done` was parsed.

    answer    TEXT or WORDS: what the receiver sends before `flush_done`
    """
    began = time.perf_counter()
    async with LINKS[role](address, answer) as link:
        connected = time.perf_counter() - began

        async def flush() -> float:
            began = time.perf_counter()
            await link.command("finalize")
            while await link.receive() != "flush_done":
                pass
            return time.perf_counter() - began

        cpu, frames = 0.0, list(cut(audio, 100, FRAMES / 10))
        for at in range(0, FRAMES, BURST_FRAMES):  # few enough for the socket's buffer, as in a session
            began = time.process_time()
            for frame in frames[at : at + BURST_FRAMES]:
                await link.send(frame)
            cpu += time.process_time() - began
            await flush()
        flushes = [await flush() for _ in range(FLUSHES)]
        await link.command("close")
        while await link.receive() != "done":
            pass
    return {"connect": connected, "frame": cpu / len(frames), "flush": flushes}


async def pace_by_sleeping(role: str, address: str, audio: bytes, name: str, ms: int, seconds: float) -> dict[str, Any]:
    """Sleep for the length of a frame after sending it, as the examples do."""
    log = Log()
    async with LINKS[role](address, name) as link:

        async def hear() -> None:
            while await link.receive() != "done":
                pass

        hearing = asyncio.create_task(hear())
        for frame in cut(audio, ms, seconds):
            log.begin()
            await link.send(frame)
            log.frame()
            await asyncio.sleep(ms / 1000)
        await link.command("close")
        await hearing
    return log.to_dict()


async def pace_by_session(
    address: str, audio: bytes, name: str, ms: int, seconds: float, watch: Log | None = None, **time: Any
) -> dict[str, Any]:
    """Send with a live session and everything that measures it. `time`: clock and sleep of RealtimeSource."""
    from cartesia_cli.audio.pacing import RealtimeSource
    from cartesia_cli.audio.pcm import AudioBlock, decode_pcm
    from cartesia_cli.audio.vad import Endpointer
    from cartesia_cli.client.realtime import connect
    from cartesia_cli.protocol.realtime import MANUAL, RealtimeOptions
    from cartesia_cli.session import Session
    from cartesia_cli.session.interfaces import StopSignal
    from cartesia_cli.session.latency import LatencyRecorder
    from cartesia_cli.tracker import ManualTracker, SpeechTimeline
    from cartesia_cli.transcript import Segment, Update

    log, segments = watch or Log(), list[Segment]()

    class Watched(RealtimeSource):
        async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
            async with aclosing(super().blocks()) as blocks:
                async for block in blocks:
                    log.begin()
                    yield block
                    log.frame()  # the session asks for the next block when it has sent this one

    def write(update: Update) -> None:
        if isinstance(update, Segment):
            segments.append(update)

    options = RealtimeOptions(model="ink-2", keyterms=(name,))
    frame_bytes = SECOND * ms // 1000
    recorder = LatencyRecorder(options, frame_bytes)
    blocks = (decode_pcm(frame, "pcm_s16le") for frame in cut(audio, ms, seconds))
    source = Watched(blocks, ms / 1000, on_late=recorder.late, on_gap=recorder.gap, **time)
    session = Session(
        lambda is_reconnect: connect(address, None, MANUAL, options),
        source, ManualTracker(SpeechTimeline()), Endpointer(),
        sends_finalize=True, has_finalize=True, frame_bytes=frame_bytes, write=write, observer=recorder,
        pace=1e6 if time else 1.0,
    )  # fmt: skip
    await session.run(StopSignal())
    recorder.report()
    return log.to_dict()


class Memory(Log):
    """Resident memory in bytes after these minutes of frames of 100 ms."""

    def __init__(self, *minutes: int) -> None:
        super().__init__()
        self._frames, self._at = 0, [minute * 600 for minute in minutes]
        self._seen: list[int] = []

    def begin(self) -> None:
        return

    def frame(self) -> None:
        self._frames += 1
        if self._frames in self._at:
            self._seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)

    def to_dict(self) -> dict[str, Any]:
        return {"resident": self._seen}


async def hour(address: str, audio: bytes) -> dict[str, Any]:
    """An hour of a session with a simulated clock."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    return await pace_by_session(address, audio, "hour", 100, 3600, Memory(5, 60), clock=lambda: now, sleep=sleep)


def cut(audio: bytes, ms: int, seconds: float) -> Iterator[bytes]:
    """Frames of `ms` for this many seconds, from `audio` repeated."""
    size = SECOND * ms // 1000
    for number in range(round(seconds * 1000 / ms)):
        at = number * size % (len(audio) - size)
        yield audio[at - at % 2 :][:size]


async def receive() -> None:
    """A realtime endpoint that records when frames arrive, and sends a word for each half second of audio."""
    from urllib.parse import parse_qs, urlsplit

    from websockets.asyncio.server import ServerConnection, serve

    seen: dict[str, list[float]] = {}

    async def answer(socket: ServerConnection) -> None:
        assert socket.request is not None
        (name,) = parse_qs(urlsplit(socket.request.path).query)["keyterm"]
        if name == REPORT:
            await socket.send(json.dumps(seen))
            return
        came, size = seen.setdefault(name, []), 0
        words = [{"word": f" word{number}", "start": number / 2, "end": number / 2 + 0.5} for number in range(6)]
        text = {"type": "transcript", "is_final": True, "text": " word"}
        delta = json.dumps(text | ({"words": words, "duration": 3.0, "language": "en"} if name == WORDS else {}))
        async for message in socket:
            if isinstance(message, bytes):
                came.append(time.monotonic())
                size += len(message)
                if size >= SECOND // 2 and name not in (TEXT, WORDS):
                    size = 0
                    await socket.send(delta)
            elif message == "finalize":
                await socket.send(delta)
                await socket.send('{"type": "flush_done"}')
            else:
                await socket.send('{"type": "done"}')
                return

    async with serve(answer, "127.0.0.1", 0) as server:
        write_line(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(sys.stdin.read)  # until the parent process ends


def write_line(line: object) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


TASKS: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    "cost": cost,
    "pace": lambda role, *more: pace_by_session(*more) if role == "ours" else pace_by_sleeping(role, *more),
    "hour": lambda role, *more: hour(*more),
}

if __name__ == "__main__":
    if sys.argv[1] == "receiver":
        asyncio.run(receive())
    else:
        role, address, sound = sys.argv[1:]
        for line in sys.stdin:
            task, *more = json.loads(line)
            write_line(asyncio.run(TASKS[task](role, address, Path(sound).read_bytes(), *more)))
