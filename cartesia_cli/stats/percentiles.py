"""The values of one figure: how many, their percentiles and their maximum, in bounded memory.

The first KEPT values are all kept, so percentiles are exact for as many utterances, or for 1.8 hours of frames of
100 ms; from then on every second value is kept, then every fourth. Counts and maxima are always exact.

Must never make up a value: each percentile is one that was observed (nearest rank).
"""

from __future__ import annotations

from array import array
from math import ceil

KEPT = 1 << 16
"""Values, 512 KiB of them. Even, or those that are left would not be evenly spaced."""

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Percentiles:
    """Takes seconds, gives milliseconds."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = self._max = 0.0
        self._values = array("d")
        self._stride = 1

    def add(self, seconds: float) -> None:
        if not self.count:
            self.first = self._max = seconds
        self.last, self._max = seconds, max(self._max, seconds)
        if self.count % self._stride == 0:
            self._values.append(seconds)
        if len(self._values) == KEPT:
            self._values = self._values[::2]
            self._stride *= 2
        self.count += 1

    def summary(self) -> dict[str, float]:
        """count, p50, p95, p99 and max; sampled, the values that percentiles are of, where those aren't all."""
        ordered = sorted(self._values)
        shares = {name: milliseconds(ordered[ceil(len(ordered) * share) - 1]) for name, share in SHARES.items()}
        sampled = {} if self._stride == 1 else {"sampled": len(ordered)}
        return {"count": self.count, **shares, "max": milliseconds(self._max), **sampled}


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
