"""Writes FLAC files for uploads: mono samples, without loss and at about half the size of WAV.

`cut_segment` writes the part of a recording that a line of a manifest names: it begins and ends at exactly the samples
that were named. Must never hold more than a block of samples.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from math import inf
from pathlib import Path

import numpy as np

from ..errors import InputError
from .files import decode_file
from .pcm import RATE, Samples, encode_s16le
from .probing import display_name

END_TOLERANCE_SECONDS = 0.1
"""How far a segment may reach beyond the end of its recording: manifests round durations."""


class FlacWriter:
    """A FLAC file of 16-bit mono samples that is being written."""

    def __init__(self, path: Path, rate: int) -> None:
        import soundfile

        self._file = soundfile.SoundFile(path, "w", samplerate=rate, channels=1, format="FLAC", subtype="PCM_16")
        self.path, self.rate = path, rate
        self.samples = 0
        """Samples written so far."""

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def write(self, samples: Samples) -> None:
        """Append samples, -1..1. Those that came from 16-bit samples are stored unchanged."""
        self._file.write(np.frombuffer(encode_s16le(samples), "<i2"))
        self.samples += len(samples)

    def close(self) -> None:
        self._file.close()


@contextmanager
def new_flac_file(folder: Path, name: str, rate: int = RATE) -> Iterator[FlacWriter]:
    """A new FLAC file in `folder` that is complete after the block. It is deleted if the block fails. Raises InputError
    if it can't be written.

    rate   Hz
    name   of the recording, for messages
    """
    path = new_file(folder, ".flac", name)
    with saved_sound(path, name), closing(FlacWriter(path, rate)) as writer:
        yield writer


@contextmanager
def saved_sound(path: Path, name: str) -> Iterator[None]:
    """Delete the file if the block fails, and make an InputError of libsndfile's errors."""
    import soundfile

    try:
        yield
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, soundfile.SoundFileError):
            raise unsaved_error(path, name, str(error)) from error
        raise


def unsaved_error(path: Path, name: str, reason: str | None) -> InputError:
    """The error for sound that can't be written to a temporary file."""
    return InputError(
        f"{name}: its sound can't be saved in {path.parent}: {(reason or 'unknown error').rstrip('.')}",
        hint="free some space there, or set TMPDIR to another folder",
    )


def new_file(folder: Path, extension: str, name: str) -> Path:
    """A new empty file, readable by its owner only. Raises InputError if it can't be created."""
    try:
        handle, path = tempfile.mkstemp(extension, "sound-", folder)
    except OSError as error:
        raise unsaved_error(folder / "sound", name, error.strerror) from error
    os.close(handle)
    return Path(path)


def cut_segment(path: Path, offset: float, duration: float, folder: Path) -> Path:
    """Write the part of a recording that begins at `offset` seconds and lasts `duration` seconds to a new FLAC file in
    `folder`, which the caller deletes: mono, 16 bits, at the rate of the recording. `duration` may be infinite.

    Raises InputError if the recording can't be decoded, ends before the segment does, or the file can't be written.
    """
    name = display_name(path)
    rate = 0

    def keep_rate(encoding: str, found: int) -> None:
        nonlocal rate
        rate = found

    blocks = decode_file(path, rate=None, start=offset, on_format=keep_rate)
    first = next(blocks)  # calls keep_rate
    wanted = sys.maxsize if duration == inf else round((offset + duration) * rate) - round(offset * rate)
    with new_flac_file(folder, name, rate) as writer:
        for block in chain([first], blocks):
            writer.write(block[: wanted - writer.samples])
            if writer.samples == wanted:
                break
        if duration < inf and wanted - writer.samples > END_TOLERANCE_SECONDS * rate:
            raise InputError(
                f"{name} has no segment from {offset:.2f} to {offset + duration:.2f} s: it ends at "
                f"{offset + writer.seconds:.2f} s",
                hint="are offset and duration of the manifest in seconds?",
            )
    return writer.path
