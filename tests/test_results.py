"""The record of results: what it remembers, for how long, and what it does with databases of earlier versions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from cartesia_cli import results as results_module
from cartesia_cli.fingerprint import fingerprint
from cartesia_cli.results import MAX_AGE_DAYS, Result, Results

VERSION_0_1_0 = """
CREATE TABLE results_1 (
    file BLOB PRIMARY KEY, folder BLOB, digest TEXT, source BLOB, audio TEXT, state TEXT
) WITHOUT ROWID;
CREATE INDEX results_1_folder ON results_1 (folder);
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "results.sqlite"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    return tmp_path / "talk.wav"


def add(results: Results, file: Path, talk: Path) -> None:
    audio = fingerprint(talk)
    assert audio is not None
    results.add(file, "digest", str(talk), audio, "model ink-whisper")


def test_results_are_found_by_file_and_by_content(database: Path, talk: Path, tmp_path: Path) -> None:
    name = tmp_path / "out" / "a\udcff.txt"  # not UTF-8
    add(Results(database), name, talk)
    later, copy = Results(database), tmp_path / "copy.wav"
    copy.write_bytes(talk.read_bytes())
    expected = later.find([name, tmp_path / "b.txt"])
    assert list(expected) == [str(name)]
    assert later.of_same_content(copy, tmp_path / "out") == list(expected.values())
    (found,) = expected.values()
    assert isinstance(found, Result) and found.is_from(talk) and found.source == str(talk)
    assert later.of_same_content(copy, tmp_path) == []
    copy.write_bytes(b"other")
    assert later.of_same_content(copy, tmp_path / "out") == []


def test_documentation_says_how_long_results_are_remembered() -> None:
    page = Path(__file__).parent.parent / "docs" / "transcribe.md"
    assert f"results.sqlite`) for {MAX_AGE_DAYS} days" in page.read_text("utf-8")


def test_old_results_are_forgotten(database: Path, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    then = time.time() - MAX_AGE_DAYS * 86_400
    with monkeypatch.context() as patched:
        patched.setattr(results_module.time, "time", lambda: then - 60)
        add(Results(database), old, talk)
    with monkeypatch.context() as patched:
        patched.setattr(results_module.time, "time", lambda: then + 60)
        add(Results(database), new, talk)
    assert set(Results(database).find([old, new])) == {str(old), str(new)}
    add(Results(database), tmp_path / "third.txt", talk)
    assert list(Results(database).find([old, new])) == [str(new)]


def test_results_of_version_0_1_0_are_kept(database: Path, talk: Path, tmp_path: Path) -> None:
    database.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(VERSION_0_1_0)
        row = (b"/out/a.txt", b"/out", "digest", b"/talk.wav", "audio", "[1, 2, 3, 4, 5]")
        connection.execute("INSERT INTO results_1 VALUES (?, ?, ?, ?, ?, ?)", row)
    add(Results(database), tmp_path / "b.txt", talk)
    for _ in range(2):
        found = Results(database).find([Path("/out/a.txt")])["/out/a.txt"]
        assert (found.request, found.state) == (None, (1, 2, 3, 4, 5))


WRITER = """
import sys
from pathlib import Path
from cartesia_cli.fingerprint import fingerprint
from cartesia_cli.results import Results
results, folder = Results(Path(sys.argv[1]), lambda sentence: sys.exit(sentence)), Path(sys.argv[2])
audio = fingerprint(folder / "talk.wav")
for number in range(20):
    results.add(folder / f"{sys.argv[3]}-{number}.txt", "digest", "-", audio)
"""


def test_concurrent_processes_lose_no_result(database: Path, talk: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(database), str(tmp_path)]
    running = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE) for number in range(3)]
    for process in running:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr.decode()
    names = [tmp_path / f"{writer}-{number}.txt" for writer in range(3) for number in range(20)]
    assert len(Results(database).find(names)) == 60
