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
from .output_checks import check_output, check_output_url

Targets = dict[str, Path | None]
"""For one input: format to file, None for stdout."""


def formats(names: str | None, as_json: bool, output: Path | None) -> tuple[str, ...]:
    """The formats that -f, --json and the name of -o ask for, without doubles.

    A name without an ending, such as that of a device, implies text. UsageError for an ending of no format.
    """
    if as_json and names not in (None, "json"):
        raise UsageError(f"--json and -f {names} ask for different formats")
    if names is None:
        return ("json",) if as_json else (_implied(output),)
    chosen = tuple(dict.fromkeys(name.strip().lower() for name in names.split(",")))
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise UsageError(f"no format {unknown[0]!r}", hint=f"formats: {', '.join(FORMATS)}")
    return chosen


def _implied(output: Path | None) -> str:
    """The format that the name of -o implies."""
    ending = output.suffix.lower() if output else ""
    if ending and ending not in EXTENSIONS:
        raise UsageError(
            f"{output}: no transcript format has the ending {ending}",
            hint=f"endings: {' '.join(EXTENSIONS)}; or -f names the format",
        )
    return EXTENSIONS[ending] if ending else "text"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line says about results.

    formats      one or more
    several      whether the arguments may stand for more than one input
    output       one place for all; "-" is stdout
    output_dir   a folder
    force        whether what exists may be overwritten
    together     whether the results of all inputs go to one place in any format, as those of --grep do
    """

    formats: Sequence[str]
    several: bool
    output: Path | None
    output_dir: Path | None
    force: bool
    together: bool = False

    def targets(self, inputs: Sequence[Input]) -> list[Targets]:
        """The targets of each input. UsageError when they can't be, when they collide or exist; OutputError where
        stdout is closed.
        """
        if self.output is not None and self.output_dir is not None:
            raise UsageError("-o and --output-dir exclude each other")
        check_output_url(self.output_dir)
        if len(self.formats) > 1 and self.output_dir is None:
            raise UsageError(f"{len(self.formats)} formats need a folder", hint="--output-dir DIR")
        planned = self._together(inputs) if self._is_one_place() else _beside(inputs, self.formats, self.output_dir)
        _check(planned, inputs, self.force)
        return planned

    def _is_one_place(self) -> bool:
        to_stdout = self.together or not self.several or tuple(self.formats) == ("ndjson",)
        return self.output is not None or (self.output_dir is None and to_stdout)

    def _together(self, inputs: Sequence[Input]) -> list[Targets]:
        name = self.formats[0]
        file = None if self.output is None or str(self.output) == STDIN else self.output
        if len(inputs) > 1 and not self.together and (file is not None or name not in IN_A_ROW):
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
        check_output(file, force=force)


def overwritten(file: Path) -> UsageError:
    return UsageError(f"{file} is an input: it is not overwritten", hint="name another file")


def identity(file: str | Path) -> object:
    """The same for each name of a file, be it there or not; "-" is stdin. None for what is none, such as a device."""
    try:
        found = os.fstat(0) if str(file) == STDIN else os.stat(file)
    except OSError:
        return None if str(file) == STDIN else os.path.realpath(file)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
