"""What a session has to say, on disks that have room and on disks that have none."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.session.send_buffer import SendBuffer

CHUNK, MEMORY = 320, 6400
AUDIO = random.Random(1).randbytes(40 * MEMORY)


@contextmanager
def disk(size: int | None) -> Iterator[None]:
    """Files take so many bytes; None: any number (POSIX)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Desk:
    """A ledger, somebody who writes AUDIO into it, and somebody who says what it gives."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ledger: SendBuffer[str] = SendBuffer(CHUNK, memory=MEMORY, on_trouble=self.told.append)

    def write(self, size: int) -> None:
        self.ledger.write(AUDIO[self.ledger.written : self.ledger.written + size])

    def send(self) -> None:
        """All there is: each piece is the one that is due."""
        while (said := self.ledger.next_item()) is not None:
            assert isinstance(said, bytes)
            assert said == AUDIO[self.ledger.sent - len(said) : self.ledger.sent]

    @property
    def rest(self) -> bytes:
        return b"".join(self.ledger.unacknowledged())


def test_where_a_disk_has_room_nothing_is_given_up() -> None:
    desk = Desk()
    for _ in range(100):
        desk.write(CHUNK)
    assert desk.rest == AUDIO[: 100 * CHUNK]
    desk.send()
    assert (desk.ledger.sent, desk.told) == (100 * CHUNK, [])


@pytest.mark.parametrize("size", [0, 1000, MEMORY, MEMORY + 100, 3 * MEMORY])
def test_where_a_disk_has_no_room_only_the_oldest_is_given_up_and_that_is_said_once(size: int) -> None:
    desk = Desk()
    with disk(size):
        for _ in range(100):
            desk.write(CHUNK)
            desk.send()
            assert desk.rest == AUDIO[desk.ledger.confirmed : desk.ledger.written]
    assert desk.ledger.sent == 100 * CHUNK
    assert len(desk.rest) >= MEMORY * 3 // 4
    assert desk.ledger.forgotten == desk.ledger.confirmed
    assert desk.told == [f"of audio that waits for an answer only the last 0 s can be kept: {'File too large'}"]


def test_a_disk_that_has_room_again_is_used_again() -> None:
    desk = Desk()
    with disk(0):
        for _ in range(50):
            desk.write(CHUNK)
    before = desk.ledger.confirmed
    for _ in range(50):
        desk.write(CHUNK)
    assert before == desk.ledger.confirmed > 0
    assert desk.rest == AUDIO[before : 100 * CHUNK]


def test_what_was_given_up_is_forgotten_once_anything_is_confirmed_or_begun_again() -> None:
    desk = Desk()
    for again in (desk.ledger.rewind, lambda: desk.ledger.acknowledge(desk.ledger.sent)):
        with disk(0):
            for _ in range(50):
                desk.write(CHUNK)
        assert desk.ledger.forgotten > 0
        desk.send()
        again()
        assert desk.ledger.forgotten == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "write", "write", "send", "confirm", "rewind"]),
            st.integers(0, MEMORY),
            st.sampled_from([None, 0, 1000, MEMORY + 100]),
        ),
        max_size=120,
    )
)
def test_whatever_happens_what_is_not_given_up_is_there_to_the_byte(acts: list[tuple[str, int, int | None]]) -> None:
    desk, confirmed = Desk(), 0
    for act, size, room in acts:
        with disk(room):
            match act:
                case "write":
                    desk.write(size)
                case "send":
                    desk.send()
                case "confirm":
                    desk.ledger.acknowledge(desk.ledger.confirmed + size)
                    confirmed = max(confirmed, desk.ledger.confirmed)
                case "rewind":
                    desk.ledger.rewind()
        ledger = desk.ledger
        assert 0 <= ledger.confirmed <= ledger.sent <= ledger.written
        assert desk.rest == AUDIO[ledger.confirmed : ledger.written]
        assert bool(desk.told) or ledger.confirmed <= confirmed
    desk.ledger.close()
