"""What is said to the person at the terminal: on stderr, never on stdout.

Sentences, errors with their hints, and what makes way for both: a progress bar, the live view of a session.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ..errors import CliError
from ..redaction import Redactor, is_long
from ..text_width import text_width, wrap
from .hints import fit_hint
from .sanitize import one_line, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from .live_view import LiveView

SECRET_VARIABLES = ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN")
"""Variables whose values are never shown, whoever is asked to transcribe."""

MAX_TRACEBACK_LINE = 1000
"""Characters of a line in a traceback: the text of an exception may hold all that a server sent."""

RED, DIM, PLAIN = "\033[1;31m", "\033[2m", "\033[0m"

MIN_WRAP_COLUMNS = 10
"""Columns: on less, lines end where the terminal ends them."""


class ProgressBar:
    """A progress bar that may not be there: every call is allowed on every terminal."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None) if progress else None

    def show(self, description: str, done: float = 0.0, total: float | None = None) -> None:
        """What is going on, and how far it is; without a total, just that it goes on."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=description, completed=done, total=total)
            self._progress.refresh()


class Reporter:
    """The voice of a run. What goes through it never shows a key, whoever put it in, and moves no cursor.

    quiet     only errors
    verbose   details, too
    as_json   errors as one JSON object each, for programs that read JSON
    color     auto, always or never
    helps     whether nothing is asked for but help
    options   of the command that runs, as they are spelt, so that hints name no others; None before it is known
    """

    def __init__(self, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115  as long as the run
        self._environ = environ
        self._secrets = [environ[name] for name in SECRET_VARIABLES if environ.get(name)]
        self._redactor = Redactor(*filter(is_long, self._secrets))
        self._progress: Progress | None = None
        self._view: LiveView | None = None
        self.quiet = self.verbose = self.as_json = self.debug = self.help_requested = False
        self.color = "auto"
        self.options: Collection[str] | None = None

    def add_secret(self, secret: str) -> None:
        """Never show this secret."""
        self._secrets.append(secret)
        self._redactor = Redactor(*filter(is_long, self._secrets))

    def info(self, sentence: str) -> None:
        if not self.quiet:
            self._print_redacted(self._wrap_beside_view(one_line(sentence)))

    def detail(self, sentence: str) -> None:
        if self.verbose:
            self._print_redacted(self._styled(DIM, self._wrap_beside_view(one_line(sentence))))

    def error(self, error: CliError) -> None:
        """What happened, and what to do next."""
        todo = fit_hint(error, self.options)
        if self.as_json:
            import json

            facts = {"type": error.type, "message": error.message, "hint": todo}
            facts |= {name: getattr(error, name) for name in ("status", "request_id")}
            self._print_redacted(
                json.dumps({"error": {name: value for name, value in facts.items() if value is not None}})
            )
            return
        self._print_redacted(f"{self._styled(RED, 'error:')} {one_line(str(error))}")
        self._print_redacted(f"hint: {one_line(todo)}")

    def print_traceback(self, error: BaseException) -> None:
        """The traceback of an error. Exceptions of libraries quote what servers sent, so it is cleaned line by line."""
        import traceback

        redactor = Redactor(*self._secrets)
        for entry in traceback.format_exception(error):
            for line in entry.splitlines():
                shown = printable(redactor.redact(line), keep="")
                cut = shown[:MAX_TRACEBACK_LINE]
                self._print_redacted(shown if cut == shown else f"{cut}…")

    def print_lines(self, picture: Callable[[int, str], str]) -> None:
        """Lines that were asked for, whatever else is said. `picture` is told the columns and the encoding."""
        from .live_view import terminal_size

        for line in picture(terminal_size(self._stream).columns, self._stream.encoding or "utf-8").splitlines():
            self._print_redacted(line)

    def print_segment(self, text: str) -> None:
        """A line of a transcript that goes elsewhere, for whoever looks at the terminal."""
        if not self.quiet and self._stream.isatty():
            self._print(self.wrap(one_line(text)))

    def wrap(self, text: str) -> str:
        """A line of text in lines that end at words, where stderr is a terminal."""
        if not self._stream.isatty():
            return text
        from .live_view import terminal_size

        columns = terminal_size(self._stream).columns - 1  # terminals differ in what they do after the last one
        if text_width(text) <= columns or columns < MIN_WRAP_COLUMNS:
            return text
        return "\n".join(wrap(text, columns))

    @contextmanager
    def progress_bar(self) -> Iterator[ProgressBar]:
        """A progress bar while the block runs, where somebody can see it."""
        if not self._is_visible():
            yield ProgressBar()
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        console = Console(file=self._stream, no_color=not self._is_colored())
        with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
            self._progress = progress
            try:
                yield ProgressBar(progress)
            finally:
                self._progress = None

    @contextmanager
    def live_view(self) -> Iterator[LiveView]:
        """The live view while the block runs, where somebody can see it. Sentences clear it before they are said.

        Whoever writes to stdout meanwhile must call its `clear` first: that may be the same terminal.
        """
        from .live_view import LiveView

        view = LiveView(self._stream, colored=self._is_colored(), active=self._is_visible())
        self._view = view
        try:
            yield view
        finally:
            self._view = None
            view.close()

    def _wrap_beside_view(self, sentence: str) -> str:
        """Wrapped at words while the live view is, not where it may be a command that somebody copies."""
        if self._view is None or not self._view.active:
            return sentence
        return self.wrap(self.redact(sentence))  # before a key can be divided

    def redact(self, sentence: str) -> str:
        """A sentence without any key."""
        return self._redactor.redact(sentence)

    def _is_visible(self) -> bool:
        return not self.quiet and self._stream.isatty() and self._environ.get("TERM") != "dumb"

    def _print_redacted(self, text: str) -> None:
        self._print(self.redact(text))

    def _print(self, text: str) -> None:
        if self._view is not None:
            self._view.clear()
        try:
            if self._progress is not None:
                self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)
        except OSError:
            pass  # nobody to talk to is no reason to fail
        if self._view is not None:
            self._view.redraw_wait()

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{PLAIN}" if self._is_colored() else text

    def _is_colored(self) -> bool:
        if self.color != "auto":
            return self.color == "always"
        if self._environ.get("NO_COLOR"):
            return False
        return bool(self._environ.get("FORCE_COLOR")) or (self._stream.isatty() and self._environ.get("TERM") != "dumb")
