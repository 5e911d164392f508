"""Why a realtime connection didn't open, or how it ended: the exceptions of websockets as errors of ours.

    not opened    a Failure for each try, which tells whether another may follow
    ended         one error: of the network where the same again may go well, of the API where it may not

Must never send, read or wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.http11 import Response

from ..errors import ApiError, CliError, NetworkError, ProtocolError, UsageError
from ..protocol import Error
from . import http_errors
from .http_errors import AGAIN, Failure, Peer, body_excerpt, reason

MAX_EVENT = 16 << 20
"""Bytes of an event: a session's whole text many times over."""

NOT_CARTESIA = "is it really Cartesia's API? Check the base URL"
HINTS = http_errors.HINTS | {
    405: "check the base URL: the route is no WebSocket",
    408: AGAIN,
    426: "check the base URL: the route is no WebSocket of the version that is spoken here",
}

RETRYABLE_CODES = {
    1000: "normal closure",
    1001: "going away",
    1005: "no code",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}
"""Codes with which a server may end any session (RFC 6455 7.4.1, and IANA's register): a new one may go well."""

REFUSING_CODES = {
    1002: "protocol error",
    1003: "unsupported data",
    1007: "invalid data",
    1008: "policy violation",
    1009: "message too big",
    1010: "extension missing",
}


def headers(response: Response | None) -> dict[str, str]:
    """Headers of the answer to a handshake, names in small letters; the last of several alike."""
    return {name.lower(): value for name, value in (response.headers.raw_items() if response else ())}


def not_opened(error: Exception, peer: Peer, seconds: float) -> Failure:
    """What a handshake failed with, which had `seconds`. UsageError for settings with which none can be tried."""
    if isinstance(error, InvalidStatus):
        return _answered(error.response, peer)
    if (distrust := http_errors.tls_reason(error)) is not None:
        return http_errors.unverified_certificate(peer.host, peer.quote(distrust))
    if isinstance(error, InvalidProxyStatus):
        return http_errors.stopped_by_proxy(peer.quote(f"{error.response.status_code} {error.response.reason_phrase}"))
    if isinstance(error, ProxyError):
        return http_errors.stopped_by_proxy(peer.quote(reason(error)))
    if isinstance(error, InvalidProxy):  # its text would show the password
        raise misconfigured(error.msg) from None
    if isinstance(error, ConnectionClosed) or isinstance(error.__cause__, EOFError):
        message = f"{peer.host} hung up before it answered"
        return Failure(NetworkError(message, hint=AGAIN), retryable=True)
    if isinstance(error, TimeoutError) and error.errno is None:
        message = f"{peer.host} did not answer within {seconds:g} s"
        hint = http_errors.unreachable(peer, "").error.hint
        return Failure(NetworkError(message, hint=hint), retryable=True)
    if isinstance(error, OSError):
        return http_errors.unreachable(peer, peer.quote(reason(error)))
    if isinstance(error, InvalidHandshake):
        cause = error.__cause__ if isinstance(error, InvalidMessage) and error.__cause__ else error
        said = peer.quote(str(cause))
        return Failure(ProtocolError(f"{peer.host} does not answer as a WebSocket does: {said}", hint=NOT_CARTESIA))
    raise misconfigured(str(error)) from None


def misconfigured(why: str) -> UsageError:
    message = f"proxy or certificate settings of the environment: {why}"
    return UsageError(message, hint="see HTTPS_PROXY and SSL_CERT_FILE")


def refused(event: Error, peer: Peer, request_id: str | None) -> CliError:
    """An error event: the same error as the refusal of a request (errors)."""
    return http_errors.refusal(event, request_id, peer.host, peer, HINTS)


def ended(closed: ConnectionClosed, peer: Peer, request_id: str | None, silence: float) -> CliError:
    """How a session ended that should have gone on. `silence`: seconds of it after which a link counts as dead."""
    error = _hung_up(closed, peer, silence) if closed.rcvd is None else _closed(closed.rcvd.code, closed, peer)
    error.request_id = request_id
    return error


def _answered(response: Response, peer: Peer) -> Failure:
    status, told, body = response.status_code, headers(response), bytes(response.body or b"")
    if status >= 400:
        return http_errors.refused(status, told, body, peer.host, peer, hints=HINTS)
    request_id = peer.quote(told.get("x-request-id", "")) or None
    if status >= 300:
        hint = "the key is not sent there; if that is the right place, make it the base URL"
        message = f"{peer.host} redirects to {peer.quote(_place(told)) or 'nowhere'}"
        return Failure(ApiError(message, hint=hint, status=status, request_id=request_id))
    hint = f"is {peer.host} really Cartesia's API? Its answer begins with {body_excerpt(body, peer)}"
    message = f"{peer.host}: status {status}, but no WebSocket"
    return Failure(ProtocolError(message, hint=hint, status=status, request_id=request_id))


def _place(headers: Mapping[str, str]) -> str:
    """Where a redirect leads, without a query: that may hold anything."""
    try:
        parts = urlsplit(headers.get("location", ""))
        there = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    except ValueError:
        return ""
    return there + parts.path


def _hung_up(closed: ConnectionClosed, peer: Peer, silence: float) -> CliError:
    """An end without the server's close frame: it was gone, or we had to leave."""
    ours = closed.sent.code if closed.sent else None
    if ours == 1011:
        return NetworkError(f"{peer.host} gave no sign of life for {silence:g} s", hint=AGAIN)
    if ours == 1000:
        return already_closed(peer)
    if closed.sent is not None:
        said = peer.quote(closed.sent.reason)  # which quotes the frame
        about = f"larger than {MAX_EVENT >> 20} MiB" if ours == 1009 else said or f"code {ours}"
        return ProtocolError(f"{peer.host} sent what no WebSocket may send: {about}", hint=NOT_CARTESIA)
    cause = closed.__cause__
    why = peer.quote(reason(cause)) if isinstance(cause, OSError) and str(cause) else "it hung up without a word"
    return NetworkError(f"the connection to {peer.host} was lost: {why}", hint=AGAIN)


def _closed(code: int, closed: ConnectionClosed, peer: Peer) -> CliError:
    """A close frame of the server that came too early."""
    said = peer.quote(closed.rcvd.reason if closed.rcvd else "")
    meaning = RETRYABLE_CODES.get(code) or REFUSING_CODES.get(code)
    name = "no code" if code == 1005 else f"code {code}, {meaning}" if meaning else f"code {code}"
    told = f"{name}: {said}" if said else name
    if code in RETRYABLE_CODES:
        hint = "a server that hears nothing for long hangs up, too" if code in (1000, 1001) else AGAIN
        return NetworkError(f"{peer.host} ended the session early ({told})", hint=hint)
    hint = "check the options of the session: the server won't take them" if code == 1008 else http_errors.UNKNOWN
    return ApiError(f"{peer.host} refused to go on ({told})", hint=hint)


def already_closed(peer: Peer) -> NetworkError:
    return NetworkError(f"the session with {peer.host} is over")


def stuck(peer: Peer, request_id: str | None, silence: float) -> NetworkError:
    """What was sent didn't leave this machine for so many seconds: behind it, pings would wait in vain, too."""
    return NetworkError(f"{peer.host} took no audio for {silence:g} s", hint=AGAIN, request_id=request_id)
