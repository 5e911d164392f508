"""`logout`: removes the key that `login` has stored."""

from __future__ import annotations

import typer

from ..output.console import Reporter
from .command_context import configuration

EXAMPLES = """
cartesia-cli logout
cartesia-cli logout --profile work
"""


def logout(context: typer.Context, reporter: Reporter) -> None:
    """Remove the stored API key, or with --profile that of the profile."""
    from ..credentials import key_file, key_source, remove_key

    settings = configuration(context)
    path = remove_key(settings)
    if path is None:
        reporter.info(f"no key is stored: there is no {key_file(settings.folder, settings.profile)}")
    else:
        reporter.info(f"removed the key in {path}; it stays valid until it is revoked at play.cartesia.ai/keys")
    if left := key_source(settings):
        reporter.warn(f"there is still a key in {left.origin}")
