"""`transcribe`: turns recordings into transcripts, several at once, in the order in which they are named.

An error in the command line and unusable inputs are reported before anything is sent. A recording that fails doesn't
stop the others; a refused key or exhausted credits do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import Exit, UsageError
from . import options as given
from .cache import NoCache
from .options import expand_groups
from .output_options import OUTPUT_PANEL, FormatOptions, OutputOptions, SubtitleOptions

if TYPE_CHECKING:  # --help does without
    from ..cache import CachedResponse
    from ..output.console import Reporter
    from .backend import Backend, BackendConfig
    from .cluster_jobs import ClusterJobs
    from .manifest_results import ManifestResults

EXAMPLES = """
cartesia-cli transcribe talk.mp3

cartesia-cli transcribe talk.mp3 -w

cartesia-cli transcribe talk.mp4 -o talk.srt

cartesia-cli transcribe talk.mp3 --grep 'by (one|another)' -C 3

cartesia-cli transcribe lectures/ -f text,vtt --output-dir out

ffmpeg -i film.mkv -f wav - | cartesia-cli transcribe - -f json
"""

MAX_JOBS = 256
"""A limit against typing errors: each job is a thread."""

SAMPLE = Path(__file__).parent.parent / "sample.wav"

SAMPLE_VOICE = {"mode": "id", "id": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"}
"""The voice in the API documentation's example of batch transcription."""

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", callback=given.nonempty_path, show_default=False,
                   help="Files, folders, quoted globs such as 'talks/*.mp3', URLs, s3://…, @LIST, or - for stdin."),
]  # fmt: skip
FilesFrom = Annotated[
    str | None,
    typer.Option(metavar="FILE", callback=given.nonempty_path,
                 help="Read more inputs from this list, one on each line; - is stdin."),
]  # fmt: skip
Sample = Annotated[
    bool,
    typer.Option("--sample", help="Transcribe the bundled sample. With a key, INPUT may be words to speak first."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List what would be sent, with durations and costs; send nothing.")
]
KeepJson = Annotated[
    Path | None,
    given.path_option(
        metavar="DIR", help="Save the server's responses in this folder, unchanged.", rich_help_panel=OUTPUT_PANEL
    ),
]
OutputManifest = Annotated[
    Path | None,
    given.path_option(metavar="FILE", rich_help_panel=OUTPUT_PANEL,
                      help="Write a NeMo manifest of the results, as JSON lines; alone, it replaces other files."),
]  # fmt: skip
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Skip inputs that already have results.", rich_help_panel=OUTPUT_PANEL),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Only inputs that failed before in --output-dir.",
                 rich_help_panel=OUTPUT_PANEL),
]  # fmt: skip
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", rich_help_panel=OUTPUT_PANEL,
                 help="Only a share of the inputs, such as 3/8; auto or auto/N in a job array."),
]  # fmt: skip
Endpoint = Annotated[
    Literal["stt", "openai"],
    typer.Option(help="The API's own route, or its OpenAI-compatible one.", rich_help_panel=given.BACKEND_PANEL),
]

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="N", min=1, max=MAX_JOBS, rich_help_panel=given.BACKEND_PANEL,
                 help="Recordings at once; by default 4 in the cloud, more while it accepts them, offline "
                      "by cores and memory."),
]  # fmt: skip
MaxCredits = Annotated[
    float | None,
    given.number_option(metavar="N", min=0, help="Stop before a run costs more than this many credits.",
                        rich_help_panel=given.BACKEND_PANEL),
]  # fmt: skip
SpeakersByChannel = Annotated[
    str | None,
    typer.Option("--speakers-by-channel", metavar="[NAME,NAME]", show_default=False,
                 help="Transcribe each channel by itself, and merge them into a conversation."),
]  # fmt: skip
Dask = Annotated[
    str | None,
    typer.Option("--dask", metavar="ADDRESS", rich_help_panel=given.BACKEND_PANEL, show_default=False,
                 help="Transcribe on the workers of a Dask cluster: tcp://HOST:8786, or its scheduler file."),
]  # fmt: skip


Notify = Annotated[
    bool,
    typer.Option("--notify", help="Show a desktop notification at the end.", rich_help_panel=given.MESSAGES_PANEL),
]


@expand_groups(
    output_options=OutputOptions,
    format_options=FormatOptions,
    subtitle_options=SubtitleOptions,
    backend_options=given.BackendOptions,
    verbosity=given.VerbosityOptions,
)
def transcribe(
    context: typer.Context,
    *,
    inputs: Inputs = None,
    files_from: FilesFrom = None,
    sample: Sample = False,
    dry_run: DryRun = False,
    output_options: OutputOptions,
    resume: Resume = False,
    retry_failed: RetryFailed = False,
    shard: ShardOption = None,
    keep_json: KeepJson = None,
    output_manifest: OutputManifest = None,
    format_options: FormatOptions,
    subtitle_options: SubtitleOptions,
    model: given.Model = "ink-whisper",
    language: given.Language = None,
    keyterm: given.Keyterm = None,
    encoding: given.Encoding = None,
    sample_rate: given.SampleRate = None,
    speakers_by_channel: SpeakersByChannel = None,
    backend_options: given.BackendOptions,
    endpoint: Endpoint = "stt",
    timeout: given.Timeout = None,
    retries: given.Retries = None,
    jobs: Jobs = None,
    max_credits: MaxCredits = None,
    dask: Dask = None,
    no_cache: NoCache = False,
    notify: Notify = False,
    verbosity: given.VerbosityOptions,
) -> None:
    """Turn recordings into text, word tables, subtitles or JSON."""
    from ..protocol import BatchOptions
    from . import backend, batch
    from . import resume as resuming
    from .batch_plan import BatchPlan, Job
    from .bucket_results import BucketResults, bucket_url
    from .cache import open_cache
    from .credits import Budget
    from .inputs import STDIN, Input, find_inputs, is_streamed, may_be_several, spool_stdin
    from .remote_inputs import RemoteInputs
    from .run_record import open_record, shard_key
    from .show_progress import show_progress

    reporter = verbosity.apply_to(context.obj)
    formats = output_options.formats(selects_rows=format_options.selects_rows)
    reporter.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    layout = format_options.layout(subtitle_options)
    backend_config = backend_options.resolve(
        context, reporter, needs_key=not (dry_run or (dask is not None and not sample))
    )
    options = BatchOptions(
        model=model,
        language=language,
        word_timestamps=True,  # they cost nothing, and the next format then needs no other upload
        encoding=given.checked_encoding(encoding, sample_rate),
        sample_rate=sample_rate,
    )
    given.warn_unknown(reporter, options, keyterm)
    share = None
    if shard is not None:
        from ..scale.shards import parse_shard

        share = parse_shard(shard, os.environ)
    speakers = None
    if speakers_by_channel is not None:
        speakers = given.parse_names(speakers_by_channel)
        _check_channel_options({"--keep-json": keep_json, "--encoding": encoding})
        if dask is not None and max_credits is not None:  # only workers know how many channels there are
            raise UsageError(
                "--max-credits can't be combined with --speakers-by-channel and --dask", hint="leave out one of them"
            )
    responses = open_cache(no_cache, backend_config, endpoint, backend_options.local_model, reporter)
    bucket: BucketResults | None = None
    if bucket_url(output_options.output_dir) is not None:
        bucket = BucketResults(force=output_options.force, resume=resume)
    record = open_record(
        resuming.open_results(reporter),
        None if bucket is not None else output_options.output_dir,
        share,
        reporter,
        keeps_journal=not dry_run,
    )
    with ExitStack() as stack:
        limit = backend.concurrency_limit(jobs, backend_config, share.total if share else 1)
        cluster: ClusterJobs | None = None
        if dask is not None and not dry_run:
            from . import cluster_jobs

            worker_config = cluster_jobs.WorkerConfig(
                options,
                endpoint,
                timeout,
                backend_config.base_url,
                backend_options.local_model,
                retries,
                no_cache,
                speakers,
                reporter.verbose,
            )
            cluster = stack.enter_context(cluster_jobs.ClusterJobs(dask, worker_config, reporter))
            limit = cluster.limit(jobs)

        @cache
        def connect() -> Backend:
            opened = backend.open_backend(
                backend_config, reporter, retries=retries, local_model=backend_options.local_model, limit=limit
            )
            return stack.enter_context(opened)

        if sample and inputs and dry_run:
            raise UsageError(
                "--dry-run sends nothing, so it can't have words spoken", hint="use --sample without words"
            )
        if sample:
            names = [str(synthesize_sample(inputs or (), backend_config, connect, reporter))]
        elif inputs or files_from is not None:
            names = inputs or []
        else:
            raise UsageError("nothing to transcribe", hint="name a file, a folder or -; or try --sample")
        if files_from == STDIN and STDIN in names:
            raise UsageError("stdin can't be a recording and a list of inputs", hint="name a file for one of them")
        remote = stack.enter_context(RemoteInputs(retries, reporter.info))
        recordings = [found for name in names for found in remote.recordings_on_page(name)]
        several = files_from is not None or len(recordings) > 1 or may_be_several(recordings[0])
        manifest: ManifestResults | None = None
        if output_manifest is not None:
            from .manifest_results import ManifestResults, check_output_manifest, numbered, path_of_shard

            path = output_manifest if share is None else path_of_shard(output_manifest, share)
            keeps_lines = resume or retry_failed
            check_output_manifest(path, names, resume=keeps_lines, force=output_options.force or dry_run)
            if not dry_run:
                manifest = stack.enter_context(ManifestResults(path, resume=keeps_lines, reporter=reporter))
            if not (output_options.is_given or format_options.selects_rows):
                formats = ()
        matches = output_options.matches(layout, formats, reporter, several=several, speakers=speakers is not None)
        output_plan = output_options.plan(
            formats,
            several=several,
            force=dry_run or resume or retry_failed,
            combined=matches is not None and matches.combined,
            to_bucket=bucket is not None,
        )
        config = batch.BatchConfig(options, layout, endpoint, timeout, responses, matches, manifest, speakers, bucket)

        def look_up(job: Job) -> CachedResponse | None:
            # Those to the channels are only known once a recording is split.
            return batch.look_up(job, config, reporter)[1] if speakers is None else None

        def keep_in_manifest(job: Job) -> None:
            if manifest is not None:
                manifest.keep_finished(job, look_up(job))

        def select_pending(jobs: Sequence[Job]) -> tuple[list[Job], int]:
            chosen = record.select_failed(jobs) if retry_failed else jobs
            if manifest is not None and retry_failed:
                manifest.keep_others(jobs, chosen)
            if manifest is not None and not formats:
                return [job for job in chosen if not manifest.keep(job.input)], 0
            return resuming.pending(chosen, config, record, look_up, reporter, keep_in_manifest)

        skipped = SkippedFiles(reporter)
        spooled = stack.enter_context(spool_stdin(names))
        found = find_inputs(
            recordings,
            spooled,
            files_from=files_from,
            remote=remote,
            headerless=encoding is not None,
            on_skip=skipped.add,
            with_fields=manifest is not None,
        )
        if share is not None:
            found = (item for item in found if not isinstance(item, Input) or share.has(shard_key(item)))
        plan = BatchPlan(
            found if manifest is None else numbered(found),
            options,
            output_plan,
            record,
            reporter,
            response_folder=keep_json,
            select=select_pending if resume or retry_failed else None,
            streamed=is_streamed(files_from),
            on_found=skipped.report,
        )
        if plan.done:
            more = "" if plan.complete else " of the first ones"
            rest = f"{len(plan.first)} to do" if plan.first or not plan.complete else "nothing to do"
            what = "not to be tried again" if retry_failed else "already done"
            reporter.info(f"{plan.done} of {plan.done + len(plan.first)}{more} {what}; {rest}")
        elif share is not None and plan.complete and not plan.first:
            reporter.info(f"no inputs in shard {share}")
        failed = plan.unusable
        if dry_run:
            from .dry_run import print_estimate

            failed += print_estimate(plan, config, backend_config.base_url, remote, reporter)
        else:
            stack.enter_context(record.run(resuming.run_command(context, names)))
            if plan.complete:
                record.count_inputs(len(plan.first), plan.done)
        if not dry_run and (plan.first or not plan.complete):
            if backend_config.reason:
                reporter.info(backend_config.reason if cluster is None else cluster_jobs.OFFLINE)
            if plan.complete and speakers is None:
                limit.lower_maximum(len(plan.first))
            to_files = all(file is not None for job in plan.first for file in job.targets.values())

            def rest_command(left: Sequence[Job] | None) -> str:
                return resuming.rest_command(context, names, left or (), to_files=to_files, force=output_options.force)

            summary = batch.BatchSummary()
            try:
                with show_progress(plan, limit, reporter, local=backend_config.base_url is None) as (counted, observer):
                    failed = batch.run_jobs(
                        counted,
                        config,
                        connect,
                        reporter,
                        record=record,
                        limit=limit,
                        budget=Budget(max_credits),
                        observer=observer,
                        summary=summary,
                        remote=remote,
                        rest_command=rest_command,
                        cluster=cluster,
                    )
            finally:
                write_error = None if matches is None else matches.close()
                if notify:
                    reporter.notify(summary.to_text())
            if write_error is not None:
                raise write_error
            failed += matches is not None and matches.found_nothing
        skipped.report(any_found=True)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _check_channel_options(others: Mapping[str, object]) -> None:
    """UsageError for an option that makes no sense where each channel is a request."""
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{name} can't be combined with --speakers-by-channel", hint="leave out one of them")


class SkippedFiles:
    """Counts and reports the files of searched folders that are not recordings."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._count = reporter, 0

    def add(self, path: Path) -> None:
        self._count += 1
        self._reporter.detail(f"{path}: not a recording: skipped")

    def report(self, *, any_found: bool) -> None:
        """Say how many were skipped since the last report."""
        if self._count and any_found:
            count = "1 file is not a recording" if self._count == 1 else f"{self._count} files are not recordings"
            self._reporter.info(f"{count}: skipped" + ("" if self._reporter.verbose else " (-v names them)"))
        self._count = 0


def synthesize_sample(
    words: Sequence[str], backend_config: BackendConfig, connect: Callable[[], Backend], reporter: Reporter
) -> Path:
    """The path of the bundled sample or, given words, of a new recording of them in the working directory, synthesised
    by Cartesia. UsageError for words without the API.
    """
    if not words:
        return SAMPLE
    if backend_config.base_url is None:
        raise UsageError(
            "having words spoken needs Cartesia's API", hint="set CARTESIA_API_KEY; --sample alone needs none"
        )
    from datetime import datetime

    from ..client import Deadlines
    from ..output.files import write_file

    request = {
        "model_id": "sonic-latest",
        "transcript": " ".join(words),
        "voice": SAMPLE_VOICE,
        "output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 16000},
        "language": "en",
    }
    path = Path(f"stt_sample_{datetime.now():%Y%m%d_%H%M%S}.wav")
    write_file(path, connect().client.synthesize(request, deadlines=Deadlines(total=120.0)))
    reporter.info(f"saved the sample as {path}")
    return path
