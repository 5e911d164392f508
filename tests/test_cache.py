"""What was answered once is not paid or waited for again; and nothing else comes out of the cache, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli import cache as room
from cartesia_cli import fingerprint as prints
from cartesia_cli.cache import Cache, Question, Shelf, address, engine, place
from cartesia_cli.protocol import BatchOptions, BatchResponse, Word, encode_batch
from tests.conftest import Run
from tests.fault_server import KEY, TEXT, TRANSCRIPT, Exchange, FaultServer, answers, refuses, write_wav
from tests.fault_server import environment as with_a_key

PLAIN = BatchOptions(model="ink-whisper")
TIMED = replace(PLAIN, word_timestamps=True)
ANSWER = BatchResponse(text="Hi.", words=(Word("Hi.", 0.0, 0.5),), duration=1.0)
BODY = encode_batch(ANSWER)
NAME = "ab" * 32


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "kept" / "answers")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav")


def asked(shelf: Shelf, path: Path, options: BatchOptions = PLAIN, server: str = "s") -> Question:
    question = Cache(shelf, server).question(path, options)
    assert question is not None
    return question


# The shelf -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_what_is_kept_comes_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.put(NAME, body)
    found = Shelf(shelf.folder).get(NAME)
    assert found is not None and found[0] == body
    assert shelf.get("cd" * 32) is None


def test_only_the_owner_can_look(shelf: Shelf) -> None:
    shelf.put(NAME, BODY)
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in shelf.folder.iterdir()] == [0o600]
    shelf.folder.chmod(0o755)
    shelf.put(NAME, BODY)
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700


@settings(deadline=None)
@given(st.data())
def test_an_answer_that_was_damaged_is_none(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.put(NAME, BODY)
    whole = (shelf.folder / NAME).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[at + 1 :], whole + b" "]
        )
    )
    (shelf.folder / NAME).write_bytes(damaged)
    assert shelf.get(NAME) is None


def test_the_oldest_go_when_it_gets_too_much(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "answers", most=10_000)
    names = [f"{k:064x}" for k in range(20)]
    for age, name in enumerate(reversed(names)):
        shelf.put(name, bytes(300))
        os.utime(shelf.folder / name, (1e9 + 20 - age, 1e9 + 20 - age))
    assert [entry.name for entry in shelf.entries()] == names
    later = Shelf(shelf.folder, most=5_000)
    later.put("f" * 64, bytes(300))
    left = later.entries()
    assert sum(entry.bytes for entry in left) <= 5_000 * 0.75
    assert [entry.name for entry in left] == [*names, "f" * 64][-len(left) :]
    assert len(left) >= 9


def test_a_run_that_keeps_a_lot_stays_within_bounds_all_the_time(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "answers", most=5_000)
    for k in range(100):
        shelf.put(f"{k:064x}", bytes(300))
        assert sum(entry.bytes for entry in shelf.entries()) <= 5_000 + 400
        assert shelf.get(f"{k:064x}") is not None


def test_what_is_not_ours_stays_and_what_was_left_half_written_goes(shelf: Shelf) -> None:
    shelf.put(NAME, BODY)
    for name in ("notes.txt", "ab" * 31, f"{NAME}.txt", NAME.upper()):
        (shelf.folder / name).write_text("mine")
    (shelf.folder / ("cd" * 32)).mkdir()
    (shelf.folder / f".{NAME}.01234567.tmp").write_text("half")
    assert [entry.name for entry in shelf.entries()] == [NAME]
    assert [entry.name for entry in shelf.clear()] == [NAME]
    assert sorted(path.name for path in shelf.folder.iterdir()) == sorted(
        ["notes.txt", "ab" * 31, f"{NAME}.txt", NAME.upper(), "cd" * 32]
    )
    assert shelf.clear() == []


def test_a_draft_is_taken_away_when_its_writer_is_long_gone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=100)
    old, young = (tmp_path / f".{NAME}.0000000{k}.tmp" for k in (1, 2))
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 200_000,) * 2)
    shelf.put(NAME, bytes(200))
    assert (old.exists(), young.exists()) == (False, True)


def test_a_failed_write_leaves_nothing_behind(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put(NAME, BODY)

    def full(old: object, new: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        shelf.put(NAME, b"other")
    assert [path.name for path in shelf.folder.iterdir()] == [NAME]
    assert shelf.get(NAME) is not None


HAMMER = """
import sys
from pathlib import Path
from cartesia_cli.cache import Shelf
shelf = Shelf(Path(sys.argv[1]), most=20_000)
for turn in range(150):
    name = f"{turn % 7:064x}"
    shelf.put(name, name.encode() * 30)
    found = shelf.get(name)
    assert found is None or found[0] == name.encode() * 30
    if turn % 50 == 49:
        shelf.entries()
"""


def test_processes_at_once_never_see_half_an_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "answers")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr.decode()
    shelf = Shelf(tmp_path / "answers")
    assert shelf.entries()
    for entry in shelf.entries():
        found = shelf.get(entry.name)
        assert found is not None and found[0] == entry.name.encode() * 30


# The question ----------------------------------------------------------------------------------------------


def test_a_question_is_answered_from_what_was_kept(shelf: Shelf, talk: Path, tmp_path: Path) -> None:
    question = asked(shelf, talk)
    assert question.recall(words=True) is None
    assert question.keep(BODY) is None
    copy = tmp_path / "another name.mp3"
    copy.write_bytes(talk.read_bytes())
    for path in (talk, copy):
        known = asked(shelf, path).recall(words=True)
        assert known is not None
        assert (known.body, known.response) == (BODY, ANSWER)
        assert abs(known.kept - time.time()) < 600


def test_whatever_an_answer_depends_on_makes_another_question(shelf: Shelf, talk: Path, tmp_path: Path) -> None:
    asked(shelf, talk).keep(BODY)
    other = tmp_path / "other.wav"
    other.write_bytes(talk.read_bytes() + b"\0")
    questions = [
        asked(shelf, other),
        asked(shelf, talk, server=""),
        *(asked(shelf, talk, replace(PLAIN, **{name: value})) for name, value in
          {"model": "m", "language": "de", "encoding": "pcm_s16le", "sample_rate": 16000}.items()),
    ]  # fmt: skip
    assert all(question.recall(words=False) is None for question in questions)
    assert asked(shelf, talk, replace(PLAIN, language="en")).recall(words=False)  # the default
    assert len({question.name for question in questions}) == len(questions)


def test_one_entry_answers_every_question_about_a_recording(shelf: Shelf, talk: Path) -> None:
    for options in (PLAIN, TIMED):
        asked(shelf, talk, options).keep(BODY)
    assert len(shelf.entries()) == 1
    for options in (PLAIN, TIMED):
        known = asked(shelf, talk, options).recall(words=True)
        assert known is not None and known.response == ANSWER


def test_entries_of_earlier_versions_are_used_where_they_know_enough(shelf: Shelf, talk: Path) -> None:
    """Those kept answers without word times under the bare name, and others under the name that is used now."""
    name = asked(shelf, talk).name
    shelf.put(name, encode_batch(replace(ANSWER, words=None)))
    text = asked(shelf, talk).recall(words=False)
    assert text is not None and text.response == replace(ANSWER, words=None)
    assert asked(shelf, talk).recall(words=True) is None
    shelf.put(f"{name}.words", BODY)
    assert asked(shelf, talk).recall(words=True) == asked(shelf, talk).recall(words=False) != text
    assert asked(shelf, talk).keep(BODY) is None
    assert [entry.name for entry in shelf.entries()] == [f"{name}.words"]


def test_an_answer_that_can_not_be_read_any_more_is_none(shelf: Shelf, talk: Path) -> None:
    question = asked(shelf, talk)
    question.keep(b'{"no": "text"}')
    assert question.recall(words=False) is None


def replaced(path: Path) -> None:
    path.rename(path.with_name("other.wav"))
    write_wav(path)


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(b"new"), lambda path: os.utime(path, (1, 1)), Path.unlink, replaced]
)
def test_a_recording_that_changed_while_it_was_sent_is_not_kept(
    shelf: Shelf, talk: Path, change: Callable[[Path], object]
) -> None:
    question = asked(shelf, talk)
    change(talk)
    assert question.keep(BODY)
    assert shelf.entries() == []


def test_a_recording_that_changes_while_it_is_read_asks_nothing(
    shelf: Shelf, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing:
        """A digest in whose time the recording grows."""

        def __init__(self) -> None:
            self._real = hashlib.sha256()
            self._growths = 3

        def update(self, block: bytes) -> None:
            self._real.update(block)
            if self._growths:
                self._growths -= 1
                with talk.open("ab") as file:
                    file.write(b"x")

        def hexdigest(self) -> str:
            return self._real.hexdigest()

    monkeypatch.setattr(prints, "sha256", Changing)
    assert Cache(shelf, "s").question(talk, PLAIN) is None


def test_what_is_no_file_to_go_by_asks_nothing(shelf: Shelf, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing.wav", tmp_path, tmp_path / "pipe"):
        assert Cache(shelf, "s").question(path, PLAIN) is None


def test_a_folder_that_can_not_be_written_is_told_and_no_more(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    question = asked(Shelf(tmp_path / "file" / "answers"), talk)
    assert question.recall(words=False) is None
    assert question.keep(BODY) in ("Not a directory", "File exists")


def test_where_answers_are_kept() -> None:
    home = {"HOME": "/home/me"}
    assert place(home, "linux") == Path("/home/me/.cache/cartesia-cli/answers")
    assert place(home, "darwin") == Path("/home/me/Library/Caches/cartesia-cli/answers")
    assert place(home | {"LOCALAPPDATA": "/local"}, "win32") == Path("/local/cartesia-cli/answers")
    for platform in ("linux", "darwin", "win32"):
        assert place(home | {"XDG_CACHE_HOME": "/tmp/c"}, platform) == Path("/tmp/c/cartesia-cli/answers")
    assert place(home | {"XDG_CACHE_HOME": "c"}, "linux") == place(home, "linux")
    assert place({"HOME": "nowhere"}, "linux") is None


@pytest.mark.engine
def test_servers_and_engines_are_told_apart(tmp_path: Path) -> None:
    names = [address("https://a", "stt"), address("https://a", "openai"), address("https://b", "stt"), engine(None),
             engine("small"), engine(str(tmp_path))]  # fmt: skip
    (tmp_path / "model.bin").write_bytes(b"1")
    names.append(engine(str(tmp_path)))
    (tmp_path / "model.bin").write_bytes(b"12")
    names.append(engine(str(tmp_path)))
    assert len(set(names)) == len(names)
    assert engine(str(tmp_path)) == names[-1]
    assert "faster-whisper" in engine(None)


# The program -----------------------------------------------------------------------------------------------


def program(
    home: Path, server: FaultServer, *arguments: object, **changes: str | None
) -> subprocess.CompletedProcess[bytes]:
    """A run with a key, in a home that lasts from run to run."""
    return subprocess.run(
        [sys.executable, "-m", "cartesia_cli", *map(str, arguments)],
        env=with_a_key(home, server.base_url, **changes),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_second_run_costs_nothing_and_says_the_same(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine", refuses(400)) as server:
        first = program(tmp_path, server, "transcribe", talk, "-w", "-f", "json")
        assert (first.returncode, first.stderr) == (0, b"")
        second = program(tmp_path, server, "transcribe", talk, "-w", "-f", "json")
        assert (second.returncode, second.stdout) == (0, first.stdout)
        assert second.stderr == b"1 of 1 transcribed, 1.9 s of audio, from cache, 0 credits\n"
        assert len(server.requests) == 1


def test_another_format_costs_nothing(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine", refuses(400)) as server:
        program(tmp_path, server, "transcribe", talk, "-f", "srt")
        for name in ("vtt", "tsv", "text", "md"):
            assert program(tmp_path, server, "transcribe", talk, "-f", name).returncode == 0
        assert len(server.requests) == 1
        assert program(tmp_path, server, "transcribe", talk, "-l", "fr").returncode == 5
        assert program(tmp_path, server, "transcribe", talk, "--endpoint", "openai").returncode == 5


def test_no_cache_neither_reads_nor_writes(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk, "--no-cache")
        assert not (tmp_path / ".cache").exists()
        program(tmp_path, server, "transcribe", talk)
        done = program(tmp_path, server, "transcribe", talk, "--no-cache")
        assert (done.stdout.decode(), done.stderr) == (TEXT + "\n", b"")
        assert len(server.requests) == 3


def test_the_configuration_can_do_without(tmp_path: Path, talk: Path) -> None:
    (tmp_path / ".config" / "cartesia-cli").mkdir(parents=True)
    (tmp_path / ".config" / "cartesia-cli" / "config.toml").write_text("[transcribe]\nno_cache = true\n")
    with FaultServer("fine") as server:
        assert program(tmp_path, server, "transcribe", talk).returncode == 0
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize(
    "fault",
    [refuses(400), refuses(500), answers(b'{"text": 5}'), answers(b"<html>"), answers({"no": "text"}),
     "resets_during_answer", "closes_during_answer", "ends_inside_a_chunk"],
)  # fmt: skip
def test_a_failure_is_not_kept(tmp_path: Path, talk: Path, fault: str | Callable[[Exchange], None]) -> None:
    with FaultServer(fault, "fine") as server:
        assert program(tmp_path, server, "transcribe", talk, "--retries", "0").returncode in (5, 6)
        assert program(tmp_path, server, "cache", "-f", "json").stdout.count(b'"entries": 0') == 1
        done = program(tmp_path, server, "transcribe", talk)
        assert (done.stdout.decode(), done.stderr) == (TEXT + "\n", b"")


def test_several_of_which_some_are_known(tmp_path: Path, talk: Path) -> None:
    new = write_wav(tmp_path / "new.wav", 5000)
    with FaultServer("fine", "fine", refuses(400)) as server:
        program(tmp_path, server, "transcribe", talk)
        both = program(tmp_path, server, "transcribe", talk, new, "-f", "ndjson")
        assert [json.loads(line)["source"] for line in both.stdout.splitlines()] == [str(talk), str(new)]
        assert both.stderr == b"2 of 2 transcribed, 3.8 s of audio, 1 from cache, 0.9 credits\n"
        again = program(tmp_path, server, "transcribe", talk, new, "-f", "ndjson")
        assert again.stdout == both.stdout
        assert again.stderr == b"2 of 2 transcribed, 3.8 s of audio, from cache, 0 credits\n"
        assert len(server.requests) == 2


def test_a_dry_run_knows_what_is_known(tmp_path: Path, talk: Path) -> None:
    new = write_wav(tmp_path / "new.wav", 5000)
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk)
        table = program(tmp_path, server, "transcribe", "--dry-run", talk, new)
        assert [line.split()[2] for line in table.stdout.splitlines()[1:]] == [b"0.0", b"0.1", b"0.1"]
        assert b"1 of 2 would come from the cache, for nothing" in table.stderr
        report = json.loads(program(tmp_path, server, "transcribe", "--dry-run", talk, new, "--json").stdout)
        assert [item.get("cached") for item in report["inputs"]] == [True, None]
        assert report["inputs"][0]["credits"] == 0
        assert report["credits"] == report["inputs"][1]["credits"] > 0
        assert len(server.requests) == 1


def test_no_key_and_no_name_is_in_the_cache(tmp_path: Path, talk: Path) -> None:
    with FaultServer(answers({**TRANSCRIPT, "echo": f"Bearer {KEY}"})) as server:
        program(tmp_path, server, "transcribe", talk)
        program(tmp_path, server, "transcribe", talk, "-l", "de")
    files = list((tmp_path / ".cache" / "cartesia-cli" / "answers").iterdir())
    assert len(files) == 2
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for secret in (KEY, "talk", str(tmp_path)):
            assert secret.encode() not in file.name.encode() + file.read_bytes().replace(b"transcript", b"")


@pytest.mark.parametrize("folder", ["/dev/null", "/proc/self"])
def test_a_cache_that_can_not_be_written_costs_a_line_at_most(tmp_path: Path, talk: Path, folder: str) -> None:
    with FaultServer("fine") as server:
        done = program(tmp_path, server, "transcribe", talk, XDG_CACHE_HOME=folder)
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, TEXT + "\n", b"")
        told = program(tmp_path, server, "transcribe", talk, "-v", XDG_CACHE_HOME=folder)
        assert told.stdout.decode() == TEXT + "\n"
        assert [line for line in told.stderr.splitlines() if b"not kept in the cache: " in line]


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk)
        (file,) = (tmp_path / ".cache" / "cartesia-cli" / "answers").iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        done = program(tmp_path, server, "transcribe", talk)
        assert (done.stdout.decode(), done.stderr) == (TEXT + "\n", b"")
        assert b"from cache" in program(tmp_path, server, "transcribe", talk).stderr
        assert len(server.requests) == 2


def test_what_came_by_stdin_is_known_as_well(run: Run, talk: Path) -> None:
    with FaultServer("fine") as server:
        cloud = {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": server.base_url}
        for _ in range(2):
            done = run("transcribe", "-", stdin=talk.read_bytes(), env=cloud)
            assert done.stdout.decode() == TEXT + "\n"
        assert run("transcribe", talk, env=cloud).returncode == 0
        assert len(server.requests) == 1


@pytest.mark.engine
def test_this_machine_does_not_listen_twice_either(run: Run) -> None:
    sample = Path(room.__file__).parent / "sample.wav"
    first = run("transcribe", "--local", sample, "-w", "--json")
    second = run("transcribe", "--local", sample, "-w", "--json")
    assert first.stdout == second.stdout != b""
    assert (first.stderr, second.stderr) == (b"", b"1 of 1 transcribed, 10.8 s of audio, from cache, 0 credits\n")
    other = run("transcribe", "--local", "--local-model", "no such model", sample)
    assert other.returncode == 1


def test_the_cache_is_shown_and_cleared(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk)
        program(tmp_path, server, "transcribe", talk, "-l", "de")
        folder = tmp_path / ".cache" / "cartesia-cli" / "answers"
        size = sum(file.stat().st_size for file in folder.iterdir())
        shown = program(tmp_path, server, "cache").stdout.decode().splitlines()
        assert shown[0].split() == ["folder", str(folder)]
        assert [line.split()[:2] for line in shown[1:3]] == [["answers", "2"], ["size", str(size)]]
        assert [line.split()[0] for line in shown[3:]] == ["oldest", "newest"]
        report = json.loads(program(tmp_path, server, "cache", "-f", "json").stdout)
        assert (report["folder"], report["entries"], report["most_bytes"]) == (str(folder), 2, 200_000_000)
        assert report["bytes"] == size
        cleared = program(tmp_path, server, "cache", "clear")
        assert (cleared.returncode, cleared.stdout) == (0, b"")
        assert cleared.stderr.startswith(b"removed 2 answers, ")
        assert list(folder.iterdir()) == []
        assert json.loads(program(tmp_path, server, "cache", "clear", "--format", "json").stdout)["entries"] == 0
        assert program(tmp_path, server, "cache", "burn").returncode == 2


# What is kept beside the output ----------------------------------------------------------------------------


def test_the_servers_answer_is_kept_as_it_came(tmp_path: Path, talk: Path) -> None:
    body = b'{ "text":"The  quick brown fox.","language":"en",\n"new": [1, 2.50]}\n'
    with FaultServer(answers(body)) as server:
        done = program(tmp_path, server, "transcribe", talk, "--keep-json", "raw")
        assert done.stdout == b"The  quick brown fox.\n"
        assert (tmp_path / "raw" / "talk.json").read_bytes() == body
        assert done.stderr == b"wrote raw/talk.json\n"
        known = program(tmp_path, server, "transcribe", talk, "--keep-json", "again")
        assert (tmp_path / "again" / "talk.json").read_bytes() == body
        assert b"from cache" in known.stderr
        assert len(server.requests) == 1


def test_a_kept_answer_is_not_overwritten_without_force(tmp_path: Path, talk: Path) -> None:
    (tmp_path / "talk.json").write_text("mine")
    with FaultServer("fine") as server:
        refused = program(tmp_path, server, "transcribe", talk, "--keep-json", ".")
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert b"talk.json exists" in refused.stderr
        assert (tmp_path / "talk.json").read_text() == "mine"
        assert not server.requests
        assert program(tmp_path, server, "transcribe", talk, "--keep-json", ".", "--force").returncode == 0
        assert json.loads((tmp_path / "talk.json").read_bytes()) == TRANSCRIPT


def test_an_answer_and_a_transcript_never_share_a_file(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        for place in (["-o", "talk.json"], ["--output-dir", "./", "-f", "json,srt"]):
            done = program(tmp_path, server, "transcribe", talk, *place, "--keep-json", ".", "--force")
            assert (done.returncode, server.requests) == (2, [])
            assert b"talk.json is where a transcript goes" in done.stderr


def test_each_of_several_answers_has_its_file(tmp_path: Path, talk: Path) -> None:
    (tmp_path / "more").mkdir()
    write_wav(tmp_path / "more" / "talk.wav")
    with FaultServer("fine") as server:
        done = program(tmp_path, server, "transcribe", talk, "more", "-f", "ndjson", "--keep-json", "raw")
        assert done.returncode == 2  # both are called talk.wav
        assert b"would both be written" in done.stderr
        write_wav(tmp_path / "b.wav", 5000)
        done = program(tmp_path, server, "transcribe", talk, "b.wav", "-f", "ndjson", "--keep-json", "raw")
        assert done.returncode == 0
        assert sorted(file.name for file in (tmp_path / "raw").iterdir()) == ["b.json", "talk.json"]


def test_an_answer_that_can_not_be_kept_costs_no_transcript(tmp_path: Path, talk: Path) -> None:
    (tmp_path / "talk.json").symlink_to("/dev/full")
    with FaultServer("fine") as server:
        done = program(tmp_path, server, "transcribe", talk, "--keep-json", ".")
    assert (done.returncode, done.stdout.decode()) == (1, TEXT + "\n")
    assert b"talk.json: can't be written: No space left on device" in done.stderr
