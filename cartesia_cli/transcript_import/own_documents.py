"""Documents of cartesia-cli itself (`-f json`, `-f ndjson`), and answers of Cartesia's batch endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import get_args

from ..errors import InputError
from ..protocol import Word
from ..transcript import KEPT, Notice, Segment, Timing
from .draft import Draft
from .json_values import KINDS, JsonObject

SESSION_LINES = ("partial", "segment", "notice", "end")
"""The `type` of each line of a live session."""

TIMINGS: tuple[Timing, ...] = get_args(Timing)


def document(item: JsonObject) -> Draft:
    return _draft(item, item.required_text("text"), [_segment(segment) for segment in item.objects("segments") or ()])


def session(lines: Sequence[JsonObject]) -> Draft:
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
    end = lines[-1] if lines[-1].values["type"] == "end" else JsonObject({}, lines[-1].place)
    text = end.text("text")
    whole = "".join(segment.text for segment in segments) if text is None else text
    kept = tuple(notice for notice in notices if notice.event in KEPT)
    return replace(_draft(end, whole, segments), notices=kept)


def answer(item: JsonObject) -> Draft:
    """The answer of the batch endpoint, or of an API of OpenAI's shape without segments."""
    return Draft(
        text=item.required_text("text"),
        words=words(item.objects("words")),
        model=item.text("model"),
        language=item.text("language"),
        duration=item.seconds("duration"),
        request_id=item.text("request_id"),
    )


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
        raise InputError(f"{item.place}timing is {json.dumps(named)}, not one of {', '.join(TIMINGS)}", hint=KINDS)
    start, end = item.required_seconds("start"), item.required_seconds("end")
    return Segment(start, end, item.required_text("text"), timing, speaker=item.label("speaker"))


def _word(item: JsonObject) -> Word:
    spelt = item.text("word")
    if spelt is None:
        spelt = item.text("text")
    if spelt is None:
        raise item.missing("word")
    speaker = item.label("speaker")
    if item.values.get("timing") == "estimated":  # by ourselves, and so it will be again
        return Word(spelt, speaker=speaker)
    return Word(spelt, item.seconds("start"), item.seconds("end"), speaker)
