"""Which output formats options request: by --format, --json, the suffix of --output, or by selecting rows."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

ROW_FORMATS = frozenset({"table", "tsv", "csv", "json", "ndjson"})
ROW_FILTERS = ("grep", "from", "to", "longest_gaps")
"""Options that select rows of the word table."""


def requested_formats(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The output formats that options request, each once.

    values   options that are set, by their long names with underscores
    """
    if values.get("json"):
        return ("json",)
    if (named := values.get("format")) is not None:
        return tuple(dict.fromkeys(name.strip().lower() for name in str(named).split(",")))
    implied = implied_format(values) or "text"
    has_filter = any(values.get(name) is not None for name in ROW_FILTERS)
    return ("table",) if has_filter and implied == "text" else (implied,)


def implied_format(values: Mapping[str, Any]) -> str | None:
    """The format that the suffix of --output implies, or None."""
    from ..output import format_by_name

    return format_by_name(PurePath(str(values.get("output") or "")))
