"""Lines up the cells of tables that commands list on stdout."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..text_width import text_width


def align(rows: Sequence[Sequence[str]], *, right: Container[int] = ()) -> Iterator[str]:
    """A line for each row, whose cells are two spaces apart. `right`: numbers of the columns that are aligned right."""
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - text_width(cell))
            cells.append(blank + cell if number in right else cell + blank)
        yield "  ".join(cells).rstrip()
