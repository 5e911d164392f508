"""Runs another program that does something for the terminal or the desktop, such as `tmux` or `notify-send`."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

TIMEOUT_SECONDS = 5.0
"""How long a program may take."""


def succeeds(command: Sequence[str], environ: Mapping[str, str], stdin: bytes = b"") -> bool:
    """Run a program, whose output is dropped. False if it can't be run, takes too long, or fails."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            env=dict(environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
