"""The opening of a realtime connection: whom to trust, which way to go, and how often to knock.

What an answer other than a handshake means is decided in `endings`. The key goes to the server of the base URL alone.
Must never know what is said once a connection is open.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from socket import SO_SNDBUF, SOL_SOCKET
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx
from websockets.asyncio import client
from websockets.exceptions import InvalidStatus, WebSocketException

from .. import __version__
from ..protocol import API_VERSION, headers
from .frame_tap import Tap, refusal
from .http_errors import Failure, Peer
from .http_transport import is_proxied
from .retry import RetryPolicy
from .ws_errors import MAX_EVENT, misconfigured, not_opened

CLOSE_SECONDS = 1.0
SEND_BUFFER = 1 << 16
"""Bytes that the system holds back for us, some two seconds of audio. Its own idea grows to minutes of it, behind
which a slow or dead way out would be noticed by nobody.
"""

SILENT = logging.Logger("websockets", logging.CRITICAL + 1)
"""websockets would log failures to stderr, and with DEBUG the key."""


async def opened(
    base_url: str,
    address: str,
    peer: Peer,
    *,
    retry: RetryPolicy,
    tell: Callable[[str], None],
    tap: Tap,
    open_timeout: float,
    sleep: Callable[[float], Awaitable[object]],
) -> Socket:
    """A connection to `address`, however often it takes to knock.

    UsageError for settings that nothing can be opened with; AuthError, ApiError or NetworkError of the last try.
    """
    context, proxy = _trust(base_url), _proxy(base_url)

    async def knock() -> Socket | Failure:
        tap("open", {"url": address, "version": API_VERSION})
        try:
            socket = await _Connect(
                address,
                create_connection=Socket,
                additional_headers=headers(peer.credential),
                user_agent_header=f"cartesia-cli/{__version__}",
                compression=None,  # 15 times the work for a seventh less of PCM
                proxy=proxy,
                ssl=context,
                open_timeout=open_timeout,
                ping_interval=None,  # `Connection.keep_alive` pings
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_EVENT,
                logger=SILENT,
                happy_eyeballs_delay=0.25,  # RFC 8305: an IPv6 way that leads nowhere costs no more than this
            )
            assert isinstance(socket, Socket)
            return socket
        except (WebSocketException, OSError, ImportError, ValueError) as error:
            failure = not_opened(error, peer, open_timeout)
            told = refusal(error.response) if isinstance(error, InvalidStatus) else {"reason": failure.error.message}
            tap("refused", told)
            return failure

    socket = await _persist(knock, retry, tell, sleep)
    if (wire := socket.transport.get_extra_info("socket")) is not None:
        wire.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
    return socket


class _Connect(client.connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow none: releases of websockets differ in whether the key would travel along."""
        return exc


class Socket(client.ClientConnection):
    """A connection that counts what comes in. `received`: bytes."""

    received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """And nothing is left to abort. A transport that was closed with bytes still to write has forgotten its loop
        by now but not that it isn't lost yet: to abort it would be an AttributeError (CPython,
        _SelectorTransport._force_close). websockets does so when it was sending, and so does whoever leaves.
        """
        super().connection_lost(exc)
        self.transport.abort = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    pass


async def _persist(
    knock: Callable[[], Awaitable[Socket | Failure]],
    retry: RetryPolicy,
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[object]],
) -> Socket:
    """Try until somebody opens, or there is a reason to stop."""
    tries, allowed, began = 0, retry.tries(lost=False), time.monotonic()
    while isinstance(outcome := await knock(), Failure):
        tries += 1
        pause = retry.pause(tries, outcome.wait)
        late = retry.seconds is not None and time.monotonic() + pause - began > retry.seconds
        if not outcome.retryable or tries >= allowed or late:
            raise outcome.error
        number = f"try {tries + 1} of {allowed}" if retry.seconds is None else f"for up to {retry.seconds:g} s"
        tell(f"{outcome.error.message}: trying again in {pause:.1f} s ({number})")
        await sleep(pause)
    return outcome


def _trust(base_url: str) -> ssl.SSLContext | None:
    """Whom batch requests trust. UsageError when SSL_CERT_FILE is no use."""
    try:
        return httpx.create_ssl_context() if base_url.startswith("https:") else None
    except (OSError, ValueError) as error:
        raise misconfigured(str(error)) from error


def _proxy(base_url: str) -> str | None:
    """The proxy that batch requests go through; websockets knows neither ALL_PROXY nor proxies without a scheme."""
    if not is_proxied(base_url):
        return None
    proxies = getproxies()
    found = proxies.get(urlsplit(base_url).scheme) or proxies["all"]
    return found if "://" in found else f"http://{found}"
