"""Runs a live session across reconnects, and decides its outcome.

    source ─ _read_source ─► endpointer ─► send buffer ─ _send_loop ─► connection
    updates ◄─ tracker ◄─ dispatcher ◄─────────────── _receive_loop ◄──────┘

Microphone and file replay differ only in their source. Reading the source, the send loop and the receive loop run as
concurrent tasks; no other module of `session` starts one. What a lost connection did not acknowledge stays in the
send buffer, and is sent again over the next one. How a session ends:

    audio ends         `finalize` (manual mode), `close`, and everything that the server still has to say
    ends while paused  nothing more, if everything is answered and the idle connection was lost meanwhile
    stop requested     the same, without the audio that was still to come
    source fails       the same, and then the source's error
    server fails       its error, after everything that came before it
    server ends early  an error, since `close` was not sent
    connection lost    a new one, which is sent what was not acknowledged; an error if that doesn't help
    server is silent   an error: after `close`, no event of a known type for QUIET_SECONDS (of a server on this machine:
                       as long as it is alive), or nothing settled for UNSETTLED_SECONDS
    never finishes     an error: more text for UNSETTLED_SECONDS after `close`, plus SLOWEST_SERVER_FACTOR times the
                       length of the audio that had no answer then
    settings refused   a notice; the session continues with its previous settings
    no speech          a notice
    second signal      Interrupted at once; the first one does the same if no connection has been opened yet

Knows nothing about transport, audio devices or display.
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
from ..errors import ApiError, AuthError, CliError, Interrupted, NetworkError, ProtocolError, SettingsRefused
from ..protocol.events import Error, Unknown
from ..protocol.realtime import Close, Command, Config, Finalize
from ..tracker import Tracker
from ..transcript import Update
from .dispatcher import EventDispatcher
from .interfaces import Connect, Connection, SessionObserver, Skipped, Source, StopSignal, TranscribeRest
from .reconnect import BURST_SECONDS, WORKING_SECONDS, RateLimiter, ReconnectPolicy, reconnect_failed
from .send_buffer import SendBuffer
from .sent_configs import SentConfigs

QUIET_SECONDS = 15.0
"""Seconds without an event of a known type after `close`: waiting too long costs less than losing the last words. Not
for a server on this machine, which may only have too little of its time: whether it is alive, its pongs say.
"""

UNSETTLED_SECONDS = 300.0
"""Seconds after `close` in which nothing is settled, whatever else the server sends: it may have a large backlog."""

SLOWEST_SERVER_FACTOR = 10.0
"""Seconds of processing per second of audio, of the slowest server that is tolerated."""

MAX_REST_SECONDS = 30.0
"""If sending the rest of the audio at the end would take longer, `transcribe_rest` gets it instead."""

GRACE_SECONDS = 5.0
"""How long to keep trying to reconnect after a stop was requested."""

CONNECTION_ERRORS = NetworkError, ApiError, AuthError
"""Errors that mean that the connection ended; sending and receiving raise the same ones."""


class Phase(Enum):
    """The progress of a session."""

    STREAMING = "the source gives audio"
    SOURCE_ENDED = "no more audio will come"
    CLOSING = "`close` was sent on this connection"
    TRANSCRIBING_REST = "the rest of the audio is transcribed by `transcribe_rest`"


class Session:
    """A session with a realtime endpoint, across reconnects.

    connect            opens a connection
    source             the audio
    tracker            of the endpoint
    endpointer         detects where utterances end in the audio
    sends_finalize     whether a `finalize` is sent where it detects an end
    has_finalize       whether the endpoint has `finalize` at all: it is then sent before `close`
    frame_bytes        of audio in a message
    rate               samples per second, from the source and to the connection
    write              receives every update
    observer           learns what happens
    transcribe_rest    transcribes what is left at the end, if sending it takes longer than MAX_REST_SECONDS; or None
    reconnect_policy   which lost connections are replaced
    pace               speed of the source, as a multiple of real time
    quiet_seconds      how long the server may say nothing after `close`

    phase              how far the session is
    """

    def __init__(
        self,
        connect: Connect,
        source: Source,
        tracker: Tracker,
        endpointer: Endpointer,
        *,
        sends_finalize: bool,
        has_finalize: bool,
        frame_bytes: int,
        write: Callable[[Update], None],
        observer: SessionObserver | None = None,
        reconnect_policy: ReconnectPolicy | None = None,
        transcribe_rest: TranscribeRest | None = None,
        pace: float = 1.0,
        quiet_seconds: float = QUIET_SECONDS,
        rate: int = RATE,
    ) -> None:
        self._quiet_seconds = quiet_seconds
        self._connect, self._source, self._endpointer = connect, source, endpointer
        self._sends_finalize, self._has_finalize = sends_finalize, has_finalize
        self._reconnect_policy = reconnect_policy or ReconnectPolicy()
        self._limiter, self._transcribe_rest = RateLimiter(pace), transcribe_rest
        self._observer = observer or SessionObserver()
        self._buffer = SendBuffer(
            frame_bytes,
            rate=rate,
            on_warning=lambda message: self._dispatcher.notify("buffer_full", message),
        )
        self._dispatcher = EventDispatcher(self._buffer, tracker, now=self._now, write=write, observer=self._observer)
        self.phase = Phase.STREAMING
        self._is_paused = False  # the source is paused
        self._configs = SentConfigs()
        self._reading: asyncio.Task[None] | None = None  # of the source
        self._stopping = asyncio.Event()  # a stop was requested: cut waits short
        self._opened_at = 0.0  # when this connection was opened
        self._connect_timeout: asyncio.Timeout | None = None
        self._close_timeout: asyncio.Timeout
        self._closed_at = 0.0
        self._deadline = math.inf  # of this connection, once `close` was sent

    @property
    def unsent_seconds(self) -> float:
        """Seconds of audio received from the source and still to be sent over the current connection."""
        return self._buffer.seconds(self._buffer.written - self._buffer.sent)

    @property
    def is_idle(self) -> bool:
        """Whether the source is paused, with nothing to send or to wait for: no connection is needed meanwhile."""
        return self._is_paused and self.phase is Phase.STREAMING and self._dispatcher.may_be_idle

    async def run(self, stop: StopSignal) -> None:
        """Run to the end. Raises CliError if the session failed, Interrupted if the user forced it to stop. All updates
        are written before.
        """
        running, is_complete = asyncio.create_task(self._run()), False
        requested, forced = asyncio.create_task(stop.requested.wait()), asyncio.create_task(stop.forced.wait())
        try:
            await asyncio.wait({running, requested}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                if self._reading is not None:
                    self._reading.cancel()
                elif stop.interrupts:  # no audio was taken, so there is nothing to finish
                    raise Interrupted
                self._finish()  # the cancelled task may not have started
                self._shorten_connect()
                await asyncio.wait({running, forced}, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    raise Interrupted
            failure = _error(running) or _error(self._reading)
            is_complete = failure is None
        finally:
            await _cancel(running, self._reading, requested, forced)
            self._buffer.close()
            self._dispatcher.settle_open(complete=is_complete)
        if failure is not None:
            raise failure
        if not self._dispatcher.has_text:
            self._dispatcher.notify("no_speech", "no speech found")

    @property
    def settings(self) -> Config:
        """The changes of settings that were requested and not refused, as one."""
        return self._configs.requested

    def send_command(self, command: Command) -> bool:
        """Queue a command after all audio read so far. Returns False if the session is ending: it is not sent then."""
        if self.phase is not Phase.STREAMING:
            return False
        if isinstance(command, Config):
            self._configs.request(command)
        self._buffer.add_marker(command)
        return True

    async def _read_source(self) -> None:
        """Put all audio into the send buffer, with markers where speech starts, pauses, resumes or ends."""
        try:
            async with aclosing(self._source.blocks()) as blocks:  # closed at once, not when it is collected
                async for block in blocks:
                    if isinstance(block, Skipped) != self._is_paused:
                        self._is_paused = not self._is_paused
                        self._split_speech_at_pause()
                    if isinstance(block, Skipped):
                        self._dispatcher.audio_skipped(block.seconds)
                        continue
                    events = self._endpointer.process(block.samples)
                    self._add_vad_markers(events)
                    self._buffer.write(block)
                    self._observer.audio_arrived(len(block.pcm))
                    if self._sends_finalize and any(event.kind == "end" for event in events):
                        self._buffer.add_marker(Finalize())
        finally:
            self._finish()

    def _split_speech_at_pause(self) -> None:
        """Mark the end of speech where the source pauses, even if the endpointer detects none, and its start where the
        source resumes.
        """
        if self._endpointer.in_speech:
            at = self._endpointer.processed_seconds
            self._add_vad_markers([VadEvent("pause" if self._is_paused else "resume", at, at)])

    def _add_vad_markers(self, events: Iterable[VadEvent]) -> None:
        for event in events:
            self._buffer.add_marker(event, cuts=False)

    def _finish(self) -> None:
        """No more audio will come. The second call does nothing."""
        if self.phase is Phase.STREAMING:
            self.phase = Phase.SOURCE_ENDED
            self._add_vad_markers(self._endpointer.finish())
            if self._has_finalize:
                self._buffer.add_marker(Finalize())
            self._buffer.add_marker(Close())

    async def _run(self) -> None:
        """Open connections until everything is sent and answered."""
        lost: NetworkError | None = None
        was_idle = False
        while True:
            lost = await self._open_and_run(lost, was_idle=was_idle)
            was_idle = lost is not None and self.is_idle
            if (lost := await self._reason_to_reconnect(lost, was_idle=was_idle)) is None:
                return

    async def _open_and_run(self, lost: NetworkError | None, *, was_idle: bool) -> NetworkError | None:
        """Open a connection and run it to its end (see `_run_connection`).

        lost       why it is needed; None for the first one
        was_idle   whether the session was idle when the last one was lost
        """
        async with AsyncExitStack() as stack:
            try:
                connection = await self._connect_once(stack, lost is not None)
            except CliError as error:
                if lost is None:
                    raise
                raise reconnect_failed(lost, error) from None
            self._opened_at = self._now()
            if self._reading is None and self.phase is Phase.STREAMING:
                self._reading = asyncio.create_task(self._read_source())
            if lost is not None:
                self._limiter.restart(self._opened_at)
                self._dispatcher.rewind(was_idle=was_idle)
                self.phase = Phase.SOURCE_ENDED if self.phase is Phase.CLOSING else self.phase
            return await self._run_connection(connection)

    async def _reason_to_reconnect(self, lost: NetworkError | None, *, was_idle: bool) -> NetworkError | None:
        """Wait until another connection is due after one has ended. Returns why it is needed; None if the session is
        over. Raises `lost` if it is not to be replaced.

        lost   why it was lost; None if it ended as it should
        """
        if self.phase is Phase.TRANSCRIBING_REST and self._transcribe_rest is not None:
            return await self._run_transcribe_rest(self._transcribe_rest)
        if lost is None:
            is_over = self._dispatcher.confirm_end()
            return None if is_over else NetworkError("the server didn't answer all of the resent audio")
        if was_idle:
            await self._wait_for_audio()
            is_over = self.phase is Phase.SOURCE_ENDED and self._dispatcher.may_be_idle
            return None if is_over else lost
        if not self._dispatcher.needs_new_connection:  # otherwise it was given up here, and may be replaced at once
            await self._wait_to_reconnect(lost)
        return lost

    async def _run_transcribe_rest(self, transcribe_rest: TranscribeRest) -> NetworkError | None:
        """Have `transcribe_rest` transcribe the rest. If it fails, the session continues: slower, but complete. Returns
        its error then.
        """
        offset = self._dispatcher.resume_offset
        try:
            rest = await transcribe_rest(self._buffer.unacknowledged(offset), self._buffer.seconds(offset))
        except CliError as error:
            self._transcribe_rest, self.phase = None, Phase.SOURCE_ENDED
            self._dispatcher.notify("catch_up_failed", f"{error.message}: continuing in real time")
            return NetworkError(error.message, hint=error.hint)
        self._dispatcher.replace_rest(rest)
        return None

    async def _wait_for_audio(self) -> None:
        """Wait until there is something to send. No connection is needed meanwhile."""
        while not self._buffer.has_more:
            self._buffer.changed.clear()
            await self._buffer.changed.wait()

    async def _wait_to_reconnect(self, lost: NetworkError) -> None:
        """Wait as long as the policy says after a connection was lost. Raises its error if it is not to be replaced."""
        progress = self._dispatcher.resume_offset + self._buffer.sent  # any number that grows with both
        worked = self._dispatcher.has_received_event or self._now() - self._opened_at >= WORKING_SECONDS
        delay = self._reconnect_policy.next_delay(progress, worked=worked)
        if delay is None:
            raise lost
        if self.unsent_seconds > BURST_SECONDS:
            self._limiter.slow_down()  # lost while sending a backlog: the pace may be too high for this server
        self._dispatcher.notify("connection_lost", f"{lost.message}: reconnecting")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    async def _connect_once(self, stack: AsyncExitStack, is_reconnect: bool) -> Connection:
        """Open a connection that lasts as long as `stack`. Once a stop was requested, it has GRACE_SECONDS.

        is_reconnect   whether an earlier connection was lost
        """
        try:
            async with asyncio.timeout(None) as self._connect_timeout:
                if self._stopping.is_set():
                    self._shorten_connect()
                return await stack.enter_async_context(self._connect(is_reconnect))
        except TimeoutError:
            raise NetworkError(f"gave up after {GRACE_SECONDS:g} s", hint="run the same command again") from None
        finally:
            self._connect_timeout = None

    def _shorten_connect(self) -> None:
        """Limit the current attempt to connect, and later ones, to GRACE_SECONDS."""
        self._stopping.set()
        if self._connect_timeout is not None:
            self._connect_timeout.reschedule(self._now() + GRACE_SECONDS)
            if self._reading is not None:  # otherwise a command ended the session while the first one was being opened
                message = f"no connection: {GRACE_SECONDS:g} s left to reconnect; Ctrl-C again ends at once"
                self._dispatcher.notify("reconnect_deadline", message)

    async def _run_connection(self, connection: Connection) -> NetworkError | None:
        """Send and receive until a connection ends. Returns the error of a connection that was lost, such as an idle
        one that the server closed; None if it ended as it should, or the rest is to be transcribed without it. Raises
        every other error.
        """
        sending = asyncio.create_task(self._send_loop(connection))
        receiving = asyncio.create_task(self._receive_loop(connection))
        try:
            async with asyncio.timeout(None) as self._close_timeout:
                await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
                send_error = _error(sending)
                if self.phase is not Phase.TRANSCRIBING_REST and (
                    send_error is None or isinstance(send_error, CONNECTION_ERRORS)
                ):
                    await asyncio.wait({receiving})  # its error says more about why the connection ended
        except TimeoutError:
            raise self._close_timeout_error() from None
        finally:
            await _cancel(sending, receiving)
        error = _error(receiving)
        for internal in (send_error, error):
            if internal is not None and not isinstance(internal, CONNECTION_ERRORS):
                raise internal
        if self.phase is Phase.TRANSCRIBING_REST:
            return None
        if isinstance(error, SettingsRefused):
            self._report_refused_config(error.message)
        if self.is_idle and isinstance(error, ApiError | None):
            return NetworkError("the server closed an idle connection")
        if error is None and self.phase is not Phase.CLOSING:
            raise NetworkError("the server ended the session early", hint="run the same command again")
        if isinstance(error, NetworkError):
            return error
        if error is not None and not self._means_nothing_to_transcribe(error):
            raise error
        return None

    async def _send_loop(self, connection: Connection) -> None:
        """Send what is in the buffer as it comes, no faster than `_limiter` allows, up to `close`."""
        for config in self._configs.in_effect():
            await connection.send_command(config)
        while self.phase is not Phase.CLOSING:
            match self._buffer.next_item():
                case None:
                    await self._buffer.changed.wait()
                case bytes() as frame:
                    is_far_behind = self.unsent_seconds > MAX_REST_SECONDS * self._limiter.pace
                    if is_far_behind and self.phase is Phase.SOURCE_ENDED and self._transcribe_rest is not None:
                        self.phase = Phase.TRANSCRIBING_REST
                        return
                    if (wait := self._limiter.wait(self._now(), self._buffer.seconds(len(frame)))) > 0:
                        await asyncio.sleep(wait)
                    await connection.send(frame)
                    self._dispatcher.audio_sent(frame)
                case marker:
                    self._dispatcher.marker_reached(marker)
                    if isinstance(marker, VadEvent):
                        continue
                    if isinstance(marker, Config):
                        if self._configs.was_sent(marker):  # over a lost connection: it was sent first on this one
                            continue
                        self._configs.sent(marker, self._now())
                    elif isinstance(marker, Close):
                        self._begin_closing()
                    await connection.send_command(marker)

    async def _receive_loop(self, connection: Connection) -> None:
        """Dispatch events until the connection ends."""
        async for event in connection:
            if isinstance(event, Error):  # the refusal of a `config`: the connection raises other errors
                self._report_refused_config(event.message or "")
                continue
            self._dispatcher.event_received(event)
            if self._dispatcher.needs_new_connection:
                raise NetworkError("the resent audio doesn't match what was transcribed before")
            if not isinstance(event, Unknown):  # the server is alive, but this doesn't bring any text nearer
                self._reschedule_close_timeout()

    def _report_refused_config(self, reason: str) -> None:
        """The server refused a `config`: nothing has changed there, and later connections don't get it."""
        self._configs.refused()
        message = "the server refused a change of settings, and the session continues with the previous ones"
        self._dispatcher.notify("config_refused", f"{message}: {reason}")

    def _begin_closing(self) -> None:
        self.phase = Phase.CLOSING
        self._closed_at = self._now()
        self._deadline = (
            self._closed_at + UNSETTLED_SECONDS + SLOWEST_SERVER_FACTOR * self._dispatcher.unanswered_seconds
        )
        self._reschedule_close_timeout()

    def _reschedule_close_timeout(self) -> None:
        """After `close`, the server has some seconds to send something, and UNSETTLED_SECONDS to settle something."""
        if self.phase is Phase.CLOSING and not self._close_timeout.expired():
            settling = self._dispatcher.settled_at + UNSETTLED_SECONDS
            self._close_timeout.reschedule(min(self._now() + self._quiet_seconds, settling, self._deadline))

    def _close_timeout_error(self) -> NetworkError:
        what = f"sent nothing for {self._quiet_seconds:g} s"
        if self._now() >= self._deadline:
            what = f"hadn't finished {self._now() - self._closed_at:.0f} s"
        elif self._now() >= self._dispatcher.settled_at + UNSETTLED_SECONDS:
            what = f"sent no final text for {UNSETTLED_SECONDS:g} s"
        hint = "the last words may be missing: run the same command again"
        return NetworkError(f"the server {what} after the end of the audio", hint=hint)

    def _means_nothing_to_transcribe(self, error: BaseException) -> bool:
        """Whether an error only says that there was nothing to transcribe.

        A server may answer `close` with an error 400 or 5xx if no audio, or only silence, came before it
        (Cartesia's own dictation app treats it so). If there was speech it stays an error, and so do other refusals,
        such as too few credits, and a malformed response.
        """
        if not isinstance(error, ApiError) or isinstance(error, ProtocolError) or error.status is None:
            return False
        was_heard = self._dispatcher.has_text or self._dispatcher.has_speech
        return (error.status == 400 or error.status >= 500) and self.phase is Phase.CLOSING and not was_heard

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended. Awaiting a task itself would swallow our own cancellation."""
    running = {task for task in tasks if task is not None}
    for task in running:
        task.cancel()
    await asyncio.wait(running)


def _error(task: asyncio.Task[None] | None) -> BaseException | None:
    return None if task is None or not task.done() or task.cancelled() else task.exception()
