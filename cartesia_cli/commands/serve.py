"""`serve`: the local server in the foreground, for any client that can be told its address."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EngineError, UsageError
from . import offline
from . import options as given
from .unfold import unfold

if TYPE_CHECKING:  # help needs no server
    from starlette.applications import Starlette

EXAMPLES = """
cartesia-cli serve

CARTESIA_BASE_URL=http://127.0.0.1:8000 cartesia-cli transcribe talk.mp3

cartesia-cli serve --port 9000 --require-key --local-model small

cartesia-cli serve --script flaky.ndjson
"""


@unfold(voice=given.Voice)
def serve(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    require_key: Annotated[
        bool,
        typer.Option("--require-key", help="Answer 401 without the key of CARTESIA_API_KEY, or one made up and shown."),
    ] = False,
    concurrency: Annotated[int, typer.Option(metavar="N", min=0, help="Requests at once before a 429.")] = 8,
    max_bytes: Annotated[int, typer.Option(metavar="BYTES", min=1, help="Size of a request before a 413.")] = 2 << 30,
    local_model: given.LocalModel = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Recognise nothing: play this script, or a recording of --raw-events."),
    ] = None,
    voice: given.Voice,
) -> None:
    """Answer Cartesia's speech-to-text API on this machine, offline."""
    talk = voice.settle(context.obj)
    from ..output.files import write_stdout

    if script is None:
        offline.require()
        play = None
    else:
        play = _player(script)
    from ..server import running

    listener = running.bind(host, port)
    known = os.environ.get("CARTESIA_API_KEY")
    key = (known or f"sk_local_{secrets.token_urlsafe(16)}") if require_key else None
    if play is not None:
        server, name = play(key=key, concurrency=concurrency), str(script)
    else:
        from ..server import app, engines

        engine, live = engines.both(local_model, talk.say)
        server = app.create_app(engine, live, key=key, concurrency=concurrency, max_bytes=max_bytes)
        name = engine.name if live is None else f"{engine.name} (live: {live.name})"
    if key is None and host not in ("127.0.0.1", "::1", "localhost"):
        talk.say(f"warning: whoever reaches {host} can use this server; --require-key asks for a key")
    write_stdout(f"export CARTESIA_BASE_URL={running.address(listener)}\n")
    if key is not None and not known:
        write_stdout(f"export CARTESIA_API_KEY={key}\n")
    talk.say(f"{name} answers on {running.address(listener)}; Ctrl-C ends it")
    running.serve(server, listener)


def _player(path: Path) -> Callable[..., Starlette]:
    """`scripted.create_app` for this script. UsageError for a file that is none, EngineError without a server."""
    try:
        from ..server import notation, running, scripted  # noqa: F401  here they are tried, used below
    except ImportError as error:
        message = f"the local server is not installed ({error.name} is missing)"
        raise EngineError(message, hint=offline.INSTALL) from error
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not UTF-8, so no script") from error
    return partial(scripted.create_app, notation.parse(text, str(path)))
