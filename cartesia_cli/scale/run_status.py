"""How far the runs in an output directory are, from their journal: what is done, failed, in progress and left.

Recordings, their audio and the credits are counted over all runs. What is left, and how fast it goes, follows from the
newest run or, if it has a shard, from the newest run of each shard of the same array. Whether a run is alive is known
from its lock (see `file_locks`), which other machines see if the file system passes locks on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..errors import UsageError
from .journal import Journal
from .journal_lines import RecordingOutcome, RunEvent
from .shards import Shard, parse_shard

RunState = Literal["running", "finished", "stopped", "killed", "unknown"]
"""`unknown`: it ran on another machine, hasn't ended, and no lock of it is seen here."""


@dataclass(slots=True)
class RunStatus:
    """A run: of one shard, or of all recordings.

    start     what it said of itself when it began
    shard     None: the run has all recordings
    inputs    recordings that belong to it; None while they are being found
    skipped   those that were done before
    found     when all inputs were known
    done, failed   recordings since it began, by it or by another run with the same recordings
    from_cache     how many of those that are done came from the cache
    seconds, credits   of what it has transcribed itself, without what came from the cache
    last      when it last was heard of
    ended     what the run says of its end
    """

    start: RunEvent
    last: float
    shard: Shard | None = None
    inputs: int | None = None
    skipped: int = 0
    found: float | None = None
    done: int = 0
    failed: int = 0
    from_cache: int = 0
    seconds: float = 0.0
    credits: float = 0.0
    ended: Literal["finished", "stopped"] | None = None
    state: RunState = "unknown"

    @property
    def left(self) -> int | None:
        """Recordings that are neither done nor failed; None while it isn't known."""
        return None if self.inputs is None else max(0, self.inputs - self.skipped - self.done - self.failed)

    @property
    def needs_another(self) -> bool:
        """Whether there is something to do for another run."""
        return self.state != "running" and (self.failed > 0 or self.left != 0)


@dataclass(frozen=True, slots=True)
class DirectoryStatus:
    """How far the runs in a directory are.

    done, failed   recordings, by the latest outcome of each in all runs there ever were
    seconds        of audio that is done
    credits        what the results cost that exist
    in_work        recordings that runs have claimed now; None if this system can't tell
    runs           the newest run, or that of each shard
    missing        shards of which there is no run
    failed_before  the newest of the runs before those in which recordings failed that aren't done since
    """

    done: int
    failed: int
    seconds: float
    credits: float
    in_work: int | None
    runs: Sequence[RunStatus]
    missing: Sequence[int] = field(default_factory=list)
    failed_before: RunStatus | None = None

    @property
    def left(self) -> int | None:
        """Recordings that are neither done nor failed; None if that isn't known."""
        numbers = [run.left for run in self.runs]
        known = [number for number in numbers if number is not None]
        return sum(known) if len(known) == len(numbers) and not self.missing else None

    @property
    def speed(self) -> float | None:
        """Seconds of audio that were transcribed in a second during the runs that are running or else all; None if they
        have transcribed nothing.
        """
        runs = [run for run in self.runs if run.state == "running"] or self.runs
        elapsed, end = 0.0, 0.0
        for run in sorted(runs, key=lambda run: run.start.time):  # shards may run at once, or one after the other
            elapsed += max(0.0, run.last - max(run.start.time, end))
            end = max(end, run.last)
        return (sum(run.seconds for run in runs) / elapsed or None) if elapsed else None

    @property
    def seconds_left(self) -> float | None:
        """How long the runs will take if they go on as they did; None if that isn't known, or none is running."""
        times = []
        for run in self.runs:
            if run.state != "running":
                continue
            if run.left is None or run.done == run.from_cache:
                return None
            times.append(run.left * (run.last - run.start.time) / (run.done - run.from_cache))
        return max(times, default=None)

    @property
    def shards(self) -> int | None:
        """How many shards there are; None if the runs have none."""
        return self.runs[0].shard.total if self.runs and self.runs[0].shard else None

    @property
    def unfinished_shards(self) -> list[int]:
        """Numbers of the shards that need another run."""
        again = [run.shard.number for run in self.runs if run.shard and run.needs_another]
        return sorted([*again, *self.missing])


def read_status(journal: Journal) -> DirectoryStatus:
    """The status of the directory whose journal was read."""
    runs = _runs(journal.events())
    newest = _newest(runs)
    done = failed = 0
    seconds = credits = 0.0
    failing: set[str] = set()
    namesakes: dict[tuple[str, str], RecordingOutcome] = {}
    for outcome, is_last in journal.current_outcomes():
        credits += outcome.credits or 0.0
        if is_last:
            done += outcome.state == "done"
            failed += outcome.state == "failed"
            seconds += outcome.seconds or 0.0 if outcome.state == "done" else 0.0
            _count(outcome, runs, newest)
            if outcome.state == "failed":
                failing.add(outcome.run)
        elif _is_namesake(outcome, journal.outcome(outcome.recording)):
            namesakes[outcome.recording, outcome.source] = outcome
    done += len(namesakes)
    seconds += sum(outcome.seconds or 0.0 for outcome in namesakes.values())
    for run in newest:
        run.state = _state(run, journal)
    total = newest[0].shard.total if newest and newest[0].shard else 0
    missing = sorted(set(range(1, total + 1)) - {run.shard.number for run in newest if run.shard})
    failing -= {run.start.run for run in newest}
    failed_before = max((runs[run] for run in failing & runs.keys()), key=lambda run: run.start.time, default=None)
    return DirectoryStatus(done, failed, seconds, credits, journal.count_claimed(), newest, missing, failed_before)


def _is_namesake(outcome: RecordingOutcome, last: RecordingOutcome | None) -> bool:
    """Whether an outcome that has results is that of another recording than the last one with its name, in another
    folder. A recording that is elsewhere on another machine has the same content.
    """
    if last is None or last.audio is None or outcome.audio is None:
        return False
    return last.source != outcome.source and last.audio != outcome.audio


def _runs(events: Iterable[RunEvent]) -> dict[str, RunStatus]:
    runs: dict[str, RunStatus] = {}
    for event in events:
        if event.event == "started":
            runs[event.run] = RunStatus(event, event.time, _shard(event.shard))
        elif (run := runs.get(event.run)) is not None:
            run.last = max(run.last, event.time)
            if event.event == "inputs":
                run.inputs, run.skipped, run.found = event.inputs, event.skipped or 0, event.time
            else:
                run.ended = event.event
    return runs


def _newest(runs: Mapping[str, RunStatus]) -> list[RunStatus]:
    """The newest run, or the newest of each shard of its array, in the order of shards."""
    if not runs:
        return []
    last = max(runs.values(), key=lambda run: run.start.time)
    total = last.shard and last.shard.total
    newest: dict[Shard | None, RunStatus] = {}
    for run in sorted(runs.values(), key=lambda run: run.start.time):
        if (run.shard and run.shard.total) == total:
            newest[run.shard] = run
    return sorted(newest.values(), key=lambda run: run.shard.number if run.shard else 0)


def _count(outcome: RecordingOutcome, runs: Mapping[str, RunStatus], newest: Sequence[RunStatus]) -> None:
    """Add a recording to the run that it belongs to."""
    made_by = runs.get(outcome.run)
    if made_by is None:
        return
    run = next((run for run in newest if run.shard == made_by.shard), None)
    if run is None or not (made_by is run or (run.found is not None and outcome.time >= run.found)):
        return
    run.done += outcome.state == "done"
    run.failed += outcome.state == "failed"
    run.from_cache += outcome.is_from_cache
    if made_by is run:
        run.last = max(run.last, outcome.time)
        run.seconds += 0.0 if outcome.is_from_cache else outcome.seconds or 0.0
        run.credits += outcome.credits or 0.0


def _state(run: RunStatus, journal: Journal) -> RunState:
    if run.ended is not None:
        return run.ended
    alive = journal.is_running(run.start.run)
    if alive:
        return "running"
    return "killed" if alive is False and run.start.host == socket.gethostname() else "unknown"


def _shard(text: str | None) -> Shard | None:
    try:
        return parse_shard(text or "", {})
    except UsageError:  # not one of our lines
        return None
