"""Inputs are turned into files, and results get targets that are checked before anything is sent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cartesia_cli.commands.batch.channel_jobs import split_job
from cartesia_cli.commands.batch.inputs import Input, find_inputs, is_folder_or_glob
from cartesia_cli.commands.batch.job import Job, probe_input
from cartesia_cli.commands.batch.output_plan import OutputPlan, parse_formats
from cartesia_cli.commands.batch.stdin import spool_stdin
from cartesia_cli.commands.batch.workspace import Workspace
from cartesia_cli.errors import InputError, UsageError
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.batch import BatchOptions


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def named(*arguments: object) -> list[str]:
    return [
        item.source if isinstance(item, Input) else str(item) for item in find_inputs([str(a) for a in arguments], None)
    ]


def test_folder_search_finds_recordings_and_skips_hidden_files(tmp_path: Path) -> None:
    touch(
        tmp_path / "b.MP3",
        tmp_path / "a" / "x.wav",
        tmp_path / "note.txt",
        tmp_path / "._b.mp3",
        tmp_path / ".c" / "d.wav",
    )
    assert named(tmp_path) == [str(tmp_path / "b.MP3"), str(tmp_path / "a" / "x.wav")]
    found = list(find_inputs([str(tmp_path)], None))
    assert [item.relative_path for item in found if isinstance(item, Input)] == [Path("b.MP3"), Path("a/x.wav")]


def test_globs_expand_unless_a_file_has_that_name(tmp_path: Path) -> None:
    touch(tmp_path / "a1.wav", tmp_path / "a2.wav", tmp_path / "sub" / "a3.wav", tmp_path / "a[1].wav")
    assert named(tmp_path / "a?.wav") == [str(tmp_path / "a1.wav"), str(tmp_path / "a2.wav")]
    assert str(tmp_path / "sub" / "a3.wav") in named(tmp_path / "**" / "*.wav")
    assert named(tmp_path / "a[1].wav") == [str(tmp_path / "a[1].wav")]
    assert not is_folder_or_glob(str(tmp_path / "a[1].wav"))


def test_each_file_is_an_input_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    assert named("a.wav", tmp_path, "./a.wav") == ["a.wav"]


def test_argument_without_inputs_yields_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    (tmp_path / "empty").mkdir()
    found = list(find_inputs([str(tmp_path / "empty"), str(tmp_path / "a.wav"), str(tmp_path / "*.xyz")], None))
    assert [type(item) for item in found] == [InputError, Input, InputError]


def test_stdin_is_spooled_and_deleted_after_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"sound")))
    with spool_stdin(["-"]) as kept:
        assert kept is not None
        assert kept.read_bytes() == b"sound"
        assert list(find_inputs(["-"], kept)) == [Input("-", kept, Path("stdin"))]
    assert not kept.exists()
    with spool_stdin(["a.wav"]) as none:
        assert none is None


def test_terminal_on_stdin_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Terminal()))
    with pytest.raises(UsageError, match="terminal"), spool_stdin(["-"]):
        pass


def test_unusable_entries_of_a_list_are_errors_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    listed = tmp_path / "list.txt"
    listed.write_text(f"ftp://example.com/b.wav\n{tmp_path / 'a.wav'}\n")
    refused, found = find_inputs([], None, files_from=str(listed))
    assert isinstance(refused, InputError) and refused.message.startswith("ftp://example.com/b.wav is a URL")
    assert isinstance(found, Input) and found.relative_path == Path(*(tmp_path / "a.wav").parts[1:])
    (missing,) = find_inputs([], None, files_from=str(tmp_path / "missing.txt"))
    assert isinstance(missing, InputError) and "can't be read: No such file" in missing.message


def test_part_of_a_recording_is_neither_headerless_nor_split_into_channels(tmp_path: Path) -> None:
    item = Input("a.wav#t=1,2", tmp_path / "a.wav", Path("a.wav"), time_range=(1.0, 1.0))
    with pytest.raises(InputError, match="without a header, which can't be cut"):
        probe_input(item, BatchOptions("ink-whisper", encoding="pcm_s16le", sample_rate=16000))
    job = Job(item, None, {})
    with (
        Workspace() as workspace,
        pytest.raises(InputError, match="can't be split into channels"),
        split_job(job, (), workspace, lambda *_: None, Reporter()),
    ):
        pass


def items(*names: str) -> list[Input]:
    return [Input(name, Path(name), Path(Path(name).name)) for name in names]


def plan(*names: str, several: bool | None = None, output: str | None = None, output_dir: str | None = None,
         force: bool = False) -> OutputPlan:  # fmt: skip
    return OutputPlan(
        names, bool(several), Path(output) if output else None, Path(output_dir) if output_dir else None, force
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_one_result_goes_to_stdout_and_several_beside_their_inputs() -> None:
    assert plan("text").targets(items("a.wav")) == [{"text": None}]
    assert plan("text", several=True).targets(items("x/a.wav", "b.mp3")) == [
        {"text": Path("x/a.txt")}, {"text": Path("b.txt")},
    ]  # fmt: skip
    assert plan("ndjson", several=True).targets(items("a.wav", "b.wav")) == [{"ndjson": None}] * 2
    assert plan("text", several=True, output="-").targets(items("a.wav", "b.wav")) == [{"text": None}] * 2


@pytest.mark.usefixtures("here")
def test_output_dir_mirrors_subfolders() -> None:
    inputs = [Input("in/x/a.wav", Path("in/x/a.wav"), Path("x/a.wav"))]
    assert plan("srt", "table", several=True, output_dir="out").targets(inputs) == [
        {"srt": Path("out/x/a.srt"), "table": Path("out/x/a.table.txt")}
    ]


@pytest.mark.usefixtures("here")
def test_colliding_results_keep_the_suffix_of_their_input() -> None:
    planned = plan("text", several=True).targets(items("a.wav", "a.mp3", "b.wav"))
    assert planned == [{"text": Path("a.wav.txt")}, {"text": Path("a.mp3.txt")}, {"text": Path("b.txt")}]
    with pytest.raises(UsageError, match=r"x/a\.wav and y/a\.wav"):
        plan("text", several=True, output_dir="out").targets(items("x/a.wav", "y/a.wav"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (plan("text", "srt"), "need a folder"),
        (plan("json", several=True, output="-"), "to one file"),
        (plan("text", several=True, output="all.txt"), "to one file"),
        (plan("text", output="a.wav", force=True), "is an input"),
        (plan("text", output="folder", force=True), "is a folder"),
        (plan("text", output="there.txt"), "exists"),
    ],
)
def test_impossible_outputs_are_usage_errors(wrong: OutputPlan, words: str, here: Path) -> None:
    (here / "folder").mkdir()
    touch(here / "there.txt", here / "a.wav", here / "b.wav")
    inputs = items("a.wav", "b.wav") if wrong.several else items("a.wav")
    with pytest.raises(UsageError, match=words):
        wrong.targets(inputs)
    assert plan("text", output="there.txt", force=True).targets(items("a.wav")) == [{"text": Path("there.txt")}]


def test_formats_come_from_options_or_the_output_suffix() -> None:
    assert parse_formats(None, False, None) == ("text",)
    assert parse_formats(None, True, None) == ("json",)
    assert parse_formats(None, False, Path("a.SRT")) == ("srt",)
    assert parse_formats("text, srt,text", False, None) == ("text", "srt")
    with pytest.raises(UsageError, match="unknown format 'docx'"):
        parse_formats("text,docx", False, None)
