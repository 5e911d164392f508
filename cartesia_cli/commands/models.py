"""The `models` command, which lists the models of a server, with their modes and languages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import AuthError, CliError
from ..output.console import Reporter
from ..output.files import write_json, write_stdout
from ..text_width import align
from . import options as given

if TYPE_CHECKING:  # --help does without
    from ..protocol.models import Model
    from .backend import BackendConfig

EXAMPLES = """
cartesia-cli models
cartesia-cli models -f json | jq -r '.models[] | select(.modes | index("batch")).id'
cartesia-cli models --base-url http://127.0.0.1:8000
"""

TIMEOUT_SECONDS = 20.0

Refresh = Annotated[bool, typer.Option("--refresh", help="Ask the server, even if it was asked less than a day ago.")]


class ModelListing(NamedTuple):
    """Models, and where they come from.

    source   server: asked now; cache: asked less than a day ago; release: not asked, or without success
    server   the base URL; None: this machine
    as_of    the day on which they were listed
    """

    source: str
    server: str | None
    as_of: str
    models: tuple[Model, ...]


def models(
    context: typer.Context,
    reporter: Reporter,
    *,
    format: given.ListFormat = "table",
    refresh: Refresh = False,
    backend_options: given.BackendOptions,
) -> None:
    """List models, with the endpoints and languages that they are for."""
    listing = list_models(backend_options.resolve(context, reporter, optional_key=True), reporter, refresh=refresh)
    if format == "json":
        write_json(_document(listing))
    else:
        write_stdout(format_table(listing.models))


def list_models(choice: BackendConfig, reporter: Reporter, *, refresh: bool) -> ModelListing:
    """The models of a server. If it can't be asked, what it said before or what was known at release; the reporter says
    why. Raises AuthError if the key is refused.
    """
    from .. import model_cache
    from ..output.hints import fit_hint
    from ..protocol.constants import is_loopback
    from ..protocol.models import MODELS_AT_RELEASE, RELEASED_ON

    release = ModelListing("release", choice.base_url, RELEASED_ON, MODELS_AT_RELEASE)
    if choice.base_url is None:
        why = "no key, so no server was asked" if choice.reason else "no server was asked"
        reporter.info(f"{why}: this list is that of the program's release, {RELEASED_ON}")
        return release
    is_here = is_loopback(choice.base_url)  # the next server on that port may be another one
    kept = None if is_here else model_cache.read(choice.base_url)
    cached = None if kept is None else ModelListing("cache", choice.base_url, _day(kept.at), kept.models)
    if cached is not None and kept is not None and kept.is_fresh and not refresh:
        return cached
    try:
        found = _ask(choice, reporter)
    except AuthError:
        raise
    except CliError as error:
        reporter.warn(f"{error}: the list is that of {(cached or release).as_of}")
        reporter.info(f"hint: {fit_hint(error, reporter.options)}")
        return cached or release
    if not is_here:
        model_cache.write(choice.base_url, found)
    return ModelListing("server", choice.base_url, _day(datetime.now(UTC).timestamp()), found)


def _ask(choice: BackendConfig, reporter: Reporter) -> tuple[Model, ...]:
    from ..client import BatchClient, Deadlines

    assert choice.base_url is not None
    with BatchClient(
        choice.base_url, choice.credential, api_version=choice.api_version, on_retry=reporter.info
    ) as client:
        return client.models(deadlines=Deadlines.uniform(TIMEOUT_SECONDS))


def format_table(models: tuple[Model, ...]) -> str:
    """A line for each model. `?`: the server doesn't say."""
    from ..output.sanitize import one_line

    rows = [("model", "modes", "languages")]
    rows += [(model.id, ", ".join(model.modes) or "?", _languages(model.languages)) for model in models]
    return "\n".join(align([tuple(map(one_line, row)) for row in rows])) + "\n"


MAX_SHOWN_LANGUAGES = 12


def _languages(codes: tuple[str, ...]) -> str:
    """Codes; of many, only how many they are."""
    return " ".join(codes) or "?" if len(codes) <= MAX_SHOWN_LANGUAGES else f"{len(codes)} languages"


def _document(listing: ModelListing) -> dict[str, Any]:
    """The list, for JSON. Members that aren't known are left out."""
    from ..output.text_json import without_none

    rows = [
        without_none({"id": model.id, "modes": model.modes or None, "languages": model.languages or None})
        for model in listing.models
    ]
    return without_none({"source": listing.source, "server": listing.server, "as_of": listing.as_of, "models": rows})


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
