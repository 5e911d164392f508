"""Events of both realtime endpoints: what a server says on a socket, decoded and encoded.

    manual   transcript* flush_done ... done      deltas, to be joined verbatim
    turns    connected (turn.start turn.update* (turn.eager_end turn.resume)* turn.end)*
    both     error

Nothing but its text makes an event worthless: any other field may be missing or odd. Must never read a clock, join
text or decide what an event means for a session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ..errors import ProtocolError
from .json_fields import Word, gather, known, load_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries.

    request_id   id of the connection, the same in all its events (turns)
    extra        as they came: fields that we don't know, and those that are not as documented
    """

    kind: ClassVar[str] = ""
    request_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta(Event):
    """`transcript` of the manual endpoint: text since the last final one, to be joined verbatim.

    text       may break inside a word, may begin with a blank, may be empty
    is_final   False: a preview that the next delta replaces (old ink-whisper only)
    duration   seconds; not from ink-2
    words      not from ink-2
    language   only in older API versions
    """

    kind = "transcript"
    text: str = ""
    is_final: bool = True
    duration: float | None = None
    words: tuple[Word, ...] | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushDone(Event):
    """Acknowledges `finalize`. Transcripts may still follow it (an old example shows it)."""

    kind = "flush_done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    """Acknowledges `close` on the manual endpoint; the server closes next."""

    kind = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Event):
    """First event of the auto endpoint. Nobody need wait for it."""

    kind = "connected"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStart(Event):
    kind = "turn.start"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnUpdate(Event):
    """`transcript` is the whole turn up to now; later texts only append to it (turns)."""

    kind = "turn.update"
    transcript: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEagerEnd(Event):
    """The turn is perhaps over: `turn.end` or `turn.resume` comes next."""

    kind = "turn.eager_end"
    transcript: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResume(Event):
    kind = "turn.resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnd(Event):
    """The definitive text of the turn, the blank that joins it to the one before included."""

    kind = "turn.end"
    transcript: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error(Event):
    """An `error` event, and also the body of a refused HTTP request (errors).

    Versions before 2026-03-01 say `error` for `message` and `code` for `status_code`.
    """

    kind = "error"
    status_code: int | None = None
    error_code: str | None = None
    title: str | None = None
    message: str | None = None
    doc_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """An event of a type that we don't know: to be ignored, or logged."""

    type: str


LONGEST_LINE = 1 << 16
"""Bytes that are looked at of a refusal that is not JSON."""


class UnreadableText(ProtocolError):
    """An event whose text is none: somebody's words are lost in it."""


EVENTS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        Delta, FlushDone, Done, Connected, TurnStart, TurnUpdate, TurnEagerEnd, TurnResume, TurnEnd, Error
    )
}  # fmt: skip

_NAMES = {kind: tuple(f.name for f in fields(event) if f.name != "extra") for kind, event in EVENTS.items()}


def decode(frame: str | bytes) -> Event:
    """One frame from a server as an event. ProtocolError for whatever is not a JSON object with a `type`:
    UnreadableText, where a text is not a string.
    """
    wire = load_object(frame)
    kind = wire.pop("type", None)
    if not isinstance(kind, str):
        raise ProtocolError("an event without a type")
    if kind not in EVENTS:
        return Unknown(type=kind, **gather(wire, ["request_id"]), extra=wire)
    event, names = EVENTS[kind], _NAMES[kind]
    if event is Error:
        normalize_legacy_error(wire)
    # What is null, absent or odd takes the default: no such field is a reason to lose a text or a session.
    values = gather(wire, names)
    for name in ("text", "transcript"):
        if name in wire and name in names:
            raise UnreadableText(f"{name!r} is no string")
    return event(**values, extra=wire)


def malformed_fields(event: Event) -> list[str]:
    """Fields of an event that we know, but not as they came: they are in `extra`."""
    return [name for name in event.extra if name in _NAMES.get(event.kind, ())]


def encode(event: Event) -> str:
    """An event as the frame that a server sends. Optional fields that are None are left out."""
    wire: dict[str, Any] = {"type": event.type if isinstance(event, Unknown) else event.kind}
    return json.dumps(wire | known(event) | dict(event.extra))


def normalize_legacy_error(wire: dict[str, Any]) -> None:
    """Spell an old error shape in today's names (errors)."""
    for old, new in (("error", "message"), ("code", "status_code")):
        if wire.get(new) is None and (found := gather(wire, [old])):
            wire[new] = found[old]


def decode_error(status: int, body: bytes) -> Error:
    """The body of a refusal. Total: old versions send plain text, proxies send HTML."""
    try:
        wire = load_object(body)
        normalize_legacy_error(wire)
        values = gather(wire, ("error_code", "title", "message", "doc_url", "request_id"))
        if values.get("message") or values.get("title"):
            return Error(status_code=status, **values)
    except ProtocolError:
        pass
    line = body[:LONGEST_LINE].decode("utf-8", "replace").strip().partition("\n")[0].strip()
    return Error(status_code=status, message=None if line.startswith("<") else line or None)


def encode_error(error: Error) -> bytes:
    """The body of a refusal: all four documented members, `error_code` null where there is none (errors)."""
    title, message = error.title or "Error", error.message or error.title or "Unknown error"
    wire = {"error_code": error.error_code, "title": title, "message": message, "request_id": error.request_id}
    return json.dumps(wire | ({"doc_url": error.doc_url} if error.doc_url else {})).encode()
