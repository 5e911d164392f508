"""Output formats: one writer for each, found by name in FORMATS and by the suffix of a file in EXTENSIONS.

A writer is a function from a Transcript to the whole text of a file. What it writes depends on the transcript and the
options, never on whether stdout is a terminal.
"""

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING

from ..record import Record

if TYPE_CHECKING:  # every --help imports this module
    from ..subtitles.profiles import Rules
    from ..transcript import Transcript


class Selection(Record):
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


class Media(Record):
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


class SaveTarget(Record):
    """Where a page saves corrections, if somebody serves it.

    url       relative to the page: they are PUT there
    version   the entity tag (RFC 9110 8.8.3) of what the page was made of
    """

    url: str
    version: str


class Layout(Record):
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


class OutputFormat(Record):
    """A format: the function that writes it, as module:name, which is imported when it is used; and the suffixes of its
    files.
    """

    writer: str
    suffixes: tuple[str, ...] = ()
    needs_words: bool = True


FORMATS = {
    "text": OutputFormat("text_json:text", (".txt",), needs_words=False),
    "json": OutputFormat("text_json:json", (".json",), needs_words=False),
    "ndjson": OutputFormat("text_json:ndjson", (".ndjson", ".jsonl"), needs_words=False),
    "tsv": OutputFormat("table:tsv", (".tsv",)),
    "csv": OutputFormat("table:csv", (".csv",)),
    "table": OutputFormat("table:table", (".table.txt",)),
    "srt": OutputFormat("timed_text:srt", (".srt",)),
    "vtt": OutputFormat("timed_text:vtt", (".vtt",)),
    "ass": OutputFormat("timed_text:ass", (".ass",)),
    "lrc": OutputFormat("timed_text:lrc", (".lrc",)),
    "md": OutputFormat("paragraphs:md", (".md",)),
    "html": OutputFormat("html_page:html", (".html",)),
}

EXTENSIONS = {suffix: name for name, format in FORMATS.items() for suffix in format.suffixes}
"""Suffix to format; `format_by_name` looks names of files up."""

NEEDS_WORDS = frozenset(name for name, format in FORMATS.items() if format.needs_words)
"""Formats that need word times."""

TABLES = frozenset({"tsv", "csv", "table"})
"""Formats with the times of the transcript only: without words, each segment is a row."""

CONCATENABLE = frozenset({"text", "ndjson"})
"""Formats of which several documents may follow each other in one stream."""


@cache
def writer(name: str) -> Writer:
    module, _, function = FORMATS[name].writer.partition(":")
    found: Writer = getattr(import_module(f".{module}", __name__), function)
    return found


def note_on_times(transcript: "Transcript", formats: Iterable[str]) -> str | None:
    """What readers of these formats should know of the times in them: that some are estimated, or of whole segments.
    None if there is nothing to say.
    """
    wanted = NEEDS_WORDS.intersection(formats)
    words = [word for word in transcript.words or () if word.word.strip()]
    untimed = sum(word.start is None for word in words)
    if not wanted or not transcript.text.strip():
        return None
    if wanted <= TABLES and (transcript.words is not None or not transcript.has_estimated_segments):
        return None if transcript.words is not None else "no word times: each row is a segment"
    if untimed == len(words):
        return "no word times: times within the text are estimated"
    return f"no times for {untimed} of {len(words)} words: theirs are estimated" if untimed else None


def extension(name: str) -> str:
    """The suffix of a file in this format."""
    return FORMATS[name].suffixes[0]


def format_by_name(file: PurePath) -> str | None:
    """The format that the name of an output file implies: by its last two suffixes, as in words.table.txt, or by the
    last one; None if it implies none.
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return EXTENSIONS.get("".join(suffixes[-2:])) or EXTENSIONS.get(file.suffix.lower())
