"""An uploaded file as samples for the recogniser; what can't be decoded is refused.

Must never decode by itself: what `stream-file` hears in a recording and what `transcribe` does would differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from ..audio.files import decode_open_file, decode_raw
from ..audio.pcm import Samples
from ..errors import InputError
from ..protocol import BatchOptions, api_error

NAME = "The file"


def decode_upload(file: BinaryIO, options: BatchOptions) -> Iterator[Samples]:
    """Blocks of 16 kHz mono from a file that can be sought. ApiError 400 if there is no audio in it."""
    try:
        if options.encoding is None:
            yield from decode_open_file(file, NAME)
        else:
            assert options.sample_rate is not None
            yield from decode_raw(file, options.encoding, options.sample_rate, NAME)
    except InputError as error:
        raise api_error(400, "Invalid audio", f"{error.message}.") from error
