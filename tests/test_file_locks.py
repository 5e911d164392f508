"""Record locks: between processes, on bytes that no file has, and released when a process is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cartesia_cli import file_locks
from cartesia_cli.file_locks import RecordLocks

FAR = 1 << 40

HOLDER = """
import sys
from pathlib import Path
from cartesia_cli.file_locks import RecordLocks
locks = RecordLocks(Path(sys.argv[1]))
for offset in sys.argv[2:]:
    assert locks.acquire(int(offset))
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path, *offsets: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds these bytes locked."""
    command = [sys.executable, "-c", HOLDER, str(path), *map(str, offsets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"locked\n"
            yield process
        finally:
            process.kill()


def test_a_byte_is_locked_by_one_process_until_it_dies(tmp_path: Path) -> None:
    locks = RecordLocks(tmp_path / "lock")
    with holder(tmp_path / "lock", FAR) as process:
        assert not locks.acquire(FAR)
        assert locks.acquire(FAR + 1)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert locks.acquire(FAR)
    assert (tmp_path / "lock").stat().st_size == 0


def test_locks_of_others_are_counted(tmp_path: Path) -> None:
    locks = RecordLocks(tmp_path / "lock")
    assert locks.acquire(FAR + 3)
    with holder(tmp_path / "lock", FAR, FAR + 1, FAR + 9), holder(tmp_path / "lock", FAR + 5, 7):
        assert locks.count_held(FAR, 10) == 4
        assert locks.count_held(FAR + 1, 4) == 1
        assert locks.count_held(7, 1) == 1
    assert locks.count_held(0, FAR * 2) == 0


def test_a_range_is_locked_only_if_nobody_holds_a_byte_of_it(tmp_path: Path) -> None:
    locks = RecordLocks(tmp_path / "lock")
    with holder(tmp_path / "lock", 20):
        assert not locks.acquire(1, 100)
        assert locks.acquire(21, 100)
    assert locks.acquire(1, 100)
    locks.release(1, 100)
    with holder(tmp_path / "lock", 1, 100):
        assert locks.count_held(1, 100) == 2


def test_waiting_for_a_lock_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "WAIT_SECONDS", 0.0)
    locks = RecordLocks(tmp_path / "lock")
    locks.wait(1)
    with holder(tmp_path / "lock", 0), pytest.raises(TimeoutError, match="another process has locked it"):
        locks.wait(0)
