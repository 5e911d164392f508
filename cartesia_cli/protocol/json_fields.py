"""Reads and writes the members of JSON messages, field by field, with their types checked.

A null or missing field is None. One of the wrong type is left where it was. Independent of the message that a field
belongs to.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..errors import ProtocolError


class Word(NamedTuple):
    """One word of a transcript.

    word          as the server sent it, with its leading space if it has one
    start, end    seconds from the start of the audio; None if the server gave no times
    speaker       who said it, from a saved transcript or by the channel of a recording; never sent or received
    estimated     whether the server says that it could not measure `start` and `end`; only the local server does
    edited        whether somebody has corrected it, in a saved transcript; never sent or received
    probability   how sure the engine of the local server is of the word, 0 to 1; None elsewhere; never sent or received
    """

    word: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    estimated: bool = False
    edited: bool = False
    probability: float | None = None


class DetectedLanguage(NamedTuple):
    """A language that the server heard (API docs: stt/languages).

    language     its code, such as `hi`
    confidence   0 to 1; None if the server gave none
    start, end   the seconds of the recording in which it is spoken; only in batch responses of the local server
    """

    language: str
    confidence: float | None = None
    start: float | None = None
    end: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As in an event, and in JSON documents."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def load_object(frame: str | bytes) -> dict[str, Any]:
    """Parse JSON text that is one object. Raises ProtocolError for anything else."""
    value, rest = load_first_object(frame)
    if rest:
        raise ProtocolError("not JSON")
    return value


def load_json(text: str | bytes) -> Any:
    """Parse JSON text. Raises ProtocolError if it isn't JSON, or is nested too deeply."""
    try:
        return _JSON.decode((text if isinstance(text, str) else text.decode("utf-8")).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error


def load_first_object(frame: str | bytes) -> tuple[dict[str, Any], str]:
    """Parse the object that JSON text begins with; also return the text that follows it, stripped.

    A byte order mark is skipped. Raises ProtocolError if the text begins with anything but an object, or with one that
    is nested too deeply.
    """
    try:
        text = (frame if isinstance(frame, str) else frame.decode("utf-8")).removeprefix("\ufeff").lstrip(" \t\n\r")
        value, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(value, dict):
        found = "null" if value is None else f"a {type(value).__name__}"
        raise ProtocolError(f"JSON, but {found} where an object belongs")
    return value, text[end:].strip()


def take_valid_fields(members: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Remove these fields, and return the values of those that are present and not null.

    A field of the wrong type stays where it is.
    """
    found = {}
    for name in names:
        try:
            if members.get(name) is not None and (value := _READERS[name](members[name])) is not None:
                found[name] = value
        except ValueError:
            continue
        members.pop(name, None)
    return found


def usable_words(value: Any) -> tuple[Word, ...] | None:
    """The words of a partly malformed list that are valid, with their valid times; None if it is not a list."""
    if not isinstance(value, list):
        return None
    return tuple(
        Word(item["word"], **take_valid_fields(dict(item), ("start", "end")), estimated=item.get("estimated") is True)
        for item in value
        if isinstance(item, dict) and isinstance(item.get("word"), str)
    )


def to_json_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event or a response as JSON values, without those that are None, and without `extra`."""
    members = {name: value for name, value in values.items() if name not in ("extra", "type", "trailing")}
    if members.get("words") is not None:
        members["words"] = [
            {"word": word.word, "start": word.start, "end": word.end} | ({"estimated": True} if word.estimated else {})
            for word in members["words"]
        ]
    if members.get("languages") is not None:
        members["languages"] = [language.to_dict() for language in members["languages"]]
    return {name: item for name, item in members.items() if item is not None}


def _parse_int(digits: str) -> int | float:
    """An integer of any length: Python refuses to convert more than some thousand digits, so a long one is a float."""
    return int(digits) if len(digits) < 400 else float(digits)


_JSON = json.JSONDecoder(parse_int=_parse_int)

# The readers of fields raise ValueError for a value of another type.


def _read_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _read_bool(value: Any) -> bool:
    if value not in (True, False):  # 1 == True and 0 == False
        raise ValueError(value)
    return bool(value)


def _read_int(value: Any) -> int:
    """An integer. 402.0 and "402" are 402: what an error means depends on its status."""
    if isinstance(value, str) and value.isdecimal():
        value = _parse_int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise ValueError(value)
    return int(value)


def _read_seconds(value: Any) -> float | None:
    """A number of seconds. None for infinities and NaN, which Python's JSON parser accepts."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(value)
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _read_list(read_item: Callable[[Any], object], value: Any) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ValueError(value)
    return tuple(map(read_item, value))


def _read_word(item: Any) -> Word:
    if not isinstance(item, dict):
        raise ValueError(item)
    start, end = (None if item.get(name) is None else _read_seconds(item[name]) for name in ("start", "end"))
    return Word(_read_string(item.get("word")), start, end, estimated=item.get("estimated") is True)


def _read_language(item: Any) -> DetectedLanguage:
    if not isinstance(item, dict):
        raise ValueError(item)
    names = ("confidence", "start", "end")
    numbers = {name: _read_seconds(item[name]) for name in names if item.get(name) is not None}
    return DetectedLanguage(_read_string(item.get("language")), **numbers)


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("request_id", "text", "transcript", "language"), _read_string),
    **dict.fromkeys(("error_code", "title", "message", "error", "doc_url"), _read_string),
    **dict.fromkeys(("start", "end", "duration"), _read_seconds),
    "is_final": _read_bool,
    **dict.fromkeys(("status_code", "code"), _read_int),
    "words": partial(_read_list, _read_word),
    "languages": partial(_read_list, _read_language),
}
