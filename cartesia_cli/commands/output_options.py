"""Where it goes, and as what: the options of every command that writes transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .options import path_option

if TYPE_CHECKING:  # every --help comes by here
    from ..output import Layout
    from ..output.console import Reporter
    from .matches import Matches
    from .output_plan import OutputPlan

OUTPUT = "What comes out"

Format = Annotated[
    str | None,
    typer.Option("--format", "-f", metavar="FORMAT,...", rich_help_panel=OUTPUT,
                 help="text, json, ndjson, srt, vtt, tsv, csv, table, lrc or md; several with --output-dir."),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Short for -f json.", rich_help_panel=OUTPUT)]
Output = Annotated[
    Path | None,
    path_option("--output", "-o", metavar="FILE", help="Write here; the name implies the format.",
                 rich_help_panel=OUTPUT),
]  # fmt: skip
OutputDir = Annotated[
    Path | None,
    path_option(metavar="DIR", help="Write a file for each input and format.", rich_help_panel=OUTPUT),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what exists.", rich_help_panel=OUTPUT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Formats, and the files or the folder that take them."""

    format: Format = None
    json: Json = False
    output: Output = None
    output_dir: OutputDir = None
    force: Force = False

    def formats(self, *, rows: bool = False) -> tuple[str, ...]:
        """What is asked for; where nothing is, text, or a table for chosen `rows`. UsageError for what isn't there."""
        from . import output_plan

        found = output_plan.formats(self.format, self.json, self.output)
        return ("table",) if rows and self.format is None and found == ("text",) else found

    def plan(
        self, formats: tuple[str, ...], *, several: bool = False, force: bool = False, together: bool = False
    ) -> OutputPlan:
        from .output_plan import OutputPlan

        return OutputPlan(formats, several, self.output, self.output_dir, self.force or force, together)

    def matches(self, layout: Layout, formats: tuple[str, ...], reporter: Reporter, *, several: bool) -> Matches | None:
        """What writes the rows that are chosen; None where none are."""
        if layout.selection is None:
            return None
        from .matches import Matches, in_one_place

        if self.output_dir is not None and formats == ("table",) and layout.selection.pattern is not None:
            raise UsageError(
                "what --grep finds is one table for all inputs: --output-dir doesn't take it",
                hint="-o FILE takes it; -f csv --output-dir DIR writes a file for each input",
            )
        form = formats[0] if in_one_place(layout, formats, self.output_dir) else None
        output = None if self.output is None or str(self.output) == "-" else self.output
        return Matches(layout, form, output, reporter, several=several)
