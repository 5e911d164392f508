"""A recording of everything that two sides said on a socket: JSON, one frame a line.

    {"at": 0.0, "event": "open", "url": ..., "version": ...}
    {"at": 0.102, "event": "sent", "audio": base64}        binary frames
    {"at": 3.481, "event": "received", "text": ...}        text frames, as they came

`at` is seconds on a monotonic clock since the socket was asked for. `serve --script` plays it again. The key
travels in a header and is never written; the file can be read by its owner only, for it holds speech. It holds
whole lines: where there is no room for one, it ends, and nothing else does.
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType

from ..errors import OutputError, UsageError


class FrameLog:
    """Writes each frame as it passes.

    tell   told in a sentence when the record ends too soon

    UsageError where `path` exists and there is no `force`, OutputError where nothing can be written to it.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        version: str,
        *,
        force: bool,
        tell: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if path.exists() and not force:
            raise UsageError(f"{path} exists", hint="--force overwrites it")
        self._path, self._tell, self._clock, self._opened = path, tell, clock, clock()
        self._size, self._is_over = 0, False
        try:
            self._file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")
            self._put({"event": "open", "url": url, "version": version})
        except OSError as error:
            raise OutputError(f"{path}: can't be written: {error.strerror}") from error

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._file.close()

    def frame(self, direction: str, frame: str | bytes) -> None:
        """`direction`: sent or received."""
        if self._is_over:
            return
        content = {"text": frame} if isinstance(frame, str) else {"audio": b64encode(frame).decode()}
        try:
            self._put({"event": direction, **content})
        except OSError as error:
            self._is_over = True
            with suppress(OSError):
                self._file.truncate(self._size)
            self._tell(f"{self._path}: the record ends here: {error.strerror}")

    def _put(self, entry: dict[str, str]) -> None:
        line = (json.dumps({"at": round(self._clock() - self._opened, 6), **entry}) + "\n").encode()
        rest = line
        while rest:
            rest = rest[self._file.write(rest) :]  # a disk that is almost full takes a part
        self._size += len(line)
