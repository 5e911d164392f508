"""`transcribe`: recordings to transcripts, one after the other, in the order in which they were named.

What is wrong with the command line or with an input is told before anything is sent. A file that fails
doesn't stop the others; a key that is refused, or credits that ran out, do.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Exit, UsageError
from ..output.talk import Talk
from . import options as given

OUTPUT = "What comes out"
EXAMPLES = """
cartesia-cli transcribe talk.mp3

cartesia-cli transcribe talk.mp3 -w

cartesia-cli transcribe talk.mp4 -o talk.srt

cartesia-cli transcribe lectures/ -f text,vtt --output-dir out

ffmpeg -i film.mkv -f wav - | cartesia-cli transcribe - -f json
"""


Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", help="Files, folders, quoted globs, or - for stdin.", show_default=False),
]
Sample = Annotated[
    bool,
    typer.Option("--sample", help="Transcribe the recording that comes along; with a key, INPUT may be words to say."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List what would be sent, how long it is, and what it would cost.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT,...",
        help="text, json, ndjson, srt, vtt, tsv, csv or table; several with --output-dir.",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for -f json.", rich_help_panel=OUTPUT)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write here; the name implies the format.", rich_help_panel=OUTPUT
    ),
]
OutputDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write a file for each input and format.", rich_help_panel=OUTPUT)
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what exists.", rich_help_panel=OUTPUT)]
WordTimestamps = Annotated[
    bool,
    typer.Option(
        "--word-timestamps",
        "-w",
        help="Times for each word: a table below the text, words in json.",
        rich_help_panel=OUTPUT,
    ),
]
Endpoint = Annotated[
    str,
    typer.Option(
        metavar="stt|openai", help="Route of the API: its own, or the OpenAI-shaped.", rich_help_panel=given.SERVER
    ),
]


def transcribe(
    context: typer.Context,
    inputs: Inputs = None,
    sample: Sample = False,
    dry_run: DryRun = False,
    format: Format = None,
    json: Json = False,
    output: Output = None,
    output_dir: OutputDir = None,
    force: Force = False,
    word_timestamps: WordTimestamps = False,
    model: given.Model = "ink-whisper",
    language: given.Language = None,
    keyterm: given.Keyterm = None,
    encoding: given.Encoding = None,
    sample_rate: given.SampleRate = None,
    local: given.Local = False,
    cloud: given.Cloud = False,
    local_model: given.LocalModel = None,
    base_url: given.BaseUrl = None,
    endpoint: Endpoint = "stt",
    timeout: given.Timeout = None,
    retries: given.Retries = None,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
    color: given.Color = "auto",
) -> None:
    """Turn recordings into text, word tables, subtitles or JSON."""
    from ..output import NEEDS_WORDS, Layout
    from ..protocol import BatchOptions
    from . import backend, batch, destinations, speech
    from .inputs import gather, is_search, spool

    talk: Talk = context.obj
    given.settle(talk, quiet=quiet, verbose=verbose, debug=debug, color=color)
    formats = destinations.formats(format, json, output)
    talk.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    choice = backend.choose(given.settings(), local=local, cloud=cloud, base_url=base_url)
    options = BatchOptions(
        model=model,
        language=language,
        word_timestamps=word_timestamps or not NEEDS_WORDS.isdisjoint(formats),
        encoding=given.checked_encoding(encoding, sample_rate),
        sample_rate=sample_rate,
    )
    given.doubt(talk, options, keyterm)
    order = batch.Order(
        options, Layout(words=word_timestamps), given.checked_endpoint(endpoint), given.checked_timeout(timeout)
    )
    with ExitStack() as stack:
        connected = cache(
            lambda: stack.enter_context(backend.connect(choice, talk, retries=retries, local_model=local_model))
        )
        if sample and inputs and dry_run:
            raise UsageError("a dry run sends nothing, not even words to speak", hint="--sample alone can be tried dry")
        if sample:
            names = [str(speech.sample(inputs or (), choice, connected, talk))]
        elif inputs:
            names = inputs
        else:
            raise UsageError("nothing to transcribe", hint="name a file, a folder or -; or try --sample")
        plan = destinations.Plan(formats, len(names) > 1 or is_search(names[0]), output, output_dir, force or dry_run)
        found = gather(names, stack.enter_context(spool(names)))
        jobs, failed = batch.prepare(list(found), options, plan, talk)
        if dry_run:
            batch.estimate(jobs, order, choice.base_url, talk)
        elif jobs:
            if choice.reason:
                talk.say(choice.reason)
            failed += batch.run(jobs, order, connected(), talk)
    if failed:
        raise typer.Exit(Exit.FAILED)
