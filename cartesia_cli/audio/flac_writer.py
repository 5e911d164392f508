"""Writes mono samples to a FLAC file for an upload: without loss, at about half the size of WAV.

Must never hold more than a block of samples.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import InputError
from .pcm import RATE, Samples, encode_s16le


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
def flac_file(path: Path, name: str, rate: int = RATE) -> Iterator[FlacWriter]:
    """A FLAC file that is complete after the block. It is deleted if the block fails.

    rate   Hz
    name   of the recording, for messages
    InputError if it can't be written.
    """
    with saved_sound(path, name):
        writer = FlacWriter(path, rate)
        try:
            yield writer
        finally:
            writer.close()


@contextmanager
def saved_sound(path: Path, name: str) -> Iterator[None]:
    """Delete the file if the block fails, and make an InputError of libsndfile's errors."""
    import soundfile

    try:
        yield
    except soundfile.SoundFileError as error:
        path.unlink(missing_ok=True)
        raise unsaved_error(path, name, str(error)) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def unsaved_error(path: Path, name: str, reason: str | None) -> InputError:
    """The error for sound that can't be written to a temporary file."""
    return InputError(
        f"{name}: its sound can't be saved in {path.parent}: {(reason or 'unknown error').rstrip('.')}",
        hint="free some space there, or set TMPDIR to another folder",
    )


def new_file(folder: Path, extension: str, name: str) -> Path:
    """A new empty file, readable by its owner only. InputError if it can't be created."""
    try:
        handle, path = tempfile.mkstemp(extension, "sound-", folder)
    except OSError as error:
        raise unsaved_error(folder / "sound", name, error.strerror) from error
    os.close(handle)
    return Path(path)
