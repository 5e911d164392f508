"""The Typer app: runs a command, and turns every error into one line, a hint and an exit code.

Must never import, here or in a command's options, what only the run of a command needs. Annotations aren't postponed:
Typer would evaluate those of `_program` at each start.
"""

import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from . import __version__
from .commands import COMMANDS
from .commands import options as given
from .commands.configured_command import ConfiguredCommand, asks_for_json
from .commands.option_sources import split_at_command
from .errors import CliError, Exit, InputError, Interrupted, OutputError, UsageError, internal_error
from .output.console import Reporter
from .output.files import StdoutClosed

HELP = "Speech to text in the terminal: with Cartesia's API or, without a key, on this machine."
EPILOG = """
Exit codes: 0 done, 1 some inputs failed, 2 usage, 3 input, 4 no key or refused, 5 API, 6 network, 129/130/143 stopped.

Every switch has an opposite, to override a configuration file or the environment: --no-paragraphs, --no-json, ...
"""

ALIASES = {
    "--output_format": "--format",
    "--output_dir": "--output-dir",
    "--word_timestamps": "--word-timestamps",
    "--max_line_width": "--max-line-width",
    "--max_line_count": "--max-line-count",
    "--max_words_per_line": "--max-words-per-line",
}
"""Spellings of Whisper's command line, for people who are used to them."""

MIN_RICH_COLUMNS = 80
"""In narrower terminals, the help of an option comes below it, as in a pipe: columns would cut names and choices."""

WHOLE = ("config", "doctor")
"""Commands that look at the options of every command."""

BY_CHANNEL = "--speakers-by-channel"
"""The option whose value may be left out: the word after it may be an input."""


def build(only: str | None = None) -> typer.Typer:
    """The app with all commands or, to start faster, only one.

    Help is rendered by rich for a wide terminal, or where FORCE_COLOR asks for it, and plain otherwise.
    """
    app = typer.Typer(
        name="cartesia-cli",
        help=HELP,
        epilog=EPILOG,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if _wants_rich_help() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    for name in COMMANDS if only is None else (only,):
        function = name.replace("-", "_")
        module = import_module(f".commands.{function}", __package__)
        examples = module.EXAMPLES.replace("\n", "\n\n")  # to Typer, lines without an empty one between are a paragraph
        app.command(name, epilog=examples, cls=ConfiguredCommand)(given.as_callback(getattr(module, function)))
    return app


def _wants_rich_help() -> bool:
    if os.environ.get("FORCE_COLOR") and not os.environ.get("NO_COLOR"):
        return True
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return is_terminal and shutil.get_terminal_size().columns >= MIN_RICH_COLUMNS


def main(arguments: list[str]) -> int:
    """Run a command line; returns its exit code."""
    reporter = Reporter()
    reporter.help_requested = not {"-h", "--help"}.isdisjoint(arguments)
    stops: list[Exit] = []

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        stops.append(Exit(128 + number))
        raise Interrupted(stops[-1])

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, interrupt)
    sys.unraisablehook = threading.excepthook = _unraisable_hook(reporter)
    arguments = _expand_aliases(arguments)
    _, named, _ = split_at_command(arguments)
    program: Any = None
    try:
        program = get_command(build(named if named in COMMANDS and named not in WHOLE else None))
        return program.main(args=arguments, prog_name="cartesia-cli", obj=reporter, standalone_mode=False) or Exit.DONE
    except StdoutClosed:
        return Exit.DONE
    except SystemExit:  # what Typer makes of EPIPE: the reader of the help is gone, or a command failed to handle it
        return Exit.DONE if reporter.help_requested or named is None else Exit.FAILED
    except Interrupted as stop:
        return stop.exit_code
    except Exception as error:
        if not arguments and isinstance(error, TyperException):
            sys.stderr.write(f"{error.format_message()}\n")  # the help
            return Exit.USAGE
        if isinstance(error, OSError) and (reporter.help_requested or named is None):
            error = OutputError(f"stdout can't be written: {error.strerror}")
        reported = _as_cli_error(error, named)
        # The error may have come before the command knew its formats.
        reporter.as_json = reporter.as_json or (program is not None and asks_for_json(program, arguments))
        if reporter.debug:
            reporter.print_traceback(error)
        if stops and not isinstance(error, OutputError):
            return stops[0]  # a C extension that is being imported turns Interrupted into another error
        reporter.error(reported)
        return stops[0] if stops else reported.exit_code


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cartesia-cli {__version__}")
        raise typer.Exit


def _show_help_json(context: typer.Context, wanted: bool) -> None:
    if wanted:
        from .commands.help_json import describe_program
        from .output.files import write_json

        write_json(describe_program(context.command))
        raise typer.Exit


def _program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
    help_json: Annotated[
        bool,
        typer.Option(
            "--help-json", is_eager=True, callback=_show_help_json, help="Show the whole command line as JSON."
        ),
    ] = False,
    config: given.Config = None,
    profile: given.ConfigurationProfile = None,
) -> None:
    """The options before the command."""


def _as_cli_error(error: Exception, command: str | None) -> CliError:
    """Any error as one with a hint."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, TyperException):
        page = f"cartesia-cli {command} --help" if command in COMMANDS else "cartesia-cli --help"
        name = str(getattr(error, "option_name", ""))
        # Typer suggests the opposites of switches, too, for anything that looks like them.
        near = [other for other in getattr(error, "possibilities", None) or () if not other.startswith("--no-")]
        meant = f"did you mean {' or '.join(sorted(near))}? " if near and not name.startswith("--no-") else ""
        return UsageError(error.message if meant or name else error.format_message(), hint=f"{meant}{page} lists all")
    if isinstance(error, FileNotFoundError) and os.stat(os.curdir).st_nlink == 0:
        return InputError("the working folder doesn't exist any more", hint="change to another one with cd")
    return internal_error(error)


def _expand_aliases(arguments: list[str]) -> list[str]:
    """Other spellings replaced by ours, and a value that was left out filled in, up to a `--`. The spellings are
    Whisper's, and `--from FILE` for a list of inputs.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options: list[str] = []
    for position, argument in enumerate(arguments[:end], 1):
        name, separator, value = argument.partition("=")
        if name == "--from" and _is_list(value if separator else "".join(arguments[:end][position : position + 1])):
            name = "--files-from"
        if options and options[-1] == BY_CHANNEL:
            options[-1] += f"={argument if _is_names(argument) else given.NUMBERED}"
            if _is_names(argument):
                continue
        options.append(ALIASES.get(name, name) + separator + value)
    if options and options[-1] == BY_CHANNEL:
        options[-1] += f"={given.NUMBERED}"
    return options + arguments[end:]


def _is_names(argument: str) -> bool:
    """Whether an argument is a list of names, rather than an option or an input. A name alone, which will be refused,
    has no dot, as files have.
    """
    is_input = os.path.lexists(argument) or re.search(r"[*?\[]|://", argument) is not None
    is_name = "," in argument or re.search(r"[@./\\]", argument) is None
    return is_name and not argument.startswith("-") and not is_input


def _is_list(value: str) -> bool:
    """Whether the value of `--from`, which selects words by their time, is a list of inputs instead."""
    return value == "-" or (not value.replace(".", "", 1).isdecimal() and os.path.isfile(value))


def _unraisable_hook(reporter: Reporter) -> Callable[[Any], None]:
    """For exceptions that Python would drop, since they come up in a callback or end a thread: signals are sent again,
    and other exceptions are shown with --debug.
    """

    def hook(dropped: Any) -> None:
        error = dropped.exc_value
        if reporter.debug and isinstance(error, Exception):
            reporter.print_traceback(error)
        while isinstance(error, Interrupted):
            try:
                threading.Timer(0.05, os.kill, (os.getpid(), error.exit_code - 128)).start()
                error = None
            except (
                Interrupted
            ) as again:  # on a busy machine it comes before this ends, and Python would drop it here, too
                error = again

    return hook
