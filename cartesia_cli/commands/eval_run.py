"""Transcribes the recordings of an evaluation, by each endpoint, model and engine that is compared.

Uses what `transcribe` and `stream-file` use: recordings go to the batch endpoint by way of the cache, and live sessions
replay them. Systems are run one after the other, so that they don't slow each other down, and only one local engine is
loaded at a time. Live sessions are never cached, because their latencies are part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from functools import cache, partial
from itertools import chain, count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..audio.pcm import RATE
from ..client import ConcurrencyLimit, is_account_error
from ..errors import CliError, Stopped
from ..output import Layout
from ..output.batch_observer import BatchObserver
from ..output.console import Reporter
from ..protocol.batch import BatchOptions
from ..protocol.constants import is_loopback, is_whisper, realtime_credits, takes_language_hints
from ..protocol.languages import HINT_LANGUAGES
from ..protocol.realtime import MANUAL
from ..record import Record
from ..transcript import Transcript
from . import backend
from .backend import Backend, BackendConfig
from .batch.budget import Budget
from .batch.config import BatchConfig
from .batch.job import Job
from .batch.job_threads import run_in_threads
from .batch.transcriber import JobTranscriber
from .batch.upload_audio import choose_upload
from .batch.workspace import JobProgress, Workspace
from .eval_options import EvalSendingOptions, Mode
from .live.options import SessionOptions, StreamOptions
from .options import language_for_server, warn_of_unknown_values

if TYPE_CHECKING:
    from ..session.latency import LatencyRecorder

ENDPOINT = "stt"
"""The route of the batch endpoint."""


class System(Record):
    """One way to transcribe.

    mode          the batch endpoint, or one of the two realtime ones
    local_model   a Whisper model of this machine, by its name or folder; None: the default
    engine        the model of this machine that does the work; empty: that of the API does
    """

    mode: Mode
    model: str
    local_model: str | None = None
    engine: str = ""

    @property
    def name(self) -> str:
        """As in "auto ink-2"."""
        return f"{self.mode} {self.engine or self.model}"

    @property
    def is_live(self) -> bool:
        return self.mode != "batch"


class EvalRecording(Record):
    """A recording, and what is said in it.

    reference   None: it is not known
    """

    job: Job
    reference: str | None

    @property
    def source(self) -> str:
        """Its name, for people."""
        return self.job.input.source


class Outcome(Record):
    """What a system made of a recording.

    text        None if it failed
    error       why it failed, or None
    seconds     length of the recording, if that is known
    credits     that it cost; 0 on this machine and from the cache
    latencies   of each utterance of a live session: milliseconds by figure (see `session.latency`)
    """

    text: str | None = None
    error: CliError | None = None
    seconds: float | None = None
    credits: float = 0.0
    from_cache: bool = False
    latencies: Sequence[Mapping[str, float]] = ()


class SystemResults:
    """The outcomes of a system so far.

    outcomes   by the number of the recording
    elapsed    seconds from the first recording to the last, without loading an engine
    """

    def __init__(self, system: System) -> None:
        self.system, self.elapsed = system, 0.0
        self.outcomes: dict[int, Outcome] = {}


class EvalConfig(Record):
    """What all systems have in common.

    keyterms   words to expect in live sessions, for models that take them
    """

    backend: BackendConfig
    language: str | None
    keyterms: Sequence[str]
    sending: EvalSendingOptions

    @property
    def local(self) -> bool:
        """Whether this machine transcribes."""
        return self.backend.base_url is None

    def limit(self, system: System) -> ConcurrencyLimit:
        """How many recordings a system transcribes at once. Live sessions on this machine don't share it, unless the
        user says so: they would measure each other.
        """
        if not system.is_live:
            return backend.concurrency_limit(self.sending.jobs, self.backend)
        return ConcurrencyLimit(self.sending.jobs or (1 if self.local else backend.CLOUD_JOBS))


class Shared(Record):
    """What the transcribers of a run have in common."""

    config: EvalConfig
    workspace: Workspace
    observer: BatchObserver
    reporter: Reporter


class BatchTranscriber:
    """Transcribes recordings at the batch endpoint, as `transcribe` does, several at once. Connects, or loads an
    engine, for the first one that isn't in the cache; `stack` closes it.

    opening_seconds   how long that took
    """

    def __init__(self, system: System, limit: ConcurrencyLimit, shared: Shared, stack: ExitStack) -> None:
        self._limit, self.opening_seconds = limit, 0.0
        config, reporter = shared.config, shared.reporter
        language = language_for_server(config.language, config.backend.base_url, reporter)
        request = BatchOptions(model=system.model, language=language, word_timestamps=True)
        warn_of_unknown_values(reporter, request, None, models_of=None)
        chosen = config.backend._replace(local_model=system.local_model)
        responses = backend.open_cache(config.sending.no_cache, chosen, ENDPOINT, reporter)

        @cache
        def connect() -> Backend:
            began = time.monotonic()
            opened = stack.enter_context(
                backend.open_backend(chosen, reporter, retries=config.sending.retries, limit=limit)
            )
            self.opening_seconds = time.monotonic() - began
            return opened

        self._transcriber = JobTranscriber(
            BatchConfig(request, Layout(), ENDPOINT, config.sending.timeout, responses),
            connect,
            reporter,
            Budget(),
            shared.observer,
            shared.workspace,
        )

    def transcribe(self, number: int, job: Job) -> Outcome:
        """Transcribe a recording. Raises CliError if that fails; raises Stopped after `stop`. `number`: its key for the
        progress.
        """
        try:
            with self._transcriber.transcribed(number, job) as done:
                return Outcome(
                    text=done.transcript.text,
                    seconds=done.job.seconds or done.transcript.duration,
                    credits=done.credits or 0.0,
                    from_cache=done.from_cache,
                )
        finally:
            self._transcriber.billable_jobs.discard(number)

    def stop(self) -> Set[int]:
        """Give up what isn't sent. Returns the numbers of the recordings that are, and will be paid for, until they are
        done.
        """
        sent = self._transcriber.stop(aborts_uploads=True)
        self._limit.close()
        return sent


class LiveTranscriber:
    """The same for a realtime endpoint: replays recordings, as `stream-file` does. Loads an engine at once if it is on
    this machine; `stack` closes it.
    """

    opening_seconds = 0.0

    def __init__(self, system: System, shared: Shared, stack: ExitStack) -> None:
        self._system, self._shared = system, shared
        options = _session_options(system, shared.config)
        self._endpoint = options.endpoint(None)
        self._finalizes = self._endpoint is MANUAL
        self._request = options.request(
            self._endpoint, shared.reporter, base_url=shared.config.backend.base_url, ends_by_vad=self._finalizes
        )
        self._endpointing = options.endpointing()
        self._is_stopping = False
        chosen = shared.config.backend._replace(local_model=system.local_model)
        self._server = stack.enter_context(backend.open_live_server(chosen, self._request, shared.reporter))

    def transcribe(self, number: int, job: Job) -> Outcome:
        shared = self._shared

        def update(what: str, done: float = 0.0, total: float | None = None) -> None:
            if self._is_stopping:
                raise Stopped
            shared.observer.update(number, what, done, total)

        request = BatchOptions(model=self._system.model)
        with (
            shared.workspace.materialize(job, request, update) as ready,
            choose_upload(ready, shared.workspace, update, shared.reporter, local=True) as recording,
        ):
            seconds = recording.media.duration
            transcript, measured = self._replay(recording.upload.path, ready, seconds, update)
        if any(notice.event == "reconnected" for notice in transcript.notices):
            shared.reporter.warn("the connection was lost for a while", about=job.input.source)
        price = 0.0 if shared.config.local else realtime_credits(self._system.model, measured["seconds"])
        shared.observer.finished(number, seconds=measured["seconds"], credits=price, from_cache=False)
        return Outcome(
            text=transcript.text,
            seconds=measured["seconds"] if seconds is None else seconds,
            credits=price,
            latencies=[one["latency_ms"] for one in measured["utterances"]]
            if shared.config.sending.speed == 1.0
            else (),
        )

    def _replay(
        self, path: Path, job: Job, seconds: float | None, update: JobProgress
    ) -> tuple[Transcript, dict[str, Any]]:
        """Stream a recording. Returns its transcript, and what was measured (see `LatencyRecorder.report`)."""
        from ..audio.files import Decoder
        from ..audio.pacing import RealtimeSource
        from .live.config import SessionConfig
        from .live.session import run_unshown_session

        source, speed = job.input.source, self._shared.config.sending.speed
        blocks = Decoder(warn=partial(self._shared.reporter.warn, about=source)).decode_file(path)
        blocks = chain([next(blocks)], blocks)  # what can't be decoded is reported before anything is connected
        stream = StreamOptions(catch_up="live")
        sent = count(1)

        def make_source(recorder: LatencyRecorder) -> RealtimeSource:
            def on_late(late: float) -> None:
                recorder.late(late)
                update("transcribing", min(next(sent) * stream.chunk_ms / 1000, seconds or 0.0), seconds)

            return RealtimeSource(
                blocks, stream.chunk_ms / 1000, rate=RATE, speed=speed, on_late=on_late, on_gap=recorder.gap
            )

        session = SessionConfig(
            source=source,
            endpoint=self._endpoint,
            options=self._request,
            model=self._system.model,
            endpointing=self._endpointing,
            finalize=self._finalizes,
            stream_options=stream,
            targets={},
            layout=Layout(),
            speed=speed,
            seconds=seconds,
        )
        return run_unshown_session(session, self._server, make_source)

    def stop(self) -> Set[int]:
        self._is_stopping = True
        return set()


def _session_options(system: System, config: EvalConfig) -> SessionOptions:
    """The options of a live session: the language and the key terms only for models that take them."""
    language, base_url = config.language, config.backend.base_url
    is_on_this_machine = base_url is None or is_loopback(base_url)  # `serve` takes a language at any endpoint
    takes_language = is_on_this_machine or (system.mode == "manual" and is_whisper(system.model))
    takes_hints = not config.local and language in HINT_LANGUAGES and takes_language_hints(system.model)
    return SessionOptions(
        mode="manual" if system.mode == "manual" else "auto",
        model=system.model,
        language=language if takes_language else None,
        language_hint=[language] if language is not None and takes_hints else None,
        keyterm=None if is_whisper(system.model) else list(config.keyterms),
    )


def run_systems(
    results: Sequence[SystemResults], recordings: Sequence[EvalRecording], config: EvalConfig, reporter: Reporter
) -> None:
    """Run the systems over the recordings, and fill in their results, which are there after an interruption, too.
    Recordings that fail are reported, unless there is only one for one system. Raises CliError for a failure that all
    others would share; raises Interrupted after Ctrl-C.
    """
    each = len(recordings)
    with (
        Workspace(config.sending.retries, reporter.info, config.sending.timeout) as workspace,
        reporter.batch_progress(local=config.local) as progress,
    ):
        for recording in [*recordings] * len(results):
            progress.found(1, recording.job.seconds)
        progress.all_found()
        shared = Shared(config, workspace, progress, reporter)
        for position, one in enumerate(results):
            _run_system(one, recordings, shared, first_key=position * each, is_alone=each * len(results) == 1)


def _run_system(
    results: SystemResults, recordings: Sequence[EvalRecording], shared: Shared, *, first_key: int, is_alone: bool
) -> None:
    """Run one system.

    first_key   key of the first recording for the progress; the others follow
    is_alone    whether the caller reports what fails
    """
    system, progress, limit = results.system, shared.observer, shared.config.limit(results.system)
    remaining, lock = iter(enumerate(recordings)), Lock()
    stopped: list[BaseException] = []

    def work() -> None:
        while not stopped:
            with lock:
                numbered = next(remaining, None)
            if numbered is None:
                return
            number, recording = numbered
            key, item, seconds = first_key + number, recording.job.input, recording.job.seconds
            progress.started(key, f"{item.relative_path.name} ({system.name})", seconds)
            try:
                results.outcomes[number] = transcriber.transcribe(key, recording.job)
            except CliError as error:
                progress.failed(key)
                results.outcomes[number] = Outcome(error=error, seconds=seconds)
                if is_account_error(error):
                    stopped.append(error)
                    transcriber.stop()
                elif not is_alone:
                    shared.reporter.error(error)
            except BaseException as error:  # Stopped, too
                progress.failed(key, given_up=True)
                stopped.append(error)

    def stop() -> Set[int]:
        stopped.append(Stopped())
        return transcriber.stop()

    with ExitStack() as stack:
        transcriber: BatchTranscriber | LiveTranscriber = (
            LiveTranscriber(system, shared, stack) if system.is_live else BatchTranscriber(system, limit, shared, stack)
        )
        began = time.monotonic()
        try:
            run_in_threads(work, limit, len(recordings), shared.reporter, is_over=lambda: bool(stopped), stop=stop)
        finally:
            results.elapsed = max(0.0, time.monotonic() - began - transcriber.opening_seconds)
        if failure := next((error for error in stopped if not isinstance(error, Stopped)), None):
            raise failure
