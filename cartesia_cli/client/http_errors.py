"""What a failed HTTP attempt means: a refusal by its status and error code, a connection by how far it had got.

Each becomes a Failure: the error to show if it was the last attempt, and what decides whether another may follow. The
realtime connection uses the same errors for its handshake and for error events.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore

from ..errors import ApiError, AuthError, CliError, NetworkError, ProtocolError
from ..protocol.constants import RUNNING_SERVER, Credential
from ..record import Record
from ..redaction import LONGEST_EXCERPT, Redactor
from ..retry import MAX_RETRY_AFTER_SECONDS, is_retryable_status, parse_retry_after
from ..transfer import short_reason
from .environment import authorities_variable, tls_reason

if TYPE_CHECKING:
    from ..protocol.events import Error

HTTP_ERRORS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
"""How httpcore says that a request has no complete response. These classes have no base of their own."""

EARLY_END_PREFIXES = ("Server disconnected", "peer closed connection", "peer unexpectedly closed connection")
"""The beginnings of what httpcore and h11 say when a connection ended before a response did."""

TLS_EOF_ERRORS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What Python raises for a TLS connection that ended too early, in the handshake as well."""

OUT_OF_CREDITS = frozenset({"quota_exceeded", "plan_upgrade_required"})
"""Error codes of an account that can't pay for the request (errors)."""

TOO_MANY_AT_ONCE = "concurrency_limited"

ACCOUNT_STATUSES = frozenset({402, 404, 405})
"""Statuses that every other file would get, too."""

CHECK_PARAMETERS = "check the model, the language, the encoding and the sample rate"
CHECK_CREDITS = "the account is out of credits, or its plan is too small: see play.cartesia.ai"
CHECK_CERTIFICATE = "name a private certificate authority in {}; a wrong clock makes certificates look expired, too"
CHECK_TLS = "is it an https server? The URL of a server with plain http begins with http://"
CHECK_NETWORK = "check the network, then run the same command again"
ASK_SUPPORT = "see https://docs.cartesia.ai, or ask Cartesia's support with the request id"
NOT_CARTESIA = "is it really Cartesia's API? Check the base URL"
OTHER_SERVER = "the key is not sent there; if that is the right server, make it the base URL"
SERVE_ENDED = "`serve` has ended: run the same command again, which then loads the model itself"
SERVE_SILENT = "`serve` doesn't respond: run the same command again, which then loads the model itself"

THROUGH_PROXY = "check {}: requests go through this proxy"
HUNG_UP = "the other side hung up"
PROXY_PASSWORD = "status 407, proxy authentication required"

NO_KEY_SENT = "no key was sent: if the server needs one, set CARTESIA_API_KEY"
NO_KEY_UNENCRYPTED = "no key is sent over plain http: --insecure-http-key sends it, readable by anyone on the network"
MAYBE_BILLED = "the audio may have been billed: another attempt sends it again"
TRY_LATER = "the problem is on the server's side: try again later"

REQUEST_HINTS = {
    402: CHECK_CREDITS,
    404: "check the base URL: this server has no such route",
    409: "run the same command again",
    429: "too many requests at once for this plan, or too many in a short time: try again later",
}
"""What to do about each status below 500, whatever was asked for."""

HINTS = REQUEST_HINTS | {
    400: CHECK_PARAMETERS,
    405: "check the base URL: the route takes no uploads",
    408: "the server gave up on the upload: check the network, then run the same command again",
    413: "the file is too large for the server: cut it, or compress it (for example to mp3)",
    415: "the format is not supported: convert it, for example to wav",
    422: CHECK_PARAMETERS,
}
"""The same for an upload."""

MAX_EXCERPT_BYTES = 1 << 16
"""Bytes of a body that are searched for its first characters: some may be spaces, or parts of a key."""


class Peer(Record):
    """The server at the other end of a connection, as error messages describe it.

    host         its name, as of `server_name`
    credential   what was sent to prove who asks, or None
    proxy        the variable that sets the proxy which requests go through; None without one
    unencrypted  whether it is reached over plain http, where a key is sent only if the user says so
    """

    host: str
    credential: Credential | None
    proxy: str | None = None
    unencrypted: bool = False

    @property
    def key_origin(self) -> str | None:
        """Where the key came from, in words; None if none was sent."""
        return self.credential.origin if self.credential else None

    @cached_property
    def redactor(self) -> Redactor:
        return Redactor(self.credential.secret if self.credential else "")

    def quote(self, text: str, limit: int = LONGEST_EXCERPT) -> str:
        """Text from this server, or from a proxy on the way, made fit for a message: one line, not too long, no key.

        Every text that isn't our own and isn't a transcript must pass through here, decoded, before it is cut.
        """
        return self.redactor.excerpt(text, limit)


class TunnelTrace:
    """Receives what httpcore reports of a connection (httpcore docs: extensions, trace).

    awaits_tunnel   whether a proxy, if there is one, was connected to and hasn't opened a tunnel to the server yet
    """

    awaits_tunnel = False

    def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            self.awaits_tunnel = True
        elif name == "proxy.start_tls.started":
            self.awaits_tunnel = False


def tunnel_problem(error: Exception) -> str:
    """Why a proxy neither opened a tunnel nor refused to: for an exception of httpcore, httpx or websockets."""
    is_invalid = invalid_http_reason(error) is not None or isinstance(error.__cause__, ValueError)
    return "the proxy's response is not valid HTTP" if is_invalid else "the proxy hung up"


class Failure(Record):
    """A failed attempt.

    error          what to raise if no other attempt follows
    retryable      whether another attempt might succeed
    maybe_billed   whether the server may have done the work, and billed it
    retry_after    seconds that the server asks to wait, or None
    """

    error: CliError
    retryable: bool = False
    maybe_billed: bool = False
    retry_after: float | None = None


def refusal_failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    name: str,
    peer: Peer,
    upload_bytes: int = 0,
    hints: Mapping[int, str] | None = None,
) -> Failure:
    """A response whose status is not a success (2xx).

    name    what was asked for, as messages name it
    hints   what to do about each status below 500; None: HINTS for an upload, otherwise REQUEST_HINTS
    """
    if status == 407 and peer.proxy:
        return Failure(proxy_error(PROXY_PASSWORD, peer.proxy))
    if status == 503 and peer.key_origin == RUNNING_SERVER:  # it is being stopped
        return Failure(NetworkError(f"{name}: the running server was stopped", hint=SERVE_ENDED))
    from ..protocol.events import decode_error  # start-up: it imports the realtime events, which only a refusal needs

    hints = hints or (HINTS if upload_bytes else REQUEST_HINTS)
    error = refusal_error(decode_error(status, body), headers.get("x-request-id"), name, peer, hints)
    if status == 413 and upload_bytes:
        error.hint = f"a file of {upload_bytes / 1e6:.1f} MB is too large for the server: cut it, or compress it to mp3"
    retry_after = parse_retry_after(headers.get("retry-after"), datetime.now(UTC))
    if retry_after is not None and retry_after > MAX_RETRY_AFTER_SECONDS:
        until = datetime.now() + timedelta(seconds=min(retry_after, 10**7))
        error.hint = f"the server asks to wait until {until:%Y-%m-%d %H:%M:%S}: try again then"
        error.stops_batch = True
        return Failure(error)
    return Failure(error, retryable=is_retryable_status(status), retry_after=retry_after)


def connection_failure(error: Exception, name: str, peer: Peer, *, uploaded: bool | None) -> Failure:
    """A connection that failed, with one of HTTP_ERRORS.

    uploaded   whether the whole request had been sent, so that it may be billed; None for one that costs nothing
    """
    host, why = peer.host, peer.quote(describe_error(error))
    failure = _connect_failure(error, peer, why)
    if failure is not None:
        failure.error.stops_batch = True
        failure.error.message = f"{name}: {failure.error.message}"
        return failure
    if (reason := invalid_http_reason(error)) is not None:
        return invalid_http_failure(reason, name, peer, maybe_billed=bool(uploaded))
    when = "during the upload" if uploaded is False else "before the response came"
    hint = name_proxy(MAYBE_BILLED if uploaded else CHECK_NETWORK, peer.proxy)
    lost = NetworkError(f"{name}: the connection to {host} was lost {when}: {why}", hint=hint)
    return Failure(lost, retryable=True, maybe_billed=bool(uploaded))


def _connect_failure(error: Exception, peer: Peer, why: str) -> Failure | None:
    """The failure of an attempt to connect; None if the connection was lost later."""
    if (failure := tls_error(error, peer.host, peer.proxy)) is not None:
        return Failure(failure)
    if isinstance(error, httpcore.ProxyError):
        return Failure(proxy_error(why, peer.proxy))
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return unreachable_failure(peer, why, is_silent=isinstance(error, httpcore.ConnectTimeout))
    return None


def proxy_error(reason: str, proxy: str | None) -> NetworkError:
    """The error for a proxy that refuses. `proxy`: the variable that sets it."""
    return NetworkError(f"the proxy refuses: {reason}", hint=f"check {proxy}, including its user and password")


def name_proxy(hint: str, proxy: str | None) -> str:
    """A hint that also names the variable that sets the proxy, if there is one."""
    return f"{hint}; requests go through the proxy of {proxy}" if proxy else hint


def unreachable_failure(peer: Peer, reason: str, *, is_silent: bool = False) -> Failure:
    """A server that can't be reached. `is_silent`: as for `unreachable_hint`."""
    message = f"{peer.host} can't be reached: {reason}"
    return Failure(NetworkError(message, hint=unreachable_hint(peer, is_silent=is_silent)), retryable=True)


def unreachable_hint(peer: Peer, *, is_silent: bool = False) -> str:
    """What to do about a server that can't be reached. `is_silent`: it doesn't answer, but may still be running."""
    through_proxy = THROUGH_PROXY.format(peer.proxy) if peer.proxy else "check the network and the base URL"
    return lost_hint(peer, through_proxy, is_silent=is_silent)


def lost_hint(peer: Peer, network_hint: str = CHECK_NETWORK, *, is_silent: bool = False) -> str:
    """What to do about a connection that was lost: `network_hint`, unless it was one to a `serve` of this user."""
    if peer.key_origin == RUNNING_SERVER:
        return SERVE_SILENT if is_silent else SERVE_ENDED
    return network_hint


def invalid_http_failure(
    reason: str, name: str, peer: Peer, *, maybe_billed: bool, status: int | None = None
) -> Failure:
    """An answer that breaks the rules of HTTP, for a `reason` as of `invalid_http_reason`."""
    error = ProtocolError(
        f"{name}: the response of {peer.host} is not valid HTTP: {peer.quote(reason)}",
        hint=name_proxy(f"{MAYBE_BILLED}; {NOT_CARTESIA}" if maybe_billed else NOT_CARTESIA, peer.proxy),
        status=status,
    )
    return Failure(error, retryable=True, maybe_billed=maybe_billed)


def invalid_http_reason(error: BaseException) -> str | None:
    """What is wrong with an answer that breaks the rules of HTTP, or None if an error doesn't mean that: for httpcore,
    a connection that ended too early is a RemoteProtocolError, too.
    """
    cause = next((one for one in (error, error.__cause__) if isinstance(one, httpcore.RemoteProtocolError)), None)
    if cause is None or str(cause).startswith(EARLY_END_PREFIXES):
        return None
    return str(cause).partition(": bytearray(")[0].partition(": b'")[0]


def truncated_response_failure(status: int, name: str, host: str, *, maybe_billed: bool) -> Failure:
    """A success whose body ended before it was complete. The server has done the work, so it may have billed it."""
    hint = MAYBE_BILLED if maybe_billed else CHECK_NETWORK
    error = ProtocolError(f"{name}: the response of {host} was cut short", hint=hint, status=status)
    return Failure(error, retryable=True, maybe_billed=maybe_billed)


def invalid_response_failure(
    error: ProtocolError, name: str, peer: Peer, status: int, headers: Mapping[str, str], body: bytes
) -> Failure:
    """A success that is not what the documentation promises. The server has done the work, so it may have billed it."""
    shown = ProtocolError(
        f"{name}: status {status}, but {peer.quote(error.message)}",
        hint=other_api_hint(body, peer),
        request_id=peer.quote(headers.get("x-request-id", "")) or None,
    )
    return Failure(shown, retryable=True, maybe_billed=True)


def other_api_hint(body: bytes, peer: Peer) -> str:
    """The hint for a response that Cartesia's API doesn't give, with the first characters of its body."""
    excerpt = peer.quote(body[:MAX_EXCERPT_BYTES].decode("utf-8", "replace"), 80)
    return f"is {peer.host} really Cartesia's API?{f' Its response begins with {excerpt!r}' if body else ''}"


def is_account_error(error: CliError) -> bool:
    """Whether the next file would fail for the same reason: the key, the credits, a server that can't be reached."""
    return (
        error.stops_batch
        or isinstance(error, AuthError)
        or (isinstance(error, ApiError) and (error.status in ACCOUNT_STATUSES or error.code in OUT_OF_CREDITS))
    )


def is_concurrency_refusal(error: CliError) -> bool:
    """Whether a request was refused because the account has too many in flight (errors: concurrency_limited)."""
    return isinstance(error, ApiError) and error.status == 429 and error.code == TOO_MANY_AT_ONCE


def refusal_error(error: "Error", header_id: str | None, name: str, peer: Peer, hints: Mapping[int, str]) -> CliError:
    """The exception for a refused request or an error event.

    Its code decides before its status, as in Cartesia's own dictation app. `header_id`: the request id of the
    connection, for errors that carry none.
    """
    status, request_id = error.status_code or 0, peer.quote(error.request_id or header_id or "") or None
    message = f"{name}: {refusal_reason(error, peer)}"
    if error.error_code in OUT_OF_CREDITS or status not in (401, 403):
        hint = TRY_LATER if status >= 500 else hints.get(status, ASK_SUPPORT)
        denial = ApiError(message, hint=hint, status=error.status_code, request_id=request_id)
        if error.error_code in OUT_OF_CREDITS:
            denial.hint = CHECK_CREDITS
        denial.code = peer.quote(error.error_code or "") or None
        return denial
    if peer.unencrypted and not peer.key_origin:
        return AuthError(message, hint=NO_KEY_UNENCRYPTED, status=status, request_id=request_id)
    sent = f"the key came from {peer.key_origin}" if peer.key_origin else NO_KEY_SENT
    hint = f"{sent}; keys are created at play.cartesia.ai/keys"
    return AuthError(message, hint=hint, status=status, request_id=request_id)


def refusal_reason(error: "Error", peer: Peer) -> str:
    """Why a server refuses, in its words."""
    reason = peer.quote(": ".join(part for part in (error.title, error.message) if part))
    return reason or "the server gave no reason"


def shown_redirect_target(location: str) -> str:
    """Where a redirect leads, without its user, password and query, which may hold anything; "" if that is nowhere."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    place = f"//{host}{parts.path}" if host else parts.path
    return f"{parts.scheme}:{place}" if parts.scheme else place


def describe_error(error: BaseException) -> str:
    """Why a connection failed: the operating system's description of an error, without its number and without asyncio's
    wording around it.
    """
    text = str(error).strip()
    if text.startswith(EARLY_END_PREFIXES) or any(isinstance(cause, TLS_EOF_ERRORS) for cause in _causes(error)):
        return HUNG_UP
    if number := re.search(r"\[Errno (\d+)\]", text):
        return os.strerror(int(number[1]))
    without_name = HUNG_UP if isinstance(error, ConnectionError) else type(error).__name__
    return re.sub(r"^\[Errno -\d+\] ", "", text) or without_name


def tls_error(error: BaseException, host: str, proxy: str | None) -> NetworkError | None:
    """The error for a TLS handshake that failed, if that is among the causes of an exception. Another attempt would
    fail, too. `proxy`: the variable that sets it, or None.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            message = f"can't verify {host}'s certificate: {short_reason(cause.verify_message)}"
            hint = CHECK_CERTIFICATE.format(authorities_variable() or "SSL_CERT_FILE")
            return NetworkError(message, hint=name_proxy(hint, proxy))
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, TLS_EOF_ERRORS):
            message = f"the TLS handshake with {host} failed: {tls_reason(cause)}"
            return NetworkError(message, hint=name_proxy(CHECK_TLS, proxy))
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
