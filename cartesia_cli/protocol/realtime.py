"""The two realtime endpoints: their differences, the parameters of a session, and the commands of a client.

The differences are data, one `Endpoint` each. Must not know how frames are transferred.
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
"""A longer text frame is rejected unread: no command comes near this length."""

PARAMETER_LIMITS = {
    "min_volume": (0.0, 1.0),
    "max_silence_duration_secs": (0.0, 3600.0),  # documented without a maximum
    "turn_start_threshold": (0.5, 0.9),
    "turn_eager_end_threshold": (0.3, 0.8),  # up to 0.6 in older versions
    "turn_end_threshold": (0.05, 0.5),
    "turn_end_timeout_ms": (640, 11200),
}
"""Minimum and maximum of each number in a query and, without `turn_`, in a `config` (manual, turns)."""


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """Settings of turn detection on the auto endpoint. None: the server's default, which depends on the API version.

    start_threshold, eager_end_threshold, end_threshold   within PARAMETER_LIMITS; start > eager end > end, or the
                                                          server closes with 1008 (turns)
    end_timeout_ms                                        the longest silence before the turn ends
    """

    start_threshold: float | None = None
    eager_end_threshold: float | None = None
    end_threshold: float | None = None
    end_timeout_ms: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


TURN_DEFAULTS = TurnConfig(start_threshold=0.8, eager_end_threshold=0.6, end_threshold=0.3, end_timeout_ms=5600)
"""The documented defaults (turns, 2026-08-14)."""

LEGACY_EAGER_END_THRESHOLD = 0.4
"""The default of older servers (SDK 4.2.0)."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Transcribe the audio that is buffered. Manual endpoint only."""


@dataclass(frozen=True, slots=True)
class Close:
    """No more audio follows: send the rest of the transcript, then close the connection."""


@dataclass(frozen=True, slots=True)
class Config:
    """Change turn detection during a session. Auto endpoint only."""

    turn: TurnConfig = TurnConfig()


Command = Finalize | Close | Config


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One realtime endpoint.

    path            route
    text_commands   commands by the bare word that is sent for them; empty if commands are JSON
    final_event     kind of the event that ends a session; None: a close frame with code 1000 ends it
    options         query parameters of this endpoint besides model, encoding, sample_rate and keyterm
    """

    name: str
    path: str
    text_commands: Mapping[str, Command]
    final_event: str | None
    options: tuple[str, ...]


MANUAL = Endpoint(
    "manual",
    "/stt/websocket",
    # `done` was the name of `close` before 2026; the server still accepts it.
    {"finalize": Finalize(), "close": Close(), "done": Close()},
    "done",
    ("language", "min_volume", "max_silence_duration_secs"),
)
AUTO = Endpoint("auto", "/stt/turns/websocket", {}, None, tuple(f"turn_{f.name}" for f in fields(TurnConfig)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeOptions:
    """The parameters of a realtime session, which can't change once the connection is open.

    encoding                                 of the audio that is sent: one of ENCODINGS, always mono
    sample_rate                              Hz of the audio that is sent
    language                                 manual endpoint with ink-whisper only
    keyterms                                 ink-2 only; at most 100, with at most 1200 characters in all (keyterms)
    min_volume, max_silence_duration_secs    0 to 1, and seconds: when ink-whisper finalizes by itself at silence
    turn                                     auto endpoint only
    word_timestamps                          whether word times are requested: undocumented, but cartesia-mcp does it on
                                             the manual endpoint, in the spelling of the batch endpoint
    """

    model: str
    encoding: str = "pcm_s16le"
    sample_rate: int = 16000
    language: str | None = None
    keyterms: tuple[str, ...] = ()
    min_volume: float | None = None
    max_silence_duration_secs: float | None = None
    turn: TurnConfig = TurnConfig()
    word_timestamps: bool = False

    def query(self, endpoint: Endpoint) -> list[tuple[str, str]]:
        """The query parameters of the handshake. UsageError when the keyterms exceed their limits."""
        if (problem := _keyterms_problem(self.keyterms)) is not None:
            raise UsageError(problem, hint=f"at most {MAX_KEYTERMS} terms and {MAX_KEYTERM_CHARS} characters together")
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        named |= {f"turn_{name}": value for name, value in self.turn.to_dict().items()}
        pairs = [(name, named[name]) for name in ("model", "encoding", "sample_rate")]
        pairs += [(name, named[name]) for name in endpoint.options if named.get(name) is not None]
        pairs += [("keyterm", term) for term in self.keyterms]
        pairs += [("timestamp_granularities[]", "word")] if self.word_timestamps else []
        return [(name, str(value)) for name, value in pairs]

    @classmethod
    def parse(cls, endpoint: Endpoint, query: Sequence[tuple[str, str]]) -> RealtimeOptions:
        """Parse a query on the server. ApiError 400 for what the reference rules out; unknown names are ignored."""
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
        numbers = _check_numbers({name: _parse_number(single[name]) for name in endpoint.options if name in single})
        keyterms = tuple(value for name, value in query if name == "keyterm")
        if (problem := _keyterms_problem(keyterms)) is not None:
            raise api_error(400, "Too many keyterms", f"{problem}.")
        return cls(
            model=single["model"],
            encoding=single["encoding"],
            sample_rate=rate,
            language=single.get("language") if "language" in endpoint.options else None,
            keyterms=keyterms,
            min_volume=numbers.get("min_volume"),
            max_silence_duration_secs=numbers.get("max_silence_duration_secs"),
            turn=_turn_config(numbers),
            word_timestamps=("timestamp_granularities[]", "word") in query,
        )


def encode_command(endpoint: Endpoint, command: Command) -> str:
    """A command as a text frame: a bare word, or JSON (manual, turns). ValueError if the endpoint doesn't have it."""
    for word, meaning in endpoint.text_commands.items():
        if meaning == command:
            return word
    if not endpoint.text_commands and isinstance(command, Close):
        return json.dumps({"type": "close"})
    if not endpoint.text_commands and isinstance(command, Config):
        return json.dumps({"type": "config", "turn": command.turn.to_dict()})
    raise ValueError(f"the {endpoint.name} endpoint has no {type(command).__name__.lower()}")


def decode_command(endpoint: Endpoint, frame: str) -> Command:
    """Decode a command on the server. ApiError 400 for anything that is not a command of this endpoint."""
    if endpoint.text_commands:
        if frame in endpoint.text_commands:
            return endpoint.text_commands[frame]
    elif len(frame) <= MAX_COMMAND_CHARS:
        try:
            members = load_object(frame)
        except ProtocolError:
            members = {}
        turn = members.get("turn")
        if members.get("type") == "close":
            return Close()
        if members.get("type") == "config" and isinstance(turn, dict):
            return Config(_turn_config(_check_numbers({f"turn_{name}": value for name, value in turn.items()})))
    raise api_error(400, "Unrecognized message type", f"{excerpt(frame)} is not a command of {endpoint.path}.")


def _keyterms_problem(keyterms: Sequence[str]) -> str | None:
    """How keyterms exceed their limits, or None if they don't."""
    characters = sum(map(len, keyterms))
    if len(keyterms) <= MAX_KEYTERMS and characters <= MAX_KEYTERM_CHARS:
        return None
    return f"{len(keyterms)} keyterms with {characters} characters are too many"


def _check_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those values that have PARAMETER_LIMITS. ApiError 400 for one that is not a number within its limits."""
    found = {}
    for name, (minimum, maximum) in PARAMETER_LIMITS.items():
        value = values.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
            raise api_error(400, "Invalid parameter", f"{name!r} must be a number from {minimum:g} to {maximum:g}.")
        found[name] = value
    return found


def _turn_config(numbers: Mapping[str, float]) -> TurnConfig:
    turn: dict[str, Any] = {f.name: numbers.get(f"turn_{f.name}") for f in fields(TurnConfig)}
    if turn["end_timeout_ms"] is not None:
        turn["end_timeout_ms"] = int(turn["end_timeout_ms"])
    return TurnConfig(**turn)


def _parse_number(text: str) -> float | str:
    """A number in the documented notation, else the text. `float` accepts more, such as `1_0`, `nan` and spaces."""
    return float(text) if _NUMBER.fullmatch(text) else text


_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
