"""The `config` command, which shows every setting that applies, and where it is set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from ..credentials import key_source
from ..errors import UsageError
from ..settings import Setting, Settings
from . import COMMANDS
from . import options as given
from .configured_command import effective
from .option_sources import CHOOSING, CHOSEN, configured, options
from .options import expand_groups

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


@expand_groups
def config(
    context: typer.Context,
    *,
    action: Action = None,
    form: given.Listing = "table",
    verbosity: given.VerbosityOptions,
) -> None:
    """Show each setting, its value, and where it is set."""
    reporter = verbosity.apply_to(context.obj)
    reporter.as_json = form == "json"
    from ..output.files import write_json, write_stdout

    verb, *names = action or ["show"]
    if verb != "show":
        hint = "`config show` shows the settings; to change them, edit the configuration file"
        raise UsageError(f"unknown action {verb!r}", hint=hint)
    if unknown := next((name for name in names if name not in COMMANDS), None):
        raise UsageError(f"unknown command {unknown!r}", hint=f"commands: {', '.join(COMMANDS)}")
    program: Any = context.find_root().command
    chosen: dict[str, Setting] = context.meta[CHOSEN]
    choice = {name: setting.value for name, setting in chosen.items()}
    settings = configured(**choice)
    general = dict(_general(settings, chosen))
    commands = {name: _command(program.commands[name], choice) for name in names or COMMANDS}
    if reporter.as_json:
        document = {
            "settings": {name: _document(setting) for name, setting in general.items()},
            "commands": {
                command: {name: _document(setting) for name, setting in found.items()}
                for command, found in commands.items()
            },
        }
        write_json(document)
        return
    rows = list(general.items())
    rows += [(f"{command}.{name}", setting) for command, found in commands.items() for name, setting in found.items()]
    write_stdout(_table(rows))


def _general(settings: Settings, chosen: Mapping[str, Setting]) -> Iterator[tuple[str, Setting]]:
    """The settings that aren't options of commands. Of the key, only its presence is shown."""
    unset = Setting(None, "default", "")
    yield "config", chosen.get("config") or (unset._replace(value=str(settings.file)) if settings.file else unset)
    yield "profile", chosen.get("profile", unset)
    url = os.environ.get("CARTESIA_BASE_URL")
    configured_url = settings.general("base_url") or unset
    yield "base_url", Setting(url, "environment", "CARTESIA_BASE_URL") if url else configured_url
    yield "api_key", key_source(settings) or unset


def _command(command: Any, choice: Mapping[str, str]) -> dict[str, Setting]:
    """The setting of each option of a command, by its name in a configuration file."""
    found = effective(command, choice, {})
    return {
        name: found.get(name, Setting(option.default, "default", ""))
        for name, option in options(command).items()
        if name not in CHOOSING
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
