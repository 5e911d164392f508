"""Where a command takes the values of its options from: the command line, the environment, the configuration file.

`ConfiguredCommand` is what Typer makes of each command: it has `--config` and `--profile`, understands `--no-…` for
every switch, and gets its defaults from whatever was set outside of the command line (see `precedence`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from ..directories import config_dir
from ..errors import CliError, UsageError
from ..settings import Setting, Settings, load, suggestion
from . import COMMANDS
from .precedence import Layer, formats, resolve

PANEL = "Configuration"
"""Heading in the help for the options that say which configuration applies."""

CONFIG_HELP = "Read this configuration file instead of your own."
PROFILE_HELP = "Use [profile.NAME] of the configuration file, too."

CHOOSING = {"config": "CARTESIA_CONFIG", "profile": "CARTESIA_PROFILE"}
"""Options that say what is read, so that no file can set them; and their variables."""

CHOSEN = "cartesia_cli.chosen"
OVERRULED = "cartesia_cli.overruled"
"""Key of the context's `meta` under which their settings are."""

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a string"),
    "path": ((str,), "a string"),
}
"""First word of the name of an option's type to what the configuration file has to hold for it."""

SWITCH = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)

JSON_FORMATS = frozenset({"json", "ndjson"})

_JSON: dict[str, tuple[str, bool | None]] = {
    "--json": ("json", True),
    **dict.fromkeys(("--format", "-f"), ("format", None)),
    **dict.fromkeys(("--output", "-o"), ("output", None)),
}
"""What `_read` needs to find out whether a command that isn't there is asked for JSON."""

Given = tuple[str, Any]
"""An option of the command line, by its long name with underscores, and its value: text, or a bool for a switch."""


class ConfiguredCommand(TyperCommand):
    """A command whose options have defaults from outside of the command line."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **rest: Any) -> None:
        own = [] if params is None else params
        names = {parameter.name for parameter in own}
        super().__init__(name, params=[*own, *(option for option in _choosing() if option.name not in names)], **rest)

    def make_parser(self, ctx: Any) -> Any:
        """Also an opposite for each switch: what a file switches on, a flag switches off."""
        parser = super().make_parser(ctx)
        for option in options(self).values():
            if opposite := negation(option):
                parser.add_option(option, [opposite], option.name, action="store_const", const=False)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.obj.options = {spelling for option in self.get_params(ctx) for spelling in option.opts} | {
            opposite for option in options(self).values() if (opposite := negation(option))
        }
        if not ctx.obj.helps:  # help comes also where the file is broken
            given = read(self, args)
            _refuse_repeated(self, given)
            found = effective(self, dict(given), {} if ctx.parent is None else ctx.parent.params)
            known = options(self)
            ctx.default_map = {known[name].name: one.value for name, one in found.items() if not one.general}
            ctx.meta[OVERRULED] = _overruled_local(self, dict(given), found)
            ctx.meta[CHOSEN] = {name: setting for name, setting in found.items() if name in CHOOSING}
        return super().parse_args(ctx, args)


def _overruled_local(command: Any, given: Mapping[str, Any], found: Mapping[str, Setting]) -> str | None:
    """Where a server was named, if `local = true` stands in a weaker place, and doesn't count for it."""
    if "local" in found or "local" not in options(command):
        return None
    chosen = {name: found[name].value for name in CHOOSING if name in found}
    places = layers(command, given, configured(**chosen), os.environ)
    local = next((place["local"] for place in places if "local" in place), None)
    server = next((found[name] for name in ("cloud", "base_url") if name in found and found[name].value), None)
    if server is None or server.layer == "flag":  # whoever typed it knows
        return None
    return server.origin if local is not None and local.value else None


@cache
def options(command: Any) -> dict[str, Any]:
    """The options of a command by their long names, with underscores: as a configuration file spells them."""
    named = {}
    for option in command.params:
        if option.param_type_name == "option":
            long = next(name for name in option.opts if name.startswith("--"))
            named[long.removeprefix("--").replace("-", "_")] = option
    return named


def negation(option: Any) -> str | None:
    """What switches a switch off; None for an option that takes a value."""
    if not option.is_flag:
        return None
    long = next(str(name) for name in option.opts if name.startswith("--"))
    return f"--{long.removeprefix('--no-')}" if long.startswith("--no-") else f"--no-{long.removeprefix('--')}"


def read(command: Any, arguments: Sequence[str]) -> list[Given]:
    """The options of a command line in their order, as far as it can be understood: even where Typer refuses it."""
    meaning: dict[str, tuple[str, bool | None]] = {}
    for name, option in options(command).items():
        meaning |= dict.fromkeys(option.opts, (name, True if option.is_flag else None))
        if opposite := negation(option):
            meaning[opposite] = name, False
    return list(_read(meaning, iter(arguments)))


def _read(meaning: Mapping[str, tuple[str, bool | None]], arguments: Iterator[str]) -> Iterator[Given]:
    """`meaning`: what an option is spelt like to its name and the value of a switch, None where a value follows."""
    for argument in arguments:
        if argument == "--":
            return
        if argument.startswith("--"):
            spelt, equals, value = argument.partition("=")
            if spelt in meaning:
                name, switch = meaning[spelt]
                yield name, switch if switch is not None else value if equals else next(arguments, "")
        elif argument.startswith("-"):
            for place, letter in enumerate(argument[1:], 2):
                if (known := meaning.get(f"-{letter}")) is None:
                    continue
                if known[1] is None:
                    yield known[0], argument[place:] or next(arguments, "")
                    break
                yield known[0], known[1]


def divided(arguments: Sequence[str]) -> tuple[Sequence[str], str | None, Sequence[str]]:
    """What stands before the command, the command, and what follows it."""
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if not word.startswith("-"):
            return arguments[:place], word, arguments[place + 1 :]
        place += 2 if word.removeprefix("--") in CHOOSING else 1
    return arguments, None, ()


def asks_for_json(program: Any, arguments: Sequence[str]) -> bool:
    """Whether the output is to be JSON, so that errors are, too; also where the command line is wrong."""
    before, named, after = divided(arguments)
    if (command := program.commands.get(named)) is None:
        return _is_json(_read(_JSON, iter(arguments)))
    values = dict(read(command, after))
    try:
        found = effective(command, values, dict(read(program, before)))
        values = {name: setting.value for name, setting in found.items()}
    except CliError:
        pass  # it may be what went wrong: then the command line alone decides
    return _is_json(values.items()) or _is_json(_read(_JSON, iter(before)))


def _is_json(given: Iterable[Given]) -> bool:
    return not JSON_FORMATS.isdisjoint(formats(dict(given)))


def effective(
    command: Any, given: Mapping[str, Any], group: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> dict[str, Setting]:
    """What counts for each option that is set somewhere. UsageError for what is wrong in any place but the flags.

    given   options of the command line
    group   the program's own options, before the command
    """
    chosen = {name: setting for name in CHOOSING if (setting := _choice(name, given, group, environ))}
    settings = configured(**{name: setting.value for name, setting in chosen.items()}, environ=environ)
    return resolve(layers(command, given, settings, environ)) | chosen


def configured(
    config: str | None = None, profile: str | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The configuration of this user, or another file, with a profile."""
    file = None if config is None else Path(config)
    return load(config_dir(), environ, file=file, profile=profile, commands=COMMANDS)


def layers(command: Any, given: Mapping[str, Any], settings: Settings, environ: Mapping[str, str]) -> list[Layer]:
    """What each place says about the options of a command, the strongest first."""
    known = {name: option for name, option in options(command).items() if name not in CHOOSING}
    typed = {name: _flag(command.name, name, known[name], value) for name, value in given.items() if name in known}
    if "local_model" in typed and "local" in known.keys() - typed.keys():
        # Who names a local model wants this machine, whatever is configured.
        typed["local"] = Setting(True, "flag", "--local-model")
    places: list[Layer] = [
        typed,
        {
            name: _checked(known[name], Setting(_from_text(known[name], text, variable), "environment", variable))
            for name in known
            if (text := environ.get(variable := _variable(command.name, name)))
        },
        {name: setting for name, setting in _general_environment(environ).items() if name in known},
    ]
    for section in settings.sections:
        table = section.commands.get(command.name, {})
        for name, setting in table.items():
            if name not in known:
                raise _unknown(command.name, name, setting, known)
        general = {"base_url": section.general["base_url"]} if "base_url" in section.general else {}
        places += [
            {name: _checked(known[name], _typed(known[name], setting)) for name, setting in table.items()},
            {name: setting for name, setting in general.items() if name in known},
        ]
    return places


def _choice(
    name: str, given: Mapping[str, Any], group: Mapping[str, Any], environ: Mapping[str, str]
) -> Setting | None:
    if (value := given.get(name, group.get(name))) is not None:
        return Setting(value, "flag", f"--{name}")
    variable = CHOOSING[name]
    return Setting(environ[variable], "environment", variable) if environ.get(variable) else None


def _variable(command: str, name: str) -> str:
    return f"CARTESIA_{command}_{name}".upper().replace("-", "_")


def _general_environment(environ: Mapping[str, str]) -> Layer:
    """Variables that are not about one command."""
    found = {}
    if url := environ.get("CARTESIA_BASE_URL"):
        found["base_url"] = Setting(url, "environment", "CARTESIA_BASE_URL", general=True)
    for variable, color in (("FORCE_COLOR", "always"), ("NO_COLOR", "never")):  # the last one counts
        if environ.get(variable):
            found["color"] = Setting(color, "environment", variable, general=True)
    return found


def _flag(command: str, name: str, option: Any, value: Any) -> Setting:
    """UsageError for a value that the option doesn't take, in Typer's words."""
    origin = negation(option) if value is False else f"--{name.replace('_', '-')}"
    try:
        return Setting(option.process_value(None, [value] if option.multiple else value), "flag", origin or "")
    except typer.BadParameter as error:
        message = f"Invalid value for {option.get_error_hint(None)}: {error.message}"
        raise UsageError(message, hint=f"cartesia-cli {command} --help shows what it takes") from error


def _from_text(option: Any, text: str, variable: str) -> Any:
    """The value of a variable: switches are words, lists have commas."""
    if option.is_flag:
        if text.strip().lower() not in SWITCH:
            raise UsageError(f"{variable} must be true or false, not {text!r}", hint=f"unset {variable}, or correct it")
        return SWITCH[text.strip().lower()]
    return [part.strip() for part in text.split(",")] if option.multiple else text


def _typed(option: Any, setting: Setting) -> Setting:
    """A value of the configuration file, if it has the type that its option takes."""
    types, wanted = KINDS[option.type.name.split()[0]]

    def fits(value: Any) -> bool:
        return isinstance(value, types) and (bool in types or not isinstance(value, bool))

    if option.multiple:
        if not isinstance(setting.value, list) or not all(map(fits, setting.value)):
            raise UsageError(f"{setting.origin} must be a list", hint=f'each entry must be {wanted}: ["…", "…"]')
    elif not fits(setting.value):
        names = {bool: "a boolean", list: "a list", dict: "a table", str: "a string"}
        seen = names.get(type(setting.value), "a number")
        raise UsageError(f"{setting.origin} must be {wanted}, not {seen}", hint="correct the configuration file")
    return setting


def _checked(option: Any, setting: Setting) -> Setting:
    """The same value as the option has it. UsageError for one that it doesn't take."""
    try:
        value = option.process_value(None, setting.value)
    except typer.BadParameter as error:
        where = "the variable" if setting.layer == "environment" else "the configuration file"
        raise UsageError(f"{setting.origin}: {error.message}", hint=f"correct {where}, or remove it") from error
    return Setting(value, setting.layer, setting.origin)


def _unknown(command: str, name: str, setting: Setting, known: Mapping[str, Any]) -> UsageError:
    meant = suggestion(name, known)
    hint = f"did you mean {meant}?" if meant else f"names are those of cartesia-cli {command} --help"
    return UsageError(f"{setting.origin} is not an option of {command}", hint=hint)


def _refuse_repeated(command: Any, given: Sequence[Given]) -> None:
    """UsageError for an option that takes one value and is given two: the last alone would count, in silence."""
    known = options(command)
    first: dict[str, Any] = {}
    for name, value in given:
        option = known[name]
        if option.is_flag or option.multiple or first.setdefault(name, value) == value:
            continue
        several = "-f text,srt --output-dir DIR writes several formats" if "output_dir" in known else ""
        hint = several if name == "format" and several else "give it once"
        raise UsageError(f"--{name.replace('_', '-')} is given twice: {first[name]!r} and {value!r}", hint=hint)


def _choosing() -> list[TyperOption]:
    """`--config` and `--profile`, for a command that doesn't declare them."""
    return [
        TyperOption(param_decls=["--config"], type=str, metavar="FILE", help=CONFIG_HELP, expose_value=False,
                    rich_help_panel=PANEL),
        TyperOption(param_decls=["--profile"], type=str, metavar="NAME", help=PROFILE_HELP, expose_value=False,
                    rich_help_panel=PANEL),
    ]  # fmt: skip
