"""The tracker of the manual endpoint: deltas are joined verbatim and settled at `flush_done`.

The texts of the segments, joined, are exactly the final text that the server sent. Text is never stripped,
padded or dropped, whatever the order of events (API docs: stt/common-pitfalls).

    acknowledged   `flush_done`, the answer to `finalize`, acknowledges all audio before that `finalize`, to the sample;
                   if there was speech but no text yet, only once the text comes after it
    silence        needs no answer after MAX_RESPONSE_SECONDS

An old example in the documentation has `flush_done` before the text that belongs to it. Such text is settled at once if
there was no speech since, and no other answer is due. Where this can't be known, text is settled together with what is
said next, and its times are estimated.
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
from ..transcript import Partial, Segment, Timing, blank_between, bounds, ranked, shifted_word
from .facts import Acknowledged, Fact, FinalizeAnswered
from .repeats import repeated, text_after, words_of
from .timeline import MAX_RESPONSE_SECONDS, SpeechTimeline, UtteranceTimes

LATE_TEXT_SECONDS = MAX_RESPONSE_SECONDS
"""Seconds within which text may belong to a `flush_done` that came before it."""


@dataclass(slots=True)
class PendingText:
    """Final text that is not settled yet.

    words         with times, as the server sent them; None once some text came without: the others would seem to be all
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


class LateFlush(NamedTuple):
    """A `flush_done` that may have come before its text.

    at             when it came
    span, timing   times of text that comes after it; None: its text came before it
    awaited        position of the `finalize` that it answers, if that is acknowledged only once its text has come
    """

    at: float
    span: tuple[float, float] | None
    timing: Timing
    awaited: float | None = None


class ManualTracker:
    """Tracks a session of the manual endpoint (see `Tracker`)."""

    def __init__(self, timeline: SpeechTimeline) -> None:
        self.timeline = timeline
        self._open = PendingText()
        self._lost = PendingText()  # text of a lost connection, until its replacement is as long
        self._settled_text, self._is_first = "", True  # the last text; whether none has settled on this connection
        self._due: deque[SentFinalize] = deque()
        self._has_text = False  # final text came since the last answer
        self._has_new_text = False  # text came since the connection was lost
        self._flush: LateFlush | None = None
        self._acknowledged = self._connection_start = 0.0

    @property
    def resume_position(self) -> float:
        return self._acknowledged

    @property
    def is_all_answered(self) -> bool:
        awaits_text = self._flush is not None and self._flush.awaited is not None
        return not self._due and not self._open.text and not awaits_text and self.timeline.all_speech_assigned

    def confirm_end(self) -> bool:
        return True  # acknowledged positions are exact here

    def finalized(self, now: float) -> None:
        timeline = self.timeline
        spoke, times = not timeline.all_speech_assigned, timeline.speech._replace(finalized=now)
        self._due.append(SentFinalize(timeline.sent, timeline.end_utterance(), spoke, times))

    def advance(self, now: float) -> Iterator[Fact]:
        if self._flush is not None and now - self._flush.at > LATE_TEXT_SECONDS:
            yield from self._acknowledge_awaited()
            self._flush = None
        if self.is_all_answered:
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
                yield from self._flush_answered(now)
            case Done():
                yield from self._end(complete=True, is_done=True)

    def rewind(self, position: float, *, skips_audio: bool = False) -> None:
        if self._open.length >= self._lost.length:
            self._lost = replace(self._open, first_at=None, last_at=None)
        self._open, self._connection_start, self._flush, self._has_text = PendingText(), position, None, False
        self._has_new_text, self._is_first = False, True
        self._due.clear()

    def replace_rest(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        self._open, self._lost, self._flush = PendingText(), PendingText(), None
        self._due.clear()
        yield from segments

    def settle_open(self, *, complete: bool) -> Iterator[Fact]:
        yield from self._end(complete=complete, is_done=False)

    def _end(self, *, complete: bool, is_done: bool) -> Iterator[Fact]:
        """is_done: the server said that nothing more will come, so the last text is known to be the last."""
        if not (complete and self._has_new_text) and self._open.length < self._lost.length:
            self._open = self._lost
        self._lost = PendingText()
        said, speech = self._open, self.timeline.speech
        if said.text:
            span = self._due[0].span if self._due else self.timeline.end_utterance()
            yield from self._settle(span, whole=True)
        if not self._due and said.first_at is not None:
            yield from self._report(speech, said)
        for number, sent in enumerate(self._due):
            if sent.spoke or (number == 0 and said.first_at is not None):
                yield from self._report(sent.times, said if number == 0 else None, is_last=is_done)
        self._due = deque(sent._replace(times=None) for sent in self._due)
        self._open.first_at = None

    def _flush_answered(self, now: float) -> Iterator[Fact]:
        yield from self._acknowledge_awaited()
        sent = self._due.popleft() if self._due else None
        if sent is None:
            times: UtteranceTimes | None = self.timeline.speech
            span = self.timeline.end_utterance()
        else:
            times, span = sent.times and sent.times._replace(flushed=now), sent.span
        said, settled = self._open, [*self._settle(span)]
        awaits_text = sent is not None and sent.spoke and not self._has_text
        awaited = sent.position if sent is not None and awaits_text else None
        self._flush = LateFlush(now, None, "estimated", awaited) if settled else LateFlush(now, span, "audio", awaited)
        self._has_text = False
        yield from settled
        if settled:
            yield from self._report(times, said)
        else:
            first, said.first_at = said.first_at, None
            if sent is not None and (sent.spoke or first is not None):
                yield from self._report(times and times._replace(first_text=first))
        if sent is not None and not awaits_text:
            yield self._acknowledge(sent.position, FinalizeAnswered())

    def _text_grew(self, now: float) -> Iterator[Fact]:
        is_blank = not self._open.text.strip()
        self._has_new_text = self._has_new_text or not is_blank
        flush = self._flush
        if flush is not None and now - flush.at <= LATE_TEXT_SECONDS:
            is_late = self.timeline.all_speech_assigned and not self._due
            if is_late and flush.span is not None:
                self._open.timing = flush.timing
                for segment in self._settle(flush.span):
                    yield from self._acknowledge_awaited()
                    self._flush = LateFlush(flush.at, (flush.span[1],) * 2, "estimated")
                    yield segment
                return
            if is_late or flush.timing == "audio":
                self._open.timing = "estimated"
        self._has_text = self._has_text or not is_blank
        yield self._partial(self._open.text)

    def _settle(self, span: tuple[float, float], *, whole: bool = False) -> Iterator[Segment]:
        """Settle the open text, as a segment. Spaces alone, and half a character at the end, stay open until more text
        comes. whole: no more text will come.
        """
        said = self._open
        if not said.text or (said.text.isspace() and not whole):
            return
        timing, timed = said.timing, [] if has_words(said.untimed) else said.words or []
        if (times := bounds(timed)) is not None:
            span, timing = times, "server"
        half = said.text[-1:] if ends_within_character(said.text) and not whole else ""
        self._open = PendingText(half)
        if text := said.text.removesuffix(half):
            self._forget_lost(text)
            if self._is_first:  # of its connection
                text = blank_between(self._settled_text, text) + text
            self._settled_text, self._is_first = text, False
            words = covering_words(text, timed) if timed else None
            yield Segment(*span, text, timing, words or (), said.language, languages=said.languages)

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
        if self._flush is not None and self._flush.awaited is not None:
            position, self._flush = self._flush.awaited, self._flush._replace(awaited=None)
            yield self._acknowledge(position, FinalizeAnswered())

    def _report(
        self, times: UtteranceTimes | None, said: PendingText | None = None, *, is_last: bool = True
    ) -> Iterator[UtteranceTimes]:
        """Report an utterance that is over. said: its text, if that is known to belong to it."""
        if times is None:
            return
        if said is not None and said.timing == "audio":
            first = said.first_at if times.first_text is None else times.first_text
            times = times._replace(first_text=first, last_text=said.last_at if is_last else None)
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
        """The text so far, without half a character at the end."""
        text = join_surrogates(self._lost.text if len(text) < len(self._lost.text) else text)
        whole = text[:-1] if ends_within_character(text) else text
        return Partial(self.timeline.sent, whole, self._open.languages)
