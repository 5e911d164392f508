"""The class of every command: takes defaults of options from the environment and the configuration file.

It accepts `--no-…` for every switch, and refuses what Typer would accept silently. Values in the environment and in the
file are checked here as commands do later, so that an error says where they come from, and `doctor` finds it: what a
value must be by itself, as its option declares (`options.checked_by`), and what several mean together. What depends on
files that may come and go is checked by the commands. Must never import anything heavy before a value has to be
checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from ..directories import config_dir
from ..errors import CliError, UsageError
from ..protocol.constants import check_encryption
from ..settings import SWITCHES, ChoiceError, OnMistake, Setting, Settings, raise_mistake
from .command_context import (
    META_CONFIGURATION,
    META_EFFECTIVE,
    META_OVERRULED_LOCAL,
    META_PROBLEM,
    effective_settings,
)
from .option_sources import (
    CONFIG_SELECTORS,
    GivenOption,
    all_spellings,
    collect_layers,
    find_config_choice,
    load_configuration,
    opposite_flag,
    options_by_name,
    process_values,
    scan_arguments,
    split_at_command,
)
from .precedence import CUE_TIMES, THRESHOLDS, Layer, resolve, select_applicable
from .requested_formats import requested_formats

DIAGNOSING = ("doctor",)
"""Commands that run even if the configuration can't be used: they report it themselves."""

JSON_FORMATS = frozenset({"json", "ndjson"})

CHECKED_TOGETHER = (
    ("format", "json", "output"), ("from", "to"), CUE_TIMES, THRESHOLDS, ("wire_encoding",),
)  # fmt: skip
"""Options that are checked together, by their long names with underscores."""

TRANSCRIPT_COMMANDS = ("transcribe", "render", "listen", "stream-file")
"""Commands whose formats are those of transcripts."""


class ConfiguredCommand(TyperCommand):
    """A command whose options get defaults from the environment and the configuration file."""

    def make_parser(self, ctx: Any) -> Any:
        """Add an opposite for each switch, so that the command line can switch off what the file switches on."""
        parser = super().make_parser(ctx)
        for option in options_by_name(self).values():
            if opposite := opposite_flag(option):
                parser.add_option(option, [opposite], option.name, action="store_const", const=False)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.obj.options = all_spellings(self).union(*(option.opts for option in self.get_params(ctx)))  # with --help
        if not ctx.obj.help_requested:  # help is shown even if the file is broken
            given = scan_arguments(self, args)
            group = {} if ctx.parent is None else ctx.parent.params
            _refuse_empty(self, [*group.items(), *given], args)
            _refuse_folder(given)
            _refuse_repeated(self, given)
            try:
                self._configure(ctx, dict(given))
            except UsageError as error:
                is_typed = any(dict(given).get(name, group.get(name)) for name in CONFIG_SELECTORS)
                if self.name not in DIAGNOSING or (is_typed and isinstance(error, ChoiceError)):
                    raise
                ctx.meta[META_PROBLEM] = error
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
            _name_origins(error, effective_settings(ctx))
            raise

    def _configure(self, ctx: Any, given: Mapping[str, Any]) -> None:
        """Take the defaults from the environment and the configuration file. Raises UsageError for a mistake in
        them.
        """
        chosen = find_config_choice(given, {} if ctx.parent is None else ctx.parent.params)
        ctx.meta[META_CONFIGURATION] = settings = load_configuration(chosen)
        layers = collect_layers(self, given, settings)
        ctx.meta[META_EFFECTIVE] = effective = resolve_layers(self, layers) | chosen
        ctx.meta[META_OVERRULED_LOCAL] = _overruled_local(layers, effective)
        options = options_by_name(self)
        ctx.default_map = {options[name].name: setting.value for name, setting in effective.items()}
        ctx.obj.as_json = _is_json({name: setting.value for name, setting in effective.items()})


def _overruled_local(layers: Sequence[Layer], effective: Mapping[str, Setting]) -> str | None:
    """Where a server is set, if that overrules a `local = true` in a weaker layer; else None."""
    local = next((layer["local"] for layer in layers if "local" in layer), None)
    if local is None or not local.value or "local" in effective:
        return None
    servers = [effective[name] for name in ("cloud", "base_url") if name in effective and effective[name].value]
    server = next(iter(servers), None)
    return None if server is None or server.layer == "flag" else server.origin  # a flag is obvious


def resolve_layers(command: Any, layers: Sequence[Layer], on_mistake: OnMistake = raise_mistake) -> dict[str, Setting]:
    """The setting that applies, for each option that is set in one of the layers. Reports those that the command would
    refuse, and those that contradict each other, but not what others overrule.
    """
    kept = process_values(command, resolve(layers, on_mistake), on_mistake)
    effective = select_applicable(command.name, kept)
    left_out = {name: setting for name, setting in kept.items() if name not in effective}
    for settings in (effective, left_out):
        _check_together(command.name, settings, on_mistake)
    return effective


def find_mistakes(commands: Collection[Any], chosen: Mapping[str, Setting], *, unencrypted: bool) -> list[UsageError]:
    """Everything that any command would refuse in the environment and in the configuration file, in the order of its
    lines: in all profiles, and also what the environment or a profile overrules.

    chosen        the file and the profile that are chosen
    unencrypted   whether the command line allows servers that speak plain http
    """
    mistakes: dict[str, UsageError] = {}

    def on_mistake(error: UsageError) -> None:
        mistakes.setdefault(error.message, error)

    try:
        selected = load_configuration(chosen, on_mistake)
    except UsageError as error:
        on_mistake(error)
        selected = Settings(config_dir())
    rest = selected.sections[-1:]
    others = [rest, *((profile, *rest) for profile in selected.profiles.values())]
    for one in [selected, *(Settings(selected.folder, sections=sections) for sections in others)]:
        for command in commands:
            collected = collect_layers(command, {}, one, on_mistake)
            layers = [process_values(command, layer, on_mistake) for layer in collected]
            in_file = [layer for layer in layers if all(setting.layer != "environment" for setting in layer.values())]
            for counted in (layers, in_file):
                effective = resolve_layers(command, counted, on_mistake)
                if one is selected and "base_url" in effective and "insecure_http" in options_by_name(command):
                    allowed = unencrypted or any(effective[name].value for name in SWITCHES if name in effective)
                    _check_server(effective["base_url"], on_mistake, allowed=allowed)
    return sorted(mistakes.values(), key=_line)


def _line(error: UsageError) -> int:
    """The line of the configuration file that an error names first, or 0."""
    match = re.search(r", line (\d+): ", error.message)
    return int(match[1]) if match else 0


def _check_server(url: Setting, on_mistake: OnMistake, *, allowed: bool) -> None:
    """Report a server that speaks plain http, unless that is `allowed`."""
    try:
        check_encryption(url.value, allowed=allowed)
    except UsageError as error:
        on_mistake(UsageError(f"{url.origin}: {error.message}", hint=error.hint))


def _check_together(command: str, settings: Mapping[str, Setting], on_mistake: OnMistake) -> None:
    """Report, with their origins, values in a file or the environment that the command would refuse."""
    for names in CHECKED_TOGETHER:
        group = {name: settings[name] for name in names if name in settings}
        group = {name: setting for name, setting in group.items() if setting.value not in (None, False, [])}
        try:
            _check_group(command, {name: setting.value for name, setting in group.items()})
        except UsageError as error:
            if origins := _origins(error, group):
                on_mistake(UsageError(f"{' and '.join(origins)}: {error.message}", hint=error.hint))


def _name_origins(error: UsageError, settings: Mapping[str, Setting]) -> None:
    """Add to the hint of an error where the values come from that it mentions, unless they were typed."""
    if origins := [origin for origin in _origins(error, settings) if origin not in error.message]:
        error.hint = "; ".join(filter(None, (error.hint, f"it comes from {', '.join(origins)}")))


def _origins(error: UsageError, settings: Mapping[str, Setting]) -> list[str]:
    """Where the options and values come from that an error mentions, unless they were typed."""
    origins = []
    for name, setting in settings.items():
        words = [f"--{name.replace('_', '-')}"] + [str(setting.value)] * isinstance(setting.value, str | Path)
        is_mentioned = any(re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w/-]|\.\w)", error.message) for word in words)
        if setting.layer != "flag" and is_mentioned:
            origins.append(setting.origin)
    return origins


def _check_group(command: str, values: Mapping[str, Any]) -> None:
    """Raises UsageError for values of one group of CHECKED_TOGETHER that the command would refuse."""
    match values:
        case {"output": file, **others} if command in TRANSCRIPT_COMMANDS and not others:
            from .batch.output_plan import parse_formats

            parse_formats(None, False, Path(file))
        case {"from": since, "to": until}:
            from .batch.output_options import FormatOptions, SubtitleOptions

            FormatOptions(since=since, until=until).layout(SubtitleOptions())
        case {"subtitle_profile": _} | {"min_cue": _} | {"max_cue": _} | {"min_gap": _}:
            from .batch.output_options import SubtitleOptions

            SubtitleOptions(**values).rules()
        case {"turn_start_threshold": _} | {"turn_eager_end_threshold": _} | {"turn_end_threshold": _}:
            from ..protocol.realtime import TurnConfig
            from .live.options import check_order

            check_order(TurnConfig(**{name.removeprefix("turn_"): value for name, value in values.items()}))
        case {"wire_encoding": _}:
            from .live.options import StreamOptions

            StreamOptions(**values).wire_format(replay=command == "stream-file")


def asks_for_json(program: Any, arguments: Sequence[str]) -> bool:
    """Whether JSON is requested, so that errors are JSON, too; also for an invalid command line."""
    before, named, after = split_at_command(arguments)
    if (command := program.commands.get(named)) is None:
        return _is_json(dict(scan_arguments(program.commands["transcribe"], arguments)))
    values = dict(scan_arguments(command, after))
    try:
        settings = load_configuration(find_config_choice(values, dict(scan_arguments(program, before))))
        effective = resolve_layers(command, collect_layers(command, values, settings))
        values = {name: setting.value for name, setting in effective.items()}
    except CliError:
        pass  # the configuration may be what is wrong: then the command line alone decides
    is_mistaken = "json" not in options_by_name(command) and "--json" in arguments  # it would be -f json
    return is_mistaken or _is_json(values) or _is_json(dict(scan_arguments(command, before)))


def _is_json(values: Mapping[str, Any]) -> bool:
    return not JSON_FORMATS.isdisjoint(requested_formats(values))


def _refuse_empty(command: Any, given: Sequence[GivenOption], arguments: Sequence[str]) -> None:
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


def _refuse_folder(given: Sequence[GivenOption]) -> None:
    """Raises UsageError for a folder as -o: a path drops the slash, and a file would get the name of the folder."""
    for name, value in given:
        if name == "output" and isinstance(value, str) and value.endswith("/"):
            raise UsageError(f"{value} is a folder", hint="name a file in it")


def _refuse_repeated(command: Any, given: Sequence[GivenOption]) -> None:
    """Raises UsageError for an option that takes one value and is given two different ones: the first would be ignored
    silently.
    """
    options = options_by_name(command)
    first: dict[str, Any] = {}
    for name, value in given:
        option = options[name]
        if option.is_flag or option.multiple or first.setdefault(name, value) == value:
            continue
        several = "-f text,srt --output-dir DIR writes several formats" if "output_dir" in options else ""
        hint = several if name == "format" and several else "give it once"
        raise UsageError(f"--{name.replace('_', '-')} is given twice: {first[name]!r} and {value!r}", hint=hint)
