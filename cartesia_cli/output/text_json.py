"""Writes the formats text, json and ndjson.

Start-up: most runs print text alone, so paragraphs, tables and excerpts are imported only if they are requested.
"""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..text_encoding import join_surrogates
from ..transcript import Transcript
from . import Layout, Selection
from .sanitize import BIDI, printable

if TYPE_CHECKING:
    from .rows import WordRow

_UNSAFE = f"[\x7f-\x9f\u2028\u2029{BIDI}\udc80-\udcff]"
_HALVES = "[\ud800-\udc7f\udd00-\udfff]"


def text(transcript: Transcript, layout: Layout) -> str:
    """The text in one line, a line for each turn if speakers are known, or paragraphs, followed by the table of words
    if requested."""
    parts = [transcript.text]
    if layout.paragraphs or transcript.has_speakers:
        from .paragraphs import named, paragraphs, turns

        divided = named((paragraphs if layout.paragraphs else turns)(transcript))
        parts = [f"{name}: {part.text.strip()}" if name else part.text for name, part in divided]
    said = ("\n\n" if layout.paragraphs else "\n").join(printable(part).strip() for part in parts)
    said += "\n" if said else ""
    if not (layout.words and transcript.words):
        return said
    from .table import table

    below = table(transcript, layout)
    return f"{said}\n{below}" if below else said


def json(transcript: Transcript, layout: Layout) -> str:
    return to_json(_document(transcript, layout), indent=2)


def ndjson(transcript: Transcript, layout: Layout) -> str:
    return to_json(_document(transcript, layout))


def matches_document(transcript: Transcript, selection: Selection) -> dict[str, Any]:
    """The JSON document of a selection: each group of adjacent words with its times, instead of the whole text."""
    from .rows import excerpts, running_text

    document = transcript.to_dict()
    for name in ("text", "segments", "words", "notices"):
        document.pop(name, None)
    found = [_match(excerpt, running_text(transcript, excerpt)) for excerpt in excerpts(transcript, selection)]
    return document | {"matches": found}


def _match(excerpt: Sequence[WordRow], text: str) -> dict[str, Any]:
    times = {"start": _seconds(excerpt[0].start), "end": _seconds(excerpt[-1].end)}
    words = [
        {
            "word": row.text,
            "start": _seconds(row.start),
            "end": _seconds(row.end),
            "speaker": row.speaker,
            "estimated": (row.estimated and row.start is not None) or None,
            "matched": row.matched or None,
        }
        for row in excerpt
    ]
    speakers = {row.speaker for row in excerpt}
    speaker = speakers.pop() if len(speakers) == 1 else None
    match = {**times, "text": text, "speaker": speaker, "words": [without_none(word) for word in words]}
    return without_none(match)


def without_none(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value."""
    return {name: value for name, value in facts.items() if value is not None}


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _document(transcript: Transcript, layout: Layout) -> dict[str, Any]:
    """What was selected, or everything: with its words, a saved transcript can become any other format."""
    return transcript.to_dict() if layout.selection is None else matches_document(transcript, layout.selection)


def to_json(document: object, indent: int | None = None) -> str:
    """JSON as it is written to stdout and to files, with its line break.

    Escapes what JSON doesn't: U+007F to U+009F, which control terminals, bidirectional overrides, line separators, and
    U+DC80 to U+DCFF, by which Python has bytes of file names that aren't UTF-8. Other lone surrogates become U+FFFD:
    they aren't characters, and other programs reject them even if they are escaped.
    """
    text = join_surrogates(json_module.dumps(document, ensure_ascii=False, indent=indent))
    text = re.sub(_HALVES, "\ufffd", text)
    return re.sub(_UNSAFE, lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"
