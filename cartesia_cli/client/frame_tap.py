"""What a record of a connection is told, as it happens: when it was asked for, each frame, and how it ended.

    open       {"url", "version"}                     a connection is asked for
    refused    {"status", "headers", "body"}          an answer that is no WebSocket; {"reason"} where there was none
    sent       text or bytes                          a frame
    received   text or bytes
    close      {"code", "reason"}                     it ended before we hung up: as the server's close frame says, else
                                                      ours (1011: the link is dead; 1002, 1007, 1009: what came breaks
                                                      the rules), else 1006 and what the system says (RFC 6455 7.4.1)

Must never pass on the key, should a server send it back, but in the text of a transcript, which is kept as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from ..redaction import Redactor
from .http_errors import reason

Tap = Callable[[str, Any], None]
"""Told one of the above, and what belongs to it."""

LONGEST_REASON = 123
"""Bytes of a close frame's reason (RFC 6455 5.5.1): a record can be played again."""

KEPT = ("retry-after", "x-request-id", "location")
"""Headers of a refusal that change what is done or told about it. Others may hold anything."""


def redacting(tap: Tap, redactor: Redactor) -> Tap:
    """A tap that gets no key in what says how a connection began and ended. Frames pass as they are: whoever records
    them wants the text that was said, and everything else is redacted where it is decoded.
    """

    def redacted(told: Any) -> Any:
        match told:
            case str():
                return redactor.redact(told)
            case dict():
                return {name: redacted(value) for name, value in told.items()}
        return told

    def pass_on(event: str, told: Any) -> None:
        if event in ("sent", "received"):
            return tap(event, told)
        told = redacted(told)
        if event == "close":
            told["reason"] = told["reason"].encode()[:LONGEST_REASON].decode("utf-8", "ignore")
        tap(event, told)

    return pass_on


def refusal(response: Response) -> dict[str, Any]:
    """An answer instead of a handshake."""
    headers = {name.lower(): value for name, value in response.headers.raw_items() if name.lower() in KEPT}
    body = bytes(response.body or b"").decode("utf-8", "replace")
    return {"status": response.status_code, "headers": headers, "body": body}


def end(closed: ConnectionClosed) -> dict[str, Any]:
    """How a connection ended, in a way that a server can bring about again."""
    if (frame := closed.rcvd or closed.sent) is not None:
        return {"code": frame.code, "reason": frame.reason}
    cause = closed.__cause__
    return {"code": 1006, "reason": reason(cause) if isinstance(cause, OSError) and str(cause) else ""}
