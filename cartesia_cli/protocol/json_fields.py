"""Reading and writing the JSON values of the wire, one field at a time.

A null or missing field is None. One of the wrong type is a ProtocolError where a message is worth nothing without
it, and otherwise left where it was. Must not know which message a field belongs to.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a transcript.

    word         as the server spelt it, leading blank included where it sent one
    start, end   seconds from the start of the audio; None where the server gave none
    speaker      who said it, where a saved transcript of another service tells; never on the wire
    """

    word: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None


def load_object(frame: str | bytes) -> dict[str, Any]:
    """JSON text that must be an object. ProtocolError for anything else, however it is broken."""
    value, rest = load_first_object(frame)
    if rest:
        raise ProtocolError("not JSON")
    return value


def load_first_object(frame: str | bytes) -> tuple[dict[str, Any], str]:
    """The object that JSON text begins with, and what follows it, without the blanks around. A byte order mark before
    it is skipped. ProtocolError where it begins with anything else.
    """
    try:
        text = frame if isinstance(frame, str) else frame.decode("utf-8")
        begins = _skip(text, 1 if text.startswith("\ufeff") else 0)
        try:
            value, ends = _JSON.raw_decode(text, begins)
        except RecursionError:
            value, ends = _shallow_object(text, begins)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"JSON, but {_name(value)} where an object belongs")
    return value, text[ends:].strip()


def _shallow_object(text: str, at: int) -> tuple[dict[str, Any], int]:
    """An object of which some values are nested too deeply for Python, and where it ends. Those values are empty
    objects, which no field of ours may be. ValueError where it is no object.
    """
    found: dict[str, Any] = {}
    at = _skip(text, at, "{")
    while True:
        name, at = _JSON.raw_decode(text, _skip(text, at))
        if not isinstance(name, str):
            raise ValueError("a name is no string")
        at = _skip(text, _skip(text, at, ":"))
        try:
            found[name], at = _JSON.raw_decode(text, at)
        except RecursionError:
            found[name], at = {}, _end_of_nesting(text, at)
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return found, at + 1
        at = _skip(text, at, ",")


def _skip(text: str, at: int, mark: str = "") -> int:
    """Where the text goes on behind blanks and this mark. ValueError where the mark isn't there."""
    while text[at : at + 1] in _BLANKS:
        at += 1
    if not text.startswith(mark, at):
        raise ValueError(f"no {mark} at {at}")
    return at + len(mark)


def _end_of_nesting(text: str, at: int) -> int:
    """Where the array or the object that begins here ends. ValueError where it doesn't."""
    depth = 0
    for found in _BRACKETS.finditer(text, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    raise ValueError("it doesn't end")


def read(wire: dict[str, Any], name: str) -> Any:
    """Take the field `name` out of `wire`: its value, or None. ProtocolError, and nothing taken, for a wrong type."""
    value = wire.get(name)
    value = None if value is None else _READERS[name](name, value)
    wire.pop(name, None)
    return value


def gather(wire: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Take those of these fields out of `wire` that are there and of the right type; the others stay as they came."""
    found = {}
    for name in names:
        try:
            if (value := read(wire, name)) is not None:
                found[name] = value
        except ProtocolError:
            continue
    return found


def usable_words(value: Any) -> tuple[Word, ...] | None:
    """Of a list of words those that can be read, each with those of its times that can; None where it is no list."""
    if not isinstance(value, list):
        return None
    named = [item for item in value if isinstance(item, dict) and isinstance(item.get("word"), str)]
    times = [gather({name: item.get(name) for name in ("start", "end")}, ("start", "end")) for item in named]
    return tuple(Word(item["word"], **found) for item, found in zip(named, times, strict=True))


def known(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON values, those that are None left out, `extra` aside."""
    wire = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in ("extra", "type", "trailing")}
    if wire.get("words") is not None:
        wire["words"] = [{"word": word.word, "start": word.start, "end": word.end} for word in wire["words"]]
    return {name: item for name, item in wire.items() if item is not None}


def _number(digits: str) -> int | float:
    """A whole number. Python converts no more than some thousand digits; nobody means such a number."""
    return int(digits) if len(digits) < 400 else float(digits)


_JSON = json.JSONDecoder(parse_int=_number)

_BLANKS = (" ", "\t", "\n", "\r")

_BRACKETS = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""What opens and closes values, and strings, in which brackets mean nothing."""


def _wrong(name: str, value: Any, wanted: str) -> ProtocolError:
    return ProtocolError(f"{name!r} is {_name(value)} instead of {wanted}")


def _name(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a string")
    return value


def _flag(name: str, value: Any) -> bool:
    if value not in (True, False):  # which 1 and 0 are, too
        raise _wrong(name, value, "true or false")
    return bool(value)


def _whole(name: str, value: Any) -> int:
    """402, 402.0 and "402" alike: what an error means depends on it."""
    if isinstance(value, str) and value.isdecimal():
        value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise _wrong(name, value, "a whole number")
    return int(value)


def _seconds(name: str, value: Any) -> float | None:
    """A number. Infinities and NaN, which Python's JSON lets through, are no times: None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(name, value, "a number")
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _words(name: str, value: Any) -> tuple[Word, ...]:
    if not isinstance(value, list):
        raise _wrong(name, value, "a list")
    return tuple(_word(item) for item in value)


def _word(item: Any) -> Word:
    if not isinstance(item, dict) or not isinstance(item.get("word"), str):
        raise _wrong("words", item, "words")
    start, end = (None if item.get(name) is None else _seconds(name, item[name]) for name in ("start", "end"))
    return Word(item["word"], start, end)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("request_id", "text", "transcript", "language"), _text),
    **dict.fromkeys(("error_code", "title", "message", "error", "doc_url"), _text),
    **dict.fromkeys(("start", "end", "duration"), _seconds),
    "is_final": _flag,
    **dict.fromkeys(("status_code", "code"), _whole),
    "words": _words,
}
