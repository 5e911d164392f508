"""The table of formats: which containers there are, how their files begin, and who reads them.

Must never decide what a file is (`recognition` does): a row is knowledge, not a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import boxes, flac, lengths, mpeg, ogg, riff
from .peek import Held, Peek

EXTENSIONS = frozenset(".flac .m4a .mp3 .mp4 .mpeg .mpga .oga .ogg .opus .wav .webm".split())
"""What a search through a folder picks up: the ten of the API, and `.opus`, which is Ogg by another name."""


@dataclass(frozen=True, slots=True)
class Format:
    """What is known of a container.

    media_type   of the part of the upload
    signature    pattern of its first bytes; None where frames tell, or the user
    measure      finds out what is held
    documented   whether it is among the API's ten
    """

    media_type: str
    signature: bytes | None = None
    measure: Callable[[Peek], Held] = lambda _: Held()
    documented: bool = True


FORMATS = {
    "wav": Format("audio/wav", rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE|riff\x2e\x91\xcf\x11.{16}wave", riff.measure),
    "flac": Format("audio/flac", rb"fLaC", flac.measure),
    "ogg": Format("audio/ogg", rb"OggS\0", ogg.measure),
    "mp4": Format("audio/mp4", rb"\0.{3}(?:ftyp|styp|moov|wide|free|skip)|.{4}mdat", boxes.measure_mp4),
    "webm": Format("audio/webm", rb"\x1a\x45\xdf\xa3", boxes.measure_matroska),
    "mpeg": Format("video/mpeg", rb"\0\0\x01[\xba\xb3]"),
    "mp3": Format("audio/mpeg", None, mpeg.measure),
    "unknown": Format("application/octet-stream"),
    "raw": Format("application/octet-stream"),
    "aac": Format("audio/aac", None, mpeg.measure, documented=False),
    "ac3": Format("audio/ac3", rb"\x0b\x77", documented=False),
    "aiff": Format("audio/aiff", rb"FORM.{4}AIF[FC]", lengths.measure_aiff, documented=False),
    "amr": Format("audio/amr", rb"#!AMR", documented=False),
    "ape": Format("audio/x-ape", rb"MAC .[\x0e\x0f]", documented=False),
    "au": Format("audio/basic", rb"\.snd\0\0", lengths.measure_au, documented=False),
    "avi": Format("video/x-msvideo", rb"RIFF.{4}AVI ", lengths.measure_avi, documented=False),
    "caf": Format("audio/x-caf", rb"caff\0", lengths.measure_caf, documented=False),
    "flv": Format("video/x-flv", rb"FLV\x01", documented=False),
    "ts": Format("video/mp2t", rb"\x47(?:.{187}\x47){3}", documented=False),
    "tta": Format("audio/x-tta", rb"TTA1", documented=False),
    "wavpack": Format("audio/x-wavpack", rb"wvpk", documented=False),
    "wma": Format("audio/x-ms-wma", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", lengths.measure_asf, documented=False),
}
"""`mp4` is m4a as well, `webm` any Matroska, `mpeg` a program stream; `raw` is what the user says is headerless."""

MEDIA_TYPES = {container: kind.media_type for container, kind in FORMATS.items()}
"""Container → media type of the part of the upload."""
