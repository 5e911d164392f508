"""Reading and writing the JSON values of the wire, one field at a time.

Strict about types, lenient about absence: a null or missing field is None, a field of the wrong type
is a ProtocolError. Must not know which message a field belongs to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a transcript.

    word         as the server spelt it, leading blank included where it sent one
    start, end   seconds from the start of the audio; None where the server gave none
    """

    word: str
    start: float | None = None
    end: float | None = None


def load_object(frame: str | bytes) -> dict[str, Any]:
    """JSON text that must be an object. ProtocolError for anything else, however it is broken."""
    try:
        value = json.loads(frame if isinstance(frame, str) else frame.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"JSON, but {_name(value)} where an object belongs")
    return value


def read(wire: dict[str, Any], name: str) -> Any:
    """Take the field `name` out of `wire`: its value, or None. ProtocolError when its type is wrong."""
    value = wire.pop(name, None)
    return None if value is None else _READERS[name](name, value)


def known(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON values, those that are None left out, `extra` aside."""
    wire = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in ("extra", "type")}
    if wire.get("words") is not None:
        wire["words"] = [{f.name: getattr(word, f.name) for f in fields(word)} for word in wire["words"]]
    return {name: item for name, item in wire.items() if item is not None}


def _wrong(name: str, value: Any, wanted: str) -> ProtocolError:
    return ProtocolError(f"{name!r} is {_name(value)} instead of {wanted}")


def _name(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a string")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, value, "a whole number")
    return value


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
    return Word(item["word"], read(item, "start"), read(item, "end"))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("request_id", "text", "transcript", "language"), _text),
    **dict.fromkeys(("error_code", "title", "message", "doc_url"), _text),
    **dict.fromkeys(("start", "end", "duration"), _seconds),
    "is_final": _flag,
    "status_code": _whole,
    "words": _words,
}
