"""How many workers an engine gets: by cores and memory, on machines that are laid out in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cartesia_cli.server.capacity import TINY_MODEL_BYTES, Machine, max_workers, read_machine

GB = 1_000_000_000

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""What this process may use, whatever the folder says."""

UNLIMITED = "9223372036854771712"
"""How version 1 of control groups writes that there is no limit."""


@pytest.mark.parametrize(
    ("machine", "model_bytes", "workers"),
    [
        (Machine(8, 32 * GB), TINY_MODEL_BYTES, 8),  # one for each core
        (Machine(8, None), TINY_MODEL_BYTES, 8),  # memory unknown
        (Machine(8, GB), TINY_MODEL_BYTES, 4),  # as many as fit into memory
        (Machine(8, 100_000_000), TINY_MODEL_BYTES, 1),  # never none
        (Machine(8, -GB), TINY_MODEL_BYTES, 1),  # a group beyond its limit
        (Machine(1, 32 * GB), TINY_MODEL_BYTES, 1),
        (Machine(8, 5 * GB), 6 * TINY_MODEL_BYTES, 3),  # a larger model needs more
        (Machine(8, GB), 1, 4),  # a smaller one is counted as the smallest that was measured
    ],
)
def test_workers_by_cores_and_memory(machine: Machine, model_bytes: int, workers: int) -> None:
    assert max_workers(machine, model_bytes) == workers


def lay_out(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a machine: its `proc` and `sys`."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


MEMINFO = "MemTotal:       24683664 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       0\n"


def test_machine_without_control_groups_has_its_available_memory(tmp_path: Path) -> None:
    lay_out(tmp_path, {"proc/meminfo": MEMINFO})
    assert read_machine(tmp_path) == Machine(CORES, 8_000_000 * 1024)


def test_memory_is_unknown_on_other_systems(tmp_path: Path) -> None:
    assert read_machine(tmp_path) == Machine(CORES, None)
    lay_out(tmp_path, {"proc/meminfo": "MemTotal: 1000 kB\n"})
    assert read_machine(tmp_path).memory_bytes is None


def test_limits_of_control_groups_version_2_and_of_their_parents(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/jobs/job7\n",
            "sys/fs/cgroup/jobs/cpu.max": "50000 100000\n",  # half a core: rounded up
            "sys/fs/cgroup/jobs/memory.max": "3000000000\n",
            "sys/fs/cgroup/jobs/memory.current": "1000000000\n",
            "sys/fs/cgroup/jobs/memory.stat": "anon 600000000\ninactive_file 400000000\n",
            "sys/fs/cgroup/jobs/job7/cpu.max": "max 100000\n",
            "sys/fs/cgroup/jobs/job7/memory.max": "max\n",
            "sys/fs/cgroup/jobs/job7/memory.current": "1000000000\n",
        },
    )
    assert read_machine(tmp_path) == Machine(1, 2_400_000_000)


def test_limits_of_a_container_are_in_the_root_of_its_own_control_groups(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/../../outside\n",
            "sys/fs/cgroup/memory.max": "2000000000\n",
            "sys/fs/cgroup/memory.current": "500000000\n",
        },
    )
    assert read_machine(tmp_path).memory_bytes == 1_500_000_000


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "9:name=systemd:/\n4:memory:/slurm/job7\n1:cpu,cpuacct:/slurm\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "9000000000",
            "sys/fs/cgroup/memory/slurm/job7/memory.limit_in_bytes": "4000000000",
            "sys/fs/cgroup/memory/slurm/job7/memory.usage_in_bytes": "3000000000",
            "sys/fs/cgroup/memory/slurm/job7/memory.stat": "inactive_file 0\ntotal_inactive_file 1000000000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us": "100000",
        },
    )
    assert read_machine(tmp_path) == Machine(1, 2_000_000_000)


def test_this_machine_has_a_core_and_some_memory() -> None:
    machine = read_machine()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory_bytes is None or machine.memory_bytes > 0
