"""Probing: finds out from a file's own bytes whether it is audio, in which container, and how many seconds of it.

So that unusable inputs are reported before anything is sent or paid for, and that cost, deadline and progress are known
beforehand. Must never refuse what a server may be able to decode, only what provably holds no audio; never read more
than small pieces of a file, however large or hostile it is; never import a decoder.

    bounded_reader    opens files and reads them in small pieces; what a reader of a format answers
    chunked_formats   reader of the WAV family (by audio/wav_header), AIFF, AU, CAF, AVI and WMA
    ogg_flac          reader of Ogg and FLAC
    mpeg              reader of MP3 and AAC frames
    mp4_matroska      reader of MP4, Matroska and WebM
    formats           the table: media type, file endings, first bytes and reader of each container; which row a file
                      belongs to, and what is certainly not a recording

To add a container, add a row to `formats` and, where its header tells the duration, a reader: a function from a
BoundedReader to a ProbeResult.
"""

from pathlib import Path
from typing import NamedTuple

from ...errors import InputError
from ...protocol.constants import ENCODINGS
from ...record import Record
from .bounded_reader import (
    SIGNATURE_BYTES,
    BoundedReader,
    NoAudio,
    ProbeResult,
    Undetermined,
    display_name,
    open_regular_file,
)
from .formats import DOCUMENTED, EXTENSIONS, FORMATS, may_be_recording, reject_other_files, sniff


class MediaInfo(NamedTuple):
    """What probing finds out about a file. The fields from `duration` to `video` are those of a ProbeResult.

    container     a key of FORMATS; `mp4` includes m4a, `mpeg` is a program stream
    bytes         size of the file
    duration      approximate for MP3 without an index and for files that were cut off, except WAV
    sound_start   seconds after the pictures of a film that its sound begins. Probing doesn't know: `soundtrack` does
    """

    container: str
    bytes: int
    duration: float | None = None
    declared: float | None = None
    note: str | None = None
    estimated: bool = False
    video: bool = False
    sound_start: float = 0.0

    @property
    def documented(self) -> bool:
        """Whether the API documents that it accepts this container."""
        return self.container in DOCUMENTED

    @property
    def is_plain_audio(self) -> bool:
        """Whether the API documents that it accepts this container, and there are no pictures in it."""
        return self.documented and not self.video


class UploadEstimate(Record):
    """What is known of a file before it is uploaded, and perhaps made for that.

    bytes       None if unknown
    exact       whether that is certain to about 1 %
    duration    seconds; None if unknown
    extension   of a file that would be made of a recording; None: the recording itself would be uploaded
    """

    bytes: int | None
    exact: bool
    duration: float | None
    extension: str | None = None


def probe(path: Path, name: str | None = None) -> MediaInfo:
    """Probe a recording in a container. Raises InputError if it can't be read or provably contains no audio.

    `name`: what messages call it, where that isn't its path, as for stdin.
    """
    name = name or display_name(path)
    with open_regular_file(path, name) as (file, size):
        reader = BoundedReader(file, size)
        extension = path.suffix.lower()
        container = sniff(reader, trust_extension=extension in EXTENSIONS)
        if container is None:
            reject_other_files(name, extension, reader.at(0, SIGNATURE_BYTES))
            container = "unknown"
        try:
            result = FORMATS[container].measure(reader)
        except Undetermined:
            result = ProbeResult()
        except NoAudio as error:
            raise InputError(f"{name} holds no audio: {error}", hint="does it play?") from error
    seconds = _plausible(result.duration), _plausible(result.declared)
    return MediaInfo(container, size, *seconds, result.note, result.estimated, result.video)


def probe_raw(path: Path, encoding: str, sample_rate: int, name: str | None = None) -> MediaInfo:
    """Probe headerless mono samples: `encoding` is one of ENCODINGS, `sample_rate` in Hz; `name` as in `probe`."""
    name = name or display_name(path)
    with open_regular_file(path, name) as (file, size):
        container = sniff(BoundedReader(file, size), trust_extension=False)
    width = ENCODINGS[encoding]
    samples, left_over = divmod(size, width)
    if not samples:
        raise InputError(f"{name} holds less than one sample of {encoding}", hint="is the encoding right?")
    notes = []
    if container:
        notes.append(
            f"looks like {container}, not like headerless {encoding}: all its bytes would be taken for samples"
        )
    if left_over:
        notes.append(f"ends inside a sample of {encoding}: {left_over} of {width} bytes")
    return MediaInfo("raw", size, samples / sample_rate, note="; ".join(notes) or None)


def is_recording(path: Path) -> bool:
    """Whether a file is a recording by its own bytes, whatever its name. Of other files, 4 KiB are read."""
    try:
        with open_regular_file(path, display_name(path)) as (file, _):
            head = file.read(SIGNATURE_BYTES)
        return may_be_recording(head) and probe(path).container != "unknown"
    except InputError:
        return False


def _plausible(seconds: float | None) -> float | None:
    """The seconds, if a recording can be so long. A hostile header can say infinity or NaN."""
    return seconds if seconds is not None and 0 < seconds < 1e9 else None
