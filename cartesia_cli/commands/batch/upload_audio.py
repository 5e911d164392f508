"""What is uploaded for a recording: the file itself, the part of it that a manifest names, or only the sound of a film.

To Cartesia, a film and a container that its API doesn't document are sent as their sound alone. The local server
decodes them itself. Must never change a recording that the API documents and that has no video.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ...audio.probing import EXTENSIONS, FORMATS, MediaInfo, UploadEstimate, display_name, probe
from ...client import Upload
from ...errors import InputError
from ...output.console import Reporter
from ...protocol.batch import BatchResponse
from ...record import Record
from ...transfer import size_text
from .inputs import Input
from .job import Job
from .stdin import STDIN
from .workspace import JobProgress, Workspace

SINGLE_TRACK = frozenset({"flac", "mp3", "raw", "wav"})
"""Containers that have one audio track."""


class PreparedUpload(Record):
    """What is uploaded for a recording: the recording itself, or a file that was made of it.

    upload   the file
    media    what probing says of that file
    """

    upload: Upload
    media: MediaInfo


@contextmanager
def choose_upload(
    job: Job, workspace: Workspace, update: JobProgress, reporter: Reporter, *, local: bool
) -> Iterator[PreparedUpload]:
    """What is uploaded of a materialized recording, for the length of the block. Raises InputError if it can't be made.

    local   whether this machine decodes it: then the sound of a film needn't be extracted
    """
    item, media = job.input, job.media
    assert media is not None
    if item.time_range is None and (local or media.is_plain_audio):
        yield _as_upload(job, item.path, media, item.relative_path.name)
        return
    with workspace.temporary_folder() as folder:
        with named_errors(item):
            recording = _cut(job, folder, update) if item.time_range else _extract(job, folder, update, reporter)
        yield recording


def estimate_upload(job: Job, *, local: bool) -> UploadEstimate:
    """What `choose_upload` would upload, as far as can be known beforehand. Raises InputError for a film without
    sound.
    """
    item, media = job.input, job.media
    assert media is not None
    if item.time_range is not None:
        from ...audio.soundtrack import estimate_flac

        return estimate_flac(media.duration)
    if local or media.is_plain_audio:
        return UploadEstimate(media.bytes, True, media.duration)
    from ...audio.soundtrack import estimate_soundtrack

    with named_errors(item):
        return estimate_soundtrack(item.path, media)


def with_sound_start(job: Job) -> Job:
    """The job with the start of the sound, if it is a film."""
    media = job.media
    if media is None or media.is_plain_audio or job.input.time_range is not None:
        return job
    from ...audio.soundtrack import sound_start

    return job._replace(media=media._replace(sound_start=sound_start(job.input.path)))


def report_tracks(job: Job, reporter: Reporter) -> None:
    """Say which of several audio tracks a local server hears. Where only the sound of a film is sent, `choose_upload`
    says so.
    """
    media = job.media
    if media is None or media.container in SINGLE_TRACK or job.input.time_range is not None:
        return
    from ...audio.soundtrack import warn_of_tracks

    warn_of_tracks(job.input.path, partial(reporter.warn, about=job.input.source))


def to_recording_times(response: BatchResponse, media: MediaInfo | None) -> BatchResponse:
    """A response with the times of the whole film, even if its sound begins later than its pictures."""
    if media is None or not media.sound_start:
        return response
    from ...audio.time_map import TimeMap

    times = TimeMap.shift(media.sound_start)
    return times.restore(response, None if response.duration is None else times.to_recording(response.duration))


def _cut(job: Job, folder: Path, update: JobProgress) -> PreparedUpload:
    """Cut the part out of a recording that a manifest names."""
    from ...audio.encoders import cut_segment

    item = job.input
    assert item.time_range is not None
    update("cutting")
    path = cut_segment(item.path, *item.time_range, folder)
    return _as_upload(job, path, probe(path), Path(item.relative_path.name).stem + path.suffix)


def _extract(job: Job, folder: Path, update: JobProgress, reporter: Reporter) -> PreparedUpload:
    """Extract the sound of a film, or of a recording in a container that the API doesn't document."""
    from ...audio.soundtrack import extract_soundtrack

    item, media = job.input, job.media
    assert media is not None
    update("extracting the sound of")
    sound = extract_soundtrack(item.path, folder, warn=partial(reporter.warn, about=item.source))
    kind, size, whole = sound.path.suffix[1:], size_text(sound.media.bytes), size_text(media.bytes)
    if sound.video:
        reporter.info(f"{item.source}: sending only the sound: {size} of {whole}")
    else:
        reporter.info(f"{item.source}: sending it as {kind}, because the API doesn't document {media.container}")
    return _as_upload(job, sound.path, sound.media, f"{Path(item.relative_path.name).stem}.{kind}")


def _as_upload(job: Job, path: Path, media: MediaInfo, filename: str) -> PreparedUpload:
    """The file at `path` under a name that servers recognize: they go by its suffix."""
    container = FORMATS[media.container]
    suffix = Path(filename).suffix.lower()
    if container.extensions and suffix not in EXTENSIONS and suffix not in container.extensions:
        filename += container.extensions[0]
    return PreparedUpload(Upload(path, filename, container.media_type, job.input.source), media)


@contextmanager
def named_errors(item: Input) -> Iterator[None]:
    """Put the name that the user knows into errors, instead of that of a temporary file."""
    try:
        yield
    except InputError as error:
        name = "stdin" if item.source == STDIN else item.source
        raise InputError(error.message.replace(display_name(item.path), name), hint=error.hint) from error
