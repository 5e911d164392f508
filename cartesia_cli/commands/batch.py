"""Transcribes the recordings of a plan, several at once, and writes the results.

Each recording is a job that a thread does from beginning to end, independent of all others: look up its response in the
cache, or else send it; then write. Files are written at once, and what goes to stdout in input order.

A recording that fails is reported and doesn't stop the others, unless they would all fail for the same reason: a
refused key, exhausted credits, a server that can't be reached, a full disk. Cached responses are not requested again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from ..alignment import count_missing_words
from ..cache import Cache, CachedResponse, Lookup
from ..client import ConcurrencyLimit, LimitClosed, UploadProgress, is_account_error
from ..daemon_thread import start_daemon_thread
from ..errors import CliError, InputError, Interrupted, OutputError
from ..fingerprint import Fingerprint, fingerprint
from ..output import Layout
from ..output.console import ProgressBar, Reporter
from ..output.files import StdoutClosed, write_file, write_stdout
from ..protocol import BatchOptions, BatchResponse, batch_credits, unusable_fields
from ..results import Results
from ..timestamps import clock_time
from ..transcript import Transcript, drop_wrong_times, from_batch
from . import resume
from .backend import Backend
from .batch_plan import FixedPlan, Job, JobPlan
from .channel_jobs import split_job
from .credits import Budget
from .ordered_output import OrderedOutput
from .prepare import TemporaryFolder, materialize
from .remote_inputs import RemoteInputs
from .run_record import RunRecord
from .same_requests import SameRequests
from .upload_audio import Recording, choose_upload, in_recording, with_sound_start
from .write_results import write_results

if TYPE_CHECKING:  # imported only where they are needed, because they import every format
    from .bucket_results import BucketResults
    from .cluster_jobs import ClusterJobs
    from .manifest_results import ManifestResults
    from .matches import MatchWriter, SelectedRows

OTHER_RUN_SECONDS = 0.5
"""How long to wait before looking again whether another run has ended with a recording."""

LONG_AUDIO_SECONDS = 600.0
"""Shorter audio is summed up in seconds, longer in hours and minutes."""

LONG_RUN_SECONDS = 60.0
"""From then on, the summary says how long a run took."""

FEW_INPUTS = 10
"""With more, messages about failures may have scrolled away: they are named again at the end."""

MAX_FAILURES_NAMED = 5

TICK_SECONDS = 0.1
"""How often the main thread looks whether more jobs may run at once."""


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What all recordings of a batch have in common.

    timeout      seconds for one recording; None: as long as its size needs
    cache        responses of the same server; None: neither read nor written
    matches      writes the selected rows of each transcript; None: whole transcripts are written
    manifest     lists the results; None: no manifest is written
    speakers     names of who speaks on each channel, which are transcribed one by one; empty: they are numbered;
                 None: recordings are transcribed as a whole
    bucket       writes the results as objects; None: they are files
    on_written   called with each transcript after its results are written
    """

    options: BatchOptions
    layout: Layout
    endpoint: str
    timeout: float | None
    cache: Cache | None = None
    matches: MatchWriter | None = None
    manifest: ManifestResults | None = None
    speakers: tuple[str, ...] | None = None
    bucket: BucketResults | None = None
    on_written: Callable[[Transcript], None] = lambda transcript: None


class BatchObserver(Protocol):
    """Shows how far the jobs are. Called from their threads; `key` is the number of a job."""

    def started(self, key: int, name: str, seconds: float | None) -> None:
        """A job begins. `seconds`: of audio, if it is known."""

    def update(self, key: int, what: str, done: float = 0.0, total: float | None = None) -> None:
        """What a job is doing, as in "sending", and how much of it is done."""

    def finished(self, key: int, *, seconds: float, credits: float, from_cache: bool) -> None:
        """A job has its transcript, `seconds` long."""

    def failed(self, key: int, *, given_up: bool = False) -> None:
        """A job has no transcript. The reporter prints why, unless it is given up because the run is being stopped."""

    def hidden(self) -> AbstractContextManager[None]:
        """Takes the display off the screen while stdout, which may be the same terminal, is written to."""


class NoProgress:
    """A BatchObserver that shows nothing."""

    def started(self, key: int, name: str, seconds: float | None) -> None: ...

    def update(self, key: int, what: str, done: float = 0.0, total: float | None = None) -> None: ...

    def finished(self, key: int, *, seconds: float, credits: float, from_cache: bool) -> None: ...

    def failed(self, key: int, *, given_up: bool = False) -> None: ...

    def hidden(self) -> AbstractContextManager[None]:
        return nullcontext()


class SingleBar:
    """The progress bar of a run with one recording (a BatchObserver), if stderr is a terminal."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._name = ""
        self._open: AbstractContextManager[ProgressBar] | None = None
        self._bar = ProgressBar()

    def started(self, key: int, name: str, seconds: float | None) -> None:
        self._name = name
        self._open = self._reporter.progress_bar()
        self._bar = self._open.__enter__()

    def update(self, key: int, what: str, done: float = 0.0, total: float | None = None) -> None:
        self._bar.show(f"{what} {self._name}", done, total)

    def finished(self, key: int, *, seconds: float, credits: float, from_cache: bool) -> None:
        self.failed(key)

    def failed(self, key: int, *, given_up: bool = False) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open, self._bar = None, ProgressBar()

    def hidden(self) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(slots=True)
class BatchSummary:
    """Counts what a batch has done so far.

    total, written           inputs
    elsewhere                inputs that another run has transcribed meanwhile
    from_cache               inputs whose response came from the cache
    audio_seconds            of all transcripts
    billed_seconds           of those whose response didn't come from the cache
    elapsed_seconds          since the run began
    """

    total: int = 0
    written: int = 0
    elsewhere: int = 0
    from_cache: int = 0
    audio_seconds: float = 0.0
    billed_seconds: float = 0.0
    local: bool = False
    place: str = "this machine"
    elapsed_seconds: float = 0.0

    def to_text(self) -> str:
        price = f"on {self.place}" if self.local else f"{batch_credits(self.billed_seconds):,.1f} credits"
        if self.from_cache:
            free = self.from_cache == self.written
            price = "from cache, 0 credits" if free else f"{self.from_cache} from cache, {price}"
        others = f" ({self.elsewhere} by another run)" if self.elsewhere else ""
        done = f"{self.written + self.elsewhere} of {self.total} transcribed{others}"
        is_long = self.audio_seconds >= LONG_AUDIO_SECONDS
        audio = clock_time(self.audio_seconds) if is_long else f"{self.audio_seconds:.1f} s"
        return f"{done}, {audio} of audio, {price}{self._speed()}"

    def _speed(self) -> str:
        """How long a run took that took long, and how much faster than real time it was."""
        if self.elapsed_seconds < LONG_RUN_SECONDS:
            return ""
        speed = self.billed_seconds / self.elapsed_seconds
        times = f" ({speed:,.1f} times real time)" if speed else ""
        return f", in {clock_time(self.elapsed_seconds)}{times}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The transcript of a recording.

    job              as it was sent: fetched and probed, if it wasn't before
    body             of the response; None if there are several, one for each channel
    billed_seconds   of audio; 0 if the response came from the cache
    local            whether this machine, or a cluster, has transcribed it
    audio            of the recording, if a worker of a cluster has fetched it
    """

    job: Job
    transcript: Transcript
    body: bytes | None
    billed_seconds: float
    local: bool
    audio: Fingerprint | None = None

    @property
    def credits(self) -> float | None:
        """What it cost; None for what was transcribed locally."""
        return None if self.local else batch_credits(self.billed_seconds)


@dataclass(frozen=True, slots=True)
class Sent:
    """The response to a recording that had to be sent.

    seconds      of audio, by the server
    credits      that it cost
    from_cache   whether it came from the cache after all, because another job has sent the same
    """

    answer: CachedResponse
    seconds: float
    credits: float
    from_cache: bool = False


class RestCommand(Protocol):
    """Makes the command that does the rest of a batch."""

    def __call__(self, left: Sequence[Job] | None, /) -> str:
        """`left`: the jobs that aren't done, or None if there may be others."""


def run_jobs(
    plan: JobPlan,
    config: BatchConfig,
    connect: Callable[[], Backend],
    reporter: Reporter,
    *,
    record: RunRecord | None = None,
    limit: ConcurrencyLimit | None = None,
    budget: Budget | None = None,
    observer: BatchObserver | None = None,
    summary: BatchSummary | None = None,
    remote: RemoteInputs | None = None,
    rest_command: RestCommand | None = None,
    cluster: ClusterJobs | None = None,
) -> int:
    """Transcribe all recordings. Returns the number of inputs that failed, each of which is reported. CliError for a
    failure of the only input, or one that all others would share; Interrupted after Ctrl-C.

    connect        called whenever something has to be sent; must return the same backend each time
    record         what becomes of each recording is recorded here
    limit          of jobs at once; None: one
    budget         what the batch may cost
    observer       shows progress
    summary        is kept up to date; None: one of its own
    remote         saves recordings that are elsewhere; None: there are none
    rest_command   for the hint of an error that stops the batch
    cluster        transcribes the recordings; None: this process does
    """
    with TemporaryFolder() as temporary:
        run = _Run(
            plan,
            config,
            connect,
            reporter,
            record or RunRecord(Results(None)),
            limit or ConcurrencyLimit(1),
            budget or Budget(),
            observer or (SingleBar(reporter) if is_alone(plan) else NoProgress()),
            summary or BatchSummary(),
            temporary,
            remote or RemoteInputs(),
            cluster,
        )
        return run.run(rest_command)


def is_alone(plan: JobPlan) -> bool:
    """Whether a plan has a single input: its failure is that of the run."""
    return plan.complete and len(plan.first) + plan.unusable == 1


def run_job(job: Job, config: BatchConfig, connect: Callable[[], Backend], reporter: Reporter) -> None:
    """Transcribe one recording, as `run_jobs` does."""
    run_jobs(FixedPlan([job]), config, connect, reporter)


def fetch(job: Job, config: BatchConfig, connect: Callable[[], Backend], reporter: Reporter) -> tuple[Fetched, bool]:
    """The transcript of one recording, as each job of `run_jobs` gets it, and whether it came from the cache. No result
    is written. This is what workers of a cluster do.
    """
    with TemporaryFolder() as temporary, RemoteInputs(on_retry=reporter.info) as remote:
        run = _Run(
            FixedPlan([job]),
            config,
            connect,
            reporter,
            RunRecord(Results(None)),
            ConcurrencyLimit(1),
            Budget(),
            NoProgress(),
            summary := BatchSummary(),
            temporary,
            remote,
            None,
        )
        return run.fetch(job), bool(summary.from_cache)


class _Stopped(Exception):
    """The run is being stopped: a job gives up before it costs anything."""


class _Run:
    """One run over a plan. Parameters as of `run_jobs`."""

    def __init__(
        self,
        plan: JobPlan,
        config: BatchConfig,
        connect: Callable[[], Backend],
        reporter: Reporter,
        record: RunRecord,
        limit: ConcurrencyLimit,
        budget: Budget,
        observer: BatchObserver,
        summary: BatchSummary,
        temporary: TemporaryFolder,
        remote: RemoteInputs,
        cluster: ClusterJobs | None,
    ) -> None:
        self._cluster = cluster
        self._plan, self._config, self._connect, self._reporter = plan, config, connect, reporter
        self._record, self._limit, self._budget, self._observer = record, limit, budget, observer
        self._temporary, self._remote = temporary, remote
        self._alone = is_alone(plan)
        self._known = len(plan.first)
        self._are_inputs_counted = plan.complete
        self._summary = summary
        summary.total = self._known + plan.unusable
        self._began = time.monotonic()
        self._failures: list[tuple[int, Job]] = []
        self._jobs = enumerate(plan)
        self._started: dict[int, Job] = {}
        self._done: set[int] = set()
        self._sent: set[int] = set()
        self._same = SameRequests()
        self._deferred: deque[tuple[int, Job]] = deque()
        self._failed = 0
        self._is_over = self._is_waiting = self._is_stopping = self._is_interrupted = False
        self._error: BaseException | None = None
        self._lock, self._plan_lock, self._connect_lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._output = OrderedOutput(self._print, self._write_rows)

    def run(self, rest_command: RestCommand | None) -> int:
        threads: list[Future[None]] = []
        try:
            self._run_threads(threads)
        except Interrupted:
            try:
                self._interrupt(threads)
            finally:  # after another Ctrl-C, too
                with suppress(StdoutClosed, OutputError):
                    self._output.flush()
                self._report_stop(rest_command)
            raise
        else:
            self._output.flush()  # what comes after the first recording that isn't done
        finally:
            self._output.close()
        if self._error is not None:
            rest = self._report_stop(rest_command) if isinstance(self._error, CliError) else ""
            if rest and isinstance(self._error, CliError):
                self._error.hint = "; ".join(filter(None, [self._error.hint, f"then: {rest}"]))
            raise self._error
        self._update_elapsed()
        # Said by default if a response came from the cache: the user may have expected a new one.
        summary = self._summary
        is_news = summary.from_cache or summary.elsewhere or summary.total > 1
        (self._reporter.info if is_news else self._reporter.detail)(summary.to_text())
        if self._failed and summary.total > FEW_INPUTS:
            self._report_failures(rest_command)
        return self._failed + self._plan.unusable

    def fetch(self, job: Job) -> Fetched:
        with self._materialized(0, job) as ready:
            audio = fingerprint(ready.input.path) if job.input.remote else None
            return replace(self._fetch(0, ready), audio=audio)

    def _run_threads(self, threads: list[Future[None]]) -> None:
        """Start as many threads as jobs may run at once, and more when the limit grows; return when all are done."""
        most = len(self._plan.first) if self._plan.complete else self._limit.maximum
        while not threads or wait(threads, TICK_SECONDS).not_done:
            while len(threads) < min(self._limit.value, most) and not self._is_over:
                threads.append(start_daemon_thread(self._do_jobs, "job"))
            if not threads:
                return

    def _do_jobs(self) -> None:
        """What each thread does: one job after the other."""
        try:
            while (numbered := self._next_job()) is not None:
                number, job = numbered
                if not self._record.claim(job.input):
                    self._defer(number, job)
                    continue
                try:
                    self._do_job(number, job)
                finally:
                    self._sent.discard(number)  # only now: a response that has come must be written, too
                    self._record.release(job.input)
        except BaseException as error:
            self._stop(error)

    def _next_job(self) -> tuple[int, Job] | None:
        with self._plan_lock:
            if self._is_stopping:
                return None
            if (numbered := next(self._jobs, None)) is None:
                if not (self._is_over or self._are_inputs_counted):
                    self._record.count_inputs(self._known, self._plan.done)
                self._is_over = True
                if self._deferred:
                    return self._deferred.popleft()
            else:
                self._started[numbered[0]] = numbered[1]
                self._known = max(self._known, numbered[0] + 1)
            self._summary.total = self._known + self._plan.unusable
            return numbered

    def _defer(self, number: int, job: Job) -> None:
        """Come back to a job at the end: another run has its recording in work."""
        self._deferred.append((number, job))
        if not self._is_waiting:
            self._is_waiting = True
            self._reporter.info(f"{job.input.source}: another run is working on it: this one goes on with others")
        if self._is_over:
            time.sleep(OTHER_RUN_SECONDS)

    def _left(self, job: Job) -> Job | None:
        """What is left of a job if another run has ended with its recording meanwhile; None if nothing is."""
        if self._config.bucket is not None:
            return self._config.bucket.left(job)
        return resume.unfinished(job, self._config, self._record) if self._record.is_changed(job.input) else job

    def _do_job(self, number: int, job: Job) -> None:
        if job.media is not None and job.media.note:
            self._reporter.info(f"warning: {job.input.source}: {job.media.note}")
        texts: list[str] = []
        rows: list[SelectedRows] = []
        error: CliError | None = None
        transcript: Transcript | None = None
        self._observer.started(number, job.input.relative_path.name, job.seconds)
        try:
            if (left := self._left(job)) is None:
                if self._config.manifest is not None:
                    self._config.manifest.keep_finished(job, look_up(job, self._config, self._reporter)[1])
                with self._lock:
                    self._summary.elsewhere += 1
                self._observer.finished(number, seconds=job.seconds or 0.0, credits=0.0, from_cache=True)
            else:
                with self._materialized(number, left) as ready:
                    if job.media is None and ready.media is not None and ready.media.note:
                        self._reporter.info(f"warning: {job.input.source}: {ready.media.note}")
                    fetched = self._fetch(number, ready)
                    transcript, error = self._write_files(fetched, left, texts, rows)
        except (LimitClosed, _Stopped):
            self._observer.failed(number, given_up=True)
            return
        except CliError as failure:
            self._observer.failed(number)
            error = failure
        try:
            self._output.put(number, "".join(texts), rows)
        except BaseException:  # of another job, perhaps
            with self._lock:
                self._done |= {number} - self._output.lost
            raise
        if transcript is not None and error is None:
            self._config.on_written(transcript)
        stops = error is not None and is_account_error(error)
        if error is not None and not stops:
            self._record.failed(job.input, self._config.options, error)
        with self._lock:
            del self._started[number]
            if number < len(self._plan.first) and not stops:
                self._done.add(number)
            self._failed += error is not None
            if error is not None and len(self._failures) < resume.MAX_NAMED:
                self._failures.append((number, job))
        if error is not None and (self._alone or stops):
            self._stop(error)
        elif error is not None:
            self._reporter.error(error)

    def _stop(self, error: BaseException) -> None:
        """Start no more jobs. The first error is the one that is reported."""
        with self._lock:
            self._error = self._error or error
            self._is_stopping = True
        self._close_limit()

    def _close_limit(self) -> None:
        self._limit.close()
        if self._cluster is not None:
            self._cluster.cancel()

    def _interrupt(self, threads: Sequence[Future[None]]) -> None:
        """After the first Ctrl-C: give up what isn't sent yet, and wait for the responses to what is, because they are
        paid for. A second Ctrl-C ends that, too.
        """
        self._is_stopping = self._is_interrupted = True
        self._close_limit()
        if self._alone or not (sent := len(self._sent)):
            return
        what = "1 recording that is" if sent == 1 else f"{sent} recordings that are"
        self._reporter.info(f"waiting for {what} sent already; Ctrl-C again stops at once")
        wait(threads)

    def _report_stop(self, rest_command: RestCommand | None) -> str:
        """Say how far a run has got that is stopped. Returns the command for the rest, if there is any."""
        lost = self._output.lost
        unfinished = set(range(len(self._plan.first))) - self._done - lost
        untried = len(unfinished) - (not self._is_interrupted and not lost)
        if self._alone or (self._plan.complete and not untried and not lost):
            return ""
        self._update_elapsed()
        number = str(untried) if self._plan.complete else "the others"
        how = "not transcribed" if self._is_interrupted else "not tried"
        unprinted = f", {len(lost)} not printed" if lost else ""
        self._reporter.info(f"warning: stopped: {self._summary.to_text()}; {number} {how}{unprinted}")
        left = [job for i, job in enumerate(self._plan.first) if i in unfinished | lost]
        rest = "" if rest_command is None else rest_command(left if self._plan.complete else None)
        if rest and self._is_interrupted:
            self._reporter.info(f"to do the rest: {rest}")
        return rest

    def _report_failures(self, rest_command: RestCommand | None) -> None:
        """Name the recordings that failed, and the command that tries them again."""
        failures = [job for _, job in sorted(self._failures, key=itemgetter(0))]
        names = ", ".join(job.input.source for job in failures[:MAX_FAILURES_NAMED])
        more = f" and {self._failed - MAX_FAILURES_NAMED} more" if self._failed > MAX_FAILURES_NAMED else ""
        self._reporter.info(f"failed: {names}{more}")
        if rest_command is not None:
            are_all_known = self._failed == len(failures)
            self._reporter.info(f"to try again: {rest_command(failures if are_all_known else None)}")

    def _update_elapsed(self) -> None:
        self._summary.elapsed_seconds = time.monotonic() - self._began

    def _materialized(self, number: int, job: Job) -> AbstractContextManager[Job]:
        """The job with its recording as a local file, unless it is given to a cluster."""
        if self._cluster is not None:
            return nullcontext(job)
        show = partial(self._show, number)
        return materialize(job, self._config.options, self._temporary, show, self._remote)

    def _show(self, number: int, what: str, done: float = 0.0, total: float | None = None) -> None:
        """Show what a job does before anything of it is sent. _Stopped if the run is being stopped."""
        if self._is_stopping:
            raise _Stopped
        self._observer.update(number, what, done, total)

    def _fetch(self, number: int, job: Job) -> Fetched:
        """The transcript of a recording: by the response in the cache, or else by that of the server."""
        if self._cluster is not None:
            return self._fetch_from_cluster(number, job, self._cluster)
        job = with_sound_start(job)
        if self._config.speakers is not None:
            return self._fetch_channels(number, job, self._config.speakers)
        self._observer.update(number, "looking up")
        lookup, answer = look_up(job, self._config, self._reporter)
        if answer is not None:
            self._count_cached()
            self._observer.finished(number, seconds=job.seconds or 0.0, credits=0.0, from_cache=True)
            return self._fetched(job, answer, None)
        sent = self._send(number, job, lookup)
        if sent.from_cache:
            self._count_cached()
        self._observer.finished(number, seconds=sent.seconds, credits=sent.credits, from_cache=sent.from_cache)
        return self._fetched(job, sent.answer, None if sent.from_cache else self._summary.local)

    def _fetch_channels(self, number: int, job: Job, names: Sequence[str]) -> Fetched:
        """The conversation on the channels of a recording, which are sent side by side."""
        update = partial(self._observer.update, number)
        with split_job(job, names, self._temporary, update, self._reporter) as conversation:
            update("looking up")
            found = [(channel, *look_up(channel, self._config, self._reporter)) for channel in conversation.jobs]
            cached = [channel for channel, _, answer in found if answer is not None]
            priced = len(cached) < len(found) and not self._open_backend().local
            self._reporter.info(f"{job.input.source}: {conversation.describe(cached, priced=priced)}")
            requests = [
                start_daemon_thread(partial(self._send, number, channel, lookup), "channel")
                for channel, lookup, answer in found
                if answer is None
            ]
            wait(requests)
            sent = [request.result() for request in requests]
            left = iter(sent)
            answers = [answer or next(left).answer for _, _, answer in found]
            responses = [
                usable_response(answer.response, channel, self._reporter)
                for answer, (channel, _, _) in zip(answers, found, strict=True)
            ]
            transcript = conversation.merge(responses, self._config.options.model)
        paid = [one for one in sent if not one.from_cache]
        if found and not paid:
            self._count_cached()
        self._observer.finished(
            number,
            seconds=conversation.seconds,
            credits=sum(one.credits for one in paid),
            from_cache=bool(found) and not paid,
        )
        return Fetched(
            job, transcript, None, sum(one.seconds for one in paid), local=bool(paid) and self._summary.local
        )

    def _count_cached(self) -> None:
        with self._lock:
            self._summary.from_cache += 1

    def _fetched(self, job: Job, answer: CachedResponse, local: bool | None) -> Fetched:
        """The transcript that a response is. `local`: None if the response came from the cache."""
        response = usable_response(answer.response, job, self._reporter)
        transcript = from_batch(
            in_recording(response, job.media),
            source=job.input.source,
            model=self._config.options.model,
            measured_duration=job.seconds,
        )
        billed = 0.0 if local is None else response.duration or transcript.duration or 0.0
        return Fetched(job, transcript, answer.body, billed, local=bool(local))

    def _send(self, number: int, job: Job, lookup: Lookup | None) -> Sent:
        """Have a recording transcribed within the budget, once if another job has the same in work."""
        if lookup is None:
            return self._pay(number, job, None)
        with self._same.turn(lookup.name) as has_waited:
            answer = lookup.find() if has_waited else None
            return self._pay(number, job, lookup) if answer is None else Sent(answer, job.seconds or 0.0, 0.0, True)

    def _pay(self, number: int, job: Job, lookup: Lookup | None) -> Sent:
        self._observer.update(number, "starting")  # a local engine takes seconds
        backend = self._open_backend()
        seconds = 0.0 if backend.local else duration_to_pay(job, self._budget)
        with self._budget.reserve(job.input.source, seconds) as reservation:
            answer = self._request(number, job, backend, lookup)
            if not backend.local:
                self._sent.add(number)  # progress isn't reported if the response comes at once
            length = answer.response.duration or seconds
            reservation.billed_seconds = 0.0 if backend.local else max(length, seconds)
        return Sent(answer, length, 0.0 if backend.local else batch_credits(length))

    def _fetch_from_cluster(self, number: int, job: Job, cluster: ClusterJobs) -> Fetched:
        """The response to a recording that a worker of the cluster looks up or transcribes."""
        self._observer.update(number, "on the cluster")
        if self._budget.max_credits is not None and job.media is None:
            raise InputError(
                f"{job.input.source}: what it costs is not known before a worker has fetched it",
                hint="leave out --max-credits, or --dask",
            )
        seconds = 0.0 if cluster.local or job.media is None else duration_to_pay(job, self._budget)
        with self._budget.reserve(job.input.source, seconds) as reservation:
            result = cluster.transcribe(job)
            self._sent.add(number)
            fetched = replace(result.fetched, job=replace(job, media=result.fetched.job.media))
            if not (fetched.local or result.from_cache):
                reservation.billed_seconds = max(fetched.billed_seconds, seconds)
        with self._lock:
            self._summary.local, self._summary.place = cluster.local, "the cluster"
            self._summary.from_cache += result.from_cache
        length, price = fetched.transcript.duration or 0.0, fetched.credits or 0.0
        self._observer.finished(number, seconds=length, credits=price, from_cache=result.from_cache)
        return fetched

    def _open_backend(self) -> Backend:
        with self._connect_lock:
            try:
                backend = self._connect()
            except CliError as error:
                error.stops_batch = True
                raise
        self._summary.local = backend.local
        return backend

    def _request(self, number: int, job: Job, backend: Backend, lookup: Lookup | None) -> CachedResponse:
        """Upload a recording and cache the server's response."""

        def show(progress: UploadProgress, recognized_seconds: float) -> None:
            if progress.uploaded and not backend.local:
                self._sent.add(number)
            elif self._is_interrupted:
                raise _Stopped
            if not progress.uploaded:
                self._observer.update(number, "sending", progress.sent, progress.size)
            elif backend.local and job.seconds:
                self._observer.update(number, "transcribing", recognized_seconds, job.seconds)
            else:
                self._observer.update(number, "transcribing")

        update = partial(self._observer.update, number)
        with choose_upload(job, self._temporary, update, self._reporter, local=backend.local) as recording:
            update("waiting")
            return request_transcript(job, recording, self._config, backend, lookup, self._reporter, show)

    def _write_files(
        self, fetched: Fetched, planned: Job, texts: list[str], rows: list[SelectedRows]
    ) -> tuple[Transcript, OutputError | None]:
        """Write the results of a recording to files, and record them. What goes to stdout is appended to `texts` and
        `rows`. Returns the transcript, and the error of a file that can't be written.

        planned   the job before its recording was fetched or cut
        """
        job, config, reporter = fetched.job, self._config, self._reporter
        item = job.input
        path = item.path if planned.input.remote else planned.input.path
        audio = fetched.audio
        if audio is None and (job.response_file or any(job.targets.values())):
            audio = fingerprint(path)
        transcript = fetched.transcript
        with self._lock:
            self._summary.audio_seconds += transcript.duration or 0.0
            self._summary.billed_seconds += fetched.billed_seconds
        if config.manifest is not None:  # first, because a recording with results counts as done
            config.manifest.add(item, transcript.text, job.seconds or transcript.duration)
        write_error = None if fetched.body is None else save_body(fetched.body, job, reporter)
        try:
            write_results(
                transcript, job.targets, config.layout, reporter,
                name=item.source, matches=config.matches, labelled=not self._alone,
                print_text=texts.append, write_rows=rows.append, bucket=config.bucket,
            )  # fmt: skip
        except OutputError as error:
            write_error = error
        if write_error is not None:
            return transcript, write_error
        with self._lock:
            self._summary.written += 1
        if not transcript.text.strip():
            reporter.info(f"{item.source}: no speech found")
        if config.matches is None or not config.matches.combined:
            is_current = audio is not None and (fetched.audio is not None or audio.is_current(path))
            unchanged = audio if is_current else None
            self._record.done(planned, unchanged, config, transcript.duration or 0.0, fetched.credits)
        return transcript, None

    def _print(self, text: str) -> None:
        with self._observer.hidden():
            write_stdout(text)

    def _write_rows(self, rows: SelectedRows) -> None:
        assert self._config.matches is not None
        with self._observer.hidden():
            self._config.matches.write(rows)


def look_up(job: Job, config: BatchConfig, reporter: Reporter) -> tuple[Lookup | None, CachedResponse | None]:
    """Look up the response to a recording in the cache. The second is None if it isn't there, both without a cache."""
    if config.cache is None:
        return None, None
    lookup = config.cache.lookup(job.input.path, config.options, job.input.segment)
    found = lookup.find() if lookup else None
    if found:
        stored = datetime.fromtimestamp(found.stored_at)
        reporter.detail(f"{job.input.source}: from cache, stored on {stored:%Y-%m-%d at %H:%M}")
    return lookup, found


def request_transcript(
    job: Job,
    recording: Recording,
    config: BatchConfig,
    backend: Backend,
    lookup: Lookup | None,
    reporter: Reporter,
    on_progress: Callable[[UploadProgress, float], object],
) -> CachedResponse:
    """Upload a recording and cache the server's response.

    on_progress   called every tick with the upload, and the seconds of audio that a local server has transcribed
    """
    item, media = job.input, recording.media
    bodies: list[bytes] = []
    done = backend.track_recording()
    with _save_body_on_error(bodies, backend, job, reporter):
        response = backend.client.transcribe(
            recording.upload,
            config.options,
            endpoint=config.endpoint,
            deadlines=backend.deadlines(media.bytes, media.duration, config.timeout),
            headers=done.headers,
            on_progress=lambda upload: on_progress(upload, done.recognized_seconds),
            on_body=bodies.append,
        )
    if (body := backend.client.redact_body(bodies[-1], response)) != bodies[-1]:
        reporter.info(f"warning: {item.source}: the response repeats the key: only its documented fields are saved")
    if lookup and (reason := lookup.save(body)):
        reporter.detail(f"{item.source}: not cached: {reason}")
    return CachedResponse(body, response, time.time())


def duration_to_pay(job: Job, budget: Budget) -> float:
    """Seconds of audio that a recording will be billed for. If credits are limited and its header doesn't tell exactly,
    it is decoded to find out.
    """
    assert job.media is not None
    if budget.max_credits is None or (job.media.duration is not None and not job.media.estimated):
        return job.seconds or 0.0
    from ..audio.files import decode_file

    rate = 16_000
    return sum(len(block) for block in decode_file(job.input.path, rate=rate)) / rate


def usable_response(response: BatchResponse, job: Job, reporter: Reporter) -> BatchResponse:
    """Drop the unusable parts of a response, with a warning."""
    source, measured = job.input.source, job.seconds
    if malformed := unusable_fields(response):
        reporter.detail(f"{source}: malformed fields of the response are ignored: {', '.join(malformed)}")
    if response.trailing:
        reporter.info(f"warning: {source}: {response.trailing} characters after the response's JSON are ignored")
    words = response.words or ()
    if left_out := count_missing_words(response.text, words):
        reporter.info(
            f"warning: {source}: {left_out} of {len(words)} words of the response aren't in its text and are left out"
        )
    usable = response if job.media is None or job.media.estimated else drop_wrong_times(response, measured)
    if usable is not response:
        reporter.info(
            f"warning: {source}: the server's times don't fit a recording of {measured:.1f} s and are ignored"
        )
    return usable


@contextmanager
def _save_body_on_error(bodies: Sequence[bytes], backend: Backend, job: Job, reporter: Reporter) -> Iterator[None]:
    """Save the last of these response bodies if the block fails, because it may have been paid for."""
    try:
        yield
    except CliError:
        if bodies and (write_error := save_body(backend.client.redact_body(bodies[-1]), job, reporter)):
            reporter.error(write_error)
        raise


def save_body(body: bytes, job: Job, reporter: Reporter) -> OutputError | None:
    """Write a response body to its file, if it has one. Returns the error of a file that can't be written."""
    if job.response_file is not None:
        try:
            write_file(job.response_file, body)
        except OutputError as error:
            return error
        reporter.info(f"wrote {job.response_file}")
    return None
