"""The interface of a tracker: what a session passes to it, and the facts that it reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..protocol.events import Event
from ..transcript import Segment, Update
from .timeline import SpeechTimeline


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """All text of the audio before `position` (seconds) is settled: that audio never has to be sent again."""

    position: float


@dataclass(frozen=True, slots=True)
class FinalizeAnswered:
    """The oldest `finalize` without an answer has been answered: all audio before it is acknowledged, to the sample."""


@dataclass(frozen=True, slots=True)
class StartOver:
    """Audio was skipped that may have no answer: a new connection has to start at `resume_position`."""


@dataclass(frozen=True, slots=True)
class UtteranceTimes:
    """What was observed of an utterance or turn that is over. None: not observed, or uncertain.

    start, stop        positions at which its speech began and stopped, seconds

    The others are times, in seconds of the clock:

    started, stopped   the first sample of its speech was sent, and the last one
    finalized          its `finalize` was sent
    flushed            its `flush_done` came
    first_text         its first text came, final or not
    last_text          its last text came
    eager_end          its `turn.eager_end` came, unless a `turn.resume` followed
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
    """Interprets the events of one session. Reads the timeline that the session keeps."""

    timeline: SpeechTimeline

    @property
    def resume_position(self) -> float:
        """Where a new connection has to start if this one is lost now, seconds."""

    @property
    def is_all_answered(self) -> bool:
        """Whether all speech and every `finalize` has its answer."""

    def confirm_end(self) -> bool:
        """Whether the session may end with a connection that ended well. Otherwise audio was skipped that may have no
        answer: `resume_position` is set back to where everything before it is acknowledged.
        """

    def finalized(self, now: float) -> None:
        """A `finalize` is being sent: it asks for the text of all audio sent before."""

    def advance(self, now: float) -> Iterator[Fact]:
        """More audio was sent, or time passed."""

    def process(self, event: Event, now: float) -> Iterator[Fact]:
        """Interpret an event."""

    def rewind(self, position: float, *, skips_audio: bool = False) -> None:
        """The connection was lost; the next one is sent the audio from `position` on.

        Open text is kept, since the next connection may not get as far. skips_audio: it could be sent audio before
        `position` that isn't acknowledged.
        """

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        """The part of `segments`, a transcript of all audio from `resume_position` on, that has not settled before."""

    def settle_open(self, *, complete: bool) -> Iterator[Fact]:
        """Settle what is open: its audio won't be answered any more. complete: the server has answered all audio."""
