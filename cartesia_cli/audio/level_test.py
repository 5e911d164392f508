"""Records a few seconds from a microphone and measures them, to find out whether it hears anything. Nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import log10

import numpy as np

from .devices import Device
from .input_check import CLIPPED_LEVEL, CLIPPED_SHARE
from .level import SILENCE_DBFS
from .microphone import Microphone
from .pcm import RATE, Samples, decode_pcm


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
    overflows: int = 0

    @property
    def is_clipped(self) -> bool:
        return self.clipped_share >= CLIPPED_SHARE


async def record_level(device: Device, seconds: float) -> LevelReport:
    """Record and measure. InputError if the device can't be opened, hangs or is removed."""
    microphone, blocks, samples = Microphone(device), list[Samples](), 0
    async with aclosing(microphone.frames()) as frames:
        async for block in frames:
            blocks.append(decode_pcm(block.pcm, "pcm_s16le"))
            samples += len(blocks[-1])
            if samples >= seconds * RATE:
                break
    return measure(blocks, microphone.overflows)


def measure(blocks: Sequence[Samples], overflows: int = 0) -> LevelReport:
    """The report on blocks of 16 kHz, mono, -1..1."""
    audio = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    peak = float(np.abs(audio).max(initial=0.0))
    energy = float(np.mean(audio * audio)) if len(audio) else 0.0
    return LevelReport(
        seconds=len(audio) / RATE,
        peak_dbfs=max(SILENCE_DBFS, 20 * log10(peak)) if peak > 0 else SILENCE_DBFS,
        rms_dbfs=max(SILENCE_DBFS, 10 * log10(energy)) if energy > 0 else SILENCE_DBFS,
        clipped_share=float(np.mean(np.abs(audio) >= CLIPPED_LEVEL)) if len(audio) else 0.0,
        is_all_zeros=peak == 0.0,
        overflows=overflows,
    )
