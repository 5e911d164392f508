"""Saved JSON as transcripts: our own documents and sessions, answers of the API, and what Whisper's programs write.

Strict about what is there: a value of the wrong type is told with its place. Lenient about what isn't: other
programs leave times out, and write NaN, which is no time. Must never open a file, and never make up a word or a
time: what has none gets it from the writers, and is labelled there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from .errors import InputError
from .protocol import BatchResponse, Word
from .transcript import KEPT, Notice, Segment, Timing, Transcript, fitted, from_batch

KINDS = "known: json and ndjson of cartesia-cli, answers of the API, and JSON of Whisper with its segments"

UNKNOWN = "unknown"
"""The model, where nobody tells."""

LINES = ("partial", "segment", "notice", "end")
"""The `type` of each line of a live session."""

TIMINGS: tuple[Timing, ...] = get_args(Timing)

_BLANKS = re.compile(r"[ \t\r\n]*")


def read(text: str, source: str = "-") -> list[Transcript]:
    """Every transcript in a file, in order. InputError, with its place, for what is none.

    source   name of the file: for messages, and for transcripts that don't say where they come from
    """
    transcripts: list[Transcript] = []
    session: list[_Object] = []
    for item in _objects(text.removeprefix("\ufeff"), source):
        if item.values.get("type") not in LINES:
            transcripts.append(_document(item, source))
            continue
        session.append(item)
        if item.values["type"] == "end":
            transcripts.append(_session(session, source))
            session = []
    if session:  # it was cut off
        transcripts.append(_session(session, source))
    if not transcripts:
        raise InputError(f"{source} is empty", hint=KINDS)
    return transcripts


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object, and where it stands: `place` goes before the names of its members in messages."""

    values: dict[str, Any]
    place: str

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(name, "a string")

    def seconds(self, name: str) -> float | None:
        """A number that can be a time. Infinities are none."""
        value = self.values.get(name)
        if value is None or isinstance(value, float):
            return value if value is not None and math.isfinite(value) else None
        raise self._wrong(name, "a number of seconds")

    def objects(self, name: str) -> list[_Object] | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return _members(value, f"{self.place}{name}")

    def missing(self, name: str) -> InputError:
        return InputError(f"{self.place}{name} is missing", hint=KINDS)

    def _wrong(self, name: str, wanted: str) -> InputError:
        return InputError(f"{self.place}{name} is {_kind(self.values[name])}, where {wanted} belongs", hint=KINDS)


def _objects(text: str, source: str) -> Iterator[_Object]:
    """The objects of a file: one, one after the other, or in a list."""
    values = list(_values(text, source))
    for line, value in values:
        place = f"{source}, line {line}: " if len(values) > 1 else f"{source}: "
        if isinstance(value, list):
            items = _members(value, place.rstrip() + " ")
            if items and all("start" in item.values and "source" not in item.values for item in items):
                yield _Object({"segments": value}, place)
            else:
                yield from items
        elif isinstance(value, dict):
            yield _Object(value, place)
        else:
            raise InputError(f"{place}{_kind(value)} is no transcript", hint=KINDS)


def _values(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """The JSON values of a text, each with the line that it begins on. All numbers are floats."""
    decoder = json.JSONDecoder(parse_int=float, parse_constant=lambda name: None)
    at, line, counted = 0, 1, 0
    while True:
        blank = _BLANKS.match(text, at)
        assert blank is not None
        at = blank.end()
        if at == len(text):
            return
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            message = f"{source}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
            raise InputError(message, hint="`render` takes JSON; `transcribe` takes recordings") from error
        except RecursionError as error:
            raise InputError(f"{source}, line {line}: nested too deep for a transcript", hint=KINDS) from error
        yield line, value


def _members(values: Sequence[Any], place: str) -> list[_Object]:
    for k, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(f"{place}[{k}] is {_kind(value)}, where an object belongs", hint=KINDS)
    return [_Object(value, f"{place}[{k}].") for k, value in enumerate(values)]


def _kind(value: Any) -> str:
    names = {bool: "true or false", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _document(item: _Object, source: str) -> Transcript:
    """One object, of whichever kind it is."""
    known = item.values.keys()
    if {"source", "model"} <= known:
        return _own(item, _text(item), [_segment(segment) for segment in item.objects("segments") or ()])
    if "segments" in known:
        return _whisper(item, source)
    if "text" in known:
        response = BatchResponse(
            text=_text(item),
            language=item.text("language"),
            duration=item.seconds("duration"),
            words=_words(item.objects("words")),
            request_id=item.text("request_id"),
        )
        return from_batch(response, source=source, model=UNKNOWN)
    if refusal := next((item.values[name] for name in ("message", "title", "error") if name in known), None):
        raise InputError(f"{item.place}a refusal, no transcript: {json.dumps(refusal)[:200]}", hint=KINDS)
    raise InputError(f"{item.place}no transcript: neither text nor segments", hint=KINDS)


def _own(item: _Object, text: str, segments: Iterable[Segment], source: str = "-") -> Transcript:
    words, duration = _words(item.objects("words")), item.seconds("duration")
    return Transcript(
        source=item.text("source") or source,
        model=item.text("model") or UNKNOWN,
        text=text,
        language=item.text("language"),
        duration=duration,
        request_id=item.text("request_id"),
        segments=tuple(segments),
        words=None if words is None else fitted(words, duration),
        notices=tuple(map(_notice, item.objects("notices") or ())),
    )


def _notice(item: _Object) -> Notice:
    return Notice(item.seconds("at") or 0.0, item.text("event") or "", item.text("message") or "")


def _session(lines: Sequence[_Object], source: str) -> Transcript:
    """The lines of a live session: its segments as they settled, and the rest from its end, if it came to that."""
    segments: list[Segment] = []
    notices: list[Notice] = []
    for line in lines:
        if line.values["type"] == "segment":
            segments.append(_segment(line))
        elif line.values["type"] == "notice":
            notices.append(_notice(line))
            if notices[-1].event == "undo" and segments:
                segments.pop()
    end = lines[-1] if lines[-1].values["type"] == "end" else _Object({}, lines[-1].place)
    text = end.text("text")
    whole = "".join(segment.text for segment in segments) if text is None else text
    kept = tuple(notice for notice in notices if notice.event in KEPT)
    return replace(_own(end, whole, segments, source), notices=kept)


def _whisper(item: _Object, source: str) -> Transcript:
    """Segments with words, or with words beside them, or without any."""
    places = item.objects("segments") or []
    segments = [Segment(_time(p, "start"), _time(p, "end"), _text(p), "server") for p in places]
    text = item.text("text")
    if text is None:
        text = ""
        for segment in segments:
            blank = text and not text[-1].isspace() and not segment.text[:1].isspace()
            text += " " * bool(blank) + segment.text
    words = [_words(place.objects("words")) for place in places]
    if any(words):
        # A segment that could not be aligned with the audio has no words: they are spelt in its text, without times.
        spelt = [[Word(word) for word in segment.text.split()] for segment in segments]
        said = tuple(word for found, bare in zip(words, spelt, strict=True) for word in found or bare)
    else:
        said = _words(item.objects("words")) or _words(item.objects("word_segments")) or ()
    return Transcript(
        source=source,
        model=item.text("model") or UNKNOWN,
        text=text,
        language=item.text("language"),
        duration=item.seconds("duration"),
        segments=tuple(_sliced(text, segments)),
        words=fitted(said, item.seconds("duration")) or None,
    )


def _sliced(text: str, segments: Sequence[Segment]) -> list[Segment]:
    """Segments as slices of the text that together are the text; as they are, where it doesn't have them all."""
    ends, at = [], 0
    for segment in segments:
        spelt = segment.text.strip()
        found = text.find(spelt, at)
        if found < 0:
            return list(segments)
        at = found + len(spelt)
        ends.append(at)
    ends[-1:] = [len(text)] if ends else []
    return [
        Segment(segment.start, segment.end, text[start:end], segment.timing)
        for segment, start, end in zip(segments, [0, *ends], ends, strict=False)
    ]


def _segment(item: _Object) -> Segment:
    named = item.text("timing")
    timing = next((timing for timing in TIMINGS if timing == named), None)
    if timing is None:
        raise InputError(f"{item.place}timing is {json.dumps(named)}, not one of {', '.join(TIMINGS)}", hint=KINDS)
    return Segment(_time(item, "start"), _time(item, "end"), _text(item), timing)


def _words(items: Sequence[_Object] | None) -> tuple[Word, ...] | None:
    return None if items is None else tuple(_word(item) for item in items)


def _word(item: _Object) -> Word:
    spelt = item.text("word")
    if spelt is None:
        spelt = item.text("text")
    if spelt is None:
        raise item.missing("word")
    if item.values.get("timing") == "estimated":  # by ourselves, and so it will be again
        return Word(spelt)
    return Word(spelt, item.seconds("start"), item.seconds("end"))


def _text(item: _Object) -> str:
    if (text := item.text("text")) is None:
        raise item.missing("text")
    return text


def _time(item: _Object, name: str) -> float:
    if (time := item.seconds(name)) is None:
        raise item.missing(name)
    return time
