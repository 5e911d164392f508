"""What the jobs of a batch report while they run, to whatever shows it."""

from __future__ import annotations


class BatchObserver:
    """Shows how far the jobs of a batch are: subclasses override what they need. Called from the threads of the jobs;
    `number` is that of a job.
    """

    def found(self, recordings: int, seconds: float | None) -> None:
        """More recordings to transcribe were found. `seconds`: their length in all; None: unknown."""

    def unusable(self, inputs: int) -> None:
        """`inputs` in all can't be transcribed; they are not among those that were found."""

    def all_found(self) -> None:
        """No more will be found."""

    def started(self, number: int, name: str, seconds: float | None) -> None:
        """A job begins. `seconds`: of audio, as in `found`."""

    def update(self, number: int, what: str, done: float = 0.0, total: float | None = None) -> None:
        """What a job is doing, such as "sending", and how much of it is done: bytes, or seconds when "transcribing".
        `total` None: unknown.
        """

    def finished(self, number: int, *, seconds: float, credits: float, from_cache: bool) -> None:
        """A job has its transcript, `seconds` long, and what it cost."""

    def failed(self, number: int, *, given_up: bool = False) -> None:
        """A job has no transcript. The reporter prints why, unless it is given up because the run is being stopped."""
