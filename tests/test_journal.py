"""The journal of an output directory: what it finds again, after torn lines and kills, and between processes."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cartesia_cli.scale import journal as journal_module
from cartesia_cli.scale import journal_index
from cartesia_cli.scale.journal import Journal, file_name
from cartesia_cli.scale.journal_lines import RecordingOutcome, RunEvent, decode, encode
from cartesia_cli.scale.shards import Shard

DONE = RecordingOutcome(
    "monday/talk.mp3",
    "done",
    "/data/monday/talk.mp3",
    run="",
    time=0.0,
    audio="a" * 64,
    stat=(66, 131, 86444, 17959284 * 10**11, 17959284 * 10**11),
    options="model ink-whisper, language en",
    model="ink-whisper",
    files={"monday/talk.txt": "b" * 64, "monday/talk.srt": "c" * 64},
    seconds=10.8,
    credits=5.4,
)
FAILED = RecordingOutcome(
    "b.mp3", "failed", "/data/b.mp3", run="", time=0.0, error={"type": "network", "message": "connection refused"}
)

Open = Callable[..., Journal]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def begin(out: Path) -> Iterator[Open]:
    """Begins a run. One at a time: the locks of a process are released with the first of its journals."""
    opened: list[Journal] = []

    def start(shard: Shard | None = None) -> Journal:
        while opened:
            opened.pop().close()
        opened.append(Journal(out, shard, on_failure=pytest.fail, on_detail=pytest.fail))
        opened[-1].start()
        return opened[-1]

    yield start
    while opened:
        opened.pop().close()


def lines(out: Path, shard: Shard | None = None) -> list[bytes]:
    return (out / ".cartesia-cli" / file_name(shard)).read_bytes().splitlines(keepends=True)


def same(outcome: RecordingOutcome | None) -> RecordingOutcome | None:
    """An outcome as it was before it was added."""
    return None if outcome is None else replace(outcome, run="", time=0.0)


def test_recordings_are_found_by_name_by_result_and_by_content(begin: Open, out: Path) -> None:
    journal = begin()
    journal.add(DONE)
    journal.add(FAILED)
    for again in (False, True):
        journal = begin() if again else journal
        assert same(journal.outcome("monday/talk.mp3")) == DONE
        assert same(journal.outcome("b.mp3")) == FAILED
        assert journal.outcome("monday/talk.txt") is None
        found = journal.find_results(
            [out / "monday" / "talk.srt", out / "talk.srt", out.parent / "monday" / "talk.txt"]
        )
        assert {name: same(outcome) for name, outcome in found.items()} == {str(out / "monday" / "talk.srt"): DONE}
        results = {name: same(outcome) for name, outcome in journal.results_of("a" * 64)}
        assert results == dict.fromkeys(DONE.files, DONE)
        assert journal.results_of("b" * 64) == []
        assert [same(outcome) for outcome in journal.outcomes()] == [DONE, FAILED]


def test_last_line_about_a_recording_or_a_result_counts(begin: Open, out: Path) -> None:
    journal = begin()
    journal.add(DONE)
    journal.add(replace(DONE, files={"monday/talk.vtt": "d" * 64}, audio="e" * 64))
    journal.add(replace(FAILED, recording=DONE.recording))
    for again in (False, True):
        journal = begin() if again else journal
        outcome = journal.outcome(DONE.recording)
        assert outcome is not None and outcome.state == "failed"
        found = journal.find_results([out / "monday" / f"talk.{suffix}" for suffix in ("txt", "srt", "vtt")])
        assert [outcome.audio for outcome in found.values()] == ["a" * 64, "a" * 64, "e" * 64]
        # Results stay those of what they were made from.
        assert sorted(name for name, _ in journal.results_of("a" * 64)) == ["monday/talk.srt", "monday/talk.txt"]
        assert [name for name, _ in journal.results_of("e" * 64)] == ["monday/talk.vtt"]
        assert len(list(journal.outcomes())) == 1


def test_of_lines_in_several_shards_the_latest_counts(begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (shard, state) in enumerate([(Shard(1, 2), FAILED), (Shard(2, 3), DONE), (None, FAILED)]):
        for later in (100, 0):
            monkeypatch.setattr(journal_module.time, "time", lambda now=1000 + 10 * number + later: now)
            begin(shard).add(replace(state, recording="x", model=str(later)))
    outcome = begin().outcome("x")
    assert outcome is not None and (outcome.state, outcome.model) == ("failed", "0")  # the last line of the last file
    assert sorted(os.listdir(out / ".cartesia-cli")) == [
        "journal.1-of-2.jsonl", "journal.2-of-3.jsonl", "journal.jsonl", "lock",
    ]  # fmt: skip


def test_names_that_are_not_unicode_are_kept(begin: Open, out: Path) -> None:
    begin().add(replace(DONE, recording="a\udcff.mp3", files={"a\udcff ü.txt": "b" * 64}))
    journal = begin()
    assert journal.outcome("a\udcff.mp3") is not None
    assert list(journal.find_results([out / "a\udcff ü.txt"])) == [str(out / "a\udcff ü.txt")]
    assert (out / ".cartesia-cli" / "journal.jsonl").read_bytes().isascii()


GARBAGE = [
    b"",
    b"\n",
    b"\x00" * 512,
    b"{}\n",
    b"[1]\n",
    b'"recording"\n',
    b"\xff\xfe\n",
    b"[" * 100_000 + b"\n",
    b'{"recording": "monday/talk.mp3"}\n',
    b'{"recording": "monday/talk.mp3", "state": "done", "source": "", "run": "", "time": "soon"}\n',
    b"x" * 3_000_000 + b"\n",
    b'{"run": "1", "event": "exploded", "time": "2026-11-29T05:10:11.123+00:00"}\n',
    *(
        encode(replace(DONE, **change)).replace(b"5.4", b"1e999")
        for change in ({"files": {"../x": ""}}, {"files": {"/etc/x": ""}}, {})
    ),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_lines_that_are_not_of_a_journal_are_ignored(garbage: bytes, begin: Open, out: Path) -> None:
    begin().add(DONE)
    with (out / ".cartesia-cli" / "journal.jsonl").open("ab") as file:
        file.write(garbage)
    begin().add(FAILED)
    with (out / ".cartesia-cli" / "journal.jsonl").open("ab") as file:
        file.write(garbage)
    journal = begin()
    assert [same(outcome) for outcome in journal.outcomes()] == [DONE, FAILED]
    assert [event.event for event in journal.events()] == ["started"] * 3


def test_every_torn_last_line_is_ignored_and_closed(begin: Open, out: Path) -> None:
    begin().add(FAILED)
    whole = (out / ".cartesia-cli" / "journal.jsonl").read_bytes()
    torn = encode(DONE)
    for length in range(0, len(torn), 7):
        (out / ".cartesia-cli" / "journal.jsonl").write_bytes(whole + torn[:length])
        journal = begin()
        assert [same(outcome) for outcome in journal.outcomes()] == [FAILED]
        journal.add(DONE)
        assert [same(outcome) for outcome in begin().outcomes()] == [FAILED, DONE]
        assert sum(decode(line) is None for line in lines(out)) == (length > 0)


def test_disk_that_is_full_leaves_no_half_line_and_is_reported_once(begin: Open, out: Path) -> None:
    begin().add(DONE)
    failures: list[str] = []
    journal = Journal(out, on_failure=failures.append)
    journal.start()
    before = lines(out)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(b"".join(before)) + 10, limits[1]))  # for a part of a line
    try:
        journal.add(FAILED)
        journal.add(FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.close()
    assert lines(out) == before
    assert len(failures) == 1 and "the journal can't be written: 10 of" in failures[0]


def test_directory_that_cannot_be_written_is_reported_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    reports: list[str] = []
    journal = Journal(tmp_path / "file", on_failure=reports.append)
    journal.start()
    journal.add(DONE)
    assert journal.claim("a")
    assert journal.outcome(DONE.recording) is None
    journal.finish()
    assert len(reports) == 1 and "Not a directory" in reports[0]


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o2775])
def test_who_may_write_results_may_write_the_journal(mode: int, begin: Open, out: Path) -> None:
    out.mkdir()
    out.chmod(mode)
    begin().add(DONE)
    for path in (out / ".cartesia-cli", *(out / ".cartesia-cli").iterdir()):
        assert path.stat().st_mode & 0o022 == mode & 0o022, path


def test_reading_creates_nothing(out: Path) -> None:
    journal = Journal(out)
    assert journal.outcome("a") is None and journal.events() == [] and journal.count_claimed() == 0
    assert not out.exists()


def test_outdated_lines_are_removed_when_no_other_run_uses_the_directory(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 20)
    first = begin()
    first.add(DONE)
    for number in range(12):
        first.add(FAILED)
        first.add(replace(FAILED, recording=f"{number}.mp3"))
    assert len(lines(out)) == 26
    begin()
    assert len(lines(out)) == 27  # half of them are current
    for _ in range(20):
        begin().add(replace(FAILED, model="last"))
    assert len(lines(out)) < 40
    outcomes = list(begin().outcomes())
    assert len(outcomes) == 14 and same(outcomes[0]) == DONE
    assert [outcome.model for outcome in outcomes if outcome.recording == "b.mp3"] == ["last"]


def test_earlier_outcomes_are_not_those_of_another_run_after_lines_were_removed(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 5)
    first = begin()
    first.add(DONE)
    for _ in range(9):
        first.add(FAILED)
    waiting = Journal(out)
    journal = begin()
    assert len(lines(out)) < 9
    assert journal.outcome(DONE.recording) is not None and journal.outcome_elsewhere(DONE.recording) is None
    journal.add(replace(DONE, recording="c.mp3"))
    journal.finish()
    waiting.start()
    assert waiting.outcome(DONE.recording) is not None and waiting.outcome_elsewhere(DONE.recording) is None
    found = waiting.outcome_elsewhere("c.mp3")
    assert found is not None and found.run == journal.run
    waiting.close()


def test_all_lines_stay_if_there_is_no_space_to_find_those_that_count(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 5)
    first = begin()
    first.add(DONE)
    for _ in range(9):
        first.add(FAILED)
    first.close()
    before, query = lines(out), journal_index.JournalIndex._query
    failures: list[str] = []

    def fail(index: journal_index.JournalIndex, text: str, *values: int) -> list[Any]:
        if "UNION" in text:
            index.close()
        return query(index, text, *values)

    monkeypatch.setattr(journal_index.JournalIndex, "_query", fail)
    journal = Journal(out, on_failure=failures.append)
    journal.start()
    journal.close()
    assert lines(out)[: len(before)] == before
    assert len(failures) == 1


def test_lines_stay_and_locks_hold_if_there_is_no_space_to_rewrite_the_journal(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 5)
    first = begin()
    for _ in range(9):
        first.add(FAILED)
    first.close()
    before = lines(out)

    def fail_for_want_of_space(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cartesia_cli.scale.journal.write_atomically", fail_for_want_of_space)
    told: list[str] = []
    journal = Journal(out, on_detail=told.append)
    journal.start()
    assert lines(out)[:-1] == before and told == []
    journal.close()


def test_events_of_the_last_run_stay_together_though_runs_were_mixed(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 5)
    first, second = Journal(out), Journal(out)
    for journal in (first, second):
        journal.start()
    for _ in range(9):
        first.add(FAILED)
    first.finish()
    second.finish()
    later = begin()
    assert [(event.run, event.event) for event in later.events()] == [
        (second.run, "started"), (second.run, "finished"), (later.run, "started")
    ]  # fmt: skip


def test_a_line_stays_while_it_names_a_result(begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 5)
    begin().add(DONE)
    for _ in range(10):
        begin().add(replace(FAILED, recording=DONE.recording))
    journal = begin()
    assert len(lines(out)) < 10
    assert [outcome.audio for outcome in journal.find_results([out / "monday" / "talk.txt"]).values()] == [DONE.audio]


def test_events_of_runs_are_kept_in_order(begin: Open) -> None:
    journal = begin(Shard(3, 8))
    journal.record_input_count(20, 5)
    journal.finish()
    later = Journal(journal.directory)
    started, inputs, finished = later.events()
    assert (started.event, started.shard, started.pid, started.run) == ("started", "3/8", os.getpid(), journal.run)
    assert (inputs.inputs, inputs.skipped, finished.event) == (20, 5, "finished")


def test_lines_hold_only_known_fields() -> None:
    facts = json.loads(encode(DONE))
    assert " ".join(facts) == "recording state source run time audio stat options model files seconds credits"
    assert list(json.loads(encode(RunEvent("1", "finished", 0.0)))) == ["run", "event", "time"]


# Several processes -----------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
from cartesia_cli.scale.journal import Journal
from cartesia_cli.scale.journal_lines import RecordingOutcome
from cartesia_cli.scale.shards import Shard
journal = Journal(Path(sys.argv[1]), on_failure=sys.exit, on_detail=sys.exit)
journal.start()
print("started", flush=True)
sys.stdin.readline()
for number in range(100):
    name = f"{number}.mp3"
    if journal.claim(name):
        if journal.outcome_elsewhere(name) is None:
            print(name, flush=True)
            journal.add(RecordingOutcome(name, "done", name, "", 0.0))
        journal.release(name)
"""


def test_processes_divide_recordings_among_themselves(out: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(out)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        for _ in range(4)
    ]
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    worked = [process.communicate(timeout=60)[0].split() for process in running]
    assert sorted(name for names in worked for name in names) == sorted(f"{number}.mp3" for number in range(100))
    assert len([line for line in lines(out) if isinstance(decode(line), RecordingOutcome)]) == 100


HOLDER = """
import sys
from pathlib import Path
from cartesia_cli.scale.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.start()
assert journal.claim("a.mp3") and journal.claim("b.mp3") and not journal.claim("b.mp3")
print(journal.run, flush=True)
sys.stdin.read()
"""


def test_claims_end_with_their_process_and_are_seen_by_others(begin: Open, out: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        watcher = Journal(out)
        assert watcher.count_claimed() == 2
        assert watcher.is_running(run) is True
        assert watcher.is_running("another") is False
        journal = begin()
        assert not journal.claim("a.mp3") and journal.claim("c.mp3")
        process.kill()
        process.wait(10)
        assert journal.claim("a.mp3")
    assert Journal(out).is_running(run) is False


def test_index_without_space_for_temporary_files_finds_nothing_and_removes_nothing(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MIN_LINES_TO_COMPACT", 5)
    for _ in range(10):
        begin().add(FAILED)
    before = len(lines(out))
    monkeypatch.setattr(journal_index, "SCHEMA", "no SQL")
    reports: list[str] = []
    journal = Journal(out, on_failure=reports.append)
    journal.start()
    assert journal.outcome("b.mp3") is None and list(journal.outcomes()) == [] and journal.results_of("") == []
    assert not journal.has_size(1) and journal.claim("a")
    journal.add(DONE)
    journal.finish()
    assert len(lines(out)) == before + 3 and "no space for temporary files" in reports[0]


def test_claims_work_without_locks(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("cartesia_cli.file_locks.RecordLocks._lock", no_locks)
    details: list[str] = []
    journal = Journal(out, on_failure=pytest.fail, on_detail=details.append)
    journal.start()
    assert journal.claim("a") and not journal.claim("a")
    journal.add(DONE)
    journal.release("a")
    assert journal.claim("a")
    assert details == [
        f"{out}: locks can't be used (No locks available): another run there may transcribe the same recordings"
    ]


def test_a_lock_that_fails_later_and_locks_that_cannot_be_looked_at(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    details: list[str] = []
    journal = Journal(out, on_failure=pytest.fail, on_detail=details.append)
    journal.start()
    assert journal.is_running("another") is False

    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    monkeypatch.setattr("fcntl.fcntl", no_locks)
    assert journal.is_running("another") is None and journal.count_claimed() is None
    assert journal.claim("a") and not journal.claim("a") and journal.claim("b")
    assert len(details) == 1 and "locks can't be used (No locks available)" in details[0]
    journal.close()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".cartesia-cli").write_text("not a folder")
    assert Journal(tmp_path / "elsewhere").is_running("another") is None


def test_an_index_of_files_that_go_away_finds_what_it_can_still_read(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "OPEN_FILES", 1)
    begin(Shard(1, 2)).add(DONE)
    begin(Shard(2, 2)).add(FAILED)
    begin().close()
    folder = out / ".cartesia-cli"
    index = journal_index.JournalIndex(folder)
    for name in index.journal_files():
        index.read(name)
    assert [same(outcome) for outcome, _ in index.current_outcomes()] == [DONE, FAILED]
    (folder / file_name(Shard(1, 2))).unlink()
    assert [same(outcome) for outcome, _ in index.current_outcomes()] == [FAILED]
    assert index.find("recording", DONE.recording) is None
    assert not index.has_replaced_file() and not index.has_grown(file_name(Shard(1, 2)))
    index.read(file_name(Shard(1, 2)))
    (folder / "new").write_bytes(encode(DONE))
    (folder / "new").replace(folder / file_name(Shard(2, 2)))
    assert index.has_replaced_file()
    index.close()


def test_an_index_that_runs_out_of_space_finds_nothing_and_says_so(
    begin: Open, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin().close()
    with (out / ".cartesia-cli" / "journal.jsonl").open("ab") as file:
        file.writelines(encode(replace(DONE, recording=str(number))) for number in range(1000))
    monkeypatch.setattr(journal_index, "SCHEMA", f"{journal_index.SCHEMA}; PRAGMA max_page_count = 5")
    failures: list[str] = []
    full = Journal(out, on_failure=failures.append)
    assert full.outcome("1") is None and list(full.outcomes()) == []
    assert len(failures) == 1 and "no space for temporary files" in failures[0]


@pytest.mark.parametrize("facts", [{"recording": 7}, {"stat": [1, 2]}, {"stat": [1, 2, 3, 4, 1 << 70]}])
def test_a_line_of_something_else_counts_as_none(facts: dict[str, object]) -> None:
    good = json.loads(encode(replace(DONE, run="1")))
    assert decode(json.dumps(good).encode()) is not None
    assert decode(json.dumps(good | facts).encode()) is None
