"""A running `serve` is used by `--local` commands of its user, and by nobody else; it is never needed."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from cartesia_cli.audio.vad import VadSettings
from cartesia_cli.client import BatchClient, ws_connect
from cartesia_cli.commands.backend import Backend, ChosenServer
from cartesia_cli.commands.live.config import SessionConfig
from cartesia_cli.commands.live.options import StreamOptions
from cartesia_cli.commands.live.session import LiveSession
from cartesia_cli.commands.local_extra import LocalServerObserver
from cartesia_cli.errors import NetworkError
from cartesia_cli.output import Layout
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.realtime import MANUAL, RealtimeOptions
from cartesia_cli.server import announcement
from cartesia_cli.server.announcement import Announcement, find, socket_path
from cartesia_cli.server.observer import SilentObserver
from tests import speech
from tests.conftest import side_by_side
from tests.simulated_time import SimulatedTimeLoop

COMMAND = [sys.executable, "-m", "cartesia_cli"]
LOCAL = ["--local", "--local-model", "tiny.en"]


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory with a short path, as sockets need one."""
    folder = tmp_path_factory.mktemp("c")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(announcement, "MAX_PATH_BYTES", 107)
    return folder


def place() -> Path:
    path = socket_path("tiny.en")
    assert path is not None
    return path


@contextmanager
def published(feed: Announcement) -> Iterator[None]:
    with feed.publish(place(), "http://127.0.0.1:9", "secret"):
        yield


def test_server_is_found_with_its_token_by_version_and_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("tiny.en") is None
    with published(Announcement(SilentObserver())):
        found = find("tiny.en")
        assert found is not None
        assert (found.base_url, found.token, found.pid) == ("http://127.0.0.1:9", "secret", os.getpid())
        found.close()
        assert find("small") is None
        monkeypatch.setattr(announcement, "__version__", "0.0.1")
        assert find("tiny.en") is None
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert find("tiny.en") is None
    assert not list(cache.rglob("*.sock*"))


def test_socket_is_for_its_user_only(cache: Path) -> None:
    with published(Announcement(SilentObserver())):
        assert stat.S_IMODE(place().stat().st_mode) == 0o600
        place().chmod(0o666)  # somebody else may have it
        assert find("tiny.en") is None


def test_socket_of_another_user_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with published(Announcement(SilentObserver())):
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert find("tiny.en") is None


def test_socket_of_a_killed_server_is_replaced(cache: Path) -> None:
    place().parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(place()))
    assert place().exists() and find("tiny.en") is None
    with published(Announcement(SilentObserver())):
        found = find("tiny.en")
        assert found is not None
        found.close()


def test_second_server_leaves_the_first_one_its_socket(cache: Path) -> None:
    with published(Announcement(SilentObserver())):
        with Announcement(SilentObserver()).publish(place(), "http://127.0.0.1:10", "other"):
            pass
        found = find("tiny.en")
        assert found is not None and found.token == "secret"
        found.close()


def test_whatever_else_is_at_the_place_of_the_socket_is_no_server(cache: Path) -> None:
    place().parent.mkdir(parents=True)
    place().write_text("{}")
    assert find("tiny.en") is None
    place().unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place()))
        place().chmod(0o600)
        other.listen()

        def answer() -> None:
            with other.accept()[0] as connection:
                connection.sendall(b"[]\n")

        threading.Thread(target=answer, daemon=True).start()
        assert find("tiny.en") is None


def test_progress_reaches_the_client_until_it_leaves(cache: Path) -> None:
    class Listener(SilentObserver):
        def __init__(self) -> None:
            self.heard: list[tuple[str, float]] = []
            self.came = threading.Event()

        def audio_recognized(self, recording: str, seconds: float) -> None:
            self.heard.append((recording, seconds))
            self.came.set()

    feed, listener = Announcement(SilentObserver()), Listener()
    with published(feed):
        found = find("tiny.en")
        assert found is not None
        found.report(listener)
        for _ in range(200):  # the server may not have noted the connection yet
            feed.audio_recognized("7", 30.0)
            if listener.came.wait(0.05):
                break
        assert listener.heard[0] == ("7", 30.0)
        found.close()
        for _ in range(20):
            feed.audio_recognized("7", 60.0)


@contextmanager
def running_server(cache: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A `serve` that commands with this cache directory find."""
    serve = [*COMMAND, "serve", "--port", "0", "--local-model", "tiny.en", *options]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None and "listens on" in server.stderr.readline()
            deadline = threading.Event()
            while not list(cache.rglob("*.sock")):
                assert not deadline.wait(0.05)
            yield server
        finally:
            with suppress(ProcessLookupError):
                server.kill()


@pytest.mark.engine
@pytest.mark.waits
def test_running_server_gives_the_same_bytes_as_the_own_engine_even_if_it_ends(cache: Path, tmp_path: Path) -> None:
    talk, other = (str(speech.write_wav(tmp_path / name, speech.say("The last train left at noon.")))
                   for name in ("talk.wav", "other.wav"))  # fmt: skip
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [*COMMAND, "transcribe", *LOCAL, "--no-cache", "-w", "-v", talk]

    def without_id(text: str) -> list[str]:
        return [line for line in text.splitlines() if "request_id" not in line]

    with running_server(cache, "--require-key", "--max-bytes", "1") as server:
        using = f"using the running server (pid {server.pid})"
        found = find("tiny.en")
        assert found is not None
        with closing(found), urlopen(f"{found.base_url}/") as answer:
            assert json.load(answer)["engine"]["model"] == "tiny.en"
        done = subprocess.run([*command, "-f", "json"], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and using in done.stderr, done.stderr
        both = [*command, other, "-j", "1", "-f", "json", "--output-dir", str(tmp_path / "out")]
        with subprocess.Popen(both, env=environment, stderr=subprocess.PIPE, text=True) as client:
            assert client.stderr is not None
            while using not in client.stderr.readline():
                assert client.poll() is None
            server.send_signal(signal.SIGTERM)
            _, messages = client.communicate(timeout=120)
        server.wait(30)
        assert not list(cache.rglob("*.sock"))
    assert client.returncode == 0 and messages.count("the running server has ended") == 1, messages
    for name in ("talk", "other"):
        text = (tmp_path / "out" / f"{name}.json").read_text("utf-8")
        assert without_id(text) == without_id(done.stdout.replace("talk", name))


@pytest.mark.engine
@pytest.mark.waits
def test_a_running_server_that_is_stopped_is_not_waited_for(cache: Path, tmp_path: Path) -> None:
    talk = speech.write_wav(tmp_path / "talk.wav", np.concatenate([speech.say("The last train left at noon.")] * 9))
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [*COMMAND, "transcribe", *LOCAL, "--no-cache", "-v", "-j", "1", str(talk)]
    with (
        running_server(cache) as server,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client,
    ):
        assert client.stderr is not None
        while "using the running server" not in client.stderr.readline():
            assert client.poll() is None
        server.send_signal(signal.SIGSTOP)
        out, messages = client.communicate(timeout=120)
    assert client.returncode == 0 and "last train" in out, messages
    assert messages.count("the running server does not respond: loading the model here") == 1, messages


def test_a_stopped_server_is_told_from_a_slow_one_by_its_heartbeats(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(announcement, "SILENT_SECONDS", 0.5)
    with published(Announcement(SilentObserver())):
        servers = [find("tiny.en") for _ in range(2)]
        stopped, ended = [found for found in servers if found is not None]
        for found in (stopped, ended):
            found.report(SilentObserver())
        client = BatchClient(stopped.base_url, None)
        backend = Backend(client, LocalServerObserver(Reporter()), local=True, found=stopped)
        threading.Event().wait(1.0)
        backend.check_server()
        ended.close()
        monkeypatch.setattr(announcement, "HEARTBEAT_SECONDS", 60.0)
        deadline = time.monotonic() + 30
        while not stopped.is_silent and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        with pytest.raises(NetworkError, match="does not respond"):
            backend.check_server()
    assert not ended.is_silent  # requests to it fail by themselves
    stopped.close()


def test_a_live_session_looks_for_a_running_server_two_seconds_and_for_others_as_long_as_it_may(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    config = SessionConfig(
        source="talk.wav", endpoint=MANUAL, options=RealtimeOptions(model="ink-whisper"), model="ink-whisper",
        endpointing=VadSettings(),
        finalize=False, stream_options=StreamOptions(reconnect=60.0), targets={"text": None}, layout=Layout(),
    )  # fmt: skip
    monkeypatch.setattr(ws_connect, "_Connect", refuse)
    with published(Announcement(SilentObserver())):
        found = find("tiny.en")
        assert found is not None
        for server, shortest, longest in (
            (ChosenServer(found.base_url, None, local=True, found=found), 0.0, 2.0),
            (ChosenServer(found.base_url, None, local=True), 30.0, 60.0),
        ):
            loop, reporter = SimulatedTimeLoop(), Reporter(io.StringIO())
            monkeypatch.setattr(ws_connect, "time", SimpleNamespace(monotonic=loop.time))
            with reporter.live_view() as view:
                connecting = LiveSession(config, server, reporter, view)._connect(True).__aenter__()
                with pytest.raises(NetworkError):
                    loop.run_until_complete(connecting)
            assert shortest <= loop.time() <= longest
            loop.close()
        found.close()


@pytest.mark.engine
@pytest.mark.waits
def test_live_sessions_use_the_running_server_and_outlive_it(cache: Path, tmp_path: Path) -> None:
    first, rest = "Every window of the house was open.", "Nobody was on the platform."
    audio = [speech.silence(0.5), speech.say(first), speech.silence(1.5), speech.say(rest), speech.silence(0.5)]
    recording = speech.write_wav(tmp_path / "talk.wav", np.concatenate(audio))
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    stream = [*COMMAND, "stream-file", str(recording), *LOCAL, "-f", "ndjson", "-w", "-v"]

    def words(lines: list[str]) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in lines]
        return [word for event in events if event["type"] == "segment" for word in event["words"]]

    with running_server(cache) as server:
        using = f"using the running server (pid {server.pid})"

        def transcribe(mode: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*stream, "--mode", mode], env=environment, capture_output=True, text=True)

        for done in side_by_side(transcribe, ["auto", "manual"]):
            assert done.returncode == 0 and using in done.stderr, done.stderr
            heard = words(done.stdout.splitlines())
            assert [word["word"].strip() for word in heard] == f"{first} {rest}".split()
            starts = [word["start"] for word in heard]
            assert starts == sorted(starts)
            assert abs(starts[7] - sum(map(len, audio[:3])) / speech.RATE) < 0.3
        with subprocess.Popen(
            [*stream, "--reconnect", "1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as client:
            assert client.stdout is not None
            before = []
            while not words(before):
                before.append(client.stdout.readline())
            server.kill()
            after, talk = client.communicate()
    lines = before + after.splitlines()
    assert client.returncode == 6 and using in talk
    assert "".join(word["word"] for word in words(lines)).strip().startswith(first)
    assert json.loads(lines[-1])["complete"] is False
    error = json.loads(talk.splitlines()[-1])["error"]
    assert error["type"] == "network" and "was lost" in error["message"]
    assert error["hint"].startswith("`serve` has ended: run the same command again")
    command = shlex.split(error["hint"].rpartition("all of it at once: ")[2])
    done = subprocess.run([*COMMAND, *command[1:]], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == f"{first} {rest}"
