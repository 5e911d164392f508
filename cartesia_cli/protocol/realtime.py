"""The two realtime endpoints: how they differ, what a session asks for, what a client may command.

The differences are data, one Dialect each; nothing here knows how frames are carried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import ProtocolError, UsageError
from .batch import api_error, excerpt, parse_sample_rate
from .constants import ENCODINGS, MODELS, is_whisper
from .json_fields import load_object

MAX_KEYTERMS = 100
MAX_KEYTERM_CHARS = 1200
MAX_COMMAND_CHARS = 16 << 10
"""Longest text frame that is looked at: no command comes near it."""

PARAMETER_LIMITS = {
    "min_volume": (0.0, 1.0),
    "max_silence_duration_secs": (0.0, 3600.0),  # documented without an end
    "turn_start_threshold": (0.5, 0.9),
    "turn_eager_end_threshold": (0.3, 0.8),  # up to 0.6 in older versions
    "turn_end_threshold": (0.05, 0.5),
    "turn_end_timeout_ms": (640, 11200),
}
"""Least and most of each number in a query, or, without `turn_`, in a `config` (manual, turns)."""


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """Turn detection of the auto endpoint. None leaves the server's default, which differs by API version.

    start_threshold, eager_end_threshold, end_threshold   in their RANGES; start > eager end > end, or the
                                                          server closes with 1008 (turns)
    end_timeout_ms                                        longest wait after speech stopped
    """

    start_threshold: float | None = None
    eager_end_threshold: float | None = None
    end_threshold: float | None = None
    end_timeout_ms: int | None = None

    def wire(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


TURN_DEFAULTS = TurnConfig(start_threshold=0.8, eager_end_threshold=0.6, end_threshold=0.3, end_timeout_ms=5600)
"""Of the documentation (turns, 2026-08-14)."""

OLDER_EAGER_END = 0.4
"""The default of some servers (SDK 4.2.0)."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Transcribe what is buffered now. Manual endpoint only."""


@dataclass(frozen=True, slots=True)
class Close:
    """No more audio: say the rest, then close."""


@dataclass(frozen=True, slots=True)
class Config:
    """Change turn detection in mid-session. Auto endpoint only."""

    turn: TurnConfig = TurnConfig()


Command = Finalize | Close | Config


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One realtime endpoint.

    path       route
    bare       commands that are bare text, the word and what it means; empty where commands are JSON
    ending     kind of the event that ends a session, or None where a close with code 1000 does
    options    query parameters that this endpoint knows besides model, encoding and sample_rate
    """

    name: str
    path: str
    bare: Mapping[str, Command]
    ending: str | None
    options: tuple[str, ...]


MANUAL = Endpoint(
    "manual",
    "/stt/websocket",
    # `done` was the name of `close` before 2026; the server still takes it.
    {"finalize": Finalize(), "close": Close(), "done": Close()},
    "done",
    ("language", "min_volume", "max_silence_duration_secs"),
)
AUTO = Endpoint("auto", "/stt/turns/websocket", {}, None, tuple(f"turn_{f.name}" for f in fields(TurnConfig)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeOptions:
    """What a realtime session asks for; fixed once the socket is open.

    sample_rate                              Hz of what is really sent, always mono
    language                                 manual with ink-whisper only
    keyterms                                 ink-2 only; at most 100, together at most 1200 characters (keyterms)
    min_volume, max_silence_duration_secs    0 to 1, and seconds: silence-based finalize of ink-whisper
    turn                                     auto only
    """

    model: str
    encoding: str = "pcm_s16le"
    sample_rate: int = 16000
    language: str | None = None
    keyterms: tuple[str, ...] = ()
    min_volume: float | None = None
    max_silence_duration_secs: float | None = None
    turn: TurnConfig = TurnConfig()

    def query(self, endpoint: Endpoint) -> list[tuple[str, str]]:
        """The query of the handshake. UsageError when the keyterms exceed their limits."""
        if (excess := _excess(self.keyterms)) is not None:
            raise UsageError(excess, hint=f"at most {MAX_KEYTERMS} terms and {MAX_KEYTERM_CHARS} characters together")
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        named |= {f"turn_{name}": value for name, value in self.turn.wire().items()}
        pairs = [(name, named[name]) for name in ("model", "encoding", "sample_rate")]
        pairs += [(name, named[name]) for name in endpoint.options if named.get(name) is not None]
        pairs += [("keyterm", term) for term in self.keyterms]
        return [(name, str(value)) for name, value in pairs]

    @classmethod
    def parse(cls, endpoint: Endpoint, query: Sequence[tuple[str, str]]) -> RealtimeOptions:
        """The server's side of `query`. ApiError 400 for what the reference rules out; the unknown is ignored."""
        single = dict(query)
        if not single.get("model"):
            raise api_error(400, "Missing model", "The query parameter 'model' is required.")
        if single["model"] not in MODELS or (is_whisper(single["model"]) and endpoint is not MANUAL):
            message = "The model is not valid, make sure it is a valid model ID."
            raise api_error(400, "Invalid model", message, "model_not_found")
        if single.get("encoding") not in ENCODINGS:
            raise api_error(400, "Invalid encoding", f"'encoding' must be one of {', '.join(ENCODINGS)}.")
        rate = parse_sample_rate(single.get("sample_rate"), required=True)
        assert rate is not None
        numbers = _numbers({name: _parsed(single[name]) for name in endpoint.options if name in single})
        keyterms = tuple(value for name, value in query if name == "keyterm")
        if (excess := _excess(keyterms)) is not None:
            raise api_error(400, "Too many keyterms", f"{excess}.")
        return cls(
            model=single["model"],
            encoding=single["encoding"],
            sample_rate=rate,
            language=single.get("language") if "language" in endpoint.options else None,
            keyterms=keyterms,
            min_volume=numbers.get("min_volume"),
            max_silence_duration_secs=numbers.get("max_silence_duration_secs"),
            turn=_turn_config(numbers),
        )


def encode_command(endpoint: Endpoint, command: Command) -> str:
    """A command as the text frame of this endpoint: a bare word, or JSON (manual, turns)."""
    for word, meaning in endpoint.bare.items():
        if meaning == command:
            return word
    if not endpoint.bare and isinstance(command, Close):
        return json.dumps({"type": "close"})
    if not endpoint.bare and isinstance(command, Config):
        return json.dumps({"type": "config", "turn": command.turn.wire()})
    raise ValueError(f"the {endpoint.name} endpoint has no {type(command).__name__.lower()}")


def decode_command(endpoint: Endpoint, frame: str) -> Command:
    """The server's side of `encode_command`. ApiError 400 for a command of the other endpoint, or of none."""
    if endpoint.bare:
        if frame in endpoint.bare:
            return endpoint.bare[frame]
    elif len(frame) <= MAX_COMMAND_CHARS:
        try:
            wire = load_object(frame)
        except ProtocolError:
            wire = {}
        turn = wire.get("turn")
        if wire.get("type") == "close":
            return Close()
        if wire.get("type") == "config" and isinstance(turn, dict):
            return Config(_turn_config(_numbers({f"turn_{name}": value for name, value in turn.items()})))
    raise api_error(400, "Unrecognized message type", f"{excerpt(frame)} is not a command of {endpoint.path}.")


def _excess(keyterms: Sequence[str]) -> str | None:
    """What is too much about keyterms, or None."""
    characters = sum(map(len, keyterms))
    if len(keyterms) <= MAX_KEYTERMS and characters <= MAX_KEYTERM_CHARS:
        return None
    return f"{len(keyterms)} keyterms with {characters} characters are too many"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those that have RANGES and are there. ApiError 400 for any that is no number within its own."""
    found = {}
    for name, (least, most) in PARAMETER_LIMITS.items():
        value = values.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise api_error(400, "Invalid parameter", f"{name!r} must be a number from {least:g} to {most:g}.")
        found[name] = value
    return found


def _turn_config(numbers: Mapping[str, float]) -> TurnConfig:
    turn: dict[str, Any] = {f.name: numbers.get(f"turn_{f.name}") for f in fields(TurnConfig)}
    if turn["end_timeout_ms"] is not None:
        turn["end_timeout_ms"] = int(turn["end_timeout_ms"])
    return TurnConfig(**turn)


def _parsed(text: str) -> float | str:
    """A number as the documentation writes it. Python's `float` takes more, such as `1_0`, `nan` and blanks."""
    return float(text) if _NUMBER.fullmatch(text) else text


_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
