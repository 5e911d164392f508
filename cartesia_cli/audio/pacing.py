"""A recording at the pace of life: blocks of samples as a source for a live session.

Decoding runs ahead in a thread of its own, so that neither a slow disk nor a pipe that is still being
written holds up the session. Blocks leave at absolute deadlines, start + n * length: waiting "a block long"
after each would drift. Must never be more than one block ahead of real time, nor, after a stall, catch up by
more than CATCH_UP seconds at once: realtime endpoints accept one second of audio a second (docs: stt).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing

import numpy as np

from ..errors import CliError
from .pcm import RATE, Samples, encode_s16le

CATCH_UP = 1.0
AHEAD = 20
"""Blocks that are decoded before they are wanted."""


class Paced:
    """A source for a session.

    blocks     decoded audio at RATE, of any lengths; read once
    seconds    of a block that is sent
    speed      1 is real time
    on_late    told how many seconds after its deadline each block left
    on_gap     told the seconds that were lost when a stall was longer than can be caught up
    """

    def __init__(
        self,
        blocks: Iterable[Samples],
        seconds: float,
        *,
        speed: float = 1.0,
        on_late: Callable[[float], None] = lambda seconds: None,
        on_gap: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._blocks, self._size, self._speed = blocks, max(1, round(seconds * RATE)), speed
        self._on_late, self._on_gap, self._clock, self._sleep = on_late, on_gap, clock, sleep

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Blocks of 16-bit samples; the last may be shorter. Raises what decoding raised, after what came before."""
        interval = self._size / RATE / self._speed
        start, number = None, 0
        async with aclosing(_ahead(_evenly(self._blocks, self._size))) as blocks:
            async for block in blocks:
                now = self._clock()
                start = now if start is None else start
                if (wait := start + number * interval - now) > 0:
                    await self._sleep(wait)
                    now = self._clock()
                late = now - start - number * interval
                if late > CATCH_UP:
                    start += late - CATCH_UP
                    self._on_gap(late - CATCH_UP)
                self._on_late(late)
                number += 1
                yield encode_s16le(block)


def limited(blocks: Iterable[Samples], seconds: float) -> Iterable[Samples]:
    """The first `seconds` of the samples."""
    left = round(seconds * RATE)
    for block in blocks:
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def _evenly(blocks: Iterable[Samples], size: int) -> Iterable[Samples]:
    """The same samples in blocks of `size`; the last has what is left, also where `blocks` ends with an error."""
    held = np.zeros(0, np.float32)
    try:
        for block in blocks:
            held = np.concatenate((held, block)) if len(held) else block
            while len(held) >= size:
                yield held[:size]
                held = held[size:]
    except CliError:
        if len(held):
            yield held
        raise
    if len(held):
        yield held


async def _ahead(blocks: Iterable[Samples]) -> AsyncGenerator[Samples, None]:
    """`blocks` from a thread. It is a daemon: one that is stuck in a read must not keep the program."""
    loop = asyncio.get_running_loop()
    room, queue, over = threading.Semaphore(AHEAD), asyncio.Queue[Samples | BaseException | None](), threading.Event()

    def put(item: Samples | BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, item)
        except RuntimeError:  # the loop is gone, and with it whoever wanted this
            over.set()

    def decode() -> None:
        try:
            for block in blocks:
                room.acquire()
                if over.is_set():
                    return
                put(block)
        except BaseException as error:
            put(error)
        put(None)

    threading.Thread(target=decode, name="decoding", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        over.set()
        room.release()
