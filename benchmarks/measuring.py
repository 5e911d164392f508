"""What the benchmarks share: whole processes run and measured, and a table of figures with their goals.

Must stay small: the kernel counts the peak memory of whoever starts a process as that process's own.
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
    """The caller's environment without its settings: no key, no server, no proxy, no configuration file.

    Nor Python's: where it may not keep its bytecode, every start compiles what was edited.
    """
    foreign = ("CARTESIA_", "PYTHON", "XDG_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    }
    return kept | {"HOME": home, "TERM": "xterm-256color"}


@dataclass(frozen=True, slots=True)
class Run:
    """A process from its start to its end.

    wall, cpu   seconds
    peak        bytes of memory, None where it needed no more than the benchmark itself
    """

    wall: float
    cpu: float
    peak: int | None
    code: int
    stdout: bytes
    stderr: bytes

    def checked(self) -> Run:
        """Itself, if the process did what it was to do: figures of a failure are no figures."""
        if self.code != 0:
            raise SystemExit(f"exit code {self.code}: {self.stderr.decode(errors='replace')}")
        return self


def run(command: Sequence[str], env: dict[str, str], *, columns: int | None = None) -> Run:
    """Run `command` to its end. `columns`: its stdout is a terminal of this width; otherwise a file."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        said = b""
        start = time.perf_counter()
        if columns is not None:
            master, slave = pty.openpty()
            ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            child = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=err)
            os.close(slave)
            with suppress(OSError):  # that is how a terminal says that nobody writes to it any more
                while block := os.read(master, 1 << 16):
                    said += block
            os.close(master)
        else:
            child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        # A child begins with the peak of its parent: what is not above that may be ours, and is not known.
        known = usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = usage.ru_maxrss * 1024 if known else None
        return Run(wall, usage.ru_utime + usage.ru_stime, peak, child.returncode, said or out.read(), err.read())


class Report:
    """A table on stdout, and whether all goals were met."""

    def __init__(self, *columns: str) -> None:
        self._rows = [columns]
        self._missed = 0

    def row(self, *cells: str, met: bool | None = None) -> None:
        """`met`: whether its goal was; None where there is none."""
        self._rows.append((*cells, "" if met is None else "met" if met else "MISSED"))
        self._missed += met is False

    def end(self) -> int:
        """Print the table; the exit code."""
        rows = [(*row, "") if row is self._rows[0] else row for row in self._rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            first, *rest = (cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                            enumerate(zip(row, widths, strict=True)))  # fmt: skip
            print("  ".join([first, *rest]).rstrip())
        return 1 if self._missed else 0
