"""The formats that say what the transcript says: text, json, ndjson."""

from __future__ import annotations

import json as json_module

from ..transcript import Transcript
from . import Layout
from .characters import printable
from .table import table


def text(transcript: Transcript, layout: Layout) -> str:
    """The transcript as a line of its own; with words, their table below it."""
    line = printable(transcript.text).strip() + "\n"
    return f"{line}\n{table(transcript, layout)}" if layout.words and transcript.words else line


def json(transcript: Transcript, layout: Layout) -> str:
    document = transcript.document(words=layout.words)
    return json_module.dumps(document, ensure_ascii=False, indent=2) + "\n"


def ndjson(transcript: Transcript, layout: Layout) -> str:
    document = transcript.document(words=layout.words)
    return json_module.dumps(document, ensure_ascii=False) + "\n"
