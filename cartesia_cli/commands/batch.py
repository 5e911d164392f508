"""Recordings through a backend into their targets, one after the other, in input order.

A file that fails is reported and doesn't stop the others, unless they would all fail for the same reason: a key that
is refused, credits that ran out, a server that isn't there, a full disk. What was answered before is not asked again.
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
from ..output import NEEDS_WORDS, Layout
from ..output.console import ProgressBar, Reporter
from ..output.files import write_file
from ..protocol import BatchOptions, BatchResponse, batch_credits, unusable_fields
from ..results import Results
from ..transcript import Transcript, drop_wrong_times, from_batch
from .backend import Backend
from .inputs import STDIN, Input
from .output_plan import FindOwner, OutputPlan, Targets
from .resume import describe_request, find_owner
from .write_results import write_results

if TYPE_CHECKING:  # imported by --grep and its like, and then with every format
    from .matches import MatchWriter


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, looked at, with where its transcript goes.

    kept   where the server's answer goes as it came, or None
    """

    input: Input
    media: MediaInfo
    targets: Targets
    response_file: Path | None = None


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What is wanted for every recording.

    cache     earlier answers of the same server; None: neither read nor written
    matches   takes what is chosen of each transcript, None where all of it is wanted
    on_written   called with each transcript whose results are all written
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
    """Look at every input before anything is sent: the jobs, and how many inputs are no use.

    Those are told here; the error of an only input is raised. `keep_json`: a folder for the answers as they come.
    `results`: of earlier runs, which keep their names.
    """
    looked: list[tuple[Input, MediaInfo]] = []
    failed = 0
    for item in found:
        try:
            if isinstance(item, InputError):
                raise item
            looked.append((item, probe_input(item, options)))
        except InputError as error:
            if len(found) == 1:
                raise
            reporter.error(error)
            failed += 1
    items = [item for item, _ in looked]

    def known(stem: Path, inputs: Sequence[Input]) -> object:
        return find_owner(stem, inputs, results)

    targets = plan.targets(items, known)
    kept = _plan_response_files(items, targets, plan, response_folder, known)
    jobs = [Job(*seen, files, file) for seen, files, file in zip(looked, targets, kept, strict=True)]
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
    """Transcribe all; how many failed. Each failure is reported and the rest go on; that of an only input is raised,
    and so is one that all others would share.

    connect    called whenever something has to be sent; gives the same backend each time
    unusable   how many inputs have failed before; they count among all of them
    results    is told of every file that is written
    rest       the command that does what is left, should it come to that
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
            if is_account_error(error) and (left := jobs[k:])[1:]:
                reporter.info(f"warning: stopped: {summary.to_text()}; {len(left) - 1} not tried")
                error.hint = "; ".join(
                    filter(None, [error.hint, f"then: {rest_command(left)}" if rest_command else None])
                )
            if is_account_error(error):
                raise
            reporter.error(error)
    # Who wanted a fresh answer has to know that this is none.
    (reporter.info if summary.from_cache or summary.total > 1 else reporter.detail)(summary.to_text())
    return summary.failed


@dataclass(slots=True)
class BatchSummary:
    """What has been done so far: recordings, and seconds of audio.

    recalled   recordings whose answer came from the cache
    billed     seconds of those whose answer didn't
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
    """One recording, from its look-up to its files."""
    item = job.input
    audio = fingerprint(item.path) if job.response_file or any(job.targets.values()) else None
    lookup, answer = look_up(job, config, reporter)
    if answer is None:
        try:
            backend = connect()
        except CliError as error:
            error.stops_batch = True
            raise
        answer = _request_transcript(job, config, backend, lookup, reporter)
        summary.local = backend.local
    else:
        summary.from_cache += 1
        backend = None
    response = _usable_response(answer.response, job, reporter)
    transcript = from_batch(
        response, source=item.source, model=config.options.model, measured_duration=job.media.duration
    )
    summary.audio_seconds += transcript.duration or 0.0
    summary.billed_seconds += 0.0 if backend is None else transcript.duration or 0.0
    _deliver(transcript, answer.body, job, config, reporter, alone=summary.total == 1)
    config.on_written(transcript)
    summary.written += 1
    if not transcript.text.strip():
        reporter.info(f"{item.source}: nothing was said")
    one_by_one = config.matches is None or not config.matches.combined
    if one_by_one and audio is not None and audio.is_current(item.path):
        made_from = STDIN if item.source == STDIN else str(item.path)
        for file in (*job.targets.values(), job.response_file):
            if file is not None and (written := fingerprint(file)):
                wanted = describe_request(
                    config.options, None if file is job.response_file else config.layout.selection
                )
                results.add(file, written.digest, made_from, audio, wanted)


def _usable_response(response: BatchResponse, job: Job, reporter: Reporter) -> BatchResponse:
    """What can be used of an answer; what can't is told."""
    source, measured = job.input.source, job.media.duration
    if odd := unusable_fields(response):
        reporter.detail(f"{source}: the answer has fields of a wrong kind, which are not used: {', '.join(odd)}")
    if response.trailing:
        reporter.info(f"warning: {source}: {response.trailing} characters follow the answer: they are not used")
    told = response.words or ()
    if left_out := count_missing_words(response.text, told):
        reporter.info(
            f"warning: {source}: {left_out} of {len(told)} words of the answer aren't in its text: they are left out"
        )
    usable = response if job.media.estimated else drop_wrong_times(response, measured)
    if usable is not response:
        reporter.info(
            f"warning: {source}: the server's times can't be those of a recording of {measured:.1f} s: "
            "they are not used"
        )
    return usable


def probe_input(item: Input, options: BatchOptions) -> MediaInfo:
    """A look at an input before it is sent. InputError when it is no recording."""
    name = "stdin" if item.source == STDIN else None
    if options.encoding is None:
        return probe(item.path, name)
    assert options.sample_rate is not None
    return probe_raw(item.path, options.encoding, options.sample_rate, name)


def look_up(job: Job, config: BatchConfig, reporter: Reporter) -> tuple[Lookup | None, CachedResponse | None]:
    """How a recording's response is found in the cache, and the response if it is there."""
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
    """The server's answer, kept for the next time."""
    item, recording = job.input, job.media
    if not (backend.local or recording.documented):
        reporter.info(
            f"warning: {item.source}: not in a format that the API documents ({recording.container}): sent as it is"
        )
    bodies: list[bytes] = []
    backend.progress.recognized_seconds = 0.0
    with reporter.progress_bar() as bar, _save_body_on_error(bodies, backend, job, reporter):
        response = backend.client.transcribe(
            Upload(
                path=item.path,
                filename=_upload_name(item, recording),
                media_type=MEDIA_TYPES.get(recording.container, "application/octet-stream"),
                name=item.source,
            ),
            config.options,
            endpoint=config.endpoint,
            deadlines=backend.deadlines(recording.bytes, recording.duration, config.timeout),
            on_progress=lambda meter: _show_progress(bar, meter, job, backend),
            on_body=bodies.append,
        )
    if (body := backend.client.redact_body(bodies[-1], response)) != bodies[-1]:
        reporter.info(f"warning: {item.source}: the answer repeats the key: only what the API documents is kept of it")
    if lookup and (trouble := lookup.save(body)):
        reporter.detail(f"{item.source}: not cached: {trouble}")
    return CachedResponse(body, response, time.time())


def _show_progress(bar: ProgressBar, meter: UploadProgress, job: Job, backend: Backend) -> None:
    if not meter.uploaded:
        bar.show(f"sending {job.input.relative_path.name}", meter.sent, meter.size)
    elif backend.local and job.media.duration:
        bar.show(
            f"transcribing {job.input.relative_path.name}", backend.progress.recognized_seconds, job.media.duration
        )
    else:
        bar.show(f"transcribing {job.input.relative_path.name}")


def _upload_name(item: Input, recording: MediaInfo) -> str:
    """The name that is sent: servers go by its ending, so that one is added where there is none of a recording."""
    name = "stdin" if item.source == STDIN else item.path.name
    endings = FORMATS[recording.container].extensions
    known = Path(name).suffix.lower() in EXTENSIONS.union(endings)
    return name if known or not endings else name + endings[0]


def _deliver(
    transcript: Transcript, body: bytes, job: Job, config: BatchConfig, reporter: Reporter, *, alone: bool
) -> None:
    """Write every target. What can't be written is not lost: it goes to stdout, and the error is raised after it."""
    trouble = _save_body(body, job, reporter)
    if transcript.words is None and transcript.text.strip():
        if not NEEDS_WORDS.isdisjoint(job.targets):
            reporter.info(
                f"warning: {job.input.source}: the server sent no word times: times within the text are estimated"
            )
        elif config.layout.words:
            reporter.info(f"warning: {job.input.source}: the server sent no word times: -w has none to show")
    if config.matches is not None:
        config.matches.add(transcript)
    if config.matches is None or not config.matches.combined:
        trouble = write_results(transcript, job.targets, config.layout, reporter, labelled=not alone) or trouble
    if trouble is not None:
        raise trouble


@contextmanager
def _save_body_on_error(bodies: Sequence[bytes], backend: Backend, job: Job, reporter: Reporter) -> Iterator[None]:
    """Write the last of these bodies where answers go if the block fails: somebody has paid for it."""
    try:
        yield
    except CliError:
        if bodies and (trouble := _save_body(backend.client.redact_body(bodies[-1]), job, reporter)):
            reporter.error(trouble)
        raise


def _save_body(body: bytes, job: Job, reporter: Reporter) -> OutputError | None:
    """Write what the server sent, where that is asked for."""
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
    """A file for the answer to each input. UsageError when it can't be, exists, or is where a transcript goes."""
    if folder is None:
        return [None] * len(items)
    planned = replace(plan, formats=("json",), several=True, output=None, output_dir=folder).targets(items, find_owner)
    taken = {os.path.realpath(file) for one in targets for file in one.values() if file is not None}
    for one in planned:
        for file in one.values():
            if file is not None and os.path.realpath(file) in taken:
                raise UsageError(f"{file} is where a transcript goes", hint="--keep-json names another folder")
    return [file for one in planned for file in one.values()]
