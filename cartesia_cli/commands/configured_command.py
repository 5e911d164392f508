"""The class of every command: takes defaults of options from the environment and the configuration file.

It accepts `--no-…` for every switch, and refuses what Typer would accept silently.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from typer.core import TyperCommand

from ..directories import config_dir
from ..errors import CliError, UsageError
from ..protocol.constants import check_encryption
from ..settings import SWITCHES, ChoiceError, OnMistake, Setting, Settings, raise_mistake
from .option_sources import (
    CHOOSING,
    FOUND,
    OVERRULED,
    SETTINGS,
    Given,
    accepted,
    choices,
    configured,
    divided,
    layers,
    negation,
    options,
    read,
    spellings,
)
from .precedence import Layer, applicable, resolve
from .requested_formats import requested_formats
from .value_checks import check_settings, name_places

PROBLEM = "cartesia_cli.problem"
"""Key in the context's `meta` for what is wrong with the configuration, for commands in DIAGNOSING."""

DIAGNOSING = ("doctor",)
"""Commands that run even if the configuration can't be used: they report it themselves."""

JSON_FORMATS = frozenset({"json", "ndjson"})


class ConfiguredCommand(TyperCommand):
    """A command whose options get defaults from the environment and the configuration file."""

    def make_parser(self, ctx: Any) -> Any:
        """Add an opposite for each switch, so that the command line can switch off what the file switches on."""
        parser = super().make_parser(ctx)
        for option in options(self).values():
            if opposite := negation(option):
                parser.add_option(option, [opposite], option.name, action="store_const", const=False)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.obj.options = spellings(self).union(*(option.opts for option in self.get_params(ctx)))  # with --help
        if not ctx.obj.help_requested:  # help is shown even if the file is broken
            given = read(self, args)
            group = {} if ctx.parent is None else ctx.parent.params
            _refuse_empty(self, [*group.items(), *given], args)
            _refuse_repeated(self, given)
            try:
                self._configure(ctx, dict(given))
            except UsageError as error:
                is_typed = any(dict(given).get(name, group.get(name)) for name in CHOOSING)
                if self.name not in DIAGNOSING or (is_typed and isinstance(error, ChoiceError)):
                    raise
                ctx.meta[PROBLEM] = error
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help, with names of options and choices in one piece."""
        if self.rich_markup_mode is None:
            from typer._click._textwrap import TextWrapper

            TextWrapper.wordsep_re = TextWrapper.wordsep_simple_re  # at spaces, not at hyphens
        else:
            from typer import rich_utils

            rich_utils.STYLE_OPTIONS_TABLE_PADDING = (0, 1, 0, 0)  # type: ignore[assignment]  # so 80 columns suffice
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            name_places(error, ctx.meta.get(FOUND, {}))
            raise

    def _configure(self, ctx: Any, given: Mapping[str, Any]) -> None:
        """Take the defaults from the environment and the configuration file. Raises UsageError for a mistake in
        them.
        """
        chosen = choices(given, {} if ctx.parent is None else ctx.parent.params)
        ctx.meta[SETTINGS] = settings = configured(chosen)
        places = layers(self, given, settings)
        ctx.meta[FOUND] = found = _effective(self, places, raise_mistake) | chosen
        ctx.meta[OVERRULED] = _overruled_local(places, found)
        known = options(self)
        ctx.default_map = {known[name].name: one.value for name, one in found.items()}
        ctx.obj.as_json = _is_json({name: setting.value for name, setting in found.items()})


def _overruled_local(places: Sequence[Layer], found: Mapping[str, Setting]) -> str | None:
    """Where a server is set, if that overrules a `local = true` in a weaker layer; else None."""
    local = next((place["local"] for place in places if "local" in place), None)
    if local is None or not local.value or "local" in found:
        return None
    server = next((found[name] for name in ("cloud", "base_url") if name in found and found[name].value), None)
    return None if server is None or server.layer == "flag" else server.origin  # a flag is obvious


def effective(
    command: Any, given: Mapping[str, Any], settings: Settings, on_mistake: OnMistake = raise_mistake
) -> dict[str, Setting]:
    """The setting that applies, for each option that is set anywhere, besides those that choose the configuration.
    Reports wrong ones, and those that contradict each other, except for flags.

    given   options of the command line
    """
    return _effective(command, layers(command, given, settings, on_mistake), on_mistake)


def _effective(command: Any, places: Sequence[Layer], on_mistake: OnMistake) -> dict[str, Setting]:
    """The settings of a command that apply. Reports those that it would refuse, but not what others overrule."""
    kept = accepted(command, resolve(places, on_mistake), on_mistake)
    found = applicable(command.name, kept)
    check_settings(command.name, found, on_mistake)
    left_out = {name: setting for name, setting in kept.items() if name not in found}
    check_settings(command.name, left_out, on_mistake)
    return found


def find_mistakes(commands: Collection[Any], chosen: Mapping[str, Setting], *, unencrypted: bool) -> list[UsageError]:
    """Everything that any command would refuse in the environment and in the configuration file, in the order of its
    lines: in all profiles, and also what the environment or a profile overrules.

    chosen        the file and the profile that are chosen
    unencrypted   whether the command line allows servers that speak plain http
    """
    found: dict[str, UsageError] = {}

    def on_mistake(error: UsageError) -> None:
        found.setdefault(error.message, error)

    try:
        selected = configured(chosen, on_mistake)
    except UsageError as error:
        on_mistake(error)
        selected = Settings(config_dir())
    rest = selected.sections[-1:]
    others = [rest, *((profile, *rest) for profile in selected.profiles.values())]
    for one in [selected, *(Settings(selected.folder, sections=sections) for sections in others)]:
        for command in commands:
            places = [accepted(command, place, on_mistake) for place in layers(command, {}, one, on_mistake)]
            in_file = [place for place in places if all(setting.layer != "environment" for setting in place.values())]
            for counted in (places, in_file):
                kept = _effective(command, counted, on_mistake)
                if one is selected and "base_url" in kept and "insecure_http" in options(command):
                    allowed = unencrypted or any(kept[name].value for name in SWITCHES if name in kept)
                    _check_server(kept["base_url"], on_mistake, allowed=allowed)
    return sorted(found.values(), key=_line)


def _line(error: UsageError) -> int:
    """The line of the configuration file that an error names first, or 0."""
    found = re.search(r", line (\d+): ", error.message)
    return int(found[1]) if found else 0


def _check_server(url: Setting, on_mistake: OnMistake, *, allowed: bool) -> None:
    """Report a server that speaks plain http, unless that is `allowed`."""
    try:
        check_encryption(url.value, allowed=allowed)
    except UsageError as error:
        on_mistake(UsageError(f"{url.origin}: {error.message}", hint=error.hint))


def asks_for_json(program: Any, arguments: Sequence[str]) -> bool:
    """Whether JSON is requested, so that errors are JSON, too; also for an invalid command line."""
    before, named, after = divided(arguments)
    if (command := program.commands.get(named)) is None:
        return _is_json(dict(read(program.commands["transcribe"], arguments)))
    values = dict(read(command, after))
    try:
        settings = configured(choices(values, dict(read(program, before))))
        values = {name: setting.value for name, setting in effective(command, values, settings).items()}
    except CliError:
        pass  # the configuration may be what is wrong: then the command line alone decides
    is_mistaken = "json" not in options(command) and "--json" in arguments  # it would be -f json
    return is_mistaken or _is_json(values) or _is_json(dict(read(command, before)))


def _is_json(values: Mapping[str, Any]) -> bool:
    return not JSON_FORMATS.isdisjoint(requested_formats(values))


def _refuse_empty(command: Any, given: Sequence[Given], arguments: Sequence[str]) -> None:
    """Raises UsageError for an empty value, whichever option or argument it is for: a variable of the shell may be
    unset, and an empty path would be the working directory.

    given       options that were typed, as far as they can be parsed
    arguments   all that was typed
    """
    name = next((f"--{name.replace('_', '-')}" for name, value in given if value == ""), None)
    if name is None and "" in arguments:
        named = next((str(one.metavar or "") for one in command.params if one.param_type_name == "argument"), "")
        name = named.rstrip(".") if re.fullmatch(r"[A-Z]+\.*", named) else "an argument"
    if name is not None:
        raise UsageError(f"{name} must not be empty", hint="is a variable empty?")


def _refuse_repeated(command: Any, given: Sequence[Given]) -> None:
    """Raises UsageError for an option that takes one value and is given two: the first would be ignored silently."""
    known = options(command)
    first: dict[str, Any] = {}
    for name, value in given:
        option = known[name]
        if option.is_flag or option.multiple or first.setdefault(name, value) == value:
            continue
        several = "-f text,srt --output-dir DIR writes several formats" if "output_dir" in known else ""
        hint = several if name == "format" and several else "give it once"
        raise UsageError(f"--{name.replace('_', '-')} is given twice: {first[name]!r} and {value!r}", hint=hint)
