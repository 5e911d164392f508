"""Formats of a live session: what can be written segment by segment is, when somebody waits for it on stdout.

A stream has two methods: `write` takes updates as they come, `close` the whole transcript at the end. What goes
into a file is written at the end, whole. Must never hold back a segment that has settled from stdout, where its
format has a place for it: a table for people has none, its columns are as wide as its widest cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .. import subtitles
from ..protocol import Word
from ..transcript import Notice, Partial, Segment, Transcript, Update
from . import Layout, writer
from .characters import printable
from .plain import line
from .table import table

Put = Callable[[str], None]
"""Takes text for stdout or for a file."""


class Stream(Protocol):
    """Any of them."""

    def write(self, update: Update, words: Sequence[Word] = ()) -> None:
        """Something has come; with a segment, its words, where the server sent any."""

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        """All has come. `facts`: members for the last line of ndjson, such as `complete`."""


def stream(name: str, layout: Layout, put: Put, source: str, model: str, *, live: bool) -> Stream:
    """The stream of a format. `live`: somebody waits for it, as on stdout."""
    match name:
        case "ndjson":
            return EventStream(layout, put)
        case "text":
            return TextStream(layout, put, live=live)
        case "srt" | "vtt" if live:
            return CueStream(name, put, source, model)
        case "tsv" | "csv" if live:
            return RowStream(name, layout, put, source, model)
    return WholeStream(name, layout, put)


class TextStream:
    """A line for each settled segment, and nothing else; with words, their table at the end."""

    def __init__(self, layout: Layout, put: Put, *, live: bool) -> None:
        self._layout, self._put, self._live = layout, put, live

    def write(self, update: Update, words: Sequence[Word] = ()) -> None:
        if self._live and isinstance(update, Segment):
            self._line(update)

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        if not self._live:
            for segment in transcript.segments:
                self._line(segment)
        if self._layout.words and transcript.words:
            self._put(f"\n{table(transcript, self._layout)}")

    def _line(self, segment: Segment) -> None:
        # Blanks at the seams are for joining; a line of its own has none.
        if text := printable(segment.text).strip():
            self._put(f"{text}\n")


class EventStream:
    """A JSON object for each update, with its `type`; the last is `end`."""

    def __init__(self, layout: Layout, put: Put) -> None:
        self._layout, self._put = layout, put

    def write(self, update: Update, words: Sequence[Word] = ()) -> None:
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


class CueStream:
    """Subtitles, the cues of each segment as it settles."""

    def __init__(self, name: str, put: Put, source: str, model: str) -> None:
        self._name, self._put, self._source, self._model = name, put, source, model
        self._cues: list[subtitles.Cue] = []
        self._written = ""

    def write(self, update: Update, words: Sequence[Word] = ()) -> None:
        if not isinstance(update, Segment):
            return
        said = Transcript(self._source, self._model, update.text, segments=(update,), words=tuple(words) or None)
        for cue in subtitles.cues(said):
            start = max(cue.start, self._cues[-1].end if self._cues else 0)
            self._cues.append(subtitles.Cue(start, max(cue.end, start + 1), cue.lines))
        self._write()

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        self._write()

    def _write(self) -> None:
        """What is new: the text of some cues is the beginning of the text of more."""
        if self._name == "srt":
            text = subtitles.srt(self._cues)
        else:
            text = subtitles.vtt(self._cues, notes=(f"{self._source}, {self._model}",))
        self._put(text[len(self._written) :])
        self._written = text


class RowStream:
    """Rows for programs, those of each segment as it settles: its words, or itself where it has none."""

    def __init__(self, name: str, layout: Layout, put: Put, source: str, model: str) -> None:
        self._writer, self._layout, self._put = writer(name), layout, put
        self._source, self._model = source, model
        self._rows: list[Word] = []
        self._written = ""

    def write(self, update: Update, words: Sequence[Word] = ()) -> None:
        if isinstance(update, Segment):
            self._rows += words or [Word(update.text, update.start, update.end)]
            self._write()

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        self._write()

    def _write(self) -> None:
        text = self._writer(Transcript(self._source, self._model, "", words=tuple(self._rows)), self._layout)
        self._put(text[len(self._written) :])
        self._written = text


class WholeStream:
    """A format that needs the whole transcript."""

    def __init__(self, name: str, layout: Layout, put: Put) -> None:
        self._writer, self._layout, self._put = writer(name), layout, put

    def write(self, update: Update, words: Sequence[Word] = ()) -> None:
        return

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        self._put(self._writer(transcript, self._layout))
