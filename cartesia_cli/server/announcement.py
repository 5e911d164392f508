"""Lets commands of the same user use a server of `serve` that has the model loaded, instead of loading it themselves.

The server listens on a Unix domain socket that only its user may connect to. It tells who connects, in a line of JSON,
where it answers and with which token, and in further lines how much of each recording is done, and that it is still
running. The name of the socket stands for all that results depend on: this program's version and installation, and the
model. A server that was killed leaves the socket behind, but doesn't accept connections there.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .. import __version__
from ..directories import cache_dir
from ..errors import EngineError
from .packaged_models import find_packaged, identify_folder

if TYPE_CHECKING:  # imports uvicorn, which a command that finds a server doesn't need
    from .observer import Exchange, ServerObserver

MAX_PATH_BYTES = 103
"""The longest name of a socket, on macOS (unix(4)); Linux takes four more."""

ANSWER_SECONDS = 1.0
"""How long a server may take to tell where it answers; most of all, a stopped one doesn't."""

HEARTBEAT_SECONDS = 0.5
"""How often a server sends its clients a line."""

SILENT_SECONDS = 2.0
"""After so long without a line, clients take a server for stopped."""


def socket_path(model: str | None) -> Path | None:
    """Where a server with this model is announced; None if it can't be, as on Windows.

    model   as `--local-model` takes it
    """
    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        packaged = find_packaged(model)
        parts = [model or "" if packaged is None else packaged.title, *identify_folder(model)]
    except (EngineError, OSError):
        return None
    identity = "\0".join((__version__, sys.prefix, str(Path(__file__).parent), *parts))
    path = cache_dir() / f"serve-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.sock"
    return path if len(os.fsencode(path)) <= MAX_PATH_BYTES else None


@dataclass(slots=True)
class FoundServer:
    """A running server.

    token       the key that it accepts from this user
    stream      what comes over `connection`: lines of JSON, how much of each recording is done; and empty ones
    is_silent   whether no more lines came while `report` waited for them, though it hadn't ended
    """

    base_url: str
    token: str
    pid: int
    connection: socket.socket
    stream: BinaryIO
    is_silent: bool = False

    def close(self) -> None:
        """End the reports."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def report(self, observer: ServerObserver) -> None:
        """Report the progress of recordings, from a thread of its own, until the stream ends or nothing comes."""
        threading.Thread(target=self._report, args=(observer,), daemon=True).start()

    def _report(self, observer: ServerObserver) -> None:
        try:
            for line in self.stream:
                if line.strip():
                    progress = json.loads(line)
                    observer.audio_recognized(progress["recording"], progress["seconds"])
        except TimeoutError:
            self.is_silent = True
        except (OSError, ValueError, KeyError, TypeError):
            pass  # closed by this side, or the server is gone


def find(model: str | None) -> FoundServer | None:
    """The running server of this user with this model, version and installation; None if there is none."""
    path = socket_path(model)
    if path is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError), ExitStack() as stack:
        about = path.lstat()
        if not stat.S_ISSOCK(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            return None
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        stream = connection.makefile("rb")
        told = json.loads(stream.readline())
        connection.settimeout(SILENT_SECONDS)
        found = FoundServer(str(told["base_url"]), str(told["token"]), int(told["pid"]), connection, stream)
        stack.pop_all()  # it stays open
        return found
    return None


class Announcement:
    """A ServerObserver that tells those who found the server how much of each recording is done.

    observer   is informed of what has ended
    """

    def __init__(self, observer: ServerObserver) -> None:
        self._observer = observer
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()

    @contextmanager
    def publish(self, path: Path, base_url: str, token: str) -> Iterator[None]:
        """Let the server be found in the `with` block. Does nothing if another one is, or if no socket can be made."""
        hello = json.dumps({"pid": os.getpid(), "base_url": base_url, "token": token}).encode() + b"\n"
        listener = _listen(path)
        if listener is None:
            yield
            return
        try:
            own = path.lstat().st_ino
            threading.Thread(target=self._accept, args=(listener, hello), daemon=True).start()
            yield
        finally:
            with suppress(OSError):
                if path.lstat().st_ino == own:
                    path.unlink()
            listener.close()

    def _accept(self, listener: socket.socket, hello: bytes) -> None:
        """Greet those who connect; send all of them a heartbeat at least every HEARTBEAT_SECONDS."""
        with suppress(OSError):  # closed
            while True:
                listener.settimeout(HEARTBEAT_SECONDS)
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    if self._send(connection, hello):
                        self._connections.append(connection)
                self._send_to_all(b"\n")

    def _send(self, connection: socket.socket, line: bytes) -> bool:
        """Whether the whole line was sent. A client that doesn't read gets no more: it must not hold up the server."""
        with suppress(OSError):
            if connection.send(line) == len(line):
                return True
        connection.close()
        return False

    def _send_to_all(self, line: bytes) -> None:
        with self._lock:
            for connection in list(self._connections):
                if not self._send(connection, line):
                    self._connections.remove(connection)

    def audio_recognized(self, recording: str, seconds: float) -> None:
        self._send_to_all(json.dumps({"recording": recording, "seconds": seconds}).encode() + b"\n")

    def exchange_ended(self, exchange: Exchange) -> None:
        self._observer.exchange_ended(exchange)


def _listen(path: Path) -> socket.socket | None:
    """A listening socket at `path`, in the place of one that nobody listens to; None if that is not possible."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_answered(path):
            raise OSError
        listener.bind(str(draft))
        draft.chmod(0o600)  # before it listens: until then nobody can connect
        listener.listen()
        draft.replace(path)
        return listener
    except OSError:
        draft.unlink(missing_ok=True)
        listener.close()
        return None


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        return True
    return False
