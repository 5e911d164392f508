"""An open microphone as a source for a session. With `devices`, the only room that knows sounddevice.

    PortAudio's callback ─bytes─► inbox (bounded, drops the oldest) ─► mono ─► 16 kHz ─► frames()

The callback copies and hands over, nothing else: it is late for the next block before Python has done more. What goes
wrong in mid-session comes without an exception: a device that is unplugged ends its stream, or its server moves on to
another one; one whose server is stuck just says no more, and closing it takes for ever. Must never block the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, NamedTuple

from ..daemon_thread import start_daemon_thread_async
from ..errors import InputError
from . import pulse
from .c_stderr import suppressed
from .devices import LIST_HINT, Device, list_device_names, list_devices, load_portaudio, restart_hint, select_device
from .low_latency_resampler import LowLatencyResampler, can_resample
from .pcm import RATE, Samples, decode_pcm, encode_s16le

__all__ = ["Device", "Microphone", "list_device_names", "list_devices", "select_device"]

BLOCK_SECONDS = 0.02
"""Seconds. The device then reports a latency of two of them, and a block costs 0.3 ms of CPU time."""

INBOX_SECONDS = 30.0
"""Seconds that are kept for a session that doesn't take them."""

SILENCE_TIMEOUT_SECONDS = 2.0
"""Seconds without a callback, after which no more will come; they jitter by 2 ms."""

OPEN_TIMEOUT_SECONDS = 4.0
"""For opening, and again for the first callback: that one takes up to two seconds, more from a wireless headset."""

TIMEOUT_SLICES = 4
"""The waiting is cut into: when the whole program was stopped for a while, it is not the device's fault."""

CLOSE_TIMEOUT_SECONDS = 1.0
"""Seconds that closing may take. It goes on behind our back."""

MAX_CHANNELS = 2
"""A microphone has one or two. Sound servers offer 32, of which most are silence."""

FALLBACK_RATES = (48000, 44100, 16000)
"""Hz, for a device that refuses its own."""

BUSY, BAD_RATE, BAD_CHANNELS = -9985, -9997, -9998
"""PortAudio's errors (portaudio.h, PaErrorCode): device unavailable, invalid sample rate, invalid channel count."""


class Microphone:
    """A source for a session: 16-bit blocks of about `block` seconds, as they come.

    device       where from
    block        seconds between callbacks
    wanted       Hz of what it gives
    on_trouble   told in a sentence, once, of what costs sound and goes on nevertheless
    timeout      seconds without a callback, after which the device is given up

    For meters and statistics:

    started         set when the first sound is there: what is said from now on is heard
    rate, channels  as the device is open; 0 before
    latency         seconds, as the device reports it
    captured        when the newest block that was given left the device, by time.monotonic()
    overflows       blocks before which the system lost sound
    dropped         seconds that the session was too late to take
    """

    def __init__(
        self,
        device: Device,
        *,
        block: float = BLOCK_SECONDS,
        output_rate: int = RATE,
        on_trouble: Callable[[str], None] = lambda sentence: None,
        timeout: float = SILENCE_TIMEOUT_SECONDS,
    ) -> None:
        self.device, self._output_rate = device, output_rate
        self.started = asyncio.Event()
        self.rate = self.channels = self.overflows = 0
        self.latency = self.captured = self.dropped = 0.0
        self._block, self._on_trouble, self._timeout = block, on_trouble, timeout

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Until it is cancelled or closed. InputError where the device can't be opened, and when it is gone.

        There is nothing to flush at the end of an utterance: the resampler is late by less than half a millisecond.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:  # the loop is gone, and with it whoever wanted this
                pass

        stream = _Stream(self.device, self._block, self._output_rate, wake)
        with suppressed():
            try:
                await self._open(stream)
                resampler = LowLatencyResampler(stream.rate, self._output_rate)
                while True:
                    heard = await self._next(stream, news)
                    self._update_statistics(stream, heard)
                    if block := encode_s16le(resampler.resample(_mono(heard.data, stream.channels))):
                        yield block
            finally:
                await asyncio.wait(
                    {start_daemon_thread_async(stream.close, "microphone close")}, timeout=CLOSE_TIMEOUT_SECONDS
                )

    async def _open(self, stream: _Stream) -> None:
        opening = start_daemon_thread_async(stream.open, "microphone open")
        await asyncio.wait({opening}, timeout=OPEN_TIMEOUT_SECONDS)
        if not opening.done():
            raise InputError(f"{self.device.name}: the sound system doesn't open it", hint=restart_hint())
        opening.result()
        self.rate, self.channels, self.latency = stream.rate, stream.channels, stream.latency

    async def _next(self, stream: _Stream, news: asyncio.Event) -> _CapturedBlock:
        """What the callback handed over. InputError where it will hand over no more."""
        while not stream.inbox:
            if stream.has_ended:
                raise InputError(
                    f"the microphone is gone: {self.device.name} was unplugged, or its sound server ended",
                    hint=f"choose another one with --device: {LIST_HINT}",
                )
            timeout = self._timeout if self.started.is_set() else OPEN_TIMEOUT_SECONDS
            if not await _wait_for(news, timeout):
                raise InputError(
                    f"{self.device.name}: no sound for {timeout:g} s: the system hangs", hint=restart_hint()
                )
            news.clear()  # and then look: whoever comes between the two is seen
        return stream.inbox.popleft()

    def _update_statistics(self, stream: _Stream, heard: _CapturedBlock) -> None:
        self.started.set()
        self.captured = heard.captured
        if heard.overflow:
            self.overflows += 1
            if self.overflows == 1:
                self._on_trouble("the sound system lost some sound: this machine is too busy")
        if stream.dropped and not self.dropped:
            self._on_trouble(f"sound is lost: nobody took it for {INBOX_SECONDS:.0f} s")
        self.dropped = stream.dropped * self._block


class _CapturedBlock(NamedTuple):
    """A block as it came: float32, channels interleaved; whether sound was lost before it; when it came."""

    data: bytes
    overflow: bool
    captured: float


class _Stream:
    """PortAudio's stream, and the inbox that its thread fills. `open` and `close` block, each once, in any thread."""

    def __init__(self, device: Device, block: float, wanted: int, wake: Callable[[], None]) -> None:
        self.inbox: deque[_CapturedBlock] = deque()
        self.has_ended = False
        self.dropped = 0
        """Blocks."""
        self.rate = self.channels = 0
        self.latency = 0.0
        self._device, self._block, self._output_rate, self._wake = device, block, wanted, wake
        self._max_blocks = round(INBOX_SECONDS / block)
        self._lock = threading.Lock()
        self._closed = False
        self._stream: Any = None
        self._watcher: pulse.SourceWatcher | None = None

    def open(self) -> None:
        """InputError where it can't be."""
        with self._lock:
            if self._closed:
                return
            if self._device.source is not None:
                self._watcher = pulse.SourceWatcher(self._device.source, self._on_end)
            sound, refusal = load_portaudio(), None
            for rate, channels in _configurations(self._device, self._output_rate):
                try:
                    with pulse.source_selected(self._device.source):
                        self._start(sound, rate, channels)
                    return
                except sound.PortAudioError as error:
                    refusal = refusal or error
                    if _error_code(error) == BUSY:
                        break
            raise _open_error(self._device, refusal)

    def _start(self, sound: Any, rate: int, channels: int) -> None:
        stream = sound.RawInputStream(
            samplerate=rate,
            blocksize=round(rate * self._block),
            device=self._device.portaudio_index,
            channels=channels,
            dtype="float32",  # 16 bits would be dithered, and a muted microphone not silent
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

    def close(self) -> None:
        """What was opened, or is being opened, is closed. May hang for ever."""
        self._closed = True
        with self._lock:
            if self._watcher is not None:
                self._watcher.close()
            if self._stream is not None:
                self._stream.abort()
                self._stream.close()

    def _on_block(self, data: Any, frames: int, when: Any, status: Any) -> None:
        """In PortAudio's thread."""
        if len(self.inbox) >= self._max_blocks:
            self.inbox.popleft()
            self.dropped += 1
        self.inbox.append(_CapturedBlock(bytes(data), bool(status.input_overflow), time.monotonic()))
        self._wake()

    def _on_end(self) -> None:
        self.has_ended = True
        self._wake()


def _configurations(device: Device, wanted: int) -> Iterator[tuple[int, int]]:
    """Rates and channel counts to try, the device's own first."""
    rates = [rate for rate in dict.fromkeys((device.rate, *FALLBACK_RATES)) if can_resample(rate, wanted)]
    counts = dict.fromkeys((min(device.channels, MAX_CHANNELS), device.channels, 1))
    return ((rate, count) for rate in rates for count in counts)


def _open_error(device: Device, error: Any) -> InputError:
    if _error_code(error) == BUSY:
        hint = f"end the program that records from it, or choose its sound server instead: {LIST_HINT}"
        return InputError(f"{device.name}: another program is using it", hint=hint)
    if _error_code(error) in (BAD_RATE, BAD_CHANNELS):
        message = f"{device.name}: takes neither its own {device.rate} Hz nor any usual rate"
        return InputError(message, hint=f"choose another one with --device: {LIST_HINT}")
    reason = _reason(error)
    hint = "is it still there, and are you allowed to use it?"
    return InputError(f"{device.name}: can't be opened: {reason}", hint=f"{hint} {LIST_HINT}")


def _error_code(error: Any) -> int:
    return error.args[1] if error is not None and len(error.args) > 1 else 0


def _reason(error: Any) -> str:
    """What the system said (API, number, text), or else PortAudio (what it did: why not)."""
    if error is None:
        return "it has no rate that can be used"
    return error.args[2][2] if len(error.args) > 2 else str(error.args[0]).rpartition(": ")[2]


def _mono(data: bytes, channels: int) -> Samples:
    samples = decode_pcm(data, "pcm_f32le")
    if channels == 1:
        return samples
    mixed: Samples = samples.reshape(-1, channels).mean(axis=1)
    return mixed


async def _wait_for(news: asyncio.Event, seconds: float) -> bool:
    """Whether anything came in time."""
    for _ in range(TIMEOUT_SLICES):
        try:
            async with asyncio.timeout(seconds / TIMEOUT_SLICES):
                return await news.wait()
        except TimeoutError:
            pass
    return news.is_set()
