"""What ConfiguredCommand leaves in the context of the command that runs: its configuration, and what applies of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import typer

    from ..errors import UsageError
    from ..settings import Setting, Settings

META_CONFIGURATION = "cartesia_cli.configuration"
META_EFFECTIVE = "cartesia_cli.effective"
META_OVERRULED_LOCAL = "cartesia_cli.overruled_local"
META_PROBLEM = "cartesia_cli.problem"
"""Keys in the context's `meta`."""


def configuration(context: typer.Context) -> Settings:
    """The configuration that --config and --profile select."""
    return cast("Settings", context.meta[META_CONFIGURATION])


def effective_settings(context: typer.Context) -> Mapping[str, Setting]:
    """The setting that applies, for each option that is set anywhere, by its long name with underscores."""
    return cast("Mapping[str, Setting]", context.meta.get(META_EFFECTIVE, {}))


def overruled_local(context: typer.Context) -> str | None:
    """Where a server is set that overrules `local = true`; None if none does."""
    return cast("str | None", context.meta.get(META_OVERRULED_LOCAL))


def configuration_problem(context: typer.Context) -> UsageError | None:
    """What is wrong with the configuration, for commands that run all the same."""
    return cast("UsageError | None", context.meta.get(META_PROBLEM))
