"""Plans a batch: probes recordings, and decides where their results go, before they are sent.

The first inputs are planned as a whole, so that nothing is sent if one of them is unusable or has nowhere to go. A
folder may hold a hundred thousand recordings. Those beyond LOOKAHEAD are planned while others are being sent, so that
memory and the time until the first upload don't grow with their number; an error there concerns one recording only.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path

from ...audio.probing import MediaInfo
from ...errors import CliError, InputError, OutputError, UsageError
from ...output.console import Reporter
from ...protocol.batch import BatchOptions
from .inputs import Input, SeenNames
from .job import Job, Refuse, probe_input
from .outcomes import OutcomeStore, shard_key
from .output_plan import FindOwner, OutputPlan, Targets

LOOKAHEAD = 1000
"""Inputs that are planned before anything is sent."""


SelectPending = Callable[[Sequence[Job], Refuse], list[Job]]
"""Chooses the jobs that have to be done, and refuses those that can't be."""


class BatchPlan:
    """The jobs of a batch, in input order; those beyond the first are planned while it runs.

    first         the jobs that are known before anything is sent
    complete      whether those are all
    unusable      inputs that can't be transcribed, so far; each has been reported
    left_out      inputs so far that have their results already, or that --retry-failed is not about
    to_stdout     whether results go to stdout
    error         why the only input can't be transcribed; it has not been reported
    is_mistyped   whether there are inputs, but none of them exists
    """

    def __init__(
        self,
        found: Iterator[Input | InputError],
        options: BatchOptions,
        plan: OutputPlan,
        outcomes: OutcomeStore,
        reporter: Reporter,
        *,
        response_folder: Path | None,
        output_manifest: Path | None,
        select: SelectPending | None,
        streamed: bool,
        on_found: Callable[[bool], object],
    ) -> None:
        """Plan the first jobs. Raises UsageError or OutputError if their results can't be written as asked; raises
        InputError if the only input names no recording.

        outcomes          of earlier runs: their results keep their file names
        response_folder   where response bodies are saved, or None
        output_manifest   where the manifest of the results goes, or None
        select            None: all jobs have to be done
        streamed          whether inputs come in while others are being transcribed: each is planned by itself, unless
                          only the result of one can be written
        on_found          called when the first inputs are found, before they are probed: whether any may be a recording
        """
        self._options, self._plan, self._outcomes, self._reporter = options, plan, outcomes, reporter
        self._response_folder, self._output_manifest, self._select = response_folder, output_manifest, select
        self._taken = SeenNames()
        self.to_stdout = plan.to_stdout
        self.unusable = self.left_out = 0
        self.error: CliError | None = None
        items: list[Input | InputError] = []
        if streamed and not plan.takes_one_result:
            self.complete = False
            self._later: Iterator[list[Input | InputError]] = ([item] for item in found)
        else:
            groups = (list(group) for _, group in groupby(found, _name_key))
            for group in groups:
                items += group
                if len(items) >= LOOKAHEAD:
                    break
            following = next(groups, None)
            self.complete = following is None
            self._later = chain([following], groups) if following else iter(())
        self._is_single = self.complete and len(items) == 1
        self.is_mistyped = self.complete and bool(items) and not any(map(_exists, items))
        on_found(any(isinstance(item, Input) for item in items))
        self.first = self._jobs(items, is_first=True)

    @property
    def is_alone(self) -> bool:
        """Whether there is only one input: its failure is that of the run."""
        return self.complete and len(self.first) + self.unusable + self.left_out == 1

    def __iter__(self) -> Iterator[Job]:
        """All jobs. Those beyond the first are planned when they are asked for."""
        yield from self.first
        for group in self._later:
            try:
                yield from self._jobs(group, is_first=False)
            except (UsageError, OutputError) as error:
                self._refuse(group, error)
        self.complete = True

    def _jobs(self, items: Sequence[Input | InputError], *, is_first: bool) -> list[Job]:
        probed: list[tuple[Input, MediaInfo | None]] = []
        for item in items:
            try:
                if isinstance(item, InputError):
                    raise item
                probed.append((item, None if item.origin is not None else probe_input(item, self._options)))
            except InputError as error:
                if isinstance(item, Input) and item.line is not None:
                    error.message = f"{item.line}: {error.message}"
                if error is item and self._is_single:
                    raise
                self._refuse([item], error)
        jobs = self._with_targets(probed)
        if not is_first or not self.complete:
            jobs = [job for job in jobs if self._claim_names(job)]
        if self._select is not None:
            count, unusable = len(jobs), self.unusable
            jobs = self._select(jobs, self._refuse)
            self.left_out += count - len(jobs) - (self.unusable - unusable)
        return jobs

    def _with_targets(self, probed: Sequence[tuple[Input, MediaInfo | None]]) -> list[Job]:
        inputs = [item for item, _ in probed]

        def owner_of(stem: Path, inputs: Sequence[Input]) -> object:
            from .resume import find_owner  # start-up: most names are free

            return find_owner(stem, inputs, self._outcomes)

        targets = self._plan.targets(inputs, owner_of)
        response_files = _plan_response_files(inputs, targets, self._plan, self._response_folder, owner_of)
        jobs = [Job(*one, files, file) for one, files, file in zip(probed, targets, response_files, strict=True)]
        if self._output_manifest is not None:
            manifest = os.path.realpath(self._output_manifest)
            if any(os.path.realpath(file) == manifest for job in jobs for file in job.files):
                message = f"{self._output_manifest} is where a transcript goes"
                raise UsageError(message, hint="choose another file for --output-manifest")
        return jobs

    def _refuse(self, items: Sequence[Input | InputError], error: CliError) -> None:
        """Report an error because of which inputs can't be transcribed."""
        if self._is_single:
            self.error = error
        else:
            self._reporter.error(error)
        self.unusable += len(items)
        for item in items:
            if isinstance(item, Input):
                self._outcomes.record_unusable(item, self._options, error)

    def _claim_names(self, job: Job) -> bool:
        """Whether no other job of this run writes to the same files. The first jobs are compared by the output plan."""
        if self._plan.output is not None or sum(map(self._taken.add, job.files)) == len(job.files):
            return True
        message = f"{job.input.source} and another input would both be written to {job.files[0]}"
        self._refuse([job.input], UsageError(message, hint="transcribe them into different folders"))
        return False


def _exists(item: Input | InputError) -> bool:
    return isinstance(item, Input) and (item.origin is not None or os.path.lexists(item.path))


def _name_key(item: Input | InputError) -> object:
    """Equal for neighbours in a folder that may share the name of their results: talk.mp3, talk.wav."""
    return item if isinstance(item, InputError) else shard_key(item)


def _plan_response_files(
    items: Sequence[Input], targets: Sequence[Targets], plan: OutputPlan, folder: Path | None, find_owner: FindOwner
) -> list[Path | None]:
    """Name a file for each response. Raises UsageError if it exists, can't be written, or is where a transcript
    goes.
    """
    if folder is None:
        return [None] * len(items)
    to_folder = plan._replace(formats=("json",), several=True, output=None, output_dir=folder, to_bucket=False)
    planned = to_folder.targets(items, find_owner)
    taken = {os.path.realpath(file) for one in targets for file in one.values() if file is not None}
    for one in planned:
        for file in one.values():
            if file is not None and os.path.realpath(file) in taken:
                raise UsageError(f"{file} is where a transcript goes", hint="choose another folder for --keep-json")
    return [file for one in planned for file in one.values()]
