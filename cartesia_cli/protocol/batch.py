"""The batch endpoint: what a request asks for, and what a 200 holds. What a refusal says is an `events.Error`.

Must never open a file or a connection; it doesn't know how the audio travels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import ApiError, ProtocolError
from .constants import ENCODINGS
from .json_fields import Word, gather, known, load_first_object, usable_words

LONGEST_SECONDS = 3_600_000.0
"""A thousand hours: no recording is longer."""

DEFAULT_LANGUAGE = "en"
"""What a server takes where no language is named (batch)."""

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 384_000
"""Hz of headerless audio that a server takes. The documentation names 8000 to 48000, and forbids no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResponse:
    """The 200 of the batch endpoint.

    text       the transcript; the only field that must be there
    language   an echo of the parameter, not a detection
    duration   seconds of the input audio
    words      only when word timestamps were asked for
    extra      fields that we don't know, and those that couldn't be used, as they came
    trailing   how many characters followed the answer, which are not used
    """

    text: str
    language: str | None = None
    duration: float | None = None
    words: tuple[Word, ...] | None = None
    request_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    trailing: int = 0


def decode_batch(body: bytes) -> BatchResponse:
    """The body of a 200. ProtocolError when it has no text: never an empty transcript. Nothing else must be there, and
    what is of the wrong type costs nobody the text: see `unusable_fields`. Nor does what follows, unless it may be more
    of the transcript.
    """
    wire, rest = load_first_object(body)
    if rest.startswith("{"):
        raise ProtocolError("the answer has more than one JSON object")
    wire.pop("type", None)  # required since 2026-08-14, absent before, and always "transcript"
    if not isinstance(wire.get("text"), str):
        raise ProtocolError("the answer has no text")
    came = {name: value for name in OPTIONAL if (value := wire.pop(name, None)) is not None}
    values = gather(dict(came), OPTIONAL)
    if not 0 <= values.get("duration", 0.0) < LONGEST_SECONDS:
        del values["duration"]
    odd = {name: value for name, value in came.items() if name not in values}
    if (words := usable_words(odd.get("words"))) is not None:
        values["words"] = words
    return BatchResponse(text=wire.pop("text"), **values, extra=wire | odd, trailing=len(rest))


def unusable_fields(response: BatchResponse) -> list[str]:
    """Fields of an answer that we know, but can't use as they came, or not all of them."""
    return [name for name in OPTIONAL if name in response.extra]


OPTIONAL = tuple(f.name for f in fields(BatchResponse) if f.name not in ("text", "extra", "trailing"))


def encode_batch(response: BatchResponse) -> bytes:
    """A batch response as the local server sends it, `type` and `request_id` of newer versions included."""
    return json.dumps({"type": "transcript"} | dict(response.extra) | known(response)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What a batch request asks for.

    model             such as `ink-whisper`
    language          ISO-639-1; None leaves the server's default, DEFAULT_LANGUAGE: it does not detect
    word_timestamps   times for each word
    encoding          one of ENCODINGS for headerless audio; None lets the container tell
    sample_rate       Hz, with `encoding`
    """

    model: str
    language: str | None = None
    word_timestamps: bool = False
    encoding: str | None = None
    sample_rate: int | None = None

    def query(self) -> list[tuple[str, str]]:
        """The part that goes into the URL (batch)."""
        if self.encoding is None:
            return []
        return [("encoding", self.encoding), ("sample_rate", str(self.sample_rate))]

    def form(self) -> list[tuple[str, str]]:
        """The form fields that go before `file`, in the order of the official SDK."""
        parts = [("model", self.model)]
        if self.language:
            parts.append(("language", self.language))
        if self.word_timestamps:
            parts.append(("timestamp_granularities[]", "word"))
        return parts

    @classmethod
    def parse(cls, query: Mapping[str, str], form: Sequence[tuple[str, str]]) -> BatchOptions:
        """The server's side of `query` and `form`. ApiError 400 where the reference rules a value out."""
        single = dict(form)
        granularities = [value for name, value in form if name.removesuffix("[]") == "timestamp_granularities"]
        encoding = query.get("encoding") or None
        if not single.get("model"):
            raise api_error(400, "Missing model", "The form field 'model' is required.")
        if unknown := [value for value in granularities if value != "word"]:
            raise api_error(
                400, "Invalid timestamp granularity", f"Only 'word' is supported, not {excerpt(unknown[0])}."
            )
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
    """What the local server raises to refuse a request, in the words of Cartesia's error body."""
    error = ApiError(f"{title}: {message}", status=status)
    error.code = code
    return error


def excerpt(value: str) -> str:
    """What a client sent, quoted in an error message: its first 60 characters."""
    return repr(value) if len(value) <= 60 else f"{value[:60]!r}..."


def parse_sample_rate(text: str | None, *, required: bool) -> int | None:
    """A `sample_rate` parameter in Hz. ApiError 400 for what no recording has."""
    if not text and not required:
        return None
    # As many digits as the largest rate has, and no more: what is checked is what is returned.
    rate = int(text) if text and text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SAMPLE_RATE)) else 0
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        limits = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise api_error(400, "Invalid sample rate", f"'sample_rate' must be {limits}, not {excerpt(text or '')}.")
    return rate
