"""A table of any length for one run: a temporary database, of which SQLite keeps 2 MB in memory."""

from __future__ import annotations

import sqlite3

from ..errors import OutputError


class DiskTable:
    """A table that is made by an SQL statement. May be used from several threads, one after the other.

    Raises OutputError if there is no room for it.
    """

    def __init__(self, schema: str) -> None:
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.execute("PRAGMA journal_mode = OFF")
        self.execute(schema)

    def execute(self, query: str, *values: str | bytes | int | None) -> sqlite3.Cursor:
        try:
            return self._table.execute(query, values)
        except sqlite3.Error as error:
            failure = OutputError(f"no room for temporary files: {error}", hint="set TMPDIR to another folder")
            failure.stops_batch = True
            raise failure from error
