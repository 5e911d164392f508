"""Recordings on web pages, found and downloaded by yt-dlp, which comes with the extra [web].

Only the sound is downloaded where a page offers it alone. yt-dlp reads no configuration, runs no plugins, keeps no
cache, and converts nothing. Must never ask more servers than the page leads to.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import CliError, InputError, NetworkError
from ..remote_url import display_url
from ..transfer import DownloadedFile, TransferProgress, short_reason, too_large_error

STALL_SECONDS = 60.0

MAX_RECORDINGS = 10_000
"""Most recordings of one page or playlist."""


def is_installed() -> bool:
    """Whether yt-dlp is there. It is not imported: that takes seconds."""
    return find_spec("yt_dlp") is not None


def find_recordings(url: str) -> list[str]:
    """The URLs of the recordings on a page; the page's own if there is only one. Raises InputError if there are
    none.
    """
    with _opened_page(url) as (_, recordings):
        found = list(islice(recordings, MAX_RECORDINGS))
    addresses = [url] if len(found) == 1 else [address for entry in found if (address := _address(entry, url))]
    if not addresses:
        raise _nothing_error(url)
    return addresses


def download(url: str, folder: Path, *, max_bytes: int, on_progress: TransferProgress) -> DownloadedFile:
    """Download the recording of a page into a new file in this folder, which the caller deletes.

    Raises InputError if the page has none or several, or the recording is too large; NetworkError if it can't be
    downloaded. After an error, no file is left.
    """

    def report(status: dict[str, Any]) -> None:
        size = status.get("total_bytes") or status.get("total_bytes_estimate")
        received = int(status.get("downloaded_bytes") or 0)
        if received > max_bytes:
            raise too_large_error(f"the recording on {display_url(url)}", max_bytes)
        on_progress(received, int(size) if size else None)

    with tempfile.TemporaryDirectory(prefix="page-", dir=folder) as place:
        options = {
            "format": "bestaudio/best",
            "paths": {"home": place},
            "outtmpl": {"default": "recording.%(ext)s"},
            "max_filesize": max_bytes,
            "progress_hooks": [report],
        }
        with _opened_page(url, **options) as (downloader, recordings):
            found = list(islice(recordings, 2))
            if len(found) > 1:
                raise InputError(
                    f"{display_url(url)} has several recordings",
                    hint="name the page on the command line by itself: each of them is then an input",
                )
            if not found:
                raise _nothing_error(url)
            downloader.process_ie_result(found[0], download=True)
        files = [path for path in Path(place).iterdir() if path.is_file()]
        if not files:  # yt-dlp says so in a message only
            raise too_large_error(f"the recording on {display_url(url)}", max_bytes)
        if len(files) > 1:
            raise InputError(f"{display_url(url)} has several recordings", hint="name the URL of one of them")
        path = files[0].rename(f"{place}{files[0].suffix}")
    return DownloadedFile(path, path.stat().st_size)


@contextmanager
def _opened_page(url: str, **options: Any) -> Iterator[tuple[Any, Iterator[Any]]]:
    """A downloader of yt-dlp, and what it says of each recording on a page. Its errors in the block become ours.

    options   of yt-dlp
    """
    os.environ.setdefault("YTDLP_NO_PLUGINS", "1")
    from yt_dlp import YoutubeDL
    from yt_dlp.networking.exceptions import RequestError
    from yt_dlp.utils import YoutubeDLError

    silent = logging.Logger("yt-dlp", logging.CRITICAL + 1)  # errors are raised, too, and nothing else is worth a line
    quiet = {"quiet": True, "noprogress": True, "logger": silent, "cachedir": False, "fixup": "never",
             "updatetime": False, "socket_timeout": STALL_SECONDS, "noplaylist": True}  # fmt: skip
    try:
        with YoutubeDL(quiet | options) as downloader:
            page = downloader.extract_info(url, download=False, process=False)
            yield downloader, filter(None, page.get("entries", [page]))
    except YoutubeDLError as error:
        cause = getattr(error, "exc_info", None)
        inner = cause[1] if cause and cause[1] is not None else error
        if isinstance(inner, CliError):
            raise inner from error
        if "Unsupported URL" in str(error):
            raise _nothing_error(url) from error
        kind = NetworkError if isinstance(inner, RequestError) or _has_cause(inner, RequestError) else InputError
        raise kind(
            f"{display_url(url)}: yt-dlp: {_reason(error)}", hint="does yt-dlp download it by itself?"
        ) from error


def _has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    cause = getattr(error, "cause", None) or error.__cause__
    return isinstance(cause, kind) or (cause is not None and _has_cause(cause, kind))


def _address(entry: dict[str, Any], page: str) -> str | None:
    """The URL of one of several recordings: its own page, or else the recording itself."""
    own = entry.get("url") or entry.get("webpage_url")
    if own and own != page:
        return str(own)
    formats = entry.get("formats") or ()
    return str(formats[-1]["url"]) if formats else None


def _reason(error: Exception) -> str:
    """yt-dlp's message without what is secret in its URLs, and without its advice."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    line = re.sub(r"https?://\S+", lambda found: display_url(found[0]), line)
    line = re.sub(r"[;.] please report this issue.*", "", line, flags=re.DOTALL | re.IGNORECASE)
    return short_reason(line)


def _nothing_error(url: str) -> InputError:
    hint = "name the URL of the recording itself"
    return InputError(f"{display_url(url)} is a web page, and yt-dlp finds no recording on it", hint=hint)
