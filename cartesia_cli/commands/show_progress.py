"""Shows how far a batch is while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..client import ConcurrencyLimit
from ..output.batch_progress import BatchProgress
from ..output.console import Reporter
from .batch import BatchObserver, is_alone
from .batch_plan import Job, JobPlan


@contextmanager
def show_progress(
    plan: JobPlan, limit: ConcurrencyLimit, reporter: Reporter, *, local: bool
) -> Iterator[tuple[JobPlan, BatchObserver | None]]:
    """The plan and the observer with which a batch has to be run to be shown while the block runs.

    local   whether this machine transcribes
    """
    if is_alone(plan):
        yield plan, None
        return
    with reporter.batch_progress(local=local, pause_seconds=lambda: limit.pause_seconds) as progress:
        yield CountedPlan(plan, progress), progress


class CountedPlan:
    """A JobPlan that tells `progress` of the jobs it finds."""

    def __init__(self, plan: JobPlan, progress: BatchProgress) -> None:
        self._plan, self._progress = plan, progress
        for job in plan.first:
            progress.found(1, job.seconds)
        progress.unusable(plan.unusable)
        if plan.complete:
            progress.all_found()

    @property
    def first(self) -> Sequence[Job]:
        return self._plan.first

    @property
    def complete(self) -> bool:
        return self._plan.complete

    @property
    def unusable(self) -> int:
        return self._plan.unusable

    @property
    def done(self) -> int:
        return self._plan.done

    def __iter__(self) -> Iterator[Job]:
        known = len(self.first)
        for number, job in enumerate(self._plan):
            if number >= known:
                self._progress.found(1, job.seconds)
                self._progress.unusable(self.unusable)
            yield job
        self._progress.unusable(self.unusable)
        self._progress.all_found()
