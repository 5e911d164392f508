"""The `cache` command, which shows or clears the cache."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError, UsageError
from ..output.console import Reporter
from . import options as given

if TYPE_CHECKING:  # every --help comes by here
    from ..cache import CacheFile

EXAMPLES = """
cartesia-cli cache
cartesia-cli cache clear
cartesia-cli transcribe talk.mp3 --no-cache
"""

NOT_OURS = "remove the directory, or set XDG_CACHE_HOME to another one"

AGE_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
"""Seconds of each unit, the largest first."""

Action = Annotated[
    str | None, typer.Argument(metavar="[clear]", show_default=False, help="Remove all cached responses.")
]


def cache(reporter: Reporter, *, action: Action = None, format: given.ListFormat = "table") -> None:
    """Show or clear the cache of earlier responses."""
    from ..cache import Store, cache_dir
    from ..fingerprint import untrusted
    from ..output.files import write_json, write_stdout
    from ..output.sanitize import one_line
    from ..transfer import size_text

    if action not in (None, "clear"):
        raise UsageError(f"unknown action {action!r}", hint="`cache` shows the cache, `cache clear` clears it")
    directory = cache_dir()
    if reason := untrusted(directory):
        raise OutputError(f"{directory} is not used: {reason}", hint=NOT_OURS)
    store = Store(directory)
    try:
        entries = store.clear() if action else store.entries()
    except OSError as error:
        raise OutputError(f"{error.filename}: can't be removed: {error.strerror}") from error
    if format == "json":
        report: dict[str, object] = {"folder": str(directory)} | ({"cleared": True} if action else {})
        report |= {"entries": len(entries), "bytes": _bytes(entries), "most_bytes": store.max_bytes}
        if entries:
            report |= {"oldest": _time(entries[0]).isoformat(), "newest": _time(entries[-1]).isoformat()}
        write_json(report)
    elif action:
        reporter.info(f"removed {len(entries)} response{'s' * (len(entries) != 1)}, {size_text(_bytes(entries))}")
    else:
        facts = {
            "directory": one_line(str(directory)),
            "responses": str(len(entries)),
            "size": f"{size_text(_bytes(entries))} of {size_text(store.max_bytes)} at most",
        }
        if entries:
            facts |= {"oldest": _age(entries[0]), "newest": _age(entries[-1])}
        write_stdout("".join(f"{name:<9}  {value}\n" for name, value in facts.items()))


def _bytes(entries: list[CacheFile]) -> int:
    return sum(entry.bytes for entry in entries)


def _time(entry: CacheFile) -> datetime:
    return datetime.fromtimestamp(entry.stored_at, UTC).replace(microsecond=0)


def _age(entry: CacheFile) -> str:
    """How long ago it was stored, in the largest unit that fits."""
    seconds = max(0, int(time.time() - entry.stored_at))
    length, unit = next((unit for unit in AGE_UNITS if seconds >= unit[0]), AGE_UNITS[-1])
    return f"{seconds // length} {unit} ago"
