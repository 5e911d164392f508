"""The cache, --resume, --dry-run and stopped batches: nothing is uploaded twice, no result is overwritten or lost."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.fault_server import TRANSCRIPT, Behaviour, Exchange, FaultServer, answers, environment, refuses, write_wav
from tests.fork_server import run_program

pytestmark = pytest.mark.waits

TEXT = str(TRANSCRIPT["text"])


def named(exchange: Exchange) -> None:
    """A transcript with word times that tells recordings apart by their size."""
    size = len(exchange.request().part("file").content)
    words = [{"word": word, "start": k, "end": k + 0.5} for k, word in enumerate(("Of", f"{size}", "bytes."))]
    exchange.answer(200, json.dumps({"text": f"Of {size} bytes.", "duration": 3.0, "words": words}))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(named) as running:
        yield running


class Home:
    """A user with a key, a working directory `folder`, and a home folder that persists between runs."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder, self.server = folder, server
        self.home = folder.parent / f"{folder.name} home"
        self.home.mkdir()

    def __call__(self, *arguments: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
        return run_program(
            [*map(str, arguments)],
            env=environment(self.home, self.server.base_url, **changes),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )

    def uploads(self, *arguments: object, code: int = 0, **changes: str | None) -> int:
        """The number of recordings that a run uploads."""
        before = len(self.server.requests)
        done = self("transcribe", *arguments, **changes)
        assert done.returncode == code, done.stderr
        return len(self.server.requests) - before

    def file(self, name: str) -> str:
        return (self.folder / name).read_text()

    def files(self) -> list[str]:
        """The files in the folder, without recordings."""
        return sorted(path.name for path in self.folder.iterdir() if path.suffix not in (".wav", ".mp3", ".ogg"))


@pytest.fixture
def user(tmp_path: Path, server: FaultServer) -> Home:
    folder = tmp_path / "work"
    folder.mkdir()
    return Home(folder, server)


def recording(folder: Path, name: str, size: int = 3244, *, seconds: float = 0) -> Path:
    """A WAV file; its modification time is `seconds` ago."""
    path = write_wav(folder / name, size)
    if seconds:
        age(path, seconds)
    return path


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


# Caching ---------------------------------------------------------------------------------------------------


ONCE = [
    ("", ""),
    ("", "-f srt"),
    ("", "-w"),
    ("", "--json"),
    ("", "--grep bytes"),
    ("", "--paragraphs"),
    ("-w", ""),
    ("-f srt", "--json -w"),
    ("--json", "-f vtt"),
    ("", "--keep-json raw"),
    ("", "-l en"),
    ("-l en", ""),
    ("-l en", "-l EN"),
    ("-f text,srt --output-dir a", "-f vtt,md --output-dir b"),
]
AGAIN = [
    ("", "-l de"),
    ("", "-m ink-whisper-2025-06-04"),
    ("", "--endpoint openai"),
    ("", "--no-cache"),
    ("--no-cache", ""),
]


@pytest.mark.parametrize(
    ("first", "second", "uploads"), [*((*pair, 0) for pair in ONCE), *((*pair, 1) for pair in AGAIN)]
)
def test_second_command_uploads_only_for_another_request(first: str, second: str, uploads: int, user: Home) -> None:
    recording(user.folder, "talk.wav")
    assert user.uploads("talk.wav", *shlex.split(first)) == 1
    assert user.uploads("talk.wav", *shlex.split(second)) == uploads


def test_json_without_word_timestamps_renders_to_exact_subtitles(user: Home) -> None:
    recording(user.folder, "talk.wav")
    user.uploads("talk.wav", "--json", "-o", "talk.json")
    for form in ("vtt", "srt", "table", "json"):
        assert user("render", "talk.json", "-f", form).stdout == user("transcribe", "talk.wav", "-f", form).stdout
    assert len(user.server.requests) == 1


def test_text_has_no_word_table_without_the_option(user: Home) -> None:
    recording(user.folder, "talk.wav")
    assert user("transcribe", "talk.wav").stdout == "Of 3244 bytes.\n"
    assert user("transcribe", "talk.wav", "-w").stdout.count("\n") == 7


# Names of results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("talk.wav", "talk.mp3"), ("talk.mp3", "talk.wav")])
@pytest.mark.parametrize("place", ["", "--output-dir out"])
def test_result_keeps_its_name_when_another_input_has_the_same_stem(
    order: tuple[str, str], place: str, user: Home
) -> None:
    there = user.folder / "out" if place else user.folder
    first, second = order
    recording(user.folder, first, 3244)
    assert user.uploads(".", "--no-cache", *shlex.split(place)) == 1
    recording(user.folder, second, 4000)
    assert user.uploads(".", "--resume", "--no-cache", *shlex.split(place)) == 1
    assert (there / "talk.txt").read_text() == "Of 3244 bytes.\n"
    assert (there / f"{second}.txt").read_text() == "Of 4000 bytes.\n"
    assert user.uploads(".", "--resume", "--no-cache", *shlex.split(place)) == 0
    (user.folder / first).unlink()
    assert user.uploads(".", "--resume", "--no-cache", *shlex.split(place)) == 0


def transcribe_piped_list(user: Home, names: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run_program(
        ["transcribe", "--files-from", "-", *options],
        env=environment(user.home, user.server.base_url),
        cwd=user.folder,
        input=names,
        text=True,
        timeout=60,
    )


def test_input_of_a_list_in_a_pipe_whose_result_exists_fails_alone(user: Home) -> None:
    for name in "abc":
        recording(user.folder, f"{name}.wav")
    (user.folder / "out").mkdir()
    (user.folder / "out" / "b.txt").write_text("mine\n")
    done = transcribe_piped_list(user, "a.wav\nb.wav\nc.wav\n", "--output-dir", "out")
    assert done.returncode == 1
    assert "error: out/b.txt exists\nhint: --force overwrites it\n" in done.stderr
    assert "2 of 3 transcribed" in done.stderr
    results = [(user.folder / "out" / f"{name}.txt").read_text() for name in "abc"]
    assert results == ["Of 3244 bytes.\n", "mine\n", "Of 3244 bytes.\n"]


def test_dry_run_of_a_list_in_a_pipe_fails_if_an_input_is_unusable(user: Home) -> None:
    recording(user.folder, "a.wav")
    done = transcribe_piped_list(user, "a.wav\nmissing.wav\n", "--dry-run")
    assert done.returncode == 1
    assert "a.wav" in done.stdout and "missing.wav does not exist" in done.stderr


def test_second_format_has_the_stem_of_the_first(user: Home) -> None:
    recording(user.folder, "talk.wav", 3244)
    user.uploads(".", "-f", "text")
    recording(user.folder, "talk.mp3", 4000)
    user.uploads(".", "-f", "srt")
    assert user.files() == ["talk.mp3.srt", "talk.srt", "talk.txt"]


def test_inputs_with_the_same_stem_keep_their_suffixes_in_later_runs(user: Home) -> None:
    recording(user.folder, "talk.mp3", 4000)
    recording(user.folder, "talk.wav", 3244)
    assert user.uploads("talk.mp3", "talk.wav") == 2
    assert user.files() == ["talk.mp3.txt", "talk.wav.txt"]
    (user.folder / "talk.mp3").unlink()
    assert user.uploads(".", "--resume", "--no-cache") == 0
    assert user.files() == ["talk.mp3.txt", "talk.wav.txt"]


@pytest.mark.parametrize("place", ["", "--output-dir out"])
def test_recording_that_changes_while_it_is_transcribed_is_not_done(place: str, user: Home) -> None:
    path = recording(user.folder, "talk.wav", 3244)

    def change(exchange: Exchange) -> None:
        exchange.request()
        write_wav(path, 4000)
        exchange.answer(200, json.dumps({"text": "Of 3244 bytes.", "duration": 3.0}))

    user.server.script = [change]
    assert user.uploads(".", "--no-cache", *shlex.split(place)) == 1
    user.server.script = [named]
    assert user.uploads(".", "--no-cache", "--resume", *shlex.split(place)) == 1
    assert user.file(f"{place and 'out/'}talk.txt") == "Of 4000 bytes.\n"
    assert user.uploads(".", "--no-cache", "--resume", *shlex.split(place)) == 0


def test_unrecorded_result_belongs_to_the_older_recording(user: Home) -> None:
    recording(user.folder, "talk.wav", 3244, seconds=200)
    (user.folder / "talk.txt").write_text("of the wav\n")
    age(user.folder / "talk.txt", 100)
    recording(user.folder, "talk.mp3", 4000)
    assert user.uploads(".", "--resume") == 1
    assert (user.file("talk.txt"), user.file("talk.mp3.txt")) == ("of the wav\n", "Of 4000 bytes.\n")


def test_result_of_a_deleted_recording_is_not_overwritten(user: Home) -> None:
    recording(user.folder, "talk.wav", 3244).with_name("x.wav")
    user.uploads(".")
    (user.folder / "talk.wav").unlink()
    recording(user.folder, "talk.mp3", 4000)
    for options in ([], ["--resume"]):
        user.uploads(".", *options)
        assert (user.file("talk.txt"), user.file("talk.mp3.txt")) == ("Of 3244 bytes.\n", "Of 4000 bytes.\n")


def test_name_of_a_result_is_never_used_twice(user: Home) -> None:
    for k, name in enumerate(("talk.wav", "talk.mp3", "talk.wav.mp3")):
        recording(user.folder, name, 3244 + 2 * k)
    assert user.uploads(".") == 3
    assert user.files() == ["talk.mp3.txt", "talk.wav.mp3.txt", "talk.wav.txt"]


@pytest.mark.parametrize("stem", ["x" * 251, "𝄞" * 62], ids=["ascii", "four bytes"])
@pytest.mark.parametrize("options", ["-f table,json --output-dir out", "-f json --output-dir out --keep-json raw"])
def test_too_long_result_name_is_shortened(stem: str, options: str, user: Home) -> None:
    long = recording(user.folder, f"{stem}.wav", 3244)
    recording(user.folder, "talk.wav", 4000)
    assert user.uploads(".", *shlex.split(options)) == 2
    assert user.uploads(".", *shlex.split(options), "--resume", "--no-cache") == 0
    names = [path.name for path in (user.folder / "out").iterdir() if path.is_file()]
    assert len(names) == 2 * len(options.split()[1].split(","))
    assert len([name for name in names if name.startswith(long.stem[:50])]) == len(names) / 2


def test_inputs_with_the_same_name_in_two_folders_get_a_hint(user: Home) -> None:
    for name in ("in/d1", "in/d2"):
        (user.folder / name).mkdir(parents=True)
        recording(user.folder / name, "x.wav")
    done = user("transcribe", "in/d1/x.wav", "in/d2/x.wav", "--output-dir", "out")
    assert (done.returncode, len(user.server.requests)) == (2, 0)
    assert "name the folder that both are in as the input: results then keep the folders below it" in done.stderr
    user.uploads("in", "--output-dir", "out")
    assert {path.relative_to(user.folder).as_posix() for path in user.folder.glob("out/**/*.txt")} == {
        "out/d1/x.txt", "out/d2/x.txt",
    }  # fmt: skip


def test_impossible_path_is_a_usage_error(user: Home) -> None:
    recording(user.folder, "talk.wav")
    for place in (["-o", "x" * 256], ["--output-dir", "x" * 256, "-f", "srt"], ["--keep-json", "x" * 256]):
        done = user("transcribe", "talk.wav", *place)
        assert (done.returncode, len(user.server.requests)) == (2, 0), done.stderr
        assert "File name too long" in done.stderr and "hint: " in done.stderr


# Resuming --------------------------------------------------------------------------------------------------


@pytest.fixture
def two(user: Home) -> Home:
    """A user with two recordings and their results."""
    recording(user.folder, "a.wav", 3244)
    recording(user.folder, "b.wav", 4000)
    assert user.uploads(".") == 2
    return user


def test_resume_skips_finished_outputs(two: Home) -> None:
    done = two("transcribe", ".", "--resume", "--no-cache")
    assert done.returncode == 0 and done.stderr.endswith("2 of 2 already done; nothing to do\n")
    recording(two.folder, "c.wav", 5000)
    assert two.uploads(".", "--resume", "--no-cache") == 1


def test_resume_transcribes_inputs_with_empty_results(two: Home) -> None:
    recording(two.folder, "c.wav", 5000, seconds=100)
    for name in ("b.txt", "c.txt"):  # one that was written here and emptied since, and one of unknown origin
        (two.folder / name).write_bytes(b"")
    assert two.uploads(".", "--resume", "--no-cache") == 2
    assert (two.file("b.txt"), two.file("c.txt")) == ("Of 4000 bytes.\n", "Of 5000 bytes.\n")


def test_resume_skips_results_of_silent_recordings(user: Home) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers({"text": ""})]
    assert user.uploads(".", "--no-cache") == 1
    assert user.uploads(".", "--resume", "--no-cache") == 0


@pytest.mark.parametrize(("options", "made"), [("-l de", "language en"), ("-m ink-2026", "model ink-whisper")])
def test_resume_refuses_results_of_another_language_or_model(options: str, made: str, two: Home) -> None:
    done = two("transcribe", ".", "--resume", *shlex.split(options))
    assert done.returncode == 1 and "already done" not in done.stderr
    assert "a.txt was made with model ink-whisper, language en, not with model" in done.stderr
    assert made in done.stderr and "hint: to keep both, name another --output-dir" in done.stderr
    assert two.uploads(".", "--resume", *shlex.split(options), "--output-dir", "other") == 2
    assert two.uploads(".", "--resume", "-l", "en") == 0


@pytest.mark.parametrize(
    ("first", "second", "made"),
    [("--from 0 --to 0.5", "", "from 0.0, to 0.5"), ("--grep zzz", "--grep bytes", "grep zzz"), ("", "--to 1", "en")],
)
def test_resume_refuses_results_with_other_selected_rows(first: str, second: str, made: str, user: Home) -> None:
    recording(user.folder, "a.wav")
    rows = ["transcribe", ".", "-f", "csv", "--output-dir", "out"]
    user(*rows, *shlex.split(first))
    assert "nothing to do" in user(*rows, *shlex.split(first), "--resume").stderr
    done = user(*rows, *shlex.split(second), "--resume")
    assert done.returncode in (1, 2) and "already done" not in done.stderr
    assert f"out/a.csv was made with model ink-whisper, language en, {made}".removesuffix(", en") in done.stderr


def test_resume_counts_results_recorded_without_options(two: Home) -> None:
    with closing(sqlite3.connect(two.home / ".local/state/cartesia-cli/results.sqlite")) as database:
        database.execute("ALTER TABLE results_1 DROP COLUMN options")
    assert two.uploads(".", "--resume", "--no-cache", "-l", "de") == 0
    recording(two.folder, "c.wav", 5000)
    assert two.uploads(".", "--resume", "--no-cache", "-l", "de") == 1


@pytest.mark.parametrize("keep_time", [False, True])
def test_resume_transcribes_changed_recordings(keep_time: bool, two: Home) -> None:
    before = (two.folder / "a.wav").stat()
    recording(two.folder, "a.wav", 5000)
    if keep_time:
        os.utime(two.folder / "a.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert two.uploads(".", "--resume") == 1
    assert (two.file("a.txt"), two.file("b.txt")) == ("Of 5000 bytes.\n", "Of 4000 bytes.\n")


def test_resume_recognizes_a_recording_by_content_not_time(two: Home) -> None:
    os.utime(two.folder / "a.wav")
    shutil.copyfile(two.folder / "b.wav", two.folder / "copy")
    os.replace(two.folder / "copy", two.folder / "b.wav")
    assert two.uploads(".", "--resume", "--no-cache") == 0


def test_resume_skips_renamed_recordings_with_results_of_several_runs(two: Home) -> None:
    """The last run has written only what was missing then, or has failed."""
    command = ["transcribe", ".", "--output-dir", "out", "--resume", "--no-cache"]
    assert two(*command).returncode == 0
    assert two(*command, "-f", "text,srt").returncode == 0
    two.server.script[:] = [refuses(400)]
    assert two(*command, "-f", "text,srt,vtt").returncode == 1
    two.server.script[:] = [named]
    (two.folder / "a.wav").rename(two.folder / "speech.wav")
    before = len(two.server.requests)
    done = two(*command, "-f", "text,srt")
    assert len(two.server.requests) == before, done.stderr
    assert "speech.wav: already done, before it was renamed: its result is " in done.stderr


def test_resume_skips_renamed_recordings(two: Home) -> None:
    (two.folder / "a.wav").rename(two.folder / "speech.wav")
    done = two("transcribe", ".", "--resume", "--no-cache")
    assert (done.returncode, len(two.server.requests)) == (0, 2)
    assert "speech.wav: already done, before it was renamed: its result is " in done.stderr
    assert two.uploads(".", "--resume") == 0  # from the cache, its result is written under the new name
    assert two.file("speech.txt") == two.file("a.txt")


def test_resume_never_overwrites_edited_results(two: Home) -> None:
    (two.folder / "a.txt").write_text("my corrections\n")
    assert two.uploads(".", "--resume", "--no-cache") == 0
    recording(two.folder, "a.wav", 5000)
    recording(two.folder, "b.wav", 6000)
    done = two("transcribe", ".", "--resume")
    assert done.returncode == 1
    assert "a.txt was edited since it was made\nhint: " in done.stderr
    assert (two.file("a.txt"), two.file("b.txt")) == ("my corrections\n", "Of 6000 bytes.\n")


def test_resume_counts_unrecorded_results_unless_they_are_older(user: Home) -> None:
    for name in ("a", "b"):
        recording(user.folder, f"{name}.wav", seconds=100)
        (user.folder / f"{name}.txt").write_text("before\n")
    recording(user.folder, "b.wav", 5000)
    age(user.folder / "b.txt", 10)
    done = user("transcribe", ".", "--resume")
    assert (done.returncode, len(user.server.requests)) == (1, 0)
    assert "b.wav is newer than b.txt, which is not known to come from it\nhint: " in done.stderr
    assert (user.file("a.txt"), user.file("b.txt")) == ("before\n", "before\n")


@pytest.mark.parametrize("what", ["talk.wav", "talk.wav -o -", ". -f ndjson"])
def test_resume_to_stdout_is_a_usage_error(what: str, user: Home) -> None:
    recording(user.folder, "talk.wav")
    done = user("transcribe", *what.split(), "--resume")
    assert (done.returncode, done.stdout, len(user.server.requests)) == (2, "", 0)
    assert "--resume needs results in files" in done.stderr


@pytest.mark.parametrize(
    "what", ["talk.wav", "talk.wav -o -", ". -f ndjson", "talk.wav --grep bytes", "talk.wav --dry-run"]
)
def test_configured_resume_does_not_keep_results_from_stdout(what: str, user: Home) -> None:
    recording(user.folder, "talk.wav")
    assert user("transcribe", *what.split(), CARTESIA_TRANSCRIBE_RESUME="true").returncode == 0
    assert user("transcribe", ".", "--output-dir", "out").returncode == 0
    done = user("transcribe", ".", "--output-dir", "out", CARTESIA_TRANSCRIBE_RESUME="true")
    assert "1 of 1 already done" in done.stderr


def test_resume_and_force_exclude_each_other(two: Home) -> None:
    done = two("transcribe", ".", "--resume", "--force")
    assert (done.returncode, len(two.server.requests)) == (2, 2)
    assert "--resume and --force exclude each other" in done.stderr


def test_resume_keeps_the_result_of_another_recording_that_came_through_stdin(user: Home) -> None:
    def transcribe(size: int, *options: str) -> subprocess.CompletedProcess[str]:
        with recording(user.folder, "talk.wav", size).open() as file:
            return run_program(
                ["transcribe", "-", "--output-dir", "out", *options],
                env=environment(user.home, user.server.base_url),
                cwd=user.folder,
                stdin=file,
                text=True,
                timeout=60,
            )

    assert transcribe(3244).returncode == 0
    assert transcribe(3244, "--resume").returncode == 0
    done = transcribe(4000, "--resume")
    assert done.returncode == 2 and "out/stdin.txt was made from another recording that came through" in done.stderr
    assert "name another --output-dir" in done.stderr
    assert user.file("out/stdin.txt") == "Of 3244 bytes.\n"
    assert transcribe(4000, "--force").returncode == 0
    assert user.file("out/stdin.txt") == "Of 4000 bytes.\n"


def test_resume_neither_skips_nor_replaces_what_comes_through_a_pipe(user: Home) -> None:
    os.mkfifo(user.folder / "pipe.wav")

    def transcribe(size: int, *options: str) -> subprocess.CompletedProcess[str]:
        sent = recording(user.folder, "talk.wav", size)
        with subprocess.Popen(["sh", "-c", "exec cat talk.wav > pipe.wav"], cwd=sent.parent) as sender:
            done = user("transcribe", "pipe.wav", "--output-dir", "out", *options)
            sender.kill()
        return done

    assert transcribe(3244).returncode == 0
    done = transcribe(4000, "--resume")
    assert done.returncode == 2 and "out/pipe.txt exists, and pipe.wav is a pipe" in done.stderr
    assert user.file("out/pipe.txt") == "Of 3244 bytes.\n"


def test_resume_writes_only_missing_formats(two: Home) -> None:
    assert two.uploads(".", "-f", "text,srt", "--output-dir", "out") == 0
    (two.folder / "out" / "a.srt").unlink()
    done = two("transcribe", ".", "-f", "text,srt", "--output-dir", "out", "--resume")
    assert [line for line in done.stderr.splitlines() if line.startswith("wrote")] == ["wrote out/a.srt"]


@pytest.mark.parametrize("damage", ["garbage", "folder", "foreign"])
def test_unusable_record_of_results_fails_no_run(damage: str, user: Home) -> None:
    state = user.home / ".local" / "state" / "cartesia-cli"
    state.mkdir(parents=True, mode=0o700)
    if damage == "folder":
        (state / "results.sqlite").mkdir()
    else:
        (state / "results.sqlite").write_text("no database")
    if damage == "foreign":
        state.chmod(0o777)
    recording(user.folder, "a.wav", seconds=10)
    recording(user.folder, "b.wav", 4000, seconds=10)
    assert user.uploads(".") == 2
    assert user.uploads(".", "--resume", "--no-cache") == 0
    assert "results.sqlite is not used: " in user("transcribe", ".", "--resume", "-v").stderr


def test_results_database_is_readable_by_its_owner_only(two: Home) -> None:
    file = two.home / ".local" / "state" / "cartesia-cli" / "results.sqlite"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert TEXT.encode() not in file.read_bytes()


# A dry run -------------------------------------------------------------------------------------------------

NO_KEY = {"CARTESIA_API_KEY": None, "CARTESIA_BASE_URL": None}


def rows(report: str) -> list[list[str]]:
    return [line.split(maxsplit=3) for line in report.splitlines()[1:]]


def test_dry_run_counts_the_same_audio_once(user: Home) -> None:
    recording(user.folder, "a.wav", 64044)  # two seconds
    shutil.copyfile(user.folder / "a.wav", user.folder / "b.wav")
    recording(user.folder, "c.wav", 128044)
    done = user("transcribe", ".", "--dry-run")
    assert [(row[1], row[2], row[3]) for row in rows(done.stdout)] == [
        ("2.0", "1.0", "a.wav"), ("2.0", "0.0", "b.wav (same audio as a.wav)"), ("4.0", "2.0", "c.wav"),
        ("8.0", "3.0", "total"),
    ]  # fmt: skip
    assert user.uploads(".") == 2
    known = user("transcribe", ".", "--dry-run")
    assert [(row[2], row[3].partition(" ")[2]) for row in rows(known.stdout)[:3]] == [("0.0", "(from cache)")] * 3
    twice = json.loads(user("transcribe", ".", "--dry-run", "--no-cache", "--json").stdout)
    assert (twice["credits"], len(user.server.requests)) == (4.0, 2)


def test_dry_run_reports_unknown_durations(user: Home) -> None:
    recording(user.folder, "a.wav", 64044)
    (user.folder / "b.webm").write_bytes(bytes.fromhex("1a45dfa3") + bytes(4000))
    done = user("transcribe", "a.wav", "b.webm", "--dry-run")
    assert [row[1:3] for row in rows(done.stdout)] == [["2.0", "1.0"], ["?", "?"], ["2.0+", "1.0+"]]
    assert "1 of 2 have an unknown duration: the total is a lower bound" in done.stderr
    alone = user("transcribe", "b.webm", "--dry-run")
    assert "1 of 1 have an unknown duration\n" in alone.stderr  # no total is shown
    report = json.loads(user("transcribe", "a.wav", "b.webm", "--dry-run", "--json").stdout)
    assert (report["duration"], report["credits"], report["unknown_durations"]) == (2.0, 1.0, 1)
    assert "credits" not in report["inputs"][1]


def test_local_dry_run_has_no_credits(user: Home) -> None:
    recording(user.folder, "a.wav", 64044)
    done = user("transcribe", "a.wav", "--local", "--dry-run")
    assert done.stdout.split() == ["bytes", "seconds", "source", "64044", "2.0", "a.wav"]
    assert "credits" not in user("transcribe", "a.wav", "--local", "--dry-run", "--json").stdout


@pytest.mark.parametrize("where", ["--cloud", "--base-url https://example.com", ""])
def test_dry_run_needs_no_key(where: str, user: Home) -> None:
    recording(user.folder, "a.wav", 64044)
    done = user("transcribe", "a.wav", "--dry-run", *where.split(), **NO_KEY)
    assert done.returncode == 0
    assert ("credits" in done.stdout) is bool(where)


def test_dry_run_does_not_run_the_key_command(user: Home) -> None:
    recording(user.folder, "a.wav", 64044)
    folder = user.home / ".config" / "cartesia-cli"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f"api_key_command = 'touch {user.folder}/ran'\n")
    done = user("transcribe", "a.wav", "--dry-run", **NO_KEY)
    assert (done.returncode, "credits" in done.stdout, (user.folder / "ran").exists()) == (0, True, False)


def test_dry_run_with_resume_lists_only_pending_inputs(two: Home) -> None:
    recording(two.folder, "c.wav", 5000)
    done = two("transcribe", ".", "--resume", "--dry-run")
    assert [row[-1] for row in rows(done.stdout)] == ["c.wav"]


# Batches that stop early -----------------------------------------------------------------------------------


@pytest.fixture
def three(user: Home) -> Home:
    for k, name in enumerate("abc"):
        recording(user.folder, f"{name}.wav", 3244 + 2 * k)
    return user


def finish(user: Home, stderr: str) -> list[str]:
    """Run the command in the hint of a stopped batch; returns the names of its uploads."""
    (hint,) = (line for line in stderr.splitlines() if line.startswith("hint: "))
    command = shlex.split(hint.partition("then: ")[2])
    assert command[:2] == ["cartesia-cli", "transcribe"]
    before = len(user.server.requests)
    assert user(*command[1:]).returncode == 0
    return [(request.part("file").filename or b"").decode() for request in user.server.requests[before:]]


def test_unreachable_server_stops_the_batch(three: Home) -> None:
    with FaultServer("fine") as gone:
        pass
    done = three("transcribe", ".", "-l", "de", CARTESIA_BASE_URL=gone.base_url)
    assert done.returncode == 6
    assert done.stderr.count("trying again") == 2
    assert "warning: stopped: 0 of 3 transcribed, 0.0 s of audio, 0.0 credits; 2 not tried\n" in done.stderr
    assert "then: cartesia-cli transcribe --language de --resume .\n" in done.stderr
    assert finish(three, done.stderr) == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refuses(401), 4),
        (refuses(429, [("Retry-After", "7200")]), 5),
        (refuses(404), 5),
        (refuses(400, error_code="quota_exceeded"), 5),
    ],
)
def test_account_error_stops_the_batch_and_prints_the_command_for_the_rest(
    fault: Callable[[Exchange], None], code: int, three: Home
) -> None:
    three.server.script[:] = [named, fault, named]
    done = three("transcribe", ".", "--no-cache")
    assert (done.returncode, len(three.server.requests)) == (code, 2)
    assert "stopped: 1 of 3 transcribed" in done.stderr and "1 not tried" in done.stderr
    assert finish(three, done.stderr) == ["b.wav", "c.wav"]
    assert three.files() == ["a.txt", "b.txt", "c.txt"]


def test_command_for_the_rest_names_inputs_if_results_go_to_stdout(three: Home) -> None:
    recording(three.folder, "-d.wav", 5000)
    three.server.script[:] = [named, refuses(402), named]
    done = three("transcribe", "-f", "ndjson", "--no-cache", "--", "a.wav", "-d.wav", "c.wav")
    assert (done.returncode, done.stdout.count("\n")) == (5, 1)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert finish(three, f"hint: {error['hint']}") == ["-d.wav", "c.wav"]


def stop_at(user: Home, number: int) -> None:
    """Have the request with this number, of those that follow, end the run."""
    user.server.script[:] = [named] * (len(user.server.requests) + number - 1) + [refuses(402), named]


@pytest.mark.parametrize("had_results", ["", "a", "abc"])
@pytest.mark.parametrize("options", ["--output-dir .", "-f srt", "-f srt,vtt --output-dir ."])
def test_command_for_the_rest_of_a_run_with_force_transcribes_nothing_twice(
    options: str, had_results: str, three: Home
) -> None:
    """What this run has replaced is done; what it was to replace isn't."""
    command = ["transcribe", ".", *options.split(), "--force", "--no-cache", "-j1"]
    if had_results:
        three(*command)
        for name in {*"abc"} - {*had_results}:
            for file in {*three.folder.glob(f"{name}.*")} - {three.folder / f"{name}.wav"}:
                file.unlink()
    stop_at(three, 2)
    done = three(*command)
    assert done.returncode == 5
    assert finish(three, done.stderr) == ["b.wav", "c.wav"]


def test_command_that_tries_one_again_with_force_writes_the_same_file(user: Home) -> None:
    """The result of a single input would go to stdout."""
    for k in range(11):
        recording(user.folder, f"{k}.wav", 3244 + 2 * k)
    command = ["transcribe", ".", "-f", "srt", "--force", "--no-cache", "-j1"]
    assert user(*command).returncode == 0
    user.server.script[:] = [named] * 11 + [refuses(400), named]
    done = user(*command)
    assert done.returncode == 1
    _, _, again = done.stderr.partition("\nto try again: cartesia-cli transcribe ")
    assert again == "--format srt --force --jobs 1 --no-cache --output 0.srt 0.wav\n"


def test_command_for_the_rest_says_if_it_transcribes_what_is_done_again(three: Home) -> None:
    """Of recordings in subfolders, inputs that are named one by one would have other results."""
    (three.folder / "in" / "sub").mkdir(parents=True)
    for name in "abc":
        (three.folder / f"{name}.wav").rename(three.folder / "in" / "sub" / f"{name}.wav")
    command = ["transcribe", "in", "--output-dir", "out", "--force", "-j1"]
    assert three(*command).returncode == 0
    for cache, end in (["--no-cache"], "in, which transcribes all of them again\n"), (["--language", "de"], "in\n"):
        stop_at(three, 2)
        done = three(*command, *cache)
        assert done.returncode == 5 and done.stderr.endswith(end)


@pytest.mark.parametrize("listed", [["--files-from", "list.txt"], ["@list.txt"]])
def test_command_for_the_rest_of_a_list_names_inputs_if_results_go_to_stdout(listed: list[str], three: Home) -> None:
    (three.folder / "list.txt").write_text("a.wav\nb.wav\nc.wav\n")
    three.server.script[:] = [named, refuses(402), named]
    done = three("transcribe", *listed, "-f", "ndjson", "--no-cache", "-j1")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["hint"].endswith("then: cartesia-cli transcribe --format ndjson --jobs 1 --no-cache b.wav c.wav")


def test_command_for_the_rest_of_a_list_that_comes_in_says_where_to_begin(three: Home) -> None:
    three.server.script[:] = [named, refuses(402), named]
    command = [sys.executable, "-m", "cartesia_cli", "transcribe", "--files-from", "-", "-f", "ndjson", "--no-cache"]
    done = subprocess.run(
        [*command, "-j1"], input="a.wav\nb.wav\nc.wav\n", capture_output=True, text=True, cwd=three.folder,
        env=environment(three.home, three.server.base_url),
    )  # fmt: skip
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["hint"].endswith("--no-cache, with the list from b.wav on")


@pytest.mark.parametrize("fault", [refuses(400), refuses(413), "closes_after_upload"])
def test_failure_of_one_input_does_not_stop_the_batch(fault: object, three: Home) -> None:
    behaviour = fault if callable(fault) else FaultServer(str(fault)).script[0]
    three.server.script[:] = [named, behaviour, named]
    done = three("transcribe", ".")
    assert (done.returncode, len(three.server.requests), three.files()) == (1, 3, ["a.txt", "c.txt"])


FULL = Path("/dev/full")


def test_full_disk_stops_the_batch_and_mixes_no_texts(three: Home) -> None:
    for name in "abc":
        (three.folder / f"{name}.txt").symlink_to(FULL)
    done = three("transcribe", ".")
    assert (done.returncode, done.stdout) == (1, "==> a.txt <==\nOf 3244 bytes.\n")
    assert len(three.server.requests) == 1
    assert "No space left on device" in done.stderr and "2 not tried" in done.stderr


def test_full_stdout_stops_the_batch(three: Home) -> None:
    with FULL.open("wb") as full:
        done = run_program(
            ["transcribe", ".", "-f", "ndjson"],
            env=environment(three.home, three.server.base_url),
            cwd=three.folder,
            stdin=subprocess.DEVNULL,
            stdout=full,
            timeout=60,
        )
    assert (done.returncode, len(three.server.requests)) == (1, 1)


def test_results_that_fall_back_to_stdout_are_labelled(user: Home) -> None:
    recording(user.folder, "a.wav")
    (user.folder / "out").mkdir()
    for name in ("a.txt", "a.srt"):
        (user.folder / "out" / name).symlink_to(FULL)
    done = user("transcribe", "a.wav", "-f", "text,srt", "--output-dir", "out")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("==>")] == [
        "==> out/a.txt <==", "==> out/a.srt <==",
    ]  # fmt: skip


# Responses that were paid for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"text": "Hi.", "duration": "1.9", "words": [1]}', 0), (b'{"text": 5}', 5), (b"<html>", 5), (b"\xff\x00", 5)],
)
def test_keep_json_writes_any_response_body(body: bytes, code: int, user: Home) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers(body)]
    done = user("transcribe", "a.wav", "--keep-json", "raw", "-v")
    assert (done.returncode, done.stdout) == (code, "" if code else "Hi.\n")
    assert (user.folder / "raw" / "a.json").read_bytes() == body
    if not code:
        assert "a.wav: malformed fields of the response are ignored: duration, words\n" in done.stderr
        assert "1 of 1 transcribed, 0.1 s of audio" in done.stderr


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
def test_transcript_is_accepted_with_any_2xx_status(status: int, user: Home) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers(TRANSCRIPT, status=status)]
    done = user("transcribe", "a.wav", "--keep-json", "raw")
    assert (done.returncode, done.stdout) == (0, TEXT + "\n"), done.stderr
    assert json.loads(user.file("raw/a.json")) == TRANSCRIPT


@pytest.mark.parametrize("results", [["--output-dir", "out"], ["--output-manifest", "m.jsonl"]])
def test_keep_json_keeps_files_and_every_response_when_a_run_is_continued(results: list[str], user: Home) -> None:
    recording(user.folder, "a.wav", 3244)
    (user.folder / "raw").mkdir()
    (user.folder / "raw" / "a.json").write_text("mine")
    done = user("transcribe", "a.wav", "--keep-json", "raw", "--resume", *results)
    assert done.returncode == 0 and "wrote raw/a.2.json\n" in done.stderr
    assert user.file("raw/a.json") == "mine" and "Of 3244 bytes." in user.file("raw/a.2.json")
    again = [option.replace("m.jsonl", "n.jsonl") for option in results]
    done = user("transcribe", "a.wav", "--keep-json", "raw", "--resume", *again, "-f", "srt", "--output-dir", "out")
    assert (
        done.returncode == 0 and "raw" not in done.stderr and len(user.server.requests) == 1
    )  # the same, from the cache


def test_keep_json_keeps_the_responses_of_a_recording_that_is_tried_again(user: Home) -> None:
    recording(user.folder, "a.wav", 3244)
    user.server.script[:] = [answers({"nothing": 1}), named]
    command = ("transcribe", "a.wav", "--keep-json", "raw", "--output-dir", "out", "--no-cache")
    assert user(*command).returncode == 5
    assert user(*command, "--retry-failed").returncode == 0
    assert "nothing" in user.file("raw/a.json") and "Of 3244 bytes." in user.file("raw/a.2.json")
    assert user.file("out/a.txt") == "Of 3244 bytes.\n"
    assert user.uploads(*command[1:], "--resume") == 0


def test_keep_json_writes_a_2xx_response_without_transcript(user: Home) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers({"status": "queued"}, status=202)]
    done = user("transcribe", "a.wav", "--keep-json", "raw")
    assert done.returncode == 5 and "status 202, but the response has no text" in done.stderr
    assert json.loads(user.file("raw/a.json")) == {"status": "queued"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'\xef\xbb\xbf {"text": "Hi."}', ""),
        (b'{"text": "Hi."}garbage', "7 characters after the response's JSON are ignored"),
        (b'{"text": "Hi."} [1]', "3 characters after the response's JSON are ignored"),
    ],
)
def test_text_survives_malformed_surroundings(body: bytes, said: str, user: Home) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers(body)]
    done = user("transcribe", "a.wav", "--keep-json", "raw", "-v")
    assert (done.returncode, done.stdout) == (0, "Hi.\n"), done.stderr
    assert said in done.stderr
    assert (user.folder / "raw" / "a.json").read_bytes() == body


def test_keep_json_writes_a_response_that_is_nested_too_deeply(user: Home) -> None:
    body = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "text": "Hi."}'
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers(body)]
    done = user("transcribe", "a.wav", "--keep-json", "raw")
    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert (user.folder / "raw" / "a.json").read_bytes() == body


@pytest.mark.parametrize("told", [{"duration": 2000}, {"duration": 2.0}, {}])
@pytest.mark.parametrize("starts", [(100, 600), (10, 600)])
def test_times_in_milliseconds_are_ignored(told: dict[str, float], starts: tuple[int, int], user: Home) -> None:
    write_wav(user.folder / "a.wav", 64044)
    words = [{"word": w, "start": s, "end": s + 400} for w, s in zip(("Hello", "there."), starts, strict=True)]
    user.server.script[:] = [answers({"text": "Hello there.", "words": words, **told})]
    done = user("transcribe", "a.wav", "-f", "json", "-o", "a.json")
    assert done.returncode == 0
    assert "a.wav: the server's times don't fit a recording of 2.0 s" in done.stderr
    document = json.loads(user.file("a.json"))
    assert (document["text"], document["duration"]) == ("Hello there.", 2.0)
    assert [word["timing"] for word in document["words"]] == ["estimated", "estimated"]
    assert document["words"][-1]["end"] <= 2.0


def test_one_time_beyond_the_recording_invalidates_only_itself(user: Home) -> None:
    write_wav(user.folder / "a.wav", 64044)
    words = [{"word": w, "start": s, "end": s + 0.4} for w, s in (("One", 0.1), ("two", 0.6), ("three.", 600))]
    user.server.script[:] = [answers({"text": "One two three.", "duration": 2.0, "words": words})]
    done = user("transcribe", "a.wav", "-f", "json", "-o", "a.json")
    assert "can't be" not in done.stderr
    assert ["timing" in word for word in json.loads(user.file("a.json"))["words"]] == [False, False, True]


PACKED = gzip.compress(json.dumps(TRANSCRIPT).encode())


@pytest.mark.parametrize(
    ("fault", "came"),
    [
        ("closes_during_answer", json.dumps(TRANSCRIPT)[:-10]),
        ("closes_behind_a_transcript", json.dumps(TRANSCRIPT)),  # less than its Content-Length
        ("resets_during_answer", None),
        ("ends_inside_a_chunk", json.dumps(TRANSCRIPT)),
        ("breaks_chunks", json.dumps(TRANSCRIPT)),
        (answers(PACKED[:-9], [("Content-Encoding", "gzip")]), None),
    ],
)
def test_keep_json_never_writes_an_incomplete_response_under_its_final_name(
    fault: str | Behaviour, came: str | None, user: Home
) -> None:
    recording(user.folder, "a.wav")
    with FaultServer(fault, fault, fault, "fine") as server:
        for _ in range(2):
            done = user("transcribe", "a.wav", "--keep-json", "raw", CARTESIA_BASE_URL=server.base_url)
            assert done.returncode in (5, 6), done.stderr
        saved = sorted(path.name for path in (user.folder / "raw").iterdir())
        assert saved == ["a.2.json.part", "a.json.part"]
        assert all(came in (None, (user.folder / "raw" / name).read_text()) for name in saved)
        done = user("transcribe", "a.wav", "--keep-json", "raw", "--retries", "1", CARTESIA_BASE_URL=server.base_url)
    assert (done.returncode, done.stdout) == (0, TEXT + "\n"), done.stderr
    assert json.loads(user.file("raw/a.json")) == TRANSCRIPT


BROTLI = b"\x0b\x02\x80abc\x03"
LONG = json.dumps({"text": " ".join(map(str, range(9000)))}).encode()


@pytest.mark.parametrize(
    ("encoding", "body", "kept"),
    [
        ("gzip", b'{"text": "Hi."}', b'{"text": "Hi."}'),
        ("br", BROTLI, BROTLI),
        ("br, gzip", gzip.compress(BROTLI, mtime=0), BROTLI),
        ("gzip", gzip.compress(LONG, mtime=0)[:9000] + b"\xff" * 5000, LONG[:9000]),
    ],
    ids=["not compressed", "brotli", "brotli within gzip", "damaged"],
)
def test_keep_json_writes_what_came_of_a_response_that_cannot_be_decompressed(
    encoding: str, body: bytes, kept: bytes, user: Home
) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers(body, [("Content-Encoding", encoding)])]
    done = user("transcribe", "a.wav", "--keep-json", "raw")
    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert "the audio may have been billed" in done.stderr and "raw/a.json.part, which is incomplete" in done.stderr
    assert (user.folder / "raw" / "a.json.part").read_bytes()[: len(kept)] == kept


@pytest.mark.parametrize("status", [200, 204])
def test_keep_json_writes_no_empty_file_of_an_empty_response(status: int, user: Home) -> None:
    recording(user.folder, "a.wav")
    user.server.script[:] = [answers("", status=status)]
    done = user("transcribe", "a.wav", "--keep-json", "raw")
    assert (done.returncode, "wrote" in done.stderr, (user.folder / "raw").exists()) == (5, False, False)
    assert f"a.wav: status {status}, but the response is empty" in done.stderr


# Servers and owners ----------------------------------------------------------------------------------------


def test_cache_is_not_used_for_another_server_on_the_same_port(user: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    recording(user.folder, "a.wav")
    assert [user.uploads("a.wav"), user.uploads("a.wav")] == [1, 0]
    port, create = user.server.port, socket.create_server
    user.server.close()

    def listen(address: tuple[str, int], **how: int) -> socket.socket:
        for _ in range(1000):  # the previous server may not have closed it yet
            with suppress(OSError):
                return create((address[0], port), **how)
            time.sleep(0.02)
        raise AssertionError("the port is still taken")

    monkeypatch.setattr(socket, "create_server", listen)
    with FaultServer(answers({"text": "Another."})) as other:
        assert other.port == port
        assert user("transcribe", "a.wav").stdout == "Another.\n"


@pytest.mark.parametrize("kind", ["foreign", "open"])
def test_cache_writable_by_others_is_not_used(kind: str, user: Home) -> None:
    recording(user.folder, "a.wav")
    assert user.uploads("a.wav") == 1
    folder = user.home / ".cache" / "cartesia-cli" / "answers"
    if kind == "open":
        folder.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    else:
        pytest.fail("only root can give a folder away")
    before = sorted(folder.iterdir())
    done = user("transcribe", "a.wav")
    assert (done.returncode, len(user.server.requests)) == (0, 2)
    assert done.stderr.count("warning: the cache") == 1
    assert sorted(folder.iterdir()) == before
    shown = user("cache")
    assert (shown.returncode, "hint: " in shown.stderr) == (1, True)


def test_cached_file_of_another_user_is_not_read(user: Home) -> None:
    recording(user.folder, "a.wav")
    user.uploads("a.wav")
    (entry,) = (user.home / ".cache" / "cartesia-cli" / "answers").iterdir()
    if os.geteuid() == 0:
        os.chown(entry, 65534, 65534)
        assert user.uploads("a.wav") == 1
