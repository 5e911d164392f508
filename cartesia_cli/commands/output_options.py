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
    from .matches import MatchWriter
    from .output_plan import OutputPlan

OUTPUT_PANEL = "What comes out"

Format = Annotated[
    str | None,
    typer.Option("--format", "-f", metavar="FORMAT,...", rich_help_panel=OUTPUT_PANEL,
                 help="text, json, ndjson, srt, vtt, tsv, csv, table, lrc or md; several with --output-dir."),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Short for -f json.", rich_help_panel=OUTPUT_PANEL)]
Output = Annotated[
    Path | None,
    path_option("--output", "-o", metavar="FILE", help="Write here; the name implies the format.",
                 rich_help_panel=OUTPUT_PANEL),
]  # fmt: skip
OutputDir = Annotated[
    Path | None,
    path_option(metavar="DIR", help="Write a file for each input and format.", rich_help_panel=OUTPUT_PANEL),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what exists.", rich_help_panel=OUTPUT_PANEL)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Formats, and the files or the folder that take them."""

    format: Format = None
    json: Json = False
    output: Output = None
    output_dir: OutputDir = None
    force: Force = False

    def formats(self, *, selects_rows: bool = False) -> tuple[str, ...]:
        """What is asked for; where nothing is, text, or a table for chosen `rows`. UsageError for what isn't there."""
        from . import output_plan

        found = output_plan.parse_formats(self.format, self.json, self.output)
        return ("table",) if selects_rows and self.format is None and found == ("text",) else found

    def plan(
        self, formats: tuple[str, ...], *, several: bool = False, force: bool = False, combined: bool = False
    ) -> OutputPlan:
        from .output_plan import OutputPlan

        return OutputPlan(formats, several, self.output, self.output_dir, self.force or force, combined)

    def matches(
        self, layout: Layout, formats: tuple[str, ...], reporter: Reporter, *, several: bool
    ) -> MatchWriter | None:
        """What writes the rows that are chosen; None where none are."""
        if layout.selection is None:
            return None
        from .matches import MatchWriter, is_combined

        if self.output_dir is not None and formats == ("table",) and layout.selection.pattern is not None:
            raise UsageError(
                "what --grep finds is one table for all inputs: --output-dir doesn't take it",
                hint="-o FILE takes it; -f csv --output-dir DIR writes a file for each input",
            )
        form = formats[0] if is_combined(layout, formats, self.output_dir) else None
        output = None if self.output is None or str(self.output) == "-" else self.output
        return MatchWriter(layout, form, output, reporter, several=several)
