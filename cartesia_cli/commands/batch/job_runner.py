"""Transcribes the recordings of a plan, several at once, and writes the results.

Each recording is a job that a thread does from beginning to end, independent of all others: look up its response in the
cache, or else send it (`transcriber`); then write. Files are written at once, and what goes to stdout in input
order.

A recording that fails is reported and doesn't stop the others, unless they would all fail for the same reason: a
refused key, exhausted credits, a server that can't be reached, a full disk. Cached responses are not requested again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

from ...client import ConcurrencyLimit, is_account_error
from ...errors import CliError, Interrupted, OutputError, Stopped
from ...output.batch_observer import BatchObserver
from ...output.console import Reporter
from ...output.files import StdoutClosed, write_stdout
from ...protocol.constants import batch_credits
from ...timestamps import clock_time
from .config import BatchConfig
from .job import Job
from .job_threads import run_in_threads
from .ordered_output import OrderedOutput
from .outcomes import OutcomeStore
from .plan import BatchPlan
from .result_file import combine_errors
from .shell_commands import MAX_NAMED
from .stdin import STDIN
from .transcriber import JobTranscriber, TranscribedJob, cached_response, save_body
from .write_results import write_results

if TYPE_CHECKING:  # imported only where they are needed, because they import every format
    from .page_media import PageMedia

OTHER_RUN_SECONDS = 0.5
"""How long to wait before looking again whether another run has ended with a recording."""

FEW_INPUTS = 10
"""With more, messages about failures may have scrolled away: they are named again at the end."""

MAX_FAILURES_NAMED = 5

LONG_AUDIO_SECONDS = 600.0
"""Shorter audio is summed up in seconds, longer in hours and minutes."""

LONG_RUN_SECONDS = 60.0
"""From then on, the summary says how long a run took."""


class BatchSummary:
    """Counts what a batch has done so far.

    free_place               where it is transcribed at no cost, such as "this machine"; None: it costs credits

    total, written           inputs, and those of them whose results are written
    elsewhere                inputs that another run has transcribed meanwhile
    from_cache               inputs whose response came from the cache
    audio_seconds            of all transcripts
    requested_seconds        of those whose response didn't come from the cache
    elapsed_seconds          since the run began
    """

    total = written = elsewhere = from_cache = 0
    audio_seconds = requested_seconds = elapsed_seconds = 0.0

    def __init__(self, free_place: str | None = None) -> None:
        self.free_place = free_place

    def to_text(self) -> str:
        price = f"on {self.free_place}" if self.free_place else f"{batch_credits(self.requested_seconds):,.1f} credits"
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
        speed = self.requested_seconds / self.elapsed_seconds
        times = f" ({speed:,.1f} times real time)" if speed else ""
        return f", in {clock_time(self.elapsed_seconds)}{times}"


class JobRunner:
    """Does the jobs of a plan.

    plan          the recordings
    observer      shows progress
    summary       counts what has been done so far
    outcomes      what becomes of each recording is recorded here
    limit         of jobs at once
    rest_command  makes the shell command that does the rest, of the jobs that are left; of none if there may be others:
                  then it gets the first input that is left, too, if that is known
    """

    def __init__(
        self,
        plan: BatchPlan,
        config: BatchConfig,
        transcriber: JobTranscriber,
        observer: BatchObserver,
        summary: BatchSummary,
        reporter: Reporter,
        *,
        outcomes: OutcomeStore,
        limit: ConcurrencyLimit,
        rest_command: Callable[[Sequence[Job], str | None], str],
    ) -> None:
        self._plan, self._config, self._transcriber, self._reporter = plan, config, transcriber, reporter
        self._observer, self._summary, self._outcomes, self._limit = observer, summary, outcomes, limit
        self._rest_command, self._alone = rest_command, plan.is_alone
        self._known_inputs = len(plan.first)
        self._are_inputs_counted = plan.complete
        summary.total = self._known_inputs + plan.unusable
        self._began = time.monotonic()
        self._failures: list[tuple[int, Job]] = []
        self._jobs = enumerate(plan)
        self._done: set[int] = set()
        self._in_progress: dict[int, str] = {}
        self._deferred: deque[tuple[int, Job]] = deque()
        self._failed = 0
        self._is_plan_exhausted = self._has_deferred = self._is_interrupted = False
        self._error: BaseException | None = None
        self._lock, self._plan_lock = threading.Lock(), threading.Lock()
        self._output = OrderedOutput(self._print)

    def run(self) -> int:
        """Transcribe all recordings. Returns the number of inputs that failed, each of which is reported. Raises
        CliError for a failure of the only input, or one that all others would share; raises Interrupted after Ctrl-C.
        """
        for job in self._plan.first:
            self._observer.found(1, job.seconds)
        self._observer.unusable(self._plan.unusable)
        if self._plan.complete:
            self._observer.all_found()
        most = len(self._plan.first) if self._plan.complete else self._limit.maximum
        try:
            run_in_threads(
                self._do_jobs,
                self._limit,
                most,
                self._reporter,
                is_over=lambda: self._is_plan_exhausted,
                stop=self._interrupt,
            )
        except Interrupted:
            with suppress(StdoutClosed, OutputError):
                self._output.flush()
            self._report_stop()
            raise
        self._output.flush()  # what comes after the first recording that isn't done
        if self._error is not None:
            rest = self._report_stop() if isinstance(self._error, CliError) else ""
            if rest and isinstance(self._error, CliError):
                self._error.hint = "; ".join(filter(None, [self._error.hint, f"then: {rest}"]))
            raise self._error
        self._update_elapsed()
        # Said by default if a response came from the cache: the user may have expected a new one.
        summary = self._summary
        is_news = summary.from_cache or summary.elsewhere or summary.total > 1
        (self._reporter.info if is_news else self._reporter.detail)(summary.to_text())
        if self._failed and summary.total > FEW_INPUTS:
            self._report_failures()
        return self._failed + self._plan.unusable

    def _do_jobs(self) -> None:
        """What each thread does: one job after the other."""
        try:
            while (numbered := self._next_job()) is not None:
                number, job = numbered
                if not self._outcomes.claim(job.input):
                    self._defer(number, job)
                    continue
                try:
                    self._do_job(number, job)
                finally:
                    # Only now: a response that has come must be written, too.
                    self._transcriber.billable_jobs.discard(number)
                    self._outcomes.release(job.input)
        except BaseException as error:
            self._stop(error)

    def _next_job(self) -> tuple[int, Job] | None:
        with self._plan_lock:
            if self._transcriber.is_stopping:
                return None
            if (numbered := next(self._jobs, None)) is None:
                if not (self._is_plan_exhausted or self._are_inputs_counted):
                    self._outcomes.record_input_count(self._known_inputs, self._plan.left_out)
                    self._observer.all_found()
                self._is_plan_exhausted = True
                if self._deferred:
                    return self._deferred.popleft()
            else:
                number, job = numbered
                if number >= self._known_inputs:
                    self._known_inputs = number + 1
                    self._observer.found(1, job.seconds)
                self._in_progress[number] = job.input.source
            self._observer.unusable(self._plan.unusable)
            self._summary.total = self._known_inputs + self._plan.unusable
            return numbered

    def _defer(self, number: int, job: Job) -> None:
        """Come back to a job at the end: another run is transcribing its recording."""
        self._deferred.append((number, job))
        if not self._has_deferred:
            self._has_deferred = True
            self._reporter.info(f"{job.input.source}: another run is working on it: this one continues with others")
        if self._is_plan_exhausted:
            time.sleep(OTHER_RUN_SECONDS)

    def _left_to_do(self, job: Job) -> Job | None:
        """What is left of a job: all of it, unless another run has finished its recording meanwhile. None: nothing."""
        if self._config.bucket is not None:
            return self._config.bucket.without_existing(job)
        if not self._outcomes.was_finished_elsewhere(job.input):
            return job
        from .resume import without_finished  # start-up: other runs are rare

        return without_finished(job, self._config, self._outcomes)

    def _do_job(self, number: int, job: Job) -> None:
        if job.media is not None and job.media.note:
            self._reporter.warn(job.media.note, about=job.input.source)
        texts: list[str] = []
        error: CliError | None = None
        self._observer.started(number, job.input.relative_path.name, job.seconds)
        try:
            if (left := self._left_to_do(job)) is None:
                if self._config.manifest is not None:
                    cached = cached_response(job, self._config, self._reporter)
                    self._config.manifest.keep_finished(job, cached)
                with self._lock:
                    self._summary.elsewhere += 1
                self._observer.finished(number, seconds=job.seconds or 0.0, credits=0.0, from_cache=True)
            else:
                with self._transcriber.transcribed(number, left) as done:
                    if job.media is None and done.job.media is not None and done.job.media.note:
                        self._reporter.warn(done.job.media.note, about=job.input.source)
                    self._write_files(done, left, texts)
        except Stopped:
            self._observer.failed(number, given_up=True)
            return
        except CliError as failure:
            self._observer.failed(number)
            error = failure
        try:
            self._output.put(number, "".join(texts))
        except BaseException:  # which the text of another job may have caused, that was waiting for this one
            with self._lock:
                self._done |= {number} - self._output.lost
            raise
        stops = error is not None and is_account_error(error)
        if error is not None and not stops:
            self._outcomes.record_failed(job.input, self._config.request, error)
        with self._lock:
            if not stops:
                self._in_progress.pop(number, None)
                if number < len(self._plan.first):
                    self._done.add(number)
            self._failed += error is not None
            if error is not None and len(self._failures) < MAX_NAMED:
                self._failures.append((number, job))
        if error is not None and (self._alone or stops):
            self._stop(error)
        elif error is not None:
            self._reporter.error(error)

    def _stop(self, error: BaseException) -> None:
        """Start no more jobs. The first error is the one that is reported."""
        with self._lock:
            self._error = self._error or error
        self._transcriber.stop()
        self._limit.close()

    def _interrupt(self) -> Set[int]:
        """After the first Ctrl-C: give up what isn't sent yet. Returns the numbers of the others, unless there is only
        one recording.
        """
        self._is_interrupted = True
        sent = self._transcriber.stop(aborts_uploads=True)
        self._limit.close()
        return set() if self._alone else sent

    def _report_stop(self) -> str:
        """Say how far a run has got that is stopped. Returns the command for the rest, if there is any."""
        lost = self._output.lost
        unfinished = set(range(len(self._plan.first))) - self._done - lost
        is_one_tried = not self._is_interrupted and not lost  # the recording whose failure stops the run
        untried = len(unfinished) - is_one_tried
        if self._alone and self._is_interrupted and unfinished:
            self._reporter.warn(f"stopped: {self._plan.first[0].input.source} is not transcribed")
            self._reporter.info(f"to transcribe it: {self._rest_command(self._plan.first, None)}")
        if self._alone or (self._plan.complete and not untried and not lost):
            return ""
        self._update_elapsed()
        which = str(untried) if self._plan.complete else "the others"
        how = "not transcribed" if self._is_interrupted else "not tried"
        unprinted = f", {len(lost)} not printed" if lost else ""
        self._reporter.warn(f"stopped: {self._summary.to_text()}; {which} {how}{unprinted}")
        left = [job for i, job in enumerate(self._plan.first) if i in unfinished | lost]
        first_left = self._in_progress[min(self._in_progress)] if self._in_progress else None
        rest = self._rest_command(left, None) if self._plan.complete else self._rest_command((), first_left)
        if self._is_interrupted:
            self._reporter.info(f"to do the rest: {rest}")
        return rest

    def _report_failures(self) -> None:
        """Name the recordings that failed, and the command that tries them again."""
        failures = [job for _, job in sorted(self._failures, key=itemgetter(0))]
        names = ", ".join(job.input.source for job in failures[:MAX_FAILURES_NAMED])
        more = f" and {self._failed - MAX_FAILURES_NAMED} more" if self._failed > MAX_FAILURES_NAMED else ""
        self._reporter.info(f"failed: {names}{more}")
        are_all_known = self._failed == len(failures)
        self._reporter.info(f"to try again: {self._rest_command(failures if are_all_known else (), None)}")

    def _update_elapsed(self) -> None:
        self._summary.elapsed_seconds = time.monotonic() - self._began

    def _write_files(self, done: TranscribedJob, planned: Job, texts: list[str]) -> None:
        """Write the results of a recording to files, and record them. What goes to the common output is appended to
        `texts`. Raises OutputError, after all of them, for a file that can't be written, such as the manifest.

        planned   the job before its recording was downloaded or cut
        """
        job, config, reporter = done.job, self._config, self._reporter
        item, transcript = job.input, done.transcript
        with self._lock:
            self._summary.audio_seconds += transcript.duration or 0.0
            self._summary.requested_seconds += done.requested_seconds
            self._summary.from_cache += done.from_cache
        write_error = None if done.body is None else save_body(done.body, job, reporter, replaces=config.replaces)
        written = [file for file in job.files if file is job.response_file and write_error is None]
        manifest_error: OutputError | None = None
        if config.manifest is not None:  # before the results, because a recording that has them counts as done
            line = item, transcript.text, job.seconds or transcript.duration
            try:
                config.manifest.add(*line)
            except OutputError as error:
                manifest_error = error
                if not job.targets:  # the line is all there is
                    texts.append(config.manifest.line(*line))
                    raise
        try:
            write_results(
                transcript, job.targets, config.layout, reporter,
                name=item.source, matches=config.matches, labelled=not self._alone,
                print_text=texts.append, bucket=config.bucket, replaces=config.replaces, outdated=job.outdated,
                media=self._media(done, planned) if "html" in job.targets else None, on_written=written.append,
            )  # fmt: skip
        except OutputError as error:
            write_error = combine_errors([write_error, error])
        combined = config.matches is not None and config.matches.combined
        if (written or write_error is None) and not combined:
            self._outcomes.record_done(planned, written, done.audio, config, transcript.duration or 0.0, done.credits)
        if write_error is not None:
            raise write_error
        with self._lock:
            self._summary.written += 1
        if not transcript.text.strip():
            reporter.info(f"{item.source}: no speech found")
        if manifest_error is not None:
            raise manifest_error

    def _media(self, done: TranscribedJob, planned: Job) -> PageMedia:
        """The recording for a page, which can refer to it if it is a whole file that stays where it is."""
        from .page_media import PageMedia

        item = done.job.input
        stays = planned.input.origin is None and item.time_range is None and item.source != STDIN
        encoding, rate = self._config.request.encoding, self._config.request.sample_rate
        raw = None if encoding is None or rate is None else (encoding, rate)
        return PageMedia(item.path, self._reporter, linked=stays, embed=self._config.embed_audio, raw=raw)

    def _print(self, text: str) -> None:
        matches = self._config.matches
        with self._reporter.hidden_view():
            (matches.write if matches is not None and matches.combined else write_stdout)(text)
