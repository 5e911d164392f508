"""Gets recordings ready: `materialize` makes a local file of one, `choose_upload` says what of it is sent.

Both may create files, in a temporary folder of the run.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..audio.probing import EXTENSIONS, FORMATS, MEDIA_TYPES, MediaInfo
from ..client import Upload
from ..output.console import Reporter
from ..protocol import BatchOptions
from .batch_plan import Job
from .inputs import STDIN, Input


class ShowProgress(Protocol):
    """Shows what is being done, such as "downloading", and how much of it."""

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
        """A new folder, deleted after the block with what is in it."""
        with self._lock:
            if self._path is None:
                self._path = Path(tempfile.mkdtemp(prefix="cartesia-cli-"))
        folder = Path(tempfile.mkdtemp(dir=self._path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Recording:
    """What is uploaded of a recording.

    upload           the file
    media            what probing says of that file
    offset_seconds   what has to be added to the times in its transcript
    """

    upload: Upload
    media: MediaInfo
    offset_seconds: float = 0.0


@contextmanager
def materialize(job: Job, options: BatchOptions, temporary: TemporaryFolder, show: ShowProgress) -> Iterator[Job]:
    """The job, with its recording as a local file that has been probed, for the length of the block. InputError if that
    can't be done.
    """
    yield job


@contextmanager
def choose_upload(
    job: Job, temporary: TemporaryFolder, show: ShowProgress, reporter: Reporter, *, local: bool
) -> Iterator[Recording]:
    """What is uploaded of a materialized recording, for the length of the block.

    local   whether this machine transcribes it
    """
    item, media = job.input, job.media
    assert media is not None
    if not (local or media.documented):
        reporter.info(
            f"warning: {item.source}: not in a format that the API documents ({media.container}): sent as it is"
        )
    media_type = MEDIA_TYPES.get(media.container, "application/octet-stream")
    yield Recording(Upload(item.path, _upload_name(item, media), media_type, item.source), media)


def _upload_name(item: Input, media: MediaInfo) -> str:
    """The file name that is sent. Servers go by its suffix, so one is added to a name without a suffix of audio."""
    name = "stdin" if item.source == STDIN else item.path.name
    endings = FORMATS[media.container].extensions
    known = Path(name).suffix.lower() in EXTENSIONS.union(endings)
    return name if known or not endings else name + endings[0]
