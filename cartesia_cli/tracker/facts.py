"""What a tracker is told and what it reports: the seam between a session's events and everybody who acts on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..protocol import Event
from ..transcript import Segment, Update
from .timeline import SpeechTimeline


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The text of all audio before `position` (seconds) is settled: it is never needed again."""

    position: float


@dataclass(frozen=True, slots=True)
class FinalizeAnswered:
    """The oldest `finalize` that was sent has its answer: all audio before it is acknowledged, to the sample."""


@dataclass(frozen=True, slots=True)
class StartOver:
    """Audio was taken for answered that perhaps was not: another connection has to begin at `resume_position`."""


@dataclass(frozen=True, slots=True)
class UtteranceTimes:
    """What was observed of an utterance, or of a turn, that is over. None: it was not observed, or not for certain.

    start, stop        positions at which its speech began and stopped, seconds

    The others are times, in seconds of the clock:

    started, stopped   the first sample of its speech was sent, and the last one
    finalized          its `finalize` was sent
    flushed            its `flush_done` came
    first_text         the first of its text came, even if not for good
    last_text          the last of its text came
    eager_end          its `turn.eager_end` came that was not taken back
    ended              its `turn.end` came
    """

    start: float | None = None
    stop: float | None = None
    started: float | None = None
    stopped: float | None = None
    finalized: float | None = None
    flushed: float | None = None
    first_text: float | None = None
    last_text: float | None = None
    eager_end: float | None = None
    ended: float | None = None


Fact = Update | Acknowledged | FinalizeAnswered | StartOver | UtteranceTimes


class Tracker(Protocol):
    """Either tracker. It reads the timeline that the session keeps."""

    timeline: SpeechTimeline

    @property
    def resume_position(self) -> float:
        """Where another connection has to begin if this one is lost now, seconds."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing was said, or asked, that has no answer."""

    @property
    def is_doubtful(self) -> bool:
        """Whether audio was passed over that perhaps was not answered: no session may end like that."""

    def start_over(self) -> None:
        """Let `resume_position` be where everything before it is acknowledged."""

    def finalized(self, now: float) -> None:
        """A `finalize` is sent: all audio that was sent before is to be answered."""

    def advance(self, now: float) -> Iterator[Fact]:
        """More audio was sent, or time went by."""

    def process(self, event: Event, now: float) -> Iterator[Fact]:
        """What an event means."""

    def rewind(self, position: float) -> None:
        """The connection was lost; the next one is sent the audio from `position` on.

        What is open is kept, for the next connection may not get as far.
        """

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        """What is left of `segments`, a transcript of all audio from `resume_position` on, that was not said before."""

    def end(self, *, complete: bool) -> Iterator[Fact]:
        """The session is over: what is open is settled. complete: the server answered all audio that there was."""
