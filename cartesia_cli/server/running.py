"""The server as a running thing: in the foreground for any client, or beside a command on a loopback port."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

import uvicorn
from starlette.applications import Starlette

from ..errors import EngineError, Interrupted, UsageError

START_SECONDS = 10.0
BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. UsageError when the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # from here on, whoever is told the address finds somebody there
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"can't listen on {host} port {port}: {reason}", hint="--port 0 picks a free one") from error
    return listener


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM; requests that are under way get five seconds more."""
    with suppress(Interrupted):  # uvicorn hands the signal on when all is done: here it means that all is well
        _server(app, graceful_seconds=5).run(sockets=[listener])


class Beside:
    """The server in a thread of this process, for the length of a `with` block."""

    def __init__(self, app: Starlette) -> None:
        self._listener = bind("127.0.0.1", 0)
        self._server = _server(app, graceful_seconds=0)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self.base_url = address(self._listener)

    def __enter__(self) -> Beside:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise EngineError("the local server did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.should_exit = True
        if kind is None:
            self._thread.join()


def _server(app: Starlette, graceful_seconds: int) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=16 << 20,
        ws_per_message_deflate=False,
        http="h11",
        timeout_graceful_shutdown=graceful_seconds,
    )
    return uvicorn.Server(config)
