"""Measures text in columns of a terminal, cuts it to a width, wraps it at words, and lines up the cells of tables.

Widths are upper bounds: a row that is measured too narrow would break, one that is measured too wide does no harm.
So characters are counted one by one, where a terminal may draw a whole sequence of emoji in two columns. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache

ELLIPSIS = "…"

VARIATION_SELECTOR_16 = "\ufe0f"
"""Makes the character before it an emoji, which some terminals then draw in two columns instead of one."""

NOT_FIRST = frozenset("、。，．・：；？！）］｝〉》」』】〕…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ")
"""Characters that no row of Chinese or Japanese begins with."""

NOT_LAST = frozenset("（［｛〈《「『【〔")
"""Characters that no row of Chinese or Japanese ends with."""

_SINGLE_COLUMN = "[\x00-\u02ff\u0370-\u0482\u048a-\u052f\u2010-\u2027]*"
"""Text of Latin, Greek and Cyrillic letters is measured without the tables of wcwidth, which take long to load."""


def text_width(text: str) -> int:
    """Columns that a text takes, at the most: two for a wide character, none for a combining mark."""
    if text.isascii() or re.fullmatch(_SINGLE_COLUMN, text):
        return len(text)
    return sum(map(character_width, text))


@lru_cache(maxsize=1 << 12)
def character_width(character: str) -> int:
    """Columns that a character takes, at the most: 0, 1 or 2."""
    # wcwidth counts spacing marks of Indic scripts with the letter before them: here every character counts alone.
    if character == VARIATION_SELECTOR_16 or unicodedata.category(character) == "Mc":
        return 1
    from wcwidth import wcwidth

    columns = wcwidth(character)
    return 1 if columns < 0 else columns  # a control character, which terminals show in some other way or not at all


def shorten(text: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """The beginning of `text` in at most `width` columns, followed by an ellipsis if something is missing.

    Combining marks stay with the character that they belong to.
    """
    if text_width(text) <= width:
        return text
    left, end = width - len(ellipsis), 0
    while end < len(text) and (left := left - character_width(text[end])) >= 0:
        end += 1
    return text[:end].rstrip("\u200d ") + ellipsis if width >= len(ellipsis) else ""


def wrap(text: str, width: int) -> list[str]:
    """One line of text in rows of at most `width` columns.

    Rows break at spaces, which are dropped there, and beside wide characters, which have no spaces between them;
    within a word only if the word is wider than a row, and within a grapheme only if the grapheme is. While more text
    is appended, only the last row changes.
    """
    rows: list[str] = []
    row, used = "", 0
    cut = 0  # where the row may be divided
    previous = ""
    for grapheme in _split_graphemes(text, width):
        size = text_width(grapheme)
        if _allows_break(previous, grapheme):
            cut = len(row)
        while row and used + size > width:
            if grapheme == " " or not cut:
                rows.append(row.rstrip())
                row = ""
            else:
                rows.append(row[:cut].rstrip())
                row = row[cut:]
            cut, used = 0, text_width(row)
        if grapheme == " " and not row:
            previous = ""
            continue
        row, used, previous = row + grapheme, used + size, grapheme
    return [*rows, row.rstrip()] if row.strip() else rows


def align(rows: Sequence[Sequence[str]], *, right: Container[int] = ()) -> Iterator[str]:
    """A line for each row, whose cells are two spaces apart. `right`: numbers of the columns that are aligned right."""
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - text_width(cell))
            cells.append(blank + cell if number in right else cell + blank)
        yield "  ".join(cells).rstrip()


def _split_graphemes(text: str, width: int) -> Iterator[str]:
    """The graphemes of a text, and the single characters of those wider than `width`, such as joined emoji."""
    from wcwidth import iter_graphemes

    for grapheme in iter_graphemes(text):
        if text_width(grapheme) <= width:
            yield grapheme
        else:
            yield from (character for character in grapheme if character_width(character) <= width)


def _allows_break(before: str, after: str) -> bool:
    """Whether a row may end between two graphemes."""
    if before == " ":
        return True
    if not before or before in NOT_LAST or after in NOT_FIRST:
        return False
    return character_width(before[0]) == 2 or character_width(after[0]) == 2
