"""Tests of `listen --recover`: recordings of failed sessions are transcribed, and removed only after that."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import cartesia_cli
from cartesia_cli.audio.wav_writer import WavWriter, open_private
from cartesia_cli.commands.live.recovery import report_recordings
from cartesia_cli.output.console import Reporter
from tests.conftest import Run
from tests.fault_server import Exchange, FaultServer, answers, refuses

SAMPLES = (Path(cartesia_cli.__file__).parent / "sample.wav").read_bytes()[44:]
KEY = {"CARTESIA_API_KEY": "sk_car_test"}
TEXT = "One two."
WORDS = [{"word": "One", "start": 0.0, "end": 0.4}, {"word": "two.", "start": 0.5, "end": 0.9}]
ANSWER = answers({"text": TEXT, "language": "en", "duration": 1.0, "words": WORDS})


@pytest.fixture
def folder(environment: dict[str, str]) -> Path:
    """The folder of session recordings."""
    recordings = Path(environment["HOME"]) / ".local" / "state" / "cartesia-cli"
    recordings.mkdir(parents=True)
    return recordings


def add_recording(folder: Path, second: int, **settings: bool) -> Path:
    """Write a recording as a failed session leaves it."""
    path = folder / f"20261101T1011{second:02}.000000Z.wav"
    with open_private(path, "xb") as file:
        WavWriter(file, json.dumps({"model": "ink-2", "language": "de"} | settings)).write(SAMPLES)
    return path


def test_recover_honours_the_output_options_and_removes_what_was_written(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    add_recording(folder, 1)
    (tmp_path / "notes.txt").write_text("before\n")
    hook = f"tee -a '{tmp_path / 'hook.txt'}'"
    with FaultServer(ANSWER) as server:
        done = run(
            "listen", "--recover", "-o", "said.srt", "--append", "notes.txt", "--exec", hook, "--save-audio",
            "saved.wav", "--base-url", server.base_url, env=KEY,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert (tmp_path / "said.srt").read_text().startswith("1\n00:00:00,000 --> ")
    assert (tmp_path / "notes.txt").read_text() == f"before\n{TEXT}\n"
    assert (tmp_path / "hook.txt").read_text() == TEXT
    assert (tmp_path / "saved.wav").read_bytes().endswith(SAMPLES)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "outputs", [["-o", "/proc/nobody.srt"], ["--append", "/proc/nobody.txt"], ["-o", "there.txt"], ["-f", "srt,vtt"]]
)
def test_recover_keeps_a_recording_whose_result_cannot_be_written(
    run: Run, folder: Path, tmp_path: Path, outputs: list[str]
) -> None:
    left = add_recording(folder, 1)
    (tmp_path / "there.txt").touch()
    with FaultServer(ANSWER) as server:
        done = run("listen", "--recover", *outputs, "--base-url", server.base_url, env=KEY)
    assert done.returncode in (1, 2), done.stderr
    assert left.exists()


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (["-o", "there.txt"], b"error: there.txt exists by now\n"),
        (
            ["--save-audio", "there.wav"],
            b"error: there.wav: can't be written: it exists\nhint: the recording is kept",
        ),
    ],
)
def test_recover_keeps_files_that_appear_meanwhile_and_the_recording(
    outputs: list[str], said: bytes, run: Run, folder: Path, tmp_path: Path
) -> None:
    left, there = add_recording(folder, 1), tmp_path / outputs[1]

    def answer(exchange: Exchange) -> None:
        there.write_text("theirs")
        ANSWER(exchange)

    with FaultServer(answer) as server:
        done = run("listen", "--recover", *outputs, "--base-url", server.base_url, env=KEY)
    assert (done.returncode, done.stdout) == (1, f"{TEXT}\n".encode())
    assert said in done.stderr
    assert there.read_text() == "theirs" and left.exists()


def test_recover_sends_recordings_of_local_sessions_only_with_cloud(run: Run, folder: Path) -> None:
    left = add_recording(folder, 1, local=True)
    with FaultServer(ANSWER) as server:
        to_server = KEY | {"CARTESIA_BASE_URL": server.base_url}
        refused = run("listen", "--recover", env=to_server)
        assert server.requests == []
        assert refused.returncode == 2
        assert b"--local transcribes it here; --cloud sends it" in refused.stderr
        assert left.exists()
        assert run("listen", "--recover", "--cloud", env=to_server).returncode == 0
    assert not left.exists()


def test_recover_keeps_recordings_that_the_server_refuses(run: Run, folder: Path) -> None:
    left = [add_recording(folder, 1), add_recording(folder, 2)]
    with FaultServer(refuses(400), ANSWER) as server:
        done = run("listen", "--recover", "-f", "ndjson", "--base-url", server.base_url, env=KEY)
    assert done.returncode == 1
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [str(left[1])]
    assert [path.exists() for path in left] == [True, False]


def test_recover_of_several_recordings_needs_output_dir_for_srt(run: Run, folder: Path, tmp_path: Path) -> None:
    add_recording(folder, 1), add_recording(folder, 2)
    with FaultServer(ANSWER) as server:
        done = run("listen", "--recover", "-o", "all.srt", "--base-url", server.base_url, env=KEY)
        assert (done.returncode, len(list(folder.iterdir()))) == (2, 2)
        assert server.requests == []
        done = run("listen", "--recover", "-f", "srt", "--output-dir", "out", "--base-url", server.base_url, env=KEY)
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".srt", ".srt"]
    assert list(folder.iterdir()) == []


def test_recover_lists_and_discards_recordings_without_a_key_or_server(run: Run, folder: Path) -> None:
    first, second = add_recording(folder, 1), add_recording(folder, 2)
    listed = run("listen", "--recover", "--list")
    assert listed.stdout.decode().splitlines() == [
        f"2026-11-01 10:11 UTC      10.8 s  {path}" for path in (first, second)
    ]
    rows = json.loads(run("listen", "--recover", "--list", "--json").stdout)
    assert [row["path"] for row in rows] == [str(first), str(second)]
    assert run("listen", "--recover", "--discard", "--recording", first.name).returncode == 0
    assert list(folder.iterdir()) == [second]
    assert run("listen", "--recover", "--discard", "--recording", first.name).returncode == 3
    assert run("listen", "--recover", "--discard").returncode == 0
    assert list(folder.iterdir()) == []
    assert run("listen", "--list").returncode == 2


def test_recover_copies_the_text_only_to_a_terminal_and_says_where_nothing_was_said(run: Run, folder: Path) -> None:
    add_recording(folder, 1)
    with FaultServer(ANSWER) as server:
        done = run("listen", "--recover", "--copy", "--base-url", server.base_url, env=KEY)
    assert (done.returncode, done.stdout.decode()) == (0, f"{TEXT}\n")
    assert b"warning: not copied: stderr is not a terminal" in done.stderr
    left = add_recording(folder, 2)
    with FaultServer(answers({"text": ""})) as server:
        done = run("listen", "--recover", "--base-url", server.base_url, env=KEY)
    assert (done.returncode, done.stdout.strip()) == (0, b"")
    assert f"{left}: no speech found" in done.stderr.decode()


def test_recover_on_a_full_disk_or_to_one_file_for_two_keeps_recordings(run: Run, folder: Path, tmp_path: Path) -> None:
    add_recording(folder, 1)
    with FaultServer(ANSWER) as server:
        done = run("listen", "--recover", "--append", "/dev/full", "--base-url", server.base_url, env=KEY)
        assert done.returncode == 1, done.stderr
        assert b"No space left on device" in done.stderr
        add_recording(folder, 2)
        done = run("listen", "--recover", "--save-audio", "all.wav", "--base-url", server.base_url, env=KEY)
    assert done.returncode == 2
    assert b"--save-audio takes one recording, not 2" in done.stderr
    assert len(list(folder.iterdir())) == 2 and not (tmp_path / "all.wav").exists()


def test_folder_of_recordings_that_cannot_be_read_disturbs_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("not a folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    said = io.StringIO()
    report_recordings(Reporter(said))
    assert said.getvalue() == ""
