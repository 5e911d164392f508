"""How a script is written: JSON objects, one after the other or in a list; `#` begins a comment. Each is a step.

    {"at": 1.5, "text": "Hello"}                       text of the endpoint that was asked for, at 1.5 s of audio
    {"at": 2, "say": {"type": "turn.start"}}           an event as it is; its request_id is filled in
    {"on": "finalize", "wait": 2}                      flush_done comes two seconds late
    {"connection": 1, "at": 3, "drop": 1011}           the first socket is closed after 3 s of audio
    {"connection": "1-2", "refuse": {"status": 429, "headers": {"Retry-After": "3"}}}

When; nothing of it means right after the handshake:
    at            seconds of audio that have come on this socket
    on            at a command: finalize, close, config, unknown; handshake: before it is answered; open: behind it
    nth           with a command: only the second of its kind, say
    connection    only on the first socket, say, or on a range: "2-3", "4-". Those that are refused count, too
    request       the same for `batch`
What, in this order:
    wait          seconds by the clock; frames are taken in and pings answered meanwhile
    stall         seconds in which nothing is read, said or answered; true: until the client hangs up
    text          manual: a transcript; auto: turn.start, turn.update and turn.end; batch: a part of the answer
    say           an event (an object), a text frame as it is (a string), or a list of them
    binary        a binary frame, in base64
    drop          a close code, or {"code", "reason"}; 1006: the end without a close frame; "reset": a TCP reset
    refuse        instead of a handshake: a status, or {"status", "headers", "body"}; a body is an object or a string
    batch         the same for POST /stt; without a status, or without a step, the answer has all texts
How:
    times         what is said is said so many times
    split         in frames of so many bytes, be it in the middle of a character
    answer        false: without the server's own answer, which otherwise follows: connected (auto) to open, flush_done
                  to finalize, done (manual) and a close with 1000 to close, error 400 to unknown

A recording by `stream-file --raw-events` is a script as well: what was received is said again when as much audio
and as many commands of each kind have come as had been sent before it on this connection, and so it is closed; at
`close`, all that is left. The first socket gets the first connection, and so on; the last also gets all that follow.

Pure. Whatever is wrong is a UsageError with the line.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from ..errors import UsageError
from ..protocol import AUTO, ENCODINGS, MANUAL
from .script import ABRUPT, COMMANDS, RESET, Drop, Frame, Script, ScriptedReply, Step, command_name

T = TypeVar("T")
Wire = dict[str, Any]


def parse(text: str, name: str = "script") -> Script:
    """A script or a recording. UsageError with `name` and line for what is neither."""
    lines = list(_objects(text, name))
    if lines and lines[0][1].get("event") == "open":
        return _recording(lines, name)
    steps = [_read(_step, wire, name, line) for line, wire in lines]
    return Script(tuple(sorted(steps, key=lambda step: step.at)))


def _objects(text: str, name: str) -> Iterator[tuple[int, Wire]]:
    """Line number and value of each object."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    is_list = text.startswith("[", at)
    line, counted = 1, 0
    at = _skip(text, at + is_list)
    while True:
        line, counted = line + text.count("\n", counted, at), at  # on from the last one: recordings are long
        if at == len(text) or (is_list and text[at] == "]"):
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _mistake(name, error.lineno, f"no JSON: {error.msg}") from error
        except (RecursionError, ValueError) as error:  # nesting, or a number, without an end
            raise _mistake(name, line, "no JSON that can be read") from error
        if not isinstance(value, dict):
            raise _mistake(name, line, f"a step is an object, not {_shown(value)}")
        yield line, value
        at = _skip(text, at)
        if is_list and not text.startswith("]", at):
            if not text.startswith(",", at):
                raise _mistake(name, line, "a comma or ] is missing behind this step")
            at = _skip(text, at + 1)
    if is_list and at == len(text):
        raise _mistake(name, line, "the list has no end")
    if is_list and _skip(text, at + 1) < len(text):
        raise _mistake(name, line, "something follows the list")


def _skip(text: str, at: int) -> int:
    """Behind blanks and comments."""
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


_GAP = re.compile(r"(?:\s|#[^\n]*)*")


def _read(read: Callable[[Wire], T], wire: Wire, name: str, line: int) -> T:
    try:
        return read(wire)
    except ValueError as error:
        raise _mistake(name, line, str(error)) from error


def _mistake(name: str, line: int, message: str) -> UsageError:
    return UsageError(f"{name}, line {line}: {message}", hint="docs/serve.md describes scripts")


def _step(wire: Wire) -> Step:
    """ValueError for what is no step."""
    if unknown := [key for key in wire if key not in _READERS]:
        raise ValueError(f"no key {unknown[0]!r}; there are {', '.join(_READERS)}")
    values = {key: _READERS[key](key, value) for key, value in wire.items()}
    on = next((key for key in ("batch", "refuse") if key in wire), values.get("on", "audio"))
    if strange := [key for key in wire if key not in _KEYS[on]]:
        raise ValueError(f"{strange[0]!r} doesn't go with {on!r}")
    said = (*values.pop("say", ()), *values.pop("binary", ()))
    if {"times", "split"} & set(wire) and not {"text", "say", "binary"} & set(wire):
        raise ValueError("'times' and 'split' need something to say")
    if not set(wire) & _DEEDS:
        raise ValueError("nothing happens in this step")
    if on == "handshake" and "drop" in wire and values["drop"].code not in (ABRUPT, RESET):
        raise ValueError('no close codes before the handshake: only 1006 and "reset"')
    among = values.pop("connection", None) or values.pop("request", None) or (1, math.inf)
    reply = values.pop("refuse", None) or values.pop("batch", None)
    return Step(**values | {"on": "handshake" if on == "refuse" else on}, among=among, say=said, reply=reply)


def _recording(lines: list[tuple[int, Wire]], name: str) -> Script:
    """What `output.frames` writes."""
    try:
        url = urlsplit(lines[0][1]["url"])
        query = dict(parse_qsl(url.query))
        bytes_a_second = int(query["sample_rate"]) * ENCODINGS[query["encoding"]]
        if bytes_a_second < 1:
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _mistake(name, lines[0][0], "a recording without its address") from error
    endpoint = AUTO if url.path.endswith(AUTO.path) else MANUAL
    steps: list[Step] = []
    last = sum(wire.get("event") == "open" for _, wire in lines)
    number, sent, commands = 0, 0, Counter[str]()
    for line, wire in lines:
        if wire.get("event") == "open":
            number, sent, commands = number + 1, 0, Counter()
        elif wire.get("event") != "sent":
            step, among = _read(_recorded, wire, name, line), (number, number if number < last else math.inf)
            steps.append(replace(step, at=sent / bytes_a_second, after=dict(commands), among=among))
        elif isinstance(frame := _read(_frame, wire, name, line), str):
            commands[command_name(endpoint, frame)] += 1
        else:
            sent += len(frame)
    return Script(tuple(steps), endpoint)


def _recorded(wire: Wire) -> Step:
    """What the server does in a line."""
    told = {key: value for key, value in wire.items() if key not in ("at", "event")}
    match wire.get("event"):
        case "received":
            return Step(say=(_frame(wire),))
        case "close":
            drop = _drop("close", told)
            return Step(drop=Drop(RESET) if drop.code == ABRUPT and drop.reason else drop)
        case "refused" if "status" in told:
            return Step(on="handshake", reply=_reply("refused", told))
        case "refused":
            return Step(on="handshake", drop=Drop(ABRUPT))
    raise ValueError("no line of a recording")


def _frame(wire: Wire) -> str | bytes:
    if ("text" in wire) == ("audio" in wire):
        raise ValueError("no frame of a recording")
    return _text("text", wire["text"]) if "text" in wire else _base64("audio", wire["audio"])


# Readers: key and value of a step as they are meant. ValueError for what they can't be.


def _wrong(key: str, wanted: str, value: Any) -> ValueError:
    return ValueError(f"{key!r} is {wanted}, not {_shown(value)}")


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]


def _seconds(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise _wrong(key, "a number of seconds from 0 up", value)
    return float(value)


def _stall(key: str, value: Any) -> float:
    return math.inf if value is True else _seconds(key, value)


def _trigger(key: str, value: Any) -> str:
    return _one_of(key, value, ("handshake", "open", *COMMANDS))


def _one_of(key: str, value: Any, choice: Iterable[str]) -> str:
    if value not in choice:
        raise _wrong(key, ", ".join(choice), value)
    return str(value)


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(key, "a whole number from 1 up", value)
    return value


def _range(key: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, str):
        return _count(key, value), value
    ends = re.fullmatch(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})?", value)
    if ends is None or (ends[2] and int(ends[2]) < int(ends[1])):
        raise _wrong(key, 'a whole number from 1 up, or a range such as "2-3" or "2-"', value)
    return int(ends[1]), int(ends[2]) if ends[2] else math.inf


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or _is_torn(value):
        raise _wrong(key, "a string", value)
    return value


def _is_torn(text: str) -> bool:
    """Whether there is half a surrogate pair in it, which no text frame can carry."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _say(key: str, value: Any) -> tuple[Frame, ...]:
    frames = value if isinstance(value, list) else [value]
    return tuple(frame if isinstance(frame, dict) else _text(key, frame) for frame in frames)


def _binary(key: str, value: Any) -> tuple[Frame, ...]:
    return (_base64(key, value),)


def _base64(key: str, value: Any) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (ValueError, TypeError) as error:
        raise _wrong(key, "base64", value) from error


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, "true or false", value)
    return value


def _drop(key: str, value: Any) -> Drop:
    if value == "reset":
        return Drop(RESET)
    wire = value if isinstance(value, dict) else {"code": value}
    code, reason = wire.get("code"), wire.get("reason", "")
    # RFC 6455 7.4: what may be sent, 1005 for a frame without a code, 1006 for none. A reason: up to 123 bytes (5.5).
    if (
        not isinstance(code, int)
        or not (code in (*range(1000, 1004), *range(1005, 1015)) or 3000 <= code < 5000)
        or set(wire) - {"code", "reason"}
        or len(_text("reason", reason).encode()) > 123
    ):
        raise _wrong(key, 'a close code, {"code", "reason"} or "reset"', value)
    return Drop(code, reason)


def _reply(key: str, value: Any) -> ScriptedReply:
    wire = value if isinstance(value, dict) else {"status": value}
    status, headers = wire.get("status", 200 if key == "batch" else None), wire.get("headers", {})
    if (
        not isinstance(status, int)
        or not 200 <= status < 600
        or set(wire) - {"status", "headers", "body"}
        or not isinstance(headers, dict)
    ):
        raise _wrong(key, 'a status from 200 to 599, or {"status", "headers", "body"}', value)
    headers = {name: str(header) for name, header in headers.items()}
    if strange := [name for name, header in headers.items() if not _HEADER.fullmatch(f"{name}:{header}")]:
        raise _wrong(key, "sent with headers that HTTP allows", strange[0])
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

_DEEDS = {"wait", "stall", "text", "say", "binary", "drop", "refuse", "batch", "answer"}
_LIVE = {"connection", "wait", "stall", "text", "say", "binary", "drop", "times", "split"}
_KEYS = {
    "audio": _LIVE | {"at"},
    "open": _LIVE | {"on", "answer"},
    **dict.fromkeys(COMMANDS, _LIVE | {"on", "nth", "answer"}),
    "handshake": {"connection", "on", "wait", "stall", "drop"},
    "refuse": {"connection", "refuse", "wait"},
    "batch": {"batch", "request", "wait", "stall"},
}
"""What a step is about, and which keys go with it."""
