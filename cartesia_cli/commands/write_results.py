"""Results into their places. What can't be written where it should be is not lost: it goes to stdout.

There it says which file it was meant for, where other results may have to go there, too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import OutputError
from ..output import Layout, writer
from ..output.console import Reporter
from ..output.files import write_file, write_stdout
from ..output.sanitize import one_line
from ..transcript import Transcript
from .output_plan import Targets

DOCUMENTS = frozenset({"json", "ndjson"})
"""Formats in which a transcript says itself where it comes from."""


def write_results(
    transcript: Transcript, targets: Targets, layout: Layout, reporter: Reporter, *, labelled: bool = False
) -> OutputError | None:
    """Write a transcript in each of its formats; the error of a file that had to go to stdout instead.

    labelled   whether other transcripts may have to go there, too
    """
    trouble: OutputError | None = None
    uncut = replace(layout, columns=None)  # a file is no terminal
    for name, file in targets.items():
        label = (labelled or len(targets) > 1) and name not in DOCUMENTS
        text = writer(name)(transcript, uncut if file else layout)
        trouble = write_result(text, file, reporter, label=label) or trouble
    return trouble


def write_result(text: str, file: Path | None, reporter: Reporter, *, label: bool = False) -> OutputError | None:
    """Write a whole result; None is stdout. The error of a file that had to go to stdout instead, under its name if
    there is to be a `label`.
    """
    if file is None:
        write_stdout(text)
        return None
    try:
        write_file(file, text)
    except OutputError as error:
        write_stdout(f"==> {one_line(str(file))} <==\n{text}" if label else text)
        error.hint = "it went to stdout instead; -o names another place"
        return error
    reporter.info(f"wrote {file}")
    return None
