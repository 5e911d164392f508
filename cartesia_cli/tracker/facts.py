"""The interface of a tracker: what a session passes to it, and the facts that it reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..protocol.events import Event
from ..record import Record
from ..transcript import Segment, Update
from .timeline import SpeechTimeline, UtteranceTimes


class Acknowledged(Record):
    """All text of the audio before `position` (seconds) is settled: that audio never has to be sent again."""

    position: float


class FinalizeAnswered(Record):
    """The oldest `finalize` without an answer has been answered: all audio before it is acknowledged, to the sample."""


class StartOver(Record):
    """Audio was skipped that may have no answer: a new connection has to start at `resume_position`."""


Fact = Update | Acknowledged | FinalizeAnswered | StartOver | UtteranceTimes
"""UtteranceTimes are those of an utterance or turn that is over."""


class Tracker(Protocol):
    """Interprets the events of one session. Reads the timeline that the session keeps."""

    timeline: SpeechTimeline

    @property
    def resume_position(self) -> float:
        """Where a new connection has to start if this one is lost now, seconds."""

    @property
    def may_be_idle(self) -> bool:
        """Whether the connection isn't needed while nothing is sent: all speech and every `finalize` has its answer.
        Never where a paused source sends silence instead (`commands.live.interaction.PausableSource`).
        """

    def confirm_end(self) -> bool:
        """Whether the session may end with a connection that ended well. Otherwise audio was skipped that may have no
        answer: `resume_position` is set back to where everything before it is acknowledged.
        """

    def finalize_sent(self, now: float) -> None:
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
