"""`serve`: runs the local server in the foreground, for any client whose base URL can be set."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Interrupted, UsageError
from ..output.console import Reporter
from ..protocol.constants import parse_address
from . import local_extra
from . import options as given
from .local_extra import LocalServerObserver

if TYPE_CHECKING:  # --help does without
    from starlette.applications import Starlette

    from ..server.app import ServerConfig
    from ..server.engine import EngineExecutor
    from ..server.observer import Exchange

EXAMPLES = """
cartesia-cli serve
CARTESIA_BASE_URL=http://127.0.0.1:8000 cartesia-cli transcribe talk.mp3
cartesia-cli serve --port 9000 --require-key --local-model small
cartesia-cli serve -v --allow-origin https://app.example
cartesia-cli serve --script flaky.ndjson
"""


def serve(
    reporter: Reporter,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    require_key: Annotated[
        bool,
        typer.Option(
            "--require-key", help="Require the key in CARTESIA_API_KEY or, without one, a new key that is printed."
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Recordings transcribed side by side, each with its share of the cores."),
    ] = 1,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=0, help="Concurrent requests; more are refused with 429.")
    ] = 8,
    max_bytes: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="Largest request; larger ones are refused with 413.")
    ] = 2 << 30,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Accept requests without Cartesia-Version, which the API refuses.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            callback=given.checked_by(lambda origins: [*map(parse_origin, origins)]),
            help="Accept requests of web pages from this origin, such as https://app.example, or *.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            callback=given.checked_by(lambda hosts: [*map(parse_host, hosts)]),
            help="Accept requests for this host name or address, as in http://NAME:8000.",
        ),
    ] = None,
    local_model: given.LocalModel = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Play this script, or a log of --raw-events, instead of recognizing speech."),
    ] = None,
) -> None:
    """Serve Cartesia's speech-to-text API on this machine, offline."""
    origins = frozenset(parse_origin(text) for text in allow_origin or ())
    hosts = frozenset(parse_host(text) for text in allow_host or ())
    from ..output.files import write_stdout

    if script is None:
        local_extra.require_local_extra()
    else:
        local_extra.import_from_server("app", "runner", "script", what="the local server")
    from ..server import runner
    from ..server.access import OriginPolicy
    from ..server.app import ServerConfig

    listener = runner.bind(host, port)
    loopback = runner.bind_loopback(listener)
    bound = listener.getsockname()[0]
    is_open = not runner.is_local(listener)
    configured_key = os.environ.get("CARTESIA_API_KEY")
    key = (configured_key or f"sk_local_{secrets.token_urlsafe(16)}") if require_key else None
    observer = _ServeObserver(reporter)
    config = ServerConfig(
        key=key,
        concurrency=concurrency,
        lenient=lenient,
        max_bytes=max_bytes,
        origins=OriginPolicy(
            hosts=hosts | {host.lower(), bound} | ({socket.gethostname().lower()} if is_open else set()),
            addresses=is_open,
            origins=origins,
        ),
        observer=observer,
    )
    if script is None:
        server, name = _engine_server(local_model, workers, observer, config)
    else:
        server, name = _script_server(script, config)
    if key is None and is_open:
        reporter.warn(f"anyone who can reach {host} can use this server: --require-key makes it ask for a key")
    url = runner.base_url(loopback or listener)
    write_stdout(f"export CARTESIA_BASE_URL={url}\n")
    if key is not None and not configured_key:
        write_stdout(f"export CARTESIA_API_KEY={key}\n")
    reporter.info(f"{name} listens on {url}; Ctrl-C stops it")
    if is_open:
        address = "the address of this machine" if bound in ("0.0.0.0", "::") else bound
        reporter.info(f"other machines reach it over plain http at {address}, port {listener.getsockname()[1]}")
    with suppress(Interrupted), _announced(server, config, local_model):  # Ctrl-C may come before the server's handler
        runner.serve(server, [listener] if loopback is None else [listener, loopback])
    if not runner.close_engines(server):
        os._exit(0)  # the engine may be busy for minutes with work whose result isn't needed any more


def parse_origin(text: str) -> str:
    """An origin as browsers send it. Raises UsageError for anything else."""
    origin = text.strip().lower().rstrip("/")
    if origin in ("*", "null") or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", origin):
        return origin
    raise UsageError(
        f"--allow-origin {text!r} is not an origin",
        hint="give scheme, host and port, as in https://app.example:8443; or *",
    )


def parse_host(text: str) -> str:
    """A host name or an address, without the brackets of IPv6. Raises UsageError for a URL and the like."""
    host = text.removeprefix("[").removesuffix("]")
    if parse_address(host) is None and not re.fullmatch(r"[^/:@\s\[\]]+", text):
        raise UsageError(f"--allow-host {text!r} is not a host name", hint="give the name alone, as in mybox.local")
    return host.lower()


class _ServeObserver(LocalServerObserver):
    """Logs each exchange with --verbose."""

    def exchange_ended(self, exchange: Exchange) -> None:
        """Print a line for a finished request or session, without key and query."""
        closed = "" if exchange.close_code is None else f" closed {exchange.close_code}"
        audio = "" if exchange.audio_seconds is None else f" {exchange.audio_seconds:.1f} s of audio"
        path = re.sub(r"sk_[\w-]+", "[the key]", exchange.path)[:200]
        status = exchange.status or "left"
        milliseconds = exchange.seconds * 1000
        self.reporter.detail(f"{exchange.method} {path} {status}{closed}{audio} {milliseconds:.0f} ms")


def _engine_server(
    local_model: str | None, workers: int, observer: LocalServerObserver, config: ServerConfig
) -> tuple[Starlette, str]:
    """A server with the engines loaded, and their name. Raises EngineError if they can't be loaded."""
    from ..server import app, engine_choice

    batch, live = engine_choice.load_engines(local_model, observer, workers)
    identity = app.identify_engines(local_model, batch, live)
    return app.create_app(batch, live, replace(config, identity=identity)), identity.name


@contextmanager
def _announced(server: Starlette, config: ServerConfig, local_model: str | None) -> Iterator[None]:
    """Let `--local` commands of this user find a server with engines: on an address and with a token of their own."""
    from ..server import access, announcement, app, runner

    executors: tuple[EngineExecutor, EngineExecutor] | None = getattr(server.state, "executors", None)
    path = announcement.socket_path(local_model) if executors else None
    if path is None or executors is None:
        yield
        return
    token = secrets.token_urlsafe(24)
    announced = announcement.Announcement(config.observer)
    # What the options limit is the use by others.
    private = replace(
        config, key=token, concurrency=1 << 31, max_bytes=1 << 62, origins=access.OriginPolicy(), observer=announced,
        identity=server.state.identity,
    )  # fmt: skip
    with (
        runner.serve_in_background(app.share_engines(*executors, private)) as address,
        announced.publish(path, address, token),
    ):
        yield


def _script_server(path: Path, config: ServerConfig) -> tuple[Starlette, str]:
    """A server that plays this script, and its name. Raises UsageError for a file that is not a script."""
    from ..server import app, script

    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}", hint="--script takes a script, or a log of `listen --raw-events`"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="--script takes JSON lines or a JSON list") from error
    identity = app.ServerIdentity.of(str(path), None, [text])
    parsed = script.parse_script(text, str(path))
    return app.create_scripted_app(parsed, replace(config, identity=identity)), str(path)
