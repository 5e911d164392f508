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
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        if (found := re.search(r"VmHWM:\s+(\d+) kB", status)) is not None:
            most = int(found[1])
        time.sleep(TICK)
    process.wait()
    return most
