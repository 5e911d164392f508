"""Decides what `--resume` still has to do, and which recording a result file belongs to.

Recordings are recognized by their content, as far as the record of results goes (see `results`). A result that isn't in
there, such as one of an earlier version, counts as done if it isn't older than its recording, unless that has failed.

Must never cause a file to be overwritten that this program didn't write, or that was edited since.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, UsageError
from ...output.console import Reporter
from ...remote_url import is_remote
from ...results import Result
from .inputs import Input
from .outcomes import OutcomeStore, describe_file_request, source_of
from .output_plan import Targets, existing_results
from .stdin import STDIN
from .transcriber import cached_response

if TYPE_CHECKING:
    from .config import BatchConfig
    from .job import Job, Refuse

INSTEAD = "with --force instead of --resume or --retry-failed"

KEEP_HINT = f"to keep both, name another --output-dir; to overwrite it, run the command {INSTEAD}"

OVERWRITE_HINT = f"to overwrite it, run the command for this input {INSTEAD}"


def select_pending(
    jobs: Sequence[Job],
    config: BatchConfig,
    outcomes: OutcomeStore,
    reporter: Reporter,
    refuse: Refuse,
) -> list[Job]:
    """The jobs that are left, each with only the results that it lacks. Only those that are done have lines in the
    manifest then. Those that can't be done are refused.
    """
    selected: list[Job] = []
    for job in jobs:
        try:
            left = without_finished(job, config, outcomes)
            if left is None:
                outcomes.restore_done(job)
            elif (old := _find_renamed(left, config, outcomes)) and not cached_response(job, config, reporter):
                reporter.info(f"{job.input.source}: already done, before it was renamed: its result is {old[0]}")
                left = None
            if left is not None:
                selected.append(left)
            if config.manifest is not None:
                if left is None:
                    config.manifest.keep_finished(job, cached_response(job, config, reporter))
                else:
                    config.manifest.forget(job)
        except UsageError as error:
            refuse([job.input], error)
    return selected


def find_owner(stem: Path, inputs: Sequence[Input], outcomes: OutcomeStore) -> Input | Result | None:
    """The recording whose results are called `stem`, with the suffix of any format: one of these inputs, another
    recording (as the Result of it), or None.
    """
    files = existing_results(stem)
    results = outcomes.find(files)
    for file in files:
        if result := results.get(os.path.realpath(file)):
            own = [item for item in inputs if result.source == source_of(item)]
            return next((item for item in [*own, *inputs] if _is_from(result, item)), own[0] if own else result)
    if len(inputs) > 1 and files:
        # A result can't have been made from a recording that is newer.
        older = [item for item in inputs if item.origin or not any(_is_newer(item.path, file) for file in files)]
        return older[0] if len(older) == 1 else None
    return None


def without_finished(job: Job, config: BatchConfig, outcomes: OutcomeStore) -> Job | None:
    """The job without the results that are done; None if all are. Raises UsageError for a file that must not be
    overwritten.
    """
    results, has_failed = outcomes.find(job.files), outcomes.has_failed(job.input)
    targets: Targets = {
        name: file
        for name, file in job.targets.items()
        if file is not None
        if not _is_finished(file, job.input, describe_file_request(file, job, config), results, has_failed=has_failed)
    }
    left = with_outdated_files(job._replace(targets=targets), config, outcomes)
    return left if left.files else None


def with_outdated_files(job: Job, config: BatchConfig, outcomes: OutcomeStore) -> Job:
    """A job whose targets are left: it replaces those that exist now. A response file is kept unless that is known to
    be of the recording as it was before.
    """
    if (file := job.response_file) is not None:
        try:
            request = describe_file_request(file, job, config)
            is_kept = _is_finished(file, job.input, request, outcomes.find([file]), has_failed=False)
        except UsageError:
            is_kept = True
        job = job._replace(keeps_response=is_kept)
    return job._replace(outdated=[file for file in job.files if os.path.lexists(file)])


def _is_finished(file: Path, item: Input, request: str, results: dict[str, Result], *, has_failed: bool) -> bool:
    if not file.is_file():
        return False
    result = results.get(os.path.realpath(file))
    if not file.stat().st_size and (result is None or not result.is_unchanged()):
        return False  # left by a run that was stopped, or emptied since
    if item.origin is not None and not is_remote(item.origin):
        raise UsageError(f"{file} exists, and {item.source} is a pipe: it may be of another recording", hint=KEEP_HINT)
    if result is None:
        if has_failed:
            raise UsageError(
                f"{file} is not known to come from {item.source}, which has failed before", hint=OVERWRITE_HINT
            )
        if item.origin or not _is_newer(item.path, file):
            return True
        raise UsageError(f"{item.source} is newer than {file}, which is not known to come from it", hint=OVERWRITE_HINT)
    if _is_from(result, item):
        if result.request not in (None, request):
            raise UsageError(f"{file} was made with {result.request}, not with {request}", hint=KEEP_HINT)
        return True
    if result.source != source_of(item):
        raise UsageError(f"{file} was made from {result.source}, not from {item.source}", hint=OVERWRITE_HINT)
    if item.source == STDIN:  # not one that has changed: another one
        raise UsageError(f"{file} was made from another recording that came through stdin", hint=KEEP_HINT)
    if not result.is_unchanged():
        raise UsageError(f"{item.source} has changed, and {file} was edited since it was made", hint=OVERWRITE_HINT)
    return False


def _find_renamed(job: Job, config: BatchConfig, outcomes: OutcomeStore) -> list[Path]:
    """The results of the same recording under a former name, if all of them exist."""
    found = []
    for file in job.files:
        request = describe_file_request(file, job, config)
        orphans = [
            result.file
            for result in outcomes.of_same_content(job.input.path, file.parent)
            if Path(result.file).suffix == file.suffix and os.path.exists(result.file)
            if result.request in (None, request) and not _has_source(result, job.input)
        ]
        if not orphans:
            return []
        found.append(Path(orphans[0]))
    return found


def _has_source(result: Result, item: Input) -> bool:
    """Whether the recording of a result may still exist: where it was, or beside this one, if the folder that they are
    in is called otherwise on another machine.
    """
    if result.source == STDIN or os.path.exists(result.source):
        return True
    depth = len(item.relative_path.parts) - 1
    return (
        result.name is not None and depth < len(item.path.parents) and (item.path.parents[depth] / result.name).exists()
    )


def _is_from(result: Result, item: Input) -> bool:
    """Whether a result was made from what an input holds now. Servers aren't asked to find out, but the listing of a
    bucket tells.
    """
    if item.origin is None:
        return result.is_from(item.path)
    state = None if item.remote_state is None else item.remote_state.to_numbers()
    return result.source == source_of(item) and (state is None or not result.state or result.state == state)


def _is_newer(recording: Path, file: Path) -> bool:
    try:
        return recording.stat().st_mtime_ns > file.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"{recording} can't be read: {error.strerror}") from error
