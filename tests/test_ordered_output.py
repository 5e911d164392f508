"""Results of jobs that end in any order are written in the order of the inputs, however many have to wait."""

from __future__ import annotations

import random
import threading

import pytest

from cartesia_cli.commands.batch import ordered_output
from cartesia_cli.commands.batch.ordered_output import OrderedOutput
from cartesia_cli.errors import OutputError


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture(params=[0, 100, 1 << 20], ids=["on the disk", "some in memory", "in memory"])
def output(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, written: list[str]) -> OrderedOutput:
    monkeypatch.setattr(ordered_output, "MAX_HELD_CHARACTERS", request.param)
    return OrderedOutput(written.append)


def test_results_are_written_in_input_order(output: OrderedOutput, written: list[str]) -> None:
    texts = [f"{number} ü \udcff\r\n" * (number % 7) for number in range(100)]
    for number in random.Random(1).sample(range(100), 100):
        output.put(number, texts[number])
    assert written == [text for text in texts if text]


def test_results_after_one_that_never_comes_are_written_at_the_end(output: OrderedOutput, written: list[str]) -> None:
    for number in (4, 0, 3, 2):
        output.put(number, f"{number} " * 40)
    assert written == ["0 " * 40]
    assert output.lost == set()
    output.flush()
    assert written == [f"{number} " * 40 for number in (0, 2, 3, 4)]


def test_nothing_is_written_after_a_result_that_cannot_be_written(written: list[str]) -> None:
    def refuse(text: str) -> None:
        raise BrokenPipeError

    output = OrderedOutput(refuse)
    output.put(1, "b")
    output.put(2, "")
    with pytest.raises(BrokenPipeError):
        output.put(0, "a")
    output.put(3, "d")
    output.flush()
    assert output.lost == {0, 1, 3}


def test_memory_holds_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch, written: list[str]) -> None:
    monkeypatch.setattr(ordered_output, "MAX_HELD_CHARACTERS", 100)
    output = OrderedOutput(written.append)
    for end in (0, 10):  # what was delivered makes space for others
        for number in range(end + 1, end + 10):
            output.put(number, f"{number:60}")
            assert sum(len(text) for text in output._waiting.values() if text) <= 100
        assert output._table.query("SELECT COUNT(*) FROM result") == [(8,)]
        output.put(end, f"{end:60}")
        assert output._table.query("SELECT COUNT(*) FROM result") == [(0,)]
    assert written == [f"{number:60}" for number in range(20)]


def test_results_that_cannot_be_held_are_lost_and_said_to_be(
    monkeypatch: pytest.MonkeyPatch, written: list[str]
) -> None:
    monkeypatch.setattr(ordered_output, "MAX_HELD_CHARACTERS", 100)
    output = OrderedOutput(written.append)
    output.put(2, "c" * 60)
    output._table.query("PRAGMA max_page_count = 3")
    with pytest.raises(OutputError, match="no space for temporary files: database or disk is full"):
        output.put(3, "d" * 60_000)
    output.put(0, "a")
    output.put(1, "b")
    output.flush()
    assert (written, output.lost) == (["a", "b", "c" * 60], {3})


def test_the_end_waits_only_a_moment_for_a_reader_that_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered_output, "STUCK_SECONDS", 0.05)
    reads, writing = threading.Event(), threading.Event()

    def block(text: str) -> None:
        writing.set()
        reads.wait()

    output = OrderedOutput(block)
    output.put(1, "b")
    thread = threading.Thread(target=output.put, args=(0, "a"))
    thread.start()
    writing.wait()
    output.flush()
    assert output.lost == {0, 1}
    reads.set()
    thread.join()
    assert output.lost == set()
