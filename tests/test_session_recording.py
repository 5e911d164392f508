"""What is said is on disk, whatever happens next: kills, full disks, sessions that hang, two programs at once."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import wave
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from cartesia_cli.audio.files import Decoder
from cartesia_cli.audio.pcm import AudioBlock
from cartesia_cli.audio.probing import probe
from cartesia_cli.audio.session_recording import OrphanedRecording, SessionRecording, find_orphans
from cartesia_cli.audio.wav_writer import TeeSource, WavWriter, encode_header, open_private, read_back
from cartesia_cli.errors import InputError, OutputError

RATE = 16000
BLOCK = 640
SESSION_OPTIONS = {"model": "ink-2", "language": None, "keyterms": ["Zoë", "größer"]}

PROGRAM = """
import asyncio, json, os, random, resource, subprocess, sys
from pathlib import Path
from cartesia_cli.audio.session_recording import SessionRecording, find_orphans
from tests.test_session_recording import Blocks, sound

folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])

def endless(seed):
    sizes, given = random.Random(seed), 0
    while True:
        size = sizes.randint(1, 3000)
        yield sound(given, size)
        given += size

def tell(**facts):
    print(json.dumps(facts), flush=True)

async def main():
    if "limit" in asked:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], asked["limit"]))
    count = asked.get("blocks")
    blocks = endless(asked.get("seed", 0)) if count is None else [sound(640 * n, 640) for n in range(count)]
    warn = lambda sentence: tell(trouble=sentence)
    kept = SessionRecording(Blocks(blocks), folder, session_options=asked, on_warning=warn)
    given = 0
    async for block in kept.blocks():
        if not given and asked.get("child"):
            tell(child=subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid)
        given += len(block.pcm)
        tell(given=given, left=len(find_orphans(folder)) if asked.get("looks") else None)
        if asked.get("waits"):
            sys.stdin.readline()
    tell(seconds=kept.seconds, path=str(kept.path))

asyncio.run(main())
"""


def sound(start: int, size: int) -> bytes:
    """Bytes of a noise that never repeats within a test, from byte `start` on."""
    first, end = start // 2, (start + size + 1) // 2
    samples = (np.arange(first, end, dtype=np.int64) ** 2 * 7919 % 65521 - 32768).astype("<i2")
    return samples.tobytes()[start - 2 * first :][:size]


class Blocks:
    """A microphone: gives blocks, and may fail then."""

    def __init__(self, blocks: Iterable[bytes], failure: BaseException | None = None) -> None:
        self._blocks, self._failure = blocks, failure
        self.closed = False

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        try:
            for block in self._blocks:
                yield AudioBlock(block)
                await asyncio.sleep(0)
            if self._failure is not None:
                raise self._failure
        finally:
            self.closed = True


def seconds_of_sound(seconds: float) -> Blocks:
    return Blocks([sound(BLOCK * number, BLOCK) for number in range(round(seconds * 2 * RATE / BLOCK))])


def heard(source: SessionRecording | TeeSource) -> bytes:
    async def run() -> bytes:
        return b"".join([block.pcm async for block in source.blocks()])

    return asyncio.run(run())


def samples(path: Path) -> bytes:
    """What the standard library, libsndfile and our own decoder agree on."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        plain = file.readframes(file.getnframes())
        assert len(plain) == 2 * file.getnframes()
    read, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE and read.astype("<i2").tobytes() == plain
    if plain:
        ours = np.concatenate(list(Decoder().decode_file(path)))
        assert (ours * 32768).astype("<i2").tobytes() == plain
    return plain


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def program(folder: Path, **asked: object) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(asked)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def told(child: subprocess.Popen[str]) -> dict[str, object]:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "it ended"
    return dict(json.loads(line))


def other_disk(folder: Path) -> Path:
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is only one disk")
    return place


class Watched(FileIO):
    """A file of which every state is looked at that a kill could leave."""

    states: list[bytes]

    def write(self, data: bytes) -> int:  # type: ignore[override]
        done = super().write(data)
        self.states.append(Path(str(self.name)).read_bytes())
        return done


class Sparse(FileIO):
    """A file that stores no silence."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if len(data) < 1 << 20:
            return super().write(data)
        self.truncate(self.seek(len(data), os.SEEK_CUR))
        return len(data)


class Reluctant(FileIO):
    """A file that takes a little at a time."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return super().write(data[:101])


class TestWavWriter:
    @settings(max_examples=30)
    @given(st.lists(st.integers(0, 2000), max_size=12), st.sampled_from(["", "a", "ab", json.dumps(SESSION_OPTIONS)]))
    def test_file_is_whole_after_every_write(self, sizes: list[int], comment: str) -> None:
        with TemporaryDirectory() as folder:
            path, copy, before, after = Path(folder, "a.wav"), Path(folder, "b.wav"), 0, 0
            with Watched(path, "wb") as file:
                file.states = []
                recording = WavWriter(file, comment)
                for size in sizes:
                    recording.write(sound(after, size))
                    after += size
                    assert recording.size == after - after % 2
                    for state in file.states:
                        copy.write_bytes(state)
                        found = samples(copy)
                        assert found == sound(0, len(found))
                        assert before - before % 2 <= len(found) <= after
                        assert read_back(copy)[1] == comment
                        assert state.startswith(encode_header(len(found), comment))
                    assert read_back(path)[0] == after // 2 / RATE
                    file.states, before = [], after
            assert samples(path) == sound(0, after - after % 2)

    def test_short_writes_are_continued(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        with Reluctant(path, "wb") as file:
            recording = WavWriter(file, "said by nobody " * 30)
            recording.write(sound(0, 5000))
            recording.write(sound(5000, 5000))
        assert samples(path) == sound(0, 10000)

    def test_file_over_4_gib_becomes_rf64(self, tmp_path: Path) -> None:
        path, comment, piece = tmp_path / "long.wav", json.dumps(SESSION_OPTIONS), bytes(1 << 26)
        with Sparse(path, "wb") as file:
            recording = WavWriter(file, comment)
            for _ in range(63):
                recording.write(piece)
            with soundfile.SoundFile(path) as before:
                assert (before.format, before.frames) == ("WAV", 63 << 25)
            recording.write(piece)
            recording.write(piece)
            recording.write(sound(0, 64))
        with soundfile.SoundFile(path) as after:
            assert (after.format, after.frames) == ("RF64", (65 << 25) + 32)
            after.seek(65 << 25)
            assert after.read(dtype="int16").astype("<i2").tobytes() == sound(0, 64)
        found = probe(path)
        assert found.duration == pytest.approx(((65 << 25) + 32) / RATE) and found.note is None
        assert read_back(path) == (((65 << 25) + 32) / RATE, comment)

    @given(st.integers(0, 2**33).map(lambda size: size * 2), st.text(max_size=40))
    def test_header_length_does_not_depend_on_size(self, size: int, comment: str) -> None:
        assert len(encode_header(size, comment)) == len(encode_header(0, comment))

    def test_failed_write_leaves_file_unchanged(self, tmp_path: Path) -> None:
        class Full(FileIO):
            left = 3000

            def write(self, data: bytes) -> int:  # type: ignore[override]
                if not self.left:
                    raise OSError(28, "No space left on device")
                done = super().write(data[: self.left])
                self.left -= done
                return done

        path = tmp_path / "a.wav"
        with Full(path, "wb") as file:
            recording = WavWriter(file)
            recording.write(sound(0, 2000))
            with pytest.raises(OSError, match="No space"):
                recording.write(sound(2000, 2000))
            assert recording.size == 2000
        assert samples(path) == sound(0, 2000)
        assert path.stat().st_size == len(encode_header(0)) + 2000


@pytest.mark.waits
def test_recording_that_cannot_be_removed_is_an_output_error(tmp_path: Path) -> None:
    orphan = OrphanedRecording(tmp_path, datetime.now(UTC), 1.0, {})
    with pytest.raises(OutputError, match="can't be removed: Is a directory"):
        orphan.remove()


class TestKilledProcess:
    @pytest.mark.parametrize("seed", range(6))
    def test_recording_of_killed_process_is_complete(self, seed: int, tmp_path: Path) -> None:
        with program(tmp_path, seed=seed) as child:
            told(child)
            time.sleep(np.random.default_rng(seed).uniform(0, 0.4))
            child.kill()
            lines = child.communicate()[0].split("\n")
        given = json.loads(lines[-2])["given"] if len(lines) > 1 else 1
        [found] = find_orphans(tmp_path)
        kept = samples(found.path)
        assert len(kept) >= given - given % 2
        assert kept == sound(0, len(kept))
        assert found.session_options == {"seed": seed}
        assert abs(found.seconds * 2 * RATE - len(kept)) <= 3000

    def test_orphan_is_found_while_child_process_runs(self, tmp_path: Path) -> None:
        with program(tmp_path, child=True, waits=True) as child:
            offspring = int(str(told(child)["child"]))
            told(child)
            try:
                child.kill()
                child.wait()
                os.kill(offspring, 0)
                assert len(find_orphans(tmp_path)) == 1
            finally:
                os.kill(offspring, signal.SIGKILL)

    def test_running_recordings_are_not_orphans(self, tmp_path: Path) -> None:
        with program(tmp_path, waits=True, looks=True, name="first") as first:
            assert told(first)["left"] == 0
            with program(tmp_path, waits=True, looks=True, name="second") as second:
                assert told(second)["left"] == 0
                assert find_orphans(tmp_path) == []
                assert len(list(tmp_path.iterdir())) == 2
                first.kill()
                first.wait()
                assert [found.session_options["name"] for found in find_orphans(tmp_path)] == ["first"]
                assert second.stdin is not None
                second.stdin.write("\n")
                second.stdin.flush()
                assert told(second)["left"] == 1
        assert [found.session_options["name"] for found in find_orphans(tmp_path)] == ["first", "second"]


class TestRecording:
    def test_blocks_are_passed_on_and_recorded(self, tmp_path: Path) -> None:
        kept = SessionRecording(seconds_of_sound(2), tmp_path)
        assert (kept.path, kept.seconds) == (None, 0)
        assert heard(kept) == sound(0, 4 * RATE)
        assert kept.path is not None and kept.seconds == 2
        assert samples(kept.path) == sound(0, 4 * RATE)

    async def test_block_is_on_disk_before_it_is_yielded(self, tmp_path: Path) -> None:
        kept, given = SessionRecording(seconds_of_sound(0.2), tmp_path), 0
        async for block in kept.blocks():
            given += len(block.pcm)
            assert kept.path is not None and len(samples(kept.path)) >= given

    def test_recording_is_private(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            kept = SessionRecording(seconds_of_sound(0.1), tmp_path / "state" / "cartesia-cli")
            heard(kept)
        finally:
            os.umask(before)
        assert kept.path is not None
        assert (mode(kept.path), mode(kept.path.parent)) == (0o600, 0o700)

    async def test_recorded_blocks_can_be_read_again(self, tmp_path: Path) -> None:
        sizes = [1, 640, 333, 1000, 2]
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        kept = SessionRecording(Blocks(map(sound, starts, sizes)), tmp_path, session_options=SESSION_OPTIONS)
        blocks = [block async for block in kept.blocks()]
        for block in blocks:
            assert block.store is kept and kept.read(block.position, len(block.pcm)) == block.pcm
        assert kept.read(1, 1500) == sound(1, 1500)
        with pytest.raises(OSError, match="error"):
            kept.read(0, sum(sizes) + 1)

    async def test_source_error_is_raised_after_last_block(self, tmp_path: Path) -> None:
        blocks = [sound(0, 1000), sound(1000, 1000)]
        kept = SessionRecording(Blocks(blocks, InputError("the microphone is gone")), tmp_path)
        given = kept.blocks()
        assert [(await anext(given)).pcm for _ in blocks] == blocks
        with pytest.raises(InputError, match="gone"):
            await anext(given)
        assert kept.keep() == kept.path
        assert [found.path for found in find_orphans(tmp_path)] == [kept.path]

    def test_source_that_fails_at_once_leaves_no_file(self, tmp_path: Path) -> None:
        kept = SessionRecording(Blocks([], InputError("busy")), tmp_path)
        with pytest.raises(InputError, match="busy"):
            heard(kept)
        assert kept.keep() is None
        assert list(tmp_path.iterdir()) == []

    async def test_cancelling_closes_source(self, tmp_path: Path) -> None:
        async def take() -> None:
            async with aclosing(kept.blocks()) as blocks:
                async for _ in blocks:
                    taken.set()
                    await asyncio.Event().wait()

        source, taken = seconds_of_sound(600), asyncio.Event()
        kept = SessionRecording(source, tmp_path)
        task = asyncio.create_task(take())
        await taken.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() and source.closed


class TestFullDisk:
    def test_full_disk_is_reported_once_and_session_continues(self, tmp_path: Path) -> None:
        with program(tmp_path, blocks=200, limit=20001) as child:
            lines = [json.loads(line) for line in child.communicate()[0].splitlines()]
            assert child.returncode == 0
        troubles = [line["trouble"] for line in lines if "trouble" in line]
        assert max(line.get("given", 0) for line in lines) == 200 * BLOCK
        assert len(troubles) == 1 and "the recording ends after 0.6 s" in troubles[0]
        [found] = find_orphans(tmp_path)
        assert lines[-1] == {"seconds": found.seconds, "path": str(found.path)}
        assert samples(found.path) == sound(0, 31 * BLOCK if found.seconds == 0.62 else 30 * BLOCK)

    def test_disk_without_space_for_header_leaves_no_file(self, tmp_path: Path) -> None:
        with program(tmp_path, blocks=3, limit=40) as child:
            lines = [json.loads(line) for line in child.communicate()[0].splitlines()]
        assert "nothing is recorded" in lines[0]["trouble"]
        assert lines[-1] == {"seconds": 0, "path": "None"} and lines[-2]["given"] == 3 * BLOCK
        assert list(tmp_path.iterdir()) == []

    def test_unwritable_folder_is_reported_once_and_session_continues(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        told: list[str] = []
        kept = SessionRecording(seconds_of_sound(1), tmp_path / "file" / "state", on_warning=told.append)
        assert heard(kept) == sound(0, 2 * RATE)
        assert told == [f"nothing is recorded: {tmp_path / 'file' / 'state'}: Not a directory"]
        assert kept.path is None and kept.keep(tmp_path / "a.wav") is None


class TestDiscardAndKeep:
    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        return tmp_path / "state"

    @pytest.fixture
    def kept(self, state: Path) -> SessionRecording:
        kept = SessionRecording(seconds_of_sound(1), state, session_options=SESSION_OPTIONS)
        heard(kept)
        return kept

    def test_discard_removes_recording(self, kept: SessionRecording, state: Path) -> None:
        kept.discard()
        assert list(state.iterdir()) == [] and kept.path is None
        kept.discard()

    def test_recording_is_not_an_orphan_before_keep(self, kept: SessionRecording, state: Path) -> None:
        assert find_orphans(state) == []

    def test_kept_recording_is_orphan_with_session_options(self, kept: SessionRecording, state: Path) -> None:
        assert kept.keep() == kept.path
        [found] = find_orphans(state)
        assert (found.path, found.seconds, found.session_options) == (kept.path, 1.0, SESSION_OPTIONS)
        found.remove()
        assert find_orphans(state) == []
        found.remove()

    @pytest.mark.parametrize("force", [False, True])
    def test_keep_moves_to_target(self, kept: SessionRecording, state: Path, tmp_path: Path, force: bool) -> None:
        target = tmp_path / "new" / "talk.wav"
        assert kept.keep(target, force=force) == target
        assert samples(target) == sound(0, 2 * RATE)
        assert mode(target) == 0o600
        assert list(state.iterdir()) == [] and list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize("force", [False, True])
    def test_keep_moves_to_another_disk(self, kept: SessionRecording, state: Path, tmp_path: Path, force: bool) -> None:
        with TemporaryDirectory(dir=other_disk(tmp_path)) as folder:
            target = Path(folder, "talk.wav")
            assert kept.keep(target, force=force) == target
            assert samples(target) == sound(0, 2 * RATE)
            assert mode(target) == 0o600
            assert list(state.iterdir()) == [] and list(target.parent.iterdir()) == [target]

    def test_keep_on_full_disk_leaves_no_partial_file(
        self, kept: SessionRecording, state: Path, tmp_path: Path
    ) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with TemporaryDirectory(dir=other_disk(tmp_path)) as folder:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
            try:
                with pytest.raises(OutputError, match="can't be written: File too large"):
                    kept.keep(Path(folder, "talk.wav"))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert list(Path(folder).iterdir()) == []
        assert kept.path is not None and samples(kept.path) == sound(0, 2 * RATE)

    def test_keep_removes_session_options(self, kept: SessionRecording, tmp_path: Path) -> None:
        kept.keep(tmp_path / "talk.wav")
        assert b"ink-2" not in (tmp_path / "talk.wav").read_bytes()
        assert read_back(tmp_path / "talk.wav") == (1.0, "")

    def test_keep_overwrites_only_with_force(self, kept: SessionRecording, state: Path, tmp_path: Path) -> None:
        target = tmp_path / "talk.wav"
        target.write_text("the only copy")
        target.chmod(0o644)
        with pytest.raises(OutputError, match="exists") as refused:
            kept.keep(target)
        assert refused.value.hint == f"the recording is kept: {kept.path}"
        assert target.read_text() == "the only copy"
        assert kept.path is not None and read_back(kept.path) == (1.0, json.dumps(SESSION_OPTIONS))
        assert find_orphans(state) == []
        assert kept.keep(target, force=True) == target
        assert samples(target) == sound(0, 2 * RATE)
        assert mode(target) == 0o600

    def test_keep_on_unwritable_target_reports_and_keeps_recording(self, kept: SessionRecording, state: Path) -> None:
        with pytest.raises(OutputError, match="/dev/full: can't be written: No space"):
            kept.keep(Path("/dev/full"), force=True)
        assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
        kept.keep()
        [found] = find_orphans(state)
        assert samples(found.path) == sound(0, 2 * RATE) and found.session_options == SESSION_OPTIONS


class TestOrphans:
    def test_file_names_sort_by_time(self, tmp_path: Path) -> None:
        moments = [datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(microseconds=n) for n in (0, 1, 999_999)]
        moments += [moments[0] + timedelta(days=n) for n in (1, 40, 4000)]
        for moment in reversed(moments):
            kept = SessionRecording(seconds_of_sound(0.1), tmp_path, now=lambda moment=moment: moment)
            heard(kept)
            kept.keep()
        assert [found.started for found in find_orphans(tmp_path)] == moments

    def test_recordings_of_same_moment_have_distinct_names(self, tmp_path: Path) -> None:
        moment = datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)
        for _ in range(3):
            kept = SessionRecording(seconds_of_sound(0.1), tmp_path, now=lambda: moment)
            heard(kept)
            kept.keep()
        assert [found.started - moment for found in find_orphans(tmp_path)] == [
            timedelta(microseconds=number) for number in range(3)
        ]

    def test_other_files_are_not_orphans(self, tmp_path: Path) -> None:
        (tmp_path / "history.json").write_text("{}")
        (tmp_path / "talk.wav").write_bytes(encode_header(0) + sound(0, 100))
        (tmp_path / "20310102T030405.000001Z.wav").write_bytes(b"")
        (tmp_path / "20310102T030405.000002Z.wav").write_bytes(encode_header(0))
        (tmp_path / "20310102T030405.000003Z.wav").mkdir()
        (tmp_path / "20310102T030405.000004Z.wav").write_bytes(b"RIFF" + os.urandom(1000))
        (tmp_path / "20310102T030405.000005Z.wav").write_bytes(encode_header(0, "no JSON") + sound(0, 100))
        [found] = find_orphans(tmp_path)
        assert found.path.name == "20310102T030405.000005Z.wav" and found.session_options == {}

    def test_missing_folder_has_no_orphans(self, tmp_path: Path) -> None:
        assert find_orphans(tmp_path / "none") == []

    def test_unreadable_folder_is_an_input_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="Not a directory"):
            find_orphans(tmp_path / "file")


class TestTeeSource:
    def test_blocks_are_passed_on_and_saved(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(bytes(100_000))
        path.chmod(0o644)
        assert heard(TeeSource(seconds_of_sound(1), path)) == sound(0, 2 * RATE)
        assert samples(path) == sound(0, 2 * RATE)
        assert mode(path) == 0o600 and path.stat().st_size == len(encode_header(0)) + 2 * RATE

    @pytest.mark.parametrize("free_bytes", [0, 1000])
    def test_full_disk_ends_the_file_only(self, tmp_path: Path, free_bytes: int) -> None:
        """Also one that is full from the start: not even an empty file is left then, which would be in the way of the
        next session."""
        failures: list[OutputError] = []
        path = tmp_path / "a.wav"
        tee = TeeSource(seconds_of_sound(1), path, on_failure=failures.append)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, limits[1]))
        try:
            assert heard(tee) == sound(0, 2 * RATE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [error.message for error in failures] == [f"{path}: can't be written: File too large"]
        assert tee.has_failed and tee.was_opened == path.exists() == bool(free_bytes)

    def test_device_that_takes_nothing_stays(self) -> None:
        tee = TeeSource(seconds_of_sound(1), Path("/dev/full"))
        assert heard(tee) == sound(0, 2 * RATE)
        assert tee.has_failed and Path("/dev/full").exists()

    def test_source_error_is_raised_unchanged(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="head crash"):
            heard(TeeSource(Blocks([sound(0, 100)], OSError(5, "head crash")), tmp_path / "a.wav"))
        assert samples(tmp_path / "a.wav") == sound(0, 100)

    def test_exclusive_open_never_overwrites(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_text("the only copy")
        with pytest.raises(FileExistsError):
            open_private(tmp_path / "a.wav", "xb")
