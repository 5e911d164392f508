"""A file on its way into a multipart request: streamed from disk, never held in memory.

httpx has multipart of its own, in 64 KiB reads (1.5 times curl's time for a GiB, where 1 MiB reads take
1.1 times) and without a place to count what went out. A form with one file is little to write.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ..errors import InputError

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """The file part of a form.

    path         what is read, again from the start for each attempt
    filename     as the server is told
    media_type   such as audio/wav
    name         as the user knows it, for messages; the filename where it is empty
    """

    path: Path
    filename: str
    media_type: str
    name: str = ""


class Multipart:
    """The body of one request (RFC 7578): the fields, then the file. Iterate it once.

    headers      Content-Type and Content-Length
    file_bytes   how much of the file is sent
    """

    def __init__(self, fields: Sequence[tuple[str, str]], upload: Upload, sent: Callable[[int], None]) -> None:
        boundary = secrets.token_hex(16)
        parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(upload.filename)}"\r\n'
            f"Content-Type: {upload.media_type}\r\n\r\n"
        )
        self._upload = upload
        self._sent = sent
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.file_bytes = size(upload)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + self.file_bytes + len(self._tail)),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        left = self.file_bytes
        with _opened(self._upload) as file:
            # A file that grows is sent as long as it was at the start: a recording may still be going on.
            while left:
                with _told(self._upload):
                    block = file.read(min(READ_BYTES, left))
                if not block:
                    raise InputError(
                        f"{self._upload.filename} became shorter while it was sent",
                        hint="wait until the program that writes it is done",
                    )
                left -= len(block)
                yield block
                self._sent(len(block))
        yield self._tail


def size(upload: Upload) -> int:
    """Bytes of the file now. InputError when it is gone."""
    with _told(upload):
        return os.stat(upload.path).st_size


@contextmanager
def _told(upload: Upload) -> Iterator[None]:
    """What the system has against a file, as an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{upload.filename} can't be read any more: {error.strerror}", hint="was it moved or deleted meanwhile?"
        ) from error


def _opened(upload: Upload) -> FileIO:
    with _told(upload):
        return upload.path.open("rb", buffering=0)


def _quoted(name: str) -> str:
    """A file name as a quoted parameter, escaped as browsers do; bytes that are no UTF-8 become U+FFFD."""
    readable = os.fsencode(name).decode("utf-8", "replace")
    for character, escape in (("\r", "%0D"), ("\n", "%0A"), ('"', "%22")):
        readable = readable.replace(character, escape)
    return "".join(c if c.isprintable() else "�" for c in readable)
