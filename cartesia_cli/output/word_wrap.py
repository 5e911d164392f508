"""Wraps text at words for a terminal, counting columns as terminals do: wide characters, combining marks, emoji."""

from __future__ import annotations

from collections.abc import Iterator

from wcwidth import iter_graphemes

from .sanitize import character_width

NOT_FIRST = frozenset("、。，．・：；？！）］｝〉》」』】〕…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ")
"""Characters that no row of Chinese or Japanese begins with."""

NOT_LAST = frozenset("（［｛〈《「『【〔")
"""Characters that no row of Chinese or Japanese ends with."""


def wrap(text: str, width: int) -> list[str]:
    """`text`, one line of it, in rows of at most `width` columns.

    Rows break at blanks, which are dropped there, and beside wide characters, which have no blanks between them;
    within a word only where it is wider than a row, and within a grapheme only where that is. The rows of a text stay
    as they are while more is added to its end, except for the last.
    """
    rows: list[str] = []
    row, used = "", 0
    cut = 0  # where the row may be divided
    previous = ""
    for grapheme in _pieces(text, width):
        size = sum(map(character_width, grapheme))
        if _may_part(previous, grapheme):
            cut = len(row)
        while row and used + size > width:
            if grapheme == " " or not cut:
                rows.append(row.rstrip())
                row = ""
            else:
                rows.append(row[:cut].rstrip())
                row = row[cut:]
            cut, used = 0, sum(map(character_width, row))
        if grapheme == " " and not row:
            previous = ""
            continue
        row, used, previous = row + grapheme, used + size, grapheme
    return [*rows, row.rstrip()] if row.strip() else rows


def _pieces(text: str, width: int) -> Iterator[str]:
    """Graphemes, or the characters of those that are too wide: joined emoji may be drawn side by side."""
    for grapheme in iter_graphemes(text):
        if sum(map(character_width, grapheme)) <= width:
            yield grapheme
        else:
            yield from (character for character in grapheme if character_width(character) <= width)


def _may_part(before: str, after: str) -> bool:
    """Whether a row may end between two graphemes."""
    if before == " ":
        return True
    if not before or before in NOT_LAST or after in NOT_FIRST:
        return False
    return character_width(before[0]) == 2 or character_width(after[0]) == 2
