"""`render`: writes saved transcripts of any program in other formats, without audio, network or cost.

Every input is read, and every output path checked, before anything is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CliError, Exit, InputError, UsageError
from ..output.console import Reporter
from ..output.sanitize import printable
from .batch.output_options import EmbedAudio, FormatOptions, OutputOptions, SubtitleOptions, output_option

if TYPE_CHECKING:  # --help does without
    from ..transcript import Transcript
    from .batch.inputs import Input

EXAMPLES = """
cartesia-cli render talk.json
cartesia-cli render talk.json -o talk.srt --subtitle-profile bbc
cartesia-cli render assemblyai.json -f vtt
cartesia-cli render whisper.json -f table --longest-gaps 10
cartesia-cli transcribe talk.mp3 -w --json | tee talk.json | cartesia-cli render - -f vtt
cartesia-cli render all.ndjson -f srt,vtt --output-dir out
cartesia-cli render talk.json -o talk.html --audio talk.mp3
"""

MAX_TRANSCRIPT_BYTES = 256 << 20
"""Largest transcript file: four times the largest response that is accepted from a server."""

MAX_SOURCE_NAME_BYTES = 200
"""Longest file name that comes from within a transcript: with a suffix, it stays below the 255 of file systems."""

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="TRANSCRIPT...", show_default=False,
                   help="JSON of cartesia-cli, Whisper and other services, SRT, WebVTT; quoted globs; - for stdin."),
]  # fmt: skip


Audio = Annotated[
    Path | None,
    output_option(metavar="FILE", readable=False,
                  help="The recording, for the html page; by default the one that the transcript names."),
]  # fmt: skip


def render(
    reporter: Reporter,
    *,
    inputs: Inputs,
    output_options: OutputOptions,
    format_options: FormatOptions,
    audio: Audio = None,
    embed_audio: EmbedAudio = False,
    subtitle_options: SubtitleOptions,
) -> None:
    """Convert saved transcripts to text, word tables, subtitles or JSON, without transcribing again."""
    from ..output.files import write_stdout
    from .batch.inputs import find_files, is_folder_or_glob
    from .batch.output_plan import check_distinct
    from .batch.page_media import PageMedia, find_recording
    from .batch.stdin import spool_stdin
    from .batch.write_results import write_results

    formats = output_options.formats(selects_rows=format_options.selects_rows)
    layout = format_options.layout(subtitle_options)
    several = len(inputs) > 1 or is_folder_or_glob(inputs[0])
    with spool_stdin(inputs, "a transcript") as spooled:
        found = find_files(inputs, spooled, "render")
        items, failed = _load_transcripts(found, reporter)
    speakers = any(transcript.has_speakers for _, transcript in items)
    if audio is not None and len(items) > 1 and "html" in formats:
        raise UsageError(
            f"--audio is the recording of one transcript, not of {len(items)}",
            hint="leave it out: each page then plays the recording that its transcript names",
        )
    plan = output_options.plan(formats, several=several, selects_rows=format_options.selects_rows)
    matches = None
    if format_options.selects_rows:
        from .batch.matches import MatchWriter

        matches = MatchWriter(layout, plan._replace(several=several or len(items) > 1), reporter, speakers=speakers)
    print_text = matches.write if matches is not None and matches.combined else write_stdout
    targets = plan.targets([item for item, _ in items])
    written = [file for one in targets for file in one.values()]
    read = [item.path for item in found if not isinstance(item, InputError)]  # even if it isn't a transcript
    check_distinct({*written} if plan.combined else written, read)
    for (item, transcript), files in zip(items, targets, strict=True):
        try:
            media = None
            if "html" in files:
                recording = find_recording(audio, item.path, transcript.source)
                media = PageMedia(recording, reporter, linked=True, embed=embed_audio)
            write_results(
                transcript, files, layout, reporter, name=item.source, matches=matches, print_text=print_text,
                media=media, labelled=len(items) > 1, replaces=output_options.force,
            )  # fmt: skip
        except CliError as error:
            if len(items) == 1:
                raise
            reporter.error(error)
            failed += 1
    if matches is not None and (write_error := matches.close()) is not None:
        raise write_error
    if failed or (matches is not None and matches.found_nothing):
        raise typer.Exit(Exit.FAILED)


def _load_transcripts(
    found: Sequence[Input | InputError], reporter: Reporter
) -> tuple[list[tuple[Input, Transcript]], int]:
    """The transcripts of all inputs, and the number of unusable inputs, which are reported. Raises InputError if the
    only input is unusable.
    """
    from ..transcript_import import read_transcripts
    from .batch.inputs import read_input

    items: list[tuple[Input, Transcript]] = []
    failed = 0
    for item in found:
        try:
            data = read_input(item, MAX_TRANSCRIPT_BYTES)
            assert not isinstance(item, InputError)
            transcripts = read_transcripts(data, item.source, reporter.warn)
        except InputError as error:
            if len(found) == 1:
                raise
            reporter.error(error)
            failed += 1
        else:
            items += zip(_name_inputs(item, transcripts), transcripts, strict=True)
    return items, failed


def _name_inputs(item: Input, transcripts: Sequence[Transcript]) -> list[Input]:
    """The input, once for each of its transcripts: several are named after their recordings, or numbered."""
    if len(transcripts) == 1:
        return [item]
    names = [_safe_file_name(transcript.source) for transcript in transcripts]
    alone = {name for name, count in Counter(names).items() if name and count == 1}
    numbered = [name if name in alone else f"{item.relative_path.stem}-{k}.json" for k, name in enumerate(names, 1)]
    return [item._replace(relative_path=item.relative_path.with_name(name)) for name in numbered]


def _safe_file_name(source: str) -> str:
    """The file name in what a transcript says about its source, which may be anything; "" without one."""
    name = source.replace("\\", "/").rpartition("/")[2]
    if printable(name, keep="") != name or name.startswith((".", "-")) or len(name.encode()) > MAX_SOURCE_NAME_BYTES:
        return ""
    return name
