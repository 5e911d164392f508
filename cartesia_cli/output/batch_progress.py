"""The progress of a batch on stderr: rows that are redrawn on a terminal, a line now and then elsewhere.

Jobs report to a BatchProgress from their threads. One thread of its own shows the state a few times a second, so that
no job ever waits for the terminal: must never hold the lock of the counts while something is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, count, repeat
from typing import TextIO

from ..daemon_thread import start_daemon_thread
from . import taskbar_progress
from .batch_observer import BatchObserver
from .batch_rows import BatchRows, BatchState, JobState
from .terminal_rows import TerminalRows

REDRAW_INTERVALS = repeat(1 / 8)
"""Seconds before each time that the rows are shown."""

TASKBAR_SECONDS = 1.0
"""How often the terminal's own progress is sent, changed or not: Ghostty hides it after 15 s without any."""

CLOSE_SECONDS = 1.0
"""How long the end of a batch waits for the thread, which may be busy writing to a terminal."""


def line_intervals() -> Iterator[float]:
    """Seconds before each line, where stderr is not a terminal."""
    return chain((10.0, 10.0, 20.0, 40.0), repeat(60.0))


class BatchProgress(BatchObserver):
    """Counts what the jobs of a batch report, and shows it inside its `with` block. Methods may be called by any
    thread, and none of them waits for the display; only leaving the block does, for up to CLOSE_SECONDS.

    show            shows a state
    intervals       seconds to wait before each display
    local           whether the recordings cost nothing
    pause_seconds   returns how many seconds pass until recordings may be sent again
    """

    def __init__(
        self,
        show: Callable[[BatchState], object],
        intervals: Iterable[float],
        *,
        local: bool = False,
        pause_seconds: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show, self._intervals = show, intervals
        self._pause_seconds, self._clock = pause_seconds, clock
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._counts = BatchState(all_found=False, credits=None if local else 0.0)  # without what `state` works out
        self._unusable = 0
        self._began: float | None = None
        self._jobs: dict[int, JobState] = {}

    def __enter__(self) -> BatchProgress:
        self._display = start_daemon_thread(self._show_periodically, "batch progress")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        wait({self._display}, CLOSE_SECONDS)

    def found(self, recordings: int, seconds: float | None) -> None:
        with self._lock:
            self._counts.total += recordings
            if seconds is None:
                self._counts.unknown += recordings
            else:
                self._counts.audio_total += seconds

    def unusable(self, inputs: int) -> None:
        with self._lock:
            self._unusable = inputs

    def all_found(self) -> None:
        with self._lock:
            self._counts.all_found = True

    def started(self, number: int, name: str, seconds: float | None) -> None:
        with self._lock:
            now = self._clock()
            if self._began is None:
                self._began = now
            taken = {job.row for job in self._jobs.values()}
            row = next(row for row in count() if row not in taken)
            self._jobs[number] = JobState(row=row, name=name, seconds=seconds, began=now)

    def update(self, number: int, what: str, done: float = 0.0, total: float | None = None) -> None:
        with self._lock:
            if (job := self._jobs.get(number)) is not None:
                job.what, job.done, job.total = what, done, total

    def finished(self, number: int, *, seconds: float, credits: float, from_cache: bool) -> None:
        with self._lock:
            if not self._end(number):
                return
            self._counts.audio_done += seconds
            if self._counts.credits is not None:
                self._counts.credits += credits
            if from_cache:
                self._counts.from_cache += 1
            else:
                self._counts.audio_requested += seconds

    def failed(self, number: int, *, given_up: bool = False) -> None:
        with self._lock:
            if given_up:
                self._jobs.pop(number, None)
            else:
                self._counts.failed += self._end(number)

    def state(self) -> BatchState:
        """How far the batch is at this moment."""
        pause = self._pause_seconds()
        with self._lock:
            now, counts = self._clock(), self._counts
            jobs = sorted(self._jobs.values(), key=lambda job: job.row)
            return replace(
                counts,
                total=counts.total + self._unusable,
                ended=counts.ended + self._unusable,
                failed=counts.failed + self._unusable,
                elapsed=0.0 if self._began is None else now - self._began,
                audio_ended=counts.audio_ended + sum(job.transcribed_seconds for job in jobs),
                pause=pause,
                jobs=tuple(replace(job, elapsed=now - job.began) for job in jobs),
            )

    def _end(self, number: int) -> bool:
        """Remove a running job. False if it has ended before."""
        if (job := self._jobs.pop(number, None)) is None:
            return False
        self._counts.ended += 1
        if job.seconds is None:
            self._counts.unknown -= 1
        else:
            self._counts.audio_ended += job.seconds
        return True

    def _show_periodically(self) -> None:
        for seconds in self._intervals:
            if self._stop.wait(seconds):
                return
            self._show(self.state())


class BatchView(TerminalRows):
    """The rows of a batch at the bottom of a terminal, and the progress that the terminal shows itself.

    colored   whether text may be dim, red or yellow
    """

    def __init__(
        self,
        stream: TextIO,
        lock: AbstractContextManager[object],
        environ: Mapping[str, str],
        *,
        colored: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream, lock=lock, clock=clock)
        self._renderer = BatchRows(stream.encoding or "utf-8", colored=colored)
        self._columns = int(limit) if (limit := environ.get("COLUMNS", "")).isdecimal() else None
        self._has_taskbar = taskbar_progress.is_supported(environ)
        self._taskbar_sent: float | None = None
        self._state: BatchState | None = None
        self._is_suspended = False

    def show_state(self, state: BatchState) -> None:
        with self._lock:
            self._state = state
            self.redraw()

    def redraw(self) -> None:
        """Show the last state again, after something else was written."""
        with self._lock:
            if self._state is None or self._is_suspended or not self.is_drawable():
                return
            size = self.size()
            columns = min(size.columns, self._columns or size.columns)
            self.replace_rows(self._renderer.rows(self._state, columns, size.lines), size)
            self._send_taskbar(self._state)

    def suspend(self) -> None:
        """Show nothing until `resume`: Ctrl-Z is about to suspend the program."""
        with self._lock:
            self._is_suspended = True
            super().suspend()
            self._remove_taskbar()

    def resume(self) -> None:
        """Let the next state be shown, from the cursor on: other programs have used the terminal."""
        with self._lock:
            super().resume()
            self._is_suspended = False

    def close(self) -> None:
        with self._lock:
            self._remove_taskbar()
            super().close()

    def _send_taskbar(self, state: BatchState) -> None:
        now = self._clock()
        if self._has_taskbar and (self._taskbar_sent is None or now - self._taskbar_sent >= TASKBAR_SECONDS):
            self._taskbar_sent = now
            self._write(taskbar_progress.sequence(state.share, failed=state.failed > 0))

    def _remove_taskbar(self) -> None:
        if self._taskbar_sent is not None:
            self._taskbar_sent = None
            self._write(taskbar_progress.REMOVE)
