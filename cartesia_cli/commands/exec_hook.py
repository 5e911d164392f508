"""`--exec`: each settled segment handed to a command, one after the other, beside the session.

The text comes on standard input, verbatim, the segment as JSON in CARTESIA_SEGMENT; what the command prints is told
line by line, for stdout is data and the live view has the last row of the terminal. No shell is involved.

    give ─► waiting ─► worker: one command at a time ─► pipe ─► reader ─► said ─► say, in the loop's thread

Must never hold up or end a session: a command that fails or hangs is told, once for each way of failing.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ..errors import UsageError
from ..transcript import Segment

LIMIT = 10.0
"""Seconds that a command may take for one segment; then it is killed with all that it started."""

FAREWELL = 15.0
"""Seconds that the last segments may take after the session."""

LINES = 100
"""Lines of a command that are told for one segment: one that never stops talking fills neither memory nor screen."""

LONGEST_LINE = 4096
"""Bytes; what is longer is told in pieces."""

TRAILING = 0.2
"""Seconds in which the last line comes. A program that goes on in the background (xclip does) keeps the pipe open."""

LARGEST = 100_000
"""Bytes of JSON in the environment: systems have a limit for all of it together."""

SECRETS = ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN")
"""Variables that no command of somebody else's needs to know."""


class ExecHook:
    """The command, for the length of a `with` block. UsageError for one that can't be found.

    `say` is called in the thread of the block: by the event loop in which segments are given, and at the end.
    """

    def __init__(
        self,
        command: str,
        say: Callable[[str], None],
        *,
        newline: bool = False,
        limit: float = LIMIT,
        farewell: float = FAREWELL,
    ) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--exec: {error}", hint="check the quotes") from error
        if not self._words or shutil.which(self._words[0]) is None:
            raise UsageError(f"--exec: no command {command!r}", hint="name a program, and its arguments behind it")
        self._say, self._limit, self._farewell = say, limit, farewell
        self._newline = "\n" if newline else ""
        self._waiting: queue.SimpleQueue[Segment | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        """Lines to be told; None behind the last one."""
        self._room = 0
        """Lines that the command may still print."""
        self._failures: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = threading.Thread(target=self._work, name="handover", daemon=True)
        self._reader = threading.Thread(target=self._read, name="handover", daemon=True)

    def __enter__(self) -> ExecHook:
        self._source, self._sink = os.pipe()
        self._worker.start()
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._waiting.put(None)
        end = time.monotonic() + self._farewell
        while (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                if (line := self._said.get(timeout=left)) is None:
                    return
                self._say(line)
        self._say(f"warning: --exec: the last segments were not done within {self._farewell:g} s")

    def submit(self, segment: Segment) -> None:
        """One more; it waits for its turn."""
        if self._loop is None:
            with suppress(RuntimeError):
                self._loop = asyncio.get_running_loop()
        if segment.text.strip():
            self._waiting.put(segment)

    def _work(self) -> None:
        while (segment := self._waiting.get()) is not None:
            try:
                self._run(segment)
            except OSError as error:
                self._tell("start", f"--exec: {self._words[0]} can't be started: {error.strerror}")
            except Exception as error:  # the segments behind it must still reach the command
                self._tell("fault", f"--exec: a segment was not handed over: {error}")
        os.close(self._sink)
        self._reader.join(TRAILING)
        self._said.put(None)

    def _read(self) -> None:
        """What commands print."""
        with open(self._source, "rb") as lines:
            while line := lines.readline(LONGEST_LINE):
                if text := line.decode("utf-8", "replace").rstrip():
                    self._room -= 1
                    if self._room >= 0:
                        self._put(text if self._room else "--exec: the rest of what it says is not shown")

    def _put(self, line: str) -> None:
        self._said.put(line)
        with suppress(RuntimeError):  # the loop is gone: the end of the block tells it
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._show)

    def _show(self) -> None:
        with suppress(queue.Empty):
            while (line := self._said.get_nowait()) is not None:
                self._say(line)

    def _run(self, segment: Segment) -> None:
        from ..output.text_json import line  # which escapes halves of characters: no environment can hold them

        document = line(segment.to_dict()).rstrip("\n")
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        if len(document.encode("utf-8", "replace")) <= LARGEST and "\0" not in document:
            environment["CARTESIA_SEGMENT"] = document
        self._room = LINES
        process = subprocess.Popen(
            self._words,
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
            self._tell("slow", f"--exec: {self._words[0]} took more than {self._limit:g} s and was killed")
            return
        if process.returncode:
            self._tell("failed", f"--exec: {self._words[0]} ended with {process.returncode}")

    def _tell(self, kind: str, sentence: str) -> None:
        if kind not in self._failures:
            self._failures.add(kind)
            self._put(f"warning: {sentence}")
