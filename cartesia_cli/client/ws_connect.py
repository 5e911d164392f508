"""Opens the WebSocket of a realtime connection: certificates, proxy, retries, and what is logged of it.

What a failed handshake means is decided in `ws_errors`. The key goes to the server of the base URL alone. Must never
interpret what is sent once a connection is open.

A FrameTap, such as a frame log, sees a connection as it happens:

    open       {"url", "version"}                     a connection is about to be opened
    refused    {"status", "headers", "body"}          a response that doesn't open a WebSocket; {"reason"} without one
    sent       text or bytes                          a frame
    received   text or bytes
    close      {"code", "reason"}                     the connection ended before we left it: the server's close frame;
                                                      without one, ours (1011: dead link; 1002, 1007, 1009: the server
                                                      broke the rules of WebSockets); without either, 1006 and the
                                                      operating system's reason (RFC 6455 7.4.1)

It must never see the key, even if a server sends it back, except in the text of a transcript, which is never altered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

from websockets.asyncio import client
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Response

from .. import __version__
from ..protocol.constants import request_headers
from ..redaction import Redactor
from ..retry import RetryPolicy
from .environment import find_proxy, tls_context
from .http_errors import Failure, Peer
from .ws_errors import MAX_EVENT_BYTES, handshake_failure, lost_reason, response_headers

CLOSE_TIMEOUT_SECONDS = 1.0

SEND_BUFFER_BYTES = 1 << 16
"""Size of the operating system's send buffer, some two seconds of audio. By default it grows to minutes of audio, which
would hide a slow or dead uplink.
"""

MAX_CLOSE_REASON_BYTES = 123
"""The longest reason of a close frame (RFC 6455 5.5.1): the local server can replay a frame log."""

LOGGED_HEADERS = ("retry-after", "x-request-id", "location")
"""Headers of a refusal that change what the client does or reports. Others may hold anything."""

SILENT_LOGGER = logging.Logger("websockets", logging.CRITICAL + 1)
"""websockets would log failures to stderr, and at level DEBUG the key."""


FrameTap = Callable[[str, Any], object]
"""Receives each event of a connection, and its data: see the table above."""


async def open_socket(
    base_url: str,
    address: str,
    peer: Peer,
    *,
    retry: RetryPolicy,
    on_notice: Callable[[str], None],
    tap: FrameTap,
    open_timeout: float,
    api_version: str,
    sleep: Callable[[float], Awaitable[object]],
) -> Socket:
    """An open connection to `address`, after as many attempts as `retry` allows.

    Raises UsageError for settings with which nothing can be opened; AuthError, ApiError or NetworkError of the last
    attempt.
    """
    context, proxy = tls_context(base_url), find_proxy(base_url)

    async def attempt() -> Socket | Failure:
        tap("open", {"url": address, "version": api_version})
        try:
            socket = await _Connect(
                address,
                create_connection=Socket,
                additional_headers=request_headers(peer.credential, api_version),
                user_agent_header=f"cartesia-cli/{__version__}",
                compression=None,  # 15 times the work for a seventh less of PCM
                proxy=None if proxy is None else proxy.url,
                ssl=context,
                open_timeout=open_timeout,
                ping_interval=None,  # `RealtimeConnection.keep_alive` pings
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                max_size=MAX_EVENT_BYTES,
                logger=SILENT_LOGGER,
                happy_eyeballs_delay=0.25,  # RFC 8305: an unreachable IPv6 address delays IPv4 no longer than this
            )
            assert isinstance(socket, Socket)
            return socket
        except (WebSocketException, OSError) as error:
            failure = handshake_failure(error, peer, open_timeout)
            if isinstance(error, InvalidStatus):
                tap("refused", _describe_refusal(error.response))
            else:
                tap("refused", {"reason": failure.error.message})
            return failure

    attempts, max_attempts, began = 0, retry.max_attempts(maybe_billed=False), time.monotonic()
    while isinstance(outcome := await attempt(), Failure):
        attempts += 1
        delay, seconds = retry.delay(attempts, outcome.retry_after), retry.max_seconds
        is_late = seconds is not None and time.monotonic() + delay - began > seconds
        if not outcome.retryable or attempts >= max_attempts or is_late:
            raise outcome.error
        limit = f"try {attempts + 1} of {max_attempts}" if seconds is None else f"for up to {seconds:g} s"
        on_notice(f"{outcome.error.message}: trying again in {delay:.1f} s ({limit})")
        await sleep(delay)
    outcome.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)
    return outcome


class _Connect(client.connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: releases of websockets differ in whether they would send the key there."""
        return exc


class Socket(client.ClientConnection):
    """A WebSocket that counts what it receives. `bytes_received`: of the TCP or TLS connection."""

    bytes_received = 0

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Also make `transport.abort` do nothing from now on.

        A transport that was closed while it still had bytes to write has dropped its event loop but doesn't know that
        it is lost: aborting it would be an AttributeError (CPython, _SelectorTransport._force_close). websockets
        aborts it if it was sending, and so does `RealtimeConnection.close`.
        """
        super().connection_lost(exc)
        self.transport.abort = lambda: None  # type: ignore[method-assign]


def redacting(tap: FrameTap, redactor: Redactor) -> FrameTap:
    """A tap that replaces the key in how a connection began and ended.

    Frames are passed on as they are: a transcript must not be altered, and the rest is redacted where it is decoded.
    """

    def redacted(data: Any) -> Any:
        match data:
            case str():
                return redactor.redact(data)
            case dict():
                return {name: redacted(value) for name, value in data.items()}
        return data

    def pass_on(event: str, data: Any) -> None:
        if event in ("sent", "received"):
            tap(event, data)
            return
        data = redacted(data)
        if event == "close":
            data["reason"] = data["reason"].encode()[:MAX_CLOSE_REASON_BYTES].decode("utf-8", "ignore")
        tap(event, data)

    return pass_on


def _describe_refusal(response: Response) -> dict[str, Any]:
    headers = {name: value for name, value in response_headers(response).items() if name in LOGGED_HEADERS}
    body = bytes(response.body or b"").decode("utf-8", "replace")
    return {"status": response.status_code, "headers": headers, "body": body}


def describe_close(closed: ConnectionClosed) -> dict[str, Any]:
    """How a connection ended, as the data of a `close` event, which the local server can reproduce."""
    if (frame := closed.rcvd or closed.sent) is not None:
        return {"code": frame.code, "reason": frame.reason}
    return {"code": 1006, "reason": lost_reason(closed)}
