"""The package as a whole: docstrings of its modules, and its import rules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import cartesia_cli

PACKAGE = Path(cartesia_cli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_a_docstring_that_begins_with_a_sentence() -> None:
    for module in MODULES:
        docstring = ast.get_docstring(ast.parse(module.read_text("utf-8")))
        assert docstring, module
        assert docstring.partition("\n")[0].endswith((".", ":", ";", ",")), module


def test_import_rules_hold() -> None:
    """The import-linter contracts of pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout
