"""Reads manifests: files that list recordings, one a line, with facts about each.

Two kinds are read. NVIDIA NeMo's have a JSON object a line with `audio_filepath` and often `duration`, `text` and
`offset`: then only the part of the recording is meant that begins there, in seconds. The metadata of a Hugging Face
AudioFolder, as JSON lines or CSV, has `file_name`. Relative paths start at the manifest's folder, and both kinds may
have any other fields.

Must never hold more than a line in memory, and never drop a line silently: a broken one yields an error with its
number, and those after it are read.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import InputError
from . import MANIFEST_SUFFIXES

NEMO_PATH, AUDIOFOLDER_PATH = "audio_filepath", "file_name"
PATH_FIELDS = (NEMO_PATH, AUDIOFOLDER_PATH)
"""Fields with the path or URL of a recording; the first that a line has counts."""

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
"""Metadata files of an AudioFolder. It may also be Parquet, which isn't read."""

MAX_LINE_BYTES = 4 << 20
"""Longest line that is read. One with times for each word of an hour has some 600 KB."""

SECONDS_HINT = "offset and duration are seconds, 0 or more, such as 2.5; without duration, a part lasts to the end"
JSON_HINT = "each line is a JSON object with audio_filepath, or file_name"
CSV_HINT = "each row has as many cells as the first one, which names them; one with a comma is in quotation marks"

TimeRange = tuple[float, float]
"""Where a part of a recording begins, and how long it is, in seconds; math.inf: to the end."""


class ManifestEntry(NamedTuple):
    """A recording, or a part of one, that a manifest lists.

    audio        its path or URL, as the manifest has it
    location     the URL, or the path with the manifest's folder before it
    time_range   the part that is meant; None: all of it
    fields       all fields of the line, in order. Those of a CSV file are strings
    number       of the line, from 1
    """

    audio: str
    location: str
    time_range: TimeRange | None
    fields: Mapping[str, Any]
    number: int


Row = tuple[int, Mapping[str, Any] | str]
"""The number of a line, from 1, and its fields, or an error in their place. A CSV row that has several lines has the
number of the first.
"""


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest: by its suffix, and by a path in its first line."""
    if path.suffix.lower() not in MANIFEST_SUFFIXES or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            lines = _lines(file)
            fields = _columns(lines) if _is_csv(path) else next(_json_rows(lines))[1]
    except (OSError, StopIteration):
        return False
    return not isinstance(fields, str) and not set(PATH_FIELDS).isdisjoint(fields)


def read_manifest(path: Path) -> Iterator[ManifestEntry | InputError]:
    """What a manifest lists, in order. A line that can't be used yields an InputError instead."""
    try:
        with path.open("rb") as file:
            lines = _lines(file)
            for number, fields in _csv_rows(lines, _columns(lines)) if _is_csv(path) else _json_rows(lines):
                try:
                    yield _entry(path, number, fields)
                except InputError as error:
                    yield InputError(
                        f"{path}, line {number}: {error.message}",
                        hint=error.hint or (CSV_HINT if _is_csv(path) else JSON_HINT),
                    )
    except OSError as error:
        yield InputError(f"{path} can't be read: {error.strerror}")


def path_of_part(path: Path, time_range: TimeRange) -> Path:
    """`path` with the times of a part in its name: talk.wav becomes talk@12.5-20.wav."""
    return path.with_name(f"{path.stem}@{_times(time_range, '-')}{path.suffix}")


def name_of_part(source: str, time_range: TimeRange) -> str:
    """The name of a part of a recording, as a media fragment of the W3C: talk.wav#t=12.5,20."""
    return f"{source}#t={_times(time_range, ',')}"


class FolderMetadata:
    """The metadata of the recordings in a folder and its subfolders, each of which may have a metadata file.

    errors   lines that can't be used, of the files that have been read so far; the caller removes them
    """

    def __init__(self, folder: Path) -> None:
        from .disk_table import DiskTable  # start-up: it loads SQLite

        self.errors: list[InputError] = []
        self._folder = folder
        self._recordings = DiskTable("CREATE TABLE recording (key TEXT PRIMARY KEY, fields TEXT)")
        self._has_metadata = cache(self._read)

    def fields(self, relative_path: Path) -> Mapping[str, Any]:
        """What the nearest metadata file, upwards from a recording, says about it; empty if there is none."""
        nearest = next(filter(self._has_metadata, relative_path.parents), None)
        if nearest is None:
            return {}
        key = _metadata_key(nearest, relative_path.relative_to(nearest))
        found = self._recordings.query("SELECT fields FROM recording WHERE key = ?", key)
        fields: Mapping[str, Any] = json.loads(found[0][0]) if found else {}
        return fields

    def _read(self, parent: Path) -> bool:
        """Read the metadata file of a folder. Returns whether it has one."""
        files = (self._folder / parent / name for name in METADATA_NAMES)
        if (path := next(filter(is_manifest, files), None)) is None:
            return False
        for entry in read_manifest(path):
            if isinstance(entry, InputError):
                self.errors.append(entry)
            else:
                key = _metadata_key(parent, Path(os.path.normpath(entry.audio)))
                self._recordings.query("REPLACE INTO recording VALUES (?, ?)", key, json.dumps(entry.fields))
        return True


def _metadata_key(folder: Path, recording: Path) -> str:
    return json.dumps([folder.as_posix(), recording.as_posix()])  # in ASCII: not every name is UTF-8


def _entry(manifest: Path, number: int, fields: Mapping[str, Any] | str) -> ManifestEntry:
    """The recording of a line. Raises InputError, without file and line, if it can't be used."""
    if isinstance(fields, str):
        raise InputError(fields)
    name = next((name for name in PATH_FIELDS if name in fields), None)
    if name is None:
        raise InputError(f"no {' or '.join(PATH_FIELDS)}")
    audio = fields[name]
    if not isinstance(audio, str) or not audio.strip() or "\0" in audio:
        raise InputError(f"{name} is not a path: {_shown(audio)}")
    location = audio if "://" in audio else os.path.join(os.path.dirname(manifest), os.path.expanduser(audio))
    return ManifestEntry(audio, location, _time_range(fields) if name == NEMO_PATH else None, fields, number)


def _time_range(fields: Mapping[str, Any]) -> TimeRange | None:
    """The part of a recording that a line of NeMo's means. One that begins at 0 and has no duration is all of it."""
    offset, duration = _seconds(fields, "offset"), _seconds(fields, "duration")
    if duration == 0:
        raise InputError("duration is 0", hint=SECONDS_HINT)
    return None if offset is None or (offset == 0 and duration is None) else (offset, duration or math.inf)


def _seconds(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value in (None, ""):  # a cell of a CSV file without a value is empty
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{name} is not a number of seconds: {_shown(value)}", hint=SECONDS_HINT)
    return seconds


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None for each that is longer than MAX_LINE_BYTES."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        is_too_long = len(line) > MAX_LINE_BYTES
        while is_too_long and line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield None if is_too_long else line


def _json_rows(lines: Iterator[bytes | None]) -> Iterator[Row]:
    """The JSON object of each line. Empty lines are skipped."""
    for number, line in enumerate(lines, 1):
        if line is None or line.strip():
            yield (number, _TOO_LONG if line is None else _parse_object(line))


def _parse_object(line: bytes) -> Mapping[str, Any] | str:
    try:
        fields = json.loads(line.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError:
        return "not UTF-8"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    except ValueError:  # Python's limit is 4300 digits
        return "has a number with too many digits"
    except RecursionError:
        return "nested too deep"
    return fields if isinstance(fields, dict) else "not a JSON object"


def _columns(lines: Iterator[bytes | None]) -> list[str]:
    """The names of the columns of a CSV file: its first line. Empty if it can't be read."""
    line = next(lines, None) or b""
    try:
        return next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def _csv_rows(lines: Iterator[bytes | None], columns: list[str]) -> Iterator[Row]:
    """The cells of each row, by the names of their columns. A row may have several lines; empty ones are skipped.

    lines   those after the first, which has the names of the columns
    """
    is_too_long = False

    def texts() -> Iterator[str]:
        nonlocal is_too_long
        for line in lines:
            is_too_long = is_too_long or line is None
            yield "" if line is None else line.decode("utf-8", "surrogateescape")

    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(texts())
    while True:
        number, is_too_long = reader.line_num + 2, False
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield (number, f"not CSV: {error}")
        else:
            if is_too_long:
                yield (number, _TOO_LONG)
            elif cells:
                yield (number, _by_column(cells, columns))


_TOO_LONG = f"longer than {MAX_LINE_BYTES >> 20} MiB"
_SURROGATES = re.compile("[\ud800-\udfff]")


def _by_column(cells: list[str], columns: list[str]) -> Mapping[str, Any] | str:
    if len(cells) > len(columns):
        return f"{len(cells)} cells for {len(columns)} columns"
    if any(_SURROGATES.search(cell) for cell in cells):
        return "not UTF-8"
    return dict(zip(columns, cells, strict=False))


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _times(time_range: TimeRange, separator: str) -> str:
    start, length = time_range
    times = [start] if math.isinf(length) else [start, start + length]
    return separator.join(f"{seconds:.3f}".rstrip("0").rstrip(".") for seconds in times)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
