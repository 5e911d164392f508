"""Records from a microphone through PortAudio (sounddevice), as a source for a live session.

    PortAudio's callback ─bytes─► inbox (bounded, drops the oldest) ─► mono ─► 16 kHz ─► blocks()

The callback only copies: it has no time for more before the next block. Failures in mid-session raise no exception:
an unplugged device ends its stream, or its sound server continues with another device; where the server is stuck,
callbacks just stop, and closing the stream may block forever.

Must never block the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import cache
from math import log10
from typing import Any, NamedTuple

import numpy as np

from ..daemon_thread import start_daemon_thread_async
from ..errors import InputError
from . import pulse
from .devices import LIST_HINT, Device, c_stderr_suppressed, load_portaudio, restart_hint
from .input_check import CLIPPED_LEVEL, CLIPPED_SHARE
from .level import SILENCE_DBFS
from .low_latency_resampler import LowLatencyResampler, can_resample
from .pcm import RATE, AudioBlock, Samples, decode_pcm, encode_s16le

BLOCK_SECONDS = 0.02
"""Time between callbacks. Devices then report a latency of two blocks, and each costs 0.3 ms of CPU time."""

INBOX_SECONDS = 30.0
"""Audio that is kept while the session doesn't read."""

SILENCE_TIMEOUT_SECONDS = 2.0
"""Time without a callback after which the device counts as hung; callbacks jitter by 2 ms."""

OPEN_TIMEOUT_SECONDS = 4.0
"""Timeout for opening, and again for the first callback, which takes two seconds, or longer from a wireless headset."""

TIMEOUT_SLICES = 4
"""Parts of a wait, so that a program that was stopped for a while (Ctrl-Z) doesn't blame the device."""

CLOSE_TIMEOUT_SECONDS = 1.0
"""How long we wait for closing, which then continues in its thread."""

MAX_CHANNELS = 2
"""Microphones have one or two; sound servers offer 32, most of them silent."""

FALLBACK_RATES = (48000, 44100, 16000)
"""Hz, tried on a device that refuses its native rate."""

BUSY, BAD_RATE, BAD_CHANNELS = -9985, -9997, -9998
"""PortAudio's errors (portaudio.h, PaErrorCode): device unavailable, invalid sample rate, invalid channel count."""


class _CapturedBlock(NamedTuple):
    """A block from the callback: float32, channels interleaved; whether audio was lost before it; time.monotonic()."""

    data: bytes
    overflow: bool
    captured_at: float


class Microphone:
    """A live source of 16-bit blocks, from a device that is opened once.

    device        to record from
    output_rate   Hz of the blocks
    on_warning    called with a sentence, once for each problem that loses audio but doesn't end the recording

    For meters and statistics:

    started          set at the first block: everything from then on is recorded
    rate, channels   of the open device; 0 before
    latency          seconds, as the device reports it
    captured         when the newest block that was yielded left the device, by time.monotonic()
    overflows        blocks before which the system lost audio
    dropped          blocks that the session read too late
    """

    def __init__(
        self,
        device: Device,
        *,
        output_rate: int = RATE,
        on_warning: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.device, self._output_rate, self._warn_once = device, output_rate, cache(on_warning)
        self.started = asyncio.Event()
        self.rate = self.channels = self.overflows = self.dropped = 0
        self.latency = self.captured = 0.0
        self._inbox: deque[_CapturedBlock] = deque()
        self._max_blocks = round(INBOX_SECONDS / BLOCK_SECONDS)
        self._lock = threading.Lock()  # for opening and closing, which block
        self._closed = self._has_ended = False
        self._loop: asyncio.AbstractEventLoop  # set by `blocks`, as the next one
        self._arrived: asyncio.Event
        self._stream: Any = None
        self._watcher: pulse.SourceWatcher | None = None

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Blocks until cancelled or closed. Raises InputError if the device can't be opened, hangs or is removed.

        Nothing needs flushing at the end of an utterance: the resampler's delay is less than half a millisecond.
        """
        self._loop, self._arrived = asyncio.get_running_loop(), asyncio.Event()
        with c_stderr_suppressed():
            try:
                opening = start_daemon_thread_async(self._open, "microphone open")
                await asyncio.wait({opening}, timeout=OPEN_TIMEOUT_SECONDS)
                if not opening.done():
                    message = f"{self.device.name}: the sound system doesn't respond to opening it"
                    raise InputError(message, hint=restart_hint())
                opening.result()
                resampler = LowLatencyResampler(self.rate, self._output_rate)
                while True:
                    block = await self._next()
                    self.started.set()
                    self.captured = block.captured_at
                    if block.overflow:
                        self.overflows += 1
                        self._warn_once("the sound system lost some audio: this machine is too busy")
                    if self.dropped:
                        self._warn_once(f"audio lost: the session didn't read any for {INBOX_SECONDS:.0f} s")
                    if pcm := encode_s16le(resampler.resample(_mono(block.data, self.channels))):
                        yield AudioBlock(pcm)
            finally:
                await asyncio.wait(
                    {start_daemon_thread_async(self._close, "microphone close")}, timeout=CLOSE_TIMEOUT_SECONDS
                )

    async def _next(self) -> _CapturedBlock:
        """The next captured block. Raises InputError if none will follow."""
        while not self._inbox:
            if self._has_ended:
                raise InputError(
                    f"lost the microphone: {self.device.name} was unplugged, or its sound server exited",
                    hint=f"choose another device: {LIST_HINT}",
                )
            timeout = SILENCE_TIMEOUT_SECONDS if self.started.is_set() else OPEN_TIMEOUT_SECONDS
            if not await _wait_for(self._arrived, timeout):
                raise InputError(
                    f"{self.device.name}: no audio for {timeout:g} s: the sound system hangs", hint=restart_hint()
                )
            self._arrived.clear()  # before looking again, so that a block that arrives in between isn't missed
        return self._inbox.popleft()

    def _open(self) -> None:
        """Open and start the device. Raises InputError if that fails. May block forever."""
        with self._lock:
            if self._closed:
                return
            if self.device.source is not None:
                self._watcher = pulse.SourceWatcher(self.device.source, self._on_end)
            sound, first_error = load_portaudio(), None
            for rate, channels in _configurations(self.device, self._output_rate):
                try:
                    with pulse.source_selected(self.device.source):
                        self._start(sound, rate, channels)
                    return
                except sound.PortAudioError as error:
                    first_error = first_error or error
                    if _error_code(error) == BUSY:
                        break
            raise _open_error(self.device, first_error)

    def _start(self, sound: Any, rate: int, channels: int) -> None:
        stream = sound.RawInputStream(
            samplerate=rate,
            blocksize=round(rate * BLOCK_SECONDS),
            device=self.device.portaudio_index,
            channels=channels,
            dtype="float32",  # 16 bits would be dithered: a muted microphone wouldn't be silent
            latency="low",
            callback=self._on_block,
            finished_callback=self._on_end,
        )
        self.rate, self.channels, self.latency = rate, channels, float(stream.latency)
        try:
            stream.start()
        except BaseException:
            stream.close()
            raise
        self._stream = stream

    def _close(self) -> None:
        """Close what was opened or is being opened. May block forever."""
        self._closed = True
        with self._lock:
            if self._watcher is not None:
                self._watcher.close()
            if self._stream is not None:
                self._stream.abort()
                self._stream.close()

    # What is called in threads of PortAudio and of the watcher.

    def _on_block(self, data: Any, frames: int, when: Any, status: Any) -> None:
        if len(self._inbox) >= self._max_blocks:
            self._inbox.popleft()
            self.dropped += 1
        self._inbox.append(_CapturedBlock(bytes(data), bool(status.input_overflow), time.monotonic()))
        self._wake()

    def _on_end(self) -> None:
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, so the result isn't needed any more
            self._loop.call_soon_threadsafe(self._arrived.set)


@dataclass(frozen=True, slots=True)
class LevelReport:
    """What a microphone delivered.

    seconds         of audio
    peak_dbfs       the loudest sample; SILENCE_DBFS if there is none louder
    rms_dbfs        the mean level; SILENCE_DBFS at least
    clipped_share   share of the samples at full scale, 0 to 1
    is_all_zeros    as from a muted microphone, or without permission
    overflows       how often the system lost audio
    """

    seconds: float
    peak_dbfs: float
    rms_dbfs: float
    clipped_share: float
    is_all_zeros: bool
    overflows: int

    @property
    def is_clipped(self) -> bool:
        return self.clipped_share >= CLIPPED_SHARE


async def record_level(device: Device, seconds: float) -> LevelReport:
    """Record and measure, to find out whether a device hears anything; nothing is kept. Raises InputError if the device
    can't be opened, hangs or is removed.
    """
    microphone, pieces, count = Microphone(device), list[Samples](), 0
    async with aclosing(microphone.blocks()) as blocks:
        async for block in blocks:
            pieces.append(block.samples)
            count += len(block.samples)
            if count >= seconds * RATE:
                break
    samples = np.concatenate(pieces)
    peak, energy, lowest = float(np.abs(samples).max()), float(np.mean(samples**2)), 10 ** (SILENCE_DBFS / 20)
    return LevelReport(
        seconds=count / RATE,
        peak_dbfs=20 * log10(max(peak, lowest)),
        rms_dbfs=10 * log10(max(energy, lowest**2)),
        clipped_share=float(np.mean(np.abs(samples) >= CLIPPED_LEVEL)),
        is_all_zeros=peak == 0.0,
        overflows=microphone.overflows,
    )


def _configurations(device: Device, output_rate: int) -> Iterator[tuple[int, int]]:
    """Rates and channel counts to try, the native ones first."""
    rates = [rate for rate in dict.fromkeys((device.rate, *FALLBACK_RATES)) if can_resample(rate, output_rate)]
    counts = dict.fromkeys((min(device.channels, MAX_CHANNELS), device.channels, 1))
    return ((rate, count) for rate in rates for count in counts)


def _open_error(device: Device, error: Any) -> InputError:
    if _error_code(error) == BUSY:
        hint = f"stop the program that records from it, or choose its sound server instead: {LIST_HINT}"
        return InputError(f"{device.name}: another program is using it", hint=hint)
    if _error_code(error) in (BAD_RATE, BAD_CHANNELS):
        message = f"{device.name}: supports neither its native {device.rate} Hz nor any usual rate"
        return InputError(message, hint=f"choose another device: {LIST_HINT}")
    reason = _reason(error)
    hint = "is it still connected, and may this program use it?"
    return InputError(f"{device.name}: can't be opened: {reason}", hint=f"{hint} {LIST_HINT}")


def _error_code(error: Any) -> int:
    return error.args[1] if error is not None and len(error.args) > 1 else 0


def _reason(error: Any) -> str:
    """The audio system's message (API, number, text), or else PortAudio's (action: reason)."""
    if error is None:
        return "it has no usable rate"
    return error.args[2][2] if len(error.args) > 2 else str(error.args[0]).rpartition(": ")[2]


def _mono(data: bytes, channels: int) -> Samples:
    samples = decode_pcm(data, "pcm_f32le")
    if channels == 1:
        return samples
    mixed: Samples = samples.reshape(-1, channels).mean(axis=1)
    return mixed


async def _wait_for(arrived: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within this many seconds of running time."""
    for _ in range(TIMEOUT_SLICES):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds / TIMEOUT_SLICES):
                return await arrived.wait()
    return arrived.is_set()
