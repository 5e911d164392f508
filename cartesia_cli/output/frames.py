"""A recording of everything that two sides said on a socket: JSON, one frame a line.

    {"at": 0.0, "event": "open", "url": ..., "version": ...}
    {"at": 0.102, "event": "sent", "audio": base64}        binary frames
    {"at": 3.481, "event": "received", "text": ...}        text frames, as they came

`at` is seconds on a monotonic clock since the socket was asked for. `serve --script` plays it again. The key
travels in a header and is never written; the file can be read by its owner only, for it holds speech.
"""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ..errors import OutputError, UsageError


class FrameLog:
    """Writes each frame as it passes."""

    def __init__(
        self, path: Path, url: str, version: str, *, force: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if path.exists() and not force:
            raise UsageError(f"{path} exists", hint="--force overwrites it")
        self._path, self._clock, self._opened = path, clock, clock()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise OutputError(f"{path}: can't be written: {error.strerror}") from error
        self._file = open(descriptor, "w", encoding="utf-8", buffering=1)  # noqa: SIM115  closed by __exit__
        self._write({"event": "open", "url": url, "version": version})

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def frame(self, direction: str, frame: str | bytes) -> None:
        """`direction`: sent or received."""
        content = {"text": frame} if isinstance(frame, str) else {"audio": b64encode(frame).decode()}
        self._write({"event": direction, **content})

    def _write(self, entry: dict[str, str]) -> None:
        try:
            self._file.write(json.dumps({"at": round(self._clock() - self._opened, 6), **entry}) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path}: can't be written: {error.strerror}") from error
