"""The table of containers: media type, file extensions, first bytes, and the reader that finds the duration.

Must never decide what a file is: `sniff` does.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module

from ...record import Record
from .bounded_reader import BoundedReader, ProbeResult


class Format(Record):
    """A container.

    media_type   for uploads
    extensions   of its files; the first one completes a name that has none
    signature    pattern of its first bytes; None if it is recognized by its frames, or named by the user
    reader       the function that finds its duration, as "module.function"; "" if there is none. Imported when it is
                 called: most runs need one module of four
    """

    media_type: str
    extensions: tuple[str, ...] = ()
    signature: bytes | None = None
    reader: str = ""

    def measure(self, file: BoundedReader) -> ProbeResult:
        """Find the duration. Raises NoAudio and Undetermined."""
        return _reader(self.reader)(file) if self.reader else ProbeResult()


@cache
def _reader(name: str) -> Callable[[BoundedReader], ProbeResult]:
    module, _, function = name.partition(".")
    found: Callable[[BoundedReader], ProbeResult] = getattr(import_module(f".{module}", __package__), function)
    return found


def _format(media_type: str, extensions: str = "", signature: bytes | None = None, reader: str = "") -> Format:
    return Format(media_type, tuple(extensions.split()), signature, reader)


FORMATS = {
    "wav": _format(
        "audio/wav", ".wav .wave .rf64 .bwf", rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE", "chunked_formats.measure_wav"
    ),
    "w64": _format("audio/x-w64", ".w64", rb"riff\x2e\x91\xcf\x11.{16}wave", "chunked_formats.measure_wav"),
    "flac": _format("audio/flac", ".flac", rb"fLaC", "ogg_flac.measure_flac"),
    "ogg": _format("audio/ogg", ".ogg .oga .opus .spx .ogv .ogx .ogm", rb"OggS\0", "ogg_flac.measure_ogg"),
    "3gp": _format("audio/3gpp", ".3gp .3gpp .3ga .3g2", rb"\0.{3}ftyp3g", "mp4_matroska.measure_mp4"),
    "mov": _format("video/quicktime", ".mov .qt", rb"\0.{3}ftypqt", "mp4_matroska.measure_mp4"),
    "mp4": _format(
        "audio/mp4",
        ".mp4 .m4a .m4b .m4r .m4v .f4v .f4a",
        rb"\0.{3}(?:ftyp|styp|moov|wide|free|skip)|.{4}mdat",
        "mp4_matroska.measure_mp4",
    ),
    "webm": _format(
        "audio/webm", ".webm .weba", rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82.{1,8}?webm", "mp4_matroska.measure_matroska"
    ),
    "matroska": _format("video/x-matroska", ".mkv .mka .mk3d", rb"\x1a\x45\xdf\xa3", "mp4_matroska.measure_matroska"),
    "mpeg": _format("video/mpeg", ".mpeg .mpg .vob", rb"\0\0\x01[\xba\xb3]", "mpeg.find_video"),
    "mp3": _format("audio/mpeg", ".mp3 .mpga .mpeg .mp2 .mp1 .mpa .m2a", None, "mpeg.measure_mpeg"),
    "unknown": _format("application/octet-stream"),
    "raw": _format("application/octet-stream"),
    "aac": _format("audio/aac", ".aac .adts", None, "mpeg.measure_mpeg"),
    "ac3": _format("audio/ac3", ".ac3 .ec3 .eac3", rb"\x0b\x77"),
    "adx": _format("audio/x-adx", ".adx", rb"\x80\0..[\x02-\x04]"),
    "aiff": _format("audio/aiff", ".aiff .aif .aifc", rb"FORM.{4}AIF[FC]", "chunked_formats.measure_aiff"),
    "amr": _format("audio/amr", ".amr .awb", rb"#!AMR"),
    "ape": _format("audio/x-ape", ".ape", rb"MAC .[\x0e\x0f]"),
    "au": _format("audio/basic", ".au .snd", rb"\.snd\0\0", "chunked_formats.measure_au"),
    "avi": _format("video/x-msvideo", ".avi", rb"RIFF.{4}AVI ", "chunked_formats.measure_avi"),
    "avr": _format("audio/x-avr", ".avr", rb"2BIT"),
    "caf": _format("audio/x-caf", ".caf", rb"caff\0", "chunked_formats.measure_caf"),
    "dsf": _format("audio/x-dsf", ".dsf", rb"DSD \x1c\0"),
    "dss": _format("audio/x-dss", ".dss", rb"[\x02\x03]dss"),
    "dts": _format("audio/vnd.dts", ".dts .dtshd", rb"\x7f\xfe\x80\x01|DTSHDHDR"),
    "dv": _format("video/x-dv", ".dv .dif", rb"\x1f\x07\0[\x3f\xbf]"),
    "flv": _format("video/x-flv", ".flv", rb"FLV\x01"),
    "gsm": _format("audio/gsm", ".gsm"),
    "ircam": _format("audio/x-ircam", ".sf .ircam", rb"\x64\xa3[\x01-\x04]\0|\0[\x01-\x04]\xa3\x64"),
    "latm": _format("audio/mp4a-latm", ".latm .loas", rb"\x56[\xe0-\xff][\0-\xff]\x20\0"),
    "mlp": _format("audio/vnd.dolby.mlp", ".mlp .thd", rb".{4}\xf8\x72\x6f[\xba\xbb]"),
    "musepack": _format("audio/x-musepack", ".mpc .mp+", rb"MPCK|MP\+[\x07\x17]"),
    "mxf": _format("application/mxf", ".mxf", rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"),
    "nut": _format("video/x-nut", ".nut", rb"nut/multimedia container"),
    "oma": _format("audio/x-oma", ".oma .aa3", rb"(?:EA3|ea3)[\x01-\x03]"),
    "paf": _format("audio/x-paf", ".paf .fap", rb" paf|fap "),
    "pvf": _format("audio/x-pvf", ".pvf", rb"PVF1\n"),
    "qcp": _format("audio/qcelp", ".qcp", rb"RIFF.{4}QLCM"),
    "real": _format("application/vnd.rn-realmedia", ".rm .ra .rmvb", rb"\.RMF\0|\.ra\xfd"),
    "shorten": _format("audio/x-shorten", ".shn", rb"ajkg"),
    "sox": _format("audio/x-sox", ".sox", rb"\.SoX|XoS\."),
    "sphere": _format("audio/x-nist", ".sph .nist", rb"NIST_1A\n"),
    "svx": _format("audio/x-8svx", ".8svx .svx .iff", rb"FORM.{4}(?:8SVX|16SV)"),
    "tak": _format("audio/x-tak", ".tak", rb"tBaK"),
    "ts": _format("video/mp2t", ".ts .mts .m2ts .tts", rb"\x47(?:.{187}\x47){3}|.{4}\x47(?:.{191}\x47){3}"),
    "tta": _format("audio/x-tta", ".tta", rb"TTA1"),
    "voc": _format("audio/x-voc", ".voc", rb"Creative Voice File\x1a"),
    "wavpack": _format("audio/x-wavpack", ".wv", rb"wvpk"),
    "wma": _format(
        "audio/x-ms-wma", ".wma .wmv .asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "chunked_formats.measure_asf"
    ),
    "wtv": _format("video/x-wtv", ".wtv", rb"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e"),
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

MEDIA_TYPES = {container: kind.media_type for container, kind in FORMATS.items()}
"""Container → media type for uploads."""
