"""Runs blocking work in a daemon thread, so that work that never returns blocks neither its caller nor program exit.

Made for calls that may hang outside Python, where no timeout reaches them: a stuck sound server, a slow upload, a
resolver. Executors aren't suitable, because the interpreter joins their threads at exit.

Must never wait for a thread without a limit: the caller decides how long to wait for a result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


_with_temporary_files: list[threading.Thread] = []


def start_daemon_thread(work: Callable[[], T], name: str, *, has_temporary_files: bool = False) -> Future[T]:
    """Start `work` and return at once. The future gets its result, or whatever it raised.

    `future.result(seconds)` waits with a deadline (TimeoutError), `concurrent.futures.wait({future}, seconds)` without
    an exception. It can't be cancelled: work whose result isn't needed any more continues until it returns or the
    program ends.

    has_temporary_files   whether it leaves files behind if the program ends before it: see `wait_for_temporary_files`
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    if has_temporary_files:
        _with_temporary_files.append(thread)
    thread.start()
    return future


def wait_for_temporary_files(seconds: float) -> None:
    """Wait up to `seconds` until threads that have temporary files have removed them."""
    deadline = time.monotonic() + seconds
    for thread in _with_temporary_files:
        thread.join(max(0.0, deadline - time.monotonic()))


def start_daemon_thread_async(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """The same as an awaitable of the running loop, which needn't be awaited: an unread exception isn't logged.

    Cancelling it, or closing the loop, only drops the result.
    """
    import asyncio

    future = asyncio.wrap_future(start_daemon_thread(work, name))
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # marks the exception as read
    return future
