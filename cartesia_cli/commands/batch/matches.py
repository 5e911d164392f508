"""Writes the rows that --grep and similar options select, of all inputs to one target, the way grep does.
With several inputs, each result has the name of its file, and inputs without results are left out. The results of an
input are written before the next one is transcribed, except in JSON, which is one document. Must never write a file
that the user didn't name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import OutputError
from ...output import Layout, Selection, writer
from ...output.console import Reporter
from ...output.files import write_stdout
from ...output.rows import excerpts, row_words, select_rows
from ...output.sanitize import one_line
from ...output.table import ROW_COLUMNS, row_header, row_lines
from ...output.text_json import matches_document, to_json
from ...transcript import Transcript
from .result_file import write_result


def report_no_matches(transcript: Transcript, selection: Selection, reporter: Reporter) -> bool:
    """Whether a pattern matches nothing in a transcript, which is then reported."""
    if selection.pattern is None or excerpts(transcript, selection):
        return False
    _say_no_matches(selection.pattern, reporter)
    return True


def _say_no_matches(pattern: str, reporter: Reporter) -> None:
    reporter.info(f"nothing matches {pattern!r}")


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """What was selected from one transcript, as it is written.

    found      whether any row was
    text       the rows, without what separates them from those of other transcripts
    document   the rows in JSON, which are written at the end
    """

    found: bool
    text: str = ""
    document: dict[str, Any] | None = None


class MatchWriter:
    """Takes transcripts one by one, and writes the selected rows of each.

    combined   whether it writes them; otherwise they are written with the results of each input, and only counted here
    found      whether any row was selected

    format     table, tsv, csv, json or ndjson; None if it only counts
    output     a file, or None for stdout
    several    whether results have the names of their files
    speakers   whether rows of several inputs have a column for speakers
    replaces   whether a file that has appeared meanwhile is replaced
    """

    def __init__(
        self,
        layout: Layout,
        format: str | None,
        output: Path | None,
        reporter: Reporter,
        *,
        several: bool,
        speakers: bool = False,
        replaces: bool = True,
    ) -> None:
        assert layout.selection is not None
        self._layout = layout if output is None else layout._replace(columns=None)
        self._selection, self._format, self._output, self._reporter = layout.selection, format, output, reporter
        self._several, self._speakers, self._replaces = several, speakers, replaces
        has_columns = several and format in ROW_COLUMNS
        self._header = row_header(format, file=True, speakers=speakers) if format is not None and has_columns else ""
        self._separator = "\n" if several and format == "table" else ""
        self.found, self.combined = False, format is not None
        self._parts: list[str] = []
        self._documents: list[dict[str, Any]] = []
        self._has_rows = False

    def select(self, transcript: Transcript) -> SelectedRows:
        """The selected rows of a transcript. May be called from any thread."""
        found = bool(excerpts(transcript, self._selection))
        if self._format is None or (self._several and not found):
            return SelectedRows(found)
        if self._format == "json":
            return SelectedRows(found, document=matches_document(transcript, self._selection))
        return SelectedRows(found, self._rows(transcript, self._format))

    def write(self, rows: SelectedRows) -> None:
        """Write the rows of one transcript. Must be called in input order."""
        self.found = self.found or rows.found
        if rows.document is not None:
            self._documents.append(rows.document)
        elif rows.text:
            self._write((self._separator if self._has_rows else self._header) + rows.text)
            self._has_rows = True

    @property
    def found_nothing(self) -> bool:
        """Whether there is a pattern, and nothing has matched it."""
        return self._selection.pattern is not None and not self.found

    def close(self) -> OutputError | None:
        """Write what had to wait. Returns the error of a file that can't be written."""
        if self._format == "json" and (self._documents or self._several):
            self._write(to_json(self._documents if self._several else self._documents[0], 2))
        if not self._has_rows:
            self._write(self._header)
        if self._selection.pattern is not None and not self.found:
            _say_no_matches(self._selection.pattern, self._reporter)
        if (
            self._output is None or self._format is None or self.found_nothing
        ):  # a file without matches would look like a result
            return None
        return write_result("".join(self._parts), self._output, self._reporter, replaces=self._replaces)

    def _write(self, text: str) -> None:
        if self._output is not None:
            self._parts.append(text)
        elif text:
            write_stdout(text)

    def _rows(self, transcript: Transcript, format: str) -> str:
        """The rows of a transcript. Of several, each is named: in the first column, or on a line of its own."""
        if self._several and format in ROW_COLUMNS:
            found = select_rows(row_words(transcript)[0], self._selection)
            return row_lines(format, found, transcript.source, speakers=self._speakers)
        rows = writer(format)(transcript, self._layout)
        return f"{one_line(transcript.source)}\n{rows}" if self._several and format == "table" else rows
