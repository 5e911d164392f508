"""Several recordings at once on this machine: the same results, progress for each, and no time limit on waiting."""

from __future__ import annotations

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cartesia_cli.client import BatchClient, ConcurrencyLimit, DeadlineExceeded, Upload
from cartesia_cli.commands import backend
from cartesia_cli.commands.backend import Backend, BackendConfig, concurrency_limit, open_backend
from cartesia_cli.commands.local_extra import LocalServerObserver
from cartesia_cli.errors import ApiError, CliError, InputError, NetworkError, ProtocolError
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.batch import BatchOptions
from cartesia_cli.server import capacity
from cartesia_cli.server.capacity import Machine
from cartesia_cli.server.observer import RECORDING_HEADER
from tests import speech
from tests.conftest import Run
from tests.fault_server import FaultServer, environment, write_wav
from tests.fork_server import run_program

LOCAL = BackendConfig(None)


def make_backend(*, local: bool, jobs: int) -> Backend:
    client = BatchClient("http://127.0.0.1:1", None)
    return Backend(client, LocalServerObserver(Reporter()), local=local, jobs=jobs)


@pytest.mark.engine
@pytest.mark.waits
def test_transcripts_do_not_depend_on_jobs(run: Run, tmp_path: Path) -> None:
    sentences = ["The last train left at noon.", "A good map is worth more than a good memory."]
    (tmp_path / "talks").mkdir()
    for number, sentence in enumerate(sentences):
        speech.write_wav(tmp_path / "talks" / f"{number}.wav", np.tile(speech.say(sentence), 1 + number))
    for jobs in (1, 2):
        folder = f"out{jobs}"
        done = run("transcribe", "talks", "--local", "--jobs", jobs, "-f", "json", "--output-dir", folder, "--no-cache")
        assert done.returncode == 0, done.stderr
    one, two = (sorted((tmp_path / folder).rglob("*.json")) for folder in ("out1", "out2"))
    assert [file.name for file in one] == [file.name for file in two] == ["0.json", "1.json"]
    assert [without_id(file) for file in one] == [without_id(file) for file in two]
    assert b"The last train left at noon." in one[0].read_bytes()


def without_id(file: Path) -> bytes:
    text = file.read_bytes()
    return text.replace(json.loads(text)["request_id"].encode(), b"")


@pytest.mark.engine
def test_local_server_refuses_none_of_many_requests_and_reports_the_progress_of_each(tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{tenths}.wav", 44 + 3200 * tenths) for tenths in range(1, 25)]
    options = BatchOptions(model="ink-whisper")
    with (
        open_backend(LOCAL, Reporter(), retries=None, limit=ConcurrencyLimit(len(files))) as opened,
        ThreadPoolExecutor(len(files)) as pool,
    ):

        def transcribe(file: Path) -> float:
            done = opened.track_recording()
            deadlines = opened.deadlines(file.stat().st_size, None, None)
            upload = Upload(file, file.name, "audio/wav")
            opened.client.transcribe(upload, options, deadlines=deadlines, headers=done.headers)
            return done.recognized_seconds

        assert list(pool.map(transcribe, files)) == [pytest.approx(tenths / 10) for tenths in range(1, 25)]


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (NetworkError("the connection was lost"), True),
        (ProtocolError("cut short"), True),
        (DeadlineExceeded("no response for 5 s", final=True), False),
        (ApiError("internal error", status=500), False),
        (InputError("no audio"), False),
    ],
)
def test_work_of_a_serve_that_ends_goes_on_in_this_process(error: CliError, goes_on: bool) -> None:
    serve, own = (BatchClient(f"http://127.0.0.1:{port}", None) for port in (1, 2))
    opened: list[BatchClient] = []

    def open_own() -> BatchClient:
        opened.append(own)
        return own

    def send(client: BatchClient) -> str:
        if client is serve:
            raise error
        return "text"

    shared = Backend(serve, LocalServerObserver(Reporter()), local=True, open_own=open_own)
    for _ in range(2):
        if goes_on:
            assert shared.request(send) == "text"
        else:
            with pytest.raises(type(error)):
                shared.request(send)
    assert opened == [own] * goes_on
    with pytest.raises(type(error)):
        Backend(serve, LocalServerObserver(Reporter()), local=True).request(send)


def test_progress_is_forgotten_with_its_recording() -> None:
    observer = LocalServerObserver(Reporter())
    one, two = observer.track_recording(), observer.track_recording()
    name = one.headers[RECORDING_HEADER]
    observer.audio_recognized(name, 3.0)
    assert (one.recognized_seconds, two.recognized_seconds) == (3.0, 0.0)
    del one
    gc.collect()
    observer.audio_recognized(name, 4.0)
    observer.audio_recognized("", 5.0)
    assert two.recognized_seconds == 0.0
    assert len(observer._recordings) == 1


def test_requests_to_other_servers_name_no_recording(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav")
    (tmp_path / "home").mkdir()
    with FaultServer("fine") as server:
        env = environment(tmp_path / "home", server.base_url)
        assert run_program(["transcribe", "talk.wav"], env=env, cwd=tmp_path).returncode == 0
        assert RECORDING_HEADER.lower() not in {name.lower() for name, _ in server.requests[0].headers}


@pytest.mark.parametrize("jobs", [1, 4])
def test_time_limits_of_local_requests_leave_time_for_the_turns_of_the_others(jobs: int) -> None:
    limits = make_backend(local=True, jobs=jobs).deadlines(size=64_000, seconds=2.0, timeout=None)
    slowest_turn = backend.MAX_TURN_SECONDS / backend.MIN_LOCAL_SPEED
    assert limits.response > (jobs - 1) * slowest_turn + jobs * 2.0 / backend.MIN_LOCAL_SPEED
    assert limits.total > limits.response


def test_time_limits_of_other_servers_do_not_depend_on_jobs() -> None:
    one, many = (make_backend(local=False, jobs=jobs).deadlines(64_000, 2.0, None) for jobs in (1, 8))
    assert one == many
    assert make_backend(local=True, jobs=8).deadlines(64_000, 2.0, 7.0).response == 7.0


@pytest.mark.parametrize(("cores", "memory", "jobs"), [(2, None, 2), (64, None, 8), (4, 500_000_000, 1)])
def test_default_jobs_on_this_machine(
    cores: int, memory: int | None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "read_machine", lambda: Machine(cores, memory))
    assert concurrency_limit(None, LOCAL).value == jobs
    assert concurrency_limit(3, LOCAL).value == 3
