"""`--exec`: each settled segment handed to a command, one after the other, beside the session.

The text comes on standard input, the segment as JSON in CARTESIA_SEGMENT; what the command prints goes to stderr,
for stdout is data. No shell is involved. Must never hold up or end a session: a command that fails or hangs is
told, once for each way of failing.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType

from ..errors import UsageError
from ..transcript import Segment

LIMIT = 10.0
"""Seconds that a command may take for one segment; then it is killed with all that it started."""

FAREWELL = 15.0
"""Seconds that the last segments may take after the session."""

LARGEST = 100_000
"""Bytes of JSON in the environment: systems have a limit for all of it together."""

SECRETS = ("CARTESIA_API_KEY", "CARTESIA_ACCESS_TOKEN")
"""Variables that no command of somebody else's needs to know."""


class Handover:
    """The command, for the length of a `with` block. UsageError for one that can't be found."""

    def __init__(self, command: str, say: Callable[[str], None], *, limit: float = LIMIT, farewell: float = FAREWELL):
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--exec: {error}", hint="check the quotes") from error
        if not self._words or shutil.which(self._words[0]) is None:
            raise UsageError(f"--exec: no command {command!r}", hint="name a program, and its arguments behind it")
        self._say, self._limit, self._farewell = say, limit, farewell
        self._waiting: queue.SimpleQueue[Segment | None] = queue.SimpleQueue()
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="handover", daemon=True)

    def __enter__(self) -> Handover:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._waiting.put(None)
        self._thread.join(self._farewell)
        if self._thread.is_alive():
            self._tell("late", f"--exec: the last segments were not done within {self._farewell:g} s")

    def give(self, segment: Segment) -> None:
        """One more; it waits for its turn."""
        if segment.text.strip():
            self._waiting.put(segment)

    def _work(self) -> None:
        while (segment := self._waiting.get()) is not None:
            try:
                self._run(segment)
            except OSError as error:
                self._tell("start", f"--exec: {self._words[0]} can't be started: {error.strerror}")

    def _run(self, segment: Segment) -> None:
        document = json.dumps(segment.document(), ensure_ascii=False)
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        if len(document.encode("utf-8", "replace")) <= LARGEST and "\0" not in document:
            environment["CARTESIA_SEGMENT"] = document
        process = subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=2,
            env=environment,
            start_new_session=True,  # so that all of it can be killed, and Ctrl-C stays ours
        )
        try:
            process.communicate(f"{segment.text.strip()}\n".encode("utf-8", "replace"), timeout=self._limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._tell("slow", f"--exec: {self._words[0]} took more than {self._limit:g} s and was killed")
            return
        if process.returncode:
            self._tell("failed", f"--exec: {self._words[0]} ended with {process.returncode}")

    def _tell(self, kind: str, sentence: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._say(f"warning: {sentence}")
