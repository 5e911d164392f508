"""The Typer app, and the way out: every error becomes one line, a hint and an exit code.

Must stay light: nothing here, nor in the options of a command, may import what only a run needs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import typer

from .commands.options import defaults
from .errors import CliError, Exit, Interrupted, OutputError, UsageError
from .output.files import ReaderGone
from .output.talk import Talk

HELP = "Speech to text in the terminal: Cartesia's API, or this machine when there is no key."
EPILOG = """
Exit codes: 0 done, 1 some inputs failed, 2 usage, 3 input, 4 no key or refused, 5 API, 6 network, 130 interrupted.
"""

ALIASES = {
    "--output_format": "--format",
    "--output_dir": "--output-dir",
    "--word_timestamps": "--word-timestamps",
    "--max_line_width": "--max-line-width",
    "--max_line_count": "--max-line-count",
    "--max_words_per_line": "--max-words-per-line",
}
"""Spellings of whisper's command line, for fingers that know them."""


COMMANDS = ("transcribe", "render", "check", "listen", "stream-file", "devices", "vad", "cache", "serve")
"""In the order of --help. Each is a room of `commands`, with a function of that name and its EXAMPLES."""


def build(only: str | None = None) -> typer.Typer:
    """The app, with all commands or one: the others would cost a third of the start. Help is drawn by rich for a
    terminal, and plain for a pipe.
    """
    app = typer.Typer(
        name="cartesia-cli",
        help=HELP,
        epilog=EPILOG,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout is not None and sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_configure)
    for name in COMMANDS if only is None else (only,):
        function = name.replace("-", "_")
        room = import_module(f".commands.{function}", __package__)
        app.command(name, epilog=room.EXAMPLES)(getattr(room, function))
    return app


def main(arguments: list[str]) -> int:
    """Run a command line; its exit code."""
    talk = Talk()
    talk.helps = not {"-h", "--help"}.isdisjoint(arguments)
    stops: list[Exit] = []
    for number, code in ((signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)):
        signal.signal(number, _interrupting(code, stops))
    sys.unraisablehook = threading.excepthook = _unraisable_hook(talk)
    try:
        named = next((argument for argument in arguments if not argument.startswith("-")), None)
        build(named if named in COMMANDS else None)(args=_modern(arguments), prog_name="cartesia-cli", obj=talk)
    except SystemExit as ended:
        return int(ended.code or 0)
    except ReaderGone:
        return Exit.DONE
    except Interrupted as stop:
        return stop.exit_code
    except Exception as error:
        if talk.debug:
            talk.trace(error)
        if stops and not isinstance(error, OutputError):
            return stops[0]  # a C extension makes another error of Interrupted where it is being imported
        fault = f"a fault in cartesia-cli: {type(error).__name__}: {error}"
        told = error if isinstance(error, CliError) else CliError(fault, hint="--debug shows where; please report it")
        talk.error(told)
        return stops[0] if stops else told.exit_code
    return Exit.DONE


def _configure(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", "-V", help="Show the version."),  # answered in __main__
) -> None:
    """Defaults of the configuration file, below flags and above our own."""
    if context.obj.helps:
        return  # also where the file is broken
    tables = defaults()
    commands = getattr(context.command, "commands", {})
    for name, table in tables.items():
        if name in COMMANDS and name not in commands:
            continue  # of a command that isn't running
        known = {parameter.name for parameter in commands[name].params} if name in commands else set()
        if wrong := sorted(set(table) - known):
            raise UsageError(f"config.toml: [{name}] has no option {wrong[0]!r}", hint="names are those of --help")
    context.default_map = {name: dict(table) for name, table in tables.items()}


def _modern(arguments: list[str]) -> list[str]:
    """Old spellings as ours, up to a `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = []
    for argument in arguments[:end]:
        name, separator, value = argument.partition("=")
        options.append(ALIASES.get(name, name) + separator + value)
    return options + arguments[end:]


def _interrupting(code: Exit, stops: list[Exit]) -> Any:
    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        stops.append(code)
        raise Interrupted(code)

    return interrupt


def _unraisable_hook(talk: Talk) -> Callable[[Any], None]:
    """Python drops what is raised in a callback, such as those by which imports tidy up, or ends a thread: signals
    come once more, and other exceptions are shown as all tracebacks are, with --debug.
    """

    def hook(dropped: Any) -> None:
        error = dropped.exc_value
        if isinstance(error, Interrupted):
            threading.Timer(0.05, os.kill, (os.getpid(), error.exit_code - 128)).start()
        elif talk.debug and isinstance(error, Exception):
            talk.trace(error)

    return hook
