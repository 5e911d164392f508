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
from contextlib import aclosing

from .audio.pcm import RATE, decode_pcm
from .audio.speech import Endpointer, Mark
from .confirmation import Confirmation, Entry
from .errors import ApiError, CliError, Interrupted, NetworkError
from .ledger import Ledger
from .lifeline import Lifeline
from .parties import CatchUp, Connect, Line, Nobody, Source, Stop, Witness
from .protocol import Close, Command, Config, Finalize
from .reducers import AudioClock, Reducer
from .transcript import Notice, Segment, Update

PATIENCE = 15.0
"""Seconds without an event after close: waiting too long costs less than losing the last words."""

CATCH_UP = 2.0
"""Seconds of audio a second at most. The documentation allows one and knows no exception (docs: stt, "in real time");
who is behind after a lost connection tries two, and one if that connection is lost as well."""

FAR = 30.0
"""Seconds that nobody has to wait at the end of the audio for a server to hear the rest of it."""

LEAD = 1.0
"""Seconds of audio that may go out at once, however late they are."""

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
        self._lifeline, self._catch_up = lifeline or Lifeline(), catch_up
        self._usual, self._pace, self._due = pace, pace * CATCH_UP, 0.0
        self._ledger: Ledger[Entry] = Ledger(chunk)
        self._confirmation = Confirmation(self._ledger, manual=manual)
        self._config: Config | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._ended = self._closing = self._text = self._speech = self._leaves = False
        self._news = asyncio.Event()

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
                if self._speaking is None:  # nothing was said: there is nothing to finish
                    raise Interrupted
                self._speaking.cancel()
                await asyncio.wait({talk, insisted}, return_when=asyncio.FIRST_COMPLETED)
                if not talk.done():
                    raise Interrupted
            failure = _error(talk) or _error(self._speaking)
        finally:
            asked.cancel()
            insisted.cancel()
            await _ended(talk, self._speaking)
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
                async with self._connect(lost is not None) as line:
                    is_open = True
                    self._speaking = self._speaking or asyncio.create_task(self._speak())
                    if lost is not None:
                        self._replay()
                    lost = await self._converse(line)
            except CliError as error:
                raise error if lost is None or is_open else _not_replaced(lost, error) from None
            if self._leaves and self._catch_up is not None:
                at = self._ledger.confirmed / BYTES_A_SECOND
                segments, words = await self._catch_up(self._ledger.rest(), at)
                self._reducer.forget()
                self._reducer.words += words
                self._put(segments)
                return
            if lost is None:
                return
            pause = self._lifeline.lost(self._ledger.confirmed + self._ledger.sent)
            if pause is None:
                raise lost
            if self.behind > 0:
                self._pace = self._usual  # it was still catching up: perhaps that was why
            self._write(Notice(self._clock.sent, "connection_lost", f"{lost.message}: connecting again"))
            await asyncio.sleep(pause)

    def _replay(self) -> None:
        """Back to what is not confirmed."""
        again, at = self._clock.sent, self._ledger.confirmed / BYTES_A_SECOND
        self._ledger.rewind()
        self._confirmation.rewind()
        self._clock.rewind(at)
        self._reducer.rewind(at)
        self._witness.rewound(at)
        self._closing = False
        seconds = max(0.0, again - at)
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
                    raise NetworkError(
                        f"the server said nothing for {self._patience:g} s after the end of the audio",
                        hint="the last words may be missing: run the same command again",
                    )
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
                    if self._ended and self._catch_up is not None and self.behind > FAR * self._pace:
                        self._leaves = True
                        return self._news.set()
                    await self._keep_pace(len(frame) / BYTES_A_SECOND)
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

    async def _keep_pace(self, seconds: float) -> None:
        """Wait until so much more audio may be sent."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - LEAD) + seconds / self._pace
        if self._due > now:
            await asyncio.sleep(self._due - now)

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
            self._text = self._text or (isinstance(update, Segment) and not update.text.isspace())
            self._write(update)


def _not_replaced(lost: NetworkError, error: CliError) -> CliError:
    """The end of a session whose connection was lost and could not be made again: a matter of the network, still,
    unless the server says that it never will be.
    """
    message = f"{lost.message}, and no other connection could be made: {error.message}"
    if error.status is None or error.status in (408, 429) or error.status >= 500:
        return NetworkError(message, hint=error.hint, status=error.status, request_id=error.request_id)
    error.message = message
    return error


async def _ended(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel tasks and see them end. Awaiting one instead would swallow a cancellation of our own."""
    running = {task for task in tasks if task is not None}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def _error(task: asyncio.Task[None] | None) -> BaseException | None:
    return None if task is None or not task.done() or task.cancelled() else task.exception()
