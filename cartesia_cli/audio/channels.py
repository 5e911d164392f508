"""Splits a recording with one speaker on each channel into a file for each, without its long silences.

One pass, and memory for some seconds of audio. The files are FLAC at 16 kHz, the rate of the recognizers: what they
would resample to anyway.

Only silence that can't be speech is cut out: at least MIN_SILENCE_SECONDS long, below MAX_SILENCE_DBFS, and so even
that nobody can be speaking in it, or too faint for any word. MARGIN_SECONDS of it are kept on either side. Must
never cut out speech, however faint it is: silence that is sent costs little, a word that isn't is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, combinations, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .decoders import Warn
from .encoders import SoundWriter, new_flac_file
from .files import Decoder
from .level import FRAME_SECONDS, MIN_THRESHOLD_DBFS, FrameLevels
from .pcm import RATE, Samples
from .probing import MediaInfo, display_name
from .time_map import Part, TimeMap

MIN_SILENCE_SECONDS = 3.0
"""Shortest silence that is cut out."""

MARGIN_SECONDS = 0.5
"""How much of it is kept before and after a sound: together a pause of 1 s."""

MIN_SILENCE_FRAMES, MARGIN_FRAMES = round(MIN_SILENCE_SECONDS / FRAME_SECONDS), round(MARGIN_SECONDS / FRAME_SECONDS)

MAX_SILENCE_DBFS = -50.0
"""Highest level of silence."""

MAX_SILENCE_RANGE_DB = 6.0
"""How far the levels of its frames may be from each other. Those of speech are 20 dB and more, and still 6 dB where its
loudest frames are 5 dB above noise.
"""

SAME_SOUND, SIMILAR_SOUND = 0.98, 0.85
"""Correlations of channels that hold the same sound at most at another level, and of those that may."""

MAX_CHANNELS = 64
"""No recording of a conversation has more."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a recording.

    number   counted from 1
    path     of its file; None if the channel is silent throughout
    media    what probing would say of the file; its duration is what is sent and paid for
    times    where the parts of the file are in the recording
    """

    number: int
    path: Path | None
    media: MediaInfo
    times: TimeMap


def split_channels(path: Path, folder: Path, *, warn: Warn = lambda note: None) -> tuple[list[Channel], float]:
    """Write each channel of a recording to a new file in `folder`, which the caller deletes. Returns the channels, and
    the length of the recording in seconds.

    Raises InputError if the recording can't be decoded, has one channel only, or has the same sound in all of them; and
    if the files can't be written.

    warn   called with a sentence for what is missing, and for channels that are much alike
    """
    name = display_name(path)
    decoded = Decoder(warn=warn).decode_channels(path)
    first = next(decoded, None)
    if first is None:
        raise InputError(f"{name} holds no audio", hint="does it play?")
    _check_count(len(first), name)
    correlations = _Correlations(len(first))
    with ExitStack() as stack:
        cutters = [_SilenceCutter(*stack.enter_context(new_flac_file(folder, name))) for _ in first]
        for blocks in chain([first], decoded):
            correlations.add(blocks)
            for cutter, block in zip(cutters, blocks, strict=True):
                cutter.write(block)
        for cutter in cutters:
            cutter.finish()
        _check_distinct(correlations, [cutter.is_silent for cutter in cutters], name, warn)
    return [cutter.channel(number) for number, cutter in enumerate(cutters, 1)], correlations.samples / RATE


def _check_count(count: int, name: str) -> None:
    if count == 1:
        raise InputError(
            f"{name} has 1 channel: speakers can't be told apart by channel",
            hint="transcribe it as a whole",
        )
    if count > MAX_CHANNELS:
        raise InputError(f"{name} has {count} channels, more than {MAX_CHANNELS}")


def _check_distinct(correlations: _Correlations, silent: Sequence[bool], name: str, warn: Warn) -> None:
    """Raises InputError if all channels that aren't silent are the same; warns if some are, or are similar."""
    audible = [index for index, is_silent in enumerate(silent) if not is_silent]
    pairs = {(a + 1, b + 1): correlations.between(a, b) for a, b in combinations(audible, 2)}
    if pairs and min(pairs.values()) >= SAME_SOUND:
        which = "both channels" if len(audible) == len(silent) == 2 else "all channels with sound"
        raise InputError(
            f"{name}: {which} hold the same sound, so speakers can't be told apart by channel",
            hint="transcribe it as a whole",
        )
    for (first, second), correlation in pairs.items():
        if correlation >= SAME_SOUND:
            warn(f"channels {first} and {second} hold the same sound: its words come twice")
        elif correlation >= SIMILAR_SOUND:
            warn(f"channels {first} and {second} are much alike: words that are heard on both may come twice")


class _Correlations:
    """Measures how alike channels are, block by block. `samples`: of each channel so far."""

    def __init__(self, count: int) -> None:
        self._products = np.zeros((count, count))
        self._sums = np.zeros(count)
        self.samples = 0

    def add(self, blocks: NDArray[np.float32]) -> None:
        """Take the next samples, shape (channels, samples)."""
        samples = blocks.astype(np.float64)
        self._products += samples @ samples.T
        self._sums += samples.sum(axis=1)
        self.samples += samples.shape[1]

    def between(self, first: int, second: int) -> float:
        """0 for different sounds, 1 for the same, at any level and with either sign."""
        means = self._sums / max(1, self.samples)
        covariance: NDArray[np.float64] = self._products / max(1, self.samples) - np.outer(means, means)
        scale = float(np.sqrt(covariance[first, first] * covariance[second, second]))
        return abs(float(covariance[first, second])) / scale if scale > 0 else 0.0


class _SilenceCutter:
    """Writes a channel to a file without its long silences, and keeps where the rest of it was.

    Frames that may be part of a silence are held back: up to MIN_SILENCE_SECONDS of them, and once it lasts longer, the
    last MARGIN_SECONDS.
    """

    def __init__(self, writer: SoundWriter, path: Path) -> None:
        self._writer, self._path, self._levels = writer, path, FrameLevels(RATE)
        self._held: deque[tuple[Samples, int]] = deque()  # frames, each with its position
        self._lowest = self._highest = 0.0  # levels of the silence, dBFS
        self._is_cutting = False
        self._parts: list[Part] = []
        self._out: list[Samples] = []
        # In samples: where the next frame is in the recording, the length of the file, and where its end was in the
        # recording.
        self._position, self._written, self._end_position = 0, 0, -1

    @property
    def is_silent(self) -> bool:
        """Whether there was nothing but silence so far."""
        return self._written == 0

    def write(self, samples: Samples) -> None:
        size, frames = self._levels.frame_samples, np.concatenate([self._levels.pending, samples])
        for index, level in enumerate(self._levels.levels(samples)):
            self._add_frame(level, frames[index * size : (index + 1) * size])
        self._flush()

    def finish(self) -> None:
        """Write what is held back at the end of the recording, unless it belongs to a silence that is cut out."""
        if not self._is_cutting and not self.is_silent:
            self._release()
            self._append(self._levels.pending, self._position)
            self._flush()

    def channel(self, number: int) -> Channel:
        """The channel, after its file was closed. Deletes the file if the channel is silent."""
        path = self._path
        if self.is_silent:
            path.unlink()
            return Channel(number, None, MediaInfo("flac", 0, 0.0), TimeMap())
        media = MediaInfo("flac", path.stat().st_size, self._writer.seconds)
        return Channel(number, path, media, TimeMap(tuple(self._parts)))

    def _add_frame(self, level: float, frame: Samples) -> None:
        level = max(level, MIN_THRESHOLD_DBFS)
        lowest, highest = (min(self._lowest, level), max(self._highest, level)) if self._held else (level, level)
        if highest > MAX_SILENCE_DBFS or highest - lowest > MAX_SILENCE_RANGE_DB:
            self._release()
            lowest = highest = level
        if level > MAX_SILENCE_DBFS:
            self._append(frame, self._position)
        else:
            self._lowest, self._highest = lowest, highest
            self._hold(frame)
        self._position += len(frame)

    def _hold(self, frame: Samples) -> None:
        self._held.append((frame, self._position))
        if not self._is_cutting and len(self._held) == MIN_SILENCE_FRAMES:
            self._is_cutting = True
            if not self.is_silent:
                for held in islice(self._held, MARGIN_FRAMES):
                    self._append(*held)
        while self._is_cutting and len(self._held) > MARGIN_FRAMES:
            self._held.popleft()

    def _release(self) -> None:
        """Write the frames that are held back."""
        for held in self._held:
            self._append(*held)
        self._held.clear()
        self._is_cutting = False

    def _append(self, frame: Samples, position: int) -> None:
        if position != self._end_position:
            self._parts.append(Part(self._written / RATE, position / RATE))
        self._out.append(frame)
        self._written += len(frame)
        self._end_position = position + len(frame)

    def _flush(self) -> None:
        if self._out:
            self._writer.write(np.concatenate(self._out))
            self._out.clear()
