"""--shard: what it accepts, what schedulers say, and that every recording is in exactly one shard."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cartesia_cli.errors import UsageError
from cartesia_cli.scale.shards import Shard, array_expression, parse_shard

NAMES = [f"lectures/{number:05}/talk.mp3" for number in range(4000)]


def slurm(index: int, indices: list[int], step: int = 1) -> dict[str, str]:
    """The variables of a task, as Slurm sets them."""
    return {
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_ARRAY_TASK_MIN": str(min(indices)),
        "SLURM_ARRAY_TASK_MAX": str(max(indices)),
        "SLURM_ARRAY_TASK_COUNT": str(len(indices)),
        "SLURM_ARRAY_TASK_STEP": str(step),
    }


def aws(index: int, size: int) -> dict[str, str]:
    return {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": str(size)}


def test_every_recording_is_in_exactly_one_shard_of_about_equal_size() -> None:
    shards = [Shard(number, 8) for number in range(1, 9)]
    sizes = [sum(shard.has(name) for name in NAMES) for shard in shards]
    assert sum(sizes) == len(NAMES)
    assert all(sum(shard.has(name) for shard in shards) == 1 for name in NAMES)
    assert min(sizes) > 400 and max(sizes) < 600


def test_shard_of_a_name_is_the_same_in_every_process_and_version() -> None:
    names = ["a.wav", "ü/b.wav", "not UTF-8 \udcff.wav", "s3://talks/c.wav"]
    shards = [next(number for number in range(1, 1001) if Shard(number, 1000).has(name)) for name in names]
    assert shards == [215, 20, 19, 581]
    code = "from cartesia_cli.scale.shards import Shard; print(Shard(215, 1000).has('a.wav'))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, env={"PYTHONHASHSEED": "7"}, capture_output=True, check=True).stdout == b"True\n"


@pytest.mark.parametrize("value", ["3/8", " 3/8 ", "003/8"])
def test_shard_is_named_by_number_and_total(value: str) -> None:
    assert parse_shard(value, {}) == Shard(3, 8)
    assert str(parse_shard(value, {})) == "3/8"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "3",
        "/",
        "3/",
        "/8",
        "0/8",
        "9/8",
        "-1/8",
        "3/0",
        "3/8/2",
        "a/8",
        "3/b",
        "3/²",
        "1/99999999",
        "auto/0",
        "autp",
    ],
)
def test_wrong_shards_are_usage_errors(value: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_shard(value, slurm(1, [1, 2]))
    assert "--shard" in str(raised.value) and raised.value.hint


@pytest.mark.parametrize(
    ("indices", "step"),
    [([*range(1, 9)], 1), ([*range(8)], 1), ([0, 4, 8, 12], 4), ([1, 3, 5, 7], 2), ([3, 4, 5], 1), ([7], 1)],
)
@pytest.mark.parametrize("form", ["auto", "AUTO"])
def test_slurm_array_without_gaps_has_each_shard_once(indices: list[int], step: int, form: str) -> None:
    found = {parse_shard(form, slurm(index, indices, step)) for index in indices}
    assert found == {Shard(number, len(indices)) for number in range(1, len(indices) + 1)}


def test_part_of_a_slurm_array_submitted_again_has_the_same_shards() -> None:
    for whole in ([*range(1, 9)], [*range(8)]):
        before = {index: parse_shard("auto", slurm(index, whole)) for index in whole}
        for part in ([3], [3, 7], [2, 3, 4], [5, 6]):
            for index in part:
                assert parse_shard("auto/8", slurm(index, part)) == before[index]


def test_slurm_array_with_gaps_needs_its_size() -> None:
    with pytest.raises(UsageError) as raised:
        parse_shard("auto", slurm(7, [3, 7, 8, 9]))
    assert "a job array with gaps (4 tasks from 3 to 9)" in str(raised.value)
    assert raised.value.hint == "--shard auto/N, with the size N of the whole array"
    with pytest.raises(UsageError, match="this is task 9 of its array"):
        parse_shard("auto/8", slurm(9, [3, 9]))


def test_kubernetes_and_aws_batch_count_from_zero() -> None:
    assert [parse_shard("auto", aws(index, 3)) for index in range(3)] == [Shard(1, 3), Shard(2, 3), Shard(3, 3)]
    completions = [{"JOB_COMPLETION_INDEX": str(index)} for index in range(3)]
    assert [parse_shard("auto/3", environ) for environ in completions] == [Shard(1, 3), Shard(2, 3), Shard(3, 3)]


@pytest.mark.parametrize(
    ("value", "environ", "message"),
    [
        ("auto", {}, "not in a job array"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "Kubernetes doesn't say how many completions a Job has"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}, "this task has index 3, and 3 shards have indices up to 2"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX='x' is not a number"),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "1"}, "AWS_BATCH_JOB_ARRAY_SIZE='' is not a number"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT='' is not a number"),
    ],
)
def test_auto_says_what_is_missing(value: str, environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_shard(value, environ)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("numbers", "expression"), [([], ""), ([3], "3"), ([3, 7, 8, 9], "3,7-9"), ([2, 1, 1, 4], "1-2,4")]
)
def test_array_expression_names_ranges(numbers: list[int], expression: str) -> None:
    assert array_expression(numbers) == expression
