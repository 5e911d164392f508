"""Passes what happens in a session to everybody who keeps track of it, and acts on what the tracker makes of it.

    ledger     what there is to send, until it is acknowledged
    tracker    what was said, and what is acknowledged, on its timeline
    witness    whoever watches
    write      whoever reads

Must never wait, nor know over which connection anything goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..audio.vad import VadEvent
from ..protocol import Close, Command, Connected, Event, Finalize, Unknown
from ..tracker import Acknowledged, Fact, FinalizeAnswered, SpeechTimeline, StartOver, Tracker, UtteranceTimes
from ..transcript import Notice, Partial, Segment, Update
from .interfaces import SessionObserver
from .send_buffer import SendBuffer

Marker = VadEvent | Command
"""What stands between the audio in the send buffer."""


class EventDispatcher:
    """Passes things on.

    speech          whether somebody was heard here
    text            whether somebody was heard there: any text came that is more than blanks
    settled         when text was settled last, or everything was asked for; seconds by `now`
    answered        whether the server has said anything of the audio, on this connection
    starts_over     whether the tracker wants another connection
    """

    def __init__(
        self,
        buffer: SendBuffer[Marker],
        tracker: Tracker,
        timeline: SpeechTimeline,
        *,
        now: Callable[[], float],
        write: Callable[[Update], None],
        observer: SessionObserver,
    ) -> None:
        self._buffer, self._tracker, self._timeline, self._now = buffer, tracker, timeline, now
        self._write, self._observer = write, observer
        self.speech = self.text = self.answered = self.starts_over = False
        self.settled = 0.0

    @property
    def resume_position(self) -> int:
        """Where another connection begins, bytes."""
        return max(self._buffer.position(self._tracker.resume_position), self._buffer.acknowledged)

    @property
    def unanswered(self) -> float:
        """Seconds of audio that may not have had its answer."""
        return self._buffer.seconds(self._buffer.written - self.resume_position)

    def audio_skipped(self, seconds: float) -> None:
        """The source had nothing to send for so long."""
        self._timeline.skip(self._buffer.seconds(self._buffer.written), seconds)
        self._apply(self._tracker.advance(self._now()))
        self._observer.audio_arrived(0)

    @property
    def is_settled(self) -> bool:
        """Whether all audio that there is has been sent, and all that was said in it has its text."""
        return self._buffer.sent == self._buffer.written and self._tracker.is_settled

    def audio_sent(self, frame: bytes) -> None:
        """A frame of the ledger went out."""
        now = self._now()
        self._timeline.advance(self._buffer.seconds(self._buffer.sent), now)
        self._observer.audio_sent(len(frame))
        self._apply(self._tracker.advance(now))

    def marker_reached(self, entry: Marker) -> None:
        """An entry of the ledger is next: everything before it went out."""
        match entry:
            case VadEvent():
                self._observer.vad_event(entry)
                self._vad_event(entry)
            case Finalize():
                self._tracker.finalized(self._now())
                self._observer.finalize_sent()
            case Close():
                self.settled = self._now()

    def dispatch(self, event: Event) -> None:
        """An event came in."""
        self.answered = self.answered or not isinstance(event, Connected | Unknown)
        self._apply(self._tracker.process(event, self._now()))

    def rewind(self, *, is_resumed: bool = False) -> None:
        """The connection was lost: back to what is not answered. is_resumed: it ended while nothing was sent."""
        place, sent = self.resume_position, self._timeline.sent
        at = self._buffer.seconds(place)
        self._report_discarded()
        self._buffer.rewind(place)
        self._tracker.rewind(at)
        self._timeline.rewind(at)
        self._observer.rewound(at)
        self.answered = self.starts_over = False
        if not is_resumed:
            self.notify("reconnected", f"connected again: {max(0.0, sent - at):.1f} s of audio are sent again")

    def check_end(self) -> bool:
        """The connection ended well. Whether that is the end: otherwise another one has to hear some of it again."""
        if self._tracker.is_doubtful:
            self._tracker.start_over()
            return False
        return True

    def replace_rest(self, segments: Iterable[Segment]) -> None:
        """All from `resume_place` on has come by another way."""
        self._report_discarded()
        self._timeline.sent = self._buffer.seconds(self._buffer.written)
        self._emit(self._tracker.replace_rest([*segments]))

    def end(self, *, complete: bool) -> None:
        """Nothing more will come: what is open is settled."""
        self._apply(self._tracker.end(complete=complete))

    def notify(self, event: str, message: str) -> None:
        """Something that happened, for whoever reads."""
        self._write(Notice(self._timeline.elapsed, event, message))

    def _apply(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            match fact:
                case Acknowledged(position):
                    self._buffer.acknowledge(self._buffer.position(position))
                case FinalizeAnswered():
                    self._buffer.acknowledge_first(lambda entry: isinstance(entry, Finalize))
                case StartOver():
                    self.starts_over = True
                case UtteranceTimes():
                    self._observer.utterance_measured(fact)
                case _:
                    self._emit([fact])

    def _emit(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self.text = self.text or (isinstance(update, Partial | Segment) and bool(update.text.strip()))
            if isinstance(update, Segment):
                self.settled = self._now()
            self._write(self._in_session_time(update))

    def _in_session_time(self, update: Update) -> Update:
        """The same, but timed by the session, of which some was skipped."""
        timeline = self._timeline
        if not isinstance(update, Segment):
            return replace(update, at=timeline.session_time(update.at))
        start, end = timeline.session_time(update.start), timeline.session_time(update.end, before_gap=True)
        words = tuple(
            replace(
                word,
                start=None if word.start is None else timeline.session_time(word.start),
                end=None if word.end is None else timeline.session_time(word.end, before_gap=True),
            )
            for word in update.words
        )
        return replace(update, start=start, end=max(start, end), words=words)

    def _report_discarded(self) -> None:
        """What was heard of audio that was given up will not come again."""
        if self._buffer.dropped:
            self.end(complete=False)

    def _vad_event(self, mark: VadEvent) -> None:
        match mark.kind:
            case "onset" | "resume":
                self.speech = self.speech or mark.kind == "onset"
                self._timeline.onset(mark.speech)
            case "pause" | "end":
                self._timeline.pause(mark.speech, is_cut=mark.capped)
