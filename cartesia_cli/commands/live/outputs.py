"""The outputs of a live session: they get each update as it comes, and what has to wait when the session ends."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...errors import OutputError
from ...output import note_on_times
from ...output.console import Reporter
from ...output.files import StdoutClosed, write_stdout
from ...output.live_view import LiveView
from ...output.streams import EventStream, open_stream
from ...output.terminal_rows import is_same_terminal
from ...transcript import PERSISTED_NOTICES, Notice, Segment, Transcript, Update, from_segments
from ..batch.result_file import FORMATS_WITH_SOURCE, combine_errors, write_result
from .append_file import AppendFile
from .config import SessionConfig


class LiveOutputs:
    """What a session has heard so far, and where it goes: to stdout, files, `--append`, `--exec` and a page.

    segments   the settled segments, without those that the user dropped
    """

    def __init__(self, config: SessionConfig, reporter: Reporter, view: LiveView) -> None:
        self._config, self._reporter, self._view = config, reporter, view
        self.segments: list[Segment] = []
        self._notices: list[Notice] = []
        self._append_file = None if config.append is None else AppendFile(config.append, reporter.warn)
        self._file_parts: dict[str, list[str]] = {}  # by format, the text of its file, which is written at the end
        uncut = config.layout._replace(columns=None)  # files have no width
        self._streams = [
            open_stream(
                name,
                uncut if file else config.layout,
                self._to_stdout if file is None else self._file_parts.setdefault(name, []).append,
                config.source,
                config.model,
                live=file is None,
                language=config.options.named_language,
            )
            for name, file in config.targets.items()
        ]
        self._stdout_is_terminal = sys.stdout is not None and sys.stdout.isatty()
        files = config.targets.values()
        self._stdout_has_segments = any(
            file is None and not stream.waits for stream, file in zip(self._streams, files, strict=True)
        )
        self._is_on_screen = self._stdout_has_segments and is_same_terminal(sys.stdout, sys.stderr)
        """Whether segments already appear on the terminal that shows messages."""

    def text(self) -> str:
        """The text of these segments."""
        return "".join(segment.text for segment in self.segments)

    def write(self, update: Update) -> None:
        """Add an update to the transcript and to every output."""
        if isinstance(update, Segment):
            self.segments.append(update)
        elif isinstance(update, Notice) and update.event in PERSISTED_NOTICES:
            self._notices.append(update)
        if self._config.captions is not None:
            self._config.captions.update(update)
        for stream in self._streams:
            stream.write(update)
        if isinstance(update, Segment):
            if not self._is_on_screen and update.text.strip():
                self._reporter.print_segment(update.text)
            if self._config.on_segment is not None:
                self._config.on_segment(update)
            if self._append_file is not None:
                self._append_file.add(update.text)

    def advance(self, at: float) -> None:
        """Write what was to wait until this position in the audio, in seconds."""
        for stream in self._streams:
            stream.advance(at)

    def undo(self) -> str | None:
        """Drop the last segment where that is possible. Returns a message that says what was dropped, and which outputs
        already have it; None if there is no segment.
        """
        if not self.segments:
            return None
        dropped = self.segments.pop()
        if self._config.captions is not None:
            self._config.captions.undo()
        where = {
            "stdout": self._stdout_has_segments and not self._stdout_is_terminal,
            str(self._config.append): self._append_file is not None and not self._append_file.undo(),
            "--exec": self._config.on_segment is not None,
        }
        holders = " and ".join(name for name, has_it in where.items() if has_it)
        return f"dropped: {dropped.text.strip()}" + (f" ({holders} already has it)" if holders else "")

    def transcript(self, duration: float, request_id: str | None) -> Transcript:
        """The transcript of all segments so far. duration: seconds of the session."""
        return from_segments(
            self.segments,
            source=self._config.source,
            model=self._config.model,
            language=self._config.options.named_language,
            duration=round(duration, 3),
            request_id=request_id,
            notices=self._notices,
        )

    def close(self, transcript: Transcript, facts: Mapping[str, Any], *, has_connected: bool) -> OutputError | None:
        """Write what is written at the end. Returns the error of the outputs that failed.

        facts           for the final event of event streams
        has_connected   False: the session never began, so only that event is written
        """
        config = self._config
        failures: list[OutputError | None] = []
        if (note := note_on_times(transcript, config.targets)) is not None:
            self._reporter.warn(f"the server sent {note}")
        elif config.layout.words and transcript.words is None and transcript.text.strip():
            self._reporter.warn("the server sent no word times: -w has none to show")
        for stream in self._streams:
            if has_connected or isinstance(stream, EventStream):
                with suppress(StdoutClosed):
                    stream.close(transcript, facts)
        for name, parts in self._file_parts.items() if has_connected else ():
            label = len(self._streams) > 1 and name not in FORMATS_WITH_SOURCE
            file = config.targets[name]
            failures.append(write_result("".join(parts), file, self._reporter, label=label, replaces=config.force))
        if self._append_file is not None:
            failures.append(self._append_file.flush())
        if config.copy and transcript.text.strip():
            try:
                self._reporter.copy(transcript.text.strip())
            except OutputError as error:
                failures.append(error)
        return combine_errors(failures)

    def _to_stdout(self, text: str) -> None:
        self._view.clear()  # stdout may be the same terminal
        if "text" in self._config.targets and self._view.active and self._is_on_screen:
            text = "\n".join(map(self._reporter.wrap, text.split("\n")))  # at words, above the live view
        write_stdout(text)
