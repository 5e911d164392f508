"""The summary of a batch: what it has done."""

from __future__ import annotations

from ...protocol.constants import batch_credits
from ...timestamps import clock_time

LONG_AUDIO_SECONDS = 600.0
"""Shorter audio is summed up in seconds, longer in hours and minutes."""

LONG_RUN_SECONDS = 60.0
"""From then on, the summary says how long a run took."""


class BatchSummary:
    """Counts what a batch has done so far.

    free_place               where it is transcribed at no cost, such as "this machine"; None: it costs credits

    total, written           inputs
    elsewhere                inputs that another run has transcribed meanwhile
    from_cache               inputs whose response came from the cache
    audio_seconds            of all transcripts
    requested_seconds        of those whose response didn't come from the cache
    elapsed_seconds          since the run began
    """

    total = written = elsewhere = from_cache = 0
    audio_seconds = requested_seconds = elapsed_seconds = 0.0

    def __init__(self, free_place: str | None = None) -> None:
        self.free_place = free_place

    def to_text(self) -> str:
        price = f"on {self.free_place}" if self.free_place else f"{batch_credits(self.requested_seconds):,.1f} credits"
        if self.from_cache:
            free = self.from_cache == self.written
            price = "from cache, 0 credits" if free else f"{self.from_cache} from cache, {price}"
        others = f" ({self.elsewhere} by another run)" if self.elsewhere else ""
        done = f"{self.written + self.elsewhere} of {self.total} transcribed{others}"
        is_long = self.audio_seconds >= LONG_AUDIO_SECONDS
        audio = clock_time(self.audio_seconds) if is_long else f"{self.audio_seconds:.1f} s"
        return f"{done}, {audio} of audio, {price}{self._speed()}"

    def _speed(self) -> str:
        """How long a run took that took long, and how much faster than real time it was."""
        if self.elapsed_seconds < LONG_RUN_SECONDS:
            return ""
        speed = self.requested_seconds / self.elapsed_seconds
        times = f" ({speed:,.1f} times real time)" if speed else ""
        return f", in {clock_time(self.elapsed_seconds)}{times}"
