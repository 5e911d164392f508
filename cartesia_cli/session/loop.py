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
    silence          an error: after close, the server said nothing for PATIENCE seconds
    nothing said     a notice: neither side heard a word
    stop, again      Interrupted, at once; as soon as asked where there was no connection yet

Must never know how frames are carried, where audio comes from, or what is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any

from ..audio.pcm import RATE, decode_pcm
from ..audio.speech import Endpointer, Mark
from ..errors import ApiError, CliError, Interrupted, NetworkError
from ..protocol import Close, Command, Config, Finalize
from ..reducers import AudioClock, Reducer
from ..transcript import Notice, Partial, Segment, Update
from .confirmation import Confirmation, Entry
from .ledger import Ledger
from .lifeline import LEAD, Allowance, Lifeline, not_replaced
from .parties import CatchUp, Connect, Line, Nobody, Source, Stop, Witness

PATIENCE = 15.0
"""Seconds without an event after close: waiting too long costs less than losing the last words."""

FAR = 30.0
"""Seconds that nobody has to wait at the end of the audio for a server to hear the rest of it."""

GRACE = 5.0
"""Seconds in which a connection that is lost may still be replaced once somebody wants the end."""

ENCODING = "pcm_s16le"
BYTES_A_SECOND = 2 * RATE


class Session:
    """One conversation with a realtime endpoint, over as many connections as it takes.

    connect      opens a connection
    source       the audio
    reducer      of the dialect, on `clock`
    endpointer   hears where utterances end, in everything that is sent
    finalize     whether a `finalize` goes out where it hears an end
    manual       whether the dialect has `finalize` at all: it then goes before `close`
    chunk        bytes of audio in a frame
    write        receives every update, as it settles
    catch_up     has what is left at the end transcribed at once, where that is more than FAR; None: nobody does
    lifeline     which lost connections are replaced
    pace         seconds of audio a second that are usual
    """

    def __init__(
        self,
        connect: Connect,
        source: Source,
        reducer: Reducer,
        clock: AudioClock,
        endpointer: Endpointer,
        *,
        finalize: bool,
        manual: bool,
        chunk: int,
        write: Callable[[Update], None],
        witness: Witness | None = None,
        lifeline: Lifeline | None = None,
        catch_up: CatchUp | None = None,
        patience: float = PATIENCE,
        pace: float = 1.0,
    ) -> None:
        self._connect, self._source, self._reducer, self._clock = connect, source, reducer, clock
        self._endpointer, self._finalizes, self._manual = endpointer, finalize, manual
        self._write, self._witness, self._patience = write, witness or Nobody(), patience
        self._lifeline, self._allowance, self._catch_up = lifeline or Lifeline(), Allowance(pace), catch_up
        self._ledger: Ledger[Entry] = Ledger(chunk)
        self._confirmation = Confirmation(self._ledger, manual=manual, clock=self._now)
        self._config: Config | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._ended = self._closing = self._text = self._speech = self._leaves = False
        self._haste, self._news = asyncio.Event(), asyncio.Event()
        self._limit: asyncio.Timeout | None = None

    @property
    def behind(self) -> float:
        """Seconds of audio that there are, and that have not been sent."""
        return (self._ledger.written - self._ledger.sent) / BYTES_A_SECOND

    async def run(self, stop: Stop) -> None:
        """Until the end. CliError for every end that is a failure; all updates have been written before it."""
        talk = asyncio.create_task(self._talk())
        asked, insisted = asyncio.create_task(stop.asked.wait()), asyncio.create_task(stop.insisted.wait())
        try:
            await asyncio.wait({talk, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not talk.done():
                if self._speaking is None:  # nothing was said, there is nothing to finish
                    raise Interrupted
                self._speaking.cancel()
                self._hurry()
                await asyncio.wait({talk, insisted}, return_when=asyncio.FIRST_COMPLETED)
                if not talk.done():
                    raise Interrupted
            failure = _error(talk) or _error(self._speaking)
        finally:
            await _ended(talk, self._speaking, asked, insisted)
            self._put(self._reducer.end())
            self._ledger.close()
        if failure is not None:
            raise failure
        if not self._text:
            self._write(Notice(self._clock.sent, "nothing_said", "nothing was said"))

    def order(self, command: Command) -> None:
        """Have a command sent at once, behind all audio that is held: nobody's key waits for the next block."""
        if not self._ended:
            self._ledger.note(command)

    async def _speak(self) -> None:
        """Everything there is to say, into the ledger; to the end, whatever the end is."""
        try:
            async with aclosing(self._source.frames()) as blocks:  # closed at once, not when it is collected
                async for block in blocks:
                    marks = self._endpointer.feed(decode_pcm(block, ENCODING))
                    for mark in marks:
                        self._ledger.note(mark, cuts=False)
                    self._ledger.write(block)
                    self._witness.came(len(block))
                    if self._finalizes and any(mark.kind == "end" for mark in marks):
                        self._ledger.note(Finalize())
        finally:
            self._ended = True
            if self._manual:
                self._ledger.note(Finalize())
            self._ledger.note(Close())

    async def _talk(self) -> None:
        """Over one connection after the other, until all is said and answered."""
        lost: NetworkError | None = None
        while True:
            is_open = False
            try:
                async with AsyncExitStack() as stack:
                    line = await self._reach(stack, lost is not None)
                    is_open = True
                    self._speaking = self._speaking or asyncio.create_task(self._speak())
                    if lost is not None:
                        self._replay()
                    lost = await self._converse(line)
            except CliError as error:
                raise error if lost is None or is_open else not_replaced(lost, error) from None
            if self._leaves and self._catch_up is not None:
                segments, words = await self._catch_up(self._ledger.rest(), self._ledger.confirmed / BYTES_A_SECOND)
                self._reducer.forget()
                self._reducer.words += words
                self._clock.sent = self._ledger.written / BYTES_A_SECOND
                self._put(segments)
                return
            if lost is None:
                return
            pause = self._lifeline.lost(self._ledger.confirmed + self._ledger.sent)
            if pause is None:
                raise lost
            if self.behind > LEAD:
                self._allowance.slow_down()  # it was still catching up: perhaps that was why
            self._write(Notice(self._clock.sent, "connection_lost", f"{lost.message}: connecting again"))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._haste.wait(), pause)

    async def _reach(self, stack: AsyncExitStack, again: bool) -> Line:
        """A connection, for as long as the stack lasts. Whoever is in a hurry doesn't wait for it for long."""
        try:
            async with asyncio.timeout(None) as self._limit:
                if self._haste.is_set():
                    self._hurry()
                return await stack.enter_async_context(self._connect(again))
        except TimeoutError:
            raise NetworkError(f"none within {GRACE:g} s", hint="run the same command again") from None
        finally:
            self._limit = None

    def _hurry(self) -> None:
        """Somebody wants the end: the server may take its time for the last words, but it has to be there."""
        self._haste.set()
        if self._limit is not None:
            self._limit.reschedule(self._now() + GRACE)
            told = f"no connection: {GRACE:g} s more for another one; Ctrl-C again ends at once"
            self._write(Notice(self._clock.sent, "hurry", told))

    def _replay(self) -> None:
        """Back to what is not confirmed."""
        at = self._ledger.confirmed / BYTES_A_SECOND
        seconds = max(0.0, self._clock.sent - at)
        self._ledger.rewind()
        self._confirmation.rewind()
        self._clock.rewind(at)
        self._reducer.rewind(at)
        self._witness.rewound(at)
        self._closing = False
        self._write(Notice(at, "reconnected", f"connected again: {seconds:.1f} s of audio are sent again"))

    async def _converse(self, line: Line) -> NetworkError | None:
        """Until the end; the error of a link that was lost before."""
        pump, hear = asyncio.create_task(self._pump(line)), asyncio.create_task(self._hear(line))
        try:
            while not hear.done() and not self._leaves:
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                patience = self._patience if self._closing else None
                done, _ = await asyncio.wait({hear, news}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if not done:
                    told = f"the server said nothing for {self._patience:g} s after the end of the audio"
                    raise NetworkError(told, hint="the last words may be missing: run the same command again")
        finally:
            await _ended(pump, hear)
        if self._leaves:
            return None
        fault, error = _error(pump), _error(hear)
        if fault is not None and not isinstance(fault, CliError):  # of the connection, `hear` knows more
            raise fault
        if error is None and not self._closing:
            raise NetworkError("the server ended the session before the audio did", hint="run the same command again")
        if isinstance(error, NetworkError):
            return error
        if error is not None and not self._is_excused(error):
            raise error
        return None

    async def _pump(self, line: Line) -> None:
        """Say what the ledger holds, as it comes, and no faster than the endpoint takes it."""
        if self._config is not None:
            await line.command(self._config)
        while not self._closing:
            match self._ledger.take():
                case None:
                    await self._ledger.news.wait()
                case bytes() as frame:
                    if self._ended and self._catch_up is not None and self.behind > FAR * self._allowance.pace:
                        self._leaves = True
                        return self._news.set()
                    if (wait := self._allowance.wait(self._now(), len(frame) / BYTES_A_SECOND)) > 0:
                        await asyncio.sleep(wait)
                    await line.send(frame)
                    self._clock.sent = self._ledger.sent / BYTES_A_SECOND
                    self._witness.sent(len(frame))
                    self._confirmation.sent()
                case Mark() as mark:
                    self._confirmation.said(mark)
                    self._listen(mark)
                case command:
                    self._confirmation.said(command)
                    if isinstance(command, Finalize):
                        self._reducer.finalized()
                        self._witness.finalized()
                    elif isinstance(command, Config):
                        self._config = command
                    self._closing = isinstance(command, Close)
                    await line.command(command)
                    self._news.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _listen(self, mark: Mark) -> None:
        """Where in the audio somebody speaks, for the clock and for whoever wants to know."""
        self._witness.marked(mark)
        match mark.kind:
            case "onset":
                self._speech = True
                self._clock.onset(mark.speech)
            case "resume":
                self._clock.resume()
            case "lull" | "end":
                self._clock.pause(mark.speech)

    async def _hear(self, line: Line) -> None:
        async for event in line:
            self._witness.heard(event)
            self._put(self._reducer.feed(event))
            self._confirmation.feed(event)
            self._news.set()

    def _is_excused(self, error: BaseException) -> bool:
        """Whether an error only says that there was nothing to transcribe.

        A server may answer `close` with an error 400 or 5xx where no audio, or silence, went before it
        (Cartesia's own dictation app takes it so). Where somebody did speak, it stays an error.
        """
        return isinstance(error, ApiError) and self._closing and not self._text and not self._speech

    def _put(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self._text = self._text or (isinstance(update, Partial | Segment) and bool(update.text.strip()))
            self._write(update)


async def _ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and see them end. Awaiting one instead would swallow a cancellation of our own."""
    running = {task for task in tasks if task is not None}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def _error(task: asyncio.Task[None] | None) -> BaseException | None:
    return None if task is None or not task.done() or task.cancelled() else task.exception()
