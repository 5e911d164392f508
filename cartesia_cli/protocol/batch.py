"""The batch endpoint: the parameters of a request, and the response of a success. A refusal is an `events.Error`.

Must never open a file or a connection, or know how the audio is transferred.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ApiError, ProtocolError
from ..record import Record
from .constants import ENCODINGS
from .json_fields import DetectedLanguage, Word, load_first_object, take_valid_fields, to_json_fields, usable_words

MAX_DURATION_SECONDS = 3_600_000.0
"""A thousand hours: a longer duration in a response is malformed."""

DEFAULT_LANGUAGE = "en"
"""The language that a server assumes when none is given (batch)."""

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 384_000
"""Hz of headerless audio that the local server accepts. The documentation names 8000 to 48000, but no limits."""


OPENAI_FIELDS = {
    "response_format": ("json", "verbose_json"),
    "prompt": (),
    "temperature": ("0", "0.0"),
    "stream": ("false", "False"),
    "include": (),
}
"""Fields of OpenAI's endpoint that Cartesia's lacks (API docs: migrate-from-open-ai), and their values that change
nothing: its responses are always JSON.
"""


class BatchResponse(NamedTuple):
    """The successful response of the batch endpoint.

    text        the transcript; the only required field
    language    an echo of the parameter; with AUTO_LANGUAGE, what was detected for the longest time
    duration    seconds of the input audio
    words       only when word timestamps were requested
    languages   with AUTO_LANGUAGE: the languages in the order in which they are spoken. Not part of the API
    extra       unknown fields, and malformed ones, as received
    trailing    how many characters followed the JSON object; they are ignored
    """

    text: str
    language: str | None = None
    duration: float | None = None
    words: tuple[Word, ...] | None = None
    request_id: str | None = None
    languages: tuple[DetectedLanguage, ...] | None = None
    extra: Mapping[str, Any] = {}
    trailing: int = 0


class ServerResponse(Record):
    """A server's response to a recording, whether it has just come or is from the cache.

    body          as the server sent it
    parsed        what it says
    received_at   in seconds since 1970
    """

    body: bytes
    parsed: BatchResponse
    received_at: float


def decode_batch(body: bytes) -> BatchResponse:
    """Decode the body of a success. Raises ProtocolError when it has no text: it is never an empty transcript.

    Nothing but the text is required. A field of the wrong type doesn't cost the text (see `unusable_fields`),
    nor is anything after the object, unless it is another object, which might be more of the transcript.
    """
    members, rest = load_first_object(body)
    if rest.startswith("{"):
        raise ProtocolError("the response has more than one JSON object")
    members.pop("type", None)  # required since 2026-08-14, absent before, and always "transcript"
    if not isinstance(members.get("text"), str):
        raise ProtocolError("the response has no text")
    received = {name: value for name in OPTIONAL_FIELDS if (value := members.pop(name, None)) is not None}
    values = take_valid_fields(dict(received), OPTIONAL_FIELDS)
    if not 0 <= values.get("duration", 0.0) < MAX_DURATION_SECONDS:
        del values["duration"]
    malformed = {name: value for name, value in received.items() if name not in values}
    if (words := usable_words(malformed.get("words"))) is not None:
        values["words"] = words
    return BatchResponse(text=members.pop("text"), **values, extra=members | malformed, trailing=len(rest))


def unusable_fields(response: BatchResponse) -> list[str]:
    """The known fields of a response that were malformed, wholly or in part."""
    return [name for name in OPTIONAL_FIELDS if name in response.extra]


OPTIONAL_FIELDS = tuple(name for name in BatchResponse._fields if name not in ("text", "extra", "trailing"))


def encode_batch(response: BatchResponse) -> bytes:
    """A batch response as the local server sends it, including `type` and `request_id` of newer API versions."""
    return json.dumps({"type": "transcript"} | dict(response.extra) | to_json_fields(response._asdict())).encode()


class BatchOptions(Record):
    """The parameters of a batch request.

    model             such as `ink-whisper`
    language          ISO-639-1; None: the server's default, DEFAULT_LANGUAGE, not a detection. The local server also
                      takes AUTO_LANGUAGE and CHINESE_SCRIPTS
    word_timestamps   times for each word
    encoding          one of ENCODINGS for headerless audio; None: given by the container
    sample_rate       Hz, with `encoding`
    """

    model: str
    language: str | None = None
    word_timestamps: bool = False
    encoding: str | None = None
    sample_rate: int | None = None

    def query(self) -> list[tuple[str, str]]:
        """The parameters that go into the URL (batch)."""
        if self.encoding is None:
            return []
        return [("encoding", self.encoding), ("sample_rate", str(self.sample_rate))]

    def form(self) -> list[tuple[str, str]]:
        """The form fields before `file`, in the order of the official SDK."""
        parts = [("model", self.model)]
        if self.language:
            parts.append(("language", self.language))
        if self.word_timestamps:
            parts.append(("timestamp_granularities[]", "word"))
        return parts

    @classmethod
    def parse(cls, query: Mapping[str, str], form: Sequence[tuple[str, str]]) -> "BatchOptions":
        """Parse `query` and `form` on the server. Raises ApiError 400 for a value that the reference rules out."""
        single = dict(form)
        granularities = [value for name, value in form if name.removesuffix("[]") == "timestamp_granularities"]
        encoding = query.get("encoding") or None
        if not single.get("model"):
            raise api_error(400, "Missing model", "The form field 'model' is required.")
        if unknown := [value for value in granularities if value != "word"]:
            raise api_error(
                400, "Invalid timestamp granularity", f"Only 'word' is supported, not {excerpt(unknown[0])}."
            )
        for field, value in form:
            allowed = OPENAI_FIELDS.get(field.removesuffix("[]"))
            if allowed is not None and value and value not in allowed:
                wanted = (
                    f"must be {' or '.join(map(repr, allowed))}, not {excerpt(value)}"
                    if allowed
                    else "is not supported"
                )
                raise api_error(400, "Unsupported parameter", f"{field!r} {wanted}.")
        if encoding is not None and encoding not in ENCODINGS:
            raise api_error(400, "Invalid encoding", f"{excerpt(encoding)} is not one of {', '.join(ENCODINGS)}.")
        return cls(
            model=single["model"],
            language=single.get("language") or None,
            word_timestamps=bool(granularities),
            encoding=encoding,
            sample_rate=parse_sample_rate(query.get("sample_rate"), required=encoding is not None),
        )


def api_error(status: int, title: str, message: str, code: str | None = None) -> ApiError:
    """The exception with which the local server refuses a request, with the fields of Cartesia's error body."""
    error = ApiError(f"{title}: {message}", status=status)
    error.code = code
    return error


def excerpt(value: str) -> str:
    """A value that a client sent, quoted for an error message: its first 60 characters."""
    return repr(value) if len(value) <= 60 else f"{value[:60]!r}..."


def parse_sample_rate(text: str | None, *, required: bool) -> int | None:
    """A `sample_rate` parameter in Hz. Raises ApiError 400 unless it is from MIN_SAMPLE_RATE to MAX_SAMPLE_RATE."""
    if not text and not required:
        return None
    # More digits than the largest rate has are rejected unread: int() refuses thousands of digits with a ValueError.
    rate = int(text) if text and text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SAMPLE_RATE)) else 0
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        limits = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise api_error(400, "Invalid sample rate", f"'sample_rate' must be {limits}, not {excerpt(text or '')}.")
    return rate
