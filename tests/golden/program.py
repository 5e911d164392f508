"""The program without its start: a process that has loaded all modules forks itself for each command line.

Each run is a process of its own, with its own arguments, environment, folder and streams, which ends as the program
ends; it takes some 20 ms instead of 400. What a start costs and imports is tested elsewhere (test_architecture).

    with Programs() as programs:
        run = programs.start(["render", "talk.json"], environment, folder, stdin=None, name="first")
        run.wait(), run.stdout, run.stderr

Orders go to the forking process as lines of JSON through its stdin; what becomes of them comes back the same way.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 60.0
"""Seconds after which a run counts as hung."""

ENGINES = ("cartesia_cli.server.whisper", "cartesia_cli.server.moonshine")
"""Modules that load engines: slow to import, and their threads don't survive a fork."""


class Run:
    """One process of the program. `pid` is known once it has begun."""

    def __init__(self, arguments: Sequence[str], stdout: Path, stderr: Path) -> None:
        self._arguments = arguments
        self._files = stdout, stderr
        self.pid = 0
        self._exit_code = 0
        self._ended = threading.Event()

    @property
    def stdout(self) -> bytes:
        """What it has written so far."""
        return self._files[0].read_bytes() if self._files[0].exists() else b""

    @property
    def stderr(self) -> bytes:
        return self._files[1].read_bytes() if self._files[1].exists() else b""

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def wait(self) -> int:
        """Its exit code; minus the number of the signal that ended it."""
        if not self._ended.wait(PATIENCE):
            os.kill(self.pid, signal.SIGKILL)
            line, said = shlex.join(self._arguments), self.stderr.decode(errors="replace")
            raise AssertionError(f"no end of `{line}` after {PATIENCE:g} s; stderr: {said}")
        return self._exit_code

    def stop(self) -> int:
        """End it by SIGTERM."""
        if not self.has_ended:
            os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def progressed(self, report: Mapping[str, Any]) -> None:
        self.pid = report["pid"]
        if "exit" in report:
            self._exit_code = report["exit"]
            self._ended.set()


class Programs:
    """Starts runs; they end with it. Any thread may start one."""

    def __enter__(self) -> Programs:
        self._forks = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import fork_on_demand; fork_on_demand()"],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._runs: list[Run] = []
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._forks.stdin is not None
        self._forks.stdin.close()
        self._forks.wait()

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: Path | None, outputs: Path
    ) -> Run:
        """Begin a run in `folder`; its stdout and stderr go to files that begin as `outputs` does."""
        files = outputs.with_suffix(".stdout"), outputs.with_suffix(".stderr")
        run = Run(arguments, *files)
        with self._lock:
            self._runs.append(run)
            order = {
                "number": len(self._runs) - 1, "arguments": list(arguments), "environment": dict(environment),
                "folder": str(folder), "streams": [str(stdin or os.devnull), *map(str, files)],
            }  # fmt: skip
            assert self._forks.stdin is not None
            self._forks.stdin.write(json.dumps(order).encode() + b"\n")
            self._forks.stdin.flush()
        return run

    def _read(self) -> None:
        assert self._forks.stdout is not None
        for line in self._forks.stdout:
            report = json.loads(line)
            self._runs[report["number"]].progressed(report)


def fork_on_demand() -> None:
    """Take orders from stdin until it ends."""
    _load()
    gc.freeze()  # a child that looks for garbage among all modules would copy them
    orders, waiting, running = os.dup(0), b"", dict[int, int]()
    reports = os.dup(1)
    while True:
        if select.select([orders], [], [], 0.005 if running else None)[0]:
            data = os.read(orders, 1 << 16)
            if not data:
                break
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if (pid := os.fork()) == 0:
                    os.close(orders)
                    os.close(reports)
                    _become(order)
                running[pid] = order["number"]
                os.write(reports, json.dumps({"number": order["number"], "pid": pid}).encode() + b"\n")
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            report = {"number": running.pop(ended[0]), "pid": ended[0], "exit": os.waitstatus_to_exitcode(ended[1])}
            os.write(reports, json.dumps(report).encode() + b"\n")
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _load() -> None:
    """Import the program and what it may need."""
    import cartesia_cli

    for module in pkgutil.walk_packages(cartesia_cli.__path__, "cartesia_cli."):
        if module.name not in ENGINES:
            importlib.import_module(module.name)
    for name in ("av", "numpy", "rich.console", "soundfile", "soxr", "uvicorn.protocols.http.h11_impl"):
        importlib.import_module(name)


def _become(order: Mapping[str, Any]) -> None:
    """The program, in a child that was just forked. Doesn't return."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    for number, (path, flags) in enumerate(
        zip(order["streams"], (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2), strict=True)
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.argv = ["cartesia-cli", *order["arguments"]]
    from cartesia_cli.__main__ import main

    code = main()
    sys.stdout.flush()
    os._exit(code)
