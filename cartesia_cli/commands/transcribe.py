"""`transcribe`: recordings to transcripts, one after the other, in the order in which they were named.

What is wrong with the command line or with an input is told before anything is sent. A file that fails
doesn't stop the others; a key that is refused, or credits that ran out, do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Exit, UsageError
from . import options as given
from .cache import NoCache
from .format_options import FormatOptions, SubtitleOptions
from .option_groups import expand_groups
from .output_options import OUTPUT_PANEL, OutputOptions

EXAMPLES = """
cartesia-cli transcribe talk.mp3

cartesia-cli transcribe talk.mp3 -w

cartesia-cli transcribe talk.mp4 -o talk.srt

cartesia-cli transcribe talk.mp3 --grep 'by (one|another)' -C 3

cartesia-cli transcribe lectures/ -f text,vtt --output-dir out

ffmpeg -i film.mkv -f wav - | cartesia-cli transcribe - -f json
"""


Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", callback=given.nonempty_path, show_default=False,
                   help="Files, folders, quoted globs, or - for stdin."),
]  # fmt: skip
Sample = Annotated[
    bool,
    typer.Option("--sample", help="Transcribe the recording that comes along; with a key, INPUT may be words to say."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List what would be sent, how long it is, and what it would cost.")
]
KeepJson = Annotated[
    Path | None,
    given.path_option(
        metavar="DIR", help="Keep the server's answers there as they came.", rich_help_panel=OUTPUT_PANEL
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", rich_help_panel=OUTPUT_PANEL,
                 help="Skip inputs that already have results, as after a run that was cut off."),
]  # fmt: skip
Endpoint = Annotated[
    str,
    typer.Option(
        metavar="stt|openai",
        help="Route of the API: its own, or the OpenAI-shaped.",
        rich_help_panel=given.BACKEND_PANEL,
    ),
]


@expand_groups(
    place=OutputOptions,
    look=FormatOptions,
    subtitle_options=SubtitleOptions,
    where=given.BackendOptions,
    voice=given.VerbosityOptions,
)
def transcribe(
    context: typer.Context,
    *,
    inputs: Inputs = None,
    sample: Sample = False,
    dry_run: DryRun = False,
    place: OutputOptions,
    resume: Resume = False,
    keep_json: KeepJson = None,
    look: FormatOptions,
    subtitle_options: SubtitleOptions,
    model: given.Model = "ink-whisper",
    language: given.Language = None,
    keyterm: given.Keyterm = None,
    encoding: given.Encoding = None,
    sample_rate: given.SampleRate = None,
    where: given.BackendOptions,
    endpoint: Endpoint = "stt",
    timeout: given.Timeout = None,
    retries: given.Retries = None,
    no_cache: NoCache = False,
    voice: given.VerbosityOptions,
) -> None:
    """Turn recordings into text, word tables, subtitles or JSON."""
    from ..protocol import BatchOptions
    from . import backend, batch
    from . import resume as resuming
    from .cache import open_cache
    from .inputs import Input, find_inputs, is_folder_or_glob, spool_stdin

    reporter = voice.apply_to(context.obj)
    formats = place.formats(selects_rows=look.selects_rows)
    reporter.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    layout = look.layout(subtitle_options)
    choice = where.resolve(context, reporter, needs_key=not dry_run)
    options = BatchOptions(
        model=model,
        language=language,
        word_timestamps=True,  # they cost nothing, and whatever is wanted next needs no other upload
        encoding=given.checked_encoding(encoding, sample_rate),
        sample_rate=sample_rate,
    )
    given.warn_unknown(reporter, options, keyterm)
    responses = open_cache(no_cache, choice, given.checked_endpoint(endpoint), where.local_model, reporter)
    results = resuming.open_results(reporter)
    with ExitStack() as stack:
        connected = cache(
            lambda: stack.enter_context(
                backend.open_backend(choice, reporter, retries=retries, local_model=where.local_model)
            )
        )
        if sample and inputs and dry_run:
            raise UsageError("a dry run sends nothing, not even words to speak", hint="--sample alone can be tried dry")
        if sample:
            from .sample import synthesize_sample

            names = [str(synthesize_sample(inputs or (), choice, connected, reporter))]
        elif inputs:
            names = inputs
        else:
            raise UsageError("nothing to transcribe", hint="name a file, a folder or -; or try --sample")
        several = len(names) > 1 or is_folder_or_glob(names[0])
        matches = place.matches(layout, formats, reporter, several=several)
        together = matches is not None and matches.combined
        plan = place.plan(formats, several=several, force=dry_run or resume, combined=together)
        order = batch.BatchConfig(options, layout, endpoint, timeout, responses, matches)
        skipped: list[Path] = []
        spooled = stack.enter_context(spool_stdin(names))
        found = list(find_inputs(names, spooled, headerless=encoding is not None, on_skip=skipped.append))
        for path in skipped:
            reporter.detail(f"{path}: not a recording: skipped")
        if skipped and any(isinstance(item, Input) for item in found):
            count = "1 file is not a recording" if len(skipped) == 1 else f"{len(skipped)} files are not recordings"
            reporter.info(f"{count}: skipped" + ("" if reporter.verbose else " (-v names them)"))
        jobs, failed = batch.plan_jobs(found, options, plan, results, reporter, response_folder=keep_json)
        if resume:
            jobs, useless = resuming.pending(
                jobs, order, results, lambda job: batch.look_up(job, order, reporter)[1], reporter
            )
            failed += useless
        if dry_run:
            from . import dry_run as trial

            trial.print_estimate(jobs, order, choice.base_url, reporter)
        elif jobs:
            if choice.reason:
                reporter.info(choice.reason)

            def rest(left: Sequence[batch.Job]) -> str:
                return resuming.rest_command(context, names, left, force=place.force)

            try:
                failed = batch.run_jobs(
                    jobs, order, connected, reporter, unusable=failed, results=results, rest_command=rest
                )
            finally:
                trouble = None if matches is None else matches.close()
            if trouble is not None:
                raise trouble
            failed += matches is not None and matches.found_nothing
    if failed:
        raise typer.Exit(Exit.FAILED)
