"""The whole command line as a JSON document, for programs: what `--help-json` prints.

Its form is that of the schema `help`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from .. import __version__
from ..errors import Exit
from . import COMMANDS
from .option_sources import CONFIG_SELECTORS, opposite_flag, variable_name

EXIT_CODES = {
    Exit.DONE: "done; also after the first Ctrl-C of a live session",
    Exit.FAILED: "some inputs failed, nothing was found, a check failed, a result could not be written, no offline "
    "engine, or an internal error",
    Exit.USAGE: "the command line or the configuration is wrong",
    Exit.INPUT: "an input or an audio device is unusable",
    Exit.AUTH: "no key, or the key was refused",
    Exit.API: "the API refused, or its response is not a transcript",
    Exit.NETWORK: "the network: unreachable, TLS, timeout, connection lost",
    Exit.HUNG_UP: "SIGHUP, as when the terminal is closed",
    Exit.INTERRUPTED: "Ctrl-C",
    Exit.TERMINATED: "SIGTERM",
}
"""What each exit code means, in short."""

TYPES = {"boolean": "switch", "int": "integer", "float": "number", "path": "path", "choice": "choice"}
"""First word of Typer's name of a type, to its name in the document; any other type is text."""


def describe_program(program: Any) -> dict[str, Any]:
    """Every command with its arguments and options. `program`: with all commands."""
    context = typer.Context(program, info_name=program.name, **program.context_settings)
    return {
        "program": program.name,
        "version": __version__,
        "help": _plain(program.help),
        "options": list(_options(program, context, "")),
        "commands": [_command(program.commands[name], context) for name in COMMANDS],
        "exit_codes": {str(int(code)): meaning for code, meaning in EXIT_CODES.items()},
    }


def _command(command: Any, parent: Any) -> dict[str, Any]:
    context = typer.Context(command, info_name=command.name, parent=parent)
    return {
        "name": command.name,
        "usage": f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}",
        "help": _plain(command.help),
        "examples": [line for line in command.epilog.splitlines() if line],
        "arguments": [
            {
                "name": parameter.metavar or parameter.name,
                "help": _plain(parameter.help),
                "required": parameter.required,
                "repeatable": parameter.nargs != 1,
            }
            for parameter in command.params
            if parameter.param_type_name == "argument"
        ],
        "options": list(_options(command, context, command.name)),
    }


def _options(command: Any, context: Any, name: str) -> Iterator[dict[str, Any]]:
    for option in command.get_params(context):
        if option.param_type_name == "option" and not option.hidden:
            yield {member: fact for member, fact in _option(option, name).items() if fact is not None}


def _option(option: Any, command: str) -> dict[str, Any]:
    names = sorted([*option.opts, *option.secondary_opts], key=lambda spelling: not spelling.startswith("--"))
    setting = names[0].removeprefix("--").replace("-", "_")
    is_setting = bool(command) and option.name != "help"
    kind = option.type
    return {
        "names": names,
        "opposite": opposite_flag(option) if is_setting else None,
        "variable": CONFIG_SELECTORS.get(setting, variable_name(command, setting)) if is_setting else None,
        "group": getattr(option, "rich_help_panel", None),
        "help": _plain(option.help),
        "metavar": option.metavar,
        "type": TYPES.get(str(kind.name).split()[0], "text"),
        "choices": [*kind.choices] if hasattr(kind, "choices") else None,
        "minimum": getattr(kind, "min", None),
        "maximum": getattr(kind, "max", None),
        "repeatable": bool(option.multiple or option.count),
        "default": option.default if isinstance(option.default, bool | int | float | str) else None,
    }


def _plain(text: str | None) -> str:
    """A help text on one line."""
    return " ".join((text or "").split())
