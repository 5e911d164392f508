"""Prints messages, errors with hints, progress and the live view: on stderr, never on stdout.

Messages may come from any thread: each is printed whole, above what is shown at the bottom of the terminal.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

from ..errors import CliError, internal_error
from ..redaction import Redactor, is_long
from .batch_observer import BatchObserver
from .sanitize import one_line, printable

if TYPE_CHECKING:
    from .live_view import LiveView
    from .terminal_rows import TerminalRows

SECRET_VARIABLES = ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN")
"""Variables whose values are never shown, whichever server is used."""

MAX_TRACEBACK_LINE = 1000
"""Characters of a line in a traceback: the text of an exception may hold everything that a server sent."""

MIN_WRAP_COLUMNS = 10
"""Narrower terminals break lines themselves."""


class Reporter:
    """Prints messages to stderr, from any thread. Must never let a message move the cursor, nor show a key, wherever it
    comes from, except in the transcript itself.

    quiet            only errors
    verbose          details as well
    as_json          errors as one JSON object each, for programs that read JSON
    debug            tracebacks of errors as well
    color            auto, always or never
    help_requested   whether only help is requested
    options          of the running command, so that hints don't name others; None before it is known
    """

    def __init__(self, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream or sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
        self._environ = environ
        self._secrets = [environ[name] for name in SECRET_VARIABLES if environ.get(name)]
        self._redactor = Redactor(*filter(is_long, self._secrets))
        self._lock = threading.RLock()  # signal handlers print, too
        self._view: TerminalRows | None = None
        self.quiet = self.verbose = self.as_json = self.debug = self.help_requested = False
        self.color = "auto"
        self.options: Collection[str] | None = None

    def add_secret(self, secret: str) -> None:
        """Redact this secret from now on."""
        self._secrets.append(secret)
        self._redactor = Redactor(*filter(is_long, self._secrets))

    def info(self, sentence: str) -> None:
        if not self.quiet:
            self._print_redacted(self._wrap_beside_view(one_line(sentence)))

    def warn(self, sentence: str, about: str = "") -> None:
        """Print a warning. `about`: name of the input that it is about."""
        self.info(f"warning: {about}: {sentence}" if about else f"warning: {sentence}")

    def detail(self, sentence: str) -> None:
        if self.verbose:
            from .status_row import DIM, styled

            self._print_redacted(styled(self._wrap_beside_view(one_line(sentence)), DIM, colored=self.is_colored()))

    def error(self, error: CliError) -> None:
        """Print what happened, and what to do next."""
        from .hints import fit_hint
        from .status_row import RED, styled

        todo = fit_hint(error, self.options)
        if self.as_json:
            import json

            facts = {"type": error.type, "message": error.message, "hint": todo}
            facts |= {name: getattr(error, name) for name in ("status", "request_id")}
            self._print_redacted(
                json.dumps({"error": {name: value for name, value in facts.items() if value is not None}})
            )
            return
        with self._lock:
            self._print_redacted(f"{styled('error:', RED, colored=self.is_colored())} {one_line(str(error))}")
            self._print_redacted(f"hint: {one_line(todo)}")

    def internal_error(self, error: BaseException) -> None:
        """Print an error that isn't the user's and doesn't end the run."""
        self.error(internal_error(error))
        if self.debug:
            self.print_traceback(error)

    def print_traceback(self, error: BaseException) -> None:
        """Print the traceback of an error. It may quote what a server sent, so it is sanitized line by line."""
        import traceback

        redactor = Redactor(*self._secrets)
        for entry in traceback.format_exception(error):
            for line in entry.splitlines():
                shown = printable(redactor.redact(line), keep="")
                cut = shown[:MAX_TRACEBACK_LINE]
                self._print_redacted(shown if cut == shown else f"{cut}…")

    def print_lines(self, render: Callable[[int, str], str]) -> None:
        """Print what the user asked for, even if quiet. `render` gets the columns and the encoding of the terminal."""
        from .terminal_rows import terminal_size

        for line in render(terminal_size(self._stream).columns, self._stream.encoding or "utf-8").splitlines():
            self._print_redacted(line)

    def print_segment(self, text: str) -> None:
        """Show a settled segment on a terminal while the transcript is written to somewhere else."""
        if not self.quiet and self._stream.isatty():
            self._print(self.wrap(one_line(text)))

    def wrap(self, text: str) -> str:
        """A line of text wrapped at words, if stderr is a terminal."""
        if not self._stream.isatty():
            return text
        from ..text_width import text_width, wrap
        from .terminal_rows import terminal_size

        columns = terminal_size(self._stream).columns - 1  # terminals differ in what they do after the last one
        if text_width(text) <= columns or columns < MIN_WRAP_COLUMNS:
            return text
        return "\n".join(wrap(text, columns))

    @contextmanager
    def live_view(self) -> Iterator[LiveView]:
        """The live view while the block runs, if stderr is a terminal. Messages clear it before they are printed.

        Call its `clear` before writing to stdout, which may be the same terminal.
        """
        from .live_view import LiveView

        view = LiveView(self._stream, colored=self.is_colored(), lock=self._lock, active=self._can_show_rows())
        with self._showing(view):
            yield view

    @contextmanager
    def batch_progress(
        self, *, local: bool, pause_seconds: Callable[[], float] = lambda: 0.0, lines: bool = True
    ) -> Iterator[BatchObserver]:
        """The progress of a batch while the block runs: rows on a terminal, elsewhere a line now and then if `lines`.

        local           whether the recordings cost nothing
        pause_seconds   returns how many seconds pass until recordings may be sent again
        """
        if self.quiet or not (lines or self._can_show_rows()):
            yield BatchObserver()
            return
        from .batch_progress import REDRAW_INTERVALS, BatchProgress, BatchView, line_intervals
        from .batch_rows import BatchRows

        make_progress = partial(BatchProgress, local=local, pause_seconds=pause_seconds)
        if self._can_show_rows():
            view = BatchView(self._stream, self._lock, self._environ, colored=self.is_colored())
            with self._showing(view), make_progress(view.show_state, REDRAW_INTERVALS) as progress:
                yield progress
        else:
            renderer = BatchRows(self._stream.encoding or "utf-8", colored=False)
            with make_progress(lambda state: self.info(renderer.sentence(state)), line_intervals()) as progress:
                yield progress

    @contextmanager
    def _showing(self, view: TerminalRows) -> Iterator[None]:
        """While the block runs, messages are printed above the rows, which Ctrl-Z hides and `fg` shows again."""
        from .job_control import job_control

        self._view = view
        try:
            with job_control(view.suspend, view.resume):
                yield
        finally:
            view.close()
            self._view = None

    @contextmanager
    def hidden_view(self) -> Iterator[None]:
        """While the block runs, and if stdout is the same terminal, nothing is shown at its bottom, nor printed by
        another thread.
        """
        if self._view is None or sys.stdout is None:
            yield
            return
        from .terminal_rows import is_same_terminal

        if not is_same_terminal(self._stream, sys.stdout):
            yield
            return
        with self._lock:
            self._view.clear()
            try:
                yield
            finally:
                self._view.redraw()

    def copy(self, text: str) -> None:
        """Copy a text to the terminal's clipboard, and say so. Raises OutputError as `clipboard.copy` does."""
        from .clipboard import copy

        self.info("copied" if copy(text, self._stream) else "warning: not copied: stderr is not a terminal")

    def notify(self, text: str) -> None:
        """Show a desktop notification, even if quiet."""
        from .notification import notify

        if not notify(self.redact(text), self._stream, self._environ):
            self.warn("no notification: there is neither a terminal nor a desktop")

    def _wrap_beside_view(self, sentence: str) -> str:
        """Wrap only beside the live view: elsewhere a sentence may hold a command to copy."""
        view = self._view
        if view is None or not (view.active and view.wraps_messages):
            return sentence
        return self.wrap(self.redact(sentence))  # before wrapping can divide a key

    def redact(self, sentence: str) -> str:
        """A sentence without keys."""
        return self._redactor.redact(sentence)

    def _can_show_rows(self) -> bool:
        return not self.quiet and self._stream.isatty() and self._environ.get("TERM") != "dumb"

    def _print_redacted(self, text: str) -> None:
        self._print(self.redact(text))

    def _print(self, text: str) -> None:
        with self._lock:
            if self._view is not None:
                self._view.clear()
            try:
                print(text, file=self._stream, flush=True)
            except OSError:
                pass  # messages that nobody can read must not end the run
            if self._view is not None:
                self._view.redraw()

    def is_colored(self) -> bool:
        """Whether messages are in colour."""
        if self.color != "auto":
            return self.color == "always"
        if self._environ.get("NO_COLOR"):
            return False
        return bool(self._environ.get("FORCE_COLOR")) or (self._stream.isatty() and self._environ.get("TERM") != "dumb")
