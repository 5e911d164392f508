"""Imports documents of cartesia-cli itself (`-f json`, `-f ndjson`), and responses of Cartesia's batch endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar, get_args

from ..errors import InputError
from ..protocol import DetectedLanguage, Word
from ..transcript import PERSISTED_NOTICES, Notice, Segment, Timing, words_of_segments
from .draft import Draft
from .json_values import KNOWN_FORMATS, JsonObject

Value = TypeVar("Value")

SESSION_LINES = ("partial", "segment", "notice", "end")
"""The `type` of each line of a live session."""

TIMINGS: tuple[Timing, ...] = get_args(Timing)


def document(item: JsonObject) -> Draft:
    return _draft(item, item.required_text("text"), [_segment(segment) for segment in item.objects("segments") or ()])


def session(lines: Sequence[JsonObject]) -> Draft:
    """The lines of a live session: its settled segments, and the rest from its last line, if it has ended."""
    segments: list[Segment] = []
    notices: list[Notice] = []
    for line in lines:
        if line.values["type"] == "segment":
            segments.append(_segment(line))
        elif line.values["type"] == "notice":
            notices.append(_notice(line))
            if notices[-1].event == "undo" and segments:
                segments.pop()
    end = lines[-1] if lines[-1].values["type"] == "end" else JsonObject({}, lines[-1].place)
    text = end.text("text")
    whole = "".join(segment.text for segment in segments) if text is None else text
    draft = _draft(end, whole, segments)
    if draft.words is None and any(segment.words for segment in segments):  # the session has not ended
        draft = replace(draft, words=words_of_segments(segments))
    kept = tuple(notice for notice in notices if notice.event in PERSISTED_NOTICES)
    return replace(draft, notices=kept)


def answer(item: JsonObject) -> Draft:
    """The response of the batch endpoint, or of an API like OpenAI's, without segments.

    As lenient as `transcribe`, which has accepted it: members of the wrong type are ignored.
    """
    listed = item.values.get("words")
    return Draft(
        text=item.required_text("text"),
        words=tuple(_usable_words(listed)) if isinstance(listed, list) else None,
        model=_usable(item.text, "model"),
        language=_usable(item.text, "language"),
        duration=_usable(item.decimal, "duration"),
        request_id=_usable(item.text, "request_id"),
    )


def _usable(read: Callable[[str], Value | None], name: str) -> Value | None:
    """A member, or None if it is of the wrong type."""
    try:
        return read(name)
    except InputError:
        return None


def _usable_words(items: Iterable[object]) -> Iterator[Word]:
    """The valid words of a list, each with its valid times."""
    for value in items:
        item = JsonObject(value if isinstance(value, dict) else {}, "")
        readers: dict[str, Callable[[str], object]] = {
            "word": item.text, "text": item.text, "start": item.seconds, "end": item.seconds, "speaker": item.label
        }  # fmt: skip
        usable = {name: _usable(read, name) for name, read in readers.items()}
        if usable["word"] is not None or usable["text"] is not None:
            yield _word(JsonObject(item.values | usable, ""))


def words(items: Sequence[JsonObject] | None) -> tuple[Word, ...] | None:
    return None if items is None else tuple(_word(item) for item in items)


def _draft(item: JsonObject, text: str, segments: Iterable[Segment]) -> Draft:
    return Draft(
        text=text,
        words=words(item.objects("words")),
        segments=tuple(segments),
        source=item.text("source"),
        model=item.text("model"),
        language=item.text("language"),
        duration=item.seconds("duration"),
        request_id=item.text("request_id"),
        notices=tuple(map(_notice, item.objects("notices") or ())),
        is_ours=True,
    )


def _notice(item: JsonObject) -> Notice:
    return Notice(item.seconds("at") or 0.0, item.text("event") or "", item.text("message") or "")


def _segment(item: JsonObject) -> Segment:
    named = item.text("timing")
    timing = next((timing for timing in TIMINGS if timing == named), None)
    if timing is None:
        raise InputError(
            f"{item.place}timing is {json.dumps(named)}, not one of {', '.join(TIMINGS)}", hint=KNOWN_FORMATS
        )
    start, end = item.required_seconds("start"), item.required_seconds("end")
    said = words(item.objects("words")) or ()
    languages = tuple(_language(language) for language in item.objects("languages") or ())
    spoken = languages[0].language if languages else None
    return Segment(
        start,
        end,
        item.required_text("text"),
        timing,
        said,
        language=spoken,
        speaker=item.label("speaker"),
        languages=languages,
    )


def _language(item: JsonObject) -> DetectedLanguage:
    return DetectedLanguage(item.text("language") or "", item.seconds("confidence"))


def _word(item: JsonObject) -> Word:
    text = item.text("word")
    if text is None:
        text = item.text("text")
    if text is None:
        raise item.missing("word")
    speaker, is_edited = item.label("speaker"), item.values.get("edited") is True
    if item.values.get("timing") == "estimated":  # by ourselves: it is estimated again
        return Word(text, speaker=speaker, edited=is_edited)
    is_rough = item.values.get("estimated") is True
    return Word(text, item.seconds("start"), item.seconds("end"), speaker, is_rough, is_edited)
