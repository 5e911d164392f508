"""Collects the values of a command's options from the command line, the environment and the configuration file.

Each is a layer; `precedence` decides which one counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import typer

from ..directories import config_dir
from ..errors import UsageError
from ..settings import OnMistake, Setting, Settings, load, raise_mistake, suggestion
from . import COMMANDS
from .precedence import Layer

CHOOSING = {"config": "CARTESIA_CONFIG", "profile": "CARTESIA_PROFILE"}
"""Options that choose the configuration, so that no file can set them; and their environment variables."""

FOUND = "cartesia_cli.found"
"""Key in the context's `meta` for the settings that apply to the command, by the names of options."""

SETTINGS = "cartesia_cli.settings"
"""Key in the context's `meta` for the configuration that those options choose."""

OVERRULED = "cartesia_cli.overruled"
"""Key in the context's `meta` for where a server is set that overrules `local = true`; None if none does."""

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a string"),
    "path": ((str,), "a string"),
    "choice": ((str,), "a string"),
}
"""First word of the name of an option's type, to what the configuration file must contain for it."""

NAMES = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a table", str: "a string"}
"""What the types of TOML are called; the others are dates and times."""

CORRECT_SETTING = "correct the setting, or remove it from the file"

SWITCH = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)

Given = tuple[str, Any]
"""An option on the command line: its long name with underscores, and its value, text, or a bool for a switch."""


@cache
def options(command: Any) -> dict[str, Any]:
    """The options of a command by their long names with underscores, as in a configuration file."""
    named = {}
    for option in command.params:
        if option.param_type_name == "option":
            long = next(name for name in option.opts if name.startswith("--"))
            named[long.removeprefix("--").replace("-", "_")] = option
    return named


def negation(option: Any) -> str | None:
    """The spelling that switches a switch off; None for an option that takes a value."""
    if not option.is_flag:
        return None
    long = next(str(name) for name in option.opts if name.startswith("--"))
    return f"--{long.removeprefix('--no-')}" if long.startswith("--no-") else f"--no-{long.removeprefix('--')}"


def spellings(command: Any) -> frozenset[str]:
    """All ways to write the options of a command, opposites of switches included."""
    known = options(command).values()
    return frozenset().union(*(option.opts for option in known), filter(None, map(negation, known)))


def read(command: Any, arguments: Iterable[str]) -> list[Given]:
    """The options of a command line, in order, as far as it can be parsed, even if Typer refuses it."""
    meaning: dict[str, tuple[str, bool | None]] = {}  # a spelling to the name and, for a switch, its value
    for name, option in options(command).items():
        meaning |= dict.fromkeys(option.opts, (name, True if option.is_flag else None))
        if opposite := negation(option):
            meaning[opposite] = name, False
    given: list[Given] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            break
        if argument.startswith("--"):
            spelling, equals, value = argument.partition("=")
            spellings = [(spelling, value if equals else None)]
        else:
            letters = argument[1:] if argument.startswith("-") else ""
            spellings = [(f"-{letter}", letters[place:] or None) for place, letter in enumerate(letters, 1)]
        for spelling, attached in spellings:
            if (known := meaning.get(spelling)) is None:
                continue
            name, switch = known
            if switch is not None:
                given.append((name, switch))
            elif (found := next(rest, None) if attached is None else attached) is not None:
                given.append((name, found))
                break
    return given


def divided(arguments: Sequence[str]) -> tuple[Sequence[str], str | None, Sequence[str]]:
    """The arguments before the command, the command, and those after it."""
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if not word.startswith("-"):
            return arguments[:place], word, arguments[place + 1 :]
        place += 2 if word.removeprefix("--") in CHOOSING else 1
    return arguments, None, ()


def choices(given: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Setting]:
    """Those of the options in CHOOSING that are set.

    given   options of the command line; None for one that wasn't given
    group   the program's own options, which precede the command
    """
    found = {}
    for name, variable in CHOOSING.items():
        value = group.get(name) if given.get(name) is None else given[name]
        if value is not None:
            found[name] = Setting(value, "flag", f"--{name}")
        elif os.environ.get(variable):
            found[name] = Setting(os.environ[variable], "environment", variable)
    return found


def configured(chosen: Mapping[str, Setting], on_mistake: OnMistake = raise_mistake) -> Settings:
    """The user's configuration, or the file and the profile that are chosen. Mistakes in it are reported."""
    file, profile = (chosen[name].value if name in chosen else None for name in CHOOSING)
    return load(config_dir(), file=file and Path(file), profile=profile, commands=COMMANDS, on_mistake=on_mistake)


def layers(
    command: Any, given: Mapping[str, Any], settings: Settings, on_mistake: OnMistake = raise_mistake
) -> list[Layer]:
    """The options of a command that are set in each layer, the strongest first. Reports those elsewhere than on the
    command line that don't exist, and values that aren't of their types.
    """
    known = {name: option for name, option in options(command).items() if name not in CHOOSING}
    typed = {name: _flag(command.name, name, known[name], value) for name, value in given.items() if name in known}
    if "local_model" in typed and "local" in known.keys() - typed.keys():
        # A local model implies this machine, whatever is configured.
        typed["local"] = Setting(True, "flag", "--local-model")

    def of_types(layer: Layer) -> Layer:
        """The options in a layer, with values of their types."""
        found: dict[str, Setting] = {}
        for name, setting in layer.items():
            try:
                if name in known:
                    found[name] = _typed(known[name], setting)
                elif not setting.general:
                    raise _unknown(command.name, name, setting, known)
            except UsageError as error:
                on_mistake(error)
        return found

    variables = {name: variable_name(command.name, name) for name in known}
    environment = {
        name: Setting(os.environ[variable], "environment", variable)
        for name, variable in variables.items()
        if os.environ.get(variable)
    }
    places: list[Layer] = [typed, of_types(environment), of_types(general_environment())]
    for section in settings.sections:
        places += [of_types(section.commands.get(command.name, {})), of_types(section.general)]
    return places


def accepted(command: Any, settings: Layer, on_mistake: OnMistake) -> dict[str, Setting]:
    """The options with their values as the command takes them. Reports those that it refuses; flags are checked
    already.
    """
    known = options(command)
    found: dict[str, Setting] = {}
    for name, setting in settings.items():
        try:
            found[name] = setting if setting.layer == "flag" else _processed(setting, known[name].process_value)
        except UsageError as error:
            on_mistake(error)
    return found


def variable_name(command: str, name: str) -> str:
    """The variable of the environment that sets an option."""
    return f"CARTESIA_{command}_{name}".upper().replace("-", "_")


def general_environment() -> Layer:
    """Options that variables for the whole program set."""
    found = {}
    if url := os.environ.get("CARTESIA_BASE_URL"):
        found["base_url"] = Setting(url, "environment", "CARTESIA_BASE_URL", general=True)
    for variable, color in (("FORCE_COLOR", "always"), ("NO_COLOR", "never")):  # NO_COLOR overrides FORCE_COLOR
        if os.environ.get(variable):
            found["color"] = Setting(color, "environment", variable, general=True)
    return found


def _flag(command: str, name: str, option: Any, value: Any) -> Setting:
    """An option on the command line. Raises UsageError, in Typer's words or its own, for a value that it doesn't
    accept.
    """
    origin = negation(option) if value is False else f"--{name.replace('_', '-')}"
    try:
        return Setting(_converted([value] if option.multiple else value, option.process_value), "flag", origin or "")
    except typer.BadParameter as error:
        message = f"Invalid value for {option.get_error_hint(None)}: {error.message}"
        raise UsageError(message, hint=f"cartesia-cli {command} --help lists the valid values") from error


def _typed(option: Any, setting: Setting) -> Setting:
    """A setting in the environment or the configuration file, with a value of the option's type. Raises UsageError for
    another.
    """
    if setting.layer == "environment":
        setting = setting._replace(value=_from_text(option, setting))
    else:
        _check_type(option, setting)
    if "" in (setting.value if option.multiple else [setting.value]):
        raise UsageError(f"{setting.origin} must not be empty", hint=_correction(setting))
    return _processed(setting, option.type_cast_value)


def _processed(setting: Setting, process: Callable[[None, Any], Any]) -> Setting:
    """A setting in the environment or the configuration file with its value converted. Raises UsageError, with its
    place, if `process` refuses it.
    """
    try:
        return setting._replace(value=_converted(setting.value, process))
    except (typer.BadParameter, UsageError) as error:
        hint = getattr(error, "hint", None) or _correction(setting)
        raise UsageError(f"{setting.origin}: {error.message}", hint=hint) from error


def _correction(setting: Setting) -> str:
    return f"correct {setting.origin}, or unset it" if setting.layer == "environment" else CORRECT_SETTING


def _from_text(option: Any, setting: Setting) -> Any:
    """The value of an environment variable: a word for a switch, commas in a list."""
    text, variable = setting.value, setting.origin
    if option.is_flag:
        if text.strip().lower() not in SWITCH:
            raise UsageError(f"{variable} must be true or false, not {text!r}", hint=f"correct {variable}, or unset it")
        return SWITCH[text.strip().lower()]
    return [part.strip() for part in text.split(",")] if option.multiple else text


def _check_type(option: Any, setting: Setting) -> None:
    """Raises UsageError if the type of a value in the configuration file is not that of the option."""
    types, wanted = KINDS[option.type.name.split()[0]]

    def fits(value: Any) -> bool:
        return isinstance(value, types) and (bool in types or not isinstance(value, bool))

    if option.multiple:
        if not isinstance(setting.value, list) or not all(map(fits, setting.value)):
            raise UsageError(f"{setting.origin} must be a list", hint=f'each entry must be {wanted}: ["…", "…"]')
    elif not fits(setting.value):
        seen = NAMES.get(type(setting.value), "a date or time")
        raise UsageError(f"{setting.origin} must be {wanted}, not {seen}", hint=CORRECT_SETTING)


def _converted(value: Any, process: Callable[[None, Any], Any]) -> Any:
    """A value as `process`, a method of its option, takes it. Raises BadParameter if it doesn't, and for `nan` and
    `inf`, which pass the bounds that Typer checks.
    """
    try:
        converted = process(None, value)
    except typer.BadParameter as error:  # which may speak of "a valid int range"
        error.message = re.sub(r"a valid (int|float)( range)?\.$", lambda kind: f"{KINDS[kind[1]][1]}.", error.message)
        raise
    if isinstance(converted, float) and not isfinite(converted):
        raise typer.BadParameter(f"{converted} is not a finite number.")
    return converted


def _unknown(command: str, name: str, setting: Setting, known: Mapping[str, Any]) -> UsageError:
    meant = suggestion(name, known)
    hint = f"did you mean {meant}?" if meant else f"cartesia-cli {command} --help lists its options"
    return UsageError(f"{setting.origin} is not an option of {command}", hint=hint)
