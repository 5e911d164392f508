"""Hours of speech over lines that die, in seconds: every number once and in order, and nothing grows meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartesia_cli.audio.pcm import RATE, AudioBlock, encode_s16le
from cartesia_cli.audio.vad import Endpointer, VadSettings
from cartesia_cli.errors import CliError, NetworkError
from cartesia_cli.protocol.events import Delta
from cartesia_cli.protocol.realtime import RealtimeOptions
from cartesia_cli.session import Session, send_buffer
from cartesia_cli.session.interfaces import StopSignal
from cartesia_cli.session.latency import LatencyRecorder
from cartesia_cli.session.reconnect import ReconnectPolicy
from cartesia_cli.session.send_buffer import MAX_MEMORY_BYTES
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker
from cartesia_cli.transcript import Segment, Update
from tests.late_server import CHUNK
from tests.realtime_server import RealtimeServer, Script
from tests.simulated_time import SimulatedTimeLoop
from tests.speech import write_wav
from tests.test_reconnect import SimulatedConnection
from tests.tones import TONE, random_loss, recognizes, spoken

pytestmark = pytest.mark.waits

NUMBERS = 200
"""After the last of them they begin again."""

RESTS = 0.6, 1.2
"""Seconds of silence behind a number, from and to."""

LENGTH = TONE + sum(RESTS) / 2
"""Seconds of a number with its silence, on the average."""

WAY = 0.2
"""Seconds that an event takes to arrive."""


class Wire(asyncio.Queue[Any]):
    """Events on their way; those that have not arrived are lost with the connection."""

    def __init__(self) -> None:
        super().__init__()
        self._way: deque[Any] = deque()

    def put_nowait(self, event: Any) -> None:
        if isinstance(event, CliError):
            self._way.clear()
            super().put_nowait(event)
        else:
            self._way.append(event)
            asyncio.get_running_loop().call_later(WAY, self._arrive)

    def _arrive(self) -> None:
        if self._way:
            super().put_nowait(self._way.popleft())


class Distant(SimulatedConnection):
    """A server that is some way off, and sends no word times, as ink-2: a session keeps those for its end."""

    def __init__(self, manual: bool, life: int | None) -> None:
        super().__init__(manual, life, NetworkError("lost"))
        self._events = Wire()

    def _tell(self) -> None:
        self._events.put_nowait(Delta(text=self._text()))
        self._told = len(self._recognizer.heard)


class Speaker:
    """Says `count` numbers in real time, in blocks of 100 ms."""

    def __init__(self, count: int, dice: random.Random) -> None:
        self._count, self._dice = count, dice
        self._tones = [tone(number) for number in range(NUMBERS)]

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        loop = asyncio.get_running_loop()
        due, held = loop.time(), hiss(1.0)
        for number in range(self._count + 1):
            while len(held) >= CHUNK:
                yield AudioBlock(held[:CHUNK])
                held, due = held[CHUNK:], due + CHUNK / 2 / RATE
                await asyncio.sleep(due - loop.time())
            if number < self._count:
                held += self._tones[number % NUMBERS] + hiss(self._dice.uniform(*RESTS))
        yield AudioBlock(held)


@cache
def tone(number: int) -> bytes:
    return encode_s16le(spoken([number], rest=0.0))


@cache
def _noise() -> bytes:
    return encode_s16le(np.random.default_rng(1).normal(0, 0.0005, 2 * RATE).astype(np.float32))


def hiss(seconds: float) -> bytes:
    """Quiet background noise, at most 2 s."""
    return _noise()[: 2 * round(seconds * RATE)]


def resident_of(process: int) -> int:
    """Bytes of memory that it has (Linux)."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def files_of(process: int) -> int:
    """How many it has open, sockets included (Linux)."""
    return len(os.listdir(f"/proc/{process}/fd"))


@dataclass(frozen=True, slots=True)
class Sample:
    """How things are at a moment.

    at         seconds of the session
    heard      numbers
    resident   bytes, of the process
    traced     bytes that Python knows of, 0 where it isn't asked to
    files      open file descriptors
    tasks      of asyncio
    behind     seconds of audio that were still to be sent
    """

    at: float
    heard: int
    resident: int
    traced: int
    files: int
    tasks: int
    behind: float


@dataclass
class Soak:
    """A session of `count` numbers over connections of which `losses` are lost, and what was seen of it.

    every         numbers between two samples
    outages       seconds until there is another connection, one of them by chance each time
    measured      whether it is reported to a recorder, as every session of the program is
    write         is handed the updates, too
    look          called with each sample
    heard, lost   numbers that came, and connections that were lost
    wrong         the first numbers that were not the next: how many had been heard, and which it was
    """

    count: int
    losses: int
    manual: bool
    every: int
    seed: int = 1
    outages: Sequence[float] = (0.1, 0.1, 0.1, 2.0)
    measured: bool = False
    write: Callable[[Update], None] = lambda update: None
    look: Callable[[Sample], None] = lambda sample: None
    heard: int = 0
    lost: int = -1
    wrong: list[tuple[int, int]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    _session: Session | None = None

    def run(self) -> None:
        """To its end, as fast as it goes. Raises CliError where that is a failure."""
        gc.freeze()  # what the tests hold is not looked through at each sample
        with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        dice, timeline = random.Random(self.seed), SpeechTimeline()
        frames = self.count * LENGTH * 2 * RATE / CHUNK
        lives = [dice.randrange(1, round(1.7 * frames / self.losses)) for _ in range(self.losses)]

        @asynccontextmanager
        async def connect(is_reconnect: bool) -> AsyncIterator[SimulatedConnection]:
            self.lost += 1
            await asyncio.sleep(dice.choice(self.outages) if is_reconnect else 0.1)
            yield Distant(self.manual, lives[self.lost] if self.lost < self.losses else None)

        self._session = Session(
            connect, Speaker(self.count, dice), (ManualTracker if self.manual else TurnTracker)(timeline),
            Endpointer(VadSettings(silence_ms=400)),
            sends_finalize=self.manual, has_finalize=self.manual, frame_bytes=CHUNK,
            write=self._take,
            observer=LatencyRecorder(RealtimeOptions(model="ink-2"), CHUNK) if self.measured else None,
            reconnect_policy=ReconnectPolicy(jitter=dice.random),
        )  # fmt: skip
        await self._session.run(StopSignal())

    def _take(self, update: Update) -> None:
        self.write(update)
        if isinstance(update, Segment):
            for number in map(int, update.text.split()):
                if number != self.heard % NUMBERS and len(self.wrong) < 10:
                    self.wrong.append((self.heard, number))
                self.heard += 1
                if self.heard % self.every == 0:
                    self._sample()

    def _sample(self) -> None:
        assert self._session is not None
        gc.collect()  # what waits to be collected is not what grows
        sample = Sample(
            at=asyncio.get_running_loop().time(),
            heard=self.heard,
            resident=resident_of(os.getpid()),
            traced=tracemalloc.get_traced_memory()[0],
            files=files_of(os.getpid()),
            tasks=len(asyncio.all_tasks()),
            behind=self._session.unsent_seconds,
        )
        self.samples.append(sample)
        self.look(sample)


N, LOSSES = 80, 20
FEW = 100
"""Bytes for an utterance that may stay: most of them are those of what waits to be sent."""


def held() -> int:
    """Bytes that Python knows of, but for the tests' own, and for audio that is not confirmed yet: of that there is now
    more, now less.
    """
    others = [tracemalloc.Filter(False, name) for name in (tracemalloc.__file__, "*/tests/*")]
    lines = send_buffer._HeldAudio.append.__code__.co_lines()
    audio = [tracemalloc.Filter(False, send_buffer.__file__, line) for _, _, line in lines]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(others + audio).traces)


def grown(soak: Soak) -> int:
    """Run it: how many bytes more it holds after 6 N numbers than after 2 N, when all that is bounded is full."""
    found: list[int] = []
    soak.look = lambda sample: found.append(held()) if sample.heard in (2 * N, 6 * N) else None
    tracemalloc.start()
    try:
        soak.run()
    finally:
        tracemalloc.stop()
    return found[1] - found[0]


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_long_session_loses_and_doubles_nothing_and_memory_stays_flat(manual: bool) -> None:
    soak = Soak(6 * N + 10, LOSSES, manual, every=N // 5)
    assert grown(soak) < 4 * N * FEW
    assert (soak.heard, soak.wrong, soak.lost) == (soak.count, [], LOSSES)
    assert {sample.files for sample in soak.samples} == {soak.samples[0].files}
    assert max(sample.tasks for sample in soak.samples) <= soak.samples[0].tasks + 1
    assert max(sample.traced for sample in soak.samples) < 8 << 20


def test_memory_kept_for_each_utterance_would_be_detected() -> None:
    kept: list[Update] = []
    assert grown(Soak(6 * N + 10, LOSSES, manual=True, every=N // 5, write=kept.append)) > 4 * N * FEW


@pytest.mark.parametrize("manual", [True, False], ids=["manual", "auto"])
def test_audio_of_an_outage_is_buffered_on_disk(manual: bool) -> None:
    before = files_of(os.getpid())
    soak = Soak(400, 2, manual, every=5, outages=[90.0])
    soak.run()
    assert (soak.heard, soak.wrong, soak.lost) == (soak.count, [], 2)
    assert max(sample.behind for sample in soak.samples) > MAX_MEMORY_BYTES / 2 / RATE
    assert files_of(os.getpid()) == before


def test_sockets_of_lost_connections_are_closed(environment: dict[str, str], tmp_path: Path) -> None:
    """Each connection is counted when it has been made: those before it are gone."""
    dice, numbers = random.Random(1), list(range(15))
    recording = write_wav(tmp_path / "numbers.wav", spoken(numbers))
    files: list[int] = []
    threads: list[int] = []

    def counted(script: Script) -> Script:
        def counting(line: Any) -> None:
            files.append(files_of(program.pid))
            threads.append(len(os.listdir(f"/proc/{program.pid}/task")))
            script(line)

        return counting

    scripts = [counted(recognizes(dice.uniform(0.3, 3.0), random_loss(dice))) for _ in range(12)]
    with RealtimeServer(*scripts, counted(recognizes())) as server:
        command = [sys.executable, "-m", "cartesia_cli", "stream-file", str(recording), "--mode", "manual"]
        command += ["--speed", "20", "--base-url", server.base_url]
        program = subprocess.Popen(
            command, env=environment | {"CARTESIA_API_KEY": "sk_car_test"}, cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        said, told = program.communicate(timeout=120)
    assert program.returncode == 0, told
    assert [int(number) for number in said.split()] == numbers
    assert len(files) > 9
    assert max(files) == files[0]
    assert max(threads) <= threads[0] + 1
