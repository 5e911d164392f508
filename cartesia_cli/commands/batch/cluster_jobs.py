"""`--dask`: what a worker of a Dask cluster does with a recording, and the client's side of it.

A worker does what a job does on one machine: it looks its response up in the cache, or else sends the recording to the
server or to an engine that the worker loads once. The client writes all results.
"""

from __future__ import annotations

import atexit
import io
from contextlib import ExitStack
from functools import partial
from threading import Lock

from ...client import ConcurrencyLimit
from ...errors import AuthError
from ...output.console import Reporter
from ...record import Record
from ...scale.dask_cluster import DaskCluster, worker_threads
from .. import backend
from ..backend import BackendConfig
from ..option_sources import load_configuration
from ..options import ServerOptions
from .config import BatchConfig
from .job import Job
from .transcriber import TranscribedJob, transcribe_job

CALLS_PER_THREAD = 2
"""Recordings that are given to the cluster at once, per thread of its workers: none of them waits for the client."""

MIN_CALLS = 8
"""As long as the cluster has few workers or none: more may join."""

MAX_CALLS = 1024
"""Each waits in a thread of the client."""

KEY_HINT = "set CARTESIA_API_KEY in the environment of the workers"


class WorkerConfig(Record):
    """What all recordings of a run have in common, as far as workers need it. It contains no key.

    batch      without a cache: workers have their own
    backend    without a credential: workers have keys of their own; its base_url None: an engine on the worker
    """

    batch: BatchConfig
    backend: BackendConfig
    retries: int | None
    no_cache: bool
    verbose: bool


class ClusterJobs(DaskCluster):
    """A connection to a cluster that transcribes the recordings of a run, as a context. Any thread may use it.

    address   of the cluster's scheduler, or its scheduler file
    local     whether its workers have engines of their own

    Errors are those of DaskCluster.
    """

    def __init__(self, address: str, config: WorkerConfig, reporter: Reporter) -> None:
        super().__init__(address)
        self._config, self._reporter = config, reporter
        self.local = config.backend.base_url is None

    def limit(self, jobs: int | None) -> ConcurrencyLimit:
        """How many recordings are with the cluster at once. `jobs`: what the user asks for, or None."""
        if not self.threads:
            self._reporter.info("the cluster has no workers yet: waiting for one")
        return ConcurrencyLimit(jobs) if jobs else _ClusterLimit(self)

    def transcribe(self, job: Job) -> TranscribedJob:
        """As `transcribe_job`. Raises CliError if the recording fails; Stopped after `cancel`."""
        item = job.input._replace(path=job.input.path.absolute(), fields=None)
        sent = job._replace(input=item, targets={}, response_file=None)
        done, messages = self.call(partial(transcribe_on_worker, sent, self._config), job.input.source)
        for message in messages:
            self._reporter.info(message)
        return done


class _ClusterLimit(ConcurrencyLimit):
    """Keeps all threads of a cluster busy, also those of workers that join later."""

    def __init__(self, cluster: DaskCluster) -> None:
        super().__init__(MAX_CALLS)
        self._cluster = cluster

    @property
    def value(self) -> int:
        return min(self.maximum, max(MIN_CALLS, CALLS_PER_THREAD * self._cluster.threads))


def transcribe_on_worker(job: Job, config: WorkerConfig) -> tuple[TranscribedJob, list[str]]:
    """What a worker does with a recording: the same as a job without a cluster, up to its transcript. Returns messages
    for the user, too.
    """
    messages = io.StringIO()
    reporter = Reporter(messages, {})
    reporter.verbose = config.verbose
    responses = backend.open_cache(config.no_cache, config.backend, config.batch.endpoint, Reporter())
    engine = backend.engine_name(config.backend, config.batch.request.language)
    batch = config.batch._replace(cache=responses, engine=engine)
    done = transcribe_job(job, batch, lambda: _open_backend(config), reporter)
    return done, messages.getvalue().splitlines()


_opened: list[tuple[WorkerConfig, backend.Backend]] = []
_opening = Lock()


def _open_backend(config: WorkerConfig) -> backend.Backend:
    """The connection or engine of this worker process, which is opened once."""
    with _opening:
        found = next((opened for used, opened in _opened if used == config), None)
        if found is None:
            stack = ExitStack()
            atexit.register(stack.close)
            opening = backend.open_backend(
                _choose_backend(config),
                Reporter(),
                retries=config.retries,
                limit=ConcurrencyLimit(worker_threads()),
            )
            found = stack.enter_context(opening)
            _opened.append((config, found))
        return found


def _choose_backend(config: WorkerConfig) -> BackendConfig:
    """The backend that the client chose, with the key of this worker."""
    chosen = config.backend
    try:
        server = ServerOptions(
            local=chosen.base_url is None, base_url=chosen.base_url, api_version=chosen.api_version,
            insecure_http=True, insecure_http_key=chosen.unencrypted_key,
        )  # fmt: skip
        return server.choose(load_configuration({}))._replace(local_model=chosen.local_model)
    except AuthError as error:
        error.hint = KEY_HINT
        raise
