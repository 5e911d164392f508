"""The level of a microphone as a bar: how loud it is, how loud the background is, and from where on it is speech.

    ▇▇▇▇▇▇▇·▏···  -31 dB, noise -61, ends in 0.4 s

Filled up to the level; the stroke is the threshold, from which on it is speech. Pure: numbers in, text out.
"""

from __future__ import annotations

from dataclasses import dataclass

QUIETEST, LOUDEST = -72.0, 0.0
"""dBFS at the ends of the bar."""

CELLS = 12


@dataclass(frozen=True, slots=True)
class MicrophoneLevel:
    """How loud a microphone is at one moment.

    level, noise, threshold   dBFS: of the sound, of the background, and from which on it is speech
    ends_in                   seconds of silence after which `finalize` is sent; 0: that isn't what is counted now
    """

    level: float
    noise: float
    threshold: float
    ends_in: float = 0.0


def bar(level: MicrophoneLevel, *, ascii_only: bool = False) -> str:
    """The level in CELLS columns."""
    full, stroke, empty = bar_characters(ascii_only=ascii_only)
    filled, at = _cell(level.level), min(_cell(level.threshold), CELLS - 1)
    return "".join(
        stroke if cell == at and cell >= filled else full if cell < filled else empty for cell in range(CELLS)
    )


def bar_characters(*, ascii_only: bool) -> tuple[str, str, str]:
    """What a bar is made of: full, threshold, empty."""
    return ("#", "|", ".") if ascii_only else ("▇", "▏", "·")


def _cell(level: float) -> int:
    """How many cells a level fills."""
    share = (level - QUIETEST) / (LOUDEST - QUIETEST)
    return max(0, min(CELLS, round(share * CELLS)))
