"""What PulseAudio, or PipeWire in its place, says of its sources; asked through `pactl`, which comes with either.

PortAudio sees only one device of such a server, behind which all of them are; and where a source is unplugged, the
server goes on with another one and says nothing to it. Must never know PortAudio, nor fail: a server that doesn't
answer has no sources.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ANSWER_SECONDS = 2.0
"""Seconds for an answer."""

SOURCE_VARIABLE = "PULSE_SOURCE"
"""The variable by which libpulse is told which source a program hears (man 1 pulseaudio, ENVIRONMENT)."""


@dataclass(frozen=True, slots=True)
class PulseSource:
    """Something that can be heard.

    number       its number as long as it is there
    name         as the server knows it
    title        as people know it
    channels     1 or more
    rate         Hz
    is_monitor   whether it is what a loudspeaker plays
    """

    number: int
    name: str
    title: str
    channels: int
    rate: int
    is_monitor: bool


def list_sources() -> list[PulseSource] | None:
    """What the server offers; None where there is no server, or none that answers."""
    told = _run_pactl("list", "sources")
    return None if told is None else parse_sources(told)


def default_source() -> str:
    """The name of the source that programs hear if they don't choose, or ""."""
    if chosen := os.environ.get(SOURCE_VARIABLE):
        return chosen
    found = re.search(r"^Default Source: (.+)$", _run_pactl("info") or "", re.MULTILINE)
    return found[1] if found else ""


def parse_sources(told: str) -> list[PulseSource]:
    """The sources in an answer of `pactl list sources`. Its JSON is no good: it drops names that aren't ASCII."""
    found = []
    for number, block in re.findall(r"^Source #(\d+)\n((?:[ \t].*\n?)*)", told, re.MULTILINE):
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
    """Whoever connects to the server while the block runs hears this source. None: the one that it would hear."""
    before = os.environ.get(SOURCE_VARIABLE)
    if source is not None:
        os.environ[SOURCE_VARIABLE] = source.name
    try:
        yield
    finally:
        if source is not None:  # children of ours are not to inherit it
            if before is None:
                del os.environ[SOURCE_VARIABLE]
            else:
                os.environ[SOURCE_VARIABLE] = before


class SourceWatcher:
    """Tells when a source is gone, from a thread of its own; nothing, where nobody can be asked."""

    def __init__(self, source: PulseSource, on_gone: Callable[[], None]) -> None:
        self._removal_line, self._on_gone = f"Event 'remove' on source #{source.number}", on_gone
        self._child: subprocess.Popen[str] | None = None
        try:
            self._child = _start_pactl("subscribe")
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


def _run_pactl(*question: str) -> str | None:
    try:
        child = _start_pactl(*question)
    except OSError:
        return None
    with child:
        try:
            told, _ = child.communicate(timeout=ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            told = None
        finally:
            child.kill()
    return told if child.returncode == 0 else None


def _start_pactl(*question: str) -> subprocess.Popen[str]:
    """In a session of its own, which Ctrl-C doesn't reach; in a language that can be read by programs."""
    return subprocess.Popen(
        ["pactl", *question],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"LC_ALL": "C"},
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
