"""Finds out how far a server can be reached: its name, its port, TLS, an answer, and whether it accepts a key.

For `doctor` and `login`. Nothing here costs anything: `round_trip` does. Each function asks once, and none waits longer
than its time limit, except `resolve`, which may hang as long as the system's resolver does.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ..errors import ApiError, CliError, NetworkError
from ..protocol.constants import API_VERSION, Credential, build_url
from ..record import Record
from .deadlines import DeadlineExceeded, Deadlines, UploadProgress, run_with_deadline
from .environment import PORTS, find_proxy
from .http_errors import (
    CHECK_NETWORK,
    HTTP_ERRORS,
    Peer,
    connection_failure,
    describe_error,
    name_proxy,
    refusal_failure,
    unreachable_failure,
)
from .http_transport import AbortHandle, HttpClient, HttpRequest, HttpResponse, peer_of

UNCHECKED = "the key can't be checked"


class Gateway(Record):
    """The host that a connection to a server goes to first: the proxy of the environment, or else the server itself.

    port       0 to 65535
    proxy      the variable that sets it, if it is a proxy
    """

    host: str
    port: int
    proxy: str | None


class Tls(Record):
    """An encrypted connection whose certificate was verified.

    version   such as TLSv1.3
    issuer    who signed the certificate, in words; "" if it doesn't say
    expires   when the certificate expires, aware
    """

    version: str
    issuer: str
    expires: datetime


class Answer(Record):
    """How a server answered a request.

    error          what kept it from answering, or its refusal; None after a success (2xx)
    seconds        until the answer was complete, connecting included
    status         HTTP status; 0 without an answer
    server_time    by the Date header of the answer; None without one
    local_time     by this machine's clock, in the middle of the request; aware, as is the server's
    tls            None for plain http, and without a connection
    """

    error: CliError | None
    seconds: float
    status: int
    server_time: datetime | None
    local_time: datetime
    tls: Tls | None


def find_gateway(base_url: str) -> Gateway:
    """Where connections to a server go. Raises UsageError for a proxy that can't be used."""
    proxy = find_proxy(base_url)
    parts = urlsplit(base_url if proxy is None else proxy.url)
    return Gateway(parts.hostname or "", parts.port or PORTS[parts.scheme], None if proxy is None else proxy.origin)


def resolve(gateway: Gateway) -> list[str]:
    """The addresses of a host. Raises NetworkError if there are none."""
    try:
        found = socket.getaddrinfo(gateway.host, gateway.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        hint = (
            f"check the proxy in {gateway.proxy}" if gateway.proxy else "check the network, its DNS, and the base URL"
        )
        message = f"the name {gateway.host} can't be resolved: {describe_error(error)}"
        raise NetworkError(message, hint=hint) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def connect_tcp(gateway: Gateway, seconds: float) -> str:
    """Connect to a port, and hang up; returns the address. Raises NetworkError if it can't be reached."""
    peer = Peer(f"{gateway.host}:{gateway.port}", None, gateway.proxy)
    try:
        with socket.create_connection((gateway.host, gateway.port), timeout=seconds) as connection:
            return str(connection.getpeername()[0])
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else describe_error(error)
        raise unreachable_failure(peer, reason).error from error


def ask_status(base_url: str, *, api_version: str = API_VERSION, seconds: float) -> Answer:
    """`GET /`, without a key: any answer is good, as some servers have no such page."""
    answer, _, _ = _ask(base_url, None, "/", (), "the server can't be asked", api_version, seconds)
    return answer


def check_key(
    base_url: str, credential: Credential | None, *, api_version: str = API_VERSION, seconds: float
) -> Answer:
    """`GET /voices?limit=1`, as in Cartesia's own dictation app. 401 and 403, an AuthError: the key is refused.

    base_url     checked by protocol.check_base_url
    credential   None for a server that asks for none

    Raises UsageError for proxy or certificate settings that can't be used.
    """
    answer, reply, peer = _ask(base_url, credential, "/voices", (("limit", "1"),), UNCHECKED, api_version, seconds)
    if reply is None or reply.status // 100 == 2:
        return answer
    name = f"{peer.host} refuses the key" if reply.status in (401, 403) else UNCHECKED
    body = b"" if reply.problem else reply.body
    refusal = refusal_failure(reply.status, reply.headers, body, name, peer).error
    return answer._replace(error=refusal)


class _TlsTrace(AbortHandle):
    """An AbortHandle that remembers the encrypted connection."""

    tls: Tls | None = None

    def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        super().__call__(name, info)
        if name.endswith("start_tls.complete"):
            # The last one counts: the first may be that with a proxy.
            self.tls = _describe_tls(info["return_value"].get_extra_info("ssl_object")) or self.tls


def _ask(
    base_url: str,
    credential: Credential | None,
    path: str,
    query: tuple[tuple[str, str], ...],
    name: str,
    api_version: str,
    seconds: float,
) -> tuple[Answer, HttpResponse | None, Peer]:
    """Send one GET. `name`: the beginning of the message if no answer comes."""
    peer = peer_of(base_url, credential)
    progress, handle = UploadProgress(0), _TlsTrace()
    address = build_url(base_url, path, query)
    began, local_time = time.monotonic(), datetime.now().astimezone()
    error: CliError | None = None
    reply: HttpResponse | None = None
    with closing(HttpClient(base_url, credential, api_version)) as http:
        try:
            reply = run_with_deadline(
                lambda: http.exchange(lambda progress: HttpRequest("GET"), address, progress, handle),
                progress,
                Deadlines.uniform(seconds),
                began + seconds,
                lambda progress: None,
                handle.abort,
            )
        except HTTP_ERRORS as failure:
            error = connection_failure(failure, name, peer, uploaded=None).error
        except DeadlineExceeded as late:
            error = NetworkError(f"{name}: {peer.host}: {late.message}", hint=name_proxy(CHECK_NETWORK, peer.proxy))
        except ApiError as refusal:  # a redirect, or an endless answer
            refusal.message = f"{name}: {peer.quote(refusal.message)}"
            error = refusal
    taken = time.monotonic() - began
    answer = Answer(
        error,
        taken,
        0 if reply is None else reply.status,
        None if reply is None else _parse_date(reply.headers.get("date", "")),
        local_time + (datetime.now().astimezone() - local_time) / 2,
        handle.tls,
    )
    return answer, reply, peer


def _describe_tls(stream: Any) -> Tls | None:
    """Describe a connection by its `ssl.SSLObject`, or what CPython has in its place; None without a certificate."""
    certificate = None if stream is None else stream.getpeercert()
    if not certificate:
        return None
    issuer = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"])).astimezone()
    return Tls(stream.version() or "TLS", issuer.get("organizationName") or issuer.get("commonName") or "", expires)


def _parse_date(text: str) -> datetime | None:
    """The time of a Date header (RFC 9110 6.6.1), aware; None for anything else."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
