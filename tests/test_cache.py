"""The cache: no request is paid or waited for twice, and nothing but what was stored comes out, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cartesia_cli
from cartesia_cli.cache import Cache, Lookup, Store, engine_identity, server_identity
from cartesia_cli.protocol.batch import BatchOptions, BatchResponse, encode_batch
from cartesia_cli.protocol.json_fields import Word
from tests.conftest import Run
from tests.fault_server import KEY, TEXT, TRANSCRIPT, Exchange, FaultServer, answers, refuses, write_wav
from tests.fault_server import environment as with_a_key
from tests.fork_server import run_program

PLAIN = BatchOptions(model="ink-whisper")
TIMED = PLAIN._replace(word_timestamps=True)
ANSWER = BatchResponse(text="Hi.", words=(Word("Hi.", 0.0, 0.5),), duration=1.0)
BODY = encode_batch(ANSWER)
NAME = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache" / "answers")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav")


def lookup(store: Store, path: Path, options: BatchOptions = PLAIN, server: str = "s") -> Lookup:
    found = Cache(store, server).lookup(path, options)
    assert found is not None
    return found


# The store -------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_store_returns_what_was_written_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(NAME, body)
    found = Store(store.directory).read(NAME)
    assert found is not None and found[0] == body
    assert store.read("cd" * 32) is None


def test_only_the_owner_can_read_directory_and_files(store: Store) -> None:
    store.write(NAME, BODY)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()] == [0o600]
    store.directory.chmod(0o755)
    store.write(NAME, BODY)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


@given(st.data())
def test_damaged_file_is_ignored_and_removed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(NAME, BODY)
    whole = (store.directory / NAME).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[at + 1 :], whole + b" "]
        )
    )
    (store.directory / NAME).write_bytes(damaged)
    assert store.read(NAME) is None
    assert not (store.directory / NAME).exists()


def test_oldest_responses_are_evicted_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "answers", max_bytes=10_000)
    names = [f"{k:064x}" for k in range(20)]
    for age, name in enumerate(reversed(names)):
        store.write(name, bytes(300))
        os.utime(store.directory / name, (1e9 + 20 - age, 1e9 + 20 - age))
    assert [entry.name for entry in store.entries()] == names
    later = Store(store.directory, max_bytes=5_000)
    later.write("f" * 64, bytes(300))
    left = later.entries()
    assert sum(entry.bytes for entry in left) <= 5_000 * 0.75
    assert [entry.name for entry in left] == [*names, "f" * 64][-len(left) :]
    assert len(left) >= 9


def test_store_never_exceeds_its_limit_during_a_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "answers", max_bytes=5_000)
    for k in range(100):
        store.write(f"{k:064x}", bytes(300))
        assert sum(entry.bytes for entry in store.entries()) <= 5_000 + 400
        assert store.read(f"{k:064x}") is not None


def test_clear_removes_responses_and_temporary_files_only(store: Store) -> None:
    store.write(NAME, BODY)
    for name in ("notes.txt", "ab" * 31, f"{NAME}.txt", NAME.upper()):
        (store.directory / name).write_text("mine")
    (store.directory / ("cd" * 32)).mkdir()
    (store.directory / ".cartesia-cli.01234567.tmp").write_text("half")
    assert [entry.name for entry in store.entries()] == [NAME]
    assert [entry.name for entry in store.clear()] == [NAME]
    assert sorted(path.name for path in store.directory.iterdir()) == sorted(
        ["notes.txt", "ab" * 31, f"{NAME}.txt", NAME.upper(), "cd" * 32]
    )
    assert store.clear() == []


def test_eviction_removes_abandoned_temporary_files(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=100)
    old, young = (tmp_path / f".cartesia-cli.0000000{k}.tmp" for k in (1, 2))
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 200_000,) * 2)
    store.write(NAME, bytes(200))
    assert (old.exists(), young.exists()) == (False, True)


def test_failed_write_leaves_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(NAME, BODY)

    def full(old: object, new: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(NAME, b"other")
    assert [path.name for path in store.directory.iterdir()] == [NAME]
    assert store.read(NAME) is not None


HAMMER = """
import sys
from pathlib import Path
from cartesia_cli.cache import Store
store = Store(Path(sys.argv[1]), max_bytes=20_000)
for turn in range(150):
    name = f"{turn % 7:064x}"
    store.write(name, name.encode() * 30)
    found = store.read(name)
    assert found is None or found[0] == name.encode() * 30
    if turn % 50 == 49:
        store.entries()
"""


def test_concurrent_processes_never_read_a_partial_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "answers")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr.decode()
    store = Store(tmp_path / "answers")
    assert store.entries()
    for entry in store.entries():
        found = store.read(entry.name)
        assert found is not None and found[0] == entry.name.encode() * 30


# The lookup ---------------------------------------------------------------------------------------------


def test_lookup_finds_the_response_of_the_same_audio_under_any_name(store: Store, talk: Path, tmp_path: Path) -> None:
    unknown = lookup(store, talk)
    assert unknown.find() is None
    assert unknown.save(BODY) is None
    copy = tmp_path / "another name.mp3"
    copy.write_bytes(talk.read_bytes())
    for path in (talk, copy):
        known = lookup(store, path).find()
        assert known is not None
        assert (known.body, known.parsed) == (BODY, ANSWER)
        assert abs(known.received_at - time.time()) < 600


def test_lookup_depends_on_audio_options_and_server(store: Store, talk: Path, tmp_path: Path) -> None:
    lookup(store, talk).save(BODY)
    other = tmp_path / "other.wav"
    other.write_bytes(talk.read_bytes() + b"\0")
    others = [
        lookup(store, other),
        lookup(store, talk, server=""),
        *(lookup(store, talk, PLAIN._replace(**{name: value})) for name, value in
          {"model": "m", "language": "de", "encoding": "pcm_s16le", "sample_rate": 16000}.items()),
    ]  # fmt: skip
    assert all(other.find() is None for other in others)
    assert lookup(store, talk, PLAIN._replace(language="en")).find()  # the default
    assert len({other.name for other in others}) == len(others)


def test_word_times_make_no_second_entry(store: Store, talk: Path) -> None:
    for options in (PLAIN, TIMED):
        lookup(store, talk, options).save(BODY)
    assert len(store.entries()) == 1
    for options in (PLAIN, TIMED):
        known = lookup(store, talk, options).find()
        assert known is not None and known.parsed == ANSWER


def test_entries_of_version_0_1_0_are_used_if_they_have_word_times(store: Store, talk: Path) -> None:
    known = lookup(store, talk)
    bare = known.name.removesuffix(".words")
    store.write(bare, encode_batch(ANSWER._replace(words=None)))
    assert known.find() is None
    store.write(f"{bare}.words", BODY)
    found = known.find()
    assert found is not None and found.parsed == ANSWER
    assert len(store.clear()) == 2


def test_response_that_can_not_be_decoded_is_not_found(store: Store, talk: Path) -> None:
    undecodable = lookup(store, talk)
    assert undecodable.save(b'{"no": "text"}') is None
    assert undecodable.find() is None


def replaced(path: Path) -> None:
    path.rename(path.with_name("other.wav"))
    write_wav(path)


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(b"new"), lambda path: os.utime(path, (1, 1)), Path.unlink, replaced]
)
def test_recording_that_changed_while_it_was_sent_is_not_stored(
    store: Store, talk: Path, change: Callable[[Path], object]
) -> None:
    before = lookup(store, talk)
    change(talk)
    assert before.save(BODY)
    assert store.entries() == []


def test_recording_that_changes_while_it_is_read_has_no_lookup(
    store: Store, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256

    class Changing:
        """A digest in whose time the recording grows."""

        def __init__(self) -> None:
            self._real = sha256()
            self._growths = 3

        def update(self, block: bytes) -> None:
            self._real.update(block)
            if self._growths:
                self._growths -= 1
                with talk.open("ab") as file:
                    file.write(b"x")

        def hexdigest(self) -> str:
            return self._real.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Changing)
    assert Cache(store, "s").lookup(talk, PLAIN) is None


def test_missing_files_directories_and_pipes_have_no_lookup(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing.wav", tmp_path, tmp_path / "pipe"):
        assert Cache(store, "s").lookup(path, PLAIN) is None


def test_save_returns_why_the_directory_can_not_be_written(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = lookup(Store(tmp_path / "file" / "answers"), talk)
    assert nowhere.find() is None
    assert nowhere.save(BODY) in ("Not a directory", "File exists")


@pytest.mark.engine
def test_servers_and_engines_have_different_identities(tmp_path: Path) -> None:
    servers = [("https://a", "stt"), ("https://a", "openai"), ("https://b", "stt")]
    names = [server_identity(*server) for server in servers]
    names += [engine_identity(model) for model in (None, "small", str(tmp_path))]
    (tmp_path / "model.bin").write_bytes(b"1")
    names.append(engine_identity(str(tmp_path)))
    (tmp_path / "model.bin").write_bytes(b"12")
    names.append(engine_identity(str(tmp_path)))
    assert len(set(names)) == len(names)
    assert engine_identity(str(tmp_path)) == names[-1]
    assert "faster-whisper" in engine_identity(None)


# The program -----------------------------------------------------------------------------------------------


def program(
    home: Path, server: FaultServer, *arguments: object, **changes: str | None
) -> subprocess.CompletedProcess[bytes]:
    """A run with a key, in a home that lasts from run to run."""
    return run_program(
        [*map(str, arguments)],
        env=with_a_key(home, server.base_url, **changes),
        cwd=home,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_second_run_costs_nothing_and_prints_the_same(tmp_path: Path, talk: Path) -> None:
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


def test_configuration_can_disable_the_cache(tmp_path: Path, talk: Path) -> None:
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
def test_failures_are_not_cached(tmp_path: Path, talk: Path, fault: str | Callable[[Exchange], None]) -> None:
    with FaultServer(fault, "fine") as server:
        assert program(tmp_path, server, "transcribe", talk, "--retries", "0").returncode in (5, 6)
        assert program(tmp_path, server, "cache", "-f", "json").stdout.count(b'"entries": 0') == 1
        done = program(tmp_path, server, "transcribe", talk)
        assert (done.stdout.decode(), done.stderr) == (TEXT + "\n", b"")


def test_summary_counts_what_came_from_the_cache(tmp_path: Path, talk: Path) -> None:
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


def test_dry_run_shows_cached_inputs_as_free(tmp_path: Path, talk: Path) -> None:
    new = write_wav(tmp_path / "new.wav", 5000)
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk)
        table = program(tmp_path, server, "transcribe", "--dry-run", talk, new)
        assert [line.split()[2] for line in table.stdout.splitlines()[1:]] == [b"0.0", b"0.1", b"0.1"]
        assert b"1 of 2 would come from the cache, free of charge" in table.stderr
        report = json.loads(program(tmp_path, server, "transcribe", "--dry-run", talk, new, "--json").stdout)
        assert [item.get("cached") for item in report["inputs"]] == [True, None]
        assert report["inputs"][0]["credits"] == 0
        assert report["credits"] == report["inputs"][1]["credits"] > 0
        assert len(server.requests) == 1


def test_cache_contains_neither_key_nor_file_names(tmp_path: Path, talk: Path) -> None:
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
def test_unwritable_cache_is_reported_with_verbose_only(tmp_path: Path, talk: Path, folder: str) -> None:
    with FaultServer("fine") as server:
        done = program(tmp_path, server, "transcribe", talk, XDG_CACHE_HOME=folder)
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, TEXT + "\n", b"")
        told = program(tmp_path, server, "transcribe", talk, "-v", XDG_CACHE_HOME=folder)
        assert told.stdout.decode() == TEXT + "\n"
        assert [line for line in told.stderr.splitlines() if b"talk.wav: not cached: " in line]


def test_damaged_response_is_requested_again(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk)
        (file,) = (tmp_path / ".cache" / "cartesia-cli" / "answers").iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        done = program(tmp_path, server, "transcribe", talk)
        assert (done.stdout.decode(), done.stderr) == (TEXT + "\n", b"")
        assert b"from cache" in program(tmp_path, server, "transcribe", talk).stderr
        assert len(server.requests) == 2


def test_stdin_is_cached_like_a_file(run: Run, talk: Path) -> None:
    with FaultServer("fine") as server:
        cloud = {"CARTESIA_API_KEY": KEY, "CARTESIA_BASE_URL": server.base_url}
        for _ in range(2):
            done = run("transcribe", "-", stdin=talk.read_bytes(), env=cloud)
            assert done.stdout.decode() == TEXT + "\n"
        assert run("transcribe", talk, env=cloud).returncode == 0
        assert len(server.requests) == 1


@pytest.mark.engine
def test_offline_transcriptions_are_cached(run: Run) -> None:
    sample = Path(cartesia_cli.__file__).parent / "sample.wav"
    first = run("transcribe", "--local", sample, "-w", "--json")
    second = run("transcribe", "--local", sample, "-w", "--json")
    assert first.stdout == second.stdout != b""
    assert (first.stderr, second.stderr) == (b"", b"1 of 1 transcribed, 10.8 s of audio, from cache, 0 credits\n")
    other = run("transcribe", "--local", "--local-model", "no such model", sample)
    assert other.returncode == 1


def test_cache_command_shows_and_clears(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        program(tmp_path, server, "transcribe", talk)
        program(tmp_path, server, "transcribe", talk, "-l", "de")
        folder = tmp_path / ".cache" / "cartesia-cli" / "answers"
        size = sum(file.stat().st_size for file in folder.iterdir())
        shown = program(tmp_path, server, "cache").stdout.decode().splitlines()
        assert shown[0].split() == ["directory", str(folder)]
        assert [line.split()[:2] for line in shown[1:3]] == [["responses", "2"], ["size", str(size)]]
        assert [line.split()[0] for line in shown[3:]] == ["oldest", "newest"]
        report = json.loads(program(tmp_path, server, "cache", "-f", "json").stdout)
        assert (report["folder"], report["entries"], report["most_bytes"]) == (str(folder), 2, 200_000_000)
        assert report["bytes"] == size
        cleared = program(tmp_path, server, "cache", "clear")
        assert (cleared.returncode, cleared.stdout) == (0, b"")
        assert cleared.stderr.startswith(b"removed 2 responses, ")
        assert list(folder.iterdir()) == []
        assert json.loads(program(tmp_path, server, "cache", "clear", "--format", "json").stdout)["entries"] == 0
        assert program(tmp_path, server, "cache", "burn").returncode == 2


# --keep-json --------------------------------------------------------------------------------------------------


def test_keep_json_writes_the_response_byte_for_byte(tmp_path: Path, talk: Path) -> None:
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


def test_keep_json_needs_force_to_overwrite(tmp_path: Path, talk: Path) -> None:
    (tmp_path / "talk.json").write_text("mine")
    with FaultServer("fine") as server:
        refused = program(tmp_path, server, "transcribe", talk, "--keep-json", ".")
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert b"talk.json exists" in refused.stderr
        assert (tmp_path / "talk.json").read_text() == "mine"
        assert not server.requests
        assert program(tmp_path, server, "transcribe", talk, "--keep-json", ".", "--force").returncode == 0
        assert json.loads((tmp_path / "talk.json").read_bytes()) == TRANSCRIPT


def test_keep_json_and_transcript_can_not_share_a_file(tmp_path: Path, talk: Path) -> None:
    with FaultServer("fine") as server:
        for place in (["-o", "talk.json"], ["--output-dir", "./", "-f", "json,srt"]):
            done = program(tmp_path, server, "transcribe", talk, *place, "--keep-json", ".", "--force")
            assert (done.returncode, server.requests) == (2, [])
            assert b"talk.json is where a transcript goes" in done.stderr


def test_keep_json_writes_one_file_for_each_input(tmp_path: Path, talk: Path) -> None:
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


def test_keep_json_failure_loses_no_transcript(tmp_path: Path, talk: Path) -> None:
    (tmp_path / "talk.json").symlink_to("/dev/full")
    with FaultServer("fine") as server:
        done = program(tmp_path, server, "transcribe", talk, "--keep-json", ".")
    assert (done.returncode, done.stdout.decode()) == (1, TEXT + "\n")
    assert b"talk.json: can't be written: No space left on device" in done.stderr
