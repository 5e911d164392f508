"""Cloud or local: which server answers, and a client that is connected to it.

Audio leaves this machine only if the user configured a key or a server, or asked for it. Local means the
server of `serve` on a loopback port of this process: one path for both, from the client on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..client import BatchClient, Deadlines, RetryPolicy
from ..errors import AuthError, EngineError
from ..output.console import Reporter
from ..protocol import BASE_URL, Credential, check_base_url, is_loopback, is_whisper
from ..settings import Settings, credential, key_source
from . import local_extra

if TYPE_CHECKING:  # only who has the extra can import it
    from ..server.engine import Engine

MIN_LOCAL_SPEED = 0.2
"""Seconds of audio a second that the slowest machine is given: a big model on a small computer."""


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """Which server. `base_url` None: this machine."""

    base_url: str | None
    credential: Credential | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers, and the credential that it takes; `local`: it is this process."""

    base_url: str
    credential: Credential | None
    local: bool


class Backend:
    """A client and what is to be known about the server behind it.

    local      whether it is this process
    progress   how much of the current recording is done; changes with a local server only
    """

    def __init__(self, client: BatchClient, progress: local_extra.LocalServerObserver, *, local: bool) -> None:
        self.client, self.progress = client, progress
        self.local = local

    def deadlines(self, size: int, seconds: float | None, timeout: float | None) -> Deadlines:
        if timeout is not None:
            return Deadlines(total=timeout, stall=timeout, response=timeout)
        return Deadlines.for_audio(size, seconds, **({"speed": MIN_LOCAL_SPEED} if self.local else {}))


def choose_backend(
    settings: Settings, *, local: bool, cloud: bool, base_url: str | None, needs_key: bool = True
) -> BackendConfig:
    """The server that is asked for, else the one that is configured; with nothing configured, this machine.

    local       excludes the others: whoever calls has seen to that
    needs_key   False where nothing will be sent: then the key isn't even read
    """
    if local:
        return BackendConfig(None)
    named = base_url or settings.base_url
    address = check_base_url(named) if named else None
    if not needs_key and (cloud or address or key_source(settings)):
        return BackendConfig(address or BASE_URL)
    found = credential(settings) if needs_key else None
    if found is None and address is None and not cloud:
        return BackendConfig(None, reason="no CARTESIA_API_KEY: transcribing on this machine")
    if found is None and not is_loopback(address or BASE_URL):
        raise AuthError("no API key", hint="set CARTESIA_API_KEY (play.cartesia.ai/keys), or use --local")
    return BackendConfig(address or BASE_URL, found)


@contextmanager
def open_backend(
    choice: BackendConfig, reporter: Reporter, *, retries: int | None, local_model: str | None
) -> Iterator[Backend]:
    """The chosen server, ready for batch requests; a local one lives as long as the block."""

    observer = local_extra.LocalServerObserver(reporter)

    def load() -> tuple[Engine, Engine | None]:
        from ..server import engine

        return engine.load_batch_engine(local_model, observer), None

    with (
        open_server(choice, load, observer) as server,
        BatchClient(
            server.base_url,
            server.credential,
            retry=RetryPolicy(0 if server.local else retries),
            on_retry=reporter.info,
        ) as client,
    ):
        yield Backend(client, observer, local=server.local)


def open_live_server(
    choice: BackendConfig, model: str, local_model: str | None, reporter: Reporter
) -> AbstractContextManager[RunningServer]:
    """The chosen server, ready for a live session with this model; a local one lives as long as the block."""

    observer = local_extra.LocalServerObserver(reporter)

    def load() -> tuple[Engine, Engine | None]:
        from ..server import engine

        load_engine = engine.load_batch_engine if is_whisper(model) else engine.load_live_engine
        return load_engine(local_model, observer), None

    return open_server(choice, load, observer)


@contextmanager
def open_server(
    choice: BackendConfig, load: Callable[[], tuple[Engine, Engine | None]], observer: local_extra.LocalServerObserver
) -> Iterator[RunningServer]:
    """The chosen server. `load` loads the engines of a local one: for word times, and for live text."""
    if choice.base_url is not None:
        yield RunningServer(choice.base_url, choice.credential, local=False)
        return
    try:
        local_extra.require_local_extra()
    except EngineError as error:
        if not choice.reason:
            raise
        hint = f"set CARTESIA_API_KEY, or {local_extra.INSTALL}"
        raise AuthError(f"no API key, and {error.message}", hint=hint) from error
    from ..server import app, runner

    engine, live = load()
    token = Credential(secrets.token_urlsafe(24), "this process")
    # Nobody else on this machine gets to use the port; and no file of the user's is too large for it.
    config = app.ServerConfig(key=token.secret, max_bytes=1 << 62, observer=observer)
    with runner.BackgroundServer(app.create_app(engine, live, config)) as server:
        yield RunningServer(server.base_url, token, local=True)
