"""Downloads recordings by HTTP(S) into temporary files, and picks up a download where a connection was lost.

A download is resumed with a Range request only if the server proves that the file is still the same (If-Range with a
strong ETag, or its modification time; RFC 9110 13.1.5); otherwise it starts over, so that a file is never a mixture of
two. Must never send the API key or a cookie. A user and password in a URL go to its own host only, and messages show
neither them nor the query, which may be a signature.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import BinaryIO

import httpx

from .. import __version__
from ..errors import CliError, InputError, NetworkError
from ..remote_url import display_url, result_name
from ..retry import MAX_RETRY_AFTER_SECONDS, RetryPolicy, is_retryable_status, parse_retry_after
from ..transfer import DownloadedFile, RemoteState, TransferProgress, new_file, short_reason, too_large_error
from .deadlines import CONNECT_TIMEOUT_SECONDS
from .environment import find_proxy, tls_context
from .http_errors import (
    CHECK_NETWORK,
    PROXY_PASSWORD,
    THROUGH_PROXY,
    TunnelTrace,
    describe_error,
    invalid_http_reason,
    name_proxy,
    proxy_error,
    tls_error,
    tunnel_problem,
)

MAX_BYTES = 16 << 30
"""Largest recording that is downloaded: two days of uncompressed stereo."""

STALL_SECONDS = 60.0
"""A download that gets fewer than MIN_BYTES_PER_SECOND for so long counts as lost."""

MIN_BYTES_PER_SECOND = 1000

PROGRESS_BYTES = 1 << 20
"""An attempt that gets so much further doesn't count as a failure: large files outlive many lost connections."""

MAX_REDIRECTS = 10

PAGE_TYPES = {
    "text/html": "a web page",
    "application/xhtml+xml": "a web page",
    "application/rss+xml": "a feed",
    "application/atom+xml": "a feed",
    "application/vnd.apple.mpegurl": "a playlist of a stream",
    "application/x-mpegurl": "a playlist of a stream",
    "audio/mpegurl": "a playlist of a stream",
    "audio/x-mpegurl": "a playlist of a stream",
    "application/dash+xml": "a playlist of a stream",
}
"""Media types of what leads to recordings, but isn't one: yt-dlp may find them."""

DOCUMENT_TYPES = {"application/json": "JSON", "application/problem+json": "JSON", "application/xml": "XML",
                  "text/xml": "XML", "text/css": "CSS", "application/pdf": "a PDF document"}  # fmt: skip
"""Media types of what is certainly no recording. Vague types aren't listed: the first bytes decide."""

HINTS = {
    401: "put user and password into the URL: https://USER:PASSWORD@HOST/…",
    403: "a signed URL may have expired; a private one needs user and password: https://USER:PASSWORD@HOST/…",
    404: "check the URL",
    410: "the server has removed it",
}


class WebPageError(InputError):
    """A URL leads to a web page, a feed or a playlist instead of a recording."""


@dataclass(slots=True)
class _Partial:
    """A download that is under way.

    received    bytes in the file
    size        of the whole, or None if unknown
    version     of what is in the file
    validator   for If-Range; None if the download can't be resumed
    """

    file: BinaryIO
    received: int = 0
    size: int | None = None
    version: str | None = None
    validator: str | None = None

    def restart(self, headers: Mapping[str, str]) -> None:
        """Discard what was received, and take note of another whole response."""
        self.file.seek(0)
        self.file.truncate()
        self.received, self.size, self.version = 0, _content_length(headers), _version(headers)
        self.validator = None if _is_encoded(headers) else _validator(headers)

    def is_continued_by(self, headers: Mapping[str, str]) -> bool:
        """Whether a response with status 206 has what follows, of the same file."""
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("content-range", "").strip())
        if part is None or int(part[1]) != self.received or _is_encoded(headers):
            return False
        same_version = _version(headers) in (None, self.version)
        return same_version and (part[3] == "*" or self.size is None or int(part[3]) == self.size)


class _Lost(Exception):
    """An attempt failed and another one may succeed. `retry_after`: seconds that the server asks for, or None."""

    def __init__(self, error: CliError, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.error, self.retry_after = error, retry_after


class _Transport(httpx.BaseTransport):
    """Sends each request through the proxy that the environment sets for its URL. Thread-safe.

    Raises UsageError for a proxy or certificates that can't be used, here or when a request is sent.
    """

    def __init__(self) -> None:
        self._context = tls_context("https:") or True
        self._transports: dict[str | None, httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        proxy = find_proxy(str(request.url))
        url = None if proxy is None else proxy.url
        with self._lock:
            if url not in self._transports:
                limits = httpx.Limits(max_connections=None)
                self._transports[url] = httpx.HTTPTransport(verify=self._context, proxy=url, limits=limits)
        request.extensions["trace"] = tunnel = TunnelTrace()
        try:
            return self._transports[url].handle_request(request)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            if proxy is not None and request.url.scheme == "https" and tunnel.awaits_tunnel:
                raise httpx.ConnectError(tunnel_problem(error)) from error
            raise

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()


class Downloader:
    """Downloads any number of files, from several threads at once if need be.

    on_retry   receives a sentence for the user when an attempt failed and another follows
    """

    def __init__(
        self,
        *,
        retry: RetryPolicy | None = None,
        on_retry: Callable[[str], None] = lambda message: None,
        stall_seconds: float = STALL_SECONDS,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._retry, self._on_retry = retry or RetryPolicy(), on_retry
        self._stall_seconds, self._clock, self._sleep = stall_seconds, clock, sleep
        self._http = httpx.Client(
            headers={"User-Agent": f"cartesia-cli/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            timeout=httpx.Timeout(stall_seconds, connect=CONNECT_TIMEOUT_SECONDS, pool=None),
            transport=transport or _Transport(),
            trust_env=False,
        )

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def download(
        self,
        url: str,
        folder: Path,
        *,
        max_bytes: int = MAX_BYTES,
        on_progress: TransferProgress = lambda received, size: None,
    ) -> DownloadedFile:
        """Download a file into a new file in this folder, which the caller deletes.

        Raises WebPageError for a page, InputError for anything else that can't be a recording, is missing or too large,
        or can't be saved; NetworkError when attempts are used up. After an error, no file is left.
        """
        name = display_url(url)
        with new_file(folder, Path(result_name(url)).suffix, name) as (file, path):  # httpx has errors of its own
            partial = _Partial(file)
            self._attempts(lambda: self._get(url, partial, folder, max_bytes, on_progress), partial, on_progress)
        return DownloadedFile(path, partial.received, partial.version)

    def describe(self, url: str, *, once: bool = False) -> RemoteState:
        """Ask for a file's size and version without downloading it. Raises what `download` does, also WebPageError.

        once   whether to give up after the first attempt
        """
        try:
            headers = self._head(url) if once else self._attempts(lambda: self._head(url))
        except _Lost as lost:
            raise lost.error from lost
        size = None if _is_encoded(headers) else _content_length(headers)
        return RemoteState(size, _version(headers))

    def _attempts(
        self,
        attempt: Callable[[], httpx.Headers],
        partial: _Partial | None = None,
        on_progress: TransferProgress = lambda received, size: None,
    ) -> httpx.Headers:
        """Attempt a request until it succeeds, or nothing justifies another attempt."""
        failures = 0
        while True:
            before = partial.received if partial else 0
            try:
                return attempt()
            except _Lost as lost:
                if partial is not None:
                    on_progress(partial.received, partial.size)  # which raises if nobody needs the file any more
                advanced = partial is not None and partial.received - before >= PROGRESS_BYTES
                failures = 1 if advanced else failures + 1
                max_attempts = self._retry.max_attempts(maybe_billed=False)
                delay = self._retry.delay(failures, lost.retry_after)
                if failures >= max_attempts or delay > MAX_RETRY_AFTER_SECONDS:
                    raise lost.error from lost
                self._on_retry(f"{lost}: trying again in {delay:.1f} s (try {failures + 1} of {max_attempts})")
                self._sleep(delay)

    def _head(self, url: str) -> httpx.Headers:
        name = display_url(url)
        with _network_errors(name):
            response = self._http.head(url)
            if response.is_error and not is_retryable_status(response.status_code):
                with self._http.stream("GET", url) as response:  # not every server knows HEAD
                    pass
        _check_status(response, name)
        _check_type(response.headers, name)
        return response.headers

    def _get(
        self, url: str, partial: _Partial, folder: Path, max_bytes: int, on_progress: TransferProgress
    ) -> httpx.Headers:
        """One attempt: get the file, or what is missing of it."""
        name = display_url(url)
        resuming = partial.received > 0 and partial.validator is not None
        wanted = {"Range": f"bytes={partial.received}-", "If-Range": partial.validator or ""} if resuming else {}
        with _network_errors(name, partial), self._http.stream("GET", url, headers=wanted) as response:
            if response.status_code == 416 and resuming:
                partial.validator = None  # start over
                raise _Lost(NetworkError(f"{name}: the file changed on the server while it was downloaded"))
            _check_status(response, name)
            if response.status_code != 206:
                partial.restart(response.headers)
            elif not (resuming and partial.is_continued_by(response.headers)):
                partial.validator = None
                raise _Lost(NetworkError(f"{name}: the server sent another part of the file than was asked for"))
            _check_type(response.headers, name)
            _check_size(partial, name, max_bytes, folder)
            started, counted = self._clock(), partial.received
            for block in response.iter_bytes():
                partial.file.write(block)
                partial.received += len(block)
                if partial.received > max_bytes:
                    raise too_large_error(name, max_bytes)
                on_progress(partial.received, partial.size)
                if (now := self._clock()) - started > self._stall_seconds:
                    if partial.received - counted < MIN_BYTES_PER_SECOND * self._stall_seconds:
                        raise _Lost(NetworkError(f"{name}: the download hardly moved for {self._stall_seconds:g} s"))
                    started, counted = now, partial.received
            if partial.validator is not None and partial.size not in (None, partial.received):
                partial.validator = None
                raise _Lost(NetworkError(f"{name}: the server sent {partial.received} bytes instead of {partial.size}"))
            return response.headers


@contextmanager
def _network_errors(name: str, partial: _Partial | None = None) -> Iterator[None]:
    """Turn errors of httpx into _Lost, or into the error to show if another attempt would fail, too."""
    try:
        yield
    except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: a host name with a part that is empty or too long
        raise InputError(f"{name} is not a valid URL", hint="check the spelling") from error
    except httpx.HTTPError as error:
        raise _download_error(error, name, partial) from error


def _download_error(error: httpx.HTTPError, name: str, partial: _Partial | None) -> CliError | _Lost:
    why = short_reason(describe_error(error))
    match error:
        case httpx.TooManyRedirects():
            return InputError(f"{name}: more than {MAX_REDIRECTS} redirects", hint="check the URL")
        case httpx.UnsupportedProtocol():
            message = f"{name} has no host, or redirects to something else than http or https"
            return InputError(message, hint="check the URL")
        case httpx.DecodingError() | httpx.LocalProtocolError():
            return InputError(f"{name}: the server's response can't be read: {why}", hint="check the URL")
    proxy = find_proxy(str(error.request.url))
    origin = None if proxy is None else proxy.origin
    if (failure := tls_error(error, "the server", origin)) is not None:
        return NetworkError(f"{name}: {failure.message}", hint=failure.hint)
    match error:
        case httpx.ProxyError():
            return _proxy_refusal(name, why, origin)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            message = f"{name}: the server can't be reached: {why}"
            hint = THROUGH_PROXY.format(origin) if origin else "check the network and the URL"
            return _Lost(NetworkError(message, hint=hint))
        case httpx.ReadTimeout():
            why = "nothing more came"
    if (reason := invalid_http_reason(error)) is not None:
        message = f"{name}: the server's response is not valid HTTP: {short_reason(reason)}"
        return _Lost(NetworkError(message, hint="check the URL"))
    received = partial.received if partial else 0
    size = f" of {_megabytes(partial.size)}" if partial and partial.size else ""
    where = f" after {_megabytes(received)}{size}" if received else ""
    message = f"{name}: the connection was lost{where}: {why}"
    return _Lost(NetworkError(message, hint=name_proxy(CHECK_NETWORK, origin)))


def _proxy_refusal(name: str, reason: str, origin: str | None) -> NetworkError:
    error = proxy_error(reason, origin)
    error.message = f"{name}: {error.message}"
    return error


def _check_status(response: httpx.Response, name: str) -> None:
    """Raise for a status that isn't a success."""
    status = response.status_code
    if response.is_success:
        return
    if status == 407 and (proxy := find_proxy(str(response.url))) is not None:
        raise _proxy_refusal(name, PROXY_PASSWORD, proxy.origin)
    message, hint = f"{name}: the server refuses: {response.reason_phrase[:60] or 'no reason given'}", HINTS.get(status)
    if not is_retryable_status(status):
        raise InputError(message, hint=hint or "check the URL", status=status)
    retry_after = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    raise _Lost(NetworkError(message, hint="try again later", status=status), retry_after)


def _check_type(headers: Mapping[str, str], name: str) -> None:
    """Raise for what is obviously not a recording."""
    media_type = _media_type(headers) or ""
    if media_type in PAGE_TYPES:
        raise WebPageError(
            f"{name} is {PAGE_TYPES[media_type]}, not a recording",
            hint="name the URL of the recording itself, or install yt-dlp: pip install 'cartesia-cli[web]'",
        )
    if media_type in DOCUMENT_TYPES:
        raise InputError(f"{name} is {DOCUMENT_TYPES[media_type]}, not a recording", hint="check the URL")


def _check_size(partial: _Partial, name: str, max_bytes: int, folder: Path) -> None:
    """Raise for a file that is known to be too large, or larger than what is free on the disk."""
    if partial.size is None:
        return
    if partial.size > max_bytes:
        raise too_large_error(name, max_bytes)
    free = shutil.disk_usage(folder).free
    if partial.size - partial.received > free:
        message = f"{name} is {_megabytes(partial.size)} large, but only {_megabytes(free)} are free in {folder}"
        raise InputError(message, hint="set TMPDIR to a folder with more space")


def _content_length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isdecimal() else None


def _is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether a body is compressed in transit, so that positions in it aren't positions in the file."""
    return headers.get("content-encoding", "identity").lower() != "identity"


def _version(headers: Mapping[str, str]) -> str | None:
    return headers.get("etag") or headers.get("last-modified")


def _validator(headers: Mapping[str, str]) -> str | None:
    """What a file that is downloaded in parts is recognized by. Weak ETags don't promise equal bytes."""
    etag = headers.get("etag")
    return headers.get("last-modified") if etag is None else etag if etag.startswith('"') else None


def _media_type(headers: Mapping[str, str]) -> str | None:
    found = re.match(r"\s*([\w.+-]+/[\w.+-]+)", headers.get("content-type", ""), re.ASCII)
    return found[1].lower() if found else None


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
