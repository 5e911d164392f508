"""Lines up the cells of tables that commands list on stdout."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..text_width import shorten, text_width

MIN_COLUMNS = 8
"""Columns that the first cells have at least, however narrow a terminal is."""


def align(rows: Sequence[Sequence[str]], *, right: Container[int] = (), columns: int | None = None) -> Iterator[str]:
    """A line for each row, whose cells are two spaces apart.

    right     numbers of the cells that are aligned right
    columns   how wide a line may be; for that, the first cells are cut. None: as wide as needed
    """
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    if columns is not None:
        widths[0] = min(widths[0], max(MIN_COLUMNS, columns - sum(2 + width for width in widths[1:])))
    for row in rows:
        cells = []
        for number, (text, width) in enumerate(zip(row, widths, strict=True)):
            cell = shorten(text, width)
            blank = " " * (width - text_width(cell))
            cells.append(blank + cell if number in right else cell + blank)
        yield "  ".join(cells).rstrip()
