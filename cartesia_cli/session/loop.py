"""The one loop of a realtime session: speak, hear, stop. The only place where these happen at once.

Serves the microphone and the replay of a file alike; they differ in their source. What is said goes into a ledger
and from there to the connection, so that a lost connection is replaced by another one that is told what the first
one did not confirm. What a session ends with is decided here:

    audio ends       finalize (manual), close, the last words, the end
    stop asked       the same, without the audio that was still to come
    source fails     the same, and then the source's error
    server fails     its error, after everything that came before it
    server ends      an error: nobody had told it to
    link lost        another one, and what was not confirmed again; an error when that is no use
    silence          an error: after close, no event for PATIENCE seconds, or none that settles text for CHATTER
    no end           an error: text after close for CHATTER, and SLOWEST a second of audio that was not answered
    nothing said     a notice: neither side heard a word
    stop, again      Interrupted, at once; as soon as asked where there was no connection yet

Must never know how frames are carried, where audio comes from, or what is shown.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, aclosing, suppress
from enum import Enum
from typing import Any

from ..audio.pcm import RATE
from ..audio.vad import Endpointer, VadEvent
from ..errors import ApiError, AuthError, CliError, Interrupted, NetworkError, ProtocolError
from ..protocol import Close, Command, Config, Finalize, Unknown
from ..tracker import SpeechTimeline, Tracker
from ..transcript import Update
from .dispatcher import EventDispatcher, Marker
from .interfaces import CatchUp, Connect, Connection, NullObserver, SessionObserver, Skipped, Source, StopSignal
from .reconnect import LEAD_SECONDS, WORKING_SECONDS, RateLimiter, ReconnectPolicy, reconnect_failed
from .send_buffer import SendBuffer

QUIET_SECONDS = 15.0
"""Seconds without an event after close: waiting too long costs less than losing the last words."""

UNSETTLED_SECONDS = 300.0
"""Seconds after close in which nothing is settled, whatever else the server says: much audio may be on its mind."""

SLOWEST_SERVER = 10.0
"""Seconds that the slowest server takes for a second of audio."""

CATCH_UP_SECONDS = 30.0
"""Seconds that nobody has to wait at the end of the audio for a server to hear the rest of it."""

GRACE_SECONDS = 5.0
"""Seconds in which a connection that is lost may still be replaced once somebody wants the end."""

CONNECTION_ERRORS = NetworkError, ApiError, AuthError
"""How a connection ends, for whoever sends, too."""


class Phase(Enum):
    """How far a session is."""

    STREAMING = "audio comes"
    SOURCE_ENDED = "no more of it will come"
    CLOSING = "and this connection was told so"
    HANDOFF = "what is left of it goes another way"


class Session:
    """One conversation with a realtime endpoint, over as many connections as it takes.

    connect      opens a connection
    source       the audio
    tracker      of the dialect, on `timeline`
    endpointer   hears where utterances end, in everything that is sent
    finalize     whether a `finalize` goes out where it hears an end
    manual       whether the dialect has `finalize` at all: it then goes before `close`
    chunk        bytes of audio in a frame
    rate         samples a second, from the source and to the connection
    write        receives every update, as it settles
    catch_up     has what is left at the end transcribed at once, where that is more than FAR; None: nobody does
    reconnect_policy   which lost connections are replaced
    pace         seconds of audio a second that are usual
    phase        for whoever shows it
    """

    def __init__(
        self,
        connect: Connect,
        source: Source,
        tracker: Tracker,
        timeline: SpeechTimeline,
        endpointer: Endpointer,
        *,
        finalize: bool,
        manual: bool,
        chunk: int,
        write: Callable[[Update], None],
        observer: SessionObserver | None = None,
        reconnect_policy: ReconnectPolicy | None = None,
        catch_up: CatchUp | None = None,
        pace: float = 1.0,
        rate: int = RATE,
    ) -> None:
        self._connect, self._source, self._endpointer = connect, source, endpointer
        self._finalizes, self._manual = finalize, manual
        self._reconnect_policy, self._limiter, self._catch_up = (
            reconnect_policy or ReconnectPolicy(),
            RateLimiter(pace),
            catch_up,
        )
        self._buffer: SendBuffer[Marker] = SendBuffer(
            chunk, rate=rate, on_trouble=lambda told: self._progress.notify("no_room", told)
        )
        self._observer = observer or NullObserver()
        self._progress = EventDispatcher(
            self._buffer, tracker, timeline, now=self._now, write=write, observer=self._observer
        )
        self._closed = 0.0
        self._deadline = math.inf  # of this connection, once it was told that no more audio comes
        self._is_paused = False  # the source has nothing to send for now
        self._config: Config | None = None
        self._speaking: asyncio.Task[None] | None = None
        self.phase = Phase.STREAMING
        self._haste = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._quiet: asyncio.Timeout

    @property
    def behind(self) -> float:
        """Seconds of audio that there are, and that have not been sent."""
        return self._buffer.seconds(self._buffer.written - self._buffer.sent)

    @property
    def is_idle(self) -> bool:
        """Whether the source is paused, with nothing to send or to wait for: no connection is needed meanwhile."""
        return self._is_paused and self.phase is Phase.STREAMING and self._progress.is_settled

    async def run(self, stop: StopSignal) -> None:
        """Until the end. CliError for every end that is a failure; all updates have been written before it."""
        reporter, is_complete = asyncio.create_task(self._run()), False
        asked, insisted = asyncio.create_task(stop.asked.wait()), asyncio.create_task(stop.insisted.wait())
        try:
            await asyncio.wait({reporter, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not reporter.done():
                if self._speaking is None:  # nothing was said, there is nothing to finish
                    raise Interrupted
                self._speaking.cancel()
                self._finish()  # it may not even have begun
                self._shorten_connect()
                await asyncio.wait({reporter, insisted}, return_when=asyncio.FIRST_COMPLETED)
                if not reporter.done():
                    raise Interrupted
            failure = _error(reporter) or _error(self._speaking)
            is_complete = failure is None
        finally:
            await _cancel(reporter, self._speaking, asked, insisted)
            self._buffer.close()
            self._progress.end(complete=is_complete)
        if failure is not None:
            raise failure
        if not self._progress.text:
            self._progress.notify("nothing_said", "nothing was said")

    def send_command(self, command: Command) -> None:
        """Have a command sent at once, behind all audio that is held: nobody's key waits for the next block."""
        if self.phase is Phase.STREAMING:
            self._buffer.add_marker(command)

    async def _read_source(self) -> None:
        """Everything there is to say, into the ledger; to the end, whatever the end is."""
        try:
            async with aclosing(self._source.frames()) as blocks:  # closed at once, not when it is collected
                async for block in blocks:
                    if isinstance(block, Skipped) != self._is_paused:
                        self._is_paused = not self._is_paused
                        self._divide_speech()
                    if isinstance(block, Skipped):
                        self._progress.audio_skipped(block.seconds)
                        continue
                    marks = self._endpointer.process(block.samples)
                    self._add_vad_markers(marks)
                    self._buffer.write(block)
                    self._observer.audio_arrived(len(block.pcm))
                    if self._finalizes and any(mark.kind == "end" for mark in marks):
                        self._buffer.add_marker(Finalize())
        finally:
            self._finish()

    def _divide_speech(self) -> None:
        """Speech stops where the source pauses, whatever the endpointer makes of it, and begins where it goes on."""
        if self._endpointer.in_speech:
            at = self._endpointer.processed_seconds
            self._add_vad_markers([VadEvent("pause" if self._is_paused else "resume", at, at)])

    def _add_vad_markers(self, marks: Iterable[VadEvent]) -> None:
        for mark in marks:
            self._buffer.add_marker(mark, cuts=False)

    def _finish(self) -> None:
        """No more audio will come. Nothing happens the second time."""
        if self.phase is Phase.STREAMING:
            self.phase = Phase.SOURCE_ENDED
            self._add_vad_markers(self._endpointer.finish())
            if self._manual:
                self._buffer.add_marker(Finalize())
            self._buffer.add_marker(Close())

    async def _run(self) -> None:
        """Over one connection after the other, until all is said and answered."""
        lost: NetworkError | None = None
        opened, was_idle = 0.0, False
        while True:
            is_open = False
            try:
                async with AsyncExitStack() as stack:
                    line = await self._connect_once(stack, lost is not None)
                    is_open, opened = True, self._now()
                    self._speaking = self._speaking or asyncio.create_task(self._read_source())
                    if lost is not None:
                        self._limiter.restart(opened)
                        self._progress.rewind(is_resumed=was_idle)
                        self.phase = Phase.SOURCE_ENDED if self.phase is Phase.CLOSING else self.phase
                    lost = await self._run_connection(line)
            except CliError as error:
                raise error if lost is None or is_open else reconnect_failed(lost, error) from None
            if self.phase is Phase.HANDOFF and self._catch_up is not None:
                place = self._progress.resume_position
                try:
                    rest = await self._catch_up(self._buffer.unacknowledged(place), self._buffer.seconds(place))
                    return self._progress.replace_rest(rest)
                except CliError as error:  # slower, but all of it
                    lost = NetworkError(error.message, hint=error.hint)
                    self._catch_up, self.phase = None, Phase.SOURCE_ENDED
                    self._progress.notify("catch_up_failed", f"{error.message}: the rest goes on in real time")
                    continue
            was_idle = lost is not None and self.is_idle
            if was_idle:
                while not self._buffer.has_more:  # nobody needs a connection until there is something to send
                    self._buffer.changed.clear()
                    await self._buffer.changed.wait()
                if self.phase is Phase.SOURCE_ENDED and self._progress.is_settled:
                    return
                continue
            if lost is None and self._progress.check_end():
                return
            if lost is None or self._progress.starts_over:
                lost = lost or NetworkError("some audio that was sent again had no answer")
                continue
            reached = self._progress.resume_position + self._buffer.sent
            worked = self._progress.answered or self._now() - opened >= WORKING_SECONDS
            pause = self._reconnect_policy.next_delay(reached, worked=worked)
            if pause is None:
                raise lost
            if self.behind > LEAD_SECONDS:
                self._limiter.slow_down()  # it was still catching up: perhaps that was why
            self._progress.notify("connection_lost", f"{lost.message}: connecting again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._haste.wait(), pause)

    async def _connect_once(self, stack: AsyncExitStack, again: bool) -> Connection:
        """A connection, for as long as the stack lasts. Whoever is in a hurry doesn't wait for it for long."""
        try:
            async with asyncio.timeout(None) as self._limit:
                if self._haste.is_set():
                    self._shorten_connect()
                return await stack.enter_async_context(self._connect(again))
        except TimeoutError:
            raise NetworkError(f"none within {GRACE_SECONDS:g} s", hint="run the same command again") from None
        finally:
            self._limit = None

    def _shorten_connect(self) -> None:
        """Somebody wants the end: the server may take its time for the last words, but it has to be there."""
        self._haste.set()
        if self._limit is not None:
            self._limit.reschedule(self._now() + GRACE_SECONDS)
            told = f"no connection: {GRACE_SECONDS:g} s more for another one; Ctrl-C again ends at once"
            self._progress.notify("hurry", told)

    async def _run_connection(self, line: Connection) -> NetworkError | None:
        """Until the end; the error of a link that was lost before."""
        pump, hear = asyncio.create_task(self._send_loop(line)), asyncio.create_task(self._receive_loop(line))
        try:
            async with asyncio.timeout(None) as self._quiet:
                await asyncio.wait({pump, hear}, return_when=asyncio.FIRST_COMPLETED)
                fault = _error(pump)
                if self.phase is not Phase.HANDOFF and (fault is None or isinstance(fault, CONNECTION_ERRORS)):
                    await asyncio.wait({hear})  # which knows more of the end of a link
        except TimeoutError:
            told = f"said nothing for {QUIET_SECONDS:g} s"
            if self._now() >= self._deadline:
                told = f"was still not done {self._now() - self._closed:.0f} s"
            elif self._now() >= self._progress.settled + UNSETTLED_SECONDS:
                told = f"settled nothing for {UNSETTLED_SECONDS:g} s"
            hint = "the last words may be missing: run the same command again"
            raise NetworkError(f"the server {told} after the end of the audio", hint=hint) from None
        finally:
            await _cancel(pump, hear)
        error = _error(hear)
        for ours in (fault, error):
            if ours is not None and not isinstance(ours, CONNECTION_ERRORS):
                raise ours
        if self.phase is Phase.HANDOFF:
            return None
        if self.is_idle and isinstance(error, ApiError | None):
            return NetworkError("the server ended a connection on which nothing was sent")
        if error is None and self.phase is not Phase.CLOSING:
            raise NetworkError("the server ended the session before the audio did", hint="run the same command again")
        if isinstance(error, NetworkError):
            return error
        if error is not None and not self._is_excused(error):
            raise error
        return None

    async def _send_loop(self, line: Connection) -> None:
        """Say what the ledger holds, as it comes, and no faster than the endpoint takes it."""
        if self._config is not None:
            await line.command(self._config)
        while self.phase is not Phase.CLOSING:
            match self._buffer.next_item():
                case None:
                    await self._buffer.changed.wait()
                case bytes() as frame:
                    is_far = self.behind > CATCH_UP_SECONDS * self._limiter.pace
                    if is_far and self.phase is Phase.SOURCE_ENDED and self._catch_up is not None:
                        self.phase = Phase.HANDOFF
                        return
                    if (wait := self._limiter.wait(self._now(), self._buffer.seconds(len(frame)))) > 0:
                        await asyncio.sleep(wait)
                    await line.send(frame)
                    self._progress.audio_sent(frame)
                case entry:
                    self._progress.marker_reached(entry)
                    if isinstance(entry, VadEvent):
                        continue
                    if isinstance(entry, Config):
                        self._config = entry
                    elif isinstance(entry, Close):
                        self.phase = Phase.CLOSING
                        self._closed = self._now()
                        self._deadline = self._closed + UNSETTLED_SECONDS + SLOWEST_SERVER * self._progress.unanswered
                        self._extend_deadline()
                    await line.command(entry)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _receive_loop(self, line: Connection) -> None:
        async for event in line:
            self._progress.dispatch(event)
            if self._progress.starts_over:
                raise NetworkError("audio that was sent again had been heard only in part")
            if not isinstance(event, Unknown):  # a sign of life that settles nothing is none
                self._extend_deadline()

    def _extend_deadline(self) -> None:
        """After close, the server has so long to say something, and so long to settle anything."""
        if self.phase is Phase.CLOSING and not self._quiet.expired():
            settling = self._progress.settled + UNSETTLED_SECONDS
            self._quiet.reschedule(min(self._now() + QUIET_SECONDS, settling, self._deadline))

    def _is_excused(self, error: BaseException) -> bool:
        """Whether an error only says that there was nothing to transcribe.

        A server may answer `close` with an error 400 or 5xx where no audio, or silence, went before it
        (Cartesia's own dictation app takes it so). Where somebody did speak, it stays an error, and so does an answer
        that can't be read.
        """
        is_answer = isinstance(error, ApiError) and not isinstance(error, ProtocolError)
        return is_answer and self.phase is Phase.CLOSING and not self._progress.text and not self._progress.speech


async def _cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """And see them end. Awaiting one instead would swallow a cancellation of our own."""
    running = {task for task in tasks if task is not None}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def _error(task: asyncio.Task[None] | None) -> BaseException | None:
    return None if task is None or not task.done() or task.cancelled() else task.exception()
