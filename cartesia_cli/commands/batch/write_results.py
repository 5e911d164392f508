"""Writes transcripts to their targets, in each of their formats."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...output import Layout, note_on_times, writer
from ...output.console import Reporter
from ...output.files import write_stdout
from ...transcript import Transcript
from .output_plan import Targets
from .result_file import FORMATS_WITH_SOURCE, combine_errors, write_result

if TYPE_CHECKING:  # it imports every format
    from .bucket_results import BucketResults
    from .matches import MatchWriter
    from .page_media import PageMedia


def write_results(
    transcript: Transcript,
    targets: Targets,
    layout: Layout,
    reporter: Reporter,
    *,
    name: str,
    matches: MatchWriter | None = None,
    labelled: bool = False,
    print_text: Callable[[str], object] = write_stdout,
    bucket: BucketResults | None = None,
    media: PageMedia | None = None,
    replaces: bool = True,
    outdated: Collection[Path] = (),
    on_written: Callable[[Path], object] = lambda file: None,
) -> None:
    """Write a transcript in each of its formats, and warn if times have to be estimated. Raises OutputError, once
    all of them are written, for files that had to go to stdout instead.

    name         of the input, for warnings
    matches      selects rows of the transcript; if it writes those of all inputs to one target, `print_text` gets them
    labelled     whether other transcripts may have to go to stdout, too
    print_text   writes to stdout, at once or later
    bucket       writes the files as objects; None: they are files
    media        the recording, for a page that plays it
    replaces     whether files that have appeared meanwhile are replaced
    outdated     files that are replaced in any case
    on_written   called with each file
    """
    if (note := note_on_times(transcript, targets)) is not None:
        reporter.warn(note, about=name)
    elif layout.words and transcript.words is None and transcript.text.strip():
        reporter.warn("no word times: -w has none to show", about=name)
    if matches is not None:
        rows = matches.select(transcript)
        if matches.combined:
            print_text(rows)
            return
    failures: list[OutputError | None] = []
    untruncated = layout._replace(columns=None)  # the width of the terminal doesn't matter in a file
    for format, file in targets.items():
        label = (labelled or len(targets) > 1) and format not in FORMATS_WITH_SOURCE
        chosen = untruncated if file else layout
        if format == "html" and media is not None:
            chosen = chosen._replace(media=media.beside(file))
        text = writer(format)(transcript, chosen)
        failure = write_result(
            text,
            file,
            reporter,
            label=label,
            print_text=print_text,
            bucket=bucket,
            replaces=replaces or file in outdated,
        )
        failures.append(failure)
        if file is not None and failure is None:
            on_written(file)
    if (combined := combine_errors(failures)) is not None:
        raise combined
