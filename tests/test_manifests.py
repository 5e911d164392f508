"""Manifests are read line by line, whatever a line holds, and folders get the fields of their metadata files."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cartesia_cli.commands.batch.inputs import path_below
from cartesia_cli.errors import InputError
from cartesia_cli.scale import manifests
from cartesia_cli.scale.manifests import FolderMetadata, ManifestEntry, is_manifest, read_manifest


def write(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def read(path: Path) -> list[ManifestEntry | str]:
    return [entry if isinstance(entry, ManifestEntry) else entry.message for entry in read_manifest(path)]


def test_nemo_line_yields_path_fields_and_no_segment(tmp_path: Path) -> None:
    fields = {"speaker": "a", "audio_filepath": "wavs/1.wav", "duration": 3.5, "text": "hello", "x": [1, {"y": None}]}
    (entry,) = read(write(tmp_path / "m.json", fields))
    assert entry == ManifestEntry("wavs/1.wav", str(tmp_path / "wavs" / "1.wav"), None, fields, 1)
    assert list(entry.fields) == list(fields)


@pytest.mark.parametrize(
    ("facts", "segment"),
    [
        ({"offset": 12.5, "duration": 7.5}, (12.5, 7.5)),
        ({"offset": 0, "duration": 7}, (0.0, 7.0)),
        ({"offset": 3}, (3.0, math.inf)),
        ({"offset": 3, "duration": None}, (3.0, math.inf)),
        ({"offset": 0.0}, None),
        ({"offset": None, "duration": 7}, None),
        ({"duration": 7}, None),
    ],
)
def test_offset_of_nemo_line_means_a_part_of_the_recording(
    facts: dict[str, Any], segment: object, tmp_path: Path
) -> None:
    (entry,) = read(write(tmp_path / "m.jsonl", {"audio_filepath": "a.wav", **facts}))
    assert isinstance(entry, ManifestEntry)
    assert entry.time_range == segment


def test_offset_column_of_an_audiofolder_has_no_meaning(tmp_path: Path) -> None:
    (entry,) = read(write(tmp_path / "metadata.jsonl", {"file_name": "a.wav", "offset": "chapter 3", "duration": 2}))
    assert isinstance(entry, ManifestEntry)
    assert (entry.audio, entry.time_range) == ("a.wav", None)


def test_csv_rows_become_fields_with_quoted_line_breaks(tmp_path: Path) -> None:
    path = write(
        tmp_path / "metadata.csv", 'file_name,"transcription"', 'a.wav,"one, ""two""', 'three"', "", "b/c.wav,ü"
    )
    first, second = read(path)
    assert isinstance(first, ManifestEntry)
    assert isinstance(second, ManifestEntry)
    assert first.fields == {"file_name": "a.wav", "transcription": 'one, "two"\nthree'}
    assert (second.location, second.fields["transcription"]) == (str(tmp_path / "b" / "c.wav"), "ü")


def test_paths_are_relative_to_the_manifest_unless_absolute_or_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    names = ["a.wav", "../a.wav", "/data/a.wav", "~/a.wav", "https://example.com/a.wav", "s3://bucket/a.wav"]
    path = write(Path("lists/m.jsonl"), *({"audio_filepath": name} for name in names))
    entries = [entry for entry in read_manifest(path) if isinstance(entry, ManifestEntry)]
    assert [entry.location for entry in entries] == [
        "lists/a.wav", "lists/../a.wav", "/data/a.wav", "/home/me/a.wav", *names[4:],
    ]  # fmt: skip
    assert [entry.audio for entry in entries] == names


BROKEN = {
    "{": "not JSON: ",
    "[1]": "not a JSON object",
    '{"text": "a"}': "no audio_filepath or file_name",
    '{"audio_filepath": ["a.wav", "b.wav"]}': 'audio_filepath is not a path: ["a.wav", "b.wav"]',
    '{"audio_filepath": " "}': 'audio_filepath is not a path: " "',
    '{"audio_filepath": "a\\u0000"}': 'audio_filepath is not a path: "a\\u0000"',
    '{"audio_filepath": "a", "offset": -1}': "offset is not a number of seconds: -1",
    '{"audio_filepath": "a", "offset": "soon"}': 'offset is not a number of seconds: "soon"',
    '{"audio_filepath": "a", "duration": NaN}': "duration is not a number of seconds: NaN",
    '{"audio_filepath": "a", "duration": true}': "duration is not a number of seconds: true",
    '{"audio_filepath": "a", "duration": 1' + "0" * 400 + "}": "duration is not a number of seconds: 1"
    + "0" * 56
    + "...",
    '{"audio_filepath": "a", "duration": 0}': "duration is 0",
    "[" * 100_000: "nested too deep",
    '{"audio_filepath": "a", "x": ' + "1" * 5000 + "}": "has a number with too many digits",
}


def test_broken_line_is_an_error_with_its_number_and_the_others_are_read(tmp_path: Path) -> None:
    good = {"audio_filepath": "a.wav"}
    path = write(tmp_path / "m.jsonl", good, "", *BROKEN, good)
    first, *errors, last = read_manifest(path)
    assert isinstance(first, ManifestEntry)
    assert isinstance(last, ManifestEntry)
    for number, (error, message) in enumerate(zip(errors, BROKEN.values(), strict=True), 3):
        assert isinstance(error, InputError)
        assert error.message.startswith(f"{path}, line {number}: {message}")
        assert error.hint
        assert error.hint.startswith("offset and duration are seconds") == message.startswith(("offset", "duration"))


def test_broken_csv_row_is_an_error_with_its_number_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_bytes(b'file_name,text\na.wav,"1\n2"\nb.wav,1,2\n,x\nc.wav,\xff\nd.wav\ne.wav,"open\n')
    first, *errors, d, e = read(path)
    assert isinstance(first, ManifestEntry)
    assert errors == [
        f"{path}, line 4: 3 cells for 2 columns",
        f'{path}, line 5: file_name is not a path: ""',
        f"{path}, line 6: not UTF-8",
    ]
    assert isinstance(d, ManifestEntry)
    assert isinstance(e, ManifestEntry)
    assert (d.fields, e.fields) == ({"file_name": "d.wav"}, {"file_name": "e.wav", "text": "open\n"})


def test_what_cannot_be_read_is_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    (error,) = read_manifest(tmp_path)
    assert str(error) == f"{tmp_path} can't be read: Is a directory"
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"file_name": "a.wav"}\n{"file_name": "\xff.wav"}\n')
    first, error = read_manifest(path)
    assert isinstance(first, ManifestEntry) and str(error).startswith(f"{path}, line 2: not UTF-8")
    path = write(tmp_path / "m.csv", "file_name,x", "a.wav,1\r2", "b.wav,2")
    error, last = read_manifest(path)
    assert str(error).startswith(f"{path}, line 2: not CSV: new-line character") and isinstance(last, ManifestEntry)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_line_that_is_too_long_is_an_error_and_the_others_are_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MAX_LINE_BYTES", 1 << 12)
    lines = ["file_name,x", "a.wav,1", "b.wav," + "1," * 9000, 'c.wav,"' + "1" * 9000, "d.wav,2"]
    if suffix == ".jsonl":
        lines = [json.dumps({"file_name": line[:5], "x": line[6:]}) for line in lines]
    path = write(tmp_path / f"m{suffix}", *lines)
    found = read(path)
    assert [isinstance(entry, ManifestEntry) for entry in found[-4:]] == [True, False, False, True]
    assert "line 3: longer than" in str(found[-3])


def test_file_is_a_manifest_only_with_such_a_suffix_and_a_path_in_its_first_line(tmp_path: Path) -> None:
    nemo, folder = {"audio_filepath": "a.wav"}, {"file_name": "a.wav"}
    assert is_manifest(write(tmp_path / "a.JSON", nemo))
    assert is_manifest(write(tmp_path / "a.jsonl", "", "\ufeff" + json.dumps(folder)))
    assert is_manifest(write(tmp_path / "a.ndjson", folder))
    assert is_manifest(write(tmp_path / "a.csv", "\ufefftext,file_name"))
    assert not is_manifest(write(tmp_path / "a.txt", nemo))
    assert not is_manifest(write(tmp_path / "b.json", {"text": "a transcript"}))
    assert not is_manifest(write(tmp_path / "c.json", "{", nemo))
    assert not is_manifest(write(tmp_path / "d.json"))
    assert not is_manifest(write(tmp_path / "b.csv", "start,end,word"))
    assert not is_manifest(tmp_path / "missing.json")
    (tmp_path / "folder.json").mkdir()
    assert not is_manifest(tmp_path / "folder.json")


def test_result_paths_differ_for_recordings_of_different_folders_and_for_parts(tmp_path: Path) -> None:
    manifest = tmp_path / "lists" / "m.jsonl"
    inside = str(tmp_path / "lists" / "wavs" / "a.wav")
    beside = str(tmp_path / "lists" / ".." / "wavs" / "a.wav")
    assert path_below(manifest.parent, Path(inside)) == Path("wavs/a.wav")
    assert path_below(manifest.parent, Path(beside)) == Path(*(tmp_path / "wavs" / "a.wav").parts[1:])
    assert manifests.path_of_part(Path("wavs/a.wav"), (12.5, 7.5)) == Path("wavs/a@12.5-20.wav")
    assert manifests.path_of_part(Path("wavs/a.wav"), (0.1 + 0.2, 0.1)) == Path("wavs/a@0.3-0.4.wav")
    assert manifests.path_of_part(Path("wavs/a.wav"), (100, math.inf)) == Path("wavs/a@100.wav")
    assert manifests.name_of_part("a.wav", (100, 50)) == "a.wav#t=100,150"


def test_manifest_of_any_length_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with path.open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"audio_filepath": f"{number}.wav", "text": "words " * 50}) + "\n")
    tracemalloc.start()
    try:
        assert sum(isinstance(entry, ManifestEntry) for entry in read_manifest(path)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_folder_metadata_gives_each_recording_its_fields(tmp_path: Path) -> None:
    lines = ['a.wav,"one\ntwo"', "sub/b.wav,b", "./c.wav,former", "c.wav,c"]
    write(tmp_path / "metadata.csv", "file_name,text", *lines)
    write(tmp_path / "other" / "metadata.jsonl", {"file_name": "a.wav", "n": 1}, "{", {"file_name": "x/a.wav", "n": 2})
    folder = FolderMetadata(tmp_path)
    assert folder.fields(Path("a.wav")) == {"file_name": "a.wav", "text": "one\ntwo"}
    assert folder.fields(Path("sub/b.wav"))["text"] == "b"
    assert folder.fields(Path("c.wav"))["text"] == "c"
    assert folder.fields(Path("other/x/a.wav"))["n"] == 2
    assert folder.fields(Path("other/a.wav"))["n"] == 1
    assert folder.fields(Path("unknown.wav")) == {}
    (error,) = folder.errors
    assert error.message.startswith(f"{tmp_path / 'other' / 'metadata.jsonl'}, line 2: not JSON")


def test_folder_without_metadata_has_no_fields(tmp_path: Path) -> None:
    write(tmp_path / "metadata.csv", "name,text", "a.wav,a")
    folder = FolderMetadata(tmp_path)
    assert (folder.fields(Path("a.wav")), folder.errors) == ({}, [])
