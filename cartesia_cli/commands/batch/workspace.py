"""Finds the recordings that URLs stand for, saves them in temporary files, and has the temporary folder of a run.

A recording is saved by the job that needs it, one that comes through a pipe, too. Clients and the temporary folder are
opened when they are first needed, so that local inputs load nothing.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...audio.probing import EXTENSIONS
from ...daemon_thread import start_daemon_thread
from ...errors import CliError, InputError, Stopped
from ...protocol.batch import BatchOptions
from ...remote_url import (
    WEB_SCHEMES,
    display_url,
    is_bucket_url,
    is_remote,
    result_name,
    result_path,
    safe_name,
    split_bucket_url,
    url_scheme,
)
from ...transfer import DownloadedFile, RemoteState, TransferProgress, new_file, unsaved_error
from .inputs import Input
from .job import Job, probe_input

if TYPE_CHECKING:  # httpx and an extra
    from ...client.download import Downloader
    from ...scale.buckets import Buckets


TICK_SECONDS = 0.1
"""How often a job that downloads says how far it is, and may be told to give up."""


class JobProgress(Protocol):
    """Called with what is being done for a job, such as "downloading", and how much of it. What it raises ends that."""

    def __call__(self, what: str, done: float = 0.0, total: float | None = None, /) -> None: ...


class Workspace:
    """Finds and saves the inputs of a run that aren't local files, and has its temporary folder. A context manager;
    its methods may be called from several threads at once.

    retries    attempts after the first, or None for the default
    on_retry   receives a sentence for the user when a download failed and is tried again
    timeout    seconds after which a download that doesn't move is given up, or None for the default
    """

    def __init__(
        self,
        retries: int | None = None,
        on_retry: Callable[[str], None] = lambda message: None,
        timeout: float | None = None,
    ) -> None:
        self._retries, self._on_retry, self._timeout = retries, on_retry, timeout
        self._cleanup = ExitStack()
        self._temporary: Path | None = None
        self._opened_downloader: Downloader | None = None
        self._opened_buckets: Buckets | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cleanup.close()

    def expand(self, url: str, *, keep_folders: bool = False) -> Iterator[Input | InputError]:
        """The inputs that a URL stands for: itself or, for a prefix or a glob of a bucket, the objects below it.
        Raises UsageError if it needs an extra that is missing; NetworkError if a bucket can't be listed.

        keep_folders   whether results are named after the host and the whole path, instead of the file
        """
        name_of = result_path if keep_folders else result_name
        if not is_bucket_url(url):
            yield _remote_input(url, name_of(url))
            return
        from ...scale.buckets import stands_for_several

        try:
            split_bucket_url(url)
        except ValueError:
            yield InputError(f"{url} names no bucket", hint=f"{url_scheme(url)}://BUCKET/KEY")
            return
        buckets = self._buckets
        if not stands_for_several(url):
            yield _remote_input(url, name_of(url))
            return
        count = 0
        try:
            for address, key, state in buckets.search(url, EXTENSIONS):
                count += 1
                name = "/".join(safe_name(part) for part in key.split("/") if part)
                yield _remote_input(address, result_path(address) if keep_folders else name, state)
        except InputError as error:
            yield error
            return
        if not count:
            hint = "check the spelling; a prefix ends in /, and recordings are recognized by their suffix"
            yield InputError(f"no recording in {url}", hint=hint)

    def expand_page(self, url: str) -> list[str]:
        """The URLs of the recordings on a web page, if yt-dlp is installed; otherwise, and for any other URL, itself.

        Asks the server only if yt-dlp is installed and the URL doesn't end like a recording.
        """
        if url_scheme(url) not in WEB_SCHEMES or os.path.lexists(url):
            return [url]
        from ...scale import web_pages

        if Path(result_name(url)).suffix.lower() in EXTENSIONS or not web_pages.is_installed():
            return [url]
        from ...client.download import WebPageError

        try:
            self._downloader.describe(url, once=True)
        except WebPageError:
            return web_pages.find_recordings(url)
        except CliError:  # the job that downloads it reports it
            pass
        return [url]

    def describe(self, item: Input) -> RemoteState:
        """Size and version of an input that isn't a local file, without its content. Nothing is known of a pipe. Raises
        CliError if they can't be had.
        """
        assert item.origin is not None
        if item.remote_state is not None:
            return item.remote_state
        if is_bucket_url(item.origin):
            return self._buckets.describe(item.origin)
        return self._downloader.describe(item.origin) if is_remote(item.origin) else RemoteState(None, None)

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A new folder, deleted after the block with what is in it. Raises InputError if it can't be created."""
        with self._lock:
            if self._temporary is None:
                self._temporary = _new_folder(None)
                self._cleanup.callback(shutil.rmtree, self._temporary, ignore_errors=True)
            folder = _new_folder(self._temporary)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def materialize(self, job: Job, options: BatchOptions, update: JobProgress) -> Iterator[Job]:
        """The job, with its recording as a local file that has been probed, for the length of the block. Raises
        InputError or NetworkError if that can't be done.
        """
        if job.input.origin is None:
            yield job
            return
        with self.temporary_folder() as folder:
            item = self._save_or_give_up(job.input, folder, update)
            yield job._replace(input=item, media=probe_input(item, options))

    def _save_or_give_up(self, item: Input, folder: Path, update: JobProgress) -> Input:
        """`_save` in a thread: what `update` raises ends it at once, even if the other side sends nothing any more. The
        thread, which may then be stuck for a minute, is left to itself, and so is its file in a deleted folder.
        """
        progress: tuple[float, float | None] = 0.0, None
        is_given_up = False

        def report(received: int, size: int | None) -> None:
            nonlocal progress
            if is_given_up:
                raise Stopped
            progress = received, size

        saving = start_daemon_thread(partial(self._save, item, folder, report), "download")
        try:
            while not wait({saving}, TICK_SECONDS).done:
                update("downloading", *progress)
        except BaseException:
            is_given_up = True
            raise
        return saving.result()

    def _save(self, item: Input, folder: Path, on_progress: TransferProgress) -> Input:
        """The input as a new file in this folder. Raises CliError if it can't be had or saved."""
        assert item.origin is not None
        if not is_remote(item.origin):
            suffix = Path(item.origin).suffix
            with new_file(folder, suffix, item.source) as (file, path), open(item.origin, "rb") as pipe:
                shutil.copyfileobj(pipe, file, 1 << 20)
            return item._replace(path=path, remote_state=RemoteState(None, None))
        try:
            download = self._download(item.origin, folder, on_progress)
        except OSError as error:
            raise unsaved_error(item.source, error) from error
        return item._replace(path=download.path, remote_state=RemoteState(download.bytes, download.version))

    def _download(self, remote: str, folder: Path, on_progress: TransferProgress) -> DownloadedFile:
        from ...client.download import MAX_BYTES, WebPageError

        if is_bucket_url(remote):
            return self._buckets.download(remote, folder, max_bytes=MAX_BYTES, on_progress=on_progress)
        try:
            return self._downloader.download(remote, folder, on_progress=on_progress)
        except WebPageError:
            from ...scale import web_pages

            if not web_pages.is_installed():
                raise
            return web_pages.download(remote, folder, max_bytes=MAX_BYTES, on_progress=on_progress)

    @property
    def _downloader(self) -> Downloader:
        from ...client import RetryPolicy
        from ...client.download import STALL_SECONDS, Downloader

        with self._lock:
            if self._opened_downloader is None:
                retry, stall_seconds = RetryPolicy(self._retries), self._timeout or STALL_SECONDS
                self._opened_downloader = self._cleanup.enter_context(
                    Downloader(retry=retry, on_retry=self._on_retry, stall_seconds=stall_seconds)
                )
            return self._opened_downloader

    @property
    def _buckets(self) -> Buckets:
        from ...scale.buckets import Buckets

        with self._lock:
            if self._opened_buckets is None:
                self._opened_buckets = Buckets()
            return self._opened_buckets


def _remote_input(url: str, name: str, state: RemoteState | None = None) -> Input:
    return Input(display_url(url), Path(name), Path(name), origin=url, remote_state=state)


def _new_folder(parent: Path | None) -> Path:
    from tempfile import mkdtemp  # start-up: most uploads are the recordings themselves

    try:
        return Path(mkdtemp(prefix="cartesia-cli-", dir=parent))
    except OSError as error:  # also when the temporary folder is missing
        raise InputError(
            f"no temporary folder can be created: {error.strerror}", hint="set TMPDIR to another folder"
        ) from error
