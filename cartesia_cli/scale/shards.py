"""Divides recordings among the tasks of a job array: which shard a task is, and which recordings are in it.

A recording belongs to a shard by a hash of its name, so that every task finds its own without asking the others,
whatever machine and version of Python it runs on, and in whatever order the recordings are found.

The variables of schedulers are those of their documentation: "OUTPUT ENVIRONMENT VARIABLES" of Slurm's sbatch, "Indexed
Job for Parallel Processing with Static Work Assignment" of Kubernetes, "AWS Batch job environment variables".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..errors import UsageError
from . import name_hash

AUTO = "auto"

MAX_SHARDS = 1_000_000
"""More than any scheduler's array has: a larger number is a mistake."""

FORMS = "I/N, such as 3/8, auto, or auto/N"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `total` shares of a set of recordings. `number` counts from 1."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def has(self, name: str) -> bool:
        """Whether a recording is in this shard.

        name   the same on all machines: a path relative to the folder that is transcribed, with slashes, or a URL
        """
        return name_hash(name) % self.total == self.number - 1


def parse_shard(value: str, environ: Mapping[str, str]) -> Shard:
    """The shard that --shard names. Raises UsageError if it names none.

    value     `I/N`; `auto`, from the variables of a job array; or `auto/N`, where these don't tell its size, or tell
              only that of the part of the array that was submitted again
    environ   of the process
    """
    number, slash, total = value.strip().lower().partition("/")
    size = _count(total, value) if slash else None
    if number == AUTO:
        return _from_scheduler(size, environ)
    if size is None or not number.isdecimal():
        raise UsageError(f"--shard {value!r} is not a shard", hint=FORMS)
    if not 1 <= int(number) <= size:
        raise UsageError(
            f"--shard {value}: there is no shard {number} of {size}", hint=f"shards: 1/{size} to {size}/{size}"
        )
    return Shard(int(number), size)


def array_expression(numbers: Iterable[int]) -> str:
    """Shards as `sbatch --array` and people write them: 3,7-9."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _count(text: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,7}", text) or not 1 <= int(text) <= MAX_SHARDS:
        raise UsageError(f"--shard {value!r}: {text!r} is not a number of shards", hint=FORMS)
    return int(text)


def _slurm(size: int | None, environ: Mapping[str, str]) -> Shard:
    """The index counts modulo the size, so that the arrays 1-8 and 0-7 both have all eight shards, and a task keeps its
    shard when a part of the array is submitted again: index 0 is the last shard.
    """
    index = _variable("SLURM_ARRAY_TASK_ID", environ)
    step = 1
    if size is None:
        count, first, last, step = (
            _variable(f"SLURM_ARRAY_TASK_{name}", environ) for name in ("COUNT", "MIN", "MAX", "STEP")
        )
        size, step = max(count, 1), max(step, 1)
        if last - first != step * (size - 1):
            raise UsageError(
                f"--shard auto: this is a job array with gaps ({count} tasks from {first} to {last})",
                hint="--shard auto/N, with the size N of the whole array",
            )
    elif index > size:
        raise UsageError(f"--shard auto/{size}: this is task {index} of its array", hint=f"`sbatch --array=1-{size}`")
    return Shard(index // step % size or size, size)


def _aws_batch(size: int | None, environ: Mapping[str, str]) -> Shard:
    size = size or _variable("AWS_BATCH_JOB_ARRAY_SIZE", environ)
    return _from_zero(_variable("AWS_BATCH_JOB_ARRAY_INDEX", environ), size)


def _kubernetes(size: int | None, environ: Mapping[str, str]) -> Shard:
    if size is None:
        raise UsageError(
            "--shard auto: Kubernetes doesn't say how many completions a Job has",
            hint="--shard auto/N, with N as in `completions: N`",
        )
    return _from_zero(_variable("JOB_COMPLETION_INDEX", environ), size)


SCHEDULERS: dict[str, Callable[[int | None, Mapping[str, str]], Shard]] = {
    "SLURM_ARRAY_TASK_ID": _slurm,
    "AWS_BATCH_JOB_ARRAY_INDEX": _aws_batch,
    "JOB_COMPLETION_INDEX": _kubernetes,
}
"""The variable by which each scheduler is recognized."""


def _from_scheduler(size: int | None, environ: Mapping[str, str]) -> Shard:
    for variable, shard in SCHEDULERS.items():
        if variable in environ:
            return shard(size, environ)
    raise UsageError(
        f"--shard auto: not in a job array: none of {', '.join(SCHEDULERS)} is set", hint="--shard I/N, such as 3/8"
    )


def _from_zero(index: int, size: int) -> Shard:
    if index >= size:
        raise UsageError(
            f"--shard auto/{size}: this task has index {index}, and {size} shards have indices up to {size - 1}",
            hint="--shard auto/N, with the size N of the whole array",
        )
    return Shard(index + 1, size)


def _variable(name: str, environ: Mapping[str, str]) -> int:
    value = environ.get(name, "")
    if not re.fullmatch(r"\d{1,10}", value):
        raise UsageError(f"--shard auto: {name}={value!r} is not a number", hint="--shard I/N, such as 3/8")
    return int(value)
