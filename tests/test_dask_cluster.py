"""Calls on the workers of a Dask cluster: lost workers, errors, versions, cancelling, what the scheduler can see."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cartesia_cli import __version__
from cartesia_cli.errors import ApiError, EngineError, InputError, NetworkError, Stopped, UsageError
from cartesia_cli.scale import dask_cluster
from cartesia_cli.scale.dask_cluster import DaskCluster

if TYPE_CHECKING:
    from distributed import LocalCluster

pytestmark = pytest.mark.waits


def work(number: int) -> tuple[int, int]:
    time.sleep(0.1)
    return number * 2, os.getpid()


def missing(path: Path) -> None:
    raise InputError(f"{path} can't be read: No such file or directory")


def refused(_: object) -> None:
    raise ApiError("the API refused", hint="pay", status=402, request_id="r1")


def fail_and_count(path: Path) -> None:
    with path.open("a") as file:
        file.write("x")
    raise ZeroDivisionError("for some reason")


def wait_for_file(path: Path) -> None:
    path.with_suffix(".started").touch()
    while not path.exists():
        time.sleep(0.02)


def die(_: object) -> None:
    os._exit(1)


def start_cluster(**options: int) -> LocalCluster:
    """A cluster on this machine."""
    from distributed import LocalCluster  # here: every worker of a run imports this module, and one of them needs it

    return LocalCluster(dashboard_address="127.0.0.1:0", **options)


@pytest.fixture(scope="module")
def local_cluster() -> Iterator[LocalCluster]:
    """Two worker processes of one thread each. A call that kills both is given up."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        start_cluster(n_workers=2, threads_per_worker=1) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(local_cluster: LocalCluster) -> Iterator[DaskCluster]:
    local_cluster.wait_for_workers(2, timeout=60)
    with DaskCluster(local_cluster.scheduler_address) as cluster:
        yield cluster


def test_calls_of_a_killed_worker_are_done_by_another(cluster: DaskCluster) -> None:
    assert cluster.threads == 2
    results: dict[int, int] = {}
    killed: list[int] = []

    def call(number: int) -> None:
        results[number], process = cluster.call(partial(work, number), f"number {number}")
        if len(results) >= 10 and not killed:
            killed.append(process)
            os.kill(process, signal.SIGKILL)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(60)))
    assert killed
    assert results == {number: number * 2 for number in range(60)}


def test_call_waits_for_the_first_worker_and_its_threads_are_counted() -> None:
    with (
        start_cluster(n_workers=0, threads_per_worker=3) as own,
        DaskCluster(own.scheduler_address) as cluster,
        ThreadPoolExecutor(1) as pool,
    ):
        assert cluster.threads == 0
        result = pool.submit(cluster.call, partial(work, 4), "a.wav")
        own.scale(1)
        assert result.result(60)[0] == 8
        assert cluster.threads == 3


def test_unusable_recording_names_worker_and_host(cluster: DaskCluster) -> None:
    with pytest.raises(InputError) as caught:
        cluster.call(partial(missing, Path("talks/a.mp3")), "talks/a.mp3")
    assert caught.value.message.startswith(
        "talks/a.mp3 can't be read: No such file or directory (by the Dask worker tcp:"
    )
    assert caught.value.message.endswith(f" on {socket.gethostname()})")
    assert caught.value.hint == dask_cluster.SHARED_FILES_HINT


def test_error_of_the_api_arrives_as_it_was_raised(cluster: DaskCluster) -> None:
    with pytest.raises(ApiError) as caught:
        cluster.call(partial(refused, None), "a.wav")
    error = caught.value
    assert (error.message, error.hint, error.status, error.request_id) == ("the API refused", "pay", 402, "r1")


def test_unexpected_error_is_retried_and_then_reported(cluster: DaskCluster, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^a.wav: a Dask worker failed: ZeroDivisionError: for some reason$"):
        cluster.call(partial(fail_and_count, tmp_path / "count"), "a.wav")
    assert (tmp_path / "count").read_text() == "x" * (1 + dask_cluster.RETRIES)


def test_call_that_kills_its_workers_is_reported(cluster: DaskCluster) -> None:
    with pytest.raises(EngineError, match=r"^a.wav: every Dask worker that tried it was lost"):
        cluster.call(partial(die, None), "a.wav")
    assert cluster.call(partial(work, 4), "b.wav")[0] == 8


def test_cancelled_calls_return_at_once(cluster: DaskCluster, tmp_path: Path) -> None:
    caught: list[type[BaseException]] = []

    def call(number: int) -> None:
        try:
            cluster.call(partial(wait_for_file, tmp_path / f"{number}.end"), "a.wav")
        except Exception as error:
            caught.append(type(error))

    threads = [threading.Thread(target=call, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        while not list(tmp_path.glob("*.started")):
            time.sleep(0.02)
        cluster.cancel()
        for thread in threads:
            thread.join(20)
        assert caught == [Stopped] * 6
        with pytest.raises(Stopped):
            cluster.call(partial(work, 1), "a.wav")
    finally:
        for number in range(6):
            (tmp_path / f"{number}.end").touch()


def test_worker_of_another_version_is_an_error_before_any_call(
    local_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "__version__", "99.0")
    with pytest.raises(UsageError, match=rf"has cartesia-cli {__version__}, and this is 99.0$"):
        DaskCluster(local_cluster.scheduler_address)


def test_worker_of_another_version_that_joins_later_is_an_error(
    cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "__version__", "99.0")
    with pytest.raises(UsageError, match=rf"has cartesia-cli {__version__}, and this is 99.0$") as caught:
        cluster.call(partial(work, 1), "a.wav")
    assert caught.value.stops_batch


def test_scheduler_sees_neither_names_nor_content_of_tasks(
    cluster: DaskCluster, local_cluster: LocalCluster, tmp_path: Path
) -> None:
    thread = threading.Thread(target=cluster.call, args=[partial(wait_for_file, tmp_path / "secret.end"), "secret.wav"])
    thread.start()
    try:
        while not list(tmp_path.glob("*.started")):
            time.sleep(0.02)
        (task,) = local_cluster.scheduler.tasks.values()
        assert task.key.startswith("cartesia-cli-")
        assert "secret" not in f"{task.key} {task.prefix} {task!r}"
    finally:
        (tmp_path / "secret.end").touch()
        thread.join()


def test_scheduler_file_names_the_scheduler(local_cluster: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": local_cluster.scheduler_address}))
    with DaskCluster(str(file)) as cluster:
        assert cluster.call(partial(work, 1), "a.wav")[0] == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("foo://host:1", "foo://host:1 is not the address of a Dask scheduler: unknown address scheme 'foo'"),
        ("missing.json", "the scheduler file missing.json can't be read: No such file or directory"),
        ("pyproject.toml", "pyproject.toml is not a scheduler file of Dask"),
    ],
)
def test_what_is_no_scheduler_is_a_usage_error(address: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        DaskCluster(address)
    assert caught.value.message.startswith(message)


def test_scheduler_that_cannot_be_reached_is_a_network_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NetworkError, match="can't be reached"):
            DaskCluster(address)


def test_lost_scheduler_stops_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": 1}),
        start_cluster(n_workers=1, threads_per_worker=1) as own,
        DaskCluster(own.scheduler_address) as cluster,
    ):
        closing = threading.Timer(0.5, own.close)
        closing.start()
        with pytest.raises(NetworkError, match=r"^the Dask scheduler at tcp:.* is gone$") as caught:
            cluster.call(partial(wait_for_file, tmp_path / "end"), "a.wav")
        assert caught.value.stops_batch
        closing.join()
