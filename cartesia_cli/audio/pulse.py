"""Lists and watches the sources of PulseAudio or PipeWire through `pactl`, which comes with either.

PortAudio shows such a server as a single device; and when a source is unplugged, the server silently continues with
another one. Must never import PortAudio, nor fail: a server that doesn't answer has no sources.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

ANSWER_SECONDS = 2.0
"""Timeout for `pactl`."""

SOURCE_VARIABLE = "PULSE_SOURCE"
"""The environment variable that selects the source for libpulse (man 1 pulseaudio, ENVIRONMENT)."""


@dataclass(frozen=True, slots=True)
class PulseSource:
    """A source of a sound server.

    number       its number while it exists
    name         for the server
    title        for people
    channels     1 or more
    rate         Hz
    is_monitor   whether it records what a loudspeaker plays
    """

    number: int
    name: str
    title: str
    channels: int
    rate: int
    is_monitor: bool


def list_sources() -> list[PulseSource] | None:
    """All sources; None if no server answers."""
    output = _run_pactl("list", "sources")
    return None if output is None else parse_sources(output)


def default_source() -> str:
    """The name of the source that programs get unless they choose one, or ""."""
    if chosen := os.environ.get(SOURCE_VARIABLE):
        return chosen
    found = re.search(r"^Default Source: (.+)$", _run_pactl("info") or "", re.MULTILINE)
    return found[1] if found else ""


def parse_sources(output: str) -> list[PulseSource]:
    """Parse the output of `pactl list sources`. Not its JSON, which drops names that aren't ASCII."""
    found = []
    for number, block in re.findall(r"^Source #(\d+)\n((?:[ \t].*\n?)*)", output, re.MULTILINE):
        facts = dict(re.findall(r"^\t(\w[^:\n]*): (.*)$", block, re.MULTILINE))
        shape = re.search(r"(\d+)ch (\d+)Hz", facts.get("Sample Specification", ""))
        if shape and "Name" in facts:
            title = facts.get("Description", "(null)")
            found.append(
                PulseSource(
                    int(number),
                    facts["Name"],
                    facts["Name"] if title == "(null)" else title,
                    int(shape[1]),
                    int(shape[2]),
                    facts.get("Monitor of Sink", "n/a") != "n/a",
                )
            )
    return found


@contextmanager
def source_selected(source: PulseSource | None) -> Iterator[None]:
    """Connections made while the block runs use this source; with None, the default one."""
    before = os.environ.get(SOURCE_VARIABLE)
    if source is not None:
        os.environ[SOURCE_VARIABLE] = source.name
    try:
        yield
    finally:
        if source is not None:  # child processes must not inherit it
            if before is None:
                del os.environ[SOURCE_VARIABLE]
            else:
                os.environ[SOURCE_VARIABLE] = before


class SourceWatcher:
    """Calls `on_gone`, in a thread, when a source is removed. Does nothing if `pactl` is missing."""

    def __init__(self, source: PulseSource, on_gone: Callable[[], None]) -> None:
        self._removal_line, self._on_gone = f"Event 'remove' on source #{source.number}", on_gone
        self._child: subprocess.Popen[str] | None = None
        try:
            self._child = subprocess.Popen(["pactl", "subscribe"], **_pactl_options())
        except OSError:
            return
        threading.Thread(target=self._read, args=(self._child,), name="watching the microphone", daemon=True).start()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout:
            if any(line.strip() == self._removal_line for line in child.stdout):
                self._on_gone()


def _run_pactl(*arguments: str) -> str | None:
    """What it prints; None if it is missing or fails."""
    command = ["pactl", *arguments]
    with suppress(OSError, subprocess.SubprocessError):
        return str(subprocess.run(command, timeout=ANSWER_SECONDS, check=True, **_pactl_options()).stdout)
    return None


def _pactl_options() -> dict[str, Any]:
    """How `pactl` runs: in its own session, which Ctrl-C doesn't reach, and in English, since its output is parsed."""
    return {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
        "env": os.environ | {"LC_ALL": "C"},
        "encoding": "utf-8",
        "errors": "replace",
        "start_new_session": True,
    }
