"""The command `transcribe`: finds the inputs, plans them, and has them transcribed, as the options say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, UsageError
from ...output import Layout
from ...output.console import Reporter
from ...protocol.batch import DEFAULT_LANGUAGE
from .. import backend
from ..backend import Backend
from ..command_context import effective_settings
from . import shell_commands
from .budget import Budget
from .config import BatchConfig
from .inputs import Input, find_inputs, is_streamed, may_be_several
from .job import Job, Refuse
from .job_runner import BatchSummary, JobRunner
from .outcomes import OutcomeStore, has_journal, shard_key
from .plan import BatchPlan
from .stdin import STDIN, spool_stdin
from .transcriber import JobTranscriber
from .workspace import Workspace

if TYPE_CHECKING:
    import typer

    from .cluster_jobs import ClusterJobs
    from .manifest_results import ManifestResults
    from .options import TranscribeOptions
    from .output_plan import OutputPlan

OFFLINE_CLUSTER = (
    "no CARTESIA_API_KEY: transcribing with the engines of the workers; with --cloud, they use a key of their own"
)

EMPTY_LIST = "nothing to transcribe: the list of inputs is empty"

SAMPLE = Path(__file__).parents[2] / "sample.wav"

SAMPLE_VOICE = {"mode": "id", "id": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"}
"""The voice in the API documentation's example of batch transcription."""


class TranscribeCommand:
    """One call of the command. To create it raises UsageError for most options that contradict each other, AuthError
    without the key that is needed.

    stack   closes at the end what the run opens
    """

    def __init__(
        self, context: typer.Context, options: TranscribeOptions, reporter: Reporter, stack: ExitStack
    ) -> None:
        self._context, self._options, self._reporter, self._stack = context, options, reporter, stack
        output, sending = options.output, options.sending
        has_other_output = output.is_given or options.format.selects_rows
        is_manifest_only = options.extra.output_manifest is not None and not has_other_output
        self._formats = () if is_manifest_only else output.formats(selects_rows=options.format.selects_rows)
        layout = options.format.layout(options.subtitles)
        sends_here = sending.dask is None or options.input.sample  # the workers of a cluster have keys of their own
        self._backend_config = options.backend.resolve(
            context, reporter, needs_key=sends_here and not options.input.dry_run
        )
        request = options.recording.request(reporter, self._backend_config.base_url)
        self._shard = None
        if options.pending.shard is not None:
            from ...scale.shards import parse_shard

            self._shard = parse_shard(options.pending.shard, os.environ)
        speakers = options.speakers()
        responses = backend.open_cache(sending.no_cache, self._backend_config, sending.endpoint, reporter)
        bucket, folder = None, output.output_dir
        if folder is not None:
            from .bucket_results import BucketResults, bucket_url

            if bucket_url(folder) is not None:
                bucket, folder = BucketResults(force=output.force, resume=options.pending.resume), None
        self._config = BatchConfig(
            request,
            layout,
            sending.endpoint,
            sending.timeout,
            responses,
            speakers=speakers,
            bucket=bucket,
            embed_audio=options.extra.embed_audio,
            replaces=output.force,
            engine=backend.engine_name(self._backend_config, request.language),
        )
        if options.pending.retry_failed:
            if folder is None:
                raise UsageError("--retry-failed needs the journal of an output directory", hint="--output-dir DIR")
            if not has_journal(folder):
                raise UsageError(f"{folder} has no journal of an earlier run", hint="check the folder")
        self._outcomes = OutcomeStore(folder, self._shard, reporter)
        self._limit = backend.concurrency_limit(
            sending.jobs, self._backend_config, self._shard.total if self._shard else 1
        )
        self._cluster: ClusterJobs | None = None
        self._connect = cache(self._open_backend)

    def run(self) -> bool:
        """Do what the options ask for. Returns whether all of it is done; what isn't has been reported. Raises CliError
        for a failure that ends the run, which UsageError is before anything is sent.
        """
        options, reporter, config = self._options, self._reporter, self._config
        dry_run = options.input.dry_run
        if options.sending.dask is not None and not dry_run:
            self._connect_to_cluster(options.sending.dask)
        names = self._names()
        workspace = self._stack.enter_context(
            Workspace(options.sending.retries, reporter.info, options.sending.timeout)
        )
        recordings = [recording for name in names for recording in workspace.expand_page(name)]
        several = options.input.files_from is not None or len(recordings) > 1 or may_be_several(recordings[0])
        output_plan = options.output.plan(self._formats, several=several, selects_rows=options.format.selects_rows)
        if options.pending.resume and output_plan.to_stdout:
            if effective_settings(self._context)["resume"].layer == "flag":
                raise UsageError(
                    "--resume needs results in files, and these go to stdout", hint="-o FILE or --output-dir DIR"
                )
            self._options = options = options._replace(pending=options.pending._replace(resume=False))
        manifest_path = self._manifest_path()
        manifest = None if manifest_path is None else self._open_manifest(manifest_path, names)
        output_plan = output_plan._replace(
            force=dry_run or config.replaces or options.pending.continues, to_bucket=config.bucket is not None
        )
        matches = None
        if options.format.selects_rows:
            from .matches import MatchWriter

            matches = MatchWriter(config.layout, output_plan, reporter, speakers=config.speakers is not None)
        self._config = config = config._replace(manifest=manifest, matches=matches)
        skipped = SkippedInputs(reporter)
        spooled = self._stack.enter_context(spool_stdin(names))
        found = find_inputs(
            recordings,
            spooled,
            files_from=options.input.files_from,
            expander=workspace,
            headerless=options.recording.encoding is not None,
            on_skip=skipped.add_file,
            on_repeat=skipped.add_repeat,
            with_fields=manifest is not None,
        )
        plan = self._plan(found, output_plan, skipped)
        self._report_done(plan)
        if not dry_run:
            if manifest is not None:
                manifest.reserve()
            # Of an array, `status` has to know that this task did run.
            if self._shard is not None or not plan.is_mistyped:
                command = partial(shell_commands.run_command, self._context, names)
                self._stack.enter_context(self._outcomes.run(command))
            if plan.complete:
                self._outcomes.record_input_count(len(plan.first), plan.left_out)
        if plan.error is not None:
            raise plan.error
        if dry_run:
            from .dry_run import print_estimate

            is_done = not print_estimate(plan, config, self._backend_config.base_url, workspace, reporter)
        else:
            is_done = not plan.unusable
            if plan.first or not plan.complete:
                is_done = self._transcribe(plan, output_plan, names, workspace)
        skipped.report()
        return is_done and (manifest is None or not manifest.missing)

    def _open_backend(self) -> Backend:
        opening = backend.open_backend(
            self._backend_config,
            self._reporter,
            retries=self._options.sending.retries,
            limit=self._limit,
        )
        return self._stack.enter_context(opening)

    def _connect_to_cluster(self, address: str) -> None:
        """Have the workers of a Dask cluster do the work."""
        from . import cluster_jobs

        options = self._options
        sending, chosen = options.sending, self._backend_config
        config = cluster_jobs.WorkerConfig(
            # without what only this process needs, to write results
            self._config._replace(layout=Layout(), cache=None, bucket=None, manifest=None, matches=None),
            chosen._replace(credential=None),
            sending.retries,
            sending.no_cache,
            self._reporter.verbose,
        )
        self._cluster = self._stack.enter_context(cluster_jobs.ClusterJobs(address, config, self._reporter))
        self._limit = self._cluster.limit(sending.jobs)

    def _names(self) -> list[str]:
        """The inputs that the user names; the path of the sample instead if that is asked for."""
        given = self._options.input
        if given.sample and given.inputs and given.dry_run:
            raise UsageError(
                "--dry-run sends nothing, so it can't have words spoken", hint="use --sample without words"
            )
        if given.sample:
            if not given.inputs:
                return [str(SAMPLE)]
            return [str(self._speak(" ".join(given.inputs)))]
        names = given.inputs or []
        if not names and given.files_from is None:
            raise UsageError("nothing to transcribe", hint="name a file, a folder or -; or try --sample")
        if given.files_from == STDIN and STDIN in names:
            raise UsageError("stdin can't be a recording and a list of inputs", hint="name a file for one of them")
        return names

    def _speak(self, words: str) -> Path:
        """Have the server speak words. Returns the new recording in the working directory. Raises UsageError if this
        machine transcribes, which can't speak.
        """
        from datetime import datetime

        from ...client import Deadlines
        from ...output.files import write_file

        if self._backend_config.base_url is None:
            raise UsageError(
                "having words spoken needs Cartesia's API", hint="set CARTESIA_API_KEY; --sample alone needs none"
            )
        request = {
            "model_id": "sonic-latest",
            "transcript": words,
            "voice": SAMPLE_VOICE,
            "output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 16000},
            "language": self._config.request.language or DEFAULT_LANGUAGE,
        }
        audio = self._connect().client.synthesize(request, deadlines=Deadlines(total=120.0))
        path = Path(f"stt_sample_{datetime.now():%Y%m%d_%H%M%S_%f}.wav")
        write_file(path, audio, replaces=False)
        self._reporter.info(f"saved the sample as {path}")
        return path

    def _manifest_path(self) -> Path | None:
        """Where the manifest of the results goes, if one is wanted."""
        path = self._options.extra.output_manifest
        if path is None or self._shard is None:
            return path
        from .manifest_results import path_of_shard

        return path_of_shard(path, self._shard)

    def _open_manifest(self, path: Path, names: Sequence[str]) -> ManifestResults | None:
        """The manifest of the results; None in a dry run that need not look into it. Raises UsageError if it can't be
        written.
        """
        from .manifest_results import ManifestResults, check_output_manifest

        options = self._options
        keeps_lines, dry_run = options.pending.continues, options.input.dry_run
        force = options.output.force or dry_run
        check_output_manifest(path, names, resume=keeps_lines, force=force)
        if dry_run and self._formats:
            return None
        texts_only = self._config.speakers is None and self._config.layout.selection is None
        results = ManifestResults(
            path, resume=keeps_lines, force=force, dry_run=dry_run, texts_only=texts_only, reporter=self._reporter
        )
        return self._stack.enter_context(results)

    def _plan(self, found: Iterator[Input | InputError], output_plan: OutputPlan, skipped: SkippedInputs) -> BatchPlan:
        """Plan the inputs of this shard, and of those only what is left if an earlier run is continued."""
        options, shard = self._options, self._shard
        if shard is not None:  # an InputError may hide inputs of any shard: each reports it
            found = (item for item in found if not isinstance(item, Input) or shard.has(shard_key(item)))
        numbered = (
            item if isinstance(item, InputError) else item._replace(number=number) for number, item in enumerate(found)
        )
        return BatchPlan(
            numbered,
            self._config.request,
            output_plan,
            self._outcomes,
            self._reporter,
            response_folder=options.extra.keep_json,
            output_manifest=self._manifest_path(),
            select=self._select_pending if options.pending.continues else None,
            streamed=is_streamed(options.input.files_from),
            on_found=skipped.report,
        )

    def _select_pending(self, jobs: Sequence[Job], refuse: Refuse) -> list[Job]:
        """The jobs that earlier runs have left; those that can't be done are refused."""
        config, outcomes, reporter = self._config, self._outcomes, self._reporter
        manifest = config.manifest
        chosen = outcomes.select_failed(jobs) if self._options.pending.retry_failed else jobs
        if manifest is not None:
            manifest.reserve()
            manifest.keep_others(jobs, chosen)
        from .resume import select_pending, with_outdated_files  # start-up: results often go to stdout

        if manifest is not None and not self._formats:
            return [with_outdated_files(job, config, outcomes) for job in chosen if not manifest.keep(job)]
        return select_pending(chosen, config, outcomes, reporter, refuse)

    def _report_done(self, plan: BatchPlan) -> None:
        """Say how much of the work is done already."""
        if plan.left_out:
            more = "" if plan.complete else " of the first ones"
            rest = f"{len(plan.first)} to do" if plan.first or not plan.complete else "nothing to do"
            what = "not to be tried again" if self._options.pending.retry_failed else "already done"
            self._reporter.info(f"{plan.left_out} of {plan.left_out + len(plan.first)}{more} {what}; {rest}")
        elif plan.complete and not plan.first and not plan.unusable:
            self._reporter.info(EMPTY_LIST if self._shard is None else f"no inputs in shard {self._shard}")

    def _transcribe(self, plan: BatchPlan, output_plan: OutputPlan, names: Sequence[str], workspace: Workspace) -> bool:
        """Transcribe what is planned. Returns whether no input failed and, with --grep, anything matched."""
        config, matches = self._config, self._config.matches
        if self._cluster is None:
            backend.report_engine(self._backend_config, config.request.language, self._reporter)
        elif self._backend_config.reason:
            self._reporter.info(OFFLINE_CLUSTER)
        if plan.complete and config.speakers is None:
            self._limit.lower_maximum(len(plan.first))
        local, limit, reporter = self._backend_config.base_url is None, self._limit, self._reporter
        place = "this machine" if self._cluster is None else "the cluster"
        summary = BatchSummary(place if local else None)
        progress = reporter.batch_progress(
            local=local, pause_seconds=lambda: limit.pause_seconds, lines=not plan.is_alone
        )
        budget = Budget(self._options.sending.max_credits)
        rest_command = partial(shell_commands.rest_command, self._context, names, plan=output_plan, config=config)
        try:
            with progress as observer:
                transcriber = JobTranscriber(
                    config, self._connect, reporter, budget, observer, workspace, self._cluster
                )
                failed = JobRunner(
                    plan, config, transcriber, observer, summary, reporter,
                    outcomes=self._outcomes, limit=limit, rest_command=rest_command,
                ).run()  # fmt: skip
        finally:
            write_error = None if matches is None else matches.close()
            if self._options.sending.notify:
                reporter.notify(summary.to_text())
        if write_error is not None:
            raise write_error
        if not summary.total + plan.left_out:
            self._reporter.info(EMPTY_LIST)
        return not failed and not (matches is not None and matches.found_nothing)


class SkippedInputs:
    """Counts and reports the files of searched folders that are not recordings, and inputs that were there before."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._files = self._repeats = 0

    def add_file(self, path: Path) -> None:
        self._files += 1
        self._reporter.detail(f"{path}: not a recording: skipped")

    def add_repeat(self, source: str) -> None:
        self._repeats += 1
        self._reporter.detail(f"{source}: the same as another input: skipped")

    def report(self, any_found: bool = True) -> None:
        """Say how many were skipped since the last report.

        any_found   False if no input may be a recording: the error that follows counts the files
        """
        files = "1 file is not a recording" if self._files == 1 else f"{self._files} files are not recordings"
        repeats = (
            "1 input is the same as another" if self._repeats == 1 else f"{self._repeats} inputs are the same as others"
        )
        for count, sentence in ((self._files, files), (self._repeats, repeats)):
            if count and any_found:
                self._reporter.info(f"{sentence}: skipped" + ("" if self._reporter.verbose else " (-v names them)"))
        self._files = self._repeats = 0
