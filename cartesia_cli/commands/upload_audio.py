"""What is uploaded for a recording: the file itself, the part of it that a manifest names, or only the sound of a film.

To Cartesia, a film and a container that its API doesn't document are sent as their sound alone. The local server
decodes them itself. Must never change a recording that the API documents and that has no video.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..audio.probing import EXTENSIONS, FORMATS, MediaInfo, probe
from ..errors import InputError
from ..output.console import Reporter
from ..protocol import BatchResponse
from .batch_plan import Job
from .inputs import STDIN


@dataclass(frozen=True, slots=True)
class UploadAudio:
    """The file that is uploaded, and under which name. Servers go by its suffix."""

    path: Path
    media: MediaInfo
    filename: str


@dataclass(frozen=True, slots=True)
class UploadEstimate:
    """What would be uploaded.

    bytes        None if unknown
    exact        whether that is certain to about 1 %
    duration     seconds; None if unknown
    sound_only   whether only the sound of the file would be uploaded
    """

    bytes: int | None
    exact: bool
    duration: float | None
    sound_only: bool


@contextmanager
def upload_audio(job: Job, reporter: Reporter, *, local: bool) -> Iterator[UploadAudio]:
    """The file that is uploaded for a job, while the block runs. InputError if it can't be made from the recording.

    local   whether it goes to this machine
    """
    item, media = job.input, job.media
    assert media is not None
    if item.segment is None and (local or media.is_plain_audio):
        name = "stdin" if item.source == STDIN else item.path.name
        endings = FORMATS[media.container].extensions
        known = Path(name).suffix.lower() in EXTENSIONS.union(endings)
        yield UploadAudio(item.path, media, name if known or not endings else name + endings[0])
        return
    with _temporary_folder(item.source) as folder:
        audio = _cut(job, folder) if item.segment is not None else _sound(job, folder, reporter)
        yield audio


def estimate_upload(job: Job, *, local: bool) -> UploadEstimate:
    """What `upload_audio` would upload, as far as can be known beforehand. InputError for a film without sound."""
    item, media = job.input, job.media
    assert media is not None
    if item.segment is not None:
        from ..audio.soundtrack import FLAC_BYTES_PER_SECOND

        size = None if media.duration is None else int(media.duration * FLAC_BYTES_PER_SECOND)
        return UploadEstimate(size, False, media.duration, sound_only=False)
    if local or media.is_plain_audio:
        return UploadEstimate(media.bytes, True, media.duration, sound_only=False)
    from ..audio.soundtrack import estimate_soundtrack

    found = estimate_soundtrack(item.path, media)
    return UploadEstimate(found.bytes, found.exact, found.duration, sound_only=True)


def in_recording(response: BatchResponse, job: Job) -> BatchResponse:
    """A response with the times of the whole film, even if its sound begins later than its pictures."""
    media = job.media
    if media is None or media.is_plain_audio or job.input.segment is not None:
        return response
    from ..audio.soundtrack import sound_times

    times = sound_times(job.input.path)
    return times.restore(response, None if response.duration is None else times.to_recording(response.duration))


def size_text(count: int) -> str:
    """A number of bytes for a sentence, such as "1.2 GB"."""
    value, units = float(count), iter(("bytes", "kB", "MB", "GB"))
    unit = next(units)
    while value >= 999.5 and (larger := next(units, None)):
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 9.95 else f"{value:.1f} {unit}"


def _cut(job: Job, folder: Path) -> UploadAudio:
    """The part of a recording that a manifest names."""
    from ..audio.segments import cut_segment

    item = job.input
    assert item.segment is not None
    path = cut_segment(item.path, *item.segment, folder)
    return UploadAudio(path, probe(path, item.source), f"{item.path.stem}.flac")


def _sound(job: Job, folder: Path, reporter: Reporter) -> UploadAudio:
    """The sound of a film, or of a recording in a container that the API doesn't document."""
    from ..audio.soundtrack import extract_soundtrack

    item, media = job.input, job.media
    assert media is not None
    notes: list[str] = []
    sound = extract_soundtrack(item.path, folder, warn=notes.append)
    for note in notes:
        reporter.info(f"warning: {item.source}: {note}")
    sizes = f"{size_text(sound.media.bytes)} of {size_text(media.bytes)}"
    if sound.media.bytes < media.bytes:
        reporter.info(f"{item.source}: sending only the sound: {sizes}")
    else:
        kind = sound.path.suffix[1:]
        reporter.info(f"{item.source}: sending it as {kind}: the API doesn't document {media.container}")
    stem = "stdin" if item.source == STDIN else item.path.stem
    return UploadAudio(sound.path, sound.media, stem + sound.path.suffix)


@contextmanager
def _temporary_folder(name: str) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="cartesia-cli-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"{name}: its sound can't be saved in {tempfile.gettempdir()}: {error.strerror}",
            hint="set TMPDIR to another folder",
        ) from error
    with folder as path:
        yield Path(path)
