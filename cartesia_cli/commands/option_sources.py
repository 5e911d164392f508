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
from .precedence import Layer, add_implied

CONFIG_SELECTORS = {"config": "CARTESIA_CONFIG", "profile": "CARTESIA_PROFILE"}
"""Options that select the configuration, so that no file can set them, to their environment variables."""

TOML_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a string"),
    "path": ((str,), "a string"),
    "choice": ((str,), "a string"),
}
"""First word of the name of an option's type, to what the configuration file must contain for it."""

TOML_TYPE_NAMES = {
    bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a table", str: "a string",
}  # fmt: skip
"""What the types of TOML are called; the others are dates and times."""

CORRECT_SETTING = "correct the setting, or remove it from the file"

OPTIONAL_VALUES = frozenset({"speakers_by_channel"})
"""Options that may be given without a value, as switches are: true and false are values, too."""

BOOLEAN_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)

GivenOption = tuple[str, Any]
"""An option on the command line: its long name with underscores, and its value, text, or a bool for a switch."""


@cache
def options_by_name(command: Any) -> dict[str, Any]:
    """The options of a command by their long names with underscores, as in a configuration file."""
    named = {}
    for option in command.params:
        if option.param_type_name == "option":
            long = next(name for name in option.opts if name.startswith("--"))
            named[long.removeprefix("--").replace("-", "_")] = option
    return named


def opposite_flag(option: Any) -> str | None:
    """The spelling that gives a switch its other value: `--no-x` for `--x`, `--x` for `--no-x`. None for an option that
    needs a value.
    """
    if not option.is_flag and option.name not in OPTIONAL_VALUES:
        return None
    long = next(str(name) for name in option.opts if name.startswith("--"))
    return f"--{long.removeprefix('--no-')}" if long.startswith("--no-") else f"--no-{long.removeprefix('--')}"


def all_spellings(command: Any) -> frozenset[str]:
    """All ways to write the options of a command, opposites of switches included."""
    options = options_by_name(command).values()
    return frozenset().union(*(option.opts for option in options), filter(None, map(opposite_flag, options)))


def scan_arguments(command: Any, arguments: Iterable[str]) -> list[GivenOption]:
    """The options of a command line, in order, as far as it can be parsed, even if Typer refuses it."""
    meaning: dict[str, tuple[str, bool | None]] = {}  # a spelling to the name and, for a switch, its value
    for name, option in options_by_name(command).items():
        meaning |= dict.fromkeys(option.opts, (name, True if option.is_flag else None))
        if opposite := opposite_flag(option):
            meaning[opposite] = name, False
    given: list[GivenOption] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            break
        for spelling, attached in _spellings_in(argument):
            if spelling not in meaning:
                continue
            name, switch = meaning[spelling]
            if switch is not None:
                given.append((name, switch))
            elif (value := next(rest, None) if attached is None else attached) is not None:
                given.append((name, value))
                break
    return given


def _spellings_in(argument: str) -> list[tuple[str, str | None]]:
    """The options that an argument may consist of, as they are written: one, or one for each letter of -vq. Each with
    what would be its value if it takes one: what follows it in the argument, or None if nothing does.
    """
    if argument.startswith("--"):
        spelling, equals, value = argument.partition("=")
        return [(spelling, value if equals else None)]
    letters = argument[1:] if argument.startswith("-") else ""
    return [(f"-{letter}", letters[end:] or None) for end, letter in enumerate(letters, 1)]


def split_at_command(arguments: Sequence[str]) -> tuple[Sequence[str], str | None, Sequence[str]]:
    """The arguments before the command, the command, and those after it."""
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if not word.startswith("-"):
            return arguments[:position], word, arguments[position + 1 :]
        position += 2 if word.removeprefix("--") in CONFIG_SELECTORS else 1
    return arguments, None, ()


def find_config_choice(given: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Setting]:
    """The file and the profile that are selected, as far as they are: the settings of `config` and `profile`.

    given   options of the command line; None for one that wasn't given
    group   the program's own options, which precede the command
    """
    chosen = {}
    for name, variable in CONFIG_SELECTORS.items():
        value = group.get(name) if given.get(name) is None else given[name]
        if value is not None:
            chosen[name] = Setting(value, "flag", f"--{name}")
        elif os.environ.get(variable):
            chosen[name] = Setting(os.environ[variable], "environment", variable)
    return chosen


def load_configuration(chosen: Mapping[str, Setting], on_mistake: OnMistake = raise_mistake) -> Settings:
    """The user's configuration, or that of the file and the profile that are chosen."""
    file = Path(chosen["config"].value) if "config" in chosen else None
    profile = chosen["profile"].value if "profile" in chosen else None
    return load(config_dir(), file=file, profile=profile, commands=COMMANDS, on_mistake=on_mistake)


def collect_layers(
    command: Any, given: Mapping[str, Any], settings: Settings, on_mistake: OnMistake = raise_mistake
) -> list[Layer]:
    """The options of a command that are set in each layer, the strongest first. Reports unknown options and values of a
    wrong type, except on the command line, where an unknown option is ignored and a wrong value raises UsageError.
    """
    options = {name: option for name, option in options_by_name(command).items() if name not in CONFIG_SELECTORS}
    flags = {name: _flag(command.name, name, options[name], value) for name, value in given.items() if name in options}
    variables = {name: variable_name(command.name, name) for name in options}
    environment = {
        name: Setting(os.environ[variable], "environment", variable)
        for name, variable in variables.items()
        if os.environ.get(variable)
    }
    layers = [environment, general_environment()]
    for section in settings.sections:
        layers += [section.commands.get(command.name, {}), section.general]
    add_implied(flags, options)
    return [flags, *(_typed_settings(command.name, layer, options, on_mistake) for layer in layers)]


def _typed_settings(command: str, layer: Layer, options: Mapping[str, Any], on_mistake: OnMistake) -> Layer:
    """The settings of these options in a layer, with values of their types."""
    settings: dict[str, Setting] = {}
    for name, setting in layer.items():
        try:
            if name in options:
                settings[name] = _typed(options[name], setting)
            elif not setting.general:
                raise _unknown(command, name, setting, options)
        except UsageError as error:
            on_mistake(error)
    return settings


def process_values(command: Any, settings: Layer, on_mistake: OnMistake) -> dict[str, Setting]:
    """Settings with the values that the command's callbacks make of them. Reports those that they refuse; flags are
    processed already.
    """
    options = options_by_name(command)
    processed: dict[str, Setting] = {}
    for name, setting in settings.items():
        try:
            processed[name] = setting if setting.layer == "flag" else _processed(setting, options[name].process_value)
        except UsageError as error:
            on_mistake(error)
    return processed


def variable_name(command: str, name: str) -> str:
    """The variable of the environment that sets an option."""
    return f"CARTESIA_{command}_{name}".upper().replace("-", "_")


def general_environment() -> Layer:
    """Options that variables for the whole program set."""
    settings = {}
    if url := os.environ.get("CARTESIA_BASE_URL"):
        settings["base_url"] = Setting(url, "environment", "CARTESIA_BASE_URL", general=True)
    for variable, color in (("FORCE_COLOR", "always"), ("NO_COLOR", "never")):  # NO_COLOR overrides FORCE_COLOR
        if os.environ.get(variable):
            settings["color"] = Setting(color, "environment", variable, general=True)
    return settings


def _flag(command: str, name: str, option: Any, value: Any) -> Setting:
    """The setting of an option on the command line. Raises UsageError, in Typer's words or the option's own, for a
    value that it doesn't accept.
    """
    origin = opposite_flag(option) if value is False else f"--{name.replace('_', '-')}"
    try:
        return Setting(_converted([value] if option.multiple else value, option.process_value), "flag", origin or "")
    except typer.BadParameter as error:
        message = f"Invalid value for {option.get_error_hint(None)}: {error.message}"
        raise UsageError(message, hint=f"cartesia-cli {command} --help lists the valid values") from error


def _typed(option: Any, setting: Setting) -> Setting:
    """A setting in the environment or the configuration file, with a value of the option's type. Raises UsageError for
    another.
    """
    if option.name in OPTIONAL_VALUES and isinstance(setting.value, bool):
        setting = setting._replace(value=str(setting.value).lower())
    if setting.layer == "environment":
        setting = setting._replace(value=_from_text(option, setting))
    else:
        _check_type(option, setting)
    if "" in (setting.value if option.multiple else [setting.value]):
        raise UsageError(f"{setting.origin} must not be empty", hint=_correction(setting))
    return _processed(setting, option.type_cast_value)


def _processed(setting: Setting, process: Callable[[None, Any], Any]) -> Setting:
    """A setting in the environment or the configuration file with what `process` makes of its value. Raises UsageError,
    which says where it is set, if `process` refuses it.
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
        if text.strip().lower() not in BOOLEAN_WORDS:
            raise UsageError(f"{variable} must be true or false, not {text!r}", hint=f"correct {variable}, or unset it")
        return BOOLEAN_WORDS[text.strip().lower()]
    return [part.strip() for part in text.split(",")] if option.multiple else text


def _check_type(option: Any, setting: Setting) -> None:
    """Raises UsageError if the type of a value in the configuration file is not that of the option."""
    types, wanted = TOML_TYPES[option.type.name.split()[0]]

    def fits(value: Any) -> bool:
        return isinstance(value, types) and (bool in types or not isinstance(value, bool))

    if option.multiple:
        if not isinstance(setting.value, list) or not all(map(fits, setting.value)):
            raise UsageError(f"{setting.origin} must be a list", hint=f'each entry must be {wanted}: ["…", "…"]')
    elif not fits(setting.value):
        actual = TOML_TYPE_NAMES.get(type(setting.value), "a date or time")
        raise UsageError(f"{setting.origin} must be {wanted}, not {actual}", hint=CORRECT_SETTING)


def _converted(value: Any, process: Callable[[None, Any], Any]) -> Any:
    """What `process`, a method of an option, makes of a value. Raises BadParameter if it refuses the value, and for
    `nan` and `inf`, which pass the bounds that Typer checks.
    """
    try:
        converted = process(None, value)
    except typer.BadParameter as error:  # which may speak of "a valid int range"
        error.message = re.sub(
            r"a valid (int|float)( range)?\.$", lambda kind: f"{TOML_TYPES[kind[1]][1]}.", error.message
        )
        raise
    if isinstance(converted, float) and not isfinite(converted):
        raise typer.BadParameter(f"{converted} is not a finite number.")
    return converted


def _unknown(command: str, name: str, setting: Setting, options: Mapping[str, Any]) -> UsageError:
    meant = suggestion(name, options)
    hint = f"did you mean {meant}?" if meant else f"cartesia-cli {command} --help lists its options"
    return UsageError(f"{setting.origin} is not an option of {command}", hint=hint)
