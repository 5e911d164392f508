"""The sound of films: copied without re-encoding, or decoded to FLAC; with the times of the film. ffmpeg judges."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.pcm import RATE
from cartesia_cli.audio.probing import probe
from cartesia_cli.audio.soundtrack import (
    ESTIMATE_BYTES,
    estimate_soundtrack,
    extract_soundtrack,
    sound_start,
    warn_of_tracks,
)
from cartesia_cli.audio.time_map import Part, TimeMap
from cartesia_cli.errors import InputError
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import DetectedLanguage, Word

from .conftest import require_program
from .memory import peak
from .test_files import blocks_of, ffmpeg

pytestmark = pytest.mark.waits  # for ffmpeg, which makes hundreds of films

SECONDS = 4
NOISE = ["-f", "lavfi", "-i", f"anoisesrc=duration={SECONDS}:sample_rate=48000:seed=1:amplitude=0.3"]
PICTURES = ["-f", "lavfi", "-i", f"testsrc=duration={SECONDS}:size=64x48:rate=25"]

COPIED = {
    "a.mp4": ("aac", ".m4a", []),
    "stereo.mp4": ("aac", ".m4a", ["-ac", "2", "-ar", "44100"]),
    "fragmented.mp4": ("aac", ".m4a", ["-movflags", "frag_keyframe+empty_moov"]),
    "a.m4v": ("aac", ".m4a", []),
    "aac.mov": ("aac", ".m4a", []),
    "aac.mkv": ("aac", ".m4a", []),
    "a.ts": ("aac", ".m4a", []),
    "a.flv": ("aac", ".m4a", ["-ar", "44100", "-c:v", "flv"]),
    "opus.webm": ("libopus", ".ogg", ["-c:v", "libvpx"]),
    "opus.mkv": ("libopus", ".ogg", []),
    "vorbis.webm": ("libvorbis", ".ogg", ["-c:v", "libvpx"]),
    "a.ogv": ("libvorbis", ".ogg", ["-c:v", "libtheora"]),
    "mp3.avi": ("libmp3lame", ".mp3", []),
    "mp3.mkv": ("libmp3lame", ".mp3", []),
    "a.mpg": ("mp2", ".mpga", ["-c:v", "mpeg2video"]),
    "flac.mkv": ("flac", ".flac", []),
}
"""Film → codec of its sound, the file that its packets go into, options of ffmpeg."""

DECODED = {
    "ac3.mkv": ["-c:a", "ac3", "-ac", "6"],
    "dts.mkv": ["-c:a", "dca", "-strict", "-2", "-ac", "6"],
    "pcm.mov": ["-c:a", "pcm_s16le"],
    "alac.mov": ["-c:a", "alac"],
    "a.wmv": ["-c:a", "wmav2", "-c:v", "wmv2"],
}


def film(path: Path, *options: str | Path, sound: list[str] = NOISE) -> Path:
    return ffmpeg(path, *PICTURES, *sound, "-c:v", "mpeg4", *options)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the films of COPIED and DECODED, each once."""
    folder = tmp_path_factory.mktemp("films")

    @cache
    def made(name: str) -> Path:
        codec, _, options = COPIED.get(name, ("", "", []))
        return film(folder / name, *(["-c:a", codec, *options] if codec else DECODED[name]))

    return made


def samples_of(path: Path) -> np.ndarray:
    """The samples of the first audio track, as ffmpeg decodes it."""
    command = [require_program("ffmpeg"), "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "s16le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<i2")


def packets_of(path: Path) -> int:
    """Bytes of all packets of the first audio track, as ffprobe counts them."""
    options = ["-v", "error", "-select_streams", "a:0", "-show_entries", "packet=size", "-of", "json"]
    command = [require_program("ffprobe"), *options, str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return sum(int(packet["size"]) for packet in found["packets"])


def refuse(note: str) -> None:
    raise AssertionError(note)


@pytest.mark.parametrize("name", COPIED)
def test_copied_soundtrack_decodes_to_the_samples_of_the_film(
    films: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path, extension = films(name), COPIED[name][1]
    assert not probe(path).is_plain_audio
    soundtrack = extract_soundtrack(path, tmp_path, warn=refuse)
    assert soundtrack.path.suffix == extension
    expected, found = samples_of(path), samples_of(soundtrack.path)
    common = min(len(expected), len(found))
    assert abs(len(expected) - len(found)) <= 0.02 * 48000 and common > 0.95 * SECONDS * 44100
    assert np.array_equal(expected[:common], found[:common])


@pytest.mark.parametrize("name", COPIED)
def test_copied_soundtrack_is_documented_and_no_larger_than_the_one_of_ffmpeg(
    films: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path, extension = films(name), COPIED[name][1]
    soundtrack = extract_soundtrack(path, tmp_path)
    media = probe(soundtrack.path)
    assert media.documented and not media.video and media.bytes == soundtrack.media.bytes
    assert soundtrack.media.container == media.container
    assert soundtrack.media.duration == pytest.approx(SECONDS, abs=0.1) and not soundtrack.media.estimated
    kind = ["-f", "mp2"] if extension == ".mpga" else []
    copy = ffmpeg(tmp_path / f"copy{extension}", "-i", path, "-map", "0:a:0", "-c", "copy", *kind)
    assert soundtrack.media.bytes <= 1.02 * copy.stat().st_size


@pytest.mark.parametrize("name", DECODED)
def test_other_codecs_become_flac_as_the_local_engine_hears_them(
    films: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = films(name)
    soundtrack = extract_soundtrack(path, tmp_path, warn=refuse)
    assert soundtrack.path.suffix == ".flac" and soundtrack.media.container == "flac"
    expected = np.round(blocks_of(Decoder().decode_file(path)).clip(-1, 1) * 32768).clip(-32768, 32767)
    found = blocks_of(Decoder().decode_file(soundtrack.path)) * 32768
    assert np.array_equal(expected, found)
    assert soundtrack.media.duration == pytest.approx(len(found) / RATE)


@pytest.mark.parametrize(("name", "codec"), [("a.aiff", "pcm_s16be"), ("a.au", "pcm_s16be"), ("a.w64", "pcm_s16le")])
def test_samples_in_undocumented_containers_are_kept(tmp_path: Path, name: str, codec: str) -> None:
    path = ffmpeg(tmp_path / name, *NOISE, "-ar", "16000", "-c:a", codec)
    assert not probe(path).is_plain_audio
    soundtrack = extract_soundtrack(path, tmp_path, warn=refuse)
    assert np.array_equal(samples_of(soundtrack.path), samples_of(path))


@pytest.mark.parametrize("name", ["a.aac", "a.mka"])
def test_sound_in_undocumented_containers_is_copied(tmp_path: Path, name: str) -> None:
    path = ffmpeg(tmp_path / name, *NOISE, "-c:a", "aac")
    assert not probe(path).is_plain_audio
    soundtrack = extract_soundtrack(path, tmp_path, warn=refuse)
    assert soundtrack.path.suffix == ".m4a"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a", "a.ogg", "a.opus", "a.webm"])
def test_documented_recordings_without_video_stay_as_they_are(tmp_path: Path, name: str) -> None:
    assert probe(ffmpeg(tmp_path / name, *NOISE)).is_plain_audio


def test_cover_pictures_are_no_video(tmp_path: Path) -> None:
    cover = ["-map", "1:a", "-map", "0:v", "-c:v", "png", "-frames:v", "1", "-disposition:v", "attached_pic"]
    assert probe(ffmpeg(tmp_path / "a.mp3", *PICTURES, *NOISE, *cover)).is_plain_audio
    assert probe(ffmpeg(tmp_path / "a.m4a", *PICTURES, *NOISE, *cover)).is_plain_audio


# Times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [
    ("late.mp4", ["-c:a", "aac"]),
    ("late.mov", ["-c:a", "pcm_s16le"]),
    ("late.mkv", ["-c:a", "libopus"]),
    ("ac3.mkv", ["-c:a", "ac3"]),
    ("late.webm", ["-c:a", "libvorbis", "-c:v", "libvpx"]),
    ("late.ts", ["-c:a", "aac"]),
    ("late.mpg", ["-c:a", "mp2", "-c:v", "mpeg2video"]),
    ("opus.mp4", ["-c:a", "libopus"]),
    ("mp3.mp4", ["-c:a", "libmp3lame"]),
    ("mp3.mkv", ["-c:a", "libmp3lame"]),
])  # fmt: skip
@pytest.mark.parametrize("late", ["0", "1.5"])
def test_times_are_those_of_the_film(tmp_path: Path, name: str, options: list[str], late: str) -> None:
    tone = ["-f", "lavfi", "-i", "sine=frequency=1000:duration=2:sample_rate=48000", "-af", "adelay=1000:all=1"]
    beep = ffmpeg(tmp_path / "beep.wav", *tone)
    path = film(tmp_path / name, *options, sound=["-itsoffset", late, "-i", str(beep)])
    soundtrack = extract_soundtrack(path, tmp_path)
    samples = blocks_of(Decoder().decode_file(soundtrack.path))
    begins = float(np.flatnonzero(np.abs(samples) > 0.03)[0]) / RATE
    assert begins + sound_start(path) == pytest.approx(1 + float(late), abs=0.04)


def test_parts_of_a_film_that_were_joined_are_copied(tmp_path: Path) -> None:
    """Their times may overlap by a frame."""
    part = film(tmp_path / "part.mkv", "-c:a", "aac")
    (tmp_path / "list.txt").write_text(f"file '{part}'\n" * 3)
    joined = ffmpeg(tmp_path / "joined.mkv", "-f", "concat", "-safe", "0", "-i", tmp_path / "list.txt", "-c", "copy")
    soundtrack = extract_soundtrack(joined, tmp_path, warn=refuse)
    assert soundtrack.path.suffix == ".m4a"
    assert soundtrack.media.duration == pytest.approx(3 * SECONDS, abs=0.2)
    assert packets_of(soundtrack.path) == packets_of(joined)


def test_gaps_in_the_sound_give_a_warning(tmp_path: Path) -> None:
    path = film(tmp_path / "gap.mkv", "-af", "aselect='not(between(t,1,3))'", "-c:a", "libopus")
    notes: list[str] = []
    assert extract_soundtrack(path, tmp_path, warn=notes.append).path.suffix == ".ogg"
    assert len(notes) == 1 and "gaps of 2.0" in notes[0]


def test_gap_that_a_fragmented_film_hides_in_the_length_of_a_packet_gives_a_warning(tmp_path: Path) -> None:
    fragments = ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]
    path = film(tmp_path / "late.mp4", *fragments, sound=["-itsoffset", "1.5", *NOISE])
    notes: list[str] = []
    assert extract_soundtrack(path, tmp_path, warn=notes.append).path.suffix == ".m4a"
    assert len(notes) == 1 and "gaps of 1.4" in notes[0]


def test_shift_of_a_response_keeps_its_text_and_the_order_of_its_words() -> None:
    response = BatchResponse(text="a b", duration=2.0, words=(Word("a", 0.0, 0.5), Word("b", 0.5, 1.0), Word("c")))
    moved = TimeMap.shift(1.5).restore(response, duration=4.0)
    assert moved.words == (Word("a", 1.5, 2.0), Word("b", 2.0, 2.5), Word("c"))
    assert (moved.text, moved.duration) == ("a b", 4.0)
    assert TimeMap.shift(-0.25).restore(response).words[:1] == (Word("a", 0.0, 0.25),)
    assert TimeMap.shift(0.1).to_recording(0.2) == 0.3 != 0.1 + 0.2


def test_word_on_both_sides_of_a_cut_stays_on_the_side_of_its_middle() -> None:
    times = TimeMap((Part(0.0, 0.0), Part(10.0, 60.0)))
    assert times.to_recording(9.0) == 9.0 and times.to_recording(10.0) == 60.0
    assert times.span_to_recording(9.9, 10.5) == (60.0, 60.5)
    assert times.span_to_recording(9.5, 10.1) == (9.5, 10.0)


def test_languages_that_were_detected_in_a_response_get_the_times_of_the_recording() -> None:
    heard = DetectedLanguage("en", 0.9, 0.0, 12.0), DetectedLanguage("de", 0.8)  # the API gives no times
    moved = TimeMap((Part(0.0, 1.0), Part(10.0, 60.0))).restore(BatchResponse(text="", languages=heard))
    assert moved.languages == (DetectedLanguage("en", 0.9, 1.0, 62.0), heard[1])


# Several tracks, damage ----------------------------------------------------------------------------------------


def test_default_of_several_tracks_is_used_with_a_warning(tmp_path: Path) -> None:
    tones = [part for tone in (300, 600) for part in ("-f", "lavfi", "-i", f"sine=frequency={tone}:duration=2")]
    options = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-disposition:a:0", "0", "-disposition:a:1", "default"]
    notes: list[str] = []
    path = film(tmp_path / "two.mkv", *options, "-c:a", "flac", sound=tones)
    soundtrack = extract_soundtrack(path, tmp_path, warn=notes.append)
    assert notes == ["it has 2 audio tracks: only track 2 is used"]
    samples = samples_of(soundtrack.path)[:44100]
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 600


def test_film_without_sound_is_refused(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "mute.avi", *PICTURES, "-c:v", "mpeg4")
    with pytest.raises(InputError, match=r"mute\.avi has no audio track"):
        extract_soundtrack(path, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mute.avi"]


def test_film_whose_sound_can_not_be_decoded_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", "-c:a", "ac3")
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"\x0b\x77", at + 1)) >= 0:
        data[at : at + 2] = b"\0\0"  # the sync words of AC-3
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"film\.mkv"):
        extract_soundtrack(path, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mkv"]


def test_film_whose_codec_has_no_decoder_is_refused_like_any_that_can_not_be_decoded(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", "-c:a", "ac3")
    path.write_bytes(path.read_bytes().replace(b"A_AC3", b"A_XY9"))
    with pytest.raises(InputError, match=r"film\.mkv can't be decoded: Decoder not found"):
        extract_soundtrack(path, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mkv"]
    assert sound_start(path) == 0
    assert estimate_soundtrack(path, probe(path)).extension == ".flac"


@pytest.mark.parametrize(
    ("languages", "used", "names"),
    [
        (("eng", "fra", "eng"), 3, ("track 3 (eng)", "track 1 (eng)")),
        (("eng", "fra", "deu"), 2, ("track 2 (fra)", "track 1 (eng)")),
        (("und", "und", "und"), 2, ("track 2", "track 1")),
    ],
)
def test_track_that_can_be_decoded_is_used_instead_of_a_default_that_has_no_decoder(
    tmp_path: Path, languages: tuple[str, ...], used: int, names: tuple[str, str]
) -> None:
    tones = [part for tone in (300, 600, 900) for part in ("-f", "lavfi", "-i", f"sine=frequency={tone}:duration=2")]
    options = [*("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:a"), *("-c:a", "flac", "-c:a:0", "ac3")]
    for number, language in enumerate(languages):
        options += [f"-metadata:s:a:{number}", f"language={language}"]
    path = film(tmp_path / "three.mkv", *options, "-disposition:a:0", "default", sound=tones)
    path.write_bytes(path.read_bytes().replace(b"A_AC3", b"A_XY9"))
    note = f"it has 3 audio tracks: only {names[0]} is used; there is no decoder for {names[1]}, the default"
    said: dict[str, list[str]] = {"sent": [], "decoded": [], "heard here": []}
    soundtrack = extract_soundtrack(path, tmp_path, warn=said["sent"].append)
    heard = blocks_of(Decoder(warn=said["decoded"].append).decode_file(path))
    warn_of_tracks(path, said["heard here"].append)
    assert said == {key: [note] for key in said}
    assert soundtrack.path.suffix == estimate_soundtrack(path, probe(path)).extension == ".flac"
    for samples in (heard, blocks_of(Decoder().decode_file(soundtrack.path))):
        assert np.argmax(np.abs(np.fft.rfft(samples[:RATE]))) == pytest.approx(300 * used, abs=1)


def test_film_with_a_track_that_begins_in_its_middle_is_copied(tmp_path: Path) -> None:
    """FFmpeg finds such a track only there."""
    path = film(tmp_path / "film.flv", "-c:v", "flv", "-c:a", "aac", "-ar", "44100")
    other = ffmpeg(tmp_path / "other.flv", *NOISE, "-c:a", "libmp3lame", "-ar", "44100")
    header_bytes = 13
    alone = estimate_soundtrack(path, probe(path)).bytes
    path.write_bytes(path.read_bytes() + other.read_bytes()[header_bytes:])
    estimate, soundtrack = estimate_soundtrack(path, probe(path)), extract_soundtrack(path, tmp_path)
    assert (estimate.bytes, soundtrack.path.suffix) == (alone, ".m4a")
    assert soundtrack.media.duration == pytest.approx(SECONDS, abs=0.1)
    assert len(blocks_of(Decoder().decode_file(path))) == pytest.approx(SECONDS * RATE, abs=RATE // 10)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A film whose sound begins at 1.5 s, and of which FFmpeg can read nothing after 3 s."""
    fragments = ["-g", "25", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]
    path = film(tmp_path / "damaged.mp4", *fragments, sound=["-itsoffset", "1.5", *NOISE])
    data, at = bytearray(path.read_bytes()), -1
    for _ in range(5):  # the tables of samples: of pictures, pictures, sound, pictures, sound
        at = data.find(b"trun", at + 1)
    end = at - 4 + int.from_bytes(data[at - 4 : at], "big")
    data[end - 4 : end] = b"\xff" * 4  # the size of the last one
    path.write_bytes(data)
    return path


def test_film_that_can_not_be_read_to_its_end_is_copied_up_to_there(damaged: Path) -> None:
    notes: list[str] = []
    soundtrack = extract_soundtrack(damaged, damaged.parent, warn=notes.append)
    assert soundtrack.path.suffix == ".m4a"
    assert notes[0].startswith("it is damaged: nothing after 2.99 s can be read")
    notes.clear()
    assert 1 < len(blocks_of(Decoder(warn=notes.append).decode_file(damaged))) / RATE < 2
    assert notes[0].startswith("it is damaged: nothing after 2.99 s can be decoded")
    estimate = estimate_soundtrack(damaged, probe(damaged))
    assert (estimate.extension, estimate.exact) == (".m4a", False)
    assert estimate.bytes == packets_of(soundtrack.path)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.flv"])
def test_film_that_was_cut_off_is_copied_up_to_its_end(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, "-c:a", "aac", "-ar", "44100", *(["-c:v", "flv"] if name == "a.flv" else []))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    soundtrack = extract_soundtrack(path, tmp_path)
    assert soundtrack.path.suffix == ".m4a" and 1 < (soundtrack.media.duration or 0) < 3.5


def test_what_is_not_a_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(5000))
    with pytest.raises(InputError, match=r"film\.mkv can't be decoded"):
        extract_soundtrack(path, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mkv"]


@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_full_disk_is_reported_and_leaves_no_file(tmp_path: Path, codec: str) -> None:
    path, folder = film(tmp_path / "film.mkv", "-c:a", codec), tmp_path / "temporary"
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError) as caught:
            extract_soundtrack(path, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.message == f"the sound of {path} can't be saved in a temporary file: File too large"
    assert list(folder.iterdir()) == []
    with pytest.raises(InputError, match=r"can't be saved in a temporary file: No such file or directory"):
        extract_soundtrack(path, folder / "none")


# Estimates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "aac.mov", "aac.mkv", "a.ts", "mp3.avi", "a.ogv", "fragmented.mp4"])
def test_estimate_counts_the_packets_of_the_sound(films: Callable[[str], Path], name: str) -> None:
    path = films(name)
    estimate = estimate_soundtrack(path, probe(path))
    assert estimate.extension == COPIED[name][1] and estimate.exact
    assert estimate.bytes == packets_of(path)
    assert estimate.duration == pytest.approx(SECONDS, abs=0.3)


def test_estimate_of_a_film_that_was_cut_off_counts_what_is_left(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", "-c:a", "aac", "-movflags", "faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    estimate = estimate_soundtrack(path, probe(path))
    assert estimate.extension == ".m4a" and not estimate.exact
    assert estimate.bytes == pytest.approx(packets_of(extract_soundtrack(path, tmp_path).path), rel=0.02)


def test_estimate_of_a_film_without_index_reads_only_its_beginning(tmp_path: Path) -> None:
    path = film(tmp_path / "large.mkv", "-c:v", "huffyuv", "-vf", "noise=alls=40,scale=320x240", "-c:a", "libmp3lame")
    assert path.stat().st_size > ESTIMATE_BYTES
    estimate = estimate_soundtrack(path, probe(path))
    assert estimate.extension == ".mp3" and not estimate.exact
    assert estimate.bytes == pytest.approx(packets_of(path), rel=0.05)


@pytest.mark.parametrize("name", DECODED)
def test_estimate_of_flac_is_at_most_its_samples(films: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    path = films(name)
    estimate = estimate_soundtrack(path, probe(path))
    assert estimate.bytes and estimate.extension == ".flac" and not estimate.exact
    assert 0.5 * estimate.bytes < extract_soundtrack(path, tmp_path).media.bytes < 2 * estimate.bytes


EXTRACT = """
import sys
from pathlib import Path
from cartesia_cli.audio.soundtrack import extract_soundtrack

for path in sys.argv[2:]:
    extract_soundtrack(Path(path), Path(sys.argv[1])).path.unlink()
"""


def test_film_of_an_hour_takes_little_memory_and_at_most_2_percent_more_than_its_track(tmp_path: Path) -> None:
    seconds, times = 64, 56  # a thousand frames of AAC, again and again: encoding an hour would take long
    pictures = ["-f", "lavfi", "-i", f"color=size=64x48:rate=1:duration={seconds}"]
    sound = ["-f", "lavfi", "-i", f"anoisesrc=duration={seconds}:sample_rate=16000:seed=1"]
    minute = ffmpeg(tmp_path / "minute.mp4", *pictures, *sound, "-c:v", "mpeg4", "-c:a", "aac", "-b:a", "48k")
    hour = ffmpeg(tmp_path / "hour.mp4", "-stream_loop", str(times - 1), "-i", minute, "-c", "copy")
    soundtrack = extract_soundtrack(hour, tmp_path, warn=refuse)
    assert soundtrack.media.bytes <= 1.02 * packets_of(hour)
    assert soundtrack.media.duration == pytest.approx(times * seconds, abs=0.1)
    peaks = [
        peak(subprocess.Popen([sys.executable, "-c", EXTRACT, str(tmp_path), str(path)])) for path in (minute, hour)
    ]
    assert peaks[1] - peaks[0] < 30 << 10  # KiB: the index of the sound
