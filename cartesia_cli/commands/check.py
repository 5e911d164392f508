"""`check`: subtitle files of anybody against the rules of a profile.

A file that can't be read is reported, and the others are checked: the exit code is then 1. Where it is the only one, or
the transcript, the run ends with 3.
"""

from __future__ import annotations

import json as json_module
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import Exit, InputError, UsageError
from .format_options import SubtitleOptions
from .option_groups import expand_groups
from .options import VerbosityOptions, nonempty_path

if TYPE_CHECKING:  # every --help comes by here
    from ..protocol import Word
    from ..subtitles.parser import Finding, Kind, SubtitleFile
    from .inputs import Input

EXAMPLES = """
cartesia-cli check talk.srt

cartesia-cli check *.vtt --subtitle-profile bbc

cartesia-cli check talk.srt --transcript talk.json

cartesia-cli transcribe talk.mp3 -f srt | cartesia-cli check - --json | jq .counts
"""

FORMATS = ("text", "json")
MAX_SUBTITLE_BYTES = 64 << 20
"""Of a subtitle file: a day of speech is not a tenth of it, and a film named by mistake is more."""

KIND_BY_ENDING: dict[str, Kind] = {".srt": "srt", ".vtt": "vtt"}

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="SUBTITLES...",
        callback=nonempty_path,
        help="SRT or VTT files, quoted globs, or - for stdin.",
        show_default=False,
    ),
]
Transcript = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", callback=nonempty_path, help="JSON with the words: tells which violations their times force."
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail for what is forced, and for advice, too.")]
Format = Annotated[str, typer.Option("--format", "-f", metavar="text|json", help="How it is shown.")]
Json = Annotated[bool, typer.Option("--json", help="Short for -f json.")]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a file."""

    source: str
    subtitles: SubtitleFile
    findings: list[Finding]

    def counts(self) -> Counter[str]:
        """By how much a finding matters: violations, forced, advice."""
        return Counter(map(_severity, self.findings))


@expand_groups(subtitle_options=SubtitleOptions, voice=VerbosityOptions)
def check(
    context: typer.Context,
    *,
    inputs: Inputs,
    transcript: Transcript = None,
    strict: Strict = False,
    form: Format = "text",
    json: Json = False,
    subtitle_options: SubtitleOptions,
    voice: VerbosityOptions,
) -> None:
    """List what is wrong with subtitle files: lines, times, reading speed, and how they are written."""
    reporter = voice.apply_to(context.obj)
    if form not in FORMATS:
        raise UsageError(f"no format {form!r}", hint=f"formats: {', '.join(FORMATS)}")
    reporter.as_json = json or form == "json"
    from ..output.files import write_stdout
    from ..subtitles.lint import lint
    from ..subtitles.profiles import STANDARD, lint_rules
    from ..subtitles.unavoidable import mark_unavoidable

    rules = subtitle_options.rules() or STANDARD
    given = [name for name in subtitle_options.__slots__ if getattr(subtitle_options, name) is not None]
    limits, unlimited = lint_rules(subtitle_options.subtitle_profile, rules, given)
    words, found = _read_files(inputs, transcript)
    unreadable = [error for error in found if isinstance(error, InputError)]
    if len(found) == 1 and unreadable:
        raise unreadable[0]
    reports = [
        Report(item.source, item.sheet, mark_unavoidable(lint(item.sheet, limits), item.sheet, rules, words))
        for item in found
        if not isinstance(item, InputError)
    ]
    total = sum((report.counts() for report in reports), Counter[str]())
    failed = bool(unreadable) or bool(total.total() if strict else total["violations"])
    for error in unreadable:
        reporter.error(error)
    if reporter.as_json:
        numbers = {name: value for name, value in asdict(rules).items() if name not in unlimited}
        document = {"profile": subtitle_options.subtitle_profile or "netflix", "rules": numbers, "failed": failed}
        document |= {"counts": _counts_to_dict(total), "files": [_report_to_dict(report) for report in reports]}
        if unreadable:
            document["unreadable"] = [error.message for error in unreadable]
        write_stdout(json_module.dumps(document, ensure_ascii=False, indent=2) + "\n")
    else:
        write_stdout("".join(line for report in reports for line in _format_findings(report)))
        for report in reports:
            reporter.info(f"{report.source}: {_format_summary(report)}")
    if failed:
        raise typer.Exit(Exit.FAILED)


class _File(NamedTuple):
    """A subtitle file as it was read."""

    source: str
    sheet: SubtitleFile


def _read_files(inputs: list[str], transcript: str | None) -> tuple[tuple[Word, ...], list[_File | InputError]]:
    """The words, if there is a transcript, and every subtitle file, or the error that says why it can't be read.

    InputError for the transcript.
    """
    from .inputs import STDIN, find_inputs, spool_stdin

    if STDIN in inputs and transcript == STDIN:
        raise UsageError("stdin can't be subtitles and transcript at once", hint="name a file for one of them")
    named = [*inputs, transcript] if transcript else inputs
    if STDIN in named and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("stdin is the terminal: there is no file in it", hint="cartesia-cli check - < talk.srt")
    if transcript and os.path.isdir(transcript):
        raise _folder_error(transcript)
    with spool_stdin(named) as spooled:
        words = _read_words(next(iter(find_inputs([transcript], spooled)))) if transcript else ()
        folders = [name for name in inputs if os.path.isdir(name)]
        files: list[_File | InputError] = list(map(_folder_error, folders))
        for item in find_inputs([name for name in inputs if name not in folders], spooled):
            try:
                files.append(_read_subtitles(item))
            except InputError as error:
                files.append(error)
        return words, files


def _folder_error(name: str) -> InputError:
    return InputError(f"{name} is a folder", hint="name the files in it, or a quoted glob")


def _read_subtitles(item: Input | InputError) -> _File:
    from dataclasses import replace

    from ..subtitles.parser import decode, parse

    text, findings = decode(_bytes(item))
    assert not isinstance(item, InputError)
    sheet = parse(text, KIND_BY_ENDING.get(Path(item.source).suffix.lower()))
    if sheet.kind is None:
        raise InputError(
            f"{item.source} is not a subtitle file: there are no times in it", hint="`check` reads SRT and VTT"
        )
    return _File(item.source, replace(sheet, findings=(*findings, *sheet.findings)))


def _read_words(item: Input | InputError) -> tuple[Word, ...]:
    """The words of a saved transcript. InputError where there are none."""
    from ..transcript_import import decode_document, load_transcripts

    data = _bytes(item)
    assert not isinstance(item, InputError)
    text, _ = decode_document(data, item.source)
    transcripts = load_transcripts(text, item.source)
    if len(transcripts) > 1:
        raise InputError(f"{item.source} has {len(transcripts)} transcripts", hint="--transcript takes a single one")
    if not transcripts[0].words:
        raise InputError(f"{item.source} has no words", hint="`transcribe -w --json` writes them")
    return transcripts[0].words


def _bytes(item: Input | InputError) -> bytes:
    from .inputs import unreadable_error

    if isinstance(item, InputError):
        raise item
    try:
        with item.path.open("rb") as file:
            data = file.read(MAX_SUBTITLE_BYTES + 1)
    except OSError as error:
        raise unreadable_error(item.source, error) from error
    if len(data) > MAX_SUBTITLE_BYTES:
        raise InputError(f"{item.source} is too big", hint=f"files may have {MAX_SUBTITLE_BYTES >> 20} MiB")
    return data


def _severity(finding: Finding) -> str:
    from ..subtitles.lint import RULES

    return "advice" if RULES[finding.rule].is_suggestion else "forced" if finding.forced else "violations"


def _format_findings(report: Report) -> list[str]:
    """A line for each finding, as compilers write them, so that editors find the place."""
    from ..output.sanitize import one_line
    from ..subtitles.lint import describe

    starts = {cue.number: cue.start for cue in report.subtitles.cues}
    lines = []
    for finding in report.findings:
        place = "" if finding.cue is None else f"cue {finding.cue}"
        if finding.cue in starts:
            place += f" at {_format_time(starts[finding.cue])}"
        mark = {"advice": " (advice)", "forced": " (forced)", "violations": ""}[_severity(finding)]
        text = (
            f"{report.source}:{finding.line}: {place}{': ' if place else ''}{finding.rule}: {describe(finding)}{mark}"
        )
        lines.append(one_line(text + (f": {finding.text}" if finding.text else "")) + "\n")
    return lines


def _format_time(time: int) -> str:
    seconds, thousandths = divmod(abs(time), 1000)
    return f"{'-' if time < 0 else ''}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"


def _format_summary(report: Report) -> str:
    counts = report.counts()
    cues = f"{len(report.subtitles.cues)} cue{'s' if len(report.subtitles.cues) != 1 else ''}"
    if not counts:
        return f"{cues}, nothing wrong"
    number = counts["violations"]
    parts = [f"{number or 'no'} violation{'s' if number != 1 else ''}"]
    parts += [f"{counts[name]} {what}" for name, what in (("forced", "forced by the words"), ("advice", "advice"))
              if counts[name]]  # fmt: skip
    by_rule = Counter(finding.rule for finding in report.findings)
    return f"{cues}, {', '.join(parts)} ({', '.join(f'{count} {rule}' for rule, count in by_rule.most_common())})"


def _counts_to_dict(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in ("violations", "forced", "advice")}


def _report_to_dict(report: Report) -> dict[str, Any]:
    from ..subtitles.lint import RULES

    times = {cue.number: (cue.start, cue.end) for cue in report.subtitles.cues}
    findings = []
    for finding in report.findings:
        start, end = times.get(finding.cue or 0, (None, None))
        facts = {
            "rule": finding.rule,
            "weight": "advice" if RULES[finding.rule].is_suggestion else "violation",
            "forced": finding.forced,
            "line": finding.line,
            "cue": finding.cue,
            "start": None if start is None else start / 1000,
            "end": None if end is None else end / 1000,
            "value": finding.value,
            "limit": finding.limit,
            "unit": RULES[finding.rule].unit or None,
            "text": finding.text or None,
        }
        findings.append({name: value for name, value in facts.items() if value is not None})
    return {
        "source": report.source,
        "format": report.subtitles.kind,
        "cues": len(report.subtitles.cues),
        "counts": _counts_to_dict(report.counts()),
        "rules": dict(Counter(finding.rule for finding in report.findings).most_common()),
        "findings": findings,
    }
