"""Every format says the same; files are whole or not there; nothing from a server moves the cursor."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import CliError, OutputError
from cartesia_cli.output import EXTENSIONS, FORMATS, Layout, extension, writer
from cartesia_cli.output.console import Reporter
from cartesia_cli.output.files import StdoutClosed, write_file, write_stdout
from cartesia_cli.output.sanitize import one_line, printable, title
from cartesia_cli.protocol.batch import BatchResponse
from cartesia_cli.protocol.json_fields import Word
from cartesia_cli.transcript import Transcript, from_batch


def made(text: str = 'It is 5 \t o\'clock, "sharp".', *words: Word) -> Transcript:
    return from_batch(BatchResponse(text=text, words=words, duration=3.0), source="a b.wav", model="ink-whisper")


WORDS = (Word("It", 0.0, 0.25), Word("is\t5", 0.5, 1.25), Word('"sharp",', 1.0005, 2.5))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_text_that_ends_with_a_line_break(name: str) -> None:
    for transcript in (made("Hi.", Word("Hi.", 0, 1)), made(""), made("Hi.")):
        written = writer(name)(transcript, Layout())
        assert written == "" or written.endswith("\n")


def test_every_format_has_its_own_suffix() -> None:
    suffixes = [extension(name) for name in FORMATS]
    assert len(set(suffixes)) == len(suffixes)
    assert set(EXTENSIONS.values()) <= set(FORMATS)


def test_table_shows_times_lengths_and_gaps() -> None:
    assert writer("table")(made('It is\t5 "sharp",', *WORDS), Layout()).splitlines() == [
        "#  start    end  length     gap  ch/s     word",
        "-  -----  -----  ------  ------  ----  -  ----",
        "1  0.000  0.250   0.250   0.250   8.0     It",
        "2  0.500  1.250   0.750  -0.250   4.0  x  is 5",
        '3  1.000  2.500   1.500       -   5.3     "sharp",',
        "",
        "x overlaps the next",
    ]


def test_text_with_words_is_followed_by_the_table() -> None:
    transcript = made("Hi.", Word("Hi.", 0, 1))
    assert writer("text")(transcript, Layout()) == "Hi.\n"
    assert writer("text")(transcript, Layout(words=True)) == "Hi.\n\n" + writer("table")(transcript, Layout())


def test_json_always_includes_words() -> None:
    transcript = made("Hi.", Word("Hi.", 0, 1))
    for name in ("json", "ndjson"):
        for layout in (Layout(), Layout(words=True)):
            assert json.loads(writer(name)(transcript, layout))["words"] == [{"word": "Hi.", "start": 0, "end": 1}]
    assert writer("ndjson")(transcript, Layout()).count("\n") == 1


def test_tsv_and_csv_are_read_back() -> None:
    transcript = made('It is\t5 "sharp",', *WORDS)
    lines = writer("tsv")(transcript, Layout()).splitlines()
    assert [line.split("\t") for line in lines][1:] == [
        ["0", "250", "It"],
        ["500", "1250", "is 5"],
        ["1000", "2500", '"sharp",'],
    ]
    rows = list(csv.reader(io.StringIO(writer("csv")(transcript, Layout()))))
    assert rows[0] == ["number", "start", "end", "word"]
    assert rows[3] == ["3", "1.000", "2.500", '"sharp",']


def test_rows_are_segments_if_there_are_no_word_times() -> None:
    bare = from_batch(BatchResponse(text="Hi there.", duration=2.0), source="a", model="m")
    assert writer("tsv")(bare, Layout()) == "start\tend\ttext\n0\t2000\tHi there.\n"


@given(st.text())
def test_control_characters_are_not_printed(text: str) -> None:
    words = (Word(text, 0, 1), Word("x\x1b[2Jy\x9b1m", 1, 2))
    for name in FORMATS:
        transcript = from_batch(BatchResponse(text=text + "\x1b]0;title\x07", words=words), source="a", model="m")
        written = writer(name)(transcript, Layout(words=True))
        assert not [c for c in written if (c < " " and c not in "\n\t\r") or "\x7f" <= c <= "\x9f"]
    assert printable("مرحبا 👩‍👩‍👧") == "مرحبا 👩‍👩‍👧"
    assert "\n" not in one_line("a\nb\r\tc")


@pytest.mark.parametrize("trick", ["\u202egpj.exe", "a\u2066b\u2069", "\u202aab\u202c"])
def test_bidirectional_overrides_are_not_printed(trick: str) -> None:
    for name in ("text", "tsv", "csv", "table", "md", "lrc", "json", "ndjson"):
        written = writer(name)(made(trick, Word(trick, 0, 1)), Layout(words=True))
        assert not set(written) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert json.loads(writer("json")(made(trick), Layout()))["text"] == trick


def test_json_line_has_no_line_separators_and_is_encodable() -> None:
    text = "a\u2028b\u2029c\x85d \ud800 \U0001f600"
    written = writer("ndjson")(made(text), Layout())
    assert len(written.splitlines()) == 1
    assert json.loads(written.encode())["text"] == text.replace("\ud800", "\ufffd")


def test_file_is_replaced_atomically_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_file(path, "one\n")
    path.chmod(0o600)
    write_file(path, "zwei ü\n")
    assert path.read_text("utf-8") == "zwei ü\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_symbolic_link_is_followed_when_writing(tmp_path: Path) -> None:
    target = tmp_path / "target.txt"
    target.write_text("old")
    (tmp_path / "link").symlink_to(target)
    write_file(tmp_path / "link", "new")
    assert target.read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_full_or_closed_stdout_raises_its_own_error() -> None:
    with open("/dev/full", "wb") as full, pytest.raises(OutputError, match="No space left"):
        write_stdout("x", full)
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "wb")
    with pytest.raises(StdoutClosed):
        write_stdout("x", pipe)
    assert write_stdout("\ud800", io.BytesIO()) is None


def test_error_is_two_lines_or_one_json_object() -> None:
    error = CliError("a\x1b[31mb\nc", hint="do", status=400, request_id="r")
    stream = io.StringIO()
    Reporter(stream, {}).error(error)
    assert stream.getvalue() == "error: a�[31mb c (status 400, request id r)\nhint: do\n"
    stream = io.StringIO()
    talk = Reporter(stream, {})
    talk.as_json = True
    talk.error(error)
    assert json.loads(stream.getvalue()) == {
        "error": {"type": "internal", "message": "a\x1b[31mb\nc", "hint": "do", "status": 400, "request_id": "r"}
    }


@pytest.mark.parametrize(
    ("color", "environ", "red"),
    [("auto", {}, False), ("always", {}, True), ("auto", {"FORCE_COLOR": "1"}, True),
     ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ("never", {"FORCE_COLOR": "1"}, False)],
)  # fmt: skip
def test_colour_follows_option_and_environment(color: str, environ: dict[str, str], red: bool) -> None:
    stream = io.StringIO()
    talk = Reporter(stream, environ)
    talk.color = color
    talk.error(CliError("x"))
    assert ("\033[" in stream.getvalue()) is red


@pytest.mark.parametrize("unnamed", [True, False], ids=["with unnamed files", "without"])
def test_writing_a_result_deletes_no_other_file(unnamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    others = [tmp_path / name for name in (".a.txt.0123abcd.tmp", ".x.deadbeef.tmp", ".c.tmp")]
    for path in others:
        path.write_text("somebody's")
        os.utime(path, (0, 0))
    write_file(tmp_path / "a.txt", "whole")
    (tmp_path / "a.txt").chmod(0o640)
    write_file(tmp_path / "a.txt", "another")
    assert (tmp_path / "a.txt").read_text() == "another"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "a.txt"])


def test_result_may_have_the_longest_possible_file_name(tmp_path: Path) -> None:
    target = tmp_path / ("会" * 83 + ".txt")  # 253 bytes
    write_file(target, "whole")
    assert target.read_text() == "whole"


@pytest.mark.parametrize(
    ("source", "name"),
    [("talks/a\\b.wav", "a\\b.wav"), ("C:\\talks\\a.wav", "a.wav"), ("\\\\host\\talks\\a.wav", "a.wav")],
)
def test_title_is_the_whole_file_name(source: str, name: str) -> None:
    assert title(source) == name
