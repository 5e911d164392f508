"""Transcribes recordings through a backend, one after the other in input order, and writes the results.

A recording that fails is reported and doesn't stop the others, unless they would all fail for the same reason: a
refused key, exhausted credits, a server that can't be reached, a full disk. Cached responses are not requested again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..alignment import count_missing_words
from ..audio.probing import EXTENSIONS, FORMATS, MEDIA_TYPES, MediaInfo, probe, probe_raw
from ..cache import Cache, CachedResponse, Lookup
from ..client import Upload, UploadProgress, is_account_error
from ..errors import CliError, InputError, OutputError, UsageError
from ..fingerprint import fingerprint
from ..output import Layout
from ..output.console import ProgressBar, Reporter
from ..output.files import write_file
from ..protocol import BatchOptions, BatchResponse, batch_credits, unusable_fields
from ..results import Results
from ..transcript import Transcript, drop_wrong_times, from_batch
from . import resume
from .backend import Backend
from .inputs import STDIN, Input
from .output_plan import FindOwner, OutputPlan, Targets
from .write_results import write_results

if TYPE_CHECKING:  # imported only where rows are selected, because it imports every format
    from .matches import MatchWriter


@dataclass(frozen=True, slots=True)
class Job:
    """One recording that has been probed, and where its results go.

    response_file   where the body of the server's response is saved as it came, or None
    """

    input: Input
    media: MediaInfo
    targets: Targets
    response_file: Path | None = None


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What all recordings of a batch have in common.

    timeout      seconds for one recording; None: as long as its size needs
    cache        responses of the same server; None: neither read nor written
    matches      writes the selected rows of each transcript; None: whole transcripts are written
    on_written   called with each transcript after its results are written
    """

    options: BatchOptions
    layout: Layout
    endpoint: str
    timeout: float | None
    cache: Cache | None = None
    matches: MatchWriter | None = None
    on_written: Callable[[Transcript], None] = lambda transcript: None


def plan_jobs(
    found: Sequence[Input | InputError],
    options: BatchOptions,
    plan: OutputPlan,
    results: Results,
    reporter: Reporter,
    *,
    response_folder: Path | None = None,
) -> tuple[list[Job], int]:
    """Probe every input before anything is sent. Returns the jobs and the number of unusable inputs, which are
    reported; if there is only one input, its error is raised.

    results           of earlier runs: they keep their file names
    response_folder   where response bodies are saved, or None
    """
    probed: list[tuple[Input, MediaInfo]] = []
    failed = 0
    for item in found:
        try:
            if isinstance(item, InputError):
                raise item
            probed.append((item, probe_input(item, options)))
        except InputError as error:
            if len(found) == 1:
                raise
            reporter.error(error)
            failed += 1
    inputs = [item for item, _ in probed]

    def find_owner(stem: Path, inputs: Sequence[Input]) -> object:
        return resume.find_owner(stem, inputs, results)

    targets = plan.targets(inputs, find_owner)
    response_files = _plan_response_files(inputs, targets, plan, response_folder, find_owner)
    jobs = [Job(*one, files, file) for one, files, file in zip(probed, targets, response_files, strict=True)]
    return jobs, failed


def run_jobs(
    jobs: Sequence[Job],
    config: BatchConfig,
    connect: Callable[[], Backend],
    reporter: Reporter,
    *,
    unusable: int = 0,
    results: Results | None = None,
    rest_command: Callable[[Sequence[Job]], str] | None = None,
) -> int:
    """Transcribe all recordings. Returns the number of inputs that failed, each of which is reported. CliError for a
    failure of the only input, or one that all others would share.

    connect        called whenever something has to be sent; must return the same backend each time
    unusable       inputs that failed before, included in the totals
    results        every file that is written is recorded here
    rest_command   makes the command for the remaining jobs, for the hint of an error that stops the batch
    """
    summary = BatchSummary(total=len(jobs) + unusable, failed=unusable)
    for k, job in enumerate(jobs):
        if job.media.note:
            reporter.info(f"warning: {job.input.source}: {job.media.note}")
        try:
            _run_job(job, config, connect, results or Results(None), reporter, summary)
        except CliError as error:
            summary.failed += 1
            if summary.total == 1:
                raise
            if not is_account_error(error):
                reporter.error(error)
                continue
            left = jobs[k:]
            if len(left) > 1:
                reporter.info(f"warning: stopped: {summary.to_text()}; {len(left) - 1} not tried")
                rest = f"then: {rest_command(left)}" if rest_command else None
                error.hint = "; ".join(filter(None, [error.hint, rest]))
            raise
    # Said by default if a response came from the cache: the user may have expected a new one.
    (reporter.info if summary.from_cache or summary.total > 1 else reporter.detail)(summary.to_text())
    return summary.failed


@dataclass(slots=True)
class BatchSummary:
    """Counts what a batch has done so far.

    total, failed, written   inputs
    from_cache               inputs whose response came from the cache
    audio_seconds            of all transcripts
    billed_seconds           of those whose response didn't come from the cache
    """

    total: int
    failed: int = 0
    written: int = 0
    from_cache: int = 0
    audio_seconds: float = 0.0
    billed_seconds: float = 0.0
    local: bool = False

    def to_text(self) -> str:
        price = "on this machine" if self.local else f"{batch_credits(self.billed_seconds):.1f} credits"
        if self.from_cache:
            free = self.from_cache == self.written
            price = "from cache, 0 credits" if free else f"{self.from_cache} from cache, {price}"
        return f"{self.written} of {self.total} transcribed, {self.audio_seconds:.1f} s of audio, {price}"


def _run_job(
    job: Job,
    config: BatchConfig,
    connect: Callable[[], Backend],
    results: Results,
    reporter: Reporter,
    summary: BatchSummary,
) -> None:
    """Transcribe one recording, or find its response in the cache, and write its results."""
    item = job.input
    audio = fingerprint(item.path) if job.response_file or any(job.targets.values()) else None
    lookup, found = look_up(job, config, reporter)
    if found is None:
        try:
            backend = connect()
        except CliError as error:
            error.stops_batch = True
            raise
        summary.local = backend.local
        found = _request_transcript(job, config, backend, lookup, reporter)
    else:
        summary.from_cache += 1
        backend = None
    response = _usable_response(found.response, job, reporter)
    transcript = from_batch(
        response, source=item.source, model=config.options.model, measured_duration=job.media.duration
    )
    summary.audio_seconds += transcript.duration or 0.0
    summary.billed_seconds += 0.0 if backend is None else transcript.duration or 0.0
    write_error = _save_body(found.body, job, reporter)
    write_results(
        transcript, job.targets, config.layout, reporter,
        name=item.source, matches=config.matches, labelled=summary.total > 1,
    )  # fmt: skip
    if write_error is not None:
        raise write_error
    config.on_written(transcript)
    summary.written += 1
    if not transcript.text.strip():
        reporter.info(f"{item.source}: nothing was said")
    has_own_files = config.matches is None or not config.matches.combined
    if has_own_files and audio is not None and audio.is_current(item.path):
        source = STDIN if item.source == STDIN else str(item.path)
        for file in (*job.targets.values(), job.response_file):
            if file is not None and (written := fingerprint(file)):
                wanted = resume.describe_request(
                    config.options, None if file is job.response_file else config.layout.selection
                )
                results.add(file, written.digest, source, audio, wanted)


def _usable_response(response: BatchResponse, job: Job, reporter: Reporter) -> BatchResponse:
    """Drop the unusable parts of a response, with a warning."""
    source, measured = job.input.source, job.media.duration
    if malformed := unusable_fields(response):
        reporter.detail(f"{source}: malformed fields of the response are ignored: {', '.join(malformed)}")
    if response.trailing:
        reporter.info(f"warning: {source}: {response.trailing} characters after the response's JSON are ignored")
    words = response.words or ()
    if left_out := count_missing_words(response.text, words):
        reporter.info(
            f"warning: {source}: {left_out} of {len(words)} words of the response aren't in its text and are left out"
        )
    usable = response if job.media.estimated else drop_wrong_times(response, measured)
    if usable is not response:
        reporter.info(
            f"warning: {source}: the server's times don't fit a recording of {measured:.1f} s and are ignored"
        )
    return usable


def probe_input(item: Input, options: BatchOptions) -> MediaInfo:
    """Read what an input's header says before it is sent. InputError for one that is not a recording."""
    name = "stdin" if item.source == STDIN else None
    if options.encoding is None:
        return probe(item.path, name)
    assert options.sample_rate is not None
    return probe_raw(item.path, options.encoding, options.sample_rate, name)


def look_up(job: Job, config: BatchConfig, reporter: Reporter) -> tuple[Lookup | None, CachedResponse | None]:
    """Look up the response to a recording in the cache. The second is None if it isn't there, both without a cache."""
    if config.cache is None:
        return None, None
    with reporter.progress_bar() as bar:
        bar.show(f"looking up {job.input.relative_path.name}")
        lookup = config.cache.lookup(job.input.path, config.options)
    found = lookup.find() if lookup else None
    if found:
        stored = datetime.fromtimestamp(found.stored_at)
        reporter.detail(f"{job.input.source}: from cache, stored on {stored:%Y-%m-%d at %H:%M}")
    return lookup, found


def _request_transcript(
    job: Job, config: BatchConfig, backend: Backend, lookup: Lookup | None, reporter: Reporter
) -> CachedResponse:
    """Upload a recording and cache the server's response."""
    item, media = job.input, job.media
    if not (backend.local or media.documented):
        reporter.info(
            f"warning: {item.source}: not in a format that the API documents ({media.container}): sent as it is"
        )
    bodies: list[bytes] = []
    backend.progress.recognized_seconds = 0.0
    with reporter.progress_bar() as bar, _save_body_on_error(bodies, backend, job, reporter):
        response = backend.client.transcribe(
            Upload(
                path=item.path,
                filename=_upload_name(item, media),
                media_type=MEDIA_TYPES.get(media.container, "application/octet-stream"),
                name=item.source,
            ),
            config.options,
            endpoint=config.endpoint,
            deadlines=backend.deadlines(media.bytes, media.duration, config.timeout),
            on_progress=lambda progress: _show_progress(bar, progress, job, backend),
            on_body=bodies.append,
        )
    if (body := backend.client.redact_body(bodies[-1], response)) != bodies[-1]:
        reporter.info(f"warning: {item.source}: the response repeats the key: only its documented fields are saved")
    if lookup and (reason := lookup.save(body)):
        reporter.detail(f"{item.source}: not cached: {reason}")
    return CachedResponse(body, response, time.time())


def _show_progress(bar: ProgressBar, progress: UploadProgress, job: Job, backend: Backend) -> None:
    name = job.input.relative_path.name
    if not progress.uploaded:
        bar.show(f"sending {name}", progress.sent, progress.size)
    elif backend.local and job.media.duration:
        bar.show(f"transcribing {name}", backend.progress.recognized_seconds, job.media.duration)
    else:
        bar.show(f"transcribing {name}")


def _upload_name(item: Input, media: MediaInfo) -> str:
    """The file name that is sent. Servers go by its suffix, so one is added to a name without a suffix of audio."""
    name = "stdin" if item.source == STDIN else item.path.name
    endings = FORMATS[media.container].extensions
    known = Path(name).suffix.lower() in EXTENSIONS.union(endings)
    return name if known or not endings else name + endings[0]


@contextmanager
def _save_body_on_error(bodies: Sequence[bytes], backend: Backend, job: Job, reporter: Reporter) -> Iterator[None]:
    """Save the last of these response bodies if the block fails, because it may have been paid for."""
    try:
        yield
    except CliError:
        if bodies and (write_error := _save_body(backend.client.redact_body(bodies[-1]), job, reporter)):
            reporter.error(write_error)
        raise


def _save_body(body: bytes, job: Job, reporter: Reporter) -> OutputError | None:
    """Write a response body to its file, if it has one. Returns the error of a file that can't be written."""
    if job.response_file is not None:
        try:
            write_file(job.response_file, body)
        except OutputError as error:
            return error
        reporter.info(f"wrote {job.response_file}")
    return None


def _plan_response_files(
    items: Sequence[Input], targets: Sequence[Targets], plan: OutputPlan, folder: Path | None, find_owner: FindOwner
) -> list[Path | None]:
    """Name a file for each response. UsageError if it exists, can't be written, or is where a transcript goes."""
    if folder is None:
        return [None] * len(items)
    planned = replace(plan, formats=("json",), several=True, output=None, output_dir=folder).targets(items, find_owner)
    taken = {os.path.realpath(file) for one in targets for file in one.values() if file is not None}
    for one in planned:
        for file in one.values():
            if file is not None and os.path.realpath(file) in taken:
                raise UsageError(f"{file} is where a transcript goes", hint="choose another folder for --keep-json")
    return [file for one in planned for file in one.values()]
