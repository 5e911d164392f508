"""What can be observed of an utterance in a live session, and between which moments each figure lies."""

from __future__ import annotations

from dataclasses import dataclass

FIGURES = {
    "speech_to_finalize": ("ceased", "finalized"),
    "finalize_to_flush_done": ("finalized", "flushed"),
    "finalize_to_text": ("finalized", "last"),
    "onset_to_text": ("began", "first"),
    "speech_to_turn_end": ("ceased", "ended"),
    "eager_lead": ("eager", "ended"),
}
"""From when to when in an utterance each figure is."""

WAITS = ("key_to_finalize", "hangover_to_finalize")
"""Figures that are observed in one piece: from a key, or from the sound that ended a hangover, to the `finalize`."""


@dataclass(slots=True)
class Stretch:
    """Speech between two silences. None: not known, or not yet.

    start, stop      samples
    began, ceased    when those were sent, seconds of the clock
    opened, closed   samples that had been sent when this was noticed
    capped           it was cut off, not over
    """

    start: int | None
    opened: int
    began: float | None = None
    stop: int | None = None
    ceased: float | None = None
    closed: int = -1
    capped: bool = False


@dataclass(slots=True)
class Utterance:
    """What was observed of one utterance or turn. start, stop: samples; the others: seconds of the clock.

    spoken   the endpointer heard it
    text     the server did
    """

    start: int | None = None
    began: float | None = None
    stop: int | None = None
    ceased: float | None = None
    finalized: float | None = None
    flushed: float | None = None
    first: float | None = None
    last: float | None = None
    eager: float | None = None
    ended: float | None = None
    spoken: bool = False
    text: bool = False

    def figures(self) -> dict[str, float]:
        """Seconds, of those that were observed at both ends."""
        heard = self.spoken or self.text
        spans = ((name, getattr(self, since), getattr(self, to)) for name, (since, to) in FIGURES.items())
        return {name: to - since for name, since, to in spans if heard and since is not None and to is not None}
