"""The package itself: what each module says of itself, and which modules may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import cartesia_cli

PACKAGE = Path(cartesia_cli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


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
    assert [module for module, length in lengths.items() if length > 500] == []
