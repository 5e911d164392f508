"""Writes live output: stdout gets each segment as it settles if the format allows it, files are written at the end.

`write` takes updates as they happen, `close` the whole transcript at the end. Must never hold back a settled segment
from stdout if the format can be written piece by piece (subtitles: longer than until it can be shown). A table for
people can't: its columns are as wide as its widest cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import subtitles
from ..protocol.json_fields import Word
from ..subtitles.profiles import STANDARD
from ..subtitles.segmentation import ceil_ms
from ..subtitles.writers import SrtWriter, VttWriter
from ..transcript import (
    PERSISTED_NOTICES,
    Notice,
    Partial,
    Segment,
    Transcript,
    Update,
    drop_implausible_times,
    from_segments,
)
from . import Layout, Selection, writer
from .paragraphs import paragraph_pause
from .rows import as_words, row_words, select_rows
from .sanitize import printable, title
from .table import row_header, row_lines, table
from .text_json import matches_document, text, to_json
from .timed_text import notice_text

WriteText = Callable[[str], None]
"""Writes text to stdout or to a file."""


class Stream:
    """Writes one format with `put`; this one at the end, as a whole. `waits`: whether nothing is written before."""

    waits = True

    def __init__(self, name: str, layout: Layout, put: WriteText) -> None:
        self._name, self._layout, self._put = name, layout, put

    def write(self, update: Update) -> None:
        """Handle an update."""

    def advance(self, at: float) -> None:
        """Write what was to wait until this position in the audio, in seconds."""

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        """Write what remains. `facts`: members for the last line of ndjson, such as `complete`."""
        self._put(writer(self._name)(transcript, self._layout))


def open_stream(
    name: str, layout: Layout, put: WriteText, source: str, model: str, *, live: bool, language: str | None = None
) -> Stream:
    """Create the stream of a format. `live`: written segment by segment, as to stdout."""
    match name:
        case "ndjson":
            return EventStream(name, layout, put)
        case "text":
            return TextStream(name, layout, put, live=live)
        case "srt" | "vtt" if live:
            return CueStream(name, layout, put, source, model, language)
        case "tsv" | "csv" if live:
            return RowStream(name, layout, put)
    return Stream(name, layout, put)


class TextStream(Stream):
    """A line for each settled segment; if words are wanted, their table at the end.

    With paragraphs, there is an empty line after a pause that is long compared with the pauses so far. In a file, which
    is written at the end, the paragraphs are the same as those of a recording.
    """

    def __init__(self, name: str, layout: Layout, put: WriteText, *, live: bool) -> None:
        super().__init__(name, layout, put)
        self.waits = not live
        self._pauses: list[float] = []
        self._ended: float | None = None

    def write(self, update: Update) -> None:
        if not self.waits and isinstance(update, Segment):
            self._line(update)

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        if self.waits and self._layout.paragraphs:
            if transcript.text.strip():
                self._put(text(transcript, self._layout._replace(words=False)))
        elif self.waits:
            for segment in transcript.segments:
                self._line(segment)
        if self._layout.words and transcript.words and (below := table(transcript, self._layout)):
            self._put(f"\n{below}")

    def _line(self, segment: Segment) -> None:
        # The spaces around a segment only matter when segments are joined.
        if said := printable(segment.text).strip():
            if self._layout.paragraphs and self._ended is not None:
                pause = segment.start - self._ended
                if pause >= paragraph_pause(self._pauses):
                    self._put("\n")
                self._pauses.append(pause)
            self._ended = segment.end
            self._put(f"{said}\n")


class EventStream(Stream):
    """A JSON object for each update, with its `type`; the last one, `end`, is the document in JSON without its segments
    and notices.
    """

    waits = False

    def write(self, update: Update) -> None:
        match update:
            case Partial():
                self._put(to_json({"type": "partial", **update.to_dict()}))
            case Segment():
                said = from_segments([update], source="", model="").to_dict()
                words = {"words": said["words"]} if "words" in said else {}
                self._put(to_json({"type": "segment", **update.to_dict(), **words}))
            case Notice():
                self._put(to_json({"type": "notice", **update.to_dict()}))

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        document = transcript.to_dict()
        document.pop("segments", None)  # they have been written
        document.pop("notices", None)
        if self._layout.selection is not None:
            document["matches"] = matches_document(transcript, self._layout.selection)["matches"]
        self._put(to_json({"type": "end", **document, **facts}))


class CueStream(Stream):
    """Subtitles, the cues of each segment as it settles.

    A cue stays until it can have been read. Segments that settle meanwhile are kept, and divided into cues together
    once the next cue may begin: one by one, each would be delayed further.
    """

    waits = False

    def __init__(
        self, name: str, layout: Layout, put: WriteText, source: str, model: str, language: str | None = None
    ) -> None:
        super().__init__(name, layout, put)
        notes = (f"{title(source)}, {model}",)
        self._file: SrtWriter | VttWriter = (
            SrtWriter(crlf=layout.crlf) if name == "srt" else VttWriter(notes, highlight_words=layout.highlight_words)
        )
        self._rules, self._source, self._model, self._language = layout.rules or STANDARD, source, model, language
        self._unwritten: list[Segment] = []
        self._free_from = 0  # where the next cue may begin, milliseconds

    def write(self, update: Update) -> None:
        if isinstance(update, Notice) and update.event in PERSISTED_NOTICES and isinstance(self._file, VttWriter):
            self._write_cues()
            self._put(self._file.note(notice_text(update)))
        if isinstance(update, Segment):
            self._unwritten.append(update)
            self.advance(update.end)

    def advance(self, at: float) -> None:
        if self._unwritten and ceil_ms(at) >= self._free_from:
            self._write_cues()

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        self._write_cues()
        self._put(self._file.write([]))

    def _write_cues(self) -> None:
        said = from_segments(self._unwritten, source=self._source, model=self._model, language=self._language)
        self._unwritten = []
        cues = [self._move_after_last(cue) for cue in subtitles.cues(said, self._rules)]
        if cues:
            self._put(self._file.write(cues))

    def _move_after_last(self, cue: subtitles.Cue) -> subtitles.Cue:
        """Delay a cue until the last one has ended. It is then shown for as long as it would have been, or at least for
        as long as the profile asks for.
        """
        start = max(cue.start, self._free_from)
        end = max(cue.end, start + min(cue.end - cue.start, ceil_ms(self._rules.min_cue)), start + 1)
        self._free_from = end + ceil_ms(self._rules.min_gap)
        return replace(cue, start=start, end=end)


class RowStream(Stream):
    """Rows for programs, those of each segment as it settles: its words, or the segment itself if it has none.

    A selection by pattern or by the longest gaps needs all words, so it waits for them.
    """

    def __init__(self, name: str, layout: Layout, put: WriteText) -> None:
        super().__init__(name, layout, put)
        self._header, self._selection = row_header(name), layout.selection or Selection()
        self.waits = self._selection.pattern is not None or self._selection.longest_gaps is not None
        self._written = 0  # words

    def write(self, update: Update) -> None:
        if isinstance(update, Segment) and not self.waits:
            words = drop_implausible_times(update.words, None)
            self._write(words or as_words([update]), update.start)

    def close(self, transcript: Transcript, facts: Mapping[str, Any]) -> None:
        # Deferred rows come from the whole transcript, which lacks the segments that were dropped meanwhile.
        self._write(row_words(transcript)[0] if self.waits else (), 0.0)

    def _write(self, words: Sequence[Word], at: float) -> None:
        """Write the rows of new words. `at`: seconds at which they begin."""
        found = select_rows(words, self._selection, before=self._written, at=at)
        self._put(self._header + row_lines(self._name, found))
        self._header, self._written = "", self._written + len(words)
