"""Records a few seconds from a microphone and measures them, to find out whether it hears anything. Nothing is kept."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from math import log10

import numpy as np

from .devices import Device
from .input_check import CLIPPED_LEVEL, CLIPPED_SHARE
from .level import SILENCE_DBFS
from .microphone import Microphone
from .pcm import RATE, Samples


@dataclass(frozen=True, slots=True)
class LevelReport:
    """What a microphone delivered.

    seconds         of audio
    peak_dbfs       the loudest sample; SILENCE_DBFS if there is none louder
    rms_dbfs        the mean level; SILENCE_DBFS at least
    clipped_share   share of the samples at full scale, 0 to 1
    is_all_zeros    as from a muted microphone, or without permission
    overflows       how often the system lost audio
    """

    seconds: float
    peak_dbfs: float
    rms_dbfs: float
    clipped_share: float
    is_all_zeros: bool
    overflows: int

    @property
    def is_clipped(self) -> bool:
        return self.clipped_share >= CLIPPED_SHARE


async def record_level(device: Device, seconds: float) -> LevelReport:
    """Record and measure. Raises InputError if the device can't be opened, hangs or is removed."""
    microphone, pieces, count = Microphone(device), list[Samples](), 0
    async with aclosing(microphone.blocks()) as blocks:
        async for block in blocks:
            pieces.append(block.samples)
            count += len(block.samples)
            if count >= seconds * RATE:
                break
    samples = np.concatenate(pieces)
    peak, energy, lowest = float(np.abs(samples).max()), float(np.mean(samples**2)), 10 ** (SILENCE_DBFS / 20)
    return LevelReport(
        seconds=count / RATE,
        peak_dbfs=20 * log10(max(peak, lowest)),
        rms_dbfs=10 * log10(max(energy, lowest**2)),
        clipped_share=float(np.mean(np.abs(samples) >= CLIPPED_LEVEL)),
        is_all_zeros=peak == 0.0,
        overflows=microphone.overflows,
    )
