"""Writes the rows that --grep and similar options select, of all inputs to one target, the way grep does.

With several inputs, rows have the name of their file, and inputs without rows are left out. The rows of an input are
written as soon as all inputs before it are done, except in JSON, which is one document. Must never write a file that
the user didn't name.
"""

from __future__ import annotations

import json

from ...errors import OutputError
from ...output import Layout, Selection, writer
from ...output.console import Reporter
from ...output.files import write_stdout
from ...output.rows import excerpts, row_words, select_rows
from ...output.sanitize import one_line
from ...output.table import ROW_COLUMNS, row_header, row_lines
from ...output.text_json import to_json
from ...transcript import Transcript
from .output_plan import OutputPlan
from .result_file import write_result


def report_no_matches(transcript: Transcript, selection: Selection, reporter: Reporter) -> bool:
    """Whether a pattern matches nothing in a transcript, which is then reported."""
    if selection.pattern is None or excerpts(transcript, selection):
        return False
    reporter.info(f"nothing matches {selection.pattern!r}")
    return True


class MatchWriter:
    """Takes transcripts one by one, and writes the selected rows of each.

    combined   whether it writes them; otherwise they are written with the results of each input, and only looked for
               here
    found      whether any row was selected

    plan       where they go; with several inputs, rows have the names of their files
    speakers   whether rows of several inputs have a column for speakers
    """

    def __init__(self, layout: Layout, plan: OutputPlan, reporter: Reporter, *, speakers: bool) -> None:
        assert layout.selection is not None
        self._output, self._several, self._replaces = plan.output_file, plan.several, plan.force
        self._layout = layout if self._output is None else layout._replace(columns=None)
        self._selection, self._reporter, self._speakers = layout.selection, reporter, speakers
        self.found, self.combined = False, plan.combined
        self._format = format = plan.formats[0] if plan.combined else ""
        has_columns = plan.several and format in ROW_COLUMNS
        self._header = row_header(format, file=True, speakers=speakers) if has_columns else ""
        self._separator = "\n" if plan.several and format == "table" else ""
        self._parts: list[str] = []
        self._documents: list[str] = []
        self._has_rows = False

    def select(self, transcript: Transcript) -> str:
        """The selected rows of a transcript, without what separates them from those of others; "" unless `combined`.
        May be called from any thread.
        """
        if found := bool(excerpts(transcript, self._selection)):
            self.found = True
        if not self.combined or (self._several and not found):
            return ""
        if self._several and self._format in ROW_COLUMNS:
            rows = select_rows(row_words(transcript)[0], self._selection)
            return row_lines(self._format, rows, transcript.source, speakers=self._speakers)
        text = writer(self._format)(transcript, self._layout)
        return f"{one_line(transcript.source)}\n{text}" if self._several and self._format == "table" else text

    def write(self, rows: str) -> None:
        """Write the selected rows of one transcript. Must be called in input order."""
        if not rows:
            return
        if self._format == "json":
            self._documents.append(rows)
        else:
            self._write((self._separator if self._has_rows else self._header) + rows)
            self._has_rows = True

    @property
    def found_nothing(self) -> bool:
        """Whether there is a pattern, and nothing has matched it."""
        return self._selection.pattern is not None and not self.found

    def close(self) -> OutputError | None:
        """Write what had to wait. Returns the error of a file that can't be written."""
        if self._format == "json":  # one document, which can't be written before all inputs are known
            documents = [json.loads(one) for one in self._documents]
            self._write(to_json(documents, 2) if self._several else "".join(self._documents))
        if not self._has_rows:
            self._write(self._header)
        if self.found_nothing:  # a file without matches would look like a result
            self._reporter.info(f"nothing matches {self._selection.pattern!r}")
            return None
        if self._output is None or not self.combined:
            return None
        return write_result("".join(self._parts), self._output, self._reporter, replaces=self._replaces)

    def _write(self, text: str) -> None:
        if self._output is not None:
            self._parts.append(text)
        elif text:
            write_stdout(text)
