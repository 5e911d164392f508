"""Output formats: one writer for each, found by name in FORMATS and by the suffix of a file in EXTENSIONS.

A writer is a function from a Transcript to the whole text of a file. What it writes depends on the transcript and the
options, never on whether stdout is a terminal.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # every --help imports this module
    from ..subtitles.profiles import Rules
    from ..transcript import Transcript


class Selection(NamedTuple):
    """Which rows of a word table are wanted.

    pattern        a regular expression that a word, or several in a row, match; None: any
    context        words shown before and after a match
    since, until   seconds; words outside are left out
    longest_gaps   only this many words, those before the longest silences, in order of time; None: all
    ignore_case    whether the pattern ignores case
    """

    pattern: str | None = None
    context: int = 0
    since: float | None = None
    until: float | None = None
    longest_gaps: int | None = None
    ignore_case: bool = False


class Media(NamedTuple):
    """The recording that a page plays.

    link           its URL, relative to the page; "" if it isn't linked
    embedded       the recording itself, in a format of `type`, to be played from the page
    peaks          the loudest sample, 0 to 255, of each stretch of `peak_seconds`
    """

    link: str = ""
    embedded: bytes = b""
    type: str = ""
    peaks: bytes = b""
    peak_seconds: float = 1.0


class SaveTarget(NamedTuple):
    """Where a page saves corrections, if somebody serves it.

    url       relative to the page: they are PUT there
    version   the entity tag (RFC 9110 8.8.3) of what the page was made of
    """

    url: str
    version: str


class Layout(NamedTuple):
    """Options of formats.

    words             text is followed by the table of words
    rules             limits of subtitle cues; None: the standard ones
    crlf              lines of SubRip end with CR LF
    highlight_words   WebVTT carries a time for each word
    paragraphs        text is divided into paragraphs, by pauses
    selection         which words are wanted; None: all
    columns           maximum width of a table for people; None: no limit
    media             the recording, for the page that plays it
    save_target       where the page saves corrections; None: they are downloaded
    """

    words: bool = False
    rules: "Rules | None" = None
    crlf: bool = False
    highlight_words: bool = False
    paragraphs: bool = False
    selection: Selection | None = None
    columns: int | None = None
    media: Media | None = None
    save_target: SaveTarget | None = None


Writer = Callable[["Transcript", Layout], str]

FORMATS = {
    "text": "text_json:text",
    "json": "text_json:json",
    "ndjson": "text_json:ndjson",
    "tsv": "table:tsv",
    "csv": "table:csv",
    "table": "table:table",
    "srt": "timed_text:srt",
    "vtt": "timed_text:vtt",
    "ass": "timed_text:ass",
    "lrc": "timed_text:lrc",
    "md": "paragraphs:md",
    "html": "html_page:html",
}
"""Format to the function that writes it, as module:name. Modules are imported when they are used."""

EXTENSIONS = {
    ".txt": "text",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".tsv": "tsv",
    ".csv": "csv",
    ".srt": "srt",
    ".vtt": "vtt",
    ".ass": "ass",
    ".lrc": "lrc",
    ".md": "md",
    ".html": "html",
}
"""The format that the name of an output file implies."""

NEEDS_WORDS = frozenset({"srt", "vtt", "ass", "tsv", "csv", "table", "lrc", "md", "html"})
"""Formats that need word times."""

CONCATENABLE = frozenset({"text", "ndjson"})
"""Formats of which several documents may follow each other in one stream."""


def writer(name: str) -> Writer:
    module, _, function = FORMATS[name].partition(":")
    found: Writer = getattr(import_module(f".{module}", __name__), function)
    return found


def extension(name: str) -> str:
    """The suffix of a file in this format."""
    return next((suffix for suffix, format in EXTENSIONS.items() if format == name), f".{name}.txt")
