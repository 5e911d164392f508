"""Tables of any length for one run: a temporary database, of which SQLite keeps 1 MB in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from ..errors import OutputError

Value = str | bytes | int | None


class DiskTable:
    """A database with the tables of an SQL schema. May be used from several threads, one after the other.

    Raises OutputError if there is no space for it.
    """

    def __init__(self, schema: str) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA cache_size = -1000", "PRAGMA journal_mode = MEMORY", *schema.split(";")):
            self.query(statement)

    def query(self, statement: str, *values: Value) -> list[Any]:
        """Execute a statement. Returns its rows, if it has any."""
        return list(self.iterate(statement, *values))

    def iterate(self, statement: str, *values: Value) -> Iterator[Any]:
        """The rows of a query, one by one."""
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            failure = OutputError(f"no space for temporary files: {error}", hint="set TMPDIR to another folder")
            failure.stops_batch = True
            raise failure from error

    def close(self) -> None:
        self._connection.close()
