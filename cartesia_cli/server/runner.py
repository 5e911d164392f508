"""Running the server: in the foreground for any client, or in the background of a command on a loopback port."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette

from ..errors import EngineError, Interrupted, UsageError
from ..protocol.constants import is_loopback_host
from .connections import HttpConnection, WebSocketConnection

START_SECONDS = 10.0
GRACEFUL_SECONDS = 5

BACKLOG = 128
"""Connections that are accepted at once, before the limits apply to them."""

MAX_MESSAGE_BYTES = 4 << 20
"""Largest WebSocket message, before a close with 1009: two minutes of 16-bit samples at 16 kHz."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError if the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # from here on, clients can connect
    except (OSError, OverflowError, UnicodeError, TypeError) as error:  # TypeError: for a name that is too long
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        is_unknown = isinstance(error, socket.gaierror | UnicodeError | TypeError)
        is_elsewhere = is_unknown or getattr(error, "errno", 0) == errno.EADDRNOTAVAIL
        hint = "--host takes an address of this machine: 127.0.0.1, or 0.0.0.0 for all"
        raise UsageError(
            f"can't listen on {host} port {port}: {reason}", hint=hint if is_elsewhere else "--port 0 picks a free one"
        ) from error
    return listener


def bind_loopback(listener: socket.socket) -> socket.socket | None:
    """A second socket, on the loopback address with the same port, for one that is bound to a single other address.

    None if it isn't needed, or if the port is taken.
    """
    host, port = listener.getsockname()[:2]
    if is_local(listener) or host in ("0.0.0.0", "::"):
        return None
    try:
        return bind("127.0.0.1", port)
    except UsageError:
        return None


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return is_loopback_host(listener.getsockname()[0])


def base_url(listener: socket.socket) -> str:
    """The base URL of a socket for programs on this machine: one that listens on all addresses is on loopback, too."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, listeners: Sequence[socket.socket]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; requests that are being answered get GRACEFUL_SECONDS more."""
    for library in ("python_multipart", "asyncio"):  # a client's errors are answered, not printed
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with suppress(Interrupted):  # uvicorn raises the signal again after its shutdown
        _make_server(app, GRACEFUL_SECONDS).run(sockets=list(listeners))


def close_engines(app: Starlette) -> bool:
    """Stop the engines of a server from starting more work. Returns whether they are idle: otherwise, the interpreter
    would wait for them.
    """
    return all(executor.close() for executor in getattr(app.state, "executors", ()))


@contextmanager
def serve_in_background(app: Starlette) -> Iterator[str]:
    """Answer requests in a thread of this process, on a loopback port, during the block. Yields the base URL.

    Raises EngineError if the server doesn't start.
    """
    listener, server = bind("127.0.0.1", 0), _make_server(app, 0)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise EngineError("the local server did not start")
        time.sleep(0.005)
    try:
        yield base_url(listener)
    finally:
        server.should_exit = True
    thread.join()  # not after an error: it may be busy


def _make_server(app: Starlette, graceful_seconds: int) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        http=HttpConnection,
        ws=WebSocketConnection,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=graceful_seconds,
    )
    server = uvicorn.Server(config)

    async def check_connections() -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(server.server_state.connections):
            if isinstance(connection, HttpConnection | WebSocketConnection):
                connection.enforce_time_limits(now)

    config.callback_notify, config.timeout_notify = check_connections, 0
    return server
