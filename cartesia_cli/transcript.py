"""Defines transcripts: segments, words, live updates, and the JSON document that users get.

Must never change the text of a server or a file, with one exception: lone surrogates, which UTF-8 can't encode and
other programs refuse to read, become U+FFFD. Where a document has only parts of a text, `join_texts` adds the spaces
between them. Segments are slices of the text, so that all of them joined are the text, character for character. Every
time says where it comes from; one that the server sent but that can't be true is estimated like a missing one.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import le
from typing import Any, Literal, NamedTuple

from .alignment import UNSPACED_CHARACTER, covering_words, find_word_ends
from .protocol.batch import BatchResponse
from .protocol.json_fields import DetectedLanguage, Word
from .text_encoding import ends_within_character, join_surrogates, replace_lone_surrogates
from .timestamps import (
    MAX_SECONDS,
    Span,
    far_limit,
    interpolate_spans,
    known_duration,
    plausible_spans,
    plausible_spans_by_speaker,
    rising_spans,
)

Timing = Literal["server", "audio", "estimated"]

PAUSE_SECONDS = 1.0
"""Silence between two words from which a segment ends even without punctuation."""

TEXT_WORD = re.compile(r"\s*\S+")
"""A word in a text, with the spaces before it."""

SENTENCE_ENDS = tuple(".?!…。？！")
CLAUSE_ENDS = tuple(",;:–—-،؛、，；：")
OPENING_MARKS = "«„“‘‹([{¿¡「『（【〈《"
CLOSING_MARKS = "\"'”’»)]」』"
PUNCTUATION = "".join((*SENTENCE_ENDS, *CLAUSE_ENDS)) + CLOSING_MARKS


class Segment(NamedTuple):
    """A part of a transcript, usually a sentence.

    start, end   seconds from the start of the audio
    text         a verbatim slice of the transcript
    timing       server: the API said so; audio: from the audio's own clock; estimated: interpolated
    words        those that the server sent with it, all or none; JSON documents have them beside the segments
    language     as the server detected it
    speaker      who said it, if known
    languages    those that the server heard, the most certain first
    """

    start: float
    end: float
    text: str
    timing: Timing
    words: tuple[Word, ...] = ()
    language: str | None = None
    speaker: str | None = None
    languages: tuple[DetectedLanguage, ...] = ()

    def shifted(self, by: float) -> "Segment":
        """The same, `by` seconds later."""
        words = tuple(shifted_word(word, by) for word in self.words)
        return self._replace(start=self.start + by, end=self.end + by, words=words)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "timing": self.timing,
        }
        if self.language is not None:
            document["language"] = self.language
        if self.languages:
            document["languages"] = [language.to_dict() for language in self.languages]
        return document if self.speaker is None else document | {"speaker": self.speaker}


class Partial(NamedTuple):
    """Text of a live session that may still change: each partial replaces the one before it.

    at          seconds of audio sent when it came
    text        the whole open segment so far, verbatim
    languages   those that the server heard so far
    """

    at: float
    text: str
    languages: tuple[DetectedLanguage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = {"at": round(self.at, 3), "text": self.text}
        if self.languages:
            document["languages"] = [language.to_dict() for language in self.languages]
        return document


class Notice(NamedTuple):
    """An event of a live session other than text, such as a mark or a lost connection.

    at        seconds of audio sent when it came
    event     a name for programs: docs/live.md lists them
    message   a sentence for people
    """

    at: float
    event: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"at": round(self.at, 3), "event": self.event, "message": self.message}


def ranked(languages: Sequence[DetectedLanguage]) -> tuple[DetectedLanguage, ...]:
    """Languages, the most certain first."""
    return tuple(sorted(languages, key=lambda language: -(language.confidence or 0.0)))


PERSISTED_NOTICES = frozenset({"mark", "connection_lost", "reconnected"})
"""Events that are saved with the transcript."""

Update = Partial | Segment | Notice


class WordTimes(NamedTuple):
    """When a word is said.

    start, end   seconds: as the server sent them, or estimated to whole milliseconds
    estimated    whether they are estimates
    """

    start: float
    end: float
    estimated: bool


class TextSpan(NamedTuple):
    """Where a word or a segment stands in the text of its transcript, when it is said, and by whom.

    text_start, text_end   offset of its first character, and of the one after its last
    start, end             seconds as they were given, or None
    """

    text_start: int
    text_end: int
    start: float | None
    end: float | None
    speaker: str | None


class Transcript(NamedTuple):
    """The text of one recording. If it has segments, these joined are the text; if it has words, all of them are in the
    text, in order. Its duration and all times in it are such as a recording can have.

    source     the input as the user named it; "-" is stdin
    model      the one that was requested
    duration   seconds of audio, or None if neither the server nor the file says
    words      None if the server sent none; see `drop_implausible_times`
    notices    the PERSISTED_NOTICES, in order
    """

    source: str
    model: str
    text: str
    language: str | None = None
    duration: float | None = None
    request_id: str | None = None
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] | None = None
    notices: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: optional members are omitted, never null."""
        facts = {
            "source": self.source,
            "model": self.model,
            "language": self.language,
            "duration": self.duration,
            "request_id": self.request_id,
            "text": self.text,
            "segments": [segment.to_dict() for segment in self.segments],
            "words": None if self.words is None else self._word_dicts(),
            "notices": [notice.to_dict() for notice in self.notices] or None,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def word_times(self) -> list[WordTimes]:
        """When each of `words` is said. Times that are missing or can't be true are estimated."""
        words = self.words or ()
        fit = plausible_part_spans(words, self.duration)
        guesses = fit
        if not all(fit):
            known = [span or (None, None) for span in rising_spans(fit)] if any(fit) else self._segment_bounds()
            guesses = [*interpolate_spans([len(word.word.strip()) + 1 for word in words], known, self.duration)]
        times: list[WordTimes] = []
        for word, span, guess in zip(words, fit, guesses, strict=True):
            assert guess is not None
            if span is None or word.start is None or word.end is None:
                times.append(WordTimes(guess[0] / 1000, guess[1] / 1000, True))
            else:
                times.append(WordTimes(word.start + 0.0, word.end + 0.0, False))  # no -0.0
        return times

    @property
    def has_speakers(self) -> bool:
        """Whether it is known of any part who said it."""
        parts: Sequence[Word | Segment] = self.words or self.segments
        return any(part.speaker is not None for part in parts)

    @property
    def has_estimated_segments(self) -> bool:
        """Whether the times of some segment are estimates."""
        return any(segment.timing == "estimated" for segment in self.segments)

    def word_spans(self) -> list[TextSpan]:
        """Where each word that isn't white space stands in the text; empty unless all are found there, in order."""
        words = self.words or ()
        ends = find_word_ends(self.text, words)
        spans = []
        for word, end in zip(words, ends or (), strict=False):
            if spelling := word.word.strip():
                spans.append(TextSpan(end - len(spelling), end, word.start, word.end, word.speaker))
        return spans

    def segment_spans(self) -> list[TextSpan]:
        """Where each segment that isn't empty stands in the text."""
        spans, end = [], 0
        for segment in self.segments:
            if segment.text:
                begin, end = end, end + len(segment.text)
                spans.append(TextSpan(begin, end, segment.start, segment.end, segment.speaker))
        return spans

    def words_by_segment(self) -> list[tuple[Word, ...]]:
        """The words of each segment; none for any of them unless all words are found in the text, in order. A word that
        reaches into the next segment is one of its words."""
        words = self.words or ()
        ends = find_word_ends(self.text, words)
        if not ends:
            return [()] * len(self.segments)
        firsts = [bisect_right(ends, at) for at in accumulate((len(s.text) for s in self.segments), initial=0)]
        firsts[:1], firsts[-1:] = [0], [len(words)]
        return [words[first:end] for first, end in pairwise(firsts)]

    def _segment_bounds(self) -> list[tuple[int | None, int | None]]:
        """Times of words from those of the segments: the start of the first word in each, and the end of the last."""
        spans = plausible_spans(((segment.start, segment.end) for segment in self.segments), self.duration)
        bounds: list[tuple[int | None, int | None]] = []
        for words, span in zip(self.words_by_segment(), spans, strict=True):
            (start, end), last = span or (None, None), len(words) - 1
            bounds += [(start if k == 0 else None, end if k == last else None) for k in range(len(words))]
        return bounds or [(None, None)] * len(self.words or ())

    def _word_dicts(self) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = []
        for word, times in zip(self.words or (), self.word_times(), strict=True):
            document: dict[str, Any] = {"word": word.word, "start": times.start, "end": times.end}
            if times.estimated:
                document["timing"] = "estimated"
            elif word.estimated:
                document["estimated"] = True
            if word.edited:
                document["edited"] = True
            if word.speaker is not None:
                document["speaker"] = word.speaker
            documents.append(document)
        return documents


def from_batch(
    response: BatchResponse, *, source: str, model: str, measured_duration: float | None = None
) -> Transcript:
    """A batch response as a transcript. `measured_duration`: seconds, as the file itself says, if it does."""
    reported = known_duration(response.duration)
    duration = known_duration(measured_duration) if reported is None else reported
    words = response.words and tuple(word._replace(word=replace_lone_surrogates(word.word)) for word in response.words)
    text = text_of_parts(replace_lone_surrogates(response.text), [word.word for word in words or ()])
    words = covering_words(text, words) if words else words
    transcript = Transcript(
        source=source,
        model=model,
        text=text,
        language=response.language,
        duration=duration,
        request_id=response.request_id,
        words=None if words is None else drop_implausible_times(words, duration),
    )
    whole: Timing = "audio" if reported is None else "server"
    segments = _with_languages(_split_segments(transcript, whole), response.languages or ())
    return transcript._replace(segments=tuple(segments))


def _with_languages(segments: Iterable[Segment], spans: Sequence[DetectedLanguage]) -> Iterator[Segment]:
    """Segments with the language that is spoken in the middle of each, if the language of the recording changes.

    spans   the languages in order, with their times
    """
    if len({span.language for span in spans}) < 2:
        yield from segments
        return
    for segment in segments:
        middle = (segment.start + segment.end) / 2
        span = next((span for span in reversed(spans) if (span.start or 0.0) <= middle), spans[0])
        heard = DetectedLanguage(span.language, span.confidence)
        yield segment._replace(language=span.language, languages=(heard,))


def drop_times_if_wrong_unit(response: BatchResponse, measured_duration: float | None) -> BatchResponse:
    """A batch response without its duration and times if they can't be those of a recording of `measured_duration`
    seconds, for example because they are in milliseconds. The same response if they can be, or nothing was measured.
    """
    limit = far_limit(measured_duration)
    ends = [word.end for word in response.words or () if word.end is not None]
    if limit is None or ((response.duration or 0.0) <= limit and 2 * sum(end > limit for end in ends) <= len(ends)):
        return response
    words = None if response.words is None else tuple(Word(word.word) for word in response.words)
    return response._replace(duration=None, words=words)


def from_segments(
    segments: Sequence[Segment],
    *,
    source: str,
    model: str,
    language: str | None = None,
    duration: float | None = None,
    request_id: str | None = None,
    notices: Sequence[Notice] = (),
) -> Transcript:
    """The settled segments of a live session as a transcript. `language`: the requested one, if none is detected;
    otherwise that of most of the text.

    If some segments came with words, the text of the others is split into words without times.
    """
    segments = [*map(_whole_characters, _join_split_characters(segments))]
    spoken = Counter[str]()
    for segment in segments:
        if segment.language:
            spoken[segment.language] += len(segment.text)
    words = words_of_segments(segments)
    return Transcript(
        source=source,
        model=model,
        text="".join(segment.text for segment in segments),
        language=max(spoken, key=spoken.__getitem__) if spoken else language,
        duration=duration,
        request_id=request_id,
        segments=tuple(segments),
        words=drop_implausible_times(words, duration) if any(segment.words for segment in segments) else None,
        notices=tuple(notices),
    )


def words_of_segments(segments: Sequence[Segment]) -> tuple[Word, ...]:
    """The words of all segments; of one that has none, those of its text, without times."""
    return tuple(word for segment in segments for word in segment.words or map(Word, TEXT_WORD.findall(segment.text)))


def _join_split_characters(segments: Sequence[Segment]) -> Sequence[Segment]:
    """The same text in segments of which none ends within a surrogate pair that the next one completes."""
    if not any(ends_within_character(segment.text) for segment in segments):
        return segments
    whole: list[Segment] = []
    half = ""
    for segment in segments:
        text = join_surrogates(half + segment.text)
        half = text[-1:] if ends_within_character(text) and segment is not segments[-1] else ""
        whole.append(segment._replace(text=text[: len(text) - len(half)]))
    return whole


def _whole_characters(segment: Segment) -> Segment:
    """A segment without lone surrogates."""
    words = tuple(word._replace(word=replace_lone_surrogates(word.word)) for word in segment.words)
    return segment._replace(text=replace_lone_surrogates(segment.text), words=words)


def blank_between(before: str, after: str) -> str:
    """The space between two texts, such as those of two connections; "" if they already have one, after an opening
    mark, and in scripts without spaces: between two of their characters, and beside their punctuation.
    """
    if not before or not after or before[-1].isspace() or after[0].isspace():
        return ""
    unspaced = [char for char in (before[-1], after[0]) if re.match(UNSPACED_CHARACTER, char)]
    needs_none = len(unspaced) == 2 or any(not char.isalnum() for char in unspaced)
    return "" if before[-1] in OPENING_MARKS or needs_none else " "


def join_texts(texts: Iterable[str]) -> str:
    """Texts one after the other, with a space between two that need one."""
    whole = ""
    for text in texts:
        whole += blank_between(whole, text) + text
    return whole


def text_of_parts(text: str, parts: Iterable[str]) -> str:
    """The text, or its parts joined if only they contain more than white space."""
    if text.strip():
        return text
    whole = join_texts(parts)
    return whole if whole.strip() else text


def shifted_word(word: Word, by: float) -> Word:
    """A word, `by` seconds later."""
    start, end = word.start, word.end
    return word._replace(start=None if start is None else start + by, end=None if end is None else end + by)


def time_range(words: Sequence[Word]) -> tuple[float, float] | None:
    """First start and last end, if all words have plausible times and none ends before it starts."""
    times = [(word.start, word.end) for word in words]
    if not times or any(start is None or end is None or not 0 <= start <= end < MAX_SECONDS for start, end in times):
        return None
    starts, ends = [start for start, _ in times if start is not None], [end for _, end in times if end is not None]
    return min(starts), max(ends)


def drop_implausible_times(words: Sequence[Word], duration: float | None) -> tuple[Word, ...]:
    """Words without the times that can't be true, so that these are not shown as the server's.

    A word keeps both its times or neither. Idempotent.
    """
    spans = plausible_part_spans(words, duration)
    return tuple(
        word._replace(start=None, end=None) if span is None else word for word, span in zip(words, spans, strict=True)
    )


def plausible_part_spans(parts: Sequence[Word | Segment], duration: float | None) -> list[Span | None]:
    """The times of words or segments that can be true together, in milliseconds; None in place of the others."""
    times = [(part.start, part.end) for part in parts]
    return plausible_spans_by_speaker(times, [part.speaker for part in parts], duration)


def plausible_segments(segments: Sequence[Segment], duration: float | None) -> tuple[Segment, ...]:
    """Segments, with estimated times for those whose times can't be true."""
    latest = min(MAX_SECONDS, far_limit(duration) or MAX_SECONDS)
    starts = [segment.start for segment in segments]
    ends = [MAX_SECONDS if segment.timing == "estimated" else latest for segment in segments]
    if all(0 <= s.start <= s.end < end for s, end in zip(segments, ends, strict=True)) and all(
        map(le, starts, starts[1:])
    ):
        return tuple(segments)
    spans = plausible_spans(((segment.start, segment.end) for segment in segments), duration)
    known = [span or (None, None) for span in spans]
    guesses = interpolate_spans([len(segment.text.strip()) + 1 for segment in segments], known, duration)
    return tuple(
        segment if span is not None else segment._replace(start=start / 1000, end=end / 1000, timing="estimated")
        for segment, span, (start, end) in zip(segments, spans, guesses, strict=True)
    )


def _split_segments(transcript: Transcript, whole_timing: Timing) -> Iterator[Segment]:
    """Segments that end with a sentence, before a pause or where the speaker changes, if words have times. Otherwise
    the whole text from 0 to the duration, with the timing `whole_timing`; none if the duration is unknown.
    """
    text, words, times = transcript.text, transcript.words or (), transcript.word_times()
    ends = find_word_ends(text, words)
    if ends is None or all(time.estimated for time in times):
        if text.strip() and transcript.duration is not None:
            yield Segment(0.0, transcript.duration, text, whole_timing, tuple(words))
        return
    at = first = 0
    for i, (word, time) in enumerate(zip(words, times, strict=True)):
        is_last = i + 1 == len(words)
        # Punctuation belongs to the word before it, even if the server's words come without.
        following = len(text) if is_last else ends[i + 1] - len(words[i + 1].word.strip())
        between = text[ends[i] : following]
        stop = ends[i] + len(between) - len(between.lstrip(PUNCTUATION))
        if not (
            is_last
            or _ends_sentence(word.word + text[ends[i] : stop])
            or times[i + 1].start - time.end >= PAUSE_SECONDS
            or words[i + 1].speaker != word.speaker
        ):
            continue
        cut = len(text) if is_last else stop
        start, guessed = times[first].start, times[first].estimated or time.estimated
        timing: Timing = "estimated" if guessed else "server"
        said, end = tuple(words[first : i + 1]), max(start, time.end)
        yield Segment(start, end, text[at:cut], timing, said, speaker=word.speaker)
        at, first = cut, i + 1


def _ends_sentence(word: str) -> bool:
    return word.strip().rstrip(CLOSING_MARKS).endswith(SENTENCE_ENDS)
