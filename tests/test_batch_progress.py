"""Tests of the progress of a batch: its rows and lines, counts from many threads, and how it looks on a terminal."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartesia_cli.errors import InputError
from cartesia_cli.output import taskbar_progress
from cartesia_cli.output.batch_observer import BatchObserver
from cartesia_cli.output.batch_progress import BatchProgress, BatchView, line_intervals
from cartesia_cli.output.batch_rows import BatchRows, BatchState, JobState
from cartesia_cli.output.console import Reporter
from cartesia_cli.text_width import text_width
from tests.emulated_terminal import Terminal

HALFWAY = BatchState(
    total=30, ended=12, elapsed=60.0, audio_total=9600.0, audio_ended=3734.0, audio_done=3734.0,
    audio_requested=3734.0, credits=1867.0,
)  # fmt: skip
JOBS = (
    JobState(name="monday.mp3", what="sending", done=43, total=100),
    JobState(name="tuesday.mp3", what="transcribing", elapsed=12.4),
    JobState(name="wednesday.mp3", what="downloading", done=3_200_000),
)


class ManualClock:
    """A clock that stands still until `now` is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rows(state: BatchState, columns: int = 100, lines: int = 24, encoding: str = "utf-8") -> list[str]:
    return BatchRows(encoding, colored=False).rows(state, columns, lines)


# Rows


def test_first_row_shows_recordings_audio_speed_time_left_and_credits() -> None:
    assert rows(HALFWAY) == ["▇▇▇▇········ 12 of 30, 1:02:14 of 2:40:00, 62× real time, 1:34 left, 1,867 credits"]
    assert rows(replace(HALFWAY, credits=None))[0].endswith(", on this machine")
    assert " 12 of 30, 2 failed, 1:02:14 of" in rows(replace(HALFWAY, failed=2), 120)[0]
    assert rows(replace(HALFWAY, jobs=JOBS), 120)[0].endswith(", 3 in progress")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (100, "▇▇▇▇········ 12 of 30, 1:02:14 of 2:40:00, 62× real time, 1:34 left, 1,867 credits"),
        (80, "▇▇▇▇········ 12 of 30, 1:02:14 of 2:40:00, 62×, 1:34 left, 1,867 credits"),
        (60, "▇▇▇▇········ 12 of 30, 1:02:14, 62×, 1:34 left"),
        (40, "▇▇▇▇········ 12 of 30, 1:34 left"),
        (24, "12 of 30, 1:34 left"),
        (12, "12 of 30"),
        (4, ""),
        (1, ""),
    ],
)
def test_first_row_drops_the_least_important_parts_when_narrow(columns: int, shown: str) -> None:
    assert rows(HALFWAY, columns) == [shown]


def test_rows_of_recordings_show_what_is_done_to_each() -> None:
    assert rows(replace(HALFWAY, jobs=JOBS))[1:] == [
        "  sending 43%           monday.mp3",
        "  transcribing 0:12     tuesday.mp3",
        "  downloading 3.2 MB    wednesday.mp3",
    ]
    assert rows(replace(HALFWAY, jobs=JOBS), 36)[3] == "  downloading 3.2 MB    wednesday.…"


@pytest.mark.parametrize(
    ("lines", "shown", "more"), [(50, 20, 0), (24, 10, 10), (12, 4, 16), (6, 1, 19), (4, 0, 20), (2, 0, None)]
)
def test_rows_of_recordings_take_at_most_half_of_the_terminal(lines: int, shown: int, more: int | None) -> None:
    jobs = tuple(JobState(name=f"{number}.mp3") for number in range(20))
    drawn = rows(replace(HALFWAY, jobs=jobs), lines=lines)
    assert len([row for row in drawn if row.endswith(".mp3")]) == shown
    assert len(drawn) <= max(lines // 2, 1)
    assert (drawn[-1] == f"  … and {more} more") == bool(more)


def test_time_left_is_by_recordings_if_a_duration_is_unknown() -> None:
    state = replace(HALFWAY, unknown=3)
    assert state.share == pytest.approx(12 / 30)
    assert state.seconds_left == pytest.approx(18 * 60 / 12)
    assert ", 1:02:14, " in rows(state)[0] and ", 1:30 left by recordings," in rows(state, 120)[0]
    assert replace(state, from_cache=12, audio_requested=0.0).seconds_left is None


def test_nothing_is_estimated_while_recordings_are_still_being_found() -> None:
    state = replace(HALFWAY, all_found=False)
    assert rows(state) == ["············ 12 of 30+, 1:02:14, 62× real time, 1,867 credits"]
    assert (state.share, state.seconds_left) == (None, None)


def test_speed_and_time_left_ignore_what_came_from_the_cache() -> None:
    state = replace(HALFWAY, from_cache=6, audio_requested=1200.0)
    assert state.speed == pytest.approx(20.0)
    assert state.seconds_left == pytest.approx((9600 - 3734) / 20)
    assert replace(state, elapsed=1.0).speed is None


def test_pause_is_shown_instead_of_the_time_left() -> None:
    state = replace(HALFWAY, pause=11.3)
    assert ", waiting 0:12 (too many requests)," in rows(state, 120)[0] and " left" not in rows(state, 120)[0]
    assert "12 of 30, waiting 0:12" in rows(state, 40)[0]


def test_line_for_a_log_says_all_that_the_first_row_can_say() -> None:
    state = replace(HALFWAY, failed=2, jobs=JOBS)
    line = "12 of 30, 2 failed, 1:02:14 of 2:40:00, 62× real time, 1:34 left, 1,867 credits, 3 in progress"
    assert BatchRows("utf-8", colored=True).sentence(state) == line
    assert rows(state, 200)[0] == f"▇▇▇▇········ {line}"
    assert "62x real time" in BatchRows("ascii", colored=True).sentence(state)


def test_ascii_terminal_gets_only_ascii() -> None:
    jobs = (JobState(name="naïve 日本語 " * 20, what="sending"), *JOBS * 10)
    drawn = rows(replace(HALFWAY, jobs=jobs), 80, 12, encoding="ascii")
    assert all(row.isascii() and len(row) < 80 for row in drawn)
    assert drawn[0].startswith("####........ 12 of 30, 1:02:14 of 2:40:00, 62x, ")
    assert drawn[1].endswith("...") and drawn[-1] == "  ... and 27 more"


NAMES = st.text(
    st.sampled_from([*"aB 9.…/\t\n\r\x1b\x07\x08\x9b[;mH2JK語한é😀×", "\u0301", "\u200d", "\ufe0f", "\ud800", "\u202e"])
)
COUNTS, SECONDS = st.integers(0, 10**6), st.floats(0, 1e9)
STATES = st.builds(
    BatchState,
    total=COUNTS, all_found=st.booleans(), ended=COUNTS, failed=COUNTS, from_cache=COUNTS, elapsed=SECONDS,
    audio_total=SECONDS, audio_ended=SECONDS, audio_done=SECONDS, audio_requested=SECONDS, unknown=COUNTS,
    credits=SECONDS | st.none(),
    pause=SECONDS,
    jobs=st.lists(
        st.builds(
            JobState, name=NAMES, what=st.sampled_from(["", "downloading", "sending", "transcribing"]), done=SECONDS,
            total=SECONDS | st.none(), elapsed=SECONDS,
        ), max_size=8,
    ).map(tuple),
)  # fmt: skip


@given(STATES, st.integers(0, 120), st.integers(0, 30), st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_no_state_makes_a_row_wider_than_the_terminal(state: BatchState, columns: int, lines: int, code: str) -> None:
    drawn = rows(state, columns, lines, code)
    assert 1 <= len(drawn) <= max(lines // 2, 1)
    for row in drawn:
        assert text_width(row) <= max(columns - 1, 0)
        assert row.isprintable() or not {"\x1b", "\n", "\r", "\t", "\x07", "\x08", "\x9b", "\u202e"} & set(row)
        row.encode(code)
    assert state.share is None or 0 <= state.share <= 1


@given(STATES, st.integers(1, 60))
def test_rows_leave_nothing_on_an_emulated_terminal(state: BatchState, columns: int) -> None:
    terminal = Terminal(columns, lines=12)
    terminal.write("$\n")
    view = view_on(terminal)
    view.show_state(state)
    assert terminal.rows[0] == "$" and len(terminal.rows) <= 7
    assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 1)
    view.close()
    assert terminal.rows == ["$"]


# Counts


def unshown(*, clock: Callable[[], float] = time.monotonic, **options: Any) -> BatchProgress:
    return BatchProgress(lambda state: None, (), local=False, clock=clock, **options)


def test_counts_follow_the_jobs() -> None:
    clock = ManualClock()
    progress = unshown(clock=clock)
    progress.found(2, 300.0)
    progress.found(1, None)
    assert progress.state().all_found is False
    progress.all_found()
    clock.now = 5.0
    progress.started(7, "a", 100.0)
    progress.started(8, "b", 200.0)
    progress.started(9, "c", None)
    clock.now = 15.0
    progress.update(8, "transcribing", 50.0, 200.0)
    progress.update(99, "sending", 1.0, 2.0)  # no such job
    progress.finished(7, seconds=101.0, credits=50.5, from_cache=False)
    state = progress.state()
    assert [job.name for job in state.jobs] == ["b", "c"]
    assert (state.total, state.all_found, state.ended, state.unknown) == (3, True, 1, 1)
    assert (state.elapsed, state.audio_total, state.audio_ended) == (10.0, 300.0, 150.0)  # since the first job
    assert (state.audio_done, state.audio_requested, state.credits) == (101.0, 101.0, 50.5)
    progress.failed(9)
    progress.finished(8, seconds=200.0, credits=0.0, from_cache=True)
    state = progress.state()
    assert (state.ended, state.failed, state.from_cache, state.unknown, state.jobs) == (3, 1, 1, 0, ())
    assert (state.audio_ended, state.audio_done, state.audio_requested, state.share) == (300.0, 301.0, 101.0, 1.0)


def test_recordings_keep_their_rows_while_others_come_and_go() -> None:
    progress = unshown()
    progress.found(4, None)
    for key, name in enumerate("abc"):
        progress.started(key, name, None)
    progress.finished(0, seconds=1.0, credits=0.0, from_cache=False)
    progress.started(3, "d", None)
    assert [job.name for job in progress.state().jobs] == ["d", "b", "c"]


def test_job_ends_once_whatever_is_reported_afterwards() -> None:
    progress = unshown()
    progress.found(2, 20.0)
    progress.started(0, "a", 10.0)
    progress.finished(0, seconds=10.0, credits=5.0, from_cache=False)
    progress.failed(0)
    progress.finished(0, seconds=10.0, credits=5.0, from_cache=False)
    state = progress.state()
    assert (state.ended, state.failed, state.audio_ended, state.credits) == (1, 0, 10.0, 5.0)


def test_unusable_inputs_count_as_failed() -> None:
    progress = unshown()
    progress.found(2, 20.0)
    for inputs in (1, 3):
        progress.unusable(inputs)
    state = progress.state()
    assert (state.total, state.ended, state.failed) == (5, 3, 3)


def test_pause_is_asked_for_whenever_the_state_is() -> None:
    pauses = iter([15.0, 0.0])
    progress = unshown(pause_seconds=lambda: next(pauses))
    assert (progress.state().pause, progress.state().pause) == (15.0, 0.0)


def test_counts_are_right_when_many_threads_report() -> None:
    progress = unshown()
    keys = iter(range(4000))
    lock = threading.Lock()

    def run_lane() -> None:
        while True:
            with lock:
                key = next(keys, None)
            if key is None:
                return
            progress.found(1, 2.0)
            progress.started(key, str(key), 2.0)
            progress.update(key, "sending", 1, 2)
            progress.state()
            if key % 4:
                progress.finished(key, seconds=2.0, credits=1.0, from_cache=False)
            else:
                progress.failed(key)

    lanes = [threading.Thread(target=run_lane) for _ in range(8)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    state = progress.state()
    assert (state.total, state.ended, state.failed, state.jobs) == (4000, 4000, 1000, ())
    assert (state.audio_total, state.audio_ended, state.audio_done, state.credits) == (8000, 8000, 6000, 3000)


# On a terminal


def view_on(terminal: Terminal, environ: dict[str, str] | None = None, clock: ManualClock | None = None) -> BatchView:
    view = BatchView(terminal, threading.RLock(), environ or {}, colored=False, clock=clock or ManualClock())
    view.size = lambda: os.terminal_size((terminal.screen.columns, terminal.screen.lines))
    return view


@contextmanager
def batch_progress(reporter: Reporter, recordings: int) -> Iterator[BatchObserver]:
    with reporter.batch_progress(local=False) as progress:
        progress.found(recordings, 60.0 * recordings)
        yield progress


def wait_until_shown(terminal: Terminal, text: str) -> None:
    for _ in range(1000):
        if any(text in row for row in terminal.rows):
            return
        threading.Event().wait(0.01)
    raise AssertionError(terminal.rows)


def test_messages_scroll_above_the_rows_which_are_erased_at_the_end() -> None:
    terminal = Terminal(80, lines=24)
    reporter = Reporter(terminal, {"NO_COLOR": "1"})
    with batch_progress(reporter, 2) as progress:
        progress.started(0, "monday.mp3", 60.0)
        wait_until_shown(terminal, "monday.mp3")
        reporter.error(InputError("tuesday.mp3 is empty", hint="record it again"))
        assert terminal.rows[:2] == ["error: tuesday.mp3 is empty", "hint: record it again"]
        assert terminal.rows[2].startswith("············ 0 of 2+") and terminal.rows[3].endswith(" monday.mp3")
        reporter.info("word " * 40)  # the terminal wraps it: it might be a command to copy
        assert terminal.rows[2].startswith("word word") and terminal.rows[5].startswith("············ 0 of 2+")
    assert len(terminal.rows) == 5
    assert terminal.screen.cursor.hidden is False
    reporter.info("1 of 2 transcribed")
    assert terminal.rows[5:] == ["1 of 2 transcribed"]


def test_messages_of_many_threads_stay_whole() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream, {})

    def talk(name: str) -> None:
        for _ in range(200):
            reporter.info(name * 20)

    lanes = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert sorted(stream.getvalue().splitlines()) == sorted(name * 20 for name in "abcd" for _ in range(200))


def test_screen_stays_right_while_threads_work_and_print() -> None:
    terminal = Terminal(60, lines=40)
    reporter = Reporter(terminal, {"NO_COLOR": "1"})
    with batch_progress(reporter, 24) as progress:

        def run_lane(lane: int) -> None:
            for key in range(lane, 24, 4):
                progress.started(key, f"日本語 {key}.mp3", 60.0)
                for done in range(20):
                    progress.update(key, "sending", done, 20)
                if key % 3 == 0:
                    reporter.info(f"message {key}")
                progress.finished(key, seconds=60.0, credits=30.0, from_cache=False)

        lanes = [threading.Thread(target=run_lane, args=(lane,)) for lane in range(4)]
        for one in lanes:
            one.start()
        for one in lanes:
            one.join()
    assert sorted(terminal.rows) == sorted(f"message {key}" for key in range(0, 24, 3))


def test_stdout_on_the_same_terminal_is_written_above_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(80, lines=24)
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("cartesia_cli.output.terminal_rows.is_same_terminal", lambda one, other: one is other)
    reporter = Reporter(terminal, {"NO_COLOR": "1"})
    with batch_progress(reporter, 2) as progress:
        progress.started(0, "monday.mp3", 60.0)
        wait_until_shown(terminal, "monday.mp3")
        with reporter.hidden_view():
            assert terminal.rows == []
            terminal.write("It was a bright cold day\n")
        assert terminal.rows[0] == "It was a bright cold day" and terminal.rows[1].startswith("············ 0 of 2+")
    assert terminal.rows == ["It was a bright cold day"]


def test_nothing_is_drawn_while_suspended_and_resuming_draws_at_the_cursor() -> None:
    terminal = Terminal(lines=12)
    view = view_on(terminal)
    view.show_state(HALFWAY)
    view.suspend()
    view.show_state(HALFWAY)
    assert terminal.rows == []
    terminal.write("[1]+ Stopped\n$ fg\n")
    view.resume()
    view.show_state(HALFWAY)
    assert terminal.rows[:2] == ["[1]+ Stopped", "$ fg"] and terminal.rows[2].startswith("▇▇▇▇········ 12 of 30")


def test_COLUMNS_limits_the_width() -> None:
    terminal = Terminal(80, lines=12)
    view_on(terminal, {"COLUMNS": "40"}).show_state(HALFWAY)
    assert terminal.rows == ["▇▇▇▇········ 12 of 30, 1:34 left"]
    narrow = Terminal(30, lines=12)
    view_on(narrow, {"COLUMNS": "200"}).show_state(HALFWAY)
    assert narrow.rows == ["12 of 30, 1:34 left"]


def test_jobs_never_wait_for_a_terminal_that_takes_nothing() -> None:
    terminal = Terminal()
    is_stuck, go_on = threading.Event(), threading.Event()

    def write(text: str) -> int:
        is_stuck.set()
        assert go_on.wait(30)
        return len(text)

    terminal.write = write  # type: ignore[method-assign]
    with batch_progress(Reporter(terminal, {}), 1) as progress:
        assert is_stuck.wait(30)
        progress.found(1, 1.0)
        progress.started(0, "monday.mp3", 1.0)
        progress.update(0, "sending", 1, 2)
        progress.finished(0, seconds=1.0, credits=1.0, from_cache=False)
        assert isinstance(progress, BatchProgress)
        assert progress.state().ended == 1 and not go_on.is_set()
        go_on.set()


def test_batch_goes_on_when_the_terminal_is_gone() -> None:
    terminal = Terminal()

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    reporter = Reporter(terminal, {})
    with batch_progress(reporter, 1) as progress:
        progress.started(0, "monday.mp3", 1.0)
        wait_until_shown(terminal, "monday.mp3")
        terminal.write = gone  # type: ignore[method-assign]
        reporter.info("nobody reads this")
        progress.finished(0, seconds=1.0, credits=1.0, from_cache=False)
    assert isinstance(progress, BatchProgress)
    assert progress.state().ended == 1


@pytest.mark.parametrize(("kind", "environ"), [("dumb", {"TERM": "dumb"}), ("quiet", {}), ("file", {})])
def test_no_row_is_drawn_when_dumb_quiet_or_a_file(kind: str, environ: dict[str, str]) -> None:
    stream = io.StringIO() if kind == "file" else Terminal()
    reporter = Reporter(stream, environ)
    reporter.quiet = kind == "quiet"
    with batch_progress(reporter, 1) as progress:
        progress.started(0, "monday.mp3", 1.0)
        threading.Event().wait(0.3)
        progress.finished(0, seconds=1.0, credits=1.0, from_cache=False)
    assert stream.raw == b"" if isinstance(stream, Terminal) else stream.getvalue() == ""


# Lines


def test_lines_come_after_10_s_and_then_at_growing_intervals_up_to_a_minute() -> None:
    intervals = line_intervals()
    times, now = [], 0.0
    for _ in range(7):
        now += next(intervals)
        times.append(now)
    assert times == [10, 20, 40, 80, 140, 200, 260]


def test_line_is_printed_at_each_interval_until_the_end() -> None:
    lines: list[str] = []
    printed = threading.Event()

    def show(state: BatchState) -> None:
        lines.append(BatchRows("utf-8", colored=False).sentence(state))
        printed.set()

    with BatchProgress(show, [0.0, 600.0], local=True) as progress:
        progress.found(3, None)
        assert printed.wait(30)
    assert lines in (
        ["0 of 3+, on this machine"],
        ["0 of 0+, on this machine"],
    )


# The terminal's own progress


@pytest.mark.parametrize(
    ("environ", "supported"),
    [
        ({"WT_SESSION": "x"}, True),
        ({"WT_SESSION": "x", "TERM": "xterm-256color"}, True),
        ({"ConEmuANSI": "ON"}, True),
        ({"ConEmuANSI": "OFF"}, False),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty", "TERM_PROGRAM_VERSION": "1.0.0"}, True),
        ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.6.6"}, True),
        ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.10.0"}, True),
        ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.6.5"}, False),
        ({"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.7.0beta"}, False),
        ({"TERM_PROGRAM": "iTerm.app"}, False),
        ({"TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20250725-120000-abcdef12"}, True),
        ({"TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20240203-110809-5046fc22"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "8000"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7603"}, False),
        ({"TERM": "xterm-kitty"}, False),
        ({"TERM": "xterm-kitty", "VTE_VERSION": "8000", "WT_SESSION": "x"}, False),  # started from another terminal
        ({"TERM_PROGRAM": "vscode", "WT_SESSION": "x"}, False),
        ({"TERM_PROGRAM": "Apple_Terminal", "TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color"}, False),
        ({}, False),
        ({"TERM_PROGRAM": "ghostty", "TMUX": "/tmp/tmux"}, False),
        ({"TERM": "screen-256color", "WT_SESSION": "x"}, False),
        ({"TERM": "xterm-256color", "STY": "1.pts", "WT_SESSION": "x"}, False),
    ],
)  # fmt: skip
def test_terminals_that_show_progress_themselves(environ: dict[str, str], supported: bool) -> None:
    assert taskbar_progress.is_supported(environ) is supported


def test_terminals_progress_is_sent_once_a_second_and_removed_at_the_end() -> None:
    terminal, clock = Terminal(), ManualClock()
    view = view_on(terminal, {"WT_SESSION": "x"}, clock)
    view.show_state(replace(HALFWAY, all_found=False))
    assert terminal.raw.endswith(b"\x1b]9;4;3;\x07")
    for clock.now in (0.5, 1.0, 2.0):
        view.show_state(replace(HALFWAY, failed=int(clock.now // 2), ended=12 + int(clock.now)))
    assert terminal.raw.count(b"\x1b]9;4;1;38\x07") == 1 and terminal.raw.endswith(b"\x1b]9;4;2;38\x07")
    view.close()
    assert terminal.raw.count(b"\x1b]9;4;0;\x07") == 1
    view.close()
    assert terminal.raw.count(b"\x1b]9;4;0;\x07") == 1


def test_terminals_progress_is_removed_while_suspended() -> None:
    terminal = Terminal()
    view = view_on(terminal, {"WT_SESSION": "x"})
    view.show_state(HALFWAY)
    view.suspend()
    assert terminal.raw.endswith(b"\x1b]9;4;0;\x07")


def test_unknown_terminals_get_no_escape_sequence_but_those_of_the_rows() -> None:
    terminal = Terminal()
    view = view_on(terminal)
    view.show_state(replace(HALFWAY, jobs=JOBS))
    view.close()
    assert b"\x1b]" not in terminal.raw
