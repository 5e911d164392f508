"""The session loop: each way in which it ends, with a scripted connection and simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest

from cartesia_cli.audio.pcm import RATE, AudioBlock, encode_s16le
from cartesia_cli.audio.vad import Endpointer, VadSettings
from cartesia_cli.commands.backend import ChosenServer
from cartesia_cli.commands.live import session as live_session
from cartesia_cli.commands.live.config import SessionConfig
from cartesia_cli.commands.live.options import StreamOptions
from cartesia_cli.commands.live.session import LiveSession
from cartesia_cli.errors import (
    ApiError,
    AuthError,
    CliError,
    InputError,
    Interrupted,
    NetworkError,
    OutputError,
    ProtocolError,
)
from cartesia_cli.output import Layout
from cartesia_cli.output.console import Reporter
from cartesia_cli.output.live_view import LiveView
from cartesia_cli.protocol.events import Delta, Done, Event, FlushDone, TurnEnd, TurnStart, Unknown
from cartesia_cli.protocol.realtime import MANUAL, Close, Command, Finalize, RealtimeOptions
from cartesia_cli.session import Session
from cartesia_cli.session.interfaces import Skipped, StopSignal
from cartesia_cli.session.loop import QUIET_SECONDS
from cartesia_cli.session.reconnect import ReconnectPolicy
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker
from cartesia_cli.transcript import Notice, Partial, Segment, Update
from tests import speech
from tests.simulated_time import SimulatedTimeLoop

CHUNK = 2 * RATE // 10
SILENCE = bytes(CHUNK)
HOUR = 3600.0


def spoken(text: str) -> list[bytes]:
    """`text` in blocks of 100 ms."""
    data = encode_s16le(speech.say(text))
    return [data[at : at + CHUNK].ljust(CHUNK, b"\0") for at in range(0, len(data), CHUNK)]


class Tape:
    """A source of blocks. `then`: an error to end with; "wait": it never ends."""

    def __init__(self, *blocks: bytes | Skipped, then: Exception | str | None = None) -> None:
        self.recorded, self.then = blocks, then
        self.given, self.closed = 0, False

    async def blocks(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
        try:
            for block in self.recorded:
                await asyncio.sleep(0)
                self.given += 1
                yield block if isinstance(block, Skipped) else AudioBlock(block)
            if isinstance(self.then, Exception):
                raise self.then
            if self.then == "wait":
                await asyncio.Event().wait()
        finally:
            self.closed = True


Said = bytes | Command
Reply = list[Event | Exception | float | None]
Answer = Callable[[Said], Iterable[Event | Exception | float | None]]


class Wire:
    """A connection that answers what `answer` says to each frame; what that raises, sending raises.

    An error in an answer ends it, None ends it well, a number is a wait in seconds.
    """

    request_id = None

    def __init__(self, answer: Answer) -> None:
        self.said: list[Said] = []
        self._answer = answer
        self._events: asyncio.Queue[Event | Exception | float | None] = asyncio.Queue()

    async def send(self, frame: bytes) -> None:
        self._take(frame)

    async def send_command(self, command: Command) -> None:
        self._take(command)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            if isinstance(event, float):
                await asyncio.sleep(event)
            else:
                yield event

    def _take(self, said: Said) -> None:
        self.said.append(said)
        for event in self._answer(said):
            self._events.put_nowait(event)

    @property
    def audio(self) -> bytes:
        return b"".join(said for said in self.said if isinstance(said, bytes))

    @property
    def commands(self) -> list[Command]:
        return [said for said in self.said if not isinstance(said, bytes)]


def good(said: Said) -> Reply:
    match said:
        case Finalize():
            return [Delta(text=" words."), FlushDone()]
        case Close():
            return [Done(), None]
    return []


class Case:
    """A session and all that it wrote."""

    def __init__(
        self, source: Tape, answer: Answer = good, *,
        manual: bool = True, finalize: bool = True, silence_ms: int = 600,
        on_audio: Callable[[Case], object] = lambda case: None,
        on_call: Callable[[Case], Awaitable[object]] = lambda case: asyncio.sleep(0),
    ) -> None:  # fmt: skip
        self.source, self.updates, self.on_audio, self.on_call = source, list[Update](), on_audio, on_call
        self.error: BaseException | None = None
        with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
            runner.run(self._run(answer, manual, finalize, silence_ms))

    async def _run(self, answer: Answer, manual: bool, finalize: bool, silence_ms: int) -> None:
        def answer_and_tell(said: Said) -> Iterable[Event | Exception | float | None]:
            if isinstance(said, bytes):
                self.on_audio(self)
            return answer(said)

        @asynccontextmanager
        async def connect(is_reconnect: bool) -> AsyncIterator[Wire]:
            await self.on_call(self)
            yield self.wire

        self.wire, self.stop = Wire(answer_and_tell), StopSignal()
        session = Session(
            connect, self.source, (ManualTracker if manual else TurnTracker)(SpeechTimeline()),
            Endpointer(VadSettings(silence_ms=silence_ms)),
            sends_finalize=finalize, has_finalize=manual, frame_bytes=CHUNK,
            write=self.write, reconnect_policy=ReconnectPolicy(tries=0), pace=1000.0,
        )  # fmt: skip
        try:
            async with asyncio.timeout(HOUR):  # no test hangs
                await session.run(self.stop)
        except (CliError, ValueError, Interrupted) as error:
            self.error = error
        self.lasted = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    def write(self, update: Update) -> None:
        self.updates.append(update)

    @property
    def texts(self) -> list[str]:
        return [update.text for update in self.updates if isinstance(update, Segment)]


@cache
def voice() -> list[bytes]:
    return spoken("The ferry leaves at seven in the morning.")


def talk() -> list[bytes]:
    return [SILENCE] * 5 + voice() + [SILENCE] * 12


def test_audio_ends() -> None:
    case = Case(Tape(*talk()))
    assert case.error is None
    assert case.wire.audio == b"".join(talk())
    assert case.wire.commands == [Finalize(), Finalize(), Close()]  # at the end of the utterance, and of the audio
    assert case.texts == [" words.", " words."]
    assert case.source.closed


def test_finalize_is_sent_after_all_audio_of_its_utterance() -> None:
    case = Case(Tape(*talk()), silence_ms=300)
    before = case.wire.said.index(Finalize())
    assert all(isinstance(said, bytes) for said in case.wire.said[:before])
    heard = sum(len(said) for said in case.wire.said[:before] if isinstance(said, bytes)) / (2 * RATE)
    end = 0.5 + len(voice()) / 10
    assert end - 0.2 < heard < end + 0.6
    segment = next(update for update in case.updates if isinstance(update, Segment))
    assert segment.start == pytest.approx(0.5, abs=0.3)
    assert segment.end == pytest.approx(end, abs=0.3)
    assert segment.timing == "audio"


def test_blocks_of_any_size_leave_in_frames_of_one_size() -> None:
    case = Case(Tape(*[voice()[3][:500]] * 20, voice()[3][:2]), finalize=False)
    sizes = [len(said) for said in case.wire.said if isinstance(said, bytes)]
    assert sizes == [CHUNK, CHUNK, CHUNK, 20 * 500 + 2 - 3 * CHUNK]


def test_auto_never_says_finalize() -> None:
    def answer(said: Said) -> Reply:
        return [TurnStart(), TurnEnd(transcript="Hey"), None] if isinstance(said, Close) else []

    case = Case(Tape(*talk()), answer, manual=False, finalize=False)
    assert case.wire.commands == [Close()]
    assert (case.error, case.texts) == (None, ["Hey"])


def test_the_server_ends_before_the_audio_does() -> None:
    case = Case(Tape(*talk(), then="wait"), lambda said: [Delta(text="Hel"), Done(), None])
    assert isinstance(case.error, NetworkError)
    assert case.texts[0] == "Hel"
    assert case.source.closed


@pytest.mark.parametrize("error", [ApiError("no"), NetworkError("gone"), AuthError("who?")])
def test_the_server_fails(error: Exception) -> None:
    case = Case(Tape(*talk(), then="wait"), lambda said: [Delta(text="kept"), error])
    assert case.error is error
    assert case.texts == ["kept"]


def test_the_source_fails() -> None:
    error = InputError("unplugged")
    case = Case(Tape(*talk(), then=error))
    assert case.error is error
    assert case.wire.commands[-2:] == [Finalize(), Close()]
    assert case.texts == [" words.", " words."]


def test_stop_is_asked() -> None:
    case = Case(Tape(*talk(), then="wait"), on_audio=lambda case: case.stop.requested.is_set() or case.stop.interrupt())
    assert case.error is None
    assert case.wire.commands == [Finalize(), Close()]
    assert case.source.closed
    assert len(case.wire.audio) < len(b"".join(talk()))


def test_stop_is_asked_twice() -> None:
    def insist(case: Case) -> None:
        case.stop.interrupt()
        case.stop.interrupt()

    case = Case(Tape(*talk(), then="wait"), lambda said: [Delta(text="so far")], on_audio=insist)
    assert isinstance(case.error, Interrupted)
    assert set("".join(case.texts).split("so far")) == {""}


def test_a_server_that_is_silent_after_close_is_not_waited_for_for_ever() -> None:
    case = Case(Tape(*talk()), lambda said: [Delta(text="kept")] if isinstance(said, Finalize) else [])
    assert isinstance(case.error, NetworkError)
    assert "after the end of the audio" in case.error.message
    assert "".join(case.texts) == "keptkept"


@pytest.mark.parametrize("local", [False, True])
def test_only_a_server_of_this_machine_may_be_busy_with_the_last_words(
    local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(said: Said) -> Reply:
        return [240.0, Delta(text=" late"), FlushDone(), Done(), None] if isinstance(said, Close) else []

    @asynccontextmanager
    async def connect(*_: object, ping_timeout: float, **__: object) -> AsyncIterator[Wire]:
        assert (ping_timeout > 60) is local
        yield Wire(answer)

    monkeypatch.setattr(live_session, "connect", connect)
    config = SessionConfig(
        source="talk.wav", endpoint=MANUAL, options=RealtimeOptions(model="ink-2"), model="ink-2",
        endpointing=VadSettings(), finalize=False, stream_options=StreamOptions(reconnect=0), speed=1000.0,
        targets={"json": Path("never.written")}, layout=Layout(),
    )  # fmt: skip
    server, view = ChosenServer("http://127.0.0.1", None, local=local), LiveView(StringIO(), colored=False)
    session = LiveSession(config, server, Reporter(StringIO()), view)
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        running = session.run(lambda recorder: Tape(*talk()))
        if local:
            runner.run(running)
        else:
            with pytest.raises(NetworkError, match="sent nothing for 15 s after the end of the audio"):
                runner.run(running)
    assert session.transcript().text == " late" * local


def test_a_server_that_still_talks_after_close_is_waited_for() -> None:
    def answer(said: Said) -> Reply:
        # Together four times the patience.
        late: Reply = [part for n in range(6) for part in (10.0, Delta(text=f" {n}"))]
        return [*late, Done(), None] if isinstance(said, Close) else []

    case = Case(Tape(*talk()), answer)
    assert case.error is None
    assert "".join(case.texts) == " 0 1 2 3 4 5"


def test_close_waits_while_the_server_settles_text() -> None:
    def answer(said: Said) -> Reply:
        late: Reply = [part for n in range(25) for part in (10.0, Delta(text=f" {n}"), FlushDone())]
        return [*late, Done(), None] if isinstance(said, Close) else []

    case = Case(Tape(*talk()), answer)
    assert case.error is None
    assert "".join(case.texts).split() == [str(n) for n in range(25)]


def settles_for_ever(said: Said) -> Iterator[Event | Exception | float | None]:
    if isinstance(said, Close):
        for _ in range(2000):  # for nearly three hours
            yield from (5.0, Delta(text=" more"), FlushDone())


def test_a_server_that_never_stops_settling_text_after_close_is_left() -> None:
    case = Case(Tape(*talk()), settles_for_ever)
    assert isinstance(case.error, NetworkError)
    assert "hadn't finished" in case.error.message
    assert case.lasted < HOUR
    assert "".join(case.texts).startswith(" more more")  # what was settled is kept


def test_a_server_has_more_time_after_close_for_more_audio() -> None:
    short, long = (Case(Tape(*talk() * count), settles_for_ever, finalize=False) for count in (1, 20))
    assert short.lasted < long.lasted < HOUR


def test_a_server_that_only_chatters_after_close_is_not_waited_for_for_ever() -> None:
    def answer(said: Said) -> Reply:
        preview = Delta(text=" perhaps", is_final=False)
        return [part for _ in range(200) for part in (10.0, preview)] if isinstance(said, Close) else []

    case = Case(Tape(*talk()), answer)
    assert isinstance(case.error, NetworkError)
    assert "sent no final text" in case.error.message
    assert 2 * QUIET_SECONDS < case.lasted < 200 * 10.0


def test_signs_of_life_that_say_nothing_after_close_are_not_waited_for() -> None:
    def answer(said: Said) -> Reply:
        beat = Unknown(type="heartbeat")
        return [part for _ in range(200) for part in (3.0, beat)] if isinstance(said, Close) else []

    case = Case(Tape(*talk()), answer)
    assert isinstance(case.error, NetworkError)
    assert "sent nothing" in case.error.message
    assert case.lasted < 2 * QUIET_SECONDS


@pytest.mark.parametrize("fault", [OutputError("disk full"), ValueError("the auto endpoint has no finalize")])
def test_internal_send_error_ends_the_session_at_once(fault: Exception) -> None:
    def answer(said: Said) -> Reply:
        raise fault

    case = Case(Tape(*talk(), then="wait"), answer)
    assert case.error is fault
    assert case.lasted < QUIET_SECONDS
    assert case.source.closed


def test_last_event_explains_a_lost_connection() -> None:
    reason = ApiError("no credits left", status=402)

    def answer(said: Said) -> Iterator[Event | Exception | float]:
        yield Delta(text="kept")
        yield 0.5
        yield reason
        raise NetworkError("the pipe is broken")

    case = Case(Tape(*talk(), then="wait"), answer)
    assert case.error is reason
    assert case.texts == ["kept"]


@pytest.mark.parametrize("steps", range(8))
def test_stop_is_asked_while_the_connection_opens(steps: int) -> None:
    """In each of the loop's turns around it: there is something to finish, or there is not."""

    async def ask(case: Case) -> None:
        case.stop.interrupt()
        for _ in range(steps):
            await asyncio.sleep(0)

    case = Case(Tape(*talk(), then="wait"), on_call=ask)
    if case.error is None:
        assert case.wire.commands == [Finalize(), Close()]
    else:
        assert isinstance(case.error, Interrupted)
        assert case.wire.said == []
    assert case.lasted < QUIET_SECONDS


def test_nothing_was_said() -> None:
    case = Case(Tape(*[SILENCE] * 20), lambda said: good(said)[1:] if isinstance(said, Finalize) else good(said))
    assert case.error is None
    assert [update.event for update in case.updates if isinstance(update, Notice)] == ["no_speech"]


def test_error_after_close_without_speech_means_no_speech() -> None:
    def answer(said: Said) -> Reply:
        return [ApiError("internal", status=500)] if isinstance(said, Close) else []

    assert Case(Tape(SILENCE), answer).error is None
    assert isinstance(Case(Tape(*talk()), answer).error, ApiError)


@pytest.mark.parametrize("status", [402, 429, None])
def test_refusal_after_close_without_speech_is_not_taken_for_no_speech(status: int | None) -> None:
    def answer(said: Said) -> Reply:
        return [ApiError("too few credits", status=status)] if isinstance(said, Close) else []

    assert isinstance(Case(Tape(SILENCE), answer).error, ApiError)


def test_error_after_close_is_raised_if_speech_was_at_the_end() -> None:
    """What the endpointer has not judged yet, it judges when the audio is over."""

    def answer(said: Said) -> Reply:
        return [ApiError("internal", status=500)] if isinstance(said, Close) else []

    assert isinstance(Case(Tape(*voice()[8:10]), answer).error, ApiError)
    stop = Case(Tape(*voice()[8:10], then="wait"), answer, on_audio=lambda case: case.stop.requested.set())
    assert isinstance(stop.error, ApiError)


def test_error_after_close_is_raised_after_unreadable_text() -> None:
    def answer(said: Said) -> Reply:
        return [Done(), ProtocolError("text that can't be read")] if isinstance(said, Close) else []

    assert isinstance(Case(Tape(SILENCE), answer).error, ProtocolError)


def test_error_after_close_is_raised_after_text() -> None:
    def answer(said: Said) -> Reply:
        return [Delta(text="x"), FlushDone(), ApiError("internal", status=500)] if isinstance(said, Close) else []

    assert isinstance(Case(Tape(SILENCE), answer).error, ApiError)


def test_updates_come_in_order_and_partials_grow() -> None:
    def answer(said: Said) -> Reply:
        return [Delta(text="a")] if isinstance(said, bytes) else good(said)

    case = Case(Tape(*talk()), answer)
    partials = [update.text for update in case.updates if isinstance(update, Partial)]
    assert all(later.startswith(earlier) or later == "a" for earlier, later in pairwise(partials))
    assert "".join(case.texts).count("a") == len(talk()) + 2 * " words.".count("a")


# A source that has nothing to send for a while


PAUSED = [Skipped(0.5)] * 40


def test_nothing_is_sent_while_the_source_is_paused_and_times_go_on() -> None:
    case = Case(Tape(*talk(), *PAUSED, *talk()))
    assert case.error is None
    assert case.wire.audio == b"".join(talk() + talk())
    segments = [update for update in case.updates if isinstance(update, Segment)]
    first, second, _ = segments  # the last one is that of the end
    assert second.start - first.start == pytest.approx(20.0 + len(talk()) / 10, abs=0.01)
    assert first.end < len(talk()) / 10


def test_speech_that_a_pause_cuts_off_keeps_no_connection_open() -> None:
    lines, updates = Lines(5.0, NetworkError("closed with 1001")), list[Update]()

    class Muted(Slow):
        """Pausing a microphone finalizes what was said."""

        async def blocks(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
            is_paused = False
            async for block in super().blocks():
                if isinstance(block, Skipped) and not is_paused:
                    session.send_command(Finalize())
                is_paused = isinstance(block, Skipped)
                yield block

    async def run() -> None:
        await session.run(StopSignal())

    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        session = Session(
            lines.connect, Muted(*talk()[:20], *PAUSED, *talk()), ManualTracker(SpeechTimeline()), Endpointer(),
            sends_finalize=False, has_finalize=True, frame_bytes=CHUNK, write=updates.append,
            reconnect_policy=ReconnectPolicy(tries=0),
        )  # fmt: skip
        runner.run(run())
    assert len(lines.wires) == 2
    assert [update.text for update in updates if isinstance(update, Segment)] == [" words.", " words."]


class Lines:
    """Connections that the server ends after some seconds without a frame: with an error, or None for a clean end."""

    def __init__(self, idle: float, end: Exception | None) -> None:
        self.wires: list[Wire] = []
        self._idle, self._end = idle, end

    @asynccontextmanager
    async def connect(self, again: bool) -> AsyncIterator[Wire]:
        wire = Wire(good)
        self.wires.append(wire)
        watching = asyncio.create_task(self._watch(wire))
        yield wire
        watching.cancel()

    async def _watch(self, wire: Wire) -> None:
        said = -1
        while len(wire.said) > said:
            said = len(wire.said)
            await asyncio.sleep(self._idle)
        wire._events.put_nowait(self._end)


class Slow(Tape):
    """Gives its blocks in real time."""

    async def blocks(self) -> AsyncGenerator[AudioBlock | Skipped, None]:
        async for block in super().blocks():
            await asyncio.sleep(block.seconds if isinstance(block, Skipped) else len(block.pcm) / 2 / RATE)
            yield block


@pytest.mark.parametrize("end", [None, NetworkError("closed with 1001"), ApiError("idle", status=408)])
@pytest.mark.parametrize("talks_again", [True, False])
def test_connection_closed_during_a_pause_is_reopened_by_speech(end: Exception | None, talks_again: bool) -> None:
    lines, updates = Lines(5.0, end), list[Update]()

    async def run() -> None:
        session = Session(
            lines.connect, Slow(*talk(), *PAUSED, *(talk() if talks_again else [])), ManualTracker(SpeechTimeline()),
            Endpointer(), sends_finalize=True, has_finalize=True, frame_bytes=CHUNK, write=updates.append,
            reconnect_policy=ReconnectPolicy(tries=0),
        )  # fmt: skip
        await session.run(StopSignal())

    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        runner.run(run())
    assert len(lines.wires) == (2 if talks_again else 1)
    for wire in lines.wires:  # silence after the answered audio is sent again
        assert wire.audio.endswith(b"".join(talk()))
    assert "".join(update.text for update in updates if isinstance(update, Segment)).strip()
    assert {update.event for update in updates if isinstance(update, Notice)} <= {"reconnected"}
