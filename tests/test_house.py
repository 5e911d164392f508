"""The house itself: what each room says of itself, and what is not imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cartesia_cli

PACKAGE = Path(cartesia_cli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("numpy", "httpx", "websockets", "sounddevice", "soundfile", "soxr", "pydantic", "starlette", "asyncio", "av")


def test_every_module_says_in_its_first_lines_what_it_is_for() -> None:
    for module in MODULES:
        docstring = ast.get_docstring(ast.parse(module.read_text("utf-8")))
        assert docstring, module
        assert docstring.partition("\n")[0].endswith((".", ":", ";", ",")), module


def test_rooms_know_only_whom_they_may_know() -> None:
    """The contracts of pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_modules_have_at_most_500_lines() -> None:
    lengths = {module: len(module.read_text("utf-8").splitlines()) for module in MODULES}
    assert [module for module, length in lengths.items() if length > 500] == [PACKAGE / "completion_table.py"]


def imported_by(*arguments: str) -> set[str]:
    script = (
        "import os, sys\nfrom cartesia_cli.__main__ import main\nos._exit = lambda code: None\n"
        f"sys.argv = ['cartesia-cli', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\nMODULES', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        ("transcribe", "--help"),
        ("render", "--help"),
        ("check", "--help"),
        ("cache", "--help"),
        ("listen", "--help"),
        ("stream-file", "--help"),
        ("devices", "--help"),
        ("vad", "--help"),
        ("serve", "--help"),
        ("__complete", "bash", "serve", "-"),
    ],
)
def test_nothing_heavy_is_imported_for_help_version_and_completion(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments).isdisjoint({*HEAVY, "rich"})


@pytest.mark.parametrize("arguments", [("--version",), ("__complete", "zsh", "tr")])
def test_version_and_completion_come_without_typer(arguments: tuple[str, ...]) -> None:
    assert "typer" not in imported_by(*arguments)
