"""How many calls of an engine this machine can work on at once, by its cores and its memory.

What counts is what this process may use: in a container or a batch job, that is less than the machine has. On Linux,
the CPU affinity and the control groups of the process say so (cgroups(7), version 1 or 2). Other systems are only asked
for their cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROCESS_BYTES = 350_000_000
"""Memory of a process with Whisper tiny.en, without its workers."""

WORKER_BYTES = 150_000_000
"""Memory of each of its workers, with some reserve: 500 MB were measured with one worker, 600 MB with two
(benchmarks/local_jobs.py), and 28 MB more for the aligner of each.
"""

TINY_MODEL_BYTES = 75_500_000
"""Size of the weights of Whisper tiny.en. Memory use is assumed to grow in proportion."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use.

    cores          CPU cores, at least 1
    memory_bytes   memory that is free for it, or None if that is unknown
    """

    cores: int
    memory_bytes: int | None


def max_workers(machine: Machine, model_bytes: int = TINY_MODEL_BYTES) -> int:
    """How many workers an engine may have on a machine: at least 1, at most one for each core.

    model_bytes   size of the model's weights on disk
    """
    if machine.memory_bytes is None:
        return machine.cores
    size = max(1.0, model_bytes / TINY_MODEL_BYTES)
    by_memory = int((machine.memory_bytes - size * PROCESS_BYTES) // (size * WORKER_BYTES))
    return max(1, min(machine.cores, by_memory))


def read_machine(root: Path = Path("/")) -> Machine:
    """The cores and the memory of this machine, as far as this process may use them.

    root   where `proc` and `sys` are
    """
    # Only Linux has an affinity. os.cpu_count() is None where it can't be determined.
    core_limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    available = _numbers(root / "proc/meminfo").get("MemAvailable:")
    memory_limits = [] if available is None else [available * 1024]
    for group in _control_groups(root):
        core_limits += _cores_of(group)
        memory_limits += _memory_of(group)
    return Machine(max(1, min(core_limits)), min(memory_limits, default=None))


def _control_groups(root: Path) -> Iterator[Path]:
    """The folders of the process's control groups and of those that they are in: each may have limits of its own."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / "sys/fs/cgroup" / controllers  # version 2 has all controllers in one group
        yield mount
        if ".." not in path:  # with "..", the group is outside this container
            parts = Path(path).parts[1:]
            yield from (mount.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))


def _cores_of(group: Path) -> list[int]:
    """How many cores a control group may use: its quota divided by the period, rounded up. Empty without a limit."""
    text = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
    quota, _, period = text.partition(" ")
    return [-(-int(quota) // int(period))] if quota.strip().isdigit() else []  # "max" or -1: no limit


def _memory_of(group: Path) -> list[int]:
    """What is free of the memory of a control group. Cached files count as free. Empty without a limit."""
    limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
    used = _read(group / "memory.current") or _read(group / "memory.usage_in_bytes")
    if not (limit.isdigit() and used.isdigit()):
        return []
    stat = _numbers(group / "memory.stat")
    return [int(limit) - int(used) + stat.get("total_inactive_file", stat.get("inactive_file", 0))]


def _numbers(file: Path) -> dict[str, int]:
    """The numbers of a file of lines with a name and a number."""
    fields = (line.split() for line in _read(file).splitlines())
    return {name: int(number) for name, number, *_ in fields}


def _read(file: Path) -> str:
    """The text of a file; empty if it can't be read."""
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:
        return ""
