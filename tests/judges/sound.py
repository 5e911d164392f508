"""Recordings as a microphone gives them: 100 ms at a time, no faster than they are spoken unless asked to."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Iterator

RATE = 16000
TENTH = 0.1
"""Seconds of audio a chunk, as the documentation recommends."""
SILENCE = bytes(int(2 * RATE * TENTH))


def chunks(file: str) -> list[bytes]:
    """The samples of a WAV file, 16 bit, mono, 16 kHz, cut into tenths of a second; the last may be shorter."""
    with wave.open(file) as sound:
        form = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
        if form != (1, 2, RATE):
            raise SystemExit(f"{file} isn't 16 bit, mono, 16 kHz: {form}")
        return list(iter(lambda: sound.readframes(int(RATE * TENTH)), b""))


class Clock:
    """When the next chunk is due. Time that was lost is not made up for: a server may refuse a rush."""

    def __init__(self, speed: float) -> None:
        """`speed`: 1 is the pace of speech, 2 twice that."""
        self._step = TENTH / speed
        self._due = time.monotonic()

    def wait(self) -> float:
        """Seconds to wait before the next chunk."""
        now = time.monotonic()
        self._due = max(self._due + self._step, now)
        return self._due - now


def spoken(file: str, clock: Clock) -> Iterator[bytes]:
    for chunk in chunks(file):
        yield chunk
        time.sleep(clock.wait())


async def aspoken(file: str, clock: Clock) -> AsyncIterator[bytes]:
    for chunk in chunks(file):
        yield chunk
        await asyncio.sleep(clock.wait())
