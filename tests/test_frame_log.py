"""The record of a session's connections, with enough disk space and without."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cartesia_cli.errors import OutputError, UsageError
from cartesia_cli.output.frame_log import FrameLog
from tests.realtime_server import RealtimeServer
from tests.speech import write_wav
from tests.test_send_buffer import file_size_limit
from tests.tones import recognizes, spoken

OPEN = {"url": "wss://api.cartesia.ai/stt/websocket", "version": "2026-03-01"}


def record(path: Path, *, force: bool = False, tell: Callable[[str], None] = lambda sentence: None) -> FrameLog:
    return FrameLog(path, force=force, on_warning=tell)


@pytest.mark.parametrize("mode", [None, 0o644])
def test_each_event_is_a_line_for_its_owner_only(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "frames.ndjson"
    if mode is not None:
        path.write_text("before")
        path.chmod(mode)
    with record(path, force=mode is not None) as log:
        log.put("open", OPEN)
        log.put("sent", b"\0\1")
        log.put("received", '{"type": "done"}')
        log.put("close", {"code": 1000, "reason": "bye"})
        assert len(path.read_text().splitlines()) == 4  # at once, whatever becomes of us
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    times = [entry.pop("at") for entry in entries]
    assert entries == [
        {"event": "open", **OPEN},
        {"event": "sent", "audio": "AAE="},
        {"event": "received", "text": '{"type": "done"}'},
        {"event": "close", "code": 1000, "reason": "bye"},
    ]
    assert times == sorted(times)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [200, 4500, 10_000])
def test_log_on_a_full_disk_ends_with_a_whole_line_and_one_warning(tmp_path: Path, size: int) -> None:
    path, told = tmp_path / "frames.ndjson", list[str]()
    with record(path, tell=told.append) as log, file_size_limit(size):
        log.put("open", OPEN)
        for _ in range(10):
            log.put("sent", bytes(3200))
    assert told == [f"{path}: the log ends here: File too large"]
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["open", *["sent"] * (len(lines) - 1)]
    assert len(lines) == 1 + size // 4500


def test_a_record_that_can_not_even_begin_is_refused(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("x")
    with pytest.raises(UsageError, match="exists"):
        record(there)
    with pytest.raises(OutputError, match="No such file") as nowhere:
        record(tmp_path / "nowhere" / "x")
    assert nowhere.value.hint


def test_a_record_of_nothing_is_not_in_the_way_of_the_next(tmp_path: Path) -> None:
    with record(tmp_path / "frames.ndjson"):
        assert (tmp_path / "frames.ndjson").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_recorded_to_and_keeps_its_mode() -> None:
    told, mode = list[str](), Path("/dev/full").stat().st_mode
    with record(Path("/dev/full"), force=True, tell=told.append) as log:
        log.put("open", OPEN)
        log.put("sent", b"\0\1")
    assert told == ["/dev/full: the log ends here: No space left on device"]
    assert Path("/dev/full").stat().st_mode == mode


@pytest.mark.waits
def test_session_continues_when_the_log_cannot_grow(environment: dict[str, str], tmp_path: Path) -> None:
    recording, numbers = tmp_path / "numbers.wav", list(range(5))
    write_wav(recording, spoken(numbers))

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with RealtimeServer(recognizes()) as server:
        command = [sys.executable, "-m", "cartesia_cli", "stream-file", str(recording), "--mode", "manual"]
        ended = subprocess.run(
            [*command, "--raw-events", "frames.ndjson", "--base-url", server.base_url], cwd=tmp_path, timeout=60,
            env=environment | {"CARTESIA_API_KEY": "x"}, capture_output=True, preexec_fn=full,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [int(number) for number in ended.stdout.split()] == numbers
    assert ended.stderr.decode().count("frames.ndjson: the log ends here") == 1
