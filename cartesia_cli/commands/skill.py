"""The `skill` command, which prints instructions for AI agents that use this program."""

from __future__ import annotations

from pathlib import Path

import typer

from . import options as given
from .options import expand_groups

EXAMPLES = """
mkdir -p skills/cartesia-cli && cartesia-cli skill > skills/cartesia-cli/SKILL.md
"""

FILE = Path(__file__).parent.parent / "SKILL.md"


@expand_groups
def skill(context: typer.Context, *, verbosity: given.VerbosityOptions) -> None:
    """Print instructions for AI agents."""
    verbosity.apply_to(context.obj)
    from ..output.files import write_stdout

    write_stdout(FILE.read_text("utf-8"))
