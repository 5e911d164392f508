"""The package as a whole: docstrings of its modules, and its import rules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import cartesia_cli

PACKAGE = Path(cartesia_cli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAME_FIELDS = ("id", "attr", "arg", "name")
"""Fields of syntax tree nodes that hold a name."""


def test_every_module_has_a_docstring_that_begins_with_a_sentence() -> None:
    for module in MODULES:
        docstring = ast.get_docstring(ast.parse(module.read_text("utf-8")))
        assert docstring, module
        assert docstring.partition("\n")[0].endswith((".", ":", ";", ",")), module


def rows(docstring: str | None) -> list[str]:
    """The names that a docstring explains in a table: "name   what it is", or several, separated by commas."""
    found = re.findall(r"(?m)^ *([a-z_]\w*(?:, [a-z_]\w*)*) {2,}\S", docstring or "")
    return [name for row in found for name in row.split(", ")]


def test_package_maps_name_all_modules_and_no_others() -> None:
    maps = 0
    for package in PACKAGE.rglob("__init__.py"):
        modules = {path.stem for path in package.parent.glob("*.py")} | {
            path.parent.name for path in package.parent.glob("*/__init__.py")
        }
        if named := rows(ast.get_docstring(ast.parse(package.read_text("utf-8")))):
            maps += 1
            assert set(named) | {"__init__", "__main__"} == modules | {"__main__"}, package
    assert maps >= 4


def test_class_docstrings_explain_only_attributes_that_exist() -> None:
    explained = 0
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                names = {getattr(part, field, None) for part in ast.walk(node) for field in NAME_FIELDS}
                found = rows(ast.get_docstring(node))
                explained += len(found)
                assert set(found) <= names, (module, node.name)
    assert explained > 200


def test_class_names_mean_one_thing_in_the_whole_package() -> None:
    places: dict[str, list[Path]] = {}
    for module in MODULES:
        for node in ast.parse(module.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module)
    assert len(places) > 200
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}


def test_words_are_spelled_with_ize() -> None:
    """recognize, normalize…: one spelling, as in the names of libraries and of the API."""
    stems = (
        "author capital categor character custom emphas final general initial maxim memor minim modern normal optim "
    )
    stems += "organ priorit random real recogn serial special standard summar synthes token visual"
    other = re.compile(f"(?:{'|'.join(stems.split())})is(?:e[drs]?|ers|ing|able|ations?)(?![a-z])")
    folders = (PACKAGE, *(PACKAGE.parent / name for name in ("tests", "benchmarks", "docs")))
    files = [path for folder in folders for path in folder.rglob("*.*") if path.suffix in (".py", ".md", ".js", ".txt")]
    assert len(files) > 400
    for path in files:
        text = path.read_text("utf-8").lower()
        if any(f"{stem}is" in text for stem in stems.split()):  # much faster than the pattern
            assert not other.findall(text), path


def test_import_rules_hold() -> None:
    """The import-linter contracts of pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout
