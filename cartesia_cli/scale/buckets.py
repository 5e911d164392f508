"""Recordings and results in object storage: Amazon S3 (`s3://`), Google Cloud Storage (`gs://`), Azure (`az://`).

By obstore, which comes with the extra [buckets]. Credentials, region and endpoint come from the environment, by the
names that obstore knows (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME, …). Must never put a credential into a message, or keep a listing in memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal

from ..daemon_thread import start_daemon_thread
from ..errors import CliError, InputError, NetworkError, OutputError, UsageError
from ..remote_url import split_bucket_url
from ..transfer import DownloadedFile, RemoteState, TransferProgress, new_file, short_reason, too_large_error

if TYPE_CHECKING:  # an extra
    from obstore import Attributes, GetOptions
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Store = S3Store | GCSStore | AzureStore

GLOB_CHARACTERS = re.compile(r"[*?\[]")
"""Characters that make a key a glob."""

LIST_OBJECTS = 1000
"""Objects in one piece of a listing, as many as S3 puts into a response."""

BLOCK_BYTES = 1 << 20

MAX_ATTEMPTS = 3
"""Attempts to get an object in a row that get no further. obstore retries each request by itself, too."""

CREDENTIALS_HINTS = {
    "s3": "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true",
}
"""Scheme to how to set its credentials."""

ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Scheme to the environment variables that name another server than the cloud's own."""

METADATA_SERVER = re.compile(r"169\.254\.169\.254|metadata\.google\.internal|/latest/api/token|/metadata/identity")
"""Where obstore looks for credentials on a cloud machine if the environment has none."""

NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|The specified (?:bucket|container) does not exist")
WRONG_REGION = re.compile(r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint")


def stands_for_several(url: str) -> bool:
    """Whether a bucket's URL may stand for several objects: a whole bucket, a prefix that ends in "/", or a glob."""
    try:
        _, _, key = split_bucket_url(url)
    except ValueError:
        return False
    return not key or key.endswith("/") or GLOB_CHARACTERS.search(key) is not None


class Buckets:
    """The buckets that a run reads from or writes to. May be used from several threads at once.

    Raises UsageError if the extra is missing.
    """

    def __init__(self) -> None:
        try:
            import obstore
        except ImportError as error:
            raise UsageError(
                f"reading and writing buckets needs obstore, which can't be imported ({error.name} is missing)",
                hint="pip install 'cartesia-cli[buckets]'",
            ) from error
        self._obstore = obstore
        self._stores: dict[tuple[str, str], Store] = {}

    def search(self, url: str, suffixes: Collection[str]) -> Iterator[tuple[str, str, RemoteState]]:
        """Objects below a prefix that have one of these suffixes, or those that match a glob, in the order of their
        keys, as the listing comes in: the URL of each, its key below the prefix or the fixed part of the glob, and its
        state. Keys with a part that begins with a dot are skipped, as in folders.
        """
        scheme, bucket, pattern = split_bucket_url(url)
        parts = pattern.split("/")
        fixed = next((number for number, part in enumerate(parts) if GLOB_CHARACTERS.search(part)), len(parts) - 1)
        base = "".join(f"{part}/" for part in parts[:fixed])
        globs = tuple(parts[fixed:]) if GLOB_CHARACTERS.search(pattern) else ()
        store, _ = self._store(url)
        with _errors(url):
            listing = iter(self._obstore.list(store, base or None, chunk_size=LIST_OBJECTS))
        while True:
            with _errors(url):
                # It blocks outside Python: in a thread, so that Ctrl-C ends the wait at once.
                batch = start_daemon_thread(partial(next, listing, None), "listing").result()
            if batch is None:
                return
            for found in batch:
                key = found["path"]
                relative = key.removeprefix(base)
                steps = tuple(relative.split("/"))
                wanted = (
                    _matches(steps, globs)
                    if globs
                    else PurePosixPath(key).suffix.lower() in suffixes
                    and not any(step.startswith(".") for step in steps)
                )
                if wanted and relative and not key.endswith("/"):
                    yield f"{scheme}://{bucket}/{key}", relative, RemoteState(found["size"], found["e_tag"])

    def describe(self, url: str) -> RemoteState:
        """Size and version of one object. Raises MissingObjectError if it doesn't exist."""
        store, key = self._store(url)
        with _errors(url):
            found = self._obstore.head(store, key)
        return RemoteState(found["size"], found["e_tag"])

    def exists(self, url: str) -> bool:
        """Whether there is such an object. Raises InputError if there is no such bucket."""
        try:
            self.describe(url)
        except MissingObjectError:
            return False
        return True

    def download(self, url: str, folder: Path, *, max_bytes: int, on_progress: TransferProgress) -> DownloadedFile:
        """Save an object in a new file in this folder, which the caller deletes. After an error, no file is left.

        A transfer that breaks off is continued if the object is still the same, or else started over. Raises InputError
        if the object is missing, too large or can't be saved, NetworkError if it can't be transferred.
        """
        with new_file(folder, PurePosixPath(split_bucket_url(url)[2]).suffix, url) as (file, path):
            size, version = self._fetch(url, file, max_bytes, on_progress)
        return DownloadedFile(path, size, version)

    def put(self, url: str, content: bytes, *, overwrite: bool) -> None:
        """Write a whole object. Raises OutputError if it can't be written, FileExistsError if it must not be
        overwritten.
        """
        store, key = self._store(url)
        mode: Literal["overwrite", "create"] = "overwrite" if overwrite else "create"
        attributes: Attributes = {"Content-Type": "text/plain; charset=utf-8"}
        with _errors(url, writing=True):
            self._obstore.put(store, key, content, mode=mode, attributes=attributes, use_multipart=False)

    def _fetch(self, url: str, file: BinaryIO, max_bytes: int, on_progress: TransferProgress) -> tuple[int, str | None]:
        """Write an object to a file. Returns its size and version."""
        store, key = self._store(url)
        received = failures = 0
        version: str | None = None
        while True:
            before = received
            try:
                with _errors(url):
                    options: GetOptions = {"range": {"offset": received}, "if_match": version} if received else {}
                    found = self._obstore.get(store, key, options=options)
                    size, version = found.meta["size"], found.meta["e_tag"]
                    if size > max_bytes:
                        raise too_large_error(url, max_bytes)
                    for block in found.stream(min_chunk_size=BLOCK_BYTES):
                        file.write(block)
                        received += len(block)
                        on_progress(received, size)
                if received != size:
                    raise NetworkError(f"{url}: {received} bytes came instead of {size}")
                return size, version
            except NetworkError as error:
                failures = 1 if received - before >= BLOCK_BYTES else failures + 1
                if failures >= MAX_ATTEMPTS:
                    raise
                if version is None or isinstance(error, _ChangedError):
                    file.seek(0)
                    file.truncate()
                    received = 0

    def _store(self, url: str) -> tuple[Store, str]:
        """The store of a bucket, and the key that the URL names in it. Raises UsageError for unusable settings."""
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore, GCSStore, S3Store

        scheme, bucket, key = split_bucket_url(url)
        stores = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
        if (scheme, bucket) not in self._stores:
            client: ClientConfig = {"timeout": "24h", "connect_timeout": "10s", "read_timeout": "60s"}
            if any(os.environ.get(name, "").startswith("http:") for name in ENDPOINTS[scheme]):
                client["allow_http"] = True  # whoever names such an endpoint means it
            retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
            try:
                store = stores[scheme](bucket, client_options=client, retry_config=retry)
            except (BaseError, ValueError) as error:
                raise UsageError(f"{url}: {_reason(error)}", hint=CREDENTIALS_HINTS[scheme]) from error
            self._stores[scheme, bucket] = store
        return self._stores[scheme, bucket], key


class MissingObjectError(InputError):
    """There is no object with this key."""


class _ChangedError(NetworkError):
    """An object changed while it was transferred."""


def _matches(parts: Sequence[str], globs: Sequence[str]) -> bool:
    """Whether the parts of a key match those of a glob; `**` matches any number of parts. As in folders, only a part
    of the glob that begins with a dot matches one that does.
    """
    if not globs:
        return not parts
    if globs[0] == "**":
        if _matches(parts, globs[1:] or ("*",)):
            return True
        return bool(parts) and not parts[0].startswith(".") and _matches(parts[1:], globs)
    if not parts or (parts[0].startswith(".") and not globs[0].startswith(".")):
        return False
    return fnmatchcase(parts[0], globs[0]) and _matches(parts[1:], globs[1:])


@contextmanager
def _errors(url: str, *, writing: bool = False) -> Iterator[None]:
    """Turn obstore's errors into ours."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError as error:
        raise FileExistsError(f"{url} exists") from error
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise _cli_error(url, error, writing) from error


def _cli_error(url: str, error: Exception, writing: bool) -> CliError:
    from obstore import exceptions

    scheme, bucket, _ = split_bucket_url(url)
    text = str(error)
    kind = OutputError if writing else InputError
    if METADATA_SERVER.search(text) or isinstance(error, exceptions.UnauthenticatedError):
        reason, hint = f"no credentials for {scheme}://", CREDENTIALS_HINTS[scheme]
    elif NO_BUCKET.search(text):
        reason, hint = f"there is no bucket {bucket!r}", "check its name, and the endpoint if it has one"
    elif isinstance(error, exceptions.PermissionDeniedError):
        code = re.search(r"<Code>(\w+)</Code>", text)
        reason = f"access denied ({code[1]})" if code else "access denied"
        hint = f"check the credentials and their rights: {CREDENTIALS_HINTS[scheme]}"
    elif WRONG_REGION.search(text):
        reason, hint = "the bucket is in another region", "set AWS_REGION to the region of the bucket"
    elif isinstance(error, FileNotFoundError):
        hint = f"check the spelling; {url}/ stands for all recordings below it"
        return MissingObjectError(f"{url} does not exist", hint=hint)
    elif isinstance(error, exceptions.PreconditionError):
        return _ChangedError(f"{url} changed while it was read", hint="run the same command again")
    elif isinstance(error, ValueError):
        return kind(f"{url}: {_reason(error)}", hint="check the spelling")
    else:
        return NetworkError(f"{url}: {_reason(error)}", hint="check the network, the region and the endpoint")
    failure = kind(f"{url}: {reason}", hint=hint)
    failure.stops_batch = writing  # every other result goes to the same bucket
    return failure


def _reason(error: Exception) -> str:
    """The end of obstore's message, which says what went wrong: without the address, which may be signed."""
    line = str(error).partition("\n\nDebug source")[0]
    line = line.removeprefix("Generic ").partition(" error: ")[2] if line.startswith("Generic ") else line
    line = re.sub(r"^.*?Error performing [A-Z]+ \S+ in \S+(?:, after [^-]*)?\s+- ", "", line, flags=re.DOTALL)
    return short_reason(line)
