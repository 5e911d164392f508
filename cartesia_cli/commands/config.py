"""The `config` command, which shows every setting that applies, and where it is set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from ..credentials import key_source
from ..errors import UsageError
from ..settings import OnMistake, Setting, Settings
from . import COMMANDS
from . import options as given
from .command_context import configuration, effective_settings
from .configured_command import resolve_layers
from .option_sources import CONFIG_SELECTORS, all_spellings, collect_layers, general_environment, options_by_name

EXAMPLES = """
cartesia-cli config show
cartesia-cli config show transcribe
cartesia-cli config show --profile work -f json | jq .commands.transcribe.language
cartesia-cli transcribe talk.mp3 --config project.toml
"""

Action = Annotated[
    list[str] | None,
    typer.Argument(metavar="[show [COMMAND...]]", show_default=False,
                   help="Commands whose options are shown; all of them by default."),
]  # fmt: skip


def config(context: typer.Context, *, action: Action = None, format: given.ListFormat = "table") -> None:
    """Show each setting, its value, and where it is set."""
    from ..output.files import write_json, write_stdout

    verb, *names = action or ["show"]
    if verb != "show":
        hint = "`config show` shows the settings; to change them, edit the configuration file"
        raise UsageError(f"unknown action {verb!r}", hint=hint)
    if unknown := next((name for name in names if name not in COMMANDS), None):
        raise UsageError(f"unknown command {unknown!r}", hint=f"commands: {', '.join(COMMANDS)}")
    program: Any = context.find_root().command
    settings = configuration(context)
    general = dict(_general(settings, effective_settings(context)))
    mistakes: dict[str, tuple[str, UsageError]] = {}
    commands = {}
    for name in names or COMMANDS:
        found: list[UsageError] = []
        commands[name] = _command(program.commands[name], settings, found.append)
        for error in found:
            mistakes.setdefault(error.message, (name, error))  # once if several commands would refuse it
    if format == "json":
        document = {
            "settings": {name: _document(setting) for name, setting in general.items()},
            "commands": {
                command: {name: _document(setting) for name, setting in shown.items()}
                for command, shown in commands.items()
            },
        }
        write_json(document)
    else:
        rows = list(general.items())
        for command, shown in commands.items():
            rows += [(f"{command}.{name}", setting) for name, setting in shown.items()]
        write_stdout(_table(rows))
    for count, (name, error) in enumerate(mistakes.values(), 1):
        context.obj.options = all_spellings(program.commands[name])  # hints name them
        if count == len(mistakes):
            raise error
        context.obj.error(error)


def _general(settings: Settings, effective: Mapping[str, Setting]) -> Iterator[tuple[str, Setting]]:
    """The settings that aren't options of commands. Of the key, only its presence is shown."""
    unset = Setting(None, "default", "")
    yield "config", effective.get("config") or (unset._replace(value=str(settings.file)) if settings.file else unset)
    yield "profile", effective.get("profile", unset)
    yield "base_url", general_environment().get("base_url") or settings.general("base_url") or unset
    yield "api_key", key_source(settings) or unset


def _command(command: Any, settings: Settings, on_mistake: OnMistake) -> dict[str, Setting]:
    """The setting of each option of a command, by its name in a configuration file. Reports what it would refuse: a
    value that it doesn't accept is left out.
    """
    found = resolve_layers(command, collect_layers(command, {}, settings, on_mistake), on_mistake)
    return {
        name: found.get(name, Setting(option.default, "default", ""))
        for name, option in options_by_name(command).items()
        if name not in CONFIG_SELECTORS and (name in found or not option.hidden)
    }


def _document(setting: Setting) -> dict[str, Any]:
    facts = {"value": _plain(setting.value), "source": setting.layer, "origin": setting.origin}
    return {name: fact for name, fact in facts.items() if fact not in (None, "")}


def _plain(value: Any) -> Any:
    """A value that JSON can represent."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _table(rows: list[tuple[str, Setting]]) -> str:
    from ..output.sanitize import printable

    cells = [(name, _shown(setting.value), setting.origin or setting.layer) for name, setting in rows]
    widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
    widths[1] = min(widths[1], 40)
    lines = (f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in cells)
    return "".join(f"{printable(line, keep='')}\n" for line in lines)


def _shown(value: Any) -> str:
    """A value as in the configuration file; `-` for none."""
    plain = _plain(value)
    return "-" if plain is None or plain == [] else json.dumps(plain, ensure_ascii=False)
