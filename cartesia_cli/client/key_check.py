"""Asks a server whether it accepts a key, at no cost: `GET /voices?limit=1`, as Cartesia's own dictation app does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from ..errors import ApiError, CliError, NetworkError
from ..protocol import Credential, build_url
from .deadlines import DeadlineExceeded, Deadlines, UploadProgress, run_with_deadline
from .http_errors import CHECK_NETWORK, Peer, connection_failure, refusal_failure
from .http_transport import AbortHandle, exchange, is_proxied, open_client

UNCHECKED = "the key can't be checked"


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What a server answered.

    error          why the key is not known to be accepted: an AuthError if it was refused (401, 403), otherwise what
                   kept the server from answering; None if it is accepted
    seconds        until the answer was complete, connecting included
    server_time    by the Date header of the answer, whatever it was; None without one
    local_time     by this machine's clock, in the middle of the request; aware, as is the server's
    """

    error: CliError | None
    seconds: float
    server_time: datetime | None
    local_time: datetime


def check_key(base_url: str, credential: Credential | None, *, seconds: float) -> KeyCheck:
    """Ask once, for at most this long. UsageError for proxy or certificate settings that can't be used.

    base_url     checked by protocol.check_base_url
    credential   None for a server that asks for none
    """
    peer = Peer(urlsplit(base_url).netloc, credential, is_proxied(base_url))
    progress, abort_handle = UploadProgress(0), AbortHandle()
    address = build_url(base_url, "/voices", [("limit", "1")])
    began, local_time = time.monotonic(), datetime.now().astimezone()
    error: CliError | None = None
    server_time = None
    with open_client(base_url, credential) as http:
        try:
            reply = run_with_deadline(
                lambda: exchange(http, lambda url: http.build_request("GET", url), address, progress, abort_handle),
                progress,
                Deadlines(total=seconds, stall=seconds, response=seconds),
                began + seconds,
                lambda progress: None,
            )
        except httpx.HTTPError as failure:
            error = connection_failure(failure, UNCHECKED, peer, uploaded=False).error
        except DeadlineExceeded as late:
            abort_handle.abort()
            error = NetworkError(f"{UNCHECKED}: {peer.host}: {late.message}", hint=CHECK_NETWORK)
        except ApiError as refusal:  # a redirect, or an endless answer
            refusal.message = f"{UNCHECKED}: {peer.quote(refusal.message)}"
            error = refusal
        else:
            server_time = _parse_date(reply.headers.get("date", ""))
            if reply.status // 100 != 2:
                name = f"{peer.host} refuses the key" if reply.status in (401, 403) else UNCHECKED
                error = refusal_failure(reply.status, reply.headers, reply.body, name, peer).error
    taken = time.monotonic() - began
    return KeyCheck(error, taken, server_time, local_time + (datetime.now().astimezone() - local_time) / 2)


def _parse_date(text: str) -> datetime | None:
    """The time of a Date header (RFC 9110 6.6.1), aware; None for anything else."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
