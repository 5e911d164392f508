"""Why a realtime connection didn't open, or how it ended: the exceptions of websockets as errors of this package.

    handshake_failure    a Failure for each attempt, which says whether another may follow
    close_error          one error: NetworkError if a new session may succeed, ApiError if it won't

Must never send, read or wait.
"""

from __future__ import annotations

from websockets.exceptions import (
    ConnectionClosed,
    InvalidMessage,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.frames import CloseCode
from websockets.http11 import Response

from ..errors import ApiError, CliError, NetworkError, ProtocolError
from ..protocol.events import Error
from . import http_errors
from .http_errors import CHECK_NETWORK, NOT_CARTESIA, Failure, Peer, describe_error, lost_hint, tls_error

MAX_EVENT_BYTES = 16 << 20
"""Largest event: many times the whole text of a session."""

HINTS = http_errors.HINTS | {
    405: "check the base URL: this route doesn't accept WebSockets",
    408: CHECK_NETWORK,
    426: "check the base URL: this route doesn't accept WebSockets of version 13",
}
"""What to do about each status below 500 of a handshake."""

RETRYABLE_CODES = frozenset({1000, 1001, 1005, 1011, 1012, 1013, 1014})
"""Codes with which a server may end any session (RFC 6455 7.4.1, and IANA's register): a new one may succeed."""

CODE_NAMES = {code.value: code.name.replace("_", " ").lower() for code in CloseCode}
"""Such as "going away"."""


def response_headers(response: Response | None) -> dict[str, str]:
    """Headers of the response to a handshake, names in lower case; of repeated ones the last."""
    return {name.lower(): value for name, value in (response.headers.raw_items() if response else ())}


def handshake_failure(error: Exception, peer: Peer, timeout_seconds: float) -> Failure:
    """A handshake that failed with this exception: one of websockets, or an OSError."""
    if isinstance(error, InvalidStatus):
        return _response_failure(error.response, peer)
    if (failure := tls_error(error, peer.host, peer.proxy)) is not None:
        return Failure(failure)
    if isinstance(error, InvalidProxyStatus):
        status = f"{error.response.status_code} {error.response.reason_phrase}"
        return Failure(http_errors.proxy_error(peer.quote(status), peer.proxy))
    if isinstance(error, InvalidProxyMessage):
        return http_errors.unreachable_failure(peer, http_errors.tunnel_problem(error))
    if isinstance(error, ProxyError):
        return Failure(http_errors.proxy_error(peer.quote(describe_error(error)), peer.proxy))
    if isinstance(error, ConnectionClosed) or isinstance(error.__cause__, EOFError):
        message = f"{peer.host} hung up before it answered"
        hint = lost_hint(peer, http_errors.name_proxy(CHECK_NETWORK, peer.proxy))
        return Failure(NetworkError(message, hint=hint), retryable=True)
    if isinstance(error, TimeoutError) and error.errno is None:
        message = f"{peer.host} did not answer within {timeout_seconds:g} s"
        return Failure(NetworkError(message, hint=http_errors.unreachable_hint(peer, is_silent=True)), retryable=True)
    if isinstance(error, OSError):
        return http_errors.unreachable_failure(peer, peer.quote(describe_error(error)))
    cause = error.__cause__ if isinstance(error, InvalidMessage) and error.__cause__ else error
    message = f"{peer.host} does not answer as a WebSocket server does: {peer.quote(str(cause))}"
    return Failure(ProtocolError(message, hint=NOT_CARTESIA))


def error_from_event(event: Error, peer: Peer, request_id: str | None) -> CliError:
    """An error event: the same error as for a refused request (errors)."""
    return http_errors.refusal_error(event, request_id, peer.host, peer, HINTS)


def close_error(closed: ConnectionClosed, peer: Peer, request_id: str | None, silence_seconds: float) -> CliError:
    """The error for a session that ended too early. `silence_seconds`: how long a dead link had been silent."""
    if closed.rcvd is None:
        error = _lost_connection_error(closed, peer, silence_seconds)
    else:
        error = _close_frame_error(closed.rcvd.code, closed.rcvd.reason, peer)
    error.request_id = request_id
    return error


def lost_reason(closed: ConnectionClosed) -> str:
    """Why the operating system says that a connection without a close frame ended; empty if it doesn't say."""
    cause = closed.__cause__
    return describe_error(cause) if isinstance(cause, OSError) and str(cause) else ""


def already_closed_error(peer: Peer) -> NetworkError:
    return NetworkError(f"the session with {peer.host} has already ended")


def stalled_error(peer: Peer, request_id: str | None, seconds: float) -> NetworkError:
    """The error if audio didn't leave this machine for `seconds`. Pings are queued after it, so they can't tell."""
    message = f"{peer.host} accepted no audio for {seconds:g} s"
    return NetworkError(message, hint=lost_hint(peer, is_silent=True), request_id=request_id)


def _response_failure(response: Response, peer: Peer) -> Failure:
    """A response to a handshake that doesn't open a WebSocket."""
    status, headers, body = response.status_code, response_headers(response), bytes(response.body or b"")
    if status >= 400:
        return http_errors.refusal_failure(status, headers, body, peer.host, peer, hints=HINTS)
    request_id = peer.quote(headers.get("x-request-id", "")) or None
    if status >= 300:
        target = peer.quote(http_errors.shown_redirect_target(headers.get("location", "")))
        message = f"{peer.host} redirects to {target or 'nowhere'}"
        return Failure(ApiError(message, hint=http_errors.OTHER_SERVER, status=status, request_id=request_id))
    message = f"{peer.host}: status {status}, but not a WebSocket"
    hint = http_errors.other_api_hint(body, peer)
    return Failure(ProtocolError(message, hint=hint, status=status, request_id=request_id))


def _lost_connection_error(closed: ConnectionClosed, peer: Peer, silence_seconds: float) -> CliError:
    """An end without a close frame from the server: the connection was lost, or this client had to close it."""
    own_code = closed.sent.code if closed.sent else None
    if own_code == 1011:
        hint = lost_hint(peer, is_silent=True)
        return NetworkError(f"{peer.host} has not responded for {silence_seconds:g} s", hint=hint)
    if own_code == 1000:
        return already_closed_error(peer)
    if closed.sent is not None:
        reason = peer.quote(closed.sent.reason)  # which quotes the frame
        details = f"larger than {MAX_EVENT_BYTES >> 20} MiB" if own_code == 1009 else reason or f"code {own_code}"
        return ProtocolError(f"{peer.host} sent an invalid WebSocket frame: {details}", hint=NOT_CARTESIA)
    why = peer.quote(lost_reason(closed)) or "closed without a reason"
    return NetworkError(f"the connection to {peer.host} was lost: {why}", hint=lost_hint(peer))


def _close_frame_error(code: int, reason: str, peer: Peer) -> CliError:
    """A close frame from the server that came too early."""
    meaning = CODE_NAMES.get(code)
    name = "no code" if code == 1005 else f"code {code}, {meaning}" if meaning else f"code {code}"
    quoted = peer.quote(reason)
    details = f"{name}: {quoted}" if quoted else name
    if code in RETRYABLE_CODES:
        hint = "a server also hangs up when no audio comes for long" if code in (1000, 1001) else lost_hint(peer)
        return NetworkError(f"{peer.host} ended the session early ({details})", hint=hint)
    hint = "check the options of the session: the server rejects them" if code == 1008 else http_errors.ASK_SUPPORT
    return ApiError(f"{peer.host} refused to continue ({details})", hint=hint)
