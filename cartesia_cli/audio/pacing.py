"""Replays decoded audio in real time, as a source for a live session; and limits the length of any source.

Decoding runs ahead in its own thread, so that neither a slow disk nor a pipe that is still being written holds up the
session. Blocks are due at absolute times, start + n * length: waiting for the length of a block after each would drift.
Where the input pauses, silence is sent in its place, because a server disconnects a client that sends nothing for 15 s,
and turns end by silence (API docs: stt/troubleshooting).

Must never be more than one block ahead of real time, nor catch up by more than CATCH_UP_SECONDS at once after a stall:
realtime endpoints accept one second of audio per second (API docs: stt).
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, closing
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np

from .pcm import RATE, AudioBlock, Samples, encode_s16le
from .wav_writer import AudioSource

CATCH_UP_SECONDS = 1.0
"""Audio that may be sent faster than real time after a stall; the schedule is delayed by the rest."""

PREFETCHED_PIECES = 20
"""Decoded pieces that may wait to be sent."""

SILENCE_AFTER_SECONDS = 5.0
"""Seconds without input after which silence is sent: a third of what servers tolerate."""

MIN_REPORTED_SECONDS = 0.1
"""Delay of the schedule that is reported at once; smaller ones, as by a slow sound card clock, when they add up."""


@dataclass(frozen=True, slots=True)
class RealtimeSource:
    """A source that yields decoded audio in real time.

    pieces       decoded audio at `rate`, of any lengths; read once
    seconds      length of a block that is yielded
    rate         Hz
    speed        1 is real time
    timeout      seconds to wait for input before silence is sent instead, until there is input again
    on_late      called for each block with the seconds between its deadline and now
    on_gap       called with the seconds by which the schedule was delayed, after a stall too long to catch up
    on_silence   called whenever silence begins to be sent
    """

    pieces: Iterable[Samples]
    seconds: float
    _: KW_ONLY
    rate: int = RATE
    speed: float = 1.0
    timeout: float = SILENCE_AFTER_SECONDS
    on_late: Callable[[float], None] = lambda seconds: None
    on_gap: Callable[[float], None] = lambda seconds: None
    on_silence: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Blocks of 16-bit samples; the last may be shorter. Raises what decoding raised, after the audio before it."""
        size = max(1, round(self.seconds * self.rate))
        interval = size / self.rate / self.speed
        start, number, lost, is_silent = None, 0, 0.0, False
        with closing(_Prefetcher(self.pieces, size)) as blocks:
            while True:
                block = await blocks.take(0.0 if is_silent else self.timeout)
                now = self.clock()
                if block is None and not is_silent:
                    start = now - number * interval  # a pause of the input is not caught up
                    self.on_silence()
                is_silent = block is None
                block = blocks.take_padded() if block is None else block
                if not len(block):
                    return
                start = now if start is None else start
                if (wait := start + number * interval - now) > 0:
                    await self.sleep(wait)
                    now = self.clock()
                late = now - start - number * interval
                if late > CATCH_UP_SECONDS:
                    start += late - CATCH_UP_SECONDS
                    lost += late - CATCH_UP_SECONDS
                if lost >= MIN_REPORTED_SECONDS:
                    self.on_gap(lost)
                    lost = 0.0
                self.on_late(late)
                number += 1
                yield AudioBlock(encode_s16le(block))


class LimitedSource:
    """A source of 16-bit samples that ends after a given number of seconds; None: with the source."""

    def __init__(self, source: AudioSource, seconds: float | None, rate: int = RATE) -> None:
        self._source, self._left = source, sys.maxsize if seconds is None else 2 * round(seconds * rate)

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        async with aclosing(self._source.blocks()) as blocks:
            async for block in blocks:
                yield block if len(block.pcm) <= self._left else replace(block, pcm=block.pcm[: self._left])
                self._left -= len(block.pcm)
                if self._left <= 0:
                    return


class _Prefetcher:
    """Decodes in a thread and yields blocks of `size` samples. Must be created and used in a running event loop.

    The thread is a daemon, so that one that is stuck in a read doesn't keep the program from ending.
    """

    def __init__(self, pieces: Iterable[Samples], size: int) -> None:
        self._size, self._pending = size, np.zeros(0, np.float32)
        self._ended = False
        self._error: BaseException | None = None
        self._free_slots, self._closed = threading.Semaphore(PREFETCHED_PIECES), threading.Event()
        self._queue = asyncio.Queue[Samples | BaseException | None]()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._decode, args=(pieces,), name="decoding", daemon=True).start()

    async def take(self, seconds: float) -> Samples | None:
        """The next block; the last one is shorter, and those after it are empty. None if it isn't complete within
        `seconds`; its part is kept. Raises what decoding raised, after the audio before it.
        """
        try:
            async with asyncio.timeout(seconds):
                while len(self._pending) < self._size and not self._ended:
                    self._append(await self._queue.get())
        except TimeoutError:
            return None
        if self._error is not None and not len(self._pending):
            raise self._error
        return self._cut()

    def take_padded(self) -> Samples:
        """The part of a block that is there, filled up with silence."""
        self._pending = np.pad(self._pending, (0, self._size - len(self._pending)))
        return self._cut()

    def close(self) -> None:
        self._closed.set()
        self._free_slots.release()

    def _append(self, item: Samples | BaseException | None) -> None:
        if isinstance(item, np.ndarray):
            self._free_slots.release()
            self._pending = np.concatenate((self._pending, item))
        else:
            self._ended, self._error = True, item

    def _cut(self) -> Samples:
        block, self._pending = self._pending[: self._size], self._pending[self._size :]
        return block

    def _decode(self, pieces: Iterable[Samples]) -> None:
        end: BaseException | None = None
        try:
            for piece in pieces:
                self._free_slots.acquire()
                if self._closed.is_set():
                    return
                self._put(piece)
        except BaseException as error:
            end = error
        self._put(end)

    def _put(self, item: Samples | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop is closed, so the result isn't needed any more
            self._closed.set()
