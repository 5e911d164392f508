"""`status`: how far the runs of `transcribe --output-dir` are, from any machine that sees the directory."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import Exit, InputError, OutputError
from ..output.files import write_json, write_stdout
from ..output.sanitize import one_line
from ..output.text_json import without_none
from ..text_width import align
from . import options as given

if TYPE_CHECKING:  # --help does without
    from ..scale.journal import Journal
    from ..scale.journal_lines import RecordingOutcome
    from ..scale.run_status import DirectoryStatus, RunStatus

EXAMPLES = """
cartesia-cli status out
cartesia-cli status out -f json
"""

MAX_FAILURES = 20
"""Failed recordings in the table. JSON has all of them."""

MAX_RUNS = 100
"""Runs in the table, one of each shard. JSON has all of them."""

UNKNOWN_COMMAND = (
    "to do the rest: the same command with --resume (it isn't recorded: a URL in it has a secret, or it is very long)"
)

HEADER = ("shard", "state", "before", "done", "failed", "left", "audio", "credits", "started", "host")

Directory = Annotated[str, typer.Argument(metavar="DIR", help="The --output-dir of `transcribe`.")]


def status(*, directory: Directory, format: given.ListFormat = "table") -> None:
    """Show how far the runs in an output directory are."""
    from ..scale.journal import Journal
    from ..scale.run_status import read_status

    if not Path(directory).is_dir():
        raise InputError(f"{directory} is not a folder", hint="name the folder that a run writes its results to")
    journal = Journal(Path(directory), on_failure=_fail)
    if not journal.events():
        _check_readable(Path(directory))
        raise InputError(
            f"{directory} has no journal of a run",
            hint=f"`transcribe INPUT... --output-dir {directory}` keeps one there",
        )
    found = read_status(journal)
    if format == "json":
        write_json(_report(found, directory, journal))
    else:
        write_stdout("\n".join(_table(found, directory, journal)) + "\n")
    if found.failed:
        raise typer.Exit(Exit.FAILED)


def _check_readable(directory: Path) -> None:
    """Raises InputError for a directory whose journal can't be read, if it has any."""
    from ..scale.journal import FOLDER
    from .batch.inputs import unreadable_error

    try:
        for file in list((directory / FOLDER).iterdir()):
            file.open("rb").close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unreadable_error(f"the journal in {directory}", error) from error


def _fail(sentence: str) -> NoReturn:
    raise OutputError(sentence, hint="set TMPDIR to another folder")


def _failures(journal: Journal) -> Iterator[RecordingOutcome]:
    return (outcome for outcome in journal.outcomes() if outcome.state == "failed")


def _rest(found: DirectoryStatus) -> tuple[str, str | None] | None:
    """The command that does what is left, of the first shard of which anything is, and the folder in which to enter it;
    if nothing is left of the last runs, that of an earlier one. None if nothing is left, or the command isn't known.
    """
    run = next((run.start for run in _unfinished(found) if run.start.command), None)
    if run is None or run.command is None:
        return None
    command = run.command
    if found.unfinished_shards:
        shard = f"--shard {found.unfinished_shards[0]}/{found.shards}"
        command = re.sub(r"--shard \d+/\d+", shard, command)
    return command, run.folder


def _unfinished(found: DirectoryStatus) -> Sequence[RunStatus]:
    """The runs one of whose commands does what is left, those that need another run first; none if nothing is left."""
    runs = sorted(found.runs, key=lambda run: not run.needs_another)
    if any(run.needs_another for run in runs) or found.missing:
        return runs
    return [found.failed_before] if found.failed_before is not None else []


# For people ------------------------------------------------------------------------------------------------


def _table(found: DirectoryStatus, directory: str, journal: Journal) -> Iterator[str]:
    yield f"{one_line(directory)}: {_counts(found)}"
    yield f"results: {_duration(found.seconds)} of audio, {found.credits:.1f} credits"
    yield f"last run{' of each shard' if found.shards else ''}: {_pace(found)}"
    yield ""
    numbers = range(HEADER.index("before"), HEADER.index("started"))
    yield from align([HEADER, *(_row(run) for run in found.runs[:MAX_RUNS])], right=numbers)
    if len(found.runs) > MAX_RUNS:
        yield f"… and {len(found.runs) - MAX_RUNS} more (-f json has all)"
    if found.failed:
        yield ""
        yield "failed:"
        for number, outcome in enumerate(_failures(journal)):
            if number == MAX_FAILURES:
                yield f"… and {found.failed - MAX_FAILURES} more (-f json has all)"
                break
            reason = one_line(outcome.error["message"]) if outcome.error else "not known why"
            yield f"{one_line(outcome.recording)}: {reason}"
    if found.unfinished_shards:
        yield ""
        yield f"shards to do: --array={_array(found)}"
    if rest := _rest(found):
        command, folder = rest
        if not found.unfinished_shards:
            yield ""
        what = "the first of them" if len(found.unfinished_shards) > 1 else "the rest"
        yield f"to do {what}{f' in {one_line(folder)}' if folder else ''}: {one_line(command)}"
    elif _unfinished(found):
        if not found.unfinished_shards:
            yield ""
        yield UNKNOWN_COMMAND


def _counts(found: DirectoryStatus) -> str:
    parts = [f"{found.done} done", f"{found.failed} failed"]
    if found.in_work:
        parts.append(f"{found.in_work} in progress")
    left = found.left
    parts.append("not known how many are left" if left is None else f"{max(0, left - (found.in_work or 0))} left")
    return ", ".join(parts)


def _pace(found: DirectoryStatus) -> str:
    pace = "nothing transcribed" if found.speed is None else f"{found.speed:.1f} x real time"
    return f"{pace}, about {_duration(found.seconds_left)} to go" if found.seconds_left else pace


def _row(run: RunStatus) -> tuple[str, ...]:
    return (
        str(run.shard or "all"),
        run.state,
        str(run.skipped),
        str(run.done),
        str(run.failed),
        "?" if run.left is None else str(run.left),
        _duration(run.seconds),
        f"{run.credits:.1f}",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.start.time)),
        one_line(run.start.host or "?"),
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _array(found: DirectoryStatus) -> str:
    from ..scale.shards import array_expression

    return array_expression(found.unfinished_shards)


# For programs ----------------------------------------------------------------------------------------------


def _report(found: DirectoryStatus, directory: str, journal: Journal) -> dict[str, Any]:
    rest = _rest(found)
    report = {
        "directory": directory,
        "done": found.done,
        "failed": found.failed,
        "in_work": found.in_work,
        "left": found.left,
        "duration": round(found.seconds, 3),
        "credits": round(found.credits, 3),
        "speed": found.speed and round(found.speed, 3),
        "seconds_left": found.seconds_left and round(found.seconds_left, 1),
        "runs": [_run_report(run) for run in found.runs],
        "unfinished_shards": _array(found) if found.shards else None,
        "command": rest and rest[0],
        "folder": rest and rest[1],
        "failures": [_failure_report(outcome) for outcome in _failures(journal)],
    }
    return without_none(report)


def _run_report(run: RunStatus) -> dict[str, Any]:
    return without_none(
        {
            "run": run.start.run,
            "shard": run.shard and str(run.shard),
            "state": run.state,
            "host": run.start.host,
            "pid": run.start.pid,
            "started": _iso(run.start.time),
            "last_seen": _iso(run.last),
            "inputs": run.inputs,
            "skipped": run.skipped,
            "done": run.done,
            "from_cache": run.from_cache,
            "failed": run.failed,
            "left": run.left,
            "duration": round(run.seconds, 3),
            "credits": round(run.credits, 3),
        }
    )


def _failure_report(outcome: RecordingOutcome) -> dict[str, Any]:
    return without_none(
        {"recording": outcome.recording, "source": outcome.source, "time": _iso(outcome.time), "error": outcome.error}
    )


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
