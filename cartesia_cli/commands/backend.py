"""Cloud or local: which server answers, and a client that is connected to it.

Audio leaves this machine only if the user configured a key or a server, or asked for it. Local means the
server of `serve` on a loopback port of this process: one path for both, from the client on.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..client import BatchClient, Patience, Retry
from ..errors import AuthError, EngineError, UsageError
from ..output.talk import Talk
from ..protocol import BASE_URL, Credential, check_base_url, is_loopback
from ..settings import Settings, credential
from . import offline

LOCAL_SPEED = 0.2
"""Seconds of audio a second that the slowest machine is given: a big model on a small computer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which server. `base_url` None: this machine."""

    base_url: str | None
    credential: Credential | None = None
    reason: str = ""


class Backend:
    """A client and what is to be known about the server behind it.

    local      whether it is this process
    heard      seconds of the current recording that are transcribed; told by the local server only
    """

    def __init__(self, client: BatchClient, *, local: bool) -> None:
        self.client = client
        self.local = local
        self.heard = 0.0

    def patience(self, size: int, seconds: float | None, timeout: float | None) -> Patience:
        if timeout is not None:
            return Patience(total=timeout, stall=timeout, silence=timeout)
        return Patience.for_audio(size, seconds, **({"speed": LOCAL_SPEED} if self.local else {}))


def choose(settings: Settings, *, local: bool, cloud: bool, base_url: str | None) -> Choice:
    """Flags first, then what is configured; with nothing configured, this machine."""
    if local and (cloud or base_url):
        raise UsageError("--local excludes --cloud and --base-url")
    if local:
        return Choice(None)
    address = check_base_url(base_url) if base_url else settings.base_url
    found = credential(settings)
    if found is None and address is None and not cloud:
        return Choice(None, reason="no CARTESIA_API_KEY: transcribing on this machine")
    if found is None and not is_loopback(address or BASE_URL):
        raise AuthError("no API key", hint="set CARTESIA_API_KEY (play.cartesia.ai/keys), or use --local")
    return Choice(address or BASE_URL, found)


@contextmanager
def connect(choice: Choice, talk: Talk, *, retries: int | None, local_model: str | None) -> Iterator[Backend]:
    """The chosen server, ready for requests; a local one lives as long as the block."""
    if choice.base_url is not None:
        if local_model is not None:
            raise UsageError("--local-model is for transcribing on this machine", hint="add --local")
        with BatchClient(choice.base_url, choice.credential, retry=Retry(retries), tell=talk.say) as client:
            yield Backend(client, local=False)
        return
    try:
        offline.require()
    except EngineError as error:
        if not choice.reason:
            raise
        hint = f"set CARTESIA_API_KEY, or {offline.INSTALL}"
        raise AuthError(f"no API key, and {error.message}", hint=hint) from error
    from ..server import app, running, whisper

    def progress(seconds: float) -> None:
        backend.heard = seconds

    engine = whisper.load(local_model)
    token = Credential(secrets.token_urlsafe(24), "this process")
    # Nobody else on this machine gets to use the port; and no file of the user's is too large for it.
    batch = app.create_app(engine, key=token.secret, max_bytes=1 << 62, on_progress=progress)
    with running.Beside(batch) as server, BatchClient(server.base_url, token, retry=Retry(0), tell=talk.say) as client:
        backend = Backend(client, local=True)
        yield backend
