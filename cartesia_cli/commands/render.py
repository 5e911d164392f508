"""`render`: saved transcripts of any program in another format, without audio, network or cost.

Every input is read, and every place for a result checked, before anything is written.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CliError, Exit, InputError, UsageError
from .format_options import FormatOptions, SubtitleOptions
from .option_groups import expand_groups
from .options import VerbosityOptions, nonempty_path
from .output_options import OutputOptions

if TYPE_CHECKING:  # every --help comes by here
    from ..output import Layout
    from ..output.console import Reporter
    from ..transcript import Transcript
    from .inputs import Input
    from .matches import MatchWriter
    from .output_plan import Targets

EXAMPLES = """
cartesia-cli render talk.json

cartesia-cli render talk.json -o talk.srt --subtitle-profile bbc

cartesia-cli render assemblyai.json -f vtt

cartesia-cli render whisper.json -f table --longest-gaps 10

cartesia-cli transcribe talk.mp3 -w --json | tee talk.json | cartesia-cli render - -f vtt

cartesia-cli render all.ndjson -f srt,vtt --output-dir out
"""

MAX_TRANSCRIPT_BYTES = 256 << 20
"""Of a transcript: four times the largest answer that is taken from a server."""

MAX_SOURCE_NAME_BYTES = 200
"""Bytes of a file name that a transcript may choose for its results: with a suffix, file systems take 255."""

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="TRANSCRIPT...",
        callback=nonempty_path,
        help="JSON of cartesia-cli, Whisper or other services, SRT or WebVTT; quoted globs; - for stdin.",
        show_default=False,
    ),
]


@expand_groups(place=OutputOptions, look=FormatOptions, subtitle_options=SubtitleOptions, voice=VerbosityOptions)
def render(
    context: typer.Context,
    *,
    inputs: Inputs,
    place: OutputOptions,
    look: FormatOptions,
    subtitle_options: SubtitleOptions,
    voice: VerbosityOptions,
) -> None:
    """Turn a saved transcript into text, word tables or subtitles, without asking a server again."""
    from .inputs import STDIN, find_inputs, is_folder_or_glob, spool_stdin

    reporter = voice.apply_to(context.obj)
    formats = place.formats(selects_rows=look.selects_rows)
    reporter.as_json = not {"json", "ndjson"}.isdisjoint(formats)
    layout = look.layout(subtitle_options)
    several = len(inputs) > 1 or is_folder_or_glob(inputs[0])
    if STDIN in inputs and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError(
            "stdin is the terminal: there is no transcript in it", hint="cartesia-cli render - < talk.json"
        )
    folders = [name for name in inputs if os.path.isdir(name)]
    with spool_stdin(inputs) as spooled:
        found = [
            *(InputError(f"{name} is a folder", hint="name the files in it, or a quoted glob") for name in folders),
            *find_inputs([name for name in inputs if name not in folders], spooled),
        ]
        items, failed = _load_transcripts(found, reporter)
    matches = place.matches(layout, formats, reporter, several=several or len(items) > 1)
    together = matches is not None and matches.combined
    targets = place.plan(formats, several=several, combined=together).targets([item for item, _ in items])
    _check_targets(targets, [item for item in found if not isinstance(item, InputError)], together=together)
    for (item, transcript), files in zip(items, targets, strict=True):
        try:
            _deliver(item, transcript, files, layout, reporter, matches)
        except CliError as error:
            if len(items) == 1:
                raise
            reporter.error(error)
            failed += 1
    if matches is not None and (trouble := matches.close()) is not None:
        raise trouble
    if failed or (matches is not None and matches.found_nothing):
        raise typer.Exit(Exit.FAILED)


def _load_transcripts(
    found: Sequence[Input | InputError], reporter: Reporter
) -> tuple[list[tuple[Input, Transcript]], int]:
    """The transcripts of every input, and how many inputs are no use: those are told, that of an only one is raised."""
    from ..transcript_import import decode_document, load_transcripts

    items: list[tuple[Input, Transcript]] = []
    failed = 0
    for item in found:
        try:
            if isinstance(item, InputError):
                raise item
            text, doubt = decode_document(_bytes(item), item.source)
            if doubt:
                reporter.info(f"warning: {doubt}")
            transcripts = load_transcripts(text, item.source)
        except InputError as error:
            if len(found) == 1:
                raise
            reporter.error(error)
            failed += 1
        else:
            items += zip(_name_inputs(item, transcripts), transcripts, strict=True)
    return items, failed


def _bytes(item: Input) -> bytes:
    """The whole of an input. InputError when it can't be read."""
    from .inputs import unreadable_error

    try:
        with item.path.open("rb") as file:
            data = file.read(MAX_TRANSCRIPT_BYTES + 1)
    except OSError as error:
        raise unreadable_error(item.source, error) from error
    if len(data) > MAX_TRANSCRIPT_BYTES:
        raise InputError(f"{item.source} is too large", hint=f"files may have {MAX_TRANSCRIPT_BYTES >> 20} MiB")
    return data


def _name_inputs(item: Input, transcripts: Sequence[Transcript]) -> list[Input]:
    """The input once for each of its transcripts. Of several, each has the name of its recording, or a number."""
    if len(transcripts) == 1:
        return [item]
    names = [_safe_file_name(transcript.source) for transcript in transcripts]
    alone = {name for name, count in Counter(names).items() if name and count == 1}
    numbered = [name if name in alone else f"{item.relative_path.stem}-{k}.json" for k, name in enumerate(names, 1)]
    return [replace(item, relative_path=item.relative_path.with_name(name)) for name in numbered]


def _safe_file_name(source: str) -> str:
    """A file name from what a transcript says about itself, which may be anything; "" where that is no name."""
    name = source.replace("\\", "/").rpartition("/")[2]
    usable = name.isprintable() and not name.startswith((".", "-")) and len(name.encode()) <= MAX_SOURCE_NAME_BYTES
    return name if usable else ""


def _check_targets(targets: Sequence[Targets], inputs: Sequence[Input], *, together: bool) -> None:
    """UsageError where two results would be one file, or a result an input, be it one that can't be read."""
    sources = {os.path.realpath(item.path) for item in inputs}
    files = Counter(os.path.realpath(file) for one in targets for file in one.values() if file is not None)
    for file, count in files.items():
        if file in sources:
            raise UsageError(f"{file} is an input: it is not overwritten", hint="name another folder")
        if count > 1 and not together:
            raise UsageError(f"{count} results would be written to {file}", hint="--output-dir DIR, or one by one")


def _deliver(
    item: Input, transcript: Transcript, files: Targets, layout: Layout, reporter: Reporter, matches: MatchWriter | None
) -> None:
    """Write every format. The error of a file that can't be written is raised when all is done."""
    from ..output import NEEDS_WORDS
    from .write_results import write_results

    if transcript.words is None and transcript.text.strip():
        if not NEEDS_WORDS.isdisjoint(files):
            reporter.info(f"warning: {item.source} has no word times: times within the text are estimated")
        elif layout.words:
            reporter.info(f"warning: {item.source} has no word times: -w has none to show")
    if matches is not None:
        matches.add(transcript)
    if matches is not None and matches.combined:
        return
    trouble = write_results(transcript, files, layout, reporter)
    if trouble is not None:
        raise trouble
