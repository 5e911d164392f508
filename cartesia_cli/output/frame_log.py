"""A recording of everything that two sides said over the connections of a session: JSON, one event a line.

    {"at": 0.0, "event": "open", "url": ..., "version": ...}    a connection is asked for
    {"at": 0.102, "event": "sent", "audio": base64}             binary frames
    {"at": 3.481, "event": "received", "text": ...}             text frames, as they came
    {"at": 4.2, "event": "close", "code": 1011, "reason": ...}  and so on, as the connection tells it

`at` is seconds on a monotonic clock since the recording began. `serve --script` plays it again. The file can be
read by its owner only, for it holds speech. It holds whole lines: where there is no room for one, it ends, and
nothing else does.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..audio.wav_writer import open_private
from ..errors import OutputError, UsageError

OTHER_FILE_HINT = "--raw-events names another file"


class FrameLog:
    """Writes each event as it happens.

    tell   told in a sentence when the record ends too soon

    UsageError where `path` exists and there is no `force`, OutputError where it can't be opened. A file of which
    nothing came is gone at the end.
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
            raise UsageError(f"{path} exists", hint="--force overwrites it")
        self._path, self._on_warning, self._clock, self._began = path, on_warning, clock, clock()
        self._size, self._is_over = 0, False
        try:
            self._file = open_private(path, "wb")
        except OSError as error:
            raise OutputError(f"{path}: can't be written: {error.strerror}", hint=OTHER_FILE_HINT) from error

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._file.close()
            if not self._size and self._path.is_file():  # it would be in the way of the next one
                self._path.unlink()

    def put(self, event: str, told: str | bytes | Mapping[str, object]) -> None:
        """What happened, and what belongs to it: a frame, or members of the line."""
        if self._is_over:
            return
        match told:
            case str():
                told = {"text": told}
            case bytes():
                told = {"audio": b64encode(told).decode()}
        try:
            self._write({"event": event, **told})
        except OSError as error:
            self._is_over = True
            with suppress(OSError):
                self._file.truncate(self._size)
            self._on_warning(f"{self._path}: the record ends here: {error.strerror}")

    def _write(self, entry: Mapping[str, object]) -> None:
        line = (json.dumps({"at": round(self._clock() - self._began, 6), **entry}) + "\n").encode()
        rest = line
        while rest:
            rest = rest[self._file.write(rest) :]  # a disk that is almost full takes a part
        self._size += len(line)
