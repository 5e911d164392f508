"""`devices`: lists the audio inputs that `listen` can record from, with the number and name that select each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..output.files import write_json, write_stdout
from ..output.sanitize import one_line
from ..text_width import align
from . import options as given

if TYPE_CHECKING:  # --help does without
    from ..audio.devices import Device

EXAMPLES = """
cartesia-cli devices
cartesia-cli devices -f json
cartesia-cli listen --device 'Monitor of'
"""

HEADER = ("#", "Hz", "channels", "system", "kind", "name")


def devices(*, format: given.ListFormat = "table") -> None:
    """List microphones, and monitors, which record what this computer plays."""
    from ..audio import devices as audio_devices

    found = audio_devices.list_devices()
    if format == "json":
        write_json({"devices": [describe(device) for device in found]})
    elif found:
        write_stdout(format_table(found))
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
    return "\n".join(align([HEADER, *rows], right=range(3))) + "\n"


def describe(device: Device) -> dict[str, object]:
    """A device, for JSON."""
    return {
        "index": device.index,
        "name": device.name,
        "channels": device.channels,
        "rate": device.rate,
        "system": device.host_api,
        "default": device.is_default,
        "monitor": device.is_monitor,
    }
