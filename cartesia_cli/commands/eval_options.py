"""The options of `eval`, in groups.

Annotations aren't postponed here: see `options.OptionGroup`.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from ..errors import UsageError
from . import options as given
from .batch.options import MAX_JOBS
from .batch.output_options import Force, output_option
from .live import options as live_given

Mode = Literal["batch", "auto", "manual"]

FORMATS = {".json": "json", ".csv": "csv", ".html": "html", ".htm": "html", ".txt": "table"}
"""Suffix of an output file to its format."""

gate_option = partial(typer.Option, rich_help_panel="Gates")
compare_option = partial(typer.Option, rich_help_panel="What is compared")


def parse_modes(text: str) -> list[Mode]:
    """The modes that --compare names, each once. Raises UsageError for others."""
    modes: list[Mode] = []
    for name in text.split(","):
        mode = next((known for known in get_args(Mode) if known == name.strip().lower()), None)
        if mode is None:
            raise UsageError(f"--compare {text}: {name.strip()!r} is not a mode", hint="modes: batch, auto, manual")
        if mode not in modes:
            modes.append(mode)
    return modes


def report_formats(files: Iterable[Path]) -> dict[Path, str]:
    """The files with the formats that their suffixes imply. Raises UsageError for one that implies none."""
    formats = {file: FORMATS.get(file.suffix.lower(), "") for file in files}
    if unknown := next((file for file, format in formats.items() if not format), None):
        raise UsageError(f"{unknown}: a report is {', '.join(FORMATS)}", hint="name a file with such a suffix")
    return formats


class GateOptions(given.OptionGroup):
    """Limits that every system has to keep."""

    max_wer: Annotated[
        float | None,
        gate_option(metavar="RATE", min=0, help="Fail if a word error rate is higher, such as 0.08."),
    ] = None
    max_cer: Annotated[
        float | None,
        gate_option(metavar="RATE", min=0, help="Fail if a character error rate is higher."),
    ] = None
    baseline: Annotated[
        Path | None, gate_option(metavar="FILE", help="JSON of an earlier evaluation, for --max-regression.")
    ] = None
    max_regression: Annotated[
        float | None,
        gate_option(metavar="RATE", min=0,
                    help="Fail if a word error rate exceeds that of the baseline by more, such as 0.01."),
    ] = None  # fmt: skip


class EvalSendingOptions(given.OptionGroup):
    """How recordings are sent."""

    jobs: Annotated[
        int | None,
        given.backend_option("--jobs", "-j", metavar="N", min=1, max=MAX_JOBS,
                             help="Recordings at once; by default as `transcribe`, and one live session on this "
                                  "machine."),
    ] = None  # fmt: skip
    speed: Annotated[
        float,
        given.backend_option(metavar="FACTOR", min=0.1, max=100,
                             help="Playback speed of live sessions: 2 is twice real time; then no latencies are "
                                  "measured."),
    ] = 1.0  # fmt: skip
    timeout: given.Timeout = None
    retries: given.Retries = None
    no_cache: given.NoCache = False


class EvalOptions(given.OptionGroup):
    """All options of the command."""

    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", show_default=False,
                       help="Manifests with texts; or recordings, folders or quoted globs, with talk.txt beside "
                            "talk.wav."),
    ]  # fmt: skip
    compare: Annotated[
        str,
        compare_option(metavar="MODE,...", callback=given.checked_by(parse_modes),
                       help="Endpoints to compare: batch, and auto and manual, which replay recordings in real time."),
    ] = "batch"  # fmt: skip
    model: Annotated[
        list[str] | None,
        compare_option("--model", "-m", metavar="MODEL", callback=given.check_model,
                       help="Model to evaluate (repeatable); by default ink-whisper for batch, ink-2 for live."),
    ] = None  # fmt: skip
    language: given.Language = None
    keyterm: live_given.Keyterm = None
    keyterms: live_given.Keyterms = None
    gates: GateOptions
    format: Annotated[
        Literal["table", "json", "csv", "html"], output_option("--format", "-f", help="Format on stdout.")
    ] = "table"
    output: Annotated[
        list[Path] | None,
        output_option("--output", "-o", metavar="FILE", readable=False, callback=given.checked_by(report_formats),
                      help="Also write the report to this file: .json, .csv, .html or .txt (repeatable)."),
    ] = None  # fmt: skip
    force: Force = False
    worst: Annotated[int, output_option(metavar="N", min=0, help="Show the differences in the N worst recordings.")] = 3
    backend: given.BackendOptions
    sending: EvalSendingOptions
