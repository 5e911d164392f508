"""`serve`: the local server in the foreground, for any client that can be told its address."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from ..output.talk import Talk
from . import options as given

EXAMPLES = """
cartesia-cli serve

CARTESIA_BASE_URL=http://127.0.0.1:8000 cartesia-cli transcribe talk.mp3

cartesia-cli serve --port 9000 --require-key --local-model small
"""


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    require_key: Annotated[
        bool,
        typer.Option("--require-key", help="Answer 401 without the key of CARTESIA_API_KEY, or one made up and shown."),
    ] = False,
    concurrency: Annotated[int, typer.Option(metavar="N", min=0, help="Requests at once before a 429.")] = 8,
    max_bytes: Annotated[int, typer.Option(metavar="BYTES", min=1, help="Size of a request before a 413.")] = 2 << 30,
    local_model: given.LocalModel = None,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
    color: given.Color = "auto",
) -> None:
    """Answer Cartesia's speech-to-text API on this machine, offline."""
    talk: Talk = context.obj
    given.settle(talk, quiet=quiet, verbose=verbose, debug=debug, color=color)
    from ..output.files import write_stdout
    from . import offline

    offline.require()
    from ..server import app, engines, running

    listener = running.bind(host, port)
    engine, live = engines.both(local_model)
    known = os.environ.get("CARTESIA_API_KEY")
    key = (known or f"sk_local_{secrets.token_urlsafe(16)}") if require_key else None
    if key is None and host not in ("127.0.0.1", "::1", "localhost"):
        talk.say(f"warning: whoever reaches {host} can use this server; --require-key asks for a key")
    batch = app.create_app(engine, live, key=key, concurrency=concurrency, max_bytes=max_bytes)
    write_stdout(f"export CARTESIA_BASE_URL={running.address(listener)}\n")
    if key is not None and not known:
        write_stdout(f"export CARTESIA_API_KEY={key}\n")
    names = engine.name if live is None else f"{engine.name}, and {live.name} for live text,"
    talk.say(f"{names} answers on {running.address(listener)}; Ctrl-C ends it")
    running.serve(batch, listener)
