"""Measures the peak memory of a running program, from `/proc` (Linux).

The peak that `wait4` reports afterwards can't be used: it starts from the peak of the parent, which is large in tests.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

POLL_SECONDS = 0.02


def peak(process: subprocess.Popen[bytes]) -> int:
    """Wait for a program to end. Returns its peak resident memory in KiB."""
    highest = 0
    while process.poll() is None:
        try:
            highest = peak_so_far(process.pid) or highest
        except OSError:
            break
        time.sleep(POLL_SECONDS)
    process.wait()
    return highest


def peak_so_far(pid: int) -> int:
    """The peak resident memory of a running program so far, in KiB; 0 if it has just ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def reset_peak(pid: int) -> int:
    """Reset the peak to the current memory of the program. Returns that, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_so_far(pid)
