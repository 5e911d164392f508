"""The send buffer gives every byte that is not acknowledged again, from memory, a recording or files of its own."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.audio.pcm import AudioBlock
from cartesia_cli.audio.wav_writer import WavWriter, open_private
from cartesia_cli.protocol.realtime import Config, Finalize
from cartesia_cli.session import send_buffer
from cartesia_cli.session.send_buffer import SendBuffer

CHUNK, MEMORY = 320, 6400
AUDIO = random.Random(1).randbytes(40 * MEMORY)


@contextmanager
def file_size_limit(size: int | None) -> Iterator[None]:
    """Files take at most this many bytes; None: any number (POSIX)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def recording() -> Iterator[WavWriter]:
    with TemporaryDirectory() as folder, open_private(Path(folder, "recording.wav"), "x+b") as file:
        yield WavWriter(file, "with a comment")


class Traffic:
    """A buffer, a writer of AUDIO, and a sender that checks what it gets.

    recording   where audio may be recorded before it is written
    """

    def __init__(self, recording: WavWriter | None = None) -> None:
        self.troubles: list[str] = []
        self.buffer = SendBuffer(CHUNK, memory=MEMORY, on_warning=self.troubles.append)
        self._recording = recording

    def write(self, size: int, *, recorded: bool = False) -> None:
        pcm = AUDIO[self.buffer.written : self.buffer.written + size]
        if recorded and self._recording is not None:
            self.buffer.write(AudioBlock(pcm, self._recording, self._recording.write(pcm)))
        else:
            self.buffer.write(AudioBlock(pcm))

    def send(self) -> None:
        """All there is: each chunk is the one that is due."""
        while (chunk := self.buffer.next_item()) is not None:
            assert isinstance(chunk, bytes)
            assert chunk == AUDIO[self.buffer.sent - len(chunk) : self.buffer.sent]

    @property
    def unacknowledged(self) -> bytes:
        return b"".join(self.buffer.unacknowledged())


@pytest.fixture
def temporary_files(monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
    """The temporary files that send buffers have made."""
    made: list[IO[bytes]] = []
    create = send_buffer.TemporaryFile

    def noting(**options: Any) -> IO[bytes]:
        made.append(create(**options))
        return made[-1]

    monkeypatch.setattr(send_buffer, "TemporaryFile", noting)
    return made


def test_audio_beyond_the_memory_is_on_disk_and_nothing_is_dropped() -> None:
    traffic = Traffic()
    for _ in range(100):
        traffic.write(CHUNK)
    assert traffic.unacknowledged == AUDIO[: 100 * CHUNK]
    traffic.send()
    assert (traffic.buffer.sent, traffic.troubles) == (100 * CHUNK, [])


def test_recorded_audio_is_read_from_the_recording_and_not_written_again(temporary_files: list[IO[bytes]]) -> None:
    with recording() as file:
        file.write(bytes(1001))  # what a paused microphone heard was not sent
        traffic = Traffic(file)
        for number in range(100):
            traffic.write(CHUNK, recorded=True)
            if number % 30 == 10:
                file.write(bytes(640))
        assert traffic.unacknowledged == AUDIO[: 100 * CHUNK]
        traffic.send()
    assert (traffic.buffer.sent, traffic.troubles, temporary_files) == (100 * CHUNK, [], [])


def test_audio_that_is_not_recorded_any_more_goes_to_a_temporary_file(temporary_files: list[IO[bytes]]) -> None:
    with recording() as file:
        traffic = Traffic(file)
        for number in range(200):
            traffic.write(CHUNK, recorded=number < 100)
        assert traffic.unacknowledged == AUDIO[: 200 * CHUNK]
        assert len(temporary_files) == 1


def test_temporary_files_go_as_their_audio_is_acknowledged(
    temporary_files: list[IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_buffer, "FILE_BYTES", MEMORY)
    traffic = Traffic()
    for _ in range(200):
        traffic.write(CHUNK)
    traffic.send()
    assert len(temporary_files) == 9
    for acknowledged in range(0, 200 * CHUNK, CHUNK):
        traffic.buffer.acknowledge(acknowledged)
        assert traffic.unacknowledged == AUDIO[acknowledged : 200 * CHUNK]
        still_open = [file for file in temporary_files if not file.closed]
        assert len(still_open) <= 1 + (200 * CHUNK - acknowledged) // MEMORY
    assert all(file.closed for file in temporary_files)


def test_a_recording_that_can_not_be_read_costs_only_what_is_not_in_memory() -> None:
    with recording() as file:
        traffic = Traffic(file)
        for _ in range(100):
            traffic.write(CHUNK, recorded=True)
        file._file.truncate(MEMORY)
        traffic.buffer.rewind()
        traffic.send()
    assert 0 <= 100 * CHUNK - traffic.buffer.sent < CHUNK
    assert MEMORY // 4 < len(traffic.unacknowledged) <= MEMORY
    assert traffic.buffer.dropped > 0
    assert len(traffic.troubles) == 1 and "error" in traffic.troubles[0]


@pytest.mark.parametrize("size", [320, 328, 334])
def test_after_a_recording_that_can_not_be_read_all_that_is_in_memory_is_sent_in_whole_samples(size: int) -> None:
    with recording() as file:
        traffic = Traffic(file)
        for _ in range(50):
            traffic.write(size, recorded=True)
        on_disk = traffic.buffer._audio.memory_start
        file._file.truncate(MEMORY)
        traffic.send()
        assert traffic.buffer.dropped == traffic.buffer.acknowledged == on_disk
        assert traffic.buffer.sent % 2 == 0
        assert traffic.unacknowledged == AUDIO[traffic.buffer.acknowledged : 50 * size]


def test_on_a_full_disk_whole_samples_are_dropped_whatever_the_limit() -> None:
    traffic = Traffic()
    traffic.buffer = SendBuffer(CHUNK, memory=MEMORY + 8, on_warning=traffic.troubles.append)
    with file_size_limit(0):
        for _ in range(100):
            traffic.write(CHUNK)
            assert traffic.buffer.acknowledged % 2 == 0
    traffic.send()
    assert traffic.buffer.dropped > 0


class ShortReads:
    """A file of which a read returns less than it was asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int) -> bytes:
        return self._file.read(size)[: size // 2]


def test_a_temporary_file_that_returns_too_little_shifts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    create = send_buffer.TemporaryFile
    monkeypatch.setattr(send_buffer, "TemporaryFile", lambda **options: ShortReads(create(**options)))
    traffic = Traffic()
    for _ in range(100):
        traffic.write(CHUNK)
    with pytest.raises(OSError, match="error"):
        assert traffic.unacknowledged
    traffic.send()
    assert traffic.buffer.dropped == 100 * CHUNK - len(traffic.unacknowledged) > 0
    assert len(traffic.troubles) == 1 and "error" in traffic.troubles[0]


@pytest.mark.parametrize("size", [0, 1000, MEMORY, MEMORY + 100, 3 * MEMORY])
def test_on_a_full_disk_only_the_oldest_audio_is_dropped_and_that_is_reported_once(size: int) -> None:
    traffic = Traffic()
    with file_size_limit(size):
        for _ in range(100):
            traffic.write(CHUNK)
            traffic.send()
            assert traffic.unacknowledged == AUDIO[traffic.buffer.acknowledged : traffic.buffer.written]
    assert traffic.buffer.sent == 100 * CHUNK
    assert len(traffic.unacknowledged) >= MEMORY * 3 // 4
    assert traffic.buffer.dropped == traffic.buffer.acknowledged
    assert traffic.troubles == ["keeping only the last 0 s of unacknowledged audio: File too large"]


@pytest.mark.parametrize("rewinds", [False, True])
def test_changes_of_settings_are_sent_even_if_the_audio_before_them_was_dropped(rewinds: bool) -> None:
    taken, *kept = [Config(keyterms=(term,)) for term in ("one", "two", "three", "four")]
    markers = {1: kept[0], 2: Finalize(), 3: kept[1], 97: kept[2]}
    buffer = SendBuffer(CHUNK, memory=MEMORY)
    buffer.write(AudioBlock(bytes(CHUNK)))
    buffer.add_marker(taken)
    assert [buffer.next_item(), buffer.next_item()] == [bytes(CHUNK), taken]
    with file_size_limit(0):
        for number in range(100):
            buffer.write(AudioBlock(bytes(CHUNK)))
            if number in markers:
                buffer.add_marker(markers[number])
    assert buffer.dropped
    if rewinds:
        buffer.rewind()
    items = [*iter(buffer.next_item, None)]
    assert items[:2] == kept[:2]
    assert [item for item in items[2:] if not isinstance(item, bytes)] == kept[2:]


def test_disk_that_is_no_longer_full_is_used_again() -> None:
    traffic = Traffic()
    with file_size_limit(0):
        for _ in range(50):
            traffic.write(CHUNK)
    before = traffic.buffer.acknowledged
    for _ in range(50):
        traffic.write(CHUNK)
    assert before == traffic.buffer.acknowledged > 0
    assert traffic.unacknowledged == AUDIO[before : 100 * CHUNK]


def test_dropped_counts_from_the_last_acknowledgement_or_rewind() -> None:
    traffic = Traffic()
    for reset in (traffic.buffer.rewind, lambda: traffic.buffer.acknowledge(traffic.buffer.sent)):
        with file_size_limit(0):
            for _ in range(50):
                traffic.write(CHUNK)
        assert traffic.buffer.dropped > 0
        traffic.send()
        reset()
        assert traffic.buffer.dropped == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["record", "record", "write", "write", "skip", "send", "acknowledge", "rewind"]),
            st.integers(0, MEMORY),
            st.sampled_from([None, 0, 1000, MEMORY + 100]),
        ),
        max_size=120,
    )
)
def test_every_byte_that_was_not_dropped_is_given_again(acts: list[tuple[str, int, int | None]]) -> None:
    with recording() as file:
        traffic, acknowledged = Traffic(file), 0
        for act, size, limit in acts:
            match act:
                case "record":
                    traffic.write(size, recorded=True)
                case "write":
                    with file_size_limit(limit):
                        traffic.write(size)
                case "skip":
                    file.write(bytes(size))
                case "send":
                    traffic.send()
                case "acknowledge":
                    traffic.buffer.acknowledge(traffic.buffer.acknowledged + size)
                    acknowledged = max(acknowledged, traffic.buffer.acknowledged)
                case "rewind":
                    traffic.buffer.rewind()
            buffer = traffic.buffer
            assert 0 <= buffer.acknowledged <= buffer.sent <= buffer.written
            assert traffic.unacknowledged == AUDIO[buffer.acknowledged : buffer.written]
            assert bool(traffic.troubles) or buffer.acknowledged <= acknowledged
        traffic.buffer.close()
