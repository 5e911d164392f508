"""Writes the report of an evaluation as a table for people, and as CSV.

Takes the report that is written as JSON. Must never compute anything that isn't in it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..text_width import wrap
from .sanitize import one_line
from .stats import COLUMNS, LABELS
from .table import delimited, escape_formula

Report = Mapping[str, Any]

FINAL_TEXT = {"auto": "speech_to_turn_end", "manual": "finalize_to_text"}
"""What a speaker waits for at the end of an utterance, in each mode."""

CSV_COLUMNS = (
    "recording", "system", "duration", "wer", "cer", "substitutions", "insertions", "deletions", "words",
    "character_errors", "characters", "from_cache", "reference", "hypothesis", "error",
)  # fmt: skip

SHOWN_COUNTS = ("substitutions", "insertions", "deletions", "words")

MAX_DIFF_WORDS = 6
"""Words in common that are shown around a difference."""


def table(report: Report, *, columns: int | None, worst: int) -> str:
    """The systems with their error rates and latencies, and the differences in the worst recordings.

    columns   width of the terminal; None: unlimited
    worst     how many recordings are shown
    """
    blocks = [_systems(report, columns), *_latencies(report, columns)]
    for row in worst_rows(report, worst):
        heading = one_line(f"{row['recording']}, {row['system']}: {rate_text(row)}")
        diff = one_line(" ".join(_marked_words(row["edits"])))
        blocks.append(f"{heading}\n" + "".join(f"  {line}\n" for line in wrap(diff, (columns or 100) - 2)))
    return "\n".join(blocks)


def csv(report: Report) -> str:
    """A row for each recording and system, as in RFC 4180. Text that a spreadsheet would take for a formula gets an
    apostrophe before it, as in the CSV of words.
    """
    rows = [row | {"error": row["error"]["message"]} if "error" in row else row for row in report["rows"]]
    return delimited("csv", [CSV_COLUMNS, *([_cell(row.get(name, "")) for name in CSV_COLUMNS] for row in rows)])


def worst_rows(report: Report, count: int) -> list[Report]:
    """The recordings with the highest word error rates, the worst first. Those without errors are left out."""
    wrong = [row for row in report["rows"] if "words" in row and _word_errors(row)]
    return sorted(wrong, key=lambda row: (-row.get("wer", 1.0), -_word_errors(row)))[:count]


def rate_text(row: Report) -> str:
    """The errors of a recording in words: "WER 22.2 %, 2 errors in 9 words"."""
    errors, words = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in
                     ((_word_errors(row), "error"), (row["words"], "word")))  # fmt: skip
    words = f"{errors} in {words}"
    return f"WER {percent(row['wer'])}, {words}" if "wer" in row else words


def percent(rate: float | None) -> str:
    """A rate for people: "4.8 %"; a dash if there is none."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


def interval_text(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} - {100 * interval[1]:.1f}"


def _word_errors(row: Report) -> int:
    return int(row["substitutions"] + row["insertions"] + row["deletions"])


def no_rate(report: Report, system: str) -> str:
    """What is shown instead of the error rate of a system that has none: the others are compared with it, or nothing
    could be.
    """
    return "reference" if system == report["reference"] else "-"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return escape_formula(value) if isinstance(value, str) else str(value)


def system_cells(report: Report, system: Report) -> list[str]:
    """The name of a system, its word error rate, the interval that it is in, and its character error rate."""
    scored = "words" in system
    wer = percent(system.get("wer")) if scored else no_rate(report, system["system"])
    cer = percent(system.get("cer")) if scored else ""
    return [system["system"], wer, interval_text(system.get("wer_interval")), cer]


def _systems(report: Report, columns: int | None) -> str:
    rows = []
    for system in report["systems"]:
        counts = [str(system.get(name, "-")) for name in SHOWN_COUNTS]
        failed = f", {system['failed']} failed" if system["failed"] else ""
        rows.append([*system_cells(report, system), *counts, f"{system['recordings']}{failed}"])
    header = ["system", "WER", "95 %", "CER", "sub", "ins", "del", "words", "recordings"]
    return _grid(header, rows, columns)


def latency_rows(report: Report) -> list[list[str]]:
    """The latencies of the live systems: name, what was measured, how often, and percentiles in milliseconds."""
    return [
        [system["system"], LABELS.get(name, name), *(f"{summary[column]:.0f}" for column in COLUMNS)]
        for system in report["systems"]
        for name, summary in system.get("latency_ms", {}).items()
    ]


def _latencies(report: Report, columns: int | None) -> Iterator[str]:
    if rows := latency_rows(report):
        yield _grid(["system", "latency, ms", *COLUMNS], rows, columns, left=2)


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]], columns: int | None, *, left: int = 1) -> str:
    """A table without lines. `left`: how many of its first columns are aligned to the left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        grid.add_column(Text(name), justify="left" if number < left else "right", no_wrap=number >= left)
    for row in rows:
        grid.add_row(*(Text(one_line(cell)) for cell in row))
    stream = io.StringIO()
    console = Console(file=stream, width=columns or 1000, color_system=None, legacy_windows=False, highlight=False)
    console.print(grid)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _marked_words(edits: Iterable[Report]) -> Iterator[str]:
    """The words of a recording, errors marked as by wdiff: [-said-] {+heard+}. Long stretches in common are cut."""
    for edit in edits:
        if edit["kind"] == "equal":
            words = edit["reference"].split()
            half = MAX_DIFF_WORDS // 2
            yield " ".join(words if len(words) <= MAX_DIFF_WORDS else [*words[:half], "…", *words[-half:]])
            continue
        if said := edit.get("reference"):
            yield f"[-{said}-]"
        if heard := edit.get("hypothesis"):
            yield f"{{+{heard}+}}"
