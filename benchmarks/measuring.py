"""Shared by the benchmarks: runs and measures whole processes, and prints figures with their targets.

Must stay small: a child process starts with the peak memory of its parent, so imports here would distort that figure.
"""

# ruff: noqa: T201  what these scripts print is their result

from __future__ import annotations

import os
import pty
import resource
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
CLI = str(Path(PYTHON).parent / "cartesia-cli")

MIB = 1 << 20


def environment(home: str) -> dict[str, str]:
    """The environment without the user's settings: no key, no base URL, no proxy, no configuration file.

    It has no variables of Python either: without cached bytecode, for instance, every start would compile modules.
    """
    excluded = ("CARTESIA_", "PYTHON", "XDG_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(excluded) and not name.lower().endswith("_proxy")
    }
    return kept | {"HOME": home, "TERM": "xterm-256color"}


@dataclass(frozen=True, slots=True)
class Run:
    """Figures and output of a process that has ended.

    wall, cpu   seconds
    peak        peak memory in bytes; None if it was no more than that of the benchmark
    """

    wall: float
    cpu: float
    peak: int | None
    code: int
    stdout: bytes
    stderr: bytes

    def checked(self) -> Run:
        """Itself. SystemExit if the process failed, because figures of a failed run mean nothing."""
        if self.code != 0:
            raise SystemExit(f"exit code {self.code}: {self.stderr.decode(errors='replace')}")
        return self


def run(command: Sequence[str], env: dict[str, str], *, columns: int | None = None) -> Run:
    """Run a command to its end, with a terminal of `columns` as its stdout, or a file if that is None."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        terminal_output = b""
        start = time.perf_counter()
        if columns is not None:
            master, slave = pty.openpty()
            ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            child = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=err)
            os.close(slave)
            with suppress(OSError):  # EIO is the end of a pseudo-terminal
                while block := os.read(master, 1 << 16):
                    terminal_output += block
            os.close(master)
        else:
            child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        # A child starts with the peak of its parent, so a lower peak of the child can't be known.
        known = usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = usage.ru_maxrss * 1024 if known else None
        return Run(
            wall, usage.ru_utime + usage.ru_stime, peak, child.returncode, terminal_output or out.read(), err.read()
        )


class Report:
    """A table of figures, and whether all targets were met."""

    def __init__(self, *columns: str) -> None:
        self._rows = [columns]
        self._missed = 0

    def row(self, *cells: str, met: bool | None = None) -> None:
        """Add a row. `met`: whether it meets its target; None if it has none."""
        self._rows.append((*cells, "" if met is None else "met" if met else "MISSED"))
        self._missed += met is False

    def end(self) -> int:
        """Print the table. Returns the exit code: 1 if a target was missed."""
        rows = [(*row, "") if row is self._rows[0] else row for row in self._rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            first, *rest = (cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                            enumerate(zip(row, widths, strict=True)))  # fmt: skip
            print("  ".join([first, *rest]).rstrip())
        return 1 if self._missed else 0
