"""Converts samples between the API's six encodings and float32, and between sample rates.

Pure: arrays in, arrays out; only the resampler has state. Samples are mono float32 arrays of one dimension, -1..1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16000
"""Hz. The rate of the recognizers, which the API recommends (API docs: stt-input-encodings)."""


class AudioStore(Protocol):
    """Where recorded audio can be read again."""

    def read(self, position: int, size: int) -> bytes:
        """`size` bytes of audio from byte `position` on. Raises OSError if they can't be read."""


class Silence:
    """An `AudioStore` that holds nothing but silence, without end."""

    def read(self, position: int, size: int) -> bytes:
        return bytes(size)


@dataclass(frozen=True)
class AudioBlock:
    """A piece of a session's audio on its way from the source to the connection.

    pcm        16-bit mono samples (`pcm_s16le`) at the rate of the session
    store      where the same bytes can be read again; None: nowhere
    position   of the first of them in `store`, bytes
    """

    pcm: bytes
    store: AudioStore | None = None
    position: int = 0

    @cached_property
    def samples(self) -> Samples:
        """The block decoded: at most once, however many look at it."""
        return decode_pcm(self.pcm, "pcm_s16le")


def divide_into_rows(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Blocks joined and divided anew: arrays of shape (rows, size). The last row of all may be shorter."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        whole = len(held) // size * size
        yield held[:whole].reshape(-1, size)
        held = held[whole:]
    if len(held):
        yield held[np.newaxis]


def decode_pcm(data: bytes, encoding: str) -> Samples:
    """Decode headerless mono audio. `data` must contain whole samples; `protocol.ENCODINGS` has their size."""
    return _DECODERS[encoding](data)


def encode_s16le(samples: Samples) -> bytes:
    """Encode samples as `pcm_s16le`, which the API recommends (API docs: stt-input-encodings). Clips beyond -1..1."""
    data: bytes = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
    return data


def convert_s16le(data: bytes, encoding: str) -> bytes:
    """Convert `pcm_s16le` to another of ENCODINGS. What was decoded from G.711 comes out byte for byte."""
    return _CONVERTERS[encoding](np.frombuffer(data, "<i2")).tobytes()


class Resampler:
    """Converts a stream of samples from one rate to another, with nothing lost at its end. Rates in Hz.

    channels   None: samples are arrays of one dimension; else of shape (samples, channels)
    """

    def __init__(self, rate: int, wanted: int = RATE, channels: int | None = None) -> None:
        self._stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, channels or 1, "float32", "HQ")
        self._empty: Samples = np.zeros(0 if channels is None else (0, channels), np.float32)

    def resample(self, samples: Samples) -> Samples:
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> Samples:
        """The last samples, which the filter has held back."""
        return self._empty if self._stream is None else self._stream.resample_chunk(self._empty, last=True)


def _finite(samples: Samples) -> Samples:
    """Floats may have any value; recognizers must not get NaN."""
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


def _expand_mulaw() -> Samples:
    """ITU-T G.711 mu-law: bits inverted; sign, 3 bits of exponent, 4 of mantissa, bias 0x84 (14 bits)."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = (((mantissa << 3) + 0x84) << exponent) - 0x84
    values = np.where(code & 0x80, -size, size)
    values[NEGATIVE_ZERO] = -1  # distinct from zero, so that it is encoded to the same byte again
    return (values / 32768.0).astype(np.float32)


def _expand_alaw() -> Samples:
    """ITU-T G.711 A-law: even bits inverted; the lowest segment is linear (13 bits)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, size, -size) / 32768.0).astype(np.float32)


NEGATIVE_ZERO = 0x7F
"""Code of the second zero of mu-law."""

_MULAW = _expand_mulaw()
_ALAW = _expand_alaw()


_DECODERS: dict[str, Callable[[bytes], Samples]] = {
    "pcm_s16le": lambda data: (np.frombuffer(data, "<i2") / 32768.0).astype(np.float32),
    "pcm_s32le": lambda data: (np.frombuffer(data, "<i4") / 2147483648.0).astype(np.float32),
    "pcm_f16le": lambda data: _finite(np.frombuffer(data, "<f2").astype(np.float32)),
    "pcm_f32le": lambda data: _finite(np.frombuffer(data, "<f4").astype(np.float32)),
    "pcm_mulaw": lambda data: _MULAW[np.frombuffer(data, np.uint8)],
    "pcm_alaw": lambda data: _ALAW[np.frombuffer(data, np.uint8)],
}


@cache
def _companding_table(encoding: str) -> NDArray[np.uint8]:
    """For each 16-bit sample, indexed by its unsigned value, the code whose sample is nearest."""
    levels = _MULAW if encoding == "pcm_mulaw" else _ALAW
    order = np.argsort(levels)
    bounds = (levels[order][1:] + levels[order][:-1]) / 2
    samples = np.arange(65536, dtype=np.uint16).view(np.int16) / 32768.0
    return order.astype(np.uint8)[np.searchsorted(bounds, samples)]


_CONVERTERS: dict[str, Callable[[NDArray[np.int16]], NDArray[Any]]] = {
    "pcm_s16le": lambda samples: samples,
    "pcm_s32le": lambda samples: samples.astype("<i4") << 16,
    "pcm_f16le": lambda samples: (samples / 32768.0).astype("<f2"),
    "pcm_f32le": lambda samples: (samples / 32768.0).astype("<f4"),
    "pcm_mulaw": lambda samples: _companding_table("pcm_mulaw")[samples.view(np.uint16)],
    "pcm_alaw": lambda samples: _companding_table("pcm_alaw")[samples.view(np.uint16)],
}
