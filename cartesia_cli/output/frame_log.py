"""Logs everything that is sent and received over the connections of a session: JSON, one event per line.

    {"at": 0.0, "event": "open", "url": ..., "version": ...}    a connection is requested
    {"at": 0.102, "event": "sent", "audio": base64}             binary frames
    {"at": 3.481, "event": "received", "text": ...}             text frames, as they came
    {"at": 4.2, "event": "close", "code": 1011, "reason": ...}  and so on

`at` is seconds on a monotonic clock since the recording began. `serve --script` replays it. The file is
readable by its owner only, since it holds speech. It holds complete lines: on a full disk the log ends, and the session
continues.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..atomic_files import output_errors
from ..audio.wav_writer import open_private
from ..errors import UsageError

OTHER_FILE_HINT = "name another file for the events"


class FrameLog:
    """Writes each event as it happens.

    on_warning   called with a sentence if the log ends early

    Raises UsageError if `path` exists without `force`, OutputError if it can't be opened. A file that is empty at the
    end is removed.
    """

    def __init__(
        self,
        path: Path,
        *,
        force: bool,
        on_warning: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if path.exists() and not force:
            raise UsageError(f"{path} exists", hint="allow it to be overwritten")
        self._path, self._on_warning, self._clock, self._began = path, on_warning, clock, clock()
        self._size, self._is_over = 0, False
        with output_errors(path, hint=OTHER_FILE_HINT):
            self._file = open_private(path, "wb")

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            self._file.close()
            if not self._size and self._path.is_file():  # otherwise the next run would need --force
                self._path.unlink()

    def put(self, event: str, data: str | bytes | Mapping[str, object]) -> None:
        """Log an event with its frame, or with more members of the line."""
        if self._is_over:
            return
        match data:
            case str():
                data = {"text": data}
            case bytes():
                data = {"audio": b64encode(data).decode()}
        line = (json.dumps({"at": round(self._clock() - self._began, 6), "event": event, **data}) + "\n").encode()
        rest = line
        try:
            while rest:
                rest = rest[self._file.write(rest) :]  # a disk that is almost full accepts a part
            self._size += len(line)
        except OSError as error:
            self._is_over = True
            with suppress(OSError):
                self._file.truncate(self._size)
            self._on_warning(f"{self._path}: the log ends here: {error.strerror}")
