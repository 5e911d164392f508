"""Imports documents of cartesia-cli itself (`-f json`, `-f ndjson`), and responses of Cartesia's batch endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import get_args

from ..errors import InputError
from ..protocol.json_fields import DetectedLanguage, Word
from ..transcript import PERSISTED_NOTICES, Notice, Segment, Timing, words_of_segments
from .draft import Draft
from .json_values import KNOWN_FORMATS, JsonObject

SESSION_LINES = ("partial", "segment", "notice", "end")
"""The `type` of each line of a live session."""

SPELLINGS = ("word", "text")
"""Members that hold what a word is, in most programs."""

TIMINGS: tuple[Timing, ...] = get_args(Timing)


def document(item: JsonObject) -> Draft:
    if "matches" in item.values and "text" not in item.values:
        raise InputError(
            f"{item.place}selected rows, not a whole transcript",
            hint="`render --help` lists the options that select rows: make it again without them",
        )
    return _draft(item, item.required_text("text"), [_segment(segment) for segment in item.objects("segments")])


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
        draft = draft._replace(words=words_of_segments(segments))
    kept = tuple(notice for notice in notices if notice.event in PERSISTED_NOTICES)
    return draft._replace(notices=kept)


def answer(item: JsonObject) -> Draft:
    """The response of the batch endpoint, or of an API like OpenAI's, without segments.

    As lenient as `transcribe`, which has accepted it: members of the wrong type are ignored.
    """
    lenient, listed, said = replace(item, is_lenient=True), item.values.get("words"), None
    if isinstance(listed, list):
        found = [JsonObject(word, "", is_lenient=True) for word in listed if isinstance(word, dict)]
        said = tuple(_word(word) for word in found if word.text(*SPELLINGS) is not None)
    return Draft(
        text=item.required_text("text"),
        words=said,
        model=lenient.text("model"),
        language=lenient.text("language"),
        duration=lenient.decimal("duration"),
        request_id=lenient.text("request_id"),
    )


def words(item: JsonObject, name: str = "words") -> tuple[Word, ...] | None:
    """The words in a member; None if it is missing."""
    return tuple(map(_word, item.objects(name))) if name in item else None


def _draft(item: JsonObject, text: str, segments: Iterable[Segment]) -> Draft:
    return Draft(
        text=text,
        words=words(item),
        segments=tuple(segments),
        source=item.text("source"),
        model=item.text("model"),
        language=item.text("language"),
        duration=item.seconds("duration"),
        request_id=item.text("request_id"),
        notices=tuple(map(_notice, item.objects("notices"))),
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
    said = words(item) or ()
    languages = tuple(_language(language) for language in item.objects("languages"))
    return Segment(
        start,
        end,
        item.required_text("text"),
        timing,
        said,
        language=item.text("language") or next((each.language for each in languages), None),
        speaker=item.label("speaker"),
        languages=languages,
    )


def _language(item: JsonObject) -> DetectedLanguage:
    return DetectedLanguage(item.text("language") or "", item.seconds("confidence"))


def _word(item: JsonObject) -> Word:
    """A word in the spelling of most programs: `word` or `text`, `start`, `end`, `speaker`."""
    text, speaker, is_edited = item.required_text(*SPELLINGS), item.label("speaker"), item.values.get("edited") is True
    if item.values.get("timing") == "estimated":  # by ourselves: it is estimated again
        return Word(text, speaker=speaker, edited=is_edited)
    is_rough = item.values.get("estimated") is True
    return Word(text, item.seconds("start"), item.seconds("end"), speaker, is_rough, is_edited)
