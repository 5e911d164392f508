"""Decides where each result goes, and checks that it can be written, before anything is sent.

Without -o and --output-dir, the result of one input goes to stdout, and those of several go beside their inputs. In
--output-dir, they keep the folders below the one that was searched. Must never overwrite an existing file without
--force, nor an input at all. Where recordings would share the name of a result, the one whose result exists keeps it.
"""

import os
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...errors import OutputError, UsageError
from ...output import CONCATENABLE, EXTENSIONS, FORMATS, extension
from ...record import Record
from ..requested_formats import requested_formats
from .inputs import Input
from .output_checks import check_output, check_output_url
from .stdin import STDIN

Targets = dict[str, Path | None]
"""The results of one input: format to file, None for stdout."""


FindOwner = Callable[[Path, Sequence[Input]], object]
"""Finds whose results have this path without a suffix: one of these inputs, another recording, or None."""

FOLDER_HINT = (
    "write their results into different folders, or name the folder that both are in as the input: "
    "results then keep the folders below it"
)
LIST_HINT = "name them in a list, --files-from FILE: results then keep the folders of the URLs"

MAX_NAME_BYTES = 255
"""Limit of most file systems."""


def parse_formats(names: str | None, as_json: bool, output: Path | None) -> tuple[str, ...]:
    """The formats that -f, --json and the suffix of -o ask for, each once. No suffix means text.

    Raises UsageError for an unknown format or suffix.
    """
    suffix = output.suffix.lower() if output and names is None and not as_json else ""
    if suffix and suffix not in EXTENSIONS:
        raise UsageError(
            f"{output}: no transcript format has the suffix {suffix}",
            hint=f"suffixes: {' '.join(EXTENSIONS)}; or name the format with -f",
        )
    chosen = requested_formats({"format": names, "json": as_json, "output": output})
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise UsageError(f"unknown format {unknown[0]!r}", hint=f"formats: {', '.join(FORMATS)}")
    return chosen


class OutputPlan(Record):
    """What the options say about results.

    formats        none: no results are written
    several        whether there may be more than one input
    output         one file for all results; "-" is stdout
    output_dir     a folder for a file of each input and format
    force          whether existing files may be overwritten
    selects_rows   whether only some rows of the word table are wanted, as with --grep
    to_bucket      whether `output_dir` is in a bucket: what exists there is found out when results are written
    """

    formats: Sequence[str]
    several: bool
    output: Path | None
    output_dir: Path | None
    force: bool
    selects_rows: bool = False
    to_bucket: bool = False

    @property
    def combined(self) -> bool:
        """Whether selected rows of all inputs go to one target. Texts don't, nor do files of each input."""
        return self.selects_rows and len(self.formats) == 1 and self.formats[0] != "text" and self.output_dir is None

    @property
    def output_file(self) -> Path | None:
        """The file for all results; None if there is none, or it is stdout."""
        return None if str(self.output) == STDIN else self.output

    @property
    def to_stdout(self) -> bool:
        """Whether results go to stdout."""
        return bool(self.formats) and self._has_single_target() and self.output_file is None

    @property
    def takes_one_result(self) -> bool:
        """Whether results go to one target that can hold that of a single input only."""
        takes_all = not self.formats or self.combined or (self.output_file is None and self.formats[0] in CONCATENABLE)
        return self._has_single_target() and not takes_all

    def targets(self, inputs: Sequence[Input], find_owner: FindOwner = lambda stem, inputs: None) -> list[Targets]:
        """The targets of each input. Raises UsageError if they collide, exist or can't be written; raises OutputError
        if stdout is closed. `find_owner` knows the results of earlier runs.
        """
        if not self.to_bucket:
            check_output_url(self.output_dir)
        if len(self.formats) > 1 and self.output_dir is None:
            raise UsageError(f"the formats {','.join(self.formats)} need a folder", hint="--output-dir DIR")
        if not self.formats:
            return [{} for _ in inputs]
        if self._has_single_target():
            name = self.formats[0]
            if len(inputs) > 1 and self.takes_one_result:
                hint = "--output-dir DIR" + ("; or leave -o out: stdout takes them all" if name == "ndjson" else "")
                raise UsageError(f"can't write {len(inputs)} {name} results to one file", hint=hint)
            planned: list[Targets] = [{name: self.output_file} for _ in inputs]
        else:
            planned = _separate_targets(inputs, self.formats, self.output_dir, find_owner)
        if not self.to_bucket:
            _check_targets(planned, inputs, self.force)
        return planned

    def _has_single_target(self) -> bool:
        to_stdout = self.combined or not self.several or tuple(self.formats) == ("ndjson",)
        return self.output is not None or (self.output_dir is None and to_stdout)


def _separate_targets(
    inputs: Sequence[Input], formats: Sequence[str], output_dir: Path | None, find_owner: FindOwner
) -> list[Targets]:
    """A file for each input and format."""
    if output_dir is None and (remote := next((item for item in inputs if item.origin is not None), None)):
        raise UsageError(f"results can't be written beside {remote.source}", hint="--output-dir DIR, or -f ndjson")
    planned: list[Targets] = []
    taken: dict[Path, str] = {}
    for item, stem in zip(inputs, _target_stems(inputs, output_dir, find_owner), strict=True):
        files = {name: result_file(stem, name) for name in formats}
        for file in files.values():
            if taken.setdefault(file, item.source) != item.source:
                raise UsageError(
                    f"{taken[file]} and {item.source} would both be written to {file}",
                    hint=LIST_HINT if item.origin is not None else FOLDER_HINT,
                )
        planned.append({**files})
    return planned


def _target_stems(inputs: Sequence[Input], output_dir: Path | None, find_owner: FindOwner) -> list[Path]:
    """The path of each input's results, without the suffix of a format: the input's path without its suffix (talk.mp3
    gives talk.txt). The suffix stays (talk.mp3.txt) where such results exist already, and where the short name belongs
    to the results of another recording, or would be shared by two inputs of this run.
    """
    full = [output_dir / item.relative_path if output_dir else _path_beside(item) for item in inputs]
    sharing: defaultdict[Path, list[int]] = defaultdict(list)
    for k, path in enumerate(full):
        sharing[path.with_suffix("")].append(k)
    stems = list(full)
    for short, numbers in sharing.items():
        candidates = [k for k in numbers if short == full[k] or find_owner(full[k], [inputs[k]]) is not inputs[k]]
        owner = find_owner(short, [inputs[k] for k in candidates])
        for k in candidates:
            if owner is inputs[k] or (owner is None and len(numbers) == 1):
                stems[k] = short
    counts = Counter(stems)
    return [path if counts[stem] > 1 else stem for path, stem in zip(full, stems, strict=True)]


def _path_beside(item: Input) -> Path:
    """Where results of an input go without --output-dir: beside it. The results of a segment have its times in their
    names.
    """
    if item.source == STDIN:
        return item.relative_path
    return item.path if item.time_range is None else item.path.with_name(item.relative_path.name)


def result_file(stem: Path, format: str) -> Path:
    """The file of a result. A name that would be too long is truncated and gets a hash, so that different names stay
    different.
    """
    return stem.with_name(_file_name(stem.name, format))


def existing_results(stem: Path) -> list[Path]:
    """The files that exist of those that the results of a recording may have, in any format."""
    folder, name = os.path.split(stem)  # most don't exist: a Path for each would take longer than to look
    names = (_file_name(name, format) for format in FORMATS)
    return [Path(file) for name in names if os.path.lexists(file := os.path.join(folder, name))]


def _file_name(name: str, format: str) -> str:
    suffix = extension(format)
    if len(os.fsencode(name + suffix)) > MAX_NAME_BYTES:
        from hashlib import sha256  # start-up: it loads OpenSSL

        mark = f"~{sha256(os.fsencode(name)).hexdigest()[:8]}{suffix}"
        while len(os.fsencode(name + mark)) > MAX_NAME_BYTES:
            name = name[:-1]
        return name + mark
    return name + suffix


def _check_targets(planned: Sequence[Targets], inputs: Sequence[Input], force: bool) -> None:
    files = {file for one in planned for file in one.values()}
    if None in files and sys.stdout is None:
        raise OutputError("stdout is closed", hint="-o writes to a file instead")
    named = sorted(file for file in files if file is not None)
    sources = {os.path.realpath(item.path) for item in inputs if item.origin is None} if named else ()
    for file in named:
        if os.path.realpath(file) in sources:
            raise input_overwrite_error(file)
        check_output(file, force=force)


def input_overwrite_error(file: Path) -> UsageError:
    return UsageError(f"{file} is an input and must not be overwritten", hint="choose another file")


def check_distinct(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raises UsageError for an output that is an input, or that is there twice, under whatever names. None is stdout or
    nothing; devices and pipes don't count.
    """
    read = {file_identity(file) for file in inputs if file is not None}
    taken: set[object] = set()
    for file in filter(None, outputs):
        if (identity := file_identity(file)) is None:
            continue
        if identity in read:
            raise input_overwrite_error(file)
        if identity in taken:
            raise UsageError(f"{file} would be written twice", hint="name another file")
        taken.add(identity)


def file_identity(file: str | Path) -> object:
    """A value that is equal for all names of a file, existing or not; "-" is stdin. None for a device or pipe."""
    try:
        found = os.fstat(0) if str(file) == STDIN else os.stat(file)
    except OSError:
        return None if str(file) == STDIN else os.path.realpath(file)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
