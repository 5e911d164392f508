"""Passes what happens in a session to its tracker, and distributes the tracker's facts.

    send loop ── audio, markers ──┐                    ┌─► send buffer   acknowledged audio
                                  ├─► tracker ─ facts ─┼─► observer      measured utterances
    receive loop ── events ───────┘                    └─► write         partials, segments and notices

Never waits, and doesn't know which connection is in use. Errors of the server and the end of a connection don't get
here: `client.realtime` raises them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..audio.vad import VadEvent
from ..protocol.events import Connected, Event, Unknown
from ..protocol.realtime import Close, Finalize
from ..tracker import Acknowledged, Fact, FinalizeAnswered, StartOver, Tracker, UtteranceTimes
from ..transcript import Notice, Partial, Segment, Update
from .interfaces import SessionObserver
from .send_buffer import Marker, SendBuffer


class EventDispatcher:
    """Applies events to the tracker, and the tracker's facts to the send buffer, the observer and the writer.

    now                  a clock, seconds
    write                receives every update, timed from the start of the session
    has_speech           whether the endpointer heard speech
    has_text             whether the server sent any text, white space aside
    has_received_event   whether an event came over this connection, other than the first one and unknown ones
    settled_at           when a segment was settled last, or `close` was about to be sent

    needs_new_connection   whether the tracker wants audio to be sent again, over another connection
    """

    def __init__(
        self,
        buffer: SendBuffer,
        tracker: Tracker,
        *,
        now: Callable[[], float],
        write: Callable[[Update], None],
        observer: SessionObserver,
    ) -> None:
        self._buffer, self._tracker, self._timeline, self._now = buffer, tracker, tracker.timeline, now
        self._write, self._observer = write, observer
        self.has_speech = self.has_text = self.has_received_event = self.needs_new_connection = False
        self.settled_at = 0.0

    @property
    def resume_offset(self) -> int:
        """Where a new connection has to start, bytes. The tracker doesn't know of audio that the buffer has dropped."""
        return max(self._buffer.offset(self._tracker.resume_position), self._buffer.acknowledged)

    @property
    def unanswered_seconds(self) -> float:
        """Length of the audio to which the server might not have answered."""
        return self._buffer.seconds(self._buffer.written - self.resume_offset)

    @property
    def may_be_idle(self) -> bool:
        """Whether no connection is needed while nothing is sent: all audio so far has been sent, and all speech in it
        has its text.
        """
        return self._buffer.sent == self._buffer.written and self._tracker.may_be_idle

    def audio_skipped(self, seconds: float) -> None:
        """The source was paused, and nothing was sent, for this many seconds."""
        self._timeline.skip(self._buffer.seconds(self._buffer.written), seconds)
        self._apply(self._tracker.advance(self._now()))
        self._observer.audio_arrived(0)

    def audio_sent(self, frame: bytes) -> None:
        """A frame from the send buffer was sent."""
        now = self._now()
        self._timeline.advance(self._buffer.seconds(self._buffer.sent), now)
        self._observer.audio_sent(len(frame))
        self._apply(self._tracker.advance(now))

    def marker_reached(self, marker: Marker) -> None:
        """A marker in the send buffer was reached: all audio before a command has been sent, and the command is about
        to be; of the audio before a VadEvent, up to a frame may still be missing.
        """
        match marker:
            case VadEvent():
                self._observer.vad_event(marker)
                self.has_speech = self.has_speech or marker.kind == "onset"
                if marker.kind in ("onset", "resume"):
                    self._timeline.speech_started(marker.speech)
                else:
                    self._timeline.speech_stopped(marker.speech, is_cut=marker.capped)
            case Finalize():
                self._tracker.finalize_sent(self._now())
                self._observer.finalize_sent()
            case Close():
                self.settled_at = self._now()

    def event_received(self, event: Event) -> None:
        """An event was received."""
        self.has_received_event = self.has_received_event or not isinstance(event, Connected | Unknown)
        self._apply(self._tracker.process(event, self._now()))

    def rewind(self, *, was_idle: bool = False) -> None:
        """A new connection replaces a lost one: send again what may have no answer.

        was_idle   the lost one was idle when it ended, so that there is nothing to report
        """
        resume, sent = self.resume_offset, self._timeline.sent
        position = self._buffer.seconds(resume)
        self._settle_dropped()
        self._buffer.rewind(resume)
        self._tracker.rewind(position, skips_audio=resume > self._buffer.acknowledged)
        self._timeline.rewind(position)
        self._observer.rewound(position)
        self.has_received_event = self.needs_new_connection = False
        if not was_idle:
            self.notify("reconnected", f"reconnected: {max(0.0, sent - position):.1f} s of audio are sent again")

    def confirm_end(self) -> bool:
        """Whether the session may end now that a connection has ended well. Otherwise `resume_offset` has changed: a
        new connection has to start there, because audio after it was skipped and may have no answer.
        """
        return self._tracker.confirm_end()

    def replace_rest(self, segments: Iterable[Segment]) -> None:
        """Use `segments` as the transcript of all audio from `resume_offset` on: a batch request has transcribed it."""
        self._settle_dropped()
        self._timeline.sent = self._buffer.seconds(self._buffer.written)
        self._publish(self._tracker.replace_rest([*segments]))

    def settle_open(self, *, complete: bool) -> None:
        """Settle what is open: its audio won't be answered any more. complete: the server has answered everything."""
        self._apply(self._tracker.settle_open(complete=complete))

    def notify(self, event: str, message: str) -> None:
        """Write a notice."""
        self._write(Notice(self._timeline.elapsed, event, message))

    def _apply(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            match fact:
                case Acknowledged(position=position):
                    self._buffer.acknowledge(self._buffer.offset(position))
                case FinalizeAnswered():
                    self._buffer.acknowledge_finalize()
                case StartOver():
                    self.needs_new_connection = True
                case UtteranceTimes():
                    self._observer.utterance_measured(fact)
                case Partial() | Segment() | Notice():
                    self._publish([fact])

    def _publish(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self.has_text = self.has_text or (isinstance(update, Partial | Segment) and bool(update.text.strip()))
            if isinstance(update, Segment):
                self.settled_at = self._now()
            self._write(self._in_session_time(update))

    def _in_session_time(self, update: Update) -> Update:
        """The update with times that include what was skipped."""
        timeline = self._timeline
        if not isinstance(update, Segment):
            return update._replace(at=timeline.session_time(update.at))
        start, end = timeline.session_time(update.start), timeline.session_time(update.end, before_gap=True)
        words = tuple(
            word._replace(
                start=None if word.start is None else round(timeline.session_time(word.start), 3),
                end=None if word.end is None else round(timeline.session_time(word.end, before_gap=True), 3),
            )
            for word in update.words
        )
        return update._replace(start=start, end=max(start, end), words=words)

    def _settle_dropped(self) -> None:
        """Settle the text of audio that was dropped: that audio can't be sent again."""
        if self._buffer.dropped:
            self.settle_open(complete=False)
