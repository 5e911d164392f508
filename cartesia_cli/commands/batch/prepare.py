"""Gets recordings ready: makes a local file of one that has to be downloaded, in a temporary folder of the run."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ...errors import InputError
from ...protocol.batch import BatchOptions
from .job import Job, probe_input
from .remote_inputs import RemoteInputs


class UpdateProgress(Protocol):
    """Says what is being done, such as "downloading", and how much of it."""

    def __call__(self, what: str, done: float = 0.0, total: float | None = None, /) -> None: ...


class TemporaryFolder:
    """A folder for the temporary files of a run, created when it is first needed. A context manager. Thread-safe."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> TemporaryFolder:
        return self

    def __exit__(self, *error: object) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)

    @contextmanager
    def subfolder(self) -> Iterator[Path]:
        """A new folder, deleted after the block with what is in it. Raises InputError if it can't be created."""
        with self._lock:
            if self._path is None:
                self._path = _new_folder(None)
            folder = _new_folder(self._path)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def materialize(
    job: Job, options: BatchOptions, temporary: TemporaryFolder, update: UpdateProgress, remote: RemoteInputs
) -> Iterator[Job]:
    """The job, with its recording as a local file that has been probed, for the length of the block. Raises InputError
    or NetworkError if that can't be done. `remote` saves recordings that are elsewhere.
    """
    if job.input.remote is None:
        yield job
        return
    with temporary.subfolder() as folder:
        item = remote.save(job.input, folder, lambda received, size: update("downloading", received, size))
        yield job._replace(input=item, media=probe_input(item, options))


def _new_folder(parent: Path | None) -> Path:
    from tempfile import mkdtemp  # start-up: most uploads are the recordings themselves

    try:
        return Path(mkdtemp(prefix="cartesia-cli-", dir=parent))
    except OSError as error:  # also when the temporary folder is missing
        raise InputError(
            f"no temporary folder can be created: {error.strerror}", hint="set TMPDIR to another folder"
        ) from error
