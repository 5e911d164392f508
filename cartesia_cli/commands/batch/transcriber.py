"""Gets the transcripts of recordings: from the cache, from a server, or from a cluster.

Writes the cache, response bodies (`--keep-json`) and temporary files; results are written by `write_results`.
Must never send a recording whose response is in the cache; with a cache, of equal recordings that are requested at the
same time only one is sent.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from itertools import count
from typing import NamedTuple, Protocol

from ...alignment import count_missing_words
from ...cache import Lookup, ServerResponse
from ...client import BatchClient, HttpResponse, UploadProgress
from ...daemon_thread import start_daemon_thread
from ...errors import CliError, InputError, OutputError
from ...fingerprint import Fingerprint, fingerprint
from ...output.batch_observer import BatchObserver
from ...output.console import Reporter
from ...output.files import write_file
from ...protocol import BatchResponse, batch_credits, unusable_fields
from ...transcript import Transcript, drop_wrong_times, from_batch
from ..backend import Backend
from .budget import Budget
from .config import BatchConfig
from .job import Job
from .prepare import TemporaryFolder, materialize
from .progress import BatchSummary
from .remote_inputs import RemoteInputs
from .upload_audio import PreparedUpload, choose_upload, in_recording, with_sound_start

PARTIAL_SUFFIX = ".part"
"""Added to the name of a response body that was cut off."""


class TranscribedJob(NamedTuple):
    """The transcript of a recording.

    job              as it was sent: downloaded and probed, if it wasn't before
    body             of the response; None if there are several, one for each channel
    billed_seconds   of audio; 0 if the response came from the cache
    local            whether an offline engine has transcribed it, here or on a cluster: it cost nothing
    audio            fingerprint of the recording, if a worker of a cluster has downloaded it
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


class JobResponse(NamedTuple):
    """The response that a job got to its request, and what it cost.

    seconds      of audio, as the server measured it
    from_cache   whether it came from the cache, because another job has made the same request meanwhile
    """

    response: ServerResponse
    seconds: float
    credits: float
    from_cache: bool = False


class Cluster(Protocol):
    """Other machines that transcribe recordings (`cluster_jobs`). `local`: whether they have engines of their own."""

    local: bool

    def transcribe(self, job: Job) -> tuple[TranscribedJob, bool]:
        """As `transcribe_job`. Raises CliError if the recording fails; LimitClosed if the run is being stopped."""


class Stopped(Exception):
    """The run is being stopped: a job gives up before it costs anything."""


class SameRequests:
    """The requests that jobs are making, so that copies of a recording aren't sent side by side. Thread-safe."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._condition = threading.Condition()

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Make a request in the block while no other job makes the same one. Yields whether one has done so meanwhile:
        then its response may be in the cache.

        name   what the response depends on
        """
        with self._condition:
            has_waited = name in self._names
            while name in self._names:
                self._condition.wait()
            self._names.add(name)
        try:
            yield has_waited
        finally:
            with self._condition:
                self._names.remove(name)
                self._condition.notify_all()


class JobTranscriber:
    """Gets transcripts, of one recording in each call. Thread-safe.

    connect     called whenever something has to be sent; must return the same backend each time
    budget      what the recordings may cost
    observer    shows progress; `number` is that of a job
    summary     counts what came from the cache
    temporary   for what is downloaded, cut or converted
    remote      saves recordings that are elsewhere
    cluster     transcribes the recordings; None: this process does

    is_stopping        whether jobs have to give up what is not being sent yet
    gives_up_uploads   whether they have to give up what isn't sent completely, too
    billable_jobs      numbers of the jobs whose recordings are sent, and have to be paid for
    """

    def __init__(
        self,
        config: BatchConfig,
        connect: Callable[[], Backend],
        reporter: Reporter,
        budget: Budget,
        observer: BatchObserver,
        summary: BatchSummary,
        temporary: TemporaryFolder,
        remote: RemoteInputs,
        cluster: Cluster | None = None,
    ) -> None:
        self._config, self._connect, self._reporter = config, connect, reporter
        self._budget, self._observer, self._summary = budget, observer, summary
        self._temporary, self._remote, self._cluster = temporary, remote, cluster
        self._same = SameRequests()
        self._lock, self._connect_lock = threading.Lock(), threading.Lock()
        self.is_stopping = self.gives_up_uploads = False
        self.billable_jobs: set[int] = set()

    def materialized(self, number: int, job: Job) -> AbstractContextManager[Job]:
        """The job with its recording as a local file, unless it is given to a cluster."""
        if self._cluster is not None:
            return nullcontext(job)
        show = partial(self._show, number)
        return materialize(job, self._config.options, self._temporary, show, self._remote)

    def _show(self, number: int, what: str, done: float = 0.0, total: float | None = None) -> None:
        """Show what a job does before anything of it is sent. Raises Stopped if the run is being stopped."""
        if self.is_stopping:
            raise Stopped
        self._observer.update(number, what, done, total)

    def transcribe(self, number: int, job: Job) -> TranscribedJob:
        """The transcript of a recording: by the response in the cache, or else by that of the server."""
        if self._cluster is not None:
            return self._transcribe_on_cluster(number, job, self._cluster)
        job = with_sound_start(job)
        if self._config.speakers is not None:
            return self._transcribe_channels(number, job, self._config.speakers)
        self._observer.update(number, "looking up")
        lookup, cached = look_up(job, self._config, self._reporter)
        if cached is not None:
            self._count_cached()
            self._observer.finished(number, seconds=job.seconds or 0.0, credits=0.0, from_cache=True)
            return self._transcribed(job, cached, None)
        sent = self._send(number, job, lookup)
        if sent.from_cache:
            self._count_cached()
        self._observer.finished(number, seconds=sent.seconds, credits=sent.credits, from_cache=sent.from_cache)
        return self._transcribed(job, sent.response, None if sent.from_cache else self._summary.local)

    def _transcribe_channels(self, number: int, job: Job, names: Sequence[str]) -> TranscribedJob:
        """The conversation on the channels of a recording, which are sent side by side."""
        from .channel_jobs import split_job  # start-up: few recordings are split

        update = partial(self._observer.update, number)
        with split_job(job, names, self._temporary, update, self._reporter) as conversation:
            update("looking up")
            found = [(channel, *look_up(channel, self._config, self._reporter)) for channel in conversation.jobs]
            cached = [channel for channel, _, response in found if response is not None]
            priced = len(cached) < len(found) and not self._open_backend().local
            self._reporter.info(f"{job.input.source}: {conversation.describe(cached, priced=priced)}")
            requests = [
                start_daemon_thread(partial(self._send, number, channel, lookup), "channel")
                for channel, lookup, response in found
                if response is None
            ]
            wait(requests)
            sent = [request.result() for request in requests]
            new = (one.response for one in sent)
            responses = [
                usable_response((response or next(new)).parsed, channel, self._reporter)
                for channel, _, response in found
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
        return TranscribedJob(
            job, transcript, None, sum(one.seconds for one in paid), local=bool(paid) and self._summary.local
        )

    def _count_cached(self) -> None:
        with self._lock:
            self._summary.from_cache += 1

    def _transcribed(self, job: Job, response: ServerResponse, local: bool | None) -> TranscribedJob:
        """The transcript that a response is. `local`: None if the response came from the cache."""
        usable = usable_response(response.parsed, job, self._reporter)
        in_whole = in_recording(usable, job.media)
        report_languages(in_whole, job.input.source, self._reporter)
        transcript = from_batch(
            in_whole,
            source=job.input.source,
            model=self._config.options.model,
            measured_duration=job.seconds,
        )
        billed = 0.0 if local is None else usable.duration or transcript.duration or 0.0
        return TranscribedJob(job, transcript, response.body, billed, local=bool(local))

    def _send(self, number: int, job: Job, lookup: Lookup | None) -> JobResponse:
        """Have a recording transcribed within the budget, or wait for the response if another job is sending the same
        request.
        """
        if lookup is None:
            return self._pay(number, job, None)
        with self._same.turn(lookup.name) as has_waited:
            cached = lookup.find() if has_waited else None
            return (
                self._pay(number, job, lookup) if cached is None else JobResponse(cached, job.seconds or 0.0, 0.0, True)
            )

    def _pay(self, number: int, job: Job, lookup: Lookup | None) -> JobResponse:
        self._observer.update(number, "starting")  # a local engine takes seconds
        backend = self._open_backend()
        seconds = 0.0 if backend.local else billable_seconds(job, self._budget)
        with self._budget.reserve(job.input.source, seconds) as reservation:
            response = self._request(number, job, backend, lookup)
            if not backend.local:
                self.billable_jobs.add(number)  # progress isn't reported if the response comes at once
            length = response.parsed.duration or seconds
            reservation.billed_seconds = 0.0 if backend.local else max(length, seconds)
        return JobResponse(response, length, 0.0 if backend.local else batch_credits(length))

    def _transcribe_on_cluster(self, number: int, job: Job, cluster: Cluster) -> TranscribedJob:
        """The response to a recording that a worker of the cluster looks up or transcribes."""
        self._observer.update(number, "on the cluster")
        if self._budget.max_credits is not None and job.media is None:
            raise InputError(
                f"{job.input.source}: what it costs is not known before a worker has downloaded it",
                hint="leave out --max-credits, or --dask",
            )
        seconds = 0.0 if cluster.local or job.media is None else billable_seconds(job, self._budget)
        with self._budget.reserve(job.input.source, seconds) as reservation:
            done, from_cache = cluster.transcribe(job)
            self.billable_jobs.add(number)
            done = done._replace(job=job._replace(media=done.job.media))
            if not (done.local or from_cache):
                reservation.billed_seconds = max(done.billed_seconds, seconds)
        with self._lock:
            self._summary.local, self._summary.place = cluster.local, "the cluster"
            self._summary.from_cache += from_cache
        length, price = done.transcript.duration or 0.0, done.credits or 0.0
        self._observer.finished(number, seconds=length, credits=price, from_cache=from_cache)
        return done

    def _open_backend(self) -> Backend:
        with self._connect_lock:
            try:
                backend = self._connect()
            except CliError as error:
                error.stops_batch = True
                raise
        self._summary.local = backend.local
        return backend

    def _request(self, number: int, job: Job, backend: Backend, lookup: Lookup | None) -> ServerResponse:
        """Convert or cut a recording for the upload, send it, and show the progress."""

        def show(progress: UploadProgress, recognized_seconds: float) -> None:
            if progress.uploaded and not backend.local:
                self.billable_jobs.add(number)
            elif self.gives_up_uploads:
                raise Stopped
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


def transcribe_job(
    job: Job,
    config: BatchConfig,
    connect: Callable[[], Backend],
    reporter: Reporter,
    observer: BatchObserver | None = None,
) -> tuple[TranscribedJob, bool]:
    """The transcript of one recording, as each job of a batch gets it, and whether it came from the cache."""
    summary = BatchSummary()
    with TemporaryFolder() as temporary, RemoteInputs(on_retry=reporter.info) as remote:
        transcriber = JobTranscriber(
            config, connect, reporter, Budget(), observer or BatchObserver(), summary, temporary, remote
        )
        with transcriber.materialized(0, job) as ready:
            audio = fingerprint(ready.input.path) if job.input.remote else None
            done = transcriber.transcribe(0, ready)._replace(audio=audio)
    return done, bool(summary.from_cache)


def look_up(job: Job, config: BatchConfig, reporter: Reporter) -> tuple[Lookup | None, ServerResponse | None]:
    """Look up the response to a recording in the cache. The second is None if it isn't there, both without a cache."""
    if config.cache is None:
        return None, None
    lookup = config.cache.lookup(job.input.path, config.options, job.input.segment)
    found = lookup.find() if lookup else None
    if found:
        stored = datetime.fromtimestamp(found.received_at)
        reporter.detail(f"{job.input.source}: from cache, stored on {stored:%Y-%m-%d at %H:%M}")
    return lookup, found


def request_transcript(
    job: Job,
    recording: PreparedUpload,
    config: BatchConfig,
    backend: Backend,
    lookup: Lookup | None,
    reporter: Reporter,
    on_progress: Callable[[UploadProgress, float], object],
) -> ServerResponse:
    """Upload a recording and cache the server's response.

    on_progress   called every tick with the upload, and the seconds of audio that a local server has transcribed
    """
    item, media = job.input, recording.media
    responses: list[HttpResponse] = []

    def send(client: BatchClient) -> BatchResponse:
        done = backend.track_recording()
        return client.transcribe(
            recording.upload,
            config.options,
            endpoint=config.endpoint,
            deadlines=backend.deadlines(media.bytes, media.duration, config.timeout),
            headers=done.headers,
            on_progress=lambda upload: on_progress(upload, done.recognized_seconds),
            on_response=responses.append,
        )

    with _save_body_on_error(responses, backend, job, reporter):
        response = backend.request(send)
    body = backend.client.redact_body(responses[-1].body, response)
    if body != responses[-1].body:
        reporter.warn("the response repeats the key: only its documented fields are saved", about=item.source)
    if lookup and (reason := lookup.save(body)):
        reporter.detail(f"{item.source}: not cached: {reason}")
    return ServerResponse(body, response, time.time())


def billable_seconds(job: Job, budget: Budget) -> float:
    """Seconds of audio that a recording will be billed for. If credits are limited and its header doesn't say exactly
    how long it is, it is decoded to find out.
    """
    assert job.media is not None
    if budget.max_credits is None or (job.media.duration is not None and not job.media.estimated):
        return job.seconds or 0.0
    from ...audio.files import decode_file

    rate = 16_000
    return sum(len(block) for block in decode_file(job.input.path, rate=rate)) / rate


def report_languages(response: BatchResponse, source: str, reporter: Reporter) -> None:
    """Say which languages were detected, if that was asked for: `detected language: German (97 %)`."""
    from ...protocol import language_name
    from ...timestamps import clock_time

    found = list[str]()
    for heard in response.languages or ():
        since = f"from {clock_time(heard.start)} " if found and heard.start is not None else ""
        sure = "" if heard.confidence is None else f" ({heard.confidence:.0%})".replace("%", " %")
        found.append(f"{since}{language_name(heard.language)}{sure}")
    if found:
        reporter.info(f"{source}: detected language{'s' * (len(found) > 1)}: {', '.join(found)}")


def usable_response(response: BatchResponse, job: Job, reporter: Reporter) -> BatchResponse:
    """Drop the unusable parts of a response, with a warning."""
    source, measured = job.input.source, job.seconds
    if malformed := unusable_fields(response):
        reporter.detail(f"{source}: malformed fields of the response are ignored: {', '.join(malformed)}")
    if response.trailing:
        reporter.warn(f"{response.trailing} characters after the response's JSON are ignored", about=source)
    words = response.words or ()
    if left_out := count_missing_words(response.text, words):
        reporter.warn(f"{source}: {left_out} of {len(words)} words of the response aren't in its text and are left out")
    usable = response if job.media is None or job.media.estimated else drop_wrong_times(response, measured)
    if usable is not response:
        reporter.warn(f"{source}: the server's times don't fit a recording of {measured:.1f} s and are ignored")
    return usable


@contextmanager
def _save_body_on_error(
    responses: Sequence[HttpResponse], backend: Backend, job: Job, reporter: Reporter
) -> Iterator[None]:
    """Save the body of the last of these responses if the block fails, because it may have been paid for."""
    try:
        yield
    except CliError:
        if responses:
            body, is_complete = backend.client.redact_body(responses[-1].body), responses[-1].complete
            if write_error := save_body(body, job, reporter, is_complete=is_complete):
                reporter.error(write_error)
        raise


def save_body(body: bytes, job: Job, reporter: Reporter, *, is_complete: bool = True) -> OutputError | None:
    """Write a response body to its file, if it has one. Returns the error of a file that can't be written.

    is_complete   False: what there is of it is saved under a free name with PARTIAL_SUFFIX, so that nobody takes it for
                  a response, and another attempt finds its own name free
    """
    file = job.response_file
    if file is None or not (body or is_complete):
        return None
    if not is_complete:
        name = f"{file.name}{PARTIAL_SUFFIX}"
        numbered = (file.with_name(f"{name}{number}" if number > 1 else name) for number in count(1))
        file = next(one for one in numbered if not os.path.lexists(one))
    try:
        write_file(file, body)
    except OutputError as error:
        return error
    reporter.info(f"wrote {file}" if is_complete else f"wrote {file}, which is incomplete")
    return None
