"""Calls functions on the workers of a Dask cluster, one future a call, from any number of threads.

By distributed, which comes with the extra [dask]. Dask decides which worker does a call, gives the calls of a lost
worker to another, up to its `allowed-failures`, and repeats a call that fails unexpectedly. Errors of this program
(CliError) are results to Dask, and raised where the call was made.

Workers need the same version of this package, and their own API key. Must never send a key to the scheduler, nor show
in its dashboard what a call is about: the names of tasks are random.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .. import __version__
from ..errors import CliError, EngineError, InputError, NetworkError, Stopped, UsageError

if TYPE_CHECKING:  # an extra
    from distributed import Client, Future

R = TypeVar("R")

PACKAGE = "cartesia-cli"
INSTALL_COMMAND = "pip install 'cartesia-cli[dask]'"
SAME_VERSION_HINT = "install the same version of cartesia-cli on all workers as here"
SHARED_FILES_HINT = "workers need the recordings under the same paths as here, as on a shared file system, or by URL"
ADDRESS_HINT = "name a scheduler as tcp://HOST:8786, or the file of `dask scheduler --scheduler-file FILE`"

CONNECT_SECONDS = 10.0
COUNT_SECONDS = 2.0
"""How often threads of workers are counted, at most: workers may join and leave."""

RETRIES = 2
"""Further attempts at a call that fails unexpectedly, as on a worker that is out of memory."""


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What a worker returns.

    pickled_value   unless there is an error
    worker          its address and the name of its host
    """

    worker: str
    pickled_value: bytes = b""
    error: CliError | None = None


class DaskCluster:
    """A connection to the scheduler of a cluster. Any thread may use it.

    address   of the scheduler, such as tcp://host:8786, or the path of its scheduler file
    threads   of all workers, as of the last call that has ended

    Raises UsageError if distributed is missing, the address can't be one, or a worker has another version of this
    package; NetworkError if the scheduler can't be reached.
    """

    def __init__(self, address: str) -> None:
        import asyncio

        try:
            import distributed
        except ImportError as error:
            raise UsageError(f"--dask needs an extra ({error.name} is missing)", hint=INSTALL_COMMAND) from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is raised, too
        self._address, self._is_cancelled = _scheduler_address(address), False
        self._futures: set[Future] = set()
        self._lock, self._next_count = threading.Lock(), 0.0
        try:
            asyncio.run(_connect(self._address))  # a Client that can't connect can't be closed, either
            self._client: Client = distributed.Client(self._address, timeout=CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            raise NetworkError(
                f"the Dask scheduler at {self._address} can't be reached",
                hint="is it running? `dask scheduler` starts one",
            ) from error
        except ValueError as error:
            raise UsageError(f"{address} is not the address of a Dask scheduler: {error}", hint=ADDRESS_HINT) from error
        try:
            self._check_versions()
            self.threads = self._count_threads()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(self, function: Callable[[], R], name: str) -> R:
        """Call a function of this package (a partial) on some worker, and wait for what it returns.

        name   of what it is about, for errors

        Raises CliError if the function raises one, or no worker could do it; Stopped after `cancel`.
        """
        from uuid import uuid4

        payload = pickle.dumps(function)
        future = self._client.submit(
            _run_on_worker, __version__, payload, key=f"{PACKAGE}-{uuid4().hex}", pure=False, retries=RETRIES
        )
        self._futures.add(future)
        try:
            if self._is_cancelled:
                raise Stopped
            outcome = self._wait(future, name)
            self._update_threads()
        finally:
            self._futures.discard(future)
        if outcome.error is not None:
            raise _with_worker(outcome.error, outcome.worker)
        value: R = pickle.loads(outcome.pickled_value)
        return value

    def cancel(self) -> None:
        """Cancel all calls. Workers finish what they are doing, and its result is lost."""
        self._is_cancelled = True
        self._client.cancel(list(self._futures), force=True)

    def close(self) -> None:
        """Cancel all calls, and disconnect."""
        if self._futures:
            self.cancel()
        self._client.close()

    def _wait(self, future: Future, name: str) -> CallOutcome:
        from distributed import KilledWorker

        try:
            outcome: CallOutcome = future.result()
        except CancelledError as error:
            if self._is_cancelled:
                raise Stopped from error
            gone = NetworkError(
                f"the Dask scheduler at {self._address} is gone", hint="start it again, then run the command again"
            )
            gone.stops_batch = True
            raise gone from error
        except KilledWorker as error:
            raise EngineError(
                f"{name}: every Dask worker that tried it was lost",
                hint="look into the log of the workers: is their memory too small?",
            ) from error
        except Exception as error:
            raise EngineError(
                f"{name}: a Dask worker failed: {type(error).__name__}: {error}",
                hint=SAME_VERSION_HINT if isinstance(error, ImportError) else "look into the log of the workers",
            ) from error
        return outcome

    def _update_threads(self) -> None:
        """Count the threads again, but not after each call."""
        with self._lock:
            if time.monotonic() < self._next_count:
                return
            self._next_count = time.monotonic() + COUNT_SECONDS
        with suppress(Exception):  # the next call says what is wrong
            self.threads = self._count_threads()

    def _count_threads(self) -> int:
        return sum(self._client.nthreads().values())

    def _check_versions(self) -> None:
        from importlib.metadata import version

        found: dict[str, Any] = self._client.run(version, PACKAGE, on_error="return")
        for worker, other in found.items():
            if isinstance(other, ImportError):
                raise UsageError(f"the Dask worker {worker} has no cartesia-cli", hint=SAME_VERSION_HINT)
            if isinstance(other, str) and other != __version__:
                raise _version_error(worker, other, __version__)


def worker_threads() -> int:
    """How many calls the worker of this process does at once."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _scheduler_address(address: str) -> str:
    """The address itself, or the one in a scheduler file. Raises UsageError for what is neither."""
    if ":" in address and not os.path.exists(address):
        return address
    try:
        with open(address, "rb") as file:
            return str(json.load(file)["address"])
    except OSError as error:
        raise UsageError(f"the scheduler file {address} can't be read: {error.strerror}", hint=ADDRESS_HINT) from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{address} is not a scheduler file of Dask", hint=ADDRESS_HINT) from error


async def _connect(address: str) -> None:
    """Raises OSError if a scheduler can't be reached, ValueError if it has an address of an unknown kind."""
    from distributed.core import connect
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    comm = await connect(address, timeout=CONNECT_SECONDS, **arguments)
    await comm.close()


def _run_on_worker(client_version: str, payload: bytes) -> CallOutcome:
    """What a worker does. The payload is opaque to Dask, because only the same version can read it."""
    from distributed import get_worker

    worker = f"{get_worker().address} on {socket.gethostname()}"
    if client_version != __version__:
        return CallOutcome(worker, error=_version_error(worker, __version__, client_version))
    function = pickle.loads(payload)
    try:
        return CallOutcome(worker, pickle.dumps(function()))
    except CliError as error:
        return CallOutcome(worker, error=error)


def _version_error(worker: str, found: str, expected: str) -> UsageError:
    error = UsageError(
        f"the Dask worker {worker} has cartesia-cli {found}, and this is {expected}", hint=SAME_VERSION_HINT
    )
    error.stops_batch = True
    return error


def _with_worker(error: CliError, worker: str) -> CliError:
    """Say on which worker a recording can't be used: others may have it."""
    if isinstance(error, InputError):
        error.message += f" (by the Dask worker {worker})"
        error.hint = SHARED_FILES_HINT
    return error
