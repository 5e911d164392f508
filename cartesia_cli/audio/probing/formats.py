"""The table of containers, and which of them a file is by its own bytes: or that it certainly isn't a recording.

Must never go by a file's name, except to give it the benefit of the doubt, and never refuse what only looks strange.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from importlib import import_module

from ...errors import InputError
from ...record import Record
from .bounded_reader import SIGNATURE_BYTES, WINDOW_BYTES, BoundedReader, ProbeResult


class Format(Record):
    """A container.

    media_type   for uploads
    suffixes     of its files, with spaces between them; the first one completes a name that has none
    signature    pattern of its first bytes; None if it is recognized by its frames, or named by the user
    reader       the function that finds its duration, as "module.function"; "" if there is none. Imported when it is
                 called: most runs need one module of four
    """

    media_type: str
    suffixes: str = ""
    signature: bytes | None = None
    reader: str = ""

    @property
    def extensions(self) -> list[str]:
        return self.suffixes.split()

    def measure(self, file: BoundedReader) -> ProbeResult:
        """Find the duration. Raises NoAudio and Undetermined."""
        if not self.reader:
            return ProbeResult()
        module, _, function = self.reader.partition(".")
        find: Callable[[BoundedReader], ProbeResult] = getattr(import_module(f".{module}", __package__), function)
        return find(file)


FORMATS = {
    "wav": Format(
        "audio/wav", ".wav .wave .rf64 .bwf", rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE", "chunked_formats.measure_wav"
    ),
    "w64": Format("audio/x-w64", ".w64", rb"riff\x2e\x91\xcf\x11.{16}wave", "chunked_formats.measure_wav"),
    "flac": Format("audio/flac", ".flac", rb"fLaC", "ogg_flac.measure_flac"),
    "ogg": Format("audio/ogg", ".ogg .oga .opus .spx .ogv .ogx .ogm", rb"OggS\0", "ogg_flac.measure_ogg"),
    "3gp": Format("audio/3gpp", ".3gp .3gpp .3ga .3g2", rb"\0.{3}ftyp3g", "mp4_matroska.measure_mp4"),
    "mov": Format("video/quicktime", ".mov .qt", rb"\0.{3}ftypqt", "mp4_matroska.measure_mp4"),
    "mp4": Format(
        "audio/mp4",
        ".mp4 .m4a .m4b .m4r .m4v .f4v .f4a",
        rb"\0.{3}(?:ftyp|styp|moov|wide|free|skip)|.{4}mdat",
        "mp4_matroska.measure_mp4",
    ),
    "webm": Format(
        "audio/webm", ".webm .weba", rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82.{1,8}?webm", "mp4_matroska.measure_matroska"
    ),
    "matroska": Format("video/x-matroska", ".mkv .mka .mk3d", rb"\x1a\x45\xdf\xa3", "mp4_matroska.measure_matroska"),
    "mpeg": Format("video/mpeg", ".mpeg .mpg .vob", rb"\0\0\x01[\xba\xb3]", "mpeg.find_video"),
    "mp3": Format("audio/mpeg", ".mp3 .mpga .mpeg .mp2 .mp1 .mpa .m2a", None, "mpeg.measure_mpeg"),
    "unknown": Format("application/octet-stream"),
    "raw": Format("application/octet-stream"),
    "aac": Format("audio/aac", ".aac .adts", None, "mpeg.measure_mpeg"),
    "ac3": Format("audio/ac3", ".ac3 .ec3 .eac3", rb"\x0b\x77"),
    "adx": Format("audio/x-adx", ".adx", rb"\x80\0..[\x02-\x04]"),
    "aiff": Format("audio/aiff", ".aiff .aif .aifc", rb"FORM.{4}AIF[FC]", "chunked_formats.measure_aiff"),
    "amr": Format("audio/amr", ".amr .awb", rb"#!AMR"),
    "ape": Format("audio/x-ape", ".ape", rb"MAC .[\x0e\x0f]"),
    "au": Format("audio/basic", ".au .snd", rb"\.snd\0\0", "chunked_formats.measure_au"),
    "avi": Format("video/x-msvideo", ".avi", rb"RIFF.{4}AVI ", "chunked_formats.measure_avi"),
    "avr": Format("audio/x-avr", ".avr", rb"2BIT"),
    "caf": Format("audio/x-caf", ".caf", rb"caff\0", "chunked_formats.measure_caf"),
    "dsf": Format("audio/x-dsf", ".dsf", rb"DSD \x1c\0"),
    "dss": Format("audio/x-dss", ".dss", rb"[\x02\x03]dss"),
    "dts": Format("audio/vnd.dts", ".dts .dtshd", rb"\x7f\xfe\x80\x01|DTSHDHDR"),
    "dv": Format("video/x-dv", ".dv .dif", rb"\x1f\x07\0[\x3f\xbf]"),
    "flv": Format("video/x-flv", ".flv", rb"FLV\x01"),
    "gsm": Format("audio/gsm", ".gsm"),
    "ircam": Format("audio/x-ircam", ".sf .ircam", rb"\x64\xa3[\x01-\x04]\0|\0[\x01-\x04]\xa3\x64"),
    "latm": Format("audio/mp4a-latm", ".latm .loas", rb"\x56[\xe0-\xff][\0-\xff]\x20\0"),
    "mlp": Format("audio/vnd.dolby.mlp", ".mlp .thd", rb".{4}\xf8\x72\x6f[\xba\xbb]"),
    "musepack": Format("audio/x-musepack", ".mpc .mp+", rb"MPCK|MP\+[\x07\x17]"),
    "mxf": Format("application/mxf", ".mxf", rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"),
    "nut": Format("video/x-nut", ".nut", rb"nut/multimedia container"),
    "oma": Format("audio/x-oma", ".oma .aa3", rb"(?:EA3|ea3)[\x01-\x03]"),
    "paf": Format("audio/x-paf", ".paf .fap", rb" paf|fap "),
    "pvf": Format("audio/x-pvf", ".pvf", rb"PVF1\n"),
    "qcp": Format("audio/qcelp", ".qcp", rb"RIFF.{4}QLCM"),
    "real": Format("application/vnd.rn-realmedia", ".rm .ra .rmvb", rb"\.RMF\0|\.ra\xfd"),
    "shorten": Format("audio/x-shorten", ".shn", rb"ajkg"),
    "sox": Format("audio/x-sox", ".sox", rb"\.SoX|XoS\."),
    "sphere": Format("audio/x-nist", ".sph .nist", rb"NIST_1A\n"),
    "svx": Format("audio/x-8svx", ".8svx .svx .iff", rb"FORM.{4}(?:8SVX|16SV)"),
    "tak": Format("audio/x-tak", ".tak", rb"tBaK"),
    "ts": Format("video/mp2t", ".ts .mts .m2ts .tts", rb"\x47(?:.{187}\x47){3}|.{4}\x47(?:.{191}\x47){3}"),
    "tta": Format("audio/x-tta", ".tta", rb"TTA1"),
    "voc": Format("audio/x-voc", ".voc", rb"Creative Voice File\x1a"),
    "wavpack": Format("audio/x-wavpack", ".wv", rb"wvpk"),
    "wma": Format(
        "audio/x-ms-wma", ".wma .wmv .asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "chunked_formats.measure_asf"
    ),
    "wtv": Format("video/x-wtv", ".wtv", rb"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e"),
}
"""`mp4` includes m4a, `mpeg` is a program stream, `raw` is headerless by the word of the user. The first signature that
matches decides."""

AMBIGUOUS_EXTENSIONS = frozenset(".ts .mts .tts .sf .iff .mpc .mp+ .dif .latm".split())
"""Extensions that other files have, too, such as TypeScript: here a file's first bytes decide."""

EXTENSIONS = frozenset(extension for kind in FORMATS.values() for extension in kind.extensions) - AMBIGUOUS_EXTENSIONS
"""Extensions of recordings only."""

DOCUMENTED = frozenset("flac mp3 mp4 mpeg ogg raw wav webm".split())
"""Those that the API documents. The others are what FFmpeg or libsndfile decode."""

DOCUMENTED_EXTENSIONS = frozenset(".flac .m4a .mp3 .mp4 .mpeg .mpga .oga .ogg .opus .wav .webm".split())
"""The ten that the API documents, and `.opus`, which is Ogg."""

HEADERLESS_EXTENSIONS = frozenset(".raw .pcm .ul .ulaw .mulaw .al .alaw .s16 .s16le .s32le .f16le .f32le .sln".split())
"""Extensions of headerless samples, for folders that are searched for them."""

MAX_ID3_TAGS = 8
"""ID3v2 tags at the beginning of a file. One is usual, two occur."""

DOCUMENTED_FORMATS = ", ".join(sorted(extension[1:] for extension in DOCUMENTED_EXTENSIONS))

NOT_AUDIO = (
    (rb"\s*<(!doctype html|html|head|body)", "an HTML page (did a download save an error page?)"),
    (rb"version https://git-lfs", "a Git LFS pointer (fetch the file with `git lfs pull`)"),
    (rb"%PDF-", "a PDF document"),
    (rb"PK(\x03\x04|\x05\x06)", "a ZIP archive or an office document"),
    (rb"\x89PNG\r\n", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"RIFF.{4}WEBP", "a WebP image"),
    (rb"\x1f\x8b\x08", "a gzip archive"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (rb"Rar!\x1a\x07", "a RAR archive"),
    (rb"MThd", "a MIDI file, which contains notes, not sound"),
)
"""First bytes of files that end up among recordings by mistake, and what to call them."""


def sniff(reader: BoundedReader, *, trust_extension: bool) -> str | None:
    """The container, a key of FORMATS, by the bytes after ID3v2 tags; None if unknown.

    `trust_extension`: whether the file is named like a recording, so that frames may be searched for.
    """
    tagged = _skip_id3(reader)
    if found := sniff_head(reader.at(0, SIGNATURE_BYTES)):
        return found
    from .mpeg import find_frames  # start-up: most recordings are found by their first bytes

    # Other data may contain three frames by chance: they are searched for only where there is a reason.
    run = find_frames(reader.at(0, WINDOW_BYTES), reader.size, reach=WINDOW_BYTES if tagged or trust_extension else 1)
    return run[0].container if run else "mp3" if tagged else None


def sniff_head(head: bytes) -> str | None:
    """The container, a key of FORMATS, by the first bytes alone; None if unknown."""
    signatures = ((name, kind.signature) for name, kind in FORMATS.items() if kind.signature)
    return next((name for name, signature in signatures if re.match(signature, head, re.DOTALL)), None)


def may_be_recording(head: bytes) -> bool:
    """Whether a file that begins like this is worth probing, if its name doesn't say what it is."""
    frame_or_tag = rb"ID3[\x02-\x04]|\xff[\xe0-\xfd\xff]"  # \xff\xfe is how UTF-16 begins
    return sniff_head(head) is not None or re.match(frame_or_tag, head) is not None


def _skip_id3(reader: BoundedReader) -> bool:
    """Skip the ID3v2 tags at the beginning; whether there were any. Their sizes are in bytes of 7 bits."""
    for tags in range(MAX_ID3_TAGS):
        head = re.match(rb"ID3[\x02-\x04].(.)([\0-\x7f]{4})", reader.at(0, 10), re.DOTALL)
        if not head:
            return tags > 0
        footer = 10 if head[1][0] & 0x10 else 0
        length = 10 + int("".join(f"{byte:07b}" for byte in head[2]), 2) + footer
        if length > reader.size:  # damaged or cut off: there may still be frames
            return True
        reader.skip_prefix(length)
    return True


def reject_other_files(name: str, extension: str, head: bytes) -> None:
    """Raise InputError for files that aren't recordings, by how they begin. `extension`: of the file, in lower case."""
    what = next((what for pattern, what in NOT_AUDIO if re.match(pattern, head, re.DOTALL | re.IGNORECASE)), None)
    if what is None and _is_text(head):
        what = "text"
    if what is None and extension not in EXTENSIONS | AMBIGUOUS_EXTENSIONS:
        what = f"no known format ({head[:8].hex(' ')})"
    if what:
        formats = f"a recording is one of {DOCUMENTED_FORMATS}"
        headerless = "" if what == "text" else "; headerless samples need an encoding and a sample rate"
        raise InputError(f"{name} is not a recording: it begins like {what}", hint=formats + headerless)


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be incomplete
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text)
