"""The lines of a journal: what is written about a recording and about a run, as JSON objects.

    {"recording": "monday/talk.mp3", "state": "done", "source": "/data/lectures/monday/talk.mp3", "run": "5f3a9c01",
     "time": "2026-11-29T05:10:11.123+00:00", "audio": "9f86…",
     "stat": [66, 131, 86444, 1795928400000000000, 1795928400000000000], "options": "model ink-whisper, language en",
     "model": "ink-whisper", "files": {"monday/talk.txt": "2c26…"}, "seconds": 10.8, "credits": 5.4}
    {"run": "5f3a9c01", "event": "started", "time": "…", "host": "node7", "pid": 4711, "shard": "3/8",
     "command": "cartesia-cli …"}

Fields that aren't known are left out. Must never hold what was said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, cast, get_args

from ..fingerprint import FileState

RecordingState = Literal["done", "failed"]
EventName = Literal["started", "inputs", "finished", "stopped"]


@dataclass(frozen=True, slots=True)
class RecordingOutcome:
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
    error       `type` and `message` of the failure
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
    error: Mapping[str, str] | None = None

    @property
    def is_from_cache(self) -> bool:
        """Whether its transcript came from the cache, so that no time was spent on it, either."""
        return self.credits == 0


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


def encode(line: RecordingOutcome | RunEvent) -> bytes:
    """A line with its line feed, in ASCII."""
    names = OUTCOME_FIELDS if isinstance(line, RecordingOutcome) else EVENT_FIELDS
    facts = {name: value for name in names if (value := getattr(line, name)) is not None and value != {}}
    facts |= {name: round(facts[name], 3) for name in ("seconds", "credits") if name in facts}
    facts["time"] = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
    return json.dumps(facts, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> RecordingOutcome | RunEvent | None:
    """None for what isn't a whole line of a journal: half of one, or something else."""
    try:
        facts = json.loads(line)
        if "recording" in facts:
            return RecordingOutcome(**_parse(facts, OUTCOME_FIELDS))
        return RunEvent(**_parse(facts, EVENT_FIELDS))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _parse(facts: Mapping[str, Any], fields: Mapping[str, Callable[[Any], object]]) -> dict[str, Any]:
    """The fields that a line has, checked."""
    return {name: parse(facts[name]) for name, parse in fields.items() if facts.get(name) is not None}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _choice(choices: tuple[str, ...], value: str) -> str:
    if value not in choices:
        raise ValueError(value)
    return value


def _time(value: str) -> float:
    return datetime.fromisoformat(value).timestamp()


def _file_state(values: Sequence[object]) -> FileState:
    """Five numbers that SQLite can take."""
    if len(values) != 5 or not all(isinstance(value, int) and abs(value) < 1 << 63 for value in values):
        raise ValueError(values)
    return tuple(cast(Sequence[int], values))


def _files(digests: Mapping[str, str]) -> Mapping[str, str]:
    """Raises ValueError for a file outside of the output directory."""
    for name in digests:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(name)
    return {name: _text(digest) for name, digest in digests.items()}


def _number(value: Any) -> float:
    if not math.isfinite(number := float(value)) or number < 0:
        raise ValueError(value)
    return number


def _count(value: Any) -> int:
    return int(_number(value))


def _error(facts: Mapping[str, str]) -> Mapping[str, str]:
    return {name: _text(facts[name]) for name in ("type", "message")}


CHECKS: Mapping[str, Callable[[Any], object]] = {
    "str": _text,
    "float": _number,
    "int": _count,
    "state": partial(_choice, get_args(RecordingState)),
    "event": partial(_choice, get_args(EventName)),
    "time": _time,
    "stat": _file_state,
    "files": _files,
    "error": _error,
}
"""How fields are checked, by their names, or else by their types."""


def _field_checks(kind: type[RecordingOutcome | RunEvent]) -> Mapping[str, Callable[[Any], object]]:
    return {one.name: CHECKS.get(one.name) or CHECKS[str(one.type).removesuffix(" | None")] for one in fields(kind)}


OUTCOME_FIELDS, EVENT_FIELDS = _field_checks(RecordingOutcome), _field_checks(RunEvent)
