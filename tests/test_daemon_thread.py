"""Daemon threads: results, exceptions and deadlines, and programs that end although the work never does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from cartesia_cli.daemon_thread import start_daemon_thread, start_daemon_thread_async


def raise_error() -> None:
    raise OSError("no such device")


def test_result_and_exception_reach_the_caller() -> None:
    assert start_daemon_thread(lambda: 7, "test").result(15) == 7
    with pytest.raises(OSError, match="no such device"):
        start_daemon_thread(raise_error, "test").result(15)


def test_thread_has_the_name_and_is_a_daemon() -> None:
    thread = start_daemon_thread(threading.current_thread, "looking").result(15)
    assert thread.name == "looking" and thread.daemon


def test_deadline_does_not_wait_for_the_work() -> None:
    release = threading.Event()
    future = start_daemon_thread(release.wait, "test")
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert not future.cancel()
    release.set()
    assert future.result(15)


async def test_async_result_and_exception_reach_the_caller() -> None:
    assert await start_daemon_thread_async(lambda: 7, "test") == 7
    with pytest.raises(OSError, match="no such device"):
        await start_daemon_thread_async(raise_error, "test")


async def test_async_work_finishes_although_its_awaiter_was_cancelled() -> None:
    release, finished = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(15)
        finished.set()

    future = start_daemon_thread_async(work, "test")
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    release.set()
    assert finished.wait(15)


@pytest.mark.parametrize("work", ["threading.Event().wait", "lambda: time.sleep(0.05) or 1 / 0"])
def test_program_exits_silently_without_waiting_for_the_thread(work: str) -> None:
    script = f"""
import asyncio, threading, time
from cartesia_cli.daemon_thread import start_daemon_thread, start_daemon_thread_async
start_daemon_thread({work}, "test")
async def session():
    start_daemon_thread_async({work}, "test")
    await asyncio.sleep(0.1)
asyncio.run(session())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_it_does_not_import_asyncio() -> None:
    script = "import sys, cartesia_cli.daemon_thread; assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
