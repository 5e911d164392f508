"""`logout`: removes the key that `login` has stored."""

from __future__ import annotations

import typer

from . import options as given
from .option_sources import chosen_settings
from .options import expand_groups

EXAMPLES = """
cartesia-cli logout
cartesia-cli logout --profile work
"""


@expand_groups
def logout(context: typer.Context, *, verbosity: given.VerbosityOptions) -> None:
    """Remove the stored API key, or with --profile that of the profile."""
    reporter = verbosity.apply_to(context.obj)
    from ..credentials import key_file, key_source, remove_key

    settings = chosen_settings(context)
    path = remove_key(settings)
    if path is None:
        reporter.info(f"no key is stored: there is no {key_file(settings.folder, settings.profile)}")
    else:
        reporter.info(f"removed the key in {path}; it stays valid until it is revoked at play.cartesia.ai/keys")
    if left := key_source(settings):
        reporter.warn(f"there is still a key in {left.origin}")
