"""Durations of MPEG audio, layers I to III (MP3 for short), and of AAC in ADTS: frames without a container.

By the index that an encoder may leave in the first frame (Xing, called Info where the bit rate is constant, or VBRI),
or by the bit rate. Must never take a single sync word for audio: other data contain it by chance.

In MPEG program streams, whose headers name no duration, only video is looked for.
"""

import re
import struct
from typing import NamedTuple

from .bounded_reader import WINDOW_BYTES, BoundedReader, NoAudio, ProbeResult, proportional_duration

BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(MPEG version, layer) → kbit/s from index 1 on. MPEG 2.5 is like 2."""

SAMPLES_PER_FRAME = {(1, 1): 384, (1, 2): 1152, (1, 3): 1152, (2, 1): 384, (2, 2): 1152, (2, 3): 576}
"""(MPEG version, layer) → samples in a frame."""

SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Version as a header writes it (MPEG 1, 2, 2.5) → Hz."""

AAC_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

VIDEO_START_CODE = rb"\0\0\x01[\xb3\xe0-\xef]"
"""Start of a video sequence, or of a packet of a video stream in a program stream (ISO 13818-1, table 2-22)."""

ID3V1_BYTES = 128
"""Length of the tag that a file may end with."""


class MpegFrame(NamedTuple):
    """The header of a frame.

    start, length   bytes
    samples, rate   of audio in it, in one channel; Hz
    """

    container: str
    start: int
    length: int
    samples: int
    rate: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def is_same_stream(self, other: "MpegFrame") -> bool:
        """Whether two frames may belong to the same stream."""
        return (self.container, self.samples, self.rate) == (other.container, other.samples, other.rate)


def measure_mpeg(reader: BoundedReader) -> ProbeResult:
    """By the index in the first frame, else by the bit rate of the first 64 KiB."""
    window = reader.at(0, WINDOW_BYTES)
    run = find_frames(window, reader.size, reach=WINDOW_BYTES)
    if not run:
        if len(window) == reader.size and not window.strip(b"\0"):
            raise NoAudio("it consists of tags only")
        return ProbeResult()
    first = run[0]
    tag = ID3V1_BYTES if reader.at(max(0, reader.size - ID3V1_BYTES), 3) == b"TAG" else 0
    held = reader.size - first.start - tag
    samples, length = _encoder_index(window, first)
    if samples > 0 and not 0 < length * 1.5 < held:  # in several files joined, the index is that of the first
        return proportional_duration(samples / first.rate, held, length)
    seconds = held * sum(frame.samples for frame in run) / (run[-1].end - first.start) / first.rate
    return ProbeResult(seconds, estimated=True)


def find_video(reader: BoundedReader) -> ProbeResult:
    """Whether there are pictures in the first 64 KiB of a program stream."""
    return ProbeResult(video=re.search(VIDEO_START_CODE, reader.at(0, WINDOW_BYTES)) is not None)


def find_frames(window: bytes, size: int, reach: int) -> list[MpegFrame]:
    """The first run of at least three frames (fewer where they are the whole file) that begins in `reach` bytes."""
    for sync in re.finditer(rb"\xff", window[:reach]):
        run = _consecutive_frames(window, sync.start())
        if len(run) >= 3 or (run and run[0].start == 0 and run[-1].end >= size):
            return run
    return []


def _consecutive_frames(window: bytes, at: int) -> list[MpegFrame]:
    """The frames of one stream that follow each other from `at` on."""
    run: list[MpegFrame] = []
    while (frame := _parse_frame(window, at)) and (not run or frame.is_same_stream(run[0])):
        run.append(frame)
        at = frame.end
    return run


def _parse_frame(window: bytes, at: int) -> MpegFrame | None:
    """The frame that begins at `at`, or None."""
    head = window[at : at + 7]
    if len(head) < 7 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    if layer == 4:
        return _parse_aac_frame(head, at)
    bit_rate, sample_rate = head[2] >> 4, head[2] >> 2 & 3
    if version not in SAMPLE_RATES or sample_rate == 3 or bit_rate in (0, 15):
        return None
    kind, rate = (1 if version == 3 else 2, layer), SAMPLE_RATES[version][sample_rate]
    slot = 4 if layer == 1 else 1
    slots = BIT_RATES[kind][bit_rate - 1] * 125 * SAMPLES_PER_FRAME[kind] // (rate * slot) + (head[2] >> 1 & 1)
    return MpegFrame("mp3", at, slots * slot, SAMPLES_PER_FRAME[kind], rate)


def _parse_aac_frame(head: bytes, at: int) -> MpegFrame | None:
    sample_rate, length = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if head[1] < 0xF0 or sample_rate >= len(AAC_SAMPLE_RATES) or length < 7:
        return None
    return MpegFrame("aac", at, length, 1024 * (1 + (head[6] & 3)), AAC_SAMPLE_RATES[sample_rate])


def _encoder_index(window: bytes, first: MpegFrame) -> tuple[int, int]:
    """Samples and bytes by the index (Xing, Info, VBRI); 0 if it doesn't say."""
    head = window[first.start : first.start + 256].ljust(256, b"\0")
    if (at := head.find(b"VBRI", 0, 64)) >= 0:
        length, count = struct.unpack_from(">10xII", head, at)
        return count * first.samples, length
    if (at := max(head.find(b"Xing", 0, 64), head.find(b"Info", 0, 64))) < 0:
        return 0, 0
    flags, count, length = struct.unpack_from(">4xIII", head, at)
    encoder = head[at + 120 : at + 124] if flags == 15 else b""
    silence = int.from_bytes(head[at + 141 : at + 144]) if encoder in (b"LAME", b"Lavc", b"Lavf") else 0
    trimmed = count * first.samples - (silence >> 12) - (silence & 0xFFF)  # that the encoder added at both ends
    return trimmed if flags & 1 else 0, length if flags & 3 == 3 else 0
