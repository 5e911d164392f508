"""Microphones: a virtual one through the real PortAudio, and a fake PortAudio for errors that it can't produce."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cartesia_cli.audio import microphone, pulse
from cartesia_cli.audio.devices import Device
from cartesia_cli.audio.input_check import InputMonitor
from cartesia_cli.audio.low_latency_resampler import LowLatencyResampler, can_resample
from cartesia_cli.audio.microphone import Microphone
from cartesia_cli.audio.pcm import AudioBlock
from cartesia_cli.errors import InputError
from tests import speech
from tests.microphone import RATE, Recorder, Studio, open_studio

SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody knows why."


def likeness(recorded: NDArray[np.float32], played: NDArray[np.float32]) -> float:
    """1 where `played` is somewhere in `recorded` without a gap."""
    places = np.correlate(recorded, played, "valid")
    heard = recorded[places.argmax() :][: len(played)]
    return float(places.max() / np.sqrt(np.dot(heard, heard) * np.dot(played, played)))


class TestVirtualMicrophone:
    def test_what_is_played_is_recorded_without_a_gap(self, studio: Studio, tmp_path: Path) -> None:
        spoken = speech.say(SENTENCE)
        with Recorder(studio.environment, tmp_path / "recorded.wav") as recorder:
            started = recorder.until("started")
            studio.play(spoken, speech.RATE)
            time.sleep(0.5)
            recorder.stop()
            closed = recorder.until("closed")
            assert recorder.ended() == 0
            assert (closed["rate"], closed["channels"], closed["overflows"], closed["dropped"]) == (RATE, 2, 0, 0)
            assert set(closed["blocks"]) == {640}
            assert started["started"] and started["latency"] > 0
            assert started["ticks"] >= 3  # the loop went on while it opened
            assert likeness(recorder.recorded(), spoken) > 0.9
            assert recorder.child.stderr is not None and recorder.child.stderr.read() == ""

    @pytest.mark.waits
    def test_it_is_opened_at_its_own_rate(self, environment: dict[str, str], tmp_path: Path) -> None:
        spoken = speech.say(SENTENCE)
        with (
            open_studio(environment, rate=44100) as studio,
            Recorder(studio.environment, tmp_path / "recorded.wav") as recorder,
        ):
            recorder.until("started")
            studio.play(spoken, speech.RATE)
            time.sleep(0.5)
            recorder.stop()
            assert recorder.until("closed")["rate"] == 44100
            assert likeness(recorder.recorded(), spoken) > 0.9

    def test_a_monitor_is_heard_by_its_name(self, studio: Studio, tmp_path: Path) -> None:
        spoken = speech.say("So says the loudspeaker.")
        studio.ask("set-source-volume", "mic", "0")
        with Recorder(studio.environment, tmp_path / "recorded.wav", "monitor of") as recorder:
            assert recorder.until("opening")["name"] == "Monitor of Room"
            recorder.until("started")
            studio.play(spoken, speech.RATE)
            time.sleep(0.5)
            recorder.stop()
            recorder.until("closed")
            assert likeness(recorder.recorded(), spoken) > 0.9

    @pytest.mark.parametrize("module", ["module-remap-source", "module-null-sink"])
    def test_unplugging_ends_the_session_and_keeps_the_recording(
        self, studio: Studio, tmp_path: Path, module: str
    ) -> None:
        """The server would go on with its monitor in the first case, and has nothing left in the second."""
        with Recorder(studio.environment, tmp_path / "recorded.wav") as recorder:
            recorder.until("started")
            time.sleep(1)
            studio.unplug(module)
            closed = recorder.until("closed")
            error = recorder.until("error")
            assert "lost the microphone: Gooseneck was unplugged" in error["message"]
            assert "cartesia-cli devices" in error["hint"]
            assert recorder.ended() == 3
            assert len(recorder.recorded()) == closed["seconds"] * 16000 > 8000
            assert recorder.child.stderr is not None and recorder.child.stderr.read() == ""

    def test_sound_server_exit_is_one_error_without_library_output(self, studio: Studio, tmp_path: Path) -> None:
        with Recorder(studio.environment, tmp_path / "recorded.wav") as recorder:
            recorder.until("started")
            studio.end()
            assert "lost the microphone" in recorder.until("error")["message"]
            assert recorder.ended() == 3
            assert recorder.child.stderr is not None and recorder.child.stderr.read() == ""

    def test_frozen_sound_server_times_out(self, studio: Studio, tmp_path: Path) -> None:
        with Recorder(studio.environment, tmp_path / "recorded.wav") as recorder:
            recorder.until("started")
            time.sleep(1)
            studio.freeze()
            closed = recorder.until("closed")
            assert recorder.until("error")["message"] == "Gooseneck: no audio for 2 s: the sound system hangs"
            assert recorder.ended() == 3
            assert len(recorder.recorded()) == closed["seconds"] * 16000 > 8000

    def test_frozen_sound_server_times_out_while_opening(self, studio: Studio, tmp_path: Path) -> None:
        with Recorder(studio.environment, tmp_path / "recorded.wav", held=True) as recorder:
            recorder.until("opening")
            studio.freeze()
            recorder.go_on()
            assert recorder.until("error")["message"] == "Gooseneck: the sound system doesn't respond to opening it"
            assert recorder.ended() == 3

    def test_ctrl_z_does_not_time_out_the_microphone(self, studio: Studio, tmp_path: Path) -> None:
        with Recorder(studio.environment, tmp_path / "recorded.wav") as recorder:
            recorder.until("started")
            recorder.child.send_signal(signal.SIGSTOP)
            time.sleep(microphone.SILENCE_TIMEOUT_SECONDS + 1)
            recorder.child.send_signal(signal.SIGCONT)
            time.sleep(1)
            recorder.stop()
            assert recorder.until("closed")["seconds"] > 1
            assert recorder.ended() == 0

    def test_error_names_a_device_removed_before_opening(self, studio: Studio, tmp_path: Path) -> None:
        with Recorder(studio.environment, tmp_path / "recorded.wav", held=True) as recorder:
            recorder.until("opening")
            studio.unplug("module-null-sink")
            recorder.go_on()
            error = recorder.until("error")
            assert "Gooseneck" in error["message"]
            assert recorder.ended() == 3


class Sound(SimpleNamespace):
    """A fake PortAudio module (sounddevice) that answers as a test wants."""

    class PortAudioError(Exception):
        pass

    def __init__(self, refuse: Callable[[int, int], tuple[Any, ...] | None] = lambda rate, channels: None) -> None:
        super().__init__()
        self.refuse = refuse
        self.tried: list[tuple[int, int]] = []
        self.streams: list[Any] = []
        self.opening, self.closing = threading.Event(), threading.Event()
        self.opening.set()
        self.closing.set()

    def RawInputStream(self, *, samplerate: int, channels: int, **settings: Any) -> Any:
        assert self.opening.wait(20)
        self.tried.append((samplerate, channels))
        if refusal := self.refuse(samplerate, channels):
            raise self.PortAudioError(*refusal)
        stream = SimpleNamespace(latency=0.04, closed=False, settings=settings, start=lambda: None, abort=lambda: None)

        def close() -> None:
            assert self.closing.wait(20)
            stream.closed = True

        stream.close = close
        self.streams.append(stream)
        return stream

    def hear(self, value: float, *, overflow: bool = False) -> None:
        """A block of 20 ms from the last stream, mono."""
        data = np.full(320, value, "<f4").tobytes()
        self.streams[-1].settings["callback"](data, 320, None, SimpleNamespace(input_overflow=overflow))


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Sound:
    made_up = Sound()
    monkeypatch.setitem(sys.modules, "sounddevice", made_up)
    return made_up


def device(channels: int = 1, rate: int = 16000, **facts: Any) -> Device:
    known: dict[str, Any] = {"index": 0, "name": "Desk", "host_api": "ALSA", "is_default": True, "is_monitor": False}
    return Device(channels=channels, rate=rate, portaudio_index=7, **known | facts)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110  threads make it so
            await asyncio.sleep(0.001)


async def first(blocks: AsyncGenerator[AudioBlock, None], sound: Sound, value: float = 0.5) -> AudioBlock:
    """The first block, which is heard as soon as the device is open."""
    waiting = asyncio.ensure_future(anext(blocks))
    await until(lambda: sound.streams)
    sound.hear(value)
    return await waiting


def level(block: AudioBlock) -> float:
    return float(block.samples[0])


class TestMicrophoneWithFakePortAudio:
    async def test_started_is_set_at_the_first_block(self, sound: Sound) -> None:
        mic = Microphone(device())
        blocks = mic.blocks()
        waiting = asyncio.ensure_future(anext(blocks))
        await until(lambda: sound.streams)
        assert not mic.started.is_set()
        before = time.monotonic()
        sound.hear(0.25)
        assert len((await waiting).pcm) == 640
        assert mic.started.is_set()
        assert before <= mic.captured <= time.monotonic()
        await blocks.aclose()
        assert sound.streams[0].closed

    async def test_full_inbox_drops_the_oldest_and_warns_once(self, sound: Sound) -> None:
        told: list[str] = []
        mic = Microphone(device(), on_warning=told.append)
        blocks = mic.blocks()
        await first(blocks, sound)
        kept = round(microphone.INBOX_SECONDS / microphone.BLOCK_SECONDS)
        for number in range(kept + 10):
            sound.hear(number / 4096)
        heard = [level(await anext(blocks)) for _ in range(kept)]
        assert heard == [number / 4096 for number in range(10, kept + 10)]
        assert mic.dropped == 10
        assert len(told) == 1 and "30 s" in told[0]
        await blocks.aclose()

    async def test_overflows_are_counted_with_one_warning(self, sound: Sound) -> None:
        told: list[str] = []
        mic = Microphone(device(), on_warning=told.append)
        blocks = mic.blocks()
        await first(blocks, sound)
        for overflow in (True, False, True):
            sound.hear(0, overflow=overflow)
            await anext(blocks)
        assert mic.overflows == 2
        assert len(told) == 1 and "too busy" in told[0]
        await blocks.aclose()

    async def test_captured_blocks_are_yielded_before_the_unplug_error(self, sound: Sound) -> None:
        blocks = Microphone(device()).blocks()
        await first(blocks, sound)
        sound.hear(0.125)
        sound.hear(0.25)
        sound.streams[0].settings["finished_callback"]()
        assert [level(await anext(blocks)) for _ in range(2)] == [0.125, 0.25]
        with pytest.raises(InputError, match="Desk was unplugged"):
            await anext(blocks)
        assert sound.streams[0].closed

    async def test_cancel_while_opening_closes_the_device_later(self, sound: Sound) -> None:
        sound.opening.clear()
        waiting = asyncio.ensure_future(anext(Microphone(device()).blocks()))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not sound.streams
        sound.opening.set()
        await until(lambda: sound.streams)
        await until(lambda: sound.streams[0].closed)

    async def test_hanging_close_is_not_awaited(self, sound: Sound) -> None:
        blocks = Microphone(device()).blocks()
        await first(blocks, sound)
        sound.closing.clear()
        await blocks.aclose()
        assert not sound.streams[0].closed
        sound.closing.set()

    async def test_rejected_rate_falls_back_to_usual_rates(self, sound: Sound) -> None:
        sound.refuse = lambda rate, channels: None if (rate, channels) == (44100, 6) else ("no", -9997)
        mic = Microphone(device(channels=6, rate=96000))
        blocks = mic.blocks()
        waiting = asyncio.ensure_future(anext(blocks))
        await until(lambda: sound.streams)
        samples = np.repeat(np.full((882, 1), 0.5, "<f4"), 6, axis=1)
        sound.streams[0].settings["callback"](samples.tobytes(), 882, None, SimpleNamespace(input_overflow=False))
        assert len((await waiting).pcm) == 640
        assert (mic.rate, mic.channels) == (44100, 6)
        await blocks.aclose()
        assert sound.tried[0] == (96000, 2)

    def test_a_rate_that_can_not_be_resampled_is_not_tried(self, sound: Sound) -> None:
        sound.refuse = lambda rate, channels: ("no", -9997)
        with pytest.raises(InputError, match="neither its native 47999 Hz nor any usual rate"):
            asyncio.run(asyncio.wait_for(anext(Microphone(device(rate=47999)).blocks()), 15))
        assert {rate for rate, _ in sound.tried} == set(microphone.FALLBACK_RATES)

    @pytest.mark.parametrize(
        ("refusal", "said"),
        [
            (("Error opening RawInputStream: Device unavailable", -9985), "another program is using it"),
            (("Error opening RawInputStream: Illegal combination", -9978), "can't be opened: Illegal combination"),
            (("Error opening: Unanticipated host error", -9999, (8, -13, "Permission denied")), "Permission denied"),
        ],
    )
    def test_open_errors_are_worded(self, sound: Sound, refusal: tuple[Any, ...], said: str) -> None:
        sound.refuse = lambda rate, channels: refusal
        with pytest.raises(InputError, match=said) as caught:
            asyncio.run(asyncio.wait_for(anext(Microphone(device()).blocks()), 15))
        assert caught.value.message.startswith("Desk: ")
        assert caught.value.hint is not None


def sine(frequency: float, rate: int, seconds: float = 1.0) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32)


RATES = (8000, 11025, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000)


class TestTheResampler:
    @pytest.mark.waits
    @pytest.mark.parametrize("rate", RATES)
    def test_what_can_not_be_in_the_result_is_80_db_down(self, rate: int) -> None:
        """A tone above the new band would come back as an alias in it; one below, at a lower rate, as an image."""
        stream, lower = LowLatencyResampler(rate), min(rate, 16000)
        for above in np.linspace(lower / 2, max(rate, 16000) / 2, 41)[1:-1]:
            heard = stream.resample(sine(above if rate > 16000 else rate - above, rate))[1000:]
            window = np.hanning(len(heard))
            levels = np.abs(np.fft.rfft(heard * window)) / (window.sum() / 2)
            wrong = np.fft.rfftfreq(len(heard), 1 / 16000) > (0 if rate > 16000 else lower / 2 + 5)
            assert 20 * np.log10(levels[wrong].max()) < -80

    @pytest.mark.parametrize("rate", RATES)
    def test_speech_passes_unchanged_and_half_a_millisecond_late_at_most(self, rate: int) -> None:
        stream, lower = LowLatencyResampler(rate), min(rate, 16000)
        for frequency in (100, 1000, 0.2 * lower, 0.4 * lower):
            heard = stream.resample(sine(frequency, rate, 2.0))[2000:8000]
            times = np.arange(2000, 8000) / 16000
            turn = np.exp(-2j * np.pi * frequency * times) @ heard * 2j / len(times)
            assert abs(20 * np.log10(abs(turn))) < 0.1
            if frequency <= 1000:
                assert 0 <= -np.angle(turn) / (2 * np.pi * frequency) < 0.0005

    @given(st.lists(st.integers(0, 3000), min_size=1, max_size=8), st.sampled_from([8000, 16000, 44100, 48000]))
    def test_result_does_not_depend_on_block_sizes(self, cuts: list[int], rate: int) -> None:
        noise = np.random.default_rng(0).uniform(-1, 1, sum(cuts)).astype(np.float32)
        stream, whole = LowLatencyResampler(rate), LowLatencyResampler(rate).resample(noise)
        parts = [stream.resample(part) for part in np.split(noise, np.cumsum(cuts)[:-1])]
        assert len(whole) == -(-len(noise) * 16000 // rate)
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)

    def test_unrelated_sample_rates_are_refused(self) -> None:
        assert all(map(can_resample, (*RATES, 16000)))
        assert not any(map(can_resample, (0, -1, 47999)))
        with pytest.raises(ValueError, match="47999"):
            LowLatencyResampler(47999)


def complaints(samples: NDArray[np.float32]) -> list[str]:
    return InputMonitor().check(samples)


NOISE = np.random.default_rng(1).normal(0, 1, 80 * 16000).astype(np.float32).clip(-3, 3)
"""80 seconds at 0 dBFS, more or less."""


def noise(seconds: float, dbfs: float) -> NDArray[np.float32]:
    return NOISE[: round(seconds * 16000)] * 10 ** (dbfs / 20)


class TestComplaints:
    @pytest.mark.engine
    def test_speech_gives_no_warning(self) -> None:
        spoken = speech.say(SENTENCE)
        assert complaints(np.concatenate([spoken, noise(5, -60), spoken * 0.1, noise(50, -70), spoken])) == []

    def test_digital_silence_warns_of_muted_microphone_each_time(self) -> None:
        mute, sound = np.zeros(40000, np.float32), noise(0.5, -30)
        told = complaints(np.concatenate([mute, mute, sound, mute]))
        assert len(told) == 2 and "muted" in told[0] and told[0] == told[1]
        assert complaints(np.concatenate([mute[:15000], sound, mute[:15000]])) == []

    def test_faint_sound_warning_names_the_level(self) -> None:
        (told,) = complaints(noise(60, -64))
        assert "10 s" in told and "-64 dBFS" in told

    def test_a_pause_may_be_longer_once_something_was_heard(self) -> None:
        assert complaints(np.concatenate([noise(1, -30), noise(58, -64)])) == []
        (told,) = complaints(np.concatenate([noise(1, -30), noise(62, -64)]))
        assert "60 s" in told

    def test_muted_microphone_gives_no_faint_warning(self) -> None:
        assert len(complaints(np.zeros(16000 * 70, np.float32))) == 1

    def test_clipping_warning_names_share_and_recurs(self) -> None:
        loud = (sine(200, 16000, 4.0) * 1.5).clip(-1, 1)
        told = complaints(np.concatenate([loud, noise(1, -20), loud, noise(4, -20), loud]))
        assert len(told) == 2 and all(text.startswith("too loud: ") for text in told)
        assert complaints(sine(200, 16000, 4.0) * 0.98) == []

    @given(st.lists(st.integers(0, 20000), max_size=12))
    def test_warnings_do_not_depend_on_block_sizes(self, cuts: list[int]) -> None:
        samples = np.concatenate([np.zeros(30000, np.float32), (noise(2, 0)).clip(-1, 1), noise(11, -60)])
        doctor = InputMonitor()
        parts = np.split(samples, np.cumsum(cuts))
        assert [text for part in parts for text in doctor.check(part)] == complaints(samples)


PACTL = """Source #0
\tState: RUNNING
\tName: alsa_output.pci.monitor
\tDescription: Monitor of Größe "x": 日本
\tSample Specification: s32le 2ch 44100Hz
\tVolume: front-left: 65536 / 100% / 0.00 dB,   front-right: 65536 / 100% / 0.00 dB
\t        balance 0.00
\tMonitor of Sink: alsa_output.pci
\tProperties:
\t\tName: not this one

Source #37
\tName: mic
\tDescription: (null)
\tSample Specification: float32le 1ch 16000Hz
\tMonitor of Sink: n/a

Source #38
\tName: broken
"""


class TestSoundServer:
    def test_pactl_sources_are_parsed(self) -> None:
        assert pulse.parse_sources(PACTL) == [
            pulse.PulseSource(0, "alsa_output.pci.monitor", 'Monitor of Größe "x": 日本', 2, 44100, True),
            pulse.PulseSource(37, "mic", "mic", 1, 16000, False),
        ]
        assert pulse.parse_sources("") == []

    @given(st.text())
    def test_any_pactl_output_is_parsed(self, told: str) -> None:
        pulse.parse_sources("Source #1\n" + told)

    def test_source_variable_is_set_only_while_opening(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import os

        source = pulse.PulseSource(1, "mic", "Mic", 1, 48000, False)
        for before in (None, "other"):
            if before is None:
                monkeypatch.delenv(pulse.SOURCE_VARIABLE, raising=False)
            else:
                monkeypatch.setenv(pulse.SOURCE_VARIABLE, before)
            with pulse.source_selected(source):
                assert os.environ[pulse.SOURCE_VARIABLE] == "mic"
            assert os.environ.get(pulse.SOURCE_VARIABLE) == before
            with pulse.source_selected(None):
                assert os.environ.get(pulse.SOURCE_VARIABLE) == before

    def test_sources_are_unknown_without_pactl(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert pulse.list_sources() is None
        watch = pulse.SourceWatcher(pulse.PulseSource(1, "mic", "Mic", 1, 48000, False), pytest.fail)
        watch.close()


CHATTER = """
import ctypes, os, sys
from cartesia_cli.audio.devices import c_stderr_suppressed
libc = ctypes.CDLL(None)
libc.perror(b"before")
with c_stderr_suppressed():
    libc.perror(b"C")
    with c_stderr_suppressed():
        pass
    libc.perror(b"C")
    os.write(2, b"Python\\n")
    print("print", file=sys.stderr, flush=True)
libc.perror(b"after")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="made for glibc")
def test_c_stderr_is_suppressed_and_python_stderr_is_not() -> None:
    done = subprocess.run([sys.executable, "-c", CHATTER], capture_output=True, text=True, check=True)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["before", "Python", "print", "after"]


def test_the_names_for_completion_come_without_numpy() -> None:
    script = "import sys, cartesia_cli.audio.devices; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
