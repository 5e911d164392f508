"""Output paths of every command: those that can't be written or must not be overwritten are refused at the start.

The program itself is run, as a user whom the modes of files and folders bind.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cartesia_cli
from cartesia_cli.commands.batch.output_checks import check_output
from cartesia_cli.errors import UsageError
from tests.conftest import Run, require_program
from tests.fault_server import FaultServer, fine
from tests.fork_server import run_program

KEY = {"CARTESIA_API_KEY": "sk_car_test"}
SAMPLE = Path(cartesia_cli.__file__).parent / "sample.wav"
UNREACHABLE = ("--base-url", "http://127.0.0.1:9")

RunUnprivileged = Callable[..., "subprocess.CompletedProcess[bytes]"]

WRITING = [
    ("transcribe", SAMPLE, "-f", "text", "-o"),
    ("stream-file", SAMPLE, "-f", "text", "-o"),
    ("stream-file", SAMPLE, "--raw-events"),
    ("stream-file", SAMPLE, "--save-audio"),
    ("listen", "-f", "text", "-o"),
    ("listen", "--raw-events"),
    ("listen", "--save-audio"),
    ("listen", "--append"),
    ("render", "talk.json", "-f", "text", "-o"),
]
"""Commands that write one file, without its name."""


@pytest.fixture
def run_unprivileged(environment: dict[str, str], tmp_path: Path) -> RunUnprivileged:
    """Runs the program bound by file permissions, even for root, which has to drop a capability for that."""
    rights = "-dac_override,-dac_read_search"
    bound: list[str] = []
    if os.geteuid() == 0:
        bound = [require_program("setpriv"), f"--bounding-set={rights}", f"--inh-caps={rights}"]

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
        return run_program(
            [*map(str, arguments)], env=environment | KEY | variables, cwd=tmp_path, stdin=subprocess.DEVNULL,
            timeout=60, prefix=bound,
        )  # fmt: skip

    return run


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder without search permission, with one file of each kind in it."""
    folder = tmp_path / "locked"
    (folder / "deep").mkdir(parents=True)
    for name in ("talk.wav", "talk.json", "talk.srt", "talk.txt", "script.ndjson", "hook"):
        (folder / name).write_bytes(SAMPLE.read_bytes() if name.endswith("wav") else b"{}")
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def talk_json(folder: Path) -> None:
    (folder / "talk.json").write_text('{"text": "Hello.", "segments": []}')


@pytest.mark.waits
@pytest.mark.parametrize("name", ["out.txt", "talk.txt", "deep/out.txt", "no/such/out.txt"])
@pytest.mark.parametrize("arguments", WRITING, ids=lambda arguments: " ".join(map(str, arguments[::2])))
def test_output_in_an_unsearchable_folder_is_a_usage_error(
    arguments: tuple[object, ...], name: str, run_unprivileged: RunUnprivileged, locked: Path, tmp_path: Path
) -> None:
    talk_json(tmp_path)
    if "--save-audio" in arguments:
        name = name.replace(".txt", ".wav")
    server = () if arguments[0] == "render" else UNREACHABLE
    done = run_unprivileged(*arguments, locked / name, *server)
    first, second = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert first == f"error: {locked / name} can't be written: no permission in {locked}"
    assert second.startswith("hint: ")


def test_read_only_file_system_is_not_called_a_missing_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.txt").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.X_OK)

    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    for name in ("new.txt", "there.txt"):
        with pytest.raises(UsageError, match=rf"{name} can't be written: .* is on a read-only file system"):
            check_output(tmp_path / name, force=True)


@pytest.mark.parametrize("option", ["--output-dir", "--keep-json"])
@pytest.mark.parametrize("folder", ["locked", "locked/deep", "locked/no/such"])
def test_unsearchable_output_folder_is_a_usage_error(
    option: str, folder: str, run_unprivileged: RunUnprivileged, locked: Path
) -> None:
    done = run_unprivileged("transcribe", SAMPLE, option, folder, *UNREACHABLE)
    assert done.returncode == 2
    assert f"can't be written: no permission in {locked}" in done.stderr.decode()
    assert b"hint: " in done.stderr


INPUTS: list[tuple[tuple[object, ...], int]] = [
    (("transcribe", "locked/talk.wav", *UNREACHABLE), 3),
    (("transcribe", "locked/no/such.wav", *UNREACHABLE), 3),
    (("transcribe", "locked", *UNREACHABLE), 3),
    (("transcribe", "locked/*.wav", *UNREACHABLE), 3),
    (("transcribe", "*/talk.wav", *UNREACHABLE), 3),
    (("transcribe", "**/*.flac", *UNREACHABLE), 3),
    (("transcribe", "locked/talk.raw", "--encoding", "pcm_s16le", "--sample-rate", "16000", *UNREACHABLE), 3),
    (("stream-file", "locked/talk.wav", *UNREACHABLE), 3),
    (("stream-file", "locked/talk.raw", "--encoding", "pcm_s16le", "--sample-rate", "16000", *UNREACHABLE), 3),
    (("vad", "locked/talk.wav"), 3),
    (("render", "locked/talk.json"), 3),
    (("render", "locked/*.json"), 3),
    (("check", "locked/talk.srt"), 3),
    (("check", "locked/*.srt"), 3),
    (("check", "talk.srt", "--transcript", "locked/talk.json"), 3),
    (("serve", "--port", "0", "--script", "locked/script.ndjson"), 2),
    (("serve", "--port", "0", "--local-model", "locked/model"), 1),
    (("transcribe", SAMPLE, "--local", "--no-cache", "--local-model", "locked/model"), 1),
    (("listen", "--exec", "locked/hook", *UNREACHABLE), 2),
]


@pytest.mark.parametrize(("arguments", "code"), INPUTS, ids=lambda value: str(value))
@pytest.mark.usefixtures("locked")
def test_input_in_an_unsearchable_folder_is_an_input_error(
    arguments: tuple[object, ...], code: int, run_unprivileged: RunUnprivileged, tmp_path: Path
) -> None:
    (tmp_path / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello.\n")
    done = run_unprivileged(*arguments)
    message = done.stderr.decode()
    assert done.returncode == code, message
    assert "locked" in message and "fault" not in message and "internal error" not in message
    assert message.startswith("error: ") and "\nhint: " in message


def test_unsearchable_subfolder_does_not_stop_the_others(
    run_unprivileged: RunUnprivileged, locked: Path, tmp_path: Path
) -> None:
    (tmp_path / "talk.wav").write_bytes(SAMPLE.read_bytes())
    with FaultServer(fine) as server:
        done = run_unprivileged("transcribe", ".", "--output-dir", "out", "--base-url", server.base_url)
    assert done.returncode == 1
    assert f"{locked.name} can't be searched: Permission denied" in done.stderr.decode()
    assert "1 of 2 transcribed" in done.stderr.decode()
    assert (tmp_path / "out" / "talk.txt").exists()


def test_read_only_file_and_read_only_folder_have_different_errors(
    run_unprivileged: RunUnprivileged, tmp_path: Path
) -> None:
    (tmp_path / "there.txt").write_text("x")
    (tmp_path / "there.txt").chmod(0o400)
    done = run_unprivileged("transcribe", SAMPLE, "-o", "there.txt", "--force", *UNREACHABLE)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: there.txt can't be written: permission denied\n")


BINARY = {
    "wav": SAMPLE.read_bytes(),
    "mp3 with a tag": b"ID3\x04\0\0\0\0\0\x00" + bytes(200),
    "mkv": b"\x1a\x45\xdf\xa3" + bytes(100),
    "pdf": b"%PDF-1.4\n1 0 obj\n",
    "docx": b"PK\x03\x04" + bytes(100),
    "database": b"SQLite format 3\0" + bytes(100),
}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("arguments", WRITING, ids=lambda arguments: " ".join(map(str, arguments[::2])))
def test_text_never_replaces_a_binary_file(arguments: tuple[object, ...], kind: str, run: Run, tmp_path: Path) -> None:
    if "--save-audio" in arguments and kind == "wav":
        return
    talk_json(tmp_path)
    target = tmp_path / ("kept.wav" if "--save-audio" in arguments else "kept.txt")
    target.write_bytes(BINARY[kind])
    force = () if "--append" in arguments else ("--force",)
    done = run(*arguments, target.name, *force, *(() if arguments[0] == "render" else UNREACHABLE), env=KEY)
    assert done.returncode == 2, done.stderr
    assert b"must not be overwritten" in done.stderr and b"hint: " in done.stderr
    assert target.read_bytes() == BINARY[kind]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files, whatever its permissions say")
@pytest.mark.parametrize("option", [("--keep-json", "/proc/x"), ("--output-dir", "/proc/x"), ("-o", "/proc/x.txt")])
def test_output_in_a_folder_that_takes_no_files_is_refused_before_anything_is_sent(
    option: tuple[str, str], run: Run
) -> None:
    with FaultServer(fine) as server:
        done = run("transcribe", SAMPLE, *option, "--base-url", server.base_url, env=KEY)
        assert server.connections == 0
    assert done.returncode == 2 and b"no file can be created in /proc: " in done.stderr, done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"plain", "gr\xfc\xdfe".encode("latin-1"), "wide".encode("utf-16"), b"a\tb\r\n"]
)
def test_force_replaces_text_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    check_output(tmp_path / "a.txt", force=True)
    with pytest.raises(UsageError, match="exists"):
        check_output(tmp_path / "a.txt", force=False)
    check_output(tmp_path / "a.txt", force=False, appends=True)


def test_saved_audio_replaces_only_wav_files(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(SAMPLE.read_bytes())
    check_output(tmp_path / "a.wav", force=True, content="wav")
    (tmp_path / "notes").write_text("text")
    with pytest.raises(UsageError, match="is a text and must not be overwritten"):
        check_output(tmp_path / "notes", force=True, content="wav")
    for name in ("a.mp3", "a.txt", "a.srt"):
        with pytest.raises(UsageError, match="saved as WAV"):
            check_output(tmp_path / name, force=False, content="wav")


@pytest.mark.parametrize("ending", [".ssa", ".docx", ".pdf", ".wav", ".mp3", ".rtf", ".log"])
@pytest.mark.parametrize("command", ["transcribe", "stream-file", "listen", "render"])
def test_unknown_output_suffix_is_a_usage_error(command: str, ending: str, run: Run, tmp_path: Path) -> None:
    talk_json(tmp_path)
    before = {"transcribe": (SAMPLE,), "stream-file": (SAMPLE,), "listen": (), "render": ("talk.json",)}[command]
    done = run(command, *before, "-o", f"talk{ending}", *(() if command == "render" else UNREACHABLE), env=KEY)
    assert done.returncode == 2
    first, second = done.stderr.decode().splitlines()
    assert first == f"error: talk{ending}: no transcript format has the suffix {ending}"
    assert second.startswith("hint: suffixes: .txt .json") and "with -f" in second
    assert not (tmp_path / f"talk{ending}").exists()


@pytest.mark.parametrize(
    ("arguments", "begins"), [(("-f", "srt", "-o", "talk.log"), "1\n00:00"), (("-o", "talk"), "Hello.\n")]
)
def test_explicit_format_allows_any_suffix(arguments: tuple[str, ...], begins: str, run: Run, tmp_path: Path) -> None:
    segment = '{"start": 0, "end": 1, "text": "Hello."}'
    (tmp_path / "talk.json").write_text(f'{{"text": "Hello.", "segments": [{segment}]}}')
    assert run("render", "talk.json", *arguments).returncode == 0
    assert (tmp_path / arguments[-1]).read_text().startswith(begins)


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", SAMPLE, "-o", "s3://bucket/talk.txt"),
        ("transcribe", SAMPLE, "--output-dir", "https://bucket/talks"),
        ("transcribe", SAMPLE, "--keep-json", "s3://bucket/talks"),
        ("stream-file", SAMPLE, "-o", "s3://bucket/talk.txt"),
        ("stream-file", SAMPLE, "--save-audio", "s3://bucket/talk.wav"),
        ("render", "talk.json", "-o", "s3://bucket/talk.txt"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[::2])),
)
def test_url_as_output_is_a_usage_error(arguments: tuple[object, ...], run: Run, tmp_path: Path) -> None:
    talk_json(tmp_path)
    done = run(*arguments, *(() if arguments[0] == "render" else UNREACHABLE), env=KEY)
    assert done.returncode == 2
    assert b"://bucket/talk" in done.stderr and b"is a URL" in done.stderr
    assert not (tmp_path / "s3:").exists() and not (tmp_path / "https:").exists()


@pytest.mark.parametrize("options", [["talk.wav"], [str(SAMPLE), "--output-dir", "out"]])
def test_working_folder_that_is_gone_is_named(environment: dict[str, str], tmp_path: Path, options: list[str]) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    program = [sys.executable, "-c", "from cartesia_cli.__main__ import main; main()", "transcribe", *options]
    script = 'rmdir ../gone; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *program],
        cwd=folder, env=environment | KEY, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert "error: the working folder doesn't exist any more\nhint: change to another one with cd\n" in done.stderr
