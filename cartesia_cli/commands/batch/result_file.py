"""Writes one result to its file. If that can't be written, the result is printed on stdout instead.

If there are several results, each is printed there under the name of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...output.console import Reporter
from ...output.files import write_file, write_stdout
from ...output.sanitize import one_line

if TYPE_CHECKING:
    from .bucket_results import BucketResults

FORMATS_WITH_SOURCE = frozenset({"json", "ndjson"})
"""Formats in which a transcript names its recording: they need no label."""


def write_result(
    text: str,
    file: Path | None,
    reporter: Reporter,
    *,
    label: bool = False,
    print_text: Callable[[str], object] = write_stdout,
    bucket: BucketResults | None = None,
    replaces: bool = True,
) -> OutputError | None:
    """Write a whole result to a file, or to stdout (None). Returns the error of a file that can't be written: then the
    result was printed on stdout, under the name of the file if it has a `label`.

    replaces   whether a file that has appeared meanwhile is replaced
    """
    if file is None:
        print_text(text)
        return None
    shown = str(file)
    try:
        if bucket is None:
            write_file(file, text, replaces=replaces)
        else:
            shown = bucket.write(file, text)
    except OutputError as error:
        print_text(f"==> {one_line(str(file))} <==\n{text}" if label else text)
        # of several results, -o may not be able to take any
        error.hint = f"it went to stdout instead; {'name another place for it' if label else '-o names another place'}"
        return error
    reporter.info(f"wrote {shown}")
    return None


def combine_errors(errors: Iterable[OutputError | None]) -> OutputError | None:
    """One error that says what all of several say; None if there is none."""
    raised = [error for error in errors if error is not None]
    if len(raised) < 2:
        return next(iter(raised), None)
    hints = dict.fromkeys(error.hint for error in raised if error.hint is not None)
    combined = OutputError("; ".join(dict.fromkeys(error.message for error in raised)), hint="; ".join(hints) or None)
    combined.stops_batch = any(error.stops_batch for error in raised)
    return combined
