"""`devices`: what can be recorded from, and by which number or name it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ..output.files import write_stdout
from ..output.sanitize import one_line
from . import options as given
from .option_groups import expand_groups

if TYPE_CHECKING:  # help asks no sound system
    from ..audio.devices import Device

EXAMPLES = """
cartesia-cli devices

cartesia-cli devices -f json

cartesia-cli listen --device 'Monitor of'
"""

HEADER = ("#", "Hz", "channels", "system", "kind", "name")


@expand_groups(voice=given.VerbosityOptions)
def devices(
    context: typer.Context,
    *,
    form: given.Listing = "table",
    voice: given.VerbosityOptions,
) -> None:
    """List microphones, and the monitors by which what this computer plays can be heard."""
    reporter = voice.apply_to(context.obj)
    reporter.as_json = given.checked_listing(form) == "json"
    from ..audio import devices as known

    found = known.list_devices()
    if found or form == "json":  # a program gets its list, and a person no empty table
        write_stdout(format_json(found) if form == "json" else format_table(found))
    known.match_device(found, None)


def format_table(found: list[Device]) -> str:
    """A line for each; the one that is heard where none is named has a star."""
    rows = [
        (
            f"{'* ' if device.is_default else ''}{device.index}",
            str(device.rate),
            str(device.channels),
            one_line(device.host_api),
            "monitor" if device.is_monitor else "input",
            one_line(device.name),
        )
        for device in found
    ]
    widths = [max(len(row[column]) for row in [HEADER, *rows]) for column in range(len(HEADER) - 1)]
    lines = []
    for *cells, name in [HEADER, *rows]:
        numbers = [cell.rjust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
        words = [cell.ljust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
        lines.append("  ".join([*numbers, *words, name]))
    return "\n".join(lines) + "\n"


def format_json(found: list[Device]) -> str:
    """`{"devices": [...]}`: what the table has, for programs."""
    import json

    entries = [
        {
            "index": device.index,
            "name": device.name,
            "channels": device.channels,
            "rate": device.rate,
            "system": device.host_api,
            "default": device.is_default,
            "monitor": device.is_monitor,
        }
        for device in found
    ]
    return json.dumps({"devices": entries}, ensure_ascii=False, indent=2) + "\n"
