"""Tests of `--append`: lines are added at once, and removed again only while they are the last of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cartesia_cli.commands.live.append_file import AppendFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    notes = tmp_path / "notes.txt"
    notes.write_text("before\n")
    return notes


def test_undo_removes_lines_newest_first(path: Path) -> None:
    file = AppendFile(path)
    for text in (" One.", "Zwei – naïve.\n", "   ", "日本"):
        file.add(text)
    assert path.read_text() == "before\nOne.\nZwei – naïve.\n日本\n"
    assert [file.undo() for _ in range(3)] == [True] * 3
    assert path.read_text() == "before\nOne.\n"
    file.add("Three.")
    assert [file.undo() for _ in range(3)] == [True] * 3
    assert path.read_text() == "before\n"


def test_add_ends_an_unterminated_last_line_first(path: Path) -> None:
    path.write_text("before")
    file = AppendFile(path)
    file.add("One.")
    file.add("Two.")
    assert path.read_text() == "before\nOne.\nTwo.\n"


@pytest.mark.parametrize("change", ["appended", "rewritten", "shorter", "gone"])
def test_undo_leaves_a_file_changed_by_another_program_alone(path: Path, change: str) -> None:
    file = AppendFile(path)
    file.add("One.")
    match change:
        case "appended":
            with path.open("a") as other:
                other.write("theirs\n")
        case "rewritten":
            path.write_text("before\nTwo.\n")
        case "shorter":
            path.write_text("b\n")
        case "gone":
            path.unlink()
    changed = path.read_text() if path.exists() else None
    assert not file.undo()
    assert (path.read_text() if path.exists() else None) == changed


def test_undo_does_nothing_on_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        file = AppendFile(pipe)
        file.add("One.")
        os.set_blocking(reader, False)
        assert os.read(reader, 100) == b"One.\n"
        assert not file.undo()
    finally:
        os.close(reader)
