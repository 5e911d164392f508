"""Gets the transcripts of recordings: from the cache, from a server, or from a cluster.

Writes the cache, temporary files, and the bodies of responses that can't be used (`--keep-json`); results are written
by `write_results`. Must never send a recording whose response is in the cache; with a cache, of equal recordings that
are requested at the same time only one is sent.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakValueDictionary

from ...alignment import count_missing_words
from ...client import BatchClient, HttpResponse, UploadProgress
from ...daemon_thread import start_daemon_thread
from ...errors import CliError, InputError, OutputError, Stopped
from ...fingerprint import Fingerprint, fingerprint
from ...output.batch_observer import BatchObserver
from ...output.console import Reporter
from ...output.files import write_file
from ...protocol.batch import BatchResponse, ServerResponse, unusable_fields
from ...protocol.constants import batch_credits
from ...record import Record
from ...transcript import Transcript, drop_times_if_wrong_unit, from_batch
from ..backend import Backend
from .budget import Budget
from .config import BatchConfig
from .job import Job
from .upload_audio import PreparedUpload, choose_upload, report_tracks, to_recording_times, with_sound_start
from .workspace import Workspace

if TYPE_CHECKING:  # start-up: a run may have no cache
    from ...cache import Lookup

PARTIAL_SUFFIX = ".part"
"""Added to the name of a response body that was cut off."""


class TranscribedJob(NamedTuple):
    """The transcript of a recording.

    job                 as it was sent: downloaded and probed, if it wasn't before
    body                of the response; None if there are several, one for each channel
    requested_seconds   of audio in requests, here or on a cluster; 0 if all responses came from the cache
    local               whether an offline engine has transcribed it, here or on a cluster: it cost nothing
    from_cache          whether all responses came from the cache
    audio               fingerprint of the recording as it was sent; None if nobody needs it
    """

    job: Job
    transcript: Transcript
    body: bytes | None
    requested_seconds: float
    local: bool
    from_cache: bool
    audio: Fingerprint | None = None

    @property
    def credits(self) -> float | None:
        """What it cost; None for what was transcribed locally."""
        return None if self.local else batch_credits(self.requested_seconds)


class JobResponse(Record):
    """The response to a recording: from the cache, or else to a request, of which `local` says whether an offline
    engine has answered it.
    """

    response: ServerResponse
    from_cache: bool = True
    local: bool = False

    def requested_seconds(self, usable: BatchResponse, job: Job) -> float:
        """Seconds of audio in the request, if there was one. `usable`: what can be used of the response.

        A budget counts what may have been billed instead, which can be more.
        """
        return 0.0 if self.from_cache else usable.duration or job.seconds or 0.0


class Cluster(Protocol):
    """Other machines that transcribe recordings (`cluster_jobs`). `local`: whether they have engines of their own."""

    local: bool

    def transcribe(self, job: Job) -> TranscribedJob:
        """As `transcribe_job`. Raises CliError if the recording fails; Stopped after `cancel`."""

    def cancel(self) -> None:
        """Give up all recordings."""


class JobTranscriber:
    """Gets transcripts, of one recording in each call. Thread-safe.

    connect     the backend, called before each request: it opens one the first time, and returns the same afterwards
    budget      what the recordings may cost
    observer    shows progress; `number` is that of a job
    workspace   saves recordings that are elsewhere, and what is cut or converted
    cluster     transcribes the recordings; None: this process does

    is_stopping     whether `stop` was called
    billable_jobs   numbers of jobs whose recordings were sent completely, and may have to be paid for: when a run is
                    stopped, its caller waits for these, and removes those that are done
    """

    def __init__(
        self,
        config: BatchConfig,
        connect: Callable[[], Backend],
        reporter: Reporter,
        budget: Budget,
        observer: BatchObserver,
        workspace: Workspace,
        cluster: Cluster | None = None,
    ) -> None:
        self._config, self._connect, self._reporter = config, connect, reporter
        self._budget, self._observer, self._workspace, self._cluster = budget, observer, workspace, cluster
        self._connect_lock, self._request_locks_lock = threading.Lock(), threading.Lock()
        self._request_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self.is_stopping = self._aborts_uploads = False
        self.billable_jobs: set[int] = set()

    def stop(self, *, aborts_uploads: bool = False) -> Set[int]:
        """Have jobs give up downloads, and what waits for its turn to be sent. Returns `billable_jobs`.

        aborts_uploads   whether they give up what isn't sent completely, too
        """
        self.is_stopping = True
        self._aborts_uploads = self._aborts_uploads or aborts_uploads
        if self._cluster is not None:
            self._cluster.cancel()
        return self.billable_jobs

    @contextmanager
    def transcribed(self, number: int, job: Job) -> Iterator[TranscribedJob]:
        """The transcript of a job: by the response in the cache, or else by that of the server. For the length of the
        block, its recording is a local file, unless a cluster has downloaded it.

        Raises CliError if it fails; Stopped if the run is being stopped.
        """
        with nullcontext(job) if self._cluster is not None else self._materialized(number, job) as ready:
            is_recorded = job.files or job.input.origin is not None
            audio = fingerprint(ready.input.path) if is_recorded else None  # as it is sent: it may change
            if self._cluster is not None:
                done = self._transcribe_on_cluster(number, job, self._cluster)
            elif self._config.speakers is not None:
                done = self._transcribe_channels(number, with_sound_start(ready), self._config.speakers)
            else:
                done = self._transcribe_whole(number, with_sound_start(ready))
            self._observer.finished(
                number,
                seconds=done.transcript.duration or 0.0,
                credits=done.credits or 0.0,
                from_cache=done.from_cache,
            )
            yield done._replace(audio=done.audio or audio)

    def _materialized(self, number: int, job: Job) -> AbstractContextManager[Job]:
        def update(what: str, done: float = 0.0, total: float | None = None) -> None:
            if self.is_stopping:
                raise Stopped
            self._observer.update(number, what, done, total)

        return self._workspace.materialize(job, self._config.request, update)

    def _transcribe_whole(self, number: int, job: Job) -> TranscribedJob:
        self._observer.update(number, "looking up")
        found = self._respond(number, job, *look_up(job, self._config, self._reporter))
        usable = usable_response(found.response.parsed, job, self._reporter)
        response = to_recording_times(usable, job.media)
        report_languages(response, job.input.source, self._reporter)
        transcript = from_batch(
            response,
            source=job.input.source,
            model=self._config.model,
            measured_duration=job.seconds,
        )
        billed = found.requested_seconds(usable, job)
        return TranscribedJob(job, transcript, found.response.body, billed, found.local, found.from_cache)

    def _transcribe_channels(self, number: int, job: Job, names: Sequence[str]) -> TranscribedJob:
        """The conversation on the channels of a recording, which are sent side by side."""
        from .channel_jobs import split_job  # start-up: few recordings are split

        update = partial(self._observer.update, number)
        with split_job(job, names, self._workspace, update, self._reporter) as conversation:
            update("looking up")
            looked_up = [(channel, *look_up(channel, self._config, self._reporter)) for channel in conversation.jobs]
            cached = [channel for channel, _, response in looked_up if response is not None]
            priced = len(cached) < len(looked_up) and not self._open_backend().local
            self._reporter.info(f"{job.input.source}: {conversation.describe(cached, priced=priced)}")
            requests = [start_daemon_thread(partial(self._respond, number, *one), "channel") for one in looked_up]
            wait(requests)
            found = [request.result() for request in requests]
            responses = [
                usable_response(one.response.parsed, channel, self._reporter)
                for one, channel in zip(found, conversation.jobs, strict=True)
            ]
            transcript = conversation.merge(responses, self._config.model)
            billed = sum(map(JobResponse.requested_seconds, found, responses, conversation.jobs))
        from_cache = bool(found) and all(one.from_cache for one in found)
        return TranscribedJob(job, transcript, None, billed, any(one.local for one in found), from_cache)

    def _respond(self, number: int, job: Job, lookup: "Lookup | None", cached: ServerResponse | None) -> JobResponse:
        """The response to a recording. If another job is sending the same request, its response is waited for.

        lookup, cached   from `look_up`
        """
        if cached is not None:
            return JobResponse(cached)
        if lookup is None:
            return self._request(number, job, None)
        with self._only_request(lookup.name) as has_waited:
            if has_waited and (cached := lookup.find()) is not None:
                return JobResponse(cached)
            return self._request(number, job, lookup)

    @contextmanager
    def _only_request(self, name: str) -> Iterator[bool]:
        """Make a request in the block while no other job makes the same one. Yields whether it had to wait for one:
        then the response may be in the cache.

        name   of the request: that of its response in the cache
        """
        with self._request_locks_lock:
            lock = self._request_locks.setdefault(name, threading.Lock())  # forgotten when no job holds it any more
        has_waited = not lock.acquire(blocking=False)
        if has_waited:
            lock.acquire()
        try:
            yield has_waited
        finally:
            lock.release()

    def _request(self, number: int, job: Job, lookup: "Lookup | None") -> JobResponse:
        """Convert or cut a recording for the upload, send it within the budget, and show the progress."""
        update = partial(self._observer.update, number)
        update("starting")  # a local engine takes seconds
        backend = self._open_backend()
        if backend.local:
            report_tracks(job, self._reporter)

        def on_progress(progress: UploadProgress, recognized_seconds: float) -> None:
            if progress.uploaded and not backend.local:
                self.billable_jobs.add(number)
            elif self._aborts_uploads:
                raise Stopped
            if not progress.uploaded:
                update("sending", progress.sent, progress.size)
            elif backend.local and job.seconds:
                update("transcribing", recognized_seconds, job.seconds)
            else:
                update("transcribing")

        seconds = 0.0 if backend.local else billable_seconds(job, self._budget)
        with self._budget.reserve(job.input.source, seconds) as reservation:
            with choose_upload(job, self._workspace, update, self._reporter, local=backend.local) as recording:
                update("waiting")
                response = self._upload(job, recording, backend, on_progress)
            if not backend.local:
                self.billable_jobs.add(number)  # progress isn't reported if the response comes at once
                reservation.billed_seconds = max(response.parsed.duration or 0.0, seconds)
        if lookup and (reason := lookup.save(response.body)):
            self._reporter.detail(f"{job.input.source}: not cached: {reason}")
        return JobResponse(response, from_cache=False, local=backend.local)

    def _upload(
        self,
        job: Job,
        recording: PreparedUpload,
        backend: Backend,
        on_progress: Callable[[UploadProgress, float], object],
    ) -> ServerResponse:
        """Send a recording. If that fails, the body of a response is saved, because it may have been paid for.

        on_progress   called periodically with the upload, and the seconds of audio that a local server has transcribed
        """
        config, media = self._config, recording.media
        responses: list[HttpResponse] = []

        def send(client: BatchClient) -> BatchResponse:
            done = backend.track_recording()

            def on_upload(upload: UploadProgress) -> None:
                backend.check_server()
                on_progress(upload, done.recognized_seconds)

            return client.transcribe(
                recording.upload,
                config.request,
                endpoint=config.endpoint,
                deadlines=backend.deadlines(media.bytes, media.duration, config.timeout),
                headers=done.headers,
                on_progress=on_upload,
                on_response=responses.append,
            )

        try:
            response = backend.request(send)
        except CliError:
            if responses:
                body, is_complete = backend.client.redact_body(responses[-1].body), responses[-1].complete
                if write_error := save_body(
                    body, job, self._reporter, is_complete=is_complete, replaces=config.replaces
                ):
                    self._reporter.error(write_error)
            raise
        body = backend.client.redact_body(responses[-1].body, response)
        if body != responses[-1].body:
            self._reporter.warn(
                "the response repeats the key: only its documented fields are saved", about=job.input.source
            )
        return ServerResponse(body, response, time.time())

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
            done = cluster.transcribe(job)
            self.billable_jobs.add(number)
            if not (done.local or done.from_cache):
                reservation.billed_seconds = max(done.requested_seconds, seconds)
        return done._replace(job=job._replace(media=done.job.media))

    def _open_backend(self) -> Backend:
        with self._connect_lock:
            try:
                return self._connect()
            except CliError as error:
                error.stops_batch = True
                raise


def transcribe_job(
    job: Job,
    config: BatchConfig,
    connect: Callable[[], Backend],
    reporter: Reporter,
    observer: BatchObserver | None = None,
) -> TranscribedJob:
    """The transcript of one recording, as each job of a batch gets it."""
    with Workspace(on_retry=reporter.info) as workspace:
        transcriber = JobTranscriber(config, connect, reporter, Budget(), observer or BatchObserver(), workspace)
        with transcriber.transcribed(0, job) as done:
            return done


def look_up(job: Job, config: BatchConfig, reporter: Reporter) -> tuple["Lookup | None", ServerResponse | None]:
    """Look up the response to a recording in the cache. The second is None if it isn't there, both without a cache."""
    if config.cache is None:
        return None, None
    lookup = config.cache.lookup(job.input.path, config.request, job.input.time_range)
    found = lookup.find() if lookup else None
    if found:
        stored = datetime.fromtimestamp(found.received_at)
        reporter.detail(f"{job.input.source}: from cache, stored on {stored:%Y-%m-%d at %H:%M}")
    return lookup, found


def cached_response(job: Job, config: BatchConfig, reporter: Reporter) -> ServerResponse | None:
    """The response to a whole recording, if it is in the cache. With --speakers-by-channel, there is one for each
    channel, known when the recording is split.
    """
    return look_up(job, config, reporter)[1] if config.speakers is None else None


def billable_seconds(job: Job, budget: Budget) -> float:
    """Seconds of audio that a recording will be billed for. If credits are limited and its header doesn't say exactly
    how long it is, it is decoded to find out.
    """
    assert job.media is not None
    if budget.max_credits is None or (job.media.duration is not None and not job.media.estimated):
        return job.seconds or 0.0
    from ...audio.files import Decoder

    rate = 16_000
    return sum(len(block) for block in Decoder(rate=rate).decode_file(job.input.path)) / rate


def report_languages(response: BatchResponse, source: str, reporter: Reporter) -> None:
    """Say which languages were detected, if that was asked for: `detected language: German (97 %)`."""
    if not response.languages:
        return
    from ...protocol.languages import language_name
    from ...timestamps import clock_time

    found = list[str]()
    for heard in response.languages:
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
    usable = response if job.media is None or job.media.estimated else drop_times_if_wrong_unit(response, measured)
    if usable is not response:
        reporter.warn(f"{source}: the server's times don't fit a recording of {measured:.1f} s and are ignored")
    return usable


def save_body(
    body: bytes, job: Job, reporter: Reporter, *, is_complete: bool = True, replaces: bool = True
) -> OutputError | None:
    """Write a response body to the job's file for it, if there is one and the body isn't empty; under a free name
    beside it, such as talk.2.json, if that must be kept and holds another one. Returns the error of a file that can't
    be written.

    is_complete   False: what there is of it is saved under a free name with PARTIAL_SUFFIX, so that nobody takes it for
                  a response, and another attempt finds its own name free
    replaces      whether a file that has appeared meanwhile is replaced
    """
    file = job.response_file
    if file is None or not body:
        return None
    if not is_complete:
        file = next(_free_names(file, ending=PARTIAL_SUFFIX))
    elif job.keeps_response:
        file = next(_free_names(file, unless=body))
        if file.exists():
            return None
    try:
        write_file(file, body, replaces=replaces or file in job.outdated)
    except OutputError as error:
        return error
    reporter.info(f"wrote {file}" if is_complete else f"wrote {file}, which is incomplete")
    return None


def _free_names(file: Path, *, ending: str = "", unless: bytes | None = None) -> Iterator[Path]:
    """This file, and the same with the numbers from 2 on before its suffix, as far as they don't exist, or hold these
    bytes. `ending`: added to each name.
    """
    for number in count(1):
        numbered = file.name if number == 1 else f"{file.stem}.{number}{file.suffix}"
        one = file.with_name(numbered + ending)
        if not os.path.lexists(one) or (unless is not None and _holds(one, unless)):
            yield one


def _holds(file: Path, content: bytes) -> bool:
    try:
        return file.is_file() and file.read_bytes() == content
    except OSError:
        return False
