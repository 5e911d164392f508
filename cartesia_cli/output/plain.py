"""The formats that say what the transcript says: text, json, ndjson."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Mapping
from typing import Any

from ..text_encoding import join_surrogates
from ..transcript import Transcript
from . import Layout
from .characters import BIDI, printable
from .prose import paragraphs
from .table import table

_UNSAFE = re.compile(f"[\x7f-\x9f\u2028\u2029{BIDI}\ud800-\udfff]")


def text(transcript: Transcript, layout: Layout) -> str:
    """The transcript as a line of its own, or in paragraphs; with words, their table below it."""
    parts = [part.text for part in paragraphs(transcript)] if layout.paragraphs else [transcript.text]
    said = "\n\n".join(printable(part).strip() for part in parts) + "\n"
    return f"{said}\n{table(transcript, layout)}" if layout.words and transcript.words else said


def json(transcript: Transcript, layout: Layout) -> str:
    return _dumped(transcript, layout, indent=2)


def ndjson(transcript: Transcript, layout: Layout) -> str:
    return _dumped(transcript, layout, indent=None)


def line(document: Mapping[str, Any]) -> str:
    """A JSON object on a line of its own."""
    return _safe(json_module.dumps(document, ensure_ascii=False))


def _dumped(transcript: Transcript, layout: Layout, indent: int | None) -> str:
    return _safe(json_module.dumps(transcript.document(words=layout.words), ensure_ascii=False, indent=indent))


def _safe(text: str) -> str:
    """JSON leaves as they are U+007F to U+009F, which terminals obey, what turns the order of a line, what some take
    for the end of one, and halves of characters, which can't be written: they are escaped like the others."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", join_surrogates(text)) + "\n"
