"""The manifest of results lists them in the order of the inputs, and a killed run loses no line."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cartesia_cli.errors import OutputError, UsageError
from cartesia_cli.scale.output_manifest import OutputManifest, describe_result, partial_path


def line(audio: str, text: str, **fields: Any) -> str:
    return json.dumps(describe_result(audio, 1.5, text, fields))


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"audio_filepath": "a", "duration": 1.5, "pred_text": "said"}),
        (
            {"id": 7, "duration": 2, "audio_filepath": "old", "text": "true", "pred_text": "before", "x": None},
            {"id": 7, "duration": 2, "audio_filepath": "a", "text": "true", "pred_text": "said", "x": None},
        ),
        (
            {"audio_filepath": "a", "offset": 3, "duration": None},
            {"audio_filepath": "a", "offset": 3, "duration": 1.5, "pred_text": "said"},
        ),
        (
            {"file_name": "b", "transcription": "true", "duration": "1 minute"},
            {"audio_filepath": "a", "duration": 1.5, "file_name": "b", "transcription": "true", "pred_text": "said"},
        ),
    ],
)
def test_line_has_the_fields_of_the_input_in_their_order_and_the_text(
    fields: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    found = describe_result("a", 1.5, "said", fields)
    assert found == expected
    assert list(found) == list(expected)


def test_unknown_duration_is_left_out() -> None:
    assert describe_result("a", None, "said", {}) == {"audio_filepath": "a", "pred_text": "said"}


def test_lines_are_in_input_order_and_failed_recordings_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.jsonl"
    with OutputManifest(path, resume=False) as manifest:
        for number in (3, 0, 4, 1):
            manifest.add(number, line(f"{number}.wav", f"text {number}"))
            assert not path.exists()
        assert manifest.finish() == 4
    assert [found["pred_text"] for found in documents(path)] == [f"text {number}" for number in (0, 1, 3, 4)]
    assert list(path.parent.iterdir()) == [path]


def test_unfinished_manifest_stays_partial_and_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("former\n")
    with OutputManifest(path, resume=False) as manifest:
        manifest.add(0, line("a.wav", "a"))
    assert path.read_text() == "former\n"
    assert documents(partial_path(path)) == [describe_result("a.wav", 1.5, "a", {})]


def test_resumed_run_finds_lines_of_both_files_and_keeps_those_of_other_recordings(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line("a.wav", "old a") + "\n" + line("b.wav", "b", speaker=1) + "\n")
    partial_path(path).write_text(line("a.wav", "a") + "\n" + line("c.wav", "c") + "\n" + line("d.wav", "d")[:-3])
    with partial_path(path).open("a") as file:
        file.write("\0" * 10 + "\n{\n" + "\0" * 10)
    with OutputManifest(path, resume=True) as manifest:
        found = {name: manifest.earlier(f"{name}.wav", None, {}) for name in "abcd"}
        assert {name: done and done["pred_text"] for name, done in found.items()} == {
            "a": "a", "b": "b", "c": "c", "d": None,
        }  # fmt: skip
        manifest.add(1, line("d.wav", "d"))
        manifest.add(0, line("a.wav", "new a"))
        assert manifest.finish() == 4
    assert [(found["audio_filepath"], found["pred_text"]) for found in documents(path)] == [
        ("b.wav", "b"), ("c.wav", "c"), ("a.wav", "new a"), ("d.wav", "d"),
    ]  # fmt: skip


def test_parts_of_a_recording_are_told_apart_by_their_times(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    parts = [{"audio_filepath": "a.wav", "offset": offset, "duration": 0.1 + 0.2} for offset in (0, 12.5)]
    parts.append({"audio_filepath": "a.wav", "offset": 3, "duration": None})  # to the end
    with OutputManifest(path, resume=False) as manifest:
        for number, part in enumerate(parts):
            manifest.add(number, line("a.wav", f"part {number}", **part))
        manifest.finish()
    with OutputManifest(path, resume=True) as manifest:
        for number, part in enumerate(parts):
            found = manifest.earlier("a.wav", 1.5, part)
            assert found is not None
            assert found["pred_text"] == f"part {number}"
        assert manifest.earlier("a.wav", 1.5, {"audio_filepath": "a.wav"}) is None


KILLED = """
import sys
from pathlib import Path
from cartesia_cli.scale.output_manifest import OutputManifest, describe_result
import json
with OutputManifest(Path(sys.argv[1]), resume=True) as manifest:
    for number in range(1_000_000):
        manifest.add(number, json.dumps(describe_result(f"{number}.wav", 1.0, "text " * 20, {})))
        print(number, flush=True)
"""


def test_killed_run_loses_no_line_that_was_added(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            added = [next(process.stdout) for _ in range(50)]
            process.send_signal(signal.SIGKILL)
            added += process.stdout
        assert not path.exists()
        with OutputManifest(path, resume=True) as manifest:
            assert all(manifest.earlier(f"{number.strip()}.wav", 1.0, {}) for number in added)


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    text = "word " * 2_000
    tracemalloc.start()
    try:
        with OutputManifest(path, resume=False) as manifest:
            for number in reversed(range(500)):
                manifest.add(number, line(f"{number}.wav", text))
            manifest.finish()
        with OutputManifest(path, resume=True) as manifest:
            assert manifest.earlier("7.wav", 1.5, {})
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 5_000_000


def test_full_temporary_folder_is_an_output_error(tmp_path: Path) -> None:
    with OutputManifest(tmp_path / "m.jsonl", resume=False) as manifest:
        manifest._lines.query("PRAGMA max_page_count = 3")
        with pytest.raises(OutputError, match=r"^no space for temporary files: ") as caught:
            manifest.add(0, line("a" * 100_000, "a"))
    assert caught.value.stops_batch


def test_full_disk_is_an_output_error_and_what_was_written_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with OutputManifest(path, resume=False) as manifest:
        manifest.add(0, line("a.wav", "one"))
        limit = len(line("a.wav", "one")) + 5  # for a part of the second line
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OutputError, match="File too large"):
                manifest.add(1, line("b.wav", "two"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with OutputManifest(path, resume=True) as manifest:
        manifest.add(1, line("b.wav", "two"))
        manifest.finish()
    assert [found["pred_text"] for found in documents(path)] == ["one", "two"]  # no line is torn


def test_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        OutputManifest(tmp_path / "file" / "m.jsonl", resume=False)


def test_manifest_that_another_run_is_writing_is_refused_until_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(process.stdout)
        partial_path(path).open("rb").close()  # as a search for recordings does: it must not release the lock
        for resume in (True, False):
            with pytest.raises(UsageError, match=r"^another run is writing .*m\.jsonl$"):
                OutputManifest(path, resume=resume)
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    with OutputManifest(path, resume=True) as manifest:
        assert manifest.earlier("0.wav", 1.0, {})


@pytest.mark.parametrize("change", ["removed", "replaced", "appended_to", "truncated"])
def test_partial_file_that_another_program_changes_is_an_output_error(tmp_path: Path, change: str) -> None:
    path = tmp_path / "m.jsonl"
    with OutputManifest(path, resume=False) as manifest:
        manifest.add(0, line("a.wav", "a"))
        if change == "appended_to":
            with partial_path(path).open("ab") as file:
                file.write(b"x")
        elif change == "truncated":
            os.truncate(partial_path(path), 0)
        else:
            partial_path(path).unlink()
        if change == "replaced":
            partial_path(path).write_text("theirs")
        for write in (manifest.finish, lambda: manifest.add(1, line("b.wav", "b"))):
            with pytest.raises(OutputError, match="was changed or removed by another program"):
                write()
        assert manifest.has_lines == (change == "appended_to")
    assert not path.exists()
    assert partial_path(path).exists() == (change in ("replaced", "appended_to"))


@pytest.mark.parametrize("resume", [True, False])
def test_manifest_that_another_program_creates_meanwhile_is_kept_without_force(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "m.jsonl"
    with OutputManifest(path, resume=resume) as manifest:
        manifest.add(0, line("a.wav", "a"))
        path.write_text("theirs")
        with pytest.raises(OutputError, match=r"m\.jsonl exists by now$"):
            manifest.finish()
        assert manifest.has_lines
    assert path.read_text() == "theirs"
    assert documents(partial_path(path)) == [describe_result("a.wav", 1.5, "a", {})]
    path.unlink()
    with OutputManifest(path, resume=True, force=True) as manifest:
        manifest.add(0, line("a.wav", "a"))
        path.write_text("theirs")
        assert manifest.finish() == 1
    assert sorted(tmp_path.iterdir()) == [path]


def test_partial_file_without_lines_is_removed_and_one_with_lines_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with OutputManifest(path, resume=False) as manifest:
        assert not manifest.has_lines
    assert list(tmp_path.iterdir()) == []
    partial_path(path).write_text(line("a.wav", "former"))
    with OutputManifest(path, resume=False, force=True) as manifest:
        assert not manifest.has_lines
    assert partial_path(path).read_text() == line("a.wav", "former")
