"""Writes words with their times: as a table for people, as TSV and CSV for programs.

Laid out by hand: rich takes 1.9 s for the ten thousand words of an hour. A table must never be wider than requested,
nor change a word, except for cutting its end if the table is too narrow.
"""

from __future__ import annotations

import csv as csv_module
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from ..text_width import shorten, text_width
from ..transcript import Transcript
from . import Layout
from .rows import WordRow, row_words, select_rows
from .sanitize import one_line

DROPPED_FIRST = ("ch/s", "length", "#", "gap", "end", "start", "speaker", "")
"""Columns that are left out on a narrow terminal, in this order. The column of marks has no name."""

MAX_SPEAKER_COLUMNS = 16
"""Space for names on a terminal."""

MIN_WORD_COLUMNS = 12
"""Space for words, if one is that long, before other columns are left out."""

GROUP_SEPARATOR = "--"
"""Between groups of words, as in grep."""

MATCH_MARK = ">"
ODDITIES = {
    "x": "overlaps the next",
    "0": "has no length",
    "+": "is longer than 3 s",
    "~": "was not found in the audio: its times are estimates",
}
LONG_WORD_MS = 3000
"""The times of longer words are usually wrong."""

ISOLATE, END_OF_ISOLATE = "\u2068", "\u2069"
"""Right-to-left text between them doesn't change the order of the rest of its line."""

_FORMULA = re.compile(r"'*[=+\-@＝＋－＠]")
_HARMLESS = re.compile(r"[+\-＋－]*(?:[\d.,:%]*\d[\d.,:%]*)?")

ROW_COLUMNS = {"tsv": ("start", "end", "text"), "csv": ("number", "start", "end", "word")}
"""Columns of the formats for programs."""


def table(transcript: Transcript, layout: Layout) -> str:
    """Number, start, end, length and gap to the next in seconds, characters per second, speaker if any is known, and
    the word.

    A dash stands for an unknown time. Marks before the word show matches of the pattern, and suspicious times, which
    are explained below the table. Empty if the selection is empty.
    """
    words, are_words = row_words(transcript)
    found = select_rows(words, layout.selection)
    if layout.selection is not None and not found:
        return ""
    marks = [_marks(row, are_words) for row in found]
    columns = {
        "#": [str(row.number) for row in found],
        "start": [_format_seconds(row.start) for row in found],
        "end": [_format_seconds(row.end) for row in found],
        "length": [_format_seconds(row.length) for row in found],
        "gap": [_format_seconds(row.gap) for row in found],
        "ch/s": [_format_speed(row) for row in found],
    }
    if transcript.has_speakers:
        widest = None if layout.columns is None else MAX_SPEAKER_COLUMNS
        columns["speaker"] = [_fit_cell(one_line(row.speaker or ""), widest) for row in found]
    if any(marks):
        columns[""] = marks
    texts = [row.text for row in found]
    sizes = {name: max(map(len, (name, *column))) for name, column in columns.items()}
    if "speaker" in sizes:
        sizes["speaker"] = max(map(text_width, ("speaker", *columns["speaker"])))
    word_width = width = None
    if layout.columns is not None:
        width = max(layout.columns, 1)
        needed = min(max(map(text_width, ("word", *texts))), MIN_WORD_COLUMNS)
        for name in DROPPED_FIRST:
            if sum(sizes.values()) + 2 * len(sizes) + needed > width:
                sizes.pop(name, None)
        word_width = width - sum(sizes.values()) - 2 * len(sizes)
    texts = [_fit_cell(text, word_width) for text in ("word", "----", *texts)]
    justified = (_justify(name, (name, "-" * size, *columns[name]), size) for name, size in sizes.items())
    lines = list(map(str.rstrip, map("  ".join, zip(*justified, texts, strict=True))))
    if layout.selection is not None and layout.selection.context:
        lines = list(_separate_groups(lines, found, GROUP_SEPARATOR[:width]))
    legend = [f"{mark} {said}" for mark, said in ODDITIES.items() if "" in sizes and any(mark in own for own in marks)]
    if not are_words and transcript.has_estimated_segments:
        legend.append("times are estimated")
    if legend:
        lines += ["", *wrap(", ".join(legend), width or 1000)]
    return "\n".join(lines) + "\n"


def tsv(transcript: Transcript, layout: Layout) -> str:
    """Start and end in milliseconds and the text, one line per word, with a header: the columns of whisper's TSV, and
    the speaker if any is known.

    Text that a spreadsheet would take for a formula gets an apostrophe before it, as in CSV.
    """
    return _all_rows("tsv", transcript, layout)


def csv(transcript: Transcript, layout: Layout) -> str:
    """Number, start and end in seconds, the word, and the speaker if any is known, as in RFC 4180.

    Spreadsheets run text that begins with =, +, - or @ as a formula, even in quotes. Such a word gets an apostrophe
    before it, unless it is only a number or a dash; so does a word that begins with apostrophes and such a character.
    To restore the word, remove one apostrophe from a cell that begins with apostrophes and such a character.
    """
    return _all_rows("csv", transcript, layout)


def _all_rows(format: str, transcript: Transcript, layout: Layout) -> str:
    speakers = transcript.has_speakers
    found = select_rows(row_words(transcript)[0], layout.selection)
    return row_header(format, speakers=speakers) + row_lines(format, found, speakers=speakers)


def row_header(format: str, *, file: bool = False, speakers: bool = False) -> str:
    """The first line of tsv or csv, with a first column for files and a last one for speakers if requested."""
    return delimited(format, [[*["file"] * file, *ROW_COLUMNS[format], *["speaker"] * speakers]])


def row_lines(format: str, found: Iterable[WordRow], file: str | None = None, *, speakers: bool = False) -> str:
    """Rows of tsv or csv without the header. `file`: a first column that says where they were found. `speakers`:
    whether there is a last one that says who speaks."""
    name = [] if file is None else [escape_formula(one_line(file))]
    rows = []
    for row in found:
        if format == "tsv":
            times = [_format_ms(row.start), _format_ms(row.end)]
        else:
            times = [str(row.number), _format_seconds(row.start, ""), _format_seconds(row.end, "")]
        speaker = [escape_formula(one_line(row.speaker or ""))] * speakers
        rows.append([*name, *times, escape_formula(row.text), *speaker])
    return delimited(format, rows)


def delimited(format: str, rows: Iterable[Sequence[str]]) -> str:
    """Cells as tsv or csv. Those of tsv hold neither tabs nor line breaks."""
    if format == "tsv":
        return "".join("\t".join(cells) + "\n" for cells in rows)
    buffer = io.StringIO()
    csv_module.writer(buffer).writerows(rows)
    return buffer.getvalue()


def escape_formula(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _HARMLESS.fullmatch(text) else text


def _justify(name: str, cells: Iterable[str], size: int) -> list[str]:
    """The cells of a column in its width: numbers to the right, speakers and marks to the left."""
    if name in ("", "speaker"):
        return [cell + " " * (size - text_width(cell)) for cell in cells]
    return [cell.rjust(size) for cell in cells]


def _fit_cell(text: str, word_width: int | None) -> str:
    """A word cut to its column, right-to-left text isolated."""
    if text.isascii() or not any(unicodedata.bidirectional(c) in ("R", "AL") for c in text):
        return text if word_width is None else shorten(text, word_width)
    if word_width is None:
        return ISOLATE + text + END_OF_ISOLATE
    return ISOLATE + shorten(text, word_width - 2) + END_OF_ISOLATE if word_width > 2 else shorten(text, word_width)


def _marks(row: WordRow, is_word: bool) -> str:
    length, gap = row.length, row.gap
    marks = MATCH_MARK if row.matched else ""
    if gap is not None and gap < 0:
        marks += "x"
    if length is not None and length <= 0:
        marks += "0"
    if length is not None and length > LONG_WORD_MS and is_word:
        marks += "+"
    if row.estimated and row.start is not None:
        marks += "~"
    return marks


def _separate_groups(lines: Sequence[str], found: Sequence[WordRow], apart: str) -> Iterator[str]:
    """The lines of a table, with `apart` before each row that doesn't directly follow the one above it."""
    yield from lines[:2]
    for line, row in zip(lines[2:], found, strict=True):
        if row.follows_gap:
            yield apart
        yield line


def _format_speed(row: WordRow) -> str:
    if row.length is None or row.length <= 0:
        return "-"
    return f"{len(row.text.replace(' ', '')) * 1000 / row.length:.1f}"


def _format_seconds(milliseconds: int | None, missing: str = "-") -> str:
    return missing if milliseconds is None else f"{milliseconds / 1000:.3f}"


def _format_ms(milliseconds: int | None) -> str:
    return "" if milliseconds is None else str(milliseconds)
