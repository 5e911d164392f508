"""`--control`: commands for a live session from a file or a named pipe, one JSON object on each line.

    {"type": "config", "language_hints": ["de", "en"], "keyterms": ["Cartesia"], "turn": {"end_threshold": 0.2}}
    {"type": "finalize"}
    {"type": "close"}

They are the commands of the API (API docs: stt/languages, stt/turns), spelled alike for both endpoints; `close`
finishes the session. Lines that are there at the start are carried out then, the others as they are written, by any
number of writers one after the other. A line that can't be carried out is reported with its number; it changes nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import CliError, ProtocolError, UsageError
from ...protocol.json_fields import load_object
from ...protocol.realtime import (
    MANUAL,
    MAX_COMMAND_CHARS,
    Close,
    Command,
    Endpoint,
    Finalize,
    decode_config,
    turn_order_problem,
)
from .interaction import Controls

POLL_SECONDS = 0.05
"""Seconds between looks at the file: neither a file nor a pipe without a writer can be waited for."""

READ_BYTES = 1 << 16


def check_control(path: Path) -> None:
    """Raises UsageError unless commands can be read from `path`. A pipe isn't waited for."""
    try:
        os.close(_open(path))
        if not (path.is_fifo() or path.is_file()):
            raise UsageError(f"--control {path}: not a file or a named pipe", hint="mkfifo makes a named pipe")
        if path.is_file() and b"\0" in path.read_bytes()[:READ_BYTES]:
            raise UsageError(f"--control {path}: not a text file", hint="it has a JSON object on each line")
    except OSError as error:
        hint = f"make it first: mkfifo {path}" if isinstance(error, FileNotFoundError) else "check its permissions"
        raise UsageError(f"--control {path}: {error.strerror}", hint=hint) from error


@contextmanager
def follow_control(path: Path, endpoint: Endpoint, controls: Controls, warn: Callable[[str], None]) -> Iterator[None]:
    """Carry out the commands in `path` while the block runs, in a running event loop.

    warn   called with a sentence about a line that can't be carried out
    """
    follower = _Follower(path, endpoint, controls, warn)
    task = asyncio.ensure_future(follower.run())
    try:
        yield
    finally:
        task.cancel()
        follower.close()


class _Follower:
    """Reads lines from a file or a pipe, and carries them out."""

    def __init__(self, path: Path, endpoint: Endpoint, controls: Controls, warn: Callable[[str], None]) -> None:
        self._path, self._endpoint, self._controls, self._warn = path, endpoint, controls, warn
        self._file: int | None = _open(path)
        self._incomplete = b""
        self._is_too_long = False  # the line so far, of which the beginning was dropped
        self._number = 1  # of the line that is being read

    async def run(self) -> None:
        while self._file is not None:
            try:
                data = os.read(self._file, READ_BYTES)
            except BlockingIOError:  # a writer has the pipe open, and has written nothing
                data = None
            except OSError as error:
                self._warn(f"{self._path}: {error.strerror}: no more commands are read")
                return self.close()
            if data:
                self._add(data)
            elif data is not None:
                self._finish_line()
            if not data:
                await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _add(self, data: bytes) -> None:
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            self._carry_out(line)
            self._number += 1
        if len(self._incomplete) > MAX_COMMAND_CHARS:
            self._incomplete, self._is_too_long = b"", True

    def _finish_line(self) -> None:
        """Carry out a last line without a line break, if it is a whole object: nothing more is there now."""
        if self._incomplete.rstrip().endswith(b"}") and _parse(self._incomplete) is not None:
            self._carry_out(self._incomplete)
            self._incomplete = b""

    def _carry_out(self, line: bytes) -> None:
        was_too_long, self._is_too_long = self._is_too_long, False
        if not was_too_long and not line.strip():
            return
        try:
            if was_too_long:
                raise UsageError(f"longer than {MAX_COMMAND_CHARS} bytes")
            command = self._to_command(_parse(line))
        except CliError as error:
            self._report(error.message)
            return
        if isinstance(command, Close):
            self._controls.stop()
        elif not self._controls.send_command(command):
            self._report("the session is ending: not sent")

    def _to_command(self, members: dict[str, Any] | None) -> Command:
        """The command that a JSON object stands for. Raises CliError if it isn't one of this endpoint."""
        if members is None:
            raise UsageError("not a JSON object")
        match members.get("type"):
            case "config":
                if "language_hint" in members:
                    raise UsageError("servers ignore 'language_hint' in a config: it is 'language_hints' there")
                config = decode_config(self._endpoint, members)
                problem = turn_order_problem(self._controls.settings().merged(config).turn)
                if config.turn.to_dict() and problem is not None:
                    raise UsageError(problem)
                return config
            case "finalize" if self._endpoint is MANUAL:
                return Finalize()
            case "finalize":
                raise UsageError("in auto mode the server ends turns: 'finalize' is for --mode manual")
            case "close":
                return Close()
        raise UsageError("not a command: its type must be config, finalize or close")

    def _report(self, reason: str) -> None:
        self._warn(f"{self._path}, line {self._number}: {reason.rstrip('.')} (ignored)")


def _open(path: Path) -> int:
    """A descriptor that never waits: not for a writer to open a pipe, and not for something to read."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        return load_object(line)
    except ProtocolError:
        return None
