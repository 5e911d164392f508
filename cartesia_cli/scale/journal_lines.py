"""The lines of a journal: what is written about a recording and about a run, as JSON objects.

    {"recording": "monday/talk.mp3", "state": "done", "source": "/data/lectures/monday/talk.mp3", "audio": "9f86…",
     "stat": [66, 131, 86444, 1795928400000000000, 1795928400000000000], "options": "model ink-whisper, language en",
     "model": "ink-whisper", "files": {"monday/talk.txt": "2c26…"}, "seconds": 10.8, "credits": 5.4,
     "run": "5f3a9c01", "time": "2026-11-29T05:10:11.123+00:00"}
    {"run": "5f3a9c01", "event": "started", "host": "node7", "pid": 4711, "shard": "3/8", "command": "cartesia-cli …",
     "time": "…"}

Fields that aren't known are left out. Must never hold what was said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from ..fingerprint import FileState

RecordingState = Literal["done", "failed"]
EventName = Literal["started", "inputs", "finished", "stopped"]


@dataclass(frozen=True, slots=True)
class Entry:
    """How a recording ended in a run.

    recording   its name: the path relative to the folder that was transcribed, with slashes, or a URL
    source      absolute path of the recording, links resolved; or a URL, or "-" for stdin
    run, time   which run it was, and when it ended (seconds since 1970)
    audio       SHA-256 of the recording; None if it wasn't read
    stat        state of its file when it was read
    options     what its text depends on, in words
    files       results, relative to the output directory, with slashes; each with its SHA-256
    seconds     of audio
    credits     that it cost; 0 from the cache; None on this machine
    error       type and message of the failure
    """

    recording: str
    state: RecordingState
    source: str
    run: str
    time: float
    audio: str | None = None
    stat: FileState | None = None
    options: str | None = None
    model: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    credits: float | None = None
    error: tuple[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "recording": self.recording,
            "state": self.state,
            "source": self.source,
            "audio": self.audio,
            "stat": self.stat,
            "options": self.options,
            "model": self.model,
            "files": dict(self.files) or None,
            "seconds": _rounded(self.seconds),
            "credits": _rounded(self.credits),
            "error": self.error and {"type": self.error[0], "message": self.error[1]},
            "run": self.run,
            "time": _time(self.time),
        }


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happened to a run as a whole.

    run       a random name
    event     `started`; `inputs`, when all of them have been found; `finished`; or `stopped`, by an error or a signal.
              A run that was killed has neither of the last two
    shard     such as 3/8; None if it has all recordings
    command   that does what is left of the run
    inputs    recordings that belong to the run
    skipped   those of them that were done before
    """

    run: str
    event: EventName
    time: float
    host: str | None = None
    pid: int | None = None
    shard: str | None = None
    command: str | None = None
    folder: str | None = None
    inputs: int | None = None
    skipped: int | None = None

    def to_dict(self) -> dict[str, Any]:
        names = ("run", "event", "host", "pid", "shard", "command", "folder", "inputs", "skipped")
        return {name: getattr(self, name) for name in names} | {"time": _time(self.time)}


def encode(line: Entry | RunEvent) -> bytes:
    """A line with its line feed, in ASCII."""
    facts = {name: value for name, value in line.to_dict().items() if value is not None}
    return json.dumps(facts, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Entry | RunEvent | None:
    """None for what isn't a whole line of a journal: half of one, or something else."""
    try:
        facts = json.loads(line)
        return _entry(facts) if "recording" in facts else _event(facts)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _entry(facts: Mapping[str, Any]) -> Entry:
    state, error, stat = facts["state"], facts.get("error"), facts.get("stat")
    if state not in ("done", "failed"):
        raise ValueError(state)
    return Entry(
        recording=_text(facts["recording"]),
        state=cast(RecordingState, state),
        source=_text(facts["source"]),
        run=_text(facts["run"]),
        time=datetime.fromisoformat(facts["time"]).timestamp(),
        audio=_optional_text(facts, "audio"),
        stat=None if stat is None else _state(stat),
        options=_optional_text(facts, "options"),
        model=_optional_text(facts, "model"),
        files={_inside(name): _text(digest) for name, digest in facts.get("files", {}).items()},
        seconds=_optional_number(facts, "seconds"),
        credits=_optional_number(facts, "credits"),
        error=None if error is None else (_text(error["type"]), _text(error["message"])),
    )


def _event(facts: Mapping[str, Any]) -> RunEvent:
    event = facts["event"]
    if event not in ("started", "inputs", "finished", "stopped"):
        raise ValueError(event)
    return RunEvent(
        run=_text(facts["run"]),
        event=cast(EventName, event),
        time=datetime.fromisoformat(facts["time"]).timestamp(),
        host=_optional_text(facts, "host"),
        pid=_optional_count(facts, "pid"),
        shard=_optional_text(facts, "shard"),
        command=_optional_text(facts, "command"),
        folder=_optional_text(facts, "folder"),
        inputs=_optional_count(facts, "inputs"),
        skipped=_optional_count(facts, "skipped"),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _state(values: Sequence[object]) -> FileState:
    """Five numbers that SQLite can take."""
    if len(values) != 5 or not all(isinstance(value, int) and abs(value) < 1 << 63 for value in values):
        raise ValueError(values)
    return tuple(cast(Sequence[int], values))


def _inside(name: str) -> str:
    """The relative path of a file in the output directory. Raises ValueError for one outside of it."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(name)
    return name


def _optional_text(facts: Mapping[str, Any], name: str) -> str | None:
    value = facts.get(name)
    return None if value is None else _text(value)


def _optional_number(facts: Mapping[str, Any], name: str) -> float | None:
    value = facts.get(name)
    if value is None:
        return None
    if not math.isfinite(number := float(value)) or number < 0:
        raise ValueError(value)
    return number


def _optional_count(facts: Mapping[str, Any], name: str) -> int | None:
    value = _optional_number(facts, name)
    return None if value is None else int(value)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
