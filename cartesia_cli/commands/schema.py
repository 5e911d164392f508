"""The `schema` command, which prints JSON Schemas of all JSON that the program writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError

EXAMPLES = """
cartesia-cli schema document > transcript.schema.json
cartesia-cli schema | jq keys
"""

FOLDER = Path(__file__).parent.parent / "schemas"

Name = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", show_default=False,
                   help="Only this schema; by default an object with all of them."),
]  # fmt: skip


def schema(*, name: Name = None) -> None:
    """Print JSON Schemas of all JSON output."""
    from ..output.files import write_json

    names = sorted(file.stem for file in FOLDER.glob("*.json"))
    if name is not None and name not in names:
        raise UsageError(f"unknown schema {name!r}", hint=f"schemas: {', '.join(names)}")
    document = _read(name) if name is not None else {one: _read(one) for one in names}
    write_json(document)


def _read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
