"""Formats of a live session: text and ndjson come update by update, the others when all is known.

A stream has two methods: `write` takes updates as they come, `close` the whole transcript at the end. Must
never hold back a segment that has settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..transcript import Notice, Partial, Segment, Transcript, Update
from . import Layout, writer
from .characters import printable
from .plain import line
from .table import table

Put = Callable[[str], None]
"""Takes text for stdout or for a file."""


class Stream(Protocol):
    """Either kind."""

    def write(self, update: Update) -> None:
        """Something has come."""

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        """All has come. `facts`: members for the last line of ndjson, such as `complete`."""


def stream(name: str, layout: Layout, put: Put) -> Stream:
    """The stream of a format."""
    match name:
        case "text":
            return TextStream(layout, put)
        case "ndjson":
            return EventStream(layout, put)
    return WholeStream(name, layout, put)


class TextStream:
    """A line for each settled segment, and nothing else; with words, their table at the end."""

    def __init__(self, layout: Layout, put: Put) -> None:
        self._layout, self._put = layout, put

    def write(self, update: Update) -> None:
        # Blanks at the seams are for joining; a line of its own has none.
        if isinstance(update, Segment) and (text := printable(update.text).strip()):
            self._put(f"{text}\n")

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        if self._layout.words and transcript.words:
            self._put(f"\n{table(transcript, self._layout)}")


class EventStream:
    """A JSON object for each update, with its `type`; the last is `end`."""

    def __init__(self, layout: Layout, put: Put) -> None:
        self._layout, self._put = layout, put

    def write(self, update: Update) -> None:
        match update:
            case Partial():
                self._put(line({"type": "partial", "at": round(update.at, 3), "text": update.text}))
            case Segment():
                self._put(line({"type": "segment", **update.document()}))
            case Notice():
                wire = {"at": round(update.at, 3), "event": update.event, "message": update.message}
                self._put(line({"type": "notice", **wire}))

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        document = transcript.document(words=self._layout.words)
        document.pop("segments", None)  # they have gone out
        self._put(line({"type": "end", **document, **facts}))


class WholeStream:
    """A format that needs the whole transcript."""

    def __init__(self, name: str, layout: Layout, put: Put) -> None:
        self._writer, self._layout, self._put = writer(name), layout, put

    def write(self, update: Update) -> None:
        return

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        self._put(self._writer(transcript, self._layout))
