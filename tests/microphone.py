"""A virtual microphone: a PulseAudio of our own without any hardware, into which the tests play.

    studio.play(samples) ─pacat─► sink "room" ─► room.monitor ─► source "mic" ─ALSA─► PortAudio ─► the program

`python -m tests.microphone DEVICE SECONDS FILE.wav [held]` records by our Microphone as a program would, in a process
of its own: PortAudio sees the environment of the moment when it is loaded. What happens it tells on stdout, a JSON a
line. Held, it opens the device when it is told to on stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import require_program

RATE = 48000
"""Of the virtual hardware."""

SETUP = """
load-module module-native-protocol-unix
load-module module-null-sink sink_name=room rate={rate} channels=2 sink_properties=device.description=Room
load-module module-remap-source source_name=mic master=room.monitor source_properties=device.description=Gooseneck
set-default-source mic
"""

ASOUNDRC = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"

LIMIT = 60.0

PLUGIN = "libasound_module_pcm_pulse.so"


class Studio:
    """A sound server with one loudspeaker, "Room", and one microphone, "Gooseneck", that hears it.

    environment   for programs that are to find it
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, rate: int) -> None:
        self._folder = folder
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        home = Path(environment["HOME"])
        (home / ".asoundrc").write_text(ASOUNDRC)
        (folder / "setup.pa").write_text(SETUP.format(rate=rate))
        own = {"XDG_RUNTIME_DIR": str(runtime), "PULSE_RUNTIME_PATH": str(runtime / "pulse")}
        kept = {name: value for name, value in environment.items() if not name.startswith(("PULSE_", "PIPEWIRE_"))}
        self.environment = kept | own
        command = [
            require_program("pulseaudio"), "-n", "-F", str(folder / "setup.pa"), "--daemonize=no",
            "--exit-idle-time=-1", "--disable-shm=yes", "--use-pid-file=no", "--system=false", "--log-target=stderr",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            self._server = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 20
        while "Default Source: mic" not in self.ask("info", check=False):
            assert self._server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)

    def ask(self, *question: str, check: bool = True) -> str:
        """What `pactl` answers."""
        done = subprocess.run(
            ["pactl", *question], env=self.environment, capture_output=True, text=True, timeout=20, check=check
        )
        return done.stdout

    def play(self, samples: NDArray[np.float32], rate: int) -> None:
        """Until the last sample was played. Mono, -1..1."""
        form = ["--raw", "--format=float32le", f"--rate={rate}", "--channels=1", "--latency-msec=200"]
        data = samples.astype("<f4").tobytes()
        length = len(samples) / rate
        subprocess.run(["pacat", *form], env=self.environment, input=data, timeout=length + 20, check=True)

    @contextmanager
    def playing(self, samples: NDArray[np.float32], rate: int) -> Iterator[None]:
        """Plays samples while the block runs, which begins when they can be heard. Mono, -1..1."""
        path = self._folder / "played"
        path.write_bytes(samples.astype("<f4").tobytes())
        form = ["--raw", "--format=float32le", f"--rate={rate}", "--channels=1", "--latency-msec=200"]
        playback = subprocess.Popen(["pacat", *form, str(path)], env=self.environment)
        try:
            deadline = time.monotonic() + 20
            while "RUNNING" not in self.ask("list", "short", "sinks"):
                assert playback.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            playback.kill()
            playback.wait()

    def add(self, title: str, name: str) -> None:
        """One more microphone."""
        properties = 'source_properties=device.description="' + title.replace(" ", "\\ ") + '"'
        self.ask("load-module", "module-remap-source", f"source_name={name}", "master=room.monitor", properties)

    def unplug(self, module: str = "module-remap-source") -> None:
        """The microphone; or, with `module-null-sink`, everything."""
        self.ask("unload-module", module)

    def freeze(self) -> None:
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._server.kill()
        self._server.wait()


@contextmanager
def open_studio(environment: Mapping[str, str], rate: int = RATE) -> Iterator[Studio]:
    """While the block runs. `environment` has a HOME that may be written to."""
    require_program("pulseaudio"), require_program("pactl"), require_program("pacat")
    plugins = [place / "alsa-lib" / PLUGIN for place in (*Path("/usr/lib").glob("*"), Path("/usr/lib"))]
    for found, package in (
        (find_library("portaudio"), "libportaudio2"),
        (any(plugin.exists() for plugin in plugins), "libasound2-plugins"),
    ):
        if not found:
            reason = f"{package} is not installed: `make test` installs it where it may"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="studio"))  # sockets want short paths
    studio = None
    try:
        studio = Studio(environment, folder, rate)
        yield studio
    finally:
        if studio is not None:
            studio.end()
        shutil.rmtree(folder, ignore_errors=True)


class Recorder:
    """`python -m tests.microphone` as a child, for the length of the block, and for LIMIT seconds at most."""

    def __init__(self, environment: Mapping[str, str], path: Path, which: str = "", *, held: bool = False) -> None:
        self._path = path
        command = [sys.executable, "-m", "tests.microphone", which, "60", str(path), *(["held"] if held else [])]
        self.child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = threading.Timer(LIMIT, self.child.kill)
        self._limit.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *failure: object) -> None:
        self._limit.cancel()
        self.child.kill()
        self.child.communicate()

    def until(self, event: str) -> dict[str, Any]:
        """Wait for it."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == event:
                return told
        assert self.child.stderr is not None
        raise AssertionError(f"no {event}: {self.child.stderr.read()}")

    def go_on(self) -> None:
        """Where it was held."""
        assert self.child.stdin is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def ended(self) -> int:
        """Its exit code."""
        return self.child.wait(timeout=30)

    def stop(self) -> None:
        """That's all."""
        self.child.send_signal(signal.SIGTERM)

    def recorded(self) -> NDArray[np.float32]:
        """What it wrote, -1..1 at 16 kHz."""
        with wave.open(str(self._path), "rb") as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
            return (np.frombuffer(file.readframes(1 << 30), "<i2") / 32768).astype(np.float32)


def tell(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, "at": time.monotonic(), **facts}), flush=True)  # noqa: T201  what this program is for


async def record(which: str, seconds: float, path: Path, *, held: bool) -> None:
    """`seconds` of sound, or until SIGTERM."""
    from cartesia_cli.audio.devices import select_device
    from cartesia_cli.audio.microphone import Microphone
    from cartesia_cli.audio.wav_writer import TeeSource

    loop = asyncio.get_running_loop()
    microphone = Microphone(
        select_device(which or None), on_warning=lambda sentence: tell("trouble", sentence=sentence)
    )
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    blocks = TeeSource(microphone, path).blocks()
    sizes, ticks = [], 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    tell("opening", name=microphone.device.name)
    if held:
        sys.stdin.readline()
    try:
        async for block in blocks:
            if not sizes:
                tell("started", started=microphone.started.is_set(), ticks=ticks, latency=microphone.latency)
            sizes.append(len(block.pcm))
            if sum(sizes) >= seconds * 32000:
                break
    finally:
        before = time.monotonic()
        await blocks.aclose()
        ticking.cancel()
        facts = {name: getattr(microphone, name) for name in ("rate", "channels", "overflows", "dropped")}
        tell("closed", seconds=sum(sizes) / 32000, blocks=sizes[-5:], took=time.monotonic() - before, **facts)


def main() -> int:
    from cartesia_cli.errors import CliError

    which, seconds, path, *held = sys.argv[1:]
    try:
        asyncio.run(record(which, float(seconds), Path(path), held=bool(held)))
    except CliError as error:
        tell("error", message=error.message, hint=error.hint, code=error.exit_code)
        return error.exit_code
    except asyncio.CancelledError:
        pass
    return 0


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    os._exit(ended)  # as the program does
