"""`--output-dir s3://BUCKET/PREFIX`: writes results as objects of a bucket, and doesn't overwrite those that exist.

A result's path is that of a file in a folder called `s3:`, because pathlib removes the second slash; `bucket_url` gives
its URL.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...remote_url import is_bucket_url
from ...text_encoding import join_surrogates

if TYPE_CHECKING:
    from .job import Job

OVERWRITE_HINT = "--force overwrites it; --resume skips what is done"


def bucket_url(path: Path | None) -> str | None:
    """The URL of an output path in a bucket; None for any other path."""
    if path is None or os.path.lexists(path.parts[0] if path.parts else path):
        return None
    url = str(path).replace("\\", "/").replace(":/", "://", 1)
    return url if is_bucket_url(url) else None


class BucketResults:
    """The results of a run that go to a bucket. May be used from several threads.

    force    whether existing objects are overwritten
    resume   whether recordings are skipped whose results exist

    Raises UsageError if the extra is missing.
    """

    def __init__(self, *, force: bool, resume: bool) -> None:
        from ...scale.buckets import Buckets

        self._force, self._resume = force, resume
        self._buckets = Buckets()

    def without_existing(self, job: Job) -> Job | None:
        """The job with the results that don't exist yet; None if all do. Raises OutputError if one exists that must
        not be overwritten. Called before the recording is sent.
        """
        if self._force:
            return job
        urls = {format: url for format, file in job.targets.items() if (url := bucket_url(file))}
        existing = {format for format, url in urls.items() if self._buckets.exists(url)}
        if existing and not self._resume:
            raise OutputError(f"{urls[min(existing)]} exists", hint=OVERWRITE_HINT)
        missing = {format: file for format, file in job.targets.items() if format not in existing}
        return job._replace(targets=missing) if missing else None

    def write(self, file: Path, text: str) -> str:
        """Write a result. Returns its URL. Raises OutputError if that fails, or if it exists by now."""
        url = bucket_url(file)
        assert url is not None
        try:
            self._buckets.put(url, join_surrogates(text).encode("utf-8", "replace"), overwrite=self._force)
        except FileExistsError as error:
            raise OutputError(f"{url} exists by now", hint=OVERWRITE_HINT) from error
        return url
