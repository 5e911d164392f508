"""`serve`: the local server in the foreground, for any client that can be told its address."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EngineError, UsageError
from . import local_extra
from . import options as given
from .local_extra import LocalServerObserver
from .option_groups import expand_groups

if TYPE_CHECKING:  # help needs no server
    from starlette.applications import Starlette

    from ..server.app import ServerConfig
    from ..server.observer import Exchange

EXAMPLES = """
cartesia-cli serve

CARTESIA_BASE_URL=http://127.0.0.1:8000 cartesia-cli transcribe talk.mp3

cartesia-cli serve --port 9000 --require-key --local-model small

cartesia-cli serve -v --allow-origin https://app.example

cartesia-cli serve --script flaky.ndjson
"""


@expand_groups(voice=given.VerbosityOptions)
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
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Answer requests without Cartesia-Version, too, which the API refuses.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Web pages that may use the server, besides this machine's: https://app.example, or *.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name under which others reach this machine, as in http://NAME:8000."),
    ] = None,
    local_model: given.LocalModel = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Recognise nothing: play this script, or a recording of --raw-events."),
    ] = None,
    voice: given.VerbosityOptions,
) -> None:
    """Answer Cartesia's speech-to-text API on this machine, offline."""
    reporter = voice.apply_to(context.obj)
    origins, hosts = (
        [_parse_origin(text) for text in allow_origin or ()],
        [_parse_host(text) for text in allow_host or ()],
    )
    from ..output.files import write_stdout

    if script is None:
        local_extra.require_local_extra()
    make = None if script is None else _script_server(script)
    from ..server import runner
    from ..server.app import ServerConfig
    from ..server.origins import OriginPolicy

    try:
        listener = runner.bind(host, port)
    except UsageError as error:
        raise UsageError(error.message, hint="--port 0 picks a free one") from error
    loopback = runner.bind_loopback(listener)
    bound = listener.getsockname()[0]
    is_open = not runner.is_local(listener)
    known = os.environ.get("CARTESIA_API_KEY")
    key = (known or f"sk_local_{secrets.token_urlsafe(16)}") if require_key else None
    observer = _ServeObserver(reporter)
    if make is None:
        make = _engine_server(local_model, observer)
    config = ServerConfig(
        key=key,
        concurrency=concurrency,
        lenient=lenient,
        max_bytes=max_bytes,
        origins=OriginPolicy(
            hosts=frozenset({host.lower(), bound, *hosts} | ({socket.gethostname().lower()} if is_open else set())),
            addresses=is_open,
            origins=frozenset(origins),
        ),
        observer=observer,
    )
    server, name = make(config)
    if key is None and is_open:
        reporter.info(f"warning: whoever reaches {host} can use this server; --require-key asks for a key")
    url = runner.base_url(loopback or listener)
    write_stdout(f"export CARTESIA_BASE_URL={url}\n")
    if key is not None and not known:
        write_stdout(f"export CARTESIA_API_KEY={key}\n")
    reporter.info(f"{name} answers on {url}; Ctrl-C ends it")
    if is_open:
        reporter.info(
            f"other machines reach it over plain http at {_public_address(bound)}, port {listener.getsockname()[1]}"
        )
    if not runner.serve(server, [listener] if loopback is None else [listener, loopback]):
        os._exit(0)  # nobody waits any more for what the engine is at, and it may take minutes


def _public_address(bound: str) -> str:
    return "the address of this machine" if bound in ("0.0.0.0", "::") else bound


def _parse_origin(text: str) -> str:
    """An origin as browsers send it. UsageError for what is none."""
    origin = text.strip().lower().rstrip("/")
    if origin in ("*", "null") or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", origin):
        return origin
    raise UsageError(
        f"--allow-origin {text!r} is not an origin", hint="scheme, host and port, as in https://app.example:8443; or *"
    )


def _parse_host(text: str) -> str:
    """A host name. UsageError for a URL and the like."""
    if not re.fullmatch(r"[^/:@\s\[\]]+", text):
        raise UsageError(f"--allow-host {text!r} is not a host name", hint="a name alone, as in mybox.local")
    return text.lower()


class _ServeObserver(LocalServerObserver):
    """Logs each exchange with --verbose."""

    def exchange_ended(self, exchange: Exchange) -> None:
        """One line for a request or a session that has ended. Neither key nor query is in it."""
        closed = "" if exchange.close_code is None else f" closed {exchange.close_code}"
        audio = "" if exchange.audio_seconds is None else f" {exchange.audio_seconds:.1f} s of audio"
        path = re.sub(r"sk_[\w-]+", "[the key]", exchange.path)[:200]
        status = exchange.status or "left"
        milliseconds = exchange.seconds * 1000
        self.reporter.detail(f"{exchange.method} {path} {status}{closed}{audio} {milliseconds:.0f} ms")


MakeServer = Callable[["ServerConfig"], "tuple[Starlette, str]"]
"""Makes a server, and says what answers in it."""


def _engine_server(local_model: str | None, observer: LocalServerObserver) -> MakeServer:
    """A server with the engines loaded. EngineError where they can't be."""
    from ..server import app, engine

    batch, live = engine.load_engines(local_model, observer)
    identity = app.identify_engines(local_model, batch, live)
    return lambda config: (app.create_app(batch, live, replace(config, identity=identity)), identity.name)


def _script_server(path: Path) -> MakeServer:
    """A server for this script. UsageError for a file that is not a script, EngineError without the local extra."""
    try:
        from ..server import app, responses, runner, script  # noqa: F401  tried here, used below
    except ImportError as error:
        message = f"the local server is not installed ({error.name} is missing)"
        raise EngineError(message, hint=local_extra.INSTALL) from error
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}", hint="--script names a script or a recording"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="--script takes JSON lines, or a JSON list") from error
    identity = responses.ServerIdentity.of(str(path), None, [text])
    parsed = script.parse_script(text, str(path))
    return lambda config: (app.create_scripted_app(parsed, replace(config, identity=identity)), str(path))
