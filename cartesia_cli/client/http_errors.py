"""What a try that failed means: refusals by status and error code, connections by how far they had come.

Each becomes a Failure: the error to show if it was the last try, and what is needed to decide whether
there may be another.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import httpx

from ..errors import ApiError, AuthError, CliError, NetworkError, ProtocolError
from ..protocol import Credential
from ..redaction import LONGEST_EXCERPT, Redactor
from .retry import LONGEST_WAIT, is_retryable_status, retry_after

if TYPE_CHECKING:
    from ..protocol import Error

OUT_OF_CREDITS = frozenset({"quota_exceeded", "plan_upgrade_required"})

ACCOUNT_STATUSES = frozenset({402, 404, 405})
"""Statuses that every other file would get, too."""

PARAMETERS = "check --model, --language, --encoding and --sample-rate"
CREDITS = "the account is out of credits, or its plan is too small: see play.cartesia.ai"
HINTS = {
    400: PARAMETERS,
    402: CREDITS,
    404: "check the base URL: the route is not there",
    405: "check the base URL: the route takes no uploads",
    408: "the server gave up on the upload: check the network, then run the same command again",
    409: "run the same command again",
    413: "the file is too large for the server: cut it, or compress it (for example to mp3)",
    415: "the format is not supported: convert it, for example to wav",
    422: PARAMETERS,
    429: "too many requests at once for this plan, or too many in a short time: try again later",
}
UNKNOWN = "see https://docs.cartesia.ai, or ask Cartesia's support with the request id"
AGAIN = "check the network, then run the same command again"
BILLED = "the audio may have been billed: --retries N sends it again"
SERVER_TROUBLE = "the trouble is on the server's side: try again later"

LARGEST_HEAD = 1 << 16
"""Bytes of a body that are looked at for its first characters: some may be blanks, or parts of a key."""


class Peer:
    """Who is at the other end, as errors speak of it.

    host         name, and port where it isn't the usual one
    credential   what was sent to prove who asks, or None
    proxied      whether requests go through a proxy of the environment
    """

    def __init__(self, host: str, credential: Credential | None, proxied: bool = False) -> None:
        self.host, self.credential, self.proxied = host, credential, proxied

    @property
    def key_origin(self) -> str | None:
        """Where the key came from, in words; None if none was sent."""
        return self.credential.origin if self.credential else None

    @cached_property
    def redactor(self) -> Redactor:
        return Redactor(self.credential.secret if self.credential else "")

    def quote(self, text: str, limit: int = LONGEST_EXCERPT) -> str:
        """What this server, or a proxy before it, says, fit for a message: one line, not too long, without the key.

        Every text that didn't come from us and isn't a transcript must pass through here, decoded, before it is cut.
        """
        return self.redactor.excerpt(text, limit)


@dataclass(frozen=True, slots=True)
class Failure:
    """A try that brought nothing.

    error     what to raise if no other follows
    passing   whether another might do better
    lost      whether the server may have done the work, and billed it
    wait      seconds that the server asks for, or None
    """

    error: CliError
    retryable: bool = False
    maybe_billed: bool = False
    wait: float | None = None


def refused(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    what: str,
    peer: Peer,
    size: int = 0,
    hints: Mapping[int, str] = HINTS,
) -> Failure:
    """An answer whose status is not a success (2xx)."""
    from ..protocol import decode_error  # start-up: it imports the realtime events, which only a refusal needs

    error = refusal(decode_error(status, body), headers.get("x-request-id"), what, peer, hints)
    if status == 413 and size:
        error.hint = f"{size / 1e6:.1f} MB are too many for the server: cut the file, or compress it to mp3"
    wait = retry_after(headers.get("retry-after"))
    if wait is not None and wait > LONGEST_WAIT:
        until = datetime.now() + timedelta(seconds=min(wait, 10**7))
        error.hint = f"the server asks to wait until {until:%Y-%m-%d %H:%M:%S}: try again then"
        error.stops_batch = True
        return Failure(error)
    return Failure(error, retryable=is_retryable_status(status), wait=wait)


def dropped(error: httpx.HTTPError, what: str, peer: Peer, *, uploaded: bool) -> Failure:
    """A connection that failed. `uploaded`: the whole request had gone out before."""
    host, why = peer.host, peer.quote(reason(error))
    failure = _not_opened(error, peer, why)
    if failure is not None:
        failure.error.stops_batch = True
        failure.error.message = f"{what}: {failure.error.message}"
        return failure
    if uploaded:
        message = f"{what}: the connection to {host} was lost before the answer came: {why}"
        return Failure(NetworkError(message, hint=BILLED), retryable=True, maybe_billed=True)
    message = f"{what}: the connection to {host} was lost during the upload: {why}"
    return Failure(NetworkError(message, hint=AGAIN), retryable=True)


def _not_opened(error: httpx.HTTPError, peer: Peer, why: str) -> Failure | None:
    if (distrust := tls_reason(error)) is not None:
        return unverified_certificate(peer.host, peer.quote(distrust))
    if isinstance(error, httpx.ProxyError):
        return stopped_by_proxy(why)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return unreachable(peer, why)
    return None


def unverified_certificate(host: str, reason: str) -> Failure:
    """A TLS handshake that failed. Another try would, too."""
    hint = "a private authority goes into SSL_CERT_FILE; a wrong clock expires certificates, too"
    return Failure(NetworkError(f"no trust in {host}: {reason}", hint=hint))


def stopped_by_proxy(reason: str) -> Failure:
    return Failure(NetworkError(f"the proxy refuses: {reason}", hint="check HTTPS_PROXY, user and password included"))


def unreachable(peer: Peer, reason: str) -> Failure:
    hint = "check HTTPS_PROXY: the way goes through it" if peer.proxied else "check the network and the base URL"
    return Failure(NetworkError(f"{peer.host} can't be reached: {reason}", hint=hint), retryable=True)


def cut_short(status: int, what: str, host: str) -> Failure:
    """A success whose body ended before it was complete. The server has done its work, so it counts as lost."""
    message = f"{what}: the answer of {host} was cut short"
    return Failure(ProtocolError(message, hint=BILLED, status=status), retryable=True, maybe_billed=True)


def unusable(
    error: ProtocolError, what: str, peer: Peer, status: int, headers: Mapping[str, str], body: bytes
) -> Failure:
    """A success that is not what the documentation promises. The server has done its work, so it counts as lost."""
    broken = ProtocolError(
        f"{what}: status {status}, but {peer.quote(error.message)}",
        hint=f"is {peer.host} really Cartesia's API? Its answer begins with {body_excerpt(body, peer)}",
        request_id=peer.quote(headers.get("x-request-id", "")) or None,
    )
    return Failure(broken, retryable=True, maybe_billed=True)


def body_excerpt(body: bytes, peer: Peer) -> str:
    """The first characters of a body, in quotes."""
    return repr(peer.quote(body[:LARGEST_HEAD].decode("utf-8", "replace"), 80))


def is_account_error(error: CliError) -> bool:
    """Whether the next file would fail for the same reason: the key, the credits, a server that isn't there."""
    return (
        error.stops_batch
        or isinstance(error, AuthError)
        or (isinstance(error, ApiError) and (error.status in ACCOUNT_STATUSES or error.code in OUT_OF_CREDITS))
    )


def refusal(error: Error, header_id: str | None, what: str, peer: Peer, hints: Mapping[int, str] = HINTS) -> CliError:
    """A refusal, or an error event, as an error: its code first, then its status, as Cartesia's own dictation app does.

    header_id   the request id of the connection, for where the error itself has none
    """
    status, request_id = error.status_code or 0, peer.quote(error.request_id or header_id or "") or None
    said = peer.quote(": ".join(part for part in (error.title, error.message) if part)) or "the server gave no reason"
    message = f"{what}: {said}"
    if error.error_code in OUT_OF_CREDITS or status not in (401, 403):
        hint = SERVER_TROUBLE if status >= 500 else hints.get(status, UNKNOWN)
        denial = ApiError(message, hint=hint, status=error.status_code, request_id=request_id)
        if error.error_code in OUT_OF_CREDITS:
            denial.hint = CREDITS
        denial.code = peer.quote(error.error_code or "") or None
        return denial
    origin = f"the key came from {peer.key_origin}" if peer.key_origin else "no key was sent: set CARTESIA_API_KEY"
    hint = f"{origin}; keys are made at play.cartesia.ai/keys"
    return AuthError(message, hint=hint, status=status, request_id=request_id)


def reason(error: BaseException) -> str:
    """What the system says about a failure; the number before it, and asyncio's words for it, help nobody."""
    text = str(error).strip()
    if number := re.search(r"\[Errno (\d+)\]", text):
        return os.strerror(int(number[1]))
    return re.sub(r"^\[Errno -\d+\] ", "", text) or type(error).__name__


def tls_reason(error: BaseException) -> str | None:
    """The reason of a TLS failure, found among the causes of an exception; None if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return (cause.reason or str(cause)).replace("_", " ").lower()
        cause = cause.__cause__ or cause.__context__
    return None
