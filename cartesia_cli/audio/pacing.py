"""A recording at the pace of life: blocks of samples as a source for a live session, and a limit for any source.

Decoding runs ahead in a thread of its own, so that neither a slow disk nor a pipe that is still being
written holds up the session. Blocks leave at absolute deadlines, start + n * length: waiting "a block long"
after each would drift. Where nothing comes for a while, silence leaves in its place: a server hangs up on who is
quiet for 15 s, and turns end by silence (docs: stt/troubleshooting). Must never be more than one block ahead of
real time, nor, after a stall, catch up by more than CATCH_UP seconds at once: realtime endpoints accept one
second of audio a second (docs: stt).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, closing

import numpy as np

from .pcm import RATE, Samples, encode_s16le
from .wav_writer import AudioSource

CATCH_UP_SECONDS = 1.0
PREFETCHED_PIECES = 20
"""Pieces that are decoded before they are wanted."""

SILENCE_AFTER_SECONDS = 5.0
"""Seconds without a block after which silence is sent: a third of what servers bear."""

MIN_REPORTED_SECONDS = 0.1
"""Seconds that a schedule was put off by; less, as by a sound card whose clock is slow, is told when it adds up."""


class RealtimeSource:
    """A source for a session.

    blocks       decoded audio at `rate`, of any lengths; read once
    seconds      of a block that is sent
    rate         Hz
    speed        1 is real time
    timeout      seconds that are waited for a block before silence is sent instead, until there is sound again
    on_late      told how many seconds after its deadline each block left
    on_gap       told the seconds that were lost when a stall was longer than can be caught up
    on_silence   called whenever silence begins to be sent
    """

    def __init__(
        self,
        blocks: Iterable[Samples],
        seconds: float,
        *,
        rate: int = RATE,
        speed: float = 1.0,
        timeout: float = SILENCE_AFTER_SECONDS,
        on_late: Callable[[float], None] = lambda seconds: None,
        on_gap: Callable[[float], None] = lambda seconds: None,
        on_silence: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._blocks, self._size, self._speed, self._timeout = blocks, max(1, round(seconds * rate)), speed, timeout
        self._rate = rate
        self._on_late, self._on_gap, self._on_silence = on_late, on_gap, on_silence
        self._clock, self._sleep = clock, sleep

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Blocks of 16-bit samples; the last may be shorter. Raises what decoding raised, after what came before."""
        interval = self._size / self._rate / self._speed
        start, number, lost, silent = None, 0, 0.0, False
        with closing(_Prefetcher(self._blocks, self._size)) as blocks:
            while True:
                block = await blocks.take(0.0 if silent else self._timeout)
                now = self._clock()
                if block is None and not silent:
                    start = now - number * interval  # nobody makes up for what never came
                    self._on_silence()
                silent = block is None
                block = blocks.take_padded() if block is None else block
                if not len(block):
                    return
                start = now if start is None else start
                if (wait := start + number * interval - now) > 0:
                    await self._sleep(wait)
                    now = self._clock()
                late = now - start - number * interval
                if late > CATCH_UP_SECONDS:
                    start += late - CATCH_UP_SECONDS
                    lost += late - CATCH_UP_SECONDS
                if lost >= MIN_REPORTED_SECONDS:
                    self._on_gap(lost)
                    lost = 0.0
                self._on_late(late)
                number += 1
                yield encode_s16le(block)


class LimitedSource:
    """A source that ends after so many seconds of 16-bit samples."""

    def __init__(self, source: AudioSource, seconds: float, rate: int = RATE) -> None:
        self._source, self._left = source, 2 * round(seconds * rate)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._source.frames()) as blocks:
            async for block in blocks:
                yield block[: self._left]
                self._left -= len(block)
                if self._left <= 0:
                    return


def limit_source(source: AudioSource, seconds: float | None, rate: int = RATE) -> AudioSource:
    """A source with a limit, if there is one."""
    return source if seconds is None else LimitedSource(source, seconds, rate)


class _Prefetcher:
    """Pieces from a thread, in blocks of `size`. It is a daemon: one that is stuck in a read must not keep the program.

    To be made, and used, where a loop runs.
    """

    def __init__(self, pieces: Iterable[Samples], size: int) -> None:
        self._size, self._held = size, np.zeros(0, np.float32)
        self._ended = False
        self._error: BaseException | None = None
        self._free_slots, self._closed = threading.Semaphore(PREFETCHED_PIECES), threading.Event()
        self._queue = asyncio.Queue[Samples | BaseException | None]()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._decode, args=(pieces,), name="decoding", daemon=True).start()

    async def take(self, seconds: float) -> Samples | None:
        """The next block; the last one is shorter, and behind it they are empty. None where there is none within so
        many seconds: what came of it is held. Raises what decoding raised, after what came before.
        """
        try:
            async with asyncio.timeout(seconds):
                while len(self._held) < self._size and not self._ended:
                    self._append(await self._queue.get())
        except TimeoutError:
            return None
        if self._error is not None and not len(self._held):
            raise self._error
        return self._cut()

    def take_padded(self) -> Samples:
        """What is held of a block, and silence behind it."""
        self._held = np.pad(self._held, (0, self._size - len(self._held)))
        return self._cut()

    def close(self) -> None:
        self._closed.set()
        self._free_slots.release()

    def _append(self, item: Samples | BaseException | None) -> None:
        if isinstance(item, np.ndarray):
            self._free_slots.release()
            self._held = np.concatenate((self._held, item))
        else:
            self._ended, self._error = True, item

    def _cut(self) -> Samples:
        block, self._held = self._held[: self._size], self._held[self._size :]
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
        except RuntimeError:  # the loop is gone, and with it whoever wanted this
            self._closed.set()
