"""`--exec`: runs a command for each settled segment, one after the other, while the session continues.

The text comes on standard input, verbatim, the segment as JSON in CARTESIA_SEGMENT. The command's output is shown line
by line on stderr: stdout is data, and the live view has the last row of the terminal. No shell is involved, and the
command's environment has no key.

    submit ─► queue ─► worker: one command at a time ─► pipe ─► reader ─► say

Must never hold up or end a session: each kind of failure (or a timeout) is reported once.
"""

from __future__ import annotations

import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable

from ...errors import UsageError
from ...output.console import SECRET_VARIABLES
from ...transcript import Segment

SEGMENT_SECONDS = 10.0
"""Seconds a command may run for one segment; then it is killed with all its child processes."""

EXIT_SECONDS = 15.0
"""Seconds the remaining segments may take after the session."""

MAX_LINES = 100
"""Lines that are shown of a command's output for one segment, so that endless output fills neither memory nor the
screen. The last of them then says that there are more.
"""

SEGMENT_MARK = b"\0\n"
"""The line between the output of one command and that of the next, in the pipe that they share."""

MAX_LINE_BYTES = 4096
"""Bytes; longer lines are shown in pieces."""

TRAILING_SECONDS = 0.2
"""Seconds to wait for the last output: a program that stays in the background, as xclip does, keeps the pipe open."""

MAX_VARIABLE_BYTES = 100_000
"""Bytes of JSON in an environment variable: systems limit the size of the environment."""


def parse_command(text: str) -> list[str]:
    """A program and its arguments. Raises UsageError for a program that isn't found."""
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--exec: {error}", hint="check the quotes") from error
    if not command or shutil.which(command[0]) is None:
        raise UsageError(f"--exec: no command {text!r}", hint="give a program and its arguments")
    return command


class ExecHook:
    """Runs the command for each segment while a `with` block lasts. Raises UsageError for a command that isn't found.

    say            shows a message; called in threads of their own
    newline        whether the text ends with a line break
    limit          seconds a command may run for one segment
    exit_seconds   seconds the remaining segments may take at the end of the block
    """

    def __init__(
        self,
        command: str,
        say: Callable[[str], None],
        *,
        newline: bool = False,
        limit: float = SEGMENT_SECONDS,
        exit_seconds: float = EXIT_SECONDS,
    ) -> None:
        self._command = parse_command(command)
        self._say, self._limit, self._exit_seconds = say, limit, exit_seconds
        self._newline = "\n" if newline else ""
        self._segments: queue.SimpleQueue[Segment | None] = queue.SimpleQueue()
        """None after the last one."""
        self._failures: set[str] = set()
        self._worker = threading.Thread(target=self._run_commands, name="exec", daemon=True)
        self._reader = threading.Thread(target=self._read_output, name="exec", daemon=True)

    def __enter__(self) -> ExecHook:
        self._source, self._sink = os.pipe()
        self._worker.start()
        self._reader.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._segments.put(None)
        self._worker.join(self._exit_seconds)
        if self._worker.is_alive():
            self._say(f"warning: --exec: the last segments were not done within {self._exit_seconds:g} s")

    def submit(self, segment: Segment) -> None:
        """Queue one more segment."""
        if segment.text.strip():
            self._segments.put(segment)

    def _run_commands(self) -> None:
        while (segment := self._segments.get()) is not None:
            try:
                self._run_command(segment)
            except OSError as error:
                self._warn_once("start", f"--exec: {self._command[0]} can't be started: {error.strerror}")
            except Exception as error:  # later segments must still reach the command
                self._warn_once("fault", f"--exec: a segment was not passed on: {error}")
        os.close(self._sink)
        self._reader.join(TRAILING_SECONDS)

    def _read_output(self) -> None:
        """Show the output of commands, MAX_LINES of each."""
        remaining = 0
        with open(self._source, "rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                if line == SEGMENT_MARK:
                    remaining = MAX_LINES
                elif text := line.decode("utf-8", "replace").rstrip():
                    remaining -= 1
                    if remaining >= 0:
                        self._say(text if remaining else "--exec: the rest of its output is not shown")

    def _run_command(self, segment: Segment) -> None:
        from ...output.text_json import to_json  # leaves no lone surrogates, which an environment can't hold

        document = to_json(segment.to_dict()).rstrip("\n")
        environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        if len(document.encode("utf-8", "replace")) <= MAX_VARIABLE_BYTES and "\0" not in document:
            environment["CARTESIA_SEGMENT"] = document
        os.write(self._sink, b"\n" + SEGMENT_MARK)
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=self._sink,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that all of it can be killed, and Ctrl-C stays ours
        )
        try:
            process.communicate(f"{segment.text}{self._newline}".encode("utf-8", "replace"), timeout=self._limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._warn_once("slow", f"--exec: {self._command[0]} took more than {self._limit:g} s and was killed")
            return
        if process.returncode:
            self._warn_once("failed", f"--exec: {self._command[0]} ended with {process.returncode}")

    def _warn_once(self, kind: str, sentence: str) -> None:
        if kind not in self._failures:
            self._failures.add(kind)
            self._say(f"warning: {sentence}")
