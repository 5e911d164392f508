"""The `skill` command, which prints instructions for AI agents that use this program."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = """
mkdir -p skills/cartesia-cli && cartesia-cli skill > skills/cartesia-cli/SKILL.md
"""

FILE = Path(__file__).parent.parent / "SKILL.md"


def skill() -> None:
    """Print instructions for AI agents."""
    from ..output.files import write_stdout

    write_stdout(FILE.read_text("utf-8"))
