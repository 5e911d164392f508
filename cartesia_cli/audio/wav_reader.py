"""Plain samples of the WAV family (RIFF, RIFX, RF64, BW64, Wave64), read forward only, as they come.

Read here since nobody else reads all of them rightly: libsndfile finds nothing in a stream whose header names no
length; FFmpeg makes noise of RIFX and of 24 bits in 32, and of a pipe it wants 64 KiB before the first sample.
Must never seek, and never guess at what isn't plain samples: compressed ones and fmt behind data are for others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pcm import decode_pcm
from .probing.riff import EXTENSIBLE, LAYOUTS, OPEN_LENGTHS

Frames = NDArray[np.float32]
"""Samples of shape (frames, channels)."""

PCM, FLOAT, ALAW, MULAW = 1, 3, 6, 7

WIDTHS = {PCM: (1, 2, 3, 4, 8), FLOAT: (2, 4, 8), ALAW: (1,), MULAW: (1,)}
"""Codec → bytes that a sample may have."""

LONGEST_HEADER = 64
"""Bytes of a fmt or ds64 chunk that anybody needs."""


@dataclass(frozen=True, slots=True)
class WavFormat:
    """What a header says of the samples that follow it.

    codec      a key of WIDTHS
    order      of their bytes: "<" or ">"
    width      bytes of a sample
    channels   samples of a frame
    rate       Hz
    promised   bytes of samples, None where the header leaves that open: they last to the end of the stream
    """

    codec: int
    order: str
    width: int
    channels: int
    rate: int
    promised: int | None

    @property
    def frame(self) -> int:
        """Bytes of a frame."""
        return self.width * self.channels

    def decode(self, data: bytes) -> Frames:
        """Bytes of whole frames as numbers, full scale at 1; floats may be anything."""
        return self._numbers(data).reshape(-1, self.channels)

    def _numbers(self, data: bytes) -> NDArray[np.float32]:
        if self.codec in (ALAW, MULAW):
            return decode_pcm(data, "pcm_alaw" if self.codec == ALAW else "pcm_mulaw")
        if self.codec == FLOAT:
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large for 32 bits becomes infinite
                return np.frombuffer(data, f"{self.order}f{self.width}").astype(np.float32)
        if self.width == 1:  # the only ones without a sign
            return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
        if self.width == 3:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, slice(1, 4) if self.order == "<" else slice(0, 3)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            data = wide.tobytes()
        width = 4 if self.width == 3 else self.width
        whole = np.frombuffer(data, f"{self.order}i{width}") / 2.0 ** (8 * width - 1)
        return whole.astype(np.float32)


def read_header(read: Callable[[int], bytes], skip: Callable[[int], object]) -> WavFormat | None:
    """The header of a stream, up to its first sample; None where other than plain samples follow, or nothing.

    `read` gives so many bytes, fewer only at the end; `skip` passes over so many.
    """
    layout = LAYOUTS.get(read(4))
    if layout is None:
        return None
    skip(layout.first - 4)
    fmt = wide = carried = b""
    size, order = struct.calcsize(layout.head), layout.head[0]
    while len(head := carried + read(size - len(carried))) == size:
        name, length = struct.unpack(layout.head, head)
        length = max(0, length - layout.counted)
        if name == b"data":
            return _wave(fmt, order, _promised(length, wide))
        known = name in (b"fmt ", b"ds64")
        body = read(min(length, LONGEST_HEADER)) if known else b""
        skip(length - len(body))
        fmt, wide = (body if name == b"fmt " else fmt), (body if name == b"ds64" else wide)
        # A writer that doesn't pad has put the first letter of the next name there.
        padding = read(-length % layout.padding)
        carried = padding if padding.isalpha() else b""
    return None


def _promised(length: int, wide: bytes) -> int | None:
    """Bytes of samples by the head of the data chunk and, in RF64, by ds64."""
    if length == 0xFFFFFFFF and len(wide) >= 16:
        (length,) = struct.unpack_from("<Q", wide, 8)
    return None if any(length in lengths for lengths in OPEN_LENGTHS) else length


def _wave(fmt: bytes, order: str, promised: int | None) -> WavFormat | None:
    if len(fmt) < 16:
        return None
    codec, channels, rate, _, block, bits = struct.unpack_from(f"{order}HHIIHH", fmt)
    if codec == EXTENSIBLE and len(fmt) >= 26:
        (codec,) = struct.unpack_from(f"{order}H", fmt, 24)
    # The block size is wrong more often than the bits, except where 24 of them lie in 32.
    width = 1 if codec in (ALAW, MULAW) else -(-bits // 8)
    if width == 3 and block == 4 * channels:
        width = 4
    if width not in WIDTHS.get(codec, ()) or not channels or not rate:
        return None
    return WavFormat(codec, order, width, channels, rate, promised)
