"""What comes out looks like this: the options of subtitles, of word tables and of text."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from .options import number_option

if TYPE_CHECKING:  # every --help comes by here
    from ..output import Layout, Selection
    from ..subtitles.profiles import Rules

SUBTITLES_PANEL, ROWS_PANEL, FORMAT_PANEL = "Subtitles", "Rows of a word table", "What it looks like"
PROFILES = ("netflix", "bbc", "shorts", "none")

Profile = Annotated[
    str | None,
    typer.Option("--subtitle-profile", metavar="|".join(PROFILES), rich_help_panel=SUBTITLES_PANEL,
                 help="House rules for cues; netflix by default."),
]  # fmt: skip
LineWidth = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Columns a line; 42.", rich_help_panel=SUBTITLES_PANEL)
]
LineCount = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Lines a cue; 2.", rich_help_panel=SUBTITLES_PANEL)
]
WordsPerLine = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Words a line; any number.", rich_help_panel=SUBTITLES_PANEL)
]
MinCue = Annotated[
    float | None,
    number_option(metavar="SECONDS", min=0, help="Shortest stay of a cue; 5/6.", rich_help_panel=SUBTITLES_PANEL),
]
MaxCue = Annotated[
    float | None, number_option(metavar="SECONDS", min=0.001, help="Longest; 7.", rich_help_panel=SUBTITLES_PANEL)
]
MinGap = Annotated[
    float | None,
    number_option(metavar="SECONDS", min=0, help="Time between cues; 0.083.", rich_help_panel=SUBTITLES_PANEL),
]
MaxCps = Annotated[
    float | None,
    number_option(
        metavar="N", min=0.1, help="Reading speed, characters a second; 20.", rich_help_panel=SUBTITLES_PANEL
    ),
]
Crlf = Annotated[bool, typer.Option("--crlf", help="Windows line ends in srt.", rich_help_panel=SUBTITLES_PANEL)]
HighlightWords = Annotated[
    bool, typer.Option("--highlight-words", help="vtt with a time for each word.", rich_help_panel=SUBTITLES_PANEL)
]
WordTimestamps = Annotated[
    bool,
    typer.Option("--word-timestamps", "-w", rich_help_panel=FORMAT_PANEL,
                 help="Times for each word: a table below the text."),
]  # fmt: skip
Paragraphs = Annotated[
    bool,
    typer.Option("--paragraphs", help="Text in paragraphs, by the pauses in speech.", rich_help_panel=FORMAT_PANEL),
]
Grep = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Only words that match, or runs of them; exit code 1 for none.",
        rich_help_panel=ROWS_PANEL,
    ),
]
IgnoreCase = Annotated[
    bool,
    typer.Option(
        "--ignore-case", "-i", help="--grep takes capitals and small letters alike.", rich_help_panel=ROWS_PANEL
    ),
]
Context = Annotated[
    int,
    typer.Option("--context", "-C", metavar="N", min=0, help="Words shown around a match.", rich_help_panel=ROWS_PANEL),
]
Since = Annotated[
    float | None, number_option("--from", metavar="SECONDS", min=0, help="Only from here.", rich_help_panel=ROWS_PANEL)
]
Until = Annotated[
    float | None, number_option("--to", metavar="SECONDS", min=0, help="Only up to here.", rich_help_panel=ROWS_PANEL)
]
LongestGaps = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Only words before the N longest silences.", rich_help_panel=ROWS_PANEL),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleOptions:
    """The rules of subtitles: a profile, and what is to be different in it."""

    subtitle_profile: Profile = None
    max_line_width: LineWidth = None
    max_line_count: LineCount = None
    max_words_per_line: WordsPerLine = None
    min_cue: MinCue = None
    max_cue: MaxCue = None
    min_gap: MinGap = None
    max_cps: MaxCps = None

    def rules(self) -> Rules | None:
        """None where nothing is asked for. UsageError for no such profile, or rules that exclude each other."""
        asked = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        if not asked:
            return None
        from ..subtitles.profiles import make_rules

        return make_rules(asked.pop("subtitle_profile", None), **asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """How text, tables and subtitle files are shaped, besides their rules."""

    word_timestamps: WordTimestamps = False
    paragraphs: Paragraphs = False
    grep: Grep = None
    ignore_case: IgnoreCase = False
    context_words: Context = 0
    since: Since = None
    until: Until = None
    longest_gaps: LongestGaps = None
    crlf: Crlf = False
    highlight_words: HighlightWords = False

    @property
    def selects_rows(self) -> bool:
        """Whether rows of a word table are chosen."""
        return self.grep is not None or any(x is not None for x in (self.since, self.until, self.longest_gaps))

    def layout(self, subtitle_options: SubtitleOptions) -> Layout:
        """UsageError for rules and rows that can't be."""
        from ..output import Layout

        if self.since is not None and self.until is not None and self.since >= self.until:
            raise UsageError(
                f"nothing lies between --from {self.since:g} and --to {self.until:g}", hint="--to must be the later one"
            )
        return Layout(
            words=self.word_timestamps,
            rules=subtitle_options.rules(),
            crlf=self.crlf,
            highlight_words=self.highlight_words,
            paragraphs=self.paragraphs,
            selection=self._selection() if self.selects_rows else None,
            columns=_terminal_width(),
        )

    def _selection(self) -> Selection:
        from ..output import Selection
        from ..output.rows import compile_pattern

        if self.grep is not None:
            compile_pattern(self.grep)  # a pattern that is none is told before anything is sent
        return Selection(self.grep, self.context_words, self.since, self.until, self.longest_gaps, self.ignore_case)


def _terminal_width() -> int | None:
    """Width of the terminal that stdout is; None where it is none: nothing is cut in a pipe, unless COLUMNS says so."""
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named) > 0:
        return int(named)
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns
