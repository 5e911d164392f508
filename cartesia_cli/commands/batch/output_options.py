"""Options about output, shared by all commands that write transcripts: formats, files, selected rows, subtitles."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...errors import UsageError
from ..options import OptionGroup, checked_by

if TYPE_CHECKING:  # --help does without
    from ...output import Layout
    from ...subtitles.profiles import Rules
    from .output_plan import OutputPlan

output_option = partial(typer.Option, rich_help_panel="Output")
format_option = partial(typer.Option, rich_help_panel="Text and words")
row_option = partial(typer.Option, rich_help_panel="Selecting words")
subtitle_option = partial(typer.Option, rich_help_panel="Subtitles")


def _check_formats(names: str) -> None:
    from .output_plan import parse_formats

    parse_formats(names, False, None)


def _check_pattern(pattern: str) -> None:
    from ...output.rows import compile_pattern

    compile_pattern(pattern)


Force = Annotated[bool, output_option("--force", help="Overwrite existing files.")]
EmbedAudio = Annotated[bool, output_option("--embed-audio", help="Put a copy of the recording into the html page.")]
SubtitleProfile = Literal["netflix", "bbc", "shorts", "none"]


class OutputOptions(OptionGroup):
    """Formats, and the file or folder that results are written to."""

    format: Annotated[
        str | None,
        output_option("--format", "-f", metavar="FORMAT,...", callback=checked_by(_check_formats),
                      help="text (default), json, ndjson, srt, vtt, ass, tsv, csv, table, lrc, md or html; several "
                           "need --output-dir."),
    ] = None  # fmt: skip
    json: Annotated[bool, output_option("--json", help="Short for -f json.")] = False
    output: Annotated[
        Path | None,
        output_option("--output", "-o", metavar="FILE", readable=False,
                      help="Write to this file; its suffix implies the format."),
    ] = None  # fmt: skip
    output_dir: Annotated[
        Path | None,
        output_option(metavar="DIR", readable=False, help="Write a file for each input and format to this folder."),
    ] = None
    force: Force = False

    @property
    def is_given(self) -> bool:
        """Whether the command line says what is written or where, except for --force."""
        return self.json or any(given is not None for given in (self.format, self.output, self.output_dir))

    def formats(self, *, selects_rows: bool = False) -> tuple[str, ...]:
        """The formats that are asked for; by default text, or a table of selected rows. Raises UsageError for unknown
        ones.
        """
        from . import output_plan

        found = output_plan.parse_formats(self.format, self.json, self.output)
        return ("table",) if selects_rows and self.format is None and found == ("text",) else found

    def plan(self, formats: tuple[str, ...], *, several: bool = False, selects_rows: bool = False) -> "OutputPlan":
        """Where results in these formats go."""
        from .output_plan import OutputPlan

        return OutputPlan(formats, several, self.output, self.output_dir, self.force, selects_rows)


class SubtitleOptions(OptionGroup):
    """Rules for subtitles: a profile, and numbers that replace those of the profile."""

    subtitle_profile: Annotated[
        SubtitleProfile | None,
        subtitle_option("--subtitle-profile", help="Style guide for subtitles; netflix by default."),
    ] = None
    max_line_width: Annotated[int | None, subtitle_option(metavar="N", min=2, help="Columns per line; 42.")] = None
    max_line_count: Annotated[int | None, subtitle_option(metavar="N", min=1, help="Lines per cue; 2.")] = None
    max_words_per_line: Annotated[
        int | None, subtitle_option(metavar="N", min=1, help="Words per line; unlimited.")
    ] = None
    min_cue: Annotated[
        float | None, subtitle_option(metavar="SECONDS", min=0, help="Minimum duration of a cue; 5/6.")
    ] = None
    max_cue: Annotated[
        float | None, subtitle_option(metavar="SECONDS", min=0.001, help="Maximum duration of a cue; 7.")
    ] = None
    min_gap: Annotated[
        float | None, subtitle_option(metavar="SECONDS", min=0, help="Minimum gap between cues; 0.083.")
    ] = None
    max_cps: Annotated[
        float | None,
        subtitle_option(metavar="N", min=0.1, help="Maximum reading speed, in characters per second; 20."),
    ] = None

    def rules(self) -> "Rules | None":
        """None if no option is given. Raises UsageError for rules that contradict each other."""
        asked = {name: value for name in self.names() if (value := getattr(self, name)) is not None}
        if not asked:
            return None
        from ...subtitles.profiles import make_rules

        return make_rules(asked.pop("subtitle_profile", None), **asked)


class FormatOptions(OptionGroup):
    """How text, word tables and subtitle files look, besides the rules for subtitles."""

    word_timestamps: Annotated[
        bool, format_option("--word-timestamps", "-w", help="Add a table of words with their times to the text.")
    ] = False
    paragraphs: Annotated[
        bool, format_option("--paragraphs", help="Divide the text into paragraphs at pauses in speech.")
    ] = False
    grep: Annotated[
        str | None,
        row_option(metavar="REGEX", callback=checked_by(_check_pattern),
                   help="Select words and phrases that match; exit code 1 if none does."),
    ] = None  # fmt: skip
    ignore_case: Annotated[bool, row_option("--ignore-case", "-i", help="Ignore case in --grep.")] = False
    context_words: Annotated[
        int, row_option("--context", "-C", metavar="N", min=0, help="Words of context around a match.")
    ] = 0
    since: Annotated[
        float | None,
        row_option("--from", metavar="SECONDS", min=0, help="Select words from this time on."),
    ] = None
    until: Annotated[
        float | None, row_option("--to", metavar="SECONDS", min=0, help="Select words up to this time.")
    ] = None
    longest_gaps: Annotated[
        int | None, row_option(metavar="N", min=1, help="Select the words before the N longest silences.")
    ] = None
    crlf: Annotated[bool, subtitle_option("--crlf", help="Use Windows line endings in srt.")] = False
    highlight_words: Annotated[
        bool, subtitle_option("--highlight-words", help="Give each word of vtt its own time.")
    ] = False

    @property
    def selects_rows(self) -> bool:
        """Whether only some rows of the word table are wanted."""
        return self.grep is not None or any(x is not None for x in (self.since, self.until, self.longest_gaps))

    def layout(self, subtitle_options: SubtitleOptions) -> "Layout":
        """Raises UsageError for contradictory subtitle rules, or an empty time range."""
        from ...output import Layout, Selection

        if self.since is not None and self.until is not None and self.since >= self.until:
            raise UsageError(
                f"--from {self.since:g} is not before --to {self.until:g}", hint="--to must be the later time"
            )
        selection = Selection(
            self.grep, self.context_words, self.since, self.until, self.longest_gaps, self.ignore_case
        )
        return Layout(
            words=self.word_timestamps,
            rules=subtitle_options.rules(),
            crlf=self.crlf,
            highlight_words=self.highlight_words,
            paragraphs=self.paragraphs,
            selection=selection if self.selects_rows else None,
            columns=terminal_width(),
        )


def terminal_width() -> int | None:
    """The width of the terminal on stdout, or COLUMNS; None in a pipe or file, where nothing is truncated."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns
