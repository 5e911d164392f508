"""Inputs of `transcribe`, through the installed program: folders, globs, URLs, stdin, silent recordings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import cartesia_cli
from cartesia_cli.audio.probing import DOCUMENTED
from cartesia_cli.commands.batch.inputs import Input, find_inputs
from cartesia_cli.errors import InputError, UsageError
from tests.conftest import Run
from tests.fault_server import FaultServer, answers, fine
from tests.speech import write_wav
from tests.test_probing import encode
from tests.tones import spoken

KEY = {"CARTESIA_API_KEY": "sk_car_test"}
SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"
UNREACHABLE = ("--base-url", "http://127.0.0.1:9")


BY_FFMPEG = {
    "a.mkv": ("matroska", "pcm_s16le", "matroska", "video/x-matroska"),
    "b.mka": ("matroska", "aac", "matroska", "video/x-matroska"),
    "c.webm": ("webm", "libopus", "webm", "audio/webm"),
    "d.mov": ("mov", "aac", "mov", "video/quicktime"),
    "e.m4b": ("ipod", "aac", "mp4", "audio/mp4"),
    "f.3gp": ("3gp", "aac", "3gp", "audio/3gpp"),
    "g.aac": ("adts", "aac", "aac", "audio/aac"),
    "h.wma": ("asf", "wmav2", "wma", "audio/x-ms-wma"),
    "i.w64": ("w64", "pcm_s16le", "w64", "audio/x-w64"),
    "j.opus": ("ogg", "libopus", "ogg", "audio/ogg"),
    "k.ac3": ("ac3", "ac3", "ac3", "audio/ac3"),
    "l.avi": ("avi", "pcm_s16le", "avi", "video/x-msvideo"),
    "m.ts": ("mpegts", "mp2", "ts", "video/mp2t"),
    "n.wv": ("wv", "wavpack", "wavpack", "audio/x-wavpack"),
    "o.tta": ("tta", "tta", "tta", "audio/x-tta"),
    "p.voc": ("voc", "pcm_s16le", "voc", "audio/x-voc"),
    "q.nut": ("nut", "pcm_s16le", "nut", "video/x-nut"),
}
BY_LIBSNDFILE = {
    "r.aiff": ("AIFF", "aiff", "audio/aiff"),
    "s.caf": ("CAF", "caf", "audio/x-caf"),
    "t.au": ("AU", "au", "audio/basic"),
    "u.sph": ("NIST", "sphere", "audio/x-nist"),
}


def write_all_formats(folder: Path) -> None:
    folder.mkdir()
    for name, (form, codec, _, _) in BY_FFMPEG.items():
        encode(folder / name, codec, 48000, seconds=1, form=form)
    for name, (form, _, _) in BY_LIBSNDFILE.items():
        soundfile.write(folder / name, np.sin(np.arange(16000) * 0.1) / 4, 16000, format=form, subtype="PCM_16")
    (folder / "nameless").write_bytes(SAMPLE.read_bytes())
    (folder / "disguised.txt").write_bytes(SAMPLE.read_bytes() + b"another")
    (folder / "module.ts").write_text("export const answer: number = 42;\n")
    (folder / "talk.txt").write_text("a result of ours\n")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40)


@pytest.fixture(scope="module")
def all_formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats") / "talks"
    write_all_formats(folder)
    return folder


def test_folder_search_finds_every_decodable_format(run: Run, all_formats: Path) -> None:
    wanted = {*BY_FFMPEG, *BY_LIBSNDFILE, "nameless", "disguised.txt"}
    done = run("transcribe", all_formats, "--dry-run", "--json", *UNREACHABLE, env=KEY)
    assert done.returncode == 0, done.stderr
    assert {Path(row["source"]).name for row in json.loads(done.stdout)["inputs"]} == wanted
    assert b"3 files are not recordings: skipped (-v names them)\n" in done.stderr
    told = run("transcribe", all_formats, "--dry-run", "-v", *UNREACHABLE, env=KEY).stderr.decode()
    assert set(re.findall(r"/([\w.]+): not a recording: skipped", told)) == {"module.ts", "talk.txt", "cover.jpg"}


def test_every_format_of_a_folder_search_is_decoded(all_formats: Path) -> None:
    from cartesia_cli.audio.files import Decoder
    from cartesia_cli.audio.pcm import RATE

    for name in (*BY_FFMPEG, *BY_LIBSNDFILE):
        seconds = sum(map(len, Decoder().decode_file(all_formats / name))) / RATE
        assert seconds == pytest.approx(1, abs=0.2), name


def test_uploads_have_the_media_type_and_suffix_of_their_format(run: Run, all_formats: Path) -> None:
    with FaultServer(*[fine] * 30) as server:
        done = run("transcribe", all_formats, "-f", "ndjson", "--base-url", server.base_url, env=KEY)
        assert done.returncode == 0, done.stderr
        parts = [request.part("file") for request in server.requests]
    kinds = {name: (kind, media) for name, (*_, kind, media) in (BY_FFMPEG | BY_LIBSNDFILE).items()}
    documented = {name: media for name, (kind, media) in kinds.items() if kind in DOCUMENTED}
    sent = {(part.filename or b"").decode(): part.headers["content-type"] for part in parts}
    assert len(sent) == len(kinds) + 2
    assert sent.items() >= (documented | {"nameless.wav": "audio/wav", "disguised.txt.wav": "audio/wav"}).items()
    # All others are converted.
    converted = dict(re.findall(r"/(\w+)\.\w+: sending it as (\w+), because the API", done.stderr.decode()))
    assert converted.keys() == {Path(name).stem for name in kinds.keys() - documented.keys()}
    for stem, kind in converted.items():
        assert sent[f"{stem}.{kind}"] == {"flac": "audio/flac", "m4a": "audio/mp4", "mp3": "audio/mpeg"}[kind]


def test_offline_run_does_not_warn_of_undocumented_formats(run: Run, all_formats: Path) -> None:
    done = run("transcribe", all_formats / "i.w64", "--local", "--no-cache")
    assert done.returncode == 0, done.stderr
    assert b"documents" not in done.stderr
    assert b"i.w64: no speech found\n" in done.stderr and done.stdout == b""


def test_encoding_makes_a_folder_search_find_headerless_samples(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("a.raw", "b.ul", "c.wav", "note.txt"):
        (folder / name).write_bytes(b"\x7f\xff" * 4000)
    (folder / "real.wav").write_bytes(SAMPLE.read_bytes())
    raw = ("--encoding", "pcm_mulaw", "--sample-rate", "8000")
    done = run("transcribe", folder, "--dry-run", "--json", *raw, *UNREACHABLE, env=KEY)
    assert [Path(row["source"]).name for row in json.loads(done.stdout)["inputs"]] == ["a.raw", "b.ul", "c.wav"]
    assert b"2 files are not recordings" in done.stderr


def test_input_that_is_named_twice_is_transcribed_once_and_that_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "link.wav").symlink_to("a.wav")
    with FaultServer(fine) as server:
        options = ("--base-url", server.base_url)
        done = run("transcribe", "a.wav", "./a.wav", "link.wav", "-v", *options, env=KEY)
        again = run("transcribe", "a.wav", ".", "--force", *options, env=KEY)
        assert len(server.requests) == 1
    assert (done.returncode, again.returncode, done.stdout) == (0, 0, b""), done.stderr
    assert (tmp_path / "a.txt").exists() and not (tmp_path / "link.txt").exists()
    assert b"link.wav: the same as another input: skipped\n2 inputs are the same as others: skipped\n" in done.stderr
    assert b"2 inputs are the same as others: skipped (-v names them)\n" in again.stderr


def test_globs_follow_no_link_loops_and_keep_subfolders(run: Run, tmp_path: Path) -> None:
    deep = tmp_path / "shows" / "one" / "two"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent):
        (folder / "talk.wav").write_bytes(SAMPLE.read_bytes() + folder.name.encode())
        (folder / "loop").symlink_to(tmp_path / "shows")
    with FaultServer(fine, fine) as server:
        done = run("transcribe", "shows/**/*.wav", "--output-dir", "out", "--base-url", server.base_url, env=KEY)
    assert done.returncode == 0, done.stderr
    found = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*.txt"))
    assert found == ["out/one/talk.txt", "out/one/two/talk.txt"]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_globs_match_like_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(*(tmp_path / name for name in ("a.wav", "x/b.wav", "x/y/c.wav", ".h/d.wav", "x/.e.wav", "A.WAV")))

    def matches(pattern: str) -> list[str]:
        found = list(find_inputs([pattern], None))
        assert all(isinstance(item, Input) for item in found)
        return [item.source for item in found if isinstance(item, Input)]

    assert matches("*.wav") == ["a.wav"]
    assert matches("**/*.wav") == ["a.wav", "x/b.wav", "x/y/c.wav"]
    assert matches("x/**/*.wav") == ["x/b.wav", "x/y/c.wav"]
    assert matches("**/**/c.wav") == ["x/y/c.wav"]
    assert matches("x/**") == ["x/b.wav", "x/y/c.wav"]
    assert matches("*/b.wav") == ["x/b.wav"]
    assert matches(".h/*") == [".h/d.wav"]
    assert matches("x/.*") == ["x/.e.wav"]
    assert matches(f"{tmp_path}/[xz]/?.wav") == [f"{tmp_path}/x/b.wav"]
    assert isinstance(next(find_inputs(["*.flac"], None)), InputError)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://example.com/a//talk.mp3?x=1", "curl -sL 'https://example.com/a//talk.mp3?x=1' | cartesia-cli"),
        ("HTTP://example.com/talk.mp3", "curl -sL 'HTTP://example.com/talk.mp3'"),
        ("s3://bucket/talk.mp3", "aws s3 cp 's3://bucket/talk.mp3' -"),
        ("gs://bucket/talk.mp3", "gcloud storage cat 'gs://bucket/talk.mp3'"),
        ("az://container/talk.mp3", "azcopy"),
        ("file:///tmp/talk.mp3", "by its path"),
        ("https:/example.com/talk.mp3", "download"),
    ],
)
@pytest.mark.parametrize("command", ["stream-file", "render", "check", "vad"])
def test_url_as_local_file_is_a_usage_error(command: str, url: str, hint: str, run: Run) -> None:
    done = run(command, url, *(UNREACHABLE if command == "stream-file" else ()), env=KEY)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    first, second = done.stderr.decode().splitlines()
    assert first.startswith(f"error: {url} is a URL") and second.startswith("hint: ") and hint in second


@pytest.mark.parametrize("more", [(), ("sample.wav",)])
@pytest.mark.parametrize("url", ["ftp://example.com/talk.mp3", "file:///tmp/talk.mp3", "https:/example.com/talk.mp3"])
def test_url_that_cannot_be_read_is_a_usage_error(url: str, more: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    (tmp_path / "sample.wav").write_bytes(SAMPLE.read_bytes())
    done = run("transcribe", *more, url, *UNREACHABLE, env=KEY)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    first, second = done.stderr.decode().splitlines()
    assert first.startswith(f"error: {url} is a URL") and second.startswith("hint: ")


def test_file_named_like_a_url_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "s3:" / "talk.wav")
    assert [item.path for item in find_inputs(["s3:/talk.wav"], None) if isinstance(item, Input)] == [
        Path("s3:/talk.wav")
    ]
    with pytest.raises(UsageError):
        list(find_inputs(["s3:/other.wav"], None))


@pytest.mark.parametrize("more", [(), ("--encoding", "pcm_s16le", "--sample-rate", "8000")], ids=["container", "raw"])
@pytest.mark.parametrize("content", [b"", b"x"])
def test_errors_of_stdin_name_stdin(content: bytes, more: tuple[str, ...], run: Run) -> None:
    done = run("transcribe", "-", *more, *UNREACHABLE, stdin=content, env=KEY)
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: stdin ") and b"cartesia-cli-stdin" not in done.stderr


def test_missing_input_counts_as_failed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(SAMPLE.read_bytes())
    with FaultServer(fine) as server:
        done = run("transcribe", "talk.wav", "none.wav", "--base-url", server.base_url, env=KEY)
    assert done.returncode == 1
    assert b"error: none.wav does not exist\n" in done.stderr and b"\n1 of 2 transcribed, " in done.stderr


def test_missing_and_refused_inputs_exit_with_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(SAMPLE.read_bytes())
    with FaultServer(answers({"title": "No"}, status=400)) as server:
        done = run("transcribe", "talk.wav", "none.wav", "--base-url", server.base_url, env=KEY)
    assert done.returncode == 1
    assert b"0 of 2 transcribed" in done.stderr


@pytest.mark.parametrize("text", ["", " "])
def test_silent_recording_is_reported_and_prints_nothing(text: str, run: Run, tmp_path: Path) -> None:
    write_wav(tmp_path / "quiet.wav", spoken([]))
    with FaultServer(answers({"text": text, "duration": 1.0, "words": []})) as server:
        done = run("transcribe", "quiet.wav", "--base-url", server.base_url, env=KEY)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.splitlines()[-1] == b"quiet.wav: no speech found"


@pytest.mark.parametrize("name", ["vtt", "md", "lrc"])
def test_results_contain_no_local_folder_names(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(SAMPLE.read_bytes())
    answer = {"text": "Hello.", "duration": 1.0, "words": [{"word": "Hello.", "start": 0.1, "end": 0.5}]}
    with FaultServer(answers(answer)) as server:
        done = run("transcribe", tmp_path / "talk.wav", "-f", name, "--base-url", server.base_url, env=KEY)
    assert done.returncode == 0, done.stderr
    assert b"talk.wav" in done.stdout and str(tmp_path).encode() not in done.stdout
