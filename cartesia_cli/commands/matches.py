"""What --grep and the other options that choose rows find, in all inputs together: written as grep does it.

Of several inputs, each result has the name of its file, and inputs without one are passed over. What was found in one
input is written before the next is transcribed, except JSON, which is one document. Must never write a file that
nobody named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..output import Layout, Selection, writer
from ..output.console import Reporter
from ..output.files import write_stdout
from ..output.rows import excerpts, row_words, select_rows
from ..output.sanitize import one_line
from ..output.table import csv_lines, tsv_lines
from ..output.text_json import matches_document, to_json
from ..transcript import Transcript
from .write_results import write_result


def is_combined(layout: Layout, formats: Sequence[str], output_dir: Path | None) -> bool:
    """Whether what is found in all inputs goes to one place, stdout or -o, and not to a file for each input."""
    return layout.selection is not None and len(formats) == 1 and formats[0] != "text" and output_dir is None


def report_no_matches(transcript: Transcript, selection: Selection, reporter: Reporter) -> bool:
    """Whether a pattern is looked for, and nothing in a transcript matches it. Then that is said."""
    if selection.pattern is None or excerpts(transcript, selection):
        return False
    _say_no_matches(selection.pattern, reporter)
    return True


def _say_no_matches(pattern: str, reporter: Reporter) -> None:
    reporter.info(f"nothing matches {pattern!r}")


class MatchWriter:
    """Takes the transcripts one by one, and writes what was chosen of each.

    found    whether anything was
    writes   whether it is written here, and not with the results of each input

    form     table, tsv, csv, json or ndjson; None where others write it, and it is only counted here
    output   a file, or None for stdout
    several  whether results have the names of their files
    """

    def __init__(
        self, layout: Layout, form: str | None, output: Path | None, reporter: Reporter, *, several: bool
    ) -> None:
        assert layout.selection is not None
        self._layout = layout if output is None else replace(layout, columns=None)
        self._selection, self._form, self._output, self._reporter = layout.selection, form, output, reporter
        self._several = several
        self.found, self.combined = False, form is not None
        self._parts: list[str] = []
        self._documents: list[dict[str, Any]] = []
        self._is_first = True

    def add(self, transcript: Transcript) -> None:
        """What is chosen of a transcript, written where it need not wait for the others."""
        found = bool(excerpts(transcript, self._selection))
        self.found = self.found or found
        if self._form == "json":
            if found or not self._several:
                self._documents.append(matches_document(transcript, self._selection))
        elif self._form is not None:
            self._write(self._text(transcript, self._form, found))

    @property
    def found_nothing(self) -> bool:
        """Whether a pattern was looked for, and nothing matched it."""
        return self._selection.pattern is not None and not self.found

    def close(self) -> OutputError | None:
        """Write what had to wait; the error of a file that can't be written."""
        if self._form == "json" and (self._documents or self._several):
            self._write(to_json(self._documents if self._several else self._documents[0], 2))
        if self._form in ("tsv", "csv") and self._is_first and self._several:
            self._write(self._header(self._form))
        if self._selection.pattern is not None and not self.found:
            _say_no_matches(self._selection.pattern, self._reporter)
        if (
            self._output is None or self._form is None or self.found_nothing
        ):  # a file without matches would look like a result
            return None
        return write_result("".join(self._parts), self._output, self._reporter)

    def _write(self, text: str) -> None:
        if self._output is not None:
            self._parts.append(text)
        elif text:
            write_stdout(text)

    def _text(self, transcript: Transcript, form: str, found: bool) -> str:
        if not found and self._several:
            return ""
        if not self._several or form == "ndjson":
            return writer(form)(transcript, self._layout)
        first, self._is_first = self._is_first, False
        if form == "table":
            title = one_line(transcript.source)
            return f"{'' if first else chr(10)}{title}\n{writer(form)(transcript, self._layout)}"
        return (self._header(form) if first else "") + self._named_rows(transcript, form)

    def _header(self, form: str) -> str:
        return "file\tstart\tend\ttext\n" if form == "tsv" else "file,number,start,end,word\r\n"

    def _named_rows(self, transcript: Transcript, form: str) -> str:
        """Rows for programs, each with its file in the first column."""
        found = select_rows(row_words(transcript)[0], self._selection)
        return (tsv_lines if form == "tsv" else csv_lines)(found, file=transcript.source)
