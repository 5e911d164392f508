"""Every error has a hint, which names only options that the running command has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import cartesia_cli
from cartesia_cli import cli, errors
from cartesia_cli.commands.option_sources import opposite_flag, options_by_name
from cartesia_cli.errors import CliError, InputError, NetworkError, OutputError
from cartesia_cli.output.hints import DEFAULT_HINTS, OPTION_HINTS, fit_hint
from tests.conftest import Run

PACKAGE = Path(cartesia_cli.__file__).parent
COMMANDS: dict[str, Any] = get_command(cli.build()).commands  # type: ignore[attr-defined]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CliError)]
OPTION = re.compile(r"(?<![\w/.'-])--?[A-Za-z][\w-]*")


def spellings(command: Any) -> set[str]:
    known = options_by_name(command).values()
    return {"--help", "-h"} | {name for option in known for name in (*option.opts, opposite_flag(option)) if name}


def hints(files: Iterable[Path]) -> Iterator[str]:
    """The text of every hint in these files, with … for inserted values."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    if keyword.arg == "hint":
                        yield from words(keyword.value)
            elif isinstance(node, ast.Assign) and any("hint" in ast.unparse(target) for target in node.targets):
                yield from words(node.value)


def words(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str()):
            yield str(node.value)
        case ast.JoinedStr():
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        case ast.IfExp():
            yield from words(node.body)
            yield from words(node.orelse)


@cache
def all_hints() -> list[str]:
    return sorted(set(hints(PACKAGE.rglob("*.py"))))


@pytest.mark.parametrize("name", COMMANDS)
def test_hint_names_only_options_of_its_command(name: str) -> None:
    known = spellings(COMMANDS[name])
    assert len(all_hints()) > 60
    for said in all_hints():
        for kind in (InputError, NetworkError, OutputError):
            shown = fit_hint(kind("it failed", hint=said), known)
            assert shown
            own = re.sub(r"`[a-z][^`]*`", "", shown.partition("cartesia-cli ")[0])
            assert set(OPTION.findall(own)) <= known, (said, shown)


@pytest.mark.parametrize("name", COMMANDS)
def test_hint_of_a_command_is_shown_as_a_whole(name: str) -> None:
    for said in hints(PACKAGE.glob(f"commands/{name.replace('-', '_')}.py")):
        assert fit_hint(InputError("it failed", hint=said), spellings(COMMANDS[name])) == OPTION_HINTS.get(said, said)


def test_every_option_in_a_hint_belongs_to_some_command() -> None:
    known = set().union(*map(spellings, COMMANDS.values()))
    assert {
        option for said in all_hints() for option in OPTION.findall(re.sub("`(?:pip|sbatch|openssl) [^`]*`", "", said))
    } <= known


def test_advice_of_packages_below_the_command_line_names_options() -> None:
    source = "".join(file.read_text("utf-8") for file in PACKAGE.rglob("*.py") if file.name != "hints.py")
    known = set().union(*map(spellings, COMMANDS.values()))
    for advice, shown in OPTION_HINTS.items():
        assert f'{advice}"' in source  # as a whole hint, or as its last clause
        assert set(OPTION.findall(advice)) < set(OPTION.findall(shown)) <= known
        assert fit_hint(NetworkError("it failed", hint=advice), None) == shown


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_error_without_hint_has_the_hint_of_its_type(kind: type[CliError]) -> None:
    assert fit_hint(kind("it failed"), None)
    for name, command in COMMANDS.items():
        shown = fit_hint(kind("it failed"), spellings(command))
        assert set(OPTION.findall(shown.partition("cartesia-cli ")[0])) <= spellings(command), name


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("add --local", "add --local"),
        ("set a key; or --cloud does it", "set a key"),
        ("--cloud does it; or set a key", "set a key"),
        ("--timeout SECONDS waits longer", DEFAULT_HINTS["network"]),
        ("`transcribe --cloud` has it; -x", "`transcribe --cloud` has it"),
        ("--timeout waits; run this: cartesia-cli transcribe 'a; b' --cloud",
         "run this: cartesia-cli transcribe 'a; b' --cloud"),
    ],
)  # fmt: skip
def test_hint_clauses_with_foreign_options_are_dropped(said: str, shown: str) -> None:
    assert fit_hint(NetworkError("it failed", hint=said), {"--local"}) == shown
    assert fit_hint(NetworkError("it failed", hint=said), None) == said


def test_shared_errors_name_only_options_of_the_running_command(
    run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "samples.bin").write_bytes(bytes(range(200, 256)) * 40)
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:01,100\nHello.\n")
    for arguments, said in (
        (("transcribe", "samples.bin"), b"headerless samples need --encoding and --sample-rate"),
        (("vad", "samples.bin"), b"hint: a recording is one of"),
    ):
        done = run(*arguments)
        assert said in done.stderr
        assert (b"--encoding" in done.stderr) is (arguments[0] == "transcribe")
    full = f"{sys.executable} -m cartesia_cli check a.srt > /dev/full"
    told = subprocess.run(["bash", "-c", full], env=environment, cwd=tmp_path, capture_output=True, check=False).stderr
    assert b"stdout can't be written" in told and b"-o" not in told and b"\nhint: " in told
