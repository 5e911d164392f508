"""Pace: absolute deadlines, on a clock that the test moves; nothing here waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli.audio.pacing import CATCH_UP_SECONDS, LimitedSource, RealtimeSource
from cartesia_cli.audio.pcm import RATE, AudioBlock, Samples, decode_pcm
from cartesia_cli.errors import InputError

STEP = 0.1


class Time:
    """A clock that only sleeping, and the test, move. `costs`: seconds that each block takes to be sent."""

    def __init__(self, costs: Iterable[float] = ()) -> None:
        self.now = 100.0
        self.costs = iter(costs)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


def ramp(seconds: float) -> Samples:
    return (np.arange(round(seconds * RATE)) % 1000 / 1000).astype(np.float32)


def played(
    blocks: Iterable[Samples], costs: Iterable[float] = (), speed: float = 1.0
) -> tuple[list[tuple[float, bytes]], list[float], list[float]]:
    """When each block left, since the first; how late each was; which gaps were reported."""
    time, late, gaps = Time(costs), list[float](), list[float]()

    async def play() -> list[tuple[float, bytes]]:
        paced = RealtimeSource(
            blocks, STEP, speed=speed, on_late=late.append, on_gap=gaps.append, clock=time.clock, sleep=time.sleep
        )
        left = []
        async for block in paced.blocks():
            left.append((time.now - 100.0, block.pcm))
            time.now += next(time.costs, 0.0)
        return left

    return asyncio.run(play()), late, gaps


def test_blocks_leave_at_absolute_deadlines_however_slow_sending_is() -> None:
    left, late, gaps = played([ramp(3.0)], costs=[0.03, 0.0, 0.09, 0.02] * 10)
    assert [at for at, _ in left] == pytest.approx([n * STEP for n in range(30)])
    assert max(late) == pytest.approx(0, abs=1e-9)
    assert gaps == []


def test_a_short_stall_is_caught_up_and_a_long_one_moves_the_schedule() -> None:
    left, late, gaps = played([ramp(4.0)], costs=[0.0, 0.55])
    assert [at for at, _ in left][-1] == pytest.approx(3.9)
    assert max(late) == pytest.approx(0.45)
    assert gaps == []
    left, _, gaps = played([ramp(4.0)], costs=[0.0, 5.0])
    assert gaps == pytest.approx([4.9 - CATCH_UP_SECONDS])
    assert [at for at, _ in left][-1] == pytest.approx(3.9 + 4.9 - CATCH_UP_SECONDS)


@given(st.lists(st.floats(0, 3), max_size=40), st.sampled_from([0.5, 1.0, 4.0]))
@settings(max_examples=30)
def test_never_more_than_one_block_ahead_of_real_time(costs: list[float], speed: float) -> None:
    left, _, _ = played([ramp(4.0)], costs, speed)
    sent = 0.0
    for at, block in left:
        sent += len(block) / 2 / RATE
        assert sent <= at * speed + STEP + 1e-6


@given(st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=30)
def test_all_samples_leave_once_and_in_blocks_of_one_size(sizes: list[int]) -> None:
    samples = ramp(sum(sizes) / RATE)
    cuts = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    left, _, _ = played(cuts)
    blocks = [block for _, block in left]
    assert all(len(block) == 2 * RATE // 10 for block in blocks[:-1])
    heard = decode_pcm(b"".join(blocks), "pcm_s16le")
    assert len(heard) == len(samples)
    assert np.allclose(heard, samples, atol=2 / 32768)


def test_decoding_error_is_raised_after_the_audio_before_it() -> None:
    def broken() -> Iterator[Samples]:
        yield ramp(0.25)
        raise InputError("damaged")

    async def play() -> int:
        count, time = 0, Time()
        try:
            async for _ in RealtimeSource(broken(), STEP, clock=time.clock, sleep=time.sleep).blocks():
                count += 1
        except InputError:
            return count
        return -1

    assert asyncio.run(play()) == 3  # the last, partial block is not lost


async def test_closing_early_stops_the_decoder() -> None:
    def endless() -> Iterator[Samples]:
        while True:
            yield ramp(0.1)

    time = Time()
    frames = RealtimeSource(endless(), STEP, clock=time.clock, sleep=time.sleep).blocks()
    async for _ in frames:
        break
    await frames.aclose()
    for thread in threading.enumerate():
        if thread.name == "decoding":
            thread.join(10)
            assert not thread.is_alive()


def test_small_delays_are_reported_when_they_add_up() -> None:
    _, _, gaps = played([ramp(30.0)], costs=[3.0, *[STEP + 0.001] * 299])
    assert gaps == pytest.approx([2.9 - CATCH_UP_SECONDS, 0.1, 0.1], rel=0.02)


class Pipe:
    """Pieces as another program writes them: nothing comes from the pipe until `opened`."""

    def __init__(self, before: Samples, behind: Samples) -> None:
        self.opened = threading.Event()
        self._pieces = before, behind

    def __iter__(self) -> Iterator[Samples]:
        before, behind = self._pieces
        yield before
        assert self.opened.wait(60)
        yield behind


async def test_silence_is_sent_in_real_time_while_a_pipe_pauses() -> None:
    before, behind = ramp(0.25) + 0.001, ramp(0.33) + 0.001
    pipe, time, told, gaps = Pipe(before, behind), Time(), list[float](), list[float]()
    left: list[tuple[float, bytes]] = []
    paced = RealtimeSource(
        pipe, STEP, timeout=0.05, on_silence=lambda: told.append(time.now), on_gap=gaps.append,
        clock=time.clock, sleep=time.sleep,
    )  # fmt: skip
    async for block in paced.blocks():
        left.append((time.now - 100.0, block.pcm))
        if len(left) == 2:
            time.now += 7.0  # as long as the pipe kept us waiting
        if len(left) == 50:
            pipe.opened.set()
    heard = decode_pcm(b"".join(block for _, block in left), "pcm_s16le")
    silence = np.zeros(len(heard) - len(before) - len(behind))
    assert np.allclose(heard, np.concatenate((before, silence, behind)), atol=2 / 32768)
    assert len(silence) >= 47 * STEP * RATE
    assert [at for at, _ in left] == pytest.approx([0.0, STEP, *(STEP + 7.0 + n * STEP for n in range(len(left) - 2))])
    assert all(len(block) == 2 * STEP * RATE for _, block in left[:-1])
    assert (len(told), gaps) == (1, [])


class Blocks:
    """A source of these blocks. `closed`: whether it was left in order."""

    def __init__(self, *blocks: bytes) -> None:
        self.given, self.closed = blocks, False

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        try:
            for block in self.given:
                yield AudioBlock(block)
        finally:
            self.closed = True


@given(st.lists(st.integers(0, 3000).map(lambda n: bytes(2 * n)), max_size=9), st.none() | st.floats(0.01, 1.0))
def test_limit_is_exact_in_samples_and_closes_the_source(blocks: list[bytes], seconds: float | None) -> None:
    source = Blocks(*blocks)

    async def play() -> bytes:
        return b"".join([block.pcm async for block in LimitedSource(source, seconds).blocks()])

    whole = b"".join(blocks)
    assert asyncio.run(play()) == (whole if seconds is None else whole[: 2 * round(seconds * RATE)])
    assert source.closed
