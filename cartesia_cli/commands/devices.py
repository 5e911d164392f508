"""`devices`: lists the audio inputs that `listen` can record from, with the number and name that select each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ..output.files import write_stdout
from ..output.sanitize import one_line
from . import options as given
from .options import expand_groups

if TYPE_CHECKING:  # --help does without
    from ..audio.devices import Device

EXAMPLES = """
cartesia-cli devices
cartesia-cli devices -f json
cartesia-cli listen --device 'Monitor of'
"""

HEADER = ("#", "Hz", "channels", "system", "kind", "name")


@expand_groups
def devices(
    context: typer.Context,
    *,
    format: given.Listing = "table",
    verbosity: given.VerbosityOptions,
) -> None:
    """List microphones, and monitors, which record what this computer plays."""
    reporter = verbosity.apply_to(context.obj)
    reporter.as_json = format == "json"
    from ..audio import devices as audio_devices

    found = audio_devices.list_devices()
    if found or format == "json":  # programs get an empty list, people no empty table
        write_stdout(format_json(found) if format == "json" else format_table(found))
    audio_devices.match_device(found, None)


def format_table(found: list[Device]) -> str:
    """A line for each device; the default one has a star."""
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
    """The table as JSON: `{"devices": [...]}`."""
    from ..output.text_json import to_json

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
    return to_json({"devices": entries}, indent=2)
