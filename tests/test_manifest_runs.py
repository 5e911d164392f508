"""`transcribe` with manifests: as inputs, as output, after a kill, and with the metadata of a folder."""

from __future__ import annotations

import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import soundfile

from cartesia_cli.errors import Exit

from .conftest import Transcribe
from .fault_server import FaultServer, environment, write_wav
from .fork_server import run_program, start_program
from .naming_service import NamingService

SAMPLE = Path(__file__).parent.parent / "cartesia_cli" / "sample.wav"


class NumberingService(NamingService):
    """A part of a recording that was cut out gets the number of its upload instead of a name."""

    def text(self, name: str) -> str:
        return f"Upload {len(self.names)}." if name.endswith(".flac") else super().text(name)


@pytest.fixture
def service() -> NamingService:
    return NumberingService()


@pytest.fixture
def env(tmp_path: Path, server: FaultServer) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", server.base_url)


@pytest.fixture
def transcribe(tmp_path: Path, env: dict[str, str]) -> Transcribe:
    """Runs `transcribe` in a folder with the recordings wavs/0.wav to wavs/9.wav."""
    (tmp_path / "wavs").mkdir()
    for number in range(10):
        write_wav(tmp_path / "wavs" / f"{number}.wav", 3244 + 32 * number)

    def run(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        words = ["transcribe", *map(str, arguments)]
        return run_program(words, env=env | changes, cwd=tmp_path, text=True)

    return run


def write_manifest(path: Path, *lines: dict[str, Any] | str) -> None:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def status(folder: Path) -> str:
    return run_program(["status", str(folder)], text=True).stdout


def nemo(*numbers: int) -> list[dict[str, Any]]:
    return [
        {"id": n, "audio_filepath": f"wavs/{n}.wav", "duration": 9.25, "text": f"ü {n}", "x": {"a": [None]}}
        for n in numbers
    ]


def test_results_are_listed_in_input_order_with_all_fields(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    lines = nemo(3, 1, 4, 0, 5)
    service.refused = {"4.wav"}
    write_manifest(tmp_path / "in.json", lines[0], lines[1], "{", *lines[2:])
    done = transcribe("in.json", "--output-manifest", "out.jsonl", "--jobs", "4")
    assert done.returncode == Exit.FAILED
    assert done.stdout == ""
    assert "error: in.json, line 3: not JSON" in done.stderr
    assert "wrote out.jsonl: 4 recordings" in done.stderr
    found = documents(tmp_path / "out.jsonl")
    kept = [line for line in lines if line["id"] != 4]
    assert found == [line | {"pred_text": f"This is {line['id']}.wav."} for line in kept]
    assert [list(line) for line in found] == [[*line, "pred_text"] for line in kept]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.json", "out.jsonl", "wavs"]
    assert len(list((tmp_path / "wavs").iterdir())) == 10


def test_manifest_of_results_is_a_manifest_that_can_be_transcribed(tmp_path: Path, transcribe: Transcribe) -> None:
    assert transcribe("wavs", "--output-manifest", "lists/out.jsonl").returncode == Exit.DONE
    before = (tmp_path / "lists" / "out.jsonl").read_text()
    assert transcribe("lists/out.jsonl", "--output-manifest", "again.jsonl").returncode == Exit.DONE
    assert (tmp_path / "again.jsonl").read_text() == before
    assert str(tmp_path / "wavs" / "0.wav") in before


def test_results_of_a_manifest_are_named_after_the_paths_below_its_folder(
    tmp_path: Path, transcribe: Transcribe
) -> None:
    write_manifest(tmp_path / "in.jsonl", *nemo(2, 7))
    assert transcribe("in.jsonl", "--output-dir", "out").returncode == Exit.DONE
    assert (tmp_path / "out" / "wavs" / "7.txt").read_text() == "This is 7.wav.\n"
    done = transcribe("*.jsonl", "-f", "ndjson")
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == ["wavs/2.wav", "wavs/7.wav"]


def test_other_results_are_written_beside_the_manifest_if_asked_for(tmp_path: Path, transcribe: Transcribe) -> None:
    write_manifest(tmp_path / "in.jsonl", *nemo(2, 7))
    done = transcribe("in.jsonl", "--output-manifest", "out.jsonl", "-f", "ndjson")
    assert len(done.stdout.splitlines()) == len(documents(tmp_path / "out.jsonl")) == 2


def test_metadata_of_a_folder_goes_with_its_recordings(tmp_path: Path, transcribe: Transcribe) -> None:
    (tmp_path / "wavs" / "metadata.csv").write_text('file_name,transcription\n3.wav,"one, two"\n1.wav,x,y\n')
    done = transcribe("wavs", "--output-manifest", "wavs/out.jsonl")
    assert done.returncode == Exit.FAILED
    assert "error: wavs/metadata.csv, line 3: 3 cells for 2 columns\nhint: each row has as many cells" in done.stderr
    found = documents(tmp_path / "wavs" / "out.jsonl")
    assert len(found) == 10
    assert found[3] == {
        "audio_filepath": "3.wav", "duration": 0.103, "file_name": "3.wav", "transcription": "one, two",
        "pred_text": "This is 3.wav.",
    }  # fmt: skip
    assert list(found[4]) == ["audio_filepath", "duration", "pred_text"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.jsonl", "--output-manifest", "in.jsonl", "--force"], "in.jsonl is an input and must not be overwritten"),
        (["in.jsonl", "--output-manifest", "old.jsonl"], "old.jsonl exists"),
        (["in.jsonl", "--output-manifest", "out.txt"], "out.txt: a manifest's suffix is one of .jsonl, .json, .ndjson"),
        (["in.jsonl", "--output-manifest", "new.jsonl"], "new.jsonl.part is left of a run that was stopped"),
    ],
)
def test_manifest_that_must_not_be_written_is_a_usage_error_before_any_upload(
    arguments: list[str], message: str, tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    write_manifest(tmp_path / "in.jsonl", *nemo(1))
    (tmp_path / "old.jsonl").write_text("old\n")
    left = '{"audio_filepath": "a.wav", "pred_text": "old"}\n'
    (tmp_path / "new.jsonl.part").write_text(left)
    done = transcribe(*arguments)
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith(f"error: {message}\n")
    assert service.names == []
    assert ((tmp_path / "old.jsonl").read_text(), (tmp_path / "new.jsonl.part").read_text()) == ("old\n", left)


def test_file_named_like_a_manifest_that_is_none_is_an_input_error(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    (tmp_path / "talk.json").write_text('{\n  "text": "hello"\n}\n')
    shutil.copy(SAMPLE, tmp_path / "odd.csv")
    done = transcribe("talk.json", "odd.csv", "-f", "ndjson")
    assert done.returncode == Exit.FAILED
    assert (
        "talk.json is neither a recording nor a manifest: its first line has no audio_filepath or file_name"
        in done.stderr
    )
    assert service.names == ["odd.csv.wav"]


def test_dry_run_writes_no_manifest(tmp_path: Path, transcribe: Transcribe) -> None:
    assert transcribe("wavs", "--output-manifest", "out.jsonl", "--dry-run").returncode == Exit.DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "wavs"]


@pytest.mark.parametrize("extra", [[], ["--output-dir", "out"]], ids=["alone", "with_text"])
def test_killed_run_is_resumed_without_uploading_again(
    extra: list[str], tmp_path: Path, env: dict[str, str], transcribe: Transcribe, service: NamingService
) -> None:
    write_manifest(tmp_path / "in.jsonl", *nemo(*range(10)))
    command = ["transcribe", "in.jsonl", "--output-manifest", "out.jsonl", "--no-cache", "--jobs", "3", *extra]
    service.holds = {"0.wav": threading.Event(), "6.wav": threading.Event()}
    with start_program(command, env=env, cwd=tmp_path, text=True) as program:
        while len(service.names) < 8:
            assert program.poll() is None
        program.send_signal(signal.SIGKILL)
        program.wait()
    for held in service.holds.values():
        held.set()
    assert not (tmp_path / "out.jsonl").exists()
    sent = list(service.names)
    done = transcribe(*command[1:], "--resume")
    assert done.returncode == Exit.DONE, done.stderr
    assert [line["pred_text"] for line in documents(tmp_path / "out.jsonl")] == [f"This is {n}.wav." for n in range(10)]
    assert {"0.wav", "6.wav"} <= set(service.names[len(sent) :])
    assert len(service.names) <= 10 + 3
    assert not (tmp_path / "out.jsonl.part").exists()


def test_results_that_were_done_before_get_their_lines_from_the_cache_or_from_them(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    assert transcribe("wavs", "--output-dir", "text").returncode == Exit.DONE
    assert transcribe("wavs", "--output-dir", "json", "-f", "json", "--no-cache").returncode == Exit.DONE
    assert transcribe("wavs", "--output-dir", "cues", "-f", "srt", "--no-cache").returncode == Exit.DONE
    before = len(service.names)
    assert transcribe("wavs", "--output-dir", "text", "--output-manifest", "1.jsonl", "--resume").returncode == 0
    arguments = ["wavs", "--no-cache", "--resume", "--output-manifest"]
    assert transcribe(*arguments, "2.jsonl", "--output-dir", "json", "-f", "json").returncode == 0
    assert transcribe(*arguments, "3.jsonl", "--output-dir", "text").returncode == 0
    texts = [f"This is {number}.wav." for number in range(10)]
    for name in ("1.jsonl", "2.jsonl", "3.jsonl"):
        assert [line["pred_text"] for line in documents(tmp_path / name)] == texts
    done = transcribe(*arguments, "4.jsonl", "--output-dir", "cues", "-f", "srt")
    assert done.returncode == Exit.FAILED
    assert "wavs/0.wav has results, but its text for 4.jsonl is neither in the cache nor in them" in done.stderr
    assert documents(tmp_path / "4.jsonl") == []
    assert len(service.names) == before
    assert status(tmp_path / "cues").startswith(f"{tmp_path / 'cues'}: 10 done, 0 failed, 0 left")


def test_resumed_run_keeps_a_file_that_is_no_manifest_of_results(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    command = ["wavs", "--output-dir", "out", "--no-cache", "--output-manifest"]
    assert transcribe(*command, "1.jsonl").returncode == Exit.DONE
    write_manifest(tmp_path / "2.jsonl", *documents(tmp_path / "1.jsonl"), *nemo(1))
    before = (tmp_path / "2.jsonl").read_text()
    done = transcribe(*command, "2.jsonl", "--resume")
    assert done.returncode == Exit.USAGE
    assert done.stderr == (
        "error: 2.jsonl has lines that are not results, and must not be overwritten\n"
        "hint: name another manifest, or replace it by --force instead of --resume\n"
    )
    assert (tmp_path / "2.jsonl").read_text() == before and not (tmp_path / "2.jsonl.part").exists()
    assert len(service.names) == 10


@pytest.mark.parametrize("options", [[], ["--resume"], ["--force"], ["--resume", "--dry-run"]])
@pytest.mark.parametrize("content", ["my notes\n", '{"audio_filepath": "0.wav", "text": "what was said"}\n'])
def test_run_keeps_a_file_whose_name_is_that_of_a_partial_manifest(
    content: str, options: list[str], tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    strange = tmp_path / "notes.jsonl.part"
    strange.write_text(content)
    done = transcribe("wavs", "--output-manifest", "notes.jsonl", *options)
    assert done.returncode == Exit.USAGE
    assert done.stderr == (
        "error: notes.jsonl.part has lines that are not results, and must not be overwritten\n"
        "hint: rename it, or name another manifest\n"
    )
    assert strange.read_text() == content and not (tmp_path / "notes.jsonl").exists()
    assert not service.names


def test_resumed_run_with_other_inputs_keeps_the_lines_of_earlier_ones(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    command = ["--no-cache", "--output-manifest", "out.jsonl"]
    assert transcribe("wavs/3.wav", "wavs/1.wav", *command).returncode == Exit.DONE
    done = transcribe("wavs/0.wav", "wavs/1.wav", *command, "--resume")
    assert done.returncode == Exit.DONE
    assert "1 of 2 already done; 1 to do" in done.stderr and "wrote out.jsonl: 3 recordings" in done.stderr
    assert [line["audio_filepath"] for line in documents(tmp_path / "out.jsonl")] == [
        f"wavs/{number}.wav" for number in (3, 0, 1)
    ]
    assert service.names == ["3.wav", "1.wav", "0.wav"]
    assert transcribe("wavs/2.wav", *command, "--force").returncode == Exit.DONE
    assert [line["audio_filepath"] for line in documents(tmp_path / "out.jsonl")] == ["wavs/2.wav"]


def test_recording_that_changed_and_fails_then_loses_its_line(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    command = ["wavs", "--no-cache", "--output-manifest", "out.jsonl", "--output-dir", "out"]
    assert transcribe(*command).returncode == Exit.DONE
    write_wav(tmp_path / "wavs" / "3.wav", 5000)
    service.refused = {"3.wav"}
    assert transcribe(*command, "--resume").returncode == Exit.FAILED
    names = [line["audio_filepath"] for line in documents(tmp_path / "out.jsonl")]
    assert names == [f"wavs/{number}.wav" for number in range(10) if number != 3]


def test_part_to_the_end_of_a_recording_is_not_sent_again(
    tmp_path: Path, transcribe: Transcribe, service: NamingService, parts: list[dict[str, Any]]
) -> None:
    command = ["in.jsonl", "--no-cache", "--output-manifest", "out.jsonl"]
    assert transcribe(*command).returncode == Exit.DONE
    before = (tmp_path / "out.jsonl").read_text()
    assert "3 of 3 already done; nothing to do" in transcribe(*command, "--resume").stderr
    assert (tmp_path / "out.jsonl").read_text() == before
    assert len(service.audio) == 3


def test_dry_run_of_a_resumed_manifest_lists_only_pending_inputs_and_writes_nothing(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    command = ["--no-cache", "--output-manifest", "out.jsonl", "--dry-run", "--resume"]
    assert transcribe("wavs/3.wav", *command[:3]).returncode == Exit.DONE
    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.part")
    done = transcribe("wavs", *command)
    assert "1 of 10 already done; 9 to do" in done.stderr and "out.jsonl" not in done.stderr
    assert "wavs/2.wav" in done.stdout and "wavs/3.wav" not in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out.jsonl.part", "wavs"]
    assert service.names == ["3.wav"]


def test_interrupted_run_says_where_its_lines_are(
    tmp_path: Path, env: dict[str, str], transcribe: Transcribe, service: NamingService
) -> None:
    service.holds = {"5.wav": threading.Event()}
    command = ["transcribe", "wavs", "--output-manifest", "out.jsonl"]
    with start_program(command, env=env, cwd=tmp_path, text=True, stderr=subprocess.PIPE) as program:
        while "5.wav" not in service.names:
            assert program.poll() is None
        program.send_signal(signal.SIGINT)
        service.holds["5.wav"].set()
        _, messages = program.communicate(timeout=20)
    assert program.returncode == Exit.INTERRUPTED
    assert "out.jsonl.part has the results so far, for --resume" in messages
    assert len((tmp_path / "out.jsonl.part").read_text().splitlines()) >= 5
    before = len(service.names)
    assert transcribe(*command[1:], "--resume").returncode == Exit.DONE
    assert len(documents(tmp_path / "out.jsonl")) == 10
    assert len(service.names) - before <= 5


@pytest.mark.parametrize("options", [["-f", "text", "--output-dir", "out"], []])
def test_results_are_kept_and_the_run_stops_when_the_manifest_cannot_be_written(
    tmp_path: Path, transcribe: Transcribe, env: dict[str, str], service: NamingService, options: list[str]
) -> None:
    write_manifest(tmp_path / "in.jsonl", *(line | {"note": "x" * 5000} for line in nemo(0, 1, 2)))
    command = ["in.jsonl", "--output-manifest", "m.jsonl", "--no-cache", "--jobs", "1", *options]
    done = subprocess.run(
        [sys.executable, "-m", "cartesia_cli", "transcribe", *command],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY)),
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "m.jsonl.part: can't be written: File too large" in done.stderr
    assert len(service.names) == 1  # each other line would go to the same file
    if options:
        assert [file.name for file in (tmp_path / "out").glob("*/*.txt")] == ["0.txt"]
        assert "1 done" in status(tmp_path / "out")
    else:
        assert json.loads(done.stdout)["pred_text"] == service.text("0.wav")
    done = transcribe(*command, "--resume")
    assert done.returncode == 0
    assert [line["id"] for line in documents(tmp_path / "m.jsonl")] == [0, 1, 2]
    assert len(service.names) == 3 + (not options)


def test_each_shard_writes_a_manifest_of_its_own(tmp_path: Path, transcribe: Transcribe) -> None:
    write_manifest(tmp_path / "in.jsonl", *nemo(*range(10)))
    for shard in ("1/2", "2/2"):
        done = transcribe("in.jsonl", "--output-manifest", "out.jsonl", "--shard", shard, "--output-dir", "out")
        assert done.returncode == Exit.DONE, done.stderr
    shards = [documents(tmp_path / f"out.{number}-of-2.jsonl") for number in (1, 2)]
    assert all(shards)
    assert sorted(line["id"] for shard in shards for line in shard) == list(range(10))


def test_retry_of_what_failed_keeps_the_other_lines(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    service.refused = {"2.wav", "7.wav"}
    arguments = ["wavs", "--output-manifest", "out.jsonl", "--output-dir", "out"]
    assert transcribe(*arguments).returncode == Exit.FAILED
    assert len(documents(tmp_path / "out.jsonl")) == 8
    service.refused = {"7.wav"}
    before = len(service.names)
    assert transcribe(*arguments, "--retry-failed").returncode == Exit.FAILED
    assert service.names[before:] == ["2.wav", "7.wav"]
    texts = [line["pred_text"] for line in documents(tmp_path / "out.jsonl")]
    assert texts == [f"This is {number}.wav." for number in range(10) if number != 7]


@pytest.mark.parametrize("format", ["text", "srt"])
def test_recordings_that_another_run_does_meanwhile_get_their_lines_if_their_text_is_known(
    format: str, tmp_path: Path, env: dict[str, str], transcribe: Transcribe, service: NamingService
) -> None:
    service.holds = {"0.wav": threading.Event()}
    command = ["transcribe", "wavs", "--output-dir", "out", "-f", format, "--resume", "--no-cache", "--output-manifest"]
    with start_program([*command, "1.jsonl"], env=env, cwd=tmp_path) as first:
        while service.names != ["0.wav"]:
            assert first.poll() is None
        timer = threading.Timer(1.0, service.holds["0.wav"].set)
        timer.start()
        second = transcribe(*command[1:], "2.jsonl")
        first.wait()
    lines = [documents(tmp_path / name) for name in ("1.jsonl", "2.jsonl")]
    if format == "text":
        assert (first.returncode, second.returncode) == (Exit.DONE, Exit.DONE), second.stderr
        assert lines[0] == lines[1] and len(lines[0]) == 10
    else:
        assert (first.returncode, second.returncode) == (Exit.FAILED, Exit.FAILED)
        assert second.stderr.count("but its text for 2.jsonl is neither in the cache nor in them") == len(lines[0])
        assert "10 of 10 transcribed" in second.stderr and "to try again" not in second.stderr
        assert sorted(line["pred_text"] for line in lines[0] + lines[1]) == [f"This is {n}.wav." for n in range(10)]
    assert sorted(service.names) == [f"{number}.wav" for number in range(10)]
    assert status(tmp_path / "out").startswith(f"{tmp_path / 'out'}: 10 done, 0 failed, 0 left")


def test_manifest_that_appears_during_the_run_is_kept_and_the_results_stay_for_resume(
    tmp_path: Path, transcribe: Transcribe, service: NamingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.jsonl"
    name_text = service.text

    def text(name: str) -> str:
        path.write_text("theirs")
        return name_text(name)

    monkeypatch.setattr(service, "text", text)
    command = ("wavs", "--no-cache", "--output-manifest", "m.jsonl")
    done = transcribe(*command)
    assert done.returncode == Exit.FAILED
    assert done.stderr.endswith(
        "m.jsonl.part has the results so far, for --resume\n"
        "error: m.jsonl exists by now\n"
        "hint: rename it, and run the command again with --resume: what is done is not sent again\n"
    )
    assert path.read_text() == "theirs"
    path.rename(tmp_path / "theirs.jsonl")
    assert transcribe(*command, "--resume").returncode == Exit.DONE
    assert len(documents(path)) == len(service.names) == 10
    assert transcribe(*command, "--force").returncode == Exit.DONE
    assert len(documents(path)) == 10


def test_second_run_with_the_same_manifest_sends_nothing(
    tmp_path: Path, env: dict[str, str], transcribe: Transcribe, service: NamingService
) -> None:
    service.holds = {"0.wav": threading.Event()}
    command = ["transcribe", "wavs", "--output-dir", "out", "--no-cache", "--output-manifest", "m.jsonl"]
    with start_program([*command, "--jobs", "1"], env=env, cwd=tmp_path) as first:
        while service.names != ["0.wav"]:
            assert first.poll() is None
        refused = [transcribe(*command[1:], *extra) for extra in ([], ["--resume"], ["--force"])]
        assert service.names == ["0.wav"]
        service.holds["0.wav"].set()
        first.wait()
    for second in refused:
        assert second.returncode == Exit.USAGE
        assert second.stderr.startswith("error: another run is writing m.jsonl\n")
        assert "wait until it has ended, or name another manifest" in second.stderr
    assert first.returncode == Exit.DONE
    assert len(documents(tmp_path / "m.jsonl")) == 10
    assert not (tmp_path / "m.jsonl.part").exists()


SEGMENTS = ((0, 2.5), (2.5, 4), (6.5, None))
"""Offsets and durations of parts of the sample."""


@pytest.fixture
def parts(tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of a manifest, in.jsonl, with parts of a copy of the sample."""
    shutil.copy(SAMPLE, tmp_path / "talk.wav")
    lines = [{"audio_filepath": "talk.wav", "offset": offset, "duration": length} for offset, length in SEGMENTS]
    write_manifest(tmp_path / "in.jsonl", *lines)
    return lines


def test_parts_of_a_recording_are_cut_and_get_results_of_their_own(
    tmp_path: Path, env: dict[str, str], transcribe: Transcribe, service: NamingService, parts: list[dict[str, Any]]
) -> None:
    whole, rate = soundfile.read(tmp_path / "talk.wav", dtype="int16")
    arguments = ["in.jsonl", "--output-manifest", "out.jsonl", "-f", "text,json"]
    first = transcribe(*arguments, "--output-dir", "out")
    assert first.returncode == Exit.DONE, first.stderr
    sent = [soundfile.read(io.BytesIO(audio), dtype="int16")[0].tolist() for audio in service.audio]
    assert sent == [
        whole[round(offset * rate) : None if length is None else round((offset + length) * rate)].tolist()
        for offset, length in SEGMENTS
    ]
    found = documents(tmp_path / "out.jsonl")
    assert [line["pred_text"] for line in found] == [f"Upload {number}." for number in range(3)]
    assert [line["offset"] for line in found] == [0, 2.5, 6.5]
    assert [line["duration"] for line in found] == [2.5, 4, pytest.approx(len(whole) / rate - 6.5)]
    stems = ["talk@0-2.5", "talk@2.5-6.5", "talk@6.5"]
    assert [(tmp_path / "out" / f"{stem}.txt").read_text() for stem in stems] == [f"Upload {n}.\n" for n in range(3)]
    document = json.loads((tmp_path / "out" / "talk@2.5-6.5.json").read_text())
    assert document["source"] == "talk.wav#t=2.5,6.5"


def test_parts_that_have_results_are_not_sent_again(
    tmp_path: Path, transcribe: Transcribe, service: NamingService, parts: list[dict[str, Any]]
) -> None:
    write_manifest(tmp_path / "in.jsonl", *parts[:2])
    arguments = ["in.jsonl", "-f", "text", "--no-cache"]
    assert transcribe(*arguments).returncode == Exit.DONE
    assert (tmp_path / "talk@0-2.5.txt").read_text() == "Upload 0.\n"
    write_manifest(tmp_path / "in.jsonl", *parts)
    done = transcribe(*arguments, "--resume")
    assert "2 of 3 already done" in done.stderr
    assert len(service.audio) == 3
    assert (tmp_path / "talk@6.5.txt").read_text() == "Upload 2.\n"
    (tmp_path / "talk.wav").rename(tmp_path / "lecture.wav")
    write_manifest(tmp_path / "in.jsonl", {"audio_filepath": "lecture.wav", "offset": 2.5, "duration": 3})
    assert transcribe(*arguments, "--resume").returncode == Exit.DONE
    assert (tmp_path / "lecture@2.5-5.5.txt").read_text() == "Upload 3.\n"


def test_part_beyond_the_end_is_an_error_before_any_upload(
    tmp_path: Path, transcribe: Transcribe, service: NamingService, parts: list[dict[str, Any]]
) -> None:
    write_manifest(tmp_path / "in.jsonl", {"audio_filepath": "talk.wav", "offset": 100, "duration": 2})
    done = transcribe("in.jsonl")
    assert done.returncode == Exit.INPUT
    assert "error: in.jsonl, line 1: talk.wav#t=100,102 begins after the end of the recording" in done.stderr
    assert "hint: are offset and duration of the manifest in seconds?" in done.stderr
    assert service.names == []


def test_missing_recording_is_an_error_with_the_number_of_its_line(
    tmp_path: Path, transcribe: Transcribe, service: NamingService
) -> None:
    write_manifest(tmp_path / "in.jsonl", *nemo(0), {"audio_filepath": "none.flac"}, {"audio_filepath": "no ne.wav "})
    done = transcribe("in.jsonl", "--output-dir", "out")
    assert done.returncode == Exit.FAILED and len(service.names) == 1
    assert "error: in.jsonl, line 2: none.flac does not exist\n" in done.stderr
    assert "error: in.jsonl, line 3: 'no ne.wav ' does not exist\n" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "x.jsonl"],
        ["-o", "wavs/../x.jsonl", "--force"],
        ["-o", "x.jsonl", "--resume"],
        ["-f", "json", "--output-dir", "out"],
        ["-f", "text", "--output-dir", "out", "--keep-json", "out"],
    ],
)
def test_manifest_and_transcript_can_not_share_a_file(
    options: list[str], transcribe: Transcribe, tmp_path: Path, service: NamingService
) -> None:
    manifest = "x.jsonl" if "-o" in options else "out/0.json"
    for dry_run in (["--dry-run"], []):
        done = transcribe("wavs/0.wav", *options, "--output-manifest", manifest, *dry_run)
        assert (done.returncode, service.names) == (2, []), done.stderr
        assert f"{manifest} is where a transcript goes" in done.stderr
        assert not (tmp_path / manifest).exists()
