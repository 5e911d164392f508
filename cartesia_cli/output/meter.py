"""The level of a microphone as a bar: how loud it is, how loud the place is, and from where on it is speech.

    ▇▇▇▇▇▇▇·▏···  -31 dB, noise -61 0.4 s

Filled up to the level; the stroke is the threshold, from which on it is speech. The seconds are what is left of the
silence that ends the utterance. Pure: numbers in, a few columns of text out.
"""

from __future__ import annotations

QUIETEST, LOUDEST = -72.0, 0.0
"""dBFS at the ends of the bar."""

CELLS = 12


def meter(level: float, floor: float, threshold: float, hangover_left: float, *, plain: bool = False) -> str:
    """Levels in dBFS, the hangover in seconds; `plain` for a terminal that knows ASCII only."""
    full, stroke, empty = ("#", "|", ".") if plain else ("▇", "▏", "·")
    filled, at = _cell(level), min(_cell(threshold), CELLS - 1)
    bar = "".join(
        stroke if cell == at and cell >= filled else full if cell < filled else empty for cell in range(CELLS)
    )
    left = f"{hangover_left:.1f} s" if hangover_left > 0 else ""
    return f"{bar} {max(level, -99):4.0f} dB, noise {floor:.0f} {left:5} "


def _cell(level: float) -> int:
    """How many cells a level fills."""
    share = (level - QUIETEST) / (LOUDEST - QUIETEST)
    return max(0, min(CELLS, round(share * CELLS)))
