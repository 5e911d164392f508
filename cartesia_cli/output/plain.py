"""The formats that say what the transcript says: text, json, ndjson."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Mapping
from typing import Any

from ..transcript import Transcript
from . import Layout
from .characters import printable
from .table import table


def text(transcript: Transcript, layout: Layout) -> str:
    """The transcript as a line of its own; with words, their table below it."""
    line = printable(transcript.text).strip() + "\n"
    return f"{line}\n{table(transcript, layout)}" if layout.words and transcript.words else line


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
    """JSON leaves U+007F to U+009F as they are, and terminals obey them: they are escaped like the others."""
    return re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"
