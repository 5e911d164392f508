"""The one loop of a realtime session: speak, hear, stop. The only place where these happen at once.

Serves the microphone and the replay of a file alike; they differ in their source. What a session ends
with is decided here:

    audio ends       finalize (manual), close, the last words, the end
    stop asked       the same, without the audio that was still to come
    source fails     the same, and then the source's error
    server fails     its error, after everything that came before it
    server ends      an error: nobody had told it to
    silence          an error: after close, the server said nothing for PATIENCE seconds
    nothing said     a notice: neither side heard a word
    stop, again      Interrupted, at once

Must never know how frames are carried, where audio comes from, or what is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Protocol

from .audio.pcm import RATE, decode_pcm
from .audio.speech import Endpointer, Mark
from .errors import ApiError, CliError, Interrupted, NetworkError
from .protocol import Close, Command, Event, Finalize
from .reducers import AudioClock, Reducer
from .transcript import Notice, Segment, Update

PATIENCE = 15.0
"""Seconds without an event after close: waiting too long costs less than losing the last words."""

ENCODING = "pcm_s16le"
BYTES_A_SECOND = 2 * RATE


class Source(Protocol):
    """Where audio comes from. Cancelled, it closes what it holds open; it never goes faster than real time."""

    def frames(self) -> AsyncGenerator[bytes, None]:
        """Blocks of ENCODING at RATE, of any length."""


class Line(Protocol):
    """A connection to a realtime endpoint, as `client.realtime` makes it."""

    async def send(self, frame: bytes) -> None: ...

    async def command(self, command: Command) -> None: ...

    def __aiter__(self) -> AsyncIterator[Event]: ...


class Witness(Protocol):
    """Is told what happens, when it happens."""

    def sent(self, size: int) -> None:
        """So many bytes of audio went out."""

    def marked(self, mark: Mark) -> None:
        """The endpointer heard something."""

    def finalized(self) -> None:
        """A `finalize` went out."""

    def heard(self, event: Event) -> None:
        """An event came in."""


class Nobody:
    """A witness that lets all pass."""

    def sent(self, size: int) -> None:
        return

    def marked(self, mark: Mark) -> None:
        return

    def finalized(self) -> None:
        return

    def heard(self, event: Event) -> None:
        return


class Stop:
    """How a user says "that's all": once to finish, twice to be gone."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def ask(self) -> None:
        (self.insisted if self.asked.is_set() else self.asked).set()


class Session:
    """One conversation with a realtime endpoint.

    line         the connection
    source       the audio
    reducer      of the line's dialect, on `clock`
    endpointer   hears where utterances end, in everything that is sent
    finalize     whether a `finalize` goes out where it hears an end
    manual       whether the dialect has `finalize` at all: it then goes before `close`
    chunk        bytes of audio in a frame
    write        receives every update, as it settles
    """

    def __init__(
        self,
        line: Line,
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
        patience: float = PATIENCE,
    ) -> None:
        self._line, self._source, self._reducer, self._clock = line, source, reducer, clock
        self._endpointer, self._finalizes, self._manual, self._chunk = endpointer, finalize, manual, chunk
        self._write, self._witness, self._patience = write, witness or Nobody(), patience
        self._held = bytearray()
        self._orders: set[asyncio.Task[None]] = set()
        self._closing = self._text = self._speech = False
        self._news = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Until the end. CliError for every end that is a failure; all updates have been written before it."""
        speak, hear = asyncio.create_task(self._speak()), asyncio.create_task(self._hear())
        asked, insisted = asyncio.create_task(stop.asked.wait()), asyncio.create_task(stop.insisted.wait())
        try:
            await asyncio.wait({speak, hear, asked}, return_when=asyncio.FIRST_COMPLETED)
            await _ended(speak)
            if not hear.done():
                closing = asyncio.create_task(self._close())
                try:
                    await self._last_words(hear, insisted)
                finally:
                    await _ended(closing)
            failure = self._failure(hear) or _error(speak)
        finally:
            for task in (speak, hear, asked, insisted, *self._orders):
                task.cancel()
            self._put(self._reducer.end())
        if failure is not None:
            raise failure
        if not self._text:
            self._write(Notice(self._clock.sent, "nothing_said", "nothing was said"))

    def order(self, command: Command) -> None:
        """Have a command sent at once, behind all audio that is held: nobody's key waits for the next block."""
        if not self._closing:
            task = asyncio.create_task(self._obey(command))
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)

    async def _speak(self) -> None:
        async with aclosing(self._source.frames()) as blocks:  # closed at once, not when it is collected
            async for block in blocks:
                marks = self._listen(block)
                self._held += block
                while len(self._held) >= self._chunk:
                    await self._send(self._chunk)
                if self._finalizes and any(mark.kind == "end" for mark in marks):
                    await self._flush()

    def _listen(self, block: bytes) -> list[Mark]:
        """Where in the audio somebody speaks, for the clock and for whoever wants to know."""
        marks = self._endpointer.feed(decode_pcm(block, ENCODING))
        for mark in marks:
            self._witness.marked(mark)
            match mark.kind:
                case "onset":
                    self._speech = True
                    self._clock.onset(mark.speech)
                case "resume":
                    self._clock.resume()
                case "lull" | "end":
                    self._clock.pause(mark.speech)
        return marks

    async def _send(self, size: int) -> None:
        frame = bytes(self._held[:size])
        del self._held[:size]
        await self._line.send(frame)
        self._clock.sent += len(frame) / BYTES_A_SECOND
        self._witness.sent(len(frame))

    async def _obey(self, command: Command) -> None:
        with suppress(CliError):  # `_hear` tells what is wrong with the connection
            if isinstance(command, Finalize):
                await self._flush()
            else:
                await self._line.command(command)

    async def _flush(self) -> None:
        """Everything that is held, and a `finalize` right behind it."""
        if self._held:
            await self._send(len(self._held))
        self._reducer.finalized()
        self._witness.finalized()
        await self._line.command(Finalize())

    async def _close(self) -> None:
        """The end of what we have to say. A connection that fails here is told by `_hear`, which knows more."""
        self._closing = True
        try:
            if self._manual:
                await self._flush()
            elif self._held:
                await self._send(len(self._held))
            await self._line.command(Close())
        except CliError:
            return

    async def _hear(self) -> None:
        async for event in self._line:
            self._witness.heard(event)
            self._put(self._reducer.feed(event))
            self._news.set()
        if not self._closing:
            raise NetworkError("the server ended the session before the audio did", hint="run the same command again")

    async def _last_words(self, hear: asyncio.Task[None], insisted: asyncio.Task[bool]) -> None:
        """Wait for `hear` to end, as long as something comes now and then."""
        while not hear.done():
            self._news.clear()
            news = asyncio.create_task(self._news.wait())
            done, _ = await asyncio.wait(
                {hear, insisted, news}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED
            )
            news.cancel()
            if insisted in done:
                raise Interrupted
            if not done:
                raise NetworkError(
                    f"the server said nothing for {self._patience:g} s after the end of the audio",
                    hint="the last words may be missing: run the same command again",
                )

    def _failure(self, hear: asyncio.Task[None]) -> BaseException | None:
        """The error that ended `hear`, unless it only says that there was nothing to transcribe.

        A server may answer `close` with an error 400 or 5xx where no audio, or silence, went before it
        (Cartesia's own dictation app takes it so). Where somebody did speak, it stays an error.
        """
        error = _error(hear)
        if isinstance(error, ApiError) and self._closing and not self._text and not self._speech:
            return None
        return error

    def _put(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self._text = self._text or (isinstance(update, Segment) and not update.text.isspace())
            self._write(update)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and see it end. Awaiting it instead would swallow a cancellation of our own."""
    task.cancel()
    await asyncio.wait({task})


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return None if not task.done() or task.cancelled() else task.exception()
