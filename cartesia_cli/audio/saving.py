"""What a session sends, kept as a WAV file at the same time.

The header is right after every block, so that the file can be played whatever becomes of the session.
"""

from __future__ import annotations

import os
import wave
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from ..errors import OutputError
from .pcm import RATE


class Source(Protocol):
    """What can be kept: 16-bit blocks at RATE."""

    def frames(self) -> AsyncGenerator[bytes, None]: ...


class Saved:
    """A source that keeps what it gives. The file can be read by its owner only, for it holds speech."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source, self._path = source, path

    async def frames(self) -> AsyncGenerator[bytes, None]:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file, wave.open(file, "wb") as recording:
                recording.setnchannels(1)
                recording.setsampwidth(2)
                recording.setframerate(RATE)
                async with aclosing(self._source.frames()) as blocks:
                    async for block in blocks:
                        recording.writeframes(block)
                        file.flush()
                        yield block
        except OSError as error:
            raise OutputError(f"{self._path}: can't be written: {error.strerror}") from error
