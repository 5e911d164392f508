"""A realtime server in simulated time that recognizes numbers, ends turns after a chosen silence, and responds late.

It recognizes tones (`tests.tones`) in the audio that arrives, so its text shows what was sent, how often, and where it
was cut. Only events are late: they arrive in order. Connections may be lost after some time.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from cartesia_cli.audio.pcm import RATE, AudioBlock
from cartesia_cli.audio.vad import Endpointer, VadSettings
from cartesia_cli.errors import CliError, NetworkError
from cartesia_cli.protocol.events import Connected, Delta, Done, Event, FlushDone, TurnEnd, TurnStart, TurnUpdate
from cartesia_cli.protocol.realtime import Close, Command, Finalize
from cartesia_cli.session import Session
from cartesia_cli.transcript import Segment, Update
from tests.simulated_time import SimulatedTimeLoop
from tests.tones import Recognizer

CHUNK = 2 * RATE // 10

Lateness = Callable[[], float]


class LateConnection:
    """One connection. `life`: seconds of time until it is lost, None forever."""

    def __init__(self, *, manual: bool, silence: float, lateness: Lateness, life: float | None, updates: bool) -> None:
        self._manual, self._silence, self._lateness, self._updates = manual, silence, lateness, updates
        self._recognizer, self._sent, self._in_turn, self._last = Recognizer(), 0, False, 0.0
        self._events: asyncio.Queue[Event | CliError | None] = asyncio.Queue()
        self._under_way: deque[Event | None] = deque()
        self._loop = asyncio.get_running_loop()
        self._is_lost = False
        self.audio = 0
        if life is not None:
            self._loop.call_later(life, self._lose)

    async def send(self, frame: bytes) -> None:
        self._check()
        self.audio += len(frame)
        for at in range(0, len(frame), 640):
            self._recognizer.feed(frame[at : at + 640])
            self._hear()

    async def send_command(self, command: Command) -> None:
        self._check()
        match command:
            case Finalize():
                if self._recognizer.heard[self._sent :]:
                    self._say(Delta(text=self._text()))
                    self._sent = len(self._recognizer.heard)
                self._say(FlushDone())
            case Close():
                if self._in_turn:
                    self._end_turn()
                if self._manual:
                    self._say(Done())
                self._say(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        if not self._manual:
            yield Connected(request_id="x")
        while (event := await self._events.get()) is not None:
            if isinstance(event, CliError):
                raise event
            yield event

    def _hear(self) -> None:
        if self._manual:
            if self._updates and len(self._recognizer.heard) > self._sent:
                self._say(Delta(text=self._text()))
                self._sent = len(self._recognizer.heard)
            return
        if self._recognizer.within and not self._in_turn:
            self._in_turn = True
            self._say(TurnStart())
        if self._in_turn and len(self._recognizer.heard) > self._sent:
            if self._recognizer.quiet >= self._silence:
                self._end_turn()
            elif self._updates and self._recognizer.quiet < 0.03:
                self._say(TurnUpdate(transcript=self._text()))

    def _end_turn(self) -> None:
        self._say(TurnEnd(transcript=self._text()))
        self._sent, self._in_turn = len(self._recognizer.heard), False

    def _text(self) -> str:
        """As a model writes it: only the first text of a connection begins without a space."""
        text = "".join(f" {number}" for number in self._recognizer.heard[self._sent :])
        return text if self._sent else text[1:]

    def _say(self, event: Event | None) -> None:
        self._last = max(self._last, self._loop.time() + self._lateness())
        self._under_way.append(event)
        self._loop.call_at(self._last, self._arrive)

    def _arrive(self) -> None:
        event = self._under_way.popleft()
        if not self._is_lost:
            self._events.put_nowait(event)

    def _lose(self) -> None:
        self._is_lost = True
        self._events.put_nowait(NetworkError("lost"))

    def _check(self) -> None:
        if self._is_lost:
            raise NetworkError("lost")


class RealtimeAudio:
    """Audio in real time, in blocks of 20 ms; `speed` times that."""

    def __init__(self, audio: bytes, speed: float = 1.0) -> None:
        self._audio, self._speed = audio, speed

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        for at in range(0, len(self._audio), 640):
            yield AudioBlock(self._audio[at : at + 640])
            await asyncio.sleep(max(0.0, began + (at + 640) / 2 / RATE / self._speed - loop.time()))


MakeSession = Callable[..., Session]


class LateSession:
    """A whole session against such servers, as fast as the work of it goes, and what came of it.

    lives   seconds that each connection lasts; those after them last forever, or `last` seconds
    """

    def __init__(
        self, audio: bytes, make: MakeSession, stop: Callable[[], object], *, manual: bool, silence: float,
        lateness: Lateness, lives: list[float], last: float | None = None, updates: bool = True, speed: float = 1.0,
        outage: float = 0.05,
    ) -> None:  # fmt: skip
        self.connections: list[LateConnection] = []
        self.updates: list[Update] = []
        self.error: CliError | None = None
        self.lasted = 0.0

        @asynccontextmanager
        async def connect(is_reconnect: bool) -> AsyncIterator[LateConnection]:
            await asyncio.sleep(outage)
            number = len(self.connections)
            life = lives[number] if number < len(lives) else last
            self.connections.append(
                LateConnection(manual=manual, silence=silence, lateness=lateness, life=life, updates=updates)
            )
            yield self.connections[-1]

        async def run() -> None:
            session = make(
                connect, RealtimeAudio(audio, speed), Endpointer(VadSettings()), manual=manual, chunk=CHUNK,
                write=self.updates.append, pace=speed,
            )  # fmt: skip
            try:
                async with asyncio.timeout(100_000):
                    await session.run(stop())
            except CliError as error:
                self.error = error
            self.lasted = asyncio.get_running_loop().time()

        with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
            runner.run(run())

    @property
    def segments(self) -> list[Segment]:
        return [update for update in self.updates if isinstance(update, Segment)]

    @property
    def heard(self) -> list[int]:
        return [int(number) for segment in self.segments for number in segment.text.split()]

    @property
    def sent(self) -> float:
        """Seconds of audio, over all connections."""
        return sum(connection.audio for connection in self.connections) / 2 / RATE


def random_lifetimes(dice: random.Random, count: int, mean: float) -> list[float]:
    return [dice.uniform(0.2, 2 * mean) for _ in range(count)]


def delays(dice: random.Random, kind: float | str) -> Lateness:
    """A number of seconds, or "random": 0 to 3 s."""
    return (lambda: dice.uniform(0.0, 3.0)) if kind == "random" else lambda: float(kind)
