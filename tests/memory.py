"""How much memory a program takes at its most: by what the system says of it while it runs.

Not by what it says afterwards: a child begins with the peak of its parent there, and the tests' own is large.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

TICK = 0.02


def peak(process: subprocess.Popen[bytes]) -> int:
    """Wait for a program to end; the most memory that it had, in KiB (Linux)."""
    most = 0
    while process.poll() is None:
        try:
            most = peak_so_far(process.pid) or most
        except OSError:
            break
        time.sleep(TICK)
    process.wait()
    return most


def peak_so_far(pid: int) -> int:
    """The most memory that a running program has had, in KiB (Linux); 0 of one that has just ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def forget_peak(pid: int) -> int:
    """Let `peak_so_far` begin anew, with the memory that the program has now: that, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_so_far(pid)
