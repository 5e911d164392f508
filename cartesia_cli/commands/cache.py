"""`cache`: what is kept of earlier answers, and how to get rid of it; and who may use it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError, UsageError
from ..output.console import Reporter
from . import options as given
from .option_groups import expand_groups

if TYPE_CHECKING:  # every --help comes by here
    from ..cache import Cache, Entry
    from .backend import BackendConfig

EXAMPLES = """
cartesia-cli cache

cartesia-cli cache clear

cartesia-cli transcribe talk.mp3 --no-cache
"""

NOT_OURS = "remove the folder, or name another place with XDG_CACHE_HOME"

SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Ask again, and keep no answer; see `cache`.", rich_help_panel=given.SERVER),
]


@expand_groups(voice=given.VerbosityOptions)
def cache(
    context: typer.Context,
    *,
    action: Annotated[str | None, typer.Argument(metavar="[clear]", help="Take all away.", show_default=False)] = None,
    form: given.Listing = "table",
    voice: given.VerbosityOptions,
) -> None:
    """Show what is kept of earlier answers, or take it away: `cache clear`."""
    reporter = voice.settle(context.obj)
    reporter.as_json = given.checked_listing(form) == "json"
    from ..cache import Shelf, place
    from ..fingerprint import distrust
    from ..output.files import write_stdout
    from ..output.sanitize import one_line

    if action not in (None, "clear"):
        raise UsageError(f"no action {action!r}", hint="`cache` shows what there is, `cache clear` takes it away")
    if (folder := place()) is None:
        raise UsageError("no answers are kept: there is no home folder", hint="XDG_CACHE_HOME names a place")
    if doubt := distrust(folder):
        raise OutputError(f"{folder} is not used: {doubt}", hint=NOT_OURS)
    shelf = Shelf(folder)
    try:
        entries = shelf.clear() if action else shelf.entries()
    except OSError as error:
        raise OutputError(f"{error.filename}: can't be removed: {error.strerror}") from error
    if reporter.as_json:
        report: dict[str, object] = {"folder": str(folder)} | ({"cleared": True} if action else {})
        report |= {"entries": len(entries), "bytes": _bytes(entries), "most_bytes": shelf.most}
        if entries:
            report |= {"oldest": _moment(entries[0]).isoformat(), "newest": _moment(entries[-1]).isoformat()}
        write_stdout(json.dumps(report, indent=2) + "\n")
    elif action:
        reporter.say(f"removed {len(entries)} answer{'s' * (len(entries) != 1)}, {_size(_bytes(entries))}")
    else:
        facts = {
            "folder": one_line(str(folder)),
            "answers": str(len(entries)),
            "size": f"{_size(_bytes(entries))} of {_size(shelf.most)} at most",
        }
        if entries:
            facts |= {"oldest": _age(entries[0]), "newest": _age(entries[-1])}
        write_stdout("".join(f"{name:<8} {value}\n" for name, value in facts.items()))


def chosen(
    no_cache: bool, choice: BackendConfig, endpoint: str, local_model: str | None, reporter: Reporter
) -> Cache | None:
    """The earlier answers of the chosen server; None where none are wanted, or there is no place for them."""
    from ..cache import Cache, Shelf, address, engine, place
    from ..fingerprint import distrust

    if no_cache or (folder := place()) is None:
        return None
    if doubt := distrust(folder):
        reporter.say(f"warning: the cache {folder} is not used: {doubt}")
        return None
    server = engine(local_model) if choice.base_url is None else address(choice.base_url, endpoint)
    if server is None:
        reporter.detail(f"no cache: {choice.base_url} is on this machine, and which server it is can't be determined")
        return None
    return Cache(Shelf(folder), server)


def _bytes(entries: list[Entry]) -> int:
    return sum(entry.bytes for entry in entries)


def _moment(entry: Entry) -> datetime:
    return datetime.fromtimestamp(entry.kept, UTC).replace(microsecond=0)


def _age(entry: Entry) -> str:
    """How long ago, in the largest unit that makes sense."""
    seconds = max(0, int(time.time() - entry.kept))
    span, unit = next(((span, unit) for span, unit in SPANS if seconds >= span), SPANS[-1])
    return f"{seconds // span} {unit} ago"


def _size(count: int) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000 or unit == "MB":
            break
        count = round(count / 1000)
    return f"{count} {unit}"
