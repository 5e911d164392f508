"""JSON objects that know their position in the file, so that messages can say what is wrong and where.

Strict about members that are there, unless the object is lenient: one of the wrong type is an InputError. Missing ones
are always accepted: other programs omit members, and write NaN, which counts as missing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

KNOWN_FORMATS = (
    "known: JSON and ndjson of cartesia-cli, JSON of the APIs of Cartesia, OpenAI, AssemblyAI, Deepgram, ElevenLabs, "
    "Google and AWS, of Whisper, whisper.cpp and WhisperX, SRT and WebVTT"
)

REFUSED_HINT = "transcribe the recording again: this is what the service said instead"

_SPACES = re.compile(r"[ \t\r\n]*")
_DECIMAL = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?", re.ASCII)
_PROTOBUF_DURATION = re.compile(r"(-?\d{1,300}(?:\.\d{1,300})?)s", re.ASCII)


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object. Methods that take several names read the first of these members that isn't empty.

    place        its position in the file, which precedes the names of its members in messages
    is_lenient   whether members of the wrong type count as missing
    """

    values: dict[str, Any]
    place: str
    is_lenient: bool = False

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def __bool__(self) -> bool:
        return bool(self.values)

    def text(self, *names: str) -> str | None:
        found: str | None = self._member(self._present(names), str, "a string")
        return found

    def required_text(self, *names: str) -> str:
        if (text := self.text(*names)) is None:
            raise self.missing(names[0])
        return text

    def label(self, *names: str) -> str | None:
        """The name or number of a speaker or a channel, as text. A blank one counts as missing."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, float) and value.is_integer():
                return str(int(value))
            if (text := self.text(name)) and text.strip():
                return text
        return None

    def seconds(self, name: str, wanted: str = "a number of seconds") -> float | None:
        """A JSON number. Infinities count as missing."""
        value = self._member(name, float, wanted)
        return value if value is not None and math.isfinite(value) else None

    def required_seconds(self, name: str) -> float:
        if (time := self.seconds(name)) is None:
            raise self.missing(name)
        return time

    def milliseconds(self, name: str) -> float | None:
        """A whole number of milliseconds, in seconds."""
        value = self.seconds(name)
        if value is not None and not value.is_integer():
            raise InputError(
                f"{self.place}{name} is {value:g}, where a whole number of milliseconds belongs",
                hint="this shape has its times in milliseconds",
            )
        return None if value is None else value / 1000

    def decimal(self, name: str) -> float | None:
        """Seconds as a string, such as "4.87", or as a number."""
        value = self.values.get(name)
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            return float(value)
        return self.seconds(name, 'seconds such as "4.87"')

    def duration(self, *names: str) -> float | None:
        """Seconds in one of the ways in which Google's libraries spell a duration: "1.3s", or {seconds, nanos}."""
        name = self._present(names)
        value = self.values.get(name)
        if isinstance(value, str) and (found := _PROTOBUF_DURATION.fullmatch(value)):
            return float(found[1])
        if isinstance(value, dict):
            parts = JsonObject(value, f"{self.place}{name}.")
            return (parts.decimal("seconds") or 0.0) + (parts.seconds("nanos") or 0.0) / 1e9
        if value is None:
            return None
        raise self.wrong(name, 'a duration such as "1.300s"')

    def object(self, *names: str) -> JsonObject:
        """An object; an empty one, which is false, if it is missing."""
        name = self._present(names)
        return JsonObject(self._member(name, dict, "an object") or {}, f"{self.place}{name}.", self.is_lenient)

    def objects(self, *names: str) -> list[JsonObject]:
        """A list of objects; an empty one if it is missing."""
        name = self._present(names)
        values, place = self._member(name, list, "a list") or [], f"{self.place}{name}"
        if self.is_lenient and not all(isinstance(value, dict) for value in values):
            return []
        return to_objects(values, place, is_lenient=self.is_lenient)

    def _present(self, names: Sequence[str]) -> str:
        """The first of these members that isn't empty, else the first that is there."""
        return max(names, key=lambda name: (name in self, self.values.get(name) not in (None, "", [], {})))

    def _member(self, name: str, kind: type, wanted: str) -> Any:
        value = self.values.get(name)
        if value is None or isinstance(value, kind):
            return value
        if self.is_lenient:
            return None
        raise self.wrong(name, wanted)

    def missing(self, name: str) -> InputError:
        return InputError(f"{self.place}{name} is missing", hint=KNOWN_FORMATS)

    def wrong(self, name: str, wanted: str) -> InputError:
        if name not in self:
            return self.missing(name)
        return InputError(
            f"{self.place}{name} is {describe_type(self.values[name])}, where {wanted} belongs", hint=KNOWN_FORMATS
        )


def parse(text: str, source: str) -> Iterator[JsonObject]:
    """The objects of a file: one, one after the other, or in a list. A list of segments is one object with them."""
    values = list(_decode_values(text, source))
    for line, value in values:
        place = f"{source}, line {line}: " if len(values) > 1 else f"{source}: "
        if isinstance(value, list):
            items = to_objects(value, place.rstrip() + " ")
            if items and all("start" in item.values and "source" not in item.values for item in items):
                yield JsonObject({"segments": value}, place)
            else:
                yield from items
        elif isinstance(value, dict):
            yield JsonObject(value, place)
        else:
            raise InputError(f"{place}{describe_type(value)} is not a transcript", hint=KNOWN_FORMATS)


def to_objects(values: Sequence[Any], place: str, *, is_lenient: bool = False) -> list[JsonObject]:
    for k, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(f"{place}[{k}] is {describe_type(value)}, where an object belongs", hint=KNOWN_FORMATS)
    return [JsonObject(value, f"{place}[{k}].", is_lenient) for k, value in enumerate(values)]


def describe_type(value: Any) -> str:
    """What a JSON value is, for messages."""
    names = {bool: "true or false", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _decode_values(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """The JSON values of a text, each with the line that it begins on. All numbers are floats."""
    decoder = json.JSONDecoder(parse_int=float, parse_constant=lambda name: None)
    at, line, counted = 0, 1, 0
    while True:
        space = _SPACES.match(text, at)
        assert space is not None
        at = space.end()
        if at == len(text):
            return
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            message = f"{source}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
            hint = "`render` takes JSON, SRT and WebVTT; `transcribe` takes recordings"
            raise InputError(message, hint=hint) from error
        except RecursionError as error:
            raise InputError(f"{source}, line {line}: nested too deep for a transcript", hint=KNOWN_FORMATS) from error
        yield line, value
