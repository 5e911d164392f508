"""Scripts for the scripted server: their values, and their notation as JSON objects, one for each step.

The objects follow one another or are in a list; `#` begins a comment.

    {"at": 1.5, "text": "Hello"}                       text of the endpoint that was asked for, at 1.5 s of audio
    {"at": 2, "say": {"type": "turn.start"}}           an event as it is; its request_id is filled in
    {"on": "finalize", "wait": 2}                      flush_done comes two seconds late
    {"connection": 1, "at": 3, "drop": 1011}           the first socket is closed after 3 s of audio
    {"connection": "1-2", "refuse": {"status": 429, "headers": {"Retry-After": "3"}}}

When; without any of these, right after the handshake:
    at            seconds of audio that this socket has received
    on            at a command: finalize, close, config, unknown; handshake: before it is answered; open: after it
    nth           with a command: only the second of its kind, for example
    connection    only on the first socket, for example, or on a range: "2-3", "4-". Refused ones count, too
    request       the same for `batch`
What, in this order:
    wait          seconds by the clock; meanwhile frames are received and pings answered
    stall         seconds in which nothing is read, sent or answered; true: until the client hangs up
    text          manual: a transcript; auto: turn.start, turn.update and turn.end; batch: a part of the transcript
    say           an event (an object), a text frame as it is (a string), or a list of them
    binary        a binary frame, in base64
    drop          a close code, or {"code", "reason"}; 1006: the end without a close frame; "reset": a TCP reset
    refuse        instead of a handshake: a status, or {"status", "headers", "body"}; a body is an object or a string
    batch         the same for POST /stt; without a status, or without a step, the response has all texts
How:
    times         how often it is sent
    split         in frames of this many bytes, even in the middle of a character
    answer        false: without the server's own answer, which otherwise follows: connected (auto) to open, flush_done
                  to finalize, done (manual) and a close with 1000 to close, error 400 to unknown

A recording by `stream-file --raw-events` is a script as well: what was received is sent again when as much audio and as
many commands of each kind have come as had been sent before it on this connection, and so are closes; at `close`,
everything that is left. The first socket gets the first connection, and so on; the last also gets all that follow.

Pure. `script_player` plays them.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from ..errors import ApiError, ProtocolError, UsageError
from ..protocol.constants import ENCODINGS
from ..protocol.json_fields import load_object
from ..protocol.realtime import AUTO, MANUAL, Endpoint, decode_command

T = TypeVar("T")
Wire = dict[str, Any]

Frame = dict[str, Any] | str | bytes
"""An event, or a text or binary frame as it is."""

NO_STATUS_RCVD, ABNORMAL_CLOSURE, RESET = 1005, 1006, 0
"""Codes of a SocketEnd that no close frame can have: a frame without a code, no frame (RFC 6455 7.4.1), a TCP reset."""

COMMANDS = ("finalize", "close", "config", "unknown")


@dataclass(frozen=True, slots=True)
class SocketEnd:
    """How a socket ends. `code`: that of a close frame, NO_STATUS_RCVD, ABNORMAL_CLOSURE or RESET."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """An HTTP response. `body`: a text as it is, a JSON value, or None for the documented one."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happens.

    on        "audio", "handshake", "open", "batch", or one of COMMANDS
    at        seconds of audio, with "audio"
    after     how many of each command must have come as well (recordings only)
    nth       which of the commands of its kind; None: each
    among     numbers, from 1, of the first and the last socket or batch request that it is for
    wait      seconds by the clock before the rest of it
    stall     seconds by the clock without reading, may be infinite
    text      what is sent as events of the endpoint in use
    say       frames
    times     how often text and frames are sent
    split     bytes of a frame; None: not split
    drop      how the socket ends
    answer    whether the server's own answer to a command follows
    reply     instead of the handshake, or as the response to a batch request
    """

    on: str = "audio"
    at: float = 0.0
    after: Mapping[str, int] = field(default_factory=dict)
    nth: int | None = None
    among: tuple[float, float] = (1, math.inf)
    wait: float = 0.0
    stall: float = 0.0
    text: str | None = None
    say: tuple[Frame, ...] = ()
    times: int = 1
    split: int | None = None
    drop: SocketEnd | None = None
    answer: bool = True
    reply: ScriptedReply | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """Steps by time, those of the same time in the order of the file. `recorded_endpoint`: None without a recording."""

    steps: tuple[Step, ...] = ()
    recorded_endpoint: Endpoint | None = None

    def for_number(self, number: int) -> Script:
        """The script with the steps for the socket or batch request of this number."""
        return replace(self, steps=tuple(step for step in self.steps if step.among[0] <= number <= step.among[1]))


def has_lone_surrogate(text: str) -> bool:
    """Whether it contains half a surrogate pair, which no text frame can carry."""
    return re.search("[\ud800-\udfff]", text) is not None


def command_name(endpoint: Endpoint, frame: str) -> str:
    """A client's text frame as one of COMMANDS. A `config` is one even if its values have to be refused."""
    with suppress(ApiError):
        return type(decode_command(endpoint, frame)).__name__.lower()
    with suppress(ProtocolError):
        return "config" if load_object(frame).get("type") == "config" else "unknown"
    return "unknown"


def parse_script(text: str, name: str = "script") -> Script:
    """A script or a recording. Raises UsageError with `name` and line where it is neither."""
    lines = list(_parse_objects(text, name))
    if lines and lines[0][1].get("event") == "open":
        return _parse_recording(lines, name)
    steps = [_convert(_parse_step, wire, name, line) for line, wire in lines]
    return Script(tuple(sorted(steps, key=lambda step: step.at)))


def _parse_objects(text: str, name: str) -> Iterator[tuple[int, Wire]]:
    """Line number and value of each object."""
    decoder = json.JSONDecoder()
    at = _skip_space(text, 0)
    is_list = text.startswith("[", at)
    line, counted_to = 1, 0
    at = _skip_space(text, at + is_list)
    while True:
        line, counted_to = line + text.count("\n", counted_to, at), at  # not from the start: recordings are long
        if at == len(text) or (is_list and text[at] == "]"):
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _script_error(name, error.lineno, f"invalid JSON: {error.msg}") from error
        except (RecursionError, ValueError) as error:  # too deeply nested, or too long a number
            raise _script_error(name, line, "invalid JSON") from error
        if not isinstance(value, dict):
            raise _script_error(name, line, f"a step is an object, not {_excerpt(value)}")
        yield line, value
        at = _skip_space(text, at)
        if is_list and not text.startswith("]", at):
            if not text.startswith(",", at):
                raise _script_error(name, line, "expected a comma or ] after this step")
            at = _skip_space(text, at + 1)
    if is_list and at == len(text):
        raise _script_error(name, line, "the list is not closed")
    if is_list and _skip_space(text, at + 1) < len(text):
        raise _script_error(name, line, "unexpected text after the list")


def _skip_space(text: str, at: int) -> int:
    """The position after spaces, line breaks and comments."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


_SPACE = re.compile(r"(?:\s|#[^\n]*)*")


def _convert(convert: Callable[[Wire], T], wire: Wire, name: str, line: int) -> T:
    try:
        return convert(wire)
    except ValueError as error:
        raise _script_error(name, line, str(error)) from error


def _script_error(name: str, line: int, message: str) -> UsageError:
    return UsageError(f"{name}, line {line}: {message}", hint="docs/serve.md describes scripts")


def _parse_step(wire: Wire) -> Step:
    """Raises ValueError for an object that is not a step."""
    if unknown := [key for key in wire if key not in _READERS]:
        raise ValueError(f"unknown key {unknown[0]!r}; known keys: {', '.join(_READERS)}")
    values = {key: _READERS[key](key, value) for key, value in wire.items()}
    on = next((key for key in ("batch", "refuse") if key in wire), values.get("on", "audio"))
    if misplaced := [key for key in wire if key not in _ALLOWED_KEYS[on]]:
        raise ValueError(f"{misplaced[0]!r} can't be combined with {on!r}")
    frames = (*values.pop("say", ()), *values.pop("binary", ()))
    if {"times", "split"} & set(wire) and not {"text", "say", "binary"} & set(wire):
        raise ValueError("'times' and 'split' need 'text', 'say' or 'binary'")
    if not set(wire) & _ACTIONS:
        raise ValueError("this step does nothing")
    if on == "handshake" and "drop" in wire and values["drop"].code not in (ABNORMAL_CLOSURE, RESET):
        raise ValueError('before the handshake, "drop" must be 1006 or "reset"')
    among = values.pop("connection", None) or values.pop("request", None) or (1, math.inf)
    reply = values.pop("refuse", None) or values.pop("batch", None)
    return Step(**values | {"on": "handshake" if on == "refuse" else on}, among=among, say=frames, reply=reply)


def _parse_recording(lines: list[tuple[int, Wire]], name: str) -> Script:
    """A script from a recording that `output.frame_log` wrote."""
    try:
        url = urlsplit(lines[0][1]["url"])
        query = dict(parse_qsl(url.query))
        bytes_per_second = int(query["sample_rate"]) * ENCODINGS[query["encoding"]]
        if bytes_per_second < 1:
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _script_error(name, lines[0][0], "the recording has no valid URL in its first line") from error
    endpoint = AUTO if url.path.endswith(AUTO.path) else MANUAL
    steps: list[Step] = []
    last = sum(wire.get("event") == "open" for _, wire in lines)
    number, sent, commands = 0, 0, Counter[str]()
    for line, wire in lines:
        if wire.get("event") == "open":
            number, sent, commands = number + 1, 0, Counter()
        elif wire.get("event") != "sent":
            step, among = _convert(_parse_recorded, wire, name, line), (number, number if number < last else math.inf)
            steps.append(replace(step, at=sent / bytes_per_second, after=dict(commands), among=among))
        elif isinstance(frame := _convert(_parse_frame, wire, name, line), str):
            commands[command_name(endpoint, frame)] += 1
        else:
            sent += len(frame)
    return Script(tuple(steps), endpoint)


def _parse_recorded(wire: Wire) -> Step:
    """What the server did in a line of a recording."""
    details = {key: value for key, value in wire.items() if key not in ("at", "event")}
    match wire.get("event"):
        case "received":
            return Step(say=(_parse_frame(wire),))
        case "close":
            end = _drop("close", details)
            return Step(drop=SocketEnd(RESET) if end.code == ABNORMAL_CLOSURE and end.reason else end)
        case "refused" if "status" in details:
            return Step(on="handshake", reply=_reply("refused", details))
        case "refused":
            return Step(on="handshake", drop=SocketEnd(ABNORMAL_CLOSURE))
    raise ValueError("not a line of a recording")


def _parse_frame(wire: Wire) -> str | bytes:
    if ("text" in wire) == ("audio" in wire):
        raise ValueError("not a frame of a recording")
    return _text("text", wire["text"]) if "text" in wire else _base64("audio", wire["audio"])


# Readers: the value of a key of a step, converted. Raises ValueError if it isn't valid.


def _invalid(key: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{key!r} must be {expected}, not {_excerpt(value)}")


def _excerpt(value: Any) -> str:
    return json.dumps(value)[:60]


def _reader(expected: str, is_valid: Callable[[Any], bool]) -> Callable[[str, Any], Any]:
    """A reader that returns a valid value as it is."""

    def read(key: str, value: Any) -> Any:
        if not is_valid(value):
            raise _invalid(key, expected, value)
        return value

    return read


_TRIGGERS = ("handshake", "open", *COMMANDS)

_trigger = _reader(f"one of {', '.join(_TRIGGERS)}", lambda value: value in _TRIGGERS)
_seconds = _reader("a number of seconds, 0 or more", lambda value: type(value) in (int, float) and 0 <= value < 1e9)
_count = _reader("a whole number, 1 or more", lambda value: type(value) is int and value >= 1)
_flag = _reader("true or false", lambda value: isinstance(value, bool))
_text = _reader("a string", lambda value: isinstance(value, str) and not has_lone_surrogate(value))


def _stall(key: str, value: Any) -> Any:
    return math.inf if value is True else _seconds(key, value)


def _range(key: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, str):
        return _count(key, value), value
    ends = re.fullmatch(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})?", value)
    if ends is None or (ends[2] and int(ends[2]) < int(ends[1])):
        raise _invalid(key, 'a whole number, 1 or more, or a range such as "2-3" or "2-"', value)
    return int(ends[1]), int(ends[2]) if ends[2] else math.inf


def _say(key: str, value: Any) -> tuple[Frame, ...]:
    frames = value if isinstance(value, list) else [value]
    return tuple(frame if isinstance(frame, dict) else _text(key, frame) for frame in frames)


def _binary(key: str, value: Any) -> tuple[Frame, ...]:
    return (_base64(key, value),)


def _base64(key: str, value: Any) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (ValueError, TypeError) as error:
        raise _invalid(key, "base64", value) from error


def _drop(key: str, value: Any) -> SocketEnd:
    if value == "reset":
        return SocketEnd(RESET)
    wire = value if isinstance(value, dict) else {"code": value}
    code, reason = wire.get("code"), wire.get("reason", "")
    # RFC 6455 7.4: codes that may be sent, 1005 for a frame without a code, 1006 for no frame. A reason has up to 123
    # bytes (5.5).
    if (
        not isinstance(code, int)
        or not (code in (*range(1000, 1004), *range(1005, 1015)) or 3000 <= code < 5000)
        or set(wire) - {"code", "reason"}
        or len(_text("reason", reason).encode()) > 123
    ):
        raise _invalid(key, 'a close code, {"code", "reason"} or "reset"', value)
    return SocketEnd(code, reason)


def _reply(key: str, value: Any) -> ScriptedReply:
    wire = value if isinstance(value, dict) else {"status": value}
    status, headers = wire.get("status", 200 if key == "batch" else None), wire.get("headers", {})
    if (
        not isinstance(status, int)
        or not 200 <= status < 600
        or set(wire) - {"status", "headers", "body"}
        or not isinstance(headers, dict)
    ):
        raise _invalid(key, 'a status from 200 to 599, or {"status", "headers", "body"}', value)
    headers = {name: str(header) for name, header in headers.items()}
    if malformed := [name for name, header in headers.items() if not _HEADER.fullmatch(f"{name}:{header}")]:
        raise ValueError(f"{key!r} has a header that HTTP doesn't allow: {_excerpt(malformed[0])}")
    if isinstance(wire.get("body"), str):
        _text("body", wire["body"])
    return ScriptedReply(status, headers, wire.get("body"))


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*")
"""Name and value (RFC 9110 5), in ASCII."""

_READERS: dict[str, Callable[[str, Any], Any]] = {
    "at": _seconds, "on": _trigger, "nth": _count, "connection": _range, "request": _range,
    "wait": _seconds, "stall": _stall, "text": _text, "say": _say, "binary": _binary, "drop": _drop,
    "refuse": _reply, "batch": _reply, "times": _count, "split": _count, "answer": _flag,
}  # fmt: skip

_ACTIONS = {"wait", "stall", "text", "say", "binary", "drop", "refuse", "batch", "answer"}
_REALTIME_KEYS = {"connection", "wait", "stall", "text", "say", "binary", "drop", "times", "split"}
_ALLOWED_KEYS = {
    "audio": _REALTIME_KEYS | {"at"},
    "open": _REALTIME_KEYS | {"on", "answer"},
    **dict.fromkeys(COMMANDS, _REALTIME_KEYS | {"on", "nth", "answer"}),
    "handshake": {"connection", "on", "wait", "stall", "drop"},
    "refuse": {"connection", "refuse", "wait"},
    "batch": {"batch", "request", "wait", "stall"},
}
"""Which keys a step may have, by what it is about."""
