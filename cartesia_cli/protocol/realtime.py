"""The two realtime endpoints: their differences, the parameters of a session, and the commands of a client.

The differences are data, one `Endpoint` each. Must not know how frames are transferred.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..errors import ApiError, ProtocolError, UsageError
from ..record import Record
from .batch import api_error, excerpt, parse_sample_rate
from .constants import ENCODINGS, MODELS, is_whisper, takes_language_hints
from .json_fields import load_object
from .languages import AUTO_LANGUAGE, HINT_LANGUAGES

MAX_KEYTERMS = 100
MAX_KEYTERM_CHARS = 1200
MAX_LANGUAGE_HINTS = 6
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


class TurnConfig(Record):
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
        return {name: value for name, value in vars(self).items() if value is not None}

    def merged(self, newer: TurnConfig) -> TurnConfig:
        """`newer` where it has a value, else this."""
        return TurnConfig(**(self.to_dict() | newer.to_dict()))


TURN_DEFAULTS = TurnConfig(start_threshold=0.8, eager_end_threshold=0.6, end_threshold=0.3, end_timeout_ms=5600)
"""The documented defaults (turns, 2026-08-14)."""

LEGACY_EAGER_END_THRESHOLD = 0.4
"""The default of older servers (SDK 4.2.0)."""


class Finalize(Record):
    """Transcribe the audio that is buffered. Manual endpoint only."""


class Close(Record):
    """No more audio follows: send the rest of the transcript, then close the connection."""


class Config(Record):
    """Change settings during a session, on both endpoints. What isn't named stays as it is (API docs: stt/languages).

    There is no answer but to a refusal: an `error` event, after which nothing has changed and the session goes on.

    turn             auto endpoint only
    language_hints   replace all hints; empty: there are none from now on
    keyterms         replace all key terms. The page about key terms says that they can't be changed
    extra            other members; those of `turn` are in its `turn`
    """

    turn: TurnConfig = TurnConfig()
    language_hints: tuple[str, ...] | None = None
    keyterms: tuple[str, ...] | None = None
    extra: Mapping[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """The members of the message."""
        members: dict[str, Any] = {"type": "config", **self.extra}
        lists = {"language_hints": self.language_hints, "keyterms": self.keyterms}
        members |= {name: list(value) for name, value in lists.items() if value is not None}
        turn = {**self.extra.get("turn", {}), **self.turn.to_dict()}
        return members | ({"turn": turn} if turn else {})

    def merged(self, newer: Config) -> Config:
        """The effect of this message and then of a newer one, as one message."""
        extra = {**self.extra, **newer.extra}
        if turn := {**self.extra.get("turn", {}), **newer.extra.get("turn", {})}:
            extra["turn"] = turn
        return Config(
            self.turn.merged(newer.turn),
            self.language_hints if newer.language_hints is None else newer.language_hints,
            self.keyterms if newer.keyterms is None else newer.keyterms,
            extra,
        )


Command = Finalize | Close | Config


class Endpoint(Record):
    """One realtime endpoint.

    path            route
    text_commands   commands by the bare word that is sent for them; empty if all are JSON, as `config` always is
    final_event     kind of the event that ends a session; None: a close frame with code 1000 ends it
    options         query parameters of this endpoint besides those of both
    """

    name: str
    path: str
    text_commands: Mapping[str, Command]
    final_event: str | None
    options: tuple[str, ...]


MANUAL = Endpoint(
    "manual",
    "/stt/websocket",
    # `done` was the name of `close` before 2026; the server still accepts it. Encoding takes the first name.
    {"finalize": Finalize(), "close": Close(), "done": Close()},
    "done",
    ("language", "min_volume", "max_silence_duration_secs"),
)
# This endpoint of the API has no language: only the local server takes one.
AUTO = Endpoint(
    "auto", "/stt/turns/websocket", {}, None, ("language", *(f"turn_{name}" for name in TurnConfig._fields))
)


class RealtimeOptions(Record):
    """The parameters of a realtime session. Some can change once the connection is open (`Config`).

    encoding                                 of the audio that is sent: one of ENCODINGS, always mono
    sample_rate                              Hz of the audio that is sent
    language                                 manual endpoint with ink-whisper; the local server takes it with any
                                             model, and AUTO_LANGUAGE and CHINESE_SCRIPTS besides
    keyterms                                 not with ink-whisper; at most 100, with at most 1200 characters in all
                                             (keyterms)
    language_hints                           ink-preview only: at most 6 base codes, such as `pt` (stt/languages)
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
    language_hints: tuple[str, ...] = ()
    min_volume: float | None = None
    max_silence_duration_secs: float | None = None
    turn: TurnConfig = TurnConfig()
    word_timestamps: bool = False

    @property
    def named_language(self) -> str | None:
        """The language, unless it is to be detected."""
        return None if self.language == AUTO_LANGUAGE else self.language

    def query(self, endpoint: Endpoint) -> list[tuple[str, str]]:
        """The query parameters of the handshake. Raises UsageError for key terms or hints beyond their limits."""
        if (problem := keyterms_problem(self.keyterms)) is not None:
            raise UsageError(problem, hint=f"at most {MAX_KEYTERMS} terms and {MAX_KEYTERM_CHARS} characters together")
        if (problem := language_hints_problem(self.language_hints)) is not None:
            raise UsageError(problem, hint=f"at most {MAX_LANGUAGE_HINTS} base codes, such as pt, not pt-BR")
        named = vars(self) | {f"turn_{name}": value for name, value in self.turn.to_dict().items()}
        pairs = [(name, named[name]) for name in ("model", "encoding", "sample_rate")]
        pairs += [(name, named[name]) for name in endpoint.options if named.get(name) is not None]
        pairs += [("language_hint", code) for code in self.language_hints]
        pairs += [("keyterm", term) for term in self.keyterms]
        pairs += [("timestamp_granularities[]", "word")] if self.word_timestamps else []
        return [(name, str(value)) for name, value in pairs]

    @classmethod
    def parse(cls, endpoint: Endpoint, query: Sequence[tuple[str, str]]) -> RealtimeOptions:
        """Parse a query on the server; unknown names are ignored. Raises ApiError 400 for what the API rules out."""
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
        if (problem := keyterms_problem(keyterms)) is not None:
            raise api_error(400, "Too many keyterms", f"{problem}.")
        return cls(
            model=single["model"],
            encoding=single["encoding"],
            sample_rate=rate,
            language=single.get("language") if "language" in endpoint.options else None,
            keyterms=keyterms,
            language_hints=tuple(value for name, value in query if name in ("language_hint", "language_hints")),
            min_volume=numbers.get("min_volume"),
            max_silence_duration_secs=numbers.get("max_silence_duration_secs"),
            turn=_turn_config(numbers),
            word_timestamps=("timestamp_granularities[]", "word") in query,
        )

    def language_hints_error(self) -> ApiError | None:
        """Why a server refuses the language hints. It does so with an `error` event once the connection is open, and
        then closes it (API docs: stt/languages), so `parse` lets them pass.
        """
        if not self.language_hints:
            return None
        problem = language_hints_problem(self.language_hints)
        if problem is None and not takes_language_hints(self.model):
            problem = f"{self.model} does not take language hints"
        if problem is None and (unknown := [code for code in self.language_hints if code not in HINT_LANGUAGES]):
            problem = f"{excerpt(unknown[0])} is not a supported language"
        return None if problem is None else api_error(400, "Invalid language hints", f"{problem}.")

    def with_config(self, config: Config) -> RealtimeOptions:
        """The parameters after a `config`, as a server sees them. Raises ApiError 400 for values that it refuses."""
        new = self._replace(
            turn=self.turn.merged(config.turn),
            language_hints=self.language_hints if config.language_hints is None else config.language_hints,
            keyterms=self.keyterms if config.keyterms is None else config.keyterms,
        )
        if config.language_hints is not None and (error := new.language_hints_error()) is not None:
            raise error
        return new


def encode_command(endpoint: Endpoint, command: Command) -> str:
    """A command as a text frame: a bare word, or JSON (manual, turns). Raises ValueError if the endpoint doesn't have
    it.
    """
    if isinstance(command, Config):
        return json.dumps(command.to_dict())
    for word, meaning in endpoint.text_commands.items():
        if meaning == command:
            return word
    if not endpoint.text_commands and isinstance(command, Close):
        return json.dumps({"type": "close"})
    raise ValueError(f"the {endpoint.name} endpoint has no {type(command).__name__.lower()}")


def decode_command(endpoint: Endpoint, frame: str) -> Command:
    """Server side: decode a command. Raises ApiError 400 for anything that is not a command of this endpoint."""
    if frame in endpoint.text_commands:
        return endpoint.text_commands[frame]
    members: dict[str, Any] = {}
    if len(frame) <= MAX_COMMAND_CHARS:
        try:
            members = load_object(frame)
        except ProtocolError:
            pass
    if members.get("type") == "close" and not endpoint.text_commands:
        return Close()
    if members.get("type") == "config":
        return decode_config(endpoint, members)
    raise api_error(400, "Unrecognized message type", f"{excerpt(frame)} is not a command of {endpoint.path}.")


def decode_config(endpoint: Endpoint, members: Mapping[str, Any]) -> Config:
    """The members of a `config` message; unknown ones are kept. Raises ApiError 400 for a value of the wrong type, or
    one that exceeds its limits.
    """
    extra = {name: value for name, value in members.items() if name not in ("type", *_CONFIG_FIELDS)}
    turn = members.get("turn")
    if turn is None:
        turn = {}
    if not isinstance(turn, dict):
        raise api_error(400, "Invalid config", "'turn' must be an object.")
    if turn and endpoint is MANUAL:
        raise api_error(400, "Invalid config", f"{endpoint.path} has no turn detection.")
    if others := {name: value for name, value in turn.items() if name not in TurnConfig._fields}:
        extra["turn"] = others
    hints, keyterms = (_string_list(name, members.get(name)) for name in ("language_hints", "keyterms"))
    problems = {
        "Invalid language hints": language_hints_problem(hints or ()),
        "Too many keyterms": keyterms_problem(keyterms or ()),
    }
    for title, problem in problems.items():
        if problem is not None:
            raise api_error(400, title, f"{problem}.")
    numbers = _check_numbers({f"turn_{name}": value for name, value in turn.items()})
    return Config(_turn_config(numbers), hints, keyterms, extra)


_CONFIG_FIELDS = ("turn", "language_hints", "keyterms")


def turn_order_problem(turn: TurnConfig, spell: Callable[[str], str] = str) -> str | None:
    """How thresholds are out of order, with defaults for those that aren't set; None if they are in order (turns).

    spell   maps the name of a field to the name that the user knows
    """
    thresholds: list[tuple[float, str]] = []
    for name in ("start_threshold", "eager_end_threshold", "end_threshold"):
        named, default = getattr(turn, name), getattr(TURN_DEFAULTS, name)
        value, note = (default, ", its default") if named is None else (named, "")
        thresholds.append((value, f"{spell(name)} ({value:g}{note})"))
    for (above, higher), (below, lower) in pairwise(thresholds):
        if above <= below:
            return f"{higher} must be above {lower}"
    return None


def _string_list(name: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise api_error(400, "Invalid config", f"{name!r} must be a list of strings.")
    return tuple(value)


def language_hints_problem(hints: Sequence[str]) -> str | None:
    """How language hints exceed their limits, or None if they don't. Which languages there are is for the server."""
    if len(hints) > MAX_LANGUAGE_HINTS:
        return f"{len(hints)} language hints are too many: {MAX_LANGUAGE_HINTS} at most"
    wrong = next((hint for hint in hints if not _BASE_CODE.fullmatch(hint)), None)
    return None if wrong is None else f"{excerpt(wrong)} is not the base code of a language"


_BASE_CODE = re.compile("[a-z]{2,3}")
"""`pt`, but not `pt-BR` (API docs: stt/languages)."""


def keyterms_problem(keyterms: Sequence[str]) -> str | None:
    """How keyterms exceed their limits, or None if they don't."""
    characters = sum(map(len, keyterms))
    if len(keyterms) <= MAX_KEYTERMS and characters <= MAX_KEYTERM_CHARS:
        return None
    return f"{len(keyterms)} keyterms with {characters} characters are too many"


def _check_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those values that have PARAMETER_LIMITS. Raises ApiError 400 for one that is not a number within its limits."""
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
    """The turn settings among parameters of the query, whose names begin with `turn_`."""
    turn: dict[str, Any] = {name: numbers.get(f"turn_{name}") for name in TurnConfig._fields}
    if turn["end_timeout_ms"] is not None:
        turn["end_timeout_ms"] = int(turn["end_timeout_ms"])
    return TurnConfig(**turn)


def _parse_number(text: str) -> float | str:
    """A number in the documented notation, else the text. `float` accepts more, such as `1_0`, `nan` and spaces."""
    return float(text) if _NUMBER.fullmatch(text) else text


_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
