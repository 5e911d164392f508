"""Fits the parts of a status row into the width of a terminal: those that don't fit are left out, by their rank. Pure.

Must never return a row that is wider than the terminal. Parts are measured by their length, so their text must have
one column a character: `single_columns` makes it so.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..text_width import character_width
from .sanitize import can_encode

DIM, RED, YELLOW, PLAIN = "\033[2m", "\033[1;31m", "\033[1;33m", "\033[0m"


class RowPart(NamedTuple):
    """A part of a status row; if the row is too long, the highest `rank` is left out first."""

    rank: int
    text: str
    style: str = ""


def drop_parts(parts: Sequence[RowPart]) -> Iterator[list[RowPart]]:
    """The parts, then without those of the highest rank, and so on."""
    kept = list(parts)
    while kept:
        yield kept
        last = max(part.rank for part in kept)
        kept = [part for part in kept if part.rank != last]


def first_fitting(candidates: Iterable[Sequence[RowPart]], width: int, *, colored: bool) -> str:
    """The first of these rows that has at most `width` columns; empty if none has."""
    for candidate in candidates:
        if sum(len(part.text) for part in candidate) <= width:
            return "".join(styled(part.text, part.style, colored=colored) for part in candidate)
    return ""


def styled(text: str, style: str, *, colored: bool) -> str:
    return f"{style}{text}{PLAIN}" if colored and style and text else text


def single_columns(text: str, encoding: str) -> str:
    """A text in which every character takes one column, on every terminal of this encoding."""
    return "".join(
        character
        if character.isprintable() and character_width(character) == 1 and can_encode(encoding, character)
        else "?"
        for character in text
    )
