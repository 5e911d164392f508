"""The tracker of the manual endpoint: deltas are joined verbatim and settled at `flush_done`.

On one connection, the texts of the segments, joined, are exactly the final text that the server sent: it is never
stripped, padded or dropped, whatever the order of events (API docs: stt/common-pitfalls). After a reconnect, a space
is added where the texts of two connections would run together; and what the lost connection had said is kept until
the new one has said as much (see `_forget_lost` and `_end`).

    acknowledged   `flush_done`, the answer to `finalize`, acknowledges all audio before that `finalize`, to the sample;
                   if there was speech but no text yet, only once the text comes after it
    silence        needs no answer after MAX_RESPONSE_SECONDS

An old example in the documentation has `flush_done` before the text that belongs to it. So what becomes of final text
depends on the last `flush_done`, and on whether there was speech since, or another answer is due:

    last flush_done                          text without other speech            text after other speech
    its text hasn't come                     settles at once                      is open, with estimated times
    its text came after it                   settles at once, estimated           is open
    its text came before it                  is open, with estimated times        is open
    none for LATE_TEXT_SECONDS               is open                              is open

Open text settles at the next `flush_done`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..alignment import covering_words, has_words, is_covered_by
from ..protocol.events import Delta, Done, Event, FlushDone
from ..protocol.json_fields import DetectedLanguage, Word
from ..text_encoding import ends_within_character, join_surrogates
from ..transcript import Partial, Segment, Timing, blank_between, ranked, shifted_word, time_range
from .facts import Acknowledged, Fact, FinalizeAnswered
from .repeats import repeated, text_after, words_of
from .timeline import MAX_RESPONSE_SECONDS, SpeechTimeline, UtteranceTimes

LATE_TEXT_SECONDS = MAX_RESPONSE_SECONDS
"""Seconds within which text may belong to a `flush_done` that came before it."""


@dataclass(slots=True)
class PendingText:
    """Final text that is not settled yet.

    words         with their times in the session; None once words are known to be missing: the others would seem to be
                  all
    untimed       text at the end whose words have not come yet: they may come after it
    timing        of the segment, if its times aren't those of the words
    language      the last one that the server named
    languages     the last ones that it named, the most certain first
    sent_at_end   position of the sender when the last of it came, seconds
    first_at      when the first of it came, previews included; None: not yet, or on a lost connection
    last_at       when the last of it came
    """

    text: str = ""
    words: list[Word] | None = field(default_factory=list)
    untimed: str = ""
    timing: Timing = "audio"
    language: str | None = None
    sent_at_end: float = 0.0
    first_at: float | None = None
    last_at: float | None = None
    languages: tuple[DetectedLanguage, ...] = ()

    @property
    def length(self) -> int:
        """Number of words."""
        return len(words_of(self.text))

    def add(self, delta: Delta, origin: float, sent: float) -> None:
        """Append text. origin: position from which the times of its words count."""
        self.text = join_surrogates(self.text + delta.text)
        self.sent_at_end = sent
        self.languages = ranked(delta.languages or ()) or self.languages
        self.language = delta.language or (self.languages[0].language if self.languages else self.language)
        text, self.untimed = self.untimed + delta.text, ""
        if not delta.words:
            self.untimed = text
        elif text.strip() and self.words is not None:
            whole = text == delta.text or is_covered_by(text, [word.word for word in delta.words])
            self.words = self.words + [shifted_word(word, origin) for word in delta.words] if whole else None

    def drop_words(self, count: int) -> PendingText:
        """The same without its first `count` words."""
        rest = text_after(self.text, count)
        return PendingText(
            rest, None, "", "estimated", self.language, sent_at_end=self.sent_at_end, languages=self.languages
        )


class SentFinalize(NamedTuple):
    """A `finalize` without an answer yet.

    position   in the audio, seconds
    span       of the speech before it
    spoke      whether there was any
    times      what was observed of that utterance; None: already reported
    """

    position: float
    span: tuple[float, float]
    spoke: bool
    times: UtteranceTimes | None


class LastFlush(NamedTuple):
    """The last `flush_done`, of which text may still come.

    at          when it came
    late_span   of text that comes after it; None: its text came before it
    has_text    whether text of it has come
    awaited     position of the `finalize` that it answers, if that is acknowledged only once its text has come
    """

    at: float
    late_span: tuple[float, float] | None
    has_text: bool
    awaited: float | None = None


class ManualTracker:
    """Tracks a session of the manual endpoint (see `Tracker`)."""

    def __init__(self, timeline: SpeechTimeline) -> None:
        self.timeline = timeline
        self._open = PendingText()
        self._lost = PendingText()  # what a lost connection said, without what has settled since
        self._settled_text, self._is_first = "", True  # the last text; whether none has settled on this connection
        self._unanswered: deque[SentFinalize] = deque()
        self._has_text = False  # final text came since the last answer
        self._has_new_text = False  # text came since the connection was lost
        self._last_flush: LastFlush | None = None
        self._acknowledged = self._connection_start = 0.0

    @property
    def resume_position(self) -> float:
        return self._acknowledged

    @property
    def may_be_idle(self) -> bool:
        awaits_text = self._last_flush is not None and self._last_flush.awaited is not None
        return not self._unanswered and not self._open.text and not awaits_text and self.timeline.all_speech_assigned

    def confirm_end(self) -> bool:
        return True  # acknowledged positions are exact here

    def finalize_sent(self, now: float) -> None:
        timeline = self.timeline
        spoke, times = not timeline.all_speech_assigned, timeline.speech._replace(finalized=now)
        self._unanswered.append(SentFinalize(timeline.sent, timeline.end_utterance(), spoke, times))

    def advance(self, now: float) -> Iterator[Fact]:
        if self._last_flush is not None and now - self._last_flush.at > LATE_TEXT_SECONDS:
            yield from self._acknowledge_awaited()
            self._last_flush = None
        if self.may_be_idle:
            position = self.timeline.position_at(now - MAX_RESPONSE_SECONDS)
            if position > self._acknowledged:
                yield self._acknowledge(position, Acknowledged(position))

    def process(self, event: Event, now: float) -> Iterator[Fact]:
        match event:
            case Delta(is_final=True):
                self._open.add(event, self._connection_start, self.timeline.sent)
                self._note_time(event, now)
                if event.text:
                    yield from self._text_grew(now)
            case Delta():
                self._note_time(event, now)
                yield self._partial(self._open.text + event.text)
            case FlushDone():
                yield from self._process_flush_done(now)
            case Done():
                yield from self._end(complete=True, is_done=True)

    def rewind(self, position: float, *, skips_audio: bool = False) -> None:
        if self._open.length >= self._lost.length:
            self._lost = replace(self._open, first_at=None, last_at=None)
        self._open, self._connection_start, self._last_flush, self._has_text = PendingText(), position, None, False
        self._has_new_text, self._is_first = False, True
        self._unanswered.clear()

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        self._open, self._lost, self._last_flush = PendingText(), PendingText(), None
        self._unanswered.clear()
        yield from segments

    def settle_open(self, *, complete: bool) -> Iterator[Fact]:
        yield from self._end(complete=complete, is_done=False)

    def _end(self, *, complete: bool, is_done: bool) -> Iterator[Fact]:
        """Settle the open text, or what a lost connection said if that is longer, and report all utterances.

        complete   the server has answered all audio: any text of this connection then replaces that of a lost one
        is_done    it said that nothing more will come, so the last text is known to be the last
        """
        if not (complete and self._has_new_text) and self._open.length < self._lost.length:
            self._open = self._lost
        self._lost = PendingText()
        pending, speech = self._open, self.timeline.speech
        if pending.text:
            span = self._unanswered[0].span if self._unanswered else self.timeline.end_utterance()
            yield from self._settle(span, is_last=True)
        if not self._unanswered and pending.first_at is not None:
            yield from self._report(speech, pending)
        for number, sent in enumerate(self._unanswered):
            if sent.spoke or (number == 0 and pending.first_at is not None):
                yield from self._report(sent.times, pending if number == 0 else None, is_last=is_done)
        self._unanswered = deque(sent._replace(times=None) for sent in self._unanswered)
        self._open.first_at = None

    def _process_flush_done(self, now: float) -> Iterator[Fact]:
        yield from self._acknowledge_awaited()
        sent = self._unanswered.popleft() if self._unanswered else None
        if sent is None:
            times: UtteranceTimes | None = self.timeline.speech
            span = self.timeline.end_utterance()
        else:
            times, span = sent.times and sent.times._replace(flushed=now), sent.span
        pending, settled = self._open, [*self._settle(span)]
        awaits_text = sent is not None and sent.spoke and not self._has_text
        awaited = sent.position if sent is not None and awaits_text else None
        self._last_flush = LastFlush(now, None if settled else span, bool(settled), awaited)
        self._has_text = False
        yield from settled
        if settled:
            yield from self._report(times, pending)
        else:
            first, pending.first_at = pending.first_at, None
            if sent is not None and (sent.spoke or first is not None):
                yield from self._report(times and times._replace(first_text=first))
        if sent is not None and not awaits_text:
            yield self._acknowledge(sent.position, FinalizeAnswered())

    def _text_grew(self, now: float) -> Iterator[Fact]:
        is_blank = not self._open.text.strip()
        self._has_new_text = self._has_new_text or not is_blank
        flush = self._last_flush
        if flush is not None and now - flush.at <= LATE_TEXT_SECONDS:
            is_late = self.timeline.all_speech_assigned and not self._unanswered
            if is_late and flush.late_span is not None:
                self._open.timing = "estimated" if flush.has_text else "audio"
                for segment in self._settle(flush.late_span):
                    yield from self._acknowledge_awaited()
                    self._last_flush = LastFlush(flush.at, (flush.late_span[1],) * 2, has_text=True)
                    yield segment
                return
            if is_late or not flush.has_text:
                self._open.timing = "estimated"
        self._has_text = self._has_text or not is_blank
        yield self._partial(self._open.text)

    def _settle(self, span: tuple[float, float], *, is_last: bool = False) -> Iterator[Segment]:
        """Settle the open text, as a segment. Spaces alone, and an unpaired surrogate at the end, stay open until more
        text comes. is_last: no more text will come.
        """
        pending = self._open
        if not pending.text or (pending.text.isspace() and not is_last):
            return
        timing, timed = pending.timing, [] if has_words(pending.untimed) else pending.words or []
        if (times := time_range(timed)) is not None:
            span, timing = times, "server"
        unpaired = pending.text[-1:] if ends_within_character(pending.text) and not is_last else ""
        self._open = PendingText(unpaired)
        if text := pending.text.removesuffix(unpaired):
            self._forget_lost(text)
            if self._is_first:  # of its connection
                text = blank_between(self._settled_text, text) + text
            self._settled_text, self._is_first = text, False
            words = covering_words(text, timed) if timed else None
            yield Segment(*span, text, timing, words or (), pending.language, languages=pending.languages)

    def _forget_lost(self, text: str) -> None:
        """`text` has settled: it replaces what a lost connection said of the same audio."""
        if not self._lost.text:
            return
        repeat = repeated(words_of(text), words_of(self._lost.text))
        if repeat is not None:
            self._lost = self._lost.drop_words(repeat.length)
        elif self._lost.sent_at_end <= self.timeline.sent:
            self._lost = PendingText()

    def _acknowledge_awaited(self) -> Iterator[Fact]:
        """Acknowledge a `flush_done` whose text has come, or won't come any more."""
        if self._last_flush is not None and self._last_flush.awaited is not None:
            position, self._last_flush = self._last_flush.awaited, self._last_flush._replace(awaited=None)
            yield self._acknowledge(position, FinalizeAnswered())

    def _report(
        self, times: UtteranceTimes | None, pending: PendingText | None = None, *, is_last: bool = True
    ) -> Iterator[UtteranceTimes]:
        """Report an utterance that is over. pending: its text, if that is known to belong to it."""
        if times is None:
            return
        if pending is not None and pending.timing == "audio":
            first = pending.first_at if times.first_text is None else times.first_text
            times = times._replace(first_text=first, last_text=pending.last_at if is_last else None)
        yield times

    def _note_time(self, delta: Delta, now: float) -> None:
        if delta.text.strip():
            self._open.first_at = now if self._open.first_at is None else self._open.first_at
            self._open.last_at = now if delta.is_final else self._open.last_at

    def _acknowledge(self, position: float, fact: Fact) -> Fact:
        """Take note that the audio before `position` is acknowledged; returns the fact that says so."""
        self._acknowledged = max(self._acknowledged, position)
        self.timeline.release(self._acknowledged)
        return fact

    def _partial(self, text: str) -> Partial:
        """The text so far, without an unpaired surrogate at the end."""
        text = join_surrogates(self._lost.text if len(text) < len(self._lost.text) else text)
        paired = text[:-1] if ends_within_character(text) else text
        return Partial(self.timeline.sent, paired, self._open.languages)
