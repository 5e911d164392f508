"""`transcribe --dask`: on worker processes of a cluster, one of which is killed, and by Dask's own commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from cartesia_cli.errors import Exit

from .conftest import Transcribe
from .fault_server import FaultServer, environment, write_wav
from .file_server import FileServer
from .fork_server import run_program, start_program
from .naming_service import NamingService

if TYPE_CHECKING:
    from distributed import LocalCluster

pytestmark = pytest.mark.waits

SAMPLE = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"
WORKER_KEY = "sk_car_test_of_the_w0rk3rs"


@pytest.fixture(scope="module")
def service() -> NamingService:
    service = NamingService()
    service.seconds = 0.05
    return service


@pytest.fixture(scope="module")
def server(service: NamingService) -> Iterator[FaultServer]:
    with FaultServer(service) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two worker processes, which have another home, working directory and key than the client."""
    from distributed import LocalCluster  # here: every worker of a run imports this module, and one needs it

    home = tmp_path_factory.mktemp("worker")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=str(home),
        env={"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "CARTESIA_API_KEY": WORKER_KEY},
    ) as cluster:  # fmt: skip
        yield cluster


@pytest.fixture
def talks(tmp_path: Path) -> list[str]:
    """Recordings in a folder, of different lengths, so that no two are alike."""
    (tmp_path / "talks").mkdir()
    names = [f"{number:02}.wav" for number in range(40)]
    for number, name in enumerate(names):
        write_wav(tmp_path / "talks" / name, 3244 + 32 * number)
    return names


@pytest.fixture
def env(tmp_path: Path, server: FaultServer) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", server.base_url, CARTESIA_TRANSCRIBE_JOBS=None)


@pytest.fixture
def transcribe(tmp_path: Path, env: dict[str, str]) -> Transcribe:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_program(["transcribe", *map(str, arguments)], env=env, cwd=tmp_path, text=True)

    return run


def texts(output: str) -> list[str]:
    return [json.loads(line)["text"] for line in output.splitlines()]


def test_recordings_of_a_killed_worker_are_transcribed_by_another(
    cluster: LocalCluster, transcribe: Transcribe, service: NamingService, talks: list[str]
) -> None:
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))
    before = len(service.names)

    def kill() -> None:
        while len(service.names) < before + 10:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    done = transcribe("talks", "-f", "ndjson", "--dask", cluster.scheduler_address)
    killer.join()
    assert done.returncode == Exit.DONE, done.stderr
    assert texts(done.stdout) == [f"This is {name}." for name in talks]
    uploads = service.names[before:]
    assert set(uploads) == set(talks)
    assert len(uploads) <= len(talks) + 1
    assert f"{len(talks)} of {len(talks)} transcribed" in done.stderr


def test_workers_use_their_own_key_and_cache(
    cluster: LocalCluster, transcribe: Transcribe, service: NamingService, talks: list[str], tmp_path: Path
) -> None:
    arguments = ["talks/00.wav", "talks/01.wav", "--dask", cluster.scheduler_address, "-f", "ndjson"]
    first = transcribe(*arguments)
    assert first.returncode == Exit.DONE, first.stderr
    before = len(service.names)
    second = transcribe(*arguments)
    assert second.stdout == first.stdout
    assert "from cache, 0 credits" in second.stderr
    assert len(service.names) == before
    assert service.keys == {f"Bearer {WORKER_KEY}"}
    assert not (tmp_path / "home" / ".cache").exists()


@pytest.mark.parametrize(
    ("option", "sent", "said"),
    [("--insecure-http", None, "no key is sent"), ("--insecure-http-key", f"Bearer {WORKER_KEY}", "with the key")],
)
def test_workers_send_their_key_over_plain_http_only_if_that_is_asked_for(
    cluster: LocalCluster, transcribe: Transcribe, server: FaultServer, talks: list[str], option: str,
    sent: str | None, said: str,
) -> None:  # fmt: skip
    elsewhere = f"http://0.0.0.0:{server.port}"  # not an address of this machine
    before = len(server.requests)
    done = transcribe(f"talks/{talks[0]}", "--dask", cluster.scheduler_address, "--base-url", elsewhere, option,
                      "--no-cache")  # fmt: skip
    assert done.returncode == Exit.DONE, done.stderr
    assert [request.header("Authorization") for request in server.requests[before:]] == [sent]
    assert f"unencrypted: {said}" in done.stderr


def test_interrupt_cancels_what_is_not_begun_and_keeps_what_is(
    cluster: LocalCluster, transcribe: Transcribe, env: dict[str, str], service: NamingService, tmp_path: Path
) -> None:
    """Workers finish what they have begun, and the next run finds it in their cache."""
    (tmp_path / "more").mkdir()
    for number in range(20):
        write_wav(tmp_path / "more" / f"{number:02}.wav", 9044 + 32 * number)
    before = len(service.names)
    service.go_on.clear()
    command = ["transcribe", "more", "--dask", cluster.scheduler_address, "--output-dir", "out"]
    try:
        with start_program(command, env=env, cwd=tmp_path, text=True, stderr=subprocess.PIPE) as program:
            while len(service.names) == before:
                assert program.poll() is None
                time.sleep(0.01)
            program.send_signal(signal.SIGINT)
            _, messages = program.communicate(timeout=30)
    finally:
        service.go_on.set()
    assert program.returncode == Exit.INTERRUPTED
    assert f"--dask {cluster.scheduler_address}" in messages.partition("to do the rest:")[2]
    begun = -1
    while begun != len(service.names) - before:  # until the workers have ended what they had begun
        begun = len(service.names) - before
        time.sleep(2.0)
    assert begun <= 8
    done = transcribe(*command[1:], "--resume")
    assert done.returncode == Exit.DONE, done.stderr
    assert f"{begun} from cache" in done.stderr
    assert len(service.names) == before + 20


def test_workers_transcribe_segments_and_channels_like_this_machine(
    cluster: LocalCluster, transcribe: Transcribe, tmp_path: Path
) -> None:
    voice, rate = soundfile.read(SAMPLE, dtype="int16")
    soundfile.write(tmp_path / "call.wav", np.stack([voice, voice[::-1]], axis=1), rate)
    line = {"audio_filepath": "call.wav", "offset": 2, "duration": 3, "speaker": "a"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    arguments: list[list[object]] = [
        ["in.jsonl", "--output-manifest", "out.jsonl"],
        ["call.wav", "--speakers-by-channel", "Ann,Bob", "-f", "json"],
    ]
    for words in arguments:
        on_cluster = transcribe(*words, "--no-cache", "--dask", cluster.scheduler_address)
        assert on_cluster.returncode == Exit.DONE, on_cluster.stderr
        written = (tmp_path / "out.jsonl").read_text()
        here = transcribe(*words, "--no-cache", "--force")
        assert (here.stdout, (tmp_path / "out.jsonl").read_text()) == (on_cluster.stdout, written)
    assert written == json.dumps(line | {"pred_text": "This is call@2-5.flac."}) + "\n"
    assert '"speaker": "Bob"' in on_cluster.stdout


def test_workers_download_recordings_from_urls(cluster: LocalCluster, transcribe: Transcribe, tmp_path: Path) -> None:
    with FileServer({"/a/talk.wav": SAMPLE.read_bytes()}) as files:
        line = {"audio_filepath": f"{files.url}/a/talk.wav", "speaker": "a"}
        (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
        arguments = ["in.jsonl", "--output-manifest", "out.jsonl", "--output-dir", "out", "--no-cache"]
        arguments += ["--dask", cluster.scheduler_address]
        done = transcribe(*arguments)
        assert done.returncode == Exit.DONE, done.stderr
        written = json.loads((tmp_path / "out.jsonl").read_text())
        assert written == line | {"duration": pytest.approx(10.8, abs=0.1), "pred_text": "This is talk.wav."}
        assert [path.read_text() for path in (tmp_path / "out").glob("*/a/talk.txt")] == ["This is talk.wav.\n"]
        downloads = len(files.requests)
        assert "1 of 1 already done" in transcribe(*arguments, "--resume").stderr
        assert len(files.requests) == downloads


def test_scheduler_and_worker_started_by_the_commands_of_dask(
    transcribe: Transcribe, env: dict[str, str], talks: list[str], tmp_path: Path
) -> None:
    dask = Path(sys.executable).with_name("dask")
    file = tmp_path / "scheduler.json"
    commands = [
        [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file],
        [dask, "worker", "--scheduler-file", file, "--nthreads", "2", "--no-nanny", "--no-dashboard"],
    ]
    with (tmp_path / "log").open("wb") as log:
        programs = [subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log) for command in commands]
        try:
            while not file.exists():
                assert programs[0].poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            done = transcribe("talks", "--dask", "scheduler.json", "--output-dir", "out")
        finally:
            for program in reversed(programs):
                program.terminate()
                program.wait()
    assert done.returncode == Exit.DONE, done.stderr
    assert [(tmp_path / "out" / f"{name[:-4]}.txt").read_text() for name in talks] == [
        f"This is {name}.\n" for name in talks
    ]


@pytest.mark.engine
def test_workers_without_a_server_load_their_own_engine(
    cluster: LocalCluster, tmp_path: Path, transcribe: Transcribe
) -> None:
    shutil.copy(SAMPLE, tmp_path / "a.wav")
    tiny = ["--local", "--local-model", "tiny.en"]
    done = transcribe("a.wav", *tiny, "--dask", cluster.scheduler_address, "-v")
    assert done.returncode == Exit.DONE, done.stderr
    assert done.stdout.startswith("This is the sample recording of ")
