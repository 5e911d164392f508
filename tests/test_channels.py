"""Recordings split into channels and segments: nothing of speech is lost, silence is, and times are the recording's."""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cartesia_cli.audio.channels import MAX_CHANNELS, Channel, split_channels
from cartesia_cli.audio.encoders import cut_segment
from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.pcm import RATE, Samples
from cartesia_cli.audio.probing import probe
from cartesia_cli.errors import InputError

from .memory import peak
from .test_files import blocks_of, ffmpeg

SAMPLE = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"


def speech() -> Samples:
    return blocks_of(Decoder().decode_file(SAMPLE))


def noise(seconds: float, dbfs: float, seed: int = 1) -> Samples:
    return np.random.default_rng(seed).normal(0, 10 ** (dbfs / 20), round(seconds * RATE)).astype(np.float32)


def write(path: Path, *channels: Samples, rate: int = RATE) -> Path:
    length = max(map(len, channels))
    rows = [np.pad(channel, (0, length - len(channel))) for channel in channels]
    soundfile.write(path, np.stack(rows, axis=1), rate, subtype="PCM_16")
    return path


def refuse(note: str) -> None:
    raise AssertionError(note)


def restored(channel: Channel, seconds: float) -> Samples:
    """A channel as it was in the recording, with zeros where it was cut."""
    whole = np.zeros(round(seconds * RATE), np.float32)
    if channel.path is not None:
        found = blocks_of(Decoder().decode_file(channel.path))
        ends = [*(part.start for part in channel.times.parts[1:]), len(found) / RATE]
        for part, end in zip(channel.times.parts, ends, strict=True):
            piece = found[round(part.start * RATE) : round(end * RATE)]
            whole[round(part.recording * RATE) :][: len(piece)] = piece
    return whole


# Silence -----------------------------------------------------------------------------------------------------


def test_silences_between_speech_are_cut_and_speech_is_kept_to_the_sample(tmp_path: Path) -> None:
    talk = speech()
    first = np.concatenate([talk, noise(20, -62), talk, noise(30, -62)])
    second = np.concatenate([noise(15, -62, seed=2), 0.3 * talk])
    path = write(tmp_path / "call.wav", first, second)
    channels, seconds = split_channels(path, tmp_path, warn=refuse)
    assert seconds == len(first) / RATE
    assert [channel.number for channel in channels] == [1, 2]
    sent = [channel.media.duration or 0.0 for channel in channels]
    # The words last 10.3 s; around them, 0.5 s of silence are kept.
    assert 2 * 10 < sent[0] < 2 * 12 and 10 < sent[1] < 12
    original = soundfile.read(path, dtype="float32")[0]
    for channel, samples in zip(channels, original.T, strict=True):
        kept = restored(channel, seconds)
        removed = (kept == 0) & (samples != 0)
        assert np.array_equal(kept[~removed], samples[~removed])
        assert np.abs(samples[removed]).max() < 10 ** (-45 / 20)


def test_times_in_the_file_become_times_in_the_recording(tmp_path: Path) -> None:
    beep = 0.3 * np.sin(np.arange(RATE // 2, dtype=np.float32) * 0.4)
    at = [7.0, 31.0, 33.0, 90.0]
    samples = np.zeros(100 * RATE, np.float32)
    for second in at:
        samples[round(second * RATE) :][: len(beep)] = beep
    path = write(tmp_path / "call.wav", samples, speech())
    channel = split_channels(path, tmp_path)[0][0]
    assert channel.path is not None
    loud = np.flatnonzero(np.abs(blocks_of(Decoder().decode_file(channel.path))) > 0.1)
    begins = loud[np.diff(loud, prepend=-RATE) > RATE // 10] / RATE
    assert [channel.times.to_recording(float(second)) for second in begins] == pytest.approx(at, abs=0.01)


@pytest.mark.parametrize("level", [0.02, 0.004])
def test_faint_speech_is_never_cut(tmp_path: Path, level: float) -> None:
    """Down to -60 dBFS, also right after a loud bang, by which an adaptive threshold would be misled."""
    talk = speech()
    faint = level * talk / np.abs(talk).max()
    bang = 0.9 * np.ones(RATE // 10, np.float32)
    path = write(tmp_path / "call.wav", np.concatenate([noise(10, -85), bang, faint, noise(10, -85)]), talk)
    channels, seconds = split_channels(path, tmp_path)
    kept = restored(channels[0], seconds)
    original = soundfile.read(path, dtype="float32")[0][:, 0]
    span = slice(round(10.1 * RATE), round(10.1 * RATE) + len(faint))
    removed = (kept[span] == 0) & (original[span] != 0)
    assert np.abs(original[span][removed]).max(initial=0.0) <= 0.001


@pytest.mark.parametrize("snr", [10, 5])
def test_speech_in_noise_is_never_cut(tmp_path: Path, snr: float) -> None:
    talk = speech()
    loudness = 10 * np.log10(np.mean(talk**2))
    hiss = noise(60, -55)
    hiss[20 * RATE :][: len(talk)] += talk * 10 ** ((-55 + snr - loudness) / 20)
    channels, seconds = split_channels(write(tmp_path / "call.wav", hiss, talk), tmp_path)
    kept = restored(channels[0], seconds)
    # Nothing between the first and the last word, which are 0.3 s from the ends of the sample.
    words = kept[round(20.4 * RATE) : round(20 * RATE) + len(talk) - round(0.6 * RATE)]
    assert np.mean(words == 0) < 0.01
    assert (channels[0].media.duration or 0) < 20


def test_steady_noise_that_is_loud_is_kept(tmp_path: Path) -> None:
    channels, seconds = split_channels(write(tmp_path / "call.wav", noise(20, -40), speech()), tmp_path)
    assert channels[0].media.duration == seconds


def test_pauses_of_speech_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "call.wav", np.concatenate([speech(), noise(2.5, -80), speech()]), noise(30, -40))
    assert len(split_channels(path, tmp_path)[0][0].times.parts) == 1


# Channels ------------------------------------------------------------------------------------------------------


def test_silent_channel_is_not_written(tmp_path: Path) -> None:
    path = write(tmp_path / "call.wav", speech(), np.zeros(1, np.float32), noise(15, -60))
    channels, _ = split_channels(path, tmp_path, warn=refuse)
    assert [channel.path is None for channel in channels] == [False, True, True]
    assert [channel.media.duration for channel in channels[1:]] == [0.0, 0.0]
    assert len(list(tmp_path.glob("*.flac"))) == 1


def test_all_channels_of_a_file_are_split(tmp_path: Path) -> None:
    tones = [0.3 * np.sin(np.arange(2 * RATE, dtype=np.float32) * step) for step in (0.1, 0.2, 0.3, 0.4, 0.5)]
    channels, _ = split_channels(write(tmp_path / "five.wav", *tones), tmp_path, warn=refuse)
    for channel, tone in zip(channels, tones, strict=True):
        assert channel.path is not None
        assert np.abs(blocks_of(Decoder().decode_file(channel.path)) - tone).max() < 0.0001


@pytest.mark.parametrize("name", ["call.mp3", "call.m4a", "call.opus", "call.flac", "call.mkv"])
def test_channels_of_compressed_recordings(tmp_path: Path, name: str) -> None:
    path = ffmpeg(tmp_path / name, "-i", write(tmp_path / "call.wav", speech(), 0.1 * speech()[::-1]))
    channels, seconds = split_channels(path, tmp_path, warn=refuse)
    assert seconds == pytest.approx(len(speech()) / RATE, abs=0.1)
    levels = [np.abs(blocks_of(Decoder().decode_file(channel.path))).max() for channel in channels if channel.path]
    assert levels[0] == pytest.approx(np.abs(speech()).max(), rel=0.1)
    assert levels[1] == pytest.approx(0.1 * levels[0], rel=0.3)


def test_other_rates_become_16_khz(tmp_path: Path) -> None:
    samples = speech()
    path = write(tmp_path / "call.wav", samples[::2], samples[::-2], rate=8000)
    channels, _ = split_channels(path, tmp_path, warn=refuse)
    files = [channel.path for channel in channels if channel.path]
    assert [soundfile.info(file).samplerate for file in files] == [16000, 16000]
    assert probe(files[0]).duration == pytest.approx(len(samples) / RATE, abs=0.001)


def test_same_recording_gives_the_same_files(tmp_path: Path) -> None:
    """So that responses to them can be cached."""
    path = write(tmp_path / "call.wav", speech(), speech()[::-1])
    first, second = ([c.path.read_bytes() for c in split_channels(path, tmp_path)[0] if c.path] for _ in range(2))
    assert first == second and len(first) == 2


def test_mono_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 1 channel") as caught:
        split_channels(SAMPLE, tmp_path)
    assert caught.value.hint == "transcribe it as a whole"


@pytest.mark.parametrize("other", [1.0, 0.5, -1.0])
def test_channels_with_the_same_sound_are_refused(tmp_path: Path, other: float) -> None:
    path = write(tmp_path / "mono.wav", speech(), other * speech())
    with pytest.raises(InputError, match="both channels hold the same sound"):
        split_channels(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_mono_that_was_compressed_as_stereo_is_refused(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "mono.mp3", "-i", write(tmp_path / "mono.wav", speech(), speech()))
    with pytest.raises(InputError, match="both channels hold the same sound"):
        split_channels(path, tmp_path)


def test_similar_channels_give_a_warning(tmp_path: Path) -> None:
    notes: list[str] = []
    mixed = 0.9 * speech() + 0.25 * speech()[::-1]
    split_channels(write(tmp_path / "room.wav", speech(), mixed, speech()[::-1]), tmp_path, warn=notes.append)
    assert notes == ["channels 1 and 2 are much alike: words that are heard on both may come twice"]


def test_two_of_three_channels_with_the_same_sound_give_a_warning(tmp_path: Path) -> None:
    notes: list[str] = []
    split_channels(write(tmp_path / "call.wav", speech(), speech(), speech()[::-1]), tmp_path, warn=notes.append)
    assert notes == ["channels 1 and 2 hold the same sound: its words come twice"]


def test_too_many_channels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "many.wav", *[noise(0.1, -30, seed) for seed in range(MAX_CHANNELS + 1)])
    with pytest.raises(InputError, match="has 65 channels"):
        split_channels(path, tmp_path)


SPLIT = """
import sys
from pathlib import Path
from cartesia_cli.audio.channels import split_channels

split_channels(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.waits
def test_memory_does_not_grow_with_the_length_of_the_recording(tmp_path: Path) -> None:
    peaks = []
    for seconds in (30, 1200):
        silence = np.zeros((seconds - 20) * RATE, np.float32)
        path = write(tmp_path / "call.wav", np.concatenate([silence, noise(20, -20)]), noise(20, -20, seed=2))
        peaks.append(peak(subprocess.Popen([sys.executable, "-c", SPLIT, str(path), str(tmp_path)])))
    assert peaks[1] - peaks[0] < 8 << 10


# Segments ------------------------------------------------------------------------------------------------------


def decoded(path: Path) -> Samples:
    return soundfile.read(path, dtype="int16")[0]


WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.wav": lambda path: write(path, speech()),
    "a.flac": lambda path: write(path, speech()),
    "a.aiff": lambda path: write(path, speech()),
    "stream.wav": lambda path: ffmpeg(path, "-i", SAMPLE, "-f", "wav", "-rf64", "never"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("offset", "duration"), [(0.0, 1.0), (2.5, 0.75), (0.00007, 3.3), (9.0, float("inf"))])
def test_segment_is_cut_to_the_sample(tmp_path: Path, name: str, offset: float, duration: float) -> None:
    path = WRITERS[name](tmp_path / name)
    whole = decoded(write(tmp_path / "whole.wav", speech()))
    start = round(offset * RATE)
    end = len(whole) if duration == float("inf") else round((offset + duration) * RATE)
    assert np.array_equal(decoded(cut_segment(path, offset, duration, tmp_path)), whole[start:end])


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.opus", "a.mka"])
def test_segment_of_a_compressed_recording_is_cut_to_the_sample(tmp_path: Path, name: str) -> None:
    path = ffmpeg(tmp_path / name, "-i", SAMPLE, "-ar", "48000")
    whole = blocks_of(Decoder(rate=None).decode_file(path)) * 32768
    cut = decoded(cut_segment(path, 3.21, 1.5, tmp_path))
    assert len(cut) == round(4.71 * 48000) - round(3.21 * 48000)
    assert np.array_equal(cut, np.rint(whole[round(3.21 * 48000) :][: len(cut)]).clip(-32768, 32767))


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
@pytest.mark.parametrize(("offset", "duration"), [(5.0, 20.0), (10.0, 1.0), (60.0, 1.0), (60.0, float("inf"))])
def test_segment_outside_of_the_recording_is_refused(tmp_path: Path, name: str, offset: float, duration: float) -> None:
    path = ffmpeg(tmp_path / name, "-i", SAMPLE)
    with pytest.raises(InputError, match=rf"a\.\w+ (has no segment|holds no audio after {offset:.0f})"):
        cut_segment(path, offset, duration, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_segment_whose_end_does_not_fit_on_the_disk_is_reported(tmp_path: Path) -> None:
    size = cut_segment(SAMPLE, 1.0, 1.0, tmp_path).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (folder := tmp_path / "full").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))
    try:
        with pytest.raises(InputError, match="can't be saved in a temporary file: File too large"):
            cut_segment(SAMPLE, 1.0, 1.0, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.iterdir()) == []


def test_segment_may_end_a_little_after_its_recording(tmp_path: Path) -> None:
    """Manifests round durations."""
    seconds = probe(SAMPLE).duration or 0.0
    cut = cut_segment(SAMPLE, 1.0, round(seconds - 1.0 + 0.05, 2), tmp_path)
    assert probe(cut).duration == pytest.approx(seconds - 1.0)


def test_segment_of_a_long_recording_takes_no_memory_for_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", noise(600, -30))
    tracemalloc.start()
    cut_segment(path, 590.0, 5.0, tmp_path)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 4 << 20


def test_recording_whose_number_of_channels_changes_is_refused(tmp_path: Path) -> None:
    """An Ogg file may consist of several recordings."""
    path = tmp_path / "chained.ogg"
    with path.open("wb") as file:
        for count in (2, 1):
            part = tmp_path / f"{count}.ogg"
            soundfile.write(part, np.stack([noise(0.5, -20, seed) for seed in range(count)], axis=1), RATE)
            file.write(part.read_bytes())
    with pytest.raises(InputError, match="has 2 channels at its beginning and 1 later"):
        split_channels(path, tmp_path)
    assert not [*tmp_path.glob("*.flac")]
