"""Events of both realtime endpoints: the messages that a server sends, decoded and encoded.

    manual   transcript* flush_done ... done      deltas, to be joined verbatim
    turns    connected (turn.start turn.update* (turn.eager_end turn.resume)* turn.end)*
    both     error

Only a malformed text makes an event unusable; any other field may be missing or malformed. Must never read a clock,
join text or decide what an event means for a session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import ApiError, ProtocolError
from ..record import Record
from .json_fields import DetectedLanguage, Word, load_object, take_valid_fields, to_json_fields


class Event(Record):
    """The fields of every event.

    request_id   id of the connection, the same in all its events (turns)
    extra        unknown fields, and malformed ones, as received
    """

    kind = ""
    request_id: str | None = None
    extra: Mapping[str, Any] = {}


class Delta(Event):
    """`transcript` of the manual endpoint: text since the last final one, to be joined verbatim.

    text       may begin or end inside a word, may begin with a space, may be empty
    is_final   False: a preview that the next delta replaces (old ink-whisper only)
    duration   seconds; not from ink-2
    words      not from Cartesia's ink-2. The local server sends them when they are requested, in a delta of their own,
               whose text is empty: they are those of all text since the words before
    language   only in older API versions
    languages  as in TurnEnd; not documented for this endpoint
    """

    kind = "transcript"
    text: str = ""
    is_final: bool = True
    duration: float | None = None
    words: tuple[Word, ...] | None = None
    language: str | None = None
    languages: tuple[DetectedLanguage, ...] | None = None


class FlushDone(Event):
    """Acknowledges `finalize`. Transcripts may still follow (an old example in the documentation shows it)."""

    kind = "flush_done"


class Done(Event):
    """Acknowledges `close` on the manual endpoint; the server closes next."""

    kind = "done"


class Connected(Event):
    """First event of the auto endpoint. Audio may be sent before it."""

    kind = "connected"


class TurnStart(Event):
    """Speech began."""

    kind = "turn.start"


class TurnUpdate(Event):
    """`transcript` is the whole turn so far; later ones only append to it (turns). `languages`: as in TurnEnd."""

    kind = "turn.update"
    transcript: str = ""
    languages: tuple[DetectedLanguage, ...] | None = None


class TurnEagerEnd(Event):
    """The turn may be over: `turn.end` or `turn.resume` follows. `languages`: as in TurnEnd."""

    kind = "turn.eager_end"
    transcript: str = ""
    languages: tuple[DetectedLanguage, ...] | None = None


class TurnResume(Event):
    """The turn that a `turn.eager_end` reported as perhaps over goes on."""

    kind = "turn.resume"


class TurnEnd(Event):
    """The final text of the turn, including the space that joins it to the previous turn.

    words       not from Cartesia; the local server sends them when they are requested
    languages   heard in the most recent audio; from ink-preview only (API docs: stt/languages)
    """

    kind = "turn.end"
    transcript: str = ""
    words: tuple[Word, ...] | None = None
    languages: tuple[DetectedLanguage, ...] | None = None


class Error(Event):
    """An `error` event, and also the body of a refused HTTP request (errors).

    API versions before 2026-03-01 name `message` `error`, and `status_code` `code`.
    """

    kind = "error"
    status_code: int | None = None
    error_code: str | None = None
    title: str | None = None
    message: str | None = None
    doc_url: str | None = None


class Unknown(Event):
    """An event of an unknown type, to be ignored or logged."""

    type: str = ""


MAX_PLAIN_TEXT_BYTES = 1 << 16
"""How much is read of an error response that isn't JSON."""


class UnreadableText(ProtocolError):
    """An event whose text is not a string: words of the transcript are lost."""


EVENT_TYPES: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        Delta, FlushDone, Done, Connected, TurnStart, TurnUpdate, TurnEagerEnd, TurnResume, TurnEnd, Error
    )
}  # fmt: skip

_FIELD_NAMES = {kind: tuple(name for name in event._fields if name != "extra") for kind, event in EVENT_TYPES.items()}


def decode(frame: str | bytes) -> Event:
    """Decode one frame from a server.

    Raises ProtocolError for anything but a JSON object with a `type`; UnreadableText if its text is not a string.
    """
    members = load_object(frame)
    kind = members.pop("type", None)
    if not isinstance(kind, str):
        raise ProtocolError("an object without a type")
    if kind not in EVENT_TYPES:
        return Unknown(type=kind, **take_valid_fields(members, ["request_id"]), extra=members)
    event, names = EVENT_TYPES[kind], _FIELD_NAMES[kind]
    if event is Error:
        normalize_legacy_error(members)
    # Null, missing and malformed fields take their defaults: none is a reason to lose a text or a session.
    values = take_valid_fields(members, names)
    for name in ("text", "transcript"):
        if name in members and name in names:
            raise UnreadableText(f"{name!r} is not a string")
    return event(**values, extra=members)


def malformed_fields(event: Event) -> list[str]:
    """The known fields of an event that were malformed: they are in `extra`."""
    return [name for name in event.extra if name in _FIELD_NAMES.get(event.kind, ())]


def encode(event: Event) -> str:
    """An event as a frame from a server. Optional fields that are None are omitted."""
    members: dict[str, Any] = {"type": event.type if isinstance(event, Unknown) else event.kind}
    return json.dumps(members | to_json_fields(vars(event)) | dict(event.extra))


def normalize_legacy_error(members: dict[str, Any]) -> None:
    """Rename the members of an error from an older API version (errors)."""
    for old, new in (("error", "message"), ("code", "status_code")):
        if members.get(new) is None and (found := take_valid_fields(members, [old])):
            members[new] = found[old]


def decode_error(status: int, body: bytes) -> Error:
    """Decode the body of a refusal, whatever it is: older versions send plain text, proxies send HTML."""
    try:
        members = load_object(body)
        normalize_legacy_error(members)
        values = take_valid_fields(members, ("error_code", "title", "message", "doc_url", "request_id"))
        if values.get("message") or values.get("title"):
            return Error(status_code=status, **values)
    except ProtocolError:
        pass
    line = body[:MAX_PLAIN_TEXT_BYTES].decode("utf-8", "replace").strip().partition("\n")[0].strip()
    return Error(status_code=status, message=None if line.startswith("<") else line or None)


def error_event(error: ApiError) -> Error:
    """A refusal of the local server (`api_error`) as an event, and as the body of a response."""
    title, _, message = error.message.partition(": ")
    return Error(status_code=error.status, error_code=error.code, title=title, message=message)


def encode_error(error: Error) -> bytes:
    """The body of a refusal: all four documented members; `error_code` is null if there is none (errors)."""
    title, message = error.title or "Error", error.message or error.title or "Unknown error"
    members = {"error_code": error.error_code, "title": title, "message": message, "request_id": error.request_id}
    return json.dumps(members | ({"doc_url": error.doc_url} if error.doc_url else {})).encode()
