"""Cuts the part of a recording that a line of a manifest names into a file of its own.

Must never cut beside the sample that was named, nor hold more than a block of samples.
"""

from __future__ import annotations

import sys
from itertools import chain
from math import inf
from pathlib import Path

from ..errors import InputError
from .files import decode_file
from .flac_writer import flac_file, new_file
from .probing import display_name

END_TOLERANCE_SECONDS = 0.1
"""How far a segment may reach beyond the end of its recording: manifests round durations."""


def cut_segment(path: Path, offset: float, duration: float, folder: Path, *, name: str | None = None) -> Path:
    """Write the part of a recording that begins at `offset` seconds and lasts `duration` seconds to a new FLAC file in
    `folder`, which the caller deletes: mono, 16 bits, at the rate of the recording. `duration` may be infinite.

    name   what messages call the recording; None: by its path
    InputError if the recording can't be decoded, ends before the segment does, or the file can't be written.
    """
    name = name or display_name(path)
    rate = 0

    def keep_rate(encoding: str, found: int) -> None:
        nonlocal rate
        rate = found

    blocks = decode_file(path, rate=None, start=offset, on_format=keep_rate)
    first = next(blocks)  # calls keep_rate
    wanted = sys.maxsize if duration == inf else round((offset + duration) * rate) - round(offset * rate)
    file = new_file(folder, ".flac", name)
    with flac_file(file, name, rate) as writer:
        for block in chain([first], blocks):
            writer.write(block[: wanted - writer.samples])
            if writer.samples == wanted:
                break
        if duration < inf and wanted - writer.samples > END_TOLERANCE_SECONDS * rate:
            raise InputError(
                f"{name} has no segment from {offset:.2f} to {offset + duration:.2f} s: it ends at "
                f"{offset + writer.seconds:.2f} s",
                hint="are offset and duration of the manifest in seconds?",
            )
    return file
