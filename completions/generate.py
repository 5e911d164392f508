"""Generates `completion_table.json` and the saved `--help` pages from the Typer app; run by `make completions`.

The app doesn't know what kind of value an option takes, unless it is a `Literal`: add a new option to KINDS.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from typer.main import get_command

from cartesia_cli import cli
from cartesia_cli.__main__ import PROGRAM, RENDERING_VARIABLES
from cartesia_cli.commands import COMMANDS
from cartesia_cli.commands.doctor_machine import MACHINE_CHECKS
from cartesia_cli.commands.doctor_network import NETWORK_CHECKS
from cartesia_cli.commands.live import options as live_options
from cartesia_cli.commands.option_sources import opposite_flag
from cartesia_cli.output import FORMATS
from cartesia_cli.output.console import Reporter
from cartesia_cli.protocol.constants import BATCH_MODELS, ENCODINGS, HTTP_ROUTES, MODELS
from cartesia_cli.protocol.languages import CHINESE_SCRIPTS, HINT_LANGUAGES, LANGUAGE_NAMES, LANGUAGES

PACKAGE = Path(cli.__file__).parent
SCHEMAS = PACKAGE / "schemas"

KINDS = {
    "INPUT...": "file",
    "FILE": "file",
    "SUBTITLES...": "file",
    "TRANSCRIPT...": "file",
    "DIR": "folder",
    "[CHECK...]": "check",
    "[clear]": "clear",
    "[show [COMMAND...]]": "show",
    "[NAME]": "schema",
    "--jobs": "none",
    "--dask": "file",
    "--speakers-by-channel": "file",
    "--keep-json": "folder",
    "--output-manifest": "file",
    "--transcript": "file",
    "--append": "file",
    "edit --audio": "file",
    "TRANSCRIPT": "file",
    "render --audio": "file",
    "--allow-host": "none",
    "--allow-origin": "none",
    "--base-url": "none",
    "--baseline": "file",
    "--channel": "none",
    "--chunk-ms": "none",
    "--concurrency": "none",
    "--workers": "none",
    "--compare": "mode",
    "--config": "file",
    "--context": "none",
    "--device": "device",
    "--duration": "none",
    "--encoding": "encoding",
    "--wire-encoding": "wire-encoding",
    "listen --wire-encoding": "encoding",
    "--wire-rate": "none",
    "--with-key": "stdin",
    "--worst": "none",
    "--exec": "none",
    "--files-from": "file",
    "transcribe --endpoint": "endpoint",
    "--format": "format",
    "--from": "none",
    "--grep": "none",
    "--host": "none",
    "--keyterm": "none",
    "--language": "language",
    "--language-hint": "language-hint",
    "--keyterms": "file",
    "--control": "file",
    "--api-version": "none",
    "--local-model": "whisper",
    "--longest-gaps": "none",
    "--max-bytes": "none",
    "--max-cer": "none",
    "--max-credits": "none",
    "--max-cps": "none",
    "--max-cue": "none",
    "--max-line-count": "none",
    "--max-line-width": "none",
    "--max-regression": "none",
    "--max-silence-secs": "none",
    "--max-wer": "none",
    "--max-words-per-line": "none",
    "--min-cue": "none",
    "--min-gap": "none",
    "--min-volume": "none",
    "--model": "model",
    "transcribe --model": "batch-model",
    "--output": "file",
    "--output-dir": "folder",
    "--page-port": "none",
    "--page-token": "none",
    "--port": "none",
    "--profile": "profile",
    "--raw-events": "file",
    "--reconnect": "none",
    "--retries": "none",
    "--sample-rate": "none",
    "--recording": "file",
    "--save-audio": "file",
    "--script": "file",
    "--shard": "none",
    "--speed": "none",
    "--stats-svg": "file",
    "--stop-after-silence": "none",
    "--timeout": "none",
    "--to": "none",
    "--turn-eager-end-threshold": "none",
    "--turn-end-threshold": "none",
    "--turn-end-timeout-ms": "none",
    "--turn-start-threshold": "none",
    "--vad-silence-ms": "none",
    "--vad-threshold": "none",
}
"""Option, or metavar of an argument, to the kind of its value; with the name of a command before it, for that only.
Options that take one of a few values need no entry; their kind is these values, such as batch|live.

file, folder   completed by the shell
whisper        a folder, or one of VALUES
device         a microphone of this machine
profile        a profile in the configuration file
none           no completions
others         one of VALUES; of `format` and `mode`, several with commas
"""

WHISPER = ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en", "large-v3")

VALUES = {
    "check": {check.name: check.title for check in (*MACHINE_CHECKS, *NETWORK_CHECKS)},
    "clear": {"clear": "delete everything"},
    "show": {"show": "each setting, its value and where it comes from"},
    "batch-model": dict.fromkeys(BATCH_MODELS, ""),
    "encoding": dict.fromkeys(ENCODINGS, ""),
    "wire-encoding": dict.fromkeys((*ENCODINGS, live_options.NATIVE_ENCODING), ""),
    "endpoint": HTTP_ROUTES,
    "format": dict.fromkeys(FORMATS, ""),
    "mode": {"batch": "whole recordings", "auto": "live, turns", "manual": "live, finalize"},
    "language": {"auto": "detect it"} | {code: LANGUAGE_NAMES.get(code, "") for code in (*LANGUAGES, *CHINESE_SCRIPTS)},
    "language-hint": {code: LANGUAGE_NAMES.get(code, "") for code in HINT_LANGUAGES},
    "model": dict.fromkeys(MODELS, ""),
    "schema": {file.stem: json.loads(file.read_text("utf-8"))["title"] for file in sorted(SCHEMAS.glob("*.json"))},
    "stdin": {"-": "stdin"},
    "whisper": dict.fromkeys(WHISPER, ""),
}
"""Kind to its values, each with a description."""

PAGE_COLUMNS = 80
"""Width of the saved help pages: what Typer assumes for a pipe."""


def files(app: typer.Typer) -> dict[Path, str]:
    """The text of every generated file, by its path."""
    return {PACKAGE / "completion_table.json": table(app), **help_pages()}


def table(app: typer.Typer) -> str:
    """The command line as `completion.py` reads it. SystemExit when the kind of a value isn't known."""
    program: Any = get_command(app)
    context = typer.Context(program, info_name=program.name, **program.context_settings)
    commands = {name: command for name, command in program.commands.items() if not command.hidden}
    operands = {"": "command"}
    options = {"": _options("", program, context)}
    for name, command in commands.items():
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        if len(arguments) > 1 or hasattr(command, "commands"):
            raise SystemExit(f"completions/generate.py can't describe {name}: commands in it, or several arguments")
        operands[name] = _kind(name, arguments[0].metavar) if arguments else ""
        options[name] = _options(name, command, typer.Context(command, parent=context))
    choices = {kind: dict.fromkeys(kind.split("|"), "")
               for rows in options.values() for _, _, kind, _, _ in rows if "|" in kind}  # fmt: skip
    values = {"command": {name: _brief(command.help) for name, command in commands.items()}, **VALUES, **choices}
    listed = {kind: list(offers.items()) for kind, offers in values.items()}
    members = (f"{json.dumps(name)}: {_one_row_a_line(member)}" for name, member in
               {"operands": operands, "options": options, "values": listed}.items())  # fmt: skip
    return "{\n" + ",\n".join(members) + "\n}\n"


def _one_row_a_line(table: dict[str, Any]) -> str:
    """JSON with an option or a value on each line, so that it can be compared line by line."""
    entries = []
    for name, rows in table.items():
        lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows) if isinstance(rows, list) else ""
        entries.append(f" {json.dumps(name)}: " + (f"[\n{lines}\n ]" if lines else json.dumps(rows)))
    return "{\n" + ",\n".join(entries) + "\n}"


class Terminal(io.StringIO):
    """A text stream that rich treats as a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def help_pages() -> dict[Path, str]:
    """What Typer prints for `--help` of the program and of each command: plain, and for a terminal."""
    return {
        PACKAGE / "help" / f"{name}{suffix}": _rendered([] if name == PROGRAM else [name], stream)
        for name in (PROGRAM, *COMMANDS)
        for suffix, stream in ((".txt", io.StringIO()), (".ansi", Terminal()))
    }


def _rendered(command: list[str], stream: io.StringIO) -> str:
    """`--help` as it is written to this stream, whatever the environment says."""
    with mock.patch.dict(os.environ, {"COLUMNS": str(PAGE_COLUMNS), "TERM": "xterm"}), redirect_stdout(stream):
        for variable in RENDERING_VARIABLES:
            if variable != "COLUMNS":
                os.environ.pop(variable, None)
        talk = Reporter()
        talk.help_requested = True
        get_command(cli.build()).main([*command, "--help"], prog_name=PROGRAM, obj=talk, standalone_mode=False)
    return stream.getvalue()


def _options(name: str, command: Any, context: typer.Context) -> list[tuple[str, str, str, bool, str]]:
    rows = []
    for option in command.get_params(context):
        if option.param_type_name != "option":
            continue
        names = sorted([*option.opts, *option.secondary_opts], key=lambda spelling: not spelling.startswith("--"))
        aliases = [alias for alias, meant in cli.ALIASES.items() if meant in names]
        if name and option.name != "help" and option.is_flag and (opposite := opposite_flag(option)):
            aliases.append(opposite)
        offered, accepted = ([], names + aliases) if option.hidden else (names, aliases)
        kind = "" if option.is_flag or option.count else _kind(name, names[0], getattr(option.type, "choices", ()))
        repeatable = option.multiple or option.count
        rows.append((" ".join(offered), " ".join(accepted), kind, repeatable, _brief(option.help)))
    return rows


def _kind(command: str, name: str, choices: Iterable[str] = ()) -> str:
    kind = KINDS.get(f"{command} {name}") or "|".join(choices) or KINDS.get(name)
    if kind is None:
        raise SystemExit(f"completions/generate.py: add the kind of value of {command} {name} to KINDS")
    return kind


def _brief(text: str | None) -> str:
    """The first sentence of a help text, on one line."""
    return " ".join((text or "").split()).split(". ")[0].removesuffix(".")


def main() -> None:
    for path, text in files(cli.build()).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(PACKAGE.parent)}\n")


if __name__ == "__main__":
    main()
