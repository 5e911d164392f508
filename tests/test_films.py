"""Films in `transcribe`: only the sound is sent, what is said of it, and the times of the film."""

from __future__ import annotations

import json
import subprocess
import threading
from math import inf
from pathlib import Path

import numpy as np
import pytest

from cartesia_cli.cache import Cache, Store
from cartesia_cli.commands.batch.inputs import Input
from cartesia_cli.commands.batch.plan import Job, probe_input
from cartesia_cli.commands.batch.upload_audio import choose_upload, estimate_upload
from cartesia_cli.commands.batch.workspace import Workspace
from cartesia_cli.errors import InputError
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.batch import BatchOptions
from tests.conftest import TINY_MODEL, Transcribe
from tests.fault_server import Exchange, FaultServer, environment
from tests.fork_server import run_program

from .test_files import ffmpeg
from .test_soundtrack import film, samples_of

pytestmark = pytest.mark.waits

RESPONSE = {"text": "one two", "duration": 4.0, "words": [
    {"word": "one", "start": 0.5, "end": 1.0}, {"word": "two", "start": 3.0, "end": 3.5},
]}  # fmt: skip


class Service:
    """Keeps the files that come, and says the same to each."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        part = exchange.request().part("file")
        with self._lock:
            name = (part.filename or b"").decode()
            self.files[name] = part.content
            self.types[name] = {key.lower(): value for key, value in part.headers.items()}.get("content-type", "")
        exchange.answer(200, json.dumps(RESPONSE))

    def saved(self, name: str, folder: Path) -> Path:
        """A file that came, in this folder."""
        (folder / name).write_bytes(self.files[name])
        return folder / name


@pytest.fixture
def service() -> Service:
    return Service()


def words_of(done: subprocess.CompletedProcess[str]) -> list[tuple[float, float]]:
    return [(word["start"], word["end"]) for word in json.loads(done.stdout)["words"]]


def test_only_the_sound_of_a_film_is_sent(tmp_path: Path, service: Service, transcribe: Transcribe) -> None:
    path = film(tmp_path / "film.mp4", "-c:a", "aac", "-b:v", "2M", "-vf", "noise=alls=60,scale=320x240")
    done = transcribe("film.mp4")
    assert (done.returncode, done.stdout) == (0, "one two\n"), done.stderr
    assert list(service.files) == ["film.m4a"] and service.types["film.m4a"] == "audio/mp4"
    sent = service.saved("film.m4a", tmp_path)
    assert np.array_equal(samples_of(sent), samples_of(path))
    line = next(line for line in done.stderr.splitlines() if "only the sound" in line)
    assert line.startswith("film.mp4: sending only the sound: ")
    assert line.endswith(f" kB of {path.stat().st_size / 1000:.0f} kB")


def test_sound_that_can_not_be_copied_is_sent_as_flac(tmp_path: Path, service: Service, transcribe: Transcribe) -> None:
    film(tmp_path / "film.mkv", "-c:a", "ac3", "-ac", "6")
    ffmpeg(tmp_path / "talk.aiff", "-f", "lavfi", "-i", "sine=duration=4", "-ar", "16000")
    done = transcribe("film.mkv", "talk.aiff")
    assert done.returncode == 0, done.stderr
    assert {name: data[:4] for name, data in service.files.items()} == {"film.flac": b"fLaC", "talk.flac": b"fLaC"}
    assert "talk.aiff: sending it as flac, because the API doesn't document aiff" in done.stderr


def test_recordings_without_video_are_sent_as_they_are(
    tmp_path: Path, service: Service, transcribe: Transcribe
) -> None:
    path = ffmpeg(tmp_path / "talk.m4a", "-f", "lavfi", "-i", "sine=duration=4")
    done = transcribe("talk.m4a")
    assert (done.returncode, done.stderr) == (0, "")
    assert service.files["talk.m4a"] == path.read_bytes()


def test_words_of_a_film_have_its_times_even_if_its_sound_begins_late(tmp_path: Path, transcribe: Transcribe) -> None:
    late = ["-itsoffset", "1.5", "-f", "lavfi", "-i", "sine=duration=4"]
    film(tmp_path / "film.mkv", "-c:a", "libopus", sound=late)
    for again in ("", "from cache"):
        done = transcribe("film.mkv", "-f", "json")
        assert again in done.stderr
        assert np.allclose(words_of(done), [(2.0, 2.5), (4.5, 5.0)], atol=0.01)
        assert json.loads(done.stdout)["duration"] == pytest.approx(5.5, abs=0.01)


def test_film_without_sound_costs_nothing(tmp_path: Path, service: Service, transcribe: Transcribe) -> None:
    ffmpeg(tmp_path / "mute.avi", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x48", "-c:v", "mpeg4")
    done = transcribe("mute.avi")
    assert done.returncode == 3 and "mute.avi has no audio track" in done.stderr
    dry = transcribe("mute.avi", "--dry-run")
    assert dry.returncode == 3 and "mute.avi has no audio track" in dry.stderr
    assert not service.files


def test_dry_run_says_what_of_films_is_sent(tmp_path: Path, service: Service, transcribe: Transcribe) -> None:
    path = film(tmp_path / "film.mp4", "-c:a", "aac", "-vf", "noise=alls=60,scale=320x240")
    film(tmp_path / "film.avi", "-c:a", "ac3")
    ffmpeg(tmp_path / "talk.mp3", "-f", "lavfi", "-i", "sine=duration=4")
    done = transcribe("film.mp4", "film.avi", "talk.mp3", "--dry-run")
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert "film.mp4 (sent as m4a: " in rows[1] and "film.avi (sent as flac: about 68 kB)" in rows[2]
    assert rows[3].endswith("  talk.mp3")
    assert "2 of 3 would be converted to sound only: about " in done.stderr and "unknown duration" not in done.stderr
    report = json.loads(transcribe("film.mp4", "talk.mp3", "--dry-run", "-f", "json").stdout)
    first, second = report["inputs"]
    assert first["bytes"] == path.stat().st_size and not first["upload_bytes_estimated"]
    assert transcribe("film.mp4").returncode == 0
    assert first["upload_bytes"] == pytest.approx(len(service.files["film.m4a"]), rel=0.05)
    assert "upload_bytes" not in second
    assert "sent as" not in transcribe("film.mp4", "--dry-run").stdout  # cached now


def test_recording_that_comes_through_stdin_is_a_film_too(
    tmp_path: Path, service: Service, transcribe: Transcribe, server: FaultServer
) -> None:
    film(tmp_path / "film.mkv", "-c:a", "libopus")
    env = environment(tmp_path / "home", server.base_url)
    with (tmp_path / "film.mkv").open("rb") as stdin:
        done = run_program(["transcribe", "-"], env=env, cwd=tmp_path, stdin=stdin, text=True, timeout=120)
    assert done.returncode == 0 and list(service.files) == ["stdin.ogg"], done.stderr


@pytest.mark.engine
def test_local_transcript_of_a_film_has_the_times_of_the_film(tmp_path: Path, transcribe: Transcribe) -> None:
    sample = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"
    film(tmp_path / "film.mp4", "-c:a", "aac", sound=["-itsoffset", "2", "-i", str(sample)])
    arguments = (sample, "film.mp4", "--local", "-f", "ndjson")
    done = transcribe(*arguments, CARTESIA_API_KEY=None, CARTESIA_BASE_URL=None, **TINY_MODEL)
    assert done.returncode == 0, done.stderr
    assert "only the sound" not in done.stderr
    found = [json.loads(line)["words"][0]["start"] for line in done.stdout.splitlines()]
    assert found[1] == pytest.approx(found[0] + 2, abs=0.2)


@pytest.mark.engine
def test_local_run_says_which_of_several_tracks_it_hears(tmp_path: Path, transcribe: Transcribe) -> None:
    sample = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"
    tracks = ["-i", str(sample), "-i", str(sample), "-map", "0", "-map", "1", "-c:a", "flac", "-c:a:0", "ac3"]
    path = ffmpeg(tmp_path / "two.mka", *tracks, "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra")
    path.write_bytes(path.read_bytes().replace(b"A_AC3", b"A_XY9"))
    ffmpeg(tmp_path / "two.m4a", *tracks[:8], "-c:a", "aac")
    arguments = ("two.mka", "two.m4a", "--local", "-f", "ndjson")
    done = transcribe(*arguments, CARTESIA_API_KEY=None, CARTESIA_BASE_URL=None, **TINY_MODEL)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr
    assert "warning: two.mka: it has 2 audio tracks: only track 2 (fra) is used; there is no decoder" in done.stderr
    assert "warning: two.m4a: it has 2 audio tracks: only track 1" in done.stderr


def test_segment_of_a_recording_is_sent_alone_and_priced_alone(tmp_path: Path) -> None:
    sample = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"
    item = Input("sample.wav#t=2,4.5", sample, Path("sample@2-4.5.wav"), time_range=(2.0, 2.5))
    job = Job(item, probe_input(item, BatchOptions(model="ink-whisper")), {})
    assert job.seconds == 2.5 and estimate_upload(job, local=False).duration == 2.5
    with Workspace() as workspace, choose_upload(job, workspace, ignore_progress, Reporter(), local=True) as sent:
        assert sent.upload.filename == "sample@2-4.5.flac" and sent.media.duration == 2.5
        assert np.array_equal(samples_of(sent.upload.path), samples_of(sample)[32000:72000])
    assert not sent.upload.path.exists()


def test_segment_after_the_end_of_its_recording_is_refused_before_anything_is_sent() -> None:
    sample = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"
    item = Input("sample.wav#t=20", sample, Path("sample@20.wav"), time_range=(20.0, inf))
    with pytest.raises(
        InputError, match=r"sample\.wav#t=20 begins after the end of the recording, which lasts 10\.81 s"
    ):
        probe_input(item, BatchOptions(model="ink-whisper"))


def test_segments_of_one_recording_are_cached_apart(tmp_path: Path) -> None:
    sample = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"
    cache, options = Cache(Store(tmp_path), "server"), BatchOptions(model="ink-whisper")
    names = [cache.lookup(sample, options, segment) for segment in (None, (0.0, 2.0), (0.0, 2.5), (1.0, 2.0))]
    assert len({found.name for found in names if found}) == 4


def ignore_progress(what: str, done: float = 0.0, total: float | None = None, /) -> None: ...
