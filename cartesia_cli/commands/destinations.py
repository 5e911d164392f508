"""Where each result goes, decided and checked before anything is sent.

One input goes to stdout; several go beside their sources, or into --output-dir with the folders they
came from. Nothing that exists is overwritten without --force, and an input never.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError, UsageError
from ..output import EXTENSIONS, FORMATS, IN_A_ROW, extension
from .inputs import STDIN, Input

Targets = dict[str, Path | None]
"""For one input: format to file, None for stdout."""


def formats(names: str | None, as_json: bool, output: Path | None) -> tuple[str, ...]:
    """The formats that -f, --json and the name of -o ask for, without doubles."""
    if as_json and names not in (None, "json"):
        raise UsageError(f"--json and -f {names} ask for different formats")
    if names is None:
        implied = EXTENSIONS.get(output.suffix.lower(), "text") if output else "text"
        return ("json" if as_json else implied,)
    chosen = tuple(dict.fromkeys(name.strip().lower() for name in names.split(",")))
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise UsageError(f"no format {unknown[0]!r}", hint=f"formats: {', '.join(FORMATS)}")
    return chosen


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line says about results.

    formats      one or more
    several      whether the arguments may stand for more than one input
    output       one place for all; "-" is stdout
    output_dir   a folder
    force        whether what exists may be overwritten
    """

    formats: Sequence[str]
    several: bool
    output: Path | None
    output_dir: Path | None
    force: bool

    def targets(self, inputs: Sequence[Input]) -> list[Targets]:
        """The targets of each input. UsageError when they can't be, when they collide or exist; OutputError where
        stdout is closed.
        """
        if self.output is not None and self.output_dir is not None:
            raise UsageError("-o and --output-dir exclude each other")
        if len(self.formats) > 1 and self.output_dir is None:
            raise UsageError(f"{len(self.formats)} formats need a folder", hint="--output-dir DIR")
        planned = self._together(inputs) if self._is_one_place() else _beside(inputs, self.formats, self.output_dir)
        _check(planned, inputs, self.force)
        return planned

    def _is_one_place(self) -> bool:
        to_stdout = not self.several or tuple(self.formats) == ("ndjson",)
        return self.output is not None or (self.output_dir is None and to_stdout)

    def _together(self, inputs: Sequence[Input]) -> list[Targets]:
        name = self.formats[0]
        file = None if self.output is None or str(self.output) == STDIN else self.output
        if len(inputs) > 1 and (file is not None or name not in IN_A_ROW):
            raise UsageError(f"{len(inputs)} results don't fit into one place as {name}", hint="--output-dir DIR")
        return [{name: file} for _ in inputs]


def _beside(inputs: Sequence[Input], formats: Sequence[str], output_dir: Path | None) -> list[Targets]:
    """A file for each input and format; where two inputs would share one, both keep their own suffix, too."""
    bases = [output_dir / i.below if output_dir else (Path(i.below) if i.source == STDIN else i.path) for i in inputs]
    shared = Counter(base.with_suffix("") for base in bases)
    planned: list[Targets] = []
    taken: dict[Path, str] = {}
    for item, base in zip(inputs, bases, strict=True):
        stem = base if shared[base.with_suffix("")] > 1 else base.with_suffix("")
        files: Targets = {name: stem.with_name(stem.name + extension(name)) for name in formats}
        for file in files.values():
            assert file is not None
            if taken.setdefault(file, item.source) != item.source:
                raise UsageError(f"{taken[file]} and {item.source} would both be written to {file}")
        planned.append(files)
    return planned


def _check(planned: Sequence[Targets], inputs: Sequence[Input], force: bool) -> None:
    files = {file for one in planned for file in one.values()}
    if None in files and sys.stdout is None:
        raise OutputError("stdout is closed", hint="-o writes to a file instead")
    sources = {os.path.realpath(item.path) for item in inputs}
    for file in sorted(file for file in files if file is not None):
        if os.path.realpath(file) in sources:
            raise overwritten(file)
        if file.is_dir():
            raise UsageError(f"{file} is a folder", hint="--output-dir DIR writes into a folder")
        check_free(file, force)
        ancestor = next(folder for folder in Path(os.path.abspath(file)).parents if folder.exists())
        if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
            raise UsageError(f"{file} can't be written: no permission in {ancestor}", hint="name another place")


def overwritten(file: Path) -> UsageError:
    return UsageError(f"{file} is an input: it is not overwritten", hint="name another file")


def check_free(file: Path, force: bool) -> None:
    """UsageError for a file that is there, unless there is `force`."""
    if not force and file.exists() and stat.S_ISREG(file.stat().st_mode):
        raise UsageError(f"{file} exists", hint="--force overwrites it")


def identity(file: str | Path) -> object:
    """The same for each name of a file, be it there or not; "-" is stdin. None for what is none, such as a device."""
    try:
        found = os.fstat(0) if str(file) == STDIN else os.stat(file)
    except OSError:
        return None if str(file) == STDIN else os.path.realpath(file)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
