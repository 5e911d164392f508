"""Renders the progress of a batch: as rows for a terminal, or as one line for a log.

    ▇▇▇▇▇▇▇····· 12 of 30, 1:02:14 of 2:40:00, 45× real time, 2:10 left, 1,867 credits
      sending 43%        monday.mp3
      transcribing 0:12  tuesday.mp3
      … and 5 more

The first row is the whole batch; parts of it that don't fit are left out, the least important first. Below it are the
recordings in progress. Pure. Must never return a row that is wider than the terminal, nor a name that moves the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from ..text_width import ELLIPSIS, shorten
from ..timestamps import clock_time
from .sanitize import can_encode, one_line
from .status_row import DIM, RED, YELLOW, RowPart, drop_parts, first_fitting, styled

BAR_COLUMNS = 12

STATE_COLUMNS = len("transcribing 1:02:03")
"""Columns for what is being done to a recording."""

MIN_SPEED_SECONDS = 3.0
"""Seconds of a run after which its speed is shown: the first ones are mostly connecting."""


@dataclass(slots=True, kw_only=True)
class JobState:
    """One recording in progress.

    name      of the recording, as the user knows it
    row       its place among the others
    seconds   of audio; None: unknown
    what      downloading, sending or transcribing
    done      how much of it is done; bytes, or seconds when transcribing
    total     of these; None: unknown
    began     when it was begun, on the clock of the batch
    elapsed   seconds since then
    """

    name: str
    row: int = 0
    seconds: float | None = None
    what: str = ""
    done: float = 0.0
    total: float | None = None
    began: float = 0.0
    elapsed: float = 0.0

    @property
    def transcribed_seconds(self) -> float:
        if self.what != "transcribing" or not self.total or self.seconds is None:
            return 0.0
        return self.seconds * min(self.done / self.total, 1.0)


@dataclass(slots=True, kw_only=True)
class BatchState:
    """A batch at one moment.

    total            recordings that were found
    all_found        whether these are all
    ended            recordings that were transcribed, or failed
    failed           of these
    from_cache       of these
    elapsed          seconds since the start
    audio_total      seconds of all recordings whose duration is known before they are transcribed
    audio_ended      of these, in recordings that have ended, and in what is done of the others
    audio_done       seconds of all transcripts
    audio_requested  of these, without those from the cache
    unknown          recordings that haven't ended and whose duration isn't known
    credits          spent; None: it costs nothing
    pause            seconds that all of them wait from now on, because too many were sent at once
    jobs             the recordings in progress
    """

    total: int = 0
    all_found: bool = True
    ended: int = 0
    failed: int = 0
    from_cache: int = 0
    elapsed: float = 0.0
    audio_total: float = 0.0
    audio_ended: float = 0.0
    audio_done: float = 0.0
    audio_requested: float = 0.0
    unknown: int = 0
    credits: float | None = 0.0
    pause: float = 0.0
    jobs: tuple[JobState, ...] = ()

    @property
    def is_audio_known(self) -> bool:
        """Whether it is known how much audio there is."""
        return self.all_found and not self.unknown and self.audio_total > 0

    @property
    def share(self) -> float | None:
        """How much is done, from 0 to 1: by audio if all durations are known, otherwise by recordings. None while
        recordings are still being found.
        """
        if not self.all_found or not self.total:
            return None
        share = self.audio_ended / self.audio_total if self.is_audio_known else self.ended / self.total
        return min(1.0, max(0.0, share))

    @property
    def speed(self) -> float | None:
        """Seconds of audio a second, without what came from the cache. None while that isn't known."""
        if self.elapsed < MIN_SPEED_SECONDS or not self.audio_requested:
            return None
        return self.audio_requested / self.elapsed

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at the speed so far: by audio if all durations are known, otherwise by
        recordings. None while that isn't known.
        """
        if not self.all_found or self.speed is None:
            return None
        if not self.is_audio_known:
            requested = self.ended - self.failed - self.from_cache
            return (self.total - self.ended) * self.elapsed / requested if requested > 0 else None
        return max(0.0, self.audio_total - self.audio_ended) / self.speed


class BatchRows:
    """Renders states for one terminal.

    encoding   of the terminal
    colored    whether text may be dim, red or yellow
    """

    def __init__(self, encoding: str, *, colored: bool) -> None:
        self._encoding, self._colored = encoding, colored
        self._ascii = not can_encode(encoding, "▇·…×")
        self._ellipsis = "..." if self._ascii else ELLIPSIS

    def rows(self, state: BatchState, columns: int, lines: int) -> list[str]:
        """The row of the batch, and rows of its recordings, on at most half of the terminal's lines."""
        width = max(columns - 1, 0)  # terminals differ in what they do after the last column
        most = max(lines // 2 - 1, 0)
        shown = state.jobs if len(state.jobs) <= most else state.jobs[: max(most - 1, 0)]
        rows = [self._job_row(job, width) for job in shown]
        if most and (hidden := len(state.jobs) - len(shown)):
            rows.append(shorten(f"  {self._ellipsis} and {hidden} more", width, self._ellipsis))
        overall = [RowPart(5, f"{self._bar(state.share)} "), *self._overall_parts(state)]
        first = first_fitting(drop_parts(overall), width, colored=self._colored)
        return [first, *(styled(row, DIM, colored=self._colored) for row in rows)]

    def sentence(self, state: BatchState) -> str:
        """The row of the batch for a log: all of its parts, without the bar."""
        return "".join(part.text for part in self._overall_parts(state))

    def _overall_parts(self, state: BatchState) -> Iterator[RowPart]:
        yield RowPart(0, f"{state.ended:,} of {state.total:,}{'' if state.all_found else '+'}")
        if state.failed:
            yield RowPart(1, f", {state.failed:,} failed", RED)
        if state.pause:
            yield RowPart(2, f", waiting {clock_time(ceil(state.pause))}", YELLOW)  # not 0:00 before it is over
            yield RowPart(4, " (too many requests)", YELLOW)
        if state.is_audio_known:
            yield RowPart(6, f", {clock_time(state.audio_ended)}")
            yield RowPart(8, f" of {clock_time(state.audio_total)}")
        elif state.audio_done:
            yield RowPart(6, f", {clock_time(state.audio_done)}")
        if state.speed is not None:
            speed = f"{state.speed:.1f}" if state.speed < 10 else f"{state.speed:,.0f}"
            yield RowPart(7, f", {speed}{'x' if self._ascii else '×'}")
            yield RowPart(9, " real time")
        if state.seconds_left is not None and not state.pause:
            yield RowPart(3, f", {clock_time(state.seconds_left)} left")
            if not state.is_audio_known:
                yield RowPart(10, " by recordings")
        yield RowPart(8, ", on this machine" if state.credits is None else f", {state.credits:,.0f} credits")
        if state.jobs:
            yield RowPart(11, f", {len(state.jobs)} in progress")

    def _bar(self, share: float | None) -> str:
        full, empty = ("#", ".") if self._ascii else ("▇", "·")
        filled = int((share or 0.0) * BAR_COLUMNS)
        return full * filled + empty * (BAR_COLUMNS - filled)

    def _job_row(self, job: JobState, width: int) -> str:
        name = one_line(job.name).encode(self._encoding, "replace").decode(self._encoding)
        return shorten(f"  {_progress(job):<{STATE_COLUMNS}}  {name}", width, self._ellipsis)


def _progress(job: JobState) -> str:
    """What is being done to a recording, and how far it is."""
    if job.total:
        return f"{job.what} {min(job.done / job.total, 1.0):.0%}"
    if job.what == "downloading" and job.done:
        return f"{job.what} {job.done / 1e6:.1f} MB"
    return f"{job.what} {clock_time(job.elapsed)}".strip()
